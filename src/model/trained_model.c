/* A counted, immutable model, and how the API shows one (trained_models.md 5). */
#include "trained_model.h"

#include "bug.h"
#include "clock.h"
#include "tree_definition.h"
#include "trained_model_config.h"

/* Clients print it and ask no more: the version of Elasticsearch's model configs. */
#define ML_CONFIG_VERSION "12.0.0"
#define NATIVE_INDEX      ".ml-inference-native-000002"

struct trained_model *trained_model_new(enum trained_model_kind kind, struct str model_id)
{
    struct arena *arena = arena_new(ARENA_NO_LIMIT);
    struct trained_model *m = arena_alloc(arena, sizeof *m);
    *m = (struct trained_model){.arena = arena, .kind = kind, .model_type = "pytorch"};
    atomic_init(&m->refs, 1);
    m->model_id = arena_dup(arena, model_id);
    return m;
}

struct trained_model *trained_model_ref(struct trained_model *m)
{
    atomic_fetch_add_explicit(&m->refs, 1, memory_order_relaxed);
    return m;
}

void trained_model_unref(struct trained_model *m)
{
    if (m && atomic_fetch_sub_explicit(&m->refs, 1, memory_order_acq_rel) == 1)
        arena_free(m->arena);
}

const char *trained_model_task(const struct trained_model *m)
{
    return m->tree ? tree_config_name(&m->tree_config) : nlp_task_name(m->nlp.task);
}

/* --- showing --- */

static void render_generated(struct json_out *w, const struct trained_model *m, bool human)
{
    json_key_str(w, "created_by", m->created_by);
    json_key_cstr(w, "version", ML_CONFIG_VERSION);
    if (human) {
        char date[25];
        clock_iso8601(m->create_time_ms, date);
        json_key_cstr(w, "create_time_string", date);
    }
    json_key_i64(w, "create_time", m->create_time_ms);
    if (human) {
        char size[32];
        bytes_human((uint64_t)m->model_size_bytes, size);
        json_key_cstr(w, "model_size", size);
    }
    json_key_i64(w, "model_size_bytes", m->model_size_bytes);
    json_key_i64(w, "estimated_operations", m->tree ? tree_operations(m->tree) : 0);
    json_key_cstr(w, "license_level", "platinum");
}

/* What was given, with the aliases as one more member. */
static void render_metadata(struct json_out *w, const struct trained_model *m,
                            const struct trained_model_show *show)
{
    if (!m->metadata && show->n_aliases == 0)
        return;
    json_key(w, "metadata");
    json_obj(w);
    struct json_iter it = json_iter(m->metadata);
    for (const struct json *v; (v = json_next(&it));) {
        json_key_s(w, v->key);
        json_put_node(w, v);
    }
    if (show->n_aliases) {
        json_key(w, "model_aliases");
        json_arr(w);
        for (size_t i = 0; i < show->n_aliases; i++)
            json_put_str(w, show->aliases[i]);
        json_end(w);
    }
    json_end(w);
}

static void render_input(struct json_out *w, const struct trained_model *m)
{
    json_key(w, "input");
    json_obj(w);
    json_key(w, "field_names");
    json_arr(w);
    if (m->n_input_fields == 0)
        json_put_str(w, m->input_field);
    for (size_t i = 0; i < m->n_input_fields; i++)
        json_put_str(w, m->input_fields[i]);
    json_end(w);
    json_end(w);
}

static void render_location(struct json_out *w)
{
    json_key(w, "location");
    json_obj(w);
    json_key(w, "index");
    json_obj(w);
    json_key_cstr(w, "name", NATIVE_INDEX);
    json_end(w);
    json_end(w);
}

static void render_prefixes(struct json_out *w, const struct trained_model *m)
{
    if (!m->prefix_ingest.p && !m->prefix_search.p)
        return;
    json_key(w, "prefix_strings");
    json_obj(w);
    if (m->prefix_ingest.p)
        json_key_str(w, "ingest", m->prefix_ingest);
    if (m->prefix_search.p)
        json_key_str(w, "search", m->prefix_search);
    json_end(w);
}

void trained_model_render(struct json_out *w, const struct trained_model *m,
                          const struct trained_model_show *show)
{
    json_obj(w);
    json_key_str(w, "model_id", m->model_id);
    json_key_cstr(w, "model_type", m->model_type);
    if (m->package) {
        json_key(w, "model_package");
        json_put_node(w, m->package);
    }
    if (m->platform_architecture.p)
        json_key_str(w, "platform_architecture", m->platform_architecture);
    if (!show->exclude_generated)
        render_generated(w, m, show->human);
    if (m->description.p)
        json_key_str(w, "description", m->description);
    json_key(w, "tags");
    json_arr(w);
    for (size_t i = 0; i < m->n_tags; i++)
        json_put_str(w, m->tags[i]);
    json_end(w);
    render_metadata(w, m, show);
    render_input(w, m);
    if (m->default_field_map && m->default_field_map->n) {
        json_key(w, "default_field_map");
        json_put_node(w, m->default_field_map);
    }
    json_key(w, "inference_config");
    if (m->tree)
        tree_config_render(w, &m->tree_config);
    else
        nlp_config_render(w, &m->nlp);
    if (m->tree && show->compressed)
        json_key_str(w, "compressed_definition", m->definition);
    else if (m->tree && show->definition)
        tree_definition_render(m->definition, w);
    if (!m->tree)
        render_location(w);
    render_prefixes(w, m);
    if (show->definition_status)
        json_key_bool(w, "fully_defined", m->fully_defined);
    json_end(w);
}
