/* A document: one text of a call, from its rows to its result.
 *
 * Results of a few numbers (embeddings, what a module gives as it is) stay where they were kept and
 * are made on the call's loop, which costs next to nothing; the others are made by the allocation
 * that ran the last row, so that rows as long as a vocabulary need not be kept for every text of a
 * large call. */
#include "model_private.h"

#include "bug.h"
#include "clock.h"
#include "metrics.h"

/* --- what rows gave --- */

static bool made_at_home(const struct nlp_config *c)
{
    return c->task == NLP_TEXT_EMBEDDING || c->task == NLP_PASS_THROUGH;
}

/* Of these tasks only the first row of numbers counts; a masked language model gives one of
 * vocabulary size for each token. */
static void trim(const struct nlp_config *c, struct output *o)
{
    bool first = c->task == NLP_TEXT_EMBEDDING || c->task == NLP_TEXT_EXPANSION;
    if (first && !c->splade && o->dim[0] > 0 && o->dim[1] > 0)
        o->dim[0] = o->dim[1] = 1;
}

static size_t bytes_of(const struct output *o)
{
    return (size_t)(o->dim[0] * o->dim[1] * o->dim[2]) * sizeof(float);
}

static struct kept *kept_of(struct document *doc)
{
    if (doc->request.n_rows == 1)
        doc->kept = kept_new(1); /* only one thread sets it */
    return doc->kept;            /* otherwise it was made before any row ran */
}

static struct err *make_from(struct document *doc, const struct output *outputs,
                             struct arena *arena)
{
    const struct flight *f = doc->flight;
    int64_t began = clock_mono_ns();
    TRY(nlp_decode(&f->config, f->deployment->parts->tokenizer, &doc->request, outputs, arena,
                   &doc->result));
    metric_add(METRIC_LOCAL_DECODE_NS, clock_mono_ns() - began);
    doc->made = true;
    return NULL;
}

static struct err *make_aside(struct document *doc, const struct output *outputs)
{
    doc->arena = arena_new(ARENA_NO_LIMIT);
    return make_from(doc, outputs, doc->arena);
}

struct err *document_make(struct document *doc, struct arena *arena)
{
    return make_from(doc, doc->kept->outputs, arena);
}

/* Rows that nobody will look at again are read where they lie. */
static bool needs_keeping(const struct document *doc, size_t bytes)
{
    const struct flight *f = doc->flight;
    if (doc->request.n_rows > 1 || made_at_home(&f->config) || doc->same)
        return true;
    return doc->key.p && bytes < recall_limit(f->deployment->recall);
}

struct err *document_take(struct document *doc, uint32_t row, const struct output *given)
{
    struct flight *f = doc->flight;
    struct output o = *given;
    trim(&f->config, &o);
    size_t bytes = bytes_of(&o);
    if (!needs_keeping(doc, bytes))
        return make_aside(doc, &o);
    if (atomic_fetch_add_explicit(&f->bytes, bytes, memory_order_relaxed) + bytes >
        FLIGHT_MAX_BYTES)
        return err_new(ERR_TOO_LARGE, "the result for [%zu] inputs is too large", f->n);
    kept_set(kept_of(doc), row, &o);
    return NULL;
}

static void let_go(struct document *doc)
{
    size_t bytes = 0;
    for (size_t i = 0; i < doc->kept->n; i++)
        bytes += bytes_of(&doc->kept->outputs[i]);
    atomic_fetch_sub_explicit(&doc->flight->bytes, bytes, memory_order_relaxed);
    kept_unref(doc->kept);
    doc->kept = NULL;
}

static struct err *end_one(struct document *doc)
{
    return made_at_home(&doc->flight->config) ? NULL : make_aside(doc, doc->kept->outputs);
}

/* Whoever is told the result finds it in the numbers. */
static void count(const struct document *doc, int64_t n, int64_t n_hits)
{
    struct deployment *d = doc->flight->deployment;
    double ms = (double)atomic_load_explicit(&doc->ns, memory_order_relaxed) / 1e6;
    pthread_mutex_lock(&d->lock);
    numbers_inferred(&d->numbers, clock_wall_ms(), n, n_hits, ms);
    pthread_mutex_unlock(&d->lock);
}

static struct err *end_same(struct document *doc, int64_t *n)
{
    bool at_home = made_at_home(&doc->flight->config);
    for (struct document *d = doc->same; d; d = d->same) {
        d->kept = kept_ref(doc->kept);
        TRY(end_one(d));
        if (!at_home) {
            kept_unref(d->kept);
            d->kept = NULL;
        }
        *n += 1;
    }
    return NULL;
}

static struct err *document_end(struct document *doc)
{
    struct flight *f = doc->flight;
    int64_t n_same = 0;
    if (doc->kept) { /* else it was made where it lay */
        if (doc->key.p)
            recall_put(f->deployment->recall, doc->key, doc->kept);
        TRY(end_one(doc));
        TRY(end_same(doc, &n_same));
        if (!made_at_home(&f->config))
            let_go(doc);
    }
    count(doc, 1 + n_same, n_same);
    return NULL;
}

static void count_error(struct deployment *d)
{
    pthread_mutex_lock(&d->lock);
    d->numbers.errors++;
    pthread_mutex_unlock(&d->lock);
}

void document_left_queue(struct document *doc)
{
    if (--doc->n_waiting == 0)
        deployment_unreserve(doc->flight->deployment, doc->flight, 1);
}

static struct err *too_late(const struct call *call)
{
    char span[CLOCK_SPAN_SIZE];
    clock_span(call->timeout_ms, span);
    return err_status(408, "timeout [%s] waiting for inference result", span);
}

void document_late(struct document *doc)
{
    struct deployment *d = doc->flight->deployment;
    if (!atomic_exchange(&doc->failed, true)) {
        pthread_mutex_lock(&d->lock);
        d->numbers.timeouts++;
        pthread_mutex_unlock(&d->lock);
    }
    flight_part_done(doc->flight, too_late(doc->flight->call));
}

void document_part_done(struct document *doc, struct err *err)
{
    struct flight *f = doc->flight;
    if (err && !atomic_exchange(&doc->failed, true))
        count_error(f->deployment);
    bool last = atomic_fetch_sub_explicit(&doc->left, 1, memory_order_acq_rel) == 1;
    if (!err && last && !atomic_load(&f->err) && !flight_cancelled(f))
        err = document_end(doc);
    flight_part_done(f, err);
}

/* --- what is known already --- */

static struct str key_of(struct arena *arena, const struct nlp_request *r, bool splade)
{
    size_t n = 1;
    for (size_t i = 0; i < r->n_rows; i++)
        n += sizeof(uint32_t) + r->rows[i].n * 2 * sizeof(int32_t);
    char *key = arena_try(arena, n), *at = key;
    if (!key)
        return (struct str){NULL, 0};
    *at++ = (char)splade; /* then more rows of numbers are kept */
    for (size_t i = 0; i < r->n_rows; i++) {
        const struct tokens *t = &r->rows[i];
        size_t bytes = t->n * sizeof(int32_t);
        memcpy(at, &t->n, sizeof(t->n));
        memcpy(at + sizeof(t->n), t->ids, bytes);
        at += sizeof(t->n) + bytes;
        if (t->type_ids)
            memcpy(at, t->type_ids, bytes);
        else
            memset(at, 0, bytes);
        at += bytes;
    }
    return str_n(key, n);
}

/* Puts a document behind an earlier one of the same tokens. */
static bool follow(struct map *leaders, struct document *doc)
{
    struct document *leader = map_get(leaders, doc->key);
    if (!leader) {
        map_put(leaders, doc->key, doc);
        return false;
    }
    doc->same = leader->same;
    leader->same = doc;
    doc->follows = true;
    return true;
}

static struct err *recall_all(struct flight *f, struct map *leaders, size_t *n_out)
{
    struct recall *recall = f->deployment->recall;
    struct arena *arena = f->call->arena;
    for (size_t i = 0; i < f->n; i++) {
        struct document *doc = &f->documents[i];
        doc->key = key_of(arena, &doc->request, f->config.splade);
        if (!doc->key.p)
            continue;
        doc->kept = recall_find(recall, doc->key);
        if (doc->kept) {
            TRY(document_make(doc, arena));
            *n_out += 1;
        } else if (leaders && follow(leaders, doc)) {
            *n_out += 1;
        }
    }
    return NULL;
}

struct err *documents_recall(struct flight *f, size_t *n_out)
{
    *n_out = 0;
    if (!f->deployment->recall)
        return NULL;
    struct map *leaders = f->n > 1 ? map_new() : NULL;
    struct err *err = recall_all(f, leaders, n_out);
    if (leaders)
        map_free(leaders);
    return err;
}
