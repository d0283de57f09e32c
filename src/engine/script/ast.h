/* ast: what the parser makes of the source texts of an archive, and the printed forms libtorch has
 * for a graph. All of it lies in one arena; names and strings point into the texts or the arena.
 *
 * The language is what libtorch's printer writes (trained_models.md 15), not Python: no operators,
 * no comprehensions, no nested functions, one `return` at the end of a function. */
#ifndef INFERD_ENGINE_AST_H
#define INFERD_ENGINE_AST_H

#include "arena.h"
#include "err.h"

enum expr_kind {
    EXPR_NONE,
    EXPR_BOOL,
    EXPR_INT,
    EXPR_FLOAT,
    EXPR_STR,
    EXPR_NAME,  /* s */
    EXPR_FIELD, /* of.s */
    EXPR_CALL,  /* of(items; keywords[i] named or not) */
    EXPR_INDEX, /* of[items] */
    EXPR_SLICE, /* of[items[0] : items[1]], EXPR_NONE where there is none */
    EXPR_LIST,
    EXPR_TUPLE,
    EXPR_DICT /* keys and values in turn */
};

#define NO_SLOT UINT32_MAX

struct expr {
    enum expr_kind kind;
    uint32_t line, n; /* n: items */
    uint32_t slot;    /* of a name: which local variable; NO_SLOT: none (library.c) */
    union {
        bool b;
        int64_t i;
        double f;
        struct str s;
    };
    struct expr *of;
    struct expr **items;
    struct str *keywords; /* [n] of a call, empty where positional; NULL: all are */
};

enum stmt_kind {
    STMT_ASSIGN, /* targets = values */
    STMT_EXPR,   /* values[0] */
    STMT_SET,    /* a field or an item is given a value: values[0] */
    STMT_IF,     /* values[0]: body, other */
    STMT_FOR,    /* targets[0] in range(values[0]): body */
    STMT_WHILE,  /* values[0]: body */
    STMT_RETURN, /* values[0], or nothing */
    STMT_PASS,
    STMT_WITH,    /* values[0]: body; read only to name its ops when it is refused */
    STMT_FUNCTION /* within a function: body; likewise */
};

struct suite {
    struct stmt **stmts;
    uint32_t n;
};

struct stmt {
    enum stmt_kind kind;
    uint32_t line, n_targets, n_values;
    bool unpack; /* `a, b, = x`: x is taken apart; `a, b = x`: an op of two results */
    struct str *targets;
    uint32_t *slots; /* [n_targets] (library.c) */
    struct expr **values;
    struct suite body, other;
};

struct param {
    struct str name;
    struct expr *type;    /* NULL: none */
    struct expr *initial; /* NULL: none */
};

struct function {
    struct function *next;
    struct str name; /* of a method: "forward"; else "__torch__.a.f" */
    struct str file;
    uint32_t line, n_params;
    uint32_t n_slots; /* local variables; parameters are the first */
    struct param *params;
    struct suite body;
};

/* `K : Final[int] = 5` of a class. */
struct class_constant {
    struct class_constant *next;
    struct str name;
    struct expr *value;
};

struct class
{
    struct class *next;
    struct str name; /* "__torch__.a.B" */
    struct str file;
    uint32_t line;
    bool is_tuple; /* a NamedTuple: calling it makes a tuple */
    struct function *methods;
    struct class_constant *constants;
};

/* One source text; lists in the order of the text. */
struct module {
    struct class *classes;
    struct function *functions;
};

/* `name` is the entry's, "code/__torch__/a.py"; prefix "__torch__.a" goes before the names of
 * classes and functions. An error is ERR_ARGUMENT and names entry and line. *budget counts down
 * nodes of the tree. */
struct err *parse_module(struct str text, struct str name, struct str prefix, uint32_t *budget,
                         struct arena *, struct module *out);

#endif
