/* asking: _has_privileges. With an API key both it and its ceiling must have what is asked for.
 * There are no indices here; questions about them are answered from what the roles say. */
#include "account.h"
#include "answers.h"
#include "private.h"
#include "privilege.h"

/* One question being answered, and whether all of it was answered with yes. */
struct asking {
    const struct user *user;
    struct answers answers;
    bool all;
};

static struct err *too_many(void)
{
    return err_new(ERR_TOO_LARGE, "too many privileges are asked for");
}

typedef bool holds(const struct role *, const void *question);

static bool any_role(const struct rights *r, holds *has, const void *question)
{
    for (size_t i = 0; i < r->n; i++)
        if (has(r->roles[i], question))
            return true;
    return false;
}

static bool user_holds(const struct user *u, holds *has, const void *question)
{
    return u->own && any_role(u->own, has, question) &&
           (!u->limit || any_role(u->limit, has, question));
}

static struct err *answer(struct asking *a, struct answer *under, struct str name, holds *has,
                          const void *question)
{
    struct answer *leaf = answers_at(&a->answers, under, name);
    if (!leaf)
        return too_many();
    leaf->has = user_holds(a->user, has, question);
    a->all = a->all && leaf->has;
    return NULL;
}

/* Any of the texts, as patterns. */
static bool list_matches(const struct json *list, struct str text)
{
    struct json_iter it = json_iter(list);
    struct str pattern;
    for (const struct json *v; (v = json_next(&it));)
        if (json_str(v, &pattern) && pattern_match(pattern, text))
            return true;
    return false;
}

/* --- cluster --- */

static bool role_has_cluster(const struct role *role, const void *question)
{
    struct str name = *(const struct str *)question;
    enum privilege p;
    if (!privilege_is_pattern(name)) {
        if (!privilege_parse(name, &p))
            return false;
        if (p != N_PRIVILEGES)
            return p == PRIV_NONE || (role->bits >> p & 1);
        return (role->bits >> PRIV_ALL & 1) || list_matches(json_get(role->body, "cluster"), name);
    }
    for (size_t i = 0; i < role->n_patterns; i++)
        if (pattern_match(role->patterns[i], name))
            return true;
    return privilege_covers(role->bits, name);
}

static struct err *ask_cluster(struct asking *a, struct answer *under, const struct json *list)
{
    struct json_iter it = json_iter(list);
    struct str name;
    enum privilege p;
    for (const struct json *v; (v = json_next(&it));) {
        if (!json_str(v, &name))
            return err_new(ERR_PARSE, "expected field [cluster] to be an array of strings");
        if (!privilege_is_pattern(name) && !privilege_parse(name, &p))
            return err_new(ERR_ARGUMENT,
                           "unknown cluster privilege [%.*s]. a privilege must be either one of "
                           "the predefined cluster privilege names or a pattern over one of the "
                           "available cluster actions",
                           STR_ARG(name));
        TRY(answer(a, under, name, role_has_cluster, &name));
    }
    return NULL;
}

/* --- indices --- */

struct index_question {
    struct str index, privilege;
};

/* What one index privilege includes of the others. */
static bool index_includes(struct str given, struct str asked)
{
    static const struct {
        const char *given, *includes;
    } rows[] = {
        {"write", "index,create,create_doc,delete"},
        {"index", "create,create_doc"},
        {"create", "create_doc"},
        {"manage", "monitor,view_index_metadata,create_index,delete_index,maintenance"},
    };
    if (str_eq(given, asked) || str_eq(given, STR("all")))
        return true;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct str list = str_c(rows[i].includes), part;
        while (str_eq_c(given, rows[i].given) && str_split(&list, ',', &part))
            if (str_eq(part, asked))
                return true;
    }
    return false;
}

static bool role_has_index(const struct role *role, const void *question)
{
    const struct index_question *q = question;
    bool restricted = str_starts(q->index, STR(".security")), open;
    struct json_iter entries = json_iter(json_get(role->body, "indices"));
    for (const struct json *e; (e = json_next(&entries));) {
        if (!list_matches(json_get(e, "names"), q->index) ||
            (restricted && (!json_bool(json_get(e, "allow_restricted_indices"), &open) || !open)))
            continue;
        struct json_iter it = json_iter(json_get(e, "privileges"));
        struct str given;
        for (const struct json *v; (v = json_next(&it));)
            if (json_str(v, &given) && index_includes(given, q->privilege))
                return true;
    }
    return false;
}

static struct err *ask_index(struct asking *a, struct answer *under, const struct json *entry,
                             struct str index)
{
    struct json_iter it = json_iter(json_get(entry, "privileges"));
    struct index_question q = {.index = index};
    for (const struct json *v; (v = json_next(&it));) {
        if (json_str(v, &q.privilege))
            TRY(answer(a, under, q.privilege, role_has_index, &q));
    }
    return NULL;
}

/* --- applications --- */

struct application_question {
    struct str application, privilege, resource;
};

static bool role_has_application(const struct role *role, const void *question)
{
    const struct application_question *q = question;
    struct json_iter it = json_iter(json_get(role->body, "applications"));
    for (const struct json *e; (e = json_next(&it));) {
        struct str name;
        if (json_str(json_get(e, "application"), &name) && pattern_match(name, q->application) &&
            list_matches(json_get(e, "privileges"), q->privilege) &&
            list_matches(json_get(e, "resources"), q->resource))
            return true;
    }
    return false;
}

static struct err *ask_resource(struct asking *a, struct answer *under, const struct json *entry,
                                struct application_question *q)
{
    struct json_iter it = json_iter(json_get(entry, "privileges"));
    for (const struct json *v; (v = json_next(&it));) {
        if (json_str(v, &q->privilege))
            TRY(answer(a, under, q->privilege, role_has_application, q));
    }
    return NULL;
}

/* --- all of it --- */

static struct err *malformed(const char *field)
{
    return err_new(ERR_PARSE,
                   "expected field [%s] to be an array of objects that name what is asked", field);
}

static struct err *ask_indices(struct asking *a, struct answer *under, const struct json *list)
{
    struct json_iter it = json_iter(list);
    struct str index;
    for (const struct json *e; (e = json_next(&it));) {
        const struct json *names = json_get(e, "names");
        if (!names || !json_is(json_get(e, "privileges"), JSON_ARRAY))
            return malformed("index");
        struct json_iter each = json_iter(names);
        const struct json *v = json_is(names, JSON_ARRAY) ? json_next(&each) : names;
        for (; v; v = json_is(names, JSON_ARRAY) ? json_next(&each) : NULL) {
            if (!json_str(v, &index))
                return malformed("index");
            struct answer *at = answers_at(&a->answers, under, index);
            TRY(at ? ask_index(a, at, e, index) : too_many());
        }
    }
    return NULL;
}

static struct err *ask_applications(struct asking *a, struct answer *under, const struct json *list)
{
    struct json_iter it = json_iter(list);
    for (const struct json *e; (e = json_next(&it));) {
        struct application_question q;
        if (!json_str(json_get(e, "application"), &q.application))
            return malformed("application");
        struct answer *at = answers_at(&a->answers, under, q.application);
        struct json_iter each = json_iter(json_get(e, "resources"));
        for (const struct json *v; (v = json_next(&each));) {
            if (!json_str(v, &q.resource))
                return malformed("application");
            struct answer *below = at ? answers_at(&a->answers, at, q.resource) : NULL;
            TRY(below ? ask_resource(a, below, e, &q) : too_many());
        }
    }
    return NULL;
}

static struct err *ask_all(struct asking *a, const struct json *body, struct answer *cluster,
                           struct answer *index, struct answer *application)
{
    TRY(ask_cluster(a, cluster, json_get(body, "cluster")));
    TRY(ask_indices(a, index, json_get(body, "index")));
    return ask_applications(a, application, json_get(body, "application"));
}

struct err *asking_check(const struct json *body)
{
    static const char *const members[] = {"cluster", "index", "application", NULL};
    uint32_t n = 0;
    TRY(only_members(body, "has_privileges", members));
    for (const char *const *m = members; *m; m++) {
        const struct json *v = json_get(body, *m);
        if (!json_is_null(v) && !json_is(v, JSON_ARRAY))
            return err_new(ERR_PARSE, "expected field [%s] to be an array", *m);
        n += v ? v->n : 0;
    }
    return n ? NULL : invalid("must specify at least one privilege");
}

struct err *asking_has_all(const struct user *user, const struct json *body, size_t *left,
                           bool *out)
{
    struct asking a = {.user = user, .all = true};
    struct arena *tmp = arena_new(ARENA_NO_LIMIT);
    answers_init(&a.answers, tmp);
    struct answer *root = a.answers.root;
    struct err *e = ask_all(&a, body, answers_at(&a.answers, root, STR("cluster")),
                            answers_at(&a.answers, root, STR("index")),
                            answers_at(&a.answers, root, STR("application")));
    if (!e && a.answers.n > *left)
        e = too_many();
    *left -= e ? 0 : a.answers.n;
    *out = a.all;
    answers_deinit(&a.answers);
    arena_free(tmp);
    return e;
}

static struct err *check(const struct security_call *c)
{
    if (c->name.p && !str_eq_c(c->name, c->user->name)) {
        TRY(security_authorize(c->user, PRIV_MANAGE_SECURITY,
                               "cluster:admin/xpack/security/user/has_privileges"));
        return err_new(ERR_ARGUMENT, "users may only check the privileges of their own account");
    }
    return asking_check(c->body);
}

struct err *has_privileges(struct security *s, struct security_call *c)
{
    (void)s;
    TRY(check(c));
    struct asking a = {.user = c->user, .all = true};
    answers_init(&a.answers, c->arena);
    struct answer *root = a.answers.root, *cluster = answers_at(&a.answers, root, STR("cluster")),
                  *index = answers_at(&a.answers, root, STR("index")),
                  *application = answers_at(&a.answers, root, STR("application"));
    struct err *e = ask_all(&a, c->body, cluster, index, application);
    if (!e) {
        json_obj(c->out);
        json_key_cstr(c->out, "username", c->user->name);
        json_key_bool(c->out, "has_all_requested", a.all);
        json_key(c->out, "cluster");
        answers_render(cluster, 1, c->out);
        json_key(c->out, "index");
        answers_render(index, 2, c->out);
        json_key(c->out, "application");
        answers_render(application, 3, c->out);
        json_end(c->out);
    }
    answers_deinit(&a.answers);
    return e;
}
