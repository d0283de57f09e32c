/* Tokens over several loops, a real client and a scripted server: one exchange for all who wait,
 * what becomes of them when it fails, when they leave, when everything ends. The scheme is IBM's;
 * how schemes and retries go together is in upstream_auth_test.c. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>
#include <sched.h>
#include <stdlib.h>

#include "bug.h"
#include "clock.h"
#include "ibm_iam.h"
#include "inference_testing.h"
#include "metrics.h"
#include "scripted_server.h"

#define N(steps)    steps, sizeof steps / sizeof steps[0]
#define N_LOOPS     3
#define MANY        20    /* waiters per loop */
#define PATIENCE_MS 20000 /* then a test is taken for stuck */

#define ANSWER(status, body)                                                                       \
    {                                                                                              \
        .answer = "HTTP/1.1 " status "\r\nConnection: close\r\n\r\n" body                          \
    }
#define TOKEN(text, lifetime)                                                                      \
    ANSWER("200 OK", "{\"access_token\":\"" text "\",\"expires_in\":" #lifetime "}")
#define REFUSED                                                                                    \
    "Received a bad request status code for request to generate Bearer Token from inference "      \
    "entity id [my-ep] status [400]. Error message: [Bad Request]"

/* --- what the tests wait for --- */

static atomic_int n_asked;  /* gets that have returned, and departures */
static atomic_int n_ended;  /* waiters that were served */
static atomic_int hold_for; /* an answer is not read before n_asked is this */
static atomic_int n_seen;   /* requests that the server has read */

static void await(atomic_int *counter, int n)
{
    int64_t give_up = clock_mono_ms() + PATIENCE_MS;
    while (atomic_load(counter) < n) {
        BUG_ON(clock_mono_ms() > give_up);
        sched_yield();
    }
}

static struct err *held_take(const struct endpoint *endpoint, const struct http_in *in,
                             int64_t now_s, struct token *out)
{
    await(&n_asked, atomic_load(&hold_for));
    return ibm_iam_auth.take(endpoint, in, now_s, out);
}

static void key_of(const struct endpoint *endpoint, struct buf *out)
{
    ibm_iam_auth.key(endpoint, out);
}

static struct err *ask(const struct endpoint *endpoint, int64_t now_s, struct http_out *out)
{
    return ibm_iam_auth.ask(endpoint, now_s, out);
}

static const struct auth scheme = {.key = key_of, .ask = ask, .take = held_take};

/* --- loops, client, server --- */

static struct loop *loops[N_LOOPS];
static pthread_t threads[N_LOOPS];
static struct inference *inf;
static struct scripted_server *server;
static struct endpoint *ep;
static bool running;

static void *run_loop(void *arg)
{
    loop_run(arg);
    return NULL;
}

static void seen(struct loop_msg *msg)
{
    atomic_fetch_add(&n_seen, 1);
}

static struct endpoint *endpoint_with(const char *id, const char *key)
{
    char body[128];
    snprintf(body, sizeof body, "{\"service_settings\":{\"api_key\":\"%s\",\"model_id\":\"m\"}}",
             key);
    return testing_endpoint(id, "openai", TASK_TEXT_EMBEDDING, body);
}

static void start(const struct step *steps, size_t n)
{
    static char url[64];
    static struct upstream_base base;
    for (int i = 0; i < N_LOOPS; i++)
        loops[i] = loop_new(i);
    server = scripted_server_new(steps, n, loops[N_LOOPS - 1], seen);
    snprintf(url, sizeof url, "http://127.0.0.1:%d", scripted_server_port(server));
    base = (struct upstream_base){STR("openai"), str_c(url)};
    struct inference_options options = {.bases = &base,
                                        .n_bases = 1,
                                        .client = {.connect_timeout_ms = 5000,
                                                   .max_total_connections = 8,
                                                   .max_route_connections = 8,
                                                   .max_idle_ms = 1000}};
    struct inference_parts parts = {.loops = loops, .n_loops = N_LOOPS};
    inf = inference_new(&options, &parts);
    for (int i = 0; i < N_LOOPS; i++)
        BUG_ON(pthread_create(&threads[i], NULL, run_loop, loops[i]) != 0);
    running = true;
}

static void stop(void)
{
    if (!running)
        return;
    for (int i = 0; i < N_LOOPS; i++)
        loop_stop(loops[i]);
    for (int i = 0; i < N_LOOPS; i++)
        pthread_join(threads[i], NULL);
    inference_free(inf);
    scripted_server_stop(server);
    for (int i = 0; i < N_LOOPS; i++)
        loop_free(loops[i]);
    running = false;
}

static int setup(void **state)
{
    atomic_store(&n_asked, 0);
    atomic_store(&n_ended, 0);
    atomic_store(&hold_for, 0);
    atomic_store(&n_seen, 0);
    ep = endpoint_with("my-ep", "k");
    return 0;
}

static int teardown(void **state)
{
    stop();
    endpoint_unref(ep);
    scripted_server_free(server);
    server = NULL;
    return metric_read(METRIC_UPSTREAM_IN_FLIGHT) == 0 ? 0 : -1;
}

/* --- those who wait --- */

struct waiter {
    struct loop *loop;
    struct token_wait *wait;
    int n_got;
    bool at_once, from_within, elsewhere; /* how it was served */
    char text[256];                       /* the token, or the reason for none */
    enum err_kind kind;
    int status;
};

/* A message that makes `n` waiters ask, one after the other, then does `then`. */
struct batch {
    struct loop_msg msg;
    struct endpoint *ep;
    const struct auth *auth;
    struct loop *loop;
    struct waiter *waiters;
    int n;
    bool asking;
    void (*then)(struct batch *);
    atomic_int over; /* nobody but the test looks at it any more */
};

static struct batch *asking_now; /* of the loop that runs: only one test looks at it */

static void put_text(struct waiter *w, struct str s)
{
    snprintf(w->text, sizeof w->text, "%.*s", STR_ARG(s));
}

static void got(void *ctx, struct err *e, const struct token *token)
{
    struct waiter *w = ctx;
    w->n_got++;
    w->wait = NULL;
    w->elsewhere = loop_current() != w->loop;
    w->from_within = asking_now && asking_now->asking && asking_now->waiters == w;
    if (e) {
        put_text(w, str_c(e->reason));
        w->kind = e->kind;
        w->status = e->status;
    } else {
        put_text(w, secret_reveal(token->value));
    }
    err_free(e);
    atomic_fetch_add(&n_ended, 1);
}

static void ask_one(struct batch *b, struct waiter *w)
{
    struct token token;
    w->loop = b->loop;
    w->wait = exchange_get(inf, b->ep, b->auth, b->loop, got, w, &token);
    if (!w->wait) {
        w->at_once = true;
        put_text(w, secret_reveal(token.value));
        secret_unref(token.value);
        atomic_fetch_add(&n_ended, 1);
    }
    atomic_fetch_add(&n_asked, 1);
}

static void run_batch(struct loop_msg *msg)
{
    struct batch *b = (struct batch *)msg;
    b->asking = true;
    for (int i = 0; i < b->n; i++)
        ask_one(b, &b->waiters[i]);
    b->asking = false;
    if (b->then)
        b->then(b);
    atomic_store(&b->over, 1);
}

static void post(struct batch *b, int loop, struct waiter *waiters, int n)
{
    b->msg.run = run_batch;
    b->loop = loops[loop];
    b->waiters = waiters;
    b->n = n;
    if (!b->ep)
        b->ep = ep;
    if (!b->auth)
        b->auth = &scheme;
    loop_post(b->loop, &b->msg);
}

/* One waiter on one loop, until it is served. */
static void get_one(int loop, struct waiter *w)
{
    struct batch b = {0};
    int before = atomic_load(&n_ended);
    post(&b, loop, w, 1);
    await(&b.over, 1);
    await(&n_ended, before + 1);
}

static void expect_served(const struct waiter *w, const char *text)
{
    assert_int_equal(w->n_got, 1);
    assert_false(w->at_once);
    assert_false(w->elsewhere);
    assert_string_equal(w->text, text);
}

static void expect_at_once(const struct waiter *w, const char *text)
{
    assert_int_equal(w->n_got, 0);
    assert_true(w->at_once);
    assert_string_equal(w->text, text);
}

/* --- one for all --- */

static void ask_from_everywhere(struct waiter waiters[N_LOOPS][MANY])
{
    static struct batch batches[N_LOOPS];
    memset(batches, 0, sizeof batches);
    atomic_store(&hold_for, N_LOOPS * MANY);
    for (int i = 0; i < N_LOOPS; i++)
        post(&batches[i], i, waiters[i], MANY);
    await(&n_ended, N_LOOPS * MANY);
    atomic_store(&hold_for, 0);
}

static void one_exchange_for_all(void **state)
{
    static const struct step steps[] = {TOKEN("t1", 3600), TOKEN("t2", 3600)};
    struct waiter waiters[N_LOOPS][MANY] = {0};
    start(N(steps));
    ask_from_everywhere(waiters);
    stop();
    for (int i = 0; i < N_LOOPS; i++) {
        for (int j = 0; j < MANY; j++)
            expect_served(&waiters[i][j], "t1");
    }
    assert_int_equal(scripted_server_requests(server), 1);
    assert_true(
        str_starts(scripted_server_head(server, 0), STR("POST /identity/token HTTP/1.1\r\n")));
    assert_true(str_eq_c(scripted_server_body(server, 0),
                         "grant_type=urn:ibm:params:oauth:grant-type:apikey&apikey=k"));
}

static void kept_for_all_loops(void **state)
{
    static const struct step steps[] = {TOKEN("t1", 3600), TOKEN("t2", 3600)};
    struct waiter w[4] = {0};
    start(N(steps));
    get_one(0, &w[0]);
    for (int i = 0; i < N_LOOPS; i++)
        get_one(i, &w[i + 1]);
    stop();
    expect_served(&w[0], "t1");
    for (int i = 0; i < N_LOOPS; i++)
        expect_at_once(&w[i + 1], "t1");
    assert_int_equal(scripted_server_requests(server), 1);
}

/* A token with a minute left is good for those who waited for it, and for nobody else. */
static void asked_again_before_its_end(void **state)
{
    static const struct step steps[] = {TOKEN("t1", 60), TOKEN("t2", 0), TOKEN("t3", 3600),
                                        TOKEN("t4", 3600)};
    struct waiter w[4] = {0};
    start(N(steps));
    for (int i = 0; i < 4; i++)
        get_one(i % N_LOOPS, &w[i]);
    stop();
    expect_served(&w[0], "t1");
    expect_served(&w[1], "t2");
    expect_served(&w[2], "t3");
    expect_at_once(&w[3], "t3");
    assert_int_equal(scripted_server_requests(server), 3);
}

static void each_for_its_credentials(void **state)
{
    static const struct step steps[] = {TOKEN("t1", 3600), TOKEN("t2", 3600), TOKEN("t3", 3600)};
    struct waiter w[3] = {0};
    struct endpoint *same = endpoint_with("another", "k"), *other = endpoint_with("my-ep", "k2");
    struct batch b[2] = {{.ep = same}, {.ep = other}};
    start(N(steps));
    get_one(0, &w[0]);
    post(&b[0], 1, &w[1], 1);
    post(&b[1], 2, &w[2], 1);
    await(&n_ended, 3);
    stop();
    expect_served(&w[0], "t1");
    expect_at_once(&w[1], "t1");
    expect_served(&w[2], "t2");
    assert_int_equal(scripted_server_requests(server), 2);
    endpoint_unref(same);
    endpoint_unref(other);
}

/* --- failure --- */

static void failure_wakes_all(void **state)
{
    static const struct step steps[] = {ANSWER("400 Bad Request", "{}"), TOKEN("t2", 3600)};
    struct waiter waiters[N_LOOPS][MANY] = {0}, after = {0};
    start(N(steps));
    ask_from_everywhere(waiters);
    get_one(1, &after);
    stop();
    for (int i = 0; i < N_LOOPS; i++) {
        for (int j = 0; j < MANY; j++) {
            expect_served(&waiters[i][j], REFUSED);
            assert_int_equal(waiters[i][j].status, 400);
            assert_int_equal(waiters[i][j].kind, ERR_STATUS);
        }
    }
    expect_served(&after, "t2"); /* a failure is not kept */
    assert_int_equal(scripted_server_requests(server), 2);
}

static void nobody_listens(void **state)
{
    struct waiter w[2] = {0};
    struct batch b = {0};
    start(NULL, 0);
    post(&b, 0, w, 2);
    await(&n_ended, 2);
    stop();
    assert_int_equal(w[0].kind, ERR_IO);
    assert_int_equal(w[1].kind, ERR_IO);
    assert_null(strstr(w[0].text, "apikey"));
    assert_null(strstr(w[0].text, "/identity"));
}

static struct err *no_ask(const struct endpoint *endpoint, int64_t now_s, struct http_out *out)
{
    return err_status(403, "no key");
}

static const struct auth keyless = {.key = key_of, .ask = no_ask, .take = held_take};

/* Not from within exchange_get: the caller does not have its token_wait yet. */
static void nothing_to_ask_with(void **state)
{
    struct waiter w = {0};
    struct batch b = {.auth = &keyless};
    asking_now = &b;
    start(NULL, 0);
    post(&b, 0, &w, 1);
    await(&n_ended, 1);
    stop();
    asking_now = NULL;
    expect_served(&w, "no key");
    assert_int_equal(w.status, 403);
    assert_false(w.from_within);
}

static atomic_int next_key;

static void another_key(const struct endpoint *endpoint, struct buf *out)
{
    buf_printf(out, "%d", atomic_fetch_add(&next_key, 1));
}

static const struct auth keyless_many = {.key = another_key, .ask = no_ask};

/* More than are kept: those without a token go. */
static void many_credentials(void **state)
{
    enum { N_WAITERS = 1500 };
    struct waiter *w = mem_array(N_WAITERS, sizeof *w);
    struct batch b = {.auth = &keyless_many};
    start(NULL, 0);
    post(&b, 0, w, N_WAITERS);
    await(&n_ended, N_WAITERS);
    stop();
    for (int i = 0; i < N_WAITERS; i++)
        expect_served(&w[i], "no key");
    free(w);
}

/* --- leaving --- */

static void leave(struct batch *b)
{
    for (int i = 0; i < b->n; i++)
        exchange_leave(b->waiters[i].wait);
    atomic_fetch_add(&n_asked, 1);
}

static void leave_when_the_other_is_served(struct batch *b)
{
    await(&n_ended, 1);
    exchange_leave(b->waiters[0].wait);
}

/* The one who asked leaves; the others do not notice. */
static void asker_leaves(void **state)
{
    static const struct step steps[] = {TOKEN("t1", 3600)};
    struct waiter w[3] = {0};
    struct batch b[2] = {{.then = leave}};
    start(N(steps));
    atomic_store(&hold_for, 4); /* two that leave, their departure, one that stays */
    post(&b[0], 0, w, 2);
    await(&n_asked, 3);
    post(&b[1], 1, &w[2], 1);
    await(&n_ended, 1);
    stop();
    assert_int_equal(w[0].n_got, 0);
    assert_int_equal(w[1].n_got, 0);
    expect_served(&w[2], "t1");
    assert_int_equal(scripted_server_requests(server), 1);
}

static void all_leave(void **state)
{
    static const struct step steps[] = {TOKEN("t1", 3600)};
    struct waiter w[3] = {0};
    struct batch b = {.then = leave};
    start(N(steps));
    post(&b, 0, w, 2);
    await(&n_asked, 3);
    while (!w[2].at_once) { /* ... and yet the token is kept */
        w[2] = (struct waiter){0};
        get_one(1, &w[2]);
    }
    stop();
    assert_int_equal(w[0].n_got, 0);
    assert_int_equal(w[1].n_got, 0);
    expect_at_once(&w[2], "t1");
    assert_int_equal(scripted_server_requests(server), 1);
}

/* Between the message that wakes it and its arrival. */
static void leaves_too_late(void **state)
{
    static const struct step steps[] = {TOKEN("t1", 3600)};
    struct waiter w[2] = {0};
    struct batch b[2] = {[1] = {.then = leave_when_the_other_is_served}};
    start(N(steps));
    atomic_store(&hold_for, 2);
    post(&b[0], 0, &w[0], 1);
    await(&n_asked, 1);
    post(&b[1], 1, &w[1], 1);
    await(&n_ended, 1);
    stop();
    expect_served(&w[0], "t1");
    assert_int_equal(w[1].n_got, 0);
}

/* --- the end --- */

static void shutdown_while_asking(void **state)
{
    static const struct step steps[] = {{.hang = true}};
    struct waiter w[3] = {0};
    struct batch b[2] = {{.n = 0}};
    start(N(steps));
    post(&b[0], 0, w, 2);
    post(&b[1], 1, &w[2], 1);
    await(&n_asked, 3);
    await(&n_seen, 1);
    stop();
    for (int i = 0; i < 3; i++)
        assert_int_equal(w[i].n_got, 0);
    assert_int_equal(metric_read(METRIC_UPSTREAM_IN_FLIGHT), 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(one_exchange_for_all),
        TEST(kept_for_all_loops),
        TEST(asked_again_before_its_end),
        TEST(each_for_its_credentials),
        TEST(failure_wakes_all),
        TEST(nobody_listens),
        TEST(nothing_to_ask_with),
        TEST(many_credentials),
        TEST(asker_leaves),
        TEST(all_leave),
        TEST(leaves_too_late),
        TEST(shutdown_while_asking),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
