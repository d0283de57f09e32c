/* A call on its way through a deployment. Whoever ends its last part (an allocation, the loop
 * that cancels it, the one that stops the deployment) sends it home; until then the call's arena is
 * touched by one thread at a time: the loop, then the one that prepares its documents, then the
 * loop again. Allocations only write what rows gave, each its own. */
#include <stdlib.h>

#include "bug.h"
#include "clock.h"
#include "metrics.h"
#include "model_private.h"

/* Up to here the loop tokenizes itself: 1 KiB of text takes it about 9 us, handing the call to the
 * pool adds 12 us to its way (measured with one call at a time; the two meet near 1.5 KiB). */
#define INLINE_BYTES 1024

/* A document may become a row for each label, and a window for every few tokens. */
#define MAX_SEQUENCES ((size_t)1 << 20)

struct failing {
    struct loop_msg msg;
    struct call *call;
    struct infer_docs *infer;
    struct err *err;
};

static void end_call(struct call *call, struct infer_docs *infer, struct err *err)
{
    if (infer)
        infer->done(infer, err);
    else
        call->sink->fail(call->sink, err);
}

static void failing_run(struct loop_msg *msg)
{
    struct failing *f = (struct failing *)((char *)msg - offsetof(struct failing, msg));
    end_call(f->call, f->infer, f->err);
}

void call_fail(struct call *call, struct infer_docs *infer, struct err *err)
{
    struct failing *f = arena_alloc(call->arena, sizeof(*f));
    *f = (struct failing){.msg.run = failing_run, .call = call, .infer = infer, .err = err};
    loop_post(call->loop, &f->msg);
}

static struct err *is_cancelled(void)
{
    return err_new(ERR_CANCELLED, "the inference call was cancelled");
}

bool flight_cancelled(const struct flight *f)
{
    return atomic_load_explicit(&f->call->cancelled, memory_order_acquire);
}

/* --- the end --- */

/* What a flight holds beside the call's arena, which may be gone once the result has been told. */
struct holdings {
    struct deployment *deployment;
    size_t n;
    struct {
        struct arena *arena;
        struct kept *kept;
    } items[];
};

static struct holdings *take_holdings(struct flight *f)
{
    struct holdings *h = mem_new(sizeof(*h) + f->n * sizeof(h->items[0]));
    h->deployment = f->deployment;
    for (size_t i = 0; f->documents && i < f->n; i++, h->n++) {
        h->items[i].arena = f->documents[i].arena;
        h->items[i].kept = f->documents[i].kept;
    }
    return h;
}

static void holdings_free(struct holdings *h)
{
    for (size_t i = 0; i < h->n; i++) {
        arena_free(h->items[i].arena);
        kept_unref(h->items[i].kept);
    }
    deployment_unref(h->deployment);
    free(h);
}

static struct err *collect(struct flight *f, const struct nlp_result ***out)
{
    struct arena *a = f->call->arena;
    const struct nlp_result **results = arena_array(a, f->n, sizeof(*results));
    for (size_t i = 0; i < f->n; i++) {
        if (!f->documents[i].made)
            TRY(document_make(&f->documents[i], a));
        results[i] = &f->documents[i].result;
    }
    *out = results;
    return NULL;
}

/* Those of every sequence that was run, special ones included: what the deployment's cache had, or
 * an equal document of the same call, costs none. */
static int64_t tokens_run(const struct flight *f)
{
    int64_t n = 0;
    for (size_t i = 0; i < f->n_sequences; i++)
        n += f->sequences[i].n_tokens;
    return n;
}

static void tell(struct flight *f, const struct nlp_result *const *results)
{
    struct call *call = f->call;
    struct result result;
    if (f->infer) {
        f->infer->config = &f->config;
        f->infer->results = results;
        f->infer->n_docs = f->n;
        f->infer->tokens = tokens_run(f);
        f->infer->done(f->infer, NULL);
        return;
    }
    f->head->end(&call->input, results, f->n, call->arena, &result);
    result.usage = (struct usage){.in_tokens = tokens_run(f), .known = true};
    call->sink->done(call->sink, &result);
}

/* On the call's loop. */
static void flight_land(struct loop_msg *msg)
{
    struct flight *f = (struct flight *)((char *)msg - offsetof(struct flight, msg));
    struct call *call = f->call;
    const struct nlp_result **results = NULL;
    call->on_cancel = NULL;
    call->stage = NULL;
    struct err *err = atomic_exchange(&f->err, NULL);
    if (flight_cancelled(f) && !(err && err->kind == ERR_DEPLOYMENT_TIMEOUT)) {
        err_free(err);
        err = is_cancelled();
    }
    if (!err)
        err = collect(f, &results);
    struct holdings *holdings = take_holdings(f);
    if (err)
        end_call(call, f->infer, err);
    else
        tell(f, results);
    holdings_free(holdings);
}

void flight_part_done(struct flight *f, struct err *err)
{
    struct err *none = NULL;
    if (err && !atomic_compare_exchange_strong(&f->err, &none, err))
        err_free(err);
    if (atomic_fetch_sub_explicit(&f->left, 1, memory_order_acq_rel) != 1)
        return;
    f->msg.run = flight_land;
    loop_post(f->call->loop, &f->msg);
}

void flight_fail(struct flight *f, struct err *err)
{
    struct deployment *d = f->deployment;
    pthread_mutex_lock(&d->lock);
    deployment_unreserve(d, f, f->n);
    pthread_mutex_unlock(&d->lock);
    flight_part_done(f, err);
}

/* --- from texts to sequences --- */

static struct err *cannot_do(const struct deployment *d, const struct call *call)
{
    return err_new(ERR_ARGUMENT, "model [%.*s] cannot do [%s] with [%zu] inputs",
                   STR_ARG(d->model_id), task_name(call->input.task), call->input.n_texts);
}

static struct err *configure(struct flight *f)
{
    const struct deployment *d = f->deployment;
    const struct parts *parts = d->parts;
    if (f->infer)
        return nlp_config_update(f->call->arena, &parts->nlp, d->model_id, f->infer->update,
                                 &f->config);
    /* The folder may hold another model than when the endpoint was made. */
    if (f->head->nlp != parts->nlp.task)
        return cannot_do(d, f->call);
    encode_config(parts, f->call->arena, &f->call->input, &f->config);
    return NULL;
}

/* `document`: of _infer; NULL: the i-th text of an endpoint's call. */
static struct err *encode_one(struct flight *f, size_t i, const struct json *document)
{
    struct arena *a = f->call->arena;
    const struct parts *parts = f->deployment->parts;
    struct nlp_request *r = &f->documents[i].request;
    if (document)
        TRY(encode_document(parts, &f->config, a, document, r));
    else
        TRY(encode_input(parts, &f->config, a, &f->call->input, i, r));
    for (size_t row = 0; row < r->n_rows; row++)
        if (r->rows[row].n == 0)
            return f->n == 1 ? err_new(ERR_ARGUMENT, "the input has no tokens")
                             : err_new(ERR_ARGUMENT, "input [%zu] has no tokens", i);
    return NULL;
}

static struct err *encode_all(struct flight *f)
{
    f->documents = arena_array(f->call->arena, f->n, sizeof(*f->documents));
    struct json_iter it = json_iter(f->infer ? f->infer->docs : NULL);
    for (size_t i = 0; i < f->n; i++) {
        struct document *doc = &f->documents[i];
        doc->flight = f;
        if (flight_cancelled(f))
            return is_cancelled();
        struct err *err = encode_one(f, i, json_next(&it));
        if (err)
            err->by_input = true;
        TRY(err);
        if (doc->request.n_rows > MAX_SEQUENCES - f->n_sequences)
            return err_new(ERR_TOO_LARGE, "the inputs become more than [%zu] sequences",
                           MAX_SEQUENCES);
        f->n_sequences += doc->request.n_rows;
    }
    return NULL;
}

static struct err *row_fits(const struct parts *parts, uint32_t n)
{
    uint32_t most = parts->info.max_tokens;
    if (most > parts->info.token_budget)
        most = parts->info.token_budget;
    if (n <= most)
        return NULL;
    return err_new(ERR_ARGUMENT,
                   "a sequence of [%u] tokens is longer than the [%u] the model reads", n, most);
}

/* One for each row of each document that must run. */
static struct err *lay_sequences(struct flight *f)
{
    struct sequence *s = f->sequences = arena_array(f->call->arena, f->n_sequences, sizeof(*s));
    int64_t now_ns = clock_mono_ns();
    for (size_t i = 0; i < f->n; i++) {
        struct document *doc = &f->documents[i];
        if (doc->made || doc->follows)
            continue;
        const struct nlp_request *r = &doc->request;
        if (r->n_rows > 1)
            doc->kept = kept_new(r->n_rows);
        for (size_t row = 0; row < r->n_rows; row++) {
            TRY(row_fits(f->deployment->parts, r->rows[row].n));
            *s++ = (struct sequence){.document = doc,
                                     .cancelled = &f->call->cancelled,
                                     .ids = r->rows[row].ids,
                                     .type_ids = r->rows[row].type_ids,
                                     .n_tokens = r->rows[row].n,
                                     .row = (uint32_t)row,
                                     .search = f->call->input.input_type == INPUT_SEARCH,
                                     .owner = f->owner,
                                     .deadline_ms = f->call->deadline_ms,
                                     .since_ns = now_ns};
        }
        doc->n_waiting = (uint32_t)r->n_rows;
        atomic_init(&doc->left, (unsigned)r->n_rows);
    }
    f->n_sequences = (size_t)(s - f->sequences);
    return NULL;
}

/* The cancel flag is read under the lock: whoever sets it takes the lock afterwards to remove what
 * is queued, so one of the two sees the other. */
static struct err *enqueue(struct flight *f, size_t n_known, size_t n_hits)
{
    struct deployment *d = f->deployment;
    pthread_mutex_lock(&d->lock);
    bool stopping = d->phase == STOPPING && !d->draining, gone = flight_cancelled(f);
    if (stopping || gone) {
        deployment_unreserve(d, f, f->n);
    } else {
        f->queued = true;
        atomic_fetch_add(&f->left, f->n_sequences);
        for (size_t i = 0; i < f->n_sequences; i++)
            queue_put(&d->queue, &f->sequences[i]);
        deployment_unreserve(d, f, n_known);
        if (n_hits)
            numbers_inferred(&d->numbers, clock_wall_ms(), (int64_t)n_hits, (int64_t)n_hits, 0);
        if (f->n_sequences == 1)
            pthread_cond_signal(&d->work);
        else if (f->n_sequences || d->draining)
            pthread_cond_broadcast(&d->work);
    }
    pthread_mutex_unlock(&d->lock);
    if (stopping)
        return deployment_is_stopping(d);
    return gone ? is_cancelled() : NULL;
}

static struct err *ready(struct flight *f, size_t *n_known, size_t *n_hits)
{
    int64_t began = clock_mono_ns();
    TRY(configure(f));
    TRY(encode_all(f));
    metric_add(METRIC_LOCAL_TOKENIZE_NS, clock_mono_ns() - began);
    TRY(documents_recall(f, n_known));
    for (size_t i = 0; i < f->n; i++)
        *n_hits += f->documents[i].made;
    return lay_sequences(f);
}

static void prepare(struct flight *f)
{
    size_t n_known = 0, n_hits = 0;
    struct err *err = ready(f, &n_known, &n_hits);
    if (err)
        flight_fail(f, err);
    else
        flight_part_done(f, enqueue(f, n_known, n_hits));
}

static void prepare_work(void *job)
{
    struct flight *f = job;
    struct models *m = models_ref(f->deployment->models);
    prepare(f);
    models_job_done(m);
    models_unref(m);
}

static size_t bytes_to_read(const struct flight *f)
{
    if (f->infer)
        return json_raw(f->infer->docs).n;
    size_t bytes = 0;
    for (size_t i = 0; i < f->n && bytes <= INLINE_BYTES; i++)
        bytes += f->call->input.texts[i].n + f->call->input.query.n + 16;
    return bytes;
}

void flight_go(struct flight *f)
{
    if (bytes_to_read(f) <= INLINE_BYTES)
        prepare(f);
    else
        models_run(f->deployment->models, prepare_work, f);
}

/* --- cancelling --- */

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
    if (f->unplaced)
        atomic_fetch_sub(&d->models->n_unplaced, 1);
    f->unplaced = false;
}

/* Under d->lock: a call whose time was over counts, a client that left does not. */
static void count_timeout(struct flight *f)
{
    const struct call *call = f->call;
    if (!call->deadline_ms || clock_mono_ms() < call->deadline_ms)
        return;
    for (size_t i = 0; i < f->n; i++)
        f->deployment->numbers.timeouts += !f->queued || atomic_load(&f->documents[i].left) > 0;
}

/* What a call is told that waited for its deployment until its time was over. */
static struct err *waited_in_vain(const struct flight *f)
{
    const struct call *call = f->call;
    char span[CLOCK_SPAN_SIZE];
    if (!call->deadline_ms || clock_mono_ms() < call->deadline_ms)
        return is_cancelled();
    clock_span(call->timeout_ms, span);
    return err_new(ERR_DEPLOYMENT_TIMEOUT,
                   "Timed out after [%s] waiting for trained model deployment [%.*s] to start. "
                   "Use the trained model stats API to track the state of the deployment and try "
                   "again once it has started.",
                   span, STR_ARG(f->deployment->id));
}

static void flight_cancel(struct call *call)
{
    struct flight *f = call->stage;
    struct deployment *d = f->deployment;
    struct sequence *removed = NULL, *next;
    pthread_mutex_lock(&d->lock);
    count_timeout(f);
    bool pending = f->pending;
    if (pending)
        remove_pending(d, f);
    for (size_t i = 0; f->queued && i < f->n_sequences; i++) {
        struct sequence *s = &f->sequences[i];
        if (!s->queued)
            continue;
        queue_remove(&d->queue, s);
        document_left_queue(s->document);
        s->next = removed;
        removed = s;
    }
    pthread_mutex_unlock(&d->lock);
    if (pending)
        flight_fail(f, waited_in_vain(f));
    for (; removed; removed = next) {
        next = removed->next;
        flight_part_done(f, NULL);
    }
}

/* --- the beginning --- */

static void wait_in_line(struct deployment *d, struct flight *f)
{
    f->pending = true;
    *d->pending_end = f;
    d->pending_end = &f->next;
}

/* Most calls, of all deployments together, that wait for a first allocation; this one counted
 * (adaptive_allocations.md 7). */
#define MOST_UNPLACED 100

/* The deployment has no allocation. The call waits for one where the scaler may make one. */
static struct err *admit_at_zero(struct deployment *d, struct flight *f)
{
    if (!d->has_adaptive || !d->adaptive.enabled || (d->adaptive.has_min && d->adaptive.min > 0))
        return err_status(409, "Trained model deployment [%.*s] is not allocated to any nodes",
                          STR_ARG(d->id));
    if (atomic_fetch_add(&d->models->n_unplaced, 1) + 1 >= MOST_UNPLACED) {
        atomic_fetch_sub(&d->models->n_unplaced, 1);
        d->numbers.rejected += (int64_t)f->n;
        return err_new(ERR_TOO_MANY,
                       "Rejected inference request waiting for an allocation of deployment [%.*s]. "
                       "Too many pending requests",
                       STR_ARG(d->id));
    }
    f->unplaced = true;
    return NULL;
}

void flights_at_zero(struct deployment *d)
{
    struct flight *f = NULL, *next, *refused = NULL;
    pthread_mutex_lock(&d->lock);
    if (d->phase == STARTED && d->wanted == 0)
        f = deployment_take_pending(d);
    for (; f; f = next) {
        next = f->next;
        struct err *err = admit_at_zero(d, f);
        f->next = err ? refused : NULL;
        if (!err) {
            wait_in_line(d, f);
            continue;
        }
        atomic_store(&f->err, err);
        refused = f;
    }
    pthread_mutex_unlock(&d->lock);
    for (; refused; refused = next) {
        next = refused->next;
        flight_fail(refused, NULL); /* it has its err */
    }
}

/* A full queue has as much room again for those who have little in it, up to this share of it each:
 * else whoever fills it, call after call, keeps the others out. */
#define GUEST_SHARE 16

static bool may_be_guest(const struct deployment *d, const struct flight *f)
{
    size_t capacity = (size_t)d->queue_capacity, share = capacity / GUEST_SHARE;
    size_t held = d->queue.owners[f->owner].n_held;
    return held + f->n <= (share ? share : 1) && f->n <= capacity - d->n_guests;
}

/* Lets the call in, or says why not. A call larger than the whole queue is let into an empty one.
 */
static struct err *admit(struct deployment *d, struct flight *f)
{
    size_t capacity = (size_t)d->queue_capacity, n_own = d->n_reserved - d->n_guests;
    if (d->phase == STOPPING)
        return deployment_is_stopping(d);
    if (d->phase == FAILED)
        return deployment_is_failed(d);
    f->owner = queue_owner(&d->queue, f->call->owner);
    f->guest = n_own && (n_own >= capacity || f->n > capacity - n_own);
    if (f->guest && !may_be_guest(d, f)) {
        d->numbers.rejected += (int64_t)f->n;
        return err_new(ERR_TOO_MANY, "inference process queue is full. Unable to execute command");
    }
    if (d->phase == STARTED && d->wanted == 0)
        TRY(admit_at_zero(d, f));
    d->n_reserved += f->n;
    d->n_guests += f->guest ? f->n : 0;
    d->queue.owners[f->owner].n_held += f->n;
    metric_add(METRIC_LOCAL_QUEUE, (int64_t)f->n);
    if (d->phase == STARTING || f->unplaced)
        wait_in_line(d, f);
    return NULL;
}

static struct flight *flight_new(struct deployment *d, struct call *call, struct infer_docs *infer)
{
    struct flight *f = arena_alloc(call->arena, sizeof(*f));
    f->call = call;
    f->infer = infer;
    f->n = infer ? infer->docs->n : call->input.n_texts;
    f->head = infer ? NULL : head_find(call->input.task);
    atomic_init(&f->left, 1);
    atomic_init(&f->err, NULL);
    f->deployment = deployment_ref(d);
    return f;
}

void flight_start(struct deployment *d, struct call *call, struct infer_docs *infer)
{
    struct flight *f = flight_new(d, call, infer);
    struct err *err = NULL;
    bool pending = false, wakes = false;
    struct models *m = d->models;
    if (!infer && (!f->head || f->n == 0 || f->n > UINT32_MAX))
        err = cannot_do(d, call);
    if (!err) {
        call->stage = f;
        call->on_cancel = flight_cancel;
        pthread_mutex_lock(&d->lock);
        err = admit(d, f);
        pending = f->pending;
        wakes = f->unplaced;
        pthread_mutex_unlock(&d->lock);
    }
    if (err) {
        call->on_cancel = NULL;
        deployment_unref(d);
        call_fail(call, infer, err);
        return;
    }
    if (wakes)
        steward_wake(m->steward);
    if (!pending)
        flight_go(f);
}
