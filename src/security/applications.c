/* applications: the privileges that applications define for themselves, as resources, and what
 * one's own roles give. inferd asks nothing by them; _has_privileges answers about them by name.
 * All of them are one document. Source: Elasticsearch's API reference, "Create or update
 * application privileges". */
#include "log.h"
#include "private.h"
#include "role.h"

#define DOCUMENT STR("application_privileges")
/* Of the document: it is read and written whole. */
#define MAX_BYTES ((size_t)1 << 20)

/* {application: {name: {...}}}; absent: {}. */
static struct err *read_all(struct security *s, struct arena *arena, const struct json **out)
{
    struct doc doc;
    struct err *e = store_get(s->store, STORE_META, DOCUMENT, arena, &doc);
    if (e && e->kind != ERR_NOT_FOUND)
        return e;
    bool absent = e;
    err_free(e);
    return json_parse(arena, absent ? STR("{}") : doc.body, out);
}

static const struct json *find(const struct json *all, struct str application, struct str name)
{
    return json_get_str(json_get_str(all, application), name);
}

/* --- checks --- */

static bool is_lower(char c)
{
    return c >= 'a' && c <= 'z';
}

static bool is_word(char c)
{
    return is_lower(c) || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
}

static struct err *check_application(struct str name)
{
    bool good = name.n >= 3 && is_lower(name.p[0]);
    for (size_t i = 0; good && i < name.n; i++)
        good = is_word(name.p[i]);
    return good ? NULL
                : invalid("Application names must match the pattern ^[a-z][a-zA-Z0-9_-]{2,}$ (but "
                          "was '%.*s')",
                          (int)(name.n < 200 ? name.n : 200), name.p);
}

static struct err *check_privilege(struct str name)
{
    bool good = name.n >= 1 && is_lower(name.p[0]);
    for (size_t i = 0; good && i < name.n; i++)
        good = is_word(name.p[i]) || name.p[i] == '.';
    return good ? NULL
                : invalid("Application privilege names must match the pattern "
                          "^[a-z][a-zA-Z0-9_.-]*$ (found '%.*s')",
                          (int)(name.n < 200 ? name.n : 200), name.p);
}

static struct err *check_actions(const struct json *entry, struct str application, struct str name)
{
    const struct json *actions = json_get(entry, "actions");
    if (!json_is(actions, JSON_ARRAY) || !actions->n)
        return invalid("Application privileges must have at least one action");
    struct json_iter it = json_iter(actions);
    struct str action;
    for (const struct json *v; (v = json_next(&it));) {
        bool good = json_str(v, &action) &&
                    (memchr(action.p, '/', action.n) || memchr(action.p, '*', action.n) ||
                     memchr(action.p, ':', action.n));
        if (!good)
            return invalid("action [%.*s] of privilege [%.*s] of application [%.*s] must contain "
                           "one of [ '/' , '*' , ':' ]",
                           STR_ARG(json_raw(v)), STR_ARG(name), STR_ARG(application));
    }
    return NULL;
}

/* "application" and "name" inside must say what the path to them says. */
static struct err *check_same(const struct json *entry, const char *member, struct str want)
{
    struct str have = {0};
    TRY(text_member(entry, member, &have));
    if (have.p && !str_eq(have, want))
        return err_new(ERR_PARSE,
                       "failed to parse privilege. Unexpected value [%.*s] of field [%s]",
                       STR_ARG(have), member);
    return NULL;
}

static struct err *check_entry(const struct json *entry, struct str application, struct str name,
                               struct str *metadata_out)
{
    static const char *const members[] = {"application", "name", "actions", "metadata", NULL};
    if (!json_is(entry, JSON_OBJECT))
        return err_new(ERR_PARSE, "failed to parse privilege [%.*s]: expected an object",
                       STR_ARG(name));
    TRY(only_members(entry, "privilege", members));
    TRY(check_same(entry, "application", application));
    TRY(check_same(entry, "name", name));
    TRY(check_application(application));
    TRY(check_privilege(name));
    TRY(check_actions(entry, application, name));
    return metadata_member(entry, "application privilege metadata keys", metadata_out);
}

/* --- writing the document --- */

static void render_entry(struct json_out *w, struct str application, struct str name,
                         const struct json *entry, struct str metadata)
{
    json_obj(w);
    json_key_str(w, "application", application);
    json_key_str(w, "name", name);
    json_key(w, "actions");
    json_put_node(w, json_get(entry, "actions"));
    json_key_raw(w, "metadata", metadata);
    json_end(w);
}

/* Entries of an application that `change` does not name stay. */
static void render_kept(struct json_out *w, const struct json *old, const struct json *change)
{
    struct json_iter it = json_iter(old);
    for (const struct json *v; (v = json_next(&it));) {
        if (json_get_str(change, v->key))
            continue;
        json_key_s(w, v->key);
        json_put_node(w, v);
    }
}

static struct err *render_changed(struct json_out *w, const struct json *all,
                                  const struct json *body)
{
    struct json_iter it = json_iter(all), changed = json_iter(body);
    json_obj(w);
    for (const struct json *app; (app = json_next(&it));) {
        if (json_get_str(body, app->key))
            continue;
        json_key_s(w, app->key);
        json_put_node(w, app);
    }
    for (const struct json *app; (app = json_next(&changed));) {
        json_key_s(w, app->key);
        json_obj(w);
        render_kept(w, json_get_str(all, app->key), app);
        struct json_iter entries = json_iter(app);
        for (const struct json *v; (v = json_next(&entries));) {
            struct str metadata;
            TRY(check_entry(v, app->key, v->key, &metadata));
            json_key_s(w, v->key);
            render_entry(w, app->key, v->key, v, metadata);
        }
        json_end(w);
    }
    json_end(w);
    return w->buf->full ? err_new(ERR_TOO_LARGE,
                                  "the application privileges are larger than [%zu] "
                                  "bytes",
                                  MAX_BYTES)
                        : NULL;
}

static struct err *check_body(const struct json *body)
{
    if (!json_is(body, JSON_OBJECT) || !body->n)
        return invalid("At least one application privilege must be provided");
    struct json_iter it = json_iter(body);
    for (const struct json *app; (app = json_next(&it));)
        if (!json_is(app, JSON_OBJECT) || !app->n)
            return err_new(ERR_PARSE, "expected object but found [%.*s] instead",
                           STR_ARG(app->key));
    return NULL;
}

static void render_created(struct json_out *w, const struct json *all, const struct json *body)
{
    struct json_iter it = json_iter(body);
    json_obj(w);
    for (const struct json *app; (app = json_next(&it));) {
        struct json_iter entries = json_iter(app);
        json_key_s(w, app->key);
        json_obj(w);
        for (const struct json *v; (v = json_next(&entries));) {
            json_key_s(w, v->key);
            json_obj(w);
            json_key_bool(w, "created", !find(all, app->key, v->key));
            json_end(w);
        }
        json_end(w);
    }
    json_end(w);
}

static struct err *store_all(struct security *s, const struct buf *text)
{
    uint64_t rev;
    return store_put(s->store, STORE_META, DOCUMENT, buf_str(text), STORE_ANY_REV, &rev);
}

struct err *application_privileges_put(struct security *s, struct security_call *c)
{
    const struct json *all = NULL;
    struct buf text;
    struct json_out w;
    TRY(check_body(c->body));
    buf_init(&text, MAX_BYTES);
    json_out_init(&w, &text);
    pthread_mutex_lock(&s->writing);
    struct err *e = read_all(s, c->arena, &all);
    if (!e)
        e = render_changed(&w, all, c->body);
    if (!e)
        e = store_all(s, &text);
    pthread_mutex_unlock(&s->writing);
    buf_deinit(&text);
    if (!e)
        render_created(c->out, all, c->body);
    return e;
}

/* --- reading and deleting --- */

struct err *application_privileges_get(struct security *s, struct security_call *c)
{
    const struct json *all;
    size_t n = 0;
    TRY(read_all(s, c->arena, &all));
    struct json_iter it = json_iter(all);
    json_obj(c->out);
    for (const struct json *app; (app = json_next(&it));) {
        bool opened = false;
        struct json_iter entries = json_iter(app);
        for (const struct json *v;
             (v = json_next(&entries)) && (!c->name.p || name_listed(c->name, app->key));) {
            if (c->part.p && !name_listed(c->part, v->key))
                continue;
            if (!opened) {
                json_key_s(c->out, app->key);
                json_obj(c->out);
                opened = true;
            }
            json_key_s(c->out, v->key);
            json_put_node(c->out, v);
            n++;
        }
        if (opened)
            json_end(c->out);
    }
    json_end(c->out);
    c->status = c->part.p && !n ? 404 : 200;
    return NULL;
}

static void render_remaining(struct json_out *w, const struct json *all,
                             const struct security_call *c)
{
    struct json_iter it = json_iter(all);
    json_obj(w);
    for (const struct json *app; (app = json_next(&it));) {
        struct json_iter entries = json_iter(app);
        json_key_s(w, app->key);
        json_obj(w);
        for (const struct json *v; (v = json_next(&entries));) {
            if (str_eq(app->key, c->name) && name_listed(c->part, v->key))
                continue;
            json_key_s(w, v->key);
            json_put_node(w, v);
        }
        json_end(w);
    }
    json_end(w);
}

struct err *application_privileges_delete(struct security *s, struct security_call *c)
{
    const struct json *all;
    struct buf text;
    struct json_out w;
    struct str list = c->part, name;
    size_t n = 0;
    buf_init(&text, MAX_BYTES);
    json_out_init(&w, &text);
    pthread_mutex_lock(&s->writing);
    struct err *e = read_all(s, c->arena, &all);
    if (!e) {
        render_remaining(&w, all, c);
        e = store_all(s, &text);
    }
    pthread_mutex_unlock(&s->writing);
    buf_deinit(&text);
    if (e)
        return e;
    json_obj(c->out);
    json_key_s(c->out, c->name);
    json_obj(c->out);
    while (str_split(&list, ',', &name)) {
        bool found = find(all, c->name, name);
        n += found;
        json_key_s(c->out, name);
        json_obj(c->out);
        json_key_bool(c->out, "found", found);
        json_end(c->out);
    }
    json_end(c->out);
    json_end(c->out);
    c->status = n ? 200 : 404;
    return NULL;
}

/* --- what one's own roles give --- */

static void put_lists(const struct rights *own, const char *member, struct json_out *w)
{
    json_key(w, member);
    json_arr(w);
    for (size_t i = 0; own && i < own->n; i++) {
        struct json_iter it = json_iter(json_get(own->roles[i]->body, member));
        for (const struct json *v; (v = json_next(&it));)
            json_put_node(w, v);
    }
    json_end(w);
}

/* A privilege that several roles give is named once. */
static void put_cluster(const struct rights *own, struct arena *arena, struct json_out *w)
{
    struct json_iter it;
    size_t n = 0, room = 1;
    for (size_t i = 0; i < own->n; i++) {
        const struct json *list = json_get(own->roles[i]->body, "cluster");
        room += list ? list->n : 0;
    }
    struct str *seen = arena_array(arena, room, sizeof *seen), name;
    json_key(w, "cluster");
    json_arr(w);
    for (size_t i = 0; i < own->n; i++) {
        it = json_iter(json_get(own->roles[i]->body, "cluster"));
        for (const struct json *v; (v = json_next(&it));) {
            size_t k = 0;
            if (!json_str(v, &name))
                continue;
            while (k < n && !str_eq(seen[k], name))
                k++;
            if (k < n)
                continue;
            seen[n++] = name;
            json_put_str(w, name);
        }
    }
    json_end(w);
}

struct err *user_privileges(struct security *s, struct security_call *c)
{
    static const struct rights none;
    const struct rights *own = c->user->own ? c->user->own : &none;
    (void)s;
    json_obj(c->out);
    put_cluster(own, c->arena, c->out);
    json_key_raw(c->out, "global", STR("[]"));
    put_lists(own, "indices", c->out);
    put_lists(own, "applications", c->out);
    put_lists(own, "run_as", c->out);
    json_end(c->out);
    return NULL;
}
