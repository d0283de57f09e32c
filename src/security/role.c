#include "role.h"

#include "private.h"
#include "privilege.h"

#define MAX_DESCRIPTION 1000

static const struct {
    struct str name, description, descriptor;
} built_in[] = {
#define X(name, description, descriptor)                                                           \
    {STR_INIT(name), STR_INIT(description), STR_INIT(descriptor)},
#include "roles.def"
#undef X
};
#define N_BUILT_IN (sizeof built_in / sizeof *built_in)

/* Names that Elasticsearch keeps for itself. */
bool role_is_reserved(struct str name)
{
    static const char *const reserved[] = {"apm_system",
                                           "apm_user",
                                           "beats_admin",
                                           "beats_system",
                                           "data_frame_transforms_admin",
                                           "data_frame_transforms_user",
                                           "editor",
                                           "enrich_user",
                                           "inference_admin",
                                           "inference_user",
                                           "ingest_admin",
                                           "kibana_admin",
                                           "kibana_system",
                                           "kibana_user",
                                           "logstash_admin",
                                           "logstash_system",
                                           "machine_learning_admin",
                                           "machine_learning_user",
                                           "monitoring_user",
                                           "remote_monitoring_agent",
                                           "remote_monitoring_collector",
                                           "reporting_user",
                                           "rollup_admin",
                                           "rollup_user",
                                           "snapshot_user",
                                           "superuser",
                                           "transform_admin",
                                           "transform_user",
                                           "transport_client",
                                           "viewer",
                                           "watcher_admin",
                                           "watcher_user"};
    for (size_t i = 0; i < sizeof reserved / sizeof *reserved; i++)
        if (str_eq_c(name, reserved[i]))
            return true;
    return false;
}

/* --- reading --- */

struct reading {
    struct arena *arena;
    struct str name; /* the role's, for error texts */
    struct json_out w;
    struct role *role;
};

static struct err *bad(const struct reading *rd, const char *field, const char *wanted)
{
    return err_new(ERR_PARSE, "failed to parse role [%.*s]. expected field [%s] to be %s",
                   STR_ARG(rd->name), field, wanted);
}

/* A text or an array of texts, written as an array. */
static struct err *copy_texts(struct reading *rd, const char *field, const struct json *v)
{
    struct str s;
    json_key(&rd->w, field);
    json_arr(&rd->w);
    if (json_str(v, &s)) {
        json_put_str(&rd->w, s);
    } else if (!json_is_null(v)) {
        if (!json_is(v, JSON_ARRAY))
            return bad(rd, field, "a string or an array of strings");
        struct json_iter it = json_iter(v);
        for (const struct json *e; (e = json_next(&it));) {
            if (!json_str(e, &s))
                return bad(rd, field, "a string or an array of strings");
            json_put_str(&rd->w, s);
        }
    }
    json_end(&rd->w);
    return NULL;
}

static struct err *read_cluster(struct reading *rd, const struct json *v)
{
    if (!json_is_null(v) && !json_is(v, JSON_ARRAY))
        return bad(rd, "cluster", "an array of strings");
    struct role *role = rd->role;
    role->patterns = arena_array(rd->arena, v ? v->n + 1 : 1, sizeof *role->patterns);
    struct json_iter it = json_iter(v);
    struct str name;
    json_key(&rd->w, "cluster");
    json_arr(&rd->w);
    for (const struct json *e; (e = json_next(&it));) {
        enum privilege p;
        if (!json_str(e, &name))
            return bad(rd, "cluster", "an array of strings");
        if (privilege_is_pattern(name)) {
            role->patterns[role->n_patterns++] = arena_dup(rd->arena, name);
            role->bits |= privilege_of_pattern(name);
        } else if (privilege_parse(name, &p)) {
            if (p != N_PRIVILEGES)
                role->bits |= privilege_closure(p);
        } else {
            return err_new(ERR_ARGUMENT,
                           "unknown cluster privilege [%.*s]. a privilege must be either one of "
                           "the predefined cluster privilege names or a pattern over one of the "
                           "available cluster actions",
                           STR_ARG(name));
        }
        role->empty = role->empty && str_eq(name, STR("none"));
        json_put_str(&rd->w, name);
    }
    json_end(&rd->w);
    return NULL;
}

static bool known(struct str key, const char *const *names)
{
    for (; *names; names++)
        if (str_eq_c(key, *names))
            return true;
    return false;
}

static struct err *read_index_entry(struct reading *rd, const struct json *v)
{
    static const char *const fields[] = {
        "names",    "privileges", "field_security", "query", "allow_restricted_indices",
        "clusters", NULL};
    struct json_iter it = json_iter(v);
    bool restricted = false;
    if (!json_is(v, JSON_OBJECT))
        return bad(rd, "indices", "an array of objects");
    for (const struct json *m; (m = json_next(&it));)
        if (!known(m->key, fields))
            return err_new(ERR_PARSE,
                           "failed to parse indices privileges for role [%.*s]. unexpected field "
                           "[%.*s]",
                           STR_ARG(rd->name), STR_ARG(m->key));
    for (int i = 0; i < 2; i++)
        if (json_is_null(json_get(v, fields[i])))
            return err_new(ERR_PARSE,
                           "failed to parse indices privileges for role [%.*s]. missing required "
                           "[%s] field",
                           STR_ARG(rd->name), fields[i]);
    json_obj(&rd->w);
    if (json_get(v, "clusters"))
        TRY(copy_texts(rd, "clusters", json_get(v, "clusters")));
    TRY(copy_texts(rd, "names", json_get(v, "names")));
    TRY(copy_texts(rd, "privileges", json_get(v, "privileges")));
    for (int i = 2; i < 4; i++)
        if (!json_is_null(json_get(v, fields[i])))
            json_key_raw(&rd->w, fields[i], json_raw(json_get(v, fields[i])));
    json_bool(json_get(v, "allow_restricted_indices"), &restricted);
    json_key_bool(&rd->w, "allow_restricted_indices", restricted);
    json_end(&rd->w);
    rd->role->empty = false;
    return NULL;
}

static struct err *read_indices(struct reading *rd, const char *field, const struct json *v)
{
    if (!json_is_null(v) && !json_is(v, JSON_ARRAY))
        return bad(rd, field, "an array of objects");
    struct json_iter it = json_iter(v);
    json_key(&rd->w, field);
    json_arr(&rd->w);
    for (const struct json *e; (e = json_next(&it));)
        TRY(read_index_entry(rd, e));
    json_end(&rd->w);
    return NULL;
}

static struct err *read_applications(struct reading *rd, const struct json *v)
{
    if (!json_is_null(v) && !json_is(v, JSON_ARRAY))
        return bad(rd, "applications", "an array of objects");
    struct json_iter it = json_iter(v);
    json_key(&rd->w, "applications");
    json_arr(&rd->w);
    for (const struct json *e; (e = json_next(&it));) {
        struct str name;
        if (!json_str(json_get(e, "application"), &name))
            return bad(rd, "applications", "an array of objects with an [application]");
        json_obj(&rd->w);
        json_key_str(&rd->w, "application", name);
        TRY(copy_texts(rd, "privileges", json_get(e, "privileges")));
        TRY(copy_texts(rd, "resources", json_get(e, "resources")));
        json_end(&rd->w);
        rd->role->empty = false;
    }
    json_end(&rd->w);
    return NULL;
}

static struct err *read_number(struct reading *rd, const struct json *limits, const char *name,
                               int64_t *out)
{
    const struct json *v = json_get(limits, name);
    if (!v)
        return NULL;
    if (!json_i64(v, out) || *out < 1 || *out > INT64_C(1) << 50)
        return bad(rd, "metadata.inferd.limits", "an object of positive integers");
    return NULL;
}

static struct err *read_limits(struct reading *rd, const struct json *metadata)
{
    static const char *const names[] = {"requests_per_minute", "concurrency", "tokens_per_month",
                                        NULL};
    const struct json *v = json_path(metadata, "inferd", "limits", NULL);
    struct usage_limits *l = &rd->role->limits;
    if (!v)
        return NULL;
    if (!json_is(v, JSON_OBJECT))
        return bad(rd, "metadata.inferd.limits", "an object of positive integers");
    TRY(only_members(v, "metadata.inferd.limits", names));
    TRY(read_number(rd, v, names[0], &l->requests_per_minute));
    TRY(read_number(rd, v, names[1], &l->concurrency));
    return read_number(rd, v, names[2], &l->tokens_per_month);
}

static struct err *read_limit(struct reading *rd, const struct json *metadata)
{
    const struct json *v = json_path(metadata, "inferd", "endpoints", NULL);
    if (!v)
        return NULL;
    struct role *role = rd->role;
    if (!json_is(v, JSON_ARRAY))
        return bad(rd, "metadata.inferd.endpoints", "an array of strings");
    role->limited = true;
    role->endpoints = arena_array(rd->arena, v->n + 1, sizeof *role->endpoints);
    struct json_iter it = json_iter(v);
    for (const struct json *e; (e = json_next(&it));) {
        struct str s;
        if (!json_str(e, &s))
            return bad(rd, "metadata.inferd.endpoints", "an array of strings");
        role->endpoints[role->n_endpoints++] = arena_dup(rd->arena, s);
    }
    return NULL;
}

static struct err *read_rest(struct reading *rd, const struct json *v)
{
    static const char *const objects[] = {"global", "restriction", "remote_indices",
                                          "remote_cluster"};
    const struct json *metadata = json_get(v, "metadata");
    struct str description;
    if (!json_is_null(metadata) && !json_is(metadata, JSON_OBJECT))
        return bad(rd, "metadata", "an object");
    TRY(read_limit(rd, metadata));
    TRY(read_limits(rd, metadata));
    for (size_t i = 0; i < 4; i++) {
        const struct json *m = json_get(v, objects[i]);
        if (json_is_null(m))
            continue;
        json_key_raw(&rd->w, objects[i], json_raw(m));
        rd->role->empty = false;
    }
    json_key_raw(&rd->w, "metadata", json_is_null(metadata) ? STR("{}") : json_raw(metadata));
    json_key_raw(&rd->w, "transient_metadata", STR("{\"enabled\":true}"));
    if (json_is_null(json_get(v, "description")))
        return NULL;
    if (!json_str(json_get(v, "description"), &description))
        return bad(rd, "description", "a string");
    if (description.n > MAX_DESCRIPTION)
        return err_new(ERR_REQUEST,
                       "Validation Failed: 1: Role description must be less than %d characters.;",
                       MAX_DESCRIPTION);
    json_key_str(&rd->w, "description", description);
    return NULL;
}

static struct err *read_all(struct reading *rd, const struct json *v)
{
    static const char *const fields[] = {"cluster",
                                         "indices",
                                         "index",
                                         "applications",
                                         "run_as",
                                         "metadata",
                                         "description",
                                         "remote_indices",
                                         "transient_metadata",
                                         "global",
                                         "restriction",
                                         "remote_cluster",
                                         NULL};
    struct json_iter it = json_iter(v);
    if (!json_is(v, JSON_OBJECT))
        return err_new(ERR_PARSE, "failed to parse role [%.*s]. expected an object",
                       STR_ARG(rd->name));
    for (const struct json *m; (m = json_next(&it));)
        if (!known(m->key, fields))
            return err_new(ERR_PARSE, "failed to parse role [%.*s]. unexpected field [%.*s]",
                           STR_ARG(rd->name), STR_ARG(m->key));
    const struct json *indices = json_get(v, "indices");
    json_obj(&rd->w);
    TRY(read_cluster(rd, json_get(v, "cluster")));
    TRY(read_indices(rd, "indices", indices ? indices : json_get(v, "index")));
    TRY(read_applications(rd, json_get(v, "applications")));
    TRY(copy_texts(rd, "run_as", json_get(v, "run_as")));
    const struct json *run_as = json_get(v, "run_as");
    if (run_as && (!json_is(run_as, JSON_ARRAY) || run_as->n))
        rd->role->empty = false;
    TRY(read_rest(rd, v));
    json_end(&rd->w);
    return NULL;
}

struct err *role_read(struct arena *arena, struct str name, const struct json *descriptor,
                      struct role **out)
{
    struct buf text;
    buf_init(&text, (size_t)4 << 20);
    struct role *role = arena_alloc(arena, sizeof *role);
    struct reading rd = {.arena = arena, .name = name, .role = role};
    role->name = arena_dup(arena, name);
    role->empty = true;
    json_out_init(&rd.w, &text);
    struct err *e = read_all(&rd, descriptor);
    if (!e && text.full)
        e = err_new(ERR_TOO_LARGE, "the descriptor of role [%.*s] is too large", STR_ARG(name));
    if (!e) {
        role->text = arena_dup(arena, buf_str(&text));
        e = json_parse(arena, role->text, &role->body);
    }
    buf_deinit(&text);
    *out = role;
    return e;
}

/* --- several --- */

void rights_add(struct rights *r, const struct role *role)
{
    r->roles[r->n++] = role;
    r->bits |= role->bits;
}

struct err *rights_read(struct arena *arena, const struct json *descriptors, struct rights *out)
{
    *out = (struct rights){0};
    if (json_is_null(descriptors))
        return NULL;
    if (!json_is(descriptors, JSON_OBJECT))
        return err_new(ERR_PARSE, "expected [role_descriptors] to be an object");
    out->roles = arena_array(arena, descriptors->n + 1, sizeof *out->roles);
    struct json_iter it = json_iter(descriptors);
    for (const struct json *m; (m = json_next(&it));) {
        struct role *role;
        TRY(role_read(arena, m->key, m, &role));
        rights_add(out, role);
    }
    return NULL;
}

void rights_render(const struct rights *r, struct json_out *w)
{
    json_obj(w);
    for (size_t i = 0; i < r->n; i++) {
        json_key_s(w, r->roles[i]->name);
        json_put_raw(w, r->roles[i]->text);
    }
    json_end(w);
}

static bool role_allows(const struct role *role, enum privilege needs, struct str action)
{
    if (role->bits >> needs & 1)
        return true;
    for (size_t i = 0; i < role->n_patterns; i++)
        if (pattern_match(role->patterns[i], action))
            return true;
    return false;
}

static bool role_reaches(const struct role *role, struct str endpoint)
{
    for (size_t i = 0; i < role->n_endpoints; i++)
        if (pattern_match(role->endpoints[i], endpoint))
            return true;
    return !role->limited;
}

bool rights_allow(const struct rights *r, enum privilege needs, struct str action)
{
    for (size_t i = 0; i < r->n; i++)
        if (role_allows(r->roles[i], needs, action))
            return true;
    return false;
}

bool rights_allow_on(const struct rights *r, enum privilege needs, struct str action,
                     struct str endpoint)
{
    for (size_t i = 0; i < r->n; i++)
        if (role_reaches(r->roles[i], endpoint) && role_allows(r->roles[i], needs, action))
            return true;
    return false;
}

bool rights_limited(const struct rights *r)
{
    for (size_t i = 0; i < r->n; i++)
        if (r->roles[i]->limited)
            return true;
    return false;
}

/* --- the built-in ones --- */

static struct err *read_built_in(struct arena *arena, size_t i, struct role **out)
{
    struct str d = built_in[i].descriptor;
    struct str text =
        arena_printf(arena, "%.*s,\"metadata\":{\"_reserved\":true},\"description\":\"%s\"}",
                     (int)(d.n - 1), d.p, built_in[i].description.p);
    const struct json *body;
    TRY(json_parse(arena, text, &body));
    return role_read(arena, built_in[i].name, body, out);
}

struct err *roles_built_in(struct arena *arena, const struct role ***out, size_t *n_out)
{
    const struct role **all = arena_array(arena, N_BUILT_IN, sizeof *all);
    for (size_t i = 0; i < N_BUILT_IN; i++) {
        struct role *role = NULL;
        TRY(read_built_in(arena, i, &role));
        all[i] = role;
    }
    *out = all;
    *n_out = N_BUILT_IN;
    return NULL;
}
