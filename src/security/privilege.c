#include "privilege.h"

#include "buf.h"

struct row {
    struct str name, granted_by;
};

static const struct row rows[N_PRIVILEGES] = {
#define X(symbol, name, granted_by) [symbol] = {STR_INIT(name), STR_INIT(granted_by)},
#include "privileges.def"
#undef X
};

static const struct {
    struct str name;
    enum privilege gives;
} roles[] = {
#define X(name, privilege) {STR_INIT(name), privilege},
#include "roles.def"
#undef X
};

_Static_assert(N_PRIVILEGES <= 64, "struct user keeps them in 64 bits");

static bool list_has(struct str list, struct str name)
{
    for (struct str part; str_split(&list, ',', &part);)
        if (str_eq(part, name))
            return true;
    return false;
}

uint64_t privilege_closure(enum privilege given)
{
    uint64_t bits = UINT64_C(1) << given;
    for (int p = 0; p < N_PRIVILEGES; p++)
        if (rows[given].name.n > 0 && list_has(rows[p].granted_by, rows[given].name))
            bits |= UINT64_C(1) << p;
    return bits;
}

uint64_t privilege_of_role(struct str role)
{
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++)
        if (str_eq(roles[i].name, role))
            return privilege_closure(roles[i].gives);
    return 0;
}

struct err *security_authorize(const struct user *u, enum privilege needs, const char *action)
{
    if (needs == PRIV_NONE || u->privileges >> needs & 1)
        return NULL;
    struct buf list;
    buf_init(&list, 4096);
    for (const char *const *r = u->roles; *r; r++) {
        if (r != u->roles)
            buf_char(&list, ',');
        buf_cstr(&list, *r);
    }
    struct err *e = err_new(
        ERR_FORBIDDEN,
        "action [%s] is unauthorized for user [%s] with effective roles [%.*s], this action "
        "is granted by the cluster privileges [%s]",
        action, u->name, STR_ARG(buf_str(&list)), rows[needs].granted_by.p);
    buf_deinit(&list);
    return e;
}
