/* shape: what many providers have in common: bearer keys, JSON bodies, plain readings of an answer,
 * verdicts by status. Private to provider/. */
#ifndef INFERD_PROVIDER_SHAPE_H
#define INFERD_PROVIDER_SHAPE_H

#include "provider.h"

/* --- requests --- */

/* A body under construction. finish moves it into the arena and sets it on `out`. */
struct body {
    struct buf buf;
    struct json_out w;
};
void body_begin(struct body *);
struct err *body_finish(struct body *, struct http_out *out);
/* The same where building it may have failed: an `e` is handed on and the body dropped. */
struct err *body_finish_or(struct body *, struct err *e, struct http_out *out);

/* POST url with Content-Type: application/json and Authorization: Bearer <key>. */
void request_json(struct http_out *, struct str url, const struct value *api_key);
void json_key_texts(struct json_out *, const char *key, const struct str *texts, size_t n);

/* The caller's own headers ({S: S}, from task settings) come last and win over ours. Errors: one
 * that frames the message, or no header name. */
struct err *request_headers(const struct value *headers, struct http_out *);
/* One of them, from `scope` ("service_settings"). The bytes of name and value are kept. */
struct err *request_header(struct http_out *, struct str name, struct str value, const char *scope);

/* --- rows that several services share --- */

#define SETTING_ROW_MODEL_ID(task_bits)                                                            \
    {                                                                                              \
        .name = "model_id", .place = IN_SERVICE, .type = SETTING_STR, .tasks = (task_bits),        \
        .flags = SETTING_REQUIRED, .label = "Model ID",                                            \
        .description = "The name of the model to use for the inference task.",                     \
    }

#define SETTING_ROW_URL(task_bits, flag_bits)                                                      \
    {                                                                                              \
        .name = "url", .place = IN_SERVICE, .type = SETTING_URL, .tasks = (task_bits),             \
        .flags = (flag_bits), .label = "URL",                                                      \
        .description = "The URL endpoint to use for the requests.",                                \
    }

#define SETTING_ROW_INPUT_TYPE(task_bits, words)                                                   \
    {                                                                                              \
        .name = "input_type", .place = IN_TASK, .type = SETTING_ENUM, .tasks = (task_bits),        \
        .flags = SETTING_UNLISTED, .choices = (words), .label = "Input Type",                      \
        .description = "The type of input passed to the model.",                                   \
    }

#define SETTING_ROW_TRUNCATE(task_bits, words)                                                     \
    {                                                                                              \
        .name = "truncate", .place = IN_TASK, .type = SETTING_ENUM, .tasks = (task_bits),          \
        .flags = SETTING_UNLISTED, .choices = (words), .label = "Truncate",                        \
        .description = "How the service handles inputs longer than the maximum.",                  \
    }

#define SETTING_ROW_USER(task_bits)                                                                \
    {                                                                                              \
        .name = "user", .place = IN_TASK, .type = SETTING_STR, .tasks = (task_bits),               \
        .flags = SETTING_UNLISTED, .label = "User",                                                \
        .description = "Specifies the user issuing the request.",                                  \
    }

#define SETTING_ROW_HEADERS(task_bits)                                                             \
    {                                                                                              \
        .name = "headers", .place = IN_TASK, .type = SETTING_STR_MAP, .tasks = (task_bits),        \
        .flags = SETTING_UNLISTED, .label = "Headers",                                             \
        .description = "Headers added to the request to the service.",                             \
    }

#define SETTING_ROW_RETURN_DOCUMENTS(task_bits)                                                    \
    {                                                                                              \
        .name = "return_documents", .place = IN_TASK, .type = SETTING_BOOL, .tasks = (task_bits),  \
        .flags = SETTING_UNLISTED, .label = "Return Documents",                                    \
        .description = "Whether to return the text of the documents.",                             \
    }

#define SETTING_ROW_TOP_N(task_bits)                                                               \
    {                                                                                              \
        .name = "top_n", .place = IN_TASK, .type = SETTING_INT, .tasks = (task_bits),              \
        .flags = SETTING_UNLISTED, .label = "Top N",                                               \
        .description = "The number of most relevant documents to return.",                         \
    }

/* --- settings of a call: what the request says at its root wins --- */

bool call_top_n(const struct input *, int64_t *out);
/* The request's, else the stored one, else INPUT_UNSPECIFIED. */
enum input_type call_input_type(const struct input *);
/* For services that know ingest and search only; label as in GET _services. */
struct err *input_type_known(enum input_type, const char *label);
/* Asked for in the request, else in the settings, else false. */
bool call_return_documents(const struct input *);

/* --- answers --- */

/* "Failed to find required field [data] in OpenAI embeddings response" */
struct err *missing_field(const char *field, const char *request_name);
struct err *answer_json(const struct http_in *, const struct json **out);

/* The flat array as an embedding, its numbers as text. `field` is what is missing if it is none.
 * Errors too: a number that no float can hold. */
struct err *embedding_floats(const struct json *numbers, const char *field,
                             const char *request_name, struct embedding *out);
/* Rows of numbers, or of base64 of float32. `at(row)` is the array itself or the member of that
 * name. `rows` in input order (by their member "index" when every row has a valid one). One row per
 * input, or an error. */
struct err *floats_from(const struct json *rows, const char *member, const struct input *,
                        const char *request_name, struct arena *, struct result *out);
/* Arrays of numbers -128..127. kind: RESULT_BYTES or RESULT_BITS. */
struct err *bytes_from(const struct json *rows, enum result_kind kind, const struct input *,
                       const char *request_name, struct arena *, struct result *out);
/* One of them, of a flat array. */
struct err *embedding_bytes(const struct json *numbers, struct arena *, struct embedding *out);
/* The same where the array is a member of the row, in the order of floats_from. */
struct err *bytes_at(const struct json *rows, const char *member, enum result_kind kind,
                     const struct input *, const char *request_name, struct arena *,
                     struct result *out);
/* Drops tokens that were seen before: what is printed is an object. The number that is left. */
size_t sparse_unique(struct sparse_item *, size_t n);
/* [{"index", <score>, "document": {"text"} | "text"}] as sent; texts only when asked for, taken
 * from the input where the provider sent none. */
struct err *ranked_from(const struct json *rows, const char *const *score_names,
                        const struct input *, const char *request_name, struct arena *,
                        struct result *out);
/* The same of a whole answer in Cohere's shape: {"results": [{"index", "relevance_score", ...}]} */
struct err *results_ranked(const struct http_in *, const struct input *, const char *request_name,
                           struct result *out);
struct err *completion_from(const struct json *text, const char *field, const char *request_name,
                            struct arena *, struct result *out);
/* One delta of a completion stream, if the text is not empty. */
void delta_text(struct sink *, struct str text);

/* --- refusals --- */

/* Every provider's beginning: 429, 401, 3xx, 5xx and the rest, nothing retried. */
void verdict_by_status(int status, struct verdict *out);
void verdict_set(struct verdict *, enum verdict_action, const char *prefix);
/* The text at a path of the body, if it is JSON: verdict_message(in, out, "error", "message", NULL)
 */
void verdict_message(const struct http_in *, struct verdict *out, ...) __attribute__((sentinel));
/* Jina's and Voyage's: {"detail": "..."}; 500 and 429 are worth another try. */
void judge_by_detail(const struct endpoint *, const struct http_in *, struct verdict *out);
/* The beginning of the body as it is: for services whose errors have no shape. */
void verdict_raw_message(const struct http_in *, struct verdict *out);

/* "Received an error response for request from inference entity id [x]. Error message: [m]" with
 * status 500; message {NULL, 0}: the tail is dropped. For errors within a stream. */
struct err *stream_error(const struct stream *, struct str message);

#endif
