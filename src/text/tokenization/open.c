/* A tokenizer from an uploaded vocabulary: what a tokenizer.json of that kind would say is written
 * down and read, so there is one reader of vocabularies, and the kinds are those of Hugging Face's
 * files.
 *
 * XLM-RoBERTa's and DeBERTa's character map is not part of an upload: it is the one SentencePiece
 * has built in. */
#include <stdlib.h>

#include "tokenization.h"
#include "tokenizer_private.h"

enum role { UNK, PAD, CLS, SEP, MASK, N_ROLES };

static const struct shape {
    const char *roles[N_ROLES];
    bool all_whole; /* every special token is found in a text; else the mask alone */
    bool two_types; /* b is of type 1 */
    bool two_seps;  /* between a and b */
    const char *model;
} shapes[N_TOKENIZATIONS] = {
    [TOKENIZATION_BERT] =
        {{"[UNK]", "[PAD]", "[CLS]", "[SEP]", "[MASK]"}, true, true, false, "WordPiece"},
    [TOKENIZATION_BERT_JA] =
        {{"[UNK]", "[PAD]", "[CLS]", "[SEP]", "[MASK]"}, true, true, false, NULL},
    [TOKENIZATION_MPNET] =
        {{"[UNK]", "<pad>", "<s>", "</s>", "<mask>"}, true, false, true, "WordPiece"},
    [TOKENIZATION_ROBERTA] =
        {{"<unk>", "<pad>", "<s>", "</s>", "<mask>"}, false, false, true, "BPE"},
    [TOKENIZATION_XLM_ROBERTA] =
        {{"<unk>", "<pad>", "<s>", "</s>", "<mask>"}, false, false, true, "Unigram"},
    [TOKENIZATION_DEBERTA_V2] =
        {{"[UNK]", "[PAD]", "[CLS]", "[SEP]", "[MASK]"}, true, true, false, "Unigram"},
};

struct writing {
    const struct tokenization *t;
    const struct shape *shape;
    const struct json *vocabulary, *merges, *scores;
    int64_t ids[N_ROLES]; /* -1: not in the vocabulary */
    struct json_out w;
};

/* Of two equal tokens the last counts. */
static struct err *find_roles(struct writing *v)
{
    for (int r = 0; r < N_ROLES; r++)
        v->ids[r] = -1;
    struct json_iter it = json_iter(v->vocabulary);
    int64_t id = 0;
    for (const struct json *j; (j = json_next(&it)); id++) {
        struct str token;
        if (!json_str(j, &token))
            return err_new(ERR_ARGUMENT, "[vocabulary] must be an array of strings");
        if (token.n > 6) /* of the longest role */
            continue;
        for (int r = 0; r < N_ROLES; r++) {
            if (str_eq_c(token, v->shape->roles[r]))
                v->ids[r] = id;
        }
    }
    return NULL;
}

static struct err *missing(const struct writing *v, enum role a, enum role b)
{
    const char *const *roles = v->shape->roles;
    if (v->ids[a] < 0 && v->ids[b] < 0)
        return err_status(409, "stored vocabulary is missing required [%s, %s] token(s)", roles[a],
                          roles[b]);
    if (v->ids[a] < 0 || v->ids[b] < 0)
        return err_status(409, "stored vocabulary is missing required [%s] token",
                          roles[v->ids[a] < 0 ? a : b]);
    return NULL;
}

static void put_added(struct writing *v)
{
    json_key(&v->w, "added_tokens");
    json_arr(&v->w);
    for (int r = 0; r < N_ROLES; r++) {
        if (v->ids[r] < 0 || (r != MASK && !v->shape->all_whole))
            continue;
        json_obj(&v->w);
        json_key_i64(&v->w, "id", v->ids[r]);
        json_key_cstr(&v->w, "content", v->shape->roles[r]);
        json_key_bool(&v->w, "special", true);
        json_key_bool(&v->w, "normalized", false);
        json_key_bool(&v->w, "single_word", false);
        /* RoBERTa learnt its mask as a word with the space before it. */
        json_key_bool(&v->w, "lstrip", v->t->kind == TOKENIZATION_ROBERTA);
        json_key_bool(&v->w, "rstrip", false);
        json_end(&v->w);
    }
    json_end(&v->w);
}

static void put_item(struct writing *v, const char *kind, const char *id, int type)
{
    json_obj(&v->w);
    json_key(&v->w, kind);
    json_obj(&v->w);
    json_key_cstr(&v->w, "id", id);
    json_key_i64(&v->w, "type_id", type);
    json_end(&v->w);
    json_end(&v->w);
}

static void put_special(struct writing *v, enum role role, int type)
{
    if (v->t->with_special_tokens)
        put_item(v, "SpecialToken", v->shape->roles[role], type);
}

static void put_id(struct writing *v, enum role role)
{
    if (!v->t->with_special_tokens)
        return;
    json_key(&v->w, v->shape->roles[role]);
    json_obj(&v->w);
    json_key(&v->w, "ids");
    json_arr(&v->w);
    json_put_i64(&v->w, v->ids[role]);
    json_end(&v->w);
    json_end(&v->w);
}

static void put_template(struct writing *v)
{
    int b = v->shape->two_types;
    json_obj(&v->w);
    json_key_cstr(&v->w, "type", "TemplateProcessing");
    json_key(&v->w, "single");
    json_arr(&v->w);
    put_special(v, CLS, 0);
    put_item(v, "Sequence", "A", 0);
    put_special(v, SEP, 0);
    json_end(&v->w);
    json_key(&v->w, "pair");
    json_arr(&v->w);
    put_special(v, CLS, 0);
    put_item(v, "Sequence", "A", 0);
    put_special(v, SEP, 0);
    if (v->shape->two_seps)
        put_special(v, SEP, 0);
    put_item(v, "Sequence", "B", b);
    put_special(v, SEP, b);
    json_end(&v->w);
    json_key(&v->w, "special_tokens");
    json_obj(&v->w);
    put_id(v, CLS);
    put_id(v, SEP);
    json_end(&v->w);
    json_end(&v->w);
}

static void put_word_piece(struct writing *v)
{
    json_key(&v->w, "normalizer");
    json_obj(&v->w);
    json_key_cstr(&v->w, "type", "BertNormalizer");
    json_key_bool(&v->w, "clean_text", true);
    json_key_bool(&v->w, "handle_chinese_chars", true);
    json_key_bool(&v->w, "lowercase", v->t->do_lower_case);
    json_end(&v->w);
    json_key_raw(&v->w, "pre_tokenizer", STR("{\"type\":\"BertPreTokenizer\"}"));
    json_key(&v->w, "post_processor");
    put_template(v);
}

static void put_byte_level(struct writing *v)
{
    json_key(&v->w, "pre_tokenizer");
    json_obj(&v->w);
    json_key_cstr(&v->w, "type", "ByteLevel");
    json_key_bool(&v->w, "add_prefix_space", v->t->add_prefix_space);
    json_end(&v->w);
    json_key(&v->w, "post_processor");
    json_obj(&v->w);
    json_key_cstr(&v->w, "type", "Sequence");
    json_key(&v->w, "processors");
    json_arr(&v->w);
    json_obj(&v->w);
    json_key_cstr(&v->w, "type", "ByteLevel");
    json_key_bool(&v->w, "trim_offsets", true);
    json_key_bool(&v->w, "add_prefix_space", v->t->add_prefix_space);
    json_end(&v->w);
    put_template(v);
    json_end(&v->w);
    json_end(&v->w);
}

static void put_sentence_piece(struct writing *v)
{
    json_key_raw(&v->w, "normalizer",
                 v->t->do_lower_case
                     ? STR("{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Lowercase\"},"
                           "{\"type\":\"NmtNfkc\"}]}")
                     : STR("{\"type\":\"NmtNfkc\"}"));
    json_key_raw(&v->w, "pre_tokenizer",
                 STR("{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"WhitespaceSplit\"},"
                     "{\"type\":\"Metaspace\",\"replacement\":\"\xe2\x96\x81\","
                     "\"prepend_scheme\":\"always\"}]}"));
    json_key(&v->w, "post_processor");
    put_template(v);
}

/* [["token",score],...]: tokens and scores as they came, not read and written again. */
static struct err *put_vocabulary(struct writing *v)
{
    struct json_iter tokens = json_iter(v->vocabulary), scores = json_iter(v->scores);
    json_key(&v->w, "vocab");
    json_arr(&v->w);
    for (const struct json *j; (j = json_next(&tokens));) {
        const struct json *score = v->scores ? json_next(&scores) : NULL;
        if (v->scores && !json_is(score, JSON_NUMBER))
            return err_new(ERR_ARGUMENT, "[scores] must be an array of numbers");
        json_arr(&v->w);
        json_put_raw(&v->w, json_raw(j));
        json_put_raw(&v->w, score ? json_raw(score) : STR("0"));
        json_end(&v->w);
    }
    json_end(&v->w);
    return NULL;
}

static struct err *put_model(struct writing *v)
{
    json_key(&v->w, "model");
    json_obj(&v->w);
    json_key_cstr(&v->w, "type", v->shape->model);
    json_key_cstr(&v->w, "unk_token", v->shape->roles[UNK]);
    json_key_i64(&v->w, "unk_id", v->ids[UNK]);
    json_key_bool(&v->w, "byte_fallback", v->t->kind == TOKENIZATION_DEBERTA_V2);
    json_key_bool(&v->w, "fuse_unk", v->t->kind == TOKENIZATION_XLM_ROBERTA);
    if (v->merges)
        json_key_raw(&v->w, "merges", json_raw(v->merges));
    TRY(put_vocabulary(v));
    json_end(&v->w);
    return NULL;
}

static struct err *put_tokenizer(struct writing *v)
{
    json_obj(&v->w);
    put_added(v);
    if (v->t->kind == TOKENIZATION_ROBERTA)
        put_byte_level(v);
    else if (v->scores)
        put_sentence_piece(v);
    else
        put_word_piece(v);
    TRY(put_model(v));
    json_end(&v->w);
    return NULL;
}

static struct err *check_lists(struct writing *v, const struct json *body)
{
    v->vocabulary = json_get(body, "vocabulary");
    bool bpe = v->t->kind == TOKENIZATION_ROBERTA,
         unigram = str_eq_c(STR("Unigram"), v->shape->model);
    if (bpe)
        v->merges = json_get(body, "merges");
    if (unigram)
        v->scores = json_get(body, "scores");
    if (!json_is(v->vocabulary, JSON_ARRAY) || v->vocabulary->n == 0)
        return err_new(ERR_ARGUMENT, "[vocabulary] must not be empty");
    if (v->vocabulary->n > VOCAB_MAX_TOKENS)
        return err_new(ERR_ARGUMENT, "[vocabulary] must have at most [%u] tokens; provided [%u]",
                       VOCAB_MAX_TOKENS, v->vocabulary->n);
    if (bpe && !json_is(v->merges, JSON_ARRAY))
        return err_new(ERR_ARGUMENT, "[merges] must not be empty");
    if (unigram && !json_is(v->scores, JSON_ARRAY))
        return err_new(ERR_ARGUMENT, "[scores] must not be empty");
    if (unigram && v->scores->n != v->vocabulary->n)
        return err_new(ERR_ARGUMENT,
                       "provided vocabulary [%u] and scores [%u] must have the same size",
                       v->vocabulary->n, v->scores->n);
    TRY(find_roles(v));
    TRY(missing(v, UNK, PAD));
    return v->t->with_special_tokens ? missing(v, SEP, CLS) : NULL;
}

static struct err *read_text(struct str text, struct tokenizer **out)
{
    struct arena *a = arena_new(ARENA_NO_LIMIT);
    const struct json *root;
    struct err *err = json_parse(a, text, &root);
    if (!err)
        err = tokenizer_read(root, (struct str){NULL, 0}, out);
    arena_free(a);
    return err;
}

struct err *tokenization_open(const struct tokenization *t, const struct json *body,
                              struct tokenizer **out)
{
    struct writing v = {.t = t, .shape = &shapes[t->kind]};
    if (!v.shape->model)
        return err_new(ERR_ARGUMENT,
                       "tokenization [%s] needs a Japanese dictionary, which this server does not "
                       "have",
                       tokenization_name(t->kind));
    TRY(check_lists(&v, body));
    struct buf b;
    /* What is added to each token is a few bytes, to the whole a few hundred. */
    buf_init(&b, (size_t)body->raw_n + (size_t)v.vocabulary->n * 16 + (1 << 16));
    json_out_init(&v.w, &b);
    struct err *err = put_tokenizer(&v);
    if (!err && b.full)
        err = err_new(ERR_ARGUMENT, "[vocabulary] is too large");
    if (!err)
        err = read_text(buf_str(&b), out);
    buf_deinit(&b);
    return err;
}
