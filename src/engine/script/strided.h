/* strided: arithmetic on shapes, and walks over several tensors at once. */
#ifndef INFERD_ENGINE_SCRIPT_STRIDED_H
#define INFERD_ENGINE_SCRIPT_STRIDED_H

#include "step.h"

/* Elements of a tensor; views are checked when they are made, so it cannot overflow. */
int64_t tensor_numel(const struct script_tensor *);
bool dims_numel(int rank, const int64_t *dim, int64_t *out); /* false: negative or too many */
bool tensor_is_dense(const struct script_tensor *);          /* row-major, no gaps */
void dense_strides(struct script_tensor *);
/* "[2, 3]" for messages; cut where it does not fit. */
struct shape_text {
    char z[200];
};
struct shape_text shape_text(int rank, const int64_t *dim);
struct shape_text tensor_shape(const struct script_tensor *);

/* Shapes aligned at their last dimension; 1 stretches. */
struct err *broadcast_dims(const struct step *, struct script_tensor *shape,
                           const struct script_tensor *with);
/* t seen with the dimensions of `shape`, which it broadcasts to: strides 0 where stretched. */
bool broadcast_to(const struct script_tensor *t, int rank, const int64_t *dim,
                  struct script_tensor *out);

/* The next position within these dimensions, the last one fastest; false after the last. */
bool next_position(int rank, const int64_t *dim, int64_t *at);

/* Nested loops over n tensors of one shape, neighbouring dimensions merged where all of them allow
 * it. The innermost is the caller's: */
#define MOST_WALKED 5
struct walk {
    int n, rank; /* rank of the outer loops */
    int64_t inner;
    int64_t inner_stride[MOST_WALKED]; /* bytes */
    char *p[MOST_WALKED];              /* where the innermost loop starts */
    int64_t dim[TENSOR_MAX_RANK], at[TENSOR_MAX_RANK];
    int64_t stride[MOST_WALKED][TENSOR_MAX_RANK]; /* bytes */
    bool done;
};
/*     for (walk_init(&w, n, tensors); !w.done; walk_next(&w)) */
void walk_init(struct walk *, int n, const struct script_tensor *const *);
void walk_next(struct walk *);

#endif
