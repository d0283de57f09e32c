/* custom: what the files of this service share. Private to them. */
#ifndef INFERD_PROVIDER_CUSTOM_H
#define INFERD_PROVIDER_CUSTOM_H

#include "shape.h"

enum {
    S_SECRET_PARAMETERS,
    S_SIMILARITY,
    S_DIMENSIONS,
    S_MAX_INPUT_TOKENS,
    S_URL,
    S_HEADERS,
    S_QUERY_PARAMETERS,
    S_REQUEST,
    S_RESPONSE,
    S_INPUT_TYPE,
    S_RATE_LIMIT,
    S_BATCH_SIZE,
    S_PARAMETERS,
    N_SETTINGS
};

extern const char custom_name[]; /* "Custom": the same for every task */

/* The endpoint's response.json_parser. */
const struct json *custom_parser(const struct endpoint *);
/* The request, with every template filled. */
struct err *custom_build(const struct endpoint *, const struct input *, struct http_out *);

/* custom_settings.c: beyond the rows. */
struct err *custom_check(struct endpoint *);

/* custom_answer.c: `parser` is the endpoint's response.json_parser. */
enum result_kind custom_embedding_kind(const struct json *parser);
struct err *custom_embeddings(const struct json *parser, const struct input *,
                              const struct http_in *, struct result *);
struct err *custom_sparse(const struct json *parser, const struct input *, const struct http_in *,
                          struct result *);
struct err *custom_rerank(const struct json *parser, const struct input *, const struct http_in *,
                          struct result *);
struct err *custom_completion(const struct json *parser, const struct http_in *, struct result *);
void custom_judge(const struct endpoint *, const struct http_in *, struct verdict *);

#endif
