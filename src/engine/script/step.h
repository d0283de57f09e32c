/* step: what ops are written with: arguments in, tensors out, errors that name the op.
 *
 *     struct err *run_aten_neg(struct step *s)
 *     {
 *         const struct view *x;
 *         TRY(arg_tensor(s, 0, "self", &x));
 *         ...
 *     }
 *
 * Arguments are borrowed until the op ends. Whatever a script says is checked here or in the op:
 * kinds, ranks, sizes, ranges. */
#ifndef INFERD_ENGINE_SCRIPT_STEP_H
#define INFERD_ENGINE_SCRIPT_STEP_H

#include "run_private.h"
#include "tensor.h"

/* ERR_ARGUMENT "aten::add: ..." */
struct err *step_bad(const struct step *, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
struct err *step_no_memory(const struct step *);
/* Charges outer * inner units of work: one for an element touched or eight multiply-adds. */
struct err *step_work(struct step *, int64_t outer, int64_t inner);

/* A number of a script. */
struct number {
    enum { NUMBER_BOOL, NUMBER_INT, NUMBER_FLOAT } kind;
    int64_t i; /* bool and int */
    double f;  /* of any kind */
};
struct number number_of_int(int64_t);
struct number number_of_float(double);
bool number_from(const struct datum *, struct number *out); /* false: no number */
int64_t number_int(struct number);                          /* truncated; saturated as x86 does */

/* Most elements of a list of sizes: aten::pad has two for each dimension. */
#define MOST_INTS (2 * TENSOR_MAX_RANK)
struct ints {
    int n;
    int64_t v[MOST_INTS];
};

/* NULL: absent. */
const struct datum *arg_any(const struct step *, uint32_t position, const char *keyword);
/* NULL: absent or None. */
const struct datum *arg_given(const struct step *, uint32_t position, const char *keyword);
bool arg_is(const struct step *, uint32_t position, const char *keyword, enum script_kind);

struct err *arg_tensor(const struct step *, uint32_t position, const char *keyword,
                       const struct view **out);
/* NULL: absent or None. */
struct err *arg_tensor_opt(const struct step *, uint32_t position, const char *keyword,
                           const struct view **out);
struct err *arg_number(const struct step *, uint32_t position, const char *keyword,
                       struct number *out);
struct err *arg_int(const struct step *, uint32_t position, const char *keyword, int64_t *out);
/* *out stays as it is when the argument is absent or None. */
struct err *arg_int_opt(const struct step *, uint32_t position, const char *keyword, int64_t *out);
struct err *arg_bool_opt(const struct step *, uint32_t position, const char *keyword, bool *out);
struct err *arg_float_opt(const struct step *, uint32_t position, const char *keyword, double *out);
/* A list of ints, or one int; n = -1: absent or None. */
struct err *arg_ints_opt(const struct step *, uint32_t position, const char *keyword,
                         struct ints *out);
struct err *arg_ints(const struct step *, uint32_t position, const char *keyword, struct ints *out);
/* torch's number of a dtype. *out stays as it is when absent or None. */
struct err *arg_dtype_opt(const struct step *, uint32_t position, const char *keyword,
                          enum dtype *out, bool *given_out);
struct err *arg_items(const struct step *, uint32_t position, const char *keyword,
                      const struct items **out);
/* An int argument as a dimension of a tensor of this rank: -1 is the last. */
struct err *arg_dim(const struct step *, uint32_t position, const char *keyword, int rank,
                    int *out);
struct err *dim_wrap(const struct step *, int64_t dim, int rank, int *out);
/* Dimensions to reduce as marks; none given: all. */
struct err *dims_mark(const struct step *, const struct ints *, int rank, bool *marks);

struct err *dtype_of_code(const struct step *, int64_t code, enum dtype *out);
int64_t dtype_code(enum dtype);
const char *dtype_torch_name(enum dtype); /* "Float", "Long" */

/* A fresh dense tensor as the result, its elements unset; *out is borrowed from s->out. */
struct err *out_new(struct step *, enum dtype, int rank, const int64_t *dim,
                    struct script_tensor *out);
/* The same not as the result: the caller's one reference. */
struct err *tensor_new(struct step *, enum dtype, int rank, const int64_t *dim, struct view **out);
void tensor_drop(struct step *, struct view *); /* NULL is fine */
/* Another view of the memory of `of` as the result. */
struct err *out_view(struct step *, const struct view *of, const struct script_tensor *);
struct err *out_same(struct step *, const struct view *);
struct err *view_of(struct step *, const struct view *of, const struct script_tensor *,
                    struct view **out);
struct err *out_int(struct step *, int64_t);
struct err *out_float(struct step *, double);
struct err *out_bool(struct step *, bool);
struct err *out_text(struct step *, struct str);
/* A list or tuple of n None as the result. */
struct err *out_items(struct step *, enum script_kind, size_t n, struct items **out);
/* Puts a tensor into a list of its own making; takes the reference. */
void items_put(struct items *, size_t i, struct view *);

/* For in-place ops: not a constant of the model, no element twice. */
struct err *may_change(const struct step *, const struct view *);

#endif
