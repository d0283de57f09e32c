/* normalizer: "normalizer" of a tokenizer.json as a chain of steps over normalised text.
 *
 *     struct normalizer *n;
 *     TRY(normalizer_read(json_get(root, "normalizer"), &n));
 *     struct norm_text t = {0};
 *     normalizer_run(n, text, at, &t);
 *
 * Steps: BertNormalizer, NFC, NFD, NFKC, NFKD, Lowercase, Strip, StripAccents, Replace, Prepend,
 * Precompiled, NmtNfkc (ours: the map of XLM-RoBERTa, which their uploads do not bring along), and
 * Sequence of these. Private to text/. Thread: any. */
#ifndef INFERD_NORMALIZER_H
#define INFERD_NORMALIZER_H

#include "json.h"
#include "tokenizer_kind.h"

#define NORMALIZER_MAX_STEPS 32

struct normalizer;

/* Null or absent: nothing is changed. Errors name the member. */
struct err *normalizer_read(const struct json *, struct normalizer **out);
void normalizer_free(struct normalizer *);
/* The text cut between a letter of ASCII and a space before another comes out the same. */
bool normalizer_may_cut(const struct normalizer *, struct str text);
/* `out` is empty before; `at`: the origin of the text's first byte. */
void normalizer_run(const struct normalizer *, struct str text, uint32_t at, struct norm_text *out);

#endif
