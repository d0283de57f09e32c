/* profiles: user profiles as resources: activated, read, changed, suggested, asked about. Source:
 * Elasticsearch 9.1, "User profiles" and its API. */
#include <stdlib.h>

#include "clock.h"
#include "log.h"
#include "private.h"
#include "privilege.h"
#include "profile.h"

#define ACT         "cluster:admin/xpack/security/profile/"
#define MAX_ANSWERS 1000000 /* profiles times privileges, of one question */

/* --- storing; `writing` is held --- */

static struct err *put(struct security *s, struct profile *p)
{
    struct buf body;
    buf_init(&body, PROFILE_MAX_BYTES);
    profile_render_doc(p, &body);
    struct err *e =
        body.full
            ? err_new(ERR_TOO_LARGE, "the profile is larger than [%zu] bytes", PROFILE_MAX_BYTES)
            : store_put(s->store, STORE_PROFILE, p->uid, buf_str(&body), STORE_ANY_REV, &p->rev);
    buf_deinit(&body);
    return e;
}

/* *found_out false: there is none. */
static struct err *get(struct security *s, struct arena *a, struct str uid, struct profile *out,
                       bool *found_out)
{
    struct doc d;
    *found_out = false;
    if (!uid.n || uid.n > PROFILE_UID_CHARS)
        return NULL;
    struct err *e = store_get(s->store, STORE_PROFILE, uid, a, &d);
    if (e && e->kind == ERR_NOT_FOUND) {
        err_free(e);
        return NULL;
    }
    TRY(e);
    *found_out = true;
    return profile_read(a, &d, out);
}

static struct err *get_present(struct security *s, struct arena *a, struct str uid,
                               struct profile *out)
{
    bool found;
    TRY(get(s, a, uid, out, &found));
    if (found)
        return NULL;
    return err_new(ERR_DOCUMENT_MISSING, "[profile_%.*s]: document missing", STR_ARG(uid));
}

static void acknowledge(struct security_call *c)
{
    json_obj(c->out);
    json_key_bool(c->out, "acknowledged", true);
    json_end(c->out);
}

/* --- activate --- */

static void copy_user(struct security_call *c, const struct account *a, struct profile *p)
{
    struct account_doc d;
    account_doc_of(a, c->arena, &d);
    p->username = str_c(a->user.name);
    p->realm = str_c(a->realm);
    p->roles = d.roles;
    p->full_name = d.full_name;
    p->email = d.email;
    p->enabled = true;
    p->synchronized_ms = clock_wall_ms();
}

static struct err *activate(struct security *s, struct security_call *c, struct profile *p)
{
    char uid[PROFILE_UID_CHARS + 1];
    bool found;
    profile_uid(str_c(c->user->name), uid);
    struct str id = arena_dup(c->arena, str_c(uid));
    TRY(get(s, c->arena, id, p, &found));
    if (!found)
        *p = (struct profile){.uid = id, .labels_text = STR("{}"), .data_text = STR("{}")};
    copy_user(c, c->user->account, p);
    return put(s, p);
}

struct err *profile_activate(struct security *s, struct security_call *c)
{
    struct profile p;
    if (c->user->key || c->user->token_name || !c->user->account)
        return err_new(ERR_ARGUMENT, "profile is supported for user only, but subject is a [%s]",
                       c->user->key ? "api_key" : "service_account");
    pthread_mutex_lock(&s->writing);
    struct err *e = activate(s, c, &p);
    pthread_mutex_unlock(&s->writing);
    TRY(e);
    log_info("user profile activated", LOG_S("uid", p.uid), LOG_C("user", c->user->name));
    return profile_render(&p, (struct str){0}, true, c->out);
}

/* --- get --- */

/* What was asked for and is not there. */
struct absent {
    struct json_out w;
    struct buf text;
    int64_t n;
};

static void absent_init(struct absent *x)
{
    *x = (struct absent){0};
    buf_init(&x->text, (size_t)16 << 20);
    json_out_init(&x->w, &x->text);
    json_obj(&x->w);
}

static void absent_add(struct absent *x, struct str uid)
{
    x->n++;
    json_key_s(&x->w, uid);
    json_put_raw(&x->w, STR("{\"type\":\"resource_not_found_exception\",\"reason\":\"profile "
                            "document not found\"}"));
}

static void absent_end(struct absent *x, struct json_out *out)
{
    json_end(&x->w);
    if (x->n) {
        json_key(out, "errors");
        json_obj(out);
        json_key_i64(out, "count", x->n);
        json_key_raw(out, "details", x->text.full ? STR("{}") : buf_str(&x->text));
        json_end(out);
    }
    buf_deinit(&x->text);
}

/* Profiles may be large: each is read into an arena of its own. */
static struct err *show_one(struct security *s, struct security_call *c, struct str uid,
                            struct absent *missing)
{
    struct arena *tmp = arena_new(ARENA_NO_LIMIT);
    struct profile p;
    bool found;
    struct err *e = get(s, tmp, uid, &p, &found);
    if (!e && found)
        e = profile_render(&p, c->data, true, c->out);
    else if (!e)
        absent_add(missing, uid);
    arena_free(tmp);
    return e;
}

static struct err *get_listed(struct security *s, struct security_call *c, struct absent *missing)
{
    struct map *seen = map_new();
    struct err *e = NULL;
    struct str rest = c->name;
    for (struct str uid; !e && str_split(&rest, ',', &uid);) {
        if (map_get(seen, uid))
            continue;
        map_put(seen, uid, s);
        e = show_one(s, c, uid, missing);
    }
    map_free(seen);
    return e;
}

struct err *profiles_get(struct security *s, struct security_call *c)
{
    struct absent missing;
    absent_init(&missing);
    json_obj(c->out);
    json_key(c->out, "profiles");
    json_arr(c->out);
    struct err *e = get_listed(s, c, &missing);
    if (e) {
        buf_deinit(&missing.text);
        return e;
    }
    json_end(c->out);
    absent_end(&missing, c->out);
    json_end(c->out);
    return NULL;
}

/* --- enable and disable --- */

static struct err *set_enabled(struct security *s, struct security_call *c, bool enabled)
{
    struct profile p;
    pthread_mutex_lock(&s->writing);
    struct err *e = get_present(s, c->arena, c->name, &p);
    if (!e) {
        p.enabled = enabled;
        e = put(s, &p);
    }
    pthread_mutex_unlock(&s->writing);
    TRY(e);
    log_info(enabled ? "user profile enabled" : "user profile disabled", LOG_S("uid", p.uid),
             LOG_C("by", c->user->name));
    acknowledge(c);
    return NULL;
}

struct err *profile_enable(struct security *s, struct security_call *c)
{
    return set_enabled(s, c, true);
}

struct err *profile_disable(struct security *s, struct security_call *c)
{
    return set_enabled(s, c, false);
}

/* --- change labels and data --- */

/* "global": {"profile": {"write": {"applications": ["kibana*"]}}} of a role. */
static bool role_writes(const struct role *role, struct str application)
{
    const struct json *list =
        json_path(role->body, "global", "profile", "write", "applications", NULL);
    struct json_iter it = json_iter(list);
    struct str pattern;
    for (const struct json *v; (v = json_next(&it));)
        if (json_str(v, &pattern) && pattern_match(pattern, application))
            return true;
    return false;
}

static bool rights_write(const struct rights *r, struct str application)
{
    for (size_t i = 0; r && i < r->n; i++)
        if (role_writes(r->roles[i], application))
            return true;
    return false;
}

static bool writes_all(const struct user *u, const struct json *object)
{
    struct json_iter it = json_iter(object);
    for (const struct json *m; (m = json_next(&it));)
        if (!rights_write(u->own, m->key) || (u->limit && !rights_write(u->limit, m->key)))
            return false;
    return true;
}

static struct err *authorize_update(const struct user *u, const struct json *labels,
                                    const struct json *data)
{
    static const char action[] = ACT "put/data";
    struct err *e = security_authorize(u, PRIV_MANAGE_PROFILE, action);
    if (!e)
        return NULL;
    if ((labels || data) && writes_all(u, labels) && writes_all(u, data)) {
        err_free(e);
        return NULL;
    }
    return e;
}

static void check_names(const struct json *object, struct err_list *list)
{
    struct json_iter it = json_iter(object);
    for (const struct json *m; (m = json_next(&it));) {
        if (str_find_char(m->key, '.') != SIZE_MAX)
            err_list_add(list, "application name must not contain dot, but found [%.*s]",
                         STR_ARG(m->key));
        if (m->key.n && m->key.p[0] == '_')
            err_list_add(list, "application name must not start with underscore, but found [%.*s]",
                         STR_ARG(m->key));
    }
}

static struct err *object_member(const struct json *body, const char *name, const struct json **out)
{
    const struct json *v = json_get(body, name);
    *out = json_is_null(v) ? NULL : v;
    if (!*out || json_is(v, JSON_OBJECT))
        return NULL;
    return err_new(ERR_X_CONTENT, "[update_profile_data_request_payload] [%s] is not an object",
                   name);
}

struct update {
    const struct json *labels, *data;
    int64_t seq_no, term; /* -1: not asked */
};

static struct err *number_param(struct str s, const char *name, int64_t *out)
{
    *out = -1;
    if (!s.p || (str_to_i64(s, out) && *out >= 0))
        return NULL;
    return err_new(ERR_ARGUMENT, "Failed to parse long parameter [%s] with value [%.*s]", name,
                   STR_ARG(s));
}

static struct err *read_update(struct security_call *c, struct update *u)
{
    static const char *const members[] = {"labels", "data", NULL};
    struct err_list list = {0};
    const struct json *labels = json_get(c->body, "labels"), *data = json_get(c->body, "data");
    TRY(authorize_update(c->user, labels, data));
    TRY(only_members(c->body, "update_profile_data_request_payload", members));
    TRY(object_member(c->body, "labels", &u->labels));
    TRY(object_member(c->body, "data", &u->data));
    TRY(number_param(c->if_seq_no, "if_seq_no", &u->seq_no));
    TRY(number_param(c->if_primary_term, "if_primary_term", &u->term));
    if ((!u->labels || !u->labels->n) && (!u->data || !u->data->n))
        err_list_add(&list, "update request is empty");
    check_names(u->labels, &list);
    check_names(u->data, &list);
    return err_list_end(&list, ERR_REQUEST);
}

static struct str merged(struct arena *a, const struct json *old, const struct json *added)
{
    struct buf b;
    struct json_out w;
    buf_init(&b, 2 * PROFILE_MAX_BYTES);
    json_out_init(&w, &b);
    profile_merge(old, added, &w);
    struct str text = arena_dup(a, buf_str(&b));
    buf_deinit(&b);
    return text;
}

static struct err *update(struct security *s, struct security_call *c, const struct update *u)
{
    struct profile p;
    TRY(get_present(s, c->arena, c->name, &p));
    if ((u->seq_no >= 0 && (uint64_t)u->seq_no != p.rev) || (u->term >= 0 && u->term != 1))
        return err_new(ERR_CONFLICT,
                       "[profile_%.*s]: version conflict, required seqNo [%lld], primary term "
                       "[%lld]. current document has seqNo [%llu] and primary term [1]",
                       STR_ARG(p.uid), (long long)u->seq_no, (long long)u->term,
                       (unsigned long long)p.rev);
    if (u->labels)
        p.labels_text = merged(c->arena, p.labels, u->labels);
    if (u->data)
        p.data_text = merged(c->arena, p.data, u->data);
    return put(s, &p);
}

struct err *profile_update(struct security *s, struct security_call *c)
{
    struct update u;
    TRY(read_update(c, &u));
    pthread_mutex_lock(&s->writing);
    struct err *e = update(s, c, &u);
    pthread_mutex_unlock(&s->writing);
    if (!e)
        acknowledge(c);
    return e;
}

/* --- who has these privileges --- */

/* Has the profile's user all of them? He must be enabled, and it. */
static struct err *ask_user(struct security *s, const struct profile *p,
                            const struct json *privileges, size_t *left, bool *all_out)
{
    struct realm *realm = (struct realm *)cell_take(&s->realm);
    const struct account *a = realm_account(realm, p->username);
    struct err *e = NULL;
    *all_out = false;
    if (p->enabled && a && a->enabled)
        e = asking_has_all(&a->user, privileges, left, all_out);
    counted_unref(&realm->counted);
    return e;
}

static struct err *ask_one(struct security *s, struct security_call *c, struct str uid,
                           const struct json *privileges, size_t *left, struct absent *missing)
{
    struct arena *tmp = arena_new(ARENA_NO_LIMIT);
    struct profile p;
    bool found, all = false;
    struct err *e = get(s, tmp, uid, &p, &found);
    if (!e && found)
        e = ask_user(s, &p, privileges, left, &all);
    if (!e && all)
        json_put_str(c->out, uid);
    if (!e && !found)
        absent_add(missing, uid);
    arena_free(tmp);
    return e;
}

static struct err *ask_each(struct security *s, struct security_call *c, const struct json *uids,
                            const struct json *privileges, struct absent *missing)
{
    struct map *seen = map_new();
    struct err *e = NULL;
    size_t left = MAX_ANSWERS;
    struct str uid;
    struct json_iter it = json_iter(uids);
    for (const struct json *v; !e && (v = json_next(&it));) {
        if (!json_str(v, &uid)) {
            e = err_new(ERR_PARSE, "expected field [uids] to be an array of strings");
        } else if (!map_get(seen, uid)) {
            map_put(seen, uid, s);
            e = ask_one(s, c, uid, privileges, &left, missing);
        }
    }
    map_free(seen);
    return e;
}

struct err *profiles_have_privileges(struct security *s, struct security_call *c)
{
    static const char *const members[] = {"uids", "privileges", NULL};
    const struct json *uids = json_get(c->body, "uids");
    const struct json *privileges = json_get(c->body, "privileges");
    struct absent missing;
    TRY(only_members(c->body, "profile_has_privileges_request", members));
    if (!json_is(uids, JSON_ARRAY) || !uids->n)
        return invalid("profile uids must not be empty");
    TRY(asking_check(privileges));
    absent_init(&missing);
    json_obj(c->out);
    json_key(c->out, "has_privilege_uids");
    json_arr(c->out);
    struct err *e = ask_each(s, c, uids, privileges, &missing);
    if (e) {
        buf_deinit(&missing.text);
        return e;
    }
    json_end(c->out);
    absent_end(&missing, c->out);
    json_end(c->out);
    return NULL;
}
