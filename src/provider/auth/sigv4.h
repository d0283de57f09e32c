/* sigv4: AWS Signature Version 4 of a finished request. Source: shared facts, providers.md 3.2 and
 * 6; AWS General Reference, "Create a signed request" (June 2026).
 *
 *     struct sigv4 who = {.access_key = ..., .secret_key = ..., .region = region,
 *                         .service = STR("bedrock")};
 *     TRY(sigv4_sign(&who, now_s, out));   // adds X-Amz-Date and Authorization
 *
 * Signed are the host, Content-Type and every header whose name begins with X-Amz, as they will be
 * on the wire. The path is encoded once more than it is sent (send %3A, sign %253A), as every
 * service but S3 wants it; the query is sorted. Not libcurl's CURLOPT_AWS_SIGV4: before 8.14 it
 * signs the path as it is sent, which fails for every model id that holds a colon.
 *
 * Pure; Thread: any. Everything lives in out->arena, except what is derived from the secret, which
 * is wiped. */
#ifndef INFERD_SIGV4_H
#define INFERD_SIGV4_H

#include "err.h"
#include "http.h"

struct sigv4 {
    struct str access_key, secret_key;
    struct str session_token; /* {NULL, 0}: none, the keys are a user's own */
    struct str region, service;
};

struct err *sigv4_sign(const struct sigv4 *, int64_t now_s, struct http_out *);

/* The text whose digest is signed, for a request that has its X-Amz headers: what to compare when a
 * service answers SignatureDoesNotMatch, for it prints its own. Also lists the signed headers. */
struct str sigv4_canonical(struct arena *, const struct http_out *, struct str *signed_headers_out);

#endif
