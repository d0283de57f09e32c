/* A tokenizer.json, read member by member: vocabulary, added tokens, template, truncation, and the
 * kind's own parts. Every member is hostile until its type and range are checked. */
#include <stdlib.h>

#include "bert_chars.h"
#include "bug.h"
#include "tokenizer_private.h"

#define MAX_HOLES  65536 /* ids that no token has; some models leave a few */
#define PART_BYTES 8192  /* what is encoded at a time */

static const struct tokenizer_kind *const kinds[] = {
#define X(kind) &kind,
#include "tokenizer_kinds.def"
#undef X
};

/* Before tokenizers 0.9 a model did not say its type, and some files on the hub are that old. */
static struct str guess_type(const struct json *model)
{
    if (json_get(model, "merges"))
        return STR("BPE");
    if (json_get(model, "max_input_chars_per_word"))
        return STR("WordPiece");
    return json_get(model, "unk_id") ? STR("Unigram") : str_n(NULL, 0);
}

static struct err *find_kind(const struct json *root, const struct tokenizer_kind **out)
{
    const struct json *model = json_get(root, "model");
    struct str type = guess_type(model);
    if (json_get(model, "type"))
        type = str_n(NULL, 0);
    if (!type.p && !json_str(json_get(model, "type"), &type))
        return err_new(ERR_ARGUMENT, "member [model.type] must be a string");
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (str_eq_c(type, kinds[i]->type)) {
            *out = kinds[i];
            return NULL;
        }
    }
    return err_new(ERR_ARGUMENT, "member [model.type] has the unknown value [%.*s]",
                   (int)(type.n < 64 ? type.n : 64), type.p);
}

/* Room for ids below n. */
static void vocab_reserve(struct vocab *v, size_t n)
{
    v->tokens = mem_grow(v->tokens, n * sizeof(*v->tokens));
    while (v->n < n)
        v->tokens[v->n++] = (struct str){NULL, 0};
}

static struct err *vocab_set(struct tokenizer *t, struct str token, uint32_t id)
{
    if (token.n > VOCAB_MAX_TOKEN_BYTES)
        return err_new(ERR_ARGUMENT, "member [model.vocab] has a token of [%zu] bytes", token.n);
    int32_t old;
    if (!trie_put(t->vocab.trie, token, (int32_t)id, &old))
        return err_new(ERR_ARGUMENT, "member [model.vocab] is too large");
    if (old >= 0 && (uint32_t)old < id)
        trie_set(t->vocab.trie, token, (int32_t)id);
    t->vocab.tokens[id] = arena_dup(t->arena, token);
    return NULL;
}

/* [["<unk>",0.0],...]: ids are places; of two equal tokens the last counts. */
static struct err *read_vocab_list(struct tokenizer *t, const struct json *j)
{
    if (j->flat || j->n == 0 || j->n > VOCAB_MAX_TOKENS)
        return err_new(ERR_ARGUMENT, "member [model.vocab] must be an array of 1 to %u tokens",
                       VOCAB_MAX_TOKENS);
    vocab_reserve(&t->vocab, j->n);
    uint32_t id = 0;
    struct json_iter it = json_iter(j);
    for (const struct json *m; (m = json_next(&it)); id++) {
        struct str token;
        if (!json_is(m, JSON_ARRAY) || m->flat || m->n != 2 || !json_str(json_at(m, 0), &token))
            return err_new(ERR_ARGUMENT,
                           "member [model.vocab] must have a token and its score at [%u]", id);
        TRY(vocab_set(t, token, id));
    }
    return NULL;
}

static struct err *read_vocab(struct tokenizer *t, const struct json *j, size_t n_added)
{
    if (json_is(j, JSON_ARRAY))
        return read_vocab_list(t, j);
    if (!json_is(j, JSON_OBJECT) || j->n == 0 || j->n > VOCAB_MAX_TOKENS)
        return err_new(ERR_ARGUMENT,
                       "member [model.vocab] must be an object of 1 to %u tokens and their ids",
                       VOCAB_MAX_TOKENS);
    int64_t max = -1, id, ceiling = (int64_t)j->n + (int64_t)n_added + MAX_HOLES;
    struct json_iter it = json_iter(j);
    for (const struct json *m; (m = json_next(&it));) {
        if (!json_i64(m, &id) || id < 0 || id >= ceiling)
            return err_new(ERR_ARGUMENT,
                           "member [model.vocab] has an id that is not from 0 to %lld",
                           (long long)ceiling - 1);
        max = id > max ? id : max;
    }
    vocab_reserve(&t->vocab, (size_t)max + 1);
    it = json_iter(j);
    for (const struct json *m; (m = json_next(&it));) {
        json_i64(m, &id);
        if (t->vocab.tokens[id].p)
            return err_new(ERR_ARGUMENT, "member [model.vocab] has the id [%lld] twice",
                           (long long)id);
        TRY(vocab_set(t, m->key, (uint32_t)id));
    }
    return NULL;
}

/* A line per token. A repeated line keeps its place, and the last one counts, as in Python's
 * load_vocab: hence from the end. */
static struct err *read_lines(struct tokenizer *t, struct str lines)
{
    if (lines.n && lines.p[lines.n - 1] == '\n')
        lines.n--;
    size_t n = 1;
    for (size_t i = 0; i < lines.n; i++)
        n += lines.p[i] == '\n';
    if (n > VOCAB_MAX_TOKENS)
        return err_new(ERR_ARGUMENT, "more than %u lines", VOCAB_MAX_TOKENS);
    vocab_reserve(&t->vocab, n);
    size_t end = lines.n;
    for (size_t id = n; id-- > 0;) {
        size_t begin = end;
        while (begin > 0 && lines.p[begin - 1] != '\n')
            begin--;
        struct str line = {lines.p + begin, end - begin};
        if (line.n && line.p[line.n - 1] == '\r')
            line.n--;
        TRY(vocab_set(t, line, (uint32_t)id));
        end = begin ? begin - 1 : 0;
    }
    return NULL;
}

static struct err *bad_added(const char *must)
{
    return err_new(ERR_ARGUMENT, "member [added_tokens] must have items with %s", must);
}

static struct err *read_flag(const struct json *j, const char *name, bool *out)
{
    const struct json *flag = json_get(j, name);
    if (!flag || json_bool(flag, out))
        return NULL;
    return err_new(ERR_ARGUMENT, "member [added_tokens.%s] must be true or false", name);
}

/* The id of an added token is that of the vocabulary's token of the same text, or a new one. */
static struct err *place_added(struct tokenizer *t, const struct added_token *a, size_t ceiling)
{
    int32_t known = vocab_find(&t->vocab, a->content);
    if (known >= 0)
        return known == a->id ? NULL : bad_added("the [id] their text has in the vocabulary");
    if ((size_t)a->id >= ceiling)
        return bad_added("an [id] that follows the vocabulary's");
    if ((uint32_t)a->id >= t->vocab.n)
        vocab_reserve(&t->vocab, (size_t)a->id + 1);
    struct str *token = &t->vocab.tokens[a->id];
    if (token->p && !str_eq(*token, a->content))
        return bad_added("an [id] that no other token has");
    *token = a->content;
    return NULL;
}

static struct err *read_added(struct tokenizer *t, const struct json *j, struct added_token *out)
{
    struct str content;
    int64_t id;
    if (!json_str(json_get(j, "content"), &content) || content.n > ADDED_MAX_BYTES)
        return bad_added("a string [content] of at most 512 bytes");
    if (!json_i64(json_get(j, "id"), &id) || id < 0 || id >= VOCAB_MAX_TOKENS)
        return bad_added("an integer [id]");
    *out = (struct added_token){.id = (int32_t)id, .content = arena_dup(t->arena, content)};
    TRY(read_flag(j, "special", &out->special));
    out->normalized = !out->special;
    TRY(read_flag(j, "normalized", &out->normalized));
    TRY(read_flag(j, "lstrip", &out->lstrip));
    TRY(read_flag(j, "rstrip", &out->rstrip));
    TRY(read_flag(j, "single_word", &out->single_word));
    return NULL;
}

static struct err *read_all_added(struct tokenizer *t, const struct json *j)
{
    size_t ceiling = t->vocab.n + t->n_added + MAX_HOLES;
    t->added = mem_array(t->n_added, sizeof(*t->added));
    struct json_iter it = json_iter(j);
    for (size_t i = 0; i < t->n_added; i++) {
        TRY(read_added(t, json_next(&it), &t->added[i]));
        TRY(place_added(t, &t->added[i], ceiling));
    }
    return NULL;
}

/* Normalised tokens are looked for in normalised text, so by their own normalised form. */
static bool fill_sets(struct tokenizer *t)
{
    bool ok = true;
    added_set_init(&t->raw, t->added);
    added_set_init(&t->normalized, t->added);
    for (size_t i = 0; i < t->n_added; i++) {
        const struct added_token *a = &t->added[i];
        if (!a->normalized) {
            ok &= added_set_put(&t->raw, a->content, i);
            continue;
        }
        struct norm_text norm = {0};
        t->kind->normalize(t->model, a->content, 0, &norm);
        ok &= added_set_put(&t->normalized, (struct str){norm.p, norm.n}, i);
        norm_text_free(&norm);
    }
    return ok;
}

/* Only these have white space in what they were found as; an unknown word that has the id of an
 * added [UNK] is not one. */
static void mark_stripping(struct tokenizer *t)
{
    if (t->n_added)
        t->strips = mem_array(t->vocab.n, sizeof(*t->strips));
    for (size_t i = 0; i < t->n_added; i++)
        t->strips[t->added[i].id] = t->added[i].lstrip || t->added[i].rstrip;
}

/* Cutting a text must not come between what a normalised added token is or takes along. */
static bool may_cut(const struct tokenizer *t)
{
    if (!t->kind->may_cut)
        return false;
    for (size_t i = 0; i < t->n_added; i++) {
        const struct added_token *a = &t->added[i];
        if (a->normalized && (a->rstrip || str_find_char(a->content, ' ') != SIZE_MAX))
            return false;
    }
    return true;
}

static struct err *read_truncation(const struct json *j, uint32_t *out)
{
    *out = 0;
    if (json_is_null(j))
        return NULL;
    int64_t max;
    if (!json_i64(json_get(j, "max_length"), &max) || max < 0 || max > INT32_MAX)
        return err_new(ERR_ARGUMENT, "member [truncation.max_length] must be a positive integer");
    *out = (uint32_t)max;
    return NULL;
}

static struct err *read_members(struct tokenizer *t, const struct json *root, struct str lines)
{
    if (!json_is(root, JSON_OBJECT))
        return err_new(ERR_ARGUMENT, "must be an object");
    const struct json *added = json_get(root, "added_tokens");
    if (added &&
        (!json_is(added, JSON_ARRAY) || (added->flat && added->n) || added->n > ADDED_MAX_TOKENS))
        return err_new(ERR_ARGUMENT, "member [added_tokens] must be an array of at most %d objects",
                       ADDED_MAX_TOKENS);
    t->n_added = added ? added->n : 0;
    TRY(find_kind(root, &t->kind));
    if (lines.p)
        TRY(read_lines(t, lines));
    else
        TRY(read_vocab(t, json_path(root, "model", "vocab", NULL), t->n_added));
    if (t->n_added)
        TRY(read_all_added(t, added));
    TRY(template_read(json_get(root, "post_processor"), t->vocab.n, &t->single, &t->pair));
    TRY(read_truncation(json_get(root, "truncation"), &t->default_max_tokens));
    TRY(t->kind->open(root, &t->vocab, &t->model));
    if (!fill_sets(t))
        return err_new(ERR_ARGUMENT, "member [added_tokens] is too large");
    mark_stripping(t);
    t->may_cut = may_cut(t);
    t->part_bytes = PART_BYTES;
    return NULL;
}

struct err *tokenizer_read(const struct json *root, struct str lines, struct tokenizer **out)
{
    struct tokenizer *t = mem_new(sizeof(*t));
    atomic_init(&t->refs, 1);
    t->arena = arena_new(ARENA_NO_LIMIT);
    t->vocab.trie = trie_new();
    bert_chars_init(); /* added tokens look at words and white space */
    struct err *err = read_members(t, root, lines);
    if (err) {
        tokenizer_free(t);
        return err;
    }
    *out = t;
    return NULL;
}
