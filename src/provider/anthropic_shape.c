/* anthropic_shape: OpenAI's words for a chat into Anthropic's, and its events back.
 *
 *     role system                  -> "system", outside of the messages
 *     assistant with tool_calls    -> blocks {"type": "tool_use", "id", "name", "input": {...}}
 *     role tool                    -> a user's block {"type": "tool_result", "tool_use_id"}
 *     tools[].function.parameters  -> tools[].input_schema
 *
 * In a stream each content block has an index, which is the index of the choice as Elasticsearch
 * reports it; a tool's arguments come as fragments of JSON. */
#include "anthropic_shape.h"

#include "chat_shape.h"

static const char api[] = "the Anthropic chat completion API";

/* --- messages --- */

static void put_text_block(struct json_out *w, struct str text)
{
    json_obj(w);
    json_key_cstr(w, "type", "text");
    json_key_str(w, "text", text);
    json_end(w);
}

/* Empty blocks are refused, so they are left out where something else is said. */
static void put_text_blocks(struct json_out *w, const struct chat_message *m)
{
    bool even_empty = !chat_has_text(m);
    if (!m->content_is_parts && (m->content.n || even_empty))
        put_text_block(w, m->content);
    for (size_t i = 0; i < m->n_parts; i++) {
        if (m->parts[i].text.n || even_empty)
            put_text_block(w, m->parts[i].text);
    }
}

static bool is_plain(const struct chat_message *m)
{
    return m->has_content && !m->content_is_parts && m->content.n;
}

/* A message must have content: none is an empty text. */
static void put_plain_message(struct json_out *w, const char *role, const struct chat_message *m)
{
    json_obj(w);
    json_key_cstr(w, "role", role);
    if (is_plain(m)) {
        json_key_str(w, "content", m->content);
    } else {
        json_key(w, "content");
        json_arr(w);
        put_text_blocks(w, m);
        json_end(w);
    }
    json_end(w);
}

static struct err *put_tool_use(struct json_out *w, struct arena *arena,
                                const struct chat_tool_call *c)
{
    const struct json *object;
    TRY(chat_arguments(arena, c, api, &object));
    json_obj(w);
    json_key_cstr(w, "type", "tool_use");
    json_key_str(w, "id", c->id);
    json_key_str(w, "name", c->name);
    json_key(w, "input");
    json_put_node(w, object);
    json_end(w);
    return NULL;
}

static struct err *put_assistant(struct json_out *w, struct arena *arena,
                                 const struct chat_message *m)
{
    if (m->n_tool_calls == 0) {
        put_plain_message(w, "assistant", m);
        return NULL;
    }
    json_obj(w);
    json_key_cstr(w, "role", "assistant");
    json_key(w, "content");
    json_arr(w);
    if (chat_has_text(m))
        put_text_blocks(w, m);
    for (size_t i = 0; i < m->n_tool_calls; i++)
        TRY(put_tool_use(w, arena, &m->tool_calls[i]));
    json_end(w);
    json_end(w);
    return NULL;
}

static struct err *put_tool_result(struct json_out *w, const struct chat_message *m)
{
    if (!m->tool_call_id.p)
        return chat_no_tool_call_id(api);
    json_obj(w);
    json_key_cstr(w, "role", "user");
    json_key(w, "content");
    json_arr(w);
    json_obj(w);
    json_key_cstr(w, "type", "tool_result");
    json_key_str(w, "tool_use_id", m->tool_call_id);
    if (chat_has_text(m)) { /* a tool may have nothing to say */
        json_key(w, "content");
        json_arr(w);
        put_text_blocks(w, m);
        json_end(w);
    }
    json_end(w);
    json_end(w);
    json_end(w);
    return NULL;
}

static struct err *put_message(struct json_out *w, struct arena *arena,
                               const struct chat_message *m)
{
    if (str_eq(m->role, STR("assistant")))
        return put_assistant(w, arena, m);
    if (str_eq(m->role, STR("tool")))
        return put_tool_result(w, m);
    if (!str_eq(m->role, STR("user")))
        return chat_bad_role(m, api);
    put_plain_message(w, "user", m);
    return NULL;
}

static bool is_system(const struct chat_message *m)
{
    return str_eq(m->role, STR("system"));
}

static void put_system(struct json_out *w, const struct chat *c)
{
    size_t n = 0;
    const struct chat_message *last = NULL;
    for (size_t i = 0; i < c->n_messages; i++) {
        if (is_system(&c->messages[i])) {
            last = &c->messages[i];
            n++;
        }
    }
    if (n == 1 && is_plain(last)) {
        json_key_str(w, "system", last->content);
        return;
    }
    if (n == 0)
        return;
    json_key(w, "system");
    json_arr(w);
    for (size_t i = 0; i < c->n_messages; i++) {
        if (is_system(&c->messages[i]))
            put_text_blocks(w, &c->messages[i]);
    }
    json_end(w);
}

static struct err *put_messages(struct json_out *w, struct arena *arena, const struct input *in)
{
    struct chat_message one = {.has_content = true};
    if (in->n_texts)
        one.content = in->texts[0];
    if (in->chat)
        put_system(w, in->chat);
    json_key(w, "messages");
    json_arr(w);
    if (!in->chat)
        put_plain_message(w, "user", &one);
    for (size_t i = 0; in->chat && i < in->chat->n_messages; i++) {
        if (!is_system(&in->chat->messages[i]))
            TRY(put_message(w, arena, &in->chat->messages[i]));
    }
    json_end(w);
    return NULL;
}

/* --- tools --- */

static struct err *put_tool(struct json_out *w, const struct chat_tool *t)
{
    if (t->has_strict)
        return err_status(
            400, "The [strict] field in tool function definitions is not supported by %s.", api);
    json_obj(w);
    json_key_str(w, "name", t->name);
    if (t->description.p)
        json_key_str(w, "description", t->description);
    json_key_raw(w, "input_schema", chat_parameters(t));
    json_end(w);
    return NULL;
}

static struct err *put_tool_choice(struct json_out *w, const struct chat *c)
{
    const char *type = NULL;
    if (c->tool_choice_name.p)
        type = "tool";
    else if (str_eq(c->tool_choice, STR("none")))
        type = "none";
    else if (str_eq(c->tool_choice, STR("auto")))
        type = "auto";
    else if (str_eq(c->tool_choice, STR("required")))
        type = "any";
    else
        return chat_bad_tool_choice(c, api);
    json_key(w, "tool_choice");
    json_obj(w);
    json_key_cstr(w, "type", type);
    if (c->tool_choice_name.p)
        json_key_str(w, "name", c->tool_choice_name);
    json_end(w);
    return NULL;
}

static struct err *put_tools(struct json_out *w, const struct chat *c)
{
    if (c->has_tool_choice)
        TRY(put_tool_choice(w, c));
    if (c->n_tools == 0)
        return NULL;
    json_key(w, "tools");
    json_arr(w);
    for (size_t i = 0; i < c->n_tools; i++)
        TRY(put_tool(w, &c->tools[i]));
    json_end(w);
    return NULL;
}

/* --- the body --- */

static bool is_set(const struct value *v)
{
    return v && v->set;
}

static void put_options(struct json_out *w, const struct chat *c,
                        const struct anthropic_settings *settings)
{
    if (c->has_max_completion_tokens)
        json_key_i64(w, "max_tokens", c->max_completion_tokens);
    else if (is_set(settings->max_tokens))
        json_key_i64(w, "max_tokens", settings->max_tokens->i);
    if (c->has_temperature)
        json_key_raw(w, "temperature", c->temperature_text);
    else if (is_set(settings->temperature))
        json_key_f64(w, "temperature", settings->temperature->d);
    if (c->has_top_p)
        json_key_raw(w, "top_p", c->top_p_text);
    else if (is_set(settings->top_p))
        json_key_f64(w, "top_p", settings->top_p->d);
    if (is_set(settings->top_k))
        json_key_i64(w, "top_k", settings->top_k->i);
    if (c->n_stop)
        json_key_texts(w, "stop_sequences", c->stop, c->n_stop);
}

static struct err *put_body(struct json_out *w, struct arena *arena, const struct input *in,
                            const struct anthropic_settings *settings)
{
    static const struct chat none;
    const struct chat *chat = in->chat ? in->chat : &none;
    if (settings->version)
        json_key_cstr(w, "anthropic_version", settings->version);
    if (settings->model.n)
        json_key_str(w, "model", chat->model.p ? chat->model : settings->model);
    TRY(put_messages(w, arena, in));
    put_options(w, chat, settings);
    TRY(put_tools(w, chat));
    if (in->stream)
        json_key_bool(w, "stream", true);
    return NULL;
}

struct err *anthropic_body(const struct input *in, const struct anthropic_settings *settings,
                           struct http_out *out)
{
    struct body b;
    body_begin(&b);
    struct err *e = put_body(&b.w, out->arena, in, settings);
    return body_finish_or(&b, e, out);
}

/* --- whole answer --- */

static void read_usage(const struct json *usage, struct usage *out)
{
    if (json_i64(json_get(usage, "input_tokens"), &out->in_tokens))
        out->known = true;
    if (json_i64(json_get(usage, "output_tokens"), &out->out_tokens))
        out->known = true;
}

static struct str opt_str(const struct json *v)
{
    struct str s = {0};
    json_str(v, &s);
    return s;
}

/* Thoughts and calls of tools are skipped. */
struct err *anthropic_parse(const struct http_in *in, const char *request_name, struct result *out)
{
    const struct json *root;
    TRY(answer_json(in, &root));
    const struct json *content = json_get(root, "content");
    if (!json_is(content, JSON_ARRAY))
        return missing_field("content", request_name);
    *out = (struct result){.kind = RESULT_COMPLETION};
    out->texts = arena_array(in->arena, content->n, sizeof *out->texts);
    struct json_iter it = json_iter(content);
    for (const struct json *block; (block = json_next(&it));) {
        struct str type;
        if (!json_str(json_get(block, "type"), &type))
            return missing_field("type", request_name);
        if (!str_eq(type, STR("text")))
            continue;
        if (!json_str(json_get(block, "text"), &out->texts[out->n++]))
            return missing_field("text", request_name);
    }
    read_usage(json_get(root, "usage"), &out->usage);
    return NULL;
}

/* --- stream --- */

/* What the provider would have answered with, had it known before it began. */
static int status_of(struct str type)
{
    static const struct {
        const char *type;
        int status;
    } known[] = {{"invalid_request_error", 400}, {"authentication_error", 401},
                 {"permission_error", 403},      {"not_found_error", 404},
                 {"request_too_large", 413},     {"rate_limit_error", 429}};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (str_eq_c(type, known[i].type))
            return known[i].status;
    }
    return 500;
}

static struct err *event_error(struct stream *s, const struct json *root)
{
    const struct json *error = json_get(root, "error");
    struct str message = opt_str(json_get(error, "message"));
    struct str type = opt_str(json_get(error, "type"));
    struct err *e = stream_error(s, message);
    e->status = status_of(type);
    if (type.n)
        e->chat_type = strndup(type.p, type.n);
    else if (!message.n)
        e->chat_code = strdup("stream_error");
    return e;
}

static void emit(struct sink *sink, const struct json *root, struct chat_choice *choice,
                 struct chat_chunk *chunk)
{
    json_i64(json_get(root, "index"), &choice->index);
    chat_emit(sink, chunk, choice);
}

static void message_start(const struct json *root, struct sink *sink)
{
    const struct json *message = json_get(root, "message");
    const struct json *usage = json_get(message, "usage");
    struct chat_chunk chunk = {.id = opt_str(json_get(message, "id")),
                               .model = opt_str(json_get(message, "model"))};
    struct chat_choice choice = {.role = opt_str(json_get(message, "role")),
                                 .finish_reason = opt_str(json_get(message, "stop_reason"))};
    chunk.has_usage = json_is(usage, JSON_OBJECT);
    json_i64(json_get(usage, "input_tokens"), &chunk.prompt_tokens);
    json_i64(json_get(usage, "output_tokens"), &chunk.completion_tokens);
    chunk.total_tokens = (int64_t)((uint64_t)chunk.prompt_tokens +
                                   (uint64_t)chunk.completion_tokens); /* any two numbers */
    emit(sink, root, &choice, &chunk);
}

static void message_delta(const struct json *root, struct sink *sink)
{
    const struct json *usage = json_get(root, "usage");
    struct chat_chunk chunk = {.has_usage = json_is(usage, JSON_OBJECT)};
    struct chat_choice choice = {.finish_reason =
                                     opt_str(json_path(root, "delta", "stop_reason", NULL))};
    json_i64(json_get(usage, "output_tokens"), &chunk.completion_tokens);
    chunk.total_tokens = chunk.completion_tokens;
    emit(sink, root, &choice, &chunk);
}

/* Elasticsearch begins the arguments with "{}", which would spoil them for whoever puts the
 * fragments together. */
static void block_start(const struct json *root, struct sink *sink)
{
    const struct json *block = json_get(root, "content_block");
    struct str type = opt_str(json_get(block, "type"));
    struct chat_chunk chunk = {0};
    struct chat_choice choice = {0};
    struct chat_delta_tool_call call = {.id = opt_str(json_get(block, "id")),
                                        .type = STR("function"),
                                        .name = opt_str(json_get(block, "name")),
                                        .arguments = STR("")};
    if (str_eq(type, STR("text"))) {
        choice.content = opt_str(json_get(block, "text"));
    } else if (str_eq(type, STR("tool_use"))) {
        choice.tool_calls = &call;
        choice.n_tool_calls = 1;
    } else {
        return;
    }
    emit(sink, root, &choice, &chunk);
}

static void block_delta(const struct json *root, struct sink *sink)
{
    const struct json *delta = json_get(root, "delta");
    struct str type = opt_str(json_get(delta, "type"));
    struct chat_chunk chunk = {0};
    struct chat_choice choice = {0};
    struct chat_delta_tool_call call = {.arguments = opt_str(json_get(delta, "partial_json"))};
    if (str_eq(type, STR("text_delta"))) {
        choice.content = opt_str(json_get(delta, "text"));
    } else if (str_eq(type, STR("input_json_delta"))) {
        choice.tool_calls = &call;
        choice.n_tool_calls = 1;
    } else {
        return;
    }
    emit(sink, root, &choice, &chunk);
}

static void chat_event(struct str type, const struct json *root, struct sink *sink)
{
    if (str_eq(type, STR("message_start")))
        message_start(root, sink);
    else if (str_eq(type, STR("content_block_start")))
        block_start(root, sink);
    else if (str_eq(type, STR("content_block_delta")))
        block_delta(root, sink);
    else if (str_eq(type, STR("message_delta")))
        message_delta(root, sink);
}

static void completion_event(struct str type, const struct json *root, struct sink *sink)
{
    const struct json *block = NULL;
    const char *wanted = "text";
    if (str_eq(type, STR("content_block_start"))) {
        block = json_get(root, "content_block");
    } else if (str_eq(type, STR("content_block_delta"))) {
        block = json_get(root, "delta");
        wanted = "text_delta";
    }
    if (str_eq_c(opt_str(json_get(block, "type")), wanted))
        delta_text(sink, opt_str(json_get(block, "text")));
}

struct err *anthropic_event(struct stream *s, const struct event *ev, struct sink *sink)
{
    struct str data = str_trim(ev->data);
    if (data.n == 0) /* an event without data says nothing */
        return NULL;
    const struct json *root = NULL;
    struct err *bad = json_parse(s->scratch, data, &root);
    err_free(bad);
    struct str type = bad ? (struct str){0} : opt_str(json_get(root, "type"));
    if (bad || str_eq(type, STR("error")) || str_eq(ev->name, STR("error")))
        return event_error(s, bad ? NULL : root);
    read_usage(json_path(root, "message", "usage", NULL), &s->usage);
    read_usage(json_get(root, "usage"), &s->usage);
    s->finished = str_eq(type, STR("message_stop"));
    if (s->endpoint->task == TASK_CHAT_COMPLETION)
        chat_event(type, root, sink);
    else
        completion_event(type, root, sink);
    return NULL;
}
