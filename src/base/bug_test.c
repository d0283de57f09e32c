#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bug.h"
#include "json.h"

/* Runs in a child, whose standard error comes back. */
static struct str last_words(struct arena *a, void (*f)(void), int *status_out)
{
    int end[2];
    assert_int_equal(pipe(end), 0);
    pid_t child = fork();
    if (child == 0) {
        signal(SIGABRT, SIG_DFL);
        dup2(end[1], 2);
        f();
        _exit(0);
    }
    close(end[1]);
    struct buf b;
    buf_init(&b, 1 << 20);
    for (;;) {
        ssize_t n = read(end[0], buf_reserve(&b, 4096), 4096);
        if (n <= 0)
            break;
        b.n += (size_t)n;
    }
    close(end[0]);
    waitpid(child, status_out, 0);
    struct str all = arena_dup(a, buf_str(&b));
    buf_deinit(&b);
    return all;
}

static void broken(void)
{
    const char *name = "b\\";
    BUG_ON(name[0] != '"');
}

static void fine(void)
{
    BUG_ON(1 > 2);
    free(mem_new(0));
    free(mem_array(0, 8));
    free(mem_grow(mem_strdup("x"), 100));
}

static void absurd(void)
{
    mem_array(SIZE_MAX / 2, 4);
}

static void a_bug_is_logged_and_aborts(void **state)
{
    struct arena *a = arena_new(ARENA_NO_LIMIT);
    int status;
    struct str all = last_words(a, broken, &status), line, message;
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    assert_true(str_split(&all, '\n', &line));
    const struct json *root;
    assert_null(json_parse(a, line, &root));
    assert_true(json_str(json_get(root, "message"), &message));
    assert_true(str_eq_c(message, "bug: name[0] != '\"'"));
    arena_free(a);
}

static void otherwise_nothing_happens(void **state)
{
    struct arena *a = arena_new(ARENA_NO_LIMIT);
    int status;
    assert_int_equal(last_words(a, fine, &status).n, 0);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    arena_free(a);
}

static void overflowing_arrays_abort(void **state)
{
    struct arena *a = arena_new(ARENA_NO_LIMIT);
    int status;
    last_words(a, absurd, &status);
    assert_false(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    arena_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_bug_is_logged_and_aborts),
        cmocka_unit_test(otherwise_nothing_happens),
        cmocka_unit_test(overflowing_arrays_abort),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
