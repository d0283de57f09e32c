/* GET _cluster/settings: the options that decide about models and services. They are given when the
 * server starts and all stand under "defaults", as those of elasticsearch.yml do; none is
 * persistent or transient. */
#include "handlers.h"
#include "reply.h"

static bool is_shown(const char *name)
{
    static const struct str prefixes[] = {STR_INIT("inference.local."),
                                          STR_INIT("xpack.inference."), STR_INIT("xpack.ml.")};
    for (size_t i = 0; i < sizeof prefixes / sizeof prefixes[0]; i++) {
        if (str_starts(str_c(name), prefixes[i]))
            return true;
    }
    return false;
}

static void flat(const struct api_options *o, struct json_out *w)
{
    for (size_t i = 0; i < o->n_settings; i++) {
        if (is_shown(o->settings[i].name))
            json_key_cstr(w, o->settings[i].name, o->settings[i].value);
    }
}

/* The parts of a name that it has in common with `open`, all but its last. */
static size_t in_common(struct str name, struct str open)
{
    size_t n = 0, end = 0;
    while (end < name.n && end < open.n && name.p[end] == open.p[end]) {
        if (name.p[end++] == '.')
            n = end;
    }
    return n;
}

static void close_parts(struct str parts, struct json_out *w)
{
    for (size_t i = 0; i < parts.n; i++) {
        if (parts.p[i] == '.')
            json_end(w);
    }
}

/* Names are sorted, so what has a beginning in common stands together. */
static void nested(const struct api_options *o, struct json_out *w)
{
    struct str open = STR(""), part; /* "xpack.ml.": the objects that are open */
    for (size_t i = 0; i < o->n_settings; i++) {
        struct str name = str_c(o->settings[i].name);
        if (!is_shown(o->settings[i].name))
            continue;
        size_t common = in_common(name, open);
        close_parts(str_sub(open, common, SIZE_MAX), w);
        struct str rest = str_sub(name, common, SIZE_MAX);
        while (str_split(&rest, '.', &part) && rest.p) {
            json_key_s(w, part);
            json_obj(w);
        }
        json_key_s(w, part);
        json_put_cstr(w, o->settings[i].value);
        open = str_sub(name, 0, (size_t)(part.p - name.p));
    }
    close_parts(open, w);
}

static struct err *render(const struct request *r, struct json_out *w)
{
    bool defaults, is_flat;
    TRY(request_query_bool(r, "include_defaults", false, &defaults));
    TRY(request_query_bool(r, "flat_settings", false, &is_flat));
    json_obj(w);
    json_key_raw(w, "persistent", STR("{}"));
    json_key_raw(w, "transient", STR("{}"));
    if (defaults) {
        json_key(w, "defaults");
        json_obj(w);
        if (is_flat)
            flat(&r->api->options, w);
        else
            nested(&r->api->options, w);
        json_end(w);
    }
    json_end(w);
    return NULL;
}

void get_cluster_settings(struct request *r)
{
    struct buf b;
    struct json_out w;
    reply_buf_init(&b);
    json_out_init(&w, &b);
    struct err *e = render(r, &w);
    if (!e) {
        reply_json(r, 200, &b);
        return;
    }
    buf_deinit(&b);
    reply_err(r, e);
}
