/* parser: state shared by its two files, expressions and statements. Private to them. */
#ifndef INFERD_ENGINE_PARSER_H
#define INFERD_ENGINE_PARSER_H

#include "ast.h"
#include "lexer.h"

struct parser {
    struct lexer l;
    struct arena *arena;
    struct str file, prefix;
    uint32_t *budget;
    uint32_t depth;
};

struct err *parser_bad(const struct parser *, const char *what);
/* Against recursion without end: go in before, out after. */
struct err *parser_enter(struct parser *);
/* One node of the tree less; an error when there are too many. */
struct err *parser_spend(struct parser *);

bool parser_is(const struct parser *, char c);
bool parser_is_word(const struct parser *, const char *word);
struct err *parser_expect(struct parser *, char c);
struct err *parser_name(struct parser *, struct str *out);

struct err *parser_expr(struct parser *, struct expr **out);
/* Expressions up to `close`, with or without a comma at the end; NULL in `out` for none. */
struct err *parser_list(struct parser *, char close, struct expr ***out, uint32_t *n_out,
                        bool *comma_out);

/* Pointers that grow: for lists of a length not known yet. */
struct pointers {
    void **p;
    uint32_t n, room;
};
void pointers_add(struct pointers *, struct arena *, void *);

#endif
