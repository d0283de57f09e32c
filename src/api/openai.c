/* openai: the second front door, in the shape of OpenAI's API (and Cohere's for rerank), where
 * `model` names an endpoint; chats are in openai_chat.c. Bodies are translated into Elasticsearch's
 * and go the same way from there: same checks, limits, retries. Members that have no meaning here
 * are ignored, as servers with this API do. Source: OpenAI's API reference (embeddings, chat,
 * models; 2025), Cohere's API v2 (rerank). */
#include <sodium.h>

#include "clock.h"
#include "handlers.h"
#include "openai.h"
#include "reply.h"

/* --- what all of them do --- */

struct err *openai_model(const struct request *r, struct str *out)
{
    if (json_str(json_get(r->body, "model"), out) && out->n)
        return NULL;
    return err_status(400, "you must provide a model parameter");
}

void translation_begin(struct translation *t)
{
    reply_buf_init(&t->text);
    json_out_init(&t->w, &t->text);
    json_obj(&t->w);
}

void translation_copy(struct translation *t, const struct json *from, const char *key)
{
    const struct json *v = json_get(from, key);
    if (!json_is_null(v))
        json_key_raw(&t->w, key, json_raw(v));
}

struct err *translation_read(struct translation *t, struct infer *inf, bool stream)
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

struct err *openai_wrong_task(const struct endpoint *ep, const char *wanted)
{
    return err_status(400, "The model [%.*s] does [%s], which this route does not: it takes %s",
                      STR_ARG(ep->id), task_name(ep->task), wanted);
}

void openai_start(struct infer *inf, struct err *e)
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

/* How long embeddings are is the endpoint's setting; other ones must not look like those asked for.
 */
static struct err *check_dimensions(const struct endpoint *ep, const struct json *body)
{
    const struct json *asked = json_get(body, "dimensions");
    const struct value *has = settings_get(&ep->values, "dimensions");
    int64_t n;
    if (json_is_null(asked) || !has || !has->set || (json_i64(asked, &n) && n == has->i))
        return NULL;
    return err_status(400,
                      "[dimensions] must be [%lld], which is what the model [%.*s] makes, was "
                      "[%.*s]",
                      (long long)has->i, STR_ARG(ep->id), STR_ARG(str_sub(json_raw(asked), 0, 64)));
}

static struct err *embeddings_read(struct infer *inf)
{
    const struct json *body = inf->request->body;
    struct embeddings *own = arena_alloc(inf->request->arena, sizeof *own);
    struct str encoding = {0};
    inf->own = own;
    TRY(openai_model(inf->request, &own->model));
    TRY(infer_endpoint(inf, own->model));
    if (inf->call.endpoint->task != TASK_TEXT_EMBEDDING)
        return openai_wrong_task(inf->call.endpoint, "[text_embedding]");
    json_str(json_get(body, "encoding_format"), &encoding);
    own->base64 = str_eq(encoding, STR("base64"));
    if (encoding.n && !own->base64 && !str_eq(encoding, STR("float")))
        return err_status(400, "[encoding_format] must be one of [base64, float], was [%.*s]",
                          STR_ARG(encoding));
    TRY(check_dimensions(inf->call.endpoint, body));
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
    openai_start(inf, embeddings_read(inf));
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
    bool ok = json_is(documents, JSON_ARRAY) && documents->n > 0;
    for (const struct json *d; (d = json_next(&it));) {
        ok = ok && (json_str(d, &text) || json_str(json_get(d, "text"), &text));
        if (ok)
            json_put_str(w, text);
    }
    json_end(w);
    return ok ? NULL
              : err_status(400, "[documents] must be a list of texts or of objects with a [text], "
                                "and not empty");
}

static struct err *rerank_read(struct infer *inf)
{
    const struct json *body = inf->request->body;
    struct str model;
    TRY(openai_model(inf->request, &model));
    TRY(infer_endpoint(inf, model));
    if (inf->call.endpoint->task != TASK_RERANK)
        return openai_wrong_task(inf->call.endpoint, "[rerank]");
    struct translation t;
    translation_begin(&t);
    translation_copy(&t, body, "query");
    translation_copy(&t, body, "top_n");
    translation_copy(&t, body, "return_documents");
    struct err *e = put_documents(&t.w, json_get(body, "documents"));
    if (e) {
        buf_deinit(&t.text);
        return e;
    }
    return translation_read(&t, inf, false);
}

void post_openai_rerank(struct request *r)
{
    struct infer *inf = infer_new(r, &rerank_shape);
    openai_start(inf, rerank_read(inf));
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
