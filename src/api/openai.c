/* openai: the second front door, in the shape of OpenAI's API (and Cohere's for rerank), where
 * `model` names an endpoint. Bodies are translated into Elasticsearch's and go the same way from
 * there: same checks, limits, retries. Members that have no meaning here are ignored, as servers
 * with this API do. Source: OpenAI's API reference (embeddings, chat, models; 2025), Cohere's API
 * v2 (rerank). */
#include <sodium.h>

#include "clock.h"
#include "handlers.h"
#include "infer.h"
#include "reply.h"

/* --- what all of them do --- */

static struct err *model_of(const struct request *r, struct str *out)
{
    if (json_str(json_get(r->body, "model"), out) && out->n)
        return NULL;
    return err_status(400, "you must provide a model parameter");
}

/* A translated body: built as text, read as any other. */
struct translation {
    struct buf text;
    struct json_out w;
};

static void translation_begin(struct translation *t)
{
    reply_buf_init(&t->text);
    json_out_init(&t->w, &t->text);
    json_obj(&t->w);
}

static struct err *translation_read(struct translation *t, struct infer *inf, bool stream)
{
    struct arena *arena = inf->request->arena;
    json_end(&t->w);
    struct str text = arena_dup(arena, buf_str(&t->text));
    bool full = t->text.full;
    buf_deinit(&t->text);
    if (full)
        return err_new(ERR_TOO_LARGE, "the request is too large");
    const struct json *body;
    TRY(json_parse(arena, text, &body));
    const struct endpoint *ep = inf->call.endpoint;
    return inference_input(ep, ep->task, stream, arena, text, body, &inf->call.input);
}

static struct err *wrong_task(const struct endpoint *ep, const char *wanted)
{
    return err_status(400, "The model [%.*s] does [%s], which this route does not: it takes %s",
                      STR_ARG(ep->id), task_name(ep->task), wanted);
}

static void start(struct infer *inf, struct err *e)
{
    if (e)
        infer_refuse(inf, e);
    else
        infer_submit(inf);
}

/* --- POST /v1/embeddings --- */

struct embeddings {
    struct str model;
    bool base64;
};

/* The numbers of a row as little-endian float32, in base64. */
static void put_base64(struct infer *inf, const struct embedding *row, struct json_out *w)
{
    size_t n = row->n;
    const float *floats = row->f32;
    float *numbers = NULL;
    if (!floats) {
        floats = numbers = arena_array(inf->request->arena, n, sizeof *numbers);
        if (row->node)
            json_numbers(row->node, numbers, n);
        for (size_t i = 0; row->i8 && i < n; i++)
            numbers[i] = row->i8[i];
    }
    size_t size = sodium_base64_ENCODED_LEN(n * sizeof *floats, sodium_base64_VARIANT_ORIGINAL);
    char *text = arena_alloc(inf->request->arena, size);
    sodium_bin2base64(text, size, (const unsigned char *)floats, n * sizeof *floats,
                      sodium_base64_VARIANT_ORIGINAL);
    json_put_cstr(w, text);
}

static void embeddings_whole(struct infer *inf, const struct result *result, struct json_out *w)
{
    const struct embeddings *own = inf->own;
    json_obj(w);
    json_key_cstr(w, "object", "list");
    json_key(w, "data");
    json_arr(w);
    for (size_t i = 0; i < result->n; i++) {
        json_obj(w);
        json_key_cstr(w, "object", "embedding");
        json_key_i64(w, "index", (int64_t)i);
        json_key(w, "embedding");
        if (own->base64)
            put_base64(inf, &result->embeddings[i], w);
        else
            embedding_render(w, &result->embeddings[i]);
        json_end(w);
    }
    json_end(w);
    json_key_str(w, "model", own->model);
    json_key(w, "usage");
    json_obj(w);
    json_key_i64(w, "prompt_tokens", result->usage.in_tokens);
    json_key_i64(w, "total_tokens", result->usage.in_tokens);
    json_end(w);
    json_end(w);
}

static const struct infer_shape embeddings_shape = {.whole = embeddings_whole};

static struct err *embeddings_read(struct infer *inf)
{
    const struct json *body = inf->request->body;
    struct embeddings *own = arena_alloc(inf->request->arena, sizeof *own);
    struct str encoding = {0};
    inf->own = own;
    TRY(model_of(inf->request, &own->model));
    TRY(infer_endpoint(inf, own->model));
    if (inf->call.endpoint->task != TASK_TEXT_EMBEDDING)
        return wrong_task(inf->call.endpoint, "[text_embedding]");
    json_str(json_get(body, "encoding_format"), &encoding);
    own->base64 = str_eq(encoding, STR("base64"));
    if (encoding.n && !own->base64 && !str_eq(encoding, STR("float")))
        return err_status(400, "[encoding_format] must be one of [base64, float], was [%.*s]",
                          STR_ARG(encoding));
    const struct json *input = json_get(body, "input");
    if (json_is(input, JSON_ARRAY) && (input->flat || json_is(json_at(input, 0), JSON_ARRAY)))
        return err_status(400, "[input] must be a text or a list of texts: token ids mean "
                               "different things to different models");
    struct translation t;
    translation_begin(&t);
    if (input)
        json_key_raw(&t.w, "input", json_raw(input));
    return translation_read(&t, inf, false);
}

void post_openai_embeddings(struct request *r)
{
    struct infer *inf = infer_new(r, &embeddings_shape);
    start(inf, embeddings_read(inf));
}

/* --- POST /v1/chat/completions --- */

#define MAX_GATHERED_CALLS 128

struct gathered_call {
    int64_t index;
    struct str id, name;
    struct buf arguments;
};

struct chat_answer {
    struct str model; /* the endpoint's id, which the caller knows */
    struct str id, finish_reason;
    int64_t created_s;
    bool include_usage;
    struct buf content, refusal;
    struct gathered_call calls[MAX_GATHERED_CALLS];
    size_t n_calls;
    bool has_usage;
    struct chat_chunk usage;
};

#define MAX_GATHERED_BYTES ((size_t)64 << 20)

static void put_event(struct buf *events, const struct chat_chunk *chunk)
{
    struct delta delta = {.chunk = chunk};
    struct json_out w;
    buf_put(events, STR("data: "));
    json_out_init(&w, events);
    delta_render(&w, &delta);
    buf_put(events, STR("\n\n"));
}

static struct str answer_id(struct infer *inf)
{
    struct chat_answer *own = inf->own;
    if (!own->id.n)
        own->id =
            arena_printf(inf->request->arena, "chatcmpl-%llx", (unsigned long long)clock_mono_ns());
    return own->id;
}

/* Texts of a completion endpoint, as the chunk of a chat. */
static void put_texts(struct infer *inf, const struct delta *delta, struct buf *events)
{
    struct chat_answer *own = inf->own;
    for (size_t i = 0; i < delta->n_texts; i++) {
        struct chat_choice choice = {.content = delta->texts[i]};
        struct chat_chunk chunk = {.id = answer_id(inf),
                                   .created = own->created_s,
                                   .model = own->model,
                                   .object = STR("chat.completion.chunk"),
                                   .has_choices = true,
                                   .choices = &choice,
                                   .n_choices = 1};
        put_event(events, &chunk);
    }
}

static void chat_delta(struct infer *inf, const struct delta *delta, struct buf *events)
{
    struct chat_answer *own = inf->own;
    if (!delta->chunk) {
        put_texts(inf, delta, events);
        return;
    }
    struct chat_chunk chunk = *delta->chunk;
    if (chunk.has_usage && !own->include_usage) {
        chunk.has_usage = false;
        if (!chunk.n_choices)
            return;
    }
    chunk.created = own->created_s;
    chunk.model = own->model;
    put_event(events, &chunk);
}

static void put_stop(struct infer *inf, struct buf *events)
{
    struct chat_answer *own = inf->own;
    struct chat_choice choice = {.finish_reason = STR("stop")};
    struct chat_chunk chunk = {.id = answer_id(inf),
                               .created = own->created_s,
                               .model = own->model,
                               .object = STR("chat.completion.chunk"),
                               .has_choices = true,
                               .choices = &choice,
                               .n_choices = 1};
    put_event(events, &chunk);
}

static void chat_end(struct infer *inf, const struct result *result, struct buf *events)
{
    if (result) {
        struct delta delta = {.texts = result->texts, .n_texts = result->n};
        put_texts(inf, &delta, events);
    }
    if (inf->call.endpoint->task == TASK_COMPLETION)
        put_stop(inf, events);
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

static void gather_call(struct infer *inf, const struct chat_delta_tool_call *c)
{
    struct chat_answer *own = inf->own;
    struct arena *arena = inf->request->arena;
    size_t i = 0;
    while (i < own->n_calls && own->calls[i].index != c->index)
        i++;
    if (i == MAX_GATHERED_CALLS)
        return;
    struct gathered_call *g = &own->calls[i];
    if (i == own->n_calls) {
        own->n_calls++;
        g->index = c->index;
        buf_init(&g->arguments, MAX_GATHERED_BYTES);
    }
    if (c->id.n)
        g->id = arena_dup(arena, c->id);
    if (c->name.n)
        g->name = arena_dup(arena, c->name);
    buf_put(&g->arguments, c->arguments);
}

static void gather_choice(struct infer *inf, const struct chat_choice *c)
{
    struct chat_answer *own = inf->own;
    if (c->index != 0)
        return;
    buf_put(&own->content, c->content);
    buf_put(&own->refusal, c->refusal);
    if (c->finish_reason.n)
        own->finish_reason = arena_dup(inf->request->arena, c->finish_reason);
    for (size_t i = 0; i < c->n_tool_calls; i++)
        gather_call(inf, &c->tool_calls[i]);
}

static void chat_gather(struct infer *inf, const struct delta *delta)
{
    struct chat_answer *own = inf->own;
    for (size_t i = 0; i < delta->n_texts; i++)
        buf_put(&own->content, delta->texts[i]);
    const struct chat_chunk *chunk = delta->chunk;
    if (!chunk)
        return;
    if (!own->id.n && chunk->id.n)
        own->id = arena_dup(inf->request->arena, chunk->id);
    for (size_t i = 0; i < chunk->n_choices; i++)
        gather_choice(inf, &chunk->choices[i]);
    if (chunk->has_usage) {
        own->has_usage = true;
        own->usage = *chunk;
    }
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

static void put_usage(struct json_out *w, int64_t in, int64_t out)
{
    json_key(w, "usage");
    json_obj(w);
    json_key_i64(w, "prompt_tokens", in);
    json_key_i64(w, "completion_tokens", out);
    json_key_i64(w, "total_tokens", in + out);
    json_end(w);
}

static void chat_free(struct chat_answer *own)
{
    buf_deinit(&own->content);
    buf_deinit(&own->refusal);
    for (size_t i = 0; i < own->n_calls; i++)
        buf_deinit(&own->calls[i].arguments);
    own->n_calls = 0;
}

static void chat_whole(struct infer *inf, const struct result *result, struct json_out *w)
{
    struct chat_answer *own = inf->own;
    if (result && result->n)
        buf_put(&own->content, result->texts[0]);
    json_obj(w);
    json_key_str(w, "id", answer_id(inf));
    json_key_cstr(w, "object", "chat.completion");
    json_key_i64(w, "created", own->created_s);
    json_key_str(w, "model", own->model);
    json_key(w, "choices");
    json_arr(w);
    json_obj(w);
    json_key_i64(w, "index", 0);
    put_answer(w, own);
    json_key_str(w, "finish_reason", own->finish_reason.n ? own->finish_reason : STR("stop"));
    json_end(w);
    json_end(w);
    if (own->has_usage)
        put_usage(w, own->usage.prompt_tokens, own->usage.completion_tokens);
    else if (result && result->usage.known)
        put_usage(w, result->usage.in_tokens, result->usage.out_tokens);
    json_end(w);
}

static void chat_let_go(struct infer *inf)
{
    if (inf->own)
        chat_free(inf->own);
}

static const struct infer_shape chat_shape = {.whole = chat_whole,
                                              .delta = chat_delta,
                                              .end = chat_end,
                                              .error = chat_error,
                                              .gather = chat_gather,
                                              .let_go = chat_let_go};

/* --- the request --- */

static void copy_member(struct json_out *w, const struct json *from, const char *key)
{
    const struct json *v = json_get(from, key);
    if (!json_is_null(v))
        json_key_raw(w, key, json_raw(v));
}

static void put_message(struct json_out *w, const struct json *m)
{
    json_obj(w);
    copy_member(w, m, "role");
    copy_member(w, m, "content");
    copy_member(w, m, "tool_call_id");
    copy_member(w, m, "tool_calls");
    json_end(w);
}

/* The members of a chat that Elasticsearch has too; OpenAI's older max_tokens by its new name. */
static void put_chat(struct json_out *w, const struct json *body)
{
    static const char *const same[] = {"stop", "temperature", "top_p", "tools", "tool_choice"};
    const struct json *messages = json_get(body, "messages");
    if (json_is(messages, JSON_ARRAY)) {
        json_key(w, "messages");
        json_arr(w);
        struct json_iter it = json_iter(messages);
        for (const struct json *m; (m = json_next(&it));)
            put_message(w, m);
        json_end(w);
    }
    const struct json *most = json_get(body, "max_completion_tokens");
    if (json_is_null(most))
        most = json_get(body, "max_tokens");
    if (!json_is_null(most))
        json_key_raw(w, "max_completion_tokens", json_raw(most));
    for (size_t i = 0; i < sizeof same / sizeof same[0]; i++)
        copy_member(w, body, same[i]);
}

static void add_text(struct buf *out, struct str text)
{
    if (out->n)
        buf_put(out, STR("\n\n"));
    buf_put(out, text);
}

/* A completion endpoint takes one text: the contents of the messages, in order. */
static void put_prompt(struct json_out *w, const struct json *body)
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
    if (prompt.n)
        json_key_str(w, "input", buf_str(&prompt));
    buf_deinit(&prompt);
}

static struct err *chat_read(struct infer *inf)
{
    struct request *r = inf->request;
    struct chat_answer *own = arena_alloc(r->arena, sizeof *own);
    own->created_s = clock_wall_ms() / 1000;
    buf_init(&own->content, MAX_GATHERED_BYTES);
    buf_init(&own->refusal, MAX_GATHERED_BYTES);
    inf->own = own;
    TRY(model_of(r, &own->model));
    TRY(infer_endpoint(inf, own->model));
    enum task task = inf->call.endpoint->task;
    if (task != TASK_CHAT_COMPLETION && task != TASK_COMPLETION)
        return wrong_task(inf->call.endpoint, "[chat_completion] and [completion]");
    int64_t n = 1;
    json_i64(json_get(r->body, "n"), &n);
    if (n != 1)
        return err_status(400, "[n] must be [1], was [%lld]", (long long)n);
    json_bool(json_get(r->body, "stream"), &inf->events);
    json_bool(json_path(r->body, "stream_options", "include_usage", NULL), &own->include_usage);
    inf->call.whole = !inf->events;
    struct translation t;
    translation_begin(&t);
    if (task == TASK_CHAT_COMPLETION)
        put_chat(&t.w, r->body);
    else
        put_prompt(&t.w, r->body);
    /* A chat is always streamed from its service, and gathered when the caller wants it whole. */
    return translation_read(&t, inf, inf->events || task == TASK_CHAT_COMPLETION);
}

void post_openai_chat(struct request *r)
{
    struct infer *inf = infer_new(r, &chat_shape);
    start(inf, chat_read(inf));
}

/* --- POST /v1/rerank, /v2/rerank --- */

static void rerank_whole(struct infer *inf, const struct result *result, struct json_out *w)
{
    json_obj(w);
    json_key_str(
        w, "id",
        arena_printf(inf->request->arena, "rerank-%llx", (unsigned long long)clock_mono_ns()));
    json_key(w, "results");
    json_arr(w);
    for (size_t i = 0; i < result->n; i++) {
        const struct ranked *row = &result->ranked[i];
        json_obj(w);
        if (row->text.p) {
            json_key(w, "document");
            json_obj(w);
            json_key_str(w, "text", row->text);
            json_end(w);
        }
        json_key_i64(w, "index", row->index);
        json_key(w, "relevance_score");
        if (row->score_text.p)
            json_put_raw(w, row->score_text);
        else
            json_put_f32(w, row->score);
        json_end(w);
    }
    json_end(w);
    json_key_raw(w, "meta", STR("{\"api_version\":{\"version\":\"2\"}}"));
    json_end(w);
}

static const struct infer_shape rerank_shape = {.whole = rerank_whole};

static struct err *put_documents(struct json_out *w, const struct json *documents)
{
    json_key(w, "input");
    json_arr(w);
    struct json_iter it = json_iter(documents);
    struct str text;
    bool ok = true;
    for (const struct json *d; (d = json_next(&it));) {
        ok = ok && (json_str(d, &text) || json_str(json_get(d, "text"), &text));
        if (ok)
            json_put_str(w, text);
    }
    json_end(w);
    return ok ? NULL : err_status(400, "[documents] must be texts or objects with a [text]");
}

static struct err *rerank_read(struct infer *inf)
{
    const struct json *body = inf->request->body;
    struct str model;
    TRY(model_of(inf->request, &model));
    TRY(infer_endpoint(inf, model));
    if (inf->call.endpoint->task != TASK_RERANK)
        return wrong_task(inf->call.endpoint, "[rerank]");
    struct translation t;
    translation_begin(&t);
    copy_member(&t.w, body, "query");
    copy_member(&t.w, body, "top_n");
    copy_member(&t.w, body, "return_documents");
    struct err *e = NULL;
    if (json_is(json_get(body, "documents"), JSON_ARRAY))
        e = put_documents(&t.w, json_get(body, "documents"));
    if (e) {
        buf_deinit(&t.text);
        return e;
    }
    return translation_read(&t, inf, false);
}

void post_openai_rerank(struct request *r)
{
    struct infer *inf = infer_new(r, &rerank_shape);
    start(inf, rerank_read(inf));
}

/* --- GET /v1/models --- */

static void put_model(struct json_out *w, const struct endpoint *ep, int64_t created_s)
{
    json_obj(w);
    json_key_str(w, "id", ep->id);
    json_key_cstr(w, "object", "model");
    json_key_i64(w, "created", created_s);
    json_key_str(w, "owned_by", ep->service);
    json_key_cstr(w, "task_type", task_name(ep->task));
    json_end(w);
}

void get_openai_models(struct request *r)
{
    struct endpoint **list;
    size_t n;
    inference_list(r->api->parts.inference, TASK_ANY, r->arena, &list, &n);
    n = keep_seen(r, list, n);
    struct buf b;
    reply_buf_init(&b);
    struct json_out w;
    json_out_init(&w, &b);
    json_obj(&w);
    json_key_cstr(&w, "object", "list");
    json_key(&w, "data");
    json_arr(&w);
    for (size_t i = 0; i < n; i++) {
        if (!inference_is_preset(list[i]->id)) /* those answer, but nobody made them */
            put_model(&w, list[i], r->api->started_wall_ms / 1000);
        endpoint_unref(list[i]);
    }
    json_end(&w);
    json_end(&w);
    reply_json(r, 200, &b);
}

void get_openai_model(struct request *r)
{
    struct str id = request_param(r, "model");
    struct endpoint *ep = NULL;
    if (security_sees(r->user, id))
        ep = inference_find(r->api->parts.inference, id);
    if (!ep) {
        reply_err(r, err_new(ERR_NOT_FOUND, "The model '%.*s' does not exist", STR_ARG(id)));
        return;
    }
    struct buf b;
    reply_buf_init(&b);
    struct json_out w;
    json_out_init(&w, &b);
    put_model(&w, ep, r->api->started_wall_ms / 1000);
    endpoint_unref(ep);
    reply_json(r, 200, &b);
}
