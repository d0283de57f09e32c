/* definition: the files of one uploaded model; private to model/.
 *
 *     <folder>/parts/3.12.94027   part 3 of 12 of a definition that was said to have 94027 bytes
 *     <folder>/model.pt           all parts put together; parts/ is gone then
 *     <folder>/vocabulary.json    the body of PUT vocabulary, as it came
 *     *.new                       being written; removed when found at open
 *
 * A file is written aside, synced and then named, and the name synced, so after a crash each is
 * there whole or not at all. This file knows what there is (struct definition, its owner's lock)
 * and how to change it on disk (functions of paths and bytes, blocking, any thread).
 * Names are numbers and constants: nothing from outside becomes part of a path but the folder. */
#ifndef INFERD_DEFINITION_H
#define INFERD_DEFINITION_H

#include "err.h"

#define DEFINITION_MAX_PARTS 10000

struct part {
    int64_t bytes; /* of this part */
    int64_t total_bytes;
    uint32_t total_parts; /* 0: there is no such part */
    bool writing;
    bool recovered; /* found at open: its sender may not know that it is there */
};

struct definition {
    char *folder; /* owned; may not exist yet */
    struct part *parts;
    uint32_t n_parts;         /* length of parts */
    int64_t part_bytes;       /* their sum */
    int64_t announced;        /* total_bytes of the part that came last; 0: none */
    int64_t whole_bytes;      /* of model.pt; -1: there is none */
    int64_t vocabulary_bytes; /* -1: there is none */
    bool vocabulary_writing, vocabulary_recovered;
};

/* Looks what is there and clears away what a crash left. A missing folder is an empty one. */
struct err *definition_open(const char *folder, struct definition *out);
void definition_deinit(struct definition *);

/* --- what there is --- */

struct part *definition_part(struct definition *, uint32_t i); /* NULL: nothing known */
/* Room for part i; it stays absent until it has total_parts. */
struct part *definition_reserve(struct definition *, uint32_t i);
/* NULL: every part is there, or model.pt is. Else ES's words. */
struct err *definition_check(const struct definition *, const char *model_id);
int64_t definition_bytes(const struct definition *); /* all files together */
void definition_now_whole(struct definition *);      /* the parts have been put together */
void definition_now_none(struct definition *);       /* the parts have been removed */

/* --- disk --- */

struct err *definition_write_part(const char *folder, uint32_t i, const struct part *, struct str);
struct err *definition_write_vocabulary(const char *folder, struct str text);
/* Does the file hold exactly these bytes? Not readable: false. */
bool definition_same_part(const char *folder, uint32_t i, const struct part *, struct str bytes);
bool definition_same_vocabulary(const char *folder, struct str text);
/* The parts [n], in order, as model.pt, in bounded memory; then they are removed. `stop` is looked
 * at between pieces: true ends it with an error. */
struct err *definition_assemble(const char *folder, const struct part *, uint32_t n,
                                bool (*stop)(void *ctx), void *ctx);
/* The same as a file of its own, for a look inside; the parts stay. */
#define DEFINITION_COPY "look.new"
struct err *definition_copy(const char *folder, const struct part *, uint32_t n,
                            bool (*stop)(void *ctx), void *ctx);
void definition_remove_copy(const char *folder);
void definition_remove_parts(const char *folder);
/* The folder and all in it; missing: fine. Follows no link. */
struct err *definition_remove(const char *folder);

/* A whole file, written aside, synced, named, name synced. */
struct err *definition_write_file(const char *folder, const char *name, struct str bytes);
/* Makes names just given in the folder durable. */
struct err *definition_sync(const char *folder);
/* Makes a folder (0700) and its name durable; there already: fine. */
struct err *definition_make_folder(const char *folder);

#endif
