#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "process.h"

/* 160 MB, of which some pieces stay where they are. */
#define PIECES 20000
#define STAY   50

static void a_burst_goes_back_once(void **state)
{
    static char *pieces[PIECES];
    if (!mallinfo2().uordblks)
        skip(); /* a sanitizer's malloc */
    assert_false(process_give_memory_back());
    for (int i = 0; i < PIECES; i++) {
        size_t n = i % STAY ? 8000 : 500;
        pieces[i] = malloc(n);
        memset(pieces[i], 1, n);
    }
    assert_false(process_give_memory_back()); /* it is used */
    assert_false(process_give_memory_back());
    for (int i = 0; i < PIECES; i++) {
        if (i % STAY)
            free(pieces[i]);
    }
    assert_false(process_give_memory_back()); /* it may be wanted again at once */
    assert_true(process_give_memory_back());
    assert_false(process_give_memory_back());
    assert_false(process_give_memory_back());
    for (int i = 0; i < PIECES; i += STAY)
        free(pieces[i]);
}

/* Such as sessions have: there is nothing in it to give back, and that is found out once. */
static void what_is_not_mallocs_stays(void **state)
{
    size_t bytes = (size_t)100 << 20;
    if (!mallinfo2().uordblks)
        skip();
    char *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(p, MAP_FAILED);
    memset(p, 1, bytes);
    int n = 0;
    for (int i = 0; i < 6; i++)
        n += process_give_memory_back();
    assert_in_range(n, 0, 1);
    munmap(p, bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_burst_goes_back_once),
                                       cmocka_unit_test(what_is_not_mallocs_stays)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
