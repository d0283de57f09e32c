/* private: the small checks that the security API's bodies have in common. */
#include "private.h"

#include <sodium.h>

#include "account.h"
#include "bug.h"
#include "secret.h"

#define MAX_NAME 507

struct err *invalid(const char *fmt, ...)
{
    va_list ap;
    struct buf b;
    buf_init(&b, 64 << 10);
    va_start(ap, fmt);
    buf_vprintf(&b, fmt, ap);
    va_end(ap);
    struct err *e = err_new(ERR_REQUEST, "Validation Failed: 1: %.*s;", STR_ARG(buf_str(&b)));
    buf_deinit(&b);
    return e;
}

struct err *only_members(const struct json *body, const char *parser, const char *const *names)
{
    struct json_iter it = json_iter(body);
    for (const struct json *m; (m = json_next(&it));) {
        bool known = false;
        for (const char *const *name = names; *name; name++)
            known = known || str_eq_c(m->key, *name);
        if (!known)
            return err_new(ERR_X_CONTENT, "[%s] unknown field [%.*s]", parser, STR_ARG(m->key));
    }
    return NULL;
}

struct err *text_member(const struct json *body, const char *name, struct str *out)
{
    const struct json *v = json_get(body, name);
    *out = (struct str){0};
    if (json_is_null(v) || json_str(v, out))
        return NULL;
    return err_new(ERR_PARSE, "expected field [%s] to be a string", name);
}

struct err *metadata_member(const struct json *body, const char *what, struct str *out)
{
    const struct json *v = json_get(body, "metadata");
    *out = STR("{}");
    if (json_is_null(v))
        return NULL;
    if (!json_is(v, JSON_OBJECT))
        return err_new(ERR_PARSE, "expected field [metadata] to be an object");
    struct json_iter it = json_iter(v);
    for (const struct json *m; (m = json_next(&it));)
        if (m->key.n && m->key.p[0] == '_')
            return invalid("%s may not start with [_]", what);
    *out = json_raw(v);
    return NULL;
}

struct err *check_name(const char *what, struct str name)
{
    bool ok = name.n >= 1 && name.n <= MAX_NAME && name.p[0] != ' ' && name.p[name.n - 1] != ' ';
    for (size_t i = 0; ok && i < name.n; i++)
        ok = name.p[i] >= ' ' && name.p[i] <= '~';
    if (ok)
        return NULL;
    return invalid("%s names must be at least 1 and no more than %d characters. They can contain "
                   "alphanumeric characters (a-z, A-Z, 0-9), spaces, punctuation, and printable "
                   "symbols in the Basic Latin (ASCII) block. Leading or trailing whitespace is "
                   "not allowed.",
                   what, MAX_NAME);
}

struct err *realm_change(struct security *s, const struct change *changes, size_t n)
{
    struct realm *realm;
    TRY(store_apply(s->store, changes, n, NULL));
    TRY(realm_read(s->store, &realm));
    cell_swap(&s->realm, &realm->counted);
    return NULL;
}

void random_text(char *out, size_t room, size_t n)
{
    unsigned char bytes[32];
    BUG_ON(n > sizeof bytes);
    randombytes_buf(bytes, n);
    sodium_bin2base64(out, room, bytes, n, sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    secret_wipe(bytes, sizeof bytes);
}

bool name_listed(struct str list, struct str name)
{
    for (struct str one; str_split(&list, ',', &one);)
        if (str_eq(one, name))
            return true;
    return false;
}
