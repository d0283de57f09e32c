/* ml_info: GET _ml/info, which clients ask for limits and for the kind of machine. Most of it
 * speaks of anomaly detection, which is Elasticsearch's alone; clients expect the members. */
#include "handlers.h"
#include "ml.h"
#include "reply.h"

#if defined(__linux__) && defined(__x86_64__)
#define VARIANT "linux-x86_64"
#else
#define VARIANT "platform_agnostic"
#endif

static void put_detectors(struct json_out *w)
{
    json_key(w, "anomaly_detectors");
    json_obj(w);
    json_key_raw(w, "categorization_analyzer",
                 STR("{\"char_filter\":[\"first_line_with_letters\"],\"tokenizer\":"
                     "\"ml_standard\"}"));
    json_key_cstr(w, "model_memory_limit", "1gb");
    json_key_i64(w, "categorization_examples_limit", 4);
    json_key_i64(w, "model_snapshot_retention_days", 10);
    json_key_i64(w, "daily_model_snapshot_retention_after_days", 1);
    json_end(w);
}

static void put_limits(struct json_out *w, const struct request *r)
{
    char memory[32];
    snprintf(memory, sizeof memory, "%llumb",
             (unsigned long long)(r->api->options.ml_memory_bytes >> 20));
    json_key(w, "limits");
    json_obj(w);
    json_key_cstr(w, "effective_max_model_memory_limit", memory);
    json_key_cstr(w, "total_ml_memory", memory);
    json_key_i64(w, "total_ml_processors", r->api->options.processors);
    json_key_i64(w, "max_single_ml_node_processors", r->api->options.processors);
    json_end(w);
}

void get_ml_info(struct request *r)
{
    struct buf b;
    struct json_out w;
    reply_buf_init(&b);
    json_out_init(&w, &b);
    json_obj(&w);
    json_key(&w, "defaults");
    json_obj(&w);
    put_detectors(&w);
    json_key_raw(&w, "datafeeds", STR("{\"scroll_size\":1000}"));
    json_key_cstr(&w, "model_platform_variant", VARIANT);
    json_end(&w);
    json_key_bool(&w, "upgrade_mode", false);
    json_key(&w, "native_code");
    json_obj(&w);
    json_key_cstr(&w, "version", ES_VERSION);
    json_key_cstr(&w, "build_hash", ES_BUILD_HASH);
    json_end(&w);
    put_limits(&w, r);
    json_end(&w);
    reply_json(r, 200, &b);
}
