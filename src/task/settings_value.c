/* One setting's value: from JSON to a checked struct value, with Elasticsearch's words for what is
 * wrong with it. Texts and limits: shared facts, inference.md 7.2. */
#include "settings_private.h"

#include <stdio.h>

#include "bug.h"

static const char *const scopes[] = {
    [IN_SERVICE] = "service_settings",
    [IN_SECRET] = "secret_settings",
    [IN_TASK] = "task_settings",
};

const char *setting_scope(const struct setting *row)
{
    return scopes[row->place];
}

void problem_type(struct err_list *list, const char *name, const struct json *v, const char *type)
{
    struct buf text;
    java_text_init(&text);
    java_text(&text, v);
    err_list_add(list,
                 "field [%s] is not of the expected type. The value [%.*s] cannot be converted to "
                 "a [%s]",
                 name, STR_ARG(java_text_end(&text)), type);
    buf_deinit(&text);
}

void problem_missing(struct err_list *list, const char *scope, const char *name)
{
    err_list_add(list, "[%s] does not contain the required setting [%s]", scope, name);
}

void problem_positive(struct err_list *list, const char *scope, const char *name, int64_t given,
                      const char *kind)
{
    err_list_add(list, "[%s] Invalid value [%lld]. [%s] must be a positive %s", scope,
                 (long long)given, name, kind);
}

void problem_below(struct err_list *list, const char *scope, const char *name, double given,
                   double min)
{
    err_list_add(list, "[%s] Invalid value [%s]. [%s] must be a greater than or equal to [%s]",
                 scope, java_number(given).s, name, java_number(min).s);
}

void problem_above(struct err_list *list, const char *scope, const char *name, double given,
                   double max)
{
    err_list_add(list, "[%s] Invalid value [%s]. [%s] must be a less than or equal to [%s]", scope,
                 java_number(given).s, name, java_number(max).s);
}

bool problem_int(struct err_list *list, const char *name, const struct json *v, int64_t *out)
{
    int64_t i;
    if (json_i64(v, &i) && i >= INT32_MIN && i <= INT32_MAX) {
        *out = i;
        return true;
    }
    problem_type(list, name, v, "Integer");
    return false;
}

/* ES echoes the value; of a secret it must not, whatever its type. */
static void wrong_type(struct settings_reader *r, const struct setting *row, const struct json *v,
                       const char *type)
{
    if (row->place != IN_SECRET) {
        problem_type(&r->problems, row->name, v, type);
        return;
    }
    err_list_add(&r->problems,
                 "field [%s] is not of the expected type. The value cannot be converted to a [%s]",
                 row->name, type);
}

static bool string(struct settings_reader *r, const struct setting *row, const struct json *v,
                   struct str *out)
{
    if (!json_str(v, out)) {
        wrong_type(r, row, v, "String");
        return false;
    }
    if (out->n == 0) {
        err_list_add(&r->problems,
                     "[%s] Invalid value empty string. [%s] must be a non-empty string",
                     setting_scope(row), row->name);
        return false;
    }
    return true;
}

static bool read_str(struct settings_reader *r, const struct setting *row, const struct json *v,
                     struct value *out)
{
    struct str s;
    if (!string(r, row, v, &s))
        return false;
    if (row->place == IN_SECRET)
        out->secret = secret_new(s);
    else
        out->s = arena_dup(r->arena, s);
    return true;
}

static bool read_url(struct settings_reader *r, const struct setting *row, const struct json *v,
                     struct value *out)
{
    struct str s;
    if (!string(r, row, v, &s))
        return false;
    const char *why = url_problem(s);
    if (!why && r->why != SETTINGS_STORED && url_has_user(s)) {
        err_list_add(&r->problems,
                     "[%s] Invalid url received for field [%s]. It must not contain user "
                     "information, as it is shown",
                     setting_scope(row), row->name);
        return false;
    }
    if (!why) {
        out->s = arena_dup(r->arena, s);
        return true;
    }
    struct buf text;
    java_text_init(&text);
    java_text(&text, v);
    s = java_text_end(&text);
    err_list_add(&r->problems,
                 "[%s] Invalid url [%.*s] received for field [%s]. Error: unable to parse url "
                 "[%.*s]. Reason: %s",
                 setting_scope(row), STR_ARG(s), row->name, STR_ARG(s), why);
    buf_deinit(&text);
    return false;
}

static bool in_range(struct settings_reader *r, const struct setting *row, double d)
{
    if (row->has_range && d < row->min)
        problem_below(&r->problems, setting_scope(row), row->name, d, row->min);
    else if (row->has_range && d > row->max)
        problem_above(&r->problems, setting_scope(row), row->name, d, row->max);
    else
        return true;
    return false;
}

/* Positive unless the row's own range reaches lower. */
static bool in_int_range(struct settings_reader *r, const struct setting *row, int64_t i)
{
    if (i < 1 && !(row->has_range && row->min < 1)) {
        problem_positive(&r->problems, setting_scope(row), row->name, i,
                         row->type == SETTING_LONG ? "long" : "integer");
        return false;
    }
    return in_range(r, row, (double)i);
}

static bool long_value(struct settings_reader *r, const char *name, const struct json *v,
                       int64_t *out)
{
    if (json_i64(v, out))
        return true;
    struct buf text;
    java_text_init(&text);
    java_text(&text, v);
    err_list_add(&r->problems,
                 "field [%s] is not of one of the expected types. The value [%.*s] cannot be "
                 "converted to one of [Integer, Long]",
                 name, STR_ARG(java_text_end(&text)));
    buf_deinit(&text);
    return false;
}

static bool read_int(struct settings_reader *r, const struct setting *row, const struct json *v,
                     struct value *out)
{
    int64_t i;
    bool ok = row->type == SETTING_LONG ? long_value(r, row->name, v, &i)
                                        : problem_int(&r->problems, row->name, v, &i);
    if (!ok || !in_int_range(r, row, i))
        return false;
    out->i = i;
    return true;
}

/* JSON integers are accepted for doubles, unlike in older ES. */
static bool read_float(struct settings_reader *r, const struct setting *row, const struct json *v,
                       struct value *out)
{
    double d;
    if (!json_f64(v, &d)) { /* 1e999 is no double either */
        wrong_type(r, row, v, "Double");
        return false;
    }
    if (!in_range(r, row, d))
        return false;
    out->d = d;
    return true;
}

static bool read_bool(struct settings_reader *r, const struct setting *row, const struct json *v,
                      struct value *out)
{
    bool b;
    if (!json_bool(v, &b)) {
        wrong_type(r, row, v, "Boolean");
        return false;
    }
    out->b = b;
    return true;
}

#define MAX_CHOICES 32

static void add_sorted(const char **words, size_t *n, const char *word)
{
    BUG_ON(*n == MAX_CHOICES);
    size_t i = (*n)++;
    for (; i > 0 && strcmp(words[i - 1], word) > 0; i--)
        words[i] = words[i - 1];
    words[i] = word;
}

/* ES lists every word it takes, the other spellings among them. */
static void wrong_choice(struct settings_reader *r, const struct setting *row, struct str given)
{
    const char *words[MAX_CHOICES];
    size_t n = 0;
    for (const char *const *c = row->choices; *c; c++)
        add_sorted(words, &n, *c);
    for (const char *const *c = row->synonyms; c && *c; c += 2)
        add_sorted(words, &n, *c);
    struct buf text;
    java_text_init(&text);
    for (size_t i = 0; i < n; i++)
        buf_printf(&text, "%s%s", i > 0 ? ", " : "", words[i]);
    err_list_add(&r->problems, "[%s] Invalid value [%.*s] received. [%s] must be one of [%.*s]",
                 setting_scope(row), STR_ARG(str_sub(given, 0, 200)), row->name, (int)text.n,
                 text.p ? text.p : "");
    buf_deinit(&text);
}

static bool read_enum(struct settings_reader *r, const struct setting *row, const struct json *v,
                      struct value *out)
{
    struct str s;
    if (!string(r, row, v, &s))
        return false;
    struct str word = str_trim(s);
    for (const char *const *c = row->synonyms; c && *c; c += 2) {
        if (str_eq_nocase(word, str_c(c[0])))
            word = str_c(c[1]);
    }
    for (const char *const *c = row->choices; *c; c++) {
        if (str_eq_nocase(word, str_c(*c))) {
            out->s = str_c(*c);
            return true;
        }
    }
    wrong_choice(r, row, s);
    return false;
}

/* Keeps a JSON text that is ours already: as a tree in the arena, or as a secret. */
static bool keep_json(struct settings_reader *r, const struct setting *row, struct str text,
                      struct value *out)
{
    if (row->place == IN_SECRET) {
        out->secret = secret_new(text);
        return true;
    }
    struct err *e = json_parse_copy(r->arena, text, &out->json);
    if (!e)
        return true;
    err_list_add(&r->problems, "field [%s] could not be read: %s", row->name, e->reason);
    err_free(e);
    return false;
}

static bool map_entry(struct settings_reader *r, const struct setting *row, const struct json *m)
{
    if (json_is(m, JSON_STRING))
        return true;
    if (row->place == IN_SECRET) {
        err_list_add(&r->problems,
                     "Map field [%s] has an entry that is not valid. Value type is not one of "
                     "[String].",
                     row->name);
        return false;
    }
    struct buf text;
    java_text_init(&text);
    java_text(&text, m);
    struct str given = java_text_end(&text);
    err_list_add(&r->problems,
                 "Map field [%s] has an entry that is not valid, [%.*s => %.*s]. Value type of "
                 "[%.*s] is not one of [String].",
                 row->name, STR_ARG(str_sub(m->key, 0, 200)), STR_ARG(given), STR_ARG(given));
    buf_deinit(&text);
    return false;
}

/* Members that are null are dropped, as ES does. */
static bool read_str_map(struct settings_reader *r, const struct setting *row, const struct json *v,
                         struct value *out)
{
    if (!json_is(v, JSON_OBJECT)) {
        wrong_type(r, row, v, "Map");
        return false;
    }
    struct buf text;
    struct json_out w;
    bool ok = true;
    buf_init(&text, 6 * json_raw(v).n + 64); /* escaping grows a byte to six at most */
    json_out_init(&w, &text);
    json_obj(&w);
    struct json_iter it = json_iter(v);
    for (const struct json *m; ok && (m = json_next(&it));) {
        if (json_is_null(m))
            continue;
        ok = map_entry(r, row, m);
        if (ok) {
            json_key_s(&w, m->key);
            json_put_str(&w, m->text);
        }
    }
    if (ok) {
        json_end(&w);
        ok = keep_json(r, row, buf_str(&text), out);
    }
    if (row->place == IN_SECRET && text.p)
        secret_wipe(text.p, text.n);
    buf_deinit(&text);
    return ok;
}

static bool read_str_list(struct settings_reader *r, const struct setting *row,
                          const struct json *v, struct value *out)
{
    bool ok = json_is(v, JSON_ARRAY);
    struct json_iter it = json_iter(v);
    for (const struct json *m; ok && (m = json_next(&it));)
        ok = json_is(m, JSON_STRING);
    if (ok)
        return keep_json(r, row, json_raw(v), out);
    wrong_type(r, row, v, "List");
    return false;
}

static const char *class_of(const struct json *v)
{
    int64_t i;
    switch (v->type) {
    case JSON_STRING:
        return "String";
    case JSON_TRUE:
    case JSON_FALSE:
        return "Boolean";
    case JSON_ARRAY:
        return "ArrayList";
    case JSON_OBJECT:
        return "LinkedHashMap";
    case JSON_NUMBER:
        if (!json_i64(v, &i))
            return "Double";
        return i >= INT32_MIN && i <= INT32_MAX ? "Integer" : "Long";
    case JSON_NULL:
        break;
    }
    return "null";
}

static bool pair(struct settings_reader *r, const struct setting *row, const struct json *v,
                 size_t i)
{
    static const char *const places[] = {"first", "second"};
    const char *scope = setting_scope(row);
    if (!json_is(v, JSON_ARRAY)) {
        err_list_add(
            &r->problems,
            "[%s] failed to parse tuple list entry [%zu] for setting [%s], expected a list "
            "but the entry is [%s]",
            scope, i, row->name, class_of(v));
        return false;
    }
    if (v->n != 2) {
        err_list_add(&r->problems,
                     "[%s] failed to parse tuple list entry [%zu] for setting [%s], the tuple list "
                     "size must be two, but was [%u]",
                     scope, i, row->name, (unsigned)v->n);
        return false;
    }
    struct json_iter it = json_iter(v);
    for (size_t at = 0; at < 2; at++) {
        const struct json *m = json_next(&it);
        if (json_is(m, JSON_STRING))
            continue;
        err_list_add(&r->problems,
                     "[%s] failed to parse tuple list entry [%zu] for setting [%s], the %s element "
                     "must be a string but was [%s]",
                     scope, i, row->name, places[at], class_of(m));
        return false;
    }
    return true;
}

static bool read_pair_list(struct settings_reader *r, const struct setting *row,
                           const struct json *v, struct value *out)
{
    if (!json_is(v, JSON_ARRAY)) {
        wrong_type(r, row, v, "List");
        return false;
    }
    struct json_iter it = json_iter(v);
    size_t i = 0;
    for (const struct json *m; (m = json_next(&it)); i++) {
        if (!pair(r, row, m, i))
            return false;
    }
    return keep_json(r, row, json_raw(v), out);
}

static bool read_json(struct settings_reader *r, const struct setting *row, const struct json *v,
                      struct value *out)
{
    if (json_is(v, JSON_OBJECT))
        return keep_json(r, row, json_raw(v), out);
    wrong_type(r, row, v, "Map");
    return false;
}

static bool is_not_rpm(const struct json *member, const void *ctx)
{
    return !str_eq(member->key, STR("requests_per_minute"));
}

static bool read_rate_limit(struct settings_reader *r, const struct setting *row,
                            const struct json *v, struct value *out)
{
    if (!json_is(v, JSON_OBJECT)) {
        wrong_type(r, row, v, "Map");
        return false;
    }
    struct buf text;
    java_text_init(&text);
    size_t unknown = java_members(&text, v, is_not_rpm, NULL);
    if (unknown > 0 && r->why != SETTINGS_STORED && !r->alone)
        r->alone =
            err_status(400, "Configuration contains settings [%.*s] unknown to the [%s] service",
                       STR_ARG(java_text_end(&text)), r->table->service);
    buf_deinit(&text);
    const struct json *rpm = json_get(v, "requests_per_minute");
    int64_t i;
    if (json_is_null(rpm) || !long_value(r, "requests_per_minute", rpm, &i))
        return false;
    if (i < 1) {
        problem_positive(&r->problems, row->name, "requests_per_minute", i, "long");
        return false;
    }
    out->i = i;
    return true;
}

/* A bound of adaptive_allocations. Absent: stays as it was; null: none. */
static bool read_bound(struct settings_reader *r, const struct json *object, const char *name,
                       bool *has, int64_t *bound)
{
    const struct json *v = json_get(object, name);
    if (!v)
        return true;
    if (json_is_null(v)) {
        *has = false;
        return true;
    }
    *has = problem_int(&r->problems, name, v, bound);
    return *has;
}

static const char min_name[] = "min_number_of_allocations";
static const char max_name[] = "max_number_of_allocations";

static bool check_bounds(struct settings_reader *r, const struct adaptive *a)
{
    int before = r->problems.n;
    if (a->has_min && a->min < 0)
        err_list_add(&r->problems, "[%s] must be a non-negative integer or null", min_name);
    if (a->has_max && a->max < 1)
        err_list_add(&r->problems, "[%s] must be a positive integer or null", max_name);
    if (a->has_min && a->has_max && a->min > a->max)
        err_list_add(&r->problems, "[%s] must not be larger than [%s]", min_name, max_name);
    return r->problems.n == before;
}

static bool only_known_adaptive(struct settings_reader *r, const struct setting *row,
                                const struct json *object)
{
    int before = r->problems.n;
    struct json_iter it = json_iter(object);
    for (const struct json *m; (m = json_next(&it));) {
        bool known = str_eq(m->key, STR("enabled")) || str_eq_c(m->key, min_name) ||
                     str_eq_c(m->key, max_name);
        if (!known && r->why != SETTINGS_STORED)
            err_list_add(&r->problems, "[%s] does not allow the setting [%.*s]", row->name,
                         STR_ARG(str_sub(m->key, 0, 200)));
    }
    return r->problems.n == before;
}

/* Merges member by member over what was set before. */
static bool read_adaptive(struct settings_reader *r, const struct setting *row,
                          const struct json *v, struct value *out)
{
    if (!json_is(v, JSON_OBJECT)) {
        wrong_type(r, row, v, "Map");
        return false;
    }
    struct adaptive a = out->set ? out->adaptive : (struct adaptive){0};
    const struct json *enabled = json_get(v, "enabled");
    bool ok = json_is_null(enabled) || json_bool(enabled, &a.enabled);
    if (!ok)
        problem_type(&r->problems, "enabled", enabled, "Boolean");
    ok &= read_bound(r, v, min_name, &a.has_min, &a.min);
    ok &= read_bound(r, v, max_name, &a.has_max, &a.max);
    ok &= only_known_adaptive(r, row, v);
    if (!ok || !check_bounds(r, &a))
        return false;
    out->adaptive = a;
    return true;
}

bool setting_read(struct settings_reader *r, const struct setting *row, const struct json *v,
                  struct value *out)
{
    bool (*read)(struct settings_reader *, const struct setting *, const struct json *,
                 struct value *) = NULL;
    switch (row->type) {
    case SETTING_STR:
        read = read_str;
        break;
    case SETTING_URL:
        read = read_url;
        break;
    case SETTING_INT:
    case SETTING_LONG:
        read = read_int;
        break;
    case SETTING_FLOAT:
        read = read_float;
        break;
    case SETTING_BOOL:
        read = read_bool;
        break;
    case SETTING_ENUM:
        read = read_enum;
        break;
    case SETTING_STR_MAP:
        read = read_str_map;
        break;
    case SETTING_STR_LIST:
        read = read_str_list;
        break;
    case SETTING_PAIR_LIST:
        read = read_pair_list;
        break;
    case SETTING_JSON:
        read = read_json;
        break;
    case SETTING_RATE_LIMIT:
        read = read_rate_limit;
        break;
    case SETTING_ADAPTIVE:
        read = read_adaptive;
        break;
    }
    BUG_ON(!read ||
           (row->place == IN_SECRET && row->type != SETTING_STR && row->type != SETTING_STR_MAP));
    struct value fresh = *out;
    if (!read(r, row, v, &fresh))
        return false;
    if (row->place == IN_SECRET && out->set)
        secret_unref((struct secret *)(uintptr_t)out->secret);
    *out = fresh;
    out->set = true;
    return true;
}
