/* security_routes: the rows of the security API; as in routes.c. While security is switched off
 * none of them exists. A privilege of PRIV_NONE means that what is needed depends on whose key or
 * user it is about: the call itself finds out. */
#include "security_api.h"

#define KEY "cluster:admin/xpack/security/api_key"

static const char *const refresh_params[] = {"refresh", NULL};
static const char *const key_params[] = {
    "id",       "name",        "owner",           "realm_name",
    "username", "active_only", "with_limited_by", "with_profile_uid",
    NULL};
static const char *const key_query_params[] = {"with_limited_by", "with_profile_uid", "typed_keys",
                                               NULL};

static const struct route routes[] = {
    /* method, path, privilege, action, parameters, flags, handler */
    {HTTP_PUT, "/_security/api_key", PRIV_MANAGE_OWN_API_KEY, KEY "/create", refresh_params,
     ROUTE_BODY, post_api_key},
    {HTTP_POST, "/_security/api_key", PRIV_MANAGE_OWN_API_KEY, KEY "/create", refresh_params,
     ROUTE_BODY, post_api_key},
    {HTTP_GET, "/_security/api_key", PRIV_NONE, KEY "/get", key_params, 0, get_api_key},
    {HTTP_DELETE, "/_security/api_key", PRIV_MANAGE_OWN_API_KEY, KEY "/invalidate", NULL,
     ROUTE_BODY, delete_api_key},
    {HTTP_PUT, "/_security/api_key/{name}", PRIV_MANAGE_OWN_API_KEY, KEY "/update", refresh_params,
     0, put_api_key},
    {HTTP_GET, "/_security/_query/api_key", PRIV_READ_OWN_API_KEY, KEY "/query", key_query_params,
     0, query_api_key},
    {HTTP_POST, "/_security/_query/api_key", PRIV_READ_OWN_API_KEY, KEY "/query", key_query_params,
     0, query_api_key},
};

void security_routes_add(struct router *router)
{
    for (size_t i = 0; i < sizeof routes / sizeof routes[0]; i++)
        router_add(router, routes[i].method, routes[i].path, &routes[i]);
}
