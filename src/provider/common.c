#include "common.h"

/* Tasks whose answer to the same question is the same. */
#define DETERMINISTIC                                                                              \
    (TASK_BIT(TASK_TEXT_EMBEDDING) | TASK_BIT(TASK_SPARSE_EMBEDDING) | TASK_BIT(TASK_RERANK))
#define WHOLE (DETERMINISTIC | TASK_BIT(TASK_COMPLETION))

const struct setting common_rows[N_COMMON] = {
    [COMMON_FALLBACK] = {.name = "fallback",
                         .place = IN_SERVICE,
                         .type = SETTING_STR_LIST,
                         .tasks = TASK_ALL_BITS,
                         .flags = SETTING_UPDATABLE | SETTING_NULL_UNSETS,
                         .label = "Fallback",
                         .description = "Endpoints of the same task type that are tried in order "
                                        "when this one fails or is limited."},
    [COMMON_CACHE] = {.name = "cache",
                      .place = IN_SERVICE,
                      .type = SETTING_JSON,
                      .tasks = DETERMINISTIC,
                      .flags = SETTING_UPDATABLE | SETTING_NULL_UNSETS,
                      .label = "Cache",
                      .description = "Keeps answers to identical requests: {\"max_size\": "
                                     "\"16mb\", \"ttl\": \"10m\"}.",
                      .ui_type = "map"},
    [COMMON_HEDGE] = {.name = "hedge",
                      .place = IN_SERVICE,
                      .type = SETTING_JSON,
                      .tasks = WHOLE,
                      .flags = SETTING_UPDATABLE | SETTING_NULL_UNSETS,
                      .label = "Hedge",
                      .description = "Sends a second request when the first has not answered in "
                                     "time, and takes whichever answers first: {\"after\": "
                                     "\"500ms\"}.",
                      .ui_type = "map"},
    [COMMON_TIMEOUTS] = {.name = "timeouts",
                         .place = IN_SERVICE,
                         .type = SETTING_JSON,
                         .tasks = TASK_ALL_BITS,
                         .flags = SETTING_UPDATABLE | SETTING_NULL_UNSETS,
                         .label = "Timeouts",
                         .description = "Limits on the service: {\"first_token\": \"10s\", "
                                        "\"stall\": \"30s\", \"total\": \"5m\"}; first_token and "
                                        "stall are for streams.",
                         .ui_type = "map"},
    [COMMON_EGRESS] = {.name = "egress",
                       .place = IN_SERVICE,
                       .type = SETTING_JSON,
                       .tasks = TASK_ALL_BITS,
                       .flags = SETTING_UPDATABLE | SETTING_NULL_UNSETS,
                       .label = "Egress",
                       .description =
                           "How requests leave: {\"proxy\": \"http://host:port\", \"headers\": "
                           "{}, \"ca\": \"PEM\", \"client_certificate\": \"PEM\"}.",
                       .ui_type = "map"},
    [COMMON_EGRESS_CLIENT_KEY] = {.name = "egress_client_key",
                                  .place = IN_SECRET,
                                  .type = SETTING_STR,
                                  .tasks = TASK_ALL_BITS,
                                  .flags = SETTING_UPDATABLE,
                                  .label = "Egress Client Key",
                                  .description =
                                      "The private key of egress.client_certificate, in PEM."},
};
