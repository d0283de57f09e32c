/* json: read a tree into an arena, write straight into a buf.
 *
 *     const struct json *root;
 *     TRY(json_parse(arena, body, &root));
 *     const struct json *input = json_get(root, "input");
 *     struct json_iter it = json_iter(input);
 *     for (const struct json *v; (v = json_next(&it));) ...
 *
 * Strict RFC 8259: UTF-8 checked, lone surrogates, duplicate keys, comments, NaN, leading zeros,
 * trailing commas and trailing bytes refused; depth limit JSON_MAX_DEPTH. Numbers keep their text,
 * so big integers and 1.0 versus 1 survive and an embedding can be passed on as bytes.
 *
 * The tree borrows from the parsed text: keep that alive as long as the tree (json_parse_copy
 * copies it into the arena first). Strings with escapes are unescaped into the arena.
 *
 * An array that holds only numbers is `flat`: its elements have no nodes of their own, whatever its
 * length; json_iter hands them out one by one (each valid until the next call), json_numbers
 * converts them all at once, json_raw gives its text.
 *
 * Thread: a finished tree is immutable, any number of readers. */
#ifndef INFERD_JSON_H
#define INFERD_JSON_H

#include "arena.h"
#include "buf.h"
#include "err.h"
#include "str.h"

#define JSON_MAX_DEPTH 200

enum json_type {
    JSON_NULL,
    JSON_FALSE,
    JSON_TRUE,
    JSON_NUMBER,
    JSON_STRING,
    JSON_ARRAY,
    JSON_OBJECT
};

struct json {
    enum json_type type : 8;
    bool flat;       /* array of numbers only: no child nodes */
    bool wide;       /* flat, and some number may be too large for a float: json_all_finite */
    uint32_t n;      /* members or elements */
    uint32_t skip;   /* nodes from here to the next sibling (1 for a leaf) */
    uint32_t raw_n;  /* bytes of source text */
    const char *raw; /* source text of the whole value; a string's includes its quotes */
    struct str text; /* string: unescaped value; number: its text; else empty */
    struct str key;  /* unescaped member name when the parent is an object */
};

/* Errors: ERR_X_CONTENT-like text of Elasticsearch, "[line:column] ..." first. */
struct err *json_parse(struct arena *, struct str text, const struct json **out);
struct err *json_parse_copy(struct arena *, struct str text, const struct json **out);

/* All of these accept NULL and answer NULL / false for it, so lookups can be chained. */
const struct json *json_get(const struct json *object, const char *key);
const struct json *json_get_str(const struct json *object, struct str key);
const struct json *json_at(const struct json *array, size_t i); /* not for flat arrays */
/* json_path(root, "error", "message", NULL) */
const struct json *json_path(const struct json *, ...) __attribute__((sentinel));

bool json_is(const struct json *, enum json_type);   /* false for NULL */
bool json_is_null(const struct json *);              /* true for NULL (absent) and null */
bool json_str(const struct json *, struct str *out); /* JSON strings only */
bool json_bool(const struct json *, bool *out);      /* JSON booleans only */
bool json_i64(const struct json *, int64_t *out);    /* integers without fraction or exponent */
bool json_f64(const struct json *, double *out);     /* any number that a double can hold */
bool json_f32(const struct json *, float *out);      /* any number that a float can hold */
struct str json_raw(const struct json *);            /* source text of the value */
/* "1:12": where a value begins in the text given to json_parse; for error texts. */
void json_where(struct str text, const struct json *, int *line_out, int *column_out);

struct json_iter {
    const struct json *node; /* next child */
    uint32_t left;
    const char *p, *end; /* flat arrays */
    struct json tmp;     /* flat arrays: the element handed out */
};
struct json_iter json_iter(const struct json *);  /* array or object; anything else is empty */
const struct json *json_next(struct json_iter *); /* NULL at the end */

/* A flat array into floats, correctly rounded; n must be json->n. False if not flat. */
bool json_numbers(const struct json *, float *out, size_t n);

/* Is a flat array one of numbers that floats can hold (1e39 is not)? Costs nothing unless the array
 * has positive exponents or very long numbers. False: *bad_out is the text of the first that is not
 * one. */
bool json_all_finite(const struct json *, struct str *bad_out);

/* --- writing ---
 *
 *     struct json_out w;
 *     json_out_init(&w, &buf);
 *     json_obj(&w);
 *     json_key_str(&w, "inference_id", id);
 *     json_key(&w, "task_settings"); json_obj(&w); json_end(&w);
 *     json_end(&w);
 *
 * Commas and colons are written by the writer; nesting errors are BUGs. Invalid UTF-8 in strings
 * is replaced by U+FFFD: output is always valid. Overflow shows as buf.full. */
struct json_out {
    struct buf *buf;
    int depth;
    bool comma; /* the next value needs one before it */
    bool after_key;
    uint64_t is_array[(JSON_MAX_DEPTH + 64) / 64];
};

void json_out_init(struct json_out *, struct buf *);
void json_obj(struct json_out *);
void json_arr(struct json_out *);
void json_end(struct json_out *); /* closes the innermost object or array */
void json_key(struct json_out *, const char *key);
void json_key_s(struct json_out *, struct str key);

void json_put_str(struct json_out *, struct str);
void json_put_cstr(struct json_out *, const char *); /* NULL writes null */
void json_put_i64(struct json_out *, int64_t);
void json_put_f64(struct json_out *, double); /* as Java's Double.toString: 2.0, 1.0E-4 */
void json_put_f32(struct json_out *, float);  /* shortest round-trip, as Java's Float.toString */
void json_put_bool(struct json_out *, bool);
void json_put_null(struct json_out *);
void json_put_raw(struct json_out *, struct str json_text);       /* trusted, copied as is */
void json_put_node(struct json_out *, const struct json *);       /* a parsed value, compact */
void json_put_floats(struct json_out *, const float *, size_t n); /* a whole array, fast path */

void json_key_str(struct json_out *, const char *key, struct str value);
void json_key_cstr(struct json_out *, const char *key, const char *value);
void json_key_i64(struct json_out *, const char *key, int64_t value);
void json_key_f64(struct json_out *, const char *key, double value);
void json_key_bool(struct json_out *, const char *key, bool value);
void json_key_raw(struct json_out *, const char *key, struct str json_text);

/* The string in JSON quotes and escapes. */
void json_quote(struct buf *, struct str s);

#endif
