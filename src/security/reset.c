/* reset: a new password for somebody who is locked out, set on the server's own machine by whoever
 * may open its store. What he had does not count: it is neither asked for nor shown. */
#include <sodium.h>

#include "account.h"
#include "bug.h"
#include "log.h"
#include "password.h"
#include "secret.h"

static struct err *put(struct store *store, struct str name, const struct account_doc *d)
{
    struct buf body;
    buf_init(&body, (size_t)2 << 20);
    account_doc_render(d, &body);
    struct err *e = store_put(store, STORE_USER, name, buf_str(&body), STORE_ANY_REV, NULL);
    if (body.p)
        secret_wipe(body.p, body.n);
    buf_deinit(&body);
    return e;
}

static struct err *absent(struct str name)
{
    return err_new(ERR_NOT_FOUND, "there is no user [%.*s] in this store", STR_ARG(name));
}

/* Nobody else may be there to enable the built-in user again. */
static struct err *reset(struct store *store, const struct realm *realm, struct str name,
                         const char *hash, struct arena *tmp)
{
    struct account_doc d;
    const struct account *a = realm_account(realm, name);
    bool built_in = str_eq(name, BUILT_IN_USER);
    if (!a)
        return absent(name);
    account_doc_of(a, tmp, &d);
    d.hash = str_c(hash);
    d.enabled = d.enabled || built_in;
    TRY(put(store, name, &d));
    log_info("password reset on the command line", LOG_S("user", name));
    if (!d.enabled)
        log_warn("the user is disabled and stays so until somebody enables him",
                 LOG_S("user", name));
    return NULL;
}

struct err *security_reset_password(struct store *store, struct str name, struct str password)
{
    char hash[PASSWORD_HASH_CHARS];
    struct realm *realm;
    BUG_ON(sodium_init() < 0);
    TRY(password_check(password));
    TRY(password_hash(password, hash));
    if (str_eq(name, BUILT_IN_USER)) {
        bool made;
        TRY(account_make_built_in(store, hash, &made));
        if (made)
            return NULL;
    }
    TRY(realm_read(store, &realm));
    struct arena *tmp = arena_new(ARENA_NO_LIMIT);
    struct err *e = reset(store, realm, name, hash, tmp);
    arena_free(tmp);
    counted_unref(&realm->counted);
    secret_wipe(hash, sizeof hash);
    return e;
}

char *security_random_password(void)
{
    return password_random();
}
