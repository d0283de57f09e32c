/* Names in a text: a class for each word, from the mean of what its tokens say; words that follow
 * each other in one entity are one. */
#include "engine.h"
#include "map.h"
#include "nlp_private.h"
#include "tokenizer.h"
#include "unicode.h"

static const struct str default_labels[] = {
    STR_INIT("O"),     STR_INIT("B_MISC"), STR_INIT("I_MISC"), STR_INIT("B_PER"), STR_INIT("I_PER"),
    STR_INIT("B_ORG"), STR_INIT("I_ORG"),  STR_INIT("B_LOC"),  STR_INIT("I_LOC"),
};

static bool is_inside(struct str label)
{
    return str_starts(label, STR("I-")) || str_starts(label, STR("I_"));
}

static bool is_begin(struct str label)
{
    return str_starts(label, STR("B-")) || str_starts(label, STR("B_"));
}

#define MAX_PROBLEMS 50 /* of a list of labels that are told */

static struct err *ner_check(struct arena *arena, struct nlp_config *c)
{
    struct err_list errors = {0};
    if (!c->has_classification_labels) {
        c->classification_labels = default_labels;
        c->n_classification_labels = sizeof(default_labels) / sizeof(default_labels[0]);
    }
    struct map *seen = map_new();
    for (size_t i = 0; i < c->n_classification_labels && errors.n < MAX_PROBLEMS; i++) {
        struct str label = c->classification_labels[i], shown = str_sub(label, 0, 200);
        if (map_put(seen, label, c))
            err_list_add(&errors, "the classification label [%.*s] is duplicated in the list",
                         STR_ARG(shown));
        else if (!is_begin(label) && !is_inside(label) && !str_eq_c(label, "O"))
            err_list_add(&errors, "classification label [%.*s] is not an entity I-O-B tag.",
                         STR_ARG(shown));
    }
    map_free(seen);
    return err_list_end(&errors, ERR_VALIDATION);
}

struct word {
    uint32_t begin, end; /* bytes of the text */
    size_t label;
    double probability;
};

struct tagging {
    const struct nlp_config *c;
    struct arena *arena;
    struct word *words;
    size_t n;
    uint32_t last_word; /* of the windows before: words they share count once */
};

/* Tokens k to end of a row, one word. */
static void tag(struct tagging *t, const struct tokens *row, const struct output *o, uint32_t k,
                uint32_t end, double *sum)
{
    size_t n = (size_t)o->dim[2], best = 0;
    memset(sum, 0, n * sizeof(*sum));
    for (uint32_t i = k; i < end; i++) {
        double *p = sum + n; /* room for one more row */
        for (size_t j = 0; j < n; j++)
            p[j] = (double)o->data[i * n + j];
        nlp_softmax(p, n);
        for (size_t j = 0; j < n; j++)
            sum[j] += p[j];
    }
    for (size_t j = 0; j < n; j++)
        best = sum[j] > sum[best] ? j : best;
    t->words[t->n++] =
        (struct word){row->begin[k], row->end[end - 1], best, sum[best] / (double)(end - k)};
}

static struct err *tag_row(struct tagging *t, const struct tokens *row, const struct output *o)
{
    TRY(nlp_check_row(o, t->c->n_classification_labels, "ner"));
    if (o->dim[1] < (int64_t)row->n)
        return err_status(409, "Expected exactly [%u] rows in ner result; got [%lld]", row->n,
                          (long long)o->dim[1]);
    double *sum = arena_array(t->arena, 2 * (size_t)o->dim[2], sizeof(*sum));
    for (uint32_t k = 0, end; k < row->n; k = end) {
        end = k + 1;
        if (row->words[k] == 0)
            continue;
        while (end < row->n && row->words[end] == row->words[k])
            end++;
        if (row->words[k] <= t->last_word)
            continue;
        t->last_word = row->words[k];
        tag(t, row, o, k, end, sum);
    }
    return NULL;
}

/* "PER" of "B_PER"; {NULL, 0} outside of entities. */
static struct str entity_of(const struct nlp_config *c, size_t label)
{
    struct str name = c->classification_labels[label];
    return is_begin(name) || is_inside(name) ? str_sub(name, 2, name.n) : str_n(NULL, 0);
}

static struct str lowered(struct arena *arena, struct str s)
{
    if (!str_utf8_ok(s))
        return s;
    char *p = arena_array(arena, s.n * 3 + 1, 1);
    size_t n = 0;
    for (size_t i = 0; i < s.n;) {
        uint32_t chars[3];
        size_t n_chars = unicode_lower(utf8_next(s, &i), chars);
        for (size_t k = 0; k < n_chars; k++)
            n += utf8_put(p + n, chars[k]);
    }
    return str_n(p, n);
}

/* Labels may be as long as a request: the text with its classes beside its entities has a limit. */
#define MAX_CLASSES_BYTES ((size_t)64 << 20)

struct grouping {
    struct tagging *t;
    struct str text;
    struct nlp_units units;
    struct nlp_entity *entities;
    size_t n;
    struct buf annotated;
    uint32_t copied; /* bytes of the text that are in it */
};

static void annotate(struct grouping *g, struct str entity, struct str class_name, uint32_t begin,
                     uint32_t end)
{
    buf_put(&g->annotated, str_sub(g->text, g->copied, begin - g->copied));
    buf_char(&g->annotated, '[');
    buf_put(&g->annotated, entity);
    buf_cstr(&g->annotated, "](");
    buf_put(&g->annotated, class_name);
    buf_char(&g->annotated, '&');
    for (size_t i = 0; i < entity.n; i++)
        buf_char(&g->annotated, entity.p[i] == ' ' ? '+' : entity.p[i]);
    buf_char(&g->annotated, ')');
    g->copied = end;
}

/* The entity that begins with word i; the first word after it. */
static size_t group(struct grouping *g, size_t i)
{
    const struct nlp_config *c = g->t->c;
    const struct word *words = g->t->words;
    struct str class_name = entity_of(c, words[i].label);
    double sum = words[i].probability;
    size_t end = i + 1;
    while (end < g->t->n && !is_begin(c->classification_labels[words[end].label]) &&
           str_eq(entity_of(c, words[end].label), class_name))
        sum += words[end++].probability;
    uint32_t from = words[i].begin, to = words[end - 1].end;
    if (from < g->copied) /* reordered marks: never back */
        from = g->copied;
    if (to < from)
        to = from;
    struct str text = str_sub(g->text, from, to - from);
    struct nlp_entity *e = &g->entities[g->n++];
    e->text = c->tokenization.do_lower_case ? lowered(g->t->arena, text) : text;
    e->class_name = class_name;
    e->probability = sum / (double)(end - i);
    e->start = nlp_units(&g->units, from);
    e->end = nlp_units(&g->units, to);
    annotate(g, text, class_name, from, to);
    return end;
}

static struct err *group_all(struct tagging *t, struct str text, struct nlp_result *out)
{
    struct grouping g = {.t = t, .text = text, .units = {.text = text}};
    g.entities = arena_array(t->arena, t->n, sizeof(*g.entities));
    buf_init(&g.annotated, text.n * 3 + MAX_CLASSES_BYTES);
    for (size_t i = 0; i < t->n;) {
        if (entity_of(t->c, t->words[i].label).p)
            i = group(&g, i);
        else
            i++;
    }
    buf_put(&g.annotated, str_sub(text, g.copied, text.n));
    struct err *err = g.annotated.full ? err_status(409, "[ner] result is too large") : NULL;
    out->predicted = arena_dup(t->arena, buf_str(&g.annotated));
    buf_deinit(&g.annotated);
    out->entities = g.entities;
    out->n_entities = g.n;
    return err;
}

static struct err *ner_decode(const struct nlp_config *c, const struct tokenizer *tokenizer,
                              const struct nlp_request *request, const struct output *outputs,
                              struct arena *arena, struct nlp_result *out)
{
    struct tagging t = {.c = c, .arena = arena};
    size_t n = 0;
    for (size_t i = 0; i < request->n_rows; i++)
        n += request->rows[i].n;
    t.words = arena_array(arena, n, sizeof(*t.words));
    for (size_t i = 0; i < request->n_rows; i++)
        TRY(tag_row(&t, &request->rows[i], &outputs[i]));
    return group_all(&t, request->text, out);
}

static void ner_render(struct json_out *w, const struct nlp_config *c, struct str field,
                       const struct nlp_result *r)
{
    json_key_s(w, field);
    json_put_str(w, r->predicted);
    json_key(w, "entities");
    json_arr(w);
    for (size_t i = 0; i < r->n_entities; i++) {
        const struct nlp_entity *e = &r->entities[i];
        json_obj(w);
        json_key_str(w, "entity", e->text);
        json_key_str(w, "class_name", e->class_name);
        json_key_f64(w, "class_probability", e->probability);
        json_key_i64(w, "start_pos", (int64_t)e->start);
        json_key_i64(w, "end_pos", (int64_t)e->end);
        json_end(w);
    }
    json_end(w);
}

const struct nlp_head nlp_ner = {
    .task = NLP_NER,
    .name = "ner",
    .members = NLP_COMMON | NLP_CLASSIFICATION_LABELS,
    .updates = NLP_ALWAYS,
    .check = ner_check,
    .decode = ner_decode,
    .render = ner_render,
};
