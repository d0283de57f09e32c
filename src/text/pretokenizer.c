/* Each step goes over the words so far and leaves new ones. Matching and what becomes of a match
 * are apart: a matcher says where the next match or gap ends, an emitter joins or drops them. */
#include "pretokenizer.h"

#include <stdlib.h>

#include "bert_chars.h"
#include "bug.h"
#include "split_pattern.h"
#include "transform.h"
#include "unicode.h"

#define MAX_DEPTH   8
#define MAX_PATTERN 1024

enum step_kind {
    STEP_BYTE_LEVEL,
    STEP_METASPACE,
    STEP_WHITE, /* WhitespaceSplit */
    STEP_WORDS, /* Whitespace */
    STEP_BERT,
    STEP_PUNCTUATION,
    STEP_DIGITS,
    STEP_SPLIT
};

/* Of the delimiter, in tokenizers' words. */
enum behavior { REMOVED, ISOLATED, MERGED_WITH_PREVIOUS, MERGED_WITH_NEXT, CONTIGUOUS };

enum scheme { PREPEND_ALWAYS, PREPEND_FIRST, PREPEND_NEVER };

struct step {
    enum step_kind kind;
    enum behavior behavior;
    bool prefix_space, use_regex; /* ByteLevel */
    enum scheme scheme;           /* Metaspace */
    bool split;
    char replacement[4];
    uint32_t replacement_char;
    size_t n_replacement;
    bool individual; /* Digits */
    bool is_regex;   /* Split */
    enum split_pattern pattern;
    char text[MAX_PATTERN];
    size_t n_text;
};

struct pretokenizer {
    struct step steps[PRETOKENIZER_MAX_STEPS];
    size_t n;
};

void words_free(struct words *w)
{
    norm_text_free(&w->text);
    free(w->v);
    *w = (struct words){0};
}

static void add(struct words *w, size_t from, size_t to, uint32_t origin)
{
    if (from == to)
        return;
    if (w->n == w->cap) {
        w->cap = w->cap ? w->cap * 2 : 256;
        w->v = mem_grow(w->v, w->cap * sizeof(*w->v));
    }
    w->v[w->n++] = (struct word_span){(uint32_t)from, (uint32_t)to, origin};
}

/* --- what becomes of matches --- */

struct emitter {
    const struct norm_text *text;
    struct words *out;
    enum behavior behavior;
    size_t from, to; /* held back: it may still grow */
    bool held, last_matched;
};

static void flush(struct emitter *e)
{
    if (e->held)
        add(e->out, e->from, e->to, e->text->begin[e->from]);
    e->held = false;
}

static void hold(struct emitter *e, size_t from, size_t to)
{
    flush(e);
    e->from = from;
    e->to = to;
    e->held = true;
}

static void emit(struct emitter *e, size_t from, size_t to, bool matched)
{
    bool join = false;
    switch (e->behavior) {
    case REMOVED:
        if (matched)
            return;
        break;
    case ISOLATED:
        break;
    case MERGED_WITH_PREVIOUS:
        join = matched && !e->last_matched;
        break;
    case MERGED_WITH_NEXT:
        join = !matched && e->last_matched;
        break;
    case CONTIGUOUS:
        join = matched == e->last_matched;
        break;
    }
    e->last_matched = matched;
    if (join && e->held)
        e->to = to;
    else
        hold(e, from, to);
}

/* --- matchers: the end of the match or of the gap that begins at byte i --- */

static uint8_t flags_at(struct str s, size_t i, size_t *n_out)
{
    uint32_t c;
    *n_out = bert_utf8((const uint8_t *)s.p + i, s.n - i, &c);
    return bert_char(c)->flags;
}

/* Single characters that have one of the flags. */
static size_t next_flagged(struct str s, size_t i, uint8_t flags, bool *matched)
{
    size_t n;
    *matched = flags_at(s, i, &n) & flags;
    i += n;
    while (!*matched && i < s.n && !(flags_at(s, i, &n) & flags))
        i += n;
    return i;
}

/* Runs of \w, and of what is neither that nor white space. */
static size_t next_word(struct str s, size_t i, bool *matched)
{
    size_t n;
    uint8_t k = flags_at(s, i, &n) & (BERT_WORD | BERT_WHITE);
    *matched = k & BERT_WHITE;
    do
        i += n;
    while (i < s.n && (flags_at(s, i, &n) & (BERT_WORD | BERT_WHITE)) == k);
    return i;
}

static bool is_number(struct str s, size_t i, size_t *n_out)
{
    uint32_t c;
    *n_out = bert_utf8((const uint8_t *)s.p + i, s.n - i, &c);
    return unicode_is_number(c);
}

static size_t next_digits(struct str s, size_t i, bool *matched)
{
    size_t n;
    *matched = is_number(s, i, &n);
    i += n;
    while (!*matched && i < s.n && !is_number(s, i, &n))
        i += n;
    return i;
}

static size_t next_text(struct str s, size_t i, struct str text, bool *matched)
{
    size_t found = text.n ? str_find(str_sub(s, i, s.n), text) : SIZE_MAX;
    *matched = found == 0;
    return found == SIZE_MAX ? s.n : *matched ? i + text.n : i + found;
}

static size_t next_match(const struct step *s, struct str text, size_t i, bool *matched)
{
    *matched = true;
    switch (s->kind) {
    case STEP_BYTE_LEVEL:
        return split_pattern_next(SPLIT_GPT2, text, i);
    case STEP_METASPACE:
        return next_text(text, i, str_n(s->replacement, s->n_replacement), matched);
    case STEP_WHITE:
        return next_flagged(text, i, BERT_WHITE, matched);
    case STEP_WORDS:
        return next_word(text, i, matched);
    case STEP_PUNCTUATION:
    case STEP_BERT:
        return next_flagged(text, i, BERT_PUNCT, matched);
    case STEP_DIGITS:
        return next_digits(text, i, matched);
    case STEP_SPLIT:
        if (s->is_regex)
            return split_pattern_next(s->pattern, text, i);
        return next_text(text, i, str_n(s->text, s->n_text), matched);
    }
    return text.n;
}

static void cut(const struct step *s, const struct norm_text *t, size_t from, size_t to,
                struct words *out)
{
    struct emitter e = {.text = t, .out = out, .behavior = s->behavior};
    struct str text = {t->p + from, to - from};
    for (size_t i = 0; i < text.n;) {
        bool matched;
        size_t end = next_match(s, text, i, &matched);
        emit(&e, from + i, from + end, matched);
        i = end;
    }
    flush(&e);
}

/* White space goes first, then punctuation stands alone. */
static void cut_bert(const struct step *s, const struct norm_text *t, size_t from, size_t to,
                     struct words *out)
{
    struct str text = {t->p + from, to - from};
    for (size_t i = 0; i < text.n;) {
        bool matched;
        size_t end = next_flagged(text, i, BERT_WHITE, &matched);
        if (!matched)
            cut(s, t, from + i, from + end, out);
        i = end;
    }
}

/* --- steps that put characters in --- */

static void put_metaspace(const struct step *s, const struct norm_text *in,
                          const struct word_span *w, struct norm_text *out)
{
    struct str text = {in->p + w->from, w->to - w->from};
    bool has = text.p[0] == ' ' || str_starts(text, str_n(s->replacement, s->n_replacement));
    if (!has && (s->scheme == PREPEND_ALWAYS || (s->scheme == PREPEND_FIRST && w->origin == 0)))
        norm_text_put(out, s->replacement_char, in->begin[w->from], in->end[w->from]);
    for (size_t i = w->from, copied = i;; i++) {
        if (i < w->to && in->p[i] != ' ')
            continue;
        norm_text_copy(out, in, copied, i);
        if (i == w->to)
            return;
        norm_text_put(out, s->replacement_char, in->begin[i], in->end[i]);
        copied = i + 1;
    }
}

static void put_prefix_space(const struct norm_text *in, const struct word_span *w,
                             struct norm_text *out)
{
    if (in->p[w->from] != ' ')
        norm_text_put(out, ' ', in->begin[w->from], in->end[w->from]);
    norm_text_copy(out, in, w->from, w->to);
}

/* The words' text anew, with what the step puts in. */
static void rewrite(const struct step *s, struct words *w)
{
    struct norm_text out = {0};
    norm_text_reserve(&out, w->text.n + w->n * 4);
    for (size_t i = 0; i < w->n; i++) {
        size_t from = out.n;
        if (s->kind == STEP_METASPACE)
            put_metaspace(s, &w->text, &w->v[i], &out);
        else
            put_prefix_space(&w->text, &w->v[i], &out);
        w->v[i].from = (uint32_t)from;
        w->v[i].to = (uint32_t)out.n;
    }
    norm_text_free(&w->text);
    w->text = out;
}

static bool rewrites(const struct step *s)
{
    return s->kind == STEP_METASPACE || (s->kind == STEP_BYTE_LEVEL && s->prefix_space);
}

static bool cuts(const struct step *s)
{
    return s->kind == STEP_METASPACE ? s->split : s->kind != STEP_BYTE_LEVEL || s->use_regex;
}

static void run_step(const struct step *s, struct words *w)
{
    if (rewrites(s))
        rewrite(s, w);
    if (!cuts(s))
        return;
    struct words next = {.cap = w->n + w->text.n / 8 + 16};
    next.v = mem_array(next.cap, sizeof(*next.v));
    for (size_t i = 0; i < w->n; i++) {
        if (s->kind == STEP_BERT)
            cut_bert(s, &w->text, w->v[i].from, w->v[i].to, &next);
        else
            cut(s, &w->text, w->v[i].from, w->v[i].to, &next);
    }
    free(w->v);
    w->v = next.v;
    w->n = next.n;
    w->cap = next.cap;
}

void pretokenizer_run(const struct pretokenizer *p, const struct norm_text *in, size_t from,
                      size_t to, struct words *w)
{
    w->n = w->text.n = 0;
    norm_text_copy(&w->text, in, from, to);
    add(w, 0, w->text.n, in->begin[from]);
    for (size_t i = 0; i < p->n; i++)
        run_step(&p->steps[i], w);
}

bool pretokenizer_is_byte_level(const struct pretokenizer *p)
{
    return p->n && p->steps[p->n - 1].kind == STEP_BYTE_LEVEL;
}

bool pretokenizer_may_cut(const struct pretokenizer *p)
{
    for (size_t i = 0; i < p->n; i++) {
        const struct step *s = &p->steps[i];
        if (s->kind == STEP_WHITE || s->kind == STEP_WORDS || s->kind == STEP_BERT)
            return true;
        if (s->kind == STEP_METASPACE || s->kind == STEP_BYTE_LEVEL)
            return cuts(s);
        if (s->kind != STEP_SPLIT || !s->is_regex || s->behavior != ISOLATED)
            return false;
        return true;
    }
    return false;
}

/* --- reading --- */

static struct err *bad(const char *member, const char *must)
{
    return err_new(ERR_ARGUMENT, "member [pre_tokenizer.%s] %s", member, must);
}

static struct err *unknown(const char *member, struct str value)
{
    return err_new(ERR_ARGUMENT, "member [pre_tokenizer.%s] has the unknown value [%.*s]", member,
                   (int)(value.n < 200 ? value.n : 200), value.p);
}

static struct err *read_flag(const struct json *j, const char *name, bool preset, bool *out)
{
    const struct json *flag = json_get(j, name);
    *out = preset;
    if (json_is_null(flag) || json_bool(flag, out))
        return NULL;
    return bad(name, "must be true or false");
}

static struct err *read_behavior(const struct json *j, enum behavior *out)
{
    static const char *const names[] = {"Removed", "Isolated", "MergedWithPrevious",
                                        "MergedWithNext", "Contiguous"};
    struct str name;
    if (!json_str(json_get(j, "behavior"), &name))
        return bad("behavior", "must be a string");
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (str_eq_c(name, names[i])) {
            *out = (enum behavior)i;
            return NULL;
        }
    }
    return unknown("behavior", name);
}

static struct err *read_byte_level(const struct json *j, struct step *s)
{
    s->behavior = ISOLATED;
    TRY(read_flag(j, "add_prefix_space", true, &s->prefix_space));
    return read_flag(j, "use_regex", true, &s->use_regex);
}

static struct err *read_scheme(const struct json *j, enum scheme *out)
{
    static const char *const names[] = {"always", "first", "never"};
    struct str name = STR("always");
    bool prefix = true, found = false;
    const struct json *scheme = json_get(j, "prepend_scheme");
    if (scheme && !json_str(scheme, &name))
        return bad("prepend_scheme", "must be a string");
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (str_eq_c(name, names[i])) {
            *out = (enum scheme)i;
            found = true;
        }
    }
    if (!found)
        return unknown("prepend_scheme", name);
    TRY(read_flag(j, "add_prefix_space", true, &prefix));
    if (!prefix && scheme && *out != PREPEND_NEVER)
        return bad("add_prefix_space", "does not go with [prepend_scheme]");
    if (!prefix)
        *out = PREPEND_NEVER;
    return NULL;
}

static struct err *read_metaspace(const struct json *j, struct step *s)
{
    struct str text;
    s->behavior = MERGED_WITH_NEXT;
    if (!json_str(json_get(j, "replacement"), &text) || text.n == 0 ||
        bert_utf8((const uint8_t *)text.p, text.n, &s->replacement_char) != text.n)
        return bad("replacement", "must be one character");
    s->n_replacement = utf8_put(s->replacement, s->replacement_char);
    TRY(read_scheme(j, &s->scheme));
    return read_flag(j, "split", true, &s->split);
}

static struct err *read_split(const struct json *j, struct step *s)
{
    bool invert;
    struct str text;
    TRY(read_behavior(j, &s->behavior));
    TRY(read_flag(j, "invert", false, &invert));
    const struct json *pattern = json_get(j, "pattern");
    if (json_str(json_get(pattern, "Regex"), &text)) {
        s->is_regex = true;
        if (!split_pattern_find(text, &s->pattern))
            return unknown("pattern.Regex", text);
        /* Everything matches: gaps are removed, what matches is kept apart. */
        if (invert && s->behavior == REMOVED)
            s->behavior = ISOLATED;
        else if (invert)
            return bad("invert", "must be false with this [behavior]");
        return NULL;
    }
    if (!json_str(json_get(pattern, "String"), &text) || text.n > MAX_PATTERN)
        return bad("pattern", "must have a [Regex] or a [String] of at most 1024 bytes");
    if (invert)
        return bad("invert", "must be false with a [String]");
    if (text.n)
        memcpy(s->text, text.p, text.n);
    s->n_text = text.n;
    return NULL;
}

static struct err *read_digits(const struct json *j, struct step *s)
{
    TRY(read_flag(j, "individual_digits", false, &s->individual));
    s->behavior = s->individual ? ISOLATED : CONTIGUOUS;
    return NULL;
}

static struct err *read_punctuation(const struct json *j, struct step *s)
{
    s->behavior = ISOLATED;
    return json_get(j, "behavior") ? read_behavior(j, &s->behavior) : NULL;
}

static struct err *read_params(const struct json *j, struct step *s)
{
    switch (s->kind) {
    case STEP_BYTE_LEVEL:
        return read_byte_level(j, s);
    case STEP_METASPACE:
        return read_metaspace(j, s);
    case STEP_SPLIT:
        return read_split(j, s);
    case STEP_DIGITS:
        return read_digits(j, s);
    case STEP_PUNCTUATION:
        return read_punctuation(j, s);
    case STEP_BERT:
        s->behavior = ISOLATED;
        return NULL;
    case STEP_WHITE:
    case STEP_WORDS:
        s->behavior = REMOVED;
        return NULL;
    }
    return NULL;
}

static const struct {
    const char *type;
    enum step_kind kind;
} types[] = {
    {"ByteLevel", STEP_BYTE_LEVEL},  {"Metaspace", STEP_METASPACE},
    {"WhitespaceSplit", STEP_WHITE}, {"Whitespace", STEP_WORDS},
    {"BertPreTokenizer", STEP_BERT}, {"Punctuation", STEP_PUNCTUATION},
    {"Digits", STEP_DIGITS},         {"Split", STEP_SPLIT},
};

static struct err *read_steps(struct pretokenizer *p, const struct json *j, int depth)
{
    struct str type;
    if (!json_str(json_get(j, "type"), &type))
        return bad("type", "must be a string");
    if (str_eq_c(type, "Sequence")) {
        const struct json *list = json_get(j, "pretokenizers");
        if (!json_is(list, JSON_ARRAY) || depth == MAX_DEPTH)
            return bad("pretokenizers", "must be an array, nested at most 8 times");
        struct json_iter it = json_iter(list);
        for (const struct json *item; (item = json_next(&it));)
            TRY(read_steps(p, item, depth + 1));
        return NULL;
    }
    if (p->n == PRETOKENIZER_MAX_STEPS)
        return bad("pretokenizers", "has too many steps");
    if (pretokenizer_is_byte_level(p))
        return bad("pretokenizers", "must have ByteLevel last");
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        if (!str_eq_c(type, types[i].type))
            continue;
        struct step *s = &p->steps[p->n++];
        s->kind = types[i].kind;
        return read_params(j, s);
    }
    return unknown("type", type);
}

struct err *pretokenizer_read(const struct json *j, struct pretokenizer **out)
{
    bert_chars_init();
    struct pretokenizer *p = mem_new(sizeof(*p));
    struct err *err = json_is_null(j) ? NULL : read_steps(p, j, 0);
    if (err) {
        pretokenizer_free(p);
        return err;
    }
    *out = p;
    return NULL;
}

void pretokenizer_free(struct pretokenizer *p)
{
    free(p);
}
