/* openai_shape: the chat API that many providers copy from OpenAI. Source: providers.md 2. */
#ifndef INFERD_PROVIDER_OPENAI_SHAPE_H
#define INFERD_PROVIDER_OPENAI_SHAPE_H

#include "shape.h"

/* Where the copies differ. */
struct openai_style {
    const char *max_field; /* "max_completion_tokens" or "max_tokens" */
    bool stream_options;   /* asks for usage at the end of a stream */
    bool omits_model;      /* the URL says it */
    bool bare;             /* neither n nor stream: Elasticsearch's own chat request */
    bool omits_n;          /* knows no n */
    bool any_for_required; /* its word for tool_choice "required" is "any" */
};

/* The members of a chat request, for completion (one user message) and chat_completion. model and
 * user may be empty; a chat request's own model wins. */
void openai_chat_body(struct json_out *, const struct input *, struct str model, struct str user,
                      const struct openai_style *);
/* Parts of a message: its member content, as text or parts, and its member tool_calls. */
void openai_put_content(struct json_out *, const struct chat_message *);
void openai_put_tool_calls(struct json_out *, const struct chat_message *);
/* All messages as one member. */
void openai_put_messages(struct json_out *, const char *key, const struct chat *);
/* {"data": [{"embedding": [...]}], "usage": {"prompt_tokens"}} */
struct err *openai_embed_parse(const struct http_in *, const struct input *,
                               const char *request_name, struct result *out);
/* choices[0].message.content */
struct err *openai_chat_parse(const struct http_in *, const char *request_name, struct result *out);
/* One event of a stream, for completion and chat_completion. */
struct err *openai_chat_event(struct stream *, const struct event *, struct sink *);

/* The judgement of OpenAI and its near relatives; body {"error":{message,type,param,code}}. */
void openai_judge(const struct endpoint *, struct str url, const struct http_in *,
                  struct verdict *out);

/* Parts of it. What the body says of itself: message, type, code, param. */
void openai_refusal(const struct http_in *, struct verdict *out);
bool openai_prompt_too_long(struct str message);
/* The prefix of a 429, with a digest of its quota headers: OpenAI's four, or Azure's two. */
struct str openai_quota(const struct http_in *);
struct str azure_quota(const struct http_in *);

/* --- services that copy OpenAI whole ---
 *
 * Nothing but data: the record's `openai` points to one of these, the rows of its settings have the
 * names below, and its tasks take the functions. Read where the row exists and is set: api_key,
 * model_id or model, url, organization_id, user, headers, dimensions. See groq.c. */
struct openai_copy {
    struct openai_style style;
    const char *embed_url, *chat_url; /* when the setting url is not given */
    bool sends_dimensions;            /* those that the caller asked for */
    bool names_encoding;              /* embeddings with "encoding_format": "float" */
    bool raw_errors;                  /* an error's message is the whole body */
    const char *error_type;           /* for chats, when the body names none; NULL: derived */
};

struct str openai_copy_url(const struct endpoint *);
/* URL, key, organization and the caller's headers: for those with a body of their own. */
struct err *openai_copy_request(const struct endpoint *, const struct input *, struct http_out *);
struct err *openai_copy_embed_build(const struct endpoint *, const struct input *,
                                    struct http_out *);
struct err *openai_copy_embed_parse(const struct endpoint *, const struct input *,
                                    const struct http_in *, struct result *);
struct err *openai_copy_chat_build(const struct endpoint *, const struct input *,
                                   struct http_out *);
struct err *openai_copy_chat_parse(const struct endpoint *, const struct input *,
                                   const struct http_in *, struct result *);
void openai_copy_judge(const struct endpoint *, const struct http_in *, struct verdict *);

/* The two rows of a table of tasks. `one` as in struct provider_task. */
#define OPENAI_COPY_CHATS(name, one, rpm)                                                          \
    {.task = TASK_COMPLETION,                                                                      \
     .request_name = (name),                                                                       \
     .one_input = (one),                                                                           \
     .default_rpm = (rpm),                                                                         \
     .framing = FRAMING_SSE,                                                                       \
     .build = openai_copy_chat_build,                                                              \
     .parse = openai_copy_chat_parse,                                                              \
     .on_event = openai_chat_event},                                                               \
    {                                                                                              \
        .task = TASK_CHAT_COMPLETION, .request_name = (name), .default_rpm = (rpm),                \
        .framing = FRAMING_SSE, .build = openai_copy_chat_build, .parse = openai_copy_chat_parse,  \
        .on_event = openai_chat_event                                                              \
    }

#endif
