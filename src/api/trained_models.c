/* trained_models: uploaded models as resources: made, filled, shown, deleted, renamed. Their
 * deployments are elsewhere. Source: shared facts, trained_models.md 4, 5, 7, 8. */
#include "base64.h"
#include "body.h"
#include "bug.h"
#include "ml.h"
#include "package.h"
#include "reply.h"

#define MAX_CONFIG_BYTES ((size_t)4 << 20) /* it is kept in memory and in the store */
/* With the definition of a tree, which is kept compressed and much smaller. */
#define MAX_TREE_BYTES (MAX_CONFIG_BYTES + TREE_MAX_TEXT)

static struct str model_id(const struct request *r)
{
    return request_param(r, "model_id");
}

/* --- PUT --- */

static void show(struct ml_call *c, const struct trained_model *m, struct trained_model_show show)
{
    err_free(registry_aliases(c->registry, m->model_id, c->arena, &show.aliases, &show.n_aliases));
    trained_model_render(c->w, m, &show);
}

static struct err *too_large(struct str id, size_t limit)
{
    return err_new(ERR_TOO_LARGE, "the config of model [%.*s] is larger than [%zu] bytes",
                   STR_ARG(str_sub(id, 0, 256)), limit);
}

static struct err *check_put(const struct request *r)
{
    struct str id = model_id(r);
    int64_t timeout_ms;
    bool unused;
    TRY(request_query_bool(r, "defer_definition_decompression", false, &unused));
    TRY(request_query_ms(r, "timeout", 30000, &timeout_ms));
    if (r->http->body.n > MAX_TREE_BYTES)
        return too_large(id, MAX_TREE_BYTES);
    if (models_has_deployment(r->api->parts.models, id))
        return err_status(400,
                          "Cannot create model [%.*s] the id is the same as an current model "
                          "deployment",
                          STR_ARG(id));
    return NULL;
}

static struct err *put_model(struct ml_call *c)
{
    const struct json *body;
    struct trained_model *m;
    struct trained_model_show how = {0};
    struct str id = model_id(c->request);
    TRY(ml_body(c, &body));
    size_t n = json_get(body, "definition") ? json_get(body, "definition")->raw_n : 0;
    n += json_get(body, "compressed_definition") ? json_get(body, "compressed_definition")->raw_n
                                                 : 0;
    if (json_raw(body).n - n > MAX_CONFIG_BYTES)
        return too_large(id, MAX_CONFIG_BYTES);
    TRY(request_query_bool(c->request, "human", false, &how.human));
    TRY(registry_put(c->registry, id, body, NULL, &m));
    show(c, m, how);
    trained_model_unref(m);
    return NULL;
}

#if defined(__x86_64__)
#define PLATFORM "linux-x86_64"
#elif defined(__aarch64__)
#define PLATFORM "linux-aarch64"
#else
#define PLATFORM "linux"
#endif

/* What a repository says becomes no header: quotes or line ends would make another one of it. */
static bool is_plain(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        bool word = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!word && c != '-' && c != '_' && c != '.')
            return false;
    }
    return s.n <= 64;
}

/* Such a model is kept all the same: only its quantized weights were made for another machine. */
static void warn_of_platform(struct request *r, const struct trained_model *m)
{
    struct str made_for = m->platform_architecture;
    if (!made_for.n || str_eq_c(made_for, PLATFORM))
        return;
    if (!is_plain(made_for))
        made_for = STR("another platform");
    reply_warn(r, arena_printf(r->arena,
                               "The model [%.*s] is made for the platform [%.*s]; this server runs "
                               "on [" PLATFORM "]",
                               STR_ARG(m->model_id), STR_ARG(made_for)));
}

static void package_registered(void *ctx, struct err *e, struct trained_model *m)
{
    struct request *r = ctx;
    if (!request_back(r)) {
        err_free(e);
        trained_model_unref(m);
        return;
    }
    if (e) {
        reply_err(r, e);
        return;
    }
    struct buf b;
    struct json_out w;
    reply_buf_init(&b);
    json_out_init(&w, &b);
    trained_model_render(&w, m, &(struct trained_model_show){0});
    warn_of_platform(r, m);
    trained_model_unref(m);
    reply_json(r, 200, &b);
}

/* A built-in model: what it is and its files come from the repository. */
static void put_package(struct request *r)
{
    if (r->http->body.n > MAX_CONFIG_BYTES) {
        reply_err(r, too_large(model_id(r), MAX_CONFIG_BYTES));
        return;
    }
    struct package_order o = {.model_id = model_id(r),
                              .body = r->http->body,
                              .loop = r->http->loop,
                              .done = package_registered,
                              .ctx = r};
    struct err *e = request_query_bool(r, "wait_for_completion", false, &o.wait);
    if (e) {
        reply_err(r, e);
        return;
    }
    request_hold(r);
    packages_put(r->api->parts.packages, &o);
}

void put_trained_model(struct request *r)
{
    struct str id = model_id(r);
    struct err *e = check_put(r);
    if (e)
        reply_err(r, e);
    else if (id.n > 1 && id.p[0] == '.')
        put_package(r);
    else
        ml_work(r, put_model);
}

/* --- GET --- */

static struct err *read_include(const struct request *r, struct trained_model_show *how,
                                bool *definition)
{
    static const char *const known[] = {"definition", "total_feature_importance",
                                        "feature_importance_baseline", "hyperparameters",
                                        "definition_status"};
    struct str list = {0}, part;
    *definition = false;
    request_query(r, "include", &list);
    while (str_split(&list, ',', &part)) {
        size_t i = 0;
        part = str_trim(part);
        while (i < 5 && !str_eq_c(part, known[i]))
            i++;
        if (part.n && i == 5)
            return err_new(ERR_ARGUMENT,
                           "unknown [include] parameter [%.*s]. Valid options are "
                           "[definition, total_feature_importance, feature_importance_baseline, "
                           "hyperparameters, definition_status]",
                           STR_ARG(part));
        *definition = *definition || (part.n && i == 0);
        how->definition_status = how->definition_status || i == 4;
    }
    return NULL;
}

static struct err *get_models(struct ml_call *c)
{
    const struct request *r = c->request;
    struct trained_model_show how = {0};
    bool definition, decompress;
    struct ml_list list;
    TRY(request_query_bool(r, "exclude_generated", false, &how.exclude_generated));
    TRY(request_query_bool(r, "decompress_definition", true, &decompress));
    TRY(request_query_bool(r, "human", false, &how.human));
    TRY(read_include(r, &how, &definition));
    how.definition = definition && decompress;
    how.compressed = definition && !decompress;
    TRY(ml_list(c, &list));
    if (definition && list.n > 1) {
        ml_unlist(&list);
        return err_status(400, "Getting model definition is not supported when getting more than "
                               "one model");
    }
    json_obj(c->w);
    json_key_i64(c->w, "count", (int64_t)list.n);
    json_key(c->w, "trained_model_configs");
    json_arr(c->w);
    for (size_t i = 0; i < list.n_page; i++)
        show(c, list.v[list.first + i], how);
    json_end(c->w);
    json_end(c->w);
    ml_unlist(&list);
    return NULL;
}

void get_trained_models(struct request *r)
{
    ml_work(r, get_models);
}

/* --- parts of a definition --- */

struct part_body {
    struct str definition; /* base64; {NULL, 0}: not given */
    int64_t total_bytes, total_parts;
};

static struct err *read_count(struct body *b, const struct json *v, void *out)
{
    return body_i64(b, v, INT64_MIN, INT64_MAX, out);
}

static struct err *read_part(struct ml_call *c, struct part_body *out)
{
    static const struct body_field fields[] = {
        {"definition", BODY_STR, false, body_str, offsetof(struct part_body, definition)},
        {"total_definition_length", BODY_NUM | BODY_STR, false, read_count,
         offsetof(struct part_body, total_bytes)},
        {"total_parts", BODY_NUM | BODY_STR, false, read_count,
         offsetof(struct part_body, total_parts)},
    };
    static const struct body_parser parser = {"trained_model_definition_doc", fields, 3};
    const struct json *json;
    *out = (struct part_body){0};
    TRY(ml_body(c, &json));
    struct body b = {.arena = c->arena, .text = c->request->http->body};
    return body_parse(&b, &parser, json, out);
}

static struct err *check_part(int64_t part, const struct part_body *b)
{
    struct err_list list = {0};
    if (!b->definition.p)
        err_list_add(&list, "[definition] must not be null.");
    if (part < 0)
        err_list_add(&list, "[part] must be greater or equal to 0");
    if (b->total_parts <= 0)
        err_list_add(&list, "[total_parts] must be greater than 0");
    if (b->total_parts > 10000)
        err_list_add(&list, "[total_parts] must be less than or equal to 10000");
    if (b->total_bytes <= 0)
        err_list_add(&list, "[total_definition_length] must be greater than 0");
    if (part >= b->total_parts)
        err_list_add(&list, "[part] must be less than total_parts");
    return err_list_end(&list, ERR_REQUEST);
}

static struct err *put_decoded(struct ml_call *c, uint32_t part, const struct part_body *b)
{
    unsigned char *bytes = malloc(base64_bytes(b->definition.n));
    size_t n;
    if (!bytes)
        return err_new(ERR_TOO_LARGE, "there is no memory for a part of [%zu] bytes",
                       b->definition.n);
    struct err *e = NULL;
    if (base64_decode(b->definition, bytes, &n))
        e = registry_put_part(c->registry, model_id(c->request), part, (uint32_t)b->total_parts,
                              b->total_bytes, str_n((const char *)bytes, n));
    else
        e = err_wrap(err_new(ERR_ARGUMENT, "[definition] is not valid base64"), ERR_X_CONTENT,
                     "[trained_model_definition_doc] failed to parse field [definition]");
    free(bytes);
    return e;
}

static struct err *put_part(struct ml_call *c)
{
    struct part_body b;
    struct str text = request_param(c->request, "part");
    int64_t part;
    if (!str_to_i64(text, &part) || part > INT32_MAX || part < INT32_MIN)
        return err_new(ERR_ARGUMENT, "Failed to parse int parameter [part] with value [%.*s]",
                       STR_ARG(str_sub(text, 0, 64)));
    TRY(read_part(c, &b));
    TRY(check_part(part, &b));
    TRY(put_decoded(c, (uint32_t)part, &b));
    return ml_acknowledge(c);
}

void put_definition_part(struct request *r)
{
    ml_work(r, put_part);
}

/* --- vocabulary --- */

static struct err *put_words(struct ml_call *c)
{
    const struct json *body;
    TRY(ml_body(c, &body));
    TRY(registry_put_vocabulary(c->registry, model_id(c->request), c->request->http->body, body));
    return ml_acknowledge(c);
}

void put_vocabulary(struct request *r)
{
    ml_work(r, put_words);
}

/* --- DELETE --- */

static struct err *delete_model(struct ml_call *c)
{
    struct str id = model_id(c->request);
    TRY(registry_delete(c->registry, id));
    return ml_acknowledge(c);
}

static void nothing_is_fetched(void *ctx)
{
    struct request *r = ctx;
    if (request_back(r))
        ml_work(r, delete_model);
}

static void cancel_fetch(struct request *r)
{
    request_hold(r);
    packages_cancel(r->api->parts.packages, model_id(r), r->http->loop, nothing_is_fetched, r);
}

static void stopped(void *ctx, struct err *e)
{
    struct request *r = ctx;
    if (!request_back(r)) {
        err_free(e);
        return;
    }
    if (e)
        reply_err(r, e);
    else
        cancel_fetch(r);
}

static struct err *delete_query(const struct request *r, bool *force)
{
    int64_t timeout_ms;
    TRY(request_query_ms(r, "timeout", 30000, &timeout_ms));
    return request_query_bool(r, "force", false, force);
}

void delete_trained_model(struct request *r)
{
    bool force;
    struct str id = model_id(r);
    struct err *e = delete_query(r, &force);
    if (!e && !force && models_deployed(r->api->parts.models, id))
        e = err_status(409,
                       "Cannot delete model [%.*s] as it is currently deployed; use force to "
                       "delete the model",
                       STR_ARG(id));
    if (e) {
        reply_err(r, e);
    } else if (force) {
        request_hold(r);
        models_stop_all(r->api->parts.models, id, r->http->loop, stopped, r);
    } else {
        cancel_fetch(r);
    }
}

/* --- aliases --- */

static struct err *put_alias(struct ml_call *c)
{
    bool reassign;
    TRY(request_query_bool(c->request, "reassign", false, &reassign));
    TRY(registry_put_alias(c->registry, request_param(c->request, "model_alias"),
                           model_id(c->request), reassign));
    return ml_acknowledge(c);
}

static struct err *drop_alias(struct ml_call *c)
{
    TRY(registry_drop_alias(c->registry, request_param(c->request, "model_alias"),
                            model_id(c->request)));
    return ml_acknowledge(c);
}

void put_model_alias(struct request *r)
{
    ml_work(r, put_alias);
}

void delete_model_alias(struct request *r)
{
    ml_work(r, drop_alias);
}
