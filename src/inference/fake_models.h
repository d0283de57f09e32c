/* fake_models: models that only do as a test says. Linked into tests in place of model/: whatever
 * inference asks of the real one is here. */
#ifndef INFERD_FAKE_MODELS_H
#define INFERD_FAKE_MODELS_H

#include "model.h"

struct models {
    /* What models_find says of any model id; find_fails: that it does not exist. */
    unsigned tasks;
    int64_t dimensions;
    bool find_fails;
    /* What deployment_start does: succeed, fail, or wait for fake_models_started. */
    bool start_fails, start_held;
    /* Seen. */
    bool deployed;
    char id[64], model_id[64];
    int num_allocations, num_threads;
    int starts, stops;
    struct loop *loop;
    void (*held)(void *ctx, struct err *);
    void *held_ctx;
};

/* The held start is done. Thread: the loop it was called on. */
void fake_models_started(struct models *, struct err *);

#endif
