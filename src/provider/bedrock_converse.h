/* bedrock_converse: Amazon Bedrock's Converse and ConverseStream, one chat for the models of all
 * makers. Source: shared facts, providers.md 3.2. Private to amazonbedrock.c. */
#ifndef INFERD_PROVIDER_BEDROCK_CONVERSE_H
#define INFERD_PROVIDER_BEDROCK_CONVERSE_H

#include "shape.h"

/* What a request takes from settings; a chat request's own members win. Unset: left out. */
struct converse_settings {
    const struct value *max_tokens, *temperature, *top_p, *top_k;
    const char *top_k_name; /* models differ: "top_k" or "k" */
};

/* The whole body of a completion (one user message) or chat_completion, set on `out`. */
struct err *converse_body(const struct input *, const struct converse_settings *,
                          struct http_out *out);
/* Every text of output.message.content is a result. */
struct err *converse_parse(const struct http_in *, const char *request_name, struct result *out);
/* One event of a stream (FRAMING_AWS), for completion and chat_completion. */
struct err *converse_event(struct stream *, const struct event *, struct sink *);

#endif
