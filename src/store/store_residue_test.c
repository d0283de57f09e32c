/* What was dropped or sealed anew is gone from every file of the folder, not only from the answers:
 * the sealed bytes of each secret are read from the database, and later looked for byte by byte in
 * all files, while the store is open and after it has been closed. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "store_testing.h"

#define SECRETS 60
#define CHANGES 400
#define MARK                                                                                       \
    16 /* bytes of a sealed secret that are looked for: of its random nonce, or its tag            \
        */
#define MAX_SEEN 4000

struct fixture {
    struct test_folder folder;
    struct store *s;
    struct arena *a;
    unsigned seed;
    char (*old)[MARK]; /* of what must be gone */
    size_t n_old;
};

static int begin(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    f->a = arena_new(ARENA_NO_LIMIT);
    f->old = calloc(MAX_SEEN, MARK);
    f->seed = 7;
    test_folder_make(&f->folder);
    assert_ok(store_open("sqlite", f->folder.data, &f->s));
    *state = f;
    return 0;
}

static int end(void **state)
{
    struct fixture *f = *state;
    store_close(f->s);
    arena_free(f->a);
    test_folder_remove(&f->folder);
    free(f->old);
    free(f);
    return 0;
}

static unsigned roll(struct fixture *f, unsigned below)
{
    f->seed = f->seed * 1664525u + 1013904223u;
    return (f->seed >> 8) % below;
}

/* --- what is to be looked for --- */

static void mark(struct fixture *f, const char *bytes)
{
    assert_true(f->n_old < MAX_SEEN);
    memcpy(f->old[f->n_old++], bytes, MARK);
}

/* The sealed secrets as they lie in the database now: of this name, or of all. They are to be gone
 * at the next look. */
static void remember(struct fixture *f, const char *id)
{
    char path[128];
    sqlite3 *db;
    sqlite3_stmt *st;
    snprintf(path, sizeof path, "%s/store.db", f->folder.data);
    assert_int_equal(sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db,
                                        "SELECT body FROM private WHERE kind = 'secret' AND"
                                        " (?1 IS NULL OR id = CAST(?1 AS BLOB))",
                                        -1, &st, NULL),
                     SQLITE_OK);
    sqlite3_bind_text(st, 1, id, -1, SQLITE_STATIC);
    while (sqlite3_step(st) == SQLITE_ROW) {
        const char *p = sqlite3_column_blob(st, 0);
        int n = sqlite3_column_bytes(st, 0);
        assert_true(n > 49);
        mark(f, p + 9); /* behind version and key id: the nonce */
        mark(f, p + n - MARK);
    }
    sqlite3_finalize(st);
    sqlite3_close(db);
}

static int by_bytes(const void *a, const void *b)
{
    return memcmp(a, b, MARK);
}

static size_t found_in(const struct fixture *f, const char *path)
{
    FILE *file = fopen(path, "rb");
    struct stat st;
    size_t found = 0;
    if (!file)
        return 0; /* gone meanwhile */
    assert_int_equal(fstat(fileno(file), &st), 0);
    size_t n = (size_t)st.st_size;
    char *p = malloc(n + 1);
    assert_int_equal(fread(p, 1, n, file), n);
    fclose(file);
    bool first[65536] = {0};
    for (size_t i = 0; i < f->n_old; i++)
        first[(unsigned char)f->old[i][0] << 8 | (unsigned char)f->old[i][1]] = true;
    for (size_t i = 0; i + MARK <= n; i++)
        if (first[(unsigned char)p[i] << 8 | (unsigned char)p[i + 1]] &&
            bsearch(p + i, f->old, f->n_old, MARK, by_bytes)) {
            found++;
        }
    free(p);
    return found;
}

static size_t found_anywhere(struct fixture *f)
{
    size_t found = 0;
    DIR *dir = opendir(f->folder.data);
    assert_non_null(dir);
    qsort(f->old, f->n_old, MARK, by_bytes);
    for (struct dirent *d; (d = readdir(dir));) {
        char path[512];
        snprintf(path, sizeof path, "%s/%s", f->folder.data, d->d_name);
        found += d->d_type == DT_REG ? found_in(f, path) : 0;
    }
    closedir(dir);
    return found;
}

/* --- changes --- */

static void name_of(unsigned i, char out[32])
{
    snprintf(out, 32, "endpoint-%u", i);
}

/* From short ones, many to a page, to those that fill several pages. */
static void put(struct fixture *f, unsigned i)
{
    static char body[20000];
    static const size_t sizes[] = {20, 51, 160, 700, 3000, 20000};
    char id[32];
    name_of(i, id);
    memset(body, 'x', sizeof body);
    struct str text = str_n(body, sizes[roll(f, 6)]);
    struct change v[] = {
        {STORE_SECRET, str_c(id), text, STORE_ANY_REV},
        {STORE_ENDPOINT, str_c(id), str_sub(text, 0, 1 + roll(f, 900)), STORE_ANY_REV}};
    assert_ok(store_apply(f->s, v, 2, NULL));
}

static void drop(struct fixture *f, unsigned i)
{
    char id[32];
    name_of(i, id);
    struct change v[] = {{STORE_SECRET, str_c(id), {NULL, 0}, STORE_ANY_REV},
                         {STORE_ENDPOINT, str_c(id), {NULL, 0}, STORE_ANY_REV}};
    assert_ok(store_apply(f->s, v, 2, NULL));
}

static void fill(struct fixture *f)
{
    for (unsigned i = 0; i < SECRETS; i++)
        put(f, i);
}

static void dropped_and_replaced_secrets_are_gone(void **state)
{
    struct fixture *f = *state;
    char id[32];
    fill(f);
    for (int i = 0; i < CHANGES; i++) {
        unsigned which = roll(f, SECRETS);
        name_of(which, id);
        remember(f, id);
        if (roll(f, 3))
            put(f, which);
        else
            drop(f, which);
        assert_int_equal(found_anywhere(f), 0);
    }
    assert_true(f->n_old > CHANGES);
    store_close(f->s);
    f->s = NULL;
    assert_int_equal(found_anywhere(f), 0);
}

static void what_was_sealed_under_the_old_key_is_gone(void **state)
{
    struct fixture *f = *state;
    size_t n;
    fill(f);
    remember(f, NULL);
    assert_true(found_anywhere(f) > 0); /* the look is not blind */
    assert_ok(store_rotate_key(f->s, &n));
    assert_int_equal(n, SECRETS);
    assert_int_equal(found_anywhere(f), 0);
    store_close(f->s);
    f->s = NULL;
    assert_int_equal(found_anywhere(f), 0);
}

static sqlite3 *begin_reading(struct fixture *f)
{
    char path[128];
    sqlite3 *db;
    snprintf(path, sizeof path, "%s/store.db", f->folder.data);
    assert_int_equal(sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "BEGIN; SELECT count(*) FROM private", NULL, NULL, NULL),
                     SQLITE_OK);
    return db;
}

/* A backup, say: what it reads stays until it has ended, and nobody waits for that. */
static void somebody_else_reads(void **state)
{
    struct fixture *f = *state;
    fill(f);
    remember(f, "endpoint-7");
    sqlite3 *db = begin_reading(f);
    drop(f, 7);
    assert_true(found_anywhere(f) > 0);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
    assert_ok(store_put(f->s, STORE_META, STR("m"), STR("any other change"), 0, NULL));
    assert_int_equal(found_anywhere(f), 0);
}

static int times_in(const char *text, const char *part)
{
    int n = 0;
    while ((text = strstr(text, part)) != NULL) {
        n++;
        text += strlen(part);
    }
    return n;
}

static void who_reads_for_hours_is_complained_about_once(void **state)
{
    struct fixture *f = *state;
    char text[8192];
    FILE *log = tmpfile();
    int stderr_fd = dup(STDERR_FILENO);
    fill(f);
    sqlite3 *db = begin_reading(f);
    assert_true(log && stderr_fd >= 0 && dup2(fileno(log), STDERR_FILENO) >= 0);
    log_set(LOG_INFO, LOG_JSON);
    for (unsigned i = 0; i < 5; i++)
        drop(f, i);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
    drop(f, 5);
    drop(f, 6);
    quiet_log();
    assert_true(dup2(stderr_fd, STDERR_FILENO) >= 0);
    rewind(log);
    text[fread(text, 1, sizeof text - 1, log)] = '\0';
    assert_int_equal(times_in(text, "something else reads them"), 1);
    assert_int_equal(times_in(text, "hold no secrets any more"), 1);
    fclose(log);
    close(stderr_fd);
}

static void run_sql(struct fixture *f, const char *sql)
{
    char path[128];
    sqlite3 *db;
    snprintf(path, sizeof path, "%s/store.db", f->folder.data);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

/* The first schema had no table for what is private. */
static void make_older(struct fixture *f)
{
    fill(f);
    store_close(f->s);
    f->s = NULL;
    remember(f, "endpoint-7");
    run_sql(f, "PRAGMA secure_delete = OFF;"
               "INSERT INTO doc SELECT * FROM private;"
               "DROP TABLE private;"
               "DELETE FROM doc WHERE kind = 'secret' AND id = CAST('endpoint-7' AS BLOB);"
               "PRAGMA user_version = 1;");
    assert_true(found_anywhere(f) > 0);
}

static void an_older_database_is_cleaned_once(void **state)
{
    struct fixture *f = *state;
    struct docs secrets;
    make_older(f);
    assert_ok(store_open("sqlite", f->folder.data, &f->s));
    assert_int_equal(found_anywhere(f), 0);
    assert_ok(store_list(f->s, STORE_SECRET, f->a, &secrets));
    assert_int_equal(secrets.n, SECRETS - 1);
}

/* In a process of its own, which ends as if it were killed: its files may not become larger than
 * the database is, so that there is room for the new schema and none for writing all anew. */
static void open_without_room(struct fixture *f)
{
    char path[128];
    struct stat st;
    snprintf(path, sizeof path, "%s/store.db", f->folder.data);
    assert_int_equal(stat(path, &st), 0);
    pid_t child = fork();
    if (child == 0) {
        struct rlimit most = {(rlim_t)st.st_size, (rlim_t)st.st_size};
        bool ready = signal(SIGXFSZ, SIG_IGN) != SIG_ERR && setrlimit(RLIMIT_FSIZE, &most) == 0;
        _exit(ready && store_open("sqlite", f->folder.data, &f->s) == NULL ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void an_older_database_is_cleaned_by_the_next_process(void **state)
{
    struct fixture *f = *state;
    static char large[8 << 20];
    memset(large, 'x', sizeof large);
    assert_ok(store_put(f->s, STORE_META, STR("large"), str_n(large, sizeof large), 0, NULL));
    make_older(f);
    open_without_room(f);
    assert_true(found_anywhere(f) > 0);
    assert_ok(store_open("sqlite", f->folder.data, &f->s));
    assert_int_equal(found_anywhere(f), 0);
}

int main(void)
{
    quiet_log();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(dropped_and_replaced_secrets_are_gone, begin, end),
        cmocka_unit_test_setup_teardown(what_was_sealed_under_the_old_key_is_gone, begin, end),
        cmocka_unit_test_setup_teardown(somebody_else_reads, begin, end),
        cmocka_unit_test_setup_teardown(who_reads_for_hours_is_complained_about_once, begin, end),
        cmocka_unit_test_setup_teardown(an_older_database_is_cleaned_once, begin, end),
        cmocka_unit_test_setup_teardown(an_older_database_is_cleaned_by_the_next_process, begin,
                                        end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
