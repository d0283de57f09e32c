#include "memory.h"

#include <stdio.h>

#define MB (UINT64_C(1) << 20)

static uint64_t positive(int64_t n)
{
    const int64_t most = INT64_C(1) << 50; /* so that no sum overflows */
    return n < 0 ? 0 : (uint64_t)(n < most ? n : most);
}

static uint64_t larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

uint64_t memory_needed(const struct memory_need *need)
{
    uint64_t d = positive(need->definition_bytes), cache = positive(need->cache_bytes);
    uint64_t deployment = positive(need->per_deployment_bytes);
    uint64_t allocation = positive(need->per_allocation_bytes);
    if (need->allocations <= 0)
        return 0;
    if (str_starts(need->model_id, STR(".elser_model_1")) ||
        str_starts(need->model_id, STR(".elser_model_2")))
        return 2004 * MB;
    uint64_t least = 240 * MB + 2 * d;
    if (deployment || allocation)
        least = larger(least, deployment + allocation * (uint64_t)need->allocations + d);
    return least + (cache > d ? cache - d : 0);
}

static const char *const units[] = {"b", "kb", "mb", "gb", "tb", "pb"};

const char *memory_text_exact(uint64_t bytes, char out[MEMORY_TEXT_SIZE])
{
    int i = 0;
    for (; i < 5 && bytes && bytes % 1024 == 0; i++)
        bytes /= 1024;
    snprintf(out, MEMORY_TEXT_SIZE, "%llu%s", (unsigned long long)bytes, units[i]);
    return out;
}

const char *memory_text(uint64_t bytes, char out[MEMORY_TEXT_SIZE])
{
    uint64_t unit = 1;
    int i = 0;
    while (i < 5 && bytes / unit >= 1024) {
        unit *= 1024;
        i++;
    }
    unsigned long long whole = bytes / unit;
    unsigned tenths = (unsigned)(bytes % unit * 10 / unit);
    if (i == 0 || tenths == 0)
        snprintf(out, MEMORY_TEXT_SIZE, "%llu%s", whole, units[i]);
    else
        snprintf(out, MEMORY_TEXT_SIZE, "%llu.%u%s", whole, tenths, units[i]);
    return out;
}
