/* program: what a loaded model is made of. Private to engine. */
#ifndef INFERD_ENGINE_PROGRAM_H
#define INFERD_ENGINE_PROGRAM_H

#include <stdatomic.h>

#include "graph.h"
#include "plan.h"

struct script;
struct script_plan;

/* A graph with its plan, or a script that is interpreted, with its. */
struct program {
    atomic_uint refs;
    struct graph *graph; /* NULL: interpreted */
    struct plan *plan;
    bool pairs;            /* question answering: rows of two, shown as two rows */
    struct script *script; /* NULL: it has a graph */
    struct script_plan *script_plan;
    const struct kernels *kernels;
    struct arena *arena; /* texts of info */
    struct program_info info;
    uint32_t type_vocab_size;
};

/* program_load_snapshot with kernels of the caller's choice: for tests. */
struct err *program_load_with(const char *folder, const struct engine_limits *,
                              const struct kernels *, struct program **out);
/* The same of program_load_script. */
struct err *program_load_script_with(const char *file, const struct script_options *,
                                     const struct kernels *, struct program **out);

#endif
