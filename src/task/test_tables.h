/* test_tables: two services to test with, shaped like openai and elasticsearch, and one that has
 * the rarer columns. For tests and fuzzers only. */
#ifndef INFERD_TEST_TABLES_H
#define INFERD_TEST_TABLES_H

#include "settings.h"

#define T_EMBED  TASK_BIT(TASK_TEXT_EMBEDDING)
#define T_REMOTE (T_EMBED | TASK_BIT(TASK_COMPLETION) | TASK_BIT(TASK_CHAT_COMPLETION))
#define T_LOCAL  (T_EMBED | TASK_BIT(TASK_SPARSE_EMBEDDING) | TASK_BIT(TASK_RERANK))

static const char *const remote_legacy[] = {"model", "model_id", NULL};
static const char *const remote_types[] = {"bit", "byte", "float", NULL};
static const char *const remote_type_synonyms[] = {"binary", "bit", "int8", "byte", NULL};

enum {
    R_KEY,
    R_MODEL,
    R_URL,
    R_ORG,
    R_TYPE,
    R_SIM,
    R_DIM,
    R_MAX,
    R_RATE,
    R_BY_USER,
    R_USER,
    R_HEADERS,
    R_TEMP,
    R_TOP,
    R_FLAG,
    R_STOP,
    R_EXTRA,
    R_HIDDEN,
    N_R
};

static const struct setting remote_rows[N_R] = {
    [R_KEY] = SETTING_API_KEY(T_REMOTE),
    [R_MODEL] = {.name = "model_id",
                 .place = IN_SERVICE,
                 .type = SETTING_STR,
                 .tasks = T_REMOTE,
                 .flags = SETTING_REQUIRED,
                 .legacy = remote_legacy},
    [R_URL] = {.name = "url", .place = IN_SERVICE, .type = SETTING_URL, .tasks = T_REMOTE},
    [R_ORG] = {.name = "organization_id",
               .alias = "organization",
               .place = IN_SERVICE,
               .type = SETTING_STR,
               .tasks = T_REMOTE,
               .required_for = TASK_BIT(TASK_CHAT_COMPLETION)},
    [R_TYPE] = {.name = "embedding_type",
                .place = IN_SERVICE,
                .type = SETTING_ENUM,
                .tasks = T_EMBED,
                .choices = remote_types,
                .synonyms = remote_type_synonyms},
    [R_SIM] = SETTING_ROW_SIMILARITY(T_EMBED),
    [R_DIM] = SETTING_ROW_DIMENSIONS(T_EMBED),
    [R_MAX] = SETTING_ROW_MAX_INPUT_TOKENS(T_EMBED),
    [R_RATE] = SETTING_ROW_RATE_LIMIT(T_REMOTE),
    [R_BY_USER] = SETTING_ROW_DIMENSIONS_SET_BY_USER(T_EMBED),
    [R_USER] = {.name = "user", .place = IN_TASK, .type = SETTING_STR, .tasks = T_REMOTE},
    [R_HEADERS] = {.name = "headers", .place = IN_TASK, .type = SETTING_STR_MAP, .tasks = T_REMOTE},
    [R_TEMP] = {.name = "temperature",
                .place = IN_TASK,
                .type = SETTING_FLOAT,
                .tasks = T_REMOTE,
                .has_range = true,
                .min = 0,
                .max = 2},
    [R_TOP] = {.name = "top_k", .place = IN_TASK, .type = SETTING_LONG, .tasks = T_REMOTE},
    [R_FLAG] = {.name = "truncation", .place = IN_TASK, .type = SETTING_BOOL, .tasks = T_REMOTE},
    [R_STOP] = {.name = "scopes", .place = IN_TASK, .type = SETTING_STR_LIST, .tasks = T_REMOTE},
    [R_EXTRA] = {.name = "parameters", .place = IN_TASK, .type = SETTING_JSON, .tasks = T_REMOTE},
    [R_HIDDEN] = {.name = "api_version",
                  .place = IN_SERVICE,
                  .type = SETTING_STR,
                  .tasks = T_REMOTE,
                  .flags = SETTING_NOT_PRINTED,
                  .preset = "\"v2\""},
};
static const struct settings_table remote_table = {"openai", remote_rows, N_R};

enum { L_ALLOC, L_THREADS, L_MODEL, L_ADAPTIVE, L_DEPLOY, L_SIZE, L_DOCS, N_L };

static const struct setting local_rows[N_L] = {
    [L_ALLOC] = {.name = "num_allocations",
                 .place = IN_SERVICE,
                 .type = SETTING_INT,
                 .tasks = T_LOCAL,
                 .flags = SETTING_UPDATABLE,
                 .unless = "deployment_id",
                 .one_of = "num_allocations, adaptive_allocations"},
    [L_THREADS] = {.name = "num_threads",
                   .place = IN_SERVICE,
                   .type = SETTING_INT,
                   .tasks = T_LOCAL,
                   .flags = SETTING_REQUIRED,
                   .unless = "deployment_id"},
    [L_MODEL] = {.name = "model_id", .place = IN_SERVICE, .type = SETTING_STR, .tasks = T_LOCAL},
    [L_ADAPTIVE] = {.name = "adaptive_allocations",
                    .place = IN_SERVICE,
                    .type = SETTING_ADAPTIVE,
                    .tasks = T_LOCAL,
                    .flags = SETTING_UPDATABLE,
                    .unless = "deployment_id",
                    .one_of = "num_allocations, adaptive_allocations"},
    [L_DEPLOY] = {.name = "deployment_id",
                  .place = IN_SERVICE,
                  .type = SETTING_STR,
                  .tasks = T_LOCAL},
    [L_SIZE] = {.name = "max_batch_size",
                .place = IN_SERVICE,
                .type = SETTING_INT,
                .tasks = T_LOCAL,
                .has_range = true,
                .min = 1,
                .max = 250},
    [L_DOCS] = {.name = "return_documents",
                .place = IN_TASK,
                .type = SETTING_BOOL,
                .tasks = TASK_BIT(TASK_RERANK),
                .preset = "true"},
};
static const struct settings_table local_table = {"elasticsearch", local_rows, N_L};

enum { K_ACCESS, K_SECRET, K_MAP, N_K };

static const struct setting keys_rows[N_K] = {
    [K_ACCESS] = {.name = "access_key",
                  .place = IN_SECRET,
                  .type = SETTING_STR,
                  .tasks = TASK_ALL_BITS,
                  .flags = SETTING_REQUIRED | SETTING_UPDATABLE},
    [K_SECRET] = {.name = "secret_key",
                  .place = IN_SECRET,
                  .type = SETTING_STR,
                  .tasks = TASK_ALL_BITS,
                  .flags = SETTING_REQUIRED | SETTING_UPDATABLE},
    [K_MAP] = {.name = "secret_parameters",
               .place = IN_SECRET,
               .type = SETTING_STR_MAP,
               .tasks = TASK_ALL_BITS,
               .flags = SETTING_UPDATABLE},
};
static const struct settings_table keys_table = {"custom", keys_rows, N_K};

#endif
