#include "verifier.h"

#include <pthread.h>
#include <sodium.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include "bug.h"
#include "clock.h"
#include "secret.h"
#include "throttle.h"
#include "verified.h"

enum job_state { JOB_DELAYED, JOB_READY, JOB_RUNNING };

struct job {
    struct verifier *owner;
    struct verified_key key;
    uint64_t name;
    struct secret *password;
    char hash[crypto_pwhash_STRBYTES];
    enum job_state state;
    bool right;
    struct verify_wait *waits; /* those who asked the same */
    struct loop_timer timer;   /* on the first asker's loop, while JOB_DELAYED */
    struct job *next;
};

struct verifier {
    struct pool *pool;
    int limit;
    unsigned char digest_key[crypto_generichash_KEYBYTES];
    char decoy[crypto_pwhash_STRBYTES];
    pthread_mutex_t lock; /* guards the rest */
    struct verified verified;
    struct throttle throttle;
    struct job *first, **last; /* in order of arrival; at most limit + VERIFIER_RUNNING */
    int n_jobs, n_running;
    uint64_t n_hashes;
};

/* Random salt and digest in the form of a stored hash with today's parameters: verifying against it
 * does all the work, and nothing is right. */
static void make_decoy(char out[crypto_pwhash_STRBYTES])
{
    unsigned char salt[16], digest[32];
    char salt64[32], digest64[64];
    randombytes_buf(salt, sizeof salt);
    randombytes_buf(digest, sizeof digest);
    sodium_bin2base64(salt64, sizeof salt64, salt, sizeof salt,
                      sodium_base64_VARIANT_ORIGINAL_NO_PADDING);
    sodium_bin2base64(digest64, sizeof digest64, digest, sizeof digest,
                      sodium_base64_VARIANT_ORIGINAL_NO_PADDING);
    snprintf(out, crypto_pwhash_STRBYTES, "$argon2id$v=19$m=%llu,t=%llu,p=1$%s$%s",
             crypto_pwhash_MEMLIMIT_INTERACTIVE / 1024ull,
             (unsigned long long)crypto_pwhash_OPSLIMIT_INTERACTIVE, salt64, digest64);
}

struct verifier *verifier_new(struct pool *pool, int n_waiting)
{
    BUG_ON(sodium_init() < 0);
    struct verifier *v = mem_new(sizeof *v);
    v->pool = pool;
    v->limit = n_waiting;
    v->last = &v->first;
    randombytes_buf(v->digest_key, sizeof v->digest_key);
    make_decoy(v->decoy);
    BUG_ON(pthread_mutex_init(&v->lock, NULL) != 0);
    return v;
}

static void job_free(struct job *j)
{
    secret_unref(j->password);
    secret_wipe(j, sizeof *j);
    free(j);
}

void verifier_free(struct verifier *v)
{
    if (!v)
        return;
    BUG_ON(v->n_running > 0);
    for (struct job *j = v->first, *next; j; j = next) {
        next = j->next;
        job_free(j);
    }
    pthread_mutex_destroy(&v->lock);
    secret_wipe(v, sizeof *v);
    free(v);
}

static void part(crypto_generichash_state *st, struct str s)
{
    static const unsigned char end = 0; /* no part holds a NUL, so this separates them */
    crypto_generichash_update(st, (const unsigned char *)s.p, s.n);
    crypto_generichash_update(st, &end, 1);
}

static void digest(const struct verifier *v, const struct attempt *a, const char *hash,
                   struct verified_key *out)
{
    crypto_generichash_state st;
    crypto_generichash_init(&st, v->digest_key, sizeof v->digest_key, sizeof out->b);
    part(&st, a->name);
    part(&st, str_c(hash));
    part(&st, a->password);
    crypto_generichash_final(&st, out->b, sizeof out->b);
    secret_wipe(&st, sizeof st);
}

/* --- jobs; the lock is held --- */

static struct job *job_find(struct verifier *v, const struct verified_key *key)
{
    for (struct job *j = v->first; j; j = j->next)
        if (sodium_memcmp(j->key.b, key->b, sizeof key->b) == 0)
            return j;
    return NULL;
}

static struct job *job_add(struct verifier *v, const struct attempt *a, const char *hash,
                           const struct verified_key *key)
{
    struct job *j = mem_new(sizeof *j);
    j->owner = v;
    j->key = *key;
    j->name = str_hash(a->name);
    j->password = secret_new(a->password);
    snprintf(j->hash, sizeof j->hash, "%s", hash);
    *v->last = j;
    v->last = &j->next;
    v->n_jobs++;
    return j;
}

static void job_unlink(struct verifier *v, struct job *j)
{
    struct job **at = &v->first;
    while (*at != j)
        at = &(*at)->next;
    *at = j->next;
    if (v->last == &j->next)
        v->last = at;
    v->n_jobs--;
}

static void job_wait(struct job *j, struct verify_wait *w)
{
    w->next = j->waits;
    j->waits = w;
}

/* The next job to hand to the pool, or NULL. Each event (a job became ready, one ended) makes room
 * for one at most, so nobody needs to ask twice. */
static struct job *job_start(struct verifier *v)
{
    if (v->n_running == VERIFIER_RUNNING)
        return NULL;
    for (struct job *j = v->first; j; j = j->next) {
        if (j->state != JOB_READY)
            continue;
        j->state = JOB_RUNNING;
        v->n_running++;
        v->n_hashes++;
        return j;
    }
    return NULL;
}

/* --- running; the lock is not held --- */

static void on_verdict(struct loop_msg *m)
{
    struct verify_wait *w = (struct verify_wait *)((char *)m - offsetof(struct verify_wait, msg));
    w->done(w, w->verdict);
}

static void answer_all(struct job *j)
{
    for (struct verify_wait *w = j->waits, *next; w; w = next) {
        next = w->next;
        w->verdict = j->right ? VERDICT_YES : VERDICT_NO;
        w->msg.run = on_verdict;
        loop_post(w->loop, &w->msg);
    }
}

static void work(void *arg)
{
    struct job *j = arg;
    struct str password = secret_reveal(j->password);
    j->right = crypto_pwhash_str_verify(j->hash, password.n ? password.p : "", password.n) == 0;
}

static void done(void *arg);

static void run(struct verifier *v, struct job *j)
{
    if (j)
        pool_run(v->pool, NULL, work, done, j);
}

static void done(void *arg)
{
    struct job *j = arg;
    struct verifier *v = j->owner;
    int64_t now = clock_mono_ms();
    pthread_mutex_lock(&v->lock);
    job_unlink(v, j);
    v->n_running--;
    if (j->right) {
        verified_add(&v->verified, &j->key, now);
        throttle_passed(&v->throttle, j->name);
    } else {
        throttle_failed(&v->throttle, j->name, now);
    }
    struct job *next = job_start(v);
    pthread_mutex_unlock(&v->lock);
    answer_all(j);
    job_free(j);
    run(v, next);
}

static void on_timer(struct loop_timer *t)
{
    struct job *j = (struct job *)((char *)t - offsetof(struct job, timer));
    struct verifier *v = j->owner;
    pthread_mutex_lock(&v->lock);
    j->state = JOB_READY;
    struct job *next = job_start(v);
    pthread_mutex_unlock(&v->lock);
    run(v, next);
}

/* --- asking --- */

/* The lock is held. A job that has to wait for its turn sets its timer under it: before that, no
 * other thread touches the job, and afterwards only the timer does. */
static enum verdict ask(struct verifier *v, const struct attempt *a, const char *hash,
                        const struct verified_key *key, struct verify_wait *w,
                        int64_t *retry_ms_out)
{
    int64_t now = clock_mono_ms(), wait_ms;
    if (verified_has(&v->verified, key, now))
        return VERDICT_YES;
    struct job *j = job_find(v, key);
    if (j) {
        job_wait(j, w);
        return VERDICT_PENDING;
    }
    *retry_ms_out = 1000;
    if (v->n_jobs >= v->limit + VERIFIER_RUNNING)
        return VERDICT_BUSY;
    if (!throttle_enter(&v->throttle, str_hash(a->name), now, &wait_ms)) {
        *retry_ms_out = wait_ms;
        return VERDICT_BUSY;
    }
    j = job_add(v, a, hash, key);
    job_wait(j, w);
    j->state = wait_ms > 0 ? JOB_DELAYED : JOB_READY;
    if (wait_ms > 0)
        loop_timer_set(w->loop, &j->timer, now + wait_ms, on_timer);
    return VERDICT_PENDING;
}

enum verdict verifier_ask(struct verifier *v, const struct attempt *a, struct verify_wait *w,
                          int64_t *retry_ms_out)
{
    struct verified_key key;
    const char *hash = a->hash ? a->hash : v->decoy;
    digest(v, a, hash, &key);
    pthread_mutex_lock(&v->lock);
    enum verdict verdict = ask(v, a, hash, &key, w, retry_ms_out);
    struct job *next = verdict == VERDICT_PENDING ? job_start(v) : NULL;
    pthread_mutex_unlock(&v->lock);
    run(v, next);
    return verdict;
}

uint64_t verifier_n_hashes(struct verifier *v)
{
    pthread_mutex_lock(&v->lock);
    uint64_t n = v->n_hashes;
    pthread_mutex_unlock(&v->lock);
    return n;
}

const char *verifier_decoy(const struct verifier *v)
{
    return v->decoy;
}
