/* authorize: may this user do that? The bit of a privilege answers nearly always; action patterns
 * and limits to some endpoints are looked at when it does not. */
#include "counted.h"
#include "key.h"
#include "private.h"
#include "privilege.h"
#include "role.h"

const struct user *user_ref(const struct user *u)
{
    if (u->keeper)
        counted_ref(u->keeper);
    return u;
}

void user_unref(const struct user *u)
{
    if (u)
        counted_unref(u->keeper);
}

static void list_roles(const struct user *u, struct buf *out)
{
    struct buf missing;
    size_t n = 0;
    buf_init(&missing, 64 << 10);
    buf_put(out, STR(" with effective roles ["));
    for (const char *const *name = u->roles; *name; name++) {
        bool found = !u->own;
        for (size_t i = 0; u->own && i < u->own->n; i++)
            found = found || str_eq_c(u->own->roles[i]->name, *name);
        if (found)
            buf_printf(out, "%s%s", n++ ? "," : "", *name);
        else
            buf_printf(&missing, "%s%s", missing.n ? "," : "", *name);
    }
    buf_char(out, ']');
    if (missing.n)
        buf_printf(out, " (assigned roles [%.*s] were not found)", STR_ARG(buf_str(&missing)));
    buf_deinit(&missing);
}

void put_subject(const struct user *u, struct buf *out)
{
    if (u->key)
        buf_printf(out, "API key id [%.*s] of ", STR_ARG(u->key->id));
    buf_printf(out, u->token_name ? "service account [%s]" : "user [%s]", u->name);
}

struct err *security_forbid(const struct user *u, enum privilege needs, const char *action)
{
    struct buf who;
    buf_init(&who, 256 << 10);
    put_subject(u, &who);
    if (!u->key && !u->token_name)
        list_roles(u, &who);
    struct err *e = err_new(ERR_FORBIDDEN,
                            "action [%s] is unauthorized for %.*s, this action is granted by the "
                            "cluster privileges [%s]",
                            action, STR_ARG(buf_str(&who)), privilege_granted_by(needs));
    buf_deinit(&who);
    return e;
}

static bool allowed(const struct user *u, enum privilege needs, struct str action)
{
    if (needs == PRIV_NONE || u->privileges >> needs & 1)
        return true;
    return u->own && rights_allow(u->own, needs, action) &&
           (!u->limit || rights_allow(u->limit, needs, action));
}

struct err *security_authorize(const struct user *u, enum privilege needs, const char *action)
{
    return allowed(u, needs, str_c(action)) ? NULL : security_forbid(u, needs, action);
}

static bool reaches(const struct rights *r, enum privilege needs, struct str action,
                    struct str endpoint)
{
    return !r || !rights_limited(r) || rights_allow_on(r, needs, action, endpoint);
}

struct err *security_authorize_endpoint(const struct user *u, enum privilege needs,
                                        const char *action, struct str inference_id)
{
    TRY(security_authorize(u, needs, action));
    struct str a = str_c(action);
    if (reaches(u->own, needs, a, inference_id) && reaches(u->limit, needs, a, inference_id))
        return NULL;
    struct err *e = security_forbid(u, needs, action);
    return err_wrap(e, ERR_FORBIDDEN,
                    "inference endpoint [%.*s] is not among those that the roles are limited to",
                    STR_ARG(inference_id));
}

static bool limits(const struct rights *r)
{
    return r && rights_limited(r);
}

bool security_is_limited(const struct user *u)
{
    return limits(u->own) || limits(u->limit);
}

bool security_sees(const struct user *u, struct str inference_id)
{
    static const struct str action = STR_INIT("cluster:monitor/xpack/inference/get");
    return reaches(u->own, PRIV_MONITOR_INFERENCE, action, inference_id) &&
           reaches(u->limit, PRIV_MONITOR_INFERENCE, action, inference_id);
}
