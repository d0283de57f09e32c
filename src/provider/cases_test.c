/* Replays the folder cases/: cases/<service>/<name>.json is one endpoint, one call on it, and what
 * the service may answer. Everything a provider file says is tested here; a new provider brings a
 * folder, not code. The members of a case, all but the first two optional:
 *
 *   task, endpoint   what PUT gets
 *   put_error        ... and refuses: {status, type, reason}; nothing follows
 *   stored, secrets  in place of endpoint: what an older version left in the store
 *   printed          the endpoint as clients see it
 *   measured         dimensions found by the probe, set before the call
 *   input, stream    what POST gets; `cut`: which inputs were shortened before
 *   request          {method, url, headers, body} to the service; members in this order
 *   build_error      ... or why there is none
 *   answers          each {status, headers, body} and what becomes of it: `result`, `error` or
 *                    `verdict`; `usage`. A body that is no string stands for its own text
 *   streams          each {chunks, deltas, finished, error, usage}. Every stream is fed twice: as
 *                    its chunks, and byte by byte. finished: it may end there. A chunk
 *                    that is an object is a message of an AWS event stream: its headers, all
 *                    texts, and its `payload`
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <zlib.h>

#include "framing.h"
#include "input.h"
#include "provider.h"

#define MAX_CASES  4095
#define TEXT_LIMIT ((size_t)16 << 20)

struct run {
    struct arena *arena;
    const struct json *file;
    const struct provider *provider;
    const struct provider_task *task;
    struct endpoint *ep;
    struct input in;
};

/* --- comparing --- */

static bool same_leaf(const struct json *a, const struct json *b)
{
    return a->type == b->type && a->n == b->n && str_eq(a->text, b->text);
}

/* Equal with the order of members; numbers by their text, strings by their value. */
static bool same(const struct json *a, const struct json *b)
{
    if (!same_leaf(a, b))
        return false;
    struct json_iter ai = json_iter(a), bi = json_iter(b);
    const struct json *x, *y;
    while ((x = json_next(&ai)) && (y = json_next(&bi))) {
        if (!str_eq(x->key, y->key) || !same(x, y))
            return false;
    }
    return true;
}

static void expect(struct run *r, const char *what, const struct json *want, struct buf *got)
{
    const struct json *node;
    struct err *e = json_parse_copy(r->arena, buf_str(got), &node);
    if (e)
        fail_msg("%s is no JSON: %s: %.*s", what, e->reason, STR_ARG(buf_str(got)));
    if (!want)
        fail_msg("%s was not expected: %.*s", what, STR_ARG(buf_str(got)));
    if (!same(want, node)) {
        fprintf(stderr, "%s\n wanted %.*s\n    got %.*s\n", what, STR_ARG(json_raw(want)),
                STR_ARG(buf_str(got)));
        fail();
    }
    buf_deinit(got);
}

static struct json_out writer(struct buf *b)
{
    struct json_out w;
    buf_init(b, TEXT_LIMIT);
    json_out_init(&w, b);
    json_obj(&w);
    return w;
}

static void key_if(struct json_out *w, const char *key, const char *value)
{
    if (value)
        json_key_cstr(w, key, value);
}

static void put_err(struct json_out *w, const struct err *e)
{
    json_obj(w);
    json_key_i64(w, "status", e->status);
    json_key_cstr(w, "type", err_type(e));
    json_key_cstr(w, "reason", e->reason);
    key_if(w, "chat_type", e->chat_type);
    key_if(w, "chat_code", e->chat_code);
    key_if(w, "chat_param", e->chat_param);
    json_end(w);
}

static void expect_err(struct run *r, const char *what, const struct json *want, struct err *e)
{
    struct buf b;
    struct json_out w;
    if (!e)
        fail_msg("%s: no error, wanted %.*s", what, STR_ARG(json_raw(want)));
    buf_init(&b, TEXT_LIMIT);
    json_out_init(&w, &b);
    put_err(&w, e);
    err_free(e);
    expect(r, what, want, &b);
}

static void no_err(const char *what, struct err *e)
{
    if (e)
        fail_msg("%s: %s", what, e->reason);
}

static void expect_usage(struct run *r, const struct json *want, const struct usage *usage)
{
    if (!want)
        return;
    struct buf b;
    struct json_out w = writer(&b);
    json_key_bool(&w, "known", usage->known);
    json_key_i64(&w, "in", usage->in_tokens);
    json_key_i64(&w, "out", usage->out_tokens);
    json_end(&w);
    expect(r, "usage", want, &b);
}

/* --- the endpoint and the call --- */

static struct err *load_endpoint(struct run *r)
{
    TRY(endpoint_from_store(r->provider->settings, r->task->default_rpm, STR("my-ep"),
                            json_raw(json_get(r->file, "stored")),
                            json_raw(json_get(r->file, "secrets")), &r->ep));
    r->ep->provider = r->provider;
    r->ep->rev = 1;
    return NULL;
}

static struct err *make_endpoint(struct run *r)
{
    if (json_get(r->file, "stored"))
        return load_endpoint(r);
    TRY(endpoint_parse(r->provider->settings, r->task->default_rpm, STR("my-ep"), r->task->task,
                       json_get(r->file, "endpoint"), &r->ep));
    r->ep->provider = r->provider;
    return r->provider->check ? r->provider->check(r->ep) : NULL;
}

static void measure(struct run *r)
{
    int64_t dimensions;
    if (!json_i64(json_get(r->file, "measured"), &dimensions))
        return;
    struct endpoint *ep = endpoint_with_dimensions(r->ep, dimensions, r->provider->similarity);
    ep->provider = r->provider;
    endpoint_unref(r->ep);
    r->ep = ep;
}

static void expect_printed(struct run *r)
{
    const struct json *want = json_get(r->file, "printed");
    if (!want)
        return;
    struct buf b;
    struct json_out w;
    buf_init(&b, TEXT_LIMIT);
    json_out_init(&w, &b);
    endpoint_render(&w, r->ep);
    expect(r, "the printed endpoint", want, &b);
}

static void make_input(struct run *r, const struct json *body)
{
    enum task task = r->task->task;
    if (task == TASK_CHAT_COMPLETION) {
        struct chat *chat = arena_alloc(r->arena, sizeof *chat);
        no_err("chat body", chat_parse(r->arena, json_raw(body), body, chat));
        r->in.task = task;
        r->in.chat = chat;
    } else {
        no_err("input", input_parse(r->arena, task, false, json_raw(body), body, &r->in));
    }
    json_bool(json_get(r->file, "stream"), &r->in.stream);
    const struct json *cut = json_get(r->file, "cut");
    if (cut)
        r->in.cut = arena_array(r->arena, r->in.n_texts, sizeof *r->in.cut);
    struct json_iter it = json_iter(cut);
    size_t i = 0;
    for (const struct json *v; (v = json_next(&it)); i++)
        json_bool(v, &r->in.cut[i]);
    no_err("task settings",
           endpoint_call_values(r->ep, r->arena, r->in.task_settings, &r->in.values));
}

static void expect_request(struct run *r)
{
    struct http_out out = {.arena = r->arena, .method = HTTP_GET};
    struct err *e = r->task->build(r->ep, &r->in, &out);
    if (json_get(r->file, "build_error")) {
        expect_err(r, "build", json_get(r->file, "build_error"), e);
        return;
    }
    no_err("build", e);
    struct buf b;
    struct json_out w = writer(&b);
    json_key_cstr(&w, "method", http_method_name(out.method));
    json_key_str(&w, "url", out.url);
    json_key(&w, "headers");
    json_obj(&w);
    for (size_t i = 0; i < out.headers.n; i++) {
        json_key_s(&w, out.headers.h[i].name);
        json_put_str(&w, out.headers.h[i].value);
    }
    json_end(&w);
    json_key_raw(&w, "body", out.body);
    json_end(&w);
    const struct json *want = json_get(r->file, "request");
    if (want)
        expect(r, "request", want, &b);
    else
        buf_deinit(&b);
}

/* --- whole answers --- */

static void make_answer(struct run *r, const struct json *v, struct http_in *in)
{
    int64_t status = 200;
    json_i64(json_get(v, "status"), &status);
    *in = (struct http_in){.arena = r->arena, .status = (int)status};
    struct json_iter it = json_iter(json_get(v, "headers"));
    for (const struct json *h; (h = json_next(&it));)
        http_header_add(&in->headers, h->key, h->text);
    const struct json *body = json_get(v, "body");
    if (body && !json_str(body, &in->body))
        in->body = json_raw(body);
}

static void key_if_str(struct json_out *w, const char *key, struct str s)
{
    if (s.p)
        json_key_str(w, key, s);
}

static void expect_verdict(struct run *r, const struct json *want, const struct http_in *in)
{
    static const char *const actions[] = {"fail", "retry", "shorten"};
    struct verdict v = {.action = VERDICT_FAIL};
    r->provider->judge(r->ep, in, &v);
    struct buf b;
    struct json_out w = writer(&b);
    json_key_cstr(&w, "action", actions[v.action]);
    json_key_str(&w, "prefix", v.prefix);
    key_if_str(&w, "message", v.message);
    if (v.status)
        json_key_i64(&w, "status", v.status);
    if (v.whole)
        json_key_bool(&w, "whole", true);
    key_if_str(&w, "chat_type", v.chat_type);
    key_if_str(&w, "chat_code", v.chat_code);
    key_if_str(&w, "chat_param", v.chat_param);
    json_end(&w);
    expect(r, "verdict", want, &b);
}

static void expect_answer(struct run *r, const struct json *v)
{
    struct http_in in;
    make_answer(r, v, &in);
    if (in.status < 200 || in.status > 299) {
        expect_verdict(r, json_get(v, "verdict"), &in);
        return;
    }
    struct result result = {0};
    struct err *e = r->task->parse(r->ep, &r->in, &in, &result);
    if (json_get(v, "error")) {
        expect_err(r, "parse", json_get(v, "error"), e);
        return;
    }
    no_err("parse", e);
    struct buf b;
    struct json_out w;
    buf_init(&b, TEXT_LIMIT);
    json_out_init(&w, &b);
    result_render(&w, &result);
    expect(r, "result", json_get(v, "result"), &b);
    expect_usage(r, json_get(v, "usage"), &result.usage);
}

/* --- streams --- */

struct recorder {
    struct sink sink;
    struct json_out *w;
};

static bool record(struct sink *sink, const struct delta *delta)
{
    delta_render(((struct recorder *)sink)->w, delta);
    return true;
}

struct player {
    struct run *run;
    struct framing framing;
    struct stream stream;
    struct recorder recorder;
    struct err *failed;
};

static void play(struct player *p)
{
    struct event ev;
    while (!p->failed && !p->stream.finished && framing_next(&p->framing, &ev, &p->failed)) {
        p->failed = p->run->task->on_event(&p->stream, &ev, &p->recorder.sink);
        arena_reset(p->stream.scratch);
    }
}

static void feed(struct player *p, struct str bytes, size_t step)
{
    for (size_t i = 0; i < bytes.n; i += step) {
        struct str piece = str_sub(bytes, i, step);
        char *copy = malloc(piece.n); /* so that a late read is one too far */
        memcpy(copy, piece.p, piece.n);
        framing_feed(&p->framing, str_n(copy, piece.n));
        free(copy);
        play(p);
    }
}

static void put_be(struct buf *out, uint32_t v, int n_bytes)
{
    while (n_bytes-- > 0)
        buf_char(out, (char)(v >> (8 * n_bytes)));
}

static void put_crc(struct buf *out)
{
    put_be(out, (uint32_t)crc32(0, (const Bytef *)out->p, (uInt)out->n), 4);
}

/* {":event-type": "x", ..., "payload": text or JSON} as an AWS message. */
static struct str aws_message_of(struct arena *arena, const struct json *v)
{
    struct buf headers, out;
    struct str payload = STR("");
    buf_init(&headers, TEXT_LIMIT);
    buf_init(&out, TEXT_LIMIT);
    struct json_iter it = json_iter(v);
    for (const struct json *h; (h = json_next(&it));) {
        if (str_eq(h->key, STR("payload"))) {
            payload = json_is(h, JSON_STRING) ? h->text : json_raw(h);
            continue;
        }
        put_be(&headers, (uint32_t)h->key.n, 1);
        buf_put(&headers, h->key);
        put_be(&headers, 7, 1);
        put_be(&headers, (uint32_t)h->text.n, 2);
        buf_put(&headers, h->text);
    }
    put_be(&out, (uint32_t)(headers.n + payload.n + 16), 4);
    put_be(&out, (uint32_t)headers.n, 4);
    put_crc(&out);
    buf_put(&out, buf_str(&headers));
    buf_put(&out, payload);
    put_crc(&out);
    struct str message = arena_dup(arena, buf_str(&out));
    buf_deinit(&headers);
    buf_deinit(&out);
    return message;
}

static struct str chunk_bytes(struct arena *arena, const struct json *chunk)
{
    return json_is(chunk, JSON_OBJECT) ? aws_message_of(arena, chunk) : chunk->text;
}

static void expect_stream(struct run *r, const struct json *v, bool bytewise)
{
    struct buf deltas;
    struct json_out list;
    buf_init(&deltas, TEXT_LIMIT);
    json_out_init(&list, &deltas);
    json_arr(&list);
    struct player p = {.run = r, .recorder = {.sink = {.delta = record}, .w = &list}};
    framing_init(&p.framing, r->task->framing_of ? r->task->framing_of(r->ep) : r->task->framing,
                 TEXT_LIMIT);
    p.stream = (struct stream){.endpoint = r->ep,
                               .input = &r->in,
                               .arena = r->arena,
                               .scratch = arena_new(ARENA_NO_LIMIT)};
    struct json_iter it = json_iter(json_get(v, "chunks"));
    for (const struct json *chunk; (chunk = json_next(&it));)
        feed(&p, chunk_bytes(r->arena, chunk), bytewise ? 1 : SIZE_MAX / 2);
    framing_end(&p.framing);
    play(&p);
    json_end(&list);
    framing_deinit(&p.framing);
    arena_free(p.stream.scratch);

    expect(r, "deltas", json_get(v, "deltas"), &deltas);
    bool finished = false;
    json_bool(json_get(v, "finished"), &finished);
    assert_int_equal(p.stream.finished || p.stream.may_end, finished);
    expect_usage(r, json_get(v, "usage"), &p.stream.usage);
    if (json_get(v, "error"))
        expect_err(r, "stream", json_get(v, "error"), p.failed);
    else
        no_err("stream", p.failed);
}

/* --- one case --- */

static struct str read_file(struct arena *arena, const char *path)
{
    struct buf b;
    FILE *f = fopen(path, "rb");
    if (!f)
        fail_msg("cannot open %s", path);
    buf_init(&b, TEXT_LIMIT);
    char piece[4096];
    for (size_t n; (n = fread(piece, 1, sizeof piece, f)) > 0;)
        buf_put(&b, str_n(piece, n));
    fclose(f);
    struct str s = arena_dup(arena, buf_str(&b));
    buf_deinit(&b);
    return s;
}

/* "cohere" of "cohere/embed.json" */
static struct str service_of(const char *name)
{
    return str_sub(str_c(name), 0, str_find_char(str_c(name), '/'));
}

static void run_case(struct run *r, const char *name)
{
    struct str path = arena_printf(r->arena, "%s/%s", CASES_DIR, name);
    no_err(name, json_parse(r->arena, read_file(r->arena, path.p), &r->file));
    r->provider = provider_find(service_of(name));
    assert_non_null(r->provider);
    enum task task;
    assert_true(json_is(json_get(r->file, "task"), JSON_STRING));
    assert_true(task_parse(json_get(r->file, "task")->text, &task));
    r->task = provider_task(r->provider, task);
    assert_non_null(r->task);

    struct err *e = make_endpoint(r);
    if (json_get(r->file, "put_error")) {
        expect_err(r, "PUT", json_get(r->file, "put_error"), e);
        return;
    }
    no_err("PUT", e);
    measure(r);
    expect_printed(r);
    if (!json_get(r->file, "input"))
        return;
    make_input(r, json_get(r->file, "input"));
    expect_request(r);
    struct json_iter it = json_iter(json_get(r->file, "answers"));
    for (const struct json *v; (v = json_next(&it));)
        expect_answer(r, v);
    it = json_iter(json_get(r->file, "streams"));
    for (const struct json *v; (v = json_next(&it));) {
        expect_stream(r, v, false);
        expect_stream(r, v, true);
    }
}

static void replay(void **state)
{
    struct run r = {.arena = arena_new(ARENA_NO_LIMIT)};
    run_case(&r, *state);
    endpoint_unref(r.ep);
    arena_free(r.arena);
}

/* --- the folder --- */

static struct CMUnitTest tests[MAX_CASES + 1];
static size_t n_tests;

static void add_case(const char *service, const char *file)
{
    char *name = NULL;
    if (!str_ends(str_c(file), STR(".json")))
        return;
    if (n_tests == MAX_CASES || asprintf(&name, "%s/%s", service, file) < 0)
        abort();
    tests[n_tests++] =
        (struct CMUnitTest){.name = name, .test_func = replay, .initial_state = name};
}

static void add_folder(const char *service)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", CASES_DIR, service);
    struct dirent **files;
    int n = scandir(path, &files, NULL, alphasort);
    for (int i = 0; i < n; i++) {
        add_case(service, files[i]->d_name);
        free(files[i]);
    }
    if (n >= 0)
        free(files);
}

/* A service without a single case is a mistake. */
static void every_service_has_cases(void **state)
{
    (void)state;
    for (size_t i = 0; i < n_providers; i++) {
        size_t found = 0;
        for (size_t t = 0; t < n_tests; t++) {
            if (tests[t].initial_state &&
                str_eq_c(service_of(tests[t].initial_state), providers[i]->name))
                found++;
        }
        if (!found)
            fail_msg("no cases for %s", providers[i]->name);
    }
}

int main(void)
{
    for (size_t i = 0; i < n_providers; i++)
        add_folder(providers[i]->name);
    tests[n_tests++] = (struct CMUnitTest)cmocka_unit_test(every_service_has_cases);
    int failed = _cmocka_run_group_tests("cases", tests, n_tests, NULL, NULL);
    for (size_t i = 0; i < n_tests; i++)
        free(tests[i].initial_state);
    return failed;
}
