/* Texts as rows of tokens: whole, cut, or as windows that overlap.
 *
 * L is max_sequence_length, e the special tokens around: a row has room for L - e tokens of text.
 */
#include "tokenization.h"
#include "tokenizer_private.h"

#define MAX_WINDOW_TOKENS (1u << 22) /* in all windows of a text */
#define MAX_TEXT_BYTES    (1u << 30)

struct job {
    const struct tokenization *t;
    const struct template *template;
    struct arena *arena;
    struct pieces texts[2];
    uint64_t n[2]; /* tokens of each, cut or not */
    uint64_t room;
    uint32_t extra;
    bool is_pair;
    struct windows *out;
};

static void row(struct job *j, size_t from, size_t n_a, size_t n_b, struct tokens *out)
{
    bool windows = !j->is_pair && j->t->span >= 0 && j->t->truncate == TRUNCATE_NONE;
    const struct part parts[2] = {{&j->texts[0], windows ? from : 0, n_a},
                                  {&j->texts[1], from, n_b}};
    *out = (struct tokens){.truncated = j->out->is_truncated};
    tokenizer_assemble(j->template, j->arena, parts, out);
    uint64_t whole = j->texts[0].total + j->texts[1].total + j->extra;
    out->n_untruncated = whole > UINT32_MAX ? UINT32_MAX : (uint32_t)whole;
}

static struct err *one_row(struct job *j)
{
    j->out->n = 1;
    j->out->items = arena_array(j->arena, 1, sizeof(struct tokens));
    row(j, 0, j->n[0], j->n[1], j->out->items);
    return NULL;
}

static struct err *too_large(const struct job *j)
{
    unsigned long long whole = j->n[0] + j->n[1] + j->extra;
    return err_status(400,
                      "Input too large. The tokenized input length [%llu] exceeds the maximum "
                      "sequence length [%u]",
                      whole, j->t->max_sequence_length);
}

static struct err *other_too_large(const struct job *j, int other)
{
    return err_status(400,
                      "Attempting truncation [%s] but input is too large for the %s sequence. The "
                      "tokenized input length [%llu] exceeds the maximum sequence length [%llu], "
                      "when taking special tokens into account",
                      truncate_name(j->t->truncate), other ? "second" : "first",
                      (unsigned long long)j->n[other], (unsigned long long)j->room);
}

static void balance(struct job *j)
{
    uint64_t half = j->room / 2;
    uint64_t most = j->n[1] > half ? half : j->room - j->n[1];
    if (j->n[0] > most)
        j->n[0] = most;
    if (j->n[1] > j->room - j->n[0])
        j->n[1] = j->room - j->n[0];
}

/* More than fits, and no windows. */
static struct err *truncate_rows(struct job *j)
{
    j->out->is_truncated = true;
    if (!j->is_pair) {
        j->n[0] = j->room;
        return one_row(j);
    }
    if (j->t->truncate == TRUNCATE_BALANCED) {
        balance(j);
        return one_row(j);
    }
    int cut = j->t->truncate == TRUNCATE_SECOND;
    if (j->n[!cut] > j->room)
        return other_too_large(j, !cut);
    j->n[cut] = j->room - j->n[!cut];
    return one_row(j);
}

/* --- windows --- */

static bool in_word(const struct pieces *p, size_t i)
{
    return i > 0 && i < p->n && p->words[i] == p->words[i - 1];
}

/* Where the window that begins at `from` ends: between words, unless one word fills it. */
static size_t window_end(const struct pieces *p, size_t from, size_t room)
{
    if (p->n - from <= room)
        return p->n;
    size_t end = from + room;
    while (end > from && in_word(p, end))
        end--;
    return end > from ? end : from + room;
}

/* Where the next one begins: `span` tokens back, at a word, and always further on. */
static size_t next_window(const struct pieces *p, size_t from, size_t end, size_t span)
{
    size_t next = end - from > span ? end - span : from;
    while (next > from && in_word(p, next))
        next--;
    return next > from ? next : end;
}

static size_t count_windows(const struct pieces *p, size_t room, size_t span)
{
    size_t n = 1;
    for (size_t from = 0, end; (end = window_end(p, from, room)) < p->n; n++)
        from = next_window(p, from, end, span);
    return n;
}

static struct err *pair_fits_windows(const struct job *j)
{
    unsigned long long first = j->n[0] + j->extra, span = (unsigned long long)j->t->span;
    unsigned long long both = first + span;
    if (first >= j->t->max_sequence_length)
        return err_status(400,
                          "Unable to do sequence pair tokenization: the first sequence [%llu "
                          "tokens] is longer than the max sequence length [%u tokens]",
                          first, j->t->max_sequence_length);
    if (both > j->t->max_sequence_length)
        return err_status(400,
                          "Unable to do sequence pair tokenization: the combined first sequence "
                          "and span length [%llu + %llu = %llu tokens] is longer than the max "
                          "sequence length [%u tokens]",
                          first, span, both, j->t->max_sequence_length);
    return NULL;
}

/* Over the only text, or over the second while the first is in each. */
static struct err *window_rows(struct job *j)
{
    if (j->is_pair)
        TRY(pair_fits_windows(j));
    const struct pieces *p = &j->texts[j->is_pair];
    size_t room = j->room - (j->is_pair ? j->n[0] : 0), span = (size_t)j->t->span;
    if (room == 0 || p->total > p->n)
        return too_large(j);
    size_t n = count_windows(p, room, span);
    if (n > MAX_WINDOW_TOKENS / j->t->max_sequence_length + 1)
        return err_status(400,
                          "Input too large. The tokenized input length [%llu] takes [%zu] windows "
                          "of [%u] tokens",
                          (unsigned long long)p->total, n, j->t->max_sequence_length);
    j->out->n = n;
    j->out->items = arena_array(j->arena, n, sizeof(struct tokens));
    for (size_t i = 0, from = 0; i < n; i++) {
        size_t end = window_end(p, from, room);
        row(j, from, j->is_pair ? j->n[0] : end - from, j->is_pair ? end - from : 0,
            &j->out->items[i]);
        from = next_window(p, from, end, span);
    }
    return NULL;
}

struct err *tokenization_encode(const struct tokenization *t, const struct tokenizer *tokenizer,
                                struct arena *arena, struct str a, struct str b,
                                struct windows *out)
{
    struct job j = {.t = t, .arena = arena, .out = out, .is_pair = b.p != NULL};
    j.template = j.is_pair ? &tokenizer->pair : &tokenizer->single;
    j.extra = j.template->n_special;
    bool windows = t->truncate == TRUNCATE_NONE && t->span >= 0;
    uint32_t limit = windows ? MAX_WINDOW_TOKENS : t->max_sequence_length;
    *out = (struct windows){0};
    if (a.n > MAX_TEXT_BYTES || b.n > MAX_TEXT_BYTES)
        return err_new(ERR_TOO_LARGE, "a text of [%zu] bytes is too long to be tokenized",
                       a.n > b.n ? a.n : b.n);
    for (int i = 0; i < 1 + j.is_pair; i++) {
        j.texts[i] = (struct pieces){.arena = arena, .limit = limit};
        tokenizer_pieces(tokenizer, i ? b : a, &j.texts[i]);
        j.n[i] = j.texts[i].total;
    }
    if (j.n[0] + j.n[1] + j.extra <= t->max_sequence_length)
        return one_row(&j);
    if (t->max_sequence_length < j.extra)
        return too_large(&j);
    j.room = t->max_sequence_length - j.extra;
    if (t->truncate != TRUNCATE_NONE)
        return truncate_rows(&j);
    return windows ? window_rows(&j) : too_large(&j);
}
