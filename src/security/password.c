/* Source: shared facts, security.md 10 and 13. */
#include "password.h"

#include <stdlib.h>

#include "bug.h"
#include "private.h"

#define MIN_CHARS    6
#define MAX_BYTES    4096
#define RANDOM_CHARS 20

struct err *password_check(struct str password)
{
    if (password.n < MIN_CHARS)
        return invalid("passwords must be at least [%d] characters long", MIN_CHARS);
    if (password.n > MAX_BYTES || str_find_char(password, '\0') != SIZE_MAX)
        return invalid("passwords must be at most [%d] bytes long and hold no NUL", MAX_BYTES);
    return NULL;
}

struct err *password_hash(struct str password, char out[PASSWORD_HASH_CHARS])
{
    if (crypto_pwhash_str(out, password.p, password.n, crypto_pwhash_OPSLIMIT_INTERACTIVE,
                          crypto_pwhash_MEMLIMIT_INTERACTIVE) == 0)
        return NULL;
    return err_new(ERR_INTERNAL, "hashing a password takes [%d] MiB of memory, which is not there",
                   crypto_pwhash_MEMLIMIT_INTERACTIVE >> 20);
}

struct err *password_check_hash(struct str hash, char out[PASSWORD_HASH_CHARS])
{
    sodium_memzero(out, PASSWORD_HASH_CHARS);
    bool ok = hash.n < PASSWORD_HASH_CHARS && str_find_char(hash, '\0') == SIZE_MAX;
    if (ok) {
        memcpy(out, hash.p, hash.n);
        ok = crypto_pwhash_str_needs_rehash(out, crypto_pwhash_OPSLIMIT_INTERACTIVE,
                                            crypto_pwhash_MEMLIMIT_INTERACTIVE) == 0;
    }
    if (ok)
        return NULL;
    return invalid("The provided password hash is not a hash or it could not be resolved to a "
                   "supported hash algorithm. The supported password hash algorithms are "
                   "[argon2id with m=65536,t=2,p=1]");
}

char *password_random(void)
{
    static const char letters[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789*_=-+";
    BUG_ON(sodium_init() < 0);
    char *z = mem_new(RANDOM_CHARS + 1);
    for (int i = 0; i < RANDOM_CHARS; i++)
        z[i] = letters[randombytes_uniform(sizeof letters - 1)];
    return z;
}
