#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>

#include "inference_testing.h"
#include "loop.h"

static atomic_int made, ended;

static void count_end(struct endpoint *ep)
{
    atomic_fetch_add(&ended, 1);
}

static struct endpoint *make(const char *id, enum task task)
{
    struct endpoint *ep = testing_endpoint(
        id, "openai", task, "{\"service_settings\":{\"api_key\":\"k\",\"model_id\":\"m\"}}");
    ep->on_free = count_end;
    atomic_fetch_add(&made, 1);
    return ep;
}

static struct table *table;
static struct arena *arena;

static int setup(void **state)
{
    atomic_store(&made, 0);
    atomic_store(&ended, 0);
    table = table_new(2);
    arena = arena_new(ARENA_NO_LIMIT);
    return 0;
}

static int teardown(void **state)
{
    arena_free(arena);
    table_free(table);
    assert_int_equal(atomic_load(&ended), atomic_load(&made));
    return 0;
}

/* "a,b,c" */
static void expect_list(enum task task, const char *want)
{
    struct endpoint **list;
    size_t n = table_list(table, task, arena, &list);
    char got[256] = "";
    size_t used = 0;
    for (size_t i = 0; i < n; i++) {
        used += (size_t)snprintf(got + used, sizeof got - used, "%s%.*s", i ? "," : "",
                                 STR_ARG(list[i]->id));
        endpoint_unref(list[i]);
    }
    assert_string_equal(got, want);
}

static bool has(const char *id)
{
    struct endpoint *ep = table_find(table, str_c(id));
    bool right = ep && str_eq_c(ep->id, id);
    endpoint_unref(ep);
    return right;
}

static void empty(void **state)
{
    assert_false(has("a"));
    expect_list(TASK_ANY, "");
    table_drop(table, STR("a"));
    expect_list(TASK_ANY, "");
}

static void sorted_bytewise(void **state)
{
    static const char *const ids[] = {"m", "b", "z", "a-b", "a", "ab", "a.b", "0", "a_b"};
    for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++)
        table_put(table, make(ids[i], TASK_COMPLETION));
    expect_list(TASK_ANY, "0,a,a-b,a.b,a_b,ab,b,m,z");
    for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++)
        assert_true(has(ids[i]));
    assert_false(has("aa"));
    assert_false(has(""));
    assert_false(has("zz"));
}

static void listed_by_task(void **state)
{
    table_put(table, make("c", TASK_TEXT_EMBEDDING));
    table_put(table, make("b", TASK_COMPLETION));
    table_put(table, make("a", TASK_TEXT_EMBEDDING));
    expect_list(TASK_TEXT_EMBEDDING, "a,c");
    expect_list(TASK_COMPLETION, "b");
    expect_list(TASK_RERANK, "");
    expect_list(TASK_ANY, "a,b,c");
}

static void replaced_whole(void **state)
{
    struct endpoint *second = make("a", TASK_COMPLETION);
    table_put(table, make("a", TASK_TEXT_EMBEDDING));
    table_put(table, make("b", TASK_TEXT_EMBEDDING));
    struct endpoint *held = table_find(table, STR("a"));
    table_put(table, second);
    assert_int_equal(atomic_load(&ended), 0); /* someone still works with the first */
    struct endpoint *found = table_find(table, STR("a"));
    assert_ptr_equal(found, second);
    endpoint_unref(found);
    endpoint_unref(held);
    assert_int_equal(atomic_load(&ended), 1);
    expect_list(TASK_ANY, "a,b");
}

static void dropped(void **state)
{
    table_put(table, make("a", TASK_COMPLETION));
    table_put(table, make("b", TASK_COMPLETION));
    table_put(table, make("c", TASK_COMPLETION));
    table_drop(table, STR("b"));
    assert_int_equal(atomic_load(&ended), 1);
    expect_list(TASK_ANY, "a,c");
    table_drop(table, STR("b"));
    table_drop(table, STR("a"));
    table_drop(table, STR("c"));
    expect_list(TASK_ANY, "");
    assert_int_equal(atomic_load(&ended), 3);
}

/* --- readers while it changes --- */

static atomic_bool enough;
static atomic_int reads;

static void read_some(void)
{
    struct arena *a = arena_new(ARENA_NO_LIMIT);
    struct endpoint **list;
    size_t n = table_list(table, TASK_ANY, a, &list);
    for (size_t i = 0; i < n; i++) {
        if (i && str_cmp(list[i - 1]->id, list[i]->id) >= 0)
            abort();
    }
    for (size_t i = 0; i < n; i++)
        endpoint_unref(list[i]);
    arena_free(a);
    struct endpoint *ep = table_find(table, STR("always"));
    if (!ep || !str_eq_c(ep->id, "always"))
        abort();
    endpoint_unref(ep);
    atomic_fetch_add(&reads, 1);
}

static void *plain_reader(void *unused)
{
    if (loop_current())
        abort();
    while (!atomic_load(&enough))
        read_some();
    return NULL;
}

struct reader {
    struct loop_msg msg; /* first */
    struct loop *loop;
};

static void loop_read(struct loop_msg *msg)
{
    struct reader *r = (struct reader *)msg;
    if (loop_current() != r->loop)
        abort();
    read_some();
    if (atomic_load(&enough))
        loop_stop(r->loop);
    else
        loop_post(r->loop, &r->msg);
}

static void *loop_reader(void *loop)
{
    loop_run(loop);
    return NULL;
}

#define N_CHANGES 300

static void readers_see_whole_tables(void **state)
{
    struct reader readers[2];
    pthread_t threads[4];
    atomic_store(&enough, false);
    atomic_store(&reads, 0);
    table_put(table, make("always", TASK_COMPLETION));
    for (int i = 0; i < 2; i++) {
        readers[i] = (struct reader){.msg = {.run = loop_read}, .loop = loop_new(i)};
        loop_post(readers[i].loop, &readers[i].msg);
        pthread_create(&threads[i], NULL, loop_reader, readers[i].loop);
        pthread_create(&threads[2 + i], NULL, plain_reader, NULL);
    }
    for (int i = 0; i < N_CHANGES || atomic_load(&reads) < 50; i++) {
        char id[16];
        snprintf(id, sizeof id, "e%d", i % 7);
        if (i % 3 == 2)
            table_drop(table, str_c(id));
        else
            table_put(table, make(id, TASK_COMPLETION));
        if (i % 50 == 0)
            table_put(table, make("always", TASK_TEXT_EMBEDDING));
    }
    atomic_store(&enough, true);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < 2; i++)
        loop_free(readers[i].loop);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(empty),          TEST(sorted_bytewise), TEST(listed_by_task),
        TEST(replaced_whole), TEST(dropped),         TEST(readers_see_whole_tables),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
