/* pickle: reads the pickles of a TorchScript archive as data. Nothing is called and nothing is
 * looked up: the few globals that libtorch writes (trained_models.md 15) are known by name, each
 * with a meaning of its own here; any other is refused by name. Protocol 2.
 *
 * Values form a graph, not a tree: a memo may give one value to several holders, or a value to
 * itself. Whoever walks it bounds the depth. Values lie in the arena given, strings in the bytes
 * given, elements of tensors in the storages of the archive. Thread: one at a time. */
#ifndef INFERD_ENGINE_PICKLE_H
#define INFERD_ENGINE_PICKLE_H

#include "archive.h"
#include "script.h"

enum pickle_kind {
    PICKLE_NONE,
    PICKLE_BOOL,
    PICKLE_INT,
    PICKLE_FLOAT,
    PICKLE_STR,
    PICKLE_LIST,
    PICKLE_TUPLE,
    PICKLE_DICT,    /* keys and values in turn */
    PICKLE_GLOBAL,  /* one of the names, or a class below __torch__ */
    PICKLE_STORAGE, /* of tensors */
    PICKLE_TENSOR,
    PICKLE_OBJECT /* of a class below __torch__ */
};

enum pickle_global {
    GLOBAL_CLASS, /* its name is in `name` */
    GLOBAL_REBUILD_TENSOR,
    GLOBAL_REBUILD_QTENSOR,
    GLOBAL_ORDERED_DICT,
    GLOBAL_IDENTITY, /* build_intlist and the like: the first argument */
    GLOBAL_PER_TENSOR,
    GLOBAL_PER_CHANNEL,
    GLOBAL_STORAGE /* of the type in `type` */
};

/* What a storage holds. Quantized types are integers with a scale, which their tensors tell. */
struct element_type {
    const char *name; /* "FloatStorage" */
    enum dtype dtype;
    bool quantized;
};

/* How the integers of a quantized tensor are meant: (q - zero_point) * scale. */
struct quantization {
    double scale;
    int64_t zero_point;
    const struct pickle_value *scales; /* tensors, one element a channel; NULL: per tensor */
    const struct pickle_value *zero_points;
    int64_t axis;
};

struct pickle_value {
    enum pickle_kind kind;
    bool busy;                           /* for who walks the graph */
    uint32_t value;                      /* for who numbers values; 0: not yet */
    uint32_t n, room;                    /* items */
    const struct script_value *constant; /* what it was turned into; NULL: not yet */
    union {
        bool b;
        int64_t i;
        double f;
        struct str s;
        struct pickle_value **items; /* list, tuple, dict */
        struct {
            enum pickle_global which;
            struct str name;
            const struct element_type *type;
        } global;
        struct {
            const struct element_type *type;
            struct storage *of;
            uint64_t n_elements;
        } storage;
        struct {
            struct script_tensor *view;
            const struct quantization *quantized; /* NULL: plain */
        } tensor;
        struct {
            struct str name;            /* "__torch__.a.B" */
            struct pickle_value *state; /* what BUILD gave; NULL: nothing */
            bool indexed;               /* for who looks up attributes */
        } object;
    };
};

/* `folder` is where the storages are: "data/" or "constants/"; `name` is the pickle's, for errors.
 * An error is ERR_ARGUMENT and says what is wrong at which byte. */
struct err *pickle_read(struct str bytes, const char *name, const char *folder,
                        const struct archive *, struct arena *, struct pickle_value **out);

#endif
