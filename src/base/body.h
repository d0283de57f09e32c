/* body: request objects read by a table of their members, with the errors of Elasticsearch's object
 * parsers: "[line:column] [Name] unknown field [x]", "Required [a, b]".
 *
 * A member that is null counts as absent. Errors inside a member's value are wrapped:
 * "[1:20] [Message] failed to parse field [content]", the reason being the cause. */
#ifndef INFERD_BODY_H
#define INFERD_BODY_H

#include "arena.h"
#include "err.h"
#include "json.h"

struct body {
    struct arena *arena;
    struct str text; /* what the tree was parsed from: for positions; {NULL, 0}: no positions */
    const char *at;  /* the place the last error speaks of */
};

enum body_kind { BODY_STR = 1, BODY_NUM = 2, BODY_BOOL = 4, BODY_ARRAY = 8, BODY_OBJECT = 16 };

struct body_field {
    const char *name;
    unsigned kinds; /* of body_kind: what the member may be */
    bool required;
    /* Gets the address of the object being filled, plus `offset`. */
    struct err *(*read)(struct body *, const struct json *, void *out);
    size_t offset;
};

struct body_parser {
    const char *name; /* as errors have it: "UnifiedCompletionRequest" */
    const struct body_field *fields;
    size_t n;
    bool lenient; /* members that are not in the table are skipped */
};

struct err *body_parse(struct body *, const struct body_parser *, const struct json *object,
                       void *out);

/* A list of objects (a lone object is a list of one), each `size` bytes, parsed by `parser`. */
struct err *body_list(struct body *, const struct body_parser *, const struct json *, size_t size,
                      void **items_out, size_t *n_out);

/* Named objects, {"bert":{...}}: the one member of `v`, the value of `field`. */
struct err *body_named(struct body *, const char *field, const struct json *v,
                       const struct json **out);
struct err *body_unknown_name(struct body *, const struct json *member);
/* "failed to parse field" around what went wrong in it; takes the err. */
struct err *body_wrap(const struct body *, struct err *, const char *parser, const char *field);

/* For body_field.read. Numbers may be sent as strings, as ES allows. */
struct err *body_str(struct body *, const struct json *, void *out);  /* struct str; borrows */
struct err *body_bool(struct body *, const struct json *, void *out); /* bool */
struct err *body_i64(struct body *, const struct json *, int64_t min, int64_t max, int64_t *out);
struct err *body_f64(struct body *, const struct json *, double *out, struct str *text_out);
/* A string, or an array of strings, numbers and booleans, which are read as text. */
struct err *body_texts(struct body *, const struct json *, struct str **out, size_t *n_out);

#endif
