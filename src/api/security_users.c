/* security_users: users as resources. What they do is in security/users.c and asking.c. */
#include "reply.h"
#include "security_api.h"

void put_user(struct request *r)
{
    security_work(r, user_put);
}

void get_user(struct request *r)
{
    security_work(r, user_get);
}

void delete_user(struct request *r)
{
    security_work(r, user_delete);
}

void post_password(struct request *r)
{
    security_work(r, user_password);
}

void post_enable(struct request *r)
{
    security_work(r, user_enable);
}

void post_disable(struct request *r)
{
    security_work(r, user_disable);
}

void query_user(struct request *r)
{
    security_work(r, user_query);
}

void post_has_privileges(struct request *r)
{
    security_work(r, has_privileges);
}

/* Nothing is cached that a change would not drop by itself: the one node says so. */
void post_clear_cache(struct request *r)
{
    const struct api_options *o = &r->api->options;
    struct buf b;
    struct json_out w;
    reply_buf_init(&b);
    json_out_init(&w, &b);
    json_obj(&w);
    reply_nodes(&w, o);
    json_key(&w, o->node_id);
    json_obj(&w);
    json_key_cstr(&w, "name", o->node_name);
    json_end(&w);
    json_end(&w);
    json_end(&w);
    reply_json(r, 200, &b);
}
