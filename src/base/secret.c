/* Counted, immutable, wiped with the last reference. A NUL follows the bytes, so that libraries
 * which want a C string need no second copy of the secret. */
#include "secret.h"

#include <sodium.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "bug.h"

struct secret {
    atomic_size_t refs;
    size_t n;
    char bytes[];
};

struct secret *secret_new(struct str bytes)
{
    BUG_ON(bytes.n > SIZE_MAX - sizeof(struct secret) - 1);
    struct secret *s = mem_new(sizeof *s + bytes.n + 1);
    atomic_init(&s->refs, 1);
    s->n = bytes.n;
    if (bytes.n)
        memcpy(s->bytes, bytes.p, bytes.n);
    return s;
}

struct secret *secret_ref(const struct secret *s)
{
    /* Only the count changes, and it is atomic: the caller's view stays immutable. */
    struct secret *m = (struct secret *)(uintptr_t)s;
    if (m)
        atomic_fetch_add_explicit(&m->refs, 1, memory_order_relaxed);
    return m;
}

void secret_unref(struct secret *s)
{
    if (!s || atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) != 1)
        return;
    sodium_memzero(s->bytes, s->n);
    free(s);
}

struct str secret_reveal(const struct secret *s)
{
    return s ? str_n(s->bytes, s->n) : (struct str){NULL, 0};
}

void secret_wipe(void *p, size_t n)
{
    if (n)
        sodium_memzero(p, n);
}

void secret_digest(struct str bytes, char out[SECRET_DIGEST_BYTES])
{
    crypto_generichash((unsigned char *)out, SECRET_DIGEST_BYTES, (const unsigned char *)bytes.p,
                       bytes.n, NULL, 0);
}
