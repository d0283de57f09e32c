/* A call on its way through a deployment. Whoever ends its last sequence (an allocation, the loop
 * that cancels it, the one that stops the deployment) sends it home; until then the call's arena is
 * touched by one thread at a time: the loop, then the one that tokenizes, then the loop again.
 * Allocations only write rows, or what is kept of them, each its own. */
#include <stdlib.h>

#include "bug.h"
#include "metrics.h"
#include "model_private.h"

/* Up to here the loop tokenizes itself: 1 KiB of text takes it about 9 us, handing the call to the
 * pool adds 12 us to its way (measured with one call at a time; the two meet near 1.5 KiB). */
#define INLINE_BYTES 1024

static const struct head *const heads[] = {
#define X(record) &record,
#include "heads.def"
#undef X
};

const struct head *head_find(enum task task)
{
    for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++) {
        if (heads[i]->task == task)
            return heads[i];
    }
    return NULL;
}

struct failing {
    struct loop_msg msg;
    struct call *call;
    struct err *err;
};

static void failing_run(struct loop_msg *msg)
{
    struct failing *f = (struct failing *)((char *)msg - offsetof(struct failing, msg));
    f->call->sink->fail(f->call->sink, f->err);
}

void call_fail(struct call *call, struct err *err)
{
    struct failing *f = arena_alloc(call->arena, sizeof(*f));
    *f = (struct failing){.msg.run = failing_run, .call = call, .err = err};
    loop_post(call->loop, &f->msg);
}

static struct err *is_cancelled(void)
{
    return err_new(ERR_CANCELLED, "the inference call was cancelled");
}

static bool cancelled(const struct flight *f)
{
    return atomic_load_explicit(&f->call->cancelled, memory_order_acquire);
}

/* Lets go of everything but the arena. */
static void flight_deinit(struct flight *f)
{
    for (size_t i = 0; f->kept && i < f->n; i++)
        free(f->kept[i]);
    deployment_unref(f->deployment);
}

/* On the call's loop. */
static void flight_land(struct loop_msg *msg)
{
    struct flight *f = (struct flight *)((char *)msg - offsetof(struct flight, msg));
    struct call *call = f->call;
    struct result *result = NULL;
    call->on_cancel = NULL;
    call->stage = NULL;
    struct err *err = atomic_exchange(&f->err, NULL);
    if (cancelled(f)) {
        err_free(err);
        err = is_cancelled();
    }
    if (!err) {
        result = arena_alloc(call->arena, sizeof(*result));
        f->head->end(f, call->arena, result);
    }
    flight_deinit(f);
    if (err)
        call->sink->fail(call->sink, err);
    else
        call->sink->done(call->sink, result);
}

static void flight_post(struct flight *f)
{
    f->msg.run = flight_land;
    loop_post(f->call->loop, &f->msg);
}

void flight_sequence_done(struct flight *f, struct err *err)
{
    struct err *none = NULL;
    if (err && !atomic_compare_exchange_strong(&f->err, &none, err))
        err_free(err);
    if (atomic_fetch_sub_explicit(&f->left, 1, memory_order_acq_rel) == 1)
        flight_post(f);
}

static void unreserve(struct deployment *d, size_t n)
{
    pthread_mutex_lock(&d->lock);
    d->n_reserved -= n;
    pthread_mutex_unlock(&d->lock);
    metric_add(METRIC_LOCAL_QUEUE, -(int64_t)n);
}

void flight_fail(struct flight *f, struct err *err)
{
    unreserve(f->deployment, f->n);
    atomic_store(&f->err, err);
    flight_post(f);
}

static struct err *tokenize_one(struct flight *f, size_t i)
{
    struct tokens t;
    TRY(parts_encode(f->deployment->parts, f->call->arena, &f->call->input, i, &t));
    if (t.n == 0)
        return f->n == 1 ? err_new(ERR_ARGUMENT, "the input has no tokens")
                         : err_new(ERR_ARGUMENT, "input [%zu] has no tokens", i);
    f->sequences[i] = (struct sequence){.flight = f,
                                        .cancelled = &f->call->cancelled,
                                        .ids = t.ids,
                                        .type_ids = t.type_ids,
                                        .n_tokens = t.n,
                                        .row = (uint32_t)i,
                                        .truncated = t.truncated,
                                        .search = f->call->input.input_type == INPUT_SEARCH};
    return NULL;
}

static struct err *cannot_do(const struct deployment *d, const struct call *call)
{
    return err_new(ERR_ARGUMENT, "model [%.*s] cannot do [%s] with [%zu] inputs",
                   STR_ARG(d->model_id), task_name(call->input.task), call->input.n_texts);
}

/* The folder may hold another model than when the endpoint was made. */
static bool head_fits(const struct head *head, const struct program_info *info)
{
    return head->output == info->output && (!head->width || head->width == info->dimensions);
}

static struct err *tokenize(struct flight *f)
{
    struct arena *a = f->call->arena;
    if (!head_fits(f->head, f->deployment->parts->info))
        return cannot_do(f->deployment, f->call);
    f->width = f->deployment->parts->info->dimensions;
    if (f->head->keep)
        f->kept = arena_array(a, f->n, sizeof(*f->kept));
    else
        f->rows = arena_try(a, f->n * f->width * sizeof(*f->rows));
    if (!f->rows && !f->kept)
        return err_new(ERR_TOO_LARGE, "the result for [%zu] inputs is too large", f->n);
    f->sequences = arena_array(a, f->n, sizeof(*f->sequences));
    for (size_t i = 0; i < f->n; i++) {
        if (cancelled(f))
            return is_cancelled();
        struct err *e = tokenize_one(f, i);
        if (e)
            e->by_input = true;
        TRY(e);
    }
    return NULL;
}

/* The cancel flag is read under the lock: whoever sets it takes the lock afterwards to remove what
 * is queued, so one of the two sees the other. */
static struct err *enqueue(struct flight *f)
{
    struct deployment *d = f->deployment;
    pthread_mutex_lock(&d->lock);
    bool stopping = d->phase == STOPPING, gone = cancelled(f);
    if (!stopping && !gone) {
        f->queued = true;
        for (size_t i = 0; i < f->n; i++)
            queue_put(&d->queue, &f->sequences[i]);
        if (f->n == 1)
            pthread_cond_signal(&d->work);
        else
            pthread_cond_broadcast(&d->work);
    }
    pthread_mutex_unlock(&d->lock);
    if (stopping)
        return deployment_is_stopping(d);
    return gone ? is_cancelled() : NULL;
}

static void prepare(struct flight *f)
{
    struct err *err = tokenize(f);
    if (!err)
        err = enqueue(f);
    if (err)
        flight_fail(f, err);
}

static void prepare_work(void *job)
{
    struct flight *f = job;
    struct models *m = f->deployment->models;
    prepare(f);
    models_job_done(m);
}

void flight_go(struct flight *f)
{
    size_t bytes = 0;
    for (size_t i = 0; i < f->n && bytes <= INLINE_BYTES; i++)
        bytes += f->call->input.texts[i].n + f->call->input.query.n + 16;
    if (bytes <= INLINE_BYTES)
        prepare(f);
    else
        models_run(f->deployment->models, prepare_work, f);
}

/* Under d->lock. */
static void remove_pending(struct deployment *d, struct flight *f)
{
    struct flight **at = &d->pending;
    while (*at != f)
        at = &(*at)->next;
    *at = f->next;
    if (!f->next)
        d->pending_end = at;
    f->pending = false;
}

static void flight_cancel(struct call *call)
{
    struct flight *f = call->stage;
    struct deployment *d = f->deployment;
    size_t n = 0;
    pthread_mutex_lock(&d->lock);
    bool pending = f->pending;
    if (pending)
        remove_pending(d, f);
    for (size_t i = 0; f->queued && i < f->n; i++) {
        if (f->sequences[i].queued) {
            queue_remove(&d->queue, &f->sequences[i]);
            n++;
        }
    }
    d->n_reserved -= n;
    pthread_mutex_unlock(&d->lock);
    metric_add(METRIC_LOCAL_QUEUE, -(int64_t)n);
    if (pending)
        flight_fail(f, is_cancelled());
    for (; n; n--)
        flight_sequence_done(f, NULL);
}

/* Lets the call in, or says why not. A call larger than the whole queue is let into an empty one.
 */
static struct err *admit(struct deployment *d, struct flight *f)
{
    size_t capacity = d->models->queue_capacity;
    if (d->phase == STOPPING)
        return deployment_is_stopping(d);
    if (d->phase == FAILED)
        return deployment_is_failed(d);
    if (d->n_reserved && (d->n_reserved >= capacity || f->n > capacity - d->n_reserved))
        return err_new(ERR_TOO_MANY, "inference process queue is full. Unable to execute command");
    d->n_reserved += f->n;
    if (d->phase == STARTING) {
        f->pending = true;
        *d->pending_end = f;
        d->pending_end = &f->next;
    }
    return NULL;
}

void flight_start(struct deployment *d, struct call *call)
{
    const struct head *head = head_find(call->input.task);
    if (!head || call->input.n_texts == 0 || call->input.n_texts > UINT32_MAX) {
        call_fail(call, cannot_do(d, call));
        return;
    }
    struct flight *f = arena_alloc(call->arena, sizeof(*f));
    f->call = call;
    f->head = head;
    f->n = call->input.n_texts;
    atomic_init(&f->left, f->n);
    atomic_init(&f->err, NULL);
    f->deployment = deployment_ref(d);
    call->stage = f;
    call->on_cancel = flight_cancel;
    pthread_mutex_lock(&d->lock);
    struct err *err = admit(d, f);
    bool pending = f->pending;
    pthread_mutex_unlock(&d->lock);
    if (err) {
        call->on_cancel = NULL;
        deployment_unref(d);
        call_fail(call, err);
        return;
    }
    metric_add(METRIC_LOCAL_QUEUE, (int64_t)f->n);
    if (!pending)
        flight_go(f);
}
