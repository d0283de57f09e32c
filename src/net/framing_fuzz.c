/* First byte: kind and piece size; the rest is the stream. However it is cut, it gives the same. */
#include <stddef.h>
#include <stdint.h>

#include "bug.h"
#include "framing.h"

static void take(struct framing *f, struct buf *out)
{
    struct event ev;
    struct err *err;
    while (framing_next(f, &ev, &err)) {
        buf_printf(out, "%d%zu,%zu:", ev.exception, ev.name.n, ev.data.n);
        buf_put(out, ev.name);
        buf_put(out, ev.data);
    }
    if (err)
        buf_printf(out, "error %d", (int)err->kind);
    err_free(err);
}

static void run(enum framing_kind kind, struct str in, size_t step, struct buf *out)
{
    struct framing f;
    framing_init(&f, kind, 300);
    buf_init(out, SIZE_MAX);
    for (size_t at = 0; at < in.n; at += step) {
        framing_feed(&f, str_sub(in, at, step));
        take(&f, out);
    }
    framing_end(&f);
    take(&f, out);
    framing_deinit(&f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n == 0)
        return 0;
    enum framing_kind kind = (enum framing_kind)(FRAMING_SSE + data[0] % 3);
    struct str in = str_n((const char *)data + 1, n - 1);
    struct buf whole, cut;
    run(kind, in, n, &whole);
    run(kind, in, 1 + data[0] / 3u % 20, &cut);
    BUG_ON(!str_eq(buf_str(&whole), buf_str(&cut)));
    buf_deinit(&whole);
    buf_deinit(&cut);
    return 0;
}
