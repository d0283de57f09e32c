/* change: one change of an endpoint on its way; what the files that make changes share. */
#ifndef INFERD_CHANGE_H
#define INFERD_CHANGE_H

#include "private.h"

struct op {
    struct inference *inf;
    struct endpoint_change change;
    struct arena *arena;
    const char *doing;    /* "created", "updated", "deleted" */
    struct endpoint *ep;  /* what will be stored; a reference */
    struct endpoint *old; /* update, delete: what is there */
    bool busy;            /* the id is marked */
    bool answered;
    bool deploying;          /* deployment_start has not called back yet */
    bool deployed;           /* this op started the deployment: stop it on failure */
    struct loop_timer timer; /* how long to wait for a deployment */
    struct err *late;        /* answer this after storing: the deployment was not ready in time */
    /* probe */
    struct sink sink;
    struct call call;
    /* pool */
    struct model_info model;
    struct deployment_view attached; /* of deployment_id */
    struct err *job_err;
    uint64_t rev;
    struct buf stored, secret;
};

/* Freed once it has been answered and nothing is under way. */
void op_release(struct op *);
/* Answers; takes the err. What the op started is stopped. */
void op_fail(struct op *, struct err *);
/* Stores, publishes, answers. */
void op_store(struct op *);
/* Takes the copy of the draft that has been measured. */
struct err *replace_draft(struct op *, struct endpoint *measured);
/* One real call on the draft; then op_store. */
struct err *probe_start(struct op *);

/* change_local.c: all that comes between the checks and op_store for an endpoint of our own. */
void op_create_local(struct op *);
/* What may not be asked of an endpoint of our own, new or updated: a number of allocations where
 * the load decides (adaptive_allocations.md 2). */
struct err *local_check_number(const struct endpoint *, const struct json *body);
/* The older name of the elasticsearch service, for ELSER alone. */
bool elser_asked(const struct json *body);
struct err *elser_resolve(enum task, const struct provider **out);
struct err *elser_check(struct endpoint *);

#endif
