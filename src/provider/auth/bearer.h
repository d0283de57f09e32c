/* bearer: what token exchanges have in common: the answer of RFC 6749 5.1 and the header of RFC
 * 6750 2.1. Private to auth/. */
#ifndef INFERD_PROVIDER_AUTH_BEARER_H
#define INFERD_PROVIDER_AUTH_BEARER_H

#include "auth.h"

/* Reads {"access_token": S, "expires_in": N} of a 2xx answer. NULL: *out is set; otherwise what is
 * wrong with the answer, as the end of a sentence. A token without a lifetime is used at once and
 * not kept. */
const char *bearer_read(const struct http_in *, int64_t now_s, struct token *out);

/* For struct auth: adds "Authorization: Bearer <token>". */
struct err *bearer_sign(const struct endpoint *, const struct token *, int64_t now_s,
                        struct http_out *);

#endif
