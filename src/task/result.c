/* Results as clients see them. Dense vectors from upstream pass as text: one scan that copies what
 * is already compact, no number is read. */
#include "result.h"

#define MOST_TOKENS (INT64_C(1) << 40)

static bool tokens_ok(int64_t n)
{
    return n >= 0 && n <= MOST_TOKENS;
}

void usage_check(struct usage *u)
{
    if (!tokens_ok(u->in_tokens) || !tokens_ok(u->out_tokens))
        *u = (struct usage){0};
}

void usage_add(struct usage *sum, const struct usage *more)
{
    sum->known = sum->known || more->known;
    sum->in_tokens += more->in_tokens;
    sum->out_tokens += more->out_tokens;
    usage_check(sum);
}

int64_t result_dimensions(const struct result *r)
{
    if (r->n == 0)
        return 0;
    switch (r->kind) {
    case RESULT_FLOATS:
    case RESULT_BYTES:
        return (int64_t)r->embeddings[0].n;
    case RESULT_BITS:
        return 8 * (int64_t)r->embeddings[0].n;
    case RESULT_SPARSE:
    case RESULT_RERANK:
    case RESULT_COMPLETION:
        break;
    }
    return 0;
}

/* Members of an item, without the braces around them. */
void embedding_render(struct json_out *w, const struct embedding *e)
{
    if (e->node) {
        json_put_node(w, e->node);
    } else if (e->f32) {
        json_put_floats(w, e->f32, e->n);
    } else {
        json_arr(w);
        for (size_t i = 0; e->i8 && i < e->n; i++)
            json_put_i64(w, e->i8[i]);
        json_end(w);
    }
}

static void put_embedding(struct json_out *w, const struct embedding *e)
{
    json_key(w, "embedding");
    embedding_render(w, e);
}

static void put_sparse(struct json_out *w, const struct sparse *s)
{
    json_key_bool(w, "is_truncated", s->is_truncated);
    json_key(w, "embedding");
    json_obj(w);
    for (size_t i = 0; i < s->n; i++) {
        json_key_s(w, s->items[i].token);
        if (s->items[i].weight_text.p)
            json_put_raw(w, s->items[i].weight_text);
        else
            json_put_f32(w, s->items[i].weight);
    }
    json_end(w);
}

static void put_ranked(struct json_out *w, const struct ranked *r)
{
    json_key_i64(w, "index", r->index);
    json_key(w, "relevance_score");
    if (r->score_text.p)
        json_put_raw(w, r->score_text);
    else
        json_put_f32(w, r->score);
    if (r->text.p)
        json_key_str(w, "text", r->text);
}

static const char *const member_names[] = {
    [RESULT_FLOATS] = "text_embedding",
    [RESULT_BYTES] = "text_embedding_bytes",
    [RESULT_BITS] = "text_embedding_bits",
    [RESULT_SPARSE] = "sparse_embedding",
    [RESULT_RERANK] = "rerank",
    [RESULT_COMPLETION] = "completion",
};

static void put_error(struct json_out *w, const struct err *e)
{
    json_key(w, "error");
    json_obj(w);
    json_key_cstr(w, "type", err_type(e));
    json_key_cstr(w, "reason", e->reason);
    json_key_i64(w, "status", e->status);
    json_end(w);
}

static void put_item(struct json_out *w, const struct result *r, size_t i)
{
    if (r->errors && r->errors[i]) {
        put_error(w, r->errors[i]);
        return;
    }
    switch (r->kind) {
    case RESULT_FLOATS:
    case RESULT_BYTES:
    case RESULT_BITS:
        put_embedding(w, &r->embeddings[i]);
        break;
    case RESULT_SPARSE:
        put_sparse(w, &r->sparse[i]);
        break;
    case RESULT_RERANK:
        put_ranked(w, &r->ranked[i]);
        break;
    case RESULT_COMPLETION:
        json_key_str(w, "result", r->texts[i]);
        break;
    }
}

void result_render(struct json_out *w, const struct result *r)
{
    json_obj(w);
    json_key(w, member_names[r->kind]);
    json_arr(w);
    for (size_t i = 0; i < r->n; i++) {
        json_obj(w);
        put_item(w, r, i);
        json_end(w);
    }
    json_end(w);
    json_end(w);
}

static void put_chunk(struct json_out *w, const struct result *r, size_t row,
                      const struct chunk_span *span)
{
    json_obj(w);
    json_key_i64(w, "start", (int64_t)span->start);
    json_key_i64(w, "end", (int64_t)span->end);
    put_item(w, r, row);
    json_end(w);
}

static void put_chunks(struct json_out *w, const struct result *r, size_t row, size_t n,
                       const struct chunk_span *spans)
{
    json_key(w, "chunks");
    json_arr(w);
    for (size_t end = row + n; row < end && row < r->n; row++)
        put_chunk(w, r, row, &spans[row]);
    json_end(w);
}

const struct err *result_chunks_error(const struct result *r, const struct chunk_map *map,
                                      size_t input, size_t row)
{
    for (size_t end = row + map->counts[input]; r->errors && row < end && row < r->n; row++) {
        if (r->errors[row])
            return r->errors[row];
    }
    return NULL;
}

const struct err *result_chunks_failed(const struct result *r, const struct chunk_map *map)
{
    const struct err *first = NULL;
    size_t row = 0;
    for (size_t i = 0; i < map->n_inputs; row += map->counts[i++]) {
        const struct err *e = result_chunks_error(r, map, i, row);
        if (!e)
            return NULL;
        first = first ? first : e;
    }
    return first;
}

void result_render_chunks(struct json_out *w, const struct result *r, const struct chunk_map *map)
{
    size_t row = 0;
    json_obj(w);
    json_key(w, member_names[r->kind]);
    json_arr(w);
    for (size_t i = 0; i < map->n_inputs; row += map->counts[i++]) {
        const struct err *e = result_chunks_error(r, map, i, row);
        json_obj(w);
        if (e)
            put_error(w, e);
        else
            put_chunks(w, r, row, map->counts[i], map->spans);
        json_end(w);
    }
    json_end(w);
    json_end(w);
}

/* --- streams --- */

static void put_if_set(struct json_out *w, const char *key, struct str s)
{
    if (s.p)
        json_key_str(w, key, s);
}

static void put_tool_call(struct json_out *w, const struct chat_delta_tool_call *t,
                          bool no_null_type)
{
    json_obj(w);
    json_key_i64(w, "index", t->index);
    put_if_set(w, "id", t->id);
    if (t->arguments.p || t->name.p) {
        json_key(w, "function");
        json_obj(w);
        put_if_set(w, "arguments", t->arguments);
        put_if_set(w, "name", t->name);
        json_end(w);
    }
    if (t->type.p) {
        json_key_str(w, "type", t->type);
    } else if (!no_null_type) {
        json_key(w, "type");
        json_put_null(w);
    }
    json_end(w);
}

static void put_choice(struct json_out *w, const struct chat_choice *c, bool no_null_type)
{
    json_obj(w);
    json_key(w, "delta");
    json_obj(w);
    put_if_set(w, "content", c->content);
    put_if_set(w, "refusal", c->refusal);
    put_if_set(w, "role", c->role);
    if (c->n_tool_calls > 0) {
        json_key(w, "tool_calls");
        json_arr(w);
        for (size_t i = 0; i < c->n_tool_calls; i++)
            put_tool_call(w, &c->tool_calls[i], no_null_type);
        json_end(w);
    }
    json_end(w);
    put_if_set(w, "finish_reason", c->finish_reason);
    json_key_i64(w, "index", c->index);
    json_end(w);
}

static void put_detail(struct json_out *w, bool has, const char *key, const char *member,
                       int64_t tokens)
{
    if (!has)
        return;
    json_key(w, key);
    json_obj(w);
    json_key_i64(w, member, tokens);
    json_end(w);
}

static void put_usage(struct json_out *w, const struct chat_chunk *c)
{
    json_key(w, "usage");
    json_obj(w);
    json_key_i64(w, "completion_tokens", c->completion_tokens);
    json_key_i64(w, "prompt_tokens", c->prompt_tokens);
    json_key_i64(w, "total_tokens", c->total_tokens);
    put_detail(w, c->has_cached_tokens, "prompt_tokens_details", "cached_tokens", c->cached_tokens);
    put_detail(w, c->has_reasoning_tokens, "completion_tokens_details", "reasoning_tokens",
               c->reasoning_tokens);
    json_end(w);
}

static void put_chat_chunk(struct json_out *w, const struct chat_chunk *c)
{
    json_obj(w);
    put_if_set(w, "id", c->id);
    if (c->has_choices) {
        json_key(w, "choices");
        json_arr(w);
        for (size_t i = 0; i < c->n_choices; i++)
            put_choice(w, &c->choices[i], c->no_null_type);
        json_end(w);
    }
    if (c->created)
        json_key_i64(w, "created", c->created);
    put_if_set(w, "model", c->model);
    put_if_set(w, "object", c->object);
    if (c->has_usage)
        put_usage(w, c);
    json_end(w);
}

void delta_render(struct json_out *w, const struct delta *d)
{
    if (d->chunk) {
        put_chat_chunk(w, d->chunk);
        return;
    }
    json_obj(w);
    json_key(w, "completion");
    json_arr(w);
    for (size_t i = 0; i < d->n_texts; i++) {
        json_obj(w);
        json_key_str(w, "delta", d->texts[i]);
        json_end(w);
    }
    json_end(w);
    json_end(w);
}
