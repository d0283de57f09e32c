#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>

#include "verdict.h"

static struct verdict verdict(const char *message)
{
    return (struct verdict){.prefix = STR("Received a rate limit status code"),
                            .message = str_c(message)};
}

static void expect_reason(int status, const char *message, const char *want)
{
    struct verdict v = verdict(message);
    struct err *e = verdict_err(STR("my-ep"), status, &v);
    assert_string_equal(e->reason, want);
    assert_string_equal(err_type(e), "status_exception");
    err_free(e);
}

static void texts(void **state)
{
    expect_reason(429, "slow down",
                  "Received a rate limit status code for request from inference entity id [my-ep] "
                  "status [429]. Error message: [slow down]");
    expect_reason(503, NULL,
                  "Received a rate limit status code for request from inference entity id [my-ep] "
                  "status [503]");
    expect_reason(503, "",
                  "Received a rate limit status code for request from inference entity id [my-ep] "
                  "status [503]");
}

static void a_verdict_may_say_it_all(void **state)
{
    struct verdict v = verdict("unsaid");
    v.whole = true;
    struct err *e = verdict_err(STR("my-ep"), 429, &v);
    assert_string_equal(e->reason, "Received a rate limit status code");
    assert_int_equal(e->status, 429);
    err_free(e);
}

static void expect_status(int upstream, int want)
{
    struct verdict v = verdict(NULL);
    struct err *e = verdict_err(STR("x"), upstream, &v);
    assert_int_equal(e->status, want);
    err_free(e);
}

/* providers.md 1.4: known ones below 500 pass, the rest is a 400. */
static void statuses(void **state)
{
    static const int pass[] = {300, 301, 302, 303, 304, 305, 307, 400, 401, 402, 403, 404, 405, 406,
                               408, 409, 410, 411, 412, 413, 414, 415, 417, 422, 423, 424, 429};
    static const int hidden[] = {306, 308, 399, 418, 421, 425, 426, 428, 431, 451, 499,
                                 500, 501, 502, 503, 504, 529, 599, 0,   999, -1};
    for (size_t i = 0; i < sizeof pass / sizeof pass[0]; i++)
        expect_status(pass[i], pass[i]);
    for (size_t i = 0; i < sizeof hidden / sizeof hidden[0]; i++)
        expect_status(hidden[i], 400);
}

static void a_verdict_may_name_the_status(void **state)
{
    struct verdict v = verdict(NULL);
    v.status = 500;
    struct err *e = verdict_err(STR("x"), 429, &v);
    assert_int_equal(e->status, 500);
    err_free(e);
}

static void chat_members_are_copied(void **state)
{
    char type[] = "tokens", code[] = "rate_limit_exceeded";
    struct verdict v = verdict("m");
    v.chat_type = str_c(type);
    v.chat_code = str_c(code);
    struct err *e = verdict_err(STR("x"), 429, &v);
    type[0] = code[0] = 'X'; /* the err owns its texts */
    assert_string_equal(e->chat_type, "tokens");
    assert_string_equal(e->chat_code, "rate_limit_exceeded");
    assert_null(e->chat_param);
    err_free(e);
}

/* --- Retry-After --- */

/* 2026-11-24T10:00:00Z */
#define WALL INT64_C(1795514400000)

static void expect_pause(const char *value, int64_t want)
{
    struct http_headers h = {0};
    http_header_add(&h, STR("Retry-After"), str_c(value));
    assert_int_equal(retry_after_ms(&h, WALL), want);
}

static void retry_after_in_seconds(void **state)
{
    expect_pause("7", 7000);
    expect_pause(" 20 ", 20000);
    expect_pause("86399", 86399000);
    static const char *const unreadable[] = {
        "0", "-3", "86400", "1.5", "", "soon", "99999999999999999999", "7 seconds", "+7"};
    for (size_t i = 0; i < sizeof unreadable / sizeof unreadable[0]; i++)
        expect_pause(unreadable[i], 0);
    struct http_headers none = {0};
    assert_int_equal(retry_after_ms(&none, WALL), 0);
}

static void retry_after_as_a_date(void **state)
{
    expect_pause("Tue, 24 Nov 2026 10:00:30 GMT", 30000);
    expect_pause("Tuesday, 24-Nov-26 10:00:30 GMT", 30000); /* RFC 850 */
    expect_pause("Tue Nov 24 10:00:30 2026", 30000);        /* asctime */
    expect_pause("Tue, 24 Nov 2026 09:59:00 GMT", 0);       /* past */
    expect_pause("Tue, 24 Nov 2026 10:00:00 GMT", 0);
    expect_pause("Wed, 25 Nov 2026 10:00:00 GMT", 0); /* a day is no pause */
    expect_pause("Tue, 24 Nov 2026 10:00:30", 0);
    expect_pause("Tue, 24 Nov 2026 10:00:30 GMT and more", 0);
    expect_pause("Tue, 99 Nov 2026 10:00:30 GMT", 0);
    expect_pause("Tue, 24 Nov 2026 10:00:30 GMT                             x", 0);
}

/* --- addresses --- */

static void expect_rebased(const char *url, const char *base, const char *want)
{
    struct arena *a = arena_new(ARENA_NO_LIMIT);
    struct str got = url_rebase(a, str_c(url), str_c(base));
    if (!str_eq_c(got, want))
        fail_msg("%s on %s gives %.*s, not %s", url, base, STR_ARG(got), want);
    arena_free(a);
}

static void rebase(void **state)
{
    expect_rebased("https://api.openai.com/v1/embeddings", "http://127.0.0.1:9",
                   "http://127.0.0.1:9/v1/embeddings");
    expect_rebased("https://h:443/a?b=/c#d", "http://m/pre", "http://m/pre/a?b=/c#d");
    expect_rebased("https://h", "http://m", "http://m");
    expect_rebased("https://h?x=1", "http://m", "http://m?x=1");
    expect_rebased("https://user:pw@h/p", "http://m", "http://m/p");
    expect_rebased("", "http://m", "http://m");
    expect_rebased("h/p", "http://m", "http://m/p");
}

static void expect_shown(const char *url, const char *want)
{
    struct str got = url_without_query(str_c(url));
    if (!str_eq_c(got, want))
        fail_msg("%s shows %.*s, not %s", url, STR_ARG(got), want);
}

/* Keys travel in queries and user information. */
static void shown_without_secrets(void **state)
{
    expect_shown("https://h/p?key=secret", "https://h/p");
    expect_shown("https://h/p#secret", "https://h/p");
    expect_shown("https://h?key=secret", "https://h");
    expect_shown("https://h:8/p/q", "https://h:8/p/q");
    expect_shown("https://user:secret@h/p?x", "h/p");
    expect_shown("https://user:se@cret@h/p", "h/p");
    expect_shown("https://h/p@q", "https://h/p@q");
    expect_shown("user:secret@h", "h");
    expect_shown("", "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts),
        cmocka_unit_test(a_verdict_may_say_it_all),
        cmocka_unit_test(statuses),
        cmocka_unit_test(a_verdict_may_name_the_status),
        cmocka_unit_test(chat_members_are_copied),
        cmocka_unit_test(retry_after_in_seconds),
        cmocka_unit_test(retry_after_as_a_date),
        cmocka_unit_test(rebase),
        cmocka_unit_test(shown_without_secrets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
