/* The logit of query and document read together: the score as it is, any sign. */
#include <stdlib.h>

#include "head.h"

static int by_score(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;
    if (x->score != y->score)
        return x->score > y->score ? -1 : 1;
    return x->index < y->index ? -1 : 1;
}

/* The body's own word, else the endpoint's. */
static bool shows_documents(const struct input *in)
{
    const struct value *v = settings_get(&in->values, "return_documents");
    if (in->has_return_documents)
        return in->return_documents;
    return !v || !v->set || v->b;
}

static void rerank_end(const struct input *in, const struct nlp_result *const *results, size_t n,
                       struct arena *a, struct result *out)
{
    bool shows = shows_documents(in);
    *out = (struct result){.kind = RESULT_RERANK, .n = n};
    out->ranked = arena_array(a, n, sizeof(*out->ranked));
    for (size_t i = 0; i < n; i++) {
        out->ranked[i] = (struct ranked){.index = (int64_t)i, .score = (float)results[i]->score};
        if (shows)
            out->ranked[i].text = in->texts[i].p ? in->texts[i] : STR("");
    }
    qsort(out->ranked, out->n, sizeof(*out->ranked), by_score);
    if (in->has_top_n && in->top_n >= 0 && (uint64_t)in->top_n < out->n)
        out->n = (size_t)in->top_n;
}

const struct head head_rerank = {
    .task = TASK_RERANK,
    .nlp = NLP_TEXT_SIMILARITY,
    .end = rerank_end,
};
