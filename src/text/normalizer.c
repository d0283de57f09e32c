/* Every step reads one text and writes another; two buffers take turns. */
#include "normalizer.h"

#include <stdlib.h>

#include "bert_normalizer.h"
#include "bug.h"
#include "charsmap.h"
#include "normal_forms.h"
#include "unicode.h"

#define MAX_DEPTH   8
#define MAX_CONTENT 1024 /* bytes of a pattern or what replaces it */

enum step_kind {
    STEP_BERT,
    STEP_FORM,
    STEP_LOWERCASE,
    STEP_STRIP,
    STEP_STRIP_ACCENTS,
    STEP_REPLACE,
    STEP_PREPEND,
    STEP_CHARSMAP,
    STEP_NMT_NFKC, /* becomes STEP_CHARSMAP */
};

/* What Replace looks for: a text, or a run of one kind of character, at least so long. */
enum pattern { PATTERN_TEXT, PATTERN_SPACES, PATTERN_WHITE };

struct step {
    enum step_kind kind;
    struct bert_normalizer bert;
    enum normal_form form;
    bool left, right;
    enum pattern pattern;
    size_t at_least;
    struct str text, content; /* in the normalizer's arena */
    struct charsmap *owned_map;
    const struct charsmap *charsmap;
};

struct normalizer {
    struct arena *arena;
    struct step steps[NORMALIZER_MAX_STEPS];
    size_t n;
};

static uint32_t char_at(const struct norm_text *t, size_t i, size_t *n_out)
{
    uint32_t c;
    *n_out = bert_utf8((const uint8_t *)t->p + i, t->n - i, &c);
    return c;
}

/* --- steps --- */

struct bert_to {
    const struct norm_text *in;
    struct norm_text *out;
};

static void take_bert(void *ctx, const struct norm_char *chars, size_t n)
{
    const struct bert_to *to = ctx;
    for (size_t i = 0; i < n; i++)
        norm_text_put(to->out, chars[i].c, to->in->begin[chars[i].begin],
                      to->in->end[chars[i].end - 1]);
}

static void run_bert(const struct step *s, const struct norm_text *in, struct norm_text *out)
{
    struct bert_run run = {0};
    struct bert_to to = {in, out};
    bert_normalize(&s->bert, str_n(in->p, in->n), 0, &run, take_bert, &to);
    bert_run_free(&run);
}

static void run_lowercase(const struct norm_text *in, uint32_t at, struct norm_text *out)
{
    struct transform t = {.in = in, .out = out, .first = at};
    while (t.at < in->n) {
        size_t n;
        uint32_t c = char_at(in, t.at, &n);
        transform_put(&t, c + (uint32_t)bert_char(c)->lower, 0);
        if (c == 0x130)
            transform_put(&t, 0x307, 1);
    }
}

static void run_strip(const struct step *s, const struct norm_text *in, struct norm_text *out)
{
    size_t from = 0, to = 0, n;
    bool started = !s->left;
    for (size_t i = 0; i < in->n; i += n) {
        bool white = bert_char(char_at(in, i, &n))->flags & BERT_WHITE;
        if (!started && !white) {
            started = true;
            from = i;
        }
        if (!white || !s->right)
            to = i + n;
    }
    if (started && from < to)
        norm_text_copy(out, in, from, to);
}

/* Marks that came after the reference's Unicode version stay. Spans reach over what is no mark. */
static const uint32_t late_marks[][2] = {
    {0x7fd, 0x7fd},     {0x897, 0x89f},     {0x8ca, 0x8d3},     {0x9fe, 0x9fe},
    {0xafa, 0xaff},     {0xb55, 0xb55},     {0xc04, 0xc04},     {0xc3c, 0xc3c},
    {0xcf3, 0xcf3},     {0xd00, 0xd00},     {0xd3b, 0xd3c},     {0xd81, 0xd81},
    {0xeba, 0xeba},     {0xece, 0xece},     {0x1715, 0x1715},   {0x180f, 0x180f},
    {0x1abf, 0x1ace},   {0x1cf7, 0x1cf7},   {0x1df6, 0x1dfa},   {0xa82c, 0xa82c},
    {0xa8ff, 0xa8ff},   {0x10d24, 0x10d27}, {0x10d69, 0x10d6d}, {0x10eab, 0x10eac},
    {0x10efc, 0x10eff}, {0x10f46, 0x10f50}, {0x10f82, 0x10f85}, {0x11070, 0x11070},
    {0x11073, 0x11074}, {0x110c2, 0x110c2}, {0x11145, 0x11146}, {0x111c9, 0x111c9},
    {0x111ce, 0x111cf}, {0x11241, 0x11241}, {0x1133b, 0x1133b}, {0x113b8, 0x113e2},
    {0x1145e, 0x1145e}, {0x1182c, 0x119e4}, {0x11a01, 0x11a99}, {0x11d31, 0x11d97},
    {0x11ef3, 0x11f5a}, {0x13440, 0x13455}, {0x1611e, 0x1612f}, {0x16f4f, 0x16f4f},
    {0x16f7f, 0x16f87}, {0x16fe4, 0x16fe4}, {0x16ff0, 0x16ff1}, {0x1cf00, 0x1cf46},
    {0x1e08f, 0x1e08f}, {0x1e130, 0x1e136}, {0x1e2ae, 0x1e2ae}, {0x1e2ec, 0x1e2ef},
    {0x1e4ec, 0x1e4ef}, {0x1e5ee, 0x1e5ef}};

static bool is_mark(uint32_t c)
{
    if (c == 0x1cf2 || c == 0x1cf3) /* letters since Unicode 12 */
        return true;
    for (size_t i = 0; i < sizeof(late_marks) / sizeof(late_marks[0]); i++) {
        if (c >= late_marks[i][0] && c <= late_marks[i][1])
            return false;
    }
    enum unicode_category k = unicode_category(c);
    return k == UNICODE_MN || k == UNICODE_MC || k == UNICODE_ME;
}

static void run_strip_accents(const struct norm_text *in, struct norm_text *out)
{
    size_t n;
    for (size_t i = 0; i < in->n; i += n) {
        uint32_t c = char_at(in, i, &n);
        if (c < 0x300 || !is_mark(c))
            norm_text_copy(out, in, i, i + n);
    }
}

/* Length of a match at byte i; 0: none. */
static size_t match(const struct step *s, const struct norm_text *in, size_t i)
{
    if (s->pattern == PATTERN_TEXT)
        return s->text.n && s->text.n <= in->n - i && memcmp(in->p + i, s->text.p, s->text.n) == 0
                   ? s->text.n
                   : 0;
    size_t at = i, chars = 0, n;
    for (; at < in->n; at += n, chars++) {
        uint32_t c = char_at(in, at, &n);
        if (s->pattern == PATTERN_SPACES ? c != ' ' : !(bert_char(c)->flags & BERT_WHITE))
            break;
    }
    return chars >= s->at_least ? at - i : 0;
}

/* What replaces a match has the origin of its last character. */
static void run_replace(const struct step *s, const struct norm_text *in, struct norm_text *out)
{
    size_t copied = 0, n;
    for (size_t i = 0; i < in->n;) {
        size_t found = match(s, in, i);
        if (!found) {
            i += utf8_length(in->p[i]);
            continue;
        }
        norm_text_copy(out, in, copied, i);
        i += found;
        for (size_t k = 0; k < s->content.n; k += n) {
            uint32_t c;
            n = bert_utf8((const uint8_t *)s->content.p + k, s->content.n - k, &c);
            norm_text_put(out, c, in->begin[i - 1], in->end[i - 1]);
        }
        copied = i;
    }
    norm_text_copy(out, in, copied, in->n);
}

static void run_prepend(const struct step *s, const struct norm_text *in, struct norm_text *out)
{
    size_t n;
    for (size_t k = 0; in->n && k < s->content.n; k += n) {
        uint32_t c;
        n = bert_utf8((const uint8_t *)s->content.p + k, s->content.n - k, &c);
        norm_text_put(out, c, in->begin[0], in->end[0]);
    }
    norm_text_copy(out, in, 0, in->n);
}

static void run_step(const struct step *s, const struct norm_text *in, uint32_t at,
                     struct norm_text *out)
{
    switch (s->kind) {
    case STEP_BERT:
        run_bert(s, in, out);
        return;
    case STEP_FORM:
        normal_form_apply(s->form, in, at, out);
        return;
    case STEP_LOWERCASE:
        run_lowercase(in, at, out);
        return;
    case STEP_STRIP:
        run_strip(s, in, out);
        return;
    case STEP_STRIP_ACCENTS:
        run_strip_accents(in, out);
        return;
    case STEP_REPLACE:
        run_replace(s, in, out);
        return;
    case STEP_PREPEND:
        run_prepend(s, in, out);
        return;
    case STEP_CHARSMAP:
    case STEP_NMT_NFKC:
        charsmap_apply(s->charsmap, in, at, out);
        return;
    }
}

/* The text as it is; what is malformed becomes U+FFFD. */
static void fill(struct str text, uint32_t at, struct norm_text *out)
{
    norm_text_reserve(out, text.n);
    for (size_t i = 0; i < text.n;) {
        uint32_t c;
        size_t n = bert_utf8((const uint8_t *)text.p + i, text.n - i, &c);
        norm_text_put(out, c, at + (uint32_t)i, at + (uint32_t)(i + n));
        i += n;
    }
}

void normalizer_run(const struct normalizer *n, struct str text, uint32_t at, struct norm_text *out)
{
    struct norm_text other = {0};
    fill(text, at, out);
    for (size_t i = 0; i < n->n && out->n; i++) {
        other.n = 0;
        run_step(&n->steps[i], out, at, &other);
        struct norm_text done = other;
        other = *out;
        *out = done;
    }
    norm_text_free(&other);
}

/* What a charsmap removes from the very beginning shifts all origins after it, in the reference:
 * the text must begin with something that stays. */
static bool begins_plainly(struct str text)
{
    for (size_t i = 0; i < 2 && i < text.n; i++) {
        if (text.p[i] < ' ' || text.p[i] > '~')
            return false;
    }
    return true;
}

bool normalizer_may_cut(const struct normalizer *n, struct str text)
{
    for (size_t i = 0; i < n->n; i++) {
        const struct step *s = &n->steps[i];
        if (s->kind == STEP_STRIP || s->kind == STEP_PREPEND)
            return false;
        if (s->kind == STEP_REPLACE && (s->pattern != PATTERN_SPACES || s->at_least < 2))
            return false;
        if (s->kind == STEP_CHARSMAP &&
            !(charsmap_keeps_ascii(s->charsmap) && begins_plainly(text)))
            return false;
    }
    return true;
}

/* --- reading --- */

static struct err *bad(const char *member, const char *must)
{
    return err_new(ERR_ARGUMENT, "member [normalizer%s%s] %s", *member ? "." : "", member, must);
}

static struct err *read_flag(const struct json *j, const char *name, bool *out)
{
    return json_bool(json_get(j, name), out) ? NULL : bad(name, "must be true or false");
}

static struct err *read_text(struct normalizer *n, const struct json *j, const char *name,
                             struct str *out)
{
    struct str s;
    if (!json_str(j, &s) || s.n > MAX_CONTENT)
        return bad(name, "must be a string of at most 1024 bytes");
    *out = arena_dup(n->arena, s);
    return NULL;
}

static struct err *read_replace(struct normalizer *n, const struct json *j, struct step *s)
{
    static const struct {
        const char *regex;
        enum pattern pattern;
        size_t at_least;
    } regexes[] = {
        {" {2,}", PATTERN_SPACES, 2},
        {" +", PATTERN_SPACES, 1},
        {"\\s+", PATTERN_WHITE, 1},
        {"\\s{2,}", PATTERN_WHITE, 2},
    };
    struct str regex;
    TRY(read_text(n, json_get(j, "content"), "content", &s->content));
    const struct json *pattern = json_get(j, "pattern");
    if (!json_str(json_get(pattern, "Regex"), &regex))
        return read_text(n, json_get(pattern, "String"), "pattern.String", &s->text);
    for (size_t i = 0; i < sizeof(regexes) / sizeof(regexes[0]); i++) {
        if (!str_eq_c(regex, regexes[i].regex))
            continue;
        s->pattern = regexes[i].pattern;
        s->at_least = regexes[i].at_least;
        return NULL;
    }
    return err_new(ERR_ARGUMENT, "member [normalizer.pattern.Regex] has the unknown value [%.*s]",
                   (int)(regex.n < 200 ? regex.n : 200), regex.p);
}

static struct err *read_charsmap(const struct json *j, struct step *s)
{
    struct str base64;
    if (json_str(json_get(j, "precompiled_charsmap"), &base64))
        s->charsmap = s->owned_map = charsmap_read(base64);
    return s->charsmap
               ? NULL
               : bad("precompiled_charsmap", "must be a character map of SentencePiece in base64");
}

static struct err *read_strip(const struct json *j, struct step *s)
{
    TRY(read_flag(j, "strip_left", &s->left));
    return read_flag(j, "strip_right", &s->right);
}

static struct err *read_params(struct normalizer *n, const struct json *j, struct step *s)
{
    switch (s->kind) {
    case STEP_BERT:
        return bert_normalizer_read(j, &s->bert);
    case STEP_STRIP:
        return read_strip(j, s);
    case STEP_REPLACE:
        return read_replace(n, j, s);
    case STEP_PREPEND:
        return read_text(n, json_get(j, "prepend"), "prepend", &s->content);
    case STEP_CHARSMAP:
        return read_charsmap(j, s);
    case STEP_NMT_NFKC:
        s->kind = STEP_CHARSMAP;
        s->charsmap = charsmap_nmt_nfkc();
        return NULL;
    default:
        return NULL;
    }
}

static const struct {
    const char *type;
    enum step_kind kind;
    enum normal_form form;
} types[] = {
    {"BertNormalizer", STEP_BERT, 0},  {"NFC", STEP_FORM, FORM_NFC},
    {"NFD", STEP_FORM, FORM_NFD},      {"NFKC", STEP_FORM, FORM_NFKC},
    {"NFKD", STEP_FORM, FORM_NFKD},    {"Lowercase", STEP_LOWERCASE, 0},
    {"Strip", STEP_STRIP, 0},          {"StripAccents", STEP_STRIP_ACCENTS, 0},
    {"Replace", STEP_REPLACE, 0},      {"Prepend", STEP_PREPEND, 0},
    {"Precompiled", STEP_CHARSMAP, 0}, {"NmtNfkc", STEP_NMT_NFKC, 0},
};

static struct err *read_steps(struct normalizer *n, const struct json *j, int depth)
{
    struct str type;
    if (!json_str(json_get(j, "type"), &type))
        return bad("type", "must be a string");
    if (str_eq_c(type, "Sequence")) {
        const struct json *list = json_get(j, "normalizers");
        if (!json_is(list, JSON_ARRAY) || depth == MAX_DEPTH)
            return bad("normalizers", "must be an array, nested at most 8 times");
        struct json_iter it = json_iter(list);
        for (const struct json *item; (item = json_next(&it));)
            TRY(read_steps(n, item, depth + 1));
        return NULL;
    }
    if (n->n == NORMALIZER_MAX_STEPS)
        return bad("normalizers", "has too many steps");
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        if (!str_eq_c(type, types[i].type))
            continue;
        struct step *s = &n->steps[n->n++];
        s->kind = types[i].kind;
        s->form = types[i].form;
        return read_params(n, j, s);
    }
    return err_new(ERR_ARGUMENT, "member [normalizer.type] has the unknown value [%.*s]",
                   (int)(type.n < 64 ? type.n : 64), type.p);
}

struct err *normalizer_read(const struct json *j, struct normalizer **out)
{
    bert_chars_init();
    struct normalizer *n = mem_new(sizeof(*n));
    n->arena = arena_new(ARENA_NO_LIMIT);
    struct err *err = json_is_null(j) ? NULL : read_steps(n, j, 0);
    if (err) {
        normalizer_free(n);
        return err;
    }
    *out = n;
    return NULL;
}

void normalizer_free(struct normalizer *n)
{
    if (!n)
        return;
    for (size_t i = 0; i < n->n; i++)
        charsmap_free(n->steps[i].owned_map);
    arena_free(n->arena);
    free(n);
}
