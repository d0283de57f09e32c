/* custom: any service that takes a POST and answers with JSON. The endpoint says how: templates for
 * URL, headers and body, and paths to what is wanted in the answer. Source: shared facts,
 * providers.md 5, inference.md 6; Elasticsearch 9.1.
 *
 * It is told apart from the others in that the settings are code of a kind. They are tried out when
 * an endpoint is made: a template that cannot be filled is refused then. */
#include "custom.h"
#include "custom_template.h"

#define TE  TASK_BIT(TASK_TEXT_EMBEDDING)
#define SE  TASK_BIT(TASK_SPARSE_EMBEDDING)
#define RR  TASK_BIT(TASK_RERANK)
#define CO  TASK_BIT(TASK_COMPLETION)
#define ALL (TE | SE | RR | CO)

/* A template can name the inputs any number of times. */
#define MAX_BODY_BYTES ((size_t)128 << 20)
#define MAX_LINE_BYTES ((size_t)64 << 10)

const char custom_name[] = "Custom";

static const struct setting rows[N_SETTINGS] = {
    [S_SECRET_PARAMETERS] = {.name = "secret_parameters",
                             .place = IN_SECRET,
                             .type = SETTING_STR_MAP,
                             .tasks = ALL,
                             .flags = SETTING_UPDATABLE},
    [S_SIMILARITY] = SETTING_ROW_SIMILARITY(TE),
    [S_DIMENSIONS] = SETTING_ROW_DIMENSIONS(TE),
    [S_MAX_INPUT_TOKENS] = SETTING_ROW_MAX_INPUT_TOKENS(TE),
    [S_URL] = {.name = "url",
               .place = IN_SERVICE,
               .type = SETTING_STR, /* a template is no URL yet */
               .tasks = ALL,
               .flags = SETTING_REQUIRED},
    [S_HEADERS] = {.name = "headers", .place = IN_SERVICE, .type = SETTING_STR_MAP, .tasks = ALL},
    [S_QUERY_PARAMETERS] = {.name = "query_parameters",
                            .place = IN_SERVICE,
                            .type = SETTING_PAIR_LIST,
                            .tasks = ALL},
    [S_REQUEST] = {.name = "request",
                   .inner = "content", /* so the API description has it, and typed clients */
                   .place = IN_SERVICE,
                   .type = SETTING_STR,
                   .tasks = ALL,
                   .flags = SETTING_REQUIRED},
    [S_RESPONSE] = {.name = "response",
                    .place = IN_SERVICE,
                    .type = SETTING_JSON,
                    .tasks = ALL,
                    .flags = SETTING_REQUIRED},
    [S_INPUT_TYPE] = {.name = "input_type",
                      .place = IN_SERVICE,
                      .type = SETTING_JSON,
                      .tasks = ALL,
                      .preset = "{\"translation\":{},\"default\":\"\"}"},
    [S_RATE_LIMIT] = SETTING_ROW_RATE_LIMIT(ALL),
    [S_BATCH_SIZE] = {.name = "batch_size",
                      .place = IN_SERVICE,
                      .type = SETTING_INT,
                      .tasks = ALL,
                      .preset = "10"},
    [S_PARAMETERS] = {.name = "parameters", .place = IN_TASK, .type = SETTING_JSON, .tasks = ALL},
};

static const struct settings_table table = {.service = "custom", .rows = rows, .n = N_SETTINGS};

const struct json *custom_parser(const struct endpoint *ep)
{
    return json_get(ep->values.v[S_RESPONSE].json, "json_parser");
}

/* --- requests: what the names in a template stand for --- */

#define MAX_BUILTINS 4

struct names {
    struct template_names names;
    struct template_builtin builtins[MAX_BUILTINS];
};

static struct str json_text(struct arena *arena, struct buf *b)
{
    struct str s = arena_dup(arena, buf_str(b));
    buf_deinit(b);
    return s;
}

static struct str quoted(struct arena *arena, struct str text)
{
    struct buf b;
    buf_init(&b, SIZE_MAX); /* the call's own texts: bounded where it was read */
    json_quote(&b, text);
    return json_text(arena, &b);
}

static struct str quoted_list(struct arena *arena, const struct str *texts, size_t n)
{
    struct buf b;
    struct json_out w;
    buf_init(&b, SIZE_MAX);
    json_out_init(&w, &b);
    json_arr(&w);
    for (size_t i = 0; i < n; i++)
        json_put_str(&w, texts[i]);
    json_end(&w);
    return json_text(arena, &b);
}

static void add_builtin(struct names *n, const char *name, struct str json)
{
    n->builtins[n->names.n_builtins++] = (struct template_builtin){name, json};
}

/* The translated input type, or the default, which may be empty. */
static struct str input_type(const struct input *in)
{
    const struct json *setting = in->values.v[S_INPUT_TYPE].json;
    const struct json *translation = json_get(setting, "translation");
    struct str s = {0};
    if (in->input_type == INPUT_UNSPECIFIED ||
        !json_str(json_get(translation, input_type_name(in->input_type)), &s))
        json_str(json_get(setting, "default"), &s);
    return s;
}

static void add_builtins(struct names *n, const struct input *in, struct arena *arena)
{
    if (in->task == TASK_COMPLETION) {
        add_builtin(n, "input", quoted(arena, in->n_texts ? in->texts[0] : STR("")));
        return;
    }
    add_builtin(n, "input", quoted_list(arena, in->texts, in->n_texts));
    if (in->task != TASK_RERANK) {
        add_builtin(n, "input_type", quoted(arena, input_type(in)));
        return;
    }
    add_builtin(n, "query", quoted(arena, in->query));
    if (in->has_top_n)
        add_builtin(n, "top_n", arena_printf(arena, "%lld", (long long)in->top_n));
    if (in->has_return_documents)
        add_builtin(n, "return_documents", in->return_documents ? STR("true") : STR("false"));
}

static struct err *find_names(const struct endpoint *ep, const struct input *in,
                              struct arena *arena, struct names *out)
{
    const struct value *call = &in->values.v[S_PARAMETERS], *stored = &ep->values.v[S_PARAMETERS];
    const struct value *secrets = &ep->values.v[S_SECRET_PARAMETERS];
    *out = (struct names){0};
    out->names.builtins = out->builtins;
    add_builtins(out, in, arena);
    out->names.maps[0] = call->set ? call->json : NULL;
    out->names.maps[1] = stored->set ? stored->json : NULL;
    if (secrets->set)
        TRY(json_parse(arena, secret_reveal(secrets->secret), &out->names.maps[2]));
    return NULL;
}

/* --- requests: URL, headers, body --- */

/* What may stand in a URL, all of it printable and none of it ending a line. */
static bool is_url(struct str url)
{
    static const char not_allowed[] = "\"<>\\^`{|}";
    size_t host = str_starts(url, STR("https://")) ? 8 : str_starts(url, STR("http://")) ? 7 : 0;
    for (size_t i = 0; i < url.n; i++) {
        unsigned char c = (unsigned char)url.p[i];
        if (c <= ' ' || c >= 0x7f || memchr(not_allowed, c, sizeof not_allowed - 1))
            return false;
    }
    return host > 0 && url.n > host && !memchr("/?#", url.p[host], 3);
}

/* Names as they are, values filled in; both escaped, after a query that the URL already has. */
static struct err *put_query(const struct endpoint *ep, const struct template_names *names,
                             struct arena *arena, struct buf *url)
{
    const struct value *query = &ep->values.v[S_QUERY_PARAMETERS];
    struct json_iter it = json_iter(query->set ? query->json : NULL);
    for (const struct json *pair; (pair = json_next(&it));) {
        struct str name = json_at(pair, 0)->text, text = json_at(pair, 1)->text;
        struct str field =
            arena_printf(arena, "query parameters: [%.*s]", STR_ARG(str_sub(name, 0, 200)));
        struct buf value;
        buf_init(&value, MAX_LINE_BYTES);
        struct err *e = template_fill_text(&value, text, field.p, names);
        buf_char(url, str_find_char(buf_str(url), '?') == SIZE_MAX ? '?' : '&');
        buf_put(url, http_escape(arena, name, false));
        buf_char(url, '=');
        buf_put(url, http_escape(arena, buf_str(&value), false));
        buf_deinit(&value);
        TRY(e);
    }
    return url->full ? err_new(ERR_TOO_LARGE, "field [url] is too large after replacement") : NULL;
}

/* Its text may hold secrets, so an error does not repeat it. */
static struct err *put_url(const struct endpoint *ep, const struct template_names *names,
                           struct http_out *out)
{
    struct buf b;
    buf_init(&b, MAX_LINE_BYTES);
    struct err *e = template_fill_url(&b, ep->values.v[S_URL].s, names);
    size_t fragment = str_find_char(buf_str(&b), '#'); /* never sent, and in the way */
    if (fragment < b.n)
        b.n = fragment;
    if (!e)
        e = put_query(ep, names, out->arena, &b);
    out->url = arena_dup(out->arena, buf_str(&b));
    buf_deinit(&b);
    if (!e && !is_url(out->url))
        e = err_new(ERR_ARGUMENT, "Failed to build URI, error: [url] is not an http or https URL "
                                  "after replacement");
    return e;
}

static struct err *put_header(struct str name, struct str text, const struct template_names *names,
                              struct http_out *out)
{
    struct buf b;
    struct str field = arena_printf(out->arena, "header.%.*s", STR_ARG(str_sub(name, 0, 200)));
    buf_init(&b, MAX_LINE_BYTES);
    struct err *e = template_fill_text(&b, text, field.p, names);
    struct str value = arena_dup(out->arena, buf_str(&b));
    buf_deinit(&b);
    return e ? e : request_header(out, name, value, "service_settings");
}

static struct err *put_headers(const struct endpoint *ep, const struct template_names *names,
                               struct http_out *out)
{
    const struct value *headers = &ep->values.v[S_HEADERS];
    struct json_iter it = json_iter(headers->set ? headers->json : NULL);
    http_header_add(&out->headers, STR("Content-Type"), STR("application/json"));
    for (const struct json *v; (v = json_next(&it));) {
        struct str text;
        if (json_str(v, &text))
            TRY(put_header(v->key, text, names, out));
    }
    return NULL;
}

static struct err *put_body(const struct endpoint *ep, const struct template_names *names,
                            struct http_out *out)
{
    struct buf b;
    buf_init(&b, MAX_BODY_BYTES);
    struct err *e = template_fill_json(&b, ep->values.v[S_REQUEST].s, "request", names);
    if (!e)
        out->body = arena_dup(out->arena, buf_str(&b));
    buf_deinit(&b);
    return e;
}

struct err *custom_build(const struct endpoint *ep, const struct input *in, struct http_out *out)
{
    struct names n;
    TRY(find_names(ep, in, out->arena, &n));
    out->method = HTTP_POST;
    TRY(put_url(ep, &n.names, out));
    TRY(put_headers(ep, &n.names, out));
    return put_body(ep, &n.names, out);
}

/* --- answers --- */

static struct err *parse(const struct endpoint *ep, const struct input *in,
                         const struct http_in *answer, struct result *out)
{
    const struct json *parser = custom_parser(ep);
    switch (ep->task) {
    case TASK_TEXT_EMBEDDING:
        return custom_embeddings(parser, in, answer, out);
    case TASK_SPARSE_EMBEDDING:
        return custom_sparse(parser, in, answer, out);
    case TASK_RERANK:
        return custom_rerank(parser, in, answer, out);
    default:
        return custom_completion(parser, answer, out);
    }
}

/* What the caller says the service takes. The default is Elasticsearch's for the chunks of
 * documents: a call of its own goes out whole there too. */
static size_t batch_of(const struct endpoint *ep)
{
    const struct value *most = &ep->values.v[S_BATCH_SIZE];
    return most->set && most->by_user ? (size_t)most->i : 0;
}

#define ROW(t)                                                                                     \
    {                                                                                              \
        .task = (t), .request_name = custom_name, .default_rpm = 10000, .batch_of = batch_of,      \
        .build = custom_build, .parse = parse                                                      \
    }

static const struct provider_task tasks[] = {ROW(TASK_TEXT_EMBEDDING), ROW(TASK_SPARSE_EMBEDDING),
                                             ROW(TASK_RERANK), ROW(TASK_COMPLETION)};

static const char *const group_by[] = {"url", "request", "secret_parameters", NULL};

const struct provider provider_custom = {
    .name = "custom",
    .label = custom_name,
    .settings = &table,
    .tasks = tasks,
    .n_tasks = sizeof tasks / sizeof tasks[0],
    .group_by = group_by,
    .similarity = "dot_product",
    .unlisted = true, /* as in Elasticsearch: its settings are no form to fill in */
    .check = custom_check,
    .judge = custom_judge,
};
