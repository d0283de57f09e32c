#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

#include "counted.h"
#include "loop.h"

#define SWAPS   2000
#define READERS 2
#define READS   2000

static atomic_int alive;

struct thing {
    struct counted counted;
    int value, twice;
};

static void thing_end(struct counted *c)
{
    struct thing *t = (struct thing *)c;
    t->twice = -1; /* whoever still reads sees it */
    free(t);
    alive--;
}

static struct counted *thing_new(int value)
{
    struct thing *t = calloc(1, sizeof *t);
    counted_init(&t->counted, thing_end);
    t->value = value;
    t->twice = 2 * value;
    alive++;
    return &t->counted;
}

struct reader {
    struct cell *cell;
    struct loop *loop;
    struct loop_msg msg;
    pthread_t thread;
    int reads, last;
    bool wrong;
};

/* Values only grow, are whole, and stay what they are for whoever holds them. */
static void read_once(struct reader *r)
{
    struct counted *held;
    const struct thing *t = (const struct thing *)cell_peek(r->cell, &held);
    struct counted *mine = counted_ref(&t->counted);
    r->wrong = r->wrong || t->twice != 2 * t->value || t->value < r->last;
    r->last = t->value;
    counted_unref(held);
    counted_unref(mine);
    r->reads++;
}

static void on_message(struct loop_msg *m)
{
    struct reader *r = (struct reader *)((char *)m - offsetof(struct reader, msg));
    read_once(r);
    if (r->reads < READS)
        loop_post(r->loop, m);
    else
        loop_stop(r->loop);
}

static void *run_loop(void *arg)
{
    struct reader *r = arg;
    r->msg.run = on_message;
    loop_post(r->loop, &r->msg);
    loop_run(r->loop);
    return NULL;
}

static void *run_plain(void *arg)
{
    struct reader *r = arg;
    while (r->reads < READS)
        read_once(r);
    return NULL;
}

static void readers_and_a_writer(void **state)
{
    struct cell cell = {0};
    struct reader readers[2 * READERS] = {0};
    cell_init(&cell, thing_new(0));
    for (int i = 0; i < 2 * READERS; i++) {
        readers[i].cell = &cell;
        readers[i].loop = i < READERS ? loop_new(i) : NULL;
        assert_int_equal(pthread_create(&readers[i].thread, NULL,
                                        i < READERS ? run_loop : run_plain, &readers[i]),
                         0);
    }
    for (int i = 1; i <= SWAPS; i++)
        cell_swap(&cell, thing_new(i));
    for (int i = 0; i < 2 * READERS; i++) {
        pthread_join(readers[i].thread, NULL);
        assert_false(readers[i].wrong);
        assert_int_equal(readers[i].reads, READS);
        if (readers[i].loop)
            loop_free(readers[i].loop);
    }
    assert_true(alive >= 1 && alive <= 1 + READERS); /* the current one, and what loops saw last */
    cell_deinit(&cell);
    assert_int_equal(alive, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(readers_and_a_writer)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
