/* settings_private: what endpoint.c and chunking.c share with the settings files. Not for others.
 */
#ifndef INFERD_SETTINGS_PRIVATE_H
#define INFERD_SETTINGS_PRIVATE_H

#include "settings.h"

/* Why the values are read: a PUT body, an _update body, what the store kept, one call. */
enum settings_why { SETTINGS_NEW, SETTINGS_UPDATE, SETTINGS_STORED, SETTINGS_CALL };

struct settings_reader {
    const struct settings_table *table;
    enum task task;
    int64_t default_rpm; /* 0: rate_limit is unknown */
    enum settings_why why;
    struct arena *arena; /* values are copied into it */
    struct err_list problems;
    struct err *alone; /* the first that ES does not collect but throws; owned */
};

/* --- settings_value.c --- */

/* One value by its row, over what *v holds. True: *v is set. False: a problem was noted, or the
 * value says nothing (an empty rate_limit object). */
bool setting_read(struct settings_reader *, const struct setting *, const struct json *,
                  struct value *v);
const char *setting_scope(const struct setting *); /* "service_settings" */

/* Checks shared with chunking.c. Each notes at most one problem; true when *out was set. */
bool problem_int(struct err_list *, const char *name, const struct json *, int64_t *out);
void problem_type(struct err_list *, const char *name, const struct json *, const char *type);
void problem_missing(struct err_list *, const char *scope, const char *name);
void problem_positive(struct err_list *, const char *scope, const char *name, int64_t given,
                      const char *kind);
void problem_below(struct err_list *, const char *scope, const char *name, double given,
                   double min);
void problem_above(struct err_list *, const char *scope, const char *name, double given,
                   double max);

/* --- settings_parse.c --- */

/* The problems found so far as one error, and none left: NULL when there were none. */
struct err *settings_end(struct settings_reader *);
bool setting_applies(const struct settings_reader *, const struct setting *);

/* Reads the rows of one place from `object` (NULL: empty) over what `values` holds. Problems are
 * added to the reader's list, including required ones that are missing afterwards. */
void settings_read(struct settings_reader *, enum setting_place, const struct json *object,
                   struct values *values);
/* Presets, and the default rate limit, where nothing is set. */
void settings_fill(struct settings_reader *, struct values *values);
/* SETTINGS_NEW: rows with legacy names that are not set yet, from task_settings. */
void settings_read_legacy(struct settings_reader *, const struct json *task_settings,
                          struct values *values);
/* "Configuration contains settings [{...}] unknown to the [x] service", or NULL. `secrets`: names
 * of IN_SECRET rows are known in this object (service_settings). */
struct err *settings_unknown(const struct settings_reader *, enum setting_place,
                             const struct json *object);

/* Releases the secrets of the set. */
void values_unref(struct values *);
struct values values_new(struct arena *, const struct settings_table *);
/* A copy whose bytes live in `arena`; secrets gain a reference each. */
struct values values_copy(struct arena *, const struct values *);

/* --- settings_render.c --- */

/* The members of one place as an object's members (the object is open). `all`: NOT_PRINTED rows
 * too (the stored form). num_allocations_live >= 0 replaces num_allocations. */
void settings_render(struct json_out *, const struct values *, enum task, enum setting_place,
                     bool all, int64_t num_allocations_live);
bool settings_any(const struct values *, enum task,
                  enum setting_place); /* a printed member is set */
void secrets_render(struct json_out *, const struct values *, enum task);

/* --- settings_text.c --- */

/* Texts inside errors are cut to this: a hostile body is not echoed whole. */
#define JAVA_TEXT_LIMIT 4096

/* Appends a value as Java prints a parsed body: {k=v, k2=[1, 2]}, strings bare. `out` is a buf
 * made with java_text_init; java_text_end marks what was cut with "...". */
void java_text_init(struct buf *out);
void java_text(struct buf *out, const struct json *);
/* The same for an object, with only the members for which keep() answers true; their number. */
size_t java_members(struct buf *out, const struct json *object,
                    bool (*keep)(const struct json *member, const void *ctx), const void *ctx);
struct str java_text_end(struct buf *out);

struct java_number {
    char s[40];
};
struct java_number java_number(double); /* Double.toString: "3.0" */

/* --- settings_url.c --- */

/* NULL when java.net.URI would take it; else its reason: "Illegal character in path". */
const char *url_problem(struct str url);

#endif
