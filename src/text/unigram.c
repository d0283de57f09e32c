/* Unigram: words cut into the pieces whose scores add up to the most.
 *
 * Reference: huggingface/tokenizers, models/unigram (encode_optimized): the best path to every
 * byte, found left to right by walking the vocabulary's trie from each character; of equal sums the
 * earlier stays; a character without a piece of its own costs the lowest score less ten; unknown
 * neighbours are one token. Sums are doubles added in the reference's order, so ties fall alike.
 *
 * Where no piece reaches across a position, the best path to it is final: what lies before is put
 * out at once, so memory goes with the longest chain of overlapping pieces, not with the text. */
#include <stdlib.h>

#include "bug.h"
#include "pipeline.h"
#include "transform.h"

#define UNKNOWN_PENALTY 10.0

struct unigram {
    struct pipeline pipeline;
    const struct vocab *vocab;
    double *scores; /* by id */
    double unknown_score;
    int32_t unknown;
    bool byte_fallback, fuse_unknown;
    int32_t bytes[256]; /* <0x00> to <0xFF>; -1: none */
};

struct node {
    double score;  /* of the best path that ends here */
    uint32_t from; /* where its last piece begins; NONE: no path */
    int32_t id;
};

#define NONE UINT32_MAX

/* A word on its way. Positions are bytes of `t`; nodes[i] is position start + i. */
struct path {
    const struct unigram *m;
    const struct norm_text *t;
    struct scratch *scratch;
    struct pieces *out;
    struct node *nodes;
    size_t n, cap;
    uint32_t start;
    uint32_t unknown_from, unknown_to; /* unknown characters not put out yet; equal: none */
};

static struct node *node_at(struct path *p, uint32_t at)
{
    size_t i = at - p->start;
    if (i >= p->cap) {
        size_t cap = i + i / 2 + 64;
        struct node *moved = mem_array(cap, sizeof(*moved));
        memcpy(moved, p->nodes, p->n * sizeof(*moved));
        free(p->scratch->p);
        p->scratch->p = p->nodes = moved;
        p->scratch->cap = cap * sizeof(*moved);
        p->cap = cap;
    }
    for (; p->n <= i; p->n++)
        p->nodes[p->n] = (struct node){0, NONE, -1};
    return &p->nodes[i];
}

static void offer(struct path *p, uint32_t from, uint32_t to, double score, int32_t id)
{
    struct node *n = node_at(p, to);
    if (n->from == NONE || score > n->score)
        *n = (struct node){score, from, id};
}

/* Pieces that begin at this character; returns how far they reach. */
static uint32_t extend(struct path *p, uint32_t at, uint32_t end, double score)
{
    const struct unigram *m = p->m;
    const struct trie *trie = m->vocab->trie;
    uint32_t next = at + (uint32_t)utf8_length(p->t->p[at]), reach = next;
    bool single = false;
    uint32_t node = TRIE_ROOT;
    for (uint32_t i = at; i < end; i++) {
        node = trie_step(trie, node, (uint8_t)p->t->p[i]);
        if (!node)
            break;
        if (!trie_ends(node))
            continue;
        int32_t id = trie_value(trie, node);
        offer(p, at, i + 1, m->scores[id] + score, id);
        single |= i + 1 == next;
        reach = i + 1 > reach ? i + 1 : reach;
    }
    if (!single)
        offer(p, at, next, m->unknown_score + score, m->unknown);
    return reach;
}

static void add(struct path *p, int32_t id, uint32_t from, uint32_t to)
{
    pieces_add(p->out, id, p->t->begin[from], p->t->end[to - 1]);
}

static bool add_bytes(struct path *p, struct str text, uint32_t from, uint32_t to)
{
    if (!p->m->byte_fallback)
        return false;
    for (size_t i = 0; i < text.n; i++) {
        if (p->m->bytes[(uint8_t)text.p[i]] < 0)
            return false;
    }
    for (size_t i = 0; i < text.n; i++)
        add(p, p->m->bytes[(uint8_t)text.p[i]], from, to);
    return true;
}

static void end_unknown(struct path *p)
{
    uint32_t from = p->unknown_from, to = p->unknown_to;
    if (from == to)
        return;
    struct str text = {p->t->p + from, to - from};
    int32_t id = vocab_find(p->m->vocab, text);
    if (id >= 0 || !add_bytes(p, text, from, to))
        add(p, id >= 0 ? id : p->m->unknown, from, to);
    p->unknown_from = p->unknown_to = 0;
}

static void put(struct path *p, int32_t id, uint32_t from, uint32_t to)
{
    if (id != p->m->unknown) {
        end_unknown(p);
        add(p, id, from, to);
        return;
    }
    if (p->unknown_from == p->unknown_to)
        p->unknown_from = from;
    p->unknown_to = to;
    if (!p->m->fuse_unknown)
        end_unknown(p);
}

/* Puts out the best path to `at` and goes on from there. The links are turned around in place. */
static void settle(struct path *p, uint32_t at)
{
    struct node last = *node_at(p, at);
    uint32_t to = at, next = NONE;
    while (to > p->start) {
        struct node *n = &p->nodes[to - p->start];
        uint32_t from = n->from;
        n->from = next; /* now: where the piece after it ends */
        next = to;
        to = from;
    }
    for (uint32_t from = p->start; next != NONE;) {
        const struct node *n = &p->nodes[next - p->start];
        put(p, n->id, from, next);
        from = next;
        next = n->from;
    }
    p->start = at;
    p->n = 1;
    p->nodes[0] = last;
}

static void unigram_word(const void *model, const struct norm_text *t, uint32_t from, uint32_t to,
                         struct scratch *scratch, struct pieces *out)
{
    struct path p = {.m = model, .t = t, .scratch = scratch, .out = out, .start = from};
    p.nodes = scratch_take(scratch, 64 * sizeof(struct node));
    p.cap = scratch->cap / sizeof(struct node);
    p.nodes[0] = (struct node){0};
    p.n = 1;
    uint32_t reach = from;
    for (uint32_t at = from; at < to; at += (uint32_t)utf8_length(t->p[at])) {
        if (reach <= at && at > from)
            settle(&p, at);
        uint32_t far = extend(&p, at, to, node_at(&p, at)->score);
        reach = far > reach ? far : reach;
    }
    settle(&p, to);
    end_unknown(&p);
}

/* --- reading --- */

static struct err *bad(const char *member, const char *must)
{
    return err_new(ERR_ARGUMENT, "member [model.%s] %s", member, must);
}

static void read_bytes(struct unigram *m)
{
    static const char digits[] = "0123456789ABCDEF";
    for (uint32_t b = 0; b < 256; b++) {
        char text[6] = {'<', '0', 'x', digits[b >> 4], digits[b & 15], '>'};
        m->bytes[b] = vocab_find(m->vocab, str_n(text, sizeof(text)));
    }
}

/* The reference reads scores as serde_json does: digits into 64 bits, then one division by a power
 * of ten. That is at times the neighbour of the nearest double, which decides between paths whose
 * sums are equal but for the order they are added in. False: not in that form, or out of range. */
static bool read_score(const struct json *j, double *out)
{
    if (!json_f64(j, out) || *out - *out != 0)
        return false;
    struct str s = j->text;
    uint64_t digits = 0;
    int n_decimals = 0;
    bool negative = s.p[0] == '-', point = false;
    for (size_t i = negative; i < s.n; i++) {
        if (s.p[i] == '.') {
            point = true;
            continue;
        }
        if (s.p[i] < '0' || s.p[i] > '9')
            return true; /* an exponent: no score is written so */
        uint64_t digit = (uint64_t)(s.p[i] - '0');
        if (digits > (UINT64_MAX - digit) / 10) {
            if (!point)
                return true;
            break; /* decimals beyond that are left out */
        }
        digits = digits * 10 + digit;
        n_decimals += point;
    }
    static const double powers[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                    1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                    1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    if ((size_t)n_decimals >= sizeof(powers) / sizeof(powers[0]))
        return true;
    double value = (double)digits / powers[n_decimals];
    *out = negative ? -value : value;
    return true;
}

static struct err *read_scores(struct unigram *m, const struct json *vocab)
{
    if (!json_is(vocab, JSON_ARRAY))
        return bad("vocab", "must be an array of tokens and their scores");
    m->scores = mem_array(vocab->n, sizeof(*m->scores));
    double lowest = 0;
    size_t id = 0;
    struct json_iter it = json_iter(vocab);
    for (const struct json *j; (j = json_next(&it)); id++) {
        double score;
        if (!read_score(json_at(j, 1), &score))
            return bad("vocab", "must have a number as the score of each token");
        m->scores[id] = score;
        lowest = id == 0 || score < lowest ? score : lowest;
    }
    m->unknown_score = lowest - UNKNOWN_PENALTY;
    return NULL;
}

static struct err *read_model(struct unigram *m, const struct json *model)
{
    const struct json *vocab = json_get(model, "vocab"), *j = json_get(model, "byte_fallback");
    int64_t unknown;
    TRY(read_scores(m, vocab));
    if (!json_is_null(j) && !json_bool(j, &m->byte_fallback))
        return bad("byte_fallback", "must be true or false");
    /* Not of the reference, which always fuses. */
    m->fuse_unknown = true;
    j = json_get(model, "fuse_unk");
    if (!json_is_null(j) && !json_bool(j, &m->fuse_unknown))
        return bad("fuse_unk", "must be true or false");
    if (!json_i64(json_get(model, "unk_id"), &unknown) || unknown < 0 || unknown >= vocab->n)
        return bad("unk_id", "must be the id of a token in the vocabulary");
    m->unknown = (int32_t)unknown;
    read_bytes(m);
    return NULL;
}

static void unigram_free(void *model)
{
    struct unigram *m = model;
    pipeline_deinit(&m->pipeline);
    free(m->scores);
    free(m);
}

static struct err *unigram_open(const struct json *root, const struct vocab *vocab, void **out)
{
    struct unigram *m = mem_new(sizeof(*m));
    m->vocab = vocab;
    struct err *err = pipeline_read(root, &m->pipeline);
    if (!err && pretokenizer_is_byte_level(m->pipeline.pretokenizer))
        err = err_new(ERR_ARGUMENT, "member [pre_tokenizer.type] must not be [ByteLevel] here");
    if (!err)
        err = read_model(m, json_get(root, "model"));
    if (err) {
        unigram_free(m);
        return err;
    }
    *out = m;
    return NULL;
}

static bool unigram_may_cut(const void *model, struct str text)
{
    const struct unigram *m = model;
    return pipeline_may_cut(&m->pipeline, text);
}

static void unigram_encode(const void *model, struct str text, uint32_t at, struct pieces *out)
{
    const struct unigram *m = model;
    pipeline_encode(&m->pipeline, unigram_word, m, text, at, out);
}

static void unigram_normalize(const void *model, struct str text, uint32_t at,
                              struct norm_text *out)
{
    const struct unigram *m = model;
    normalizer_run(m->pipeline.normalizer, text, at, out);
}

static void unigram_encode_normalized(const void *model, const struct norm_text *t, size_t from,
                                      size_t to, struct pieces *out)
{
    const struct unigram *m = model;
    pipeline_encode_normalized(&m->pipeline, unigram_word, m, t, from, to, out);
}

const struct tokenizer_kind tokenizer_unigram = {
    .type = "Unigram",
    .open = unigram_open,
    .free = unigram_free,
    .may_cut = unigram_may_cut,
    .encode = unigram_encode,
    .normalize = unigram_normalize,
    .encode_normalized = unigram_encode_normalized,
};
