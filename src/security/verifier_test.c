/* On a real pool and real loops; each hash takes some 100 ms, so there are few of them. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <sodium.h>
#include <stdio.h>

#include "verifier.h"

static char hash[crypto_pwhash_STRBYTES];

struct caller {
    struct verify_wait wait;
    enum verdict verdict;
    int *left; /* on its loop; the last one stops it */
};

static void take_verdict(struct verify_wait *w, enum verdict verdict)
{
    struct caller *c = (struct caller *)w;
    c->verdict = verdict;
    if (--*c->left == 0)
        loop_stop(w->loop);
}

/* Asks; the verdict of a caller who has to wait shows up in c->verdict while the loop runs. */
static enum verdict ask(struct verifier *v, struct loop *l, struct caller *c, int *left,
                        const char *name, const char *password, const char *with)
{
    int64_t retry;
    *c = (struct caller){.wait = {.loop = l, .done = take_verdict}, .left = left};
    struct attempt a = {str_c(name), str_c(password), with};
    return verifier_ask(v, &a, &c->wait, &retry);
}

static enum verdict ask_and_wait(struct verifier *v, struct loop *l, const char *name,
                                 const char *password, const char *with)
{
    struct caller c;
    int left = 1;
    enum verdict now = ask(v, l, &c, &left, name, password, with);
    if (now != VERDICT_PENDING)
        return now;
    loop_run(l);
    return c.verdict;
}

static void remembers_what_was_right_only(void **state)
{
    struct pool *pool = pool_new(2);
    struct loop *l = loop_new(0);
    struct verifier *v = verifier_new(pool, 4);
    assert_int_equal(ask_and_wait(v, l, "u", "right", hash), VERDICT_YES);
    assert_int_equal(verifier_n_hashes(v), 1);
    assert_int_equal(ask_and_wait(v, l, "u", "right", hash), VERDICT_YES);
    assert_int_equal(verifier_n_hashes(v), 1);
    assert_int_equal(ask_and_wait(v, l, "u", "wrong", hash), VERDICT_NO);
    assert_int_equal(ask_and_wait(v, l, "u", "wrong", hash), VERDICT_NO);
    assert_int_equal(verifier_n_hashes(v), 3);
    assert_int_equal(ask_and_wait(v, l, "v", "right", NULL), VERDICT_NO);
    assert_int_equal(verifier_n_hashes(v), 4); /* unknown users cost the same */
    pool_free(pool);
    verifier_free(v);
    loop_free(l);
}

static void a_known_password_is_never_slowed_down(void **state)
{
    struct pool *pool = pool_new(2);
    struct loop *l = loop_new(0);
    struct verifier *v = verifier_new(pool, 8);
    assert_int_equal(ask_and_wait(v, l, "u", "right", hash), VERDICT_YES);
    struct caller c[6];
    char password[8];
    int left = 6;
    for (int i = 0; i < 6; i++) {
        snprintf(password, sizeof password, "no%d", i);
        assert_int_equal(ask(v, l, &c[i], &left, "u", password, hash), VERDICT_PENDING);
    }
    loop_run(l);
    /* Now guesses wait for seconds, and are dropped here; the known password does not. */
    assert_int_equal(ask(v, l, &c[0], &left, "u", "again", hash), VERDICT_PENDING);
    assert_int_equal(verifier_n_hashes(v), 7);
    assert_int_equal(ask_and_wait(v, l, "u", "right", hash), VERDICT_YES);
    pool_free(pool);
    verifier_free(v);
    loop_free(l);
}

static void a_slowed_guess_runs_in_the_end(void **state)
{
    struct pool *pool = pool_new(2);
    struct loop *l = loop_new(0);
    struct verifier *v = verifier_new(pool, 8);
    struct caller c[4];
    char password[8];
    int left = 4;
    for (int i = 0; i < 4; i++) {
        snprintf(password, sizeof password, "no%d", i);
        assert_int_equal(ask(v, l, &c[i], &left, "u", password, hash), VERDICT_PENDING);
    }
    loop_run(l);
    assert_int_equal(ask_and_wait(v, l, "u", "right", hash), VERDICT_YES);
    assert_int_equal(verifier_n_hashes(v), 5);
    pool_free(pool);
    verifier_free(v);
    loop_free(l);
}

static void a_full_queue_refuses(void **state)
{
    struct pool *pool = pool_new(2);
    struct loop *l = loop_new(0);
    struct verifier *v = verifier_new(pool, 2);
    struct caller c[VERIFIER_RUNNING + 2], late;
    char name[8];
    int left = VERIFIER_RUNNING + 2;
    for (int i = 0; i < VERIFIER_RUNNING + 2; i++) {
        snprintf(name, sizeof name, "u%d", i);
        assert_int_equal(ask(v, l, &c[i], &left, name, "p", NULL), VERDICT_PENDING);
    }
    assert_int_equal(ask(v, l, &late, &left, "late", "p", NULL), VERDICT_BUSY);
    loop_run(l);
    for (int i = 0; i < VERIFIER_RUNNING + 2; i++)
        assert_int_equal(c[i].verdict, VERDICT_NO);
    assert_int_equal(ask_and_wait(v, l, "late", "p", NULL), VERDICT_NO); /* there is room again */
    pool_free(pool);
    verifier_free(v);
    loop_free(l);
}

/* --- a client that opens its connections, spread over two loops --- */

#define CALLERS 64

struct side {
    struct verifier *v;
    struct loop *loop;
    pthread_t thread;
    int yes;
};

static void *open_connections(void *arg)
{
    struct side *s = arg;
    static _Thread_local struct caller c[CALLERS];
    int left = 0;
    for (int i = 0; i < CALLERS; i++) {
        left++;
        enum verdict now = ask(s->v, s->loop, &c[i], &left, "u", "right", hash);
        if (now == VERDICT_PENDING)
            continue;
        left--;
        c[i].verdict = now;
    }
    if (left)
        loop_run(s->loop);
    for (int i = 0; i < CALLERS; i++)
        s->yes += c[i].verdict == VERDICT_YES;
    return NULL;
}

static void the_same_attempt_is_computed_once(void **state)
{
    struct pool *pool = pool_new(3);
    struct verifier *v = verifier_new(pool, 4);
    struct side s[2] = {{.v = v, .loop = loop_new(0)}, {.v = v, .loop = loop_new(1)}};
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&s[i].thread, NULL, open_connections, &s[i]), 0);
    for (int i = 0; i < 2; i++) {
        pthread_join(s[i].thread, NULL);
        assert_int_equal(s[i].yes, CALLERS);
    }
    assert_int_equal(verifier_n_hashes(v), 1);
    pool_free(pool);
    verifier_free(v);
    loop_free(s[0].loop);
    loop_free(s[1].loop);
}

static void the_decoy_costs_as_much_as_a_hash(void **state)
{
    struct pool *pool = pool_new(1);
    struct verifier *v = verifier_new(pool, 4);
    assert_int_equal(crypto_pwhash_str_needs_rehash(verifier_decoy(v),
                                                    crypto_pwhash_OPSLIMIT_INTERACTIVE,
                                                    crypto_pwhash_MEMLIMIT_INTERACTIVE),
                     0);
    assert_int_equal(strlen(verifier_decoy(v)), strlen(hash));
    pool_free(pool);
    verifier_free(v);
}

int main(void)
{
    if (sodium_init() < 0 || crypto_pwhash_str(hash, "right", 5, crypto_pwhash_OPSLIMIT_INTERACTIVE,
                                               crypto_pwhash_MEMLIMIT_INTERACTIVE) != 0)
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(remembers_what_was_right_only),
        cmocka_unit_test(a_known_password_is_never_slowed_down),
        cmocka_unit_test(a_slowed_guess_runs_in_the_end),
        cmocka_unit_test(a_full_queue_refuses),
        cmocka_unit_test(the_same_attempt_is_computed_once),
        cmocka_unit_test(the_decoy_costs_as_much_as_a_hash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
