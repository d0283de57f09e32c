/* sagemaker_payload: two languages.
 *
 * openai: bodies and answers as OpenAI's; a stream is server-sent events, cut into parts anywhere.
 * elastic: a call as Elasticsearch's inference API takes it, and the answer in its shapes; each
 * part of a stream is one JSON text. Nothing in it says that the stream is complete: it may end
 * after any whole part. */
#include "sagemaker_payload.h"

#include "openai_shape.h"
#include "sse_reader.h"

bool sagemaker_is_elastic(const struct values *values)
{
    return str_eq(values->v[S_API].s, STR("elastic"));
}

/* --- bodies --- */

/* One input is a text, more are an array. */
static void put_input(struct json_out *w, const struct input *in)
{
    if (in->n_texts == 1)
        json_key_str(w, "input", in->texts[0]);
    else
        json_key_texts(w, "input", in->texts, in->n_texts);
}

static void openai_embed_body(struct json_out *w, const struct input *in)
{
    const struct value *v = in->values.v;
    put_input(w, in);
    if (v[S_USER].set)
        json_key_str(w, "user", v[S_USER].s);
    if (v[S_DIMENSIONS].set && v[S_DIMENSIONS].by_user)
        json_key_i64(w, "dimensions", v[S_DIMENSIONS].i);
}

static void chat_body(struct json_out *w, const struct input *in)
{
    static const struct openai_style openai = {.max_field = "max_completion_tokens",
                                               .stream_options = true};
    static const struct openai_style elastic = {.max_field = "max_completion_tokens", .bare = true};
    const struct value *user = &in->values.v[S_USER];
    if (sagemaker_is_elastic(&in->values))
        openai_chat_body(w, in, (struct str){0}, (struct str){0}, &elastic);
    else
        openai_chat_body(w, in, (struct str){0}, user->set ? user->s : (struct str){0}, &openai);
}

/* Said in headers, so not part of what the model is told. */
static bool is_for_sagemaker(struct str name)
{
    static const struct str names[] = {STR_INIT("custom_attributes"),
                                       STR_INIT("enable_explanations"), STR_INIT("inference_id"),
                                       STR_INIT("session_id"), STR_INIT("target_variant")};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (str_eq(name, names[i]))
            return true;
    }
    return false;
}

/* The call's own task settings, whatever they mean. */
static void put_task_settings(struct json_out *w, const struct json *settings)
{
    bool any = false;
    struct json_iter it = json_iter(settings);
    for (const struct json *v; (v = json_next(&it));) {
        if (is_for_sagemaker(v->key))
            continue;
        if (!any) {
            json_key(w, "task_settings");
            json_obj(w);
        }
        any = true;
        json_key_s(w, v->key);
        json_put_node(w, v);
    }
    if (any)
        json_end(w);
}

static void elastic_body(struct json_out *w, const struct input *in)
{
    put_input(w, in);
    if (in->task != TASK_RERANK && in->input_type != INPUT_UNSPECIFIED)
        json_key_cstr(w, "input_type", input_type_name(in->input_type));
    if (in->has_query)
        json_key_str(w, "query", in->query);
    if (in->has_return_documents)
        json_key_bool(w, "return_documents", in->return_documents);
    if (in->has_top_n)
        json_key_i64(w, "top_n", in->top_n);
    put_task_settings(w, in->task_settings);
}

struct err *sagemaker_body(const struct input *in, struct http_out *out)
{
    struct body b;
    body_begin(&b);
    bool elastic = sagemaker_is_elastic(&in->values);
    if (in->chat || (!elastic && in->task == TASK_COMPLETION))
        chat_body(&b.w, in);
    else if (elastic)
        elastic_body(&b.w, in);
    else
        openai_embed_body(&b.w, in);
    return body_finish(&b, out);
}

/* --- whole answers --- */

/* What Elasticsearch calls the answers to this task. */
static const char *answer_name(const struct values *values, enum task task)
{
    struct str type = values->v[S_ELEMENT_TYPE].s;
    if (task != TASK_TEXT_EMBEDDING)
        return task_name(task);
    if (str_eq(type, STR("byte")))
        return "text_embedding_bytes";
    return str_eq(type, STR("bit")) ? "text_embedding_bits" : "text_embedding";
}

#define NAME "Amazon SageMaker"

/* [{"embedding": [1, 2]}]: the rows that bytes_from wants are one step further down. */
static struct err *bytes_rows(const struct json *rows, enum result_kind kind,
                              const struct input *in, struct arena *arena, struct result *out)
{
    struct buf text;
    struct json_out w;
    const struct json *bare;
    buf_init(&text, SIZE_MAX);
    json_out_init(&w, &text);
    json_arr(&w);
    struct json_iter it = json_iter(rows);
    for (const struct json *row; (row = json_next(&it));) {
        const struct json *numbers = json_get(row, "embedding");
        if (numbers)
            json_put_node(&w, numbers);
        else
            json_put_null(&w);
    }
    json_end(&w);
    struct err *e = json_parse_copy(arena, buf_str(&text), &bare);
    buf_deinit(&text);
    TRY(e);
    return bytes_from(bare, kind, in, NAME, arena, out);
}

static struct err *sparse_row(const struct json *row, struct arena *arena, struct sparse *out)
{
    const struct json *tokens = json_get(row, "embedding");
    if (!json_is(tokens, JSON_OBJECT))
        return missing_field("embedding", NAME);
    if (!json_bool(json_get(row, "is_truncated"), &out->is_truncated))
        return missing_field("is_truncated", NAME);
    struct sparse_item *items = arena_array(arena, tokens->n, sizeof *items);
    struct json_iter it = json_iter(tokens);
    for (const struct json *v; (v = json_next(&it)); out->n++) {
        float weight;
        if (!json_f32(v, &weight))
            return err_new(ERR_PARSE,
                           "The weight of a token in the " NAME " response is no number");
        items[out->n] =
            (struct sparse_item){.token = v->key, .weight_text = json_raw(v), .weight = weight};
    }
    out->items = items;
    return NULL;
}

static struct err *sparse_rows(const struct json *rows, const struct input *in, struct arena *arena,
                               struct result *out)
{
    if (rows->n != in->n_texts)
        return err_new(ERR_PARSE,
                       "The number of results [%u] in the " NAME
                       " response differs from the number of inputs [%zu]",
                       (unsigned)rows->n, in->n_texts);
    *out = (struct result){.kind = RESULT_SPARSE};
    out->sparse = arena_array(arena, rows->n, sizeof *out->sparse);
    struct json_iter it = json_iter(rows);
    for (const struct json *row; (row = json_next(&it)); out->n++)
        TRY(sparse_row(row, arena, &out->sparse[out->n]));
    return NULL;
}

static struct err *completion_rows(const struct json *rows, struct arena *arena, struct result *out)
{
    *out = (struct result){.kind = RESULT_COMPLETION};
    out->texts = arena_array(arena, rows->n, sizeof *out->texts);
    struct json_iter it = json_iter(rows);
    for (const struct json *row; (row = json_next(&it)); out->n++) {
        if (!json_str(json_get(row, "result"), &out->texts[out->n]))
            return missing_field("result", NAME);
    }
    return NULL;
}

static struct err *elastic_parse(const struct input *in, const struct http_in *answer,
                                 struct result *out)
{
    static const char *const scores[] = {"relevance_score", NULL};
    const char *name = answer_name(&in->values, in->task);
    const struct json *root;
    TRY(answer_json(answer, &root));
    const struct json *found = json_get(root, name);
    if (!json_is(found, JSON_ARRAY))
        return missing_field(name, NAME);
    switch (in->task) {
    case TASK_SPARSE_EMBEDDING:
        return sparse_rows(found, in, answer->arena, out);
    case TASK_RERANK:
        return ranked_from(found, scores, in, NAME, answer->arena, out);
    case TASK_TEXT_EMBEDDING:
        if (str_ends(str_c(name), STR("_bytes")))
            return bytes_rows(found, RESULT_BYTES, in, answer->arena, out);
        if (str_ends(str_c(name), STR("_bits")))
            return bytes_rows(found, RESULT_BITS, in, answer->arena, out);
        return floats_from(found, "embedding", in, NAME, answer->arena, out);
    default:
        return completion_rows(found, answer->arena, out);
    }
}

struct err *sagemaker_parse(const struct endpoint *ep, const struct input *in,
                            const struct http_in *answer, struct result *out)
{
    bool whole_chat = in->task == TASK_CHAT_COMPLETION; /* OpenAI's shape in either language */
    if (sagemaker_is_elastic(&in->values) && !whole_chat)
        return elastic_parse(in, answer, out);
    if (in->task == TASK_TEXT_EMBEDDING)
        return openai_embed_parse(answer, in, NAME, out);
    return openai_chat_parse(answer, NAME, out);
}

/* --- streams --- */

static struct err *openai_part(struct stream *s, struct str bytes, struct sink *sink)
{
    struct event ev;
    if (!s->state)
        s->state = sse_reader_new(s->arena);
    TRY(sse_reader_feed(s->state, bytes));
    while (!s->finished && sse_reader_next(s->state, &ev))
        TRY(openai_chat_event(s, &ev, sink));
    return NULL;
}

/* {"completion": [{"delta": "a"}, ...]}, or one such object bare. */
static struct err *elastic_completion(struct stream *s, const struct json *root, struct sink *sink)
{
    const struct json *list = json_get(root, "completion");
    struct str text = {0};
    if (json_is(list, JSON_OBJECT) && json_str(json_get(list, "delta"), &text)) {
        delta_text(sink, text);
        return NULL;
    }
    if (!json_is(list, JSON_ARRAY))
        return stream_error(s, (struct str){0});
    struct str *texts = arena_array(s->scratch, list->n, sizeof *texts);
    struct delta delta = {.texts = texts};
    struct json_iter it = json_iter(list);
    for (const struct json *v; (v = json_next(&it));) {
        if (!json_str(json_get(v, "delta"), &text))
            return stream_error(s, (struct str){0});
        if (text.n)
            texts[delta.n_texts++] = text;
    }
    if (delta.n_texts)
        sink->delta(sink, &delta);
    return NULL;
}

static struct err *elastic_part(struct stream *s, struct str bytes, struct sink *sink)
{
    struct event ev = {.name = STR("message"), .data = bytes};
    if (s->endpoint->task == TASK_CHAT_COMPLETION) {
        TRY(openai_chat_event(s, &ev, sink));
    } else {
        const struct json *root;
        struct err *bad = json_parse(s->scratch, bytes, &root);
        err_free(bad);
        if (bad)
            return stream_error(s, (struct str){0});
        TRY(elastic_completion(s, root, sink));
    }
    s->may_end = true;
    return NULL;
}

struct err *sagemaker_part(struct stream *s, struct str bytes, struct sink *sink)
{
    if (sagemaker_is_elastic(&s->endpoint->values))
        return elastic_part(s, bytes, sink);
    return openai_part(s, bytes, sink);
}
