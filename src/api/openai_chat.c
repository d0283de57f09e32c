/* openai_chat: POST /v1/chat/completions, whole and streamed, on endpoints for chat_completion and
 * for completion. A chat is always streamed from its service, for not all of them answer it whole;
 * it is gathered when the caller wants that. Source: OpenAI's API reference (chat; 2025). */
#include "openai.h"

#include "clock.h"
#include "handlers.h"
#include "openai_chunk.h"
#include "reply.h"

#define MAX_GATHERED_BYTES ((size_t)64 << 20)

struct gathered_call {
    struct str id, name;
    struct buf arguments;
};

struct chat_answer {
    struct openai_chunks chunks;
    bool include_usage;
    /* Of a stream that is answered whole: */
    struct str finish_reason;
    struct buf content, refusal;
    struct gathered_call calls[OPENAI_MAX_CALLS];
    size_t n_calls;
};

/* --- events --- */

static void put_event(struct buf *events, const struct chat_chunk *chunk)
{
    struct delta delta = {.chunk = chunk};
    struct json_out w;
    buf_put(events, STR("data: "));
    json_out_init(&w, events);
    delta_render(&w, &delta);
    buf_put(events, STR("\n\n"));
}

static void put_choice(struct chat_answer *own, struct chat_choice choice, struct buf *events)
{
    struct chat_chunk chunk;
    openai_chunk_of(&own->chunks, &choice, &chunk);
    put_event(events, &chunk);
}

static void put_texts(struct chat_answer *own, const struct str *texts, size_t n,
                      struct buf *events)
{
    for (size_t i = 0; i < n; i++)
        put_choice(own, (struct chat_choice){.content = texts[i]}, events);
}

static void chat_delta(struct infer *inf, const struct delta *delta, struct buf *events)
{
    struct chat_answer *own = inf->own;
    struct chat_chunk chunk;
    if (!delta->chunk)
        put_texts(own, delta->texts, delta->n_texts, events);
    else if (openai_chunk(&own->chunks, delta->chunk, &chunk))
        put_event(events, &chunk);
}

/* The tokens of a service that does not chat. */
static void count_usage(struct chat_answer *own, const struct usage *usage)
{
    if (!usage->known || own->chunks.has_usage)
        return;
    own->chunks.has_usage = true;
    own->chunks.usage.prompt_tokens = usage->in_tokens;
    own->chunks.usage.completion_tokens = usage->out_tokens;
}

static void chat_end(struct infer *inf, const struct result *result, struct buf *events)
{
    struct chat_answer *own = inf->own;
    struct chat_chunk chunk;
    count_usage(own, result ? &result->usage : &inf->call.usage);
    if (result)
        put_texts(own, result->texts, result->n, events);
    if (inf->call.endpoint->task == TASK_COMPLETION)
        put_choice(own, (struct chat_choice){.finish_reason = STR("stop")}, events);
    if (own->include_usage && openai_chunk_usage(&own->chunks, &chunk))
        put_event(events, &chunk);
    buf_put(events, STR("data: [DONE]\n\n"));
}

static void chat_error(struct infer *inf, const struct err *e, struct buf *events)
{
    struct json_out w;
    buf_put(events, STR("data: "));
    json_out_init(&w, events);
    err_render_openai(&w, e);
    buf_put(events, STR("\n\n"));
}

/* --- a stream gathered into one message --- */

static void gather_call(struct chat_answer *own, const struct chat_delta_tool_call *c)
{
    struct gathered_call *g = &own->calls[c->index]; /* openai_chunk counts them without gaps */
    if ((size_t)c->index == own->n_calls) {
        own->n_calls++;
        buf_init(&g->arguments, MAX_GATHERED_BYTES);
    }
    if (!g->id.n && c->id.n)
        g->id = arena_dup(own->chunks.arena, c->id);
    if (!g->name.n && c->name.n)
        g->name = arena_dup(own->chunks.arena, c->name);
    buf_put(&g->arguments, c->arguments);
}

static void gather_choice(struct chat_answer *own, const struct chat_choice *c)
{
    buf_put(&own->content, c->content);
    buf_put(&own->refusal, c->refusal);
    if (c->finish_reason.n && !str_eq(c->finish_reason, own->finish_reason))
        own->finish_reason = arena_dup(own->chunks.arena, c->finish_reason);
    for (size_t i = 0; i < c->n_tool_calls; i++)
        gather_call(own, &c->tool_calls[i]);
}

static void chat_gather(struct infer *inf, const struct delta *delta)
{
    struct chat_answer *own = inf->own;
    struct chat_chunk chunk;
    for (size_t i = 0; i < delta->n_texts; i++)
        buf_put(&own->content, delta->texts[i]);
    if (!delta->chunk || !openai_chunk(&own->chunks, delta->chunk, &chunk))
        return;
    for (size_t i = 0; i < chunk.n_choices; i++)
        gather_choice(own, &chunk.choices[i]);
}

static void put_calls(struct json_out *w, struct chat_answer *own)
{
    json_key(w, "tool_calls");
    json_arr(w);
    for (size_t i = 0; i < own->n_calls; i++) {
        struct gathered_call *g = &own->calls[i];
        json_obj(w);
        json_key_str(w, "id", g->id);
        json_key_cstr(w, "type", "function");
        json_key(w, "function");
        json_obj(w);
        json_key_str(w, "name", g->name);
        json_key_str(w, "arguments", buf_str(&g->arguments));
        json_end(w);
        json_end(w);
    }
    json_end(w);
}

static void put_answer(struct json_out *w, struct chat_answer *own)
{
    json_key(w, "message");
    json_obj(w);
    json_key_cstr(w, "role", "assistant");
    json_key(w, "content");
    if (own->content.n || !own->n_calls)
        json_put_str(w, buf_str(&own->content));
    else
        json_put_null(w);
    json_key(w, "refusal");
    if (own->refusal.n)
        json_put_str(w, buf_str(&own->refusal));
    else
        json_put_null(w);
    if (own->n_calls)
        put_calls(w, own);
    json_end(w);
}

static void put_usage(struct json_out *w, const struct chat_chunk *usage)
{
    json_key(w, "usage");
    json_obj(w);
    json_key_i64(w, "prompt_tokens", usage->prompt_tokens);
    json_key_i64(w, "completion_tokens", usage->completion_tokens);
    json_key_i64(w, "total_tokens", usage->total_tokens);
    json_end(w);
}

/* An answer that did not fit is none: the reply is refused as too large. */
static bool is_cut(const struct chat_answer *own)
{
    bool cut = own->content.full || own->refusal.full;
    for (size_t i = 0; i < own->n_calls; i++)
        cut = cut || own->calls[i].arguments.full;
    return cut;
}

static void chat_whole(struct infer *inf, const struct result *result, struct json_out *w)
{
    struct chat_answer *own = inf->own;
    struct chat_chunk chunk;
    struct chat_choice none = {0};
    for (size_t i = 0; result && i < result->n; i++)
        buf_put(&own->content, result->texts[i]);
    count_usage(own, result ? &result->usage : &inf->call.usage);
    openai_chunk_of(&own->chunks, &none, &chunk);
    json_obj(w);
    json_key_str(w, "id", chunk.id);
    json_key_cstr(w, "object", "chat.completion");
    json_key_i64(w, "created", chunk.created);
    json_key_str(w, "model", chunk.model);
    json_key(w, "choices");
    json_arr(w);
    json_obj(w);
    json_key_i64(w, "index", 0);
    put_answer(w, own);
    json_key_str(w, "finish_reason", own->finish_reason.n ? own->finish_reason : STR("stop"));
    json_end(w);
    json_end(w);
    if (openai_chunk_usage(&own->chunks, &chunk))
        put_usage(w, &chunk);
    json_end(w);
    w->buf->full = w->buf->full || is_cut(own);
}

static void chat_let_go(struct infer *inf)
{
    struct chat_answer *own = inf->own;
    if (!own)
        return;
    openai_chunks_deinit(&own->chunks);
    buf_deinit(&own->content);
    buf_deinit(&own->refusal);
    for (size_t i = 0; i < own->n_calls; i++)
        buf_deinit(&own->calls[i].arguments);
    own->n_calls = 0;
}

static const struct infer_shape chat_shape = {.whole = chat_whole,
                                              .delta = chat_delta,
                                              .end = chat_end,
                                              .error = chat_error,
                                              .gather = chat_gather,
                                              .let_go = chat_let_go};

/* --- the request --- */

/* OpenAI's newer word for the system's voice is known to few others, the older one to all. */
static void put_role(struct translation *t, const struct json *m)
{
    struct str role;
    if (json_str(json_get(m, "role"), &role) && str_eq(role, STR("developer")))
        json_key_cstr(&t->w, "role", "system");
    else
        translation_copy(t, m, "role");
}

/* Without what clients note in them for themselves (`index`, `parsed_arguments`). */
static void put_calls_said(struct translation *t, const struct json *m)
{
    const struct json *calls = json_get(m, "tool_calls");
    if (!json_is(calls, JSON_ARRAY) || calls->flat) {
        translation_copy(t, m, "tool_calls");
        return;
    }
    json_key(&t->w, "tool_calls");
    json_arr(&t->w);
    struct json_iter it = json_iter(calls);
    for (const struct json *call; (call = json_next(&it));) {
        const struct json *function = json_get(call, "function");
        json_obj(&t->w);
        translation_copy(t, call, "id");
        translation_copy(t, call, "type");
        json_key(&t->w, "function");
        json_obj(&t->w);
        translation_copy(t, function, "name");
        translation_copy(t, function, "arguments");
        json_end(&t->w);
        json_end(&t->w);
    }
    json_end(&t->w);
}

static void put_message(struct translation *t, const struct json *m)
{
    json_obj(&t->w);
    put_role(t, m);
    translation_copy(t, m, "content");
    translation_copy(t, m, "tool_call_id");
    put_calls_said(t, m);
    json_end(&t->w);
}

/* The members of a chat that Elasticsearch has too; OpenAI's older max_tokens by its new name. */
static void put_chat(struct translation *t, const struct json *body)
{
    static const char *const same[] = {"stop", "temperature", "top_p", "tools", "tool_choice"};
    const struct json *messages = json_get(body, "messages");
    if (json_is(messages, JSON_ARRAY)) {
        json_key(&t->w, "messages");
        json_arr(&t->w);
        struct json_iter it = json_iter(messages);
        for (const struct json *m; (m = json_next(&it));)
            put_message(t, m);
        json_end(&t->w);
    }
    const struct json *most = json_get(body, "max_completion_tokens");
    if (json_is_null(most))
        most = json_get(body, "max_tokens");
    if (!json_is_null(most))
        json_key_raw(&t->w, "max_completion_tokens", json_raw(most));
    for (size_t i = 0; i < sizeof same / sizeof same[0]; i++)
        translation_copy(t, body, same[i]);
}

static void add_text(struct buf *out, struct str text)
{
    if (out->n)
        buf_put(out, STR("\n\n"));
    buf_put(out, text);
}

/* A completion endpoint takes one text: the contents of the messages, in order. */
static struct err *put_prompt(struct translation *t, const struct json *body)
{
    struct buf prompt;
    buf_init(&prompt, MAX_GATHERED_BYTES);
    struct json_iter it = json_iter(json_get(body, "messages"));
    for (const struct json *m; (m = json_next(&it));) {
        const struct json *content = json_get(m, "content");
        struct str text;
        if (json_str(content, &text))
            add_text(&prompt, text);
        struct json_iter parts = json_iter(json_is(content, JSON_ARRAY) ? content : NULL);
        for (const struct json *p; (p = json_next(&parts));) {
            if (json_str(json_get(p, "text"), &text))
                add_text(&prompt, text);
        }
    }
    json_key_str(&t->w, "input", buf_str(&prompt));
    t->text.full = t->text.full || prompt.full;
    bool empty = prompt.n == 0;
    buf_deinit(&prompt);
    return empty ? err_status(400, "[messages] must hold a text") : NULL;
}

/* What decides on the form of the answer and would not be heard of must not seem to be heard. */
static struct err *check_form(const struct json *body, const struct endpoint *ep)
{
    const struct json *form = json_get(body, "response_format");
    const struct json *tools = json_get(body, "tools");
    struct str type = {0};
    json_str(json_get(form, "type"), &type);
    if (!json_is_null(form) && !str_eq(type, STR("text")))
        return err_status(400, "[response_format] must be [text]");
    if (!json_is_null(json_get(body, "functions")))
        return err_status(400, "[functions] is not supported, use [tools]");
    if (ep->task == TASK_COMPLETION && json_is(tools, JSON_ARRAY) && tools->n)
        return err_status(400,
                          "[tools] need a model that does [chat_completion], [%.*s] does "
                          "[completion]",
                          STR_ARG(ep->id));
    return NULL;
}

static struct err *chat_read(struct infer *inf)
{
    struct request *r = inf->request;
    struct chat_answer *own = arena_alloc(r->arena, sizeof *own);
    struct str model = {0};
    buf_init(&own->content, MAX_GATHERED_BYTES);
    buf_init(&own->refusal, MAX_GATHERED_BYTES);
    inf->own = own;
    TRY(openai_model(r, &model));
    openai_chunks_init(&own->chunks, r->arena, model, clock_wall_ms() / 1000);
    TRY(infer_endpoint(inf, model));
    enum task task = inf->call.endpoint->task;
    if (task != TASK_CHAT_COMPLETION && task != TASK_COMPLETION)
        return openai_wrong_task(inf->call.endpoint, "[chat_completion] and [completion]");
    int64_t n = 1;
    json_i64(json_get(r->body, "n"), &n);
    if (n != 1)
        return err_status(400, "[n] must be [1], was [%lld]", (long long)n);
    TRY(check_form(r->body, inf->call.endpoint));
    json_bool(json_get(r->body, "stream"), &inf->events);
    json_bool(json_path(r->body, "stream_options", "include_usage", NULL), &own->include_usage);
    inf->call.whole = !inf->events;
    struct translation t;
    struct err *e = NULL;
    translation_begin(&t);
    if (task == TASK_CHAT_COMPLETION)
        put_chat(&t, r->body);
    else
        e = put_prompt(&t, r->body);
    if (e) {
        buf_deinit(&t.text);
        return e;
    }
    return translation_read(&t, inf, inf->events || task == TASK_CHAT_COMPLETION);
}

void post_openai_chat(struct request *r)
{
    struct infer *inf = infer_new(r, &chat_shape);
    openai_start(inf, chat_read(inf));
}
