/* str: a borrowed view of bytes. Never owns, never NUL-terminated by promise; the comment of
 * whoever hands one out says how long it lives. The empty view is {NULL, 0} or {any, 0}. */
#ifndef INFERD_STR_H
#define INFERD_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct str {
    const char *p;
    size_t n; /* bytes */
};

/* A view of a string literal, usable in initializers of static tables too. */
#define STR(lit) ((struct str){(lit), sizeof(lit) - 1})
#define STR_INIT(lit)                                                                              \
    {                                                                                              \
        (lit), sizeof(lit) - 1                                                                     \
    }
/* printf("%.*s", STR_ARG(s)) */
#define STR_ARG(s) (int)(s).n, (s).p

struct str str_c(const char *z); /* NULL gives the empty view */

static inline struct str str_n(const char *p, size_t n)
{
    return (struct str){p, n};
}

static inline bool str_eq(struct str a, struct str b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

bool str_eq_c(struct str a, const char *z);
bool str_eq_nocase(struct str a, struct str b); /* ASCII case only */
bool str_starts(struct str s, struct str prefix);
bool str_ends(struct str s, struct str suffix);
int str_cmp(struct str a, struct str b); /* bytewise, like strcmp */

/* Index of the first match, or SIZE_MAX. */
size_t str_find(struct str s, struct str needle);
size_t str_find_char(struct str s, char c);

struct str str_sub(struct str s, size_t from, size_t n); /* clamped */
struct str str_trim(struct str s);                       /* ASCII space, \t \r \n */

/* Cuts `*rest` at the first `sep`: returns the part before it and leaves the part after it in
 * `*rest` (which becomes {NULL, 0} after the last part). False when `rest->p` is NULL. */
bool str_split(struct str *rest, char sep, struct str *part_out);

/* Whole-string decimal integers: no spaces, no '+', no overflow. */
bool str_to_i64(struct str s, int64_t *out);
bool str_to_u64(struct str s, uint64_t *out);

/* Bytes as Elasticsearch writes sizes ("100mb", "1b", "50 gb", "1.5gb") and times ("30s", "500ms",
 * "1d"; no fractions); "-1" and "0" also without a unit, where -1 means no limit and is UINT64_MAX
 * as a size and -1 as a time. False: not readable. Units: bytes; milliseconds. */
bool str_to_bytes(struct str s, uint64_t *out);
bool str_to_ms(struct str s, int64_t *out);
/* The other way: "91.8kb", one digit after the point and that cut, not rounded. */
void bytes_human(uint64_t bytes, char out[32]);

uint64_t str_hash(struct str s); /* SipHash with a key made at start: safe for outside keys */

bool str_utf8_ok(struct str s); /* well-formed UTF-8, no surrogates, no overlong forms */

#include "banned.h"

#endif
