/* Any labels for a text: for each one the model says whether "This example is {label}." follows
 * from it. */
#include "engine.h"
#include "nlp_private.h"
#include "tokenizer.h"

#define N_LABELS 3
#define REQUIRED "[entailment, neutral, contradiction]"

/* Where a label is, whatever its case; N_LABELS: nowhere. */
static size_t place_of(const struct nlp_config *c, struct str name)
{
    size_t i = 0;
    while (i < c->n_classification_labels && !str_eq_nocase(c->classification_labels[i], name))
        i++;
    return i;
}

static struct err *zero_shot_check(struct arena *arena, struct nlp_config *c)
{
    if (!c->has_classification_labels)
        return err_new(ERR_ARGUMENT, "[classification_labels] must not be null.");
    if (c->n_classification_labels != N_LABELS)
        return err_new(ERR_ARGUMENT,
                       "[classification_labels] must contain exactly the three values " REQUIRED);
    if (place_of(c, STR("entailment")) == N_LABELS || place_of(c, STR("contradiction")) == N_LABELS)
        return err_new(ERR_ARGUMENT, "[classification_labels] must contain exactly the three "
                                     "values " REQUIRED ". Labels [entailment] and "
                                     "[contradiction] are required");
    if (str_find(c->hypothesis_template, STR("{}")) == SIZE_MAX)
        return err_new(ERR_ARGUMENT,
                       "[hypothesis_template] must contain {} for label replacement; provided "
                       "[%.*s]",
                       STR_ARG(str_sub(c->hypothesis_template, 0, 200)));
    if (c->tokenization.span != -1)
        return err_status(400,
                          "[zero_shot_classification] does not support windowing long text "
                          "sequences; configured span [%lld]",
                          (long long)c->tokenization.span);
    return NULL;
}

#define MAX_ASKED 1000 /* each label is a run of the model */

static struct str hypothesis(const struct nlp_config *c, struct str label, struct arena *arena)
{
    struct str t = c->hypothesis_template;
    size_t at = str_find(t, STR("{}"));
    if (at == SIZE_MAX)
        return t;
    struct str after = str_sub(t, at + 2, t.n);
    return arena_printf(arena, "%.*s%.*s%.*s", (int)at, t.p, STR_ARG(label), STR_ARG(after));
}

static struct err *zero_shot_encode(const struct nlp_config *c, const struct tokenizer *tokenizer,
                                    struct arena *arena, struct str text, struct nlp_request *out)
{
    if (c->n_labels == 0)
        return err_status(400, "zero_shot_classification requires non-empty [labels]");
    if (c->n_labels > MAX_ASKED)
        return err_status(400, "[labels] must have at most [%d] labels; provided [%zu]", MAX_ASKED,
                          c->n_labels);
    struct tokens *rows = arena_array(arena, c->n_labels, sizeof(*rows));
    bool truncated = false;
    for (size_t i = 0; i < c->n_labels; i++) {
        TRY(nlp_rows(c, tokenizer, arena, text.p ? text : STR(""),
                     hypothesis(c, c->labels[i], arena), out));
        if (out->n_rows != 1)
            return err_status(400,
                              "[zero_shot_classification] does not support windowing long text "
                              "sequences; configured span [%lld]",
                              (long long)c->tokenization.span);
        rows[i] = out->rows[0];
        truncated |= out->is_truncated;
    }
    out->rows = rows;
    out->n_rows = c->n_labels;
    out->is_truncated = truncated;
    return NULL;
}

static struct err *zero_shot_decode(const struct nlp_config *c, const struct tokenizer *tokenizer,
                                    const struct nlp_request *request, const struct output *outputs,
                                    struct arena *arena, struct nlp_result *out)
{
    size_t yes = place_of(c, STR("entailment")), no = place_of(c, STR("contradiction"));
    double *p = arena_array(arena, c->n_labels, sizeof(*p));
    if (request->n_rows != c->n_labels)
        return err_status(409,
                          "Expected exactly [%zu] values in zero shot classification result; got "
                          "[%zu]",
                          c->n_labels, request->n_rows);
    for (size_t i = 0; i < c->n_labels; i++) {
        TRY(nlp_check_row(&outputs[i], N_LABELS, "inner zero shot classification"));
        double pair[2] = {(double)outputs[i].data[yes], (double)outputs[i].data[no]};
        p[i] = pair[0];
        if (c->multi_label) {
            nlp_softmax(pair, 2);
            p[i] = pair[0];
        }
    }
    if (!c->multi_label)
        nlp_softmax(p, c->n_labels);
    nlp_classes(arena, c->labels, p, c->n_labels, -1, out);
    return NULL;
}

static void zero_shot_render(struct json_out *w, const struct nlp_config *c, struct str field,
                             const struct nlp_result *r)
{
    json_key_s(w, field);
    json_put_str(w, r->predicted);
    nlp_render_classes(w, r);
}

const struct nlp_head nlp_zero_shot = {
    .task = NLP_ZERO_SHOT_CLASSIFICATION,
    .name = "zero_shot_classification",
    .members = NLP_COMMON | NLP_CLASSIFICATION_LABELS | NLP_LABELS | NLP_MULTI_LABEL |
               NLP_HYPOTHESIS_TEMPLATE,
    .updates = NLP_ALWAYS | NLP_LABELS | NLP_MULTI_LABEL,
    .check = zero_shot_check,
    .encode = zero_shot_encode,
    .decode = zero_shot_decode,
    .render = zero_shot_render,
};
