/* googlevertexai_embed: embeddings and rerank. Source: shared facts, providers.md 3.8. */
#include "googlevertexai.h"

#include "google_shape.h"

/* --- embeddings --- */

struct err *vertex_embed_build(const struct endpoint *ep, const struct input *in,
                               struct http_out *out)
{
    const struct value *v = in->values.v;
    const char *type = google_task_type(in);
    bool sized = v[S_DIMENSIONS].set && v[S_DIMENSIONS].by_user;
    request_json(out, vertex_embed_url(out->arena, ep), NULL);
    struct body b;
    body_begin(&b);
    json_key(&b.w, "instances");
    json_arr(&b.w);
    for (size_t i = 0; i < in->n_texts; i++) {
        json_obj(&b.w);
        json_key_str(&b.w, "content", in->texts[i]);
        if (type)
            json_key_cstr(&b.w, "task_type", type);
        json_end(&b.w);
    }
    json_end(&b.w);
    if (v[S_AUTO_TRUNCATE].set || sized) {
        json_key(&b.w, "parameters");
        json_obj(&b.w);
        if (v[S_AUTO_TRUNCATE].set)
            json_key_bool(&b.w, "autoTruncate", v[S_AUTO_TRUNCATE].b);
        if (sized)
            json_key_i64(&b.w, "outputDimensionality", v[S_DIMENSIONS].i);
        json_end(&b.w);
    }
    return body_finish(&b, out);
}

/* Newer models take one input only: who uses them says so. */
size_t vertex_batch_of(const struct endpoint *ep)
{
    const struct value *most = &ep->values.v[S_MAX_BATCH_SIZE];
    return most->set ? (size_t)most->i : 250;
}

/* predictions[].embeddings: {"values": [...], "statistics": {"token_count"}} */
struct err *vertex_embed_parse(const struct endpoint *ep, const struct input *in,
                               const struct http_in *answer, struct result *out)
{
    const struct json *root;
    TRY(answer_json(answer, &root));
    const struct json *predictions = json_get(root, "predictions");
    if (!json_is(predictions, JSON_ARRAY))
        return missing_field("predictions", VERTEX_EMBEDDINGS);
    if (predictions->n != in->n_texts)
        return err_new(ERR_PARSE,
                       "The number of results [%u] in the " VERTEX_EMBEDDINGS
                       " response differs from the "
                       "number of inputs [%zu]",
                       predictions->n, in->n_texts);
    *out = (struct result){.kind = RESULT_FLOATS, .n = predictions->n};
    out->embeddings = arena_array(answer->arena, predictions->n, sizeof *out->embeddings);
    size_t i = 0;
    struct json_iter it = json_iter(predictions);
    for (const struct json *row; (row = json_next(&it)); i++) {
        const struct json *values = json_path(row, "embeddings", "values", NULL);
        const struct json *tokens = json_path(row, "embeddings", "statistics", "token_count", NULL);
        double n;
        TRY(embedding_floats(values, "values", VERTEX_EMBEDDINGS, &out->embeddings[i]));
        if (json_f64(tokens, &n) && n >= 0 && n < 1e9) { /* now an integer, now a double */
            out->usage.known = true;
            out->usage.in_tokens += (int64_t)n;
        }
    }
    return NULL;
}

/* --- rerank --- */

struct err *vertex_rerank_build(const struct endpoint *ep, const struct input *in,
                                struct http_out *out)
{
    const struct value *model = &in->values.v[S_MODEL_ID];
    int64_t top_n;
    request_json(out, vertex_rerank_url(out->arena, ep), NULL);
    struct body b;
    body_begin(&b);
    if (model->set)
        json_key_str(&b.w, "model", model->s);
    json_key_str(&b.w, "query", in->query);
    json_key(&b.w, "records");
    json_arr(&b.w);
    for (size_t i = 0; i < in->n_texts; i++) {
        json_obj(&b.w);
        json_key_str(&b.w, "id", arena_printf(out->arena, "%zu", i));
        json_key_str(&b.w, "content", in->texts[i]);
        json_end(&b.w);
    }
    json_end(&b.w);
    if (call_top_n(in, &top_n))
        json_key_i64(&b.w, "topN", top_n);
    if (in->has_return_documents)
        json_key_bool(&b.w, "ignoreRecordDetailsInResponse", !in->return_documents);
    return body_finish(&b, out);
}

/* Google returns the texts unless it is told not to, and Elasticsearch shows what it returns. */
static struct err *read_record(const struct json *record, const struct input *in,
                               struct ranked *out)
{
    const struct json *score = json_get(record, "score");
    struct str id;
    if (!json_str(json_get(record, "id"), &id))
        return missing_field("id", VERTEX_RERANK);
    if (!json_f32(score, &out->score))
        return missing_field("score", VERTEX_RERANK);
    if (!str_to_i64(id, &out->index))
        return err_new(ERR_PARSE,
                       "Expected numeric value for record ID field in Google Vertex AI rerank "
                       "response but received [%.*s]",
                       STR_ARG(str_sub(id, 0, 200)));
    if (out->index < 0 || (size_t)out->index >= in->n_texts)
        return err_new(ERR_PARSE,
                       "The index [%lld] in the " VERTEX_RERANK " response names no input",
                       (long long)out->index);
    out->score_text = json_raw(score);
    if (in->has_return_documents && !in->return_documents)
        return NULL;
    if (!json_str(json_get(record, "content"), &out->text) && in->has_return_documents)
        out->text = in->texts[out->index];
    return NULL;
}

struct err *vertex_rerank_parse(const struct endpoint *ep, const struct input *in,
                                const struct http_in *answer, struct result *out)
{
    const struct json *root;
    TRY(answer_json(answer, &root));
    const struct json *records = json_get(root, "records");
    if (!json_is(records, JSON_ARRAY))
        return missing_field("records", VERTEX_RERANK);
    *out = (struct result){.kind = RESULT_RERANK, .n = records->n};
    out->ranked = arena_array(answer->arena, records->n, sizeof *out->ranked);
    size_t i = 0;
    struct json_iter it = json_iter(records);
    for (const struct json *record; (record = json_next(&it)); i++)
        TRY(read_record(record, in, &out->ranked[i]));
    return NULL;
}
