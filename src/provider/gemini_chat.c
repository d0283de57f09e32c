/* gemini_chat:
 *
 *     role system                  -> "systemInstruction", outside of the contents
 *     role assistant               -> role model; tool_calls become parts {"functionCall"}
 *     role tool                    -> role user; parts {"functionResponse"}; tool messages that
 *                                     follow each other are one turn, as Gemini wants it
 *     tools                        -> tools[0].functionDeclarations
 *     tool_choice                  -> toolConfig.functionCallingConfig
 *
 * Gemini calls a function by its name; the id of a call is newer and may be missing, then
 * Elasticsearch and we use the name in its place. */
#include "gemini_chat.h"

#include <strings.h>

#define OF_CHATS "not supported by Google VertexAI ChatCompletion."
#define MAX_SAID 200

static struct str shown(struct str s)
{
    return str_sub(s, 0, MAX_SAID);
}

/* --- contents --- */

static bool is_system(const struct chat_message *m)
{
    return str_eq_nocase(m->role, STR("system"));
}

static bool is_tool(const struct chat_message *m)
{
    return str_eq_nocase(m->role, STR("tool"));
}

static void put_text_part(struct json_out *w, struct str text)
{
    json_obj(w);
    json_key_str(w, "text", text);
    json_end(w);
}

static struct err *check_parts(const struct chat_message *m)
{
    for (size_t i = 0; i < m->n_parts; i++) {
        if (!str_eq(m->parts[i].type, STR("text")))
            return err_status(400, "Type [%.*s] " OF_CHATS " Supported types: [text]",
                              STR_ARG(shown(m->parts[i].type)));
    }
    return NULL;
}

/* Gemini takes no empty texts. */
static struct err *put_texts(struct json_out *w, const struct chat_message *m)
{
    TRY(check_parts(m));
    if (m->has_content && !m->content_is_parts && m->content.n)
        put_text_part(w, m->content);
    for (size_t i = 0; i < m->n_parts; i++) {
        if (m->parts[i].text.n)
            put_text_part(w, m->parts[i].text);
    }
    return NULL;
}

/* OpenAI's arguments are a text that holds an object, or nothing. `needs_signature`: Gemini 3 wants
 * the opaque signature that it gave out with the first call of a turn, which chats in OpenAI's
 * shape have no place for; this word of Google's stands for "not kept". */
static struct err *put_function_call(struct json_out *w, struct arena *arena,
                                     const struct chat_tool_call *c, bool needs_signature)
{
    struct str arguments = str_trim(c->arguments);
    const struct json *object = NULL;
    struct err *bad = arguments.n ? json_parse(arena, arguments, &object) : NULL;
    err_free(bad);
    if (bad || (arguments.n && !json_is(object, JSON_OBJECT)))
        return err_status(400, "The [arguments] of the tool call [%.*s] must be a JSON object",
                          STR_ARG(shown(c->id)));
    json_obj(w);
    json_key(w, "functionCall");
    json_obj(w);
    json_key_str(w, "name", c->name);
    if (object) {
        json_key(w, "args");
        json_put_node(w, object);
    }
    if (!str_eq(c->id, c->name))
        json_key_str(w, "id", c->id);
    json_end(w);
    if (needs_signature)
        json_key_cstr(w, "thoughtSignature", "skip_thought_signature_validator");
    json_end(w);
    return NULL;
}

/* The function that a tool message answers: of the call with its id, which else is a name. */
static struct str function_of(const struct chat *c, struct str id)
{
    for (size_t m = 0; m < c->n_messages; m++) {
        for (size_t i = 0; i < c->messages[m].n_tool_calls; i++) {
            if (str_eq(c->messages[m].tool_calls[i].id, id))
                return c->messages[m].tool_calls[i].name;
        }
    }
    return id;
}

static struct str joined_parts(struct arena *arena, const struct chat_message *m)
{
    if (!m->content_is_parts)
        return m->content;
    struct buf b;
    buf_init(&b, SIZE_MAX);
    for (size_t i = 0; i < m->n_parts; i++)
        buf_put(&b, m->parts[i].text);
    struct str all = arena_dup(arena, buf_str(&b));
    buf_deinit(&b);
    return all;
}

/* An object as it is; anything else as {"output": text}. */
static void put_response(struct json_out *w, struct arena *arena, struct str text)
{
    const struct json *object;
    struct err *bad = json_parse(arena, text, &object);
    err_free(bad);
    json_key(w, "response");
    if (!bad && json_is(object, JSON_OBJECT)) {
        json_put_node(w, object);
        return;
    }
    json_obj(w);
    if (text.n)
        json_key_str(w, "output", text);
    json_end(w);
}

static struct err *put_function_response(struct json_out *w, struct arena *arena,
                                         const struct chat *c, const struct chat_message *m)
{
    if (!m->tool_call_id.p)
        return err_status(400, "Tool messages require a [tool_call_id] for Google VertexAI "
                               "ChatCompletion");
    TRY(check_parts(m));
    json_obj(w);
    json_key(w, "functionResponse");
    json_obj(w);
    json_key_str(w, "name", function_of(c, m->tool_call_id));
    put_response(w, arena, joined_parts(arena, m));
    json_end(w);
    json_end(w);
    return NULL;
}

static struct err *put_role(struct json_out *w, const struct chat_message *m)
{
    const char *role = "user";
    if (str_eq(m->role, STR("assistant")))
        role = "model";
    else if (!str_eq_nocase(m->role, STR("user")) && !is_tool(m))
        return err_status(400, "Role [%.*s] " OF_CHATS " Supported roles: [user, assistant]",
                          STR_ARG(shown(m->role)));
    json_key_cstr(w, "role", role);
    return NULL;
}

/* The turn that begins with message i: that message, or a row of tool messages. */
static struct err *put_turn(struct json_out *w, struct arena *arena, const struct chat *c,
                            size_t *i, bool signatures)
{
    const struct chat_message *m = &c->messages[*i];
    json_obj(w);
    TRY(put_role(w, m));
    json_key(w, "parts");
    json_arr(w);
    if (is_tool(m)) {
        while (*i < c->n_messages && is_tool(&c->messages[*i]))
            TRY(put_function_response(w, arena, c, &c->messages[(*i)++]));
    } else {
        TRY(put_texts(w, m));
        for (size_t t = 0; t < m->n_tool_calls; t++)
            TRY(put_function_call(w, arena, &m->tool_calls[t], signatures && t == 0));
        (*i)++;
    }
    json_end(w);
    json_end(w);
    return NULL;
}

static struct err *put_contents(struct json_out *w, struct arena *arena, const struct input *in,
                                bool signatures)
{
    struct chat_message one = {.role = STR("user"), .has_content = true};
    struct chat alone = {.messages = &one, .n_messages = 1};
    if (!in->chat && in->n_texts)
        one.content = in->texts[0];
    const struct chat *c = in->chat ? in->chat : &alone;
    json_key(w, "contents");
    json_arr(w);
    for (size_t i = 0; i < c->n_messages;) {
        if (is_system(&c->messages[i]))
            i++;
        else
            TRY(put_turn(w, arena, c, &i, signatures));
    }
    json_end(w);
    return NULL;
}

static struct err *put_system_part(struct json_out *w, const struct chat_message *m)
{
    if (!m->has_content)
        return err_status(400, "Only text system instructions are supported for Vertex AI");
    if (!m->content_is_parts && m->content.n == 0)
        return err_status(400, "System message cannot be empty for Google Vertex AI");
    return put_texts(w, m);
}

static struct err *put_system(struct json_out *w, const struct chat *c)
{
    bool any = false;
    for (size_t i = 0; i < c->n_messages; i++) {
        if (!is_system(&c->messages[i]))
            continue;
        if (!any) {
            json_key(w, "systemInstruction");
            json_obj(w);
            json_key(w, "parts");
            json_arr(w);
        }
        any = true;
        TRY(put_system_part(w, &c->messages[i]));
    }
    if (any) {
        json_end(w);
        json_end(w);
    }
    return NULL;
}

/* --- generationConfig --- */

static bool thinking_budget(const struct gemini_settings *settings, int64_t *out)
{
    const struct value *v = settings->thinking_config;
    return v && v->set && json_i64(json_get(v->json, "thinking_budget"), out);
}

static void put_config(struct json_out *w, const struct chat *c,
                       const struct gemini_settings *settings)
{
    int64_t budget;
    bool thinks = thinking_budget(settings, &budget);
    bool has_max = c->has_max_completion_tokens || settings->max_tokens->set;
    if (!c->n_stop && !c->has_temperature && !c->has_top_p && !has_max && !thinks)
        return;
    json_key(w, "generationConfig");
    json_obj(w);
    if (c->n_stop)
        json_key_texts(w, "stopSequences", c->stop, c->n_stop);
    if (c->has_temperature)
        json_key_raw(w, "temperature", c->temperature_text);
    if (has_max)
        json_key_i64(w, "maxOutputTokens",
                     c->has_max_completion_tokens ? c->max_completion_tokens
                                                  : settings->max_tokens->i);
    if (c->has_top_p)
        json_key_raw(w, "topP", c->top_p_text);
    if (thinks) {
        json_key(w, "thinkingConfig");
        json_obj(w);
        json_key_i64(w, "thinkingBudget", budget);
        json_end(w);
    }
    json_end(w);
}

/* --- tools --- */

static struct err *put_tool(struct json_out *w, const struct chat_tool *t)
{
    if (!str_eq(t->type, STR("function")))
        return err_status(400, "Tool type [%.*s] " OF_CHATS " Supported types: [function]",
                          STR_ARG(shown(t->type)));
    json_obj(w);
    json_key_str(w, "name", t->name);
    if (str_trim(t->description).n)
        json_key_str(w, "description", t->description);
    if (t->parameters && t->parameters->n)
        json_key_raw(w, "parameters", json_raw(t->parameters));
    json_end(w);
    return NULL;
}

static struct err *put_tools(struct json_out *w, const struct chat *c)
{
    if (c->n_tools == 0)
        return NULL;
    json_key(w, "tools");
    json_arr(w);
    json_obj(w);
    json_key(w, "functionDeclarations");
    json_arr(w);
    for (size_t i = 0; i < c->n_tools; i++)
        TRY(put_tool(w, &c->tools[i]));
    json_end(w);
    json_end(w);
    json_end(w);
    return NULL;
}

static struct err *put_tool_choice(struct json_out *w, const struct chat *c)
{
    struct str name = c->tool_choice_name;
    const char *mode = "ANY";
    if (!c->has_tool_choice || (!name.p && str_eq(c->tool_choice, STR("auto"))))
        return NULL;
    if (name.p && !str_eq(c->tool_choice, STR("function")))
        return err_status(400, "Tool choice type [%.*s] " OF_CHATS " Supported types: [function]",
                          STR_ARG(shown(c->tool_choice)));
    if (!name.p && str_eq(c->tool_choice, STR("none")))
        mode = "NONE";
    else if (!name.p && !str_eq(c->tool_choice, STR("required")))
        return err_status(400,
                          "Tool choice value [%.*s] " OF_CHATS " Supported values: [auto, none, "
                          "required]",
                          STR_ARG(shown(c->tool_choice)));
    json_key(w, "toolConfig");
    json_obj(w);
    json_key(w, "functionCallingConfig");
    json_obj(w);
    json_key_cstr(w, "mode", mode);
    if (name.n)
        json_key_texts(w, "allowedFunctionNames", &name, 1);
    json_end(w);
    json_end(w);
    return NULL;
}

/* --- the body --- */

static struct err *put_body(struct json_out *w, struct arena *arena, const struct input *in,
                            const struct gemini_settings *settings)
{
    static const struct chat none;
    const struct chat *chat = in->chat ? in->chat : &none;
    TRY(put_contents(w, arena, in, str_starts(settings->model, STR("gemini-3"))));
    put_config(w, chat, settings);
    TRY(put_tools(w, chat));
    TRY(put_tool_choice(w, chat));
    return put_system(w, chat);
}

struct err *gemini_chat_body(const struct input *in, const struct gemini_settings *settings,
                             struct http_out *out)
{
    struct body b;
    body_begin(&b);
    struct err *e = put_body(&b.w, out->arena, in, settings);
    return body_finish_or(&b, e, out);
}

/* --- stream --- */

static struct str opt_str(const struct json *v)
{
    struct str s = {0};
    json_str(v, &s);
    return s;
}

/* Arguments as one compact text: they come whole. */
static struct str arguments_of(const struct json *args, struct arena *arena)
{
    struct buf b;
    struct json_out w;
    if (!json_is(args, JSON_OBJECT))
        return STR("{}");
    buf_init(&b, SIZE_MAX);
    json_out_init(&w, &b);
    json_put_node(&w, args);
    struct str text = arena_dup(arena, buf_str(&b));
    buf_deinit(&b);
    return text;
}

/* Calls are counted over the whole stream: Gemini gives them no index. */
static int64_t next_call_index(struct stream *s)
{
    int64_t *n = s->state;
    if (!n)
        n = s->state = arena_alloc(s->arena, sizeof *n);
    return (*n)++;
}

static void read_calls(struct stream *s, const struct json *parts, struct chat_choice *out)
{
    if (!json_is(parts, JSON_ARRAY) || parts->flat || parts->n == 0)
        return;
    struct chat_delta_tool_call *calls = arena_array(s->scratch, parts->n, sizeof *calls);
    size_t n = 0;
    struct json_iter it = json_iter(parts);
    for (const struct json *part; (part = json_next(&it));) {
        const struct json *call = json_get(part, "functionCall");
        if (!json_is(call, JSON_OBJECT))
            continue;
        struct str name = opt_str(json_get(call, "name"));
        struct str id = opt_str(json_get(call, "id"));
        calls[n++] = (struct chat_delta_tool_call){
            .index = next_call_index(s),
            .id = id.n ? id : name,
            .type = STR("function"),
            .name = name,
            .arguments = arguments_of(json_get(call, "args"), s->scratch)};
    }
    out->tool_calls = calls;
    out->n_tool_calls = n;
}

static void read_candidate(struct stream *s, const struct json *v, struct chat_choice *out)
{
    json_i64(json_get(v, "index"), &out->index);
    out->role = opt_str(json_path(v, "content", "role", NULL));
    struct str text = gemini_text(v, s->scratch);
    if (text.n)
        out->content = text;
    out->finish_reason = opt_str(json_get(v, "finishReason"));
    read_calls(s, json_path(v, "content", "parts", NULL), out);
}

/* The sum of two numbers that nobody has checked. */
static int64_t sum(int64_t a, int64_t b)
{
    return (int64_t)((uint64_t)a + (uint64_t)b);
}

/* Gemini counts thoughts apart; in OpenAI's shape they are part of the completion. */
static void read_chunk_usage(const struct json *usage, struct chat_chunk *out)
{
    if (!json_is(usage, JSON_OBJECT) || usage->n == 0)
        return;
    out->has_usage = true;
    json_i64(json_get(usage, "candidatesTokenCount"), &out->completion_tokens);
    json_i64(json_get(usage, "promptTokenCount"), &out->prompt_tokens);
    json_i64(json_get(usage, "totalTokenCount"), &out->total_tokens);
    out->has_reasoning_tokens =
        json_i64(json_get(usage, "thoughtsTokenCount"), &out->reasoning_tokens);
    out->completion_tokens = sum(out->completion_tokens, out->reasoning_tokens);
}

static void emit_chunk(struct stream *s, const struct json *root, struct sink *sink)
{
    const struct json *candidates = json_get(root, "candidates");
    struct chat_chunk chunk = {.id = opt_str(json_get(root, "responseId")),
                               .model = opt_str(json_get(root, "modelVersion")),
                               .object = STR("chat.completion.chunk"),
                               .has_choices = true};
    if (json_is(candidates, JSON_ARRAY) && candidates->n && !candidates->flat) {
        struct chat_choice *list = arena_array(s->scratch, candidates->n, sizeof *list);
        struct json_iter it = json_iter(candidates);
        for (const struct json *v; (v = json_next(&it));)
            read_candidate(s, v, &list[chunk.n_choices++]);
        chunk.choices = list;
    }
    read_chunk_usage(json_get(root, "usageMetadata"), &chunk);
    struct delta delta = {.chunk = &chunk};
    sink->delta(sink, &delta);
}

struct err *gemini_chat_event(struct stream *s, const struct event *ev, struct sink *sink)
{
    if (s->endpoint->task != TASK_CHAT_COMPLETION)
        return gemini_event(s, ev, sink);
    const struct json *root;
    TRY(gemini_event_object(s, ev, &root));
    if (root)
        emit_chunk(s, root, sink);
    return NULL;
}
