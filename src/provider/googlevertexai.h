/* googlevertexai: what the two files of this service share. Private to them. */
#ifndef INFERD_PROVIDER_GOOGLEVERTEXAI_H
#define INFERD_PROVIDER_GOOGLEVERTEXAI_H

#include "shape.h"

#define VERTEX_EMBEDDINGS "Google Vertex AI embeddings"
#define VERTEX_RERANK     "Google Vertex AI rerank"

enum {
    S_SERVICE_ACCOUNT,
    S_LOCATION,
    S_PROJECT_ID,
    S_MODEL_ID,
    S_URL,
    S_STREAMING_URL,
    S_PROVIDER,
    S_MAX_INPUT_TOKENS,
    S_DIMENSIONS,
    S_DIMENSIONS_SET_BY_USER,
    S_MAX_BATCH_SIZE,
    S_SIMILARITY,
    S_RATE_LIMIT,
    S_AUTO_TRUNCATE,
    S_INPUT_TYPE,
    S_TOP_N,
    S_THINKING_CONFIG,
    S_MAX_TOKENS,
    N_SETTINGS
};

struct str vertex_embed_url(struct arena *, const struct endpoint *);
struct str vertex_rerank_url(struct arena *, const struct endpoint *);

/* googlevertexai_embed.c */
size_t vertex_batch_of(const struct endpoint *);
struct err *vertex_embed_build(const struct endpoint *, const struct input *, struct http_out *);
struct err *vertex_embed_parse(const struct endpoint *, const struct input *,
                               const struct http_in *, struct result *);
struct err *vertex_rerank_build(const struct endpoint *, const struct input *, struct http_out *);
struct err *vertex_rerank_parse(const struct endpoint *, const struct input *,
                                const struct http_in *, struct result *);

#endif
