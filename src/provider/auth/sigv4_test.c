/* sigv4 against signatures of others: the request to Bedrock of the shared facts (providers.md 6,
 * made with an SDK), the cases of AWS's own signature test suite of 2015, and some that were
 * computed with Python's hmac. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>
#include <openssl/evp.h>
#include <stdio.h>

#include "auth.h"
#include "provider.h"
#include "sigv4.h"

extern const struct provider provider_amazonbedrock;

#define SUITE_S   INT64_C(1440938160) /* 20150830T123600Z */
#define BEDROCK_S INT64_C(1737460800) /* 20250121T120000Z */
#define SECRET    "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"

struct vector {
    const char *name;
    enum method method;
    const char *url, *content_type, *token, *note, *body;
    const char *region, *service;
    int64_t now_s;
    const char *signed_headers, *canonical_sha256, *signature;
};

static const struct vector vectors[] = {
    {.name = "get-vanilla",
     .method = HTTP_GET,
     .url = "https://example.amazonaws.com/",
     .signed_headers = "host;x-amz-date",
     .canonical_sha256 = "bb579772317eb040ac9ed261061d46c1f17a8133879d6129b6e1c25292927e63",
     .signature = "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
    {.name = "a URL without a path, with a port that is the scheme's own, and a fragment",
     .method = HTTP_GET,
     .url = "https://user@example.amazonaws.com:443#top",
     .signed_headers = "host;x-amz-date",
     .canonical_sha256 = "bb579772317eb040ac9ed261061d46c1f17a8133879d6129b6e1c25292927e63",
     .signature = "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
    {.name = "get-vanilla-query-order-key-case",
     .method = HTTP_GET,
     .url = "https://example.amazonaws.com/?Param2=value2&Param1=value1",
     .signed_headers = "host;x-amz-date",
     .canonical_sha256 = "816cd5b414d056048ba4f7c5386d6e0533120fb1fcfa93762cf0fc39e2cf19e0",
     .signature = "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"},
    {.name = "get-vanilla-query-unreserved",
     .method = HTTP_GET,
     .url = "https://example.amazonaws.com/"
            "?-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz="
            "-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
     .signed_headers = "host;x-amz-date",
     .canonical_sha256 = "c30d4703d9f799439be92736156d47ccfb2d879ddf56f5befa6d1d6aab979177",
     .signature = "9c3e54bfcdf0b19771a7f523ee5669cdf59bc7cc0884027167c21bb143a40197"},
    {.name = "post-vanilla",
     .method = HTTP_POST,
     .url = "https://example.amazonaws.com/",
     .signed_headers = "host;x-amz-date",
     .canonical_sha256 = "553f88c9e4d10fc9e109e2aeb65f030801b70c2f6468faca261d401ae622fc87",
     .signature = "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"},
    {.name = "post-x-www-form-urlencoded",
     .method = HTTP_POST,
     .url = "https://example.amazonaws.com/",
     .content_type = "application/x-www-form-urlencoded",
     .body = "Param1=value1",
     .signed_headers = "content-type;host;x-amz-date",
     .canonical_sha256 = "42a5e5bb34198acb3e84da4f085bb7927f2bc277ca766e6d19c73c2154021281",
     .signature = "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a"},
    {.name = "post-sts-header-before",
     .method = HTTP_POST,
     .url = "https://example.amazonaws.com/",
     .token = "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMi"
              "cRXmxfpSPfIeoIYRqTflfKD8YUuwthAx7mSEI/"
              "qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HF"
              "vlRd8Tx6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+"
              "scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA==",
     .signed_headers = "host;x-amz-date;x-amz-security-token",
     .canonical_sha256 = "c237e1b440d4c63c32ca95b5b99481081cb7b13c7e40434868e71567c1a882f6",
     .signature = "85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead"},
    {.name = "blanks in a header",
     .method = HTTP_GET,
     .url = "https://example.amazonaws.com/",
     .note = "  a   b \t c ",
     .signed_headers = "host;x-amz-custom;x-amz-date;x-amzn-note",
     .canonical_sha256 = "b57d7923d46663240487e4134fa7349208ddb346258551055fddbdb45caa3d6a",
     .signature = "2c2760b8f4e40385c5d59f7d59bf8d6933f39eb80cd20ddb8133d582995eafaa"},
    {.name = "a query of all sorts: colon, no value, escapes, names that repeat",
     .method = HTTP_GET,
     .url = "https://example.amazonaws.com/?c=d%20e&a=2:3&b&&a=1",
     .signed_headers = "host;x-amz-date",
     .canonical_sha256 = "b9427a6769c97997f32504cf92fc9118147f55c8b9382abc2822c9e4234598c7",
     .signature = "441610c274525700776980cb4e999cd90e2f16349117f4c06f90233065f6c9ca"},
    {.name = "a model id with a colon",
     .method = HTTP_POST,
     .url = "https://bedrock-runtime.us-east-1.amazonaws.com/model/"
            "anthropic.claude-3-haiku-20240307-v1%3A0/converse",
     .content_type = "application/json",
     .body = "{\"messages\":[{\"role\":\"user\",\"content\":[{\"text\":\"hi\"}]}]}",
     .region = "us-east-1",
     .service = "bedrock",
     .now_s = BEDROCK_S,
     .signed_headers = "content-type;host;x-amz-date",
     .canonical_sha256 = "b4e5bfdb6679f9bd4c97d7e4488e8a6464b878080b08a078c6e72607206ae2b1",
     .signature = "99d1771732c351d2950f5977fc2c11bdfc325797b70b5b11536109654fe54b9f"},
    {.name = "an ARN, which holds slashes",
     .method = HTTP_POST,
     .url = "https://example.amazonaws.com/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Ax%2Fy/"
            "converse",
     .content_type = "application/json",
     .body = "{}",
     .service = "bedrock",
     .signed_headers = "content-type;host;x-amz-date",
     .canonical_sha256 = "f41d1a5f23d37fcd79fc6c1191db90f679280e5f9d77767420b4d55622bd0d31",
     .signature = "6c193717e762ca2a5dc8c7675162a9f416169f06ac8441a0ead3e139ffa4de29"},
};

static struct str header(const struct http_out *out, const char *name)
{
    struct str value = {0};
    assert_true(http_header_get(&out->headers, str_c(name), &value));
    return value;
}

static struct str hex_sha256(struct arena *a, struct str s)
{
    unsigned char digest[32];
    assert_true(EVP_Q_digest(NULL, "SHA256", NULL, s.p, s.n, digest, NULL));
    struct str text = STR("");
    for (size_t i = 0; i < sizeof digest; i++)
        text = arena_printf(a, "%.*s%02x", STR_ARG(text), digest[i]);
    return text;
}

static void expect_str(const char *name, struct str got, struct str want)
{
    if (!str_eq(got, want))
        fail_msg("%s\n wanted %.*s\n    got %.*s", name, STR_ARG(want), STR_ARG(got));
}

static void make(const struct vector *v, struct http_out *out)
{
    out->method = v->method;
    out->url = str_c(v->url);
    out->body = str_c(v->body);
    http_header_add(&out->headers, STR("Accept"), STR("application/json")); /* is not signed */
    if (v->content_type)
        http_header_add(&out->headers, STR("Content-Type"), str_c(v->content_type));
    if (v->note) {
        http_header_add(&out->headers, STR("X-Amz-Custom"), str_c(v->note));
        http_header_add(&out->headers, STR("X-Amzn-Note"), STR("x"));
    }
}

static void one_vector(const struct vector *v)
{
    struct http_out out = {.arena = arena_new(ARENA_NO_LIMIT)};
    struct sigv4 who = {.access_key = STR("AKIDEXAMPLE"),
                        .secret_key = STR(SECRET),
                        .session_token = str_c(v->token),
                        .region = v->region ? str_c(v->region) : STR("us-east-1"),
                        .service = v->service ? str_c(v->service) : STR("service")};
    make(v, &out);
    int64_t now_s = v->now_s ? v->now_s : SUITE_S;
    assert_null(sigv4_sign(&who, now_s, &out));

    struct str names, date = now_s == SUITE_S ? STR("20150830") : STR("20250121");
    expect_str(v->name, hex_sha256(out.arena, sigv4_canonical(out.arena, &out, &names)),
               str_c(v->canonical_sha256));
    struct str want = arena_printf(out.arena,
                                   "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/%.*s/%.*s/%.*s/"
                                   "aws4_request, SignedHeaders=%s, Signature=%s",
                                   STR_ARG(date), STR_ARG(who.region), STR_ARG(who.service),
                                   v->signed_headers, v->signature);
    expect_str(v->name, header(&out, "Authorization"), want);
    arena_free(out.arena);
}

static void signs_as_others_do(void **state)
{
    for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++)
        one_vector(&vectors[i]);
}

static void canonical_path_is_encoded_twice(void **state)
{
    struct http_out out = {.arena = arena_new(ARENA_NO_LIMIT)};
    struct str names, line;
    make(&vectors[9], &out);
    http_header_add(&out.headers, STR("X-Amz-Date"), STR("20250121T120000Z"));
    struct str rest = sigv4_canonical(out.arena, &out, &names);
    assert_true(str_split(&rest, '\n', &line));
    assert_true(str_split(&rest, '\n', &line));
    expect_str("path", line, STR("/model/anthropic.claude-3-haiku-20240307-v1%253A0/converse"));
    assert_true(
        str_ends(rest, STR("c3335e07d6e89650bf94cb98664be69f8774dbc3198df221f113db0a59ea14f0")));
    arena_free(out.arena);
}

static void too_many_headers_are_an_error(void **state)
{
    struct http_out out = {.arena = arena_new(ARENA_NO_LIMIT), .url = STR("http://h/")};
    struct sigv4 who = {.access_key = STR("a"), .secret_key = STR("b")};
    while (out.headers.n < HTTP_MAX_HEADERS - 2)
        http_header_add(&out.headers, STR("X-Amz-Some"), STR("y"));
    struct err *e = sigv4_sign(&who, SUITE_S, &out);
    assert_non_null(e);
    assert_int_equal(e->kind, ERR_ARGUMENT);
    err_free(e);
    arena_free(out.arena);
}

/* --- through a provider: keys and region of the endpoint, the request of its build --- */

static struct endpoint *endpoint_of(struct arena *a, const struct provider *p, enum task task,
                                    const char *text)
{
    const struct json *body;
    struct endpoint *ep;
    assert_null(json_parse(a, str_c(text), &body));
    assert_null(endpoint_parse(p->settings, provider_task(p, task)->default_rpm, STR("x"), task,
                               body, &ep));
    ep->provider = p;
    return ep;
}

static void bedrock_signs_the_request_of_its_endpoint(void **state)
{
    const struct provider *p = &provider_amazonbedrock;
    struct http_out out = {.arena = arena_new(ARENA_NO_LIMIT)};
    struct endpoint *ep = endpoint_of(
        out.arena, p, TASK_COMPLETION,
        "{\"service_settings\":{\"access_key\":\"AKIDEXAMPLE\",\"secret_key\":\"" SECRET "\","
        "\"region\":\"us-east-1\",\"provider\":\"anthropic\","
        "\"model\":\"anthropic.claude-3-haiku-20240307-v1:0\"}}");
    struct str text = STR("hi");
    struct input in = {.task = TASK_COMPLETION, .texts = &text, .n_texts = 1};
    assert_null(endpoint_call_values(ep, out.arena, NULL, &in.values));
    assert_null(provider_task(p, TASK_COMPLETION)->build(ep, &in, &out));
    expect_str("body", out.body, str_c(vectors[9].body));

    const struct auth *auth = p->auth(ep);
    assert_null(auth->ask);
    assert_null(auth->sign(ep, NULL, BEDROCK_S, &out));
    assert_true(str_ends(header(&out, "Authorization"), str_c(vectors[9].signature)));
    expect_str("date", header(&out, "X-Amz-Date"), STR("20250121T120000Z"));
    endpoint_unref(ep);
    arena_free(out.arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(signs_as_others_do),
        cmocka_unit_test(canonical_path_is_encoded_twice),
        cmocka_unit_test(too_many_headers_are_an_error),
        cmocka_unit_test(bedrock_signs_the_request_of_its_endpoint),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
