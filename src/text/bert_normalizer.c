/* The four steps of the reference run one after the other over whole strings; here each code point
 * passes through all of them at once. Only combining characters have to wait: NFD sorts a run of
 * them by class, so a run is kept until the next starter. As nearly all of them are then stripped,
 * a run is sorted only when one survives. */
#include "bert_normalizer.h"

#include <stdlib.h>

#include "bug.h"

#define OUT_N 64

struct bert_waiting {
    uint32_t c, begin, end;
    uint8_t combining;
    bool added; /* not the first code point of a decomposition: shares the origin before it */
    bool stripped;
};

struct norm_out {
    const struct bert_normalizer *n;
    struct bert_run *run;
    norm_take *take;
    void *ctx;
    size_t n_out;
    struct norm_char out[OUT_N + 1];
};

void bert_run_free(struct bert_run *run)
{
    free(run->v);
    *run = (struct bert_run){0};
}

static void put(struct norm_out *o, uint32_t c, const struct bert_char *b, uint32_t begin,
                uint32_t end)
{
    bool lower = o->n->lowercase;
    o->out[o->n_out++] = (struct norm_char){lower ? c + (uint32_t)b->lower : c, begin, end};
    if (lower && c == 0x130) /* the one lower case of two code points: i and a dot above */
        o->out[o->n_out++] = (struct norm_char){0x307, begin, end};
    if (o->n_out >= OUT_N) {
        o->take(o->ctx, o->out, o->n_out);
        o->n_out = 0;
    }
}

/* Stable, by combining class. */
static void sort_run(const struct bert_run *run, uint32_t *order)
{
    uint32_t at[256] = {0};
    for (size_t i = 0; i < run->n; i++)
        at[run->v[i].combining]++;
    uint32_t sum = 0;
    for (size_t k = 0; k < 256; k++) {
        uint32_t n = at[k];
        at[k] = sum;
        sum += n;
    }
    for (size_t i = 0; i < run->n; i++)
        order[at[run->v[i].combining]++] = (uint32_t)i;
}

/* Puts the survivors of a run out in canonical order. Origins are handed out in the order the
 * characters came in, whatever the sorting did. */
static void put_run(struct norm_out *o)
{
    struct bert_run *run = o->run;
    uint32_t *order = mem_array(run->n, sizeof(*order));
    sort_run(run, order);
    size_t source = 0;
    for (size_t i = 0; i < run->n; i++) {
        const struct bert_waiting *w = &run->v[order[i]];
        if (!w->added) {
            while (run->v[source].added)
                source++;
            run->begin = run->v[source].begin;
            run->end = run->v[source].end;
            source++;
        }
        if (!w->stripped)
            put(o, w->c, bert_char(w->c), run->begin, run->end);
    }
    free(order);
}

static void end_run(struct norm_out *o)
{
    if (o->run->survivor)
        put_run(o);
    o->run->n = 0;
    o->run->survivor = false;
}

static void wait_in_run(struct norm_out *o, struct bert_waiting w)
{
    struct bert_run *run = o->run;
    if (run->n == BERT_RUN_LIMIT && !w.added)
        end_run(o);
    if (run->n == run->cap) {
        run->cap = run->cap ? run->cap * 2 : 32;
        run->v = mem_grow(run->v, run->cap * sizeof(*run->v));
    }
    run->v[run->n++] = w;
    run->survivor |= !w.stripped;
}

static void strip(struct norm_out *o, uint32_t c, const struct bert_char *b, uint32_t begin,
                  uint32_t end)
{
    uint32_t to[BERT_DECOMPOSED_MAX];
    size_t n = bert_decompose(c, b, to);
    for (size_t i = 0; i < n; i++) {
        const struct bert_char *d = i == 0 && to[0] == c ? b : bert_char(to[i]);
        bool stripped = d->flags & BERT_MARK;
        if (d->combining) {
            wait_in_run(o, (struct bert_waiting){to[i], begin, end, d->combining, i > 0, stripped});
            continue;
        }
        if (o->run->n)
            end_run(o);
        o->run->begin = begin;
        o->run->end = end;
        if (!stripped)
            put(o, to[i], d, begin, end);
    }
}

static void accept(struct norm_out *o, uint32_t c, const struct bert_char *b, uint32_t begin,
                   uint32_t end)
{
    if (o->n->strip_accents)
        strip(o, c, b, begin, end);
    else
        put(o, c, b, begin, end);
}

static void one(struct norm_out *o, uint32_t c, uint32_t begin, uint32_t end)
{
    const struct bert_char *b = bert_char(c);
    if (o->n->clean_text) {
        if (b->flags & BERT_DROP)
            return;
        if (b->flags & BERT_SPACE) {
            c = ' ';
            b = bert_char(c);
        }
    }
    bool ideograph = o->n->handle_chinese_chars && (b->flags & BERT_CJK);
    if (ideograph)
        accept(o, ' ', bert_char(' '), begin, end);
    accept(o, c, b, begin, end);
    if (ideograph)
        accept(o, ' ', bert_char(' '), begin, end);
}

void bert_normalize(const struct bert_normalizer *n, struct str text, uint32_t at,
                    struct bert_run *run, norm_take *take, void *ctx)
{
    struct norm_out o;
    o.n = n;
    o.run = run;
    o.take = take;
    o.ctx = ctx;
    o.n_out = 0;
    const uint8_t *p = (const uint8_t *)text.p;
    for (size_t i = 0; i < text.n;) {
        uint32_t c;
        size_t used = bert_utf8(p + i, text.n - i, &c);
        one(&o, c, at + (uint32_t)i, at + (uint32_t)(i + used));
        i += used;
    }
    if (run->n)
        end_run(&o);
    if (o.n_out)
        take(ctx, o.out, o.n_out);
}

static struct err *flag(const struct json *object, const char *name, bool *out)
{
    if (json_bool(json_get(object, name), out))
        return NULL;
    return err_new(ERR_ARGUMENT, "member [normalizer.%s] must be true or false", name);
}

struct err *bert_normalizer_read(const struct json *j, struct bert_normalizer *out)
{
    *out = (struct bert_normalizer){0};
    if (json_is_null(j))
        return NULL;
    struct str type;
    if (!json_str(json_get(j, "type"), &type) || !str_eq_c(type, "BertNormalizer"))
        return err_new(ERR_ARGUMENT, "member [normalizer] must be a [BertNormalizer]");
    TRY(flag(j, "clean_text", &out->clean_text));
    TRY(flag(j, "handle_chinese_chars", &out->handle_chinese_chars));
    TRY(flag(j, "lowercase", &out->lowercase));
    out->strip_accents = out->lowercase; /* null: as lowercase */
    if (!json_is_null(json_get(j, "strip_accents")))
        TRY(flag(j, "strip_accents", &out->strip_accents));
    return NULL;
}
