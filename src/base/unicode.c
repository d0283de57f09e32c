/* One code point at a time: classes, decomposition, lower case. ASCII is answered from the code
 * itself; the rest asks ICU, whose data (Unicode 15) is read-only and shared by all threads. */
#include "unicode.h"

#include <unicode/uchar.h>
#include <unicode/unorm2.h>
#include <unicode/utf16.h>

#include "bug.h"

_Static_assert((int)UNICODE_CN == U_UNASSIGNED && (int)UNICODE_PF == U_FINAL_PUNCTUATION &&
                   (int)UNICODE_PI == U_INITIAL_PUNCTUATION && (int)UNICODE_CS == U_SURROGATE &&
                   (int)UNICODE_MC == U_COMBINING_SPACING_MARK && (int)UNICODE_LO == U_OTHER_LETTER,
               "unicode_category is ICU's numbering");

enum unicode_category unicode_category(uint32_t c)
{
    return c <= 0x10ffff ? (enum unicode_category)u_charType((UChar32)c) : UNICODE_CN;
}

static bool is_one_of(uint32_t c, uint32_t mask)
{
    return mask >> unicode_category(c) & 1;
}

#define BIT(category) ((uint32_t)1 << (category))

bool unicode_is_whitespace(uint32_t c)
{
    if (c < 0x80)
        return c == ' ' || (c >= '\t' && c <= '\r');
    return c <= 0x10ffff && u_isUWhiteSpace((UChar32)c);
}

/* The reference (Rust's unicode_categories, and Java's Character.getType as Elasticsearch uses it)
 * leaves unassigned code points alone, unlike Python's BERT: a text in a newer Unicode keeps its
 * characters. */
bool unicode_is_control(uint32_t c)
{
    if (c < 0x80)
        return (c < 0x20 && c != '\t' && c != '\n' && c != '\r') || c == 0x7f;
    return is_one_of(c, BIT(UNICODE_CC) | BIT(UNICODE_CF) | BIT(UNICODE_CO) | BIT(UNICODE_CS));
}

bool unicode_is_punctuation(uint32_t c)
{
    if (c < 0x80)
        return (c >= 33 && c <= 47) || (c >= 58 && c <= 64) || (c >= 91 && c <= 96) ||
               (c >= 123 && c <= 126);
    return is_one_of(c, BIT(UNICODE_PC) | BIT(UNICODE_PD) | BIT(UNICODE_PS) | BIT(UNICODE_PE) |
                            BIT(UNICODE_PI) | BIT(UNICODE_PF) | BIT(UNICODE_PO));
}

bool unicode_is_mark_nonspacing(uint32_t c)
{
    return c >= 0x300 && unicode_category(c) == UNICODE_MN;
}

/* The blocks of BERT's BasicTokenizer._is_chinese_char. */
bool unicode_is_cjk(uint32_t c)
{
    if (c < 0x3400)
        return false;
    return (c >= 0x4e00 && c <= 0x9fff) || (c >= 0x3400 && c <= 0x4dbf) ||
           (c >= 0x20000 && c <= 0x2a6df) || (c >= 0x2a700 && c <= 0x2b73f) ||
           (c >= 0x2b740 && c <= 0x2b81f) || (c >= 0x2b820 && c <= 0x2ceaf) ||
           (c >= 0xf900 && c <= 0xfaff) || (c >= 0x2f800 && c <= 0x2fa1f);
}

bool unicode_is_letter(uint32_t c)
{
    if (c < 0x80)
        return (c | 0x20) >= 'a' && (c | 0x20) <= 'z';
    return is_one_of(c, BIT(UNICODE_LU) | BIT(UNICODE_LL) | BIT(UNICODE_LT) | BIT(UNICODE_LM) |
                            BIT(UNICODE_LO));
}

bool unicode_is_number(uint32_t c)
{
    if (c < 0x80)
        return c >= '0' && c <= '9';
    return is_one_of(c, BIT(UNICODE_ND) | BIT(UNICODE_NL) | BIT(UNICODE_NO));
}

uint8_t unicode_combining_class(uint32_t c)
{
    return c >= 0x300 && c <= 0x10ffff ? u_getCombiningClass((UChar32)c) : 0;
}

static size_t decompose(const UNormalizer2 *form, uint32_t c, uint32_t out[18])
{
    UErrorCode e = U_ZERO_ERROR;
    UChar units[36];
    int32_t n = unorm2_getDecomposition(form, (UChar32)c, units, 36, &e);
    if (n < 0)
        return 1;
    BUG_ON(U_FAILURE(e));
    size_t n_out = 0;
    for (int32_t i = 0; i < n;) {
        UChar32 d;
        U16_NEXT(units, i, n, d);
        BUG_ON(n_out == 18);
        out[n_out++] = (uint32_t)d;
    }
    return n_out;
}

size_t unicode_decompose(uint32_t c, uint32_t out[18])
{
    out[0] = c;
    if (c < 0xc0 || c > 0x10ffff)
        return 1;
    UErrorCode e = U_ZERO_ERROR;
    return decompose(unorm2_getNFDInstance(&e), c, out);
}

size_t unicode_decompose_compat(uint32_t c, uint32_t out[18])
{
    out[0] = c;
    if (c < 0xa0 || c > 0x10ffff)
        return 1;
    UErrorCode e = U_ZERO_ERROR;
    return decompose(unorm2_getNFKDInstance(&e), c, out);
}

uint32_t unicode_compose(uint32_t a, uint32_t b)
{
    if (b < 0x300 || a > 0x10ffff || b > 0x10ffff)
        return 0;
    UErrorCode e = U_ZERO_ERROR;
    UChar32 c = unorm2_composePair(unorm2_getNFCInstance(&e), (UChar32)a, (UChar32)b);
    return c < 0 ? 0 : (uint32_t)c;
}

static enum unicode_grapheme grapheme_class(int32_t icu)
{
    static const uint8_t classes[] = {
        [U_GCB_CONTROL] = UNICODE_G_CONTROL,
        [U_GCB_CR] = UNICODE_G_CR,
        [U_GCB_EXTEND] = UNICODE_G_EXTEND,
        [U_GCB_L] = UNICODE_G_L,
        [U_GCB_LF] = UNICODE_G_LF,
        [U_GCB_LV] = UNICODE_G_LV,
        [U_GCB_LVT] = UNICODE_G_LVT,
        [U_GCB_T] = UNICODE_G_T,
        [U_GCB_V] = UNICODE_G_V,
        [U_GCB_SPACING_MARK] = UNICODE_G_SPACING_MARK,
        [U_GCB_PREPEND] = UNICODE_G_PREPEND,
        [U_GCB_REGIONAL_INDICATOR] = UNICODE_G_REGIONAL,
        [U_GCB_ZWJ] = UNICODE_G_ZWJ,
    };
    return (size_t)icu < sizeof(classes) ? classes[icu] : UNICODE_G_OTHER;
}

enum unicode_grapheme unicode_grapheme(uint32_t c)
{
    if (c >= 0x20 && c < 0x7f)
        return UNICODE_G_OTHER;
    enum unicode_grapheme g =
        grapheme_class(u_getIntPropertyValue((UChar32)c, UCHAR_GRAPHEME_CLUSTER_BREAK));
    if (g == UNICODE_G_OTHER && u_hasBinaryProperty((UChar32)c, UCHAR_EXTENDED_PICTOGRAPHIC))
        return UNICODE_G_PICTOGRAPH;
    return g;
}

/* U+0130 is the only code point whose unconditional lower-case form is longer than one code point
 * (Unicode's SpecialCasing.txt). */
size_t unicode_lower(uint32_t c, uint32_t out[3])
{
    if (c < 0x80) {
        out[0] = c >= 'A' && c <= 'Z' ? c | 0x20 : c;
        return 1;
    }
    if (c == 0x130) {
        out[0] = 'i';
        out[1] = 0x307;
        return 2;
    }
    out[0] = c <= 0x10ffff ? (uint32_t)u_tolower((UChar32)c) : c;
    return 1;
}
