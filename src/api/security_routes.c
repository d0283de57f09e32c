/* security_routes: the rows of the security API; as in routes.c. While security is switched off
 * none of them exists. A privilege of PRIV_NONE means that what is needed depends on whose key or
 * user it is about: the call itself finds out. */
#include "security_api.h"

#define SEC  "cluster:admin/xpack/security"
#define KEY  SEC "/api_key"
#define USER SEC "/user"
#define ROLE SEC "/role"
#define MAP  SEC "/role_mapping"

static const char *const refresh_params[] = {"refresh", NULL};
static const char *const key_params[] = {
    "id",         "name",        "owner",           "realm_name",
    "username",   "active_only", "with_limited_by", "with_profile_uid",
    "with_usage", NULL};
static const char *const key_query_params[] = {"with_limited_by", "with_profile_uid", "typed_keys",
                                               NULL};

static const char *const user_params[] = {"with_profile_uid", NULL};
static const char *const realm_params[] = {"usernames", NULL};

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
    {HTTP_POST, "/_security/api_key/_bulk_update", PRIV_MANAGE_OWN_API_KEY, KEY "/bulk_update",
     NULL, ROUTE_BODY, update_api_keys},
    {HTTP_POST, "/_security/api_key/grant", PRIV_GRANT_API_KEY, KEY "/grant", refresh_params,
     ROUTE_BODY, grant_api_key},
    {HTTP_POST, "/_security/oauth2/token", PRIV_MANAGE_TOKEN, SEC "/token/create", NULL, ROUTE_BODY,
     post_token},
    {HTTP_DELETE, "/_security/oauth2/token", PRIV_MANAGE_TOKEN, SEC "/token/invalidate", NULL,
     ROUTE_BODY, delete_token},
    {HTTP_GET, "/_security/_query/api_key", PRIV_READ_OWN_API_KEY, KEY "/query", key_query_params,
     0, query_api_key},
    {HTTP_POST, "/_security/_query/api_key", PRIV_READ_OWN_API_KEY, KEY "/query", key_query_params,
     0, query_api_key},

    {HTTP_PUT, "/_security/user/{name}", PRIV_MANAGE_SECURITY, USER "/put", refresh_params,
     ROUTE_BODY, put_user},
    {HTTP_PUT, "/_security/user/{name}/_password", PRIV_NONE, USER "/change_password",
     refresh_params, ROUTE_BODY, post_password},
    {HTTP_PUT, "/_security/user/_password", PRIV_NONE, USER "/change_password", refresh_params,
     ROUTE_BODY, post_password},
    {HTTP_PUT, "/_security/user/{name}/_enable", PRIV_MANAGE_SECURITY, USER "/set_enabled",
     refresh_params, 0, post_enable},
    {HTTP_PUT, "/_security/user/{name}/_disable", PRIV_MANAGE_SECURITY, USER "/set_enabled",
     refresh_params, 0, post_disable},
    {HTTP_POST, "/_security/user/{name}", PRIV_MANAGE_SECURITY, USER "/put", refresh_params,
     ROUTE_BODY, put_user},
    {HTTP_POST, "/_security/user/{name}/_password", PRIV_NONE, USER "/change_password",
     refresh_params, ROUTE_BODY, post_password},
    {HTTP_POST, "/_security/user/_password", PRIV_NONE, USER "/change_password", refresh_params,
     ROUTE_BODY, post_password},
    {HTTP_POST, "/_security/user/{name}/_enable", PRIV_MANAGE_SECURITY, USER "/set_enabled",
     refresh_params, 0, post_enable},
    {HTTP_POST, "/_security/user/{name}/_disable", PRIV_MANAGE_SECURITY, USER "/set_enabled",
     refresh_params, 0, post_disable},
    {HTTP_GET, "/_security/user", PRIV_READ_SECURITY, USER "/get", user_params, 0, get_user},
    {HTTP_GET, "/_security/user/{name}", PRIV_READ_SECURITY, USER "/get", user_params, 0, get_user},
    {HTTP_DELETE, "/_security/user/{name}", PRIV_MANAGE_SECURITY, USER "/delete", refresh_params, 0,
     delete_user},
    {HTTP_GET, "/_security/_query/user", PRIV_READ_SECURITY, USER "/query", user_params, 0,
     query_user},
    {HTTP_GET, "/_security/user/_has_privileges", PRIV_NONE, USER "/has_privileges", NULL,
     ROUTE_BODY, post_has_privileges},
    {HTTP_GET, "/_security/user/{name}/_has_privileges", PRIV_NONE, USER "/has_privileges", NULL,
     ROUTE_BODY, post_has_privileges},
    {HTTP_POST, "/_security/_query/user", PRIV_READ_SECURITY, USER "/query", user_params, 0,
     query_user},
    {HTTP_POST, "/_security/user/_has_privileges", PRIV_NONE, USER "/has_privileges", NULL,
     ROUTE_BODY, post_has_privileges},
    {HTTP_POST, "/_security/user/{name}/_has_privileges", PRIV_NONE, USER "/has_privileges", NULL,
     ROUTE_BODY, post_has_privileges},
    {HTTP_PUT, "/_security/role/{name}", PRIV_MANAGE_SECURITY, ROLE "/put", refresh_params, 0,
     put_role},
    {HTTP_POST, "/_security/role/{name}", PRIV_MANAGE_SECURITY, ROLE "/put", refresh_params, 0,
     put_role},
    {HTTP_POST, "/_security/role", PRIV_MANAGE_SECURITY, ROLE "/bulk_put", refresh_params,
     ROUTE_BODY, post_roles},
    {HTTP_DELETE, "/_security/role", PRIV_MANAGE_SECURITY, ROLE "/bulk_delete", refresh_params,
     ROUTE_BODY, delete_roles},
    {HTTP_GET, "/_security/role", PRIV_READ_SECURITY, ROLE "/get", NULL, 0, get_role},
    {HTTP_GET, "/_security/role/{name}", PRIV_READ_SECURITY, ROLE "/get", NULL, 0, get_role},
    {HTTP_DELETE, "/_security/role/{name}", PRIV_MANAGE_SECURITY, ROLE "/delete", refresh_params, 0,
     delete_role},
    {HTTP_GET, "/_security/_query/role", PRIV_READ_SECURITY, ROLE "/query", NULL, 0, query_role},
    {HTTP_POST, "/_security/_query/role", PRIV_READ_SECURITY, ROLE "/query", NULL, 0, query_role},
    {HTTP_PUT, "/_security/role_mapping/{name}", PRIV_MANAGE_SECURITY, MAP "/put", refresh_params,
     ROUTE_BODY, put_role_mapping},
    {HTTP_POST, "/_security/role_mapping/{name}", PRIV_MANAGE_SECURITY, MAP "/put", refresh_params,
     ROUTE_BODY, put_role_mapping},
    {HTTP_GET, "/_security/role_mapping", PRIV_READ_SECURITY, MAP "/get", NULL, 0,
     get_role_mapping},
    {HTTP_GET, "/_security/role_mapping/{name}", PRIV_READ_SECURITY, MAP "/get", NULL, 0,
     get_role_mapping},
    {HTTP_DELETE, "/_security/role_mapping/{name}", PRIV_MANAGE_SECURITY, MAP "/delete",
     refresh_params, 0, delete_role_mapping},
    {HTTP_GET, "/_security/privilege/_builtin", PRIV_READ_SECURITY, SEC "/privilege/builtin/get",
     NULL, 0, get_privileges},
    {HTTP_PUT, "/_security/privilege", PRIV_MANAGE_SECURITY, SEC "/privilege/put", refresh_params,
     ROUTE_BODY, put_application_privileges},
    {HTTP_POST, "/_security/privilege", PRIV_MANAGE_SECURITY, SEC "/privilege/put", refresh_params,
     ROUTE_BODY, put_application_privileges},
    {HTTP_GET, "/_security/privilege", PRIV_READ_SECURITY, SEC "/privilege/get", NULL, 0,
     get_application_privileges},
    {HTTP_GET, "/_security/privilege/{name}", PRIV_READ_SECURITY, SEC "/privilege/get", NULL, 0,
     get_application_privileges},
    {HTTP_GET, "/_security/privilege/{name}/{part}", PRIV_READ_SECURITY, SEC "/privilege/get", NULL,
     0, get_application_privileges},
    {HTTP_DELETE, "/_security/privilege/{name}/{part}", PRIV_MANAGE_SECURITY,
     SEC "/privilege/delete", refresh_params, 0, delete_application_privileges},
    {HTTP_POST, "/_security/privilege/{name}/_clear_cache", PRIV_MANAGE_SECURITY,
     SEC "/privilege/cache/clear", NULL, 0, post_clear_cache},
    {HTTP_GET, "/_security/user/_privileges", PRIV_NONE, USER "/list_privileges", NULL, 0,
     get_own_privileges},
    {HTTP_POST, "/_security/api_key/{name}/_clear_cache", PRIV_MANAGE_SECURITY,
     SEC "/api_key/cache/clear", NULL, 0, post_clear_cache},
    {HTTP_POST, "/_security/role/{name}/_clear_cache", PRIV_MANAGE_SECURITY,
     SEC "/roles/cache/clear", NULL, 0, post_clear_cache},
    {HTTP_POST, "/_security/realm/{name}/_clear_cache", PRIV_MANAGE_SECURITY,
     SEC "/realm/cache/clear", realm_params, 0, post_clear_cache},
};

void security_routes_add(struct router *router)
{
    for (size_t i = 0; i < sizeof routes / sizeof routes[0]; i++)
        router_add(router, routes[i].method, routes[i].path, &routes[i]);
}
