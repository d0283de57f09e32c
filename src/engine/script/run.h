/* run: interprets a script, one sequence a run, ops on strided tensors of any dtype and rank <= 8.
 *
 * Meaning and results are PyTorch's (2.7) for the CPU. Whatever is wrong (shapes that do not go
 * together, an index out of range, an in-place op on a constant of the model, too much memory or
 * too many steps) is an error that names the op, never a crash. Memory of a run is bounded and
 * given back. Products, attention, layer norm and GELU of fp32 use the kernels; weights are packed
 * once. */
#ifndef INFERD_ENGINE_SCRIPT_RUN_H
#define INFERD_ENGINE_SCRIPT_RUN_H

#include "kernels.h"
#include "script.h"

struct team;

/* What is derived from a script once and shared by its sessions: packed weights, last uses. */
struct script_plan;
struct err *script_plan_new(const struct script *, const struct kernels *,
                            struct script_plan **out);
void script_plan_free(struct script_plan *); /* NULL is fine */

/* One thread uses a runner at a time. */
struct script_runner;
struct script_runner *script_runner_new(const struct script_plan *, size_t max_bytes);
void script_runner_free(struct script_runner *); /* NULL is fine */

/* args: int64 [1, n] each, as many as forward takes. out: dense f32 (from any float or integer
 * dtype), dims as struct output has them; borrowed until the next run. */
struct err *script_run(struct script_runner *, const struct script_tensor *args, uint32_t n_args,
                       struct output *out);

#endif
