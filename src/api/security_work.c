/* security_work: one call of the security API on its way to the pool and back. It has an arena of
 * its own, since the request's belongs to the loop. */
#include "reply.h"
#include "security_api.h"

/* Users, roles and keys are small; much larger bodies are for inference. */
#define MAX_BODY_BYTES ((size_t)1 << 20)

struct work {
    struct request *request;
    struct security *security;
    security_op *op;
    struct security_call call;
    struct buf out;
    struct json_out w;
    struct err *err;
};

static void run(void *arg)
{
    struct work *k = arg;
    k->err = k->op(k->security, &k->call);
}

static void ran(void *arg)
{
    struct work *k = arg;
    struct request *r = k->request;
    struct err *e = k->err;
    struct buf out = k->out;
    int status = k->call.status;
    user_unref(k->call.user);
    arena_free(k->call.arena); /* k lives in it */
    if (!request_back(r)) {
        err_free(e);
        buf_deinit(&out);
        return;
    }
    if (!e) {
        reply_json(r, status, &out);
        return;
    }
    buf_deinit(&out);
    reply_err(r, e);
}

static struct err *read_query(const struct request *r, struct security_call *c)
{
    request_query(r, "id", &c->id);
    request_query(r, "name", &c->key_name);
    request_query(r, "realm_name", &c->realm);
    request_query(r, "username", &c->username);
    request_query(r, "data", &c->data);
    request_query(r, "if_seq_no", &c->if_seq_no);
    request_query(r, "if_primary_term", &c->if_primary_term);
    TRY(request_query_bool(r, "owner", false, &c->owner));
    TRY(request_query_bool(r, "active_only", false, &c->active_only));
    TRY(request_query_bool(r, "with_usage", false, &c->with_usage));
    TRY(request_query_bool(r, "with_profile_uid", false, &c->with_profile_uid));
    return request_query_bool(r, "with_limited_by", false, &c->with_limited_by);
}

void security_work(struct request *r, security_op *op)
{
    security_work_as(r, op, r->user, r->body);
}

void security_work_as(struct request *r, security_op *op, const struct user *user,
                      const struct json *body)
{
    struct arena *arena = arena_new(ARENA_NO_LIMIT);
    struct work *k = arena_alloc(arena, sizeof *k);
    *k = (struct work){.request = r, .security = r->api->parts.security, .op = op};
    k->call = (struct security_call){.user = user,
                                     .arena = arena,
                                     .body = body,
                                     .name = request_param(r, "name"),
                                     .part = request_param(r, "part"),
                                     .token = request_param(r, "token"),
                                     .get = r->http->method == HTTP_GET,
                                     .out = &k->w,
                                     .status = 200};
    struct err *e = read_query(r, &k->call);
    if (!e && r->http->body.n > MAX_BODY_BYTES)
        e = err_new(ERR_TOO_LARGE, "the body is larger than [%zu] bytes", MAX_BODY_BYTES);
    if (e) {
        arena_free(arena);
        reply_err(r, e);
        return;
    }
    reply_buf_init(&k->out);
    json_out_init(&k->w, &k->out);
    user_ref(user);
    request_hold(r);
    pool_run(r->api->parts.pool, r->http->loop, run, ran, k);
}
