#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <sys/stat.h>

#include "migrate.h"
#include "store_testing.h"

static const struct migration table[] = {
    {"one", "CREATE TABLE t (a INTEGER); INSERT INTO t VALUES (7);"},
    {"two", "ALTER TABLE t ADD COLUMN b INTEGER NOT NULL DEFAULT 5;"},
    {"three", "UPDATE t SET b = a + b;"},
};

static const struct migration broken[] = {
    {"one", "CREATE TABLE t (a INTEGER); INSERT INTO t VALUES (7);"},
    {"breaks", "DELETE FROM t; ALTER TABLE nowhere ADD COLUMN b;"},
};

static int begin(void **state)
{
    sqlite3 *db;
    assert_int_equal(sqlite3_open(":memory:", &db), SQLITE_OK);
    *state = db;
    return 0;
}

static int end(void **state)
{
    return sqlite3_close(*state) == SQLITE_OK ? 0 : -1;
}

static int ask(sqlite3 *db, const char *sql)
{
    sqlite3_stmt *st;
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &st, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(st), SQLITE_ROW);
    int got = sqlite3_column_int(st, 0);
    sqlite3_finalize(st);
    return got;
}

static void an_empty_database_gets_every_row(void **state)
{
    assert_ok(migrate(*state, "f", table, 3));
    assert_int_equal(ask(*state, "PRAGMA user_version"), 3);
    assert_int_equal(ask(*state, "SELECT b FROM t"), 12);
}

static void an_old_one_gets_the_rest(void **state)
{
    assert_ok(migrate(*state, "f", table, 1));
    assert_ok(migrate(*state, "f", table, 3));
    assert_ok(migrate(*state, "f", table, 3)); /* and nothing twice */
    assert_int_equal(ask(*state, "SELECT b FROM t"), 12);
    assert_int_equal(ask(*state, "SELECT count(*) FROM t"), 1);
}

static void a_newer_one_is_refused(void **state)
{
    assert_ok(migrate(*state, "f", table, 3));
    assert_err(migrate(*state, "f", table, 2), ERR_CORRUPT, "schema version [3]");
}

static void a_failed_row_leaves_the_one_before(void **state)
{
    assert_err(migrate(*state, "f", broken, 2), ERR_CORRUPT, "[2] (breaks)");
    assert_int_equal(ask(*state, "PRAGMA user_version"), 1);
    assert_int_equal(ask(*state, "SELECT a FROM t"), 7);
}

int main(void)
{
    quiet_log();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_empty_database_gets_every_row, begin, end),
        cmocka_unit_test_setup_teardown(an_old_one_gets_the_rest, begin, end),
        cmocka_unit_test_setup_teardown(a_newer_one_is_refused, begin, end),
        cmocka_unit_test_setup_teardown(a_failed_row_leaves_the_one_before, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
