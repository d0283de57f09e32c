/* shape: what the shape functions of the ops have in common. */
#ifndef INFERD_ENGINE_SHAPE_H
#define INFERD_ENGINE_SHAPE_H

#include "op.h"

static inline const struct value *node_in(const struct graph *g, const struct node *n, uint32_t i)
{
    return &g->values[n->in[i]];
}

static inline bool is_rows(const struct value *v, int64_t rows, int64_t width)
{
    return v->rank == 2 && graph_is_rows(v) && v->dim[0] == rows && v->dim[1] == width;
}

static inline bool is_vector(const struct value *v, int64_t n)
{
    return v->rank == 1 && v->data && v->dim[0] == n;
}

static inline bool is_matrix(const struct value *v, int64_t columns)
{
    return v->rank == 2 && v->data && v->dim[1] == columns;
}

static inline struct err *shape_refuse(const struct node *n, const char *why)
{
    return err_new(ERR_ARGUMENT, "op [%s] was given %s", n->op->name, why);
}

static inline struct err *shape_out(struct graph *g, const struct node *n, int64_t rows,
                                    int64_t width)
{
    struct value *out = &g->values[n->out];
    out->dtype = DTYPE_F32;
    out->rank = 2;
    out->dim[0] = rows;
    out->dim[1] = width;
    return NULL;
}

#endif
