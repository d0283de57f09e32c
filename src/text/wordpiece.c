/* WordPiece: BERT's words cut into the longest pieces the vocabulary has, left to right.
 *
 * Reference: huggingface/tokenizers, BertPreTokenizer and models/wordpiece. A word is what stands
 * between white space and punctuation; punctuation characters are words. A word of which any part
 * is unknown, or which has more than max_input_chars_per_word characters, is one [UNK].
 *
 * ASCII goes through a table from byte to class, the rest through bert_normalize. Either way the
 * characters gather in one word buffer, and each finished word is walked through the vocabulary's
 * trie: from every start the walk remembers the last end it passed. That is quadratic at worst, but
 * in a word of at most max_input_chars_per_word characters, and it ends where no token goes on. */
#include <stdlib.h>

#include "bert_normalizer.h"
#include "bug.h"
#include "tokenizer_kind.h"
#include "unicode.h"

#define MAX_WORD_CHARS 10000

enum ascii_class { ASCII_DROP, ASCII_SPACE, ASCII_PUNCT, ASCII_WORD, ASCII_OTHER /* not ASCII */ };

struct wordpiece {
    struct bert_normalizer normalizer;
    const struct vocab *vocab;
    uint32_t continuing; /* trie node the continuing prefix leads to; 0: no token has it */
    int32_t unknown;
    uint32_t max_chars;
    uint8_t ascii_class[256];
    uint8_t ascii_lower[128];
};

#define SMALL_CHARS       100 /* max_input_chars_per_word of every BERT there is: fits on the stack */
#define ROOM_WORDS(chars) ((size_t)(chars) * (4 + 4 + 1 + 1 + 1))

/* The word being gathered. Beyond max_chars only its end is kept up to date. */
struct word {
    const struct wordpiece *w;
    struct pieces *out;
    struct bert_run run;
    uint8_t *p;            /* room for max_chars of 4 bytes; so have begin and end */
    uint32_t *begin, *end; /* per byte; unset while `plain` */
    int32_t *ids;          /* of the pieces cut() found, at most max_chars */
    uint32_t *cuts;        /* where they end */
    uint32_t *heap;
    uint32_t small[ROOM_WORDS(SMALL_CHARS)];
    uint32_t n, n_chars;
    uint32_t first, last; /* bytes of the original it stands for */
    bool plain;           /* byte i of it is byte first + i of the original */
};

static void word_init(struct word *word, const struct wordpiece *w, struct pieces *out)
{
    size_t chars = w->max_chars;
    word->w = w;
    word->out = out;
    word->run = (struct bert_run){0};
    word->n = word->n_chars = word->first = word->last = 0;
    word->plain = false;
    word->heap = chars > SMALL_CHARS ? mem_array(ROOM_WORDS(chars), sizeof(uint32_t)) : NULL;
    uint32_t *room = word->heap ? word->heap : word->small;
    word->begin = room;
    word->end = room + chars * 4;
    word->ids = (int32_t *)(room + chars * 8);
    word->cuts = room + chars * 9;
    word->p = (uint8_t *)(room + chars * 10);
}

static void word_deinit(struct word *word)
{
    bert_run_free(&word->run);
    free(word->heap);
}

/* Cuts the word; the number of pieces, 0 when a part of it is unknown. */
static uint32_t cut(const struct word *word)
{
    const struct trie *trie = word->w->vocab->trie;
    uint32_t n = 0, start = 0;
    uint32_t at = TRIE_ROOT;
    while (start < word->n) {
        uint32_t best = 0, best_end = 0;
        for (uint32_t i = start; i < word->n; i++) {
            at = trie_step(trie, at, word->p[i]);
            if (!at)
                break;
            if (trie_ends(at)) {
                best = at;
                best_end = i + 1;
            }
        }
        if (!best)
            return 0;
        word->ids[n] = trie_value(trie, best);
        word->cuts[n++] = best_end;
        start = best_end;
        at = word->w->continuing;
        if (!at && start < word->n)
            return 0;
    }
    return n;
}

static void word_finish(struct word *word)
{
    uint32_t n = word->n_chars > word->w->max_chars ? 0 : cut(word);
    word->out->word++;
    if (n == 0)
        pieces_add(word->out, word->w->unknown, word->first, word->last);
    uint32_t from = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t to = word->cuts[i];
        if (word->plain)
            pieces_add(word->out, word->ids[i], word->first + from, word->first + to);
        else
            pieces_add(word->out, word->ids[i], word->begin[from], word->end[to - 1]);
        from = to;
    }
    word->n = word->n_chars = 0;
}

static inline void word_end(struct word *word)
{
    if (word->n_chars)
        word_finish(word);
}

static void word_start(struct word *word, uint32_t begin, bool plain)
{
    word->first = begin;
    word->plain = plain;
}

/* From here on origins are kept byte by byte. */
static void word_set_origins(struct word *word)
{
    for (uint32_t i = 0; i < word->n; i++) {
        word->begin[i] = word->first + i;
        word->end[i] = word->first + i + 1;
    }
    word->plain = false;
}

static void word_put(struct word *word, uint32_t c, uint32_t begin, uint32_t end)
{
    if (word->n_chars == 0)
        word_start(word, begin, false);
    else if (word->plain)
        word_set_origins(word);
    word->last = end;
    if (word->n_chars++ >= word->w->max_chars)
        return;
    size_t n = utf8_put((char *)word->p + word->n, c);
    for (size_t i = 0; i < n; i++) {
        word->begin[word->n] = begin;
        word->end[word->n++] = end;
    }
}

static void take(void *ctx, const struct norm_char *chars, size_t n)
{
    struct word *word = ctx;
    for (size_t i = 0; i < n; i++) {
        uint8_t flags = bert_char(chars[i].c)->flags;
        if (flags & (BERT_WHITE | BERT_PUNCT))
            word_end(word);
        if (flags & BERT_WHITE)
            continue;
        word_put(word, chars[i].c, chars[i].begin, chars[i].end);
        if (flags & BERT_PUNCT)
            word_end(word);
    }
}

/* A run of ASCII letters, digits and the like: p[0..n) are all ASCII_WORD, n > 0. */
static void take_ascii(struct word *word, const uint8_t *p, uint32_t n, uint32_t at)
{
    const struct wordpiece *w = word->w;
    if (word->n_chars == 0)
        word_start(word, at, true);
    else if (word->plain && word->first + word->n != at && word->n_chars <= w->max_chars)
        word_set_origins(word);
    word->last = at + n;
    uint32_t fits = word->n_chars < w->max_chars ? w->max_chars - word->n_chars : 0;
    word->n_chars = n > UINT32_MAX - word->n_chars ? UINT32_MAX : word->n_chars + n;
    if (fits > n)
        fits = n;
    uint8_t *to = word->p + word->n;
    for (uint32_t i = 0; i < fits; i++)
        to[i] = w->ascii_lower[p[i]];
    if (!word->plain) {
        for (uint32_t i = 0; i < fits; i++) {
            word->begin[word->n + i] = at + i;
            word->end[word->n + i] = at + i + 1;
        }
    }
    word->n += fits;
}

static void wordpiece_encode(const void *model, struct str text, uint32_t at, struct pieces *out)
{
    const struct wordpiece *w = model;
    struct word word;
    word_init(&word, w, out);
    const uint8_t *p = (const uint8_t *)text.p, *end = p + text.n;
    while (p < end) {
        const uint8_t *start = p;
        uint32_t from = at + (uint32_t)(p - (const uint8_t *)text.p);
        switch (w->ascii_class[*p++]) {
        case ASCII_WORD:
            while (p < end && w->ascii_class[*p] == ASCII_WORD)
                p++;
            take_ascii(&word, start, (uint32_t)(p - start), from);
            break;
        case ASCII_SPACE:
            word_end(&word);
            break;
        case ASCII_PUNCT:
            word_end(&word);
            take_ascii(&word, start, 1, from);
            word_end(&word);
            break;
        case ASCII_OTHER:
            /* What is dropped stays inside: marks on both sides of it are one run. */
            while (p < end &&
                   (w->ascii_class[*p] == ASCII_OTHER || w->ascii_class[*p] == ASCII_DROP))
                p++;
            bert_normalize(&w->normalizer, str_n((const char *)start, (size_t)(p - start)), from,
                           &word.run, take, &word);
            break;
        default:
            break;
        }
    }
    word_end(&word);
    word_deinit(&word);
}

static void take_norm(void *ctx, const struct norm_char *chars, size_t n)
{
    for (size_t i = 0; i < n; i++)
        norm_text_put(ctx, chars[i].c, chars[i].begin, chars[i].end);
}

static void wordpiece_normalize(const void *model, struct str text, uint32_t at,
                                struct norm_text *out)
{
    const struct wordpiece *w = model;
    struct bert_run run = {0};
    bert_normalize(&w->normalizer, text, at, &run, take_norm, out);
    bert_run_free(&run);
}

static void wordpiece_encode_normalized(const void *model, const struct norm_text *t, size_t from,
                                        size_t to, struct pieces *out)
{
    struct word word;
    word_init(&word, model, out);
    for (size_t i = from; i < to;) {
        struct norm_char c;
        size_t n = bert_utf8((const uint8_t *)t->p + i, to - i, &c.c);
        c.begin = t->begin[i];
        c.end = t->end[i + n - 1];
        take(&word, &c, 1);
        i += n;
    }
    word_end(&word);
    word_deinit(&word);
}

static void fill_ascii(struct wordpiece *w)
{
    memset(w->ascii_class, ASCII_OTHER, sizeof(w->ascii_class));
    for (uint32_t c = 0; c < 128; c++) {
        const struct bert_char *b = bert_char(c);
        w->ascii_lower[c] = (uint8_t)(w->normalizer.lowercase ? c + (uint32_t)b->lower : c);
        if (w->normalizer.clean_text && (b->flags & BERT_DROP))
            w->ascii_class[c] = ASCII_DROP;
        else if (b->flags & BERT_WHITE)
            w->ascii_class[c] = ASCII_SPACE;
        else if (b->flags & BERT_PUNCT)
            w->ascii_class[c] = ASCII_PUNCT;
        else
            w->ascii_class[c] = ASCII_WORD;
    }
}

static struct err *member_str(const struct json *model, const char *name, const char *preset,
                              struct str *out)
{
    const struct json *j = json_get(model, name);
    *out = str_c(preset);
    if (!j || json_str(j, out))
        return NULL;
    return err_new(ERR_ARGUMENT, "member [model.%s] must be a string", name);
}

static struct err *read_model(struct wordpiece *w, const struct json *model)
{
    struct str unknown, prefix;
    TRY(member_str(model, "unk_token", "[UNK]", &unknown));
    TRY(member_str(model, "continuing_subword_prefix", "##", &prefix));
    w->unknown = vocab_find(w->vocab, unknown);
    if (w->unknown < 0)
        return err_new(ERR_ARGUMENT, "member [model.unk_token] must be in the vocabulary");
    w->continuing = trie_node(w->vocab->trie, prefix);
    int64_t max_chars = 100;
    const struct json *j = json_get(model, "max_input_chars_per_word");
    if (j && (!json_i64(j, &max_chars) || max_chars < 1 || max_chars > MAX_WORD_CHARS))
        return err_new(ERR_ARGUMENT,
                       "member [model.max_input_chars_per_word] must be an integer from 1 to %d",
                       MAX_WORD_CHARS);
    w->max_chars = (uint32_t)max_chars;
    return NULL;
}

static struct err *check_pre_tokenizer(const struct json *j)
{
    struct str type;
    if (json_str(json_get(j, "type"), &type) && str_eq_c(type, "BertPreTokenizer"))
        return NULL;
    return err_new(ERR_ARGUMENT, "member [pre_tokenizer] must be a [BertPreTokenizer]");
}

static struct err *wordpiece_open(const struct json *root, const struct vocab *vocab, void **out)
{
    bert_chars_init();
    struct wordpiece w = {.vocab = vocab};
    TRY(bert_normalizer_read(json_get(root, "normalizer"), &w.normalizer));
    TRY(check_pre_tokenizer(json_get(root, "pre_tokenizer")));
    TRY(read_model(&w, json_get(root, "model")));
    fill_ascii(&w);
    struct wordpiece *made = mem_new(sizeof(*made));
    *made = w;
    *out = made;
    return NULL;
}

static void wordpiece_free(void *model)
{
    free(model);
}

const struct tokenizer_kind tokenizer_wordpiece = {
    .type = "WordPiece",
    .open = wordpiece_open,
    .free = wordpiece_free,
    .encode = wordpiece_encode,
    .normalize = wordpiece_normalize,
    .encode_normalized = wordpiece_encode_normalized,
};
