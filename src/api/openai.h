/* openai: what the files of the second front door share. A body is translated into Elasticsearch's
 * and goes the same way from there. Private to api/. */
#ifndef INFERD_API_OPENAI_H
#define INFERD_API_OPENAI_H

#include "infer.h"

/* The request's `model`, which names an endpoint. 400: there is none. */
struct err *openai_model(const struct request *, struct str *out);
/* 400: the endpoint's task is not for this route. `wanted` is "[rerank]". */
struct err *openai_wrong_task(const struct endpoint *, const char *wanted);
/* Submits the call, or answers with the error, which is taken. */
void openai_start(struct infer *, struct err *);

/* A translated body: built as text, read as any other. */
struct translation {
    struct buf text;
    struct json_out w;
};

void translation_begin(struct translation *);
/* A member as it is, unless it is missing or null. */
void translation_copy(struct translation *, const struct json *from, const char *key);
/* Reads what was built into the call's input; ends the translation. */
struct err *translation_read(struct translation *, struct infer *, bool stream);

#endif
