/* Every driver has to pass the same stories; those at the end are about files and locks. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <pthread.h>
#include <sqlite3.h>
#include <sys/stat.h>

#include "store_testing.h"

struct fixture {
    const char *driver;
    struct test_folder folder;
    struct store *s;
    struct arena *a;
};

static int open_fixture(void **state, const char *driver)
{
    struct fixture *f = calloc(1, sizeof *f);
    f->driver = driver;
    f->a = arena_new(ARENA_NO_LIMIT);
    test_folder_make(&f->folder);
    assert_ok(store_open(driver, f->folder.data, &f->s));
    *state = f;
    return 0;
}

static int with_sqlite(void **state)
{
    return open_fixture(state, "sqlite");
}

static int with_memory(void **state)
{
    return open_fixture(state, "memory");
}

static int end(void **state)
{
    struct fixture *f = *state;
    store_close(f->s);
    arena_free(f->a);
    test_folder_remove(&f->folder);
    free(f);
    return 0;
}

static void reopen(struct fixture *f)
{
    store_close(f->s);
    f->s = NULL;
    assert_ok(store_open(f->driver, f->folder.data, &f->s));
}

static void assert_body(struct fixture *f, enum store_kind kind, const char *id, const char *body)
{
    struct doc d;
    assert_ok(store_get(f->s, kind, str_c(id), f->a, &d));
    assert_true(str_eq_c(d.id, id));
    assert_int_equal(d.body.n, strlen(body));
    assert_true(str_eq_c(d.body, body));
}

static void assert_absent(struct fixture *f, enum store_kind kind, const char *id)
{
    struct doc d;
    assert_err(store_get(f->s, kind, str_c(id), f->a, &d), ERR_NOT_FOUND, id);
}

static void puts_and_gets(void **state)
{
    struct fixture *f = *state;
    uint64_t r1, r2;
    assert_absent(f, STORE_ENDPOINT, "e");
    assert_ok(store_put(f->s, STORE_ENDPOINT, STR("e"), STR("{\"a\":1}"), 0, &r1));
    assert_ok(store_put(f->s, STORE_META, STR("e"), STR("other"), 0, &r2));
    assert_true(r1 > 0 && r2 > r1);
    assert_body(f, STORE_ENDPOINT, "e", "{\"a\":1}");
    assert_body(f, STORE_META, "e", "other");
    struct doc d;
    assert_ok(store_get(f->s, STORE_ENDPOINT, STR("e"), f->a, &d));
    assert_int_equal(d.rev, r1);
}

static void keeps_empty_and_binary_bodies(void **state)
{
    struct fixture *f = *state;
    assert_ok(store_put(f->s, STORE_META, STR("none"), (struct str){0}, 0, NULL));
    assert_ok(store_put(f->s, STORE_META, STR("b\0n"), STR("\0\xff\0"), 0, NULL));
    assert_ok(store_put(f->s, STORE_SECRET, STR("s"), (struct str){0}, 0, NULL));
    assert_body(f, STORE_META, "none", "");
    assert_body(f, STORE_SECRET, "s", "");
    struct doc d;
    assert_ok(store_get(f->s, STORE_META, STR("b\0n"), f->a, &d));
    assert_true(str_eq(d.body, STR("\0\xff\0")));
    assert_absent(f, STORE_META, "b");
}

static void revisions_guard_changes(void **state)
{
    struct fixture *f = *state;
    uint64_t r1, r2;
    struct str e = STR("e");
    assert_ok(store_put(f->s, STORE_ENDPOINT, e, STR("1"), 0, &r1));
    assert_err(store_put(f->s, STORE_ENDPOINT, e, STR("2"), 0, NULL), ERR_EXISTS, "[e]");
    assert_err(store_put(f->s, STORE_ENDPOINT, e, STR("2"), r1 + 7, NULL), ERR_CONFLICT, "[e]");
    assert_err(store_put(f->s, STORE_ENDPOINT, STR("x"), STR("2"), r1, NULL), ERR_NOT_FOUND, "[x]");
    assert_body(f, STORE_ENDPOINT, "e", "1");
    assert_ok(store_put(f->s, STORE_ENDPOINT, e, STR("2"), r1, &r2));
    assert_true(r2 > r1);
    assert_err(store_drop(f->s, STORE_ENDPOINT, e, r1), ERR_CONFLICT, "[e]");
    assert_ok(store_put(f->s, STORE_ENDPOINT, e, STR("3"), STORE_ANY_REV, &r2));
    assert_body(f, STORE_ENDPOINT, "e", "3");
    assert_ok(store_drop(f->s, STORE_ENDPOINT, e, r2));
    assert_absent(f, STORE_ENDPOINT, "e");
    assert_err(store_drop(f->s, STORE_ENDPOINT, e, r2), ERR_NOT_FOUND, "[e]");
    assert_ok(store_drop(f->s, STORE_ENDPOINT, e, STORE_ANY_REV));
}

static void a_refused_apply_changes_nothing(void **state)
{
    struct fixture *f = *state;
    uint64_t r, together;
    assert_ok(store_put(f->s, STORE_ENDPOINT, STR("old"), STR("1"), 0, &r));
    struct change good[] = {{STORE_ENDPOINT, STR("new"), STR("body"), 0},
                            {STORE_SECRET, STR("new"), STR("key"), 0},
                            {STORE_ENDPOINT, STR("old"), {NULL, 0}, r}};
    struct change bad[] = {good[0], good[1], {STORE_ENDPOINT, STR("old"), {NULL, 0}, r + 1}};
    assert_err(store_apply(f->s, bad, 3, &together), ERR_CONFLICT, "[old]");
    assert_absent(f, STORE_ENDPOINT, "new");
    assert_absent(f, STORE_SECRET, "new");
    assert_ok(store_apply(f->s, good, 3, &together));
    struct doc d;
    assert_ok(store_get(f->s, STORE_SECRET, STR("new"), f->a, &d));
    assert_int_equal(d.rev, together);
    assert_true(str_eq_c(d.body, "key"));
    assert_absent(f, STORE_ENDPOINT, "old");
}

static void lists_sorted_by_bytes(void **state)
{
    struct fixture *f = *state;
    static const char *const ids[] = {"b", "\xc3\xa4", "a-2", "B", "a", "a/1"};
    static const char *const sorted[] = {"B", "a", "a-2", "a/1", "b", "\xc3\xa4"};
    for (size_t i = 0; i < 6; i++) {
        assert_ok(store_put(f->s, STORE_SECRET, str_c(ids[i]), str_c(ids[i]), 0, NULL));
        assert_ok(store_put(f->s, STORE_USER, str_c(ids[i]), STR("u"), 0, NULL));
    }
    struct docs d;
    assert_ok(store_list(f->s, STORE_ENDPOINT, f->a, &d));
    assert_int_equal(d.n, 0);
    assert_ok(store_list(f->s, STORE_SECRET, f->a, &d));
    assert_int_equal(d.n, 6);
    for (size_t i = 0; i < 6; i++) {
        assert_true(str_eq_c(d.v[i].id, sorted[i]));
        assert_true(str_eq_c(d.v[i].body, sorted[i]));
        assert_true(d.v[i].rev > 0);
    }
}

static void refuses_impossible_names(void **state)
{
    struct fixture *f = *state;
    char *big = calloc(1, 2000);
    memset(big, 'x', 1999);
    assert_err(store_put(f->s, STORE_META, STR(""), STR("b"), 0, NULL), ERR_ARGUMENT, "[0]");
    assert_err(store_put(f->s, STORE_META, str_c(big), STR("b"), 0, NULL), ERR_ARGUMENT, "[1999]");
    free(big);
}

/* --- many threads --- */

#define THREADS 8
#define EACH    20

struct worker {
    pthread_t thread;
    struct fixture *f;
    int index;
    uint64_t last_rev;
    int won; /* races for one new id */
};

static void *put_many(void *arg)
{
    struct worker *w = arg;
    struct arena *a = arena_new(ARENA_NO_LIMIT);
    for (int i = 0; i < EACH; i++) {
        uint64_t rev = 0;
        struct doc d;
        struct str own = arena_printf(a, "t%d-%d", w->index, i);
        assert_ok(store_put(w->f->s, STORE_SECRET, own, own, 0, &rev));
        assert_true(rev > w->last_rev);
        w->last_rev = rev;
        assert_ok(store_get(w->f->s, STORE_SECRET, own, a, &d));
        assert_true(str_eq(d.body, own) && d.rev == rev);
        struct err *e =
            store_put(w->f->s, STORE_META, arena_printf(a, "race-%d", i), STR("x"), 0, NULL);
        w->won += !e;
        if (e)
            assert_err(e, ERR_EXISTS, "race");
    }
    arena_free(a);
    return NULL;
}

static void threads_write_together(void **state)
{
    struct fixture *f = *state;
    struct worker w[THREADS] = {0};
    int won = 0;
    for (int i = 0; i < THREADS; i++) {
        w[i].f = f;
        w[i].index = i;
        assert_int_equal(pthread_create(&w[i].thread, NULL, put_many, &w[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(w[i].thread, NULL);
        won += w[i].won;
    }
    assert_int_equal(won, EACH); /* exactly one winner per race */
    struct docs d;
    assert_ok(store_list(f->s, STORE_SECRET, f->a, &d));
    assert_int_equal(d.n, THREADS * EACH);
}

/* --- what only a driver on disk has --- */

static void reopening_finds_everything(void **state)
{
    struct fixture *f = *state;
    uint64_t r1, r2;
    assert_ok(store_put(f->s, STORE_ENDPOINT, STR("e"), STR("body"), 0, NULL));
    assert_ok(store_put(f->s, STORE_SECRET, STR("e"), STR("key"), 0, NULL));
    assert_ok(store_put(f->s, STORE_USER, STR("gone"), STR("u"), 0, &r1));
    assert_ok(store_drop(f->s, STORE_USER, STR("gone"), r1));
    reopen(f);
    assert_body(f, STORE_ENDPOINT, "e", "body");
    assert_body(f, STORE_SECRET, "e", "key");
    assert_absent(f, STORE_USER, "gone");
    assert_ok(store_put(f->s, STORE_META, STR("m"), STR("x"), 0, &r2));
    assert_true(r2 > r1 + 1); /* a dropped document's revisions never come back */
}

static void in_folder(struct fixture *f, const char *name, char *out, size_t n)
{
    snprintf(out, n, "%s/%s", f->folder.data, name);
}

static void assert_mode(const char *path, unsigned mode)
{
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, mode);
}

static void files_are_for_the_owner_alone(void **state)
{
    struct fixture *f = *state;
    char path[256];
    assert_ok(store_put(f->s, STORE_META, STR("m"), STR("x"), 0, NULL));
    assert_mode(f->folder.data, 0700);
    static const char *const names[] = {"store.db", "store.db-wal", "secrets.key", "node.lock"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        in_folder(f, names[i], path, sizeof path);
        assert_mode(path, 0600);
    }
}

static void a_second_open_names_the_holder(void **state)
{
    struct fixture *f = *state;
    struct store *other = NULL;
    char pid[32];
    snprintf(pid, sizeof pid, "process [%ld]", (long)getpid());
    assert_err(store_open("sqlite", f->folder.data, &other), ERR_IO, pid);
    assert_null(other);
    reopen(f); /* and the lock goes with the store */
}

static bool file_has(const char *path, const char *needle)
{
    FILE *in = fopen(path, "rb");
    if (!in)
        return false;
    static char bytes[4 << 20];
    size_t n = fread(bytes, 1, sizeof bytes, in);
    fclose(in);
    return memmem(bytes, n, needle, strlen(needle)) != NULL;
}

static void secrets_never_lie_in_the_clear(void **state)
{
    struct fixture *f = *state;
    char db[256], wal[256];
    in_folder(f, "store.db", db, sizeof db);
    in_folder(f, "store.db-wal", wal, sizeof wal);
    assert_ok(store_put(f->s, STORE_SECRET, STR("e"), STR("sk-plainly-visible"), 0, NULL));
    assert_ok(store_put(f->s, STORE_ENDPOINT, STR("e"), STR("settings-are-visible"), 0, NULL));
    assert_true(file_has(db, "settings-are-visible") || file_has(wal, "settings-are-visible"));
    assert_false(file_has(db, "sk-plainly-visible") || file_has(wal, "sk-plainly-visible"));
}

static void replace_file(const char *path, const char *text)
{
    unlink(path);
    FILE *out = fopen(path, "w");
    fputs(text, out);
    fclose(out);
}

static void a_wrong_key_is_named(void **state)
{
    struct fixture *f = *state;
    char key[256], aside[256];
    in_folder(f, "secrets.key", key, sizeof key);
    in_folder(f, "aside", aside, sizeof aside);
    assert_ok(store_put(f->s, STORE_SECRET, STR("e"), STR("k"), 0, NULL));
    store_close(f->s);
    f->s = NULL;
    assert_int_equal(rename(key, aside), 0);
    assert_err(store_open("sqlite", f->folder.data, &f->s), ERR_CORRUPT, "is missing");
    assert_int_equal(access(key, F_OK), -1); /* and none was made */
    replace_file(key, "0000000000000000000000000000000000000000000000000000000000000000\n");
    assert_err(store_open("sqlite", f->folder.data, &f->s), ERR_CORRUPT, "is not the one");
    replace_file(key, "0000\n");
    assert_err(store_open("sqlite", f->folder.data, &f->s), ERR_CORRUPT, "hex digits");
    assert_int_equal(rename(aside, key), 0);
    assert_ok(store_open("sqlite", f->folder.data, &f->s));
    assert_body(f, STORE_SECRET, "e", "k");
}

static void a_readable_key_still_opens(void **state)
{
    struct fixture *f = *state;
    char key[256];
    in_folder(f, "secrets.key", key, sizeof key);
    assert_ok(store_put(f->s, STORE_SECRET, STR("e"), STR("k"), 0, NULL));
    assert_int_equal(chmod(key, 0644), 0);
    reopen(f);
    assert_body(f, STORE_SECRET, "e", "k");
}

static void run_sql(struct fixture *f, const char *sql)
{
    char path[256];
    sqlite3 *db;
    in_folder(f, "store.db", path, sizeof path);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
        fail_msg("%s: %s", sql, sqlite3_errmsg(db));
    sqlite3_close(db);
}

static void tampered_secrets_do_not_open(void **state)
{
    struct fixture *f = *state;
    struct doc d;
    struct docs all;
    assert_ok(store_put(f->s, STORE_SECRET, STR("a"), STR("key-of-a"), 0, NULL));
    assert_ok(store_put(f->s, STORE_SECRET, STR("b"), STR("key-of-b"), 0, NULL));
    assert_ok(store_put(f->s, STORE_SECRET, STR("c"), STR("key-of-c"), 0, NULL));
    store_close(f->s);
    f->s = NULL;
    run_sql(
        f,
        "UPDATE private SET body = (SELECT body FROM private WHERE kind = 'secret' AND id = x'61')"
        " WHERE kind = 'secret' AND id = x'62'");
    run_sql(f, "UPDATE private SET body = CAST(substr(body, 1, length(body) - 1) || x'00' AS BLOB)"
               " WHERE kind = 'secret' AND id = x'63'");
    assert_ok(store_open("sqlite", f->folder.data, &f->s));
    assert_body(f, STORE_SECRET, "a", "key-of-a");
    assert_err(store_get(f->s, STORE_SECRET, STR("b"), f->a, &d), ERR_CORRUPT, "[b]");
    assert_err(store_get(f->s, STORE_SECRET, STR("c"), f->a, &d), ERR_CORRUPT, "[c]");
    assert_err(store_list(f->s, STORE_SECRET, f->a, &all), ERR_CORRUPT, "[b]");
}

static void a_newer_schema_is_refused(void **state)
{
    struct fixture *f = *state;
    store_close(f->s);
    f->s = NULL;
    run_sql(f, "PRAGMA user_version = 1000");
    assert_err(store_open("sqlite", f->folder.data, &f->s), ERR_CORRUPT, "schema version [1000]");
}

static void a_foreign_file_is_refused(void **state)
{
    struct fixture *f = *state;
    char path[256];
    store_close(f->s);
    f->s = NULL;
    in_folder(f, "store.db", path, sizeof path);
    replace_file(path, "this is a text that is no database at all, however long one looks at it");
    assert_err(store_open("sqlite", f->folder.data, &f->s), ERR_CORRUPT, "store.db");
}

static void an_unknown_driver_is_refused(void **state)
{
    struct store *s = NULL;
    assert_err(store_open("postgres", "/nowhere", &s), ERR_ARGUMENT, "[postgres]");
}

static void a_folder_that_cannot_be_is_an_error(void **state)
{
    struct store *s = NULL;
    assert_err(store_open("sqlite", "/dev/null/data", &s), ERR_IO, "/dev/null");
    assert_err(store_open("sqlite", "", &s), ERR_ARGUMENT, "empty");
}

#define ON(name, driver) cmocka_unit_test_setup_teardown(name, driver, end)
#define EVERY(name)      ON(name, with_memory), ON(name, with_sqlite)

int main(void)
{
    quiet_log();
    const struct CMUnitTest tests[] = {
        EVERY(puts_and_gets),
        EVERY(keeps_empty_and_binary_bodies),
        EVERY(revisions_guard_changes),
        EVERY(a_refused_apply_changes_nothing),
        EVERY(lists_sorted_by_bytes),
        EVERY(refuses_impossible_names),
        EVERY(threads_write_together),
        ON(reopening_finds_everything, with_sqlite),
        ON(files_are_for_the_owner_alone, with_sqlite),
        ON(a_second_open_names_the_holder, with_sqlite),
        ON(secrets_never_lie_in_the_clear, with_sqlite),
        ON(a_wrong_key_is_named, with_sqlite),
        ON(a_readable_key_still_opens, with_sqlite),
        ON(tampered_secrets_do_not_open, with_sqlite),
        ON(a_newer_schema_is_refused, with_sqlite),
        ON(a_foreign_file_is_refused, with_sqlite),
        cmocka_unit_test(an_unknown_driver_is_refused),
        cmocka_unit_test(a_folder_that_cannot_be_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
