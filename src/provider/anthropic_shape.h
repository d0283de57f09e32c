/* anthropic_shape: the Messages API of Anthropic, which others serve too. Source: shared facts,
 * providers.md 3.3 (API version 2023-06-01). */
#ifndef INFERD_PROVIDER_ANTHROPIC_SHAPE_H
#define INFERD_PROVIDER_ANTHROPIC_SHAPE_H

#include "shape.h"

/* What a request takes from settings; a chat request's own members win. */
struct anthropic_settings {
    const char *version; /* a member of the body; NULL: it is said in a header */
    struct str model;    /* empty: the URL says it */
    const struct value *max_tokens, *temperature, *top_p, *top_k; /* NULL: none */
};

/* The whole body of a completion (one user message) or chat_completion, set on `out`. What this API
 * cannot be told is an error with status 400. */
struct err *anthropic_body(const struct input *, const struct anthropic_settings *,
                           struct http_out *out);
/* Every text of "content" is a result. */
struct err *anthropic_parse(const struct http_in *, const char *request_name, struct result *out);
/* One event of a stream, for completion and chat_completion. */
struct err *anthropic_event(struct stream *, const struct event *, struct sink *);

#endif
