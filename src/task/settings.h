/* settings: what an endpoint can be told, as rows of a table; and one set of values for it.
 * Source: shared facts, inference.md 4 to 7.2 (as Elasticsearch 9.1 where versions differ).
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
 * Rows are printed in table order, service settings first. Two rows may share a name and place when
 * their tasks do not overlap (another default, say): settings_get then gives the one that is set.
 */
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
    SETTING_STR, /* non-empty */
    SETTING_URL, /* must parse as a URI */
    SETTING_INT, /* positive 32-bit unless min says otherwise */
    SETTING_LONG,
    SETTING_FLOAT,
    SETTING_BOOL,
    SETTING_ENUM,    /* one of choices, read without regard to case, kept as the choice has it */
    SETTING_STR_MAP, /* {S: S} */
    SETTING_STR_LIST,
    SETTING_PAIR_LIST,  /* [[S, S], ...]: order and repeats are kept */
    SETTING_JSON,       /* any object, kept as it is */
    SETTING_RATE_LIMIT, /* {"requests_per_minute": N}; value in .i; printed always */
    SETTING_ADAPTIVE    /* adaptive_allocations object */
};

enum setting_flag {
    SETTING_REQUIRED = 1,
    SETTING_UPDATABLE = 2,   /* _update may change it */
    SETTING_UNLISTED = 4,    /* not in GET _services */
    SETTING_NOT_PRINTED = 8, /* stored, not shown */
    SETTING_INTERNAL = 16,   /* sending it is an error: "does not allow the setting [x]" */
    SETTING_UI_FIXED = 32,   /* GET _services says "updatable": false all the same */
    SETTING_NULL_UNSETS = 64 /* null in an _update takes it away; of others it says nothing */
};

struct setting {
    const char *name;
    const char *alias; /* an older name that is read too; NULL */
    const char *inner; /* an object with this one member stands for the member's value; NULL */
    enum setting_place place;
    enum setting_type type;
    unsigned tasks; /* TASK_BIT of those that have it; elsewhere it is unknown */
    unsigned flags;
    const char *const *choices;  /* SETTING_ENUM: allowed words, sorted, NULL-terminated */
    const char *const *synonyms; /* pairs "int8", "byte": read the first, keep the second */
    bool has_range;
    double min, max;    /* inclusive, when has_range */
    const char *preset; /* default as JSON text, filled in at creation and printed; NULL */
    /* GET _services: */
    const char *label, *description;
    const char *ui_type;    /* "str", "int", "list", "bool", "map"; NULL: by type */
    const char *ui_default; /* JSON text of default_value; NULL: none */
    unsigned ui_required;   /* 0: as flags; else TASK bits... kept simple: non-zero = true */
    /* Rarely needed: */
    unsigned required_for; /* TASK bits that require it, when SETTING_REQUIRED would be too much */
    const char *one_of;    /* rows of equal text: at least one must be given. The text is what
                              ES prints: "num_allocations, adaptive_allocations" */
    const char *unless;    /* a service setting that, when given, lifts required and one_of */
    const char *const *legacy; /* names read from task_settings when it is absent where it belongs
                                  (openai: "model", "model_id"); NULL-terminated */
    const char *ui_name;       /* key in GET _services; NULL: name, or the ES name of the type */
};

struct values;

struct settings_table {
    const char *service; /* for texts: "openai" */
    const struct setting *rows;
    size_t n;
    /* Whether a call's task settings may have members of any name, which are the model's own
     * business; NULL: no. */
    bool (*calls_are_open)(const struct values *);
};

struct adaptive {
    bool enabled;
    bool has_min, has_max;
    int64_t min, max;
};

struct value {
    bool set;     /* given, defaulted or measured */
    bool by_user; /* given by the caller (dimensions: goes upstream only then) */
    union {
        struct str s;
        int64_t i;
        double d;
        bool b;
        const struct json *json;     /* STR_MAP, STR_LIST, PAIR_LIST, JSON */
        const struct secret *secret; /* every IN_SECRET row; a STR_MAP as its JSON text */
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

/* For GET _services: "rate_limit.requests_per_minute"; "str", "int", "list", "bool" or "map";
 * required; updatable. */
const char *setting_ui_name(const struct setting *);
const char *setting_ui_type(const struct setting *);
bool setting_ui_required(const struct setting *);
bool setting_ui_updatable(const struct setting *);

/* "https://user:password@host/": what an address that is shown must not hold. */
bool url_has_user(struct str url);

/* Ready-made rows, shared by many services. */
#define SETTING_API_KEY(task_bits)                                                                 \
    {                                                                                              \
        .name = "api_key", .place = IN_SECRET, .type = SETTING_STR, .tasks = (task_bits),          \
        .flags = SETTING_REQUIRED | SETTING_UPDATABLE, .label = "API Key",                         \
        .description = "API Key for the provider you're connecting to.",                           \
    }

#define SETTING_ROW_RATE_LIMIT(task_bits)                                                          \
    {                                                                                              \
        .name = "rate_limit", .place = IN_SERVICE, .type = SETTING_RATE_LIMIT,                     \
        .tasks = (task_bits), .flags = SETTING_UPDATABLE | SETTING_UI_FIXED,                       \
        .label = "Rate Limit", .description = "Minimize the number of rate limit errors.",         \
    }

#define SETTING_ROW_MAX_INPUT_TOKENS(task_bits)                                                    \
    {                                                                                              \
        .name = "max_input_tokens", .place = IN_SERVICE, .type = SETTING_INT,                      \
        .tasks = (task_bits), .flags = SETTING_UPDATABLE | SETTING_UI_FIXED | SETTING_UNLISTED,    \
        .label = "Maximum Input Tokens",                                                           \
        .description = "Allows you to specify the maximum number of tokens per input.",            \
    }

/* Measured by the probe; given by the caller too, where the service has it. */
#define SETTING_ROW_DIMENSIONS(task_bits)                                                          \
    {                                                                                              \
        .name = "dimensions", .place = IN_SERVICE, .type = SETTING_INT, .tasks = (task_bits),      \
        .flags = SETTING_UNLISTED, .label = "Dimensions",                                          \
        .description = "The number of dimensions the resulting embeddings should have.",           \
    }

/* A default is not set here but by the probe: endpoint_with_dimensions. */
#define SETTING_ROW_SIMILARITY(task_bits)                                                          \
    {                                                                                              \
        .name = "similarity", .place = IN_SERVICE, .type = SETTING_ENUM, .tasks = (task_bits),     \
        .flags = SETTING_UNLISTED, .choices = similarity_choices, .label = "Similarity",           \
        .description = "The similarity measure.",                                                  \
    }

/* What ES remembers beside dimensions; sending it is an error in its words. */
#define SETTING_ROW_DIMENSIONS_SET_BY_USER(task_bits)                                              \
    {                                                                                              \
        .name = "dimensions_set_by_user", .place = IN_SERVICE, .type = SETTING_BOOL,               \
        .tasks = (task_bits), .flags = SETTING_INTERNAL | SETTING_UNLISTED | SETTING_NOT_PRINTED,  \
    }

extern const char *const similarity_choices[]; /* cosine, dot_product, l2_norm */

#endif
