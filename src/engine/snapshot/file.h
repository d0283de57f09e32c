/* file: reads files of a snapshot folder. Names are ours or were checked by file_name_ok; symbolic
 * links are followed, since a Hugging Face cache is made of them. Errors name the file as the
 * folder knows it. Thread: any; waits for the disk. */
#ifndef INFERD_ENGINE_FILE_H
#define INFERD_ENGINE_FILE_H

#include "arena.h"
#include "err.h"

/* A plain name from a config: letters, digits, '_', '-', '.', not beginning with '.'. */
bool file_name_ok(struct str name);

bool file_exists(const char *folder, const char *name);
/* A regular file; missing or another kind: ERR_ARGUMENT. */
struct err *file_open(const char *folder, const char *name, int *fd_out);
/* Exactly n bytes; fewer: ERR_ARGUMENT "... ends too early". */
struct err *file_read_at(int fd, const char *name, uint64_t at, void *out, size_t n);
/* A whole file of at most `limit` bytes into the arena. */
struct err *file_read(const char *folder, const char *name, size_t limit, struct arena *,
                      struct str *out);

#endif
