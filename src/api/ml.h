/* ml: handlers of the trained-models API. All but _ml/info go the same way: off to the pool, where
 * the disk may be waited for and large bodies read, and back with an answer. */
#ifndef INFERD_ML_H
#define INFERD_ML_H

#include "handlers.h"
#include "model.h"
#include "trained_model.h"

/* One request on its way to the pool. The request is held: an op may read its path, query and
 * bytes, and nothing else of it. */
struct ml_call {
    const struct request *request;
    struct registry *registry;
    struct models *models;
    struct arena *arena; /* the call's scratch, nobody else's meanwhile */
    struct json_out *w;  /* the answer, whole, unless an err is returned */
    struct buf *out;     /* what w writes to */
    bool text;           /* the answer is no JSON but a table, in out */
};
typedef struct err *ml_op(struct ml_call *);

/* Runs `op` on the pool and answers with what it wrote. */
void ml_work(struct request *, ml_op *op);

/* {"acknowledged":true} */
struct err *ml_acknowledge(struct ml_call *);
/* A ROUTE_RAW body: an object, in the call's arena. ERR_PARSE when there is none. */
struct err *ml_body(struct ml_call *, const struct json **out);

/* The models of GET and _cat, as path, allow_no_match, tags, from and size have it: all of them,
 * v[n], and which of them are the page. Holds references until ml_unlist. */
struct ml_list {
    struct trained_model **v;
    size_t n, first, n_page;
};
struct err *ml_list(struct ml_call *, struct ml_list *out);
void ml_unlist(struct ml_list *);

#endif
