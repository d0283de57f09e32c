/* Everything in base, but JSON and gzip, that reads foreign bytes. */
#include "bug.h"
#include "http.h"
#include "unicode.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct arena *a = arena_new(ARENA_NO_LIMIT);
    struct str s = str_n((const char *)data, n), out;
    uint64_t bytes;
    int64_t ms;
    str_to_bytes(s, &bytes);
    str_to_ms(s, &ms);
    str_to_i64(s, &ms);

    /* Escaping is undone by unescaping, whatever the bytes; only a NUL is refused. */
    bool ok = http_unescape(a, http_escape(a, s, true), &out);
    BUG_ON(ok != (str_find_char(s, '\0') == SIZE_MAX));
    BUG_ON(ok && !str_eq(s, out));
    http_unescape(a, s, &out);

    struct str text = str_utf8_repair(a, s);
    BUG_ON(!str_utf8_ok(text));
    BUG_ON(str_utf8_ok(s) != (text.p == s.p));
    struct str nfd = unicode_nfd(a, text), nfkc = unicode_nfkc(a, text);
    BUG_ON(!str_utf8_ok(nfd) || !str_utf8_ok(nfkc));
    BUG_ON(!str_eq(unicode_nfd(a, unicode_nfc(a, text)), nfd));
    BUG_ON(utf16_length(utf16_prefix(text, n / 2)) > n / 2);
    for (size_t i = 0; i < text.n;) {
        uint32_t c = utf8_next(text, &i), parts[18];
        BUG_ON(unicode_decompose(c, parts) == 0 || unicode_lower(c, parts) == 0);
    }
    arena_free(a);
    return 0;
}
