#include "extras.h"

#include <stdlib.h>

#include "bug.h"
#include "private.h"

const struct extras extras_none;

static void extras_free(struct endpoint *ep)
{
    struct extras *x = ep->group;
    if (!x)
        return;
    limit_group_unref(x->group);
    tally_unref(x->tally);
    cache_free(x->cache);
    free(x);
    ep->group = NULL;
}

/* --- the rate limit group --- */

static void group_key_value(struct buf *key, const struct value *v, const struct setting *row)
{
    buf_char(key, '\0');
    if (!v || !v->set)
        return;
    if (row->place == IN_SECRET)
        buf_put(key, secret_reveal(v->secret));
    else if (row->type == SETTING_STR || row->type == SETTING_URL || row->type == SETTING_ENUM)
        buf_put(key, v->s);
}

/* Only a digest of the key is kept, for it holds credentials. */
static struct limit_group *group_of(struct inference *inf, const struct endpoint *ep)
{
    const struct value *rate = settings_get(&ep->values, "rate_limit");
    if (!rate || !rate->set || rate->i <= 0 || ep->provider->local)
        return NULL;
    struct buf key;
    buf_init(&key, SIZE_MAX);
    buf_printf(&key, "%s %lld", ep->provider->name, (long long)rate->i);
    for (const char *const *name = ep->provider->group_by; name && *name; name++) {
        int i = settings_find(ep->values.table, *name);
        if (i >= 0)
            group_key_value(&key, &ep->values.v[i], &ep->values.table->rows[i]);
    }
    char digest[SECRET_DIGEST_BYTES];
    secret_digest(buf_str(&key), digest);
    secret_wipe(key.p, key.n);
    buf_deinit(&key);
    return limiter_group(inf->limiter, str_n(digest, sizeof digest), rate->i);
}

/* --- reading objects of sizes and times --- */

static const struct json *object_of(const struct endpoint *ep, const char *name)
{
    const struct value *v = settings_get(&ep->values, name);
    return v && v->set ? v->json : NULL;
}

static void unknown_members(struct err_list *list, const char *name, const struct json *object,
                            const char *const *known)
{
    struct json_iter it = json_iter(object);
    for (const struct json *v; (v = json_next(&it));) {
        const char *const *k = known;
        while (*k && !str_eq_c(v->key, *k))
            k++;
        if (!*k)
            err_list_add(list, "[%s] does not allow the setting [%.*s]", name, STR_ARG(v->key));
    }
}

/* A duration above zero; absent leaves *out. */
static void read_ms(struct err_list *list, const char *name, const struct json *object,
                    const char *member, int64_t *out)
{
    struct str text;
    int64_t ms;
    const struct json *v = json_get(object, member);
    if (json_is_null(v))
        return;
    if (json_str(v, &text) && str_to_ms(text, &ms) && ms > 0 && ms <= INT64_C(86400000) * 365)
        *out = ms;
    else
        err_list_add(list, "[%s] Invalid value [%.*s]. [%s] must be a time such as [500ms]", name,
                     STR_ARG(json_raw(v)), member);
}

static void read_bytes(struct err_list *list, const char *name, const struct json *object,
                       const char *member, uint64_t most, uint64_t *out)
{
    struct str text;
    uint64_t bytes;
    const struct json *v = json_get(object, member);
    if (json_is_null(v))
        return;
    if (json_str(v, &text) && str_to_bytes(text, &bytes) && bytes > 0 && bytes <= most)
        *out = bytes;
    else
        err_list_add(list, "[%s] Invalid value [%.*s]. [%s] must be a size up to [%llu] bytes",
                     name, STR_ARG(json_raw(v)), member, (unsigned long long)most);
}

/* --- one setting each --- */

#define CACHE_DEFAULT_BYTES (UINT64_C(16) << 20)
#define CACHE_MOST_BYTES    (UINT64_C(4) << 30)
#define CACHE_DEFAULT_MS    600000

static void read_cache(struct err_list *list, const struct endpoint *ep, struct extras *x)
{
    static const char *const known[] = {"max_size", "ttl", NULL};
    const struct json *object = object_of(ep, "cache");
    if (!object)
        return;
    uint64_t bytes = CACHE_DEFAULT_BYTES;
    int64_t ttl_ms = CACHE_DEFAULT_MS;
    int before = list->n;
    unknown_members(list, "cache", object, known);
    read_bytes(list, "cache", object, "max_size", CACHE_MOST_BYTES, &bytes);
    read_ms(list, "cache", object, "ttl", &ttl_ms);
    if (list->n == before)
        x->cache = cache_new((size_t)bytes, ttl_ms);
}

static void read_hedge(struct err_list *list, const struct endpoint *ep, struct extras *x)
{
    static const char *const known[] = {"after", NULL};
    const struct json *object = object_of(ep, "hedge");
    if (!object)
        return;
    unknown_members(list, "hedge", object, known);
    read_ms(list, "hedge", object, "after", &x->hedge_ms);
    if (json_is_null(json_get(object, "after")))
        err_list_add(list, "[hedge] does not contain the required setting [after]");
}

static void read_timeouts(struct err_list *list, const struct endpoint *ep, struct extras *x)
{
    static const char *const known[] = {"first_token", "stall", "total", NULL};
    const struct json *object = object_of(ep, "timeouts");
    if (!object)
        return;
    unknown_members(list, "timeouts", object, known);
    read_ms(list, "timeouts", object, "first_token", &x->first_token_ms);
    read_ms(list, "timeouts", object, "stall", &x->stall_ms);
    read_ms(list, "timeouts", object, "total", &x->total_ms);
}

#define MAX_FALLBACKS 16

static void read_fallback(struct err_list *list, struct endpoint *ep, struct extras *x)
{
    const struct json *ids = object_of(ep, "fallback");
    if (!ids)
        return;
    if (ids->n > MAX_FALLBACKS) {
        err_list_add(list,
                     "[service_settings] Invalid value. [fallback] must have at most [%d] "
                     "endpoints",
                     MAX_FALLBACKS);
        return;
    }
    x->fallback = arena_array(ep->arena, ids->n + 1, sizeof *x->fallback);
    struct json_iter it = json_iter(ids);
    for (const struct json *v; (v = json_next(&it));) {
        struct str id;
        if (!json_str(v, &id) || str_eq(id, ep->id))
            err_list_add(list,
                         "[service_settings] Invalid value [%.*s]. [fallback] must name "
                         "other endpoints",
                         STR_ARG(json_raw(v)));
        else
            x->fallback[x->n_fallback++] = arena_dup(ep->arena, id);
    }
}

struct err *extras_attach(struct inference *inf, struct endpoint *ep, const struct endpoint *before)
{
    struct extras *x = mem_new(sizeof *x);
    struct err_list list = {0};
    BUG_ON(ep->group);
    ep->group = x;
    ep->on_free = extras_free;
    x->group = group_of(inf, ep);
    struct tally *tally = before ? extras_of(before)->tally : NULL;
    x->tally = tally ? tally_ref(tally) : tally_new();
    read_fallback(&list, ep, x);
    read_cache(&list, ep, x);
    read_hedge(&list, ep, x);
    read_timeouts(&list, ep, x);
    x->egress = egress_read(&list, ep);
    /* What is wrong with a way of our own says nothing about the others'. */
    bool shared = x->group && !x->egress;
    x->circuit = shared ? limit_group_circuit(x->group) : &x->own_circuit;
    return err_list_end(&list, ERR_VALIDATION);
}

/* --- fallbacks against what there is --- */

static struct str text_setting(const struct endpoint *ep, const char *name)
{
    const struct value *v = settings_get(&ep->values, name);
    return v && v->set ? v->s : (struct str){0};
}

static struct str model_of(const struct endpoint *ep)
{
    struct str id = text_setting(ep, "model_id");
    return id.n ? id : text_setting(ep, "model");
}

/* What the numbers are: packed bits look as long as floats, and mean nothing beside them. */
static struct str kind_of(const struct endpoint *ep)
{
    struct str kind = text_setting(ep, "embedding_type");
    const struct json *response = object_of(ep, "response"); /* of a custom service */
    if (!kind.n)
        kind = text_setting(ep, "element_type");
    if (!kind.n)
        json_str(json_path(response, "json_parser", "embedding_type", NULL), &kind);
    if (!kind.n)
        return STR("float");
    if (str_eq(kind, STR("int8")))
        return STR("byte");
    return str_eq(kind, STR("binary")) ? STR("bit") : kind;
}

static int64_t dimensions_of(const struct endpoint *ep)
{
    const struct value *v = settings_get(&ep->values, "dimensions");
    return v && v->set ? v->i : 0;
}

struct err *extras_agree(const struct endpoint *ep, const struct endpoint *other)
{
    if (other->task != ep->task)
        return err_status(400,
                          "The endpoint [%.*s] cannot be a fallback of [%.*s]: its task type is "
                          "[%s], not [%s]",
                          STR_ARG(other->id), STR_ARG(ep->id), task_name(other->task),
                          task_name(ep->task));
    if (ep->task != TASK_TEXT_EMBEDDING && ep->task != TASK_SPARSE_EMBEDDING)
        return NULL;
    struct str model = model_of(ep), other_model = model_of(other);
    if (!model.n || !str_eq(model, other_model))
        return err_status(400,
                          "The endpoint [%.*s] cannot be a fallback of [%.*s]: embeddings of the "
                          "models [%.*s] and [%.*s] cannot be compared",
                          STR_ARG(other->id), STR_ARG(ep->id), STR_ARG(other_model),
                          STR_ARG(model));
    struct str kind = kind_of(ep), other_kind = kind_of(other);
    if (!str_eq(kind, other_kind))
        return err_status(400,
                          "The endpoint [%.*s] cannot be a fallback of [%.*s]: its embeddings are "
                          "of type [%.*s], not [%.*s]",
                          STR_ARG(other->id), STR_ARG(ep->id), STR_ARG(other_kind), STR_ARG(kind));
    if (dimensions_of(ep) != dimensions_of(other))
        return err_status(400,
                          "The endpoint [%.*s] cannot be a fallback of [%.*s]: its embeddings have "
                          "[%lld] dimensions, not [%lld]",
                          STR_ARG(other->id), STR_ARG(ep->id), (long long)dimensions_of(other),
                          (long long)dimensions_of(ep));
    return NULL;
}

struct err *extras_check_fallback(struct inference *inf, const struct endpoint *ep)
{
    const struct extras *x = extras_of(ep);
    for (size_t i = 0; i < x->n_fallback; i++) {
        struct endpoint *other = inference_find(inf, x->fallback[i]);
        if (!other)
            return err_status(400, "The fallback endpoint [%.*s] does not exist",
                              STR_ARG(x->fallback[i]));
        struct err *e = extras_agree(ep, other);
        endpoint_unref(other);
        if (e)
            return e;
    }
    return NULL;
}
