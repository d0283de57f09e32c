/* exchange: one entry per credentials (a digest of them). An entry holds its token, or is asking
 * and holds those who wait. The first to need a token asks, over the client of its own loop; the
 * answer wakes every waiter on the waiter's loop.
 *
 * A waiter is a heap object of its own: the call behind it may end while its message is under way.
 */
#include "exchange.h"

#include <stdlib.h>

#include "bug.h"
#include "clock.h"
#include "metrics.h"
#include "private.h"

/* A token this near its end may expire on the way. */
#define MARGIN_S 60
/* Entries whose token has expired are swept when there are this many. */
#define SWEEP_ABOVE 1024
/* Credentials that a service refuses whatever the token cost it no more exchanges than this. */
#define FORGET_EVERY_S      10
#define MAX_TOKEN_ANSWER    (1u << 20)
#define EXCHANGE_TIMEOUT_MS 30000

struct token_wait {
    struct loop_msg msg;
    struct token_wait *next;
    struct loop *loop;
    exchange_got *got; /* NULL: has left */
    void *ctx;
    struct err *err;
    struct token token;
};

struct entry {
    struct token token;  /* value NULL: none */
    int64_t forgotten_s; /* when a token of these credentials was last refused; 0: never */
    bool asking;
    struct token_wait *waiting;
};

struct exchanges {
    pthread_mutex_t lock;
    struct map *entries;
    struct ask *asks; /* under way: whose client ends first is let go with the rest */
};

/* One request for a token under way. */
struct ask {
    struct ask *next, **link;
    struct inference *inf;
    struct endpoint *ep;
    const struct auth *auth;
    struct arena *arena;
    struct http_out out;
    char key[SECRET_DIGEST_BYTES];
};

struct exchanges *exchanges_new(void)
{
    struct exchanges *x = mem_new(sizeof *x);
    pthread_mutex_init(&x->lock, NULL);
    x->entries = map_new();
    return x;
}

static void wait_free(struct token_wait *w)
{
    err_free(w->err);
    secret_unref(w->token.value);
    free(w);
}

static void ask_free(struct exchanges *x, struct ask *a)
{
    pthread_mutex_lock(&x->lock);
    *a->link = a->next;
    if (a->next)
        a->next->link = a->link;
    pthread_mutex_unlock(&x->lock);
    endpoint_unref(a->ep);
    arena_free(a->arena);
    free(a);
}

void exchanges_free(struct exchanges *x)
{
    if (!x)
        return;
    while (x->asks) { /* their client ended without a word */
        metric_add(METRIC_UPSTREAM_IN_FLIGHT, -1);
        ask_free(x, x->asks);
    }
    size_t i = 0;
    struct str key;
    void *value;
    while (map_next(x->entries, &i, &key, &value)) {
        struct entry *e = value;
        for (struct token_wait *w = e->waiting, *next; w; w = next) {
            next = w->next;
            wait_free(w);
        }
        secret_unref(e->token.value);
        free(e);
    }
    map_free(x->entries);
    pthread_mutex_destroy(&x->lock);
    free(x);
}

static bool entry_valid(const struct entry *e, int64_t now_s)
{
    return e->token.value && e->token.expires_s - MARGIN_S > now_s;
}

/* Lock held. */
static void sweep(struct exchanges *x, int64_t now_s)
{
    if (map_count(x->entries) < SWEEP_ABOVE)
        return;
    size_t i = 0;
    struct str key;
    void *value;
    while (map_next(x->entries, &i, &key, &value)) {
        struct entry *e = value;
        if (e->asking || entry_valid(e, now_s))
            continue;
        map_take(x->entries, key);
        secret_unref(e->token.value);
        free(e);
        i = 0; /* taking moves others */
    }
}

static struct entry *entry_get(struct exchanges *x, struct str key, int64_t now_s)
{
    struct entry *e = map_get(x->entries, key);
    if (e)
        return e;
    sweep(x, now_s);
    e = mem_new(sizeof *e);
    map_put(x->entries, key, e);
    return e;
}

static void key_of(const struct endpoint *ep, const struct auth *auth,
                   char out[SECRET_DIGEST_BYTES])
{
    struct buf text;
    buf_init(&text, SIZE_MAX);
    buf_cstr(&text, ep->provider->name);
    buf_char(&text, '\0');
    auth->key(ep, &text);
    secret_digest(buf_str(&text), out);
    secret_wipe(text.p, text.n);
    buf_deinit(&text);
}

/* --- waking those who wait --- */

static void wake(struct loop_msg *msg)
{
    struct token_wait *w = (struct token_wait *)msg;
    if (w->got) {
        struct err *e = w->err;
        w->err = NULL;
        w->got(w->ctx, e, &w->token);
    }
    wait_free(w);
}

/* Takes err; token NULL on failure. */
static void settle(struct exchanges *x, struct str key, const struct token *token, struct err *err)
{
    pthread_mutex_lock(&x->lock);
    struct entry *e = map_get(x->entries, key);
    BUG_ON(!e);
    struct token_wait *w = e->waiting;
    e->waiting = NULL;
    e->asking = false;
    if (token) {
        secret_unref(e->token.value);
        e->token = *token;
    }
    for (struct token_wait *i = w; token && i; i = i->next)
        i->token = (struct token){secret_ref(token->value), token->expires_s};
    pthread_mutex_unlock(&x->lock);
    for (struct token_wait *next; w; w = next) {
        next = w->next;
        w->err = err ? err_copy(err) : NULL;
        w->msg.run = wake;
        loop_post(w->loop, &w->msg);
    }
    err_free(err);
}

/* --- asking --- */

static void ask_done(void *ctx, enum client_failure failure, struct err *e,
                     const struct http_in *in)
{
    struct ask *a = ctx;
    struct token token = {0};
    metric_add(METRIC_UPSTREAM_IN_FLIGHT, -1);
    if (failure == CLIENT_OK) {
        struct http_in answer = *in;
        answer.arena = a->arena;
        e = a->auth->take(a->ep, &answer, clock_wall_ms() / 1000, &token);
    }
    settle(a->inf->exchanges, str_n(a->key, sizeof a->key), e ? NULL : &token, e);
    ask_free(a->inf->exchanges, a);
}

static const struct client_events ask_events = {.done = ask_done};

static void ask_start(struct inference *inf, struct endpoint *ep, const struct auth *auth,
                      struct loop *loop, const char *key)
{
    struct ask *a = mem_new(sizeof *a);
    a->inf = inf;
    a->ep = endpoint_ref(ep);
    a->auth = auth;
    a->arena = arena_new(ARENA_NO_LIMIT);
    memcpy(a->key, key, sizeof a->key);
    pthread_mutex_lock(&inf->exchanges->lock);
    a->link = &inf->exchanges->asks;
    a->next = *a->link;
    if (a->next)
        a->next->link = &a->next;
    *a->link = a;
    pthread_mutex_unlock(&inf->exchanges->lock);
    a->out = (struct http_out){.arena = a->arena, .method = HTTP_POST};
    struct client_limits limits = {.max_response_bytes = MAX_TOKEN_ANSWER,
                                   .total_timeout_ms = EXCHANGE_TIMEOUT_MS};
    struct err *e = auth->ask(ep, clock_wall_ms() / 1000, &a->out);
    if (!e)
        e = upstream_address(inf, ep, &a->out, &limits);
    if (e) {
        settle(inf->exchanges, str_n(a->key, sizeof a->key), NULL, e);
        ask_free(inf->exchanges, a);
        return;
    }
    metric_add(METRIC_UPSTREAM_IN_FLIGHT, 1);
    client_send(inf->clients[loop_index(loop)], &a->out, &limits, &ask_events, a);
}

struct token_wait *exchange_get(struct inference *inf, struct endpoint *ep, const struct auth *auth,
                                struct loop *loop, exchange_got *got, void *ctx, struct token *out)
{
    struct exchanges *x = inf->exchanges;
    char key[SECRET_DIGEST_BYTES];
    key_of(ep, auth, key);
    int64_t now_s = clock_wall_ms() / 1000;
    struct token_wait *w = NULL;
    pthread_mutex_lock(&x->lock);
    struct entry *e = entry_get(x, str_n(key, sizeof key), now_s);
    bool ask = false;
    if (entry_valid(e, now_s)) {
        *out = (struct token){secret_ref(e->token.value), e->token.expires_s};
    } else {
        w = mem_new(sizeof *w);
        w->loop = loop;
        w->got = got;
        w->ctx = ctx;
        w->next = e->waiting;
        e->waiting = w;
        ask = !e->asking;
        e->asking = true;
    }
    pthread_mutex_unlock(&x->lock);
    if (ask)
        ask_start(inf, ep, auth, loop, key);
    return w;
}

void exchange_leave(struct token_wait *w)
{
    w->got = NULL;
}

bool exchange_forget(struct inference *inf, struct endpoint *ep, const struct auth *auth,
                     const struct secret *refused)
{
    struct exchanges *x = inf->exchanges;
    char key[SECRET_DIGEST_BYTES];
    key_of(ep, auth, key);
    int64_t now_s = clock_mono_ms() / 1000;
    pthread_mutex_lock(&x->lock);
    struct entry *e = map_get(x->entries, str_n(key, sizeof key));
    bool kept = e && e->token.value == refused;
    bool again = !kept || !e->forgotten_s || now_s - e->forgotten_s >= FORGET_EVERY_S;
    if (kept && again) {
        secret_unref(e->token.value);
        e->token = (struct token){0};
        e->forgotten_s = now_s ? now_s : 1;
    }
    pthread_mutex_unlock(&x->lock);
    return again;
}
