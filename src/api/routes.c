/* routes: every route of the server, one row each: method, path, the privilege it needs, the name
 * Elasticsearch gives the action, the query parameters it knows, flags, handler.
 * Adding one: docs/adding-a-route.md. */
#include "handlers.h"

static const char *const timeout_params[] = {"timeout", "inference_timeout", NULL};
static const char *const simulate_params[] = {"stream", NULL};
static const char *const infer_params[] = {"timeout", "inference_timeout", "chunk", "partial",
                                           NULL};
static const char *const services_params[] = {"details", NULL};
static const char *const get_params[] = {"return_minimal_config", NULL};
static const char *const delete_params[] = {"dry_run", "force", "timeout", NULL};
static const char *const license_params[] = {"accept_enterprise", "local", NULL};
static const char *const xpack_params[] = {"accept_enterprise", "categories", "master_timeout",
                                           NULL};
static const char *const health_params[] = {"wait_for_status",
                                            "timeout",
                                            "master_timeout",
                                            "local",
                                            "level",
                                            "wait_for_nodes",
                                            "wait_for_active_shards",
                                            "wait_for_no_initializing_shards",
                                            "wait_for_no_relocating_shards",
                                            "wait_for_events",
                                            "expand_wildcards",
                                            NULL};
static const char *const settings_params[] = {"include_defaults", "flat_settings", "master_timeout",
                                              "timeout", NULL};
static const char *const nodes_params[] = {"timeout", "flat_settings", NULL};

static const char *const put_model_params[] = {"defer_definition_decompression",
                                               "wait_for_completion", "timeout", NULL};
static const char *const get_model_params[] = {
    "allow_no_match",    "from", "size", "tags", "include", "decompress_definition",
    "exclude_generated", NULL};
static const char *const delete_model_params[] = {"force", "timeout", NULL};
static const char *const stats_params[] = {"allow_no_match", "from", "size", NULL};
static const char *const start_params[] = {"deployment_id",
                                           "number_of_allocations",
                                           "model_threads",
                                           "threads_per_allocation",
                                           "inference_threads",
                                           "queue_capacity",
                                           "cache_size",
                                           "priority",
                                           "timeout",
                                           "wait_for",
                                           NULL};
static const char *const update_params[] = {"number_of_allocations", "timeout", NULL};
static const char *const stop_params[] = {"allow_no_match", "force", "finish_pending_work",
                                          "timeout", NULL};
static const char *const ml_infer_params[] = {"timeout", NULL};
static const char *const alias_params[] = {"reassign", NULL};
static const char *const cat_model_params[] = {"allow_no_match", "from",  "size", "h", "v", "s",
                                               "help",           "bytes", "time", NULL};

#define INF       "cluster:monitor/xpack/inference"
#define INF_ADMIN "cluster:admin/xpack/inference"
#define ID        "/_inference/{inference_id}"
#define TASK_ID   "/_inference/{task_type}/{inference_id}"
#define MODEL     "/_ml/trained_models/{model_id}"
#define ML        "cluster:monitor/xpack/ml"
#define ML_ADMIN  "cluster:admin/xpack/ml"

static const struct route routes[] = {
    /* method, path, privilege, action, parameters, flags, handler */
    {HTTP_GET, "/", PRIV_MONITOR, "cluster:monitor/main", NULL, 0, get_root},
    {HTTP_GET, "/_license", PRIV_MONITOR, "cluster:monitor/xpack/license/get", license_params, 0,
     get_license},
    {HTTP_GET, "/_xpack", PRIV_MONITOR, "cluster:monitor/xpack/info", xpack_params, 0, get_xpack},
    {HTTP_GET, "/_xpack/usage", PRIV_MONITOR, "cluster:monitor/xpack/usage", xpack_params, 0,
     get_xpack_usage},
    {HTTP_GET, "/_cluster/health", PRIV_MONITOR, "cluster:monitor/health", health_params, 0,
     get_cluster_health},
    {HTTP_GET, "/_cluster/settings", PRIV_MONITOR, "cluster:monitor/settings", settings_params, 0,
     get_cluster_settings},
    {HTTP_GET, "/_nodes", PRIV_MONITOR, "cluster:monitor/nodes/info", nodes_params, 0, get_nodes},
    {HTTP_GET, "/_nodes/{node_or_metric}", PRIV_MONITOR, "cluster:monitor/nodes/info", nodes_params,
     0, get_nodes},
    {HTTP_GET, "/_nodes/{node}/{metric}", PRIV_MONITOR, "cluster:monitor/nodes/info", nodes_params,
     0, get_nodes},
    {HTTP_GET, "/_security/_authenticate", PRIV_NONE,
     "cluster:admin/xpack/security/user/authenticate", NULL, 0, get_authenticate},

    {HTTP_GET, "/_inference", PRIV_MONITOR_INFERENCE, INF "/get", get_params, 0, get_endpoints},
    {HTTP_GET, ID, PRIV_MONITOR_INFERENCE, INF "/get", get_params, 0, get_endpoints},
    {HTTP_GET, TASK_ID, PRIV_MONITOR_INFERENCE, INF "/get", get_params, 0, get_endpoints},
    {HTTP_PUT, ID, PRIV_MANAGE_INFERENCE, INF_ADMIN "/put", timeout_params, ROUTE_BODY,
     put_endpoint},
    {HTTP_PUT, TASK_ID, PRIV_MANAGE_INFERENCE, INF_ADMIN "/put", timeout_params, ROUTE_BODY,
     put_endpoint},
    {HTTP_PUT, ID "/_update", PRIV_MANAGE_INFERENCE, INF_ADMIN "/update", timeout_params, 0,
     update_endpoint},
    {HTTP_PUT, TASK_ID "/_update", PRIV_MANAGE_INFERENCE, INF_ADMIN "/update", timeout_params, 0,
     update_endpoint},
    /* clients of 8.17 send POST */
    {HTTP_POST, ID "/_update", PRIV_MANAGE_INFERENCE, INF_ADMIN "/update", timeout_params, 0,
     update_endpoint},
    {HTTP_POST, TASK_ID "/_update", PRIV_MANAGE_INFERENCE, INF_ADMIN "/update", timeout_params, 0,
     update_endpoint},
    {HTTP_DELETE, ID, PRIV_MANAGE_INFERENCE, INF_ADMIN "/delete", delete_params, 0,
     delete_endpoint},
    {HTTP_DELETE, TASK_ID, PRIV_MANAGE_INFERENCE, INF_ADMIN "/delete", delete_params, 0,
     delete_endpoint},
    {HTTP_GET, "/_inference/_services", PRIV_MONITOR_INFERENCE, INF "/services/get",
     services_params, 0, get_services},
    {HTTP_GET, "/_inference/_services/{task_type}", PRIV_MONITOR_INFERENCE, INF "/services/get",
     services_params, 0, get_services},
    {HTTP_GET, "/_inference/.diagnostics", PRIV_MONITOR_INFERENCE, INF "/diagnostics/get", NULL, 0,
     get_diagnostics},

    {HTTP_POST, ID, PRIV_MONITOR_INFERENCE, INF "/post", infer_params, ROUTE_BODY | ROUTE_INFER,
     post_infer},
    {HTTP_POST, TASK_ID, PRIV_MONITOR_INFERENCE, INF "/post", infer_params,
     ROUTE_BODY | ROUTE_INFER, post_infer},
    {HTTP_POST, ID "/_stream", PRIV_MONITOR_INFERENCE, INF "/post", timeout_params,
     ROUTE_BODY | ROUTE_INFER | ROUTE_STREAM, post_stream},
    {HTTP_POST, TASK_ID "/_stream", PRIV_MONITOR_INFERENCE, INF "/post", timeout_params,
     ROUTE_BODY | ROUTE_INFER | ROUTE_STREAM, post_stream},
    /* 8.17's name for chat_completion's stream */
    {HTTP_POST, ID "/_unified", PRIV_MONITOR_INFERENCE, INF "/unified", timeout_params,
     ROUTE_BODY | ROUTE_INFER | ROUTE_STREAM, post_stream},
    {HTTP_POST, TASK_ID "/_unified", PRIV_MONITOR_INFERENCE, INF "/unified", timeout_params,
     ROUTE_BODY | ROUTE_INFER | ROUTE_STREAM, post_stream},

    {HTTP_POST, ID "/_simulate", PRIV_MONITOR_INFERENCE, INF "/simulate", simulate_params,
     ROUTE_BODY, post_simulate},
    {HTTP_POST, TASK_ID "/_simulate", PRIV_MONITOR_INFERENCE, INF "/simulate", simulate_params,
     ROUTE_BODY, post_simulate},

    {HTTP_POST, "/v1/embeddings", PRIV_MONITOR_INFERENCE, INF "/post", NULL,
     ROUTE_BODY | ROUTE_OPENAI, post_openai_embeddings},
    {HTTP_POST, "/v1/chat/completions", PRIV_MONITOR_INFERENCE, INF "/post", NULL,
     ROUTE_BODY | ROUTE_OPENAI, post_openai_chat},
    {HTTP_POST, "/v1/rerank", PRIV_MONITOR_INFERENCE, INF "/post", NULL, ROUTE_BODY | ROUTE_OPENAI,
     post_openai_rerank},
    {HTTP_POST, "/v2/rerank", PRIV_MONITOR_INFERENCE, INF "/post", NULL, ROUTE_BODY | ROUTE_OPENAI,
     post_openai_rerank},
    {HTTP_GET, "/v1/models", PRIV_MONITOR_INFERENCE, INF "/get", NULL, ROUTE_OPENAI,
     get_openai_models},
    {HTTP_GET, "/v1/models/{model}", PRIV_MONITOR_INFERENCE, INF "/get", NULL, ROUTE_OPENAI,
     get_openai_model},

    {HTTP_GET, "/_ml/info", PRIV_MONITOR_ML, ML "/info/get", NULL, 0, get_ml_info},
    {HTTP_GET, "/_ml/trained_models", PRIV_MONITOR_ML, ML "/inference/get", get_model_params, 0,
     get_trained_models},
    {HTTP_GET, MODEL, PRIV_MONITOR_ML, ML "/inference/get", get_model_params, 0,
     get_trained_models},
    {HTTP_PUT, MODEL, PRIV_MANAGE_ML, ML_ADMIN "/inference/put", put_model_params,
     ROUTE_BODY | ROUTE_RAW, put_trained_model},
    {HTTP_DELETE, MODEL, PRIV_MANAGE_ML, ML_ADMIN "/inference/delete", delete_model_params, 0,
     delete_trained_model},
    {HTTP_PUT, MODEL "/definition/{part}", PRIV_MANAGE_ML, ML_ADMIN "/trained_models/part/put",
     NULL, ROUTE_BODY | ROUTE_RAW, put_definition_part},
    {HTTP_PUT, MODEL "/vocabulary", PRIV_MANAGE_ML, ML_ADMIN "/trained_models/vocabulary/put", NULL,
     ROUTE_BODY | ROUTE_RAW, put_vocabulary},
    {HTTP_PUT, MODEL "/model_aliases/{model_alias}", PRIV_MANAGE_ML,
     ML_ADMIN "/inference/model_aliases/put", alias_params, 0, put_model_alias},
    {HTTP_DELETE, MODEL "/model_aliases/{model_alias}", PRIV_MANAGE_ML,
     ML_ADMIN "/inference/model_aliases/delete", NULL, 0, delete_model_alias},
    {HTTP_GET, "/_ml/trained_models/_stats", PRIV_MONITOR_ML, ML "/inference/stats/get",
     stats_params, 0, get_model_stats},
    {HTTP_GET, MODEL "/_stats", PRIV_MONITOR_ML, ML "/inference/stats/get", stats_params, 0,
     get_model_stats},
    {HTTP_POST, MODEL "/_infer", PRIV_MONITOR_ML, ML "/inference/infer", ml_infer_params,
     ROUTE_BODY, post_ml_infer},
    {HTTP_POST, MODEL "/deployment/_infer", PRIV_DEPLOYMENT_INFER,
     ML "/trained_models/deployment/infer", ml_infer_params, ROUTE_BODY, post_ml_infer},
    {HTTP_POST, MODEL "/deployment/_start", PRIV_DEPLOY,
     ML_ADMIN "/trained_models/deployment/start", start_params, 0, post_start},
    {HTTP_POST, MODEL "/deployment/_update", PRIV_MANAGE_ML,
     ML_ADMIN "/trained_models/deployment/update", update_params, 0, post_update},
    {HTTP_POST, MODEL "/deployment/_stop", PRIV_DEPLOY, ML_ADMIN "/trained_models/deployment/stop",
     stop_params, 0, post_stop},
    {HTTP_POST, MODEL "/deployment/cache/_clear", PRIV_MANAGE_ML,
     ML_ADMIN "/trained_models/deployment/clear_cache", ml_infer_params, 0, post_clear_model_cache},
    {HTTP_GET, "/_cat/ml/trained_models", PRIV_MONITOR_ML, ML "/inference/get", cat_model_params,
     ROUTE_CAT, cat_trained_models},
    {HTTP_GET, "/_cat/ml/trained_models/{model_id}", PRIV_MONITOR_ML, ML "/inference/get",
     cat_model_params, ROUTE_CAT, cat_trained_models},

    {HTTP_GET, "/_health", PRIV_NONE, "", NULL, ROUTE_OPEN, get_health},
    {HTTP_GET, "/_health/ready", PRIV_NONE, "", NULL, ROUTE_OPEN, get_ready},
    {HTTP_GET, "/_prometheus/metrics", PRIV_MONITOR, "cluster:monitor/prometheus/metrics", NULL,
     ROUTE_TEXT, get_metrics},
};

void routes_add(struct router *router)
{
    for (size_t i = 0; i < sizeof routes / sizeof routes[0]; i++)
        router_add(router, routes[i].method, routes[i].path, &routes[i]);
}
