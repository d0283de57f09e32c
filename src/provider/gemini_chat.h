/* gemini_chat: OpenAI's words for a chat into Gemini's, and its events back. Source: shared facts,
 * providers.md 3.8 (as Elasticsearch 9.1 and newer; API v1 as of January 2025). */
#ifndef INFERD_PROVIDER_GEMINI_CHAT_H
#define INFERD_PROVIDER_GEMINI_CHAT_H

#include "google_shape.h"

/* What a request takes from settings; a chat request's own members win. */
struct gemini_settings {
    struct str model; /* the one that is called */
    const struct value *max_tokens;
    const struct value *thinking_config; /* {"thinking_budget": N} */
};

/* The whole body of a completion (one user message) or chat_completion, set on `out`. What Gemini
 * cannot be told is an error with status 400. */
struct err *gemini_chat_body(const struct input *, const struct gemini_settings *,
                             struct http_out *out);
/* One event of a stream, for completion and chat_completion. */
struct err *gemini_chat_event(struct stream *, const struct event *, struct sink *);

#endif
