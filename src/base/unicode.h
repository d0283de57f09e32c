/* unicode: code points, categories, normalisation and case, on ICU. The one file that calls ICU.
 * Thread: any. Code points are uint32_t; UTF-8 is well-formed (str_utf8_ok) before it gets here. */
#ifndef INFERD_UNICODE_H
#define INFERD_UNICODE_H

#include "arena.h"
#include "str.h"

/* Decodes one code point at s.p[*i] and moves *i past it. BUG on malformed input. */
uint32_t utf8_next(struct str s, size_t *i);
/* Encodes into out (room for 4); returns the bytes written. */
size_t utf8_put(char *out, uint32_t c);

/* UTF-16 code units the text would take: Elasticsearch (Java) counts in these. */
size_t utf16_length(struct str s);
/* The prefix of at most n UTF-16 units; never cuts a surrogate pair or a code point. */
struct str utf16_prefix(struct str s, size_t n);

/* See unicode.c for what else the tokenizers need (categories, NFD, NFC, NFKC, lower-casing). */

#endif
