/* tokenizer_cases: the cases of the fixtures, replayed. Only for tests: include after cmocka.h. */
#ifndef INFERD_TOKENIZER_CASES_H
#define INFERD_TOKENIZER_CASES_H

#include <stdio.h>

#include "tokenizer_private.h"

static struct str fixture(struct arena *a, const char *name)
{
    struct str path = arena_printf(a, "%s/%s", TEXT_FIXTURES, name);
    FILE *f = fopen(path.p, "rb");
    assert_non_null(f);
    char *p = arena_alloc(a, 1 << 20);
    size_t n = fread(p, 1, 1 << 20, f);
    fclose(f);
    return str_n(p, n);
}

static void no_error(struct err *err)
{
    if (err)
        fail_msg("%s", err->reason);
}

static void same_numbers(const struct json *want, const int32_t *got, const char *what,
                         struct str text)
{
    struct json_iter it = json_iter(want);
    size_t i = 0;
    for (const struct json *j; (j = json_next(&it)); i++) {
        int64_t v;
        assert_true(json_i64(j, &v));
        if (v != got[i])
            fail_msg("%s[%zu] is %d, not %d, in [%.*s]", what, i, got[i], (int)v, STR_ARG(text));
    }
}

static void same_offsets(const struct json *want, const struct tokens *got, struct str text)
{
    struct json_iter it = json_iter(want);
    for (size_t i = 0; i < got->n; i++) {
        int64_t begin, end;
        assert_true(json_i64(json_next(&it), &begin));
        assert_true(json_i64(json_next(&it), &end));
        if (begin != got->begin[i] || end != got->end[i])
            fail_msg("token %zu is [%u, %u), not [%d, %d), in [%.*s]", i, got->begin[i],
                     got->end[i], (int)begin, (int)end, STR_ARG(text));
    }
}

static void check_case(const struct tokenizer *t, struct arena *a, const struct json *c)
{
    struct str text = {NULL, 0}, pair = {NULL, 0};
    int64_t max = 0;
    json_str(json_get(c, "a"), &text);
    json_str(json_get(c, "b"), &pair);
    if (json_get(c, "b") && !pair.p)
        pair.p = "";
    json_i64(json_get(c, "max"), &max);
    struct window w = {.max_tokens = (uint32_t)max};
    struct tokens got;
    struct err *err = tokenizer_encode(t, a, text, pair, &w, &got);
    if (json_get(c, "error")) {
        assert_non_null(err);
        err_free(err);
        return;
    }
    no_error(err);
    const struct json *ids = json_get(c, "ids");
    if (got.n != ids->n)
        fail_msg("%u tokens, not %u, in [%.*s]", got.n, ids->n, STR_ARG(text));
    same_numbers(ids, got.ids, "ids", text);
    same_numbers(json_get(c, "type_ids"), got.type_ids, "type_ids", text);
    same_offsets(json_get(c, "offsets"), &got, text);
    assert_int_equal(got.truncated, got.n_untruncated > got.n);
    if (!max)
        assert_false(got.truncated);
}

#endif
