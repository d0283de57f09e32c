/* reply: answers in Elasticsearch's manners. Every request gets exactly one of these. */
#ifndef INFERD_REPLY_H
#define INFERD_REPLY_H

#include "request.h"

/* JSON in a heap buffer, which is taken; shown as the caller asked (pretty, filter_path, yaml). */
void reply_json(struct request *, int status, struct buf *json);
/* Text of another type; `body` is in the arena or static. */
void reply_text(struct request *, int status, struct str content_type, struct str body);
/* The error envelope; takes the err. On a ROUTE_STREAM route: one error event. */
void reply_err(struct request *, struct err *);
/* X-Opaque-Id echoed: for whoever answers without the functions above. */
void reply_headers(struct request *);
/* A Warning header, as Elasticsearch has them; before the answer. No quotes in the text. */
void reply_warn(struct request *, struct str text);
/* {"error":"text","status":N}: ES's short form. */
void reply_simple(struct request *, int status, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* The envelope's object into a writer: {"error":{...},"status":N}. */
void err_render(struct json_out *, const struct err *, bool trace);
/* The OpenAI-like one of chat_completion: {"error":{"code","message","param","type"}}. */
void err_render_chat(struct json_out *, const struct err *);
/* OpenAI's own: {"error":{"message","type","param","code"}}, all four members always. */
void err_render_openai(struct json_out *, const struct err *);
/* One server-sent event holding the error. */
void err_event(struct buf *out, const struct err *, bool chat);

/* For the body of an answer. */
void reply_buf_init(struct buf *);
/* What an answer begins with that speaks for each node, of which there is one: `nodes` is open. */
void reply_nodes(struct json_out *, const struct api_options *);

#endif
