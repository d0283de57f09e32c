/* run_as: a caller in another's name (es-security-runas-user). His roles' run_as says whom; with an
 * API key both it and its ceiling must. From then on the other's rights count, not his.
 * Source: shared facts, security.md 2 and 6. */
#include <stdlib.h>

#include "account.h"
#include "bug.h"
#include "private.h"
#include "privilege.h"

struct run_as {
    struct counted counted; /* first: the user's keeper */
    struct user user;       /* the other one */
    const struct user *by, *as;
};

static void run_as_end(struct counted *c)
{
    struct run_as *r = (struct run_as *)c;
    user_unref(r->by);
    user_unref(r->as);
    free(r);
}

static bool gives(const struct rights *rights, struct str name)
{
    for (size_t i = 0; i < rights->n; i++) {
        struct json_iter it = json_iter(json_get(rights->roles[i]->body, "run_as"));
        struct str pattern;
        for (const struct json *v; (v = json_next(&it));)
            if (json_str(v, &pattern) && pattern_match(pattern, name))
                return true;
    }
    return false;
}

static struct err *refuse(const struct user *by, struct str name, const char *action)
{
    struct buf who;
    buf_init(&who, 4096);
    put_subject(by, &who);
    struct err *e = err_new(ERR_FORBIDDEN,
                            "action [%s] is unauthorized for %.*s because %.*s is unauthorized to "
                            "run as [%.*s]",
                            action, STR_ARG(buf_str(&who)), STR_ARG(buf_str(&who)), STR_ARG(name));
    buf_deinit(&who);
    return e;
}

struct err *security_run_as(struct security *s, const struct user *by, struct str name,
                            const char *action, const struct user **out)
{
    struct counted *held;
    *out = by;
    if (!s->enabled)
        return NULL;
    const struct realm *realm = (const struct realm *)cell_peek(&s->realm, &held);
    const struct account *a = realm_account(realm, name);
    struct err *e = NULL;
    if (!a || !a->enabled || !by->own || !gives(by->own, name) ||
        (by->limit && !gives(by->limit, name))) {
        e = refuse(by, name, action);
    } else {
        struct run_as *r = mem_new(sizeof *r);
        counted_init(&r->counted, run_as_end);
        r->by = by;
        r->as = user_ref(&a->user);
        r->user = a->user;
        r->user.by = by;
        r->user.keeper = &r->counted;
        *out = &r->user;
    }
    counted_unref(held);
    return e;
}
