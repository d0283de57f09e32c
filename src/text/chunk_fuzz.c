/* Any text, any plan, separators too: chunks lie inside the text, in order, and both kinds of
 * offsets agree. */
#include <stdlib.h>

#include "chunk.h"
#include "unicode.h"

static void check(const struct chunks *c, struct str text)
{
    if (c->n == 0)
        abort();
    for (size_t i = 0; i < c->n; i++) {
        const struct chunk *k = &c->list[i];
        if (k->from > k->to || k->to > text.n || (i && k->end <= c->list[i - 1].end) ||
            utf16_length(str_sub(text, 0, k->from)) != k->start ||
            utf16_length(str_sub(text, k->from, k->to - k->from)) != k->end - k->start)
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 4)
        return 0;
    struct arena *arena = arena_new(ARENA_NO_LIMIT);
    struct str rest = str_utf8_repair(arena, str_n((const char *)data + 3, size - 3));
    struct str separators[3] = {{0}};
    size_t n = data[0] / 4 % 4;
    for (size_t i = 0; i < n; i++) {
        if (!str_split(&rest, '\0', &separators[i]))
            n = i;
    }
    struct chunk_plan plan = {.by = data[0] % 4,
                              .max_words = 1 + data[1] % 64,
                              .separators = separators,
                              .n_separators = n};
    plan.overlap = plan.by == CHUNK_BY_WORD ? data[2] % (plan.max_words / 2 + 1) : data[2] % 2;
    struct chunks chunks;
    struct err *e = chunk_text(&plan, arena, rest, 1 + data[2], &chunks);
    if (!e)
        check(&chunks, rest);
    err_free(e);
    arena_free(arena);
    return 0;
}
