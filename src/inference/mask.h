/* mask: a request as one may show it: whatever holds a secret of the endpoint becomes "***".
 *
 *     struct mask mask = mask_new(arena, ep);
 *     mask_request(&mask, &out, &w);     // {"method", "url", "headers", "body"}
 *
 * Secrets are found by their bytes, as they are, percent-encoded or escaped as in JSON, wherever a
 * provider put them, and by their beginnings where a text was cut; secrets that are JSON objects
 * also by the texts in them; in errors also in base64. Headers that carry credentials by their
 * nature are masked whole, signatures with them. Pure; everything lives in the arena. */
#ifndef INFERD_MASK_H
#define INFERD_MASK_H

#include "endpoint.h"
#include "http.h"

struct mask {
    struct arena *arena;
    struct str *needles;
    size_t n, cap;
    bool in_errors;
};

struct mask mask_new(struct arena *, const struct endpoint *);
struct str mask_text(const struct mask *, struct str);
/* What a service says in its refusal may hold what it was sent: the endpoint's secrets and `token`
 * (NULL: none) become "***" in the error and its causes. */
void mask_err(struct arena *, const struct endpoint *, const struct secret *token, struct err *);
void mask_request(const struct mask *, const struct http_out *, struct json_out *);

#endif
