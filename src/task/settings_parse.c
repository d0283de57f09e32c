/* Bodies by the rows of a table: which members are read, which are missing, which nobody knows. */
#include "settings_private.h"

#include "bug.h"

bool setting_applies(const struct settings_reader *r, const struct setting *row)
{
    if (!(row->tasks & TASK_BIT(r->task)))
        return false;
    return row->type != SETTING_RATE_LIMIT || r->default_rpm > 0;
}

struct err *settings_end(struct settings_reader *r)
{
    struct err *collected = err_list_end(&r->problems, ERR_VALIDATION);
    struct err *alone = r->alone;
    r->alone = NULL;
    if (!alone)
        return collected;
    err_free(collected);
    return alone;
}

static const struct json *row_member(const struct setting *row, const struct json *object)
{
    const struct json *v = json_get(object, row->name);
    if (json_is_null(v) && row->alias)
        v = json_get(object, row->alias);
    if (!row->inner || !json_is(v, JSON_OBJECT) || v->n != 1)
        return v;
    const struct json *inner = json_get(v, row->inner);
    return inner ? inner : v;
}

/* An update keeps what is stored, except that secrets are replaced as a set; a call only overrides;
 * and what an older version stored is taken as it is. */
static bool is_required(const struct settings_reader *r, const struct setting *row)
{
    if (r->why != SETTINGS_NEW && !(r->why == SETTINGS_UPDATE && row->place == IN_SECRET))
        return false;
    return (row->flags & SETTING_REQUIRED) || (row->required_for & TASK_BIT(r->task));
}

/* `unless` names a service setting: in this object, or set before. */
static bool is_lifted(const struct setting *row, const struct json *object,
                      const struct values *values)
{
    if (!row->unless)
        return false;
    const struct value *other = settings_get(values, row->unless);
    return (other && other->set) || !json_is_null(json_get(object, row->unless));
}

static void read_row(struct settings_reader *r, const struct setting *row,
                     const struct json *object, struct values *values, struct value *v)
{
    const struct json *member = row_member(row, object);
    if (json_is_null(member)) {
        /* The whole object goes, as in a deployment's update: a static number again. */
        if (member && r->why == SETTINGS_UPDATE &&
            (row->type == SETTING_ADAPTIVE || (row->flags & SETTING_NULL_UNSETS)))
            *v = (struct value){0};
        if (!v->set && is_required(r, row) && !is_lifted(row, object, values))
            problem_missing(&r->problems, setting_scope(row), row->name);
        return;
    }
    if ((row->flags & SETTING_INTERNAL) && r->why != SETTINGS_STORED) {
        err_list_add(&r->problems, "[%s] does not allow the setting [%s]", setting_scope(row),
                     row->name);
        return;
    }
    if (setting_read(r, row, member, v))
        v->by_user = true;
}

/* Whether any row of the group that `row` is the first of is set or was at least tried. */
static bool group_given(const struct settings_reader *r, size_t first, const struct json *object,
                        const struct values *values)
{
    const struct setting *rows = r->table->rows;
    for (size_t i = first; i < r->table->n; i++) {
        if (!rows[i].one_of || strcmp(rows[i].one_of, rows[first].one_of) != 0)
            continue;
        if (values->v[i].set || !json_is_null(row_member(&rows[i], object)))
            return true;
    }
    return false;
}

static bool group_seen(const struct settings_table *table, size_t i)
{
    for (size_t j = 0; j < i; j++) {
        if (table->rows[j].one_of && strcmp(table->rows[j].one_of, table->rows[i].one_of) == 0)
            return true;
    }
    return false;
}

static void check_groups(struct settings_reader *r, enum setting_place place,
                         const struct json *object, const struct values *values)
{
    for (size_t i = 0; i < r->table->n; i++) {
        const struct setting *row = &r->table->rows[i];
        if (!row->one_of || row->place != place || !setting_applies(r, row) ||
            group_seen(r->table, i))
            continue;
        if (!group_given(r, i, object, values) && !is_lifted(row, object, values))
            err_list_add(&r->problems, "[%s] does not contain one of the required settings [%s]",
                         setting_scope(row), row->one_of);
    }
}

void settings_read(struct settings_reader *r, enum setting_place place, const struct json *object,
                   struct values *values)
{
    for (size_t i = 0; i < r->table->n; i++) {
        const struct setting *row = &r->table->rows[i];
        if (row->place == place && setting_applies(r, row))
            read_row(r, row, object, values, &values->v[i]);
    }
    if (r->why == SETTINGS_NEW || r->why == SETTINGS_UPDATE)
        check_groups(r, place, object, values);
}

void settings_fill(struct settings_reader *r, struct values *values)
{
    for (size_t i = 0; i < r->table->n; i++) {
        const struct setting *row = &r->table->rows[i];
        struct value *v = &values->v[i];
        if (v->set || !setting_applies(r, row))
            continue;
        if (row->type == SETTING_RATE_LIMIT) {
            *v = (struct value){.set = true, .i = r->default_rpm};
        } else if (row->preset) {
            const struct json *preset;
            BUG_ON(json_parse(r->arena, str_c(row->preset), &preset) != NULL);
            BUG_ON(!setting_read(r, row, preset, v));
        }
    }
}

void settings_read_legacy(struct settings_reader *r, const struct json *task_settings,
                          struct values *values)
{
    for (size_t i = 0; i < r->table->n; i++) {
        const struct setting *row = &r->table->rows[i];
        if (!row->legacy || !setting_applies(r, row))
            continue;
        for (const char *const *name = row->legacy; *name && !values->v[i].set; name++) {
            const struct json *v = json_get(task_settings, *name);
            if (!json_is_null(v) && setting_read(r, row, v, &values->v[i]))
                values->v[i].by_user = true;
        }
    }
}

/* --- members that no row explains --- */

struct unknown_ctx {
    const struct settings_reader *r;
    enum setting_place place;
};

static bool has_name(const char *const *names, struct str key)
{
    for (; names && *names; names++) {
        if (str_eq_c(key, *names))
            return true;
    }
    return false;
}

/* A key of service_settings may be a secret's. */
static bool row_explains(const struct unknown_ctx *c, const struct setting *row, struct str key)
{
    if (!setting_applies(c->r, row))
        return false;
    if (c->place == IN_TASK && c->r->why == SETTINGS_NEW && has_name(row->legacy, key))
        return true;
    enum setting_place sent_in = row->place == IN_SECRET ? IN_SERVICE : row->place;
    if (sent_in != c->place)
        return false;
    if (c->r->why == SETTINGS_UPDATE && c->place == IN_SERVICE && !(row->flags & SETTING_UPDATABLE))
        return false;
    return str_eq_c(key, row->name) || (row->alias && str_eq_c(key, row->alias));
}

static bool is_unknown(const struct json *member, const void *ctx)
{
    const struct unknown_ctx *c = ctx;
    for (size_t i = 0; i < c->r->table->n; i++) {
        if (row_explains(c, &c->r->table->rows[i], member->key))
            return false;
    }
    return true;
}

struct err *settings_unknown(const struct settings_reader *r, enum setting_place place,
                             const struct json *object)
{
    struct unknown_ctx c = {r, place};
    struct buf text;
    struct err *e = NULL;
    java_text_init(&text);
    size_t n = java_members(&text, object, is_unknown, &c);
    struct str members = java_text_end(&text);
    if (n > 0 && r->why == SETTINGS_UPDATE && place == IN_SERVICE)
        e = err_status(400,
                       "Request contained fields which cannot be updated, remove these fields and "
                       "try again [%.*s]",
                       STR_ARG(members));
    else if (n > 0)
        e = err_status(400, "Configuration contains settings [%.*s] unknown to the [%s] service",
                       STR_ARG(members), r->table->service);
    buf_deinit(&text);
    return e;
}

/* --- sets of values --- */

struct values values_new(struct arena *arena, const struct settings_table *table)
{
    return (struct values){table, arena_array(arena, table->n, sizeof(struct value))};
}

void values_unref(struct values *values)
{
    for (size_t i = 0; values->v && i < values->table->n; i++) {
        if (values->table->rows[i].place == IN_SECRET && values->v[i].set)
            secret_unref((struct secret *)(uintptr_t)values->v[i].secret);
    }
    values->v = NULL;
}

static const struct json *json_copy(struct arena *arena, const struct json *v)
{
    const struct json *copy;
    BUG_ON(json_parse_copy(arena, json_raw(v), &copy) != NULL);
    return copy;
}

static void value_copy(struct arena *arena, const struct setting *row, struct value *v)
{
    if (row->place == IN_SECRET) {
        v->secret = secret_ref(v->secret);
        return;
    }
    switch (row->type) {
    case SETTING_STR:
    case SETTING_URL:
    case SETTING_ENUM:
        v->s = arena_dup(arena, v->s);
        break;
    case SETTING_STR_MAP:
    case SETTING_STR_LIST:
    case SETTING_PAIR_LIST:
    case SETTING_JSON:
        v->json = json_copy(arena, v->json);
        break;
    case SETTING_INT:
    case SETTING_LONG:
    case SETTING_FLOAT:
    case SETTING_BOOL:
    case SETTING_RATE_LIMIT:
    case SETTING_ADAPTIVE:
        break;
    }
}

struct values values_copy(struct arena *arena, const struct values *from)
{
    struct values copy = values_new(arena, from->table);
    memcpy(copy.v, from->v, from->table->n * sizeof(struct value));
    for (size_t i = 0; i < from->table->n; i++) {
        if (copy.v[i].set)
            value_copy(arena, &from->table->rows[i], &copy.v[i]);
    }
    return copy;
}
