/* inference_testing: endpoints to test with, and models that only remember what they were told.
 * For tests only; included by one file of each. */
#ifndef INFERD_INFERENCE_TESTING_H
#define INFERD_INFERENCE_TESTING_H

#include <stdio.h>

#include "private.h"

/* A new endpoint from a PUT body, with its provider and without a rate limit group. */
static inline struct endpoint *testing_endpoint(const char *id, const char *service, enum task task,
                                                const char *body)
{
    struct arena *a = arena_new(ARENA_NO_LIMIT);
    const struct json *root;
    struct endpoint *ep = NULL;
    const struct provider *p = provider_find(str_c(service));
    struct err *e = json_parse(a, str_c(body), &root);
    if (!e)
        e = endpoint_parse(p->settings, provider_task(p, task)->default_rpm, str_c(id), task, root,
                           &ep);
    if (e)
        fprintf(stderr, "%s: %s\n", id, e->reason);
    err_free(e);
    arena_free(a);
    ep->provider = p;
    return ep;
}

#endif
