/* safetensors: reads tensors from a file of that format (huggingface/safetensors, README "Format").
 *
 *     struct safetensors *st;
 *     TRY(safetensors_open(folder, "model.safetensors", limit_bytes, &st));
 *     const struct st_tensor *t = safetensors_find(st, STR("embeddings.LayerNorm.bias"));
 *     TRY(safetensors_read(st, t, floats));
 *     safetensors_close(st);
 *
 * 8 bytes of header length (little endian), a JSON header, the tensors' bytes. The header is
 * checked as a whole before any tensor is handed out: known dtypes, shapes that match their
 * offsets, tensors that cover the data without a hole or an overlap. Tensors are read with pread
 * rather than mapped: the kernels need them in another layout anyway, and a file that shrinks
 * under a mapping would kill the process. Thread: one at a time. */
#ifndef INFERD_ENGINE_SAFETENSORS_H
#define INFERD_ENGINE_SAFETENSORS_H

#include "arena.h"
#include "engine.h"

/* A header names a few hundred tensors in some 100 bytes each; the format allows 100 MB. */
#define SAFETENSORS_MAX_HEADER ((size_t)16 << 20)

struct st_tensor {
    struct str name;
    struct str dtype; /* as the file spells it */
    int rank;
    int64_t dim[TENSOR_MAX_RANK];
    uint64_t begin, end; /* bytes, from the start of the data */
};

struct safetensors;

struct err *safetensors_open(const char *folder, const char *file, size_t limit_bytes,
                             struct safetensors **out);
void safetensors_close(struct safetensors *); /* NULL is fine */
const struct st_tensor *safetensors_find(const struct safetensors *, struct str name);
size_t safetensors_bytes(const struct safetensors *);     /* of all tensors */
const char *safetensors_file(const struct safetensors *); /* for error texts */

/* All elements as floats: F32, F16 and BF16; others are ERR_ARGUMENT. */
struct err *safetensors_read(const struct safetensors *, const struct st_tensor *, float *out);

struct st_header {
    struct st_tensor *tensors; /* by offset */
    size_t n;
};

/* Checks a header for `data_bytes` of data behind it; everything lands in the arena. `file` is for
 * error texts. */
struct err *safetensors_parse(struct arena *, const char *file, struct str json,
                              uint64_t data_bytes, struct st_header *out);

#endif
