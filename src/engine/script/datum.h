/* datum: what a running script holds. Private to the interpreter.
 *
 * A datum is a kind and either the thing itself (bool, int, float) or a counted object. Objects of
 * a run belong to its runner, whose memory they are charged to; constant ones belong to the plan,
 * are shared between threads and never counted nor changed.
 *
 * No object ever holds itself: lists take containers only when they are made, so counting alone
 * gives everything back, and their depth is bounded, so recursion over them is too. */
#ifndef INFERD_ENGINE_SCRIPT_DATUM_H
#define INFERD_ENGINE_SCRIPT_DATUM_H

#include "script.h"

#define MOST_DEPTH 8 /* of lists in lists */

struct script_runner;

struct object {
    size_t refs;
    bool constant;
    uint8_t depth; /* 0, but for containers */
    size_t bytes;  /* charged to the runner */
};

/* Memory of tensors; several views may share it. */
struct memory {
    struct object o;
    void *data; /* 64-byte aligned, but for constants of the model */
};

/* A tensor: a view of a memory. Never changes; what it shows may. */
struct view {
    struct object o;
    struct memory *memory;
    struct script_tensor t;
};

struct text {
    struct object o;
    struct str s;
};

struct datum;
struct items { /* list, tuple, dict */
    struct object o;
    size_t n;
    struct datum *v;
    size_t v_bytes; /* charged apart */
};

struct datum {
    enum script_kind kind;
    union {
        bool b;
        int64_t i;
        double f;
        struct text *text;
        struct view *view;
        struct items *items;
        const struct script_packed *packed;
    };
};

/* Memory charged to the runner; NULL: that would pass what the run may use. */
void *runner_alloc(struct script_runner *, size_t bytes);
void runner_release(struct script_runner *, void *, size_t bytes);

/* Objects with one reference, the caller's; NULL as runner_alloc. */
struct memory *memory_new(struct script_runner *, size_t bytes); /* not zeroed */
struct text *text_new(struct script_runner *, struct str);
struct items *items_new(struct script_runner *, size_t n); /* n times None */
bool items_grow(struct script_runner *, struct items *,
                size_t n); /* by None; false as NULL above */
/* A view of the memory, whose reference it takes, also when it fails. */
struct view *view_new(struct script_runner *, struct memory *, const struct script_tensor *);

struct memory *memory_ref(struct memory *);
void memory_drop(struct script_runner *, struct memory *);
struct datum datum_copy(const struct datum *);           /* with a reference of its own */
void datum_drop(struct script_runner *, struct datum *); /* and becomes None */

static inline bool datum_is_items(const struct datum *v)
{
    return v->kind == SCRIPT_LIST || v->kind == SCRIPT_TUPLE || v->kind == SCRIPT_DICT;
}

static inline bool datum_is_number(const struct datum *v)
{
    return v->kind == SCRIPT_BOOL || v->kind == SCRIPT_INT || v->kind == SCRIPT_FLOAT;
}

const char *datum_kind_name(enum script_kind); /* as libtorch prints types: "Tensor" */

#endif
