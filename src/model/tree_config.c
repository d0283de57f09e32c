/* inference_config of trees: {"regression":{...}} and {"classification":{...}}. */
#include "tree.h"
#include "tree_private.h"

#define MAX_TOP_CLASSES TREE_MAX_CLASSES

static struct err *read_text(struct body *b, const struct json *v, void *out)
{
    if (v->text.n == 0)
        return err_new(ERR_ARGUMENT, "names of fields must not be empty");
    *(struct str *)out = arena_dup(b->arena, v->text);
    return NULL;
}

static struct err *read_top(struct body *b, const struct json *v, void *out)
{
    return body_i64(b, v, -1, MAX_TOP_CLASSES, out);
}

static struct err *read_importance(struct body *b, const struct json *v, void *out)
{
    int64_t *n = out;
    TRY(body_i64(b, v, INT32_MIN, INT32_MAX, n));
    if (*n >= 0)
        return NULL;
    return err_new(ERR_ARGUMENT,
                   "[num_top_feature_importance_values] must be greater than or equal to 0. was "
                   "[%lld]",
                   (long long)*n);
}

static const char *const answers[] = {
    [TREE_STRING] = "string", [TREE_NUMBER] = "number", [TREE_BOOLEAN] = "boolean"};

static struct err *read_answer(struct body *b, const struct json *v, void *out)
{
    (void)b;
    for (size_t i = 0; i < 3; i++) {
        if (str_eq_nocase(v->text, str_c(answers[i]))) {
            *(enum tree_answer *)out = (enum tree_answer)i;
            return NULL;
        }
    }
    return err_new(ERR_ARGUMENT, "unknown [prediction_field_type] [%.*s]",
                   STR_ARG(str_sub(v->text, 0, 200)));
}

#define AT(member_) offsetof(struct tree_config, member_)
static const struct body_field fields[] = {
    {"results_field", BODY_STR, false, read_text, AT(results_field)},
    {"num_top_feature_importance_values", BODY_NUM | BODY_STR, false, read_importance,
     AT(num_feature_importance)},
    {"num_top_classes", BODY_NUM | BODY_STR, false, read_top, AT(num_top_classes)},
    {"top_classes_results_field", BODY_STR, false, read_text, AT(top_classes_results_field)},
    {"prediction_field_type", BODY_STR, false, read_answer, AT(answer)},
};
static const struct body_parser parsers[] = {{"regression", fields, 2},
                                             {"classification", fields, 5}};

static bool is_ours(struct str name)
{
    return str_eq(name, STR("regression")) || str_eq(name, STR("classification"));
}

bool tree_config_is(const struct json *v)
{
    if (!json_is(v, JSON_OBJECT) || v->n != 1)
        return false;
    struct json_iter it = json_iter(v);
    return is_ours(json_next(&it)->key);
}

const char *tree_config_name(const struct tree_config *c)
{
    return parsers[c->classification].name;
}

static struct err *check(const struct tree_config *c)
{
    if (c->classification && str_eq(c->results_field, c->top_classes_results_field))
        return err_new(ERR_ARGUMENT,
                       "Invalid inference config. Both results_field and "
                       "top_classes_results_field are [%.*s]",
                       STR_ARG(str_sub(c->results_field, 0, 200)));
    if (c->classification && (str_eq(c->results_field, STR("prediction_probability")) ||
                              str_eq(c->results_field, STR("prediction_score"))))
        return err_new(ERR_ARGUMENT, "[results_field] [%.*s] is the name of another result",
                       STR_ARG(c->results_field));
    return NULL;
}

struct err *tree_config_read(struct body *b, const struct json *v, struct tree_config *out)
{
    const struct json *member;
    *out = (struct tree_config){.given = true,
                                .results_field = STR("predicted_value"),
                                .top_classes_results_field = STR("top_classes")};
    TRY(body_named(b, "inference_config", v, &member));
    if (!is_ours(member->key))
        return body_unknown_name(b, member);
    out->classification = str_eq(member->key, STR("classification"));
    TRY(body_parse(b, &parsers[out->classification], member, out));
    return check(out);
}

struct err *tree_config_update(struct arena *a, const struct tree_config *base, struct str model_id,
                               const struct json *v, struct tree_config *out)
{
    struct body b = {.arena = a};
    const struct json *member;
    *out = *base;
    if (json_is_null(v))
        return NULL;
    TRY(body_named(&b, "inference_config", v, &member));
    if (!str_eq_c(member->key, tree_config_name(base)))
        return err_status(400,
                          "Trained model [%.*s] is configured for task [%s] but called with task "
                          "[%.*s]",
                          STR_ARG(model_id), tree_config_name(base),
                          STR_ARG(str_sub(member->key, 0, 200)));
    TRY(body_parse(&b, &parsers[base->classification], member, out));
    return check(out);
}

void tree_config_render(struct json_out *w, const struct tree_config *c)
{
    json_obj(w);
    json_key(w, tree_config_name(c));
    json_obj(w);
    if (c->classification) {
        json_key_i64(w, "num_top_classes", c->num_top_classes);
        json_key_str(w, "top_classes_results_field", c->top_classes_results_field);
    }
    json_key_str(w, "results_field", c->results_field);
    json_key_i64(w, "num_top_feature_importance_values", c->num_feature_importance);
    if (c->classification)
        json_key_cstr(w, "prediction_field_type", answers[c->answer]);
    json_end(w);
    json_end(w);
}
