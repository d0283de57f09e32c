/* kill -9 at a moment nobody chose, twenty times over: whatever was acknowledged is there, pairs
 * written in one apply are both there or both absent, and revisions go on growing. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "store_testing.h"

#define ROUNDS  20
#define WRITERS 3
#define MAX_ACK 4096

struct ack {
    int round, writer, i;
    uint64_t rev;
};

struct writer {
    struct store *s;
    int round, index, pipe;
};

static struct str name_of(struct arena *a, const struct ack *k)
{
    return arena_printf(a, "r%d-w%d-%d", k->round, k->writer, k->i);
}

/* Runs in the child until it is killed: each put is reported only after the store said yes. */
static void *write_forever(void *arg)
{
    struct writer *w = arg;
    struct arena *a = arena_new(ARENA_NO_LIMIT);
    for (int i = 0;; i++) {
        struct ack k = {w->round, w->index, i, 0};
        struct str id = name_of(a, &k);
        struct change pair[] = {{STORE_ENDPOINT, id, id, 0}, {STORE_SECRET, id, id, 0}};
        if (store_apply(w->s, pair, 2, &k.rev) || write(w->pipe, &k, sizeof k) != sizeof k)
            _exit(1);
        arena_reset(a);
    }
    return NULL;
}

static void child(const char *data, int round, int pipe)
{
    struct store *s;
    pthread_t threads[WRITERS];
    static struct writer w[WRITERS];
    if (store_open("sqlite", data, &s))
        _exit(2);
    for (int i = 0; i < WRITERS; i++) {
        w[i] = (struct writer){s, round, i, pipe};
        if (pthread_create(&threads[i], NULL, write_forever, &w[i]) != 0)
            _exit(3);
    }
    for (;;)
        pause();
}

static int run_and_kill(const char *data, int round, struct ack *acks, int n)
{
    int fd[2];
    assert_int_equal(pipe(fd), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        close(fd[0]);
        child(data, round, fd[1]);
    }
    close(fd[1]);
    int wanted = n + 1 + (round * 7) % 23; /* not always at the same point of a transaction */
    bool killed = false;
    while (n < MAX_ACK && read(fd[0], &acks[n], sizeof *acks) == sizeof *acks) {
        if (++n >= wanted && !killed) {
            kill(pid, SIGKILL);
            killed = true;
        }
    }
    close(fd[0]);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(killed && WIFSIGNALED(status));
    return n;
}

static uint64_t check(const char *data, const struct ack *acks, int n)
{
    struct store *s;
    struct arena *a = arena_new(ARENA_NO_LIMIT);
    struct docs endpoints, secrets;
    uint64_t highest = 0;
    assert_ok(store_open("sqlite", data, &s));
    for (int i = 0; i < n; i++) {
        struct doc d;
        struct str id = name_of(a, &acks[i]);
        assert_ok(store_get(s, STORE_ENDPOINT, id, a, &d));
        assert_true(str_eq(d.body, id) && d.rev == acks[i].rev);
        if (d.rev > highest)
            highest = d.rev;
    }
    assert_ok(store_list(s, STORE_ENDPOINT, a, &endpoints));
    assert_ok(store_list(s, STORE_SECRET, a, &secrets));
    assert_int_equal(endpoints.n, secrets.n);
    for (size_t i = 0; i < secrets.n; i++)
        assert_true(str_eq(endpoints.v[i].id, secrets.v[i].id));
    store_close(s);
    arena_free(a);
    return highest;
}

static void nothing_acknowledged_is_lost(void **state)
{
    static struct ack acks[MAX_ACK];
    struct test_folder folder;
    int n = 0;
    uint64_t highest = 0;
    test_folder_make(&folder);
    for (int round = 0; round < ROUNDS; round++) {
        int before = n;
        n = run_and_kill(folder.data, round, acks, n);
        for (int i = before; i < n; i++)
            assert_true(acks[i].rev > highest);
        highest = check(folder.data, acks, n);
    }
    assert_true(n >= ROUNDS);
    test_folder_remove(&folder);
}

int main(void)
{
    quiet_log();
    const struct CMUnitTest tests[] = {cmocka_unit_test(nothing_acknowledged_is_lost)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
