#include "privilege.h"

#include <stdlib.h>

struct row {
    struct str name, granted_by, actions;
};

static const struct row rows[N_PRIVILEGES] = {
#define X(symbol, name, granted_by, actions)                                                       \
    [symbol] = {STR_INIT(name), STR_INIT(granted_by), STR_INIT(actions)},
#include "privileges.def"
#undef X
};

static const struct str others[] = {
#define X(name) STR_INIT(name),
#include "privileges_other.def"
#undef X
};
#define N_OTHERS (sizeof others / sizeof *others)

_Static_assert(N_PRIVILEGES <= 64, "struct user keeps them in 64 bits");

/* Two pointers and a place to fall back to: linear but for the last star. */
bool pattern_match(struct str pattern, struct str text)
{
    size_t p = 0, t = 0, star = SIZE_MAX, from = 0;
    while (t < text.n) {
        if (p < pattern.n && pattern.p[p] == '*') {
            star = p++;
            from = t;
        } else if (p < pattern.n && pattern.p[p] == text.p[t]) {
            p++;
            t++;
        } else if (star != SIZE_MAX) {
            p = star + 1;
            t = ++from;
        } else {
            return false;
        }
    }
    while (p < pattern.n && pattern.p[p] == '*')
        p++;
    return p == pattern.n;
}

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

bool privilege_parse(struct str name, enum privilege *out)
{
    for (int p = 0; p < N_PRIVILEGES; p++) {
        if (name.n && str_eq(rows[p].name, name)) {
            *out = p;
            return true;
        }
    }
    *out = N_PRIVILEGES;
    for (size_t i = 0; i < N_OTHERS; i++)
        if (str_eq(others[i], name))
            return true;
    return false;
}

bool privilege_is_pattern(struct str name)
{
    return str_starts(name, STR("cluster:")) || str_starts(name, STR("indices:"));
}

uint64_t privilege_of_pattern(struct str pattern)
{
    uint64_t bits = 0;
    for (int p = 1; p < N_PRIVILEGES; p++) {
        struct str list = rows[p].actions, action;
        bool all = true;
        while (str_split(&list, ',', &action))
            all = all && (action.p[0] == '!' || pattern_match(pattern, action));
        if (all)
            bits |= UINT64_C(1) << p;
    }
    return bits;
}

/* Could something match both? Compared up to the first star of either. */
static bool overlaps(struct str a, struct str b)
{
    size_t na = str_find_char(a, '*'), nb = str_find_char(b, '*');
    struct str ha = str_sub(a, 0, na == SIZE_MAX ? a.n : na);
    struct str hb = str_sub(b, 0, nb == SIZE_MAX ? b.n : nb);
    if (na == SIZE_MAX && nb == SIZE_MAX)
        return str_eq(a, b);
    return (nb != SIZE_MAX && str_starts(ha, hb)) || (na != SIZE_MAX && str_starts(hb, ha));
}

static bool row_covers(const struct row *row, struct str pattern)
{
    struct str list = row->actions, action;
    bool covered = false;
    while (str_split(&list, ',', &action)) {
        if (action.n && action.p[0] == '!') {
            if (overlaps(str_sub(action, 1, action.n), pattern))
                return false;
        } else {
            covered = covered || (action.n && pattern_match(action, pattern));
        }
    }
    return covered;
}

bool privilege_covers(uint64_t bits, struct str pattern)
{
    for (int p = 1; p < N_PRIVILEGES; p++)
        /* Keys of one's own: no pattern says that. */
        if (bits >> p & 1 && p != PRIV_MANAGE_OWN_API_KEY && p != PRIV_READ_OWN_API_KEY &&
            row_covers(&rows[p], pattern))
            return true;
    return false;
}

const char *privilege_granted_by(enum privilege p)
{
    return rows[p].granted_by.p;
}

static int by_bytes(const void *a, const void *b)
{
    return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

void privilege_names(struct json_out *w)
{
    struct str all[N_PRIVILEGES + N_OTHERS];
    size_t n = 0;
    for (int p = 0; p < N_PRIVILEGES; p++)
        if (rows[p].name.n)
            all[n++] = rows[p].name;
    for (size_t i = 0; i < N_OTHERS; i++)
        all[n++] = others[i];
    qsort(all, n, sizeof *all, by_bytes);
    for (size_t i = 0; i < n; i++)
        json_put_str(w, all[i]);
}
