/* What the handlers of the trained-models API share. */
#include "ml.h"

#include "reply.h"

/* Nodes of a body's tree, beside its bytes: a large vocabulary has half a million of them. */
#define TREE_BYTES ((size_t)512 << 20)

struct work {
    struct ml_call call;
    struct request *request;
    ml_op *op;
    struct buf out;
    struct json_out w;
    struct err *err;
};

static void run(void *arg)
{
    struct work *k = arg;
    k->err = k->op(&k->call);
}

static void answer(struct request *r, bool text, struct buf *out)
{
    if (!text) {
        reply_json(r, 200, out);
        return;
    }
    struct str body = arena_dup(r->arena, buf_str(out));
    buf_deinit(out);
    reply_text(r, 200, STR("text/plain; charset=UTF-8"), body);
}

static void ran(void *arg)
{
    struct work *k = arg;
    struct request *r = k->request;
    struct err *e = k->err;
    struct buf out = k->out;
    bool text = k->call.text;
    arena_free(k->call.arena); /* k lives in it */
    if (!request_back(r)) {
        err_free(e);
        buf_deinit(&out);
    } else if (e) {
        buf_deinit(&out);
        reply_err(r, e);
    } else {
        answer(r, text, &out);
    }
}

void ml_work(struct request *r, ml_op *op)
{
    struct arena *arena = arena_new(TREE_BYTES + 2 * r->http->body.n);
    struct work *k = arena_alloc(arena, sizeof *k);
    *k = (struct work){.request = r, .op = op};
    k->call = (struct ml_call){.request = r,
                               .registry = r->api->parts.registry,
                               .models = r->api->parts.models,
                               .arena = arena,
                               .w = &k->w,
                               .out = &k->out};
    reply_buf_init(&k->out);
    json_out_init(&k->w, &k->out);
    request_hold(r);
    pool_run(r->api->parts.pool, r->http->loop, run, ran, k);
}

struct err *ml_acknowledge(struct ml_call *c)
{
    json_obj(c->w);
    json_key_bool(c->w, "acknowledged", true);
    json_end(c->w);
    return NULL;
}

struct err *ml_body(struct ml_call *c, const struct json **out)
{
    struct str text = c->request->http->body;
    if (text.n == 0)
        return err_new(ERR_PARSE, "request body is required");
    TRY(json_parse(c->arena, text, out));
    if (!json_is(*out, JSON_OBJECT))
        return err_new(ERR_X_CONTENT, "[1:1] Expected START_OBJECT but got [%.*s]",
                       STR_ARG(str_sub(text, 0, 32)));
    return NULL;
}

/* --- lists --- */

static bool has_tag(const struct trained_model *m, struct str tag)
{
    for (size_t i = 0; i < m->n_tags; i++) {
        if (str_eq(m->tags[i], tag))
            return true;
    }
    return false;
}

static bool has_tags(const struct trained_model *m, struct str tags)
{
    struct str tag;
    while (str_split(&tags, ',', &tag)) {
        tag = str_trim(tag);
        if (tag.n && !has_tag(m, tag))
            return false;
    }
    return true;
}

static struct err *query_int(const struct request *r, const char *name, int64_t preset,
                             int64_t *out)
{
    struct str v;
    *out = preset;
    if (!request_query(r, name, &v) || v.n == 0)
        return NULL;
    if (!str_to_i64(v, out) || *out > INT32_MAX || *out < INT32_MIN)
        return err_new(ERR_ARGUMENT, "Failed to parse int parameter [%s] with value [%.*s]", name,
                       STR_ARG(v));
    if (*out < 0)
        return err_new(ERR_ARGUMENT, "Parameter [%s] cannot be < 0", name);
    return NULL;
}

struct err *ml_list(struct ml_call *c, struct ml_list *out)
{
    const struct request *r = c->request;
    struct str tags = {0};
    bool allow_no_match;
    int64_t from, size;
    *out = (struct ml_list){0};
    TRY(request_query_bool(r, "allow_no_match", true, &allow_no_match));
    TRY(query_int(r, "from", 0, &from));
    TRY(query_int(r, "size", 100, &size));
    request_query(r, "tags", &tags);
    TRY(registry_find(c->registry, request_param(r, "model_id"), allow_no_match, c->arena, &out->v,
                      &out->n));
    size_t kept = 0;
    for (size_t i = 0; i < out->n; i++) {
        if (has_tags(out->v[i], tags))
            out->v[kept++] = out->v[i];
        else
            trained_model_unref(out->v[i]);
    }
    out->n = kept;
    out->first = (size_t)from < kept ? (size_t)from : kept;
    out->n_page = kept - out->first < (size_t)size ? kept - out->first : (size_t)size;
    return NULL;
}

void ml_unlist(struct ml_list *list)
{
    for (size_t i = 0; i < list->n; i++)
        trained_model_unref(list->v[i]);
}
