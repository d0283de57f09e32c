/* elasticsearch: models that inferd runs itself. Only settings stand here; model/ answers.
 * Source: shared facts, inference.md 5.7. */
#include "provider.h"

#define TE    TASK_BIT(TASK_TEXT_EMBEDDING)
#define RR    TASK_BIT(TASK_RERANK)
#define LOCAL (TE | TASK_BIT(TASK_SPARSE_EMBEDDING) | RR)

enum {
    S_NUM_ALLOCATIONS,
    S_NUM_THREADS,
    S_MODEL_ID,
    S_ADAPTIVE,
    S_DEPLOYMENT_ID,
    S_DIMENSIONS,
    S_SIMILARITY,
    S_ELEMENT_TYPE,
    S_RETURN_DOCUMENTS,
    N_SETTINGS
};

static const char allocations_or_adaptive[] = "num_allocations, adaptive_allocations";
static const char *const element_types[] = {"float", NULL};

static const struct setting rows[N_SETTINGS] = {
    [S_NUM_ALLOCATIONS] = {.name = "num_allocations",
                           .place = IN_SERVICE,
                           .type = SETTING_INT,
                           .tasks = LOCAL,
                           .flags = SETTING_UPDATABLE,
                           .one_of = allocations_or_adaptive,
                           .unless = "deployment_id",
                           .label = "Number Allocations",
                           .description = "The total number of allocations this model is assigned "
                                          "across machine learning nodes.",
                           .ui_default = "1",
                           .ui_required = 1},
    [S_NUM_THREADS] = {.name = "num_threads",
                       .place = IN_SERVICE,
                       .type = SETTING_INT,
                       .tasks = LOCAL,
                       .flags = SETTING_REQUIRED,
                       .unless = "deployment_id",
                       .label = "Number Threads",
                       .description = "Sets the number of threads used by each model allocation "
                                      "during inference.",
                       .ui_default = "2"},
    [S_MODEL_ID] = {.name = "model_id",
                    .place = IN_SERVICE,
                    .type = SETTING_STR,
                    .tasks = LOCAL,
                    .label = "Model ID",
                    .description = "The name of the model to use for the inference task.",
                    .ui_required = 1},
    [S_ADAPTIVE] = {.name = "adaptive_allocations",
                    .place = IN_SERVICE,
                    .type = SETTING_ADAPTIVE,
                    .tasks = LOCAL,
                    .flags = SETTING_UPDATABLE | SETTING_UNLISTED,
                    .one_of = allocations_or_adaptive,
                    .unless = "deployment_id",
                    .label = "Adaptive Allocations",
                    .description = "Scales the number of allocations with the load."},
    [S_DEPLOYMENT_ID] = {.name = "deployment_id",
                         .place = IN_SERVICE,
                         .type = SETTING_STR,
                         .tasks = LOCAL,
                         .flags = SETTING_UNLISTED,
                         .label = "Deployment ID",
                         .description = "The deployment of a model that is used as it is."},
    [S_DIMENSIONS] = {.name = "dimensions",
                      .place = IN_SERVICE,
                      .type = SETTING_INT,
                      .tasks = TE,
                      .flags = SETTING_INTERNAL | SETTING_UNLISTED,
                      .label = "Dimensions",
                      .description = "The number of dimensions of an embedding; measured."},
    [S_SIMILARITY] = SETTING_ROW_SIMILARITY(TE),
    [S_ELEMENT_TYPE] = {.name = "element_type",
                        .place = IN_SERVICE,
                        .type = SETTING_ENUM,
                        .tasks = TE,
                        .flags = SETTING_UNLISTED,
                        .choices = element_types,
                        .preset = "\"float\"",
                        .label = "Element Type",
                        .description = "The type of an embedding's numbers."},
    [S_RETURN_DOCUMENTS] = {.name = "return_documents",
                            .place = IN_TASK,
                            .type = SETTING_BOOL,
                            .tasks = RR,
                            .flags = SETTING_UNLISTED,
                            .preset = "true",
                            .label = "Return Documents",
                            .description = "Returns the document instead of only the index."},
};

static const struct settings_table table = {
    .service = "elasticsearch", .rows = rows, .n = N_SETTINGS};

/* Models of Elastic's own, whose endpoints say nothing of what everybody knows. */
static bool is_e5(struct str model_id)
{
    return str_eq_c(model_id, ".multilingual-e5-small") ||
           str_eq_c(model_id, ".multilingual-e5-small_linux-x86_64");
}

/* What a deployment itself would refuse. */
static struct err *check(struct endpoint *ep)
{
    struct value *v = ep->values.v;
    if (!v[S_MODEL_ID].set && !v[S_DEPLOYMENT_ID].set)
        return err_new(ERR_ARGUMENT, "Error parsing service settings, model_id must be provided");
    if (v[S_MODEL_ID].set && is_e5(v[S_MODEL_ID].s))
        v[S_ELEMENT_TYPE].set = false;
    int64_t threads = v[S_NUM_THREADS].set ? v[S_NUM_THREADS].i : 1;
    if (threads > 32 || (threads & (threads - 1)) != 0)
        return err_new(ERR_VALIDATION,
                       "Validation Failed: 1: [num_threads] must be a power of 2 less than or "
                       "equal to 32, but was [%lld];",
                       (long long)threads);
    return NULL;
}

static const struct provider_task tasks[] = {
    {.task = TASK_TEXT_EMBEDDING, .request_name = "local text embedding"},
    {.task = TASK_SPARSE_EMBEDDING, .request_name = "local sparse embedding"},
    {.task = TASK_RERANK, .request_name = "local rerank"},
};

const struct provider provider_elasticsearch = {
    .name = "elasticsearch",
    .label = "Elasticsearch",
    .settings = &table,
    .tasks = tasks,
    .n_tasks = sizeof tasks / sizeof tasks[0],
    .similarity = "cosine",
    .local = true,
    .check = check,
};
