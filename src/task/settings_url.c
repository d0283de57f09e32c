/* Would java.net.URI take this text? Its grammar is that of RFC 2396 with non-ASCII characters let
 * through; its reasons are what ES puts into the error for a bad url setting. Whether the address
 * may be called is not decided here. */
#include "settings_private.h"

#define ALPHA      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define ALNUM      ALPHA "0123456789"
#define UNRESERVED ALNUM "-_.!~*'()"
#define HEX        "0123456789abcdefABCDEF"

static const char scheme_chars[] = ALNUM "+-.";
static const char authority_chars[] = UNRESERVED "$,;:@&=+[]";
static const char path_chars[] = UNRESERVED ":@&=+$,;/";
static const char any_chars[] = UNRESERVED ";/?:@&=+$,[]";

static bool is_one_of(char c, const char *set)
{
    return c != 0 && strchr(set, c) != NULL;
}

/* Non-ASCII that Java counts as control or space: U+0080 to U+00A0. The rest passes. */
static bool is_other(struct str s, size_t i)
{
    unsigned char c = (unsigned char)s.p[i];
    if (c < 0x80)
        return false;
    return !(c == 0xC2 && i + 1 < s.n && (unsigned char)s.p[i + 1] <= 0xA0);
}

static const char *check(struct str s, const char *allowed, const char *reason)
{
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '%') {
            if (s.n - i < 3 || !is_one_of(s.p[i + 1], HEX) || !is_one_of(s.p[i + 2], HEX))
                return "Malformed escape pair";
            i += 2;
        } else if (!is_one_of(s.p[i], allowed) && !is_other(s, i)) {
            return reason;
        }
    }
    return NULL;
}

/* The part up to the first of `stops`; *rest keeps what follows, the stop included. */
static struct str cut(struct str *rest, const char *stops)
{
    size_t n = 0;
    while (n < rest->n && !is_one_of(rest->p[n], stops))
        n++;
    struct str part = str_sub(*rest, 0, n);
    *rest = str_sub(*rest, n, SIZE_MAX);
    return part;
}

static bool starts(struct str s, char c)
{
    return s.n > 0 && s.p[0] == c;
}

static const char *check_hierarchical(struct str s)
{
    const char *why;
    if (str_starts(s, STR("//"))) {
        s = str_sub(s, 2, SIZE_MAX);
        struct str authority = cut(&s, "/?#");
        if (authority.n == 0 && s.n == 0)
            return "Expected authority";
        if ((why = check(authority, authority_chars, "Illegal character in authority")))
            return why;
    }
    if ((why = check(cut(&s, "?#"), path_chars, "Illegal character in path")))
        return why;
    if (starts(s, '?')) {
        s = str_sub(s, 1, SIZE_MAX);
        if ((why = check(cut(&s, "#"), any_chars, "Illegal character in query")))
            return why;
    }
    if (!starts(s, '#'))
        return NULL;
    return check(str_sub(s, 1, SIZE_MAX), any_chars, "Illegal character in fragment");
}

static const char *check_opaque(struct str s)
{
    struct str part = cut(&s, "#");
    if (part.n == 0)
        return "Expected scheme-specific part";
    const char *why = check(part, any_chars, "Illegal character in opaque part");
    if (why || s.n == 0)
        return why;
    return check(str_sub(s, 1, SIZE_MAX), any_chars, "Illegal character in fragment");
}

const char *url_problem(struct str url)
{
    struct str rest = url;
    struct str scheme = cut(&rest, ":/?#");
    if (!starts(rest, ':'))
        return check_hierarchical(url);
    if (scheme.n == 0)
        return "Expected scheme name";
    if (!is_one_of(scheme.p[0], ALPHA))
        return "Illegal character in scheme name";
    for (size_t i = 0; i < scheme.n; i++) {
        if (!is_one_of(scheme.p[i], scheme_chars))
            return "Illegal character in scheme name";
    }
    rest = str_sub(rest, 1, SIZE_MAX);
    return starts(rest, '/') ? check_hierarchical(rest) : check_opaque(rest);
}

bool url_has_user(struct str url)
{
    size_t at = str_find(url, STR("//"));
    if (at == SIZE_MAX)
        return false;
    struct str rest = str_sub(url, at + 2, SIZE_MAX);
    struct str authority = cut(&rest, "/?#");
    return str_find_char(authority, '@') != SIZE_MAX;
}
