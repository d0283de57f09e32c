/* recognise: from a script to the graph that a snapshot of the same model would have.
 *
 * Follows forward with a description for each value (rows of tokens, heads of them, the attention
 * mask, positions, a length, a constant ...) and adds the graph's op where what libtorch spelled
 * out op by op amounts to one. The mask falls away, since sequences are laid end to end without
 * padding. *out NULL: not an architecture we know; the reason is in `why` (a static text or in the
 * script's arena): it is interpreted then, with the same results within rounding. */
#ifndef INFERD_ENGINE_RECOGNISE_H
#define INFERD_ENGINE_RECOGNISE_H

#include "graph.h"
#include "script.h"

struct recognised {
    struct graph *graph; /* output: [sequences, width] or [tokens, width] */
    uint32_t max_tokens; /* positions it has, at most what was asked for */
    uint32_t vocab_size, type_vocab_size;
    bool pairs; /* question answering: [tokens, 2] shown as [2, 1, tokens] */
};

struct err *recognise(const struct script *, uint32_t max_tokens, struct recognised *out,
                      const char **why);

#endif
