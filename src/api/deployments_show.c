/* Deployments as the assignment of _start and the statistics of _stats. */
#include "clock.h"
#include "deployments.h"
#include "memory.h"

static const char *phase_name(enum deployment_phase phase)
{
    static const char *const names[] = {[STARTING] = "starting",
                                        [STARTED] = "started",
                                        [FAILED] = "failed",
                                        [STOPPING] = "stopping"};
    return names[phase];
}

void adaptive_render(struct json_out *w, const struct adaptive *a)
{
    json_obj(w);
    json_key_bool(w, "enabled", a->enabled);
    if (a->has_min)
        json_key_i64(w, "min_number_of_allocations", a->min);
    if (a->has_max)
        json_key_i64(w, "max_number_of_allocations", a->max);
    json_end(w);
}

/* A deployment of no allocations has started, and has no route. */
static bool has_route(const struct deployment_view *v)
{
    return v->phase != STARTED || v->running > 0 || v->wanted > 0;
}

/* --- the assignment --- */

static void task_parameters(const struct deployment_view *v, struct json_out *w)
{
    char text[MEMORY_TEXT_SIZE];
    json_key(w, "task_parameters");
    json_obj(w);
    json_key_str(w, "model_id", v->model_id);
    json_key_str(w, "deployment_id", v->id);
    json_key_i64(w, "model_bytes", v->model_bytes);
    json_key_i64(w, "threads_per_allocation", v->num_threads);
    json_key_i64(w, "number_of_allocations", v->wanted);
    json_key_i64(w, "queue_capacity", v->queue_capacity);
    json_key_cstr(w, "cache_size", memory_text_exact((uint64_t)v->cache_bytes, text));
    json_key_cstr(w, "priority", v->low_priority ? "low" : "normal");
    json_key_i64(w, "per_deployment_memory_bytes", v->per_deployment_bytes);
    json_key_i64(w, "per_allocation_memory_bytes", v->per_allocation_bytes);
    json_end(w);
}

static void routing_table(const struct api *api, const struct deployment_view *v,
                          struct json_out *w)
{
    json_key(w, "routing_table");
    json_obj(w);
    if (has_route(v)) {
        json_key(w, api->options.node_id);
        json_obj(w);
        json_key_i64(w, "current_allocations", v->running);
        json_key_i64(w, "target_allocations", v->granted);
        json_key_cstr(w, "routing_state", phase_name(v->phase));
        json_key_str(w, "reason", v->failure);
        json_end(w);
    }
    json_end(w);
}

void assignment_render(const struct api *api, const struct deployment_view *v, struct json_out *w)
{
    char time[25];
    json_obj(w);
    json_key(w, "assignment");
    json_obj(w);
    task_parameters(v, w);
    routing_table(api, v, w);
    json_key_cstr(w, "assignment_state", phase_name(v->phase));
    if (v->reason.n)
        json_key_str(w, "reason", v->reason);
    clock_iso8601(v->start_ms, time);
    json_key_cstr(w, "start_time", time);
    json_key_i64(w, "max_assigned_allocations", v->most_assigned);
    if (v->has_adaptive) {
        json_key(w, "adaptive_allocations");
        adaptive_render(w, &v->adaptive);
    }
    json_end(w);
    json_end(w);
}

/* --- statistics --- */

static void positive(struct json_out *w, const char *key, int64_t n)
{
    if (n > 0)
        json_key_i64(w, key, n);
}

static void allocation_status(const struct deployment_view *v, struct json_out *w)
{
    const char *state = "fully_allocated";
    if (v->running < v->wanted)
        state = v->running ? "started" : "starting";
    json_key(w, "allocation_status");
    json_obj(w);
    json_key_i64(w, "allocation_count", v->running);
    json_key_i64(w, "target_allocation_count", v->wanted);
    json_key_cstr(w, "state", state);
    json_end(w);
}

/* As texts, all of them. There is no JVM, so nothing is its. */
static void node_attributes(const struct api_options *o, struct json_out *w)
{
    char number[32];
    json_key(w, "attributes");
    json_obj(w);
    snprintf(number, sizeof number, "%llu", (unsigned long long)o->memory_bytes);
    json_key_cstr(w, "ml.machine_memory", number);
    snprintf(number, sizeof number, "%d", o->processors);
    json_key_cstr(w, "ml.allocated_processors", number);
    json_key_cstr(w, "ml.max_jvm_size", "0");
    json_key_cstr(w, "ml.config_version", "12.0.0");
    json_end(w);
}

static void node_head(const struct api *api, struct json_out *w)
{
    const struct api_options *o = &api->options;
    json_key(w, "node");
    json_obj(w);
    json_key(w, o->node_id);
    json_obj(w);
    json_key_cstr(w, "name", o->node_name);
    json_key_cstr(w, "ephemeral_id", o->node_id);
    json_key_cstr(w, "transport_address", "127.0.0.1:9300");
    json_key_cstr(w, "external_id", o->node_name);
    node_attributes(o, w);
    json_key_raw(w, "roles", STR("[\"data\",\"ingest\",\"master\",\"ml\"]"));
    json_key_cstr(w, "version", ES_VERSION);
    json_key_i64(w, "min_index_version", 8000099);
    json_key_i64(w, "max_index_version", 9009000);
    json_end(w);
    json_end(w);
}

static void routing_state(const struct deployment_view *v, struct json_out *w)
{
    json_key(w, "routing_state");
    json_obj(w);
    json_key_cstr(w, "routing_state", phase_name(v->phase));
    if (v->failure.n)
        json_key_str(w, "reason", v->failure);
    json_end(w);
}

static void node_counts(const struct deployment_view *v, struct json_out *w)
{
    const struct deployment_numbers *n = &v->numbers;
    json_key_i64(w, "inference_count", n->inferences);
    if (n->inferences) {
        json_key_f64(w, "average_inference_time_ms", n->average_ms);
        json_key_f64(w, "average_inference_time_ms_excluding_cache_hits",
                     n->average_ms_without_hits);
    }
    json_key_i64(w, "inference_cache_hit_count", n->cache_hits);
    if (n->last_access_ms)
        json_key_i64(w, "last_access", n->last_access_ms);
    json_key_i64(w, "number_of_pending_requests", n->pending);
    positive(w, "error_count", n->errors);
    positive(w, "rejected_execution_count", n->rejected);
    positive(w, "timeout_count", n->timeouts);
    json_key_i64(w, "start_time", v->start_ms);
    json_key_i64(w, "threads_per_allocation", v->num_threads);
    json_key_i64(w, "number_of_allocations", v->running);
    json_key_i64(w, "peak_throughput_per_minute", n->peak_per_minute);
    json_key_i64(w, "throughput_last_minute", n->last_minute);
    if (n->last_minute)
        json_key_f64(w, "average_inference_time_ms_last_minute", n->average_ms_last_minute);
    json_key_i64(w, "inference_cache_hit_count_last_minute", n->hits_last_minute);
}

static void nodes(const struct api *api, const struct deployment_view *v, struct json_out *w)
{
    json_key(w, "nodes");
    json_arr(w);
    if (has_route(v)) {
        json_obj(w);
        node_head(api, w);
        routing_state(v, w);
        if (v->phase == STARTED) {
            node_counts(v, w);
        } else {
            json_key_i64(w, "peak_throughput_per_minute", 0);
            json_key_i64(w, "throughput_last_minute", 0);
        }
        json_end(w);
    }
    json_end(w);
}

/* Beyond Elasticsearch: why there are as many allocations as there are. */
static void scaling(const struct deployment_scaling *sc, struct json_out *w)
{
    json_key(w, "scaling");
    json_obj(w);
    json_key_f64(w, "needed_number_of_allocations", sc->needed);
    json_key_f64(w, "estimated_request_rate", sc->rate);
    json_key_f64(w, "estimated_inference_time_ms", sc->seconds * 1000);
    if (sc->reason) {
        json_key_cstr(w, "last_change", sc->reason);
        json_key_i64(w, "last_change_time", sc->changed_ms);
    }
    json_end(w);
}

void deployment_stats_render(const struct api *api, const struct deployment_view *v,
                             struct json_out *w)
{
    char text[MEMORY_TEXT_SIZE];
    const struct deployment_numbers *n = &v->numbers;
    json_obj(w);
    json_key_str(w, "deployment_id", v->id);
    json_key_str(w, "model_id", v->model_id);
    json_key_i64(w, "threads_per_allocation", v->num_threads);
    json_key_i64(w, "number_of_allocations", v->wanted);
    if (v->has_adaptive) {
        json_key(w, "adaptive_allocations");
        adaptive_render(w, &v->adaptive);
        scaling(&v->scaling, w);
    }
    json_key_i64(w, "queue_capacity", v->queue_capacity);
    json_key_cstr(w, "state", phase_name(v->phase));
    if (v->reason.n)
        json_key_str(w, "reason", v->reason);
    allocation_status(v, w);
    json_key_cstr(w, "cache_size", memory_text((uint64_t)v->cache_bytes, text));
    json_key_cstr(w, "priority", v->low_priority ? "low" : "normal");
    json_key_i64(w, "start_time", v->start_ms);
    positive(w, "error_count", n->errors);
    positive(w, "rejected_execution_count", n->rejected);
    positive(w, "timeout_count", n->timeouts);
    positive(w, "inference_count", n->inferences);
    json_key_i64(w, "peak_throughput_per_minute", v->phase == STARTED ? n->peak_per_minute : 0);
    nodes(api, v, w);
    json_end(w);
}
