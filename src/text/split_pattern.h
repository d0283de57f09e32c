/* split_pattern: the regular expressions byte-level tokenizers cut words with, without a regex
 * engine.
 *
 * There are few of them, they all cover every character, and each is a short list of alternatives
 * over letters, numbers and white space: hand-written scanners take time linear in the text, which
 * a backtracking engine does not promise. Classes are those of Oniguruma as tokenizers 0.21 has it
 * (Unicode 16). Private to text/. Thread: any. */
#ifndef INFERD_SPLIT_PATTERN_H
#define INFERD_SPLIT_PATTERN_H

#include "str.h"

enum split_pattern {
    SPLIT_GPT2, /* ByteLevel's own: 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|...
                 */
    SPLIT_CL100K,    /* any case, a non-letter before letters, numbers of up to three digits */
    SPLIT_CL100K_ONE /* the same with single digits (Qwen) */
};

/* False: none of the known ones. */
bool split_pattern_find(struct str regex, enum split_pattern *out);
/* The end of the match that begins at byte i of well-formed UTF-8; i < text.n. */
size_t split_pattern_next(enum split_pattern, struct str text, size_t i);

#endif
