/* The `tokenization` object: one table of kinds, one of options, and the rules between options. */
#include "tokenization.h"

#include "body.h"

#define MAX_INT INT32_MAX

static const struct {
    const char *name, *mask, *parser, *update_parser;
    bool lowers;       /* do_lower_case may be true */
    const char *needs; /* beside the vocabulary */
} kinds[N_TOKENIZATIONS] = {
    [TOKENIZATION_BERT] = {"bert", "[MASK]", "bert_tokenization", "bert_tokenization_update", true,
                           NULL},
    [TOKENIZATION_BERT_JA] = {"bert_ja", "[MASK]", "bert_japanese_tokenization",
                              "bert_japanese_tokenization_update", true, NULL},
    [TOKENIZATION_MPNET] = {"mpnet", "<mask>", "mpnet_tokenization", "mpnet_tokenization_update",
                            true, NULL},
    [TOKENIZATION_ROBERTA] = {"roberta", "<mask>", "roberta_tokenization",
                              "roberta_tokenization_update", false, "merges"},
    [TOKENIZATION_XLM_ROBERTA] = {"xlm_roberta", "<mask>", "xlm_roberta_tokenization",
                                  "xlm_roberta_tokenization_update", false, "scores"},
    [TOKENIZATION_DEBERTA_V2] = {"deberta_v2", "[MASK]", "deberta_v2_tokenization",
                                 "deberta_v2_tokenization_update", true, "scores"},
};

static const char *const truncations[] = {
    [TRUNCATE_NONE] = "none",
    [TRUNCATE_FIRST] = "first",
    [TRUNCATE_SECOND] = "second",
    [TRUNCATE_BALANCED] = "balanced",
};

const char *tokenization_name(enum tokenization_kind kind)
{
    return kinds[kind].name;
}

const char *tokenization_mask_token(enum tokenization_kind kind)
{
    return kinds[kind].mask;
}

/* What was given; the rest has its default or its former value. */
struct options {
    bool lower, special, prefix_space;
    int64_t max_length, span;
    int truncate;
    bool has_lower, has_special, has_prefix_space, has_max_length, has_span, has_truncate;
};

static struct err *read_lower(struct body *b, const struct json *v, void *out)
{
    struct options *o = out;
    o->has_lower = true;
    return body_bool(b, v, &o->lower);
}

static struct err *read_special(struct body *b, const struct json *v, void *out)
{
    struct options *o = out;
    o->has_special = true;
    return body_bool(b, v, &o->special);
}

static struct err *read_prefix_space(struct body *b, const struct json *v, void *out)
{
    struct options *o = out;
    o->has_prefix_space = true;
    return body_bool(b, v, &o->prefix_space);
}

static struct err *read_max_length(struct body *b, const struct json *v, void *out)
{
    struct options *o = out;
    o->has_max_length = true;
    return body_i64(b, v, -MAX_INT, MAX_INT, &o->max_length);
}

static struct err *read_span(struct body *b, const struct json *v, void *out)
{
    struct options *o = out;
    o->has_span = true;
    return body_i64(b, v, -MAX_INT, MAX_INT, &o->span);
}

static struct err *read_truncate(struct body *b, const struct json *v, void *out)
{
    struct options *o = out;
    for (int i = 0; i < (int)(sizeof(truncations) / sizeof(truncations[0])); i++) {
        if (str_eq_nocase(v->text, str_c(truncations[i]))) {
            o->truncate = i;
            o->has_truncate = true;
            return NULL;
        }
    }
    return err_new(ERR_ARGUMENT,
                   "Unknown truncate value [%.*s]; must be one of [none, first, second, balanced]",
                   STR_ARG(str_sub(v->text, 0, 200)));
}

#define BOOLS (BODY_BOOL | BODY_STR)
#define INTS  (BODY_NUM | BODY_STR)
static const struct body_field fields[] = {
    {"truncate", BODY_STR, false, read_truncate, 0},
    {"span", INTS, false, read_span, 0},
    {"do_lower_case", BOOLS, false, read_lower, 0},
    {"with_special_tokens", BOOLS, false, read_special, 0},
    {"max_sequence_length", INTS, false, read_max_length, 0},
    {"add_prefix_space", BOOLS, false, read_prefix_space, 0},
};
#define N_UPDATABLE 2 /* of them, the first */

static struct tokenization defaults(enum tokenization_kind kind)
{
    return (struct tokenization){.kind = kind,
                                 .with_special_tokens = true,
                                 .max_sequence_length = 512,
                                 .truncate = TRUNCATE_FIRST,
                                 .span = -1};
}

static struct err *check_span(const struct tokenization *t)
{
    if (t->span < -1)
        return err_new(ERR_ARGUMENT, "[span] must be non-negative to indicate span length or [-1] "
                                     "to indicate no windowing should occur");
    if (t->span > (int64_t)t->max_sequence_length)
        return err_new(ERR_ARGUMENT,
                       "[span] provided [%lld] must not be greater than [max_sequence_length] "
                       "provided [%u]",
                       (long long)t->span, t->max_sequence_length);
    if (t->span != -1 && t->truncate != TRUNCATE_NONE)
        return err_new(ERR_ARGUMENT, "[span] must not be provided when [truncate] is [%s]",
                       truncations[t->truncate]);
    return NULL;
}

static struct err *build(enum tokenization_kind kind, const struct options *o,
                         struct tokenization *out)
{
    struct tokenization t = defaults(kind);
    if (o->lower && !kinds[kind].lowers)
        return err_new(ERR_ARGUMENT, "unable to set [do_lower_case] to [true] for %s tokenizer",
                       kinds[kind].name);
    if (o->has_max_length && o->max_length <= 0)
        return err_new(ERR_ARGUMENT, "[max_sequence_length] must be positive");
    t.do_lower_case = o->lower;
    t.with_special_tokens = !o->has_special || o->special;
    t.add_prefix_space = o->prefix_space;
    if (o->has_max_length)
        t.max_sequence_length = (uint32_t)o->max_length;
    if (o->has_truncate)
        t.truncate = (enum truncate)o->truncate;
    if (o->has_span)
        t.span = o->span;
    TRY(check_span(&t));
    *out = t;
    return NULL;
}

static struct err *find_kind(struct body *b, const struct json *v, const struct json **member_out,
                             enum tokenization_kind *out)
{
    TRY(body_named(b, "tokenization", v, member_out));
    for (int i = 0; i < N_TOKENIZATIONS; i++) {
        if (str_eq_c((*member_out)->key, kinds[i].name)) {
            *out = (enum tokenization_kind)i;
            return NULL;
        }
    }
    return body_unknown_name(b, *member_out);
}

static struct err *parse_kind(struct body *b, enum tokenization_kind kind, const struct json *v,
                              struct tokenization *out)
{
    const struct body_parser parser = {kinds[kind].parser, fields,
                                       sizeof(fields) / sizeof(fields[0]) -
                                           (kind != TOKENIZATION_ROBERTA)};
    struct options o = {0};
    TRY(body_parse(b, &parser, v, &o));
    struct err *err = build(kind, &o, out);
    return err ? err_wrap(err, ERR_X_CONTENT,
                          "Failed to build [%s] after last required field arrived",
                          kinds[kind].parser)
               : NULL;
}

struct err *tokenization_read(struct body *b, const struct json *v, struct tokenization *out)
{
    const struct json *member;
    enum tokenization_kind kind = TOKENIZATION_BERT;
    *out = defaults(TOKENIZATION_BERT);
    if (json_is_null(v))
        return NULL;
    TRY(find_kind(b, v, &member, &kind));
    struct err *err = parse_kind(b, kind, member, out);
    return err ? body_wrap(b, err, "tokenization", kinds[kind].name) : NULL;
}

static struct err *update_kind(struct body *b, enum tokenization_kind kind, const struct json *v,
                               struct tokenization *t)
{
    const struct body_parser parser = {kinds[kind].update_parser, fields, N_UPDATABLE};
    struct options o = {0};
    TRY(body_parse(b, &parser, v, &o));
    if (kind != t->kind)
        return err_status(400,
                          "Tokenization config of type [%s] can not be updated with a request of "
                          "type [%s]",
                          kinds[t->kind].name, kinds[kind].name);
    struct tokenization next = *t;
    if (o.has_truncate) {
        next.truncate = (enum truncate)o.truncate;
        if (next.truncate != TRUNCATE_NONE)
            next.span = -1;
    }
    if (o.has_span)
        next.span = o.span;
    TRY(check_span(&next));
    *t = next;
    return NULL;
}

struct err *tokenization_reread(struct body *b, const struct json *v, struct tokenization *t)
{
    const struct json *member;
    enum tokenization_kind kind = t->kind;
    if (json_is_null(v))
        return NULL;
    TRY(find_kind(b, v, &member, &kind));
    struct err *err = update_kind(b, kind, member, t);
    /* What does not go with the model is no fault of the body. */
    if (!err || err->kind == ERR_STATUS || err->kind == ERR_ARGUMENT)
        return err;
    return body_wrap(b, err, "tokenization", kinds[kind].name);
}

struct err *tokenization_parse(const struct json *j, struct tokenization *out)
{
    struct body b = {.arena = arena_new(ARENA_NO_LIMIT)};
    struct err *err = tokenization_read(&b, j, out);
    arena_free(b.arena);
    return err;
}

struct err *tokenization_update(const struct json *j, struct tokenization *t)
{
    struct body b = {.arena = arena_new(ARENA_NO_LIMIT)};
    struct err *err = tokenization_reread(&b, j, t);
    arena_free(b.arena);
    return err;
}

void tokenization_render(struct json_out *w, const struct tokenization *t)
{
    json_obj(w);
    json_key(w, kinds[t->kind].name);
    json_obj(w);
    json_key_bool(w, "do_lower_case", t->do_lower_case);
    json_key_bool(w, "with_special_tokens", t->with_special_tokens);
    json_key_i64(w, "max_sequence_length", t->max_sequence_length);
    json_key_cstr(w, "truncate", truncations[t->truncate]);
    json_key_i64(w, "span", t->span);
    if (t->kind == TOKENIZATION_ROBERTA)
        json_key_bool(w, "add_prefix_space", t->add_prefix_space);
    json_end(w);
    json_end(w);
}

const char *truncate_name(enum truncate truncate)
{
    return truncations[truncate];
}

static bool is_empty(const struct json *list)
{
    return !json_is(list, JSON_ARRAY) || list->n == 0;
}

struct err *vocabulary_check(const struct tokenization *t, struct str model_id,
                             const struct json *body)
{
    const char *needs = kinds[t->kind].needs;
    if (is_empty(json_get(body, "vocabulary")))
        return err_new(ERR_REQUEST, "Validation Failed: 1: [vocabulary] must not be empty;");
    if (needs && is_empty(json_get(body, needs)))
        return err_status(400,
                          "cannot put vocabulary for model [%.*s] as tokenizer type [%s] requires "
                          "[%s] to be provided and non-empty",
                          STR_ARG(model_id), kinds[t->kind].name, needs);
    return NULL;
}
