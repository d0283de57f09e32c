/* Deployments and batches in Prometheus' text format. Labels are names that operators gave, of at
 * most DEPLOYMENTS_MAX deployments; a deployment that is started anew begins at zero. */
#include "metrics.h"
#include "model_private.h"

/* As many sequences and tokens as batches have; only a longest text alone has more tokens. */
#define SHOWN_TOKENS 8192

static double allocations(const struct deployment_view *v)
{
    return v->running;
}

static double target_allocations(const struct deployment_view *v)
{
    return v->wanted;
}

static double waiting(const struct deployment_view *v)
{
    return (double)v->numbers.pending;
}

static double inferences(const struct deployment_view *v)
{
    return (double)v->numbers.inferences;
}

static double cache_hits(const struct deployment_view *v)
{
    return (double)v->numbers.cache_hits;
}

static double errors(const struct deployment_view *v)
{
    return (double)v->numbers.errors;
}

static double timeouts(const struct deployment_view *v)
{
    return (double)v->numbers.timeouts;
}

static double rejected(const struct deployment_view *v)
{
    return (double)v->numbers.rejected;
}

static double seconds(const struct deployment_view *v)
{
    return v->numbers.ms / 1e3;
}

static double needed(const struct deployment_view *v)
{
    return v->scaling.needed;
}

static double rate(const struct deployment_view *v)
{
    return v->scaling.rate;
}

static double inference_time(const struct deployment_view *v)
{
    return v->scaling.seconds;
}

static const struct {
    const char *name, *kind, *help;
    double (*value)(const struct deployment_view *);
    bool adaptive; /* only of those whose allocations are */
} families[] = {
    {"inferd_deployment_allocations", "gauge", "Allocations that run", allocations},
    {"inferd_deployment_target_allocations", "gauge", "Allocations that are wanted",
     target_allocations},
    {"inferd_deployment_queue", "gauge", "Documents waiting", waiting},
    {"inferd_deployment_inferences_total", "counter", "Documents answered", inferences},
    {"inferd_deployment_cache_hits_total", "counter", "Of them, those that the cache had",
     cache_hits},
    {"inferd_deployment_errors_total", "counter", "Documents that the model failed on", errors},
    {"inferd_deployment_timeouts_total", "counter", "Documents whose time was over", timeouts},
    {"inferd_deployment_rejected_total", "counter", "Documents refused because the queue was full",
     rejected},
    {"inferd_deployment_inference_seconds_total", "counter",
     "Time that allocations were busy with documents", seconds},
    {"inferd_deployment_needed_allocations", "gauge",
     "Allocations that the load needs, whatever the bounds are", needed, true},
    {"inferd_deployment_estimated_request_rate", "gauge", "Estimated requests per second", rate,
     true},
    {"inferd_deployment_estimated_inference_seconds", "gauge", "Estimated time of one of them",
     inference_time, true},
};

static void sample(struct buf *out, const char *name, const struct deployment_view *v, double value)
{
    buf_printf(out, "%s{", name);
    metrics_label(out, "deployment_id", v->id);
    buf_char(out, ',');
    metrics_label(out, "model_id", v->model_id);
    if (value == (double)(int64_t)value)
        buf_printf(out, "} %lld\n", (long long)value);
    else
        buf_printf(out, "} %.6f\n", value);
}

static void head(struct buf *out, const char *name, const char *kind, const char *help)
{
    buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind);
}

static void batches(struct models *m, struct buf *out)
{
    static const char sequences[] = "inferd_local_batch_sequences";
    static const char tokens[] = "inferd_local_batch_tokens";
    head(out, sequences, "histogram", "Sequences that local models ran together");
    size_histogram_render(out, sequences, BATCH_MAX_SEQUENCES, &m->batch_sequences);
    head(out, tokens, "histogram", "Tokens of the batches that local models ran");
    size_histogram_render(out, tokens, SHOWN_TOKENS, &m->batch_tokens);
}

static void gauge(struct buf *out, const char *name, const char *help, int value)
{
    head(out, name, "gauge", help);
    buf_printf(out, "%s %d\n", name, value);
}

static void processors(struct models *m, struct buf *out)
{
    pthread_mutex_lock(&m->lock);
    int left = m->processors_left;
    pthread_mutex_unlock(&m->lock);
    gauge(out, "inferd_node_processors", "Processors for local models", m->processors);
    gauge(out, "inferd_node_processors_free", "Of them, those that no allocation has", left);
}

void models_metrics(struct models *m, struct arena *arena, struct buf *out)
{
    struct deployment_view *v;
    size_t n;
    models_views(m, arena, &v, &n);
    for (size_t f = 0; f < sizeof families / sizeof families[0]; f++) {
        head(out, families[f].name, families[f].kind, families[f].help);
        for (size_t i = 0; i < n; i++) {
            if (!families[f].adaptive || (v[i].has_adaptive && v[i].adaptive.enabled))
                sample(out, families[f].name, &v[i], families[f].value(&v[i]));
        }
    }
    batches(m, out);
    processors(m, out);
}
