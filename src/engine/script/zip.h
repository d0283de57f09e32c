/* zip: the entries of an archive, read from disk (never mapped: a file cut short while we read
 * would kill the process). Stored and deflated entries, ZIP64. Source: APPNOTE.TXT 6.3.
 *
 *     struct zip *z;
 *     TRY(zip_open("model.pt", &z));
 *     const struct zip_entry *e = zip_find(z, STR("data.pkl"));
 *     TRY(zip_read(z, e, memory, NULL, NULL));     // memory of e->size bytes
 *     zip_close(z);
 *
 * Sizes and CRC come from the central directory, since libtorch's writer leaves them to a data
 * descriptor in the local header. All entries lie in one top directory of any name, which is not
 * part of their names here. Refused while opening: a name twice, names of 256 bytes and more,
 * entries that overlap, sizes that do not fit the file, more deflated bytes than EXPANSION allows,
 * encryption. Errors are ERR_ARGUMENT naming file and entry. Thread: one at a time. */
#ifndef INFERD_ENGINE_ZIP_H
#define INFERD_ENGINE_ZIP_H

#include "arena.h"
#include "err.h"

struct zip;

struct zip_entry {
    struct str name;  /* below the top directory */
    uint64_t size;    /* bytes when unpacked */
    uint64_t packed;  /* bytes in the file */
    uint64_t at;      /* of the local header */
    uint64_t data_at; /* of the first byte */
    uint32_t crc;
    bool deflated;
};

struct err *zip_open(const char *file, struct zip **out);
void zip_close(struct zip *); /* NULL is fine */

size_t zip_count(const struct zip *);
const struct zip_entry *zip_at(const struct zip *, size_t i); /* in the order of the directory */
const struct zip_entry *zip_find(const struct zip *, struct str name); /* NULL: absent */
const char *zip_file(const struct zip *);                              /* last part of the path */

/* Unpacks an entry into `to` (NULL: only checks it) and compares length and CRC. `see` (may be
 * NULL) is shown all of its bytes in order, piece by piece. */
struct err *zip_read(struct zip *, const struct zip_entry *, void *to,
                     void (*see)(void *ctx, const void *bytes, size_t n), void *ctx);

#endif
