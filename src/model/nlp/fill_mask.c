/* The word that stands behind the mask: the vocabulary by its probability at that place. */
#include "engine.h"
#include "nlp_private.h"
#include "tokenizer.h"

struct place {
    size_t row, token;
    uint32_t begin, end;
    bool found;
};

/* Windows overlap: a mask that is met twice at one place of the text is one. */
static struct err *find_mask(const struct nlp_config *c, const struct tokenizer *tokenizer,
                             const struct nlp_request *request, struct place *out)
{
    const char *mask = tokenization_mask_token(c->tokenization.kind);
    *out = (struct place){0};
    for (size_t i = 0; i < request->n_rows; i++) {
        const struct tokens *row = &request->rows[i];
        for (uint32_t k = 0; k < row->n; k++) {
            if (!row->words[k] || !str_eq_c(tokenizer_token(tokenizer, row->ids[k]), mask))
                continue;
            if (out->found && row->begin[k] != out->begin)
                return err_status(400, "only one %s token should exist in the input", mask);
            if (!out->found)
                *out = (struct place){i, k, row->begin[k], row->end[k], true};
        }
    }
    return out->found ? NULL : err_status(400, "no %s token could be found", mask);
}

static struct err *fill_mask_encode(const struct nlp_config *c, const struct tokenizer *tokenizer,
                                    struct arena *arena, struct str text, struct nlp_request *out)
{
    struct place mask;
    TRY(nlp_rows(c, tokenizer, arena, text, (struct str){NULL, 0}, out));
    return find_mask(c, tokenizer, out, &mask);
}

/* Without what marks the beginning of a word. */
static struct str shown(const struct nlp_config *c, struct str token)
{
    struct str mark =
        c->tokenization.kind == TOKENIZATION_ROBERTA ? STR("\xc4\xa0") : STR("\xe2\x96\x81");
    return str_starts(token, mark) ? str_sub(token, mark.n, token.n) : token;
}

/* The text with its mask replaced; white space that the mask took along stays. */
static struct str filled(const struct nlp_config *c, struct str text, const struct place *mask,
                         struct str word, struct arena *arena)
{
    struct str whole = str_sub(text, mask->begin, mask->end - mask->begin);
    size_t n_mask = strlen(tokenization_mask_token(c->tokenization.kind));
    size_t from = mask->begin + (whole.n > n_mask ? whole.n - n_mask : 0);
    struct str before = str_sub(text, 0, from), after = str_sub(text, mask->end, text.n);
    char *p = arena_array(arena, before.n + word.n + after.n + 1, 1);
    size_t n = 0;
    const struct str parts[] = {before, word, after};
    for (size_t i = 0; i < 3; i++) {
        if (parts[i].n)
            memcpy(p + n, parts[i].p, parts[i].n);
        n += parts[i].n;
    }
    return str_n(p, n);
}

static struct err *fill_mask_decode(const struct nlp_config *c, const struct tokenizer *tokenizer,
                                    const struct nlp_request *request, const struct output *outputs,
                                    struct arena *arena, struct nlp_result *out)
{
    struct place mask;
    TRY(find_mask(c, tokenizer, request, &mask));
    const struct output *o = &outputs[mask.row];
    if ((int64_t)mask.token >= o->dim[1])
        return err_status(409, "Expected exactly [%u] rows in fill_mask result; got [%lld]",
                          request->rows[mask.row].n, (long long)o->dim[1]);
    size_t n = (size_t)o->dim[2];
    double *p = nlp_row(o, 0, (int64_t)mask.token, arena);
    nlp_softmax(p, n);
    struct nlp_top top;
    nlp_top_init(&top, arena, c->num_top_classes, n);
    for (size_t i = 0; i < n; i++)
        nlp_top_offer(&top, p[i], 0, i, i);
    nlp_top_sort(&top);
    struct nlp_class *classes = arena_array(arena, top.n, sizeof(*classes));
    for (size_t i = 0; i < top.n; i++) {
        struct str token = tokenizer_token(tokenizer, (int32_t)top.items[i].first);
        classes[i].name = shown(c, token);
        classes[i].probability = top.items[i].score;
    }
    out->classes = classes;
    out->n_classes = top.n;
    out->shows_classes = c->num_top_classes != 0;
    out->predicted = classes[0].name;
    out->probability = classes[0].probability;
    out->sequence = filled(c, request->text, &mask, out->predicted, arena);
    return NULL;
}

static void fill_mask_render(struct json_out *w, const struct nlp_config *c, struct str field,
                             const struct nlp_result *r)
{
    struct buf key;
    json_key_s(w, field);
    json_put_str(w, r->predicted);
    nlp_render_classes(w, r);
    buf_init(&key, field.n + sizeof("_sequence"));
    buf_put(&key, field);
    buf_cstr(&key, "_sequence");
    json_key_s(w, buf_str(&key));
    json_put_str(w, r->sequence);
    buf_deinit(&key);
}

const struct nlp_head nlp_fill_mask = {
    .task = NLP_FILL_MASK,
    .name = "fill_mask",
    .members = NLP_COMMON | NLP_NUM_TOP_CLASSES | NLP_MASK_TOKEN,
    .updates = NLP_ALWAYS | NLP_NUM_TOP_CLASSES,
    .num_top_classes = 5,
    .encode = fill_mask_encode,
    .decode = fill_mask_decode,
    .render = fill_mask_render,
};
