#include "query.h"

#include <stdlib.h>

#include "privilege.h"

#define MAX_WINDOW    10000
#define MAX_ROW_BYTES ((size_t)16 << 20)
#define MAX_NESTING   20

void query_init(struct query *q, struct arena *arena, const char *list, const char *id,
                const char *const *fields)
{
    *q = (struct query){.arena = arena, .list = list, .id = id, .fields = fields, .size = 10};
    buf_init(&q->text, MAX_ROW_BYTES);
}

void query_deinit(struct query *q)
{
    buf_deinit(&q->text);
}

/* --- fields --- */

static struct err *check_field(const struct query *q, struct str field)
{
    struct str rest = field, head = {0};
    str_split(&rest, '.', &head);
    for (const char *const *f = q->fields; *f; f++)
        if (str_eq_c(head, *f) && (!rest.p || str_eq(head, STR("metadata"))))
            return NULL;
    return err_new(ERR_ARGUMENT, "Field [%.*s] is not allowed for querying or aggregation",
                   STR_ARG(field));
}

static const struct json *value_of(const struct json *row, struct str field)
{
    if (str_eq(field, STR("realm_name")))
        field = STR("realm");
    for (struct str part; row && str_split(&field, '.', &part);)
        row = json_get_str(row, part);
    return row;
}

/* Numbers by value, everything else by its text. */
static int compare(const struct json *a, const struct json *b)
{
    double x, y;
    struct str s = json_raw(a), t = json_raw(b);
    if (json_f64(a, &x) && json_f64(b, &y))
        return (x > y) - (x < y);
    json_str(a, &s);
    json_str(b, &t);
    return str_cmp(s, t);
}

static bool is_array(const struct json *v)
{
    return json_is(v, JSON_ARRAY);
}

/* Text against text, and a scalar's text against a text that asks for it ("true", "12"). */
static bool equal(const struct json *have, const struct json *want)
{
    return have && want && compare(have, want) == 0;
}

static bool any_equal(const struct json *have, const struct json *want)
{
    if (!is_array(have))
        return equal(have, want);
    struct json_iter it = json_iter(have);
    for (const struct json *v; (v = json_next(&it));)
        if (equal(v, want))
            return true;
    return false;
}

/* --- one query against one row; what is wrong with it is found by a dry run with no row --- */

struct asking {
    const struct query *q;
    const struct json *row; /* NULL: only check the form */
    int depth;
};

static struct err *matches(struct asking *a, const struct json *query, bool *out);

/* {"field": X} with one member. */
static struct err *one_field(struct asking *a, const char *kind, const struct json *v,
                             const struct json **value_out, const struct json **have_out)
{
    struct json_iter it = json_iter(v);
    const struct json *m = json_is(v, JSON_OBJECT) ? json_next(&it) : NULL;
    if (!m)
        return err_new(ERR_ARGUMENT, "[%s] query malformed, no field specified", kind);
    TRY(check_field(a->q, m->key));
    *value_out = m;
    *have_out = value_of(a->row, m->key);
    return NULL;
}

static struct err *ask_term(struct asking *a, const char *kind, const char *member,
                            const struct json *v, bool *out)
{
    const struct json *want = NULL, *have = NULL;
    TRY(one_field(a, kind, v, &want, &have));
    if (json_is(want, JSON_OBJECT))
        want = json_get(want, member);
    *out = any_equal(have, want);
    return NULL;
}

static struct err *ask_terms(struct asking *a, const struct json *v, bool *out)
{
    const struct json *want = NULL, *have = NULL;
    TRY(one_field(a, "terms", v, &want, &have));
    if (!is_array(want))
        return err_new(ERR_PARSE, "[terms] query requires an array of values");
    struct json_iter it = json_iter(want);
    for (const struct json *w; (w = json_next(&it));)
        *out = *out || any_equal(have, w);
    return NULL;
}

static bool text_matches(const struct json *have, struct str pattern)
{
    struct str text = json_raw(have);
    if (!have)
        return false;
    if (is_array(have)) {
        struct json_iter it = json_iter(have);
        for (const struct json *v; (v = json_next(&it));)
            if (text_matches(v, pattern))
                return true;
        return false;
    }
    json_str(have, &text);
    return pattern_match(pattern, text);
}

static struct err *ask_pattern(struct asking *a, const char *kind, const struct json *v,
                               const char *suffix, bool *out)
{
    const struct json *want = NULL, *have = NULL;
    struct str text;
    TRY(one_field(a, kind, v, &want, &have));
    if (json_is(want, JSON_OBJECT))
        want = json_get(want, "value") ? json_get(want, "value") : json_get(want, kind);
    if (!json_str(want, &text))
        return err_new(ERR_PARSE, "[%s] query requires a string", kind);
    *out = text_matches(have, arena_printf(a->q->arena, "%.*s%s", STR_ARG(text), suffix));
    return NULL;
}

static struct err *ask_range(struct asking *a, const struct json *v, bool *out)
{
    const struct json *want = NULL, *have = NULL;
    TRY(one_field(a, "range", v, &want, &have));
    *out = have != NULL;
    struct json_iter it = json_iter(want);
    for (const struct json *m; (m = json_next(&it));) {
        int order = have ? compare(have, m) : 0;
        if (str_eq(m->key, STR("gt")))
            *out = *out && order > 0;
        else if (str_eq(m->key, STR("gte")))
            *out = *out && order >= 0;
        else if (str_eq(m->key, STR("lt")))
            *out = *out && order < 0;
        else if (str_eq(m->key, STR("lte")))
            *out = *out && order <= 0;
        else if (!str_eq(m->key, STR("format")) && !str_eq(m->key, STR("boost")))
            return err_new(ERR_PARSE, "[range] query does not support [%.*s]", STR_ARG(m->key));
    }
    return NULL;
}

static struct err *ask_ids(struct asking *a, const struct json *v, bool *out)
{
    const struct json *values = json_get(v, "values"), *id = json_get(a->row, a->q->id);
    struct json_iter it = json_iter(values);
    if (!is_array(values))
        return err_new(ERR_PARSE, "[ids] requires providing an array of [values]");
    for (const struct json *w; (w = json_next(&it));)
        *out = *out || equal(id, w);
    return NULL;
}

static struct err *ask_exists(struct asking *a, const struct json *v, bool *out)
{
    struct str field;
    if (!json_str(json_get(v, "field"), &field))
        return err_new(ERR_PARSE, "[exists] must be provided with a [field]");
    TRY(check_field(a->q, field));
    *out = !json_is_null(value_of(a->row, field));
    return NULL;
}

/* Words, each of which must be (the beginning of, with a star) some field. */
static struct err *ask_simple(struct asking *a, const struct json *v, bool *out)
{
    struct str text, word;
    if (!json_str(json_get(v, "query"), &text))
        return err_new(ERR_PARSE, "[simple_query_string] query text missing");
    *out = true;
    while (str_split(&text, ' ', &word)) {
        bool found = word.n == 0;
        for (const char *const *f = a->q->fields; !found && *f; f++)
            found = text_matches(value_of(a->row, str_c(*f)), word);
        *out = *out && found;
    }
    return NULL;
}

/* An array of queries, or one; how many there are and how many match. */
static struct err *count(struct asking *a, const struct json *v, size_t *n, size_t *n_true)
{
    *n = *n_true = 0;
    if (!v)
        return NULL;
    struct json_iter it = json_iter(is_array(v) ? v : NULL);
    const struct json *query = is_array(v) ? json_next(&it) : v;
    for (; query; query = is_array(v) ? json_next(&it) : NULL) {
        bool yes = false;
        TRY(matches(a, query, &yes));
        ++*n;
        *n_true += yes;
    }
    return NULL;
}

static struct err *ask_bool(struct asking *a, const struct json *v, bool *out)
{
    size_t must, must_true, filter, filter_true, should, should_true, not, not_true;
    TRY(count(a, json_get(v, "must"), &must, &must_true));
    TRY(count(a, json_get(v, "filter"), &filter, &filter_true));
    TRY(count(a, json_get(v, "should"), &should, &should_true));
    TRY(count(a, json_get(v, "must_not"), &not, &not_true));
    int64_t least = should && !must && !filter ? 1 : 0;
    json_i64(json_get(v, "minimum_should_match"), &least);
    *out = must == must_true && filter == filter_true && !not_true && (int64_t)should_true >= least;
    return NULL;
}

static struct err *matches(struct asking *a, const struct json *query, bool *out)
{
    struct json_iter it = json_iter(query);
    const struct json *v = json_is(query, JSON_OBJECT) ? json_next(&it) : NULL;
    struct err *e = NULL;
    *out = false;
    if (!v)
        return err_new(ERR_ARGUMENT, "query malformed, empty clause found");
    if (++a->depth > MAX_NESTING)
        return err_new(ERR_ARGUMENT, "the query is nested deeper than [%d]", MAX_NESTING);
    if (str_eq(v->key, STR("match_all")))
        *out = true;
    else if (str_eq(v->key, STR("term")))
        e = ask_term(a, "term", "value", v, out);
    else if (str_eq(v->key, STR("match")))
        e = ask_term(a, "match", "query", v, out);
    else if (str_eq(v->key, STR("terms")))
        e = ask_terms(a, v, out);
    else if (str_eq(v->key, STR("prefix")))
        e = ask_pattern(a, "prefix", v, "*", out);
    else if (str_eq(v->key, STR("wildcard")))
        e = ask_pattern(a, "wildcard", v, "", out);
    else if (str_eq(v->key, STR("range")))
        e = ask_range(a, v, out);
    else if (str_eq(v->key, STR("ids")))
        e = ask_ids(a, v, out);
    else if (str_eq(v->key, STR("exists")))
        e = ask_exists(a, v, out);
    else if (str_eq(v->key, STR("simple_query_string")))
        e = ask_simple(a, v, out);
    else if (str_eq(v->key, STR("bool")))
        e = ask_bool(a, v, out);
    else if (!str_eq(v->key, STR("match_none")))
        e = err_new(ERR_ARGUMENT, "Query type [%.*s] is not supported for this query",
                    STR_ARG(v->key));
    a->depth--;
    return e;
}

/* --- the request --- */

static struct err *add_sort(struct query *q, struct str field, const struct json *order)
{
    struct str text = STR("asc");
    if (q->n_sorts == QUERY_MAX_SORTS)
        return err_new(ERR_ARGUMENT, "more than [%d] fields to sort by", QUERY_MAX_SORTS);
    TRY(check_field(q, field));
    json_str(json_is(order, JSON_OBJECT) ? json_get(order, "order") : order, &text);
    if (!str_eq(text, STR("asc")) && !str_eq(text, STR("desc")))
        return err_new(ERR_ARGUMENT, "Illegal sort order [%.*s]", STR_ARG(text));
    q->sorts[q->n_sorts++] =
        (struct query_sort){.field = field, .descending = str_eq(text, STR("desc"))};
    return NULL;
}

static struct err *read_sort(struct query *q, const struct json *v)
{
    struct str field;
    if (json_is_null(v))
        return NULL;
    if (json_str(v, &field))
        return add_sort(q, field, NULL);
    struct json_iter it = json_iter(v);
    for (const struct json *m; (m = json_next(&it));) {
        if (json_is(v, JSON_OBJECT))
            TRY(add_sort(q, m->key, m));
        else
            TRY(read_sort(q, m));
    }
    return NULL;
}

static struct err *read_count(const struct json *body, const char *name, int64_t *out)
{
    const struct json *v = json_get(body, name);
    if (json_is_null(v) || (json_i64(v, out) && *out >= 0))
        return NULL;
    return err_new(ERR_ARGUMENT, "[%s] parameter cannot be negative but was [%.*s]", name,
                   STR_ARG(json_raw(v)));
}

static struct err *read_members(struct query *q, const struct json *body)
{
    static const char *const known[] = {"query", "from", "size", "sort", "search_after", NULL};
    struct json_iter it = json_iter(body);
    for (const struct json *m; (m = json_next(&it));) {
        bool found = false;
        for (const char *const *k = known; *k; k++)
            found = found || str_eq_c(m->key, *k);
        if (!found)
            return err_new(ERR_X_CONTENT, "[query_request] unknown field [%.*s]", STR_ARG(m->key));
    }
    TRY(read_count(body, "from", &q->from));
    TRY(read_count(body, "size", &q->size));
    TRY(read_sort(q, json_get(body, "sort")));
    q->query = json_get(body, "query");
    q->after = json_get(body, "search_after");
    return NULL;
}

struct err *query_read(struct query *q, const struct json *body)
{
    TRY(read_members(q, body));
    if (q->from > MAX_WINDOW || q->size > MAX_WINDOW || q->from + q->size > MAX_WINDOW)
        return err_new(ERR_ARGUMENT,
                       "Result window is too large, from + size must be less than or equal to: "
                       "[%d] but was [%lld]",
                       MAX_WINDOW, (long long)q->from + (long long)q->size);
    if (!json_is_null(q->after) && (!is_array(q->after) || q->after->n != q->n_sorts))
        return err_new(ERR_ARGUMENT, "search_after must have as many values as there are in sort");
    bool ignored;
    struct asking dry = {.q = q};
    return q->query ? matches(&dry, q->query, &ignored) : NULL;
}

/* --- rows --- */

struct json_out *query_row(struct query *q)
{
    buf_clear(&q->text);
    json_out_init(&q->w, &q->text);
    return &q->w;
}

struct err *query_row_end(struct query *q)
{
    const struct json *row;
    bool yes = true;
    TRY(json_parse_copy(q->arena, buf_str(&q->text), &row));
    struct asking a = {.q = q, .row = row};
    if (q->query)
        TRY(matches(&a, q->query, &yes));
    if (!yes)
        return NULL;
    if (q->n == q->room) {
        size_t room = q->room ? 2 * q->room : 64;
        const struct json **rows = arena_array(q->arena, room, sizeof *rows);
        if (q->n)
            memcpy(rows, q->rows, q->n * sizeof *rows);
        q->rows = rows;
        q->room = room;
    }
    q->rows[q->n++] = row;
    return NULL;
}

/* Rows without the field come last. */
static int compare_rows(const struct json *a, const struct json *b, const struct query *q)
{
    for (size_t i = 0; i < q->n_sorts; i++) {
        const struct json *x = value_of(a, q->sorts[i].field);
        const struct json *y = value_of(b, q->sorts[i].field);
        if (!x || !y) {
            if (x || y)
                return x ? -1 : 1;
            continue;
        }
        int order = compare(x, y);
        if (order)
            return q->sorts[i].descending ? -order : order;
    }
    return 0;
}

static int by_sorts(const void *a, const void *b, void *q)
{
    const struct json *x = *(const struct json *const *)a, *y = *(const struct json *const *)b;
    int order = compare_rows(x, y, q);
    return order ? order : (x > y) - (x < y); /* as they came */
}

static bool is_after(const struct query *q, const struct json *row)
{
    struct json_iter it = json_iter(q->after);
    for (size_t i = 0; i < q->n_sorts; i++) {
        const struct json *mark = json_next(&it), *v = value_of(row, q->sorts[i].field);
        int order = v && mark ? compare(v, mark) : 1;
        if (order)
            return q->sorts[i].descending ? order < 0 : order > 0;
    }
    return false;
}

static void put_row(const struct query *q, const struct json *row, struct json_out *w)
{
    if (!q->n_sorts) {
        json_put_node(w, row);
        return;
    }
    json_obj(w);
    struct json_iter it = json_iter(row);
    for (const struct json *m; (m = json_next(&it));) {
        json_key_s(w, m->key);
        json_put_node(w, m);
    }
    json_key(w, "_sort");
    json_arr(w);
    for (size_t i = 0; i < q->n_sorts; i++) {
        const struct json *v = value_of(row, q->sorts[i].field);
        if (v)
            json_put_node(w, v);
        else
            json_put_null(w);
    }
    json_end(w);
    json_end(w);
}

void query_render(struct query *q, struct json_out *w)
{
    if (q->n_sorts && q->n)
        qsort_r(q->rows, q->n, sizeof *q->rows, by_sorts, q);
    size_t first = (size_t)q->from;
    while (!json_is_null(q->after) && first < q->n && !is_after(q, q->rows[first]))
        first++;
    size_t end = first + (size_t)q->size < q->n ? first + (size_t)q->size : q->n;
    json_obj(w);
    json_key_i64(w, "total", (int64_t)q->n);
    json_key_i64(w, "count", end > first ? (int64_t)(end - first) : 0);
    json_key(w, q->list);
    json_arr(w);
    for (size_t i = first; i < end; i++)
        put_row(q, q->rows[i], w);
    json_end(w);
    json_end(w);
}
