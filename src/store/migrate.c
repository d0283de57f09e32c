#include "migrate.h"

#include <stdio.h>

#include "log.h"

static struct err *version_get(sqlite3 *db, const char *path, int *out)
{
    sqlite3_stmt *st = NULL;
    struct err *e = NULL;
    if (sqlite3_prepare_v2(db, "PRAGMA user_version", -1, &st, NULL) != SQLITE_OK ||
        sqlite3_step(st) != SQLITE_ROW)
        e = err_new(ERR_CORRUPT, "cannot read the schema version of [%s]: %s", path,
                    sqlite3_errmsg(db));
    else
        *out = sqlite3_column_int(st, 0);
    sqlite3_finalize(st);
    return e;
}

static struct err *step(sqlite3 *db, const char *path, const struct migration *m, int version)
{
    char bump[64];
    snprintf(bump, sizeof bump, "PRAGMA user_version = %d; COMMIT", version);
    if (sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL) == SQLITE_OK &&
        sqlite3_exec(db, m->sql, NULL, NULL, NULL) == SQLITE_OK &&
        sqlite3_exec(db, bump, NULL, NULL, NULL) == SQLITE_OK)
        return NULL;
    struct err *e = err_new(ERR_CORRUPT, "cannot bring [%s] to schema version [%d] (%s): %s", path,
                            version, m->what, sqlite3_errmsg(db));
    if (!sqlite3_get_autocommit(db))
        sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
    return e;
}

struct err *migrate(sqlite3 *db, const char *path, const struct migration *table, int n)
{
    int version = 0;
    TRY(version_get(db, path, &version));
    if (version > n)
        return err_new(ERR_CORRUPT,
                       "[%s] has schema version [%d], but this version of the server knows only up "
                       "to [%d]: it was written by a newer one",
                       path, version, n);
    if (version < 0)
        return err_new(ERR_CORRUPT, "[%s] has the impossible schema version [%d]", path, version);
    for (int i = version; i < n; i++) {
        TRY(step(db, path, &table[i], i + 1));
        log_debug("store schema migrated", LOG_C("path", path), LOG_I("version", i + 1),
                  LOG_C("what", table[i].what));
    }
    return NULL;
}
