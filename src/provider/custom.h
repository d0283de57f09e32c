/* custom: what the files of this service share. Private to them. */
#ifndef INFERD_PROVIDER_CUSTOM_H
#define INFERD_PROVIDER_CUSTOM_H

#include "shape.h"

extern const char custom_name[]; /* "Custom": the same for every task */

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
