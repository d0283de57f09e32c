/* Preprocessors: what turns texts of a document into the numbers that trees compare. */
#include <math.h>
#include <stdlib.h>

#include "tree_private.h"

/* --- reading --- */

struct wanted {
    struct str field, feature_name;
    const struct json *map;
    const struct json *otherwise;
    bool custom; /* said by those who made it by hand; changes nothing */
};

#define AT(member_) offsetof(struct wanted, member_)

static const struct body_field one_hot_fields[] = {
    {"field", BODY_STR, true, body_str, AT(field)},
    {"hot_map", BODY_OBJECT, true, tree_keep, AT(map)},
    {"custom", BODY_BOOL, false, body_bool, AT(custom)},
};
static const struct body_field target_mean_fields[] = {
    {"field", BODY_STR, true, body_str, AT(field)},
    {"feature_name", BODY_STR, true, body_str, AT(feature_name)},
    {"target_map", BODY_OBJECT, true, tree_keep, AT(map)},
    {"default_value", BODY_NUM, true, tree_keep, AT(otherwise)},
    {"custom", BODY_BOOL, false, body_bool, AT(custom)},
};
static const struct body_field frequency_fields[] = {
    {"field", BODY_STR, true, body_str, AT(field)},
    {"feature_name", BODY_STR, true, body_str, AT(feature_name)},
    {"frequency_map", BODY_OBJECT, true, tree_keep, AT(map)},
    {"custom", BODY_BOOL, false, body_bool, AT(custom)},
};
static const struct body_parser parsers[] = {
    [ONE_HOT] = {"one_hot_encoding", one_hot_fields, 3},
    [TARGET_MEAN] = {"target_mean_encoding", target_mean_fields, 5},
    [FREQUENCY] = {"frequency_encoding", frequency_fields, 4},
};
#define N_KINDS (sizeof parsers / sizeof parsers[0])

static int by_value(const void *a, const void *b)
{
    const struct tree_entry *x = a, *y = b;
    return str_cmp(x->value, y->value);
}

static struct err *read_entries(struct tree_reader *r, const struct json *map,
                                struct tree_preprocessor *p)
{
    struct tree_entry *entries = arena_array(r->arena, map->n, sizeof *entries);
    struct json_iter it = json_iter(map);
    for (const struct json *v; (v = json_next(&it));) {
        struct tree_entry *e = &entries[p->n_entries++];
        struct str column;
        e->value = arena_dup(r->arena, v->key);
        if (p->kind == ONE_HOT) {
            if (!json_str(v, &column))
                return err_new(ERR_ARGUMENT,
                               "[hot_map] must hold names of features; [%.*s] is "
                               "none",
                               STR_ARG(str_sub(json_raw(v), 0, 200)));
            TRY(tree_slot(r, column, &e->slot));
        } else if (!json_f64(v, &e->number)) {
            return err_new(ERR_ARGUMENT, "a map of an encoding must hold numbers; [%.*s] is none",
                           STR_ARG(str_sub(json_raw(v), 0, 200)));
        }
    }
    if (p->n_entries)
        qsort(entries, p->n_entries, sizeof *entries, by_value);
    p->entries = entries;
    return NULL;
}

static struct err *read_one(struct tree_reader *r, enum tree_encoding kind, const struct json *v,
                            struct tree_preprocessor *p)
{
    struct wanted w = {0};
    TRY(body_parse(r->body, &parsers[kind], v, &w));
    *p = (struct tree_preprocessor){.kind = kind};
    if (w.otherwise && !json_f64(w.otherwise, &p->otherwise))
        return err_new(ERR_ARGUMENT, "[default_value] [%.*s] is out of range",
                       STR_ARG(str_sub(json_raw(w.otherwise), 0, 200)));
    TRY(tree_slot(r, w.field, &p->field));
    if (kind != ONE_HOT)
        TRY(tree_slot(r, w.feature_name, &p->feature));
    return read_entries(r, w.map, p);
}

/* Those in a multi run one after the other, as those of the list do. */
struct growing {
    struct tree_preprocessor *v;
    size_t n, cap;
};

static struct err *read_list(struct tree_reader *r, const struct json *list, int depth,
                             struct growing *out);

static struct err *read_named(struct tree_reader *r, const struct json *v, int depth,
                              struct growing *out)
{
    const struct json *member, *processors = NULL;
    TRY(body_named(r->body, "preprocessors", v, &member));
    if (str_eq(member->key, STR("multi"))) {
        static const struct body_field fields[] = {{"processors", BODY_ARRAY, true, tree_keep, 0}};
        TRY(body_parse(r->body, &(struct body_parser){"multi", fields, 1, true}, member,
                       &processors));
        return read_list(r, processors, depth + 1, out);
    }
    for (size_t kind = 0; kind < N_KINDS; kind++) {
        if (!str_eq_c(member->key, parsers[kind].name))
            continue;
        if (out->n == out->cap) {
            out->cap = out->cap ? 2 * out->cap : 8;
            struct tree_preprocessor *grown = arena_array(r->body->arena, out->cap, sizeof *grown);
            if (out->n)
                memcpy(grown, out->v, out->n * sizeof *grown);
            out->v = grown;
        }
        return read_one(r, (enum tree_encoding)kind, member, &out->v[out->n++]);
    }
    return body_unknown_name(r->body, member);
}

static struct err *read_list(struct tree_reader *r, const struct json *list, int depth,
                             struct growing *out)
{
    if (depth > TREE_MAX_NESTING)
        return err_new(ERR_ARGUMENT, "[multi] may be nested [%d] deep", TREE_MAX_NESTING);
    struct json_iter it = json_iter(list);
    for (const struct json *v; (v = json_next(&it));)
        TRY(read_named(r, v, depth, out));
    return NULL;
}

struct err *tree_read_preprocessors(struct tree_reader *r, const struct json *list,
                                    struct tree_model *m)
{
    struct growing all = {0};
    if (json_is_null(list))
        return NULL;
    TRY(read_list(r, list, 0, &all));
    struct tree_preprocessor *v = arena_array(r->arena, all.n, sizeof *v);
    if (all.n)
        memcpy(v, all.v, all.n * sizeof *v);
    m->preprocessors = v;
    m->n_preprocessors = (uint32_t)all.n;
    return NULL;
}

/* --- running --- */

static const struct tree_entry *find(const struct tree_preprocessor *p, struct str value)
{
    struct tree_entry key = {.value = value};
    if (!p->n_entries)
        return NULL;
    return bsearch(&key, p->entries, p->n_entries, sizeof key, by_value);
}

static void set(struct tree_value *v, double number)
{
    *v = (struct tree_value){.has = true, .number = number};
    if (number == 0 || number == 1) /* a column may be the field of another encoding */
        v->text = number == 0 ? STR("0") : STR("1");
}

/* A field that is not there leaves its features missing, which trees know how to take. */
void tree_preprocess(const struct tree_preprocessor *p, struct tree_value *values)
{
    if (!values[p->field].has)
        return;
    const struct tree_entry *hit = find(p, values[p->field].text);
    if (p->kind != ONE_HOT) {
        set(&values[p->feature], hit ? hit->number : p->otherwise);
        return;
    }
    uint32_t slot = hit ? hit->slot : UINT32_MAX;
    for (uint32_t i = 0; i < p->n_entries; i++)
        set(&values[p->entries[i].slot], p->entries[i].slot == slot ? 1 : 0);
}
