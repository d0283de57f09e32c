/* cat_trained_models: models as a table for people, in the manner of Elasticsearch's _cat: text, or
 * with format=json an array of objects of texts. Source: shared facts, trained_models.md 1. */
#include "clock.h"
#include "ml.h"

enum { WIDEST = 4096, MAX_COLUMNS = 32 };

struct column {
    const char *name, *aliases, *help; /* aliases: a comma list */
    bool shown, right;
    struct str (*cell)(struct arena *, const struct trained_model *);
};

/* --- cells --- */

static struct str id(struct arena *a, const struct trained_model *m)
{
    (void)a;
    return m->model_id;
}

static struct str created_by(struct arena *a, const struct trained_model *m)
{
    (void)a;
    return m->created_by;
}

static struct str heap_size(struct arena *a, const struct trained_model *m)
{
    char text[32];
    bytes_human((uint64_t)m->model_size_bytes, text);
    return arena_dup(a, str_c(text));
}

static struct str create_time(struct arena *a, const struct trained_model *m)
{
    char date[25];
    clock_iso8601(m->create_time_ms, date);
    return arena_dup(a, str_c(date));
}

static struct str description(struct arena *a, const struct trained_model *m)
{
    (void)a;
    return m->description;
}

static struct str zero(struct arena *a, const struct trained_model *m)
{
    (void)a;
    (void)m;
    return STR("0");
}

static struct str zero_time(struct arena *a, const struct trained_model *m)
{
    (void)a;
    (void)m;
    return STR("0s");
}

static struct str license(struct arena *a, const struct trained_model *m)
{
    (void)a;
    (void)m;
    return STR("PLATINUM");
}

static struct str version(struct arena *a, const struct trained_model *m)
{
    (void)a;
    (void)m;
    return STR("12.0.0");
}

static struct str operations(struct arena *a, const struct trained_model *m)
{
    return arena_printf(a, "%lld", m->tree ? (long long)tree_operations(m->tree) : 0);
}

static struct str type(struct arena *a, const struct trained_model *m)
{
    (void)a;
    return str_c(m->model_type);
}

/* No data frame analytics made it. */
static struct str none(struct arena *a, const struct trained_model *m)
{
    (void)a;
    (void)m;
    return STR("__none__");
}

static struct str empty(struct arena *a, const struct trained_model *m)
{
    (void)a;
    (void)m;
    return STR("");
}

static const struct column columns[] = {
    {"id", "", "the trained model id", true, false, id},
    {"created_by", "c,createdBy", "who created the model", false, true, created_by},
    {"heap_size", "hs,modelHeapSize", "the estimated heap size to keep the model in memory", true,
     true, heap_size},
    {"operations", "o,modelOperations", "the estimated number of operations to use the model", true,
     true, operations},
    {"license", "l", "The license level of the model", false, true, license},
    {"create_time", "ct", "The time the model was created", true, true, create_time},
    {"version", "v", "The version of Elasticsearch when the model was created", false, true,
     version},
    {"description", "d", "The model description", false, true, description},
    {"type", "t", "The model type", true, true, type},
    {"ingest.pipelines", "ip,ingestPipelines", "The number of pipelines referencing the model",
     true, true, zero},
    {"ingest.count", "ic,ingestCount", "The total number of docs processed by the model", false,
     true, zero},
    {"ingest.time", "it,ingestTime", "The total time spent processing docs with this model", false,
     true, zero_time},
    {"ingest.current", "icurr,ingestCurrent", "The total documents currently being handled", false,
     true, zero},
    {"ingest.failed", "if,ingestFailed", "The total count of failed ingest attempts", false, true,
     zero},
    {"data_frame.id", "dfid,dataFrameAnalytics",
     "The data frame analytics config id that created the model", true, true, none},
    {"data_frame.create_time", "dft,dataFrameAnalyticsTime",
     "The time the data frame analytics config was created", false, true, empty},
    {"data_frame.source_index", "dfsi,dataFrameAnalyticsSrcIndex",
     "The source index used to train in the data frame analysis", false, true, empty},
    {"data_frame.analysis", "dfa,dataFrameAnalyticsAnalysis",
     "The analysis used by the data frame to build the model", false, true, empty},
};

#define N_COLUMNS (sizeof columns / sizeof columns[0])

/* --- which columns, in which order --- */

struct table {
    const struct column *column[MAX_COLUMNS];
    size_t n_columns, n_rows;
    struct str *cells; /* [n_rows, n_columns] */
    const struct column *sort;
    bool descending, header;
};

static bool in_list(const char *list, struct str name)
{
    struct str rest = str_c(list), part;
    while (str_split(&rest, ',', &part)) {
        if (part.n && str_eq(part, name))
            return true;
    }
    return false;
}

static const struct column *find_column(struct str name)
{
    for (size_t i = 0; i < N_COLUMNS; i++) {
        if (str_eq_c(name, columns[i].name) || in_list(columns[i].aliases, name))
            return &columns[i];
    }
    return NULL;
}

/* What `h` does not know is left out, as Elasticsearch does; "*" is all. */
static void choose_columns(const struct request *r, struct table *t)
{
    struct str list = {0}, part;
    bool given = request_query(r, "h", &list) && list.n;
    for (size_t i = 0; !given && i < N_COLUMNS; i++) {
        if (columns[i].shown)
            t->column[t->n_columns++] = &columns[i];
    }
    while (given && str_split(&list, ',', &part)) {
        part = str_trim(part);
        bool all = str_eq(part, STR("*"));
        const struct column *one = find_column(part);
        for (size_t i = 0; i < N_COLUMNS; i++) {
            if ((all || one == &columns[i]) && t->n_columns < MAX_COLUMNS)
                t->column[t->n_columns++] = &columns[i];
        }
    }
}

/* One column, "name" or "name:desc". */
static struct err *choose_sort(const struct request *r, struct table *t)
{
    struct str s = {0}, name;
    if (!request_query(r, "s", &s) || s.n == 0)
        return NULL;
    str_split(&s, ':', &name);
    t->descending = str_eq(s, STR("desc"));
    t->sort = find_column(str_trim(name));
    if (!t->sort)
        return err_new(ERR_UNSUPPORTED, "Unable to sort by unknown sort key `%.*s`",
                       STR_ARG(str_sub(name, 0, 200)));
    return NULL;
}

/* --- rows --- */

struct sortable {
    struct str key;
    const struct trained_model *model;
    bool descending;
};

static int by_key(const void *a, const void *b)
{
    const struct sortable *x = a, *y = b;
    int64_t i, j;
    int order = str_to_i64(x->key, &i) && str_to_i64(y->key, &j) ? (i > j) - (i < j)
                                                                 : str_cmp(x->key, y->key);
    if (order == 0)
        return str_cmp(x->model->model_id, y->model->model_id);
    return x->descending ? -order : order;
}

static void fill(struct table *t, struct arena *a, const struct ml_list *list)
{
    struct sortable *rows = arena_array(a, list->n_page, sizeof *rows);
    for (size_t i = 0; i < list->n_page; i++) {
        const struct trained_model *m = list->v[list->first + i];
        rows[i] = (struct sortable){t->sort ? t->sort->cell(a, m) : m->model_id, m, t->descending};
    }
    if (list->n_page)
        qsort(rows, list->n_page, sizeof *rows, by_key);
    t->n_rows = list->n_page;
    t->cells = arena_array(a, t->n_rows * t->n_columns, sizeof *t->cells);
    for (size_t i = 0; i < t->n_rows; i++) {
        for (size_t k = 0; k < t->n_columns; k++) /* copied: the models go before the table */
            t->cells[i * t->n_columns + k] = arena_dup(a, t->column[k]->cell(a, rows[i].model));
    }
}

/* --- showing --- */

static size_t characters(struct str s)
{
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++)
        n += ((unsigned char)s.p[i] & 0xc0) != 0x80;
    return n;
}

static size_t width(const struct table *t, size_t k)
{
    size_t w = t->header ? strlen(t->column[k]->name) : 0;
    for (size_t i = 0; i < t->n_rows; i++) {
        size_t n = characters(t->cells[i * t->n_columns + k]);
        w = n > w ? n : w;
    }
    return w < WIDEST ? w : WIDEST;
}

static void pad(struct buf *out, size_t n)
{
    while (n-- > 0)
        buf_char(out, ' ');
}

/* A cell is a line's part: what would end the line is shown as a space. */
static void put_cell(struct buf *out, struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        buf_char(out, (unsigned char)s.p[i] < ' ' ? ' ' : s.p[i]);
}

static void put_line(struct buf *out, const struct table *t, const struct str *cells,
                     const size_t *widths, bool header)
{
    for (size_t k = 0; k < t->n_columns; k++) {
        size_t n = characters(cells[k]), room = widths[k] > n ? widths[k] - n : 0;
        bool right = t->column[k]->right && !header, last = k + 1 == t->n_columns;
        if (right)
            pad(out, room);
        put_cell(out, cells[k]);
        if (!right && !last)
            pad(out, room);
        buf_cstr(out, last ? "\n" : " ");
    }
}

static void put_text(struct buf *out, const struct table *t)
{
    size_t widths[MAX_COLUMNS];
    struct str names[MAX_COLUMNS];
    for (size_t k = 0; k < t->n_columns; k++) {
        widths[k] = width(t, k);
        names[k] = str_c(t->column[k]->name);
    }
    if (t->header)
        put_line(out, t, names, widths, true);
    for (size_t i = 0; i < t->n_rows; i++)
        put_line(out, t, t->cells + i * t->n_columns, widths, false);
}

static void put_json(struct json_out *w, const struct table *t)
{
    json_arr(w);
    for (size_t i = 0; i < t->n_rows; i++) {
        json_obj(w);
        for (size_t k = 0; k < t->n_columns; k++)
            json_key_str(w, t->column[k]->name, t->cells[i * t->n_columns + k]);
        json_end(w);
    }
    json_end(w);
}

static void put_help(struct buf *out)
{
    for (size_t i = 0; i < N_COLUMNS; i++)
        buf_printf(out, "%-24s | %-32s | %s\n", columns[i].name, columns[i].aliases,
                   columns[i].help);
}

/* Text, unless `format` or the first type of Accept that is known says otherwise. */
static bool wants_text(const struct request *r)
{
    struct str value, part;
    if (request_query(r, "format", &value) && value.n)
        return str_eq_nocase(value, STR("text"));
    if (!http_header_get(r->http->headers, STR("accept"), &value))
        return true;
    while (str_split(&value, ',', &part)) {
        struct str kind;
        str_split(&part, ';', &kind);
        kind = str_trim(kind);
        if (str_eq_nocase(kind, STR("text/plain")) || str_eq_nocase(kind, STR("*/*")))
            return true;
        if (str_eq_nocase(kind, STR("application/json")) ||
            str_eq_nocase(kind, STR("application/yaml")) ||
            str_starts(kind, STR("application/vnd.elasticsearch+")))
            return false;
    }
    return true;
}

static struct err *cat(struct ml_call *c)
{
    const struct request *r = c->request;
    struct table t = {0};
    struct ml_list list;
    bool help;
    c->text = wants_text(r);
    TRY(request_query_bool(r, "v", false, &t.header));
    TRY(request_query_bool(r, "help", false, &help));
    if (help) {
        c->text = true;
        put_help(c->out);
        return NULL;
    }
    choose_columns(r, &t);
    TRY(choose_sort(r, &t));
    TRY(ml_list(c, &list));
    fill(&t, c->arena, &list);
    ml_unlist(&list);
    if (c->text)
        put_text(c->out, &t);
    else
        put_json(c->w, &t);
    return NULL;
}

void cat_trained_models(struct request *r)
{
    ml_work(r, cat);
}
