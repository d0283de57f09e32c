/* chunks: the inputs of a call cut into chunks by the endpoint's chunking_settings, and the call
 * made for all of them at once. From there it is a call like any other, whose inputs are the
 * chunks.
 *
 * Elasticsearch cuts only what goes into an index; its POST never does. */
#include "chunk.h"
#include "clock.h"
#include "private.h"

/* Up to here the loop cuts itself, in less than a millisecond for most scripts; by separators
 * never, for a hostile one may take seconds. */
#define INLINE_BYTES ((size_t)32 << 10)

struct cutting {
    struct inference *inf;
    struct call *call;
    struct chunk_map *map;
    struct chunk_plan plan;
    struct err *err;
};

static struct chunk_plan plan_of(const struct endpoint *ep)
{
    const struct chunking *c = &ep->chunking;
    size_t max = (size_t)c->max_chunk_size;
    switch (c->strategy) {
    case CHUNK_SENTENCE:
        return (struct chunk_plan){
            .by = CHUNK_BY_SENTENCE, .max_words = max, .overlap = (size_t)c->sentence_overlap};
    case CHUNK_WORD:
        return (struct chunk_plan){
            .by = CHUNK_BY_WORD, .max_words = max, .overlap = (size_t)c->overlap};
    case CHUNK_RECURSIVE:
        return (struct chunk_plan){.by = CHUNK_BY_SEPARATOR,
                                   .max_words = max,
                                   .separators = c->separators,
                                   .n_separators = c->n_separators};
    case CHUNK_NONE:
        break;
    }
    return (struct chunk_plan){.by = CHUNK_BY_NOTHING};
}

static struct err *too_many(void)
{
    return err_status(400,
                      "The inputs make more than [%d] chunks, the most for one call; send fewer or "
                      "shorter inputs, or use larger chunks",
                      INFERENCE_MAX_CHUNKS);
}

/* One more input, of which `*n` chunks were made before. */
static struct err *cut_one(struct cutting *k, size_t i, size_t *n, struct chunks *out)
{
    struct call *call = k->call;
    if (*n == INFERENCE_MAX_CHUNKS)
        return too_many();
    struct err *e =
        chunk_text(&k->plan, call->arena, call->input.texts[i], INFERENCE_MAX_CHUNKS - *n, out);
    if (e)
        return err_wrap(e, ERR_ARGUMENT, "input [%zu] cannot be cut into chunks: %s", i, e->reason);
    *n += out->n;
    return out->more ? too_many() : NULL;
}

/* Nobody waits for it any more. */
static struct err *given_up(const struct call *call)
{
    if (atomic_load_explicit(&call->cancelled, memory_order_acquire))
        return err_new(ERR_CANCELLED, "task cancelled");
    if (call->deadline_ms && clock_mono_ms() >= call->deadline_ms)
        return inference_timeout_err(call);
    return NULL;
}

/* Makes the chunks the inputs of the call, and says in the map what they were. */
static void lay_out(struct cutting *k, const struct chunks *chunks, size_t n)
{
    struct arena *arena = k->call->arena;
    struct input *in = &k->call->input;
    struct str *texts = arena_array(arena, n, sizeof *texts);
    struct chunk_span *spans = arena_array(arena, n, sizeof *spans);
    size_t *counts = arena_array(arena, in->n_texts, sizeof *counts);
    size_t row = 0;
    for (size_t i = 0; i < in->n_texts; i++) {
        counts[i] = chunks[i].n;
        for (size_t c = 0; c < chunks[i].n; c++, row++) {
            const struct chunk *chunk = &chunks[i].list[c];
            texts[row] = str_sub(in->texts[i], chunk->from, chunk->to - chunk->from);
            spans[row] = (struct chunk_span){chunk->start, chunk->end};
        }
    }
    *k->map = (struct chunk_map){.spans = spans, .counts = counts, .n_inputs = in->n_texts};
    in->texts = texts;
    in->n_texts = n;
}

static struct err *cut_all(struct cutting *k)
{
    size_t n_texts = k->call->input.n_texts, n = 0;
    if (n_texts > INFERENCE_MAX_CHUNKS)
        return too_many();
    struct chunks *chunks = arena_array(k->call->arena, n_texts, sizeof *chunks);
    for (size_t i = 0; i < n_texts; i++) {
        TRY(given_up(k->call));
        TRY(cut_one(k, i, &n, &chunks[i]));
    }
    lay_out(k, chunks, n);
    return NULL;
}

/* Thread: the pool, or the call's loop. */
static void cutting_work(void *job)
{
    struct cutting *k = job;
    k->err = cut_all(k);
}

/* Thread: the call's loop. */
static void cutting_done(void *job)
{
    struct cutting *k = job;
    struct sink *sink = k->call->sink;
    struct err *e = k->err;
    if (!e)
        e = given_up(k->call);
    if (e)
        sink->fail(sink, e);
    else
        inference_submit(k->inf, k->call);
}

static bool is_quick(const struct cutting *k)
{
    const struct input *in = &k->call->input;
    size_t bytes = 0;
    for (size_t i = 0; i < in->n_texts && bytes <= INLINE_BYTES; i++)
        bytes += in->texts[i].n;
    return bytes <= INLINE_BYTES && k->plan.by != CHUNK_BY_SEPARATOR;
}

void inference_submit_chunked(struct inference *inf, struct call *call, struct chunk_map *out)
{
    struct endpoint *ep = call->endpoint;
    if (!ep->has_chunking) {
        call->sink->fail(call->sink,
                         err_status(400,
                                    "Field [chunk] cannot be specified for task type [%s], only "
                                    "for [text_embedding, sparse_embedding]",
                                    task_name(ep->task)));
        return;
    }
    struct cutting *k = arena_alloc(call->arena, sizeof *k);
    k->inf = inf;
    k->call = call;
    k->map = out;
    k->plan = plan_of(ep);
    if (!is_quick(k)) {
        pool_run(inf->parts.pool, call->loop, cutting_work, cutting_done, k);
        return;
    }
    cutting_work(k);
    cutting_done(k);
}
