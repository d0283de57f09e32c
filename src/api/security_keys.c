/* security_keys: API keys as resources. What they do is in security/api_keys.c. */
#include "security_api.h"

void post_api_key(struct request *r)
{
    security_work(r, api_key_create);
}

void get_api_key(struct request *r)
{
    security_work(r, api_key_get);
}

void delete_api_key(struct request *r)
{
    security_work(r, api_key_invalidate);
}

void put_api_key(struct request *r)
{
    security_work(r, api_key_update);
}

void query_api_key(struct request *r)
{
    security_work(r, api_key_query);
}

void update_api_keys(struct request *r)
{
    security_work(r, api_keys_update);
}

void post_cross_cluster_key(struct request *r)
{
    security_work(r, cross_cluster_key_create);
}

void put_cross_cluster_key(struct request *r)
{
    security_work(r, cross_cluster_key_update);
}
