#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>

#include "ibm_iam.h"
#include "json.h"

#define NOW INT64_C(1737460800)

static const struct setting rows[] = {SETTING_API_KEY(TASK_BIT(TASK_RERANK))};
static const struct settings_table table = {.service = "watsonxai", .rows = rows, .n = 1};

static struct arena *arena;
static struct endpoint *ep;

static int setup(void **state)
{
    const struct json *body;
    arena = arena_new(ARENA_NO_LIMIT);
    assert_null(
        json_parse(arena, STR("{\"service_settings\":{\"api_key\":\"k+/ 1&\\u00e4\"}}"), &body));
    assert_null(endpoint_parse(&table, 0, STR("my-ep"), TASK_RERANK, body, &ep));
    return 0;
}

static int teardown(void **state)
{
    endpoint_unref(ep);
    arena_free(arena);
    return 0;
}

static void expect_text(struct str got, const char *want)
{
    if (!str_eq_c(got, want))
        fail_msg("got %.*s, not %s", STR_ARG(got), want);
}

static void asks(void **state)
{
    struct http_out out = {.arena = arena};
    assert_null(ibm_iam_auth.ask(ep, NOW, &out));
    assert_int_equal(out.method, HTTP_POST);
    expect_text(out.url, "https://iam.cloud.ibm.com/identity/token");
    struct str type;
    assert_true(http_header_get(&out.headers, STR("content-type"), &type));
    expect_text(type, "application/x-www-form-urlencoded");
    expect_text(out.body, "grant_type=urn:ibm:params:oauth:grant-type:apikey"
                          "&apikey=k%2B%2F%201%26%C3%A4");
}

static struct err *take(int status, struct str body, struct token *token)
{
    struct http_in in = {.arena = arena, .status = status, .body = body};
    return ibm_iam_auth.take(ep, &in, NOW, token);
}

static void takes_and_signs(void **state)
{
    struct token token;
    struct http_out out = {.arena = arena};
    assert_null(take(200,
                     STR("{\"access_token\":\"eyJ.a-b\",\"refresh_token\":\"r\",\"token_type\":"
                         "\"Bearer\",\"expires_in\":3600,\"expiration\":99,\"scope\":\"ibm "
                         "openid\"}"),
                     &token));
    assert_int_equal(token.expires_s, NOW + 3600);
    assert_null(ibm_iam_auth.sign(ep, &token, NOW, &out));
    secret_unref(token.value);
    expect_text(out.headers.h[0].value, "Bearer eyJ.a-b");
}

static void refusals(void **state)
{
    static const struct {
        int status, client_status;
        enum err_kind kind;
        const char *prefix, *tail;
    } cases[] = {
        {302, 302, ERR_STATUS, "Unhandled redirection", "Found"},
        {400, 400, ERR_STATUS, "Received a bad request status code", "Bad Request"},
        {401, 401, ERR_STATUS, "Received an authentication error status code", "Unauthorized"},
        {403, 403, ERR_STATUS, "Received a permission denied error status code", "Forbidden"},
        {404, 404, ERR_STATUS, "Resource not found at [https://iam.cloud.ibm.com/identity/token]",
         "Not Found"},
        {429, 429, ERR_STATUS, "Received an unsuccessful status code", "Too Many Requests"},
        {500, 400, ERR_IO, "Received a server error status code", "Internal Server Error"},
        {503, 400, ERR_STATUS, "Received an unsuccessful status code", "Service Unavailable"},
        {599, 400, ERR_STATUS, "Received an unsuccessful status code", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct token token;
        struct err *e =
            take(cases[i].status, STR("{\"errorCode\":\"BXNIM0415E\",\"errorMessage\":\"k+/ 1&\"}"),
                 &token);
        struct str want = arena_printf(
            arena,
            "%s for request to generate Bearer Token from inference entity id [my-ep] status "
            "[%d]%s%s%s",
            cases[i].prefix, cases[i].status, cases[i].tail ? ". Error message: [" : "",
            cases[i].tail ? cases[i].tail : "", cases[i].tail ? "]" : "");
        assert_non_null(e);
        assert_string_equal(e->reason, want.p);
        assert_int_equal(e->status, cases[i].client_status);
        assert_int_equal(e->kind, cases[i].kind);
        err_free(e);
    }
}

static void answers_that_are_none(void **state)
{
    struct token token;
    struct err *e = take(200, STR("{\"access_token\":null}"), &token);
    assert_non_null(e);
    assert_string_equal(e->reason,
                        "Failed to read the response to the request to generate Bearer Token from "
                        "inference entity id [my-ep]: it has no [access_token]");
    assert_int_equal(e->status, 500);
    assert_int_equal(e->kind, ERR_STATUS);
    err_free(e);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {TEST(asks), TEST(takes_and_signs), TEST(refusals),
                                       TEST(answers_that_are_none)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
