/* An answer is a part of the document: of all pairs of a first and a last token the one whose
 * probabilities multiply to the most, over all windows. */
#include "engine.h"
#include "nlp_private.h"
#include "tokenizer.h"

#define OUTSIDE (-10000.0) /* the logit of what cannot be in an answer */

static struct err *question_answering_encode(const struct nlp_config *c,
                                             const struct tokenizer *tokenizer, struct arena *arena,
                                             struct str text, struct nlp_request *out)
{
    if (!c->question.p)
        return err_status(400, "please provide configuration update for question_answering task "
                               "including the desired [question]");
    if (!str_trim(c->question).n)
        return err_status(400, "Question is required for question answering");
    return nlp_rows(c, tokenizer, arena, c->question, text.p ? text : STR(""), out);
}

/* Tokens first .. last of a row are of the document. */
struct context {
    size_t first, last; /* last < first: none of it fits */
};

static struct context context_of(const struct tokens *row)
{
    struct context c = {row->b_first, 0};
    for (size_t k = row->b_first; k < row->n && row->words[k]; k++)
        c.last = k;
    return c;
}

/* The first token stands for "no answer": it has its share, and is none. */
static double *probabilities(const struct output *o, int64_t which, size_t n, struct context c,
                             struct arena *arena)
{
    double *p = nlp_row(o, which, 0, arena);
    for (size_t k = 1; k < n; k++) {
        if (k < c.first || k > c.last)
            p[k] = OUTSIDE;
    }
    nlp_softmax(p, n);
    return p;
}

static struct err *offer_row(const struct nlp_config *c, const struct tokens *row,
                             const struct output *o, size_t i, struct arena *arena,
                             struct nlp_top *top)
{
    if (o->dim[0] != 2 || o->dim[1] != 1 || o->dim[2] < (int64_t)row->n)
        return err_status(409,
                          "question_answering result must be two rows of [%u] values; got [%lld, "
                          "%lld, %lld]",
                          row->n, (long long)o->dim[0], (long long)o->dim[1], (long long)o->dim[2]);
    struct context at = context_of(row);
    double *start = probabilities(o, 0, (size_t)row->n, at, arena);
    double *end = probabilities(o, 1, (size_t)row->n, at, arena);
    double likeliest = 0;
    for (size_t k = at.first; k <= at.last; k++)
        likeliest = end[k] > likeliest ? end[k] : likeliest;
    for (size_t k = at.first; k <= at.last; k++) {
        /* Long contexts with long answers have more pairs than can be looked at. */
        if (top->n == top->cap && start[k] * likeliest <= top->items[0].score)
            continue;
        for (size_t m = k; m <= at.last && (int64_t)(m - k) < c->max_answer_length; m++)
            nlp_top_offer(top, start[k] * end[m], i, k, m);
    }
    return NULL;
}

/* Words are whole, also where an answer begins or ends within one. */
static struct nlp_class answer(const struct nlp_request *request, const struct nlp_ranked *best)
{
    const struct tokens *row = &request->rows[best->row];
    size_t first = best->first, last = best->last;
    while (first > row->b_first && row->words[first - 1] == row->words[first])
        first--;
    while (last + 1 < row->n && row->words[last + 1] == row->words[last])
        last++;
    struct nlp_units units = {.text = request->text};
    uint32_t begin = row->begin[first], end = row->end[last];
    struct nlp_class c = {.probability = best->score};
    c.name = str_sub(request->text, begin, end > begin ? end - begin : 0);
    c.start = nlp_units(&units, begin);
    c.end = nlp_units(&units, end);
    return c;
}

static struct err *question_answering_decode(const struct nlp_config *c,
                                             const struct tokenizer *tokenizer,
                                             const struct nlp_request *request,
                                             const struct output *outputs, struct arena *arena,
                                             struct nlp_result *out)
{
    struct nlp_top top;
    nlp_top_init(&top, arena, c->num_top_classes, SIZE_MAX);
    for (size_t i = 0; i < request->n_rows; i++)
        TRY(offer_row(c, &request->rows[i], &outputs[i], i, arena, &top));
    nlp_top_sort(&top);
    struct nlp_class *classes = arena_array(arena, top.n + 1, sizeof(*classes));
    classes[0].name = STR(""); /* an empty document has no answer */
    for (size_t i = 0; i < top.n; i++)
        classes[i] = answer(request, &top.items[i]);
    out->classes = classes;
    out->n_classes = top.n;
    out->shows_classes = c->num_top_classes > 0;
    out->predicted = classes[0].name;
    out->probability = classes[0].probability;
    out->start = classes[0].start;
    out->end = classes[0].end;
    return NULL;
}

static void question_answering_render(struct json_out *w, const struct nlp_config *c,
                                      struct str field, const struct nlp_result *r)
{
    json_key_s(w, field);
    json_put_str(w, r->predicted);
    json_key_i64(w, "start_offset", (int64_t)r->start);
    json_key_i64(w, "end_offset", (int64_t)r->end);
    if (r->shows_classes) {
        json_key(w, "top_classes");
        json_arr(w);
        for (size_t i = 0; i < r->n_classes; i++) {
            json_obj(w);
            json_key_str(w, "answer", r->classes[i].name);
            json_key_i64(w, "start_offset", (int64_t)r->classes[i].start);
            json_key_i64(w, "end_offset", (int64_t)r->classes[i].end);
            json_key_f64(w, "score", r->classes[i].probability);
            json_end(w);
        }
        json_end(w);
    }
    json_key_f64(w, "prediction_probability", r->probability);
}

const struct nlp_head nlp_question_answering = {
    .task = NLP_QUESTION_ANSWERING,
    .name = "question_answering",
    .members = NLP_COMMON | NLP_NUM_TOP_CLASSES | NLP_MAX_ANSWER_LENGTH,
    .updates = NLP_ALWAYS | NLP_NUM_TOP_CLASSES | NLP_MAX_ANSWER_LENGTH | NLP_QUESTION,
    .encode = question_answering_encode,
    .decode = question_answering_decode,
    .render = question_answering_render,
};
