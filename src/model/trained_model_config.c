/* The config of a PUT. What cannot be read is refused on the spot, with its place in the body, as
 * Elasticsearch's parsers do; what is readable but not allowed is collected into one error. */
#include "trained_model_config.h"

#include "body.h"
#include "tree_definition.h"

static bool alnum(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool id_chars(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        if (!alnum(s.p[i]) && s.p[i] != '-' && s.p[i] != '_' && s.p[i] != '.')
            return false;
    }
    return s.n > 0;
}

bool trained_model_id_ok(struct str s)
{
    return id_chars(s) && alnum(s.p[0]) && alnum(s.p[s.n - 1]);
}

bool trained_model_package_id_ok(struct str s)
{
    return s.n > 1 && s.p[0] == '.' && trained_model_id_ok(str_sub(s, 1, s.n));
}

bool model_alias_ok(struct str s)
{
    return id_chars(s) && alnum(s.p[0]) && !(s.p[s.n - 1] >= '0' && s.p[s.n - 1] <= '9');
}

/* --- reading: body.h's tables fill a struct trained_model in its own arena --- */

static struct err *read_text(struct body *b, const struct json *v, void *out)
{
    *(struct str *)out = arena_dup(b->arena, v->text);
    return NULL;
}

static struct err *read_object(struct body *b, const struct json *v, void *out)
{
    (void)b;
    *(const struct json **)out = v;
    return NULL;
}

/* What check_members speaks of. */
static struct err *read_nothing(struct body *b, const struct json *v, void *out)
{
    (void)b;
    (void)v;
    (void)out;
    return NULL;
}

static struct err *read_tags(struct body *b, const struct json *v, void *out)
{
    struct trained_model *m = out;
    struct str *tags;
    TRY(body_texts(b, v, &tags, &m->n_tags));
    for (size_t i = 0; i < m->n_tags; i++)
        tags[i] = arena_dup(b->arena, tags[i]);
    m->tags = tags;
    return NULL;
}

/* Eland's numbers of bytes may be floats. */
static int64_t bytes_of(const struct json *j)
{
    double v;
    if (!json_f64(j, &v) || !(v > 0) || v >= 9e15)
        return 0;
    return (int64_t)v;
}

static struct err *read_metadata(struct body *b, const struct json *v, void *out)
{
    struct trained_model *m = out;
    (void)b;
    m->metadata = v;
    m->per_deployment_bytes = bytes_of(json_get(v, "per_deployment_memory_bytes"));
    m->per_allocation_bytes = bytes_of(json_get(v, "per_allocation_memory_bytes"));
    return NULL;
}

static struct err *read_field_names(struct body *b, const struct json *v, void *out)
{
    struct trained_model *m = out;
    struct str *names;
    size_t n;
    TRY(body_texts(b, v, &names, &n));
    for (size_t i = 0; i < n; i++) {
        names[i] = arena_dup(b->arena, names[i]);
        if (names[i].n == 0)
            return err_new(ERR_ARGUMENT, "[field_names] must not hold empty names");
    }
    m->input_fields = names;
    m->n_input_fields = n;
    return NULL;
}

static struct err *read_input(struct body *b, const struct json *v, void *out)
{
    static const struct body_field fields[] = {
        {"field_names", BODY_ARRAY | BODY_STR, true, read_field_names, 0}};
    return body_parse(b, &(struct body_parser){"trained_model_config_input", fields, 1}, v, out);
}

static struct err *read_prefixes(struct body *b, const struct json *v, void *out)
{
    static const struct body_field fields[] = {
        {"ingest", BODY_STR, false, read_text, offsetof(struct trained_model, prefix_ingest)},
        {"search", BODY_STR, false, read_text, offsetof(struct trained_model, prefix_search)},
    };
    return body_parse(b, &(struct body_parser){"trained_model_prefix_strings", fields, 2}, v, out);
}

static struct err *read_size(struct body *b, const struct json *v, void *out)
{
    struct trained_model *m = out;
    return body_i64(b, v, 0, INT64_MAX, &m->model_size_bytes);
}

static struct err *read_inference(struct body *b, const struct json *v, void *out)
{
    struct trained_model *m = out;
    if (tree_config_is(v))
        return tree_config_read(b, v, &m->tree_config);
    return nlp_config_read(b, v, &m->nlp);
}

static const char *const model_types[] = {"pytorch", "tree_ensemble", "lang_ident"};

static struct err *read_type(struct body *b, const struct json *v, void *out)
{
    struct trained_model *m = out;
    (void)b;
    for (size_t i = 0; i < sizeof model_types / sizeof *model_types; i++) {
        if (str_eq_nocase(v->text, str_c(model_types[i]))) {
            m->model_type = model_types[i];
            return NULL;
        }
    }
    return err_new(ERR_ARGUMENT, "unknown [model_type] [%.*s]", STR_ARG(str_sub(v->text, 0, 200)));
}

static struct err *read_id(struct body *b, const struct json *v, void *out)
{
    const struct trained_model *m = out;
    (void)b;
    if (str_eq(v->text, m->model_id))
        return NULL;
    return err_new(ERR_ARGUMENT,
                   "Inconsistent model_id; '%.*s' specified in the body differs from '%.*s' "
                   "specified as a URL argument",
                   STR_ARG(str_sub(v->text, 0, 200)), STR_ARG(m->model_id));
}

#define ANY_KIND    (BODY_STR | BODY_NUM | BODY_BOOL | BODY_ARRAY | BODY_OBJECT)
#define AT(member_) offsetof(struct trained_model, member_)

static const struct body_field fields[] = {
    {"model_id", BODY_STR, false, read_id, 0},
    {"model_type", BODY_STR, false, read_type, 0},
    {"description", BODY_STR, false, read_text, AT(description)},
    {"tags", BODY_ARRAY, false, read_tags, 0},
    {"metadata", BODY_OBJECT, false, read_metadata, 0},
    {"input", BODY_OBJECT, false, read_input, 0},
    {"inference_config", BODY_OBJECT, false, read_inference, 0},
    {"prefix_strings", BODY_OBJECT, false, read_prefixes, 0},
    {"platform_architecture", BODY_STR, false, read_text, AT(platform_architecture)},
    {"default_field_map", BODY_OBJECT, false, read_object, AT(default_field_map)},
    {"model_size_bytes", BODY_NUM | BODY_STR, false, read_size, 0},
    {"definition", BODY_OBJECT, false, read_nothing, 0},
    {"compressed_definition", BODY_STR, false, read_nothing, 0},
    {"estimated_operations", ANY_KIND, false, read_nothing, 0},
    {"estimated_heap_memory_usage_bytes", ANY_KIND, false, read_nothing, 0},
    {"version", ANY_KIND, false, read_nothing, 0},
    {"created_by", ANY_KIND, false, read_nothing, 0},
    {"create_time", ANY_KIND, false, read_nothing, 0},
    {"license_level", ANY_KIND, false, read_nothing, 0},
    {"location", ANY_KIND, false, read_nothing, 0},
    {"model_package", ANY_KIND, false, read_nothing, 0},
};

static const struct body_parser parser = {"trained_model_config", fields,
                                          sizeof fields / sizeof fields[0]};

/* --- which members there may be --- */

/* What the server says, not the client. */
static const char *const generated[] = {"version",       "created_by", "create_time",
                                        "license_level", "location",   "model_package"};

/* What the metadata of a package says. */
static const char *const packaged[] = {"description",      "definition", "compressed_definition",
                                       "model_type",       "metadata",   "model_size_bytes",
                                       "inference_config", "tags"};

static bool is_in(struct str key, const char *const *list, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (str_eq_c(key, list[i]))
            return true;
    }
    return false;
}
#define IS_IN(key, list) is_in(key, list, sizeof(list) / sizeof(list)[0])

static void check_tags(const struct trained_model *m, struct err_list *list)
{
    for (size_t i = 0; i < m->n_tags; i++) {
        if (!trained_model_id_ok(m->tags[i]))
            err_list_add(list,
                         "Invalid tags; '%.*s' can contain lowercase alphanumeric (a-z and 0-9), "
                         "hyphens or underscores; must start and end with alphanumeric",
                         STR_ARG(m->tags[i]));
    }
    for (size_t i = 0; i < m->n_tags; i++) {
        if (str_eq(m->tags[i], m->model_id)) {
            err_list_add(list, "none of the tags must equal the model_id");
            return;
        }
    }
}

static void check_id(const struct trained_model *m, struct err_list *list)
{
    struct str id = m->model_id;
    bool ok = m->package ? trained_model_package_id_ok(id) : trained_model_id_ok(id);
    if (!ok)
        err_list_add(list,
                     "Invalid model_id; '%.*s' can contain lowercase alphanumeric (a-z and 0-9), "
                     "hyphens or underscores; must start and end with alphanumeric",
                     STR_ARG(str_sub(id, 0, 256)));
    if (id.n > MODEL_ID_LIMIT)
        err_list_add(list, "Invalid model_id; '%.*s' cannot contain more than %d characters.",
                     STR_ARG(str_sub(id, 0, 256)), MODEL_ID_LIMIT);
}

static const char *const definitions[] = {"definition", "compressed_definition"};

static bool is_tree(const struct trained_model *m)
{
    return !str_eq_c(STR("pytorch"), m->model_type);
}

/* Is there a definition, in what was PUT or in what is stored? */
static bool is_defined(const struct trained_model *m, const struct json *body)
{
    return m->definition.p || !json_is_null(json_get(body, "definition")) ||
           !json_is_null(json_get(body, "compressed_definition"));
}

static void check_family(const struct trained_model *m, const struct json *body,
                         struct err_list *list)
{
    bool tree = is_tree(m), type_given = !json_is_null(json_get(body, "model_type"));
    if (m->package ? false : tree ? !is_defined(m, body) : !type_given)
        err_list_add(list, "either a model [definition] or [location] must be defined.");
    if (!json_is_null(json_get(body, "definition")) &&
        !json_is_null(json_get(body, "compressed_definition")))
        err_list_add(list, "both [compressed_definition] and [definition] cannot be set.");
    if (tree && m->n_input_fields == 0)
        err_list_add(list, "[input.field_names] must not be empty");
    bool config = !m->package && !json_is_null(json_get(body, "inference_config"));
    if (config && tree != m->tree_config.given)
        err_list_add(list, "Model [%.*s] of type [%s] does not support inference config type [%s]",
                     STR_ARG(str_sub(m->model_id, 0, 256)), m->model_type,
                     m->tree_config.given ? tree_config_name(&m->tree_config)
                                          : nlp_task_name(m->nlp.task));
}

static void check_members(const struct trained_model *m, const struct json *body,
                          struct err_list *list)
{
    struct json_iter it = json_iter(body);
    for (const struct json *v; (v = json_next(&it));) {
        if (json_is_null(v))
            continue;
        if (IS_IN(v->key, generated))
            err_list_add(list, "illegal to set [%.*s] at inference model creation",
                         STR_ARG(v->key));
        else if (m->package && IS_IN(v->key, packaged))
            err_list_add(list,
                         "illegal to set [%.*s] at inference model creation for packaged model",
                         STR_ARG(v->key));
        else if (!is_tree(m) && IS_IN(v->key, definitions))
            err_list_add(list, "[%.*s] must not be set for a model of type [pytorch]",
                         STR_ARG(v->key));
    }
    if (json_get(json_get(body, "metadata"), "model_aliases"))
        err_list_add(list, "illegal to set [metadata.model_aliases] at inference model creation");
}

static struct err *check(const struct trained_model *m, const struct json *body)
{
    struct err_list list = {0};
    const struct json *config = m->package ? m->package : body;
    if (json_is_null(json_get(config, "inference_config")))
        err_list_add(&list, "[inference_config] must not be null.");
    check_id(m, &list);
    check_tags(m, &list);
    check_members(m, body, &list);
    check_family(m, body, &list);
    return err_list_end(&list, ERR_REQUEST);
}

/* --- whole --- */

/* Of a package's metadata, those that describe the model; its other members are about files. */
static const struct body_field package_fields[] = {
    {"model_type", BODY_STR, false, read_type, 0},
    {"description", BODY_STR, false, read_text, AT(description)},
    {"tags", BODY_ARRAY, false, read_tags, 0},
    {"metadata", BODY_OBJECT, false, read_metadata, 0},
    {"inference_config", BODY_OBJECT, true, read_inference, 0},
    {"prefix_strings", BODY_OBJECT, false, read_prefixes, 0},
    {"platform_architecture", BODY_STR, false, read_text, AT(platform_architecture)},
    {"size", BODY_NUM, true, read_size, 0},
};

struct err *trained_model_of_package(struct trained_model *m, const struct json *package)
{
    static const struct body_parser package_parser = {
        "model_package_config", package_fields, sizeof package_fields / sizeof package_fields[0],
        true};
    /* Its places mean nothing to whoever sent the body, hence no text. */
    struct body b = {.arena = m->arena};
    TRY(body_parse(&b, &package_parser, package, m));
    if (is_tree(m) || m->tree_config.given)
        return err_new(ERR_ARGUMENT, "a package must hold a model of type [pytorch]");
    m->package = package;
    return NULL;
}

/* NLP models read one text. */
static struct err *check_field(struct trained_model *m)
{
    if (m->n_input_fields > 1 || (m->input_fields && m->n_input_fields == 0))
        return err_new(ERR_ARGUMENT,
                       "[field_names] must hold exactly one name for a model of type [pytorch], "
                       "but holds [%zu]",
                       m->n_input_fields);
    m->input_field = m->n_input_fields ? m->input_fields[0] : STR("input");
    return NULL;
}

struct err *trained_model_config(struct trained_model *m, struct str text, const struct json *body,
                                 const struct json *package)
{
    struct body b = {.arena = m->arena, .text = text};
    TRY(body_parse(&b, &parser, body, m));
    m->package = package;
    if (!package && json_is_null(json_get(body, "model_type")) && is_defined(m, body))
        m->model_type = "tree_ensemble";
    TRY(check(m, body));
    if (is_tree(m))
        return tree_definition_read(m, &b, body);
    if (package)
        TRY(trained_model_of_package(m, package));
    return check_field(m);
}
