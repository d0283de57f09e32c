/* bedrock_converse: OpenAI's words for a chat into Bedrock's, and its events back.
 *
 *     role system                  -> "system", outside of the messages
 *     assistant with tool_calls    -> blocks {"toolUse": {"toolUseId", "name", "input": {...}}}
 *     role tool                    -> a user's block {"toolResult": {"toolUseId", "content"}}
 *     tools[].function             -> toolConfig.tools[].toolSpec
 *
 * User and assistant must take turns, so neighbours of one role become one message; blank texts are
 * refused, so they are left out where something else is said. A stream is complete with its
 * metadata event, which follows messageStop. */
#include "bedrock_converse.h"

#include <strings.h>

#include "aws.h"
#include "chat_shape.h"

static const char api[] = "the Amazon Bedrock chat completion API";

/* --- messages --- */

static void put_text(struct json_out *w, struct str text)
{
    json_obj(w);
    json_key_str(w, "text", text);
    json_end(w);
}

/* The texts that are not empty; all of them when `even_empty`. */
static void put_texts(struct json_out *w, const struct chat_message *m, bool even_empty)
{
    if (!m->content_is_parts && (m->content.n || even_empty))
        put_text(w, m->content);
    for (size_t i = 0; i < m->n_parts; i++) {
        if (m->parts[i].text.n || even_empty)
            put_text(w, m->parts[i].text);
    }
}

static struct err *put_tool_use(struct json_out *w, struct arena *arena,
                                const struct chat_tool_call *c)
{
    const struct json *object;
    TRY(chat_arguments(arena, c, api, &object));
    json_obj(w);
    json_key(w, "toolUse");
    json_obj(w);
    json_key_str(w, "toolUseId", c->id);
    json_key_str(w, "name", c->name);
    json_key(w, "input");
    json_put_node(w, object);
    json_end(w);
    json_end(w);
    return NULL;
}

static struct err *put_tool_result(struct json_out *w, const struct chat_message *m)
{
    if (!m->tool_call_id.p)
        return chat_no_tool_call_id(api);
    json_obj(w);
    json_key(w, "toolResult");
    json_obj(w);
    json_key_str(w, "toolUseId", m->tool_call_id);
    json_key(w, "content");
    json_arr(w);
    put_texts(w, m, !chat_has_text(m));
    json_end(w);
    json_end(w);
    json_end(w);
    return NULL;
}

static struct err *put_blocks(struct json_out *w, struct arena *arena, const struct chat_message *m)
{
    if (str_eq(m->role, STR("tool")))
        return put_tool_result(w, m);
    put_texts(w, m, m->n_tool_calls == 0 && !chat_has_text(m));
    for (size_t i = 0; i < m->n_tool_calls; i++)
        TRY(put_tool_use(w, arena, &m->tool_calls[i]));
    return NULL;
}

/* NULL: there is no such role here. */
static const char *role_of(const struct chat_message *m)
{
    if (str_eq(m->role, STR("user")) || str_eq(m->role, STR("tool")))
        return "user";
    return str_eq(m->role, STR("assistant")) ? "assistant" : NULL;
}

static bool is_system(const struct chat_message *m)
{
    return str_eq(m->role, STR("system"));
}

static void open_message(struct json_out *w, const char *role)
{
    json_obj(w);
    json_key_cstr(w, "role", role);
    json_key(w, "content");
    json_arr(w);
}

static void close_message(struct json_out *w)
{
    json_end(w);
    json_end(w);
}

static struct err *put_chat(struct json_out *w, struct arena *arena, const struct chat *c)
{
    const char *open = NULL;
    for (size_t i = 0; i < c->n_messages; i++) {
        const struct chat_message *m = &c->messages[i];
        if (is_system(m))
            continue;
        const char *role = role_of(m);
        if (!role)
            return chat_bad_role(m, api);
        if (open && strcmp(open, role) != 0) {
            close_message(w);
            open = NULL;
        }
        if (!open)
            open_message(w, role);
        open = role;
        TRY(put_blocks(w, arena, m));
    }
    if (open)
        close_message(w);
    return NULL;
}

static struct err *put_messages(struct json_out *w, struct arena *arena, const struct input *in)
{
    json_key(w, "messages");
    json_arr(w);
    if (in->chat) {
        TRY(put_chat(w, arena, in->chat));
    } else {
        open_message(w, "user");
        put_text(w, in->n_texts ? in->texts[0] : STR(""));
        close_message(w);
    }
    json_end(w);
    return NULL;
}

static void put_system(struct json_out *w, const struct chat *c)
{
    bool any = false;
    for (size_t i = 0; i < c->n_messages; i++) {
        const struct chat_message *m = &c->messages[i];
        if (!is_system(m) || !chat_has_text(m))
            continue;
        if (!any) {
            json_key(w, "system");
            json_arr(w);
        }
        any = true;
        put_texts(w, m, false);
    }
    if (any)
        json_end(w);
}

/* --- options --- */

static bool is_set(const struct value *v)
{
    return v && v->set;
}

static void put_max_tokens(struct json_out *w, const struct chat *c,
                           const struct converse_settings *s)
{
    if (c->has_max_completion_tokens)
        json_key_i64(w, "maxTokens", c->max_completion_tokens);
    else if (is_set(s->max_tokens))
        json_key_i64(w, "maxTokens", s->max_tokens->i);
}

static void put_config(struct json_out *w, const struct chat *c, const struct converse_settings *s)
{
    bool any = c->has_max_completion_tokens || c->has_temperature || c->has_top_p || c->n_stop ||
               is_set(s->max_tokens) || is_set(s->temperature) || is_set(s->top_p);
    if (!any)
        return;
    json_key(w, "inferenceConfig");
    json_obj(w);
    put_max_tokens(w, c, s);
    if (c->has_temperature)
        json_key_raw(w, "temperature", c->temperature_text);
    else if (is_set(s->temperature))
        json_key_f64(w, "temperature", s->temperature->d);
    if (c->has_top_p)
        json_key_raw(w, "topP", c->top_p_text);
    else if (is_set(s->top_p))
        json_key_f64(w, "topP", s->top_p->d);
    if (c->n_stop)
        json_key_texts(w, "stopSequences", c->stop, c->n_stop);
    json_end(w);
}

/* Models that count refuse 1.0. */
static void put_top_k(struct json_out *w, const struct converse_settings *s)
{
    if (!is_set(s->top_k))
        return;
    double k = s->top_k->d;
    json_key(w, "additionalModelRequestFields");
    json_obj(w);
    if (k >= -1e9 && k <= 1e9 && (double)(int64_t)k == k)
        json_key_i64(w, s->top_k_name, (int64_t)k);
    else
        json_key_f64(w, s->top_k_name, k);
    json_end(w);
}

/* --- tools --- */

static void put_tool(struct json_out *w, const struct chat_tool *t)
{
    json_obj(w);
    json_key(w, "toolSpec");
    json_obj(w);
    json_key_str(w, "name", t->name);
    if (t->description.n)
        json_key_str(w, "description", t->description);
    json_key(w, "inputSchema");
    json_obj(w);
    json_key_raw(w, "json", chat_parameters(t));
    json_end(w);
    json_end(w);
    json_end(w);
}

static struct err *put_tool_choice(struct json_out *w, const struct chat *c)
{
    const char *kind = NULL;
    if (!c->has_tool_choice || str_eq(c->tool_choice, STR("none")))
        return NULL;
    if (c->tool_choice_name.p)
        kind = "tool";
    else if (str_eq(c->tool_choice, STR("auto")))
        kind = "auto";
    else if (str_eq(c->tool_choice, STR("required")))
        kind = "any";
    else
        return chat_bad_tool_choice(c, api);
    json_key(w, "toolChoice");
    json_obj(w);
    json_key(w, kind);
    json_obj(w);
    if (c->tool_choice_name.p)
        json_key_str(w, "name", c->tool_choice_name);
    json_end(w);
    json_end(w);
    return NULL;
}

static bool speaks_of_tools(const struct chat *c)
{
    for (size_t i = 0; i < c->n_messages; i++) {
        if (c->messages[i].n_tool_calls || c->messages[i].tool_call_id.p)
            return true;
    }
    return false;
}

/* There is no word for "none" here: the tools are left out, unless the messages speak of them, for
 * then they must be there. */
static struct err *put_tools(struct json_out *w, const struct chat *c)
{
    bool none = c->has_tool_choice && !c->tool_choice_name.p &&
                str_eq(c->tool_choice, STR("none")) && !speaks_of_tools(c);
    if (c->n_tools == 0 || none)
        return NULL;
    json_key(w, "toolConfig");
    json_obj(w);
    json_key(w, "tools");
    json_arr(w);
    for (size_t i = 0; i < c->n_tools; i++)
        put_tool(w, &c->tools[i]);
    json_end(w);
    TRY(put_tool_choice(w, c));
    json_end(w);
    return NULL;
}

/* --- the body --- */

static struct err *put_body(struct json_out *w, struct arena *arena, const struct input *in,
                            const struct converse_settings *settings)
{
    static const struct chat none;
    const struct chat *chat = in->chat ? in->chat : &none;
    put_system(w, chat);
    TRY(put_messages(w, arena, in));
    put_config(w, chat, settings);
    put_top_k(w, settings);
    return put_tools(w, chat);
}

struct err *converse_body(const struct input *in, const struct converse_settings *settings,
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
    if (json_i64(json_get(usage, "inputTokens"), &out->in_tokens))
        out->known = true;
    if (json_i64(json_get(usage, "outputTokens"), &out->out_tokens))
        out->known = true;
}

/* Thoughts and calls of tools are skipped. */
struct err *converse_parse(const struct http_in *in, const char *request_name, struct result *out)
{
    const struct json *root;
    TRY(answer_json(in, &root));
    const struct json *content = json_path(root, "output", "message", "content", NULL);
    if (!json_is(content, JSON_ARRAY))
        return missing_field("content", request_name);
    *out = (struct result){.kind = RESULT_COMPLETION};
    out->texts = arena_array(in->arena, content->n, sizeof *out->texts);
    struct json_iter it = json_iter(content);
    for (const struct json *block; (block = json_next(&it));) {
        if (!json_is(block, JSON_OBJECT))
            return missing_field("text", request_name);
        if (json_get(block, "text") && !json_str(json_get(block, "text"), &out->texts[out->n++]))
            return missing_field("text", request_name);
    }
    read_usage(json_get(root, "usage"), &out->usage);
    return NULL;
}

/* --- stream --- */

static struct str opt_str(const struct json *v)
{
    struct str s = {0};
    json_str(v, &s);
    return s;
}

static struct err *event_error(struct stream *s, const struct event *ev)
{
    struct str message = aws_message(s->scratch, ev->data);
    if (!message.n) /* an error frame's text is no JSON */
        message = ev->exception && ev->data.n && ev->data.p[0] != '{' ? ev->data : ev->name;
    struct err *e = err_status(500, "AmazonBedrock StreamingChatProcessor failure: [%.*s]",
                               STR_ARG(str_sub(message, 0, 2000)));
    if (ev->exception && ev->name.n)
        e->chat_type = strndup(ev->name.p, ev->name.n);
    return e;
}

/* OpenAI's words; Elasticsearch has some of its own, which no client knows. */
static struct str finish_reason(struct str reason)
{
    if (str_eq(reason, STR("tool_use")))
        return STR("tool_calls");
    if (str_eq(reason, STR("max_tokens")))
        return STR("length");
    if (str_eq(reason, STR("content_filtered")) || str_eq(reason, STR("guardrail_intervened")))
        return STR("content_filter");
    return STR("stop");
}

static void block_start(const struct json *root, struct sink *sink)
{
    const struct json *tool = json_path(root, "start", "toolUse", NULL);
    if (!tool)
        return;
    struct chat_chunk chunk = {0};
    struct chat_delta_tool_call call = {.id = opt_str(json_get(tool, "toolUseId")),
                                        .type = STR("function"),
                                        .name = opt_str(json_get(tool, "name"))};
    struct chat_choice choice = {.tool_calls = &call, .n_tool_calls = 1};
    json_i64(json_get(root, "contentBlockIndex"), &choice.index);
    chat_emit(sink, &chunk, &choice);
}

static void block_delta(const struct json *root, struct sink *sink)
{
    const struct json *delta = json_get(root, "delta");
    struct chat_chunk chunk = {0};
    struct chat_delta_tool_call call = {.arguments =
                                            opt_str(json_path(delta, "toolUse", "input", NULL))};
    struct chat_choice choice = {.content = opt_str(json_get(delta, "text"))};
    if (call.arguments.p) {
        choice.tool_calls = &call;
        choice.n_tool_calls = 1;
    } else if (!choice.content.p) { /* a thought */
        return;
    }
    json_i64(json_get(root, "contentBlockIndex"), &choice.index);
    chat_emit(sink, &chunk, &choice);
}

static void metadata(const struct json *root, struct sink *sink)
{
    const struct json *usage = json_get(root, "usage");
    struct chat_chunk chunk = {.has_usage = json_is(usage, JSON_OBJECT)};
    json_i64(json_get(usage, "inputTokens"), &chunk.prompt_tokens);
    json_i64(json_get(usage, "outputTokens"), &chunk.completion_tokens);
    json_i64(json_get(usage, "totalTokens"), &chunk.total_tokens);
    if (chunk.has_usage)
        chat_emit(sink, &chunk, NULL);
}

static void chat_event(struct str name, const struct json *root, struct sink *sink)
{
    struct chat_chunk chunk = {0};
    struct chat_choice choice = {0};
    if (str_eq(name, STR("messageStart"))) {
        choice.role = opt_str(json_get(root, "role"));
        chat_emit(sink, &chunk, &choice);
    } else if (str_eq(name, STR("contentBlockStart"))) {
        block_start(root, sink);
    } else if (str_eq(name, STR("contentBlockDelta"))) {
        block_delta(root, sink);
    } else if (str_eq(name, STR("messageStop"))) {
        choice.finish_reason = finish_reason(opt_str(json_get(root, "stopReason")));
        chat_emit(sink, &chunk, &choice);
    } else if (str_eq(name, STR("metadata"))) {
        metadata(root, sink);
    }
}

struct err *converse_event(struct stream *s, const struct event *ev, struct sink *sink)
{
    const struct json *root = NULL;
    struct err *bad = ev->exception ? NULL : json_parse(s->scratch, ev->data, &root);
    err_free(bad);
    if (ev->exception || bad)
        return event_error(s, ev);
    read_usage(json_get(root, "usage"), &s->usage);
    s->finished = str_eq(ev->name, STR("metadata"));
    s->may_end = s->may_end || str_eq(ev->name, STR("messageStop"));
    if (s->endpoint->task == TASK_CHAT_COMPLETION)
        chat_event(ev->name, root, sink);
    else if (str_eq(ev->name, STR("contentBlockDelta")))
        delta_text(sink, opt_str(json_path(root, "delta", "text", NULL)));
    return NULL;
}
