/* Whatever a service answers: parsed, judged, or played as a stream, for the provider and task that
 * the first byte picks. The second byte picks what the rest is: a 2xx answer, a refusal with one of
 * the statuses that matter, or a stream. What comes out is rendered, so that every view is read. */
#include <stdlib.h>

#include "input.h"
#include "provider.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

#define LIMIT ((size_t)64 << 20)

/* Has every required setting of every service; the wrong ones are dropped by store parsing. Before
 * it come provider and api, which choose among readers of answers. */
static const char stored[] =
    "\"model_id\":\"m\",\"url\":\"http://h/x\",\"num_threads\":1,"
    "\"num_allocations\":1,\"model\":\"m\",\"resource_name\":\"r\",\"deployment_id\":\"d\","
    "\"target\":\"http://h/x\",\"region\":\"r\",\"endpoint_name\":\"e\","
    "\"endpoint_type\":\"token\",\"project_id\":\"p\",\"location\":\"l\","
    "\"service_id\":\"s\",\"host\":\"h\",\"workspace\":\"w\",\"request\":\"{}\","
    "\"response\":{\"json_parser\":{\"text_embeddings\":\"$.data[*].embedding\","
    "\"token_path\":\"$.a[*].b[*].t\",\"weight_path\":\"$.a[*].b[*].w\","
    "\"relevance_score\":\"$.data[*].s\",\"reranked_index\":\"$.data[*].index\","
    "\"document_text\":\"$.data[*].t\",\"completion_result\":\"$.text[*]\"}}},"
    "\"task_settings\":{\"return_documents\":true,\"top_n\":2}}";
static const char secrets[] = "{\"api_key\":\"k\",\"access_key\":\"a\",\"secret_key\":\"s\","
                              "\"service_account_json\":\"{}\"}";

/* Services disagree on what their setting `provider` may be. */
static const char *maker(const struct provider *p, bool other)
{
    if (strcmp(p->name, "googlevertexai") == 0)
        return other ? "anthropic" : "meta";
    return other && strcmp(p->name, "amazonbedrock") == 0 ? "amazontitan" : "cohere";
}

static struct endpoint *endpoint_of(const struct provider *p, const struct provider_task *t,
                                    bool other)
{
    struct buf public_json;
    struct endpoint *ep;
    buf_init(&public_json, LIMIT);
    buf_printf(&public_json,
               "{\"service\":\"%s\",\"task_type\":\"%s\",\"service_settings\":{\"provider\":\"%s\","
               "\"api\":\"%s\",\"api_version\":\"%s\",%s",
               p->name, task_name(t->task), maker(p, other), other ? "elastic" : "openai",
               other ? "V1" : "V2", stored);
    if (endpoint_from_store(p->settings, t->default_rpm, STR("x"), buf_str(&public_json),
                            STR(secrets), &ep))
        abort();
    buf_deinit(&public_json);
    ep->provider = p;
    return ep;
}

static void whole(const struct provider_task *t, struct endpoint *ep, struct input *in,
                  const struct http_in *answer)
{
    struct result result = {0};
    struct err *e = t->parse(ep, in, answer, &result);
    if (!e) {
        struct buf b;
        struct json_out w;
        buf_init(&b, LIMIT);
        json_out_init(&w, &b);
        result_render(&w, &result);
        const struct json *back;
        e = json_parse(answer->arena, buf_str(&b), &back);
        if (e && !b.full)
            abort(); /* what clients get is JSON */
        buf_deinit(&b);
    }
    err_free(e);
}

static void refusal(const struct provider *p, struct endpoint *ep, const struct http_in *answer)
{
    struct verdict v = {.action = VERDICT_FAIL};
    p->judge(ep, answer, &v);
    if (!v.prefix.n)
        abort();
}

static bool read_delta(struct sink *sink, const struct delta *delta)
{
    struct buf b;
    struct json_out w;
    buf_init(&b, LIMIT);
    json_out_init(&w, &b);
    delta_render(&w, delta);
    buf_deinit(&b);
    return true;
}

/* Events are the lines of the body. One beginning with '!' is named "error", and an exception where
 * streams have those; before a tab stands another name. */
static void stream(const struct provider_task *t, struct endpoint *ep, struct input *in,
                   const struct http_in *answer)
{
    struct sink sink = {.delta = read_delta};
    struct stream s = {
        .endpoint = ep, .input = in, .arena = answer->arena, .scratch = arena_new(LIMIT)};
    struct str rest = answer->body, line;
    while (!s.finished && str_split(&rest, '\n', &line)) {
        bool error = str_starts(line, STR("!"));
        size_t tab = error ? SIZE_MAX : str_find_char(line, '\t');
        struct event ev = {.name = STR("message"), .data = line, .exception = error};
        if (error) {
            ev.name = STR("error");
            ev.data = str_sub(line, 1, line.n);
        } else if (tab != SIZE_MAX) {
            ev.name = str_sub(line, 0, tab);
            ev.data = str_sub(line, tab + 1, line.n);
        }
        err_free(t->on_event(&s, &ev, &sink));
        arena_reset(s.scratch);
    }
    arena_free(s.scratch);
}

static void one(const struct provider *p, const struct provider_task *t, uint8_t how,
                struct str body)
{
    static const int statuses[] = {200, 301, 400, 401, 404, 413, 422, 429, 500, 502, 503, 504};
    struct arena *a = arena_new(LIMIT);
    struct endpoint *ep = endpoint_of(p, t, how & 32);
    struct str texts[2] = {STR_INIT("a"), STR_INIT("b")};
    struct input in = {.task = t->task, .texts = texts, .n_texts = 1u + (how >> 7)};
    struct http_in answer = {
        .arena = a, .status = statuses[how % (sizeof statuses / sizeof *statuses)], .body = body};
    if (endpoint_call_values(ep, a, NULL, &in.values))
        abort();
    if (answer.status != 200)
        refusal(p, ep, &answer);
    else if (t->on_event && (how & 16))
        stream(t, ep, &in, &answer);
    else
        whole(t, ep, &in, &answer);
    endpoint_unref(ep);
    arena_free(a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n < 2)
        return 0;
    const struct provider *p = providers[data[0] % n_providers];
    const struct provider_task *t = &p->tasks[data[0] / n_providers % p->n_tasks];
    if (!p->local)
        one(p, t, data[1], str_n((const char *)data + 2, n - 2));
    return 0;
}
