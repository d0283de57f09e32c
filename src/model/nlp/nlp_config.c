/* inference_config: one row per member, of which each task takes those its record names. */
#include "body.h"
#include "nlp_private.h"

#define MAX_INT          INT32_MAX
#define VOCABULARY_INDEX ".ml-inference-native-000002" /* where ES keeps its own */

/* A config being read. */
struct reading {
    struct nlp_config *config;
    const struct nlp_head *head;
    struct str mask_token; /* {NULL, 0}: not given */
    bool is_update;
    struct err *late; /* the first thing wrong with what was understood: said after all is read */
};

static struct err *later(struct reading *r, struct err *err)
{
    if (r->late)
        err_free(err);
    else
        r->late = err;
    return NULL;
}

static struct str kept(struct body *b, const struct json *v)
{
    return arena_dup(b->arena, v->text);
}

static struct err *read_tokenization(struct body *b, const struct json *v, void *out)
{
    struct reading *r = out;
    if (!r->is_update)
        return tokenization_read(b, v, &r->config->tokenization);
    struct err *err = tokenization_reread(b, v, &r->config->tokenization);
    return err && err->kind != ERR_X_CONTENT ? later(r, err) : err;
}

static struct err *read_results_field(struct body *b, const struct json *v, void *out)
{
    struct reading *r = out;
    r->config->results_field = kept(b, v);
    return NULL;
}

static struct err *read_index(struct body *b, const struct json *v, void *out)
{
    struct reading *r = out;
    r->config->vocabulary_index = kept(b, v);
    return NULL;
}

static struct err *read_vocabulary(struct body *b, const struct json *v, void *out)
{
    static const struct body_field index[] = {{"index", BODY_STR, true, read_index, 0}};
    return body_parse(b, &(struct body_parser){"vocabulary", index, 1}, v, out);
}

static struct err *read_texts(struct body *b, const struct json *v, const struct str **out,
                              size_t *n_out)
{
    struct str *texts;
    TRY(body_texts(b, v, &texts, n_out));
    for (size_t i = 0; i < *n_out; i++)
        texts[i] = arena_dup(b->arena, texts[i]);
    *out = texts;
    return NULL;
}

static struct err *read_classification_labels(struct body *b, const struct json *v, void *out)
{
    struct reading *r = out;
    struct nlp_config *c = r->config;
    size_t n = c->n_classification_labels;
    TRY(read_texts(b, v, &c->classification_labels, &c->n_classification_labels));
    if (r->is_update && c->n_classification_labels != n)
        later(r, err_status(400,
                            "The number of [classification_labels] the model is defined with "
                            "[%zu] does not match the number in the update [%zu]",
                            n, c->n_classification_labels));
    c->has_classification_labels = c->n_classification_labels > 0;
    return NULL;
}

static struct err *read_num_top_classes(struct body *b, const struct json *v, void *out)
{
    struct reading *r = out;
    return body_i64(b, v, -MAX_INT, MAX_INT, &r->config->num_top_classes);
}

static struct err *read_mask_token(struct body *b, const struct json *v, void *out)
{
    struct reading *r = out;
    r->mask_token = v->text;
    return NULL;
}

static struct err *read_labels(struct body *b, const struct json *v, void *out)
{
    struct reading *r = out;
    return read_texts(b, v, &r->config->labels, &r->config->n_labels);
}

static struct err *read_multi_label(struct body *b, const struct json *v, void *out)
{
    struct reading *r = out;
    return body_bool(b, v, &r->config->multi_label);
}

static struct err *read_hypothesis(struct body *b, const struct json *v, void *out)
{
    struct reading *r = out;
    r->config->hypothesis_template = kept(b, v);
    return NULL;
}

static struct err *read_embedding_size(struct body *b, const struct json *v, void *out)
{
    struct reading *r = out;
    TRY(body_i64(b, v, -MAX_INT, MAX_INT, &r->config->embedding_size));
    if (r->config->embedding_size > 0)
        return NULL;
    return later(r, err_status(400,
                               "[embedding_size] must be a number greater than 0; configured size "
                               "[%lld]",
                               (long long)r->config->embedding_size));
}

static struct err *read_max_answer_length(struct body *b, const struct json *v, void *out)
{
    struct reading *r = out;
    TRY(body_i64(b, v, -MAX_INT, MAX_INT, &r->config->max_answer_length));
    if (r->config->max_answer_length > 0)
        return NULL;
    return later(r, err_status(400, "[max_answer_length] must be positive; provided [%lld]",
                               (long long)r->config->max_answer_length));
}

static struct err *read_question(struct body *b, const struct json *v, void *out)
{
    struct reading *r = out;
    r->config->question = kept(b, v);
    return NULL;
}

static struct err *read_text(struct body *b, const struct json *v, void *out)
{
    struct reading *r = out;
    r->config->text = kept(b, v);
    return NULL;
}

/* One of two words; true: the second. */
static struct err *read_choice(const struct json *v, const char *member, const char *first,
                               const char *second, bool *out)
{
    *out = str_eq_nocase(v->text, str_c(second));
    if (*out || str_eq_nocase(v->text, str_c(first)))
        return NULL;
    return err_new(ERR_ARGUMENT, "[%s] must be one of [%s, %s] but was [%.*s]", member, first,
                   second, STR_ARG(str_sub(v->text, 0, 200)));
}

static struct err *read_span_score(struct body *b, const struct json *v, void *out)
{
    struct reading *r = out;
    return read_choice(v, "span_score_combination_function", "max", "mean",
                       &r->config->mean_of_spans);
}

static struct err *read_expansion_type(struct body *b, const struct json *v, void *out)
{
    struct reading *r = out;
    return read_choice(v, "expansion_type", "elser", "splade", &r->config->splade);
}

static const struct {
    enum nlp_member member;
    struct body_field field;
} members[] = {
    {NLP_VOCABULARY, {"vocabulary", BODY_OBJECT, false, read_vocabulary, 0}},
    {NLP_TOKENIZATION, {"tokenization", BODY_OBJECT, false, read_tokenization, 0}},
    {NLP_RESULTS_FIELD, {"results_field", BODY_STR, false, read_results_field, 0}},
    {NLP_CLASSIFICATION_LABELS,
     {"classification_labels", BODY_ARRAY | BODY_STR, false, read_classification_labels, 0}},
    {NLP_NUM_TOP_CLASSES, {"num_top_classes", BODY_NUM | BODY_STR, false, read_num_top_classes, 0}},
    {NLP_MASK_TOKEN, {"mask_token", BODY_STR, false, read_mask_token, 0}},
    {NLP_LABELS, {"labels", BODY_ARRAY | BODY_STR, false, read_labels, 0}},
    {NLP_MULTI_LABEL, {"multi_label", BODY_BOOL | BODY_STR, false, read_multi_label, 0}},
    {NLP_HYPOTHESIS_TEMPLATE, {"hypothesis_template", BODY_STR, false, read_hypothesis, 0}},
    {NLP_EMBEDDING_SIZE, {"embedding_size", BODY_NUM | BODY_STR, false, read_embedding_size, 0}},
    {NLP_MAX_ANSWER_LENGTH,
     {"max_answer_length", BODY_NUM | BODY_STR, false, read_max_answer_length, 0}},
    {NLP_QUESTION, {"question", BODY_STR, false, read_question, 0}},
    {NLP_TEXT, {"text", BODY_STR, false, read_text, 0}},
    {NLP_SPAN_SCORE, {"span_score_combination_function", BODY_STR, false, read_span_score, 0}},
    {NLP_EXPANSION_TYPE, {"expansion_type", BODY_STR, false, read_expansion_type, 0}},
};
#define N_MEMBERS (sizeof(members) / sizeof(members[0]))

/* --- tasks --- */

static const struct nlp_head *const heads[N_NLP_TASKS] = {
#define X(record) &record,
#include "nlp.def"
#undef X
};

/* Nine of them. */
const struct nlp_head *nlp_head(enum nlp_task task)
{
    for (size_t i = 0; i < N_NLP_TASKS; i++) {
        if (heads[i]->task == task)
            return heads[i];
    }
    return heads[0];
}

const char *nlp_task_name(enum nlp_task task)
{
    return nlp_head(task)->name;
}

static struct err *find_head(struct body *b, const struct json *v, const struct json **member_out,
                             const struct nlp_head **out)
{
    TRY(body_named(b, "inference_config", v, member_out));
    for (size_t i = 0; i < N_NLP_TASKS; i++) {
        if (str_eq_c((*member_out)->key, heads[i]->name)) {
            *out = heads[i];
            return NULL;
        }
    }
    return body_unknown_name(b, *member_out);
}

static struct err *read_members(struct body *b, unsigned allowed, const struct json *v,
                                struct reading *r)
{
    struct body_field fields[N_MEMBERS];
    struct body_parser parser = {r->head->name, fields, 0};
    for (size_t i = 0; i < N_MEMBERS; i++) {
        if (members[i].member & allowed)
            fields[parser.n++] = members[i].field;
    }
    struct err *err = body_parse(b, &parser, v, r);
    if (err)
        err_free(r->late);
    return err;
}

static struct err *check_mask(const struct reading *r)
{
    const char *mask = tokenization_mask_token(r->config->tokenization.kind);
    if (!r->mask_token.p || str_eq_c(r->mask_token, mask))
        return NULL;
    return err_new(ERR_ARGUMENT, "Mask token requested was [%.*s] but must be [%s] for this model",
                   STR_ARG(str_sub(r->mask_token, 0, 200)), mask);
}

/* --- PUT --- */

static struct err *read_config(struct body *b, const struct nlp_head *head, const struct json *v,
                               struct nlp_config *out)
{
    struct reading r = {.config = out, .head = head};
    *out = (struct nlp_config){.task = head->task,
                               .num_top_classes = head->num_top_classes,
                               .hypothesis_template = STR("This example is {}."),
                               .max_answer_length = 15};
    TRY(tokenization_read(b, NULL, &out->tokenization));
    TRY(read_members(b, head->members, v, &r));
    struct err *err = r.late ? r.late : check_mask(&r);
    if (!err && head->check)
        err = head->check(b->arena, out);
    return err ? err_wrap(err, ERR_X_CONTENT,
                          "Failed to build [%s] after last required field arrived", head->name)
               : NULL;
}

struct err *nlp_config_read(struct body *b, const struct json *v, struct nlp_config *out)
{
    const struct json *member;
    const struct nlp_head *head = NULL;
    if (json_is_null(v))
        return err_new(ERR_ARGUMENT, "[inference_config] must not be null.");
    TRY(find_head(b, v, &member, &head));
    struct err *err = read_config(b, head, member, out);
    return err ? body_wrap(b, err, "inference_config", head->name) : NULL;
}

struct err *nlp_config_parse(struct arena *arena, const struct json *v, struct nlp_config *out)
{
    return nlp_config_read(&(struct body){.arena = arena}, v, out);
}

/* --- of a request --- */

struct err *nlp_config_update(struct arena *arena, const struct nlp_config *base,
                              struct str model_id, const struct json *v, struct nlp_config *out)
{
    struct body b = {.arena = arena};
    const struct json *member;
    const struct nlp_head *head = NULL;
    *out = *base;
    if (json_is_null(v))
        return NULL;
    TRY(find_head(&b, v, &member, &head));
    if (head->task != base->task)
        return err_status(400,
                          "Trained model [%.*s] is configured for task [%s] but called with task "
                          "[%s]",
                          STR_ARG(model_id), nlp_task_name(base->task), head->name);
    struct reading r = {.config = out, .head = head, .is_update = true};
    TRY(read_members(&b, head->updates, member, &r));
    return r.late;
}

/* --- GET --- */

static void put_texts(struct json_out *w, const char *key, const struct str *texts, size_t n)
{
    json_key(w, key);
    json_arr(w);
    for (size_t i = 0; i < n; i++)
        json_put_str(w, texts[i]);
    json_end(w);
}

static void put_member(struct json_out *w, const struct nlp_config *c, enum nlp_member member)
{
    switch (member) {
    case NLP_VOCABULARY:
        json_key(w, "vocabulary");
        json_obj(w);
        json_key_str(w, "index",
                     c->vocabulary_index.p ? c->vocabulary_index : STR(VOCABULARY_INDEX));
        json_end(w);
        return;
    case NLP_TOKENIZATION:
        json_key(w, "tokenization");
        tokenization_render(w, &c->tokenization);
        return;
    case NLP_RESULTS_FIELD:
        if (c->results_field.p)
            json_key_str(w, "results_field", c->results_field);
        return;
    case NLP_CLASSIFICATION_LABELS:
        if (c->has_classification_labels)
            put_texts(w, "classification_labels", c->classification_labels,
                      c->n_classification_labels);
        return;
    case NLP_NUM_TOP_CLASSES:
        json_key_i64(w, "num_top_classes", c->num_top_classes);
        return;
    case NLP_MASK_TOKEN:
        json_key_cstr(w, "mask_token", tokenization_mask_token(c->tokenization.kind));
        return;
    case NLP_LABELS:
        if (c->n_labels)
            put_texts(w, "labels", c->labels, c->n_labels);
        return;
    case NLP_MULTI_LABEL:
        json_key_bool(w, "multi_label", c->multi_label);
        return;
    case NLP_HYPOTHESIS_TEMPLATE:
        json_key_str(w, "hypothesis_template", c->hypothesis_template);
        return;
    case NLP_EMBEDDING_SIZE:
        if (c->embedding_size)
            json_key_i64(w, "embedding_size", c->embedding_size);
        return;
    case NLP_MAX_ANSWER_LENGTH:
        json_key_i64(w, "max_answer_length", c->max_answer_length);
        return;
    case NLP_QUESTION:
        if (c->question.p)
            json_key_str(w, "question", c->question);
        return;
    case NLP_TEXT:
        if (c->text.p)
            json_key_str(w, "text", c->text);
        return;
    case NLP_SPAN_SCORE:
        json_key_cstr(w, "span_score_combination_function", c->mean_of_spans ? "mean" : "max");
        return;
    case NLP_EXPANSION_TYPE:
        if (c->splade)
            json_key_cstr(w, "expansion_type", "splade");
        return;
    }
}

void nlp_config_render(struct json_out *w, const struct nlp_config *c)
{
    /* In ES's order, which is not the one they are read in. */
    static const enum nlp_member order[] = {
        NLP_VOCABULARY,
        NLP_TOKENIZATION,
        NLP_CLASSIFICATION_LABELS,
        NLP_MULTI_LABEL,
        NLP_HYPOTHESIS_TEMPLATE,
        NLP_LABELS,
        NLP_NUM_TOP_CLASSES,
        NLP_MAX_ANSWER_LENGTH,
        NLP_RESULTS_FIELD,
        NLP_EMBEDDING_SIZE,
        NLP_SPAN_SCORE,
        NLP_MASK_TOKEN,
        NLP_EXPANSION_TYPE,
        NLP_QUESTION,
        NLP_TEXT,
    };
    const struct nlp_head *head = nlp_head(c->task);
    json_obj(w);
    json_key(w, head->name);
    json_obj(w);
    for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++) {
        if (head->members & order[i])
            put_member(w, c, order[i]);
    }
    json_end(w);
    json_end(w);
}
