/* openai_shape: the chat API that many providers copy from OpenAI. Source: providers.md 2. */
#ifndef INFERD_PROVIDER_OPENAI_SHAPE_H
#define INFERD_PROVIDER_OPENAI_SHAPE_H

#include "shape.h"

/* Where the copies differ. */
struct openai_style {
    const char *max_field; /* "max_completion_tokens" or "max_tokens" */
    bool stream_options;   /* asks for usage at the end of a stream */
};

/* The members of a chat request, for completion (one user message) and chat_completion. model and
 * user may be empty; a chat request's own model wins. */
void openai_chat_body(struct json_out *, const struct input *, struct str model, struct str user,
                      const struct openai_style *);
/* choices[0].message.content */
struct err *openai_chat_parse(const struct http_in *, const char *request_name, struct result *out);
/* One event of a stream, for completion and chat_completion. */
struct err *openai_chat_event(struct stream *, const struct event *, struct sink *);

/* The judgement of OpenAI and its near relatives; body {"error":{message,type,param,code}}. */
void openai_judge(const struct endpoint *, struct str url, const struct http_in *,
                  struct verdict *out);

#endif
