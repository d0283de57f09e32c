/* An allocation: a thread that takes batches from its deployment's queue and runs them in its own
 * session. It leaves when its deployment stops or has more allocations than wanted, never in the
 * middle of a batch. */
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "bug.h"
#include "clock.h"
#include "metrics.h"
#include "model_private.h"

/* Of a deployment whose priority is low. */
#define LOW_PRIORITY_NICE 10

/* Of low priority, in the middle of a batch. */
static void pause_for_others(void *ctx)
{
    struct allocation *a = ctx;
    cores_pause(a->deployment->models->cores, &a->turn);
}

static struct err *allocation_new(struct deployment *d, struct allocation **out)
{
    struct session *session;
    struct program *program;
    TRY(parts_program(d->models, d->parts, &program));
    struct err *err = session_new(program, deployment_threads(d), &session);
    if (err) {
        parts_program_done(d->models, d->parts, program);
        return err;
    }
    struct allocation *a = mem_new(sizeof(*a));
    a->program = program;
    a->session = session;
    a->deployment = d;
    cores_turn_init(&a->turn, deployment_threads(d), d->low_priority);
    if (d->low_priority)
        session_set_pause(session, pause_for_others, a);
    a->token_budget = d->parts->info.token_budget;
    /* One at a time where batches save nothing: then what waits is for other allocations. */
    a->batch_tokens = d->parts->info.interpreted ? 1 : a->token_budget;
    a->ids = mem_array(a->token_budget, sizeof(*a->ids));
    a->type_ids = mem_array(a->token_budget, sizeof(*a->type_ids));
    *out = a;
    return NULL;
}

/* While the deployment keeps its parts. */
static void end_session(struct allocation *a)
{
    if (!a->session)
        return;
    session_free(a->session);
    a->session = NULL;
    parts_program_done(a->deployment->models, a->deployment->parts, a->program);
}

void allocations_free(struct allocation *a)
{
    struct allocation *next;
    for (; a; a = next) {
        next = a->next;
        end_session(a);
        cores_turn_deinit(&a->turn);
        free(a->ids);
        free(a->type_ids);
        free(a);
    }
}

struct err *allocations_new(struct deployment *d, int n, struct allocation **out)
{
    *out = NULL;
    struct models *m = d->models;
    for (int i = 0; i < n; i++) {
        struct allocation *a;
        struct err *err = allocation_new(d, &a);
        if (err) {
            allocations_free(*out);
            *out = NULL;
            return err;
        }
        a->next = *out;
        *out = a;
    }
    pthread_mutex_lock(&m->lock);
    m->n_threads += (size_t)n;
    pthread_mutex_unlock(&m->lock);
    return NULL;
}

void allocations_discard(struct models *m, struct allocation *list)
{
    pthread_mutex_lock(&m->lock);
    for (struct allocation *a = list; a; a = a->next)
        m->n_threads--;
    pthread_cond_broadcast(&m->idle);
    pthread_mutex_unlock(&m->lock);
    allocations_free(list);
}

/* Lays the batch end to end. */
static void lay_out(struct allocation *a, struct token_batch *out)
{
    uint32_t at = 0;
    for (size_t i = 0; i < a->batch.n; i++) {
        const struct sequence *s = a->batch.items[i];
        size_t bytes = s->n_tokens * sizeof(*s->ids);
        a->offsets[i] = at;
        memcpy(a->ids + at, s->ids, bytes);
        if (s->type_ids)
            memcpy(a->type_ids + at, s->type_ids, bytes);
        else
            memset(a->type_ids + at, 0, bytes);
        at += s->n_tokens;
    }
    a->offsets[a->batch.n] = at;
    *out = (struct token_batch){a->batch.n, at, a->ids, a->type_ids, a->offsets};
}

static struct err *in_process(struct err *cause)
{
    struct err *err = err_status(500, "Error in inference process: [%s]", cause->reason);
    err_free(cause);
    return err;
}

/* What one sequence came to. */
static struct err *take_output(struct allocation *a, size_t i, uint64_t ns)
{
    const struct sequence *s = a->batch.items[i];
    struct output *o = &a->outputs[i];
    uint64_t share = ns * s->n_tokens / a->batch.n_tokens;
    atomic_fetch_add_explicit(&s->document->ns, share, memory_order_relaxed);
    if (o->err)
        return in_process(o->err);
    return document_take(s->document, s->row, o);
}

/* How long a token takes, of which the last runs say most (Jacobson's estimator of round trips, as
 * in RFC 6298). */
static void learn_pace(struct deployment *d, uint64_t ns, size_t n_tokens)
{
    double ms = (double)ns / 1e6 / (double)n_tokens;
    pthread_mutex_lock(&d->lock);
    double off = d->ms_per_token > 0 ? ms - d->ms_per_token : 0;
    d->ms_per_token += d->ms_per_token > 0 ? off / 8 : ms;
    d->ms_off += (fabs(off) - d->ms_off) / 4;
    pthread_mutex_unlock(&d->lock);
}

static void count_batch(struct allocation *a, int64_t began, uint64_t ns)
{
    struct models *m = a->deployment->models;
    int64_t waited = 0;
    for (size_t i = 0; i < a->batch.n; i++)
        waited += began - a->batch.items[i]->since_ns;
    metric_add(METRIC_LOCAL_BATCHES, 1);
    metric_add(METRIC_LOCAL_SEQUENCES, (int64_t)a->batch.n);
    metric_add(METRIC_LOCAL_TOKENS, (int64_t)a->batch.n_tokens);
    metric_add(METRIC_LOCAL_WAIT_NS, waited);
    metric_add(METRIC_LOCAL_RUN_NS, (int64_t)ns);
    size_histogram_add(&m->batch_sequences, (int64_t)a->batch.n);
    size_histogram_add(&m->batch_tokens, (int64_t)a->batch.n_tokens);
}

static void run_batch(struct allocation *a)
{
    struct token_batch batch;
    lay_out(a, &batch);
    int64_t began = clock_mono_ns();
    struct err *err = session_run_each(a->session, &batch, a->outputs);
    uint64_t ns = (uint64_t)(clock_mono_ns() - began);
    if (err)
        err = in_process(err);
    count_batch(a, began, ns);
    learn_pace(a->deployment, ns, a->batch.n_tokens);
    for (size_t i = 0; i < a->batch.n; i++) {
        struct err *own = err ? err_copy(err) : take_output(a, i, ns);
        document_part_done(a->batch.items[i]->document, own);
    }
    err_free(err);
}

static void end_dropped(struct allocation *a)
{
    struct sequence *next;
    for (struct sequence *s = a->batch.dropped; s; s = next) {
        next = s->next;
        flight_part_done(s->document->flight, NULL); /* it sees itself that it is cancelled */
    }
    for (struct sequence *s = a->batch.late; s; s = next) {
        next = s->next;
        document_late(s->document);
    }
}

/* Under d->lock. */
static void left_queue(struct allocation *a)
{
    for (size_t i = 0; i < a->batch.n; i++)
        document_left_queue(a->batch.items[i]->document);
    for (struct sequence *s = a->batch.dropped; s; s = s->next)
        document_left_queue(s->document);
    for (struct sequence *s = a->batch.late; s; s = s->next)
        document_left_queue(s->document);
}

/* Under d->lock. Draining ends when nothing waits any more, in the queue or on its way there. */
static bool stays(const struct deployment *d)
{
    if (d->phase == STOPPING)
        return d->draining && d->n_reserved;
    return d->n_allocations <= d->granted;
}

/* False: time to leave, and n_allocations no longer counts this one. */
static bool wait_for_work(struct allocation *a, struct waiter **ended_out)
{
    struct deployment *d = a->deployment;
    pthread_mutex_lock(&d->lock);
    while (stays(d) && !d->queue.n)
        pthread_cond_wait(&d->work, &d->lock);
    bool stay = stays(d);
    if (!stay) {
        d->n_allocations--;
        *ended_out = deployment_ended(d);
        pthread_cond_signal(&d->work); /* a wake-up meant for whoever stays */
    }
    pthread_mutex_unlock(&d->lock);
    return stay;
}

/* What is best to run now, if others have left anything. */
static bool take_batch(struct allocation *a)
{
    struct deployment *d = a->deployment;
    pthread_mutex_lock(&d->lock);
    bool any = stays(d) && d->queue.n;
    if (any) {
        struct batch_rules rules = {.token_budget = a->batch_tokens,
                                    .now_ms = clock_mono_ms(),
                                    .ms_per_token = d->ms_per_token + 2 * d->ms_off};
        batch_take(&d->queue, &rules, &a->batch);
        left_queue(a);
        if (d->queue.n)
            pthread_cond_signal(&d->work); /* one wake-up may have brought several sequences */
    }
    pthread_mutex_unlock(&d->lock);
    return any;
}

/* A batch is taken only when there are processors to run it: until then it may grow, and what it
 * would be late for is seen. */
static void run_next(struct allocation *a)
{
    struct cores *cores = a->deployment->models->cores;
    int cpus[CORES_MOST_THREADS];
    if (cores_enter(cores, &a->turn)) {
        cores_cpus(cores, &a->turn, cpus);
        session_place(a->session, cpus);
    }
    if (take_batch(a)) {
        end_dropped(a);
        if (a->batch.n)
            run_batch(a);
    }
    cores_leave(cores, &a->turn);
}

static void leave(struct allocation *a, struct waiter *ended)
{
    struct models *m = a->deployment->models;
    end_session(a);
    waiters_post(ended, NULL);
    deployment_unref(a->deployment);
    pthread_mutex_lock(&m->lock);
    a->next = m->ended;
    m->ended = a;
    m->n_threads--;
    pthread_cond_broadcast(&m->idle);
    pthread_mutex_unlock(&m->lock);
}

static void *thread_main(void *arg)
{
    struct allocation *a = arg;
    struct waiter *ended = NULL;
    pthread_setname_np(pthread_self(), "allocation");
    if (a->deployment->low_priority)
        setpriority(PRIO_PROCESS, (id_t)gettid(), LOW_PRIORITY_NICE); /* of this thread, on Linux */
    while (wait_for_work(a, &ended))
        run_next(a);
    leave(a, ended);
    return NULL;
}

void allocations_run(struct allocation *a)
{
    struct allocation *next;
    sigset_t all, old;
    sigfillset(&all); /* signals are for the main thread */
    pthread_sigmask(SIG_SETMASK, &all, &old);
    for (; a; a = next) {
        next = a->next;
        deployment_ref(a->deployment);
        BUG_ON(pthread_create(&a->thread, NULL, thread_main, a) != 0);
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
}
