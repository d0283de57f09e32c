/* custom: answers, read by the paths that the endpoint names. Source: shared facts, providers.md 5.
 *
 * One row per input for embeddings, as everywhere here; Elasticsearch takes what comes. */
#include "custom.h"
#include "custom_path.h"

static struct err *find_at(const struct json *root, const struct json *parser, const char *member,
                           struct arena *arena, struct found *out)
{
    struct str path = {0};
    json_str(json_get(parser, member), &path);
    return path_find(root, path, arena, out);
}

static struct err *list_at(const struct json *root, const struct json *parser, const char *member,
                           struct arena *arena, struct found *out)
{
    struct found f;
    TRY(find_at(root, parser, member, arena, &f));
    return found_list(&f, member, arena, out);
}

/* "Failed to parse text embedding entry [3], error: ..."; takes `e`. */
static struct err *entry_err(struct err *e, const char *what, size_t i)
{
    struct err *outer =
        err_new(ERR_PARSE, "Failed to parse %s entry [%zu], error: %s", what, i, e->reason);
    err_free(e);
    return outer;
}

static struct err *check_count(size_t got, const struct input *in)
{
    if (got == in->n_texts)
        return NULL;
    return err_new(ERR_PARSE,
                   "The number of results [%zu] in the %s response differs from the number of "
                   "inputs [%zu]",
                   got, custom_name, in->n_texts);
}

/* --- embeddings --- */

enum result_kind custom_embedding_kind(const struct json *parser)
{
    struct str type = {0};
    json_str(json_get(parser, "embedding_type"), &type);
    if (str_eq(type, STR("byte")))
        return RESULT_BYTES;
    if (str_eq(type, STR("bit")) || str_eq(type, STR("binary")))
        return RESULT_BITS;
    return RESULT_FLOATS;
}

static struct err *embedding(const struct found *f, enum result_kind kind, struct arena *arena,
                             struct embedding *out)
{
    const struct json *v = f->node;
    if (v && !json_is(v, JSON_ARRAY))
        return err_new(ERR_PARSE,
                       "Extracted field [text_embeddings] is an invalid type, expected a list but "
                       "received [%s]",
                       found_type(f));
    if (!v || !v->flat || v->n == 0)
        return err_new(ERR_PARSE, "Unable to convert field [text_embeddings] to numbers");
    if (kind != RESULT_FLOATS)
        return embedding_bytes(v, arena, out);
    struct str bad;
    if (!json_all_finite(v, &bad))
        return err_new(ERR_PARSE,
                       "Unable to convert field [text_embeddings] to numbers: [%.*s] is out of "
                       "range for a float",
                       STR_ARG(str_sub(bad, 0, 64)));
    *out = (struct embedding){.n = v->n, .node = v};
    return NULL;
}

struct err *custom_embeddings(const struct json *parser, const struct input *in,
                              const struct http_in *answer, struct result *out)
{
    const struct json *root;
    struct found rows;
    enum result_kind kind = custom_embedding_kind(parser);
    TRY(answer_json(answer, &root));
    TRY(list_at(root, parser, "text_embeddings", answer->arena, &rows));
    TRY(check_count(rows.n, in));
    *out = (struct result){.kind = kind, .n = rows.n};
    out->embeddings = arena_array(answer->arena, rows.n, sizeof *out->embeddings);
    for (size_t i = 0; i < rows.n; i++) {
        struct err *e = embedding(&rows.items[i], kind, answer->arena, &out->embeddings[i]);
        if (e)
            return entry_err(e, "text embedding", i);
    }
    return NULL;
}

/* --- sparse embeddings: tokens and weights come by paths of their own --- */

static struct err *same_size(const struct found *tokens, const struct found *weights)
{
    if (tokens->n == weights->n)
        return NULL;
    return err_new(
        ERR_PARSE,
        "The extracted tokens list is size [%zu] but the weights list is size [%zu]. The "
        "list sizes must be equal.",
        tokens->n, weights->n);
}

/* A token may be a number: its text then. */
static bool token_text(const struct found *f, struct str *out)
{
    if (!f->node)
        return false;
    if (json_is(f->node, JSON_NUMBER))
        *out = json_raw(f->node);
    else if (!json_str(f->node, out))
        return false;
    return true;
}

static struct err *sparse_item(const struct found *token, const struct found *weight, size_t i,
                               struct sparse_item *out)
{
    if (!token_text(token, &out->token))
        return err_new(ERR_PARSE, "Failed to parse token item: [%zu] of array, found type [%s]", i,
                       found_type(token));
    if (!weight->node || !json_f32(weight->node, &out->weight))
        return err_new(ERR_PARSE,
                       "Failed to parse weight item: [%zu] of array, error: Unable to convert "
                       "field [weight_path] of type [%s] to Number",
                       i, found_type(weight));
    out->weight_text = json_raw(weight->node);
    return NULL;
}

static struct err *sparse_row(const struct found *token_row, const struct found *weight_row,
                              struct arena *arena, struct sparse *out)
{
    struct found tokens, weights;
    TRY(found_list(token_row, "token_path", arena, &tokens));
    TRY(found_list(weight_row, "weight_path", arena, &weights));
    TRY(same_size(&tokens, &weights));
    struct sparse_item *items = arena_array(arena, tokens.n, sizeof *items);
    for (size_t i = 0; i < tokens.n; i++)
        TRY(sparse_item(&tokens.items[i], &weights.items[i], i, &items[i]));
    *out = (struct sparse){.items = items, .n = sparse_unique(items, tokens.n)};
    return NULL;
}

struct err *custom_sparse(const struct json *parser, const struct input *in,
                          const struct http_in *answer, struct result *out)
{
    const struct json *root;
    struct found tokens, weights;
    TRY(answer_json(answer, &root));
    TRY(list_at(root, parser, "token_path", answer->arena, &tokens));
    TRY(list_at(root, parser, "weight_path", answer->arena, &weights));
    TRY(same_size(&tokens, &weights));
    TRY(check_count(tokens.n, in));
    *out = (struct result){.kind = RESULT_SPARSE, .n = tokens.n};
    out->sparse = arena_array(answer->arena, tokens.n, sizeof *out->sparse);
    for (size_t i = 0; i < tokens.n; i++) {
        struct err *e =
            sparse_row(&tokens.items[i], &weights.items[i], answer->arena, &out->sparse[i]);
        if (e)
            return entry_err(e, "sparse embedding", i);
    }
    return NULL;
}

/* --- rerank: up to three lists side by side --- */

/* *items_out stays NULL when the endpoint names no such path. */
static struct err *beside(const struct json *root, const struct json *parser, const char *member,
                          const char *what, size_t n_scores, struct arena *arena,
                          const struct found **items_out)
{
    struct found f;
    if (json_is_null(json_get(parser, member)))
        return NULL;
    TRY(list_at(root, parser, member, arena, &f));
    *items_out = f.items;
    if (f.n == n_scores)
        return NULL;
    return err_new(ERR_PARSE,
                   "The number of %s fields [%zu] was not the same as the number of scores [%zu]",
                   what, f.n, n_scores);
}

static struct err *not_a(const char *member, const struct found *f, const char *type)
{
    return err_new(ERR_PARSE, "Unable to convert field [%s] of type [%s] to [%s]", member,
                   found_type(f), type);
}

static struct err *rank(const struct found *score, const struct found *index,
                        const struct found *text, const struct input *in, struct ranked *out)
{
    if (!score->node || !json_f32(score->node, &out->score))
        return not_a("relevance_score", score, "Number");
    out->score_text = json_raw(score->node);
    if (index && (!index->node || !json_i64(index->node, &out->index)))
        return not_a("reranked_index", index, "Number");
    if (out->index < 0 || (size_t)out->index >= in->n_texts)
        return err_new(ERR_PARSE, "The index [%lld] in the %s response names no input",
                       (long long)out->index, custom_name);
    if (text && (!text->node || !json_str(text->node, &out->text)))
        return not_a("document_text", text, "String");
    return NULL;
}

struct err *custom_rerank(const struct json *parser, const struct input *in,
                          const struct http_in *answer, struct result *out)
{
    const struct json *root;
    struct found scores;
    const struct found *indices = NULL, *texts = NULL;
    struct arena *arena = answer->arena;
    TRY(answer_json(answer, &root));
    TRY(list_at(root, parser, "relevance_score", arena, &scores));
    TRY(beside(root, parser, "reranked_index", "index", scores.n, arena, &indices));
    TRY(beside(root, parser, "document_text", "document", scores.n, arena, &texts));
    *out = (struct result){.kind = RESULT_RERANK, .n = scores.n};
    out->ranked = arena_array(answer->arena, scores.n, sizeof *out->ranked);
    for (size_t i = 0; i < scores.n; i++) {
        out->ranked[i].index = (int64_t)i; /* without a path: the place in the list */
        TRY(rank(&scores.items[i], indices ? &indices[i] : NULL, texts ? &texts[i] : NULL, in,
                 &out->ranked[i]));
    }
    return NULL;
}

/* --- completion: one text, or a list of them --- */

struct err *custom_completion(const struct json *parser, const struct http_in *answer,
                              struct result *out)
{
    const struct json *root;
    struct found f, list;
    TRY(answer_json(answer, &root));
    TRY(find_at(root, parser, "completion_result", answer->arena, &f));
    if (json_is(f.node, JSON_STRING))
        list = (struct found){.items = &f, .n = 1};
    else if (!f.node || json_is(f.node, JSON_ARRAY))
        TRY(found_list(&f, "completion_result", answer->arena, &list));
    else
        return err_new(ERR_PARSE,
                       "Extracted field [completion_result] is an invalid type, expected a list or "
                       "a string but received [%s]",
                       found_type(&f));
    *out = (struct result){.kind = RESULT_COMPLETION, .n = list.n};
    out->texts = arena_array(answer->arena, list.n, sizeof *out->texts);
    for (size_t i = 0; i < list.n; i++) {
        if (!list.items[i].node || !json_str(list.items[i].node, &out->texts[i]))
            return not_a("completion_result", &list.items[i], "String");
    }
    return NULL;
}

/* --- refusals --- */

void custom_judge(const struct endpoint *ep, const struct http_in *in, struct verdict *out)
{
    const struct json *root;
    struct err *bad = json_parse(in->arena, in->body, &root);
    verdict_by_status(in->status, out);
    if (in->status == 429)
        out->action = VERDICT_RETRY;
    verdict_raw_message(in, out);
    out->message =
        bad ? arena_printf(in->arena,
                           "Parsing custom response body failed. Response: HTTP/1.1 %d %s",
                           in->status, http_reason(in->status))
            : arena_printf(in->arena,
                           "Received a server error response: HTTP/1.1 %d %s, body: %.*s",
                           in->status, http_reason(in->status), STR_ARG(out->message));
    err_free(bad);
}
