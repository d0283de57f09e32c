/* cohere's chat. Source: shared facts, providers.md 3.6; docs.cohere.com/reference/chat (v2, June
 * 2025) for what chat_completion needs beyond them: tools and their events.
 *
 * The two versions differ in everything: v1 takes one message and streams lines of JSON, v2 takes
 * messages and streams SSE. In v2 a call of a tool comes as one start (id, name), deltas with
 * pieces of its arguments, and an end; `index` counts the calls. */
#include "cohere.h"

#include <string.h>

#include "openai_shape.h"

static const char completion_name[] = "Cohere completion";

enum framing_kind cohere_framing(const struct endpoint *ep)
{
    return cohere_speaks_v1(ep) ? FRAMING_NDJSON : FRAMING_SSE;
}

/* --- completion: request --- */

static void put_v1(struct json_out *w, const struct input *in)
{
    const struct value *model = &in->values.v[S_MODEL_ID];
    json_key_str(w, "message", in->texts[0]);
    if (model->set)
        json_key_str(w, "model", model->s);
    if (in->stream)
        json_key_bool(w, "stream", true);
}

static void put_v2(struct json_out *w, const struct input *in)
{
    json_key(w, "messages");
    json_arr(w);
    json_obj(w);
    json_key_cstr(w, "role", "user");
    json_key_str(w, "content", in->texts[0]);
    json_end(w);
    json_end(w);
    json_key_str(w, "model", in->values.v[S_MODEL_ID].s);
    json_key_bool(w, "stream", in->stream);
}

struct err *cohere_completion_build(const struct endpoint *ep, const struct input *in,
                                    struct http_out *out)
{
    cohere_request(ep, in, "chat", out);
    struct body b;
    body_begin(&b);
    if (cohere_speaks_v1(ep))
        put_v1(&b.w, in);
    else
        put_v2(&b.w, in);
    return body_finish(&b, out);
}

/* --- completion: whole answer --- */

/* usage of v2, meta of v1 */
static void read_usage(const struct json *usage, struct usage *out)
{
    const struct json *units = json_get(usage, "billed_units");
    out->known = json_i64(json_get(units, "input_tokens"), &out->in_tokens);
    if (json_i64(json_get(units, "output_tokens"), &out->out_tokens))
        out->known = true;
}

/* The first part that is text: a model that reasons puts its thoughts before it. */
static const struct json *text_of_v2(const struct json *root)
{
    struct json_iter it = json_iter(json_path(root, "message", "content", NULL));
    const struct json *text = NULL;
    for (const struct json *part; !text && (part = json_next(&it));)
        text = json_get(part, "text");
    return text;
}

struct err *cohere_completion_parse(const struct endpoint *ep, const struct input *in,
                                    const struct http_in *answer, struct result *out)
{
    const struct json *root;
    TRY(answer_json(answer, &root));
    bool v1 = cohere_speaks_v1(ep);
    const struct json *text = v1 ? json_get(root, "text") : text_of_v2(root);
    TRY(completion_from(text, "text", completion_name, answer->arena, out));
    read_usage(json_get(root, v1 ? "meta" : "usage"), &out->usage);
    return NULL;
}

/* --- completion: stream --- */

static struct err *stopped(int status, struct str why)
{
    return err_status(status, "Cohere stopped the stream due to an error: %.*s", STR_ARG(why));
}

static struct err *v1_stream_end(struct stream *s, const struct json *root)
{
    const struct json *response = json_get(root, "response");
    struct str reason = {0}, text = {0};
    json_str(json_get(root, "finish_reason"), &reason);
    json_str(json_get(response, "text"), &text);
    read_usage(json_get(response, "meta"), &s->usage);
    if (str_eq(reason, STR("ERROR")) || str_eq(reason, STR("ERROR_TOXIC")))
        return stopped(500, text);
    if (str_eq(reason, STR("ERROR_LIMIT")))
        return stopped(429, text);
    s->finished = true;
    return NULL;
}

static bool v1_says_nothing(struct str type)
{
    static const struct str skipped[] = {
        STR_INIT("stream-start"),          STR_INIT("search-queries-generation"),
        STR_INIT("search-results"),        STR_INIT("citation-generation"),
        STR_INIT("tool-calls-generation"), STR_INIT("tool-calls-chunk")};
    for (size_t i = 0; i < sizeof skipped / sizeof skipped[0]; i++) {
        if (str_eq(type, skipped[i]))
            return true;
    }
    return false;
}

static struct err *v1_event(struct stream *s, struct str type, const struct json *root,
                            struct sink *sink)
{
    struct str text = {0};
    if (str_eq(type, STR("stream-end")))
        return v1_stream_end(s, root);
    if (str_eq(type, STR("text-generation"))) {
        json_str(json_get(root, "text"), &text);
        delta_text(sink, text);
        return NULL;
    }
    if (v1_says_nothing(type))
        return NULL;
    return err_status(500, "Unknown eventType found: %.*s", STR_ARG(str_sub(type, 0, 200)));
}

static struct err *v2_message_end(struct stream *s, const struct json *delta)
{
    struct str reason = {0}, message = {0};
    json_str(json_get(delta, "finish_reason"), &reason);
    json_str(json_get(delta, "error"), &message);
    read_usage(json_get(delta, "usage"), &s->usage);
    if (str_eq(reason, STR("ERROR")) || str_eq(reason, STR("TIMEOUT")))
        return stopped(500, message.n ? message : reason);
    s->finished = true;
    return NULL;
}

static struct err *v2_event(struct stream *s, struct str type, const struct json *root,
                            struct sink *sink)
{
    struct str text;
    if (str_eq(type, STR("content-delta")) &&
        json_str(json_path(root, "delta", "message", "content", "text", NULL), &text))
        delta_text(sink, text);
    else if (str_eq(type, STR("message-end")))
        return v2_message_end(s, json_get(root, "delta"));
    return NULL;
}

static struct err *event_error(struct stream *s, struct str message)
{
    struct err *e = stream_error(s, message);
    if (s->endpoint->task == TASK_CHAT_COMPLETION && !message.n)
        e->chat_code = strdup("stream_error");
    return e;
}

/* An event as JSON and its type, by which member tells it. *type_out {NULL, 0}: nothing was said.
 */
static struct err *read_event(struct stream *s, const struct event *ev, const char *type_member,
                              const struct json **root_out, struct str *type_out)
{
    struct str data = str_trim(ev->data);
    *type_out = (struct str){0};
    s->finished = str_eq(data, STR("[DONE]"));
    if (s->finished || data.n == 0) /* an event without data says nothing */
        return NULL;
    struct err *bad = json_parse(s->scratch, data, root_out);
    if (bad) {
        err_free(bad);
        return event_error(s, (struct str){0});
    }
    if (json_str(json_get(*root_out, type_member), type_out))
        return NULL;
    struct str message = {0};
    json_str(json_get(*root_out, "message"), &message);
    return event_error(s, message);
}

struct err *cohere_completion_event(struct stream *s, const struct event *ev, struct sink *sink)
{
    bool v1 = cohere_speaks_v1(s->endpoint);
    const struct json *root = NULL;
    struct str type;
    TRY(read_event(s, ev, v1 ? "event_type" : "type", &root, &type));
    if (!type.p)
        return NULL;
    return v1 ? v1_event(s, type, root, sink) : v2_event(s, type, root, sink);
}

/* --- chat_completion: request --- */

/* OpenAI's newer word for the system's voice is unknown to Cohere. */
static struct str role_of(const struct chat_message *m)
{
    return str_eq(m->role, STR("developer")) ? STR("system") : m->role;
}

static void put_messages(struct json_out *w, const struct chat *c)
{
    json_key(w, "messages");
    json_arr(w);
    for (size_t i = 0; i < c->n_messages; i++) {
        const struct chat_message *m = &c->messages[i];
        json_obj(w);
        json_key_str(w, "role", role_of(m));
        if (m->has_content)
            openai_put_content(w, m);
        if (m->tool_call_id.p)
            json_key_str(w, "tool_call_id", m->tool_call_id);
        if (m->n_tool_calls)
            openai_put_tool_calls(w, m);
        json_end(w);
    }
    json_end(w);
}

static void put_tool(struct json_out *w, const struct chat_tool *t)
{
    json_obj(w);
    json_key_str(w, "type", t->type);
    json_key(w, "function");
    json_obj(w);
    json_key_str(w, "name", t->name);
    if (t->description.p)
        json_key_str(w, "description", t->description);
    if (t->parameters)
        json_key_raw(w, "parameters", json_raw(t->parameters));
    json_end(w);
    json_end(w);
}

/* Cohere can force a call, but not of one tool among several: that one is then the only one sent.
 */
static void put_tools(struct json_out *w, const struct chat *c)
{
    bool strict = false;
    json_key(w, "tools");
    json_arr(w);
    for (size_t i = 0; i < c->n_tools; i++) {
        const struct chat_tool *t = &c->tools[i];
        if (c->tool_choice_name.p && !str_eq(t->name, c->tool_choice_name))
            continue;
        put_tool(w, t);
        strict = strict || (t->has_strict && t->strict);
    }
    json_end(w);
    if (strict)
        json_key_bool(w, "strict_tools", true);
    if (c->tool_choice_name.p || str_eq(c->tool_choice, STR("required")))
        json_key_cstr(w, "tool_choice", "REQUIRED");
    else if (str_eq(c->tool_choice, STR("none")))
        json_key_cstr(w, "tool_choice", "NONE");
}

struct err *cohere_chat_build(const struct endpoint *ep, const struct input *in,
                              struct http_out *out)
{
    const struct chat *c = in->chat;
    cohere_request(ep, in, "chat", out);
    struct body b;
    body_begin(&b);
    put_messages(&b.w, c);
    json_key_str(&b.w, "model", c->model.p ? c->model : in->values.v[S_MODEL_ID].s);
    if (c->has_max_completion_tokens)
        json_key_i64(&b.w, "max_tokens", c->max_completion_tokens);
    if (c->n_stop)
        json_key_texts(&b.w, "stop_sequences", c->stop, c->n_stop);
    if (c->has_temperature)
        json_key_raw(&b.w, "temperature", c->temperature_text);
    if (c->has_top_p)
        json_key_raw(&b.w, "p", c->top_p_text);
    if (c->n_tools)
        put_tools(&b.w, c);
    json_key_bool(&b.w, "stream", in->stream);
    return body_finish(&b, out);
}

/* --- chat_completion: stream --- */

/* Only the first event names the message. */
struct chat_state {
    struct str id;
};

static struct chat_chunk chunk_of(struct stream *s, const struct chat_choice *choice)
{
    const struct chat_state *state = s->state;
    const struct chat *c = s->input->chat;
    return (struct chat_chunk){.id = state ? state->id : STR(""),
                               .model =
                                   c && c->model.p ? c->model : s->input->values.v[S_MODEL_ID].s,
                               .object = STR("chat.completion.chunk"),
                               .has_choices = true,
                               .choices = choice,
                               .n_choices = choice ? 1 : 0};
}

static void send_choice(struct stream *s, const struct chat_choice *choice, struct sink *sink)
{
    struct chat_chunk chunk = chunk_of(s, choice);
    struct delta delta = {.chunk = &chunk};
    sink->delta(sink, &delta);
}

static struct str text_at(const struct json *v)
{
    struct str s = {0};
    json_str(v, &s);
    return s;
}

static void message_start(struct stream *s, const struct json *root, struct sink *sink)
{
    struct chat_state *state = arena_alloc(s->arena, sizeof *state);
    state->id = arena_dup(s->arena, text_at(json_get(root, "id")));
    s->state = state;
    struct str role = text_at(json_path(root, "delta", "message", "role", NULL));
    send_choice(s, &(struct chat_choice){.role = role.p ? role : STR("assistant")}, sink);
}

static void tool_call(struct stream *s, const struct json *root, struct sink *sink)
{
    const struct json *v = json_path(root, "delta", "message", "tool_calls", NULL);
    if (!json_is(v, JSON_OBJECT))
        return;
    struct chat_delta_tool_call call = {.id = text_at(json_get(v, "id")),
                                        .type = text_at(json_get(v, "type")),
                                        .name = text_at(json_path(v, "function", "name", NULL)),
                                        .arguments =
                                            text_at(json_path(v, "function", "arguments", NULL))};
    json_i64(json_get(root, "index"), &call.index);
    send_choice(s, &(struct chat_choice){.tool_calls = &call, .n_tool_calls = 1}, sink);
}

/* Cohere's reasons in OpenAI's words; new ones pass as they are. */
static struct str finish_reason(struct str reason)
{
    static const struct str words[][2] = {{STR_INIT("COMPLETE"), STR_INIT("stop")},
                                          {STR_INIT("STOP_SEQUENCE"), STR_INIT("stop")},
                                          {STR_INIT("MAX_TOKENS"), STR_INIT("length")},
                                          {STR_INIT("TOOL_CALL"), STR_INIT("tool_calls")}};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (str_eq(reason, words[i][0]))
            return words[i][1];
    }
    return reason;
}

/* What was read and written, as against what is billed; a server may not say the first. */
static void send_usage(struct stream *s, const struct json *usage, struct sink *sink)
{
    const struct json *tokens = json_get(usage, "tokens");
    if (!json_is(tokens, JSON_OBJECT))
        tokens = json_get(usage, "billed_units");
    struct chat_chunk chunk = chunk_of(s, NULL);
    chunk.has_usage = json_i64(json_get(tokens, "input_tokens"), &chunk.prompt_tokens);
    if (json_i64(json_get(tokens, "output_tokens"), &chunk.completion_tokens))
        chunk.has_usage = true;
    if (!chunk.has_usage ||
        __builtin_add_overflow(chunk.prompt_tokens, chunk.completion_tokens, &chunk.total_tokens))
        return;
    struct delta delta = {.chunk = &chunk};
    sink->delta(sink, &delta);
}

static struct err *chat_end(struct stream *s, const struct json *delta, struct sink *sink)
{
    TRY(v2_message_end(s, delta));
    struct str reason = finish_reason(text_at(json_get(delta, "finish_reason")));
    send_choice(s, &(struct chat_choice){.finish_reason = reason}, sink);
    send_usage(s, json_get(delta, "usage"), sink);
    return NULL;
}

struct err *cohere_chat_event(struct stream *s, const struct event *ev, struct sink *sink)
{
    const struct json *root = NULL;
    struct str type;
    TRY(read_event(s, ev, "type", &root, &type));
    if (str_eq(type, STR("message-start"))) {
        message_start(s, root, sink);
    } else if (str_eq(type, STR("content-delta"))) {
        struct str text = text_at(json_path(root, "delta", "message", "content", "text", NULL));
        if (text.n)
            send_choice(s, &(struct chat_choice){.content = text}, sink);
    } else if (str_eq(type, STR("tool-call-start")) || str_eq(type, STR("tool-call-delta"))) {
        tool_call(s, root, sink);
    } else if (str_eq(type, STR("message-end"))) {
        return chat_end(s, json_get(root, "delta"), sink);
    }
    return NULL;
}
