/* cohere: what the two files of this service share. Private to them. */
#ifndef INFERD_PROVIDER_COHERE_H
#define INFERD_PROVIDER_COHERE_H

#include "shape.h"

enum {
    S_API_KEY,
    S_URL,
    S_SIMILARITY,
    S_DIMENSIONS,
    S_MAX_INPUT_TOKENS,
    S_MODEL_ID,
    S_RATE_LIMIT,
    S_EMBEDDING_TYPE,
    S_API_VERSION,
    S_INPUT_TYPE,
    S_TRUNCATE,
    S_RETURN_DOCUMENTS,
    S_TOP_N,
    S_MAX_CHUNKS_PER_DOC,
    N_SETTINGS
};

/* Endpoints made by an Elasticsearch before 9.1 speak the first version of the API. */
bool cohere_speaks_v1(const struct endpoint *);
/* POST to /v1/<path> or /v2/<path>, or to the endpoint's own url. */
void cohere_request(const struct endpoint *, const struct input *, const char *path,
                    struct http_out *);

/* cohere_chat.c: completion (both versions) and chat_completion (the second). */
enum framing_kind cohere_framing(const struct endpoint *);
struct err *cohere_completion_build(const struct endpoint *, const struct input *,
                                    struct http_out *);
struct err *cohere_completion_parse(const struct endpoint *, const struct input *,
                                    const struct http_in *, struct result *);
struct err *cohere_completion_event(struct stream *, const struct event *, struct sink *);
struct err *cohere_chat_build(const struct endpoint *, const struct input *, struct http_out *);
struct err *cohere_chat_event(struct stream *, const struct event *, struct sink *);

#endif
