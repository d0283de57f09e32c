/* op: one thing the engine can compute. A row of table.def, a file of its family.
 *
 * The table is the allow-list: what is not in it cannot be loaded. An op is
 *   shape: are these inputs what it takes? then sets the dims of its output;
 *   run:   computes a part of the output; called by every thread of a team with different parts.
 *
 * OP_ROWS: row r of the output depends on row r of the inputs (and on constants) alone. The runner
 * takes several such ops through a block of rows before the next block, so that what lies between
 * them stays in the cache.
 * OP_ITEMS: the op counts its own pieces of work, and the threads take them one by one.
 *
 * Promise of every run: the bits of a row depend on the row's own sequence, never on which part it
 * was computed in. */
#ifndef INFERD_ENGINE_OP_H
#define INFERD_ENGINE_OP_H

#include "graph.h"
#include "run.h"

enum op_kind { OP_ROWS, OP_ITEMS };

struct op {
    const char *name;
    enum op_kind kind;
    struct err *(*shape)(struct graph *, const struct node *);
    /* Rows [begin, end), of which this call does share `share` of `n_shares`; or items. */
    void (*run)(const struct node *, struct frame *, const struct part *);
    size_t (*items)(const struct node *, const struct frame *); /* OP_ITEMS */
    /* Bytes one thread needs for a sequence of at most max_tokens; NULL: none. */
    size_t (*scratch)(const struct graph *, const struct node *, const struct kernels *,
                      uint32_t max_tokens);
};

#define X(name) extern const struct op op_##name;
#include "table.def"
#undef X

/* The allow-list by name; NULL: no such op. */
const struct op *op_find(struct str name);

#endif
