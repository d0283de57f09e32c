/* verdict: a provider's refusal in Elasticsearch's words; and small things about addresses.
 * Pure. Source: shared facts, providers.md 1.3 and 1.4. */
#ifndef INFERD_VERDICT_H
#define INFERD_VERDICT_H

#include "provider.h"

/* "<prefix> for request from inference entity id [x] status [429]. Error message: [m]", with the
 * status the client gets: the upstream's when it is a known one below 500, else 400. */
struct err *verdict_err(struct str inference_id, int upstream_status, const struct verdict *);

/* May another service do what this one has refused so? Not what is wrong with the request. */
bool status_goes_elsewhere(int status);

/* The Retry-After header in milliseconds (seconds, or an HTTP date); 0: absent or unreadable. */
int64_t retry_after_ms(const struct http_headers *, int64_t now_wall_ms);

/* Scheme, host and port of `url` replaced by those of `base`; path and query stay. */
struct str url_rebase(struct arena *, struct str url, struct str base);
/* Up to '?' or '#', and without user information: what a text may show. */
struct str url_without_query(struct str url);

#endif
