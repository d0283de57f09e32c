/* deployments: what the handlers of trained models' deployments share. Source: shared facts,
 * trained_models.md 4, 8, 9, 10. */
#ifndef INFERD_DEPLOYMENTS_H
#define INFERD_DEPLOYMENTS_H

#include "handlers.h"
#include "model.h"

/* {"assignment":{...}} of _start and _update. */
void assignment_render(const struct api *, const struct deployment_view *, struct json_out *);
/* {"enabled":true,"min_number_of_allocations":0,...} */
void adaptive_render(struct json_out *, const struct adaptive *);
/* The value of "deployment_stats". */
void deployment_stats_render(const struct api *, const struct deployment_view *, struct json_out *);

/* Roles that are limited to some inference endpoints (role.h) are limited to their deployments too:
 * what changes one takes the route's privilege for every endpoint that it answers for, what only
 * asks it for one of them. Deployments of no endpoint are the route's privilege alone. */
struct err *deployment_authorize(const struct request *, struct str id, bool changes);

/* One pattern of a comma list of ids: exact, or with stars; _all. */
bool id_matches(struct str pattern, struct str id);
bool id_is_pattern(struct str);

/* The body of _start with the query laid over it, and of _update. Everything is in the arena of
 * the request, or of the body. All that ES's validation says, at once. */
struct start_asked {
    struct deployment_spec spec; /* id and model_id: set, from path and query */
    int64_t timeout_ms;
};
struct err *start_read(const struct request *, struct start_asked *out);
struct err *update_read(const struct request *, struct deployment_change *out);
/* "10s", "500ms". */
struct str time_text(struct arena *, int64_t ms);

#endif
