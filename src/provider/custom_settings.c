/* custom: what rows cannot say of its settings, and what is made of them: the paths of each task,
 * words for input types, templates that are tried out. Source: shared facts, providers.md 5. */
#include "custom.h"

#define TE TASK_BIT(TASK_TEXT_EMBEDDING)
#define SE TASK_BIT(TASK_SPARSE_EMBEDDING)
#define RR TASK_BIT(TASK_RERANK)
#define CO TASK_BIT(TASK_COMPLETION)

static void no_setting(struct err_list *list, const char *scope, const char *name)
{
    err_list_add(list, "[%s] does not contain the required setting [%s]", scope, name);
}

/* Reads a member that is to be a text, which it removes from the count of members not yet read. */
static bool take_text(struct err_list *list, const struct json *object, const char *scope,
                      const char *name, bool required, struct str *out)
{
    const struct json *v = json_get(object, name);
    if (json_is_null(v)) {
        if (required)
            no_setting(list, scope, name);
        return false;
    }
    if (!json_str(v, out)) {
        err_list_add(list,
                     "field [%s] is not of the expected type. The value [%.*s] cannot be converted "
                     "to a [String]",
                     name, STR_ARG(str_sub(json_raw(v), 0, 200)));
        return false;
    }
    if (out->n)
        return true;
    err_list_add(list, "[%s] Invalid value empty string. [%s] must be a non-empty string", scope,
                 name);
    return false;
}

/* Paths that each task names, in the order they are shown in; those marked are not required. */
static const struct path_setting {
    unsigned tasks;
    const char *name;
    bool optional;
} path_settings[] = {
    {TE, "text_embeddings", false},   {SE, "token_path", false},    {SE, "weight_path", false},
    {RR, "relevance_score", false},   {RR, "reranked_index", true}, {RR, "document_text", true},
    {CO, "completion_result", false},
};

#define N_PATH_SETTINGS (sizeof path_settings / sizeof path_settings[0])

static const char *const embedding_types[] = {"binary", "bit", "byte", "float"};

static void put_embedding_type(struct err_list *list, struct json_out *w, const struct json *parser,
                               const char *scope)
{
    struct str type = STR("float");
    if (!json_is_null(json_get(parser, "embedding_type")) &&
        !take_text(list, parser, scope, "embedding_type", false, &type))
        return;
    for (size_t i = 0; i < sizeof embedding_types / sizeof embedding_types[0]; i++) {
        if (str_eq_nocase(str_trim(type), str_c(embedding_types[i]))) {
            json_key_cstr(w, "embedding_type", embedding_types[i]);
            return;
        }
    }
    err_list_add(list,
                 "[%s] Invalid value [%.*s] received. [embedding_type] must be one of [binary, "
                 "bit, byte, float]",
                 scope, STR_ARG(str_sub(type, 0, 200)));
}

static bool is_known(unsigned task, struct str name)
{
    if (task == TE && str_eq(name, STR("embedding_type")))
        return true;
    for (size_t i = 0; i < N_PATH_SETTINGS; i++) {
        if ((path_settings[i].tasks & task) && str_eq_c(name, path_settings[i].name))
            return true;
    }
    return false;
}

static struct err *unknown_member(const struct json *v, const char *field, const char *scope)
{
    return err_status(400,
                      "Configuration contains unknown settings [{%.*s=%.*s}] while parsing field "
                      "[%s] for settings [%s]",
                      STR_ARG(str_sub(v->key, 0, 200)), STR_ARG(str_sub(json_raw(v), 0, 200)),
                      field, scope);
}

static void put_parser(struct err_list *list, struct json_out *w, unsigned task,
                       const struct json *parser)
{
    static const char scope[] = "service_settings.response.json_parser";
    json_key(w, "json_parser");
    json_obj(w);
    for (size_t i = 0; i < N_PATH_SETTINGS; i++) {
        const struct path_setting *p = &path_settings[i];
        struct str path;
        if ((p->tasks & task) && take_text(list, parser, scope, p->name, !p->optional, &path))
            json_key_str(w, p->name, path);
    }
    if (task == TE)
        put_embedding_type(list, w, parser, scope);
    json_end(w);
}

/* Puts the object that was written in place of what was given. */
static void replace(struct endpoint *ep, struct value *v, struct buf *b)
{
    struct err *e = json_parse_copy(ep->arena, buf_str(b), &v->json);
    buf_deinit(b);
    err_free(e); /* what we wrote can be read */
}

static struct err *check_response(struct endpoint *ep, struct err_list *list)
{
    struct value *v = &ep->values.v[S_RESPONSE];
    const struct json *parser = custom_parser(ep);
    unsigned task = TASK_BIT(ep->task);
    struct json_out w;
    struct buf b;
    if (!json_is(parser, JSON_OBJECT)) {
        no_setting(list, "service_settings.response", "json_parser");
        return NULL;
    }
    struct json_iter it = json_iter(parser);
    for (const struct json *m; (m = json_next(&it));) {
        if (!is_known(task, m->key))
            return unknown_member(m, "json_parser", "custom_service_settings");
    }
    it = json_iter(v->json);
    for (const struct json *m; (m = json_next(&it));) {
        if (!str_eq(m->key, STR("json_parser")))
            return unknown_member(m, "response", "custom_service_settings");
    }
    buf_init(&b, SIZE_MAX);
    json_out_init(&w, &b);
    json_obj(&w);
    put_parser(list, &w, task, parser);
    json_end(&w);
    replace(ep, v, &b);
    return NULL;
}

static void put_translation(struct err_list *list, struct json_out *w, const struct json *given)
{
    struct json_iter it = json_iter(given);
    json_key(w, "translation");
    json_obj(w);
    for (const struct json *v; (v = json_next(&it));) {
        enum input_type type;
        if (!json_is(v, JSON_STRING) || v->text.n == 0)
            err_list_add(list,
                         "Input type translation value for key [%.*s] must be a String that is not "
                         "null and not empty, received: [%.*s].",
                         STR_ARG(str_sub(v->key, 0, 200)), STR_ARG(str_sub(json_raw(v), 0, 200)));
        else if (!input_type_parse(v->key, &type) || type == INPUT_UNSPECIFIED)
            err_list_add(list,
                         "Invalid input type translation for key: [%.*s], is not a valid value. "
                         "Must be one of [ingest, search, classification, clustering]",
                         STR_ARG(str_sub(v->key, 0, 200)));
    }
    for (enum input_type t = INPUT_INGEST; t <= INPUT_CLUSTERING; t++) {
        const struct json *v = json_get(given, input_type_name(t));
        if (json_is(v, JSON_STRING))
            json_key_str(w, input_type_name(t), v->text);
    }
    json_end(w);
}

static struct err *check_input_type(struct endpoint *ep, struct err_list *list)
{
    struct value *v = &ep->values.v[S_INPUT_TYPE];
    const struct json *given = v->set ? v->json : NULL;
    const struct json *translation = json_get(given, "translation");
    struct str preset = STR("");
    struct json_out w;
    struct buf b;
    struct json_iter it = json_iter(given);
    for (const struct json *m; (m = json_next(&it));) {
        if (!str_eq(m->key, STR("translation")) && !str_eq(m->key, STR("default")))
            return unknown_member(m, "input_type", "input_type_translator");
    }
    if (!json_is_null(translation) && !json_is(translation, JSON_OBJECT))
        err_list_add(list,
                     "field [translation] is not of the expected type. The value [%.*s] cannot be "
                     "converted to a [Map]",
                     STR_ARG(str_sub(json_raw(translation), 0, 200)));
    const struct json *given_preset = json_get(given, "default");
    if (!json_is_null(given_preset) && !json_str(given_preset, &preset))
        err_list_add(list,
                     "field [default] is not of the expected type. The value [%.*s] cannot be "
                     "converted to a [String]",
                     STR_ARG(str_sub(json_raw(given_preset), 0, 200)));
    buf_init(&b, SIZE_MAX);
    json_out_init(&w, &b);
    json_obj(&w);
    put_translation(list, &w, json_is(translation, JSON_OBJECT) ? translation : NULL);
    json_key_str(&w, "default", preset);
    json_end(&w);
    v->set = true;
    replace(ep, v, &b);
    return NULL;
}

/* Fills every template once, as Elasticsearch does, with a call that asks for nothing optional. */
static void try_out(struct endpoint *ep, struct err_list *list)
{
    struct str text = STR("test input");
    struct input in = {.task = ep->task,
                       .texts = &text,
                       .n_texts = 1,
                       .has_query = ep->task == TASK_RERANK,
                       .query = STR("test query"),
                       .values = ep->values};
    struct http_out out = {.arena = arena_new(ARENA_NO_LIMIT)};
    struct err *e = custom_build(ep, &in, &out);
    if (e)
        err_list_add(list, "Failed to validate model configuration: %s", e->reason);
    err_free(e);
    arena_free(out.arena);
}

struct err *custom_check(struct endpoint *ep)
{
    struct err_list list = {0};
    if (url_has_user(ep->values.v[S_URL].s))
        err_list_add(&list, "[service_settings] Invalid url received for field [url]. It must not "
                            "contain user information, as it is shown");
    struct err *alone = check_response(ep, &list);
    if (!alone)
        alone = check_input_type(ep, &list);
    if (!alone && list.n == 0)
        try_out(ep, &list);
    struct err *collected = err_list_end(&list, ERR_VALIDATION);
    if (!alone)
        return collected;
    err_free(collected);
    return alone;
}
