#include "pipeline.h"

#include <stdlib.h>

#include "bug.h"

void *scratch_take(struct scratch *s, size_t n)
{
    if (n > s->cap) {
        free(s->p);
        s->cap = n < 4096 ? 4096 : n + n / 2;
        s->p = mem_grow(NULL, s->cap);
    }
    return s->p;
}

struct err *pipeline_read(const struct json *root, struct pipeline *out)
{
    TRY(normalizer_read(json_get(root, "normalizer"), &out->normalizer));
    return pretokenizer_read(json_get(root, "pre_tokenizer"), &out->pretokenizer);
}

void pipeline_deinit(struct pipeline *p)
{
    normalizer_free(p->normalizer);
    pretokenizer_free(p->pretokenizer);
    *p = (struct pipeline){0};
}

bool pipeline_may_cut(const struct pipeline *p, struct str text)
{
    return normalizer_may_cut(p->normalizer, text) && pretokenizer_may_cut(p->pretokenizer);
}

static void encode(const struct pipeline *p, word_encode *word, const void *model,
                   const struct norm_text *t, size_t from, size_t to, struct pieces *out)
{
    struct words w = {0};
    struct scratch scratch = {0};
    pretokenizer_run(p->pretokenizer, t, from, to, &w);
    for (size_t i = 0; i < w.n; i++) {
        out->word++;
        word(model, &w.text, w.v[i].from, w.v[i].to, &scratch, out);
    }
    free(scratch.p);
    words_free(&w);
}

void pipeline_encode(const struct pipeline *p, word_encode *word, const void *model,
                     struct str text, uint32_t at, struct pieces *out)
{
    struct norm_text norm = {0};
    normalizer_run(p->normalizer, text, at, &norm);
    if (norm.n)
        encode(p, word, model, &norm, 0, norm.n, out);
    norm_text_free(&norm);
}

void pipeline_encode_normalized(const struct pipeline *p, word_encode *word, const void *model,
                                const struct norm_text *t, size_t from, size_t to,
                                struct pieces *out)
{
    encode(p, word, model, t, from, to, out);
}
