/* alibabacloud-ai-search: embeddings, sparse embeddings, rerank and completion of AlibabaCloud AI
 * Search. Source: shared facts, providers.md 3.1 (API v3 as of January 2025), inference.md 5.1. */
#include "shape.h"

#define TE  TASK_BIT(TASK_TEXT_EMBEDDING)
#define SE  TASK_BIT(TASK_SPARSE_EMBEDDING)
#define RR  TASK_BIT(TASK_RERANK)
#define CO  TASK_BIT(TASK_COMPLETION)
#define ALL (TE | SE | RR | CO)

static const char label[] = "AlibabaCloud AI Search";
static const char embed_name[] = "AlibabaCloud Search text embeddings";
static const char sparse_name[] = "AlibabaCloud Search sparse embeddings";
static const char rerank_name[] = "AlibabaCloud Search rerank";
static const char completion_name[] = "AlibabaCloud Search completion";

enum {
    S_API_KEY,
    S_SERVICE_ID,
    S_HOST,
    S_WORKSPACE,
    S_HTTP_SCHEMA,
    S_RATE_LIMIT,
    S_SIMILARITY,
    S_DIMENSIONS,
    S_MAX_INPUT_TOKENS,
    S_INPUT_TYPE,
    S_RETURN_TOKEN,
    S_PARAMETERS,
    N_SETTINGS
};

static const char *const input_types[] = {"ingest", "search", NULL};

static const struct setting rows[N_SETTINGS] = {
    [S_API_KEY] = SETTING_API_KEY(ALL),
    [S_SERVICE_ID] = {.name = "service_id",
                      .place = IN_SERVICE,
                      .type = SETTING_STR,
                      .tasks = ALL,
                      .flags = SETTING_REQUIRED,
                      .label = "Service ID",
                      .description = "The name of the model service."},
    [S_HOST] = {.name = "host",
                .place = IN_SERVICE,
                .type = SETTING_STR,
                .tasks = ALL,
                .flags = SETTING_REQUIRED,
                .label = "Host",
                .description = "The host of the service, as its console names it."},
    [S_WORKSPACE] = {.name = "workspace",
                     .place = IN_SERVICE,
                     .type = SETTING_STR,
                     .tasks = ALL,
                     .flags = SETTING_REQUIRED,
                     .label = "Workspace",
                     .description = "The workspace that the model service belongs to."},
    [S_HTTP_SCHEMA] = {.name = "http_schema",
                       .place = IN_SERVICE,
                       .type = SETTING_STR,
                       .tasks = ALL,
                       .label = "HTTP Schema",
                       .description = "https, unless http is asked for."},
    [S_RATE_LIMIT] = SETTING_ROW_RATE_LIMIT(ALL),
    [S_SIMILARITY] = SETTING_ROW_SIMILARITY(TE),
    [S_DIMENSIONS] = SETTING_ROW_DIMENSIONS(TE),
    [S_MAX_INPUT_TOKENS] = SETTING_ROW_MAX_INPUT_TOKENS(TE),
    [S_INPUT_TYPE] = {.name = "input_type",
                      .place = IN_TASK,
                      .type = SETTING_ENUM,
                      .tasks = TE | SE,
                      .flags = SETTING_UNLISTED,
                      .choices = input_types,
                      .label = "Input Type",
                      .description = "The type of input passed to the model."},
    [S_RETURN_TOKEN] = {.name = "return_token",
                        .place = IN_TASK,
                        .type = SETTING_BOOL,
                        .tasks = SE,
                        .flags = SETTING_UNLISTED,
                        .label = "Return Token",
                        .description = "Whether to return the tokens as words, not as numbers."},
    [S_PARAMETERS] = {.name = "parameters",
                      .place = IN_TASK,
                      .type = SETTING_JSON,
                      .tasks = CO,
                      .flags = SETTING_UNLISTED,
                      .label = "Parameters",
                      .description = "Passed on to the model as they are."},
};

static const struct settings_table table = {
    .service = "alibabacloud-ai-search", .rows = rows, .n = N_SETTINGS};

/* Whatever similarity was asked for, the service's embeddings are made for one. */
static struct err *check(struct endpoint *ep)
{
    struct value *v = ep->values.v;
    if (v[S_SIMILARITY].set)
        v[S_SIMILARITY].s = STR("dot_product");
    const struct value *schema = &v[S_HTTP_SCHEMA];
    if (!schema->set || str_eq(schema->s, STR("https")) || str_eq(schema->s, STR("http")))
        return NULL;
    struct err_list list = {0};
    err_list_add(&list, "Invalid value for [http_schema]. Must be one of [https, http]");
    return err_list_end(&list, ERR_VALIDATION);
}

/* A name or an address with or without a port; what could end the host and begin a path, a query or
 * another host is refused. */
static bool is_host(struct str host)
{
    static const char marks[] = ".-_:[]";
    for (size_t i = 0; i < host.n; i++) {
        char c = host.p[i];
        bool alphanumeric =
            (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!alphanumeric && !memchr(marks, c, sizeof marks - 1))
            return false;
    }
    return host.n > 0;
}

static struct err *request(const struct input *in, const char *kind, struct http_out *out)
{
    const struct value *v = in->values.v;
    struct str host = v[S_HOST].s;
    struct str workspace = http_escape(out->arena, v[S_WORKSPACE].s, false);
    struct str service = http_escape(out->arena, v[S_SERVICE_ID].s, false);
    if (!is_host(host))
        return err_new(ERR_ARGUMENT, "Failed to build the request URL, [host] is not a host [%.*s]",
                       STR_ARG(str_sub(host, 0, 200)));
    request_json(out,
                 arena_printf(out->arena, "%s://%.*s/v3/openapi/workspaces/%.*s/%s/%.*s",
                              str_eq(v[S_HTTP_SCHEMA].s, STR("http")) ? "http" : "https",
                              STR_ARG(host), STR_ARG(workspace), kind, STR_ARG(service)),
                 &v[S_API_KEY]);
    return NULL;
}

static struct err *result_list(const struct http_in *answer, const char *field,
                               const char *request_name, const struct json **root_out,
                               const struct json **out)
{
    TRY(answer_json(answer, root_out));
    *out = json_path(*root_out, "result", field, NULL);
    return json_is(*out, JSON_ARRAY) ? NULL : missing_field(field, request_name);
}

/* --- embeddings, dense and sparse --- */

static struct err *embeddings_build(const struct input *in, const char *kind, struct http_out *out)
{
    const struct value *token = &in->values.v[S_RETURN_TOKEN];
    enum input_type type = call_input_type(in);
    TRY(input_type_known(type, label));
    TRY(request(in, kind, out));
    struct body b;
    body_begin(&b);
    json_key_texts(&b.w, "input", in->texts, in->n_texts);
    if (type != INPUT_UNSPECIFIED)
        json_key_cstr(&b.w, "input_type", type == INPUT_INGEST ? "document" : "query");
    if (token->set)
        json_key_bool(&b.w, "return_token", token->b);
    return body_finish(&b, out);
}

static struct err *embed_build(const struct endpoint *ep, const struct input *in,
                               struct http_out *out)
{
    return embeddings_build(in, "text-embedding", out);
}

static struct err *sparse_build(const struct endpoint *ep, const struct input *in,
                                struct http_out *out)
{
    return embeddings_build(in, "text-sparse-embedding", out);
}

static void read_token_count(const struct json *root, struct usage *out)
{
    out->known = json_i64(json_path(root, "usage", "token_count", NULL), &out->in_tokens);
}

static struct err *embed_parse(const struct endpoint *ep, const struct input *in,
                               const struct http_in *answer, struct result *out)
{
    const struct json *root, *list;
    TRY(result_list(answer, "embeddings", embed_name, &root, &list));
    TRY(floats_from(list, "embedding", in, embed_name, answer->arena, out));
    read_token_count(root, &out->usage);
    return NULL;
}

/* The word, or the number as text; what Elasticsearch could not index is not a token. */
static struct str token_of(const struct json *v)
{
    const struct json *token = json_get(v, "token");
    if (!token)
        token = json_get(v, "token_id");
    if (!token)
        token = json_get(v, "tokenId");
    struct str s = {0};
    if (json_is(token, JSON_NUMBER))
        s = json_raw(token);
    else
        json_str(token, &s);
    return str_find_char(s, '.') == SIZE_MAX ? s : (struct str){0};
}

static struct err *sparse_row(const struct json *list, struct arena *arena, struct sparse *out)
{
    if (!json_is(list, JSON_ARRAY))
        return missing_field("embedding", sparse_name);
    struct sparse_item *items = arena_array(arena, list->n, sizeof *items);
    size_t n = 0;
    struct json_iter it = json_iter(list);
    for (const struct json *v; (v = json_next(&it));) {
        const struct json *weight = json_get(v, "weight");
        struct str token = token_of(v);
        float f;
        if (!json_f32(weight, &f))
            return missing_field("weight", sparse_name);
        if (token.n && f > 0)
            items[n++] =
                (struct sparse_item){.token = token, .weight_text = json_raw(weight), .weight = f};
    }
    *out = (struct sparse){.items = items, .n = sparse_unique(items, n)};
    return NULL;
}

static struct err *sparse_parse(const struct endpoint *ep, const struct input *in,
                                const struct http_in *answer, struct result *out)
{
    const struct json *root, *list;
    TRY(result_list(answer, "sparse_embeddings", sparse_name, &root, &list));
    if (list->n != in->n_texts)
        return err_new(ERR_PARSE,
                       "The number of results [%u] in the %s response differs from the number of "
                       "inputs [%zu]",
                       (unsigned)list->n, sparse_name, in->n_texts);
    *out = (struct result){.kind = RESULT_SPARSE, .n = list->n};
    out->sparse = arena_array(answer->arena, list->n, sizeof *out->sparse);
    size_t i = 0;
    struct json_iter it = json_iter(list);
    for (const struct json *row; (row = json_next(&it)); i++)
        TRY(sparse_row(json_get(row, "embedding"), answer->arena, &out->sparse[i]));
    read_token_count(root, &out->usage);
    return NULL;
}

/* --- rerank --- */

static struct err *rerank_build(const struct endpoint *ep, const struct input *in,
                                struct http_out *out)
{
    TRY(request(in, "ranker", out));
    struct body b;
    body_begin(&b);
    json_key_str(&b.w, "query", in->query);
    json_key_texts(&b.w, "docs", in->texts, in->n_texts);
    return body_finish(&b, out);
}

static struct err *rerank_parse(const struct endpoint *ep, const struct input *in,
                                const struct http_in *answer, struct result *out)
{
    static const char *const scores[] = {"score", NULL};
    const struct json *root, *list;
    TRY(result_list(answer, "scores", rerank_name, &root, &list));
    return ranked_from(list, scores, in, rerank_name, answer->arena, out);
}

/* --- completion: the last input is the question, the others are what was said before --- */

static struct err *completion_build(const struct endpoint *ep, const struct input *in,
                                    struct http_out *out)
{
    const struct value *parameters = &in->values.v[S_PARAMETERS];
    if (in->n_texts % 2 == 0)
        return err_status(400, "Alibaba Completion's inputs must be an odd number. The last input "
                               "is the current query, all preceding inputs are the completion "
                               "history as pairs of user input and the assistant's response.");
    TRY(request(in, "text-generation", out));
    struct body b;
    body_begin(&b);
    json_key(&b.w, "messages");
    json_arr(&b.w);
    for (size_t i = 0; i < in->n_texts; i++) {
        json_obj(&b.w);
        json_key_str(&b.w, "content", in->texts[i]);
        json_key_cstr(&b.w, "role", i % 2 ? "assistant" : "user");
        json_end(&b.w);
    }
    json_end(&b.w);
    if (parameters->set)
        json_key_raw(&b.w, "parameters", json_raw(parameters->json));
    return body_finish(&b, out);
}

static struct err *completion_parse(const struct endpoint *ep, const struct input *in,
                                    const struct http_in *answer, struct result *out)
{
    const struct json *root;
    TRY(answer_json(answer, &root));
    const struct json *usage = json_get(root, "usage");
    TRY(completion_from(json_path(root, "result", "text", NULL), "text", completion_name,
                        answer->arena, out));
    out->usage.known = json_i64(json_get(usage, "input_tokens"), &out->usage.in_tokens);
    if (json_i64(json_get(usage, "output_tokens"), &out->usage.out_tokens))
        out->usage.known = true;
    return NULL;
}

/* --- refusals --- */

static void judge(const struct endpoint *ep, const struct http_in *in, struct verdict *out)
{
    verdict_by_status(in->status, out);
    verdict_message(in, out, "message", NULL);
    if (in->status == 429)
        out->action = VERDICT_RETRY;
}

static const struct provider_task tasks[] = {
    {.task = TASK_TEXT_EMBEDDING,
     .request_name = embed_name,
     .default_rpm = 1000,
     .batch = 32,
     .build = embed_build,
     .parse = embed_parse},
    {.task = TASK_SPARSE_EMBEDDING,
     .request_name = sparse_name,
     .default_rpm = 1000,
     .batch = 32,
     .build = sparse_build,
     .parse = sparse_parse},
    {.task = TASK_RERANK,
     .request_name = rerank_name,
     .default_rpm = 1000,
     .build = rerank_build,
     .parse = rerank_parse},
    {.task = TASK_COMPLETION,
     .request_name = completion_name,
     .default_rpm = 1000,
     .build = completion_build,
     .parse = completion_parse},
};

static const char *const group_by[] = {"api_key", NULL};

const struct provider provider_alibabacloud_ai_search = {
    .name = "alibabacloud-ai-search",
    .label = label,
    .settings = &table,
    .tasks = tasks,
    .n_tasks = sizeof tasks / sizeof tasks[0],
    .group_by = group_by,
    .similarity = "dot_product",
    .check = check,
    .judge = judge,
};
