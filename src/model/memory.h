/* memory: what a deployment needs, as Elasticsearch reckons it, and sizes as it writes them.
 * Source: adaptive_allocations.md 9. Pure. */
#ifndef INFERD_MEMORY_H
#define INFERD_MEMORY_H

#include "str.h"

struct memory_need {
    struct str model_id;
    int64_t definition_bytes, per_deployment_bytes, per_allocation_bytes; /* 0: unknown */
    int64_t cache_bytes;
    int allocations;
};
uint64_t memory_needed(const struct memory_need *);

/* Added once, to the first deployment of a node. */
#define MEMORY_CODE_BYTES (UINT64_C(30) << 20)

/* "94kb", "91.8kb", "2gb": one digit after the point at most, cut, none when it is 0. */
#define MEMORY_TEXT_SIZE 32
const char *memory_text(uint64_t bytes, char out[MEMORY_TEXT_SIZE]);
/* "94027b", "10kb": nothing is cut. */
const char *memory_text_exact(uint64_t bytes, char out[MEMORY_TEXT_SIZE]);

#endif
