/* The client credentials grant, as entra and with a server of one's own. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>

#include "entra.h"
#include "oauth2.h"
#include "provider.h"

static struct arena *arena;

static int setup(void **state)
{
    arena = arena_new(ARENA_NO_LIMIT);
    return 0;
}

static int teardown(void **state)
{
    arena_free(arena);
    return 0;
}

static struct endpoint *endpoint_of(const char *service, const char *body)
{
    const struct provider *p = provider_find(str_c(service));
    const struct json *root;
    struct endpoint *ep;
    assert_non_null(p);
    assert_null(json_parse(arena, str_c(body), &root));
    assert_null(endpoint_parse(p->settings, 100, STR("my-ep"), TASK_COMPLETION, root, &ep));
    ep->provider = p;
    assert_null(p->check(ep));
    return ep;
}

static struct endpoint *azure(const char *secret, const char *tenant, const char *scopes)
{
    struct str body = arena_printf(
        arena,
        "{\"service_settings\":{\"resource_name\":\"r\",\"api_version\":\"v\",\"deployment_id\":"
        "\"d\",\"client_id\":\"app "
        "1\",\"client_secret\":\"%s\",\"tenant_id\":\"%s\",\"scopes\":%s}}",
        secret, tenant, scopes);
    return endpoint_of("azureopenai", arena_cstr(arena, body));
}

static struct endpoint *openai(void)
{
    return endpoint_of("openai", "{\"service_settings\":{\"model_id\":\"m\",\"client_id\":\"a:b\","
                                 "\"client_secret\":\"p&q\",\"scopes\":[\"x\"],"
                                 "\"token_url\":\"https://idp.example/t\"}}");
}

static void expect_str(struct str got, const char *want)
{
    assert_string_equal(arena_cstr(arena, got), want);
}

static struct str header(const struct http_out *out, const char *name)
{
    struct str v;
    http_header_get(&out->headers, str_c(name), &v);
    return v;
}

static void entra_asks_with_a_form(void **state)
{
    struct endpoint *ep = azure("s+e/c&ret", "ten/../ant", "[\"api://x/.default\", \"b\"]");
    struct http_out out = {.arena = arena};
    assert_ptr_equal(ep->provider->auth(ep), &entra_auth);
    assert_null(entra_auth.ask(ep, 1000, &out));
    assert_int_equal(out.method, HTTP_POST);
    expect_str(out.url, "https://login.microsoftonline.com/ten%2F..%2Fant/oauth2/v2.0/token");
    expect_str(header(&out, "Content-Type"), "application/x-www-form-urlencoded");
    assert_null(header(&out, "Authorization").p);
    expect_str(out.body, "grant_type=client_credentials&client_id=app%201&client_secret="
                         "s%2Be%2Fc%26ret&scope=api%3A%2F%2Fx%2F.default%20b");
    endpoint_unref(ep);
}

static void oauth2_asks_with_a_header(void **state)
{
    struct endpoint *ep = openai();
    struct http_out out = {.arena = arena};
    assert_ptr_equal(ep->provider->auth(ep), &oauth2_auth);
    assert_null(oauth2_auth.ask(ep, 1000, &out));
    expect_str(out.url, "https://idp.example/t");
    /* base64 of a%3Ab:p%26q */
    expect_str(header(&out, "Authorization"), "Basic YSUzQWI6cCUyNnE=");
    expect_str(out.body, "grant_type=client_credentials&scope=x");
    endpoint_unref(ep);
}

static void no_scope_is_left_out(void **state)
{
    struct endpoint *ep = azure("s", "t", "[]");
    struct http_out out = {.arena = arena};
    assert_null(entra_auth.ask(ep, 0, &out));
    expect_str(out.body, "grant_type=client_credentials&client_id=app%201&client_secret=s");
    endpoint_unref(ep);
}

static void other_secrets_need_no_exchange(void **state)
{
    struct endpoint *ep =
        endpoint_of("openai", "{\"service_settings\":{\"model_id\":\"m\",\"api_key\":\"k\"}}");
    assert_null(ep->provider->auth(ep));
    endpoint_unref(ep);
    ep =
        endpoint_of("azureopenai", "{\"service_settings\":{\"resource_name\":\"r\",\"api_version\":"
                                   "\"v\",\"deployment_id\":\"d\",\"entra_id\":\"t\"}}");
    assert_null(ep->provider->auth(ep));
    endpoint_unref(ep);
}

static void key_of(struct endpoint *ep, struct buf *out)
{
    buf_init(out, SIZE_MAX);
    entra_auth.key(ep, out);
    endpoint_unref(ep);
}

/* Whatever the token depends on. */
static void key_tells_credentials_apart(void **state)
{
    struct buf a, b;
    key_of(azure("s", "t", "[\"x\"]"), &a);
    struct endpoint *others[] = {azure("s2", "t", "[\"x\"]"), azure("s", "t2", "[\"x\"]"),
                                 azure("s", "t", "[\"x\",\"y\"]")};
    for (size_t i = 0; i < 3; i++) {
        key_of(others[i], &b);
        assert_false(str_eq(buf_str(&a), buf_str(&b)));
        buf_deinit(&b);
    }
    key_of(azure("s", "t", "[\"x\"]"), &b);
    assert_true(str_eq(buf_str(&a), buf_str(&b)));
    buf_deinit(&b);
    buf_deinit(&a);
}

static struct err *take(struct endpoint *ep, int status, const char *body, struct token *token)
{
    struct http_in in = {.arena = arena, .status = status, .body = str_c(body)};
    return entra_auth.take(ep, &in, 1000, token);
}

static void takes_a_token(void **state)
{
    struct endpoint *ep = azure("s", "t", "[\"x\"]");
    struct token token;
    assert_null(take(ep, 200,
                     "{\"token_type\":\"Bearer\",\"expires_in\":3599,\"ext_expires_in\":3599,"
                     "\"access_token\":\"eyJ0.e.x\"}",
                     &token));
    assert_int_equal(token.expires_s, 4599);
    struct http_out out = {.arena = arena};
    assert_null(entra_auth.sign(ep, &token, 1000, &out));
    expect_str(header(&out, "Authorization"), "Bearer eyJ0.e.x");
    secret_unref(token.value);
    endpoint_unref(ep);
}

static void header_of_the_caller_wins(void **state)
{
    struct endpoint *ep = azure("s", "t", "[\"x\"]");
    struct token token = {secret_new(STR("tok")), 4599};
    struct http_out out = {.arena = arena};
    http_header_add(&out.headers, STR("authorization"), STR("mine"));
    assert_null(entra_auth.sign(ep, &token, 1000, &out));
    assert_int_equal(out.headers.n, 1);
    expect_str(out.headers.h[0].value, "mine");
    secret_unref(token.value);
    endpoint_unref(ep);
}

static void expect_refusal(int status, const char *body, enum err_kind kind, const char *tail)
{
    struct endpoint *ep = azure("s", "t", "[\"x\"]");
    struct token token = {0};
    struct err *e = take(ep, status, body, &token);
    assert_non_null(e);
    assert_null(token.value);
    assert_int_equal(e->kind, kind);
    assert_int_equal(e->status, 500);
    struct str want = arena_printf(
        arena, "Failed to retrieve access token for request for inference id [my-ep]: %s", tail);
    assert_string_equal(e->reason, arena_cstr(arena, want));
    err_free(e);
    endpoint_unref(ep);
}

static void says_why_there_is_no_token(void **state)
{
    expect_refusal(401,
                   "{\"error\":\"invalid_client\",\"error_description\":\"AADSTS7000215: Invalid "
                   "client secret provided.\",\"error_codes\":[7000215]}",
                   ERR_INTERNAL, "[invalid_client] AADSTS7000215: Invalid client secret provided.");
    expect_refusal(400, "{\"error\":\"invalid_scope\"}", ERR_INTERNAL, "[invalid_scope]");
    expect_refusal(404, "<html>", ERR_INTERNAL, "[status 404]");
    expect_refusal(302, "", ERR_INTERNAL, "[status 302]");
    expect_refusal(200, "{}", ERR_INTERNAL, "cannot read the answer: it has no [access_token]");
    /* worth another try */
    expect_refusal(500, "{\"error\":5}", ERR_IO, "[status 500]");
    expect_refusal(503, "", ERR_IO, "[status 503]");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(entra_asks_with_a_form),
        cmocka_unit_test(oauth2_asks_with_a_header),
        cmocka_unit_test(no_scope_is_left_out),
        cmocka_unit_test(other_secrets_need_no_exchange),
        cmocka_unit_test(key_tells_credentials_apart),
        cmocka_unit_test(takes_a_token),
        cmocka_unit_test(header_of_the_caller_wins),
        cmocka_unit_test(says_why_there_is_no_token),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
