#include "shape.h"

#include <math.h>
#include <stdlib.h>

#include "base64.h"
#include "bug.h"
#include "map.h"

/* The largest body we send; requests themselves are bounded far below by http.max_content_length.
 */
#define MAX_BODY_BYTES ((size_t)1 << 30)

/* --- requests --- */

void body_begin(struct body *b)
{
    buf_init(&b->buf, MAX_BODY_BYTES);
    json_out_init(&b->w, &b->buf);
    json_obj(&b->w);
}

struct err *body_finish(struct body *b, struct http_out *out)
{
    json_end(&b->w);
    bool full = b->buf.full;
    if (!full)
        out->body = arena_dup(out->arena, buf_str(&b->buf));
    buf_deinit(&b->buf);
    return full ? err_new(ERR_TOO_LARGE, "the request to the service is too large") : NULL;
}

struct err *body_finish_or(struct body *b, struct err *e, struct http_out *out)
{
    if (!e)
        return body_finish(b, out);
    buf_deinit(&b->buf);
    return e;
}

void request_json(struct http_out *out, struct str url, const struct value *api_key)
{
    out->method = HTTP_POST;
    out->url = url;
    http_header_add(&out->headers, STR("Content-Type"), STR("application/json"));
    if (api_key && api_key->set)
        http_header_add(&out->headers, STR("Authorization"),
                        arena_join(out->arena, STR("Bearer "), secret_reveal(api_key->secret)));
}

void json_key_texts(struct json_out *w, const char *key, const struct str *texts, size_t n)
{
    json_key(w, key);
    json_arr(w);
    for (size_t i = 0; i < n; i++)
        json_put_str(w, texts[i]);
    json_end(w);
}

/* A header name by RFC 9110 5.1, and not one of those that frame the message: a caller who may only
 * use an endpoint must not be able to smuggle a second request through it. */
static bool header_may_be_set(struct str name)
{
    static const struct str framing[] = {STR_INIT("host"), STR_INIT("content-length"),
                                         STR_INIT("transfer-encoding"), STR_INIT("connection"),
                                         STR_INIT("expect")};
    static const char others[] = "!#$%&'*+-.^_`|~";
    for (size_t i = 0; i < name.n; i++) {
        char c = name.p[i];
        bool alphanumeric =
            (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!alphanumeric && !memchr(others, c, sizeof others - 1))
            return false;
    }
    for (size_t i = 0; i < sizeof framing / sizeof framing[0]; i++) {
        if (str_eq_nocase(name, framing[i]))
            return false;
    }
    return name.n > 0;
}

struct err *request_header(struct http_out *out, struct str name, struct str value,
                           const char *scope)
{
    if (!header_may_be_set(name))
        return err_new(ERR_ARGUMENT, "[%s] the header [%.*s] of [headers] must not be set", scope,
                       STR_ARG(str_sub(name, 0, 200)));
    size_t i = 0;
    while (i < out->headers.n && !str_eq_nocase(out->headers.h[i].name, name))
        i++;
    if (i < out->headers.n)
        out->headers.h[i].value = value;
    else if (out->headers.n < HTTP_MAX_HEADERS)
        http_header_add(&out->headers, name, value);
    else
        return err_new(ERR_ARGUMENT, "[%s] [headers] has too many members", scope);
    return NULL;
}

struct err *request_headers(const struct value *headers, struct http_out *out)
{
    if (!headers || !headers->set)
        return NULL;
    struct json_iter it = json_iter(headers->json);
    for (const struct json *v; (v = json_next(&it));) {
        struct str value;
        if (json_str(v, &value))
            TRY(request_header(out, v->key, value, "task_settings"));
    }
    return NULL;
}

/* --- settings of a call --- */

bool call_top_n(const struct input *in, int64_t *out)
{
    const struct value *v = settings_get(&in->values, "top_n");
    if (in->has_top_n)
        *out = in->top_n;
    else if (v && v->set)
        *out = v->i;
    else
        return false;
    return true;
}

enum input_type call_input_type(const struct input *in)
{
    enum input_type type = in->input_type;
    const struct value *stored = settings_get(&in->values, "input_type");
    if (type == INPUT_UNSPECIFIED && stored && stored->set)
        input_type_parse(stored->s, &type);
    return type;
}

struct err *input_type_known(enum input_type type, const char *label)
{
    if (type != INPUT_CLASSIFICATION && type != INPUT_CLUSTERING)
        return NULL;
    struct err_list list = {0};
    err_list_add(&list, "Input type [%s] is not supported for [%s]", input_type_name(type), label);
    return err_list_end(&list, ERR_VALIDATION);
}

bool call_return_documents(const struct input *in)
{
    if (in->has_return_documents)
        return in->return_documents;
    const struct value *v = settings_get(&in->values, "return_documents");
    return v && v->set && v->b;
}

/* --- answers --- */

struct err *missing_field(const char *field, const char *request_name)
{
    return err_new(ERR_PARSE, "Failed to find required field [%s] in %s response", field,
                   request_name);
}

struct err *answer_json(const struct http_in *in, const struct json **out)
{
    struct str mark = STR("\xEF\xBB\xBF"),
               body = in->body; /* which some servers cannot leave out */
    if (str_starts(body, mark))
        body = str_sub(body, mark.n, body.n);
    return json_parse(in->arena, body, out);
}

static const struct json *row_numbers(const struct json *row, const char *member)
{
    return member ? json_get(row, member) : row;
}

static struct err *wrong_count(size_t got, size_t wanted, const char *request_name)
{
    return err_new(ERR_PARSE,
                   "The number of results [%zu] in the %s response differs from the number of "
                   "inputs [%zu]",
                   got, request_name, wanted);
}

/* Where row number i belongs: by "index" when all have a valid one, else as sent. */
static size_t *row_order(const struct json *rows, struct arena *arena)
{
    size_t n = rows->n;
    size_t *at = arena_array(arena, n, sizeof *at);
    bool *taken = arena_array(arena, n, sizeof *taken);
    bool ok = true;
    size_t i = 0;
    struct json_iter it = json_iter(rows);
    for (const struct json *row; (row = json_next(&it)); i++) {
        int64_t index;
        ok = ok && json_i64(json_get(row, "index"), &index) && index >= 0 && (size_t)index < n &&
             !taken[index];
        if (!ok)
            break;
        taken[index] = true;
        at[i] = (size_t)index;
    }
    for (i = 0; !ok && i < n; i++)
        at[i] = i;
    return at;
}

struct err *embedding_floats(const struct json *numbers, const char *field,
                             const char *request_name, struct embedding *out)
{
    struct str bad;
    if (!json_is(numbers, JSON_ARRAY) || !numbers->flat || numbers->n == 0)
        return missing_field(field, request_name);
    if (!json_all_finite(numbers, &bad))
        return err_new(ERR_PARSE, "Value [%.*s] in the %s response is out of range for a float",
                       STR_ARG(str_sub(bad, 0, 64)), request_name);
    *out = (struct embedding){.n = numbers->n, .node = numbers};
    return NULL;
}

/* Little-endian float32, as OpenAI writes them when asked for base64; some servers do so unasked.
 */
static struct err *embedding_base64(struct str text, const char *field, const char *request_name,
                                    struct arena *arena, struct embedding *out)
{
    size_t n;
    unsigned char *bytes = arena_array(arena, base64_bytes(text.n), 1);
    if (!base64_decode(text, bytes, &n) || n == 0 || n % 4 != 0)
        return missing_field(field, request_name);
    float *numbers = arena_array(arena, n / 4, sizeof *numbers);
    for (size_t i = 0; i < n / 4; i++) {
        const unsigned char *b = &bytes[4 * i];
        uint32_t bits = b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
        memcpy(&numbers[i], &bits, sizeof bits);
        if (!isfinite(numbers[i]))
            return err_new(ERR_PARSE, "A value in the %s response is out of range for a float",
                           request_name);
    }
    *out = (struct embedding){.n = n / 4, .f32 = numbers};
    return NULL;
}

static struct err *embedding_any(const struct json *row, const char *member,
                                 const char *request_name, struct arena *arena,
                                 struct embedding *out)
{
    const struct json *numbers = row_numbers(row, member);
    const char *field = member ? member : "embedding";
    struct str text;
    if (json_str(numbers, &text))
        return embedding_base64(text, field, request_name, arena, out);
    return embedding_floats(numbers, field, request_name, out);
}

struct err *floats_from(const struct json *rows, const char *member, const struct input *in,
                        const char *request_name, struct arena *arena, struct result *out)
{
    if (rows->n != in->n_texts)
        return wrong_count(rows->n, in->n_texts, request_name);
    *out = (struct result){.kind = RESULT_FLOATS, .n = rows->n};
    out->embeddings = arena_array(arena, rows->n, sizeof *out->embeddings);
    size_t *at = member ? row_order(rows, arena) : NULL;
    size_t i = 0;
    struct json_iter it = json_iter(rows);
    for (const struct json *row; (row = json_next(&it)); i++) {
        TRY(embedding_any(row, member, request_name, arena, &out->embeddings[at ? at[i] : i]));
    }
    return NULL;
}

struct err *embedding_bytes(const struct json *row, struct arena *arena, struct embedding *out)
{
    int8_t *bytes = arena_array(arena, row->n, 1);
    size_t i = 0;
    struct json_iter it = json_iter(row);
    for (const struct json *v; (v = json_next(&it)); i++) {
        int64_t b;
        if (!json_i64(v, &b) || b < -128 || b > 127)
            return err_new(ERR_PARSE, "Value [%.*s] is out of range for a byte",
                           STR_ARG(json_raw(v)));
        bytes[i] = (int8_t)b;
    }
    *out = (struct embedding){.n = row->n, .i8 = bytes};
    return NULL;
}

struct err *bytes_at(const struct json *rows, const char *member, enum result_kind kind,
                     const struct input *in, const char *request_name, struct arena *arena,
                     struct result *out)
{
    if (rows->n != in->n_texts)
        return wrong_count(rows->n, in->n_texts, request_name);
    *out = (struct result){.kind = kind, .n = rows->n};
    out->embeddings = arena_array(arena, rows->n, sizeof *out->embeddings);
    size_t *at = member ? row_order(rows, arena) : NULL;
    size_t i = 0;
    struct json_iter it = json_iter(rows);
    for (const struct json *row; (row = json_next(&it)); i++) {
        const struct json *numbers = row_numbers(row, member);
        if (!json_is(numbers, JSON_ARRAY) || !numbers->flat || numbers->n == 0)
            return missing_field(member ? member : "embeddings", request_name);
        TRY(embedding_bytes(numbers, arena, &out->embeddings[at ? at[i] : i]));
    }
    return NULL;
}

struct err *bytes_from(const struct json *rows, enum result_kind kind, const struct input *in,
                       const char *request_name, struct arena *arena, struct result *out)
{
    return bytes_at(rows, NULL, kind, in, request_name, arena, out);
}

size_t sparse_unique(struct sparse_item *items, size_t n)
{
    struct map *seen = map_new();
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        if (map_get(seen, items[i].token))
            continue;
        map_put(seen, items[i].token, items);
        items[kept++] = items[i];
    }
    map_free(seen);
    return kept;
}

static struct err *ranked_row(const struct json *row, const char *const *score_names,
                              const struct input *in, const char *request_name, struct ranked *out)
{
    const struct json *score = NULL;
    for (const char *const *name = score_names; !score && *name; name++)
        score = json_get(row, *name);
    if (!json_i64(json_get(row, "index"), &out->index))
        return missing_field("index", request_name);
    if (!json_f32(score, &out->score))
        return missing_field(score_names[0], request_name);
    if (out->index < 0 || (size_t)out->index >= in->n_texts)
        return err_new(ERR_PARSE, "The index [%lld] in the %s response names no input",
                       (long long)out->index, request_name);
    out->score_text = json_raw(score);
    if (call_return_documents(in)) {
        if (!json_str(json_path(row, "document", "text", NULL), &out->text) &&
            !json_str(json_path(row, "input", "text", NULL), &out->text) && /* IBM */
            !json_str(json_get(row, "text"), &out->text))
            out->text = in->texts[out->index];
    }
    return NULL;
}

struct err *ranked_from(const struct json *rows, const char *const *score_names,
                        const struct input *in, const char *request_name, struct arena *arena,
                        struct result *out)
{
    *out = (struct result){.kind = RESULT_RERANK, .n = rows->n};
    out->ranked = arena_array(arena, rows->n, sizeof *out->ranked);
    size_t i = 0;
    struct json_iter it = json_iter(rows);
    for (const struct json *row; (row = json_next(&it)); i++)
        TRY(ranked_row(row, score_names, in, request_name, &out->ranked[i]));
    return NULL;
}

struct err *results_ranked(const struct http_in *answer, const struct input *in,
                           const char *request_name, struct result *out)
{
    static const char *const scores[] = {"relevance_score", NULL};
    const struct json *root;
    TRY(answer_json(answer, &root));
    const struct json *results = json_get(root, "results");
    if (!json_is(results, JSON_ARRAY))
        return missing_field("results", request_name);
    return ranked_from(results, scores, in, request_name, answer->arena, out);
}

struct err *completion_from(const struct json *text, const char *field, const char *request_name,
                            struct arena *arena, struct result *out)
{
    *out = (struct result){.kind = RESULT_COMPLETION, .n = 1};
    out->texts = arena_array(arena, 1, sizeof *out->texts);
    return json_str(text, &out->texts[0]) ? NULL : missing_field(field, request_name);
}

void delta_text(struct sink *sink, struct str text)
{
    if (text.n == 0)
        return;
    struct delta delta = {.texts = &text, .n_texts = 1};
    sink->delta(sink, &delta);
}

/* --- refusals --- */

void verdict_set(struct verdict *v, enum verdict_action action, const char *prefix)
{
    v->action = action;
    v->prefix = str_c(prefix);
}

void verdict_by_status(int status, struct verdict *out)
{
    if (status >= 500)
        verdict_set(out, VERDICT_FAIL, "Received a server error status code");
    else if (status == 429)
        verdict_set(out, VERDICT_FAIL, "Received a rate limit status code");
    else if (status == 401)
        verdict_set(out, VERDICT_FAIL, "Received an authentication error status code");
    else if (status >= 300 && status < 400)
        verdict_set(out, VERDICT_FAIL, "Unhandled redirection");
    else
        verdict_set(out, VERDICT_FAIL, "Received an unsuccessful status code");
}

void verdict_message(const struct http_in *in, struct verdict *out, ...)
{
    const struct json *node;
    struct err *e = json_parse(in->arena, in->body, &node);
    if (e) { /* no JSON, no message */
        err_free(e);
        return;
    }
    va_list ap;
    va_start(ap, out);
    for (const char *key; node && (key = va_arg(ap, const char *));)
        node = json_get(node, key);
    va_end(ap);
    json_str(node, &out->message);
}

void judge_by_detail(const struct endpoint *ep, const struct http_in *in, struct verdict *out)
{
    verdict_by_status(in->status, out);
    verdict_message(in, out, "detail", NULL);
    if (in->status == 500 || in->status == 429)
        out->action = VERDICT_RETRY;
    else if (in->status == 400 || in->status == 422)
        verdict_set(out, VERDICT_FAIL, "Received an input validation error response");
    else if (in->status == 402)
        verdict_set(out, VERDICT_FAIL, "Payment required");
}

/* Enough to see what is wrong, and not a whole page of HTML. */
#define MAX_RAW_MESSAGE 2000

void verdict_raw_message(const struct http_in *in, struct verdict *out)
{
    struct str text = str_trim(in->body);
    size_t n = text.n > MAX_RAW_MESSAGE ? MAX_RAW_MESSAGE : text.n;
    while (n < text.n && n > 0 && ((unsigned char)text.p[n] & 0xC0) == 0x80) /* whole characters */
        n--;
    out->message = str_sub(text, 0, n);
}

struct err *stream_error(const struct stream *s, struct str message)
{
    return err_status(
        500, "Received an error response for request from inference entity id [%.*s]%s%.*s%s",
        STR_ARG(s->endpoint->id), message.n ? ". Error message: [" : "", STR_ARG(message),
        message.n ? "]" : "");
}
