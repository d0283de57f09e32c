/* From a document to rows and back, by the record of its task. */
#include <math.h>

#include "engine.h"
#include "nlp_private.h"
#include "tokenizer.h"

struct err *nlp_rows(const struct nlp_config *c, const struct tokenizer *tokenizer,
                     struct arena *arena, struct str a, struct str b, struct nlp_request *out)
{
    struct windows w;
    TRY(tokenization_encode(&c->tokenization, tokenizer, arena, a, b, &w));
    out->n_rows = w.n;
    out->rows = w.items;
    out->is_truncated = w.is_truncated;
    return NULL;
}

struct err *nlp_encode(const struct nlp_config *c, const struct tokenizer *tokenizer,
                       struct arena *arena, struct str text, struct nlp_request *out)
{
    const struct nlp_head *head = nlp_head(c->task);
    *out = (struct nlp_request){.text = text};
    if (head->encode)
        return head->encode(c, tokenizer, arena, text, out);
    return nlp_rows(c, tokenizer, arena, text, (struct str){NULL, 0}, out);
}

/* What every task needs: rows, of positive length. */
static struct err *check_outputs(const struct nlp_head *head, const struct nlp_request *request,
                                 const struct output *outputs)
{
    for (size_t i = 0; i < request->n_rows; i++) {
        const struct output *o = &outputs[i];
        if (!o->data || o->dim[0] < 1 || o->dim[1] < 1 || o->dim[2] < 1)
            return err_status(409, "[%s] result has no data", head->name);
    }
    return NULL;
}

struct err *nlp_decode(const struct nlp_config *c, const struct tokenizer *tokenizer,
                       const struct nlp_request *request, const struct output *outputs,
                       struct arena *arena, struct nlp_result *out)
{
    const struct nlp_head *head = nlp_head(c->task);
    *out = (struct nlp_result){.is_truncated = request->is_truncated};
    TRY(check_outputs(head, request, outputs));
    return head->decode(c, tokenizer, request, outputs, arena, out);
}

void nlp_render(struct json_out *w, const struct nlp_config *c, const struct nlp_result *r)
{
    struct str field = c->results_field.p ? c->results_field : STR("predicted_value");
    json_obj(w);
    nlp_head(c->task)->render(w, c, field, r);
    if (r->is_truncated)
        json_key_bool(w, "is_truncated", true);
    json_end(w);
}

double *nlp_row(const struct output *o, int64_t i, int64_t j, struct arena *arena)
{
    size_t n = (size_t)o->dim[2];
    const float *from = o->data + (size_t)(i * o->dim[1] + j) * n;
    double *row = arena_array(arena, n, sizeof(*row));
    for (size_t k = 0; k < n; k++)
        row[k] = (double)from[k];
    return row;
}

struct err *nlp_check_row(const struct output *o, size_t expected, const char *what)
{
    if ((size_t)o->dim[2] == expected)
        return NULL;
    return err_status(409, "Expected exactly [%zu] values in %s result; got [%lld]", expected, what,
                      (long long)o->dim[2]);
}

void nlp_softmax(double *v, size_t n)
{
    double max = v[0], sum = 0;
    for (size_t i = 1; i < n; i++)
        max = v[i] > max ? v[i] : max;
    for (size_t i = 0; i < n; i++)
        sum += v[i] = exp(v[i] - max);
    for (size_t i = 0; i < n; i++)
        v[i] /= sum;
}

/* --- the best of many --- */

static bool better(const struct nlp_ranked *a, const struct nlp_ranked *b)
{
    return a->score > b->score || (!(a->score < b->score) && a->order < b->order);
}

void nlp_top_init(struct nlp_top *t, struct arena *arena, int64_t wanted, size_t n)
{
    size_t cap = wanted < 1 ? 1 : wanted > NLP_MAX_TOP ? NLP_MAX_TOP : (size_t)wanted;
    if (cap > n)
        cap = n ? n : 1;
    *t = (struct nlp_top){.cap = cap};
    t->items = arena_array(arena, cap, sizeof(*t->items));
}

/* `item` goes down from the top of a heap of n. */
static void sink(struct nlp_ranked *items, size_t n, struct nlp_ranked item)
{
    size_t i = 0;
    for (size_t k; (k = 2 * i + 1) < n; i = k) {
        if (k + 1 < n && better(&items[k], &items[k + 1]))
            k++;
        if (!better(&item, &items[k]))
            break;
        items[i] = items[k];
    }
    items[i] = item;
}

static void rise(struct nlp_ranked *items, size_t i, struct nlp_ranked item)
{
    while (i > 0 && better(&items[(i - 1) / 2], &item)) {
        items[i] = items[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    items[i] = item;
}

void nlp_top_offer(struct nlp_top *t, double score, size_t row, size_t first, size_t last)
{
    struct nlp_ranked item = {score, t->n_offered++, row, first, last};
    if (t->n < t->cap)
        rise(t->items, t->n++, item);
    else if (better(&item, &t->items[0]))
        sink(t->items, t->n, item);
}

void nlp_top_sort(struct nlp_top *t)
{
    for (size_t n = t->n; n > 1; n--) {
        struct nlp_ranked worst = t->items[0], last = t->items[n - 1];
        sink(t->items, n - 1, last);
        t->items[n - 1] = worst;
    }
}

/* --- places --- */

size_t nlp_units(struct nlp_units *u, size_t byte)
{
    for (; u->byte < byte && u->byte < u->text.n; u->byte++) {
        uint8_t c = (uint8_t)u->text.p[u->byte];
        u->units += ((c & 0xC0) != 0x80) + (c >= 0xF0);
    }
    return u->units;
}

/* --- classes --- */

void nlp_classes(struct arena *arena, const struct str *names, const double *probabilities,
                 size_t n, int64_t wanted, struct nlp_result *out)
{
    struct nlp_top top;
    nlp_top_init(&top, arena, wanted < 0 ? NLP_MAX_TOP : wanted, n);
    for (size_t i = 0; i < n; i++)
        nlp_top_offer(&top, probabilities[i], 0, i, i);
    nlp_top_sort(&top);
    struct nlp_class *classes = arena_array(arena, top.n, sizeof(*classes));
    for (size_t i = 0; i < top.n; i++)
        classes[i] = (struct nlp_class){.name = names[top.items[i].first],
                                        .probability = top.items[i].score};
    out->classes = classes;
    out->n_classes = top.n;
    out->shows_classes = wanted != 0;
    out->predicted = classes[0].name;
    out->probability = classes[0].probability;
}

void nlp_render_classes(struct json_out *w, const struct nlp_result *r)
{
    if (r->shows_classes) {
        json_key(w, "top_classes");
        json_arr(w);
        for (size_t i = 0; i < r->n_classes; i++) {
            json_obj(w);
            json_key_str(w, "class_name", r->classes[i].name);
            json_key_f64(w, "class_probability", r->classes[i].probability);
            json_key_f64(w, "class_score", r->classes[i].probability);
            json_end(w);
        }
        json_end(w);
    }
    json_key_f64(w, "prediction_probability", r->probability);
}
