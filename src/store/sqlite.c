/* The embedded default: one SQLite file in WAL mode, <path.data>/store.db.
 *
 * synchronous=FULL: an acknowledged commit survives power loss too, for 1 to 7 ms of fsync (NORMAL
 * would lose the last ones). One handle writes. Readers each borrow a handle of their own from a
 * free list, so that they never wait for the writer or for each other; the list grows to as many
 * as ever read at once, which the pool bounds.
 *
 * secure_delete overwrites a cell that is dropped, but not the copies that are left behind when
 * SQLite moves cells between pages, and the log keeps pages as they were. So what is private lies
 * in a table of its own: when something of it was replaced or dropped, the table's pages are freed
 * (and overwritten, as freed pages are) and filled anew in the same transaction, and then the log
 * is emptied. That table is small: keys and users, a few hundred bytes each. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "bug.h"
#include "folder.h"
#include "migrate.h"
#include "store_driver.h"

#define BUSY_MS  5000 /* for others at the file: backups, a shell. Among ourselves nobody waits. */
#define SCRUB_MS 250  /* for readers to end; writers wait meanwhile */

static const struct migration migrations[] = {
    {"documents and their revisions",
     "CREATE TABLE doc ("
     "  kind TEXT NOT NULL,"
     "  id BLOB NOT NULL,"
     "  rev INTEGER NOT NULL,"
     "  body BLOB NOT NULL,"
     "  PRIMARY KEY (kind, id));"
     "CREATE TABLE counter (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;"
     "INSERT INTO counter VALUES ('rev', 0);"},
    {"private documents apart",
     "CREATE TABLE private ("
     "  kind TEXT NOT NULL,"
     "  id BLOB NOT NULL,"
     "  rev INTEGER NOT NULL,"
     "  body BLOB NOT NULL,"
     "  PRIMARY KEY (kind, id));"
     "INSERT INTO private SELECT kind, id, rev, body FROM doc WHERE kind IN ('secret', 'user')"
     " ORDER BY kind, id;"
     "DELETE FROM doc WHERE kind IN ('secret', 'user');"},
    {"a mark until all is written anew", "INSERT INTO counter VALUES ('unclean', 1);"},
};

/* Through memory: temp_store says so. */
static const char fill_anew[] = "CREATE TEMP TABLE kept AS SELECT * FROM main.private;"
                                "DELETE FROM main.private;"
                                "INSERT INTO main.private SELECT * FROM kept;"
                                "DROP TABLE kept;";

enum statement { BEGIN, COMMIT, ROLLBACK, GET, LIST, PEEK, SET, DROP, REV, SET_REV, N_STATEMENTS };
enum table { DOC, PRIVATE, N_TABLES };

/* Brackets, since text that goes on looks like a forgotten comma. */
#define ON(table)                                                                                  \
    {                                                                                              \
        [BEGIN] = "BEGIN IMMEDIATE", [COMMIT] = "COMMIT", [ROLLBACK] = "ROLLBACK",                 \
        [GET] = ("SELECT rev, body FROM " table " WHERE kind = ?1 AND id = ?2"),                   \
        [LIST] = ("SELECT rev, body, id FROM " table " WHERE kind = ?1 ORDER BY id"),              \
        [PEEK] = ("SELECT rev FROM " table " WHERE kind = ?1 AND id = ?2"),                        \
        [SET] =                                                                                    \
            ("INSERT INTO " table " (kind, id, rev, body) VALUES (?1, ?2, ?3, ?4)"                 \
             " ON CONFLICT (kind, id) DO UPDATE SET rev = excluded.rev, body = excluded.body"),    \
        [DROP] = ("DELETE FROM " table " WHERE kind = ?1 AND id = ?2"),                            \
        [REV] = "SELECT value FROM counter WHERE name = 'rev'",                                    \
        [SET_REV] = "UPDATE counter SET value = ?3 WHERE name = 'rev'",                            \
    }

/* NOLINTBEGIN(bugprone-suspicious-missing-comma): each is one text, of pieces */
static const char *const sql[N_TABLES][N_STATEMENTS] = {
    [DOC] = ON("doc"),
    [PRIVATE] = ON("private"),
};
/* NOLINTEND(bugprone-suspicious-missing-comma) */

static enum table table_of(enum store_kind kind)
{
    return store_kind_private(kind) ? PRIVATE : DOC;
}

struct handle {
    sqlite3 *db;
    sqlite3_stmt *st[N_TABLES][N_STATEMENTS]; /* made on first use */
    struct handle *next;
};

struct sqlite {
    char path[PATH_MAX];
    struct handle *writer;
    bool unclean;         /* pages of the first schema may still hold secrets */
    pthread_mutex_t lock; /* guards `idle` */
    struct handle *idle;
};

static struct err *fail(const struct handle *h, const char *doing)
{
    return err_new(ERR_IO, "the store cannot %s: %s", doing, sqlite3_errmsg(h->db));
}

/* --- handles --- */

static void handle_close(struct handle *h)
{
    if (!h)
        return;
    for (int i = 0; i < N_TABLES * N_STATEMENTS; i++)
        sqlite3_finalize(h->st[i / N_STATEMENTS][i % N_STATEMENTS]);
    BUG_ON(sqlite3_close(h->db) != SQLITE_OK);
    free(h);
}

static struct err *set_pragmas(struct handle *h, const char *path)
{
    /* trusted_schema off: a planted database file runs no functions of its own. secure_delete:
     * dropped records are overwritten in the file. temp_store: nothing of it lies elsewhere. */
    static const char pragmas[] = "PRAGMA synchronous = FULL;"
                                  "PRAGMA trusted_schema = OFF;"
                                  "PRAGMA temp_store = MEMORY;"
                                  "PRAGMA secure_delete = ON;";
    if (sqlite3_exec(h->db, pragmas, NULL, NULL, NULL) != SQLITE_OK)
        return err_new(ERR_CORRUPT, "[%s] cannot be used as a store: %s", path,
                       sqlite3_errmsg(h->db));
    return NULL;
}

static struct err *handle_open(const char *path, struct handle **out)
{
    struct handle *h = mem_new(sizeof *h);
    int rc = sqlite3_open_v2(path, &h->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
    struct err *e = NULL;
    if (rc != SQLITE_OK) {
        e = err_new(ERR_IO, "cannot open [%s]: %s", path,
                    h->db ? sqlite3_errmsg(h->db) : sqlite3_errstr(rc));
    } else {
        sqlite3_busy_timeout(h->db, BUSY_MS);
        sqlite3_db_config(h->db, SQLITE_DBCONFIG_DEFENSIVE, 1, (int *)NULL);
        e = set_pragmas(h, path);
    }
    if (e)
        handle_close(h);
    else
        *out = h;
    return e;
}

static struct err *reader_take(struct sqlite *s, struct handle **out)
{
    pthread_mutex_lock(&s->lock);
    struct handle *h = s->idle;
    if (h)
        s->idle = h->next;
    pthread_mutex_unlock(&s->lock);
    if (!h)
        return handle_open(s->path, out);
    *out = h;
    return NULL;
}

static void reader_return(struct sqlite *s, struct handle *h)
{
    pthread_mutex_lock(&s->lock);
    h->next = s->idle;
    s->idle = h;
    pthread_mutex_unlock(&s->lock);
}

/* --- statements --- */

static struct err *prepare(struct handle *h, enum table table, enum statement which,
                           sqlite3_stmt **out)
{
    sqlite3_stmt **st = &h->st[table][which];
    if (!*st && sqlite3_prepare_v3(h->db, sql[table][which], -1, SQLITE_PREPARE_PERSISTENT, st,
                                   NULL) != SQLITE_OK)
        return fail(h, "prepare a statement");
    *out = *st;
    return NULL;
}

/* Bound without a copy: what is bound outlives the statement's run. */
static bool bind_key(sqlite3_stmt *st, enum store_kind kind, struct str id)
{
    struct str name = store_kind_name(kind);
    if (sqlite3_bind_text(st, 1, name.p, (int)name.n, SQLITE_STATIC) != SQLITE_OK)
        return false;
    return !id.p || sqlite3_bind_blob(st, 2, id.p, (int)id.n, SQLITE_STATIC) == SQLITE_OK;
}

/* Ends the statement's run, so that it holds no lock and no borrowed bytes. */
static void rewind_statement(sqlite3_stmt *st)
{
    sqlite3_reset(st);
    sqlite3_clear_bindings(st);
}

static struct err *run(struct handle *h, enum table table, enum statement which, const char *doing)
{
    sqlite3_stmt *st = NULL;
    TRY(prepare(h, table, which, &st));
    struct err *e = sqlite3_step(st) == SQLITE_DONE ? NULL : fail(h, doing);
    rewind_statement(st);
    return e;
}

/* --- open and close --- */

/* SQLite gives its -wal and -shm files the mode of the main one, so that is made here. */
static struct err *make_file(struct sqlite *s, const char *path_data)
{
    if ((size_t)snprintf(s->path, sizeof s->path, "%s/store.db", path_data) >= sizeof s->path)
        return err_new(ERR_ARGUMENT, "the data folder's path is too long [%s]", path_data);
    int fd = open(s->path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_new(ERR_IO, "cannot open [%s]: %s", s->path, strerror(errno));
    close(fd);
    return folder_sync(path_data);
}

static struct err *use_wal(struct handle *h, const char *path)
{
    sqlite3_stmt *st = NULL;
    struct err *e = NULL;
    if (sqlite3_prepare_v2(h->db, "PRAGMA journal_mode = WAL", -1, &st, NULL) != SQLITE_OK ||
        sqlite3_step(st) != SQLITE_ROW)
        e = err_new(ERR_CORRUPT, "[%s] cannot be used as a store: %s", path, sqlite3_errmsg(h->db));
    else if (strcmp((const char *)sqlite3_column_text(st, 0), "wal") != 0)
        e = err_new(ERR_IO, "[%s] lies on a file system without shared memory, which SQLite needs",
                    path);
    sqlite3_finalize(st);
    return e;
}

static struct err *read_unclean(struct sqlite *s)
{
    static const char q[] = "SELECT 1 FROM counter WHERE name = 'unclean'";
    sqlite3_stmt *st = NULL;
    int rc = sqlite3_prepare_v2(s->writer->db, q, -1, &st, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(st);
    s->unclean = rc == SQLITE_ROW;
    struct err *e = s->unclean || rc == SQLITE_DONE ? NULL : fail(s->writer, "be read");
    sqlite3_finalize(st);
    return e;
}

static struct err *open_writer(struct sqlite *s, const char *path_data)
{
    TRY(make_file(s, path_data));
    TRY(handle_open(s->path, &s->writer));
    TRY(use_wal(s->writer, s->path));
    TRY(migrate(s->writer->db, s->path, migrations, sizeof migrations / sizeof *migrations));
    return read_unclean(s);
}

static void sqlite_close(void *db)
{
    struct sqlite *s = db;
    for (struct handle *h = s->idle, *next; h; h = next) {
        next = h->next;
        handle_close(h);
    }
    handle_close(s->writer); /* last: it checkpoints and removes the WAL */
    pthread_mutex_destroy(&s->lock);
    free(s);
}

static struct err *sqlite_open(const char *path_data, void **db_out)
{
    struct sqlite *s = mem_new(sizeof *s);
    BUG_ON(pthread_mutex_init(&s->lock, NULL) != 0);
    struct err *e = open_writer(s, path_data);
    if (e)
        sqlite_close(s);
    else
        *db_out = s;
    return e;
}

/* --- reading --- */

static struct str column_blob(sqlite3_stmt *st, int i)
{
    const void *p = sqlite3_column_blob(st, i); /* before the length, says its manual */
    return str_n(p, (size_t)sqlite3_column_bytes(st, i));
}

static struct doc take_row(sqlite3_stmt *st, struct str id, struct arena *a)
{
    return (struct doc){.id = arena_dup(a, id),
                        .rev = (uint64_t)sqlite3_column_int64(st, 0),
                        .body = arena_dup(a, column_blob(st, 1))};
}

static struct err *read_one(struct handle *h, enum store_kind kind, struct str id, struct arena *a,
                            struct doc *out)
{
    sqlite3_stmt *st = NULL;
    TRY(prepare(h, table_of(kind), GET, &st));
    int rc = bind_key(st, kind, id) ? sqlite3_step(st) : SQLITE_NOMEM;
    struct err *e = NULL;
    if (rc == SQLITE_ROW)
        *out = take_row(st, id, a);
    else if (rc != SQLITE_DONE)
        e = fail(h, "read a document");
    rewind_statement(st);
    return e;
}

static struct err *sqlite_get(void *db, enum store_kind kind, struct str id, struct arena *a,
                              struct doc *out)
{
    struct sqlite *s = db;
    struct handle *h = NULL;
    *out = (struct doc){0};
    TRY(reader_take(s, &h));
    struct err *e = read_one(h, kind, id, a, out);
    reader_return(s, h);
    return e;
}

static struct err *read_all(struct handle *h, enum store_kind kind, struct arena *a,
                            struct docs *out)
{
    sqlite3_stmt *st = NULL;
    TRY(prepare(h, table_of(kind), LIST, &st));
    size_t cap = 0;
    struct doc *v = NULL;
    int rc = bind_key(st, kind, (struct str){0}) ? SQLITE_OK : SQLITE_NOMEM;
    while (rc != SQLITE_NOMEM && (rc = sqlite3_step(st)) == SQLITE_ROW) {
        if (out->n == cap) {
            cap = cap ? 2 * cap : 64;
            v = mem_grow(v, cap * sizeof *v);
        }
        v[out->n++] = take_row(st, column_blob(st, 2), a);
    }
    struct err *e = rc == SQLITE_DONE ? NULL : fail(h, "list documents");
    rewind_statement(st);
    out->v = arena_array(a, out->n, sizeof *out->v);
    if (out->n)
        memcpy(out->v, v, out->n * sizeof *v);
    free(v);
    return e;
}

static struct err *sqlite_list(void *db, enum store_kind kind, struct arena *a, struct docs *out)
{
    struct sqlite *s = db;
    struct handle *h = NULL;
    *out = (struct docs){0};
    TRY(reader_take(s, &h));
    struct err *e = read_all(h, kind, a, out);
    reader_return(s, h);
    return e;
}

/* --- writing --- */

/* `doing` and a statement that yields one integer, or none (then *out stays). */
static struct err *read_int(struct handle *h, sqlite3_stmt *st, const char *doing, uint64_t *out)
{
    int rc = sqlite3_step(st);
    struct err *e = NULL;
    if (rc == SQLITE_ROW)
        *out = (uint64_t)sqlite3_column_int64(st, 0);
    else if (rc != SQLITE_DONE)
        e = fail(h, doing);
    rewind_statement(st);
    return e;
}

static void sqlite_rollback(void *db)
{
    struct sqlite *s = db;
    if (!sqlite3_get_autocommit(s->writer->db)) /* some errors roll back by themselves */
        err_free(run(s->writer, DOC, ROLLBACK, "roll back"));
}

static struct err *read_rev(struct handle *h, uint64_t *out)
{
    sqlite3_stmt *st = NULL;
    TRY(prepare(h, DOC, REV, &st));
    *out = 0;
    return read_int(h, st, "read its revision", out);
}

static struct err *sqlite_begin(void *db, uint64_t *last_rev_out)
{
    struct sqlite *s = db;
    TRY(run(s->writer, DOC, BEGIN, "begin a transaction"));
    struct err *e = read_rev(s->writer, last_rev_out);
    if (e)
        sqlite_rollback(s);
    return e;
}

static struct err *sqlite_peek(void *db, enum store_kind kind, struct str id, uint64_t *rev_out)
{
    struct sqlite *s = db;
    sqlite3_stmt *st = NULL;
    TRY(prepare(s->writer, table_of(kind), PEEK, &st));
    *rev_out = 0;
    if (!bind_key(st, kind, id))
        return fail(s->writer, "bind a document's name");
    return read_int(s->writer, st, "read a revision", rev_out);
}

static struct err *sqlite_set(void *db, enum store_kind kind, struct str id, struct str body,
                              uint64_t rev)
{
    struct sqlite *s = db;
    sqlite3_stmt *st = NULL;
    TRY(prepare(s->writer, table_of(kind), SET, &st));
    bool bound = bind_key(st, kind, id) &&
                 sqlite3_bind_int64(st, 3, (sqlite3_int64)rev) == SQLITE_OK &&
                 sqlite3_bind_blob(st, 4, body.p, (int)body.n, SQLITE_STATIC) == SQLITE_OK;
    if (!bound) {
        rewind_statement(st);
        return fail(s->writer, "bind a document");
    }
    return run(s->writer, table_of(kind), SET, "write a document");
}

static struct err *sqlite_drop(void *db, enum store_kind kind, struct str id)
{
    struct sqlite *s = db;
    sqlite3_stmt *st = NULL;
    TRY(prepare(s->writer, table_of(kind), DROP, &st));
    if (!bind_key(st, kind, id))
        return fail(s->writer, "bind a document's name");
    return run(s->writer, table_of(kind), DROP, "drop a document");
}

static struct err *sqlite_commit(void *db, uint64_t last_rev, bool anew)
{
    struct sqlite *s = db;
    sqlite3_stmt *st = NULL;
    if (anew && sqlite3_exec(s->writer->db, fill_anew, NULL, NULL, NULL) != SQLITE_OK)
        return fail(s->writer, "fill its private part anew");
    TRY(prepare(s->writer, DOC, SET_REV, &st));
    if (sqlite3_bind_int64(st, 3, (sqlite3_int64)last_rev) != SQLITE_OK)
        return fail(s->writer, "bind its revision");
    TRY(run(s->writer, DOC, SET_REV, "write its revision"));
    return run(s->writer, DOC, COMMIT, "commit");
}

/* What was private in the first schema may lie between the cells of any page. The mark in the
 * database outlives a process that is killed before this, and a disk without room for it: then the
 * next process tries again. */
static struct err *clean(struct sqlite *s)
{
    static const char all[] = "VACUUM; DELETE FROM counter WHERE name = 'unclean'";
    if (!s->unclean)
        return NULL;
    s->unclean = false;
    return sqlite3_exec(s->writer->db, all, NULL, NULL, NULL) == SQLITE_OK
               ? NULL
               : fail(s->writer, "be written anew");
}

/* The log still holds pages as they were before: all of it goes into the database, where freed
 * cells are overwritten, and its file is cut to nothing. */
static struct err *sqlite_scrub(void *db, bool patient, bool *done_out)
{
    struct sqlite *s = db;
    struct handle *h = s->writer;
    TRY(clean(s));
    sqlite3_busy_timeout(h->db, patient ? SCRUB_MS : 0);
    int rc = sqlite3_wal_checkpoint_v2(h->db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
    sqlite3_busy_timeout(h->db, BUSY_MS);
    *done_out = rc == SQLITE_OK;
    return rc == SQLITE_OK || rc == SQLITE_BUSY ? NULL : fail(h, "empty its log");
}

const struct store_driver store_sqlite = {
    .name = "sqlite",
    .on_disk = true,
    .open = sqlite_open,
    .close = sqlite_close,
    .get = sqlite_get,
    .list = sqlite_list,
    .begin = sqlite_begin,
    .peek = sqlite_peek,
    .set = sqlite_set,
    .drop = sqlite_drop,
    .commit = sqlite_commit,
    .rollback = sqlite_rollback,
    .scrub = sqlite_scrub,
};
