/* store_driver: what a database has to offer; private to store/.
 *
 * A driver keeps bytes under (kind, id) and nothing more: expectations about revisions, the
 * encryption of secrets, the folder and its lock, and the grouping of writers are store.c's, once
 * for all drivers. A new driver is one file, one row in store.c, and the whole of store_test.c.
 *
 * Reads come from any number of threads at any time and see the last commit. Writing happens in
 * one transaction at a time, begin to commit or rollback, on one thread: store.c sees to it. */
#ifndef INFERD_STORE_DRIVER_H
#define INFERD_STORE_DRIVER_H

#include "store.h"

struct store_driver {
    const char *name;
    bool on_disk; /* lives in the data folder, which is made and locked before open */

    struct err *(*open)(const char *path_data, void **db_out);
    void (*close)(void *db);

    /* Both copy into the arena. get of an absent document leaves rev 0 and is no error. */
    struct err *(*get)(void *db, enum store_kind, struct str id, struct arena *, struct doc *out);
    struct err *(*list)(void *db, enum store_kind, struct arena *, struct docs *out);

    /* last_rev_out: the highest revision ever committed. */
    struct err *(*begin)(void *db, uint64_t *last_rev_out);
    /* The revision as the open transaction sees it; 0: absent. */
    struct err *(*peek)(void *db, enum store_kind, struct str id, uint64_t *rev_out);
    struct err *(*set)(void *db, enum store_kind, struct str id, struct str body, uint64_t rev);
    struct err *(*drop)(void *db, enum store_kind, struct str id);
    /* NULL: on disk, together with last_rev. Otherwise nothing of it is, and rollback follows.
     * `anew`: documents of private kinds were replaced or dropped, and no page may keep them. */
    struct err *(*commit)(void *db, uint64_t last_rev, bool anew);
    /* Follows a begin that succeeded, when anything after it did not. */
    void (*rollback)(void *db);
    /* Between transactions: takes out of the files what committed changes have replaced or dropped.
     * Somebody else reading the file may keep old bytes in use: *done_out is then false, and asking
     * again later finishes it. `patient`: readers are waited for, a moment. */
    struct err *(*scrub)(void *db, bool patient, bool *done_out);
};

extern const struct store_driver store_sqlite;
extern const struct store_driver store_memory;

/* Sealed secrets and the hashes of passwords: what was replaced or dropped of them is not left
 * lying in the files. */
bool store_kind_private(enum store_kind);

/* "endpoint" and so on. On disk and under the seal of secrets: never renamed. */
struct str store_kind_name(enum store_kind);

#endif
