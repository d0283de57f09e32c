/* lower: from syntax trees and pickles to the nodes of `forward`, state shared by its files.
 *
 * What the archive's code computes on falls into two parts. Modules, functions and tuples exist
 * only while lowering (struct sym): a call of a method is replaced by its body, a field of a module
 * by a constant, an element of a tuple by the value put there. The rest are values, numbered, and
 * the nodes that write them. Private to the engine's script folder. */
#ifndef INFERD_ENGINE_LOWER_H
#define INFERD_ENGINE_LOWER_H

#include "library.h"
#include "pickle.h"

enum sym_kind {
    SYM_POISON, /* a variable without a value here: using it is an error */
    SYM_UNSET,  /* uninitialized(T): has a value on another way */
    SYM_VALUE,
    SYM_TUPLE,
    SYM_OBJECT,
    SYM_FUNCTION
};

/* What an expression or a variable stands for while lowering. */
struct sym {
    enum sym_kind kind;
    uint32_t n; /* of a tuple */
    union {
        uint32_t value;
        struct sym *items;
        struct pickle_value *object;
        const struct function *function;
    };
};

/* A call on its way: the variables of one function. */
struct frame {
    struct frame *outer;
    const struct function *function;
    struct pickle_value *self; /* NULL: not a method */
    struct sym *vars;          /* [function->n_slots] */
    uint32_t *marks;           /* [n_slots], 0 when nobody uses it */
    const struct stmt *stmt;   /* the one being lowered */
};

/* A variable's value before an assignment, to take it back: branches begin alike. */
struct change {
    uint32_t slot;
    struct sym before;
};

/* Nodes of a block that is being written. */
struct builder {
    struct script_node *nodes;
    uint32_t n, room;
};

struct lower {
    const struct library *library;
    const struct archive *archive;
    struct arena *keep; /* what the script keeps */
    struct arena *tmp;
    struct script *script;
    struct pickle_value *table; /* CONSTANTS; NULL: there is none */
    struct map *literals;       /* value + 1 by kind and bytes; keywords */
    struct map *attributes;     /* of objects that have many, by object and name */
    const struct script_value **constants;
    bool *is_tuple; /* values that only prim::TupleUnpack takes apart */
    uint32_t n_values, room_values;
    struct builder *block;
    struct frame *frame;
    struct change *changes;
    uint32_t n_changes, room_changes;
    uint32_t depth, n_blocks, n_nodes;
    uint64_t steps; /* work done, against code that does much and emits nothing */
};

/* An error that names file and line of the statement being lowered. */
struct err *lower_bad(const struct lower *, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
struct err *lower_enter(struct lower *); /* then l->depth-- */
struct err *lower_work(struct lower *, uint64_t steps);

/* lower_value.c: values, constants, nodes */
struct sym sym_value(uint32_t value);
struct err *lower_new_value(struct lower *, const struct script_value *constant, uint32_t *out);
struct err *lower_none(struct lower *, uint32_t *out);
struct err *lower_bool(struct lower *, bool, uint32_t *out);
struct err *lower_int(struct lower *, int64_t, uint32_t *out);
struct err *lower_float(struct lower *, double, uint32_t *out);
struct err *lower_str(struct lower *, enum script_kind, struct str, uint32_t *out);
const char *lower_keyword(struct lower *, struct str);
/* What a value of a pickle stands for. */
struct err *lower_pickled(struct lower *, struct pickle_value *, struct sym *out);
/* As one value: a tuple is put together, UNSET is None; modules and functions are none. */
struct err *lower_to_value(struct lower *, struct sym, uint32_t *out);
/* A node with its inputs and fresh outputs, in the current block. */
struct err *lower_node(struct lower *, enum script_op, const uint32_t *in, const char **keywords,
                       uint32_t n_in, uint32_t n_out, struct script_node **out);
struct err *lower_node1(struct lower *, enum script_op, const uint32_t *in, uint32_t n_in,
                        uint32_t *out);
/* A list of these values: a constant if all of them are. */
struct err *lower_list(struct lower *, enum script_op construct, const uint32_t *in, uint32_t n,
                       uint32_t *out);
const struct script_value *lower_constant(const struct lower *, uint32_t value); /* NULL: none */

/* lower_expr.c */
struct err *lower_expr(struct lower *, const struct expr *, struct sym *out);
/* Takes something apart into n pieces. results: an op of several results, not a list. */
struct err *lower_unpack(struct lower *, struct sym, uint32_t n, bool results, struct sym *out);

/* lower_call.c */
struct err *lower_call(struct lower *, const struct expr *, struct sym *out);

/* lower_flow.c */
struct err *lower_suite(struct lower *, const struct suite *);

/* lower.c */
struct err *lower_function(struct lower *, const struct function *, struct pickle_value *self,
                           const struct sym *args, struct sym *out);
void lower_set(struct lower *, uint32_t slot, struct sym);

/* Everything: forward of `root` into the script, whose arena is `keep`. */
struct err *lower_forward(const struct library *, const struct archive *, struct pickle_value *root,
                          struct pickle_value *table, struct arena *tmp, struct script *out);

/* prune.c: takes out nodes whose results nobody needs. */
void prune(struct script *, struct arena *tmp);

#endif
