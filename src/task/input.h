/* input: what one call asks. Everything lives in the call's arena (texts may borrow from the
 * request body, which lives as long). Source: inference.md 2.5, 2.7. */
#ifndef INFERD_INPUT_H
#define INFERD_INPUT_H

#include "endpoint.h"

struct chat_part { /* {"type":"text","text":...} */
    struct str type, text;
};

struct chat_tool_call {
    struct str id, type, name, arguments;
};

struct chat_message {
    struct str role;
    bool has_content;
    bool content_is_parts;
    struct str content; /* when not parts */
    const struct chat_part *parts;
    size_t n_parts;
    struct str tool_call_id; /* {NULL, 0}: absent */
    const struct chat_tool_call *tool_calls;
    size_t n_tool_calls;
};

struct chat_tool {
    struct str type, name, description;
    const struct json *parameters; /* object, or NULL */
    bool has_strict, strict;
};

struct chat {
    struct str model; /* {NULL, 0}: the endpoint's */
    const struct chat_message *messages;
    size_t n_messages;
    bool has_max_completion_tokens, has_temperature, has_top_p;
    int64_t max_completion_tokens;
    double temperature, top_p;
    struct str temperature_text, top_p_text; /* as the caller wrote them */
    const struct str *stop;
    size_t n_stop;
    const struct chat_tool *tools;
    size_t n_tools;
    bool has_tool_choice;
    struct str tool_choice;      /* word; or, when tool_choice_name is set, its type */
    struct str tool_choice_name; /* {"type":"function","function":{"name":...}} */
};

struct input {
    enum task task;
    bool stream;
    struct str *texts; /* not chat; writable: shortened copies replace them */
    size_t n_texts;
    bool *cut;        /* which texts were shortened on the way out; NULL: none */
    struct str query; /* rerank */
    bool has_query;
    enum input_type input_type; /* root member; wins over task settings */
    bool has_top_n, has_return_documents;
    int64_t top_n;
    bool return_documents;
    const struct json *task_settings; /* as sent; NULL */
    struct values values;    /* stored settings with task_settings laid over; by inference */
    const struct chat *chat; /* chat_completion only */
};

/* A POST body of any task but chat. `task` is the endpoint's, `url_any`: the URL named no task (the
 * checks on top_n, return_documents and input_type are then skipped). Unknown members:
 * ERR_X_CONTENT "[l:c] [cluster:internal/xpack/inference] unknown field [foo]". A member that is
 * null counts as absent. `text` is what `body` was parsed from: for positions in errors. */
struct err *input_parse(struct arena *, enum task, bool url_any, struct str text,
                        const struct json *body, struct input *out);
/* A chat_completion body. */
struct err *chat_parse(struct arena *, struct str text, const struct json *body, struct chat *out);

#endif
