/* pointwise: computes element by element over broadcast, strided tensors of any dtype.
 *
 * A kernel sees dense runs of at most POINTWISE_RUN elements in the compute type; where the memory
 * is that already it is passed as it is, else runs are converted through buffers. */
#ifndef INFERD_ENGINE_SCRIPT_POINTWISE_H
#define INFERD_ENGINE_SCRIPT_POINTWISE_H

#include "convert.h"
#include "step.h"

#define POINTWISE_RUN    512
#define POINTWISE_INPUTS 3

/* A tensor or a number as an operand. */
struct operand {
    const struct view *view; /* NULL: number */
    struct number number;
    struct script_tensor t; /* what pointwise_run reads */
    union {
        float f32;
        double f64;
        int64_t i64;
    };
};

/* Operand of an argument: Tensor or number, else an error. */
struct err *operand_from(const struct step *, uint32_t position, const char *keyword,
                         struct operand *out);
void operand_of_view(const struct view *, struct operand *out);
void operand_of_number(struct number, struct operand *out);

enum dtype dtype_promote(enum dtype, enum dtype);
bool dtype_is_float(enum dtype);
/* The common dtype of operands: those with dimensions weigh more than numbers in tensors, these
 * more than numbers, within a kind of number. */
enum dtype operands_dtype(const struct operand *, int n);

/* out[i] from in[0][i] ...; `params` is the op's own. in and out may be the same memory. */
typedef void pointwise_fn(size_t n, const void *const *in, void *out, const void *params);

struct pointwise {
    int n_in;
    struct operand *in;
    enum compute in_as, out_as;
    pointwise_fn *fn;
    const void *params;
};

/* A dense result of this dtype and the operands' common shape. */
struct err *pointwise_new(struct step *, const struct pointwise *, enum dtype out);
/* Into a tensor whose shape the operands must broadcast to; the result is the tensor itself.
 * Operands that overlap it otherwise than element on element are copied before. */
struct err *pointwise_into(struct step *, const struct pointwise *, const struct view *into);
/* Into memory of the op's own. */
struct err *pointwise_to(struct step *, const struct pointwise *, const struct script_tensor *into);

/* Elements of one tensor into another of the same shape, converted. */
struct err *copy_elements(struct step *, const struct script_tensor *from,
                          const struct script_tensor *to);
/* An operand as it is, in this dtype's compute type. */
struct pointwise copying(struct operand *, enum dtype);
struct err *fill_elements(struct step *, struct number, const struct script_tensor *to);
/* A dense tensor of this dtype with the same elements: `v` itself with one more reference where it
 * is that already. The caller's to drop. */
struct err *dense_as(struct step *, const struct view *v, enum dtype, struct view **out);

#endif
