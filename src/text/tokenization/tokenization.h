/* tokenization: how Elasticsearch's trained models cut texts: the `tokenization` object of an
 * inference_config and the vocabulary that is uploaded beside it. Source: trained_models.md 3
 * (vocabulary body), 6, 7 and 12.
 *
 *     struct tokenization t;
 *     TRY(tokenization_parse(json, &t));                       // of a PUT; NULL: bert
 *     TRY(tokenization_open(&t, vocabulary_json, &tokenizer)); // {"vocabulary":[...]}
 *     struct windows w;
 *     TRY(tokenization_encode(&t, tokenizer, arena, text, (struct str){0}, &w));
 *
 * Pure; Thread: any. Knows struct tokens by name only, so that model/'s users see the options and
 * no tokenizer. */
#ifndef INFERD_TOKENIZATION_H
#define INFERD_TOKENIZATION_H

#include "arena.h"
#include "err.h"
#include "json.h"

struct body;
struct tokenizer;
struct tokens;

enum tokenization_kind {
    TOKENIZATION_BERT,
    TOKENIZATION_BERT_JA,
    TOKENIZATION_MPNET,
    TOKENIZATION_ROBERTA,
    TOKENIZATION_XLM_ROBERTA,
    TOKENIZATION_DEBERTA_V2,
    N_TOKENIZATIONS
};
enum truncate { TRUNCATE_NONE, TRUNCATE_FIRST, TRUNCATE_SECOND, TRUNCATE_BALANCED };

struct tokenization {
    enum tokenization_kind kind;
    bool do_lower_case, with_special_tokens, add_prefix_space;
    uint32_t max_sequence_length;
    enum truncate truncate;
    int64_t span; /* -1: no windows */
};

const char *tokenization_name(enum tokenization_kind);       /* "xlm_roberta" */
const char *tokenization_mask_token(enum tokenization_kind); /* "[MASK]" or "<mask>" */
const char *truncate_name(enum truncate);                    /* "balanced" */

/* {"bert":{...}}: exactly one kind; ES's texts for what is wrong. NULL or null: the defaults. */
struct err *tokenization_parse(const struct json *, struct tokenization *out);
/* At inference: only truncate and span, under the same kind. `t` is changed in place. */
struct err *tokenization_update(const struct json *, struct tokenization *t);
/* The same two as part of a request that is read by body.h, whose text gives errors their place. */
struct err *tokenization_read(struct body *, const struct json *, struct tokenization *out);
struct err *tokenization_reread(struct body *, const struct json *, struct tokenization *t);
/* The object {"bert":{"do_lower_case":true,...}} with defaults filled in, in ES's order. */
void tokenization_render(struct json_out *, const struct tokenization *);

/* The checks of PUT vocabulary: not empty, merges or scores where the kind needs them. */
struct err *vocabulary_check(const struct tokenization *, struct str model_id, const struct json *);
/* A tokenizer from an uploaded vocabulary. Missing special tokens: 409 in ES's words. */
struct err *tokenization_open(const struct tokenization *, const struct json *vocabulary,
                              struct tokenizer **out);

/* One text (or pair: b.p set, a is the query or question) as the rows its model reads: one, or
 * with span >= 0 as many windows as it takes. `is_truncated`: something was cut. Too long with
 * truncate none and no span, and the like: 400 in ES's words. */
struct windows {
    size_t n;
    struct tokens *items; /* type ids as the kind has them; offsets in a or b */
    bool is_truncated;
};
struct err *tokenization_encode(const struct tokenization *, const struct tokenizer *,
                                struct arena *, struct str a, struct str b, struct windows *out);

#endif
