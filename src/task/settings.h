/* settings: what an endpoint can be told, as rows of a table; and one set of values for it.
 *
 * A service has one static table for all its task types. One row says everything: where the setting
 * stands in the body, its type, limits, default, which tasks have it, how GET _services shows it.
 * Parsing, ES's validation texts, rendering, storage and updating all come from the rows.
 *
 *     enum { S_API_KEY, S_MODEL_ID, S_RATE_LIMIT, N_S };
 *     static const struct setting rows[N_S] = {
 *         [S_API_KEY] = SETTING_API_KEY(tasks),
 *         [S_MODEL_ID] = {.name = "model_id", .place = IN_SERVICE, .type = SETTING_STR,
 *                         .tasks = tasks, .flags = SETTING_REQUIRED, .label = "Model ID", ...},
 *     };
 *     struct str model = values->v[S_MODEL_ID].s;
 *
 * Rows are printed in table order, service settings first. */
#ifndef INFERD_SETTINGS_H
#define INFERD_SETTINGS_H

#include "arena.h"
#include "err.h"
#include "json.h"
#include "secret.h"
#include "task.h"

enum setting_place {
    IN_SERVICE, /* service_settings, printed */
    IN_SECRET,  /* sent in service_settings, stored apart, never printed */
    IN_TASK     /* task_settings: stored, and overridable per call */
};

enum setting_type {
    SETTING_STR,       /* non-empty */
    SETTING_URL,       /* must parse as a URI */
    SETTING_INT,       /* positive 32-bit unless min says otherwise */
    SETTING_LONG,
    SETTING_FLOAT,
    SETTING_BOOL,
    SETTING_ENUM,      /* one of choices; case as ES has it for that setting */
    SETTING_STR_MAP,   /* {S: S} */
    SETTING_STR_LIST,
    SETTING_JSON,      /* any object, kept as it is */
    SETTING_RATE_LIMIT, /* {"requests_per_minute": N}; value in .i; printed always */
    SETTING_ADAPTIVE   /* adaptive_allocations object */
};

enum setting_flag {
    SETTING_REQUIRED = 1,
    SETTING_UPDATABLE = 2,     /* _update may change it */
    SETTING_UNLISTED = 4,      /* not in GET _services */
    SETTING_NOT_PRINTED = 8,   /* stored, not shown */
    SETTING_INTERNAL = 16      /* sending it is an error: "does not allow the setting [x]" */
};

struct setting {
    const char *name;
    const char *alias;        /* an older name that is read too; NULL */
    enum setting_place place;
    enum setting_type type;
    unsigned tasks;           /* TASK_BIT of those that have it; elsewhere it is unknown */
    unsigned flags;
    const char *const *choices;       /* SETTING_ENUM: allowed words, sorted, NULL-terminated */
    const char *const *synonyms;      /* pairs "int8", "byte": read the first, keep the second */
    bool has_range;
    double min, max;          /* inclusive, when has_range */
    const char *preset;       /* default as JSON text, filled in at creation and printed; NULL */
    /* GET _services: */
    const char *label, *description;
    const char *ui_type;      /* "str", "int", "list", "bool", "map"; NULL: by type */
    const char *ui_default;   /* JSON text of default_value; NULL: none */
    unsigned ui_required;     /* 0: as flags; else TASK bits... kept simple: non-zero = true */
};

struct settings_table {
    const char *service;      /* for texts: "openai" */
    const struct setting *rows;
    size_t n;
};

struct adaptive {
    bool enabled;
    bool has_min, has_max;
    int64_t min, max;
};

struct value {
    bool set;                 /* given, defaulted or measured */
    bool by_user;             /* given by the caller (dimensions: goes upstream only then) */
    union {
        struct str s;
        int64_t i;
        double d;
        bool b;
        const struct json *json;
        const struct secret *secret;
        struct adaptive adaptive;
    };
};

/* One per row of the table, in the same order. Memory: the owner's arena (an endpoint's or a
 * call's); secrets are counted references held by the endpoint. */
struct values {
    const struct settings_table *table;
    struct value *v;
};

/* Index of a row by name, or -1. For the few settings that shared code must know
 * ("max_input_tokens", "dimensions", "similarity", "rate_limit"). */
int settings_find(const struct settings_table *, const char *name);
const struct value *settings_get(const struct values *, const char *name); /* NULL: no such row */

/* Ready-made rows, shared by many services. */
#define SETTING_API_KEY(task_bits)                                                                 \
    {                                                                                              \
        .name = "api_key", .place = IN_SECRET, .type = SETTING_STR, .tasks = (task_bits),          \
        .flags = SETTING_REQUIRED | SETTING_UPDATABLE, .label = "API Key",                         \
        .description = "API Key for the provider you're connecting to.",                           \
    }

extern const char *const similarity_choices[]; /* cosine, dot_product, l2_norm */

#endif
