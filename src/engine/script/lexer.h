/* lexer: tokens of the source texts. Lines end statements except inside brackets; deeper and
 * shallower indentation are tokens. Strings are unescaped into the arena. */
#ifndef INFERD_ENGINE_LEXER_H
#define INFERD_ENGINE_LEXER_H

#include "arena.h"

enum token_kind {
    TOKEN_END,
    TOKEN_NEWLINE,
    TOKEN_INDENT,
    TOKEN_DEDENT,
    TOKEN_NAME,
    TOKEN_INT,
    TOKEN_FLOAT,
    TOKEN_STR,
    TOKEN_ARROW, /* -> */
    TOKEN_CHAR,  /* one of ( ) [ ] { } , : = . - */
    TOKEN_BAD    /* `why` tells */
};

#define LEXER_INDENT_MOST 100

struct lexer {
    const char *p, *end;
    struct arena *arena;
    uint32_t line;
    int brackets; /* open ones */
    int indents[LEXER_INDENT_MOST], n_indents;
    int dedents;  /* still to give */
    bool at_line; /* nothing of this line was read yet */
    /* the token */
    enum token_kind kind;
    char c;
    struct str s;
    int64_t i;
    double f;
    const char *why;
};

void lexer_init(struct lexer *, struct str text, struct arena *);
void lexer_next(struct lexer *); /* after TOKEN_END and TOKEN_BAD: the same again */

#endif
