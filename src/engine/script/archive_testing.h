/* archive_testing: makes archives in memory for tests and fuzzers.
 *
 *     struct maker m;
 *     maker_init(&m);
 *     maker_add(&m, "x/version", STR("3\n"));
 *     const char *file = maker_file(&m);        // to open
 *     maker_deinit(&m);
 */
#ifndef INFERD_ENGINE_ARCHIVE_TESTING_H
#define INFERD_ENGINE_ARCHIVE_TESTING_H

#include "buf.h"
#include "script.h"

struct maker {
    struct buf file;    /* local headers and data, then the directory */
    struct buf central; /* the directory meanwhile */
    size_t n;
    int fd;
    char path[64];
};

void maker_init(struct maker *);
void maker_deinit(struct maker *);
void maker_add(struct maker *, const char *name, struct str bytes);     /* stored */
void maker_deflate(struct maker *, const char *name, struct str bytes); /* deflated */
/* An entry whose header says whatever one likes; `bytes` is what lies in the file. */
void maker_raw(struct maker *, struct str name, int method, struct str bytes, uint64_t size,
               uint32_t crc);
void maker_end(struct maker *);         /* directory and end record */
const char *maker_file(struct maker *); /* maker_end, then a path; until maker_deinit */
/* Any bytes as a file. */
const char *maker_bytes(struct maker *, struct str bytes);

/* data.pkl of a module of this class, "__torch__" "M", with an empty state. */
struct str maker_module_pickle(const char *module, const char *class, char out[256]);
/* A whole archive with this source text as code/__torch__.py, whose class M is the root. */
void maker_code(struct maker *, const char *version, const char *code);

#endif
