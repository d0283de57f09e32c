#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "tally.h"

static enum tally_failure kind_of(struct err *e, bool elsewhere)
{
    e->elsewhere = elsewhere;
    enum tally_failure kind = tally_failure_of(e, false);
    err_free(e);
    return kind;
}

static struct err *wrapped(enum err_kind kind)
{
    struct err *e = err_wrap(err_new(kind, "cause"), ERR_STATUS, "outer");
    e->status = 500;
    return e;
}

static void failures_have_kinds(void **state)
{
    struct err *e = err_status(408, "late");
    assert_int_equal(tally_failure_of(e, true), TALLY_TIMEOUT);
    err_free(e);
    assert_int_equal(kind_of(err_new(ERR_CANCELLED, "c"), false), TALLY_CANCELLED);
    assert_int_equal(kind_of(err_new(ERR_TOO_MANY, "c"), false), TALLY_RATE_LIMITED);
    assert_int_equal(kind_of(err_status(429, "c"), true), TALLY_RATE_LIMITED);
    assert_int_equal(kind_of(err_new(ERR_UNAVAILABLE, "c"), true), TALLY_UNAVAILABLE);
    assert_int_equal(kind_of(wrapped(ERR_IO), true), TALLY_TRANSPORT);
    assert_int_equal(kind_of(wrapped(ERR_STATUS), true), TALLY_SERVICE);
    assert_int_equal(kind_of(err_status(401, "c"), true), TALLY_DENIED);
    assert_int_equal(kind_of(err_status(403, "c"), true), TALLY_DENIED);
    assert_int_equal(kind_of(err_status(400, "c"), true), TALLY_SERVICE);
    assert_int_equal(kind_of(err_status(400, "c"), false), TALLY_REFUSED);
    assert_int_equal(kind_of(err_status(404, "c"), true), TALLY_REFUSED);
}

static void counts_add_up(void **state)
{
    struct tally *t = tally_new();
    tally_call(t, false);
    tally_call(t, true);
    tally_fail(t, TALLY_DENIED);
    tally_usage(t, &(struct usage){.in_tokens = 3, .out_tokens = 4, .known = true});
    tally_usage(t, &(struct usage){.in_tokens = -3, .out_tokens = INT64_MAX, .known = true});
    tally_usage(t, &(struct usage){.in_tokens = 100});
    struct tally *same = tally_ref(t);
    tally_unref(t);
    assert_int_equal(same->calls, 2);
    assert_int_equal(same->cached, 1);
    assert_int_equal(same->in_tokens, 3);
    assert_int_equal(same->out_tokens, 4);
    assert_int_equal(same->failures[TALLY_DENIED], 1);
    assert_string_equal(tally_failure_name(TALLY_DENIED), "denied");
    tally_unref(same);
}

static void no_tally_is_fine(void **state)
{
    tally_call(NULL, true);
    tally_fail(NULL, TALLY_DENIED);
    tally_usage(NULL, &(struct usage){.in_tokens = 1, .known = true});
    tally_unref(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(failures_have_kinds),
        cmocka_unit_test(counts_add_up),
        cmocka_unit_test(no_tally_is_fine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
