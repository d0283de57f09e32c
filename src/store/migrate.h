/* migrate: brings a SQLite database to the current schema; private to store/.
 *
 * The schema's version is SQLite's user_version: how many rows of the table have been applied. To
 * change the schema, append a row; rows already released are never edited. Each runs in a
 * transaction of its own together with the new version, so a crash leaves one or the other. */
#ifndef INFERD_STORE_MIGRATE_H
#define INFERD_STORE_MIGRATE_H

#include <sqlite3.h>

#include "err.h"

struct migration {
    const char *what; /* for the log and for errors */
    const char *sql;
};

/* `path` is for errors. A database newer than the table: an error that says so. */
struct err *migrate(sqlite3 *, const char *path, const struct migration *, int n);

#endif
