#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "json.h"
#include "log.h"

static struct arena *a;
static int saved_stderr, file;

/* Standard error goes into a file in memory while a test logs. */
static void capture(void)
{
    fflush(stderr);
    saved_stderr = dup(2);
    file = memfd_create("log", 0);
    assert_true(saved_stderr >= 0 && file >= 0);
    /* As a log should be opened: in a file's own position two writers could meet. */
    assert_int_equal(fcntl(file, F_SETFL, O_APPEND), 0);
    dup2(file, 2);
}

static struct str captured(void)
{
    dup2(saved_stderr, 2);
    close(saved_stderr);
    off_t n = lseek(file, 0, SEEK_END);
    char *p = arena_alloc(a, (size_t)n + 1);
    assert_int_equal(pread(file, p, (size_t)n, 0), n);
    close(file);
    return str_n(p, (size_t)n);
}

static int set_up(void **state)
{
    a = arena_new(ARENA_NO_LIMIT);
    log_set(LOG_INFO, LOG_JSON);
    return 0;
}

static int tear_down(void **state)
{
    arena_free(a);
    return 0;
}

static const struct json *parse_line(struct str line)
{
    const struct json *root;
    struct err *e = json_parse(a, line, &root);
    if (e)
        print_error("%s in %.*s\n", e->reason, STR_ARG(line));
    assert_null(e);
    return root;
}

static void assert_text(const struct json *root, const char *key, struct str want)
{
    struct str got;
    assert_true(json_str(json_get(root, key), &got));
    assert_true(str_eq(got, want));
}

static void a_line_is_an_object(void **state)
{
    struct err *e = err_wrap(err_new(ERR_IO, "disk [\"x\"]"), ERR_NOT_FOUND, "outer");
    capture();
    log_info("endpoint created", LOG_S("id", STR("a\"\\\n\x01\xff\xc3\xa9z")), LOG_I("n", -384),
             LOG_D("d", 0.5), LOG_B("b", true), LOG_C("c", "text"), LOG_E(e));
    struct str line = captured();
    err_free(e);
    assert_int_equal(str_find_char(line, '\n'), line.n - 1);
    const struct json *root = parse_line(line);
    assert_text(root, "message", STR("endpoint created"));
    assert_text(root, "log.level", STR("INFO"));
    assert_text(root, "id", STR("a\"\\\n\x01\xef\xbf\xbd\xc3\xa9z"));
    assert_text(root, "c", STR("text"));
    int64_t n;
    double d;
    bool b;
    assert_true(json_i64(json_get(root, "n"), &n) && n == -384);
    assert_true(json_f64(json_get(root, "d"), &d) && d == 0.5);
    assert_true(json_bool(json_get(root, "b"), &b) && b);
    const struct json *error = json_get(root, "error");
    assert_text(error, "type", STR("resource_not_found_exception"));
    assert_text(error, "reason", STR("outer"));
    assert_text(json_get(error, "caused_by"), "reason", STR("disk [\"x\"]"));
    struct str time;
    assert_true(json_str(json_get(root, "@timestamp"), &time));
    assert_int_equal(time.n, 24);
}

static void levels_filter(void **state)
{
    enum log_level l;
    assert_true(log_level_parse(STR("Debug"), &l) && l == LOG_DEBUG);
    assert_true(log_level_parse(STR("error"), &l) && l == LOG_ERROR);
    assert_false(log_level_parse(STR("loud"), &l));
    log_set(LOG_WARN, LOG_JSON);
    capture();
    log_info("no");
    log_debug("no");
    log_warn("yes");
    log_error("yes");
    log_set(LOG_DEBUG, LOG_JSON);
    log_debug("yes");
    struct str all = captured(), part;
    int n = 0;
    while (str_split(&all, '\n', &part) && part.n) {
        assert_text(parse_line(part), "message", STR("yes"));
        n++;
    }
    assert_int_equal(n, 3);
}

/* Whatever the length, a line stays one valid object below the limit. Quotes are the worst case:
 * each takes two bytes; the cut falls on another of their halves with each length. */
static void long_lines_are_cut_but_valid(void **state)
{
    char *text = arena_alloc(a, 20000);
    for (size_t i = 0; i < 20000; i++)
        text[i] = i % 3 ? '"' : 'x';
    for (size_t n = 3900; n < 4300; n++) {
        struct err *e = NULL;
        for (int i = 0; i < 20; i++)
            e = err_wrap(e, ERR_STATUS, "cause [\"%d\"]", i);
        capture();
        log_info("m", LOG_S("text", str_n(text, n)), LOG_E(e), LOG_I("n", 1),
                 LOG_S("more", str_n(text, 20000 - n)));
        struct str line = captured();
        err_free(e);
        assert_true(line.n <= 8192 && line.p[line.n - 1] == '\n');
        parse_line(line);
        arena_reset(a);
        text = arena_alloc(a, 20000);
        for (size_t i = 0; i < 20000; i++)
            text[i] = i % 3 ? '"' : 'x';
    }
}

static void deep_causes_fill_the_line(void **state)
{
    for (int width = 880; width < 1200; width += 3) {
        struct err *e = NULL;
        for (int i = 0; i < 20; i++)
            e = err_wrap(e, ERR_STATUS, "%0*d", width, i);
        capture();
        log_error("m", LOG_E(e));
        struct str line = captured();
        err_free(e);
        parse_line(line);
        arena_reset(a);
    }
}

static void plain_lines_read_well(void **state)
{
    struct err *e = err_wrap(err_new(ERR_IO, "disk"), ERR_NOT_FOUND, "outer");
    log_set(LOG_INFO, LOG_PLAIN);
    capture();
    log_warn("odd\nthing", LOG_S("id", STR("a b")), LOG_I("n", 3), LOG_E(e));
    struct str line = captured();
    err_free(e);
    assert_true(
        str_eq_c(str_sub(line, 24, SIZE_MAX),
                 " WARN  odd\\u000athing id=\"a b\" n=3 error=resource_not_found_exception: "
                 "\"outer\" caused by i_o_exception: \"disk\"\n"));
}

static void *log_many(void *arg)
{
    for (int i = 0; i < 200; i++)
        log_info("from a thread", LOG_I("i", i));
    return NULL;
}

static void threads_do_not_mix_lines(void **state)
{
    pthread_t t[4];
    capture();
    for (int i = 0; i < 4; i++)
        pthread_create(&t[i], NULL, log_many, NULL);
    for (int i = 0; i < 4; i++)
        pthread_join(t[i], NULL);
    struct str all = captured(), part;
    int n = 0;
    while (str_split(&all, '\n', &part) && part.n) {
        assert_text(parse_line(part), "message", STR("from a thread"));
        n++;
    }
    assert_int_equal(n, 800);
}

#define WITH_ARENA(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_ARENA(a_line_is_an_object),          WITH_ARENA(levels_filter),
        WITH_ARENA(long_lines_are_cut_but_valid), WITH_ARENA(deep_causes_fill_the_line),
        WITH_ARENA(plain_lines_read_well),        WITH_ARENA(threads_do_not_mix_lines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
