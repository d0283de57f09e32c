/* cluster: the few cluster-level calls that clients make of any Elasticsearch, answered as one node
 * that does inference. Source: shared facts, trained_models.md 1. */
#include "clock.h"
#include "handlers.h"
#include "reply.h"

/* The number of the release as Elasticsearch writes it: major, minor, patch, two digits each, 99.
 */
#define ES_VERSION_ID 9010099

static void begin(struct buf *b, struct json_out *w)
{
    reply_buf_init(b);
    json_out_init(w, b);
    json_obj(w);
}

static void finish(struct request *r, struct buf *b, struct json_out *w)
{
    json_end(w);
    reply_json(r, 200, b);
}

void get_root(struct request *r)
{
    const struct api_options *o = &r->api->options;
    struct buf b;
    struct json_out w;
    begin(&b, &w);
    json_key_cstr(&w, "name", o->node_name);
    json_key_cstr(&w, "cluster_name", o->cluster_name);
    json_key_cstr(&w, "cluster_uuid", o->cluster_uuid);
    json_key(&w, "version");
    json_obj(&w);
    json_key_cstr(&w, "number", ES_VERSION);
    json_key_cstr(&w, "build_flavor", "default");
    json_key_cstr(&w, "build_type", "tar");
    json_key_cstr(&w, "build_hash", ES_BUILD_HASH);
    json_key_cstr(&w, "build_date", ES_BUILD_DATE);
    json_key_bool(&w, "build_snapshot", false);
    json_key_cstr(&w, "lucene_version", "10.2.2");
    json_key_cstr(&w, "minimum_wire_compatibility_version", "8.19.0");
    json_key_cstr(&w, "minimum_index_compatibility_version", "8.0.0");
    json_end(&w);
    json_key_cstr(&w, "tagline", "You Know, for Search");
    finish(r, &b, &w);
}

/* --- licence: everything is free; clients want to hear that it is active --- */

void get_license(struct request *r)
{
    struct buf b;
    struct json_out w;
    char date[25];
    clock_iso8601(r->api->started_wall_ms, date);
    begin(&b, &w);
    json_key(&w, "license");
    json_obj(&w);
    json_key_cstr(&w, "status", "active");
    json_key_cstr(&w, "uid", r->api->options.cluster_uuid);
    json_key_cstr(&w, "type", "enterprise");
    json_key_cstr(&w, "issue_date", date);
    json_key_i64(&w, "issue_date_in_millis", r->api->started_wall_ms);
    json_key_raw(&w, "max_nodes", STR("null"));
    json_key_i64(&w, "max_resource_units", 1000);
    json_key_cstr(&w, "issued_to", r->api->options.cluster_name);
    json_key_cstr(&w, "issuer", "inferd");
    json_key_i64(&w, "start_date_in_millis", -1);
    json_end(&w);
    finish(r, &b, &w);
}

/* --- one node, always green --- */

void get_cluster_health(struct request *r)
{
    static const char *const zeros[] = {
        "active_primary_shards",     "active_shards",
        "relocating_shards",         "initializing_shards",
        "unassigned_shards",         "unassigned_primary_shards",
        "delayed_unassigned_shards", "number_of_pending_tasks",
        "number_of_in_flight_fetch", "task_max_waiting_in_queue_millis"};
    struct buf b;
    struct json_out w;
    begin(&b, &w);
    json_key_cstr(&w, "cluster_name", r->api->options.cluster_name);
    json_key_cstr(&w, "status", "green");
    json_key_bool(&w, "timed_out", false);
    json_key_i64(&w, "number_of_nodes", 1);
    json_key_i64(&w, "number_of_data_nodes", 1);
    for (size_t i = 0; i < sizeof zeros / sizeof zeros[0]; i++)
        json_key_i64(&w, zeros[i], 0);
    json_key_raw(&w, "active_shards_percent_as_number", STR("100.0"));
    finish(r, &b, &w);
}

static void node_http(struct json_out *w, const struct api_options *o, struct str address)
{
    json_key(w, "http");
    json_obj(w);
    json_key(w, "bound_address");
    json_arr(w);
    json_put_str(w, address);
    json_end(w);
    json_key_str(w, "publish_address", address);
    json_key_i64(w, "max_content_length_in_bytes", (int64_t)o->max_content_length);
    json_end(w);
}

void get_nodes(struct request *r)
{
    const struct api_options *o = &r->api->options;
    const char *bracket = strchr(o->publish_host, ':') ? "[" : "";
    struct str address = arena_printf(r->arena, "%s%s%s:%d", bracket, o->publish_host,
                                      *bracket ? "]" : "", o->publish_port);
    struct buf b;
    struct json_out w;
    begin(&b, &w);
    reply_nodes(&w, o);
    json_key(&w, o->node_id);
    json_obj(&w);
    json_key_cstr(&w, "name", o->node_name);
    json_key_str(&w, "transport_address", address);
    json_key_cstr(&w, "host", o->publish_host);
    json_key_cstr(&w, "ip", o->publish_host);
    json_key_cstr(&w, "version", ES_VERSION);
    json_key_i64(&w, "transport_version", ES_VERSION_ID);
    json_key_i64(&w, "index_version", ES_VERSION_ID);
    json_key_raw(&w, "component_versions", STR("{}"));
    json_key_cstr(&w, "build_flavor", "default");
    json_key_cstr(&w, "build_type", "tar");
    json_key_cstr(&w, "build_hash", ES_BUILD_HASH);
    json_key_raw(&w, "roles", STR("[\"data\",\"ingest\",\"master\",\"ml\"]"));
    json_key_raw(&w, "attributes", STR("{}"));
    node_http(&w, o, address);
    json_end(&w);
    json_end(&w);
    finish(r, &b, &w);
}

void get_authenticate(struct request *r)
{
    struct buf b;
    reply_buf_init(&b);
    struct json_out w;
    json_out_init(&w, &b);
    security_render_user(r->user, &w);
    reply_json(r, 200, &b);
}
