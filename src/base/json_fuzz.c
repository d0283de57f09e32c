/* Any bytes into the reader. What it accepts must survive the writer and every view of it. */
#include "json.h"
#include "json_view.h"

#include <stdlib.h>

#include "bug.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void walk(const struct json *j)
{
    struct json_iter it = json_iter(j);
    uint32_t count = 0;
    for (const struct json *v; (v = json_next(&it)); count++) {
        double d;
        int64_t i;
        json_f64(v, &d);
        json_i64(v, &i);
        walk(v);
    }
    BUG_ON((json_is(j, JSON_ARRAY) || json_is(j, JSON_OBJECT)) && count != j->n);
    if (j->flat) {
        float *f = malloc(j->n * sizeof *f);
        BUG_ON(f && !json_numbers(j, f, j->n));
        free(f);
    }
}

static void check_reads_back(struct arena *a, const struct buf *b, bool full_ok)
{
    const struct json *again;
    struct err *e = b->full && full_ok ? NULL : json_parse(a, buf_str(b), &again);
    BUG_ON(e);
}

static void check_views(struct arena *a, const struct json *root, struct buf *b)
{
    struct json_out w;
    json_out_init(&w, b);
    json_put_node(&w, root);
    check_reads_back(a, b, false);
    buf_clear(b);
    json_pretty(root, b);
    check_reads_back(a, b, true);
    buf_clear(b);
    err_free(json_filter(root, STR("a.*,**.b,-c*.d,-**.e"), b));
    check_reads_back(a, b, false);
    buf_clear(b);
    json_yaml(root, b);
}

/* The same elements behind a string, where the scanner of flat arrays does not go, must be judged
 * alike. */
static void check_flat(struct arena *a, struct str elements)
{
    struct buf flat, plain;
    buf_init(&flat, SIZE_MAX);
    buf_init(&plain, SIZE_MAX);
    buf_cstr(&flat, "[0,");
    buf_cstr(&plain, "[\"\",");
    buf_put(&flat, elements);
    buf_put(&plain, elements);
    buf_char(&flat, ']');
    buf_char(&plain, ']');
    const struct json *x, *y;
    struct err *ex = json_parse(a, buf_str(&flat), &x), *ey = json_parse(a, buf_str(&plain), &y);
    BUG_ON(!ex != !ey);
    BUG_ON(!ex && x->n != y->n);
    err_free(ex);
    err_free(ey);
    buf_deinit(&flat);
    buf_deinit(&plain);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct arena *a = arena_new(64 << 20);
    struct buf b;
    buf_init(&b, 1 << 20);
    const struct json *root;
    struct err *e = json_parse(a, str_n((const char *)data, n), &root);
    if (!e) {
        walk(root);
        check_views(a, root, &b);
    }
    err_free(e);
    check_flat(a, str_n((const char *)data, n));
    /* The bytes as a string: whatever they are, what is written is JSON. */
    buf_clear(&b);
    json_quote(&b, str_n((const char *)data, n));
    check_reads_back(a, &b, true);
    buf_deinit(&b);
    arena_free(a);
    return 0;
}
