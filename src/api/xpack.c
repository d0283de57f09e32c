/* xpack: GET _xpack and _xpack/usage. Three features are here; the others that a cluster of this
 * version has are named as not available, with the members that typed clients require of each.
 * Source: the API description (elasticsearch-specification, xpack/info and xpack/usage). */
#include "handlers.h"
#include "reply.h"

/* The licence never ends; the description requires a date. The end of the year 9999. */
#define NEVER_MS 253402300799000

#define OFF     "\"available\":false,\"enabled\":false"
#define COUNTER "{\"active\":0,\"total\":0}"
#define TIER                                                                                       \
    "{\"node_count\":0,\"index_count\":0,\"total_shard_count\":0,\"primary_shard_count\":0,"       \
    "\"doc_count\":0,\"total_size_bytes\":0,\"primary_size_bytes\":0,"                             \
    "\"primary_shard_size_avg_bytes\":0,\"primary_shard_size_median_bytes\":0,"                    \
    "\"primary_shard_size_mad_bytes\":0}"
#define STATISTICS "{\"total\":0.0,\"min\":0.0,\"avg\":0.0,\"max\":0.0}"
#define ENABLED    "{\"enabled\":true}"
#define DISABLED   "{\"enabled\":false}"

/* What is not here: its name, and what its usage says beside being off; NULL: it has no usage. */
static const struct absent {
    const char *name, *usage;
} absents[] = {
    {"aggregate_metric", ""},
    {"analytics",
     ",\"stats\":{\"boxplot_usage\":0,\"cumulative_cardinality_usage\":0,\"string_stats_usage\":0,"
     "\"top_metrics_usage\":0,\"t_test_usage\":0,\"moving_percentiles_usage\":0,"
     "\"normalize_usage\":0,\"rate_usage\":0,\"multi_terms_usage\":0}"},
    {"archive", ",\"indices_count\":0"},
    {"ccr", ",\"follower_indices_count\":0,\"auto_follow_patterns_count\":0"},
    {"data_streams", ",\"data_streams\":0,\"indices_count\":0"},
    {"data_tiers", ",\"data_warm\":" TIER ",\"data_frozen\":" TIER ",\"data_cold\":" TIER
                   ",\"data_content\":" TIER ",\"data_hot\":" TIER},
    {"enrich", ""},
    {"enterprise_search", NULL},
    {"eql", ",\"features\":{\"join\":0,\"joins\":{\"join_queries_two\":0,\"join_queries_three\":0,"
            "\"join_until\":0,\"join_queries_five_or_more\":0,\"join_queries_four\":0},"
            "\"keys\":{\"join_keys_two\":0,\"join_keys_one\":0,\"join_keys_three\":0,"
            "\"join_keys_five_or_more\":0,\"join_keys_four\":0},\"event\":0,"
            "\"pipes\":{\"pipe_tail\":0,\"pipe_head\":0},\"sequence\":0,"
            "\"sequences\":{\"sequence_queries_three\":0,\"sequence_queries_four\":0,"
            "\"sequence_queries_two\":0,\"sequence_until\":0,\"sequence_queries_five_or_more\":0,"
            "\"sequence_maxspan\":0}},\"queries\":{}"},
    {"esql", NULL},
    {"gpu_vector_indexing", NULL},
    {"graph", ""},
    {"ilm", ",\"policy_count\":0,\"policy_stats\":[]"},
    {"logsdb", NULL},
    {"logstash", ""},
    {"monitoring", ",\"collection_enabled\":false,\"enabled_exporters\":{}"},
    {"rollup", ""},
    {"searchable_snapshots", ",\"indices_count\":0"},
    {"slm", ""},
    {"spatial", ""},
    {"sql", ",\"features\":{},\"queries\":{}"},
    {"transform", ""},
    {"universal_profiling", NULL},
    {"voting_only", ""},
    {"watcher", ",\"count\":" COUNTER ",\"execution\":{\"actions\":{}},"
                "\"watch\":{\"input\":{},\"trigger\":{\"_all\":" COUNTER "}}"},
};

static void begin(struct buf *b, struct json_out *w)
{
    reply_buf_init(b);
    json_out_init(w, b);
    json_obj(w);
}

static void available(struct json_out *w, const char *name, bool enabled)
{
    json_key(w, name);
    json_obj(w);
    json_key_bool(w, "available", true);
    json_key_bool(w, "enabled", enabled);
}

static void feature(struct json_out *w, const char *name, bool enabled)
{
    available(w, name, enabled);
    json_end(w);
}

void get_xpack(struct request *r)
{
    struct buf b;
    struct json_out w;
    begin(&b, &w);
    json_key(&w, "build");
    json_obj(&w);
    json_key_cstr(&w, "hash", ES_BUILD_HASH);
    json_key_cstr(&w, "date", ES_BUILD_DATE);
    json_end(&w);
    json_key(&w, "license");
    json_obj(&w);
    json_key_cstr(&w, "uid", r->api->options.cluster_uuid);
    json_key_cstr(&w, "type", "enterprise");
    json_key_cstr(&w, "mode", "enterprise");
    json_key_cstr(&w, "status", "active");
    json_key_i64(&w, "expiry_date_in_millis", NEVER_MS);
    json_end(&w);
    json_key(&w, "features");
    json_obj(&w);
    feature(&w, "inference", true);
    feature(&w, "ml", true);
    feature(&w, "security", security_enabled(r->api->parts.security));
    for (size_t i = 0; i < sizeof absents / sizeof absents[0]; i++)
        json_key_raw(&w, absents[i].name, STR("{" OFF "}"));
    json_end(&w);
    json_key_cstr(&w, "tagline", "You know, for X");
    json_end(&w);
    reply_json(r, 200, &b);
}

/* --- usage --- */

/* Endpoints counted by service and task, in the order of their first appearance. */
static void usage_models(struct json_out *w, struct endpoint *const *list, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        bool first = true;
        int64_t count = 0;
        for (size_t j = 0; j < n; j++) {
            if (list[j]->task != list[i]->task || !str_eq(list[j]->service, list[i]->service))
                continue;
            first = first && j >= i;
            count++;
        }
        if (!first)
            continue;
        char task[32];
        const char *name = task_name(list[i]->task);
        size_t k = 0;
        for (; name[k] && k < sizeof task - 1; k++)
            task[k] = name[k] >= 'a' && name[k] <= 'z' ? (char)(name[k] - 32) : name[k];
        task[k] = '\0';
        json_obj(w);
        json_key_str(w, "service", list[i]->service);
        json_key_cstr(w, "task_type", task);
        json_key_i64(w, "count", count);
        json_end(w);
    }
}

static void usage_inference(struct request *r, struct json_out *w)
{
    struct endpoint **list;
    size_t n;
    inference_list(r->api->parts.inference, TASK_ANY, r->arena, &list, &n);
    available(w, "inference", true);
    json_key(w, "models");
    json_arr(w);
    usage_models(w, list, n);
    json_end(w);
    json_end(w);
    for (size_t i = 0; i < n; i++)
        endpoint_unref(list[i]);
}

/* Anomaly detection and data frames are not here; how many models there are, _stats tells. */
static void usage_ml(struct json_out *w)
{
    available(w, "ml", true);
    json_key_i64(w, "node_count", 1);
    json_key_raw(w, "datafeeds", STR("{\"_all\":{\"count\":0}}"));
    json_key_raw(w, "jobs",
                 STR("{\"_all\":{\"count\":0,\"created_by\":{},\"detectors\":" STATISTICS
                     ",\"model_size\":" STATISTICS
                     ",\"forecasts\":{\"total\":0,\"forecasted_jobs\":0}}}"));
    json_key_raw(w, "data_frame_analytics_jobs", STR("{\"_all\":{\"count\":0}}"));
    json_key_raw(w, "inference",
                 STR("{\"ingest_processors\":{},\"trained_models\":{\"_all\":{\"count\":0}}}"));
    json_end(w);
}

static void usage_security(struct request *r, struct json_out *w)
{
    bool enabled = security_enabled(r->api->parts.security);
    struct str toggle = enabled ? STR(ENABLED) : STR(DISABLED);
    available(w, "security", enabled);
    json_key_raw(w, "api_key_service", toggle);
    json_key_raw(w, "token_service", toggle);
    json_key_raw(w, "anonymous", STR(DISABLED));
    json_key_raw(w, "audit", r->api->parts.audit ? STR(ENABLED) : STR(DISABLED));
    json_key_raw(w, "fips_140", STR(DISABLED));
    json_key_raw(w, "ipfilter", STR("{\"http\":false,\"transport\":false}"));
    json_key_raw(w, "operator_privileges", STR("{" OFF "}"));
    json_key_raw(w, "realms", STR("{}"));
    json_key_raw(w, "role_mapping", STR("{}"));
    json_key_raw(w, "roles",
                 STR("{\"native\":{\"size\":0,\"dls\":false,\"fls\":false},"
                     "\"file\":{\"size\":0,\"dls\":false,\"fls\":false},"
                     "\"dls\":{\"bit_set_cache\":{\"count\":0,\"memory\":\"0b\","
                     "\"memory_in_bytes\":0,\"hits\":0,\"misses\":0,\"evictions\":0,"
                     "\"hits_time_in_millis\":0,\"misses_time_in_millis\":0}}}"));
    json_key_raw(w, "ssl",
                 r->api->options.tls ? STR("{\"http\":" ENABLED ",\"transport\":" DISABLED "}")
                                     : STR("{\"http\":" DISABLED ",\"transport\":" DISABLED "}"));
    json_end(w);
}

void get_xpack_usage(struct request *r)
{
    struct buf b;
    struct json_out w;
    begin(&b, &w);
    usage_inference(r, &w);
    usage_ml(&w);
    usage_security(r, &w);
    for (size_t i = 0; i < sizeof absents / sizeof absents[0]; i++)
        if (absents[i].usage)
            json_key_raw(&w, absents[i].name,
                         arena_printf(r->arena, "{" OFF "%s}", absents[i].usage));
    json_end(&w);
    reply_json(r, 200, &b);
}
