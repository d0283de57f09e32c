/* bert_chars: what BERT's reference tokenizer knows about each code point.
 *
 *     const struct bert_char *b = bert_char(0xC9);          // É
 *     n = bert_decompose(0xC9, b, out);                     // E, U+0301
 *
 * The answers are those of huggingface/tokenizers 0.21, measured (fixtures/make_bert_chars.py), not
 * those of ICU: the reference mixes three Unicode versions, and several hundred marks differ.
 * Thread: any, after bert_chars_init. */
#ifndef INFERD_BERT_CHARS_H
#define INFERD_BERT_CHARS_H

#include <stddef.h>
#include <stdint.h>

enum {
    BERT_DROP = 1,   /* clean_text removes it: Cc, Cf, Co, U+FFFD, but not tab, LF, CR */
    BERT_SPACE = 2,  /* clean_text makes it ' ' */
    BERT_WHITE = 4,  /* separates words */
    BERT_CJK = 8,    /* an ideograph: handle_chinese_chars puts spaces around it */
    BERT_PUNCT = 16, /* a word of its own */
    BERT_MARK = 32,  /* strip_accents removes it (after NFD) */
    BERT_WORD = 64   /* \w: what single_word looks at */
};

struct bert_char {
    uint8_t flags;
    uint8_t combining; /* canonical combining class */
    uint16_t nfd;      /* 1 + row in bert_nfds; 0: stands for itself (or is a Hangul syllable) */
    int32_t lower;     /* distance to its lower case */
};

#define BERT_CHARS_PAGE     128 /* code points per page */
#define BERT_DECOMPOSED_MAX 4

/* Builds the lookup pages once per process (about 1 ms); they are kept until it ends. */
void bert_chars_init(void);

extern uint16_t bert_page_of[0x110000 / BERT_CHARS_PAGE];
extern struct bert_char *bert_pages;

static inline const struct bert_char *bert_char(uint32_t c) /* c <= 0x10FFFF */
{
    return &bert_pages[(size_t)bert_page_of[c / BERT_CHARS_PAGE] * BERT_CHARS_PAGE +
                       c % BERT_CHARS_PAGE];
}

/* Full canonical decomposition of c, whose entry is b; returns its length, at least 1. */
size_t bert_decompose(uint32_t c, const struct bert_char *b, uint32_t out[BERT_DECOMPOSED_MAX]);

/* One code point from at most n bytes; malformed input is U+FFFD, one per maximal subpart, as
 * Python's errors="replace" reads it. Returns the bytes it took; n > 0. */
size_t bert_utf8(const uint8_t *p, size_t n, uint32_t *out);

/* The tables behind it, as spans; only bert_chars.c reads them. */
struct bert_span {
    uint32_t first, last;
    uint8_t value;
};
struct bert_case {
    uint32_t first, last;
    uint8_t step;
    int32_t delta;
};
struct bert_nfd {
    uint32_t c, to[BERT_DECOMPOSED_MAX]; /* zeros at the end */
};
extern const struct bert_span bert_flags[], bert_combining[];
extern const struct bert_case bert_lowers[];
extern const struct bert_nfd bert_nfds[];
extern const size_t bert_flags_n, bert_combining_n, bert_lowers_n, bert_nfds_n;

#endif
