/* index_settings: what _security/settings keeps. The indices that these settings are about do not
 * exist here; they are checked, kept and shown as Elasticsearch does on a single node.
 * Source: Elasticsearch 9.1, "Update security index settings". */
#include "log.h"
#include "private.h"

#define DOC STR("security_settings") /* of STORE_META: {"security": {"index.number_...": "1"}} */

static const char *const indices[] = {"security", "security-profile", "security-tokens", NULL};
static const char *const settings[] = {"index.number_of_replicas", "index.auto_expand_replicas",
                                       "index.routing.allocation.include._tier_preference", NULL};
enum { REPLICAS, EXPAND, TIER, N_SETTINGS };

/* p NULL: reset to what an index has by itself. */
struct values {
    struct str v[N_SETTINGS];
};

static const struct values fresh = {
    .v =
        {[REPLICAS] = STR_INIT("0"), [EXPAND] = STR_INIT("0-1"), [TIER] = STR_INIT("data_content")},
};

/* --- reading --- */

static struct err *bad(const char *name, struct str value)
{
    return err_new(ERR_ARGUMENT, "Failed to parse value [%.*s] for setting [%s]", STR_ARG(value),
                   name);
}

/* "0-5", "0-all", "false" */
static bool expand_ok(struct str s)
{
    struct str rest = s, low, high;
    int64_t a, b;
    if (str_eq(s, STR("false")))
        return true;
    if (!str_split(&rest, '-', &low) || !str_split(&rest, '-', &high) || rest.n ||
        !str_to_i64(low, &a) || a < 0)
        return false;
    return str_eq(high, STR("all")) || (str_to_i64(high, &b) && b >= a);
}

static bool tier_ok(struct str s)
{
    static const char *const tiers[] = {"data_content", "data_hot", "data_warm", "data_cold"};
    for (struct str one; str_split(&s, ',', &one);) {
        bool known = false;
        for (size_t i = 0; i < sizeof tiers / sizeof *tiers; i++)
            known = known || str_eq_c(str_trim(one), tiers[i]);
        if (!known)
            return false;
    }
    return true;
}

static struct err *read_value(const struct json *v, int which, struct str *out)
{
    int64_t n;
    *out = (struct str){0};
    if (json_is_null(v))
        return NULL;
    if (!json_str(v, out))
        *out = json_raw(v);
    bool ok = !json_is(v, JSON_ARRAY) && !json_is(v, JSON_OBJECT);
    if (which == REPLICAS)
        ok = ok && str_to_i64(*out, &n) && n >= 0 && n <= INT32_MAX;
    else
        ok = ok && (which == EXPAND ? expand_ok(*out) : tier_ok(*out));
    return ok ? NULL : bad(settings[which], *out);
}

static int setting_of(struct str name)
{
    for (int i = 0; i < N_SETTINGS; i++)
        if (str_eq_c(name, settings[i]))
            return i;
    return -1;
}

/* One index's part of a body, or of what is kept. */
static struct err *read_part(const struct json *part, const char *index, struct values *io)
{
    struct json_iter it = json_iter(part);
    for (const struct json *m; (m = json_next(&it));) {
        int which = setting_of(m->key);
        if (which < 0)
            return invalid("illegal setting for index [%s]: [%.*s], this setting may not be "
                           "configured. Only the following settings may be configured for that "
                           "index: [%s, %s, %s]",
                           index, STR_ARG(m->key), settings[0], settings[1], settings[2]);
        TRY(read_value(m, which, &io->v[which]));
    }
    return NULL;
}

static struct err *read_kept(struct security *s, struct arena *a, struct values out[3])
{
    struct doc d;
    const struct json *root = NULL;
    struct err *e = store_get(s->store, STORE_META, DOC, a, &d);
    if (e && e->kind != ERR_NOT_FOUND)
        return e;
    if (!e)
        TRY(json_parse(a, d.body, &root));
    err_free(e);
    for (int i = 0; i < 3; i++) {
        const struct json *part = json_get(root, indices[i]);
        out[i] = part ? (struct values){0} : fresh;
        TRY(read_part(part, indices[i], &out[i]));
    }
    return NULL;
}

/* --- showing --- */

/* How many replicas a single node has of it: as many as must be, if they follow the nodes. */
static struct str replicas(const struct values *v)
{
    struct str rest = v->v[EXPAND], low;
    if (rest.p && !str_eq(rest, STR("false")) && str_split(&rest, '-', &low))
        return low;
    return v->v[REPLICAS].p ? v->v[REPLICAS] : STR("1");
}

static void render(const struct values *v, struct json_out *w)
{
    json_obj(w);
    json_key(w, "index");
    json_obj(w);
    if (v->v[EXPAND].p)
        json_key_str(w, "auto_expand_replicas", v->v[EXPAND]);
    json_key_str(w, "number_of_replicas", replicas(v));
    if (v->v[TIER].p) {
        json_key(w, "routing");
        json_obj(w);
        json_key(w, "allocation");
        json_obj(w);
        json_key(w, "include");
        json_obj(w);
        json_key_str(w, "_tier_preference", v->v[TIER]);
        json_end(w);
        json_end(w);
        json_end(w);
    }
    json_end(w);
    json_end(w);
}

struct err *index_settings_get(struct security *s, struct security_call *c)
{
    struct values v[3];
    TRY(read_kept(s, c->arena, v));
    json_obj(c->out);
    for (int i = 0; i < 3; i++) {
        json_key(c->out, indices[i]);
        render(&v[i], c->out);
    }
    json_end(c->out);
    return NULL;
}

/* --- changing --- */

static struct err *read_body(const struct json *body, struct values io[3])
{
    uint32_t n = 0;
    TRY(only_members(body, "update_security_settings_request", indices));
    for (int i = 0; i < 3; i++) {
        const struct json *part = json_get(body, indices[i]);
        if (json_is_null(part))
            continue;
        if (!json_is(part, JSON_OBJECT))
            return err_new(ERR_X_CONTENT,
                           "[update_security_settings_request] [%s] is not an object", indices[i]);
        TRY(read_part(part, indices[i], &io[i]));
        n += part->n;
    }
    return n ? NULL : invalid("No settings given to update");
}

static struct err *keep(struct security *s, const struct values v[3])
{
    struct buf b;
    struct json_out w;
    buf_init(&b, (size_t)1 << 20);
    json_out_init(&w, &b);
    json_obj(&w);
    for (int i = 0; i < 3; i++) {
        json_key(&w, indices[i]);
        json_obj(&w);
        for (int k = 0; k < N_SETTINGS; k++)
            if (v[i].v[k].p)
                json_key_str(&w, settings[k], v[i].v[k]);
        json_end(&w);
    }
    json_end(&w);
    struct err *e = b.full ? err_new(ERR_TOO_LARGE, "the settings are too large")
                           : store_put(s->store, STORE_META, DOC, buf_str(&b), STORE_ANY_REV, NULL);
    buf_deinit(&b);
    return e;
}

struct err *index_settings_put(struct security *s, struct security_call *c)
{
    struct values v[3];
    pthread_mutex_lock(&s->writing);
    struct err *e = read_kept(s, c->arena, v);
    if (!e)
        e = read_body(c->body, v);
    if (!e)
        e = keep(s, v);
    pthread_mutex_unlock(&s->writing);
    TRY(e);
    log_info("security settings put", LOG_C("by", c->user->name));
    json_obj(c->out);
    json_key_bool(c->out, "acknowledged", true);
    json_end(c->out);
    return NULL;
}
