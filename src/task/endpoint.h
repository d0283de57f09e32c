/* endpoint: a named, configured way to infer. Immutable once made, counted, replaced whole.
 *
 *     TRY(endpoint_parse(table, default_rpm, id, task, body, &ep));   // from a PUT body
 *     ep2 = endpoint_with_dimensions(ep, 384, "cosine");              // after the probe
 *     endpoint_render(&w, ep2);                                       // what clients see
 *     endpoint_unref(ep);
 *
 * Thread: any; a reference keeps it alive. It owns its arena and its secrets. */
#ifndef INFERD_ENDPOINT_H
#define INFERD_ENDPOINT_H

#include <stdatomic.h>

#include "chunking.h"
#include "settings.h"

struct provider; /* provider.h */

struct endpoint {
    atomic_uint refs;
    struct arena *arena;
    struct str id;
    enum task task;
    struct str service;              /* as printed */
    const struct provider *provider; /* set by whoever knows the providers (inference) */
    struct values values;
    bool has_chunking;
    struct chunking chunking;
    uint64_t rev;                       /* store revision; 0: not stored yet */
    void *group;                        /* rate limit group; inference's own */
    void (*on_free)(struct endpoint *); /* called with the last reference; NULL: nothing */
};

/* Reads a PUT body (already known to be an object): service_settings, task_settings,
 * chunking_settings. `service` and `task_type` members are skipped, they are resolved before;
 * anything unknown is an error in ES's words. All problems of one settings object are collected.
 * default_rpm 0: the service has no rate_limit. ES texts and order: inference.md 7.2.
 * The new endpoint has one reference and owns everything. */
struct err *endpoint_parse(const struct settings_table *, int64_t default_rpm, struct str id,
                           enum task, const struct json *body, struct endpoint **out);

/* The stored form: two JSON texts (public; secrets or {}), and back. What was stored by an older
 * version reads without complaint: unknown members are ignored, missing ones defaulted. */
void endpoint_to_store(const struct endpoint *, struct buf *public_out, struct buf *secret_out);
struct err *endpoint_from_store(const struct settings_table *, int64_t default_rpm, struct str id,
                                struct str public_json, struct str secret_json,
                                struct endpoint **out);
/* Only these two members of a stored form, to find table and task before endpoint_from_store. */
struct err *endpoint_peek_store(struct arena *, struct str public_json, struct str *service_out,
                                enum task *task_out);

/* The `_update` of ES (inference.md 2.4 and 7.3): secrets, rows that are SETTING_UPDATABLE, task
 * settings merged over the stored ones; everything else refused in ES's words. `changed_out`: the
 * merge differs from the stored endpoint. The result keeps rev. */
struct err *endpoint_update(const struct endpoint *, const struct json *body, struct endpoint **out,
                            bool *changed_out);

/* Copies with measured values set (not by_user): for after the probe. similarity NULL: keep. */
struct endpoint *endpoint_with_dimensions(const struct endpoint *, int64_t dimensions,
                                          const char *similarity);
/* A copy that owns fresh `values` one may still change, before it is published. All copies keep rev
 * and provider; group and on_free are NULL in them, since the key of the group may have changed. */
struct endpoint *endpoint_clone(const struct endpoint *);

/* Stored values with the request's task_settings (an object or NULL) laid over them, in `arena`.
 * Unknown members and wrong types are errors. */
struct err *endpoint_call_values(const struct endpoint *, struct arena *,
                                 const struct json *task_settings, struct values *out);

struct endpoint *endpoint_ref(struct endpoint *);
void endpoint_unref(struct endpoint *); /* NULL is fine */

/* The object of PUT, _update and GET: inference_id, task_type, service, service_settings,
 * task_settings (left out when it has no set member), chunking_settings. */
void endpoint_render(struct json_out *, const struct endpoint *);
/* num_allocations_live >= 0 replaces service_settings.num_allocations; -1 leaves it. */
void endpoint_render_live(struct json_out *, const struct endpoint *, int64_t num_allocations_live);

/* [a-z0-9](?:[a-z0-9_\-.]*[a-z0-9])? ; ES's text on failure (ERR_REQUEST). */
struct err *endpoint_id_check(struct str id);

#endif
