/* unicode: code points, categories, normalisation and case, on ICU, which only
 * unicode*.c, segment.c and pattern.c call.
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

/* Malformed sequences become U+FFFD, one per maximal subpart, as Python's errors="replace" does.
 * Well-formed text comes back as it is, not copied. */
struct str str_utf8_repair(struct arena *, struct str s);

/* --- one code point ---
 * The classes are those the reference tokenizers use, which are not always the obvious ones. */

/* General categories of the Unicode standard. */
enum unicode_category {
    UNICODE_CN,
    UNICODE_LU,
    UNICODE_LL,
    UNICODE_LT,
    UNICODE_LM,
    UNICODE_LO,
    UNICODE_MN,
    UNICODE_ME,
    UNICODE_MC,
    UNICODE_ND,
    UNICODE_NL,
    UNICODE_NO,
    UNICODE_ZS,
    UNICODE_ZL,
    UNICODE_ZP,
    UNICODE_CC,
    UNICODE_CF,
    UNICODE_CO,
    UNICODE_CS,
    UNICODE_PD,
    UNICODE_PS,
    UNICODE_PE,
    UNICODE_PC,
    UNICODE_PO,
    UNICODE_SM,
    UNICODE_SC,
    UNICODE_SK,
    UNICODE_SO,
    UNICODE_PI,
    UNICODE_PF
};
enum unicode_category unicode_category(uint32_t c); /* above U+10FFFF: UNICODE_CN */

bool unicode_is_whitespace(uint32_t c);      /* White_Space, as Rust's char::is_whitespace */
bool unicode_is_control(uint32_t c);         /* Cc, Cf, Co, Cs but tab, LF, CR; not Cn */
bool unicode_is_punctuation(uint32_t c);     /* ASCII symbols too: $ + < = > ^ ` | ~ */
bool unicode_is_mark_nonspacing(uint32_t c); /* Mn: what BERT strips after NFD */
bool unicode_is_cjk(uint32_t c);             /* BERT's ideograph blocks; no kana, no hangul */
bool unicode_is_letter(uint32_t c);          /* L: \p{L} */
bool unicode_is_number(uint32_t c);          /* N: \p{N} */
uint8_t unicode_combining_class(uint32_t c);

/* Full canonical decomposition; returns how many code points were written (at least one). */
size_t unicode_decompose(uint32_t c, uint32_t out[18]);
/* The same with compatibility mappings (NFKD of one code point). */
size_t unicode_decompose_compat(uint32_t c, uint32_t out[18]);
/* What canonical composition makes of two code points; 0: nothing. */
uint32_t unicode_compose(uint32_t a, uint32_t b);
/* Full lower-case mapping without context or locale, as Rust's char::to_lowercase. */
size_t unicode_lower(uint32_t c, uint32_t out[3]);

/* How a code point behaves at the borders of extended grapheme clusters (UAX #29). */
enum unicode_grapheme {
    UNICODE_G_OTHER,
    UNICODE_G_CR,
    UNICODE_G_LF,
    UNICODE_G_CONTROL,
    UNICODE_G_EXTEND,
    UNICODE_G_ZWJ,
    UNICODE_G_REGIONAL,
    UNICODE_G_PREPEND,
    UNICODE_G_SPACING_MARK,
    UNICODE_G_L,
    UNICODE_G_V,
    UNICODE_G_T,
    UNICODE_G_LV,
    UNICODE_G_LVT,
    UNICODE_G_PICTOGRAPH
};
enum unicode_grapheme unicode_grapheme(uint32_t c);

/* --- whole texts, well-formed UTF-8 ---
 * Text already in the form asked for comes back as it is, not copied. */
struct str unicode_nfd(struct arena *, struct str s);
struct str unicode_nfc(struct arena *, struct str s);
struct str unicode_nfkd(struct arena *, struct str s);
struct str unicode_nfkc(struct arena *, struct str s);

#endif
