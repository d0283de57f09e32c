/* Tokens one by one, nothing kept but the one at hand. Since the language has no operators, a minus
 * belongs to the number behind it, so that the smallest integer can be read. */
#include "lexer.h"

#include <math.h>

#define NUMBER_MOST 64

void lexer_init(struct lexer *l, struct str text, struct arena *a)
{
    *l = (struct lexer){.p = text.p,
                        .end = text.p + text.n,
                        .arena = a,
                        .line = 1,
                        .n_indents = 1,
                        .at_line = true};
}

static void fail(struct lexer *l, const char *why)
{
    l->kind = TOKEN_BAD;
    l->why = why;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_name(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || is_digit(c);
}

static char peek(const struct lexer *l, size_t ahead)
{
    return (size_t)(l->end - l->p) > ahead ? l->p[ahead] : 0;
}

static bool is_number(const struct lexer *l, size_t at)
{
    return is_digit(peek(l, at)) || (peek(l, at) == '.' && is_digit(peek(l, at + 1)));
}

/* Spaces and comments; within brackets line ends too. */
static void skip_blank(struct lexer *l)
{
    while (l->p < l->end) {
        if (*l->p == '#') {
            while (l->p < l->end && *l->p != '\n')
                l->p++;
        } else if (*l->p == '\n' && l->brackets > 0) {
            l->line++;
            l->p++;
        } else if (*l->p == ' ' || *l->p == '\t' || *l->p == '\r') {
            l->p++;
        } else {
            return;
        }
    }
}

/* At the start of a line: empty ones count for nothing; the others' indentation is compared. True:
 * it gave a token. */
static bool read_indent(struct lexer *l)
{
    int n = 0;
    for (const char *p = l->p; p < l->end; p++) {
        if (*p == ' ') {
            n++;
        } else if (*p == '\n') {
            l->line++;
            l->p = p + 1;
            n = 0;
        } else if (*p == '#') {
            while (p + 1 < l->end && p[1] != '\n')
                p++;
        } else if (*p != '\r') {
            l->p = p;
            break;
        }
        if (p + 1 == l->end)
            l->p = l->end;
    }
    if (l->p == l->end)
        n = 0;
    l->at_line = false;
    if (n > l->indents[l->n_indents - 1]) {
        if (l->n_indents == LEXER_INDENT_MOST)
            fail(l, "is nested too deeply");
        else
            l->kind = TOKEN_INDENT;
        if (l->kind == TOKEN_INDENT)
            l->indents[l->n_indents++] = n;
        return true;
    }
    while (n < l->indents[l->n_indents - 1]) {
        l->n_indents--;
        l->dedents++;
    }
    if (n != l->indents[l->n_indents - 1]) {
        fail(l, "has an indentation that fits no line before");
        return true;
    }
    return false;
}

static void read_name(struct lexer *l)
{
    const char *start = l->p;
    while (l->p < l->end && is_name(*l->p))
        l->p++;
    l->kind = TOKEN_NAME;
    l->s = str_n(start, (size_t)(l->p - start));
}

static void read_number(struct lexer *l)
{
    const char *start = l->p;
    bool whole = true;
    l->p += *l->p == '-';
    char text[NUMBER_MOST + 1], *end;
    while (l->p < l->end) {
        char c = *l->p;
        bool exponent = (c == '-' || c == '+') && (l->p[-1] == 'e' || l->p[-1] == 'E');
        if (!is_digit(c) && c != '.' && c != 'e' && c != 'E' && !exponent)
            break;
        whole &= is_digit(c);
        l->p++;
    }
    size_t n = (size_t)(l->p - start);
    if (n > NUMBER_MOST || (l->p < l->end && is_name(*l->p))) {
        fail(l, "has a damaged number");
        return;
    }
    l->kind = whole ? TOKEN_INT : TOKEN_FLOAT;
    if (whole && !str_to_i64(str_n(start, n), &l->i))
        fail(l, "has an integer of more than 64 bits");
    if (whole)
        return;
    memcpy(text, start, n);
    text[n] = 0;
    l->f = strtod(text, &end);
    if (end != text + n)
        fail(l, "has a damaged number");
}

static int digit_of(char c)
{
    if (is_digit(c))
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return 99;
}

/* At most `most` digits of this base; -1: none. */
static int read_code(struct lexer *l, int base, int most)
{
    int code = 0, n = 0;
    while (n < most && l->p < l->end && digit_of(*l->p) < base) {
        code = code * base + digit_of(*l->p++);
        n++;
    }
    return n ? code : -1;
}

/* After a backslash. -1: not one that we know. */
static int read_escape(struct lexer *l)
{
    static const char from[] = "\\'\"abfnrtv", to[] = "\\'\"\a\b\f\n\r\t\v";
    char c = peek(l, 0);
    const char *at = c ? memchr(from, c, sizeof(from) - 1) : NULL;
    if (at) {
        l->p++;
        return (unsigned char)to[at - from];
    }
    if (c == 'x') {
        l->p++;
        return read_code(l, 16, 2);
    }
    int code = read_code(l, 8, 3);
    return code > 255 ? -1 : code;
}

static void read_string(struct lexer *l)
{
    char quote = *l->p++;
    const char *close = l->p;
    while (close < l->end && *close != quote && *close != '\n')
        close += *close == '\\' && close + 1 < l->end ? 2 : 1;
    if (close >= l->end || *close != quote) {
        fail(l, "has a string without an end");
        return;
    }
    char *to = arena_alloc(l->arena, (size_t)(close - l->p) + 1);
    size_t n = 0;
    while (l->p < close) {
        int c = (unsigned char)*l->p++;
        if (c == '\\')
            c = read_escape(l);
        if (c < 0) {
            fail(l, "has an unknown escape in a string");
            return;
        }
        to[n++] = (char)c;
    }
    l->p++;
    l->kind = TOKEN_STR;
    l->s = str_n(to, n);
}

static void read_char(struct lexer *l)
{
    char c = *l->p;
    if (c == '-' && peek(l, 1) == '>') {
        l->p += 2;
        l->kind = TOKEN_ARROW;
        return;
    }
    if (!memchr("()[]{},:=.-", c, 11)) {
        fail(l, "has a character that libtorch does not print");
        return;
    }
    if (c == '(' || c == '[' || c == '{')
        l->brackets++;
    if ((c == ')' || c == ']' || c == '}') && l->brackets-- == 0) {
        fail(l, "closes a bracket that is not open");
        return;
    }
    l->p++;
    l->kind = TOKEN_CHAR;
    l->c = c;
}

void lexer_next(struct lexer *l)
{
    if (l->kind == TOKEN_BAD)
        return;
    if (l->at_line && read_indent(l))
        return;
    if (l->dedents > 0) {
        l->dedents--;
        l->kind = TOKEN_DEDENT;
        return;
    }
    skip_blank(l);
    if (l->p == l->end) {
        l->kind = l->brackets ? TOKEN_BAD : TOKEN_END;
        l->why = "ends within brackets";
        return;
    }
    char c = *l->p;
    if (c == '\n') {
        l->p++;
        l->line++;
        l->at_line = true;
        l->kind = TOKEN_NEWLINE;
    } else if (is_number(l, c == '-')) { /* there is no minus but a number's */
        read_number(l);
    } else if (is_name(c)) {
        read_name(l);
    } else if (c == '"' || c == '\'') {
        read_string(l);
    } else {
        read_char(l);
    }
}
