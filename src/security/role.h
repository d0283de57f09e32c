/* role: what a role descriptor gives; private to security/.
 *
 * A descriptor is read once into a struct that answers questions, and kept as the normalized text
 * that Elasticsearch prints. The same form serves custom roles, the built-in ones (roles.def), the
 * role_descriptors of an API key and the snapshot of its owner's roles.
 *
 * Beyond Elasticsearch: "metadata": {"inferd": {"endpoints": ["a*"]}} limits what the role gives to
 * inference endpoints of these ids, and "limits": {"requests_per_minute": 600, "concurrency": 8,
 * "tokens_per_month": 1000000} those who come with an API key that has the role (usage.h).
 * Thread: immutable, any. */
#ifndef INFERD_ROLE_H
#define INFERD_ROLE_H

#include "security.h"
#include "usage.h"

struct role {
    struct str name;
    struct str text;         /* the descriptor, normalized JSON */
    const struct json *body; /* the same, read */
    uint64_t bits;           /* of its cluster privileges, implied ones included */
    struct str *patterns;    /* action patterns */
    size_t n_patterns;
    bool limited; /* to `endpoints` */
    struct str *endpoints;
    size_t n_endpoints;
    struct usage_limits limits;
    bool empty; /* gives nothing whatever */
};

/* Several roles: what they give together. */
struct rights {
    const struct role **roles;
    size_t n;
    uint64_t bits;
};

/* Everything lands in the arena. Errors: 400 in Elasticsearch's words. */
struct err *role_read(struct arena *, struct str name, const struct json *descriptor,
                      struct role **out);
/* {"name": descriptor, ...}; NULL reads as none. */
struct err *rights_read(struct arena *, const struct json *descriptors, struct rights *out);
void rights_render(const struct rights *, struct json_out *); /* the same map */
void rights_add(struct rights *, const struct role *);        /* `roles` has room for it */

bool rights_allow(const struct rights *, enum privilege, struct str action);
bool rights_allow_on(const struct rights *, enum privilege, struct str action, struct str endpoint);
bool rights_limited(const struct rights *);

bool role_is_reserved(struct str name);
/* The built-in ones, in the arena. */
struct err *roles_built_in(struct arena *, const struct role ***out, size_t *n_out);

#endif
