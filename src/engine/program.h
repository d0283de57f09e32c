/* program: what a loaded model is made of. Private to engine. */
#ifndef INFERD_ENGINE_PROGRAM_H
#define INFERD_ENGINE_PROGRAM_H

#include <stdatomic.h>

#include "graph.h"
#include "plan.h"

struct program {
    atomic_uint refs;
    struct graph *graph;
    struct plan *plan;
    const struct kernels *kernels;
    struct arena *arena; /* texts of info */
    struct program_info info;
    uint32_t type_vocab_size;
};

/* program_load_snapshot with kernels of the caller's choice: for tests. */
struct err *program_load_with(const char *folder, const struct engine_limits *,
                              const struct kernels *, struct program **out);

#endif
