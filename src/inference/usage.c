/* usage: the tallies of all endpoints, for GET .diagnostics and for Prometheus. Bounded by the
 * number of endpoints: nothing a caller sends becomes a label. */
#include "metrics.h"
#include "private.h"

struct rows {
    struct endpoint **v;
    size_t n;
};

static void rows_drop(const struct rows *r)
{
    for (size_t i = 0; i < r->n; i++)
        endpoint_unref(r->v[i]);
}

static int64_t read(const _Atomic int64_t *count)
{
    return atomic_load_explicit((_Atomic int64_t *)(uintptr_t)count, memory_order_relaxed);
}

/* Those that are there from the start have lines once they have been called. */
static struct rows rows_take(struct inference *inf, struct arena *arena)
{
    struct rows r;
    size_t n = 0;
    inference_list(inf, TASK_ANY, arena, &r.v, &r.n);
    for (size_t i = 0; i < r.n; i++) {
        const struct tally *t = extras_of(r.v[i])->tally;
        if (inference_is_preset(r.v[i]->id) && (!t || !read(&t->calls)))
            endpoint_unref(r.v[i]);
        else
            r.v[n++] = r.v[i];
    }
    r.n = n;
    return r;
}

/* --- JSON --- */

static void usage_render(struct json_out *w, const struct endpoint *ep, const struct tally *t)
{
    json_key_s(w, ep->id);
    json_obj(w);
    json_key_str(w, "service", ep->service);
    json_key_cstr(w, "task_type", task_name(ep->task));
    const struct circuit *c = extras_of(ep)->circuit;
    json_key_cstr(w, "circuit", c && !circuit_is_closed(c) ? "open" : "closed");
    json_key_i64(w, "calls", read(&t->calls));
    json_key_i64(w, "cached_calls", read(&t->cached));
    json_key(w, "tokens");
    json_obj(w);
    json_key_i64(w, "in", read(&t->in_tokens));
    json_key_i64(w, "out", read(&t->out_tokens));
    json_end(w);
    json_key(w, "failures");
    json_obj(w);
    for (enum tally_failure k = 0; k < N_TALLY_FAILURES; k++)
        json_key_i64(w, tally_failure_name(k), read(&t->failures[k]));
    json_end(w);
    json_end(w);
}

void inference_usage_render(struct inference *inf, struct arena *arena, struct json_out *w,
                            bool (*shown)(void *ctx, struct str inference_id), void *ctx)
{
    struct rows r = rows_take(inf, arena);
    json_obj(w);
    for (size_t i = 0; i < r.n; i++) {
        const struct tally *t = extras_of(r.v[i])->tally;
        if (t && shown(ctx, r.v[i]->id))
            usage_render(w, r.v[i], t);
    }
    json_end(w);
    rows_drop(&r);
}

/* --- Prometheus --- */

static void labels(struct buf *out, const struct endpoint *ep)
{
    metrics_label(out, "inference_id", ep->id);
    buf_char(out, ',');
    metrics_label(out, "service", ep->service);
    buf_char(out, ',');
    metrics_label(out, "task_type", str_c(task_name(ep->task)));
}

static void sample(struct buf *out, const char *family, const struct endpoint *ep, const char *more,
                   const char *value, int64_t count)
{
    buf_printf(out, "%s{", family);
    labels(out, ep);
    if (more) {
        buf_char(out, ',');
        metrics_label(out, more, str_c(value));
    }
    buf_printf(out, "} %lld\n", (long long)count);
}

typedef void write_samples(struct buf *, const char *family, const struct endpoint *,
                           const struct tally *);

static void write_calls(struct buf *out, const char *family, const struct endpoint *ep,
                        const struct tally *t)
{
    sample(out, family, ep, NULL, NULL, read(&t->calls));
}

static void write_cached(struct buf *out, const char *family, const struct endpoint *ep,
                         const struct tally *t)
{
    sample(out, family, ep, NULL, NULL, read(&t->cached));
}

static void write_tokens(struct buf *out, const char *family, const struct endpoint *ep,
                         const struct tally *t)
{
    sample(out, family, ep, "direction", "in", read(&t->in_tokens));
    sample(out, family, ep, "direction", "out", read(&t->out_tokens));
}

static void write_failures(struct buf *out, const char *family, const struct endpoint *ep,
                           const struct tally *t)
{
    for (enum tally_failure k = 0; k < N_TALLY_FAILURES; k++)
        sample(out, family, ep, "kind", tally_failure_name(k), read(&t->failures[k]));
}

static void write_circuit(struct buf *out, const char *family, const struct endpoint *ep,
                          const struct tally *t)
{
    const struct circuit *c = extras_of(ep)->circuit;
    sample(out, family, ep, NULL, NULL, c && !circuit_is_closed(c));
}

/* An endpoint that has not been called has no lines: sixteen for nothing. */
static void write_histogram(struct buf *out, const char *family, const struct endpoint *ep,
                            const struct histogram *h)
{
    struct buf text;
    if (!histogram_count(h))
        return;
    buf_init(&text, 64 << 10);
    labels(&text, ep);
    histogram_render(out, family, buf_str(&text), h);
    buf_deinit(&text);
}

static void write_took(struct buf *out, const char *family, const struct endpoint *ep,
                       const struct tally *t)
{
    write_histogram(out, family, ep, &t->took);
}

static void write_first_token(struct buf *out, const char *family, const struct endpoint *ep,
                              const struct tally *t)
{
    write_histogram(out, family, ep, &t->first_token);
}

static const struct {
    const char *name, *kind, *help;
    write_samples *write;
} families[] = {
    {"inferd_endpoint_calls_total", "counter", "Calls on an endpoint", write_calls},
    {"inferd_endpoint_cached_calls_total", "counter", "Calls answered from the endpoint's cache",
     write_cached},
    {"inferd_endpoint_tokens_total", "counter",
     "Tokens by the provider's own count; of a local model those that were run", write_tokens},
    {"inferd_endpoint_failures_total", "counter", "Calls that failed, by kind", write_failures},
    {"inferd_endpoint_duration_seconds", "histogram",
     "From a call to the end of its answer or its failure", write_took},
    {"inferd_endpoint_first_token_seconds", "histogram", "From a stream's call to its first event",
     write_first_token},
    {"inferd_endpoint_circuit_open", "gauge", "1 while the service is not called because it fails",
     write_circuit},
};

void inference_usage_metrics(struct inference *inf, struct arena *arena, struct buf *out)
{
    struct rows r = rows_take(inf, arena);
    for (size_t f = 0; f < sizeof families / sizeof families[0]; f++) {
        const char *name = families[f].name;
        buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, families[f].help, name,
                   families[f].kind);
        for (size_t i = 0; i < r.n; i++) {
            const struct tally *t = extras_of(r.v[i])->tally;
            if (t)
                families[f].write(out, name, r.v[i], t);
        }
    }
    rows_drop(&r);
}
