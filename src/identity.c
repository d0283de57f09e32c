#include "identity.h"

#include <sodium.h>

static struct err *identity_make(struct store *store, struct str name, char out[IDENTITY_CHARS + 1])
{
    unsigned char raw[16];
    randombytes_buf(raw, sizeof raw);
    sodium_bin2base64(out, IDENTITY_CHARS + 1, raw, sizeof raw,
                      sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    uint64_t rev;
    return store_put(store, STORE_META, name, str_n(out, IDENTITY_CHARS), 0, &rev);
}

static struct err *identity_one(struct store *store, struct arena *arena, struct str name,
                                char out[IDENTITY_CHARS + 1])
{
    struct doc doc;
    struct err *e = store_get(store, STORE_META, name, arena, &doc);
    if (e && e->kind == ERR_NOT_FOUND) {
        err_free(e);
        return identity_make(store, name, out);
    }
    if (e)
        return e;
    if (doc.body.n != IDENTITY_CHARS)
        return err_new(ERR_CORRUPT, "stored [%.*s] has [%zu] characters", STR_ARG(name),
                       doc.body.n);
    memcpy(out, doc.body.p, IDENTITY_CHARS);
    out[IDENTITY_CHARS] = '\0';
    return NULL;
}

struct err *identity_read(struct store *store, struct identity *out)
{
    struct arena *arena = arena_new(ARENA_NO_LIMIT);
    struct err *e = identity_one(store, arena, STR("cluster_uuid"), out->cluster_uuid);
    if (!e)
        e = identity_one(store, arena, STR("node_id"), out->node_id);
    arena_free(arena);
    return e;
}
