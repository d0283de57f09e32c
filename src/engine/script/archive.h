/* archive: a TorchScript archive in memory: every entry read and checked once, storages where the
 * tensors will use them. Layout: trained_models.md 15.
 *
 * Every byte of every entry is searched for state hooks, as the engine of Elasticsearch does before
 * it loads anything (16). Texts lie in `tmp`, which it must outlive; storages are described in
 * `keep`, and their memory is the archive's until taken. */
#ifndef INFERD_ENGINE_ARCHIVE_H
#define INFERD_ENGINE_ARCHIVE_H

#include "arena.h"
#include "engine.h"

struct map;

/* The raw elements of tensors: little-endian, 64-byte aligned. */
struct storage {
    struct storage *next;
    struct str name; /* "data/0" */
    void *data;      /* NULL: only checked */
    uint64_t size;   /* bytes */
    bool used;
};

struct code_file {
    struct str name; /* "code/__torch__/a/b.py" */
    struct str text;
};

struct archive {
    const char *file;                   /* for errors: last part of the path */
    int version;                        /* 1 to 10 */
    struct str data_pkl, constants_pkl; /* constants_pkl empty: there is none */
    struct code_file *code;
    size_t n_code;
    struct storage *storages; /* a list */
    struct map *by_name;      /* of storages */
};

/* check_only: storages larger than a mebibyte are read but not kept. Whether it succeeds or not,
 * call archive_deinit. */
struct err *archive_read(const char *file, const struct engine_limits *, bool check_only,
                         struct arena *keep, struct arena *tmp, struct archive *out);
/* Gives back what is the archive's; storages that are still in the list too. */
void archive_deinit(struct archive *);

/* The storages of the list that tensors use, to keep: take *storages_free later. */
struct storage *archive_take_storages(struct archive *);
void storages_free(struct storage *);

struct storage *archive_storage(const struct archive *, struct str name); /* NULL: none */

#endif
