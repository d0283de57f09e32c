/* request: one REST request between head and answer. In the HTTP request's arena.
 *
 * A handler that works elsewhere (pool, upstream) holds the request:
 *
 *     request_hold(r);
 *     ... later, on the loop:
 *     if (!request_back(r))       // the client left meanwhile, and r is gone
 *         return;
 *     reply_json(r, 200, &buf);
 *
 * Thread: the request's loop. */
#ifndef INFERD_REQUEST_H
#define INFERD_REQUEST_H

#include "api.h"
#include "router.h"

struct request;

/* One row of routes.c. */
struct route {
    enum method method;
    const char *path;
    enum privilege needs;
    const char *action;        /* Elasticsearch's action name, for the 403 text */
    const char *const *params; /* query parameters it knows, NULL-terminated; NULL: none */
    unsigned flags;
    void (*handle)(struct request *);
};

enum route_flag {
    ROUTE_OPEN = 1,   /* no credentials needed */
    ROUTE_BODY = 2,   /* a body is required */
    ROUTE_STREAM = 4, /* answers as server-sent events, errors too */
    ROUTE_INFER = 16, /* an inference call: chat_completion has its own error shape */
    ROUTE_TEXT = 8,   /* answers text/plain: `format` and Accept are not looked at */
    ROUTE_OPENAI =
        32,         /* the second door: Bearer credentials, errors in OpenAI's shape, any query */
    ROUTE_RAW = 64, /* a large body, which the handler reads on the pool: `body` stays NULL */
    ROUTE_CAT = 128 /* answers text/plain unless `format` or Accept ask for JSON or YAML first */
};

enum body_format { FORMAT_JSON, FORMAT_YAML };

struct query_param {
    struct str name, value;
    bool has_value; /* "?pretty" has none */
};

#define MAX_QUERY_PARAMS 32

struct request {
    struct api *api;
    struct http_request *http;
    struct arena *arena;
    const struct route *route; /* NULL until found */
    struct route_match match;
    struct query_param query[MAX_QUERY_PARAMS];
    size_t n_query;
    const struct user *user;

    struct str content_type; /* of the answer */
    enum body_format format;
    bool pretty, error_trace;
    struct str filter_path;

    const struct json *body; /* NULL: none */
    struct err *refused;     /* found out before the body came; answered when it is there */
    unsigned holds;
    bool head_done, ready, answered, cancelled;
    bool denied;                         /* for want of a privilege */
    bool broken;                         /* it failed after its status had gone out */
    void (*on_cancel)(struct request *); /* of the handler that holds it */
    void *work;                          /* the handler's own */
    struct str inference_id;             /* the endpoint it is about; p NULL: none is known */
    bool chat;                           /* errors in the shape of chat_completion */
};

struct api {
    struct api_options options;
    struct api_parts parts;
    struct router *router;
    struct readiness *readiness;
    int64_t started_wall_ms;
};

void request_hold(struct request *);
/* False: nothing more to do, r may be gone. */
bool request_back(struct request *);

/* At the second front door: one of its routes, or none at all below its paths. */
bool request_is_openai(const struct request *);
struct str request_param(const struct request *, const char *name); /* of the path; decoded */
/* Query parameters. Absent: false / the default. Bad values: ERR_ARGUMENT in ES's words. */
bool request_query(const struct request *, const char *name, struct str *out);
struct err *request_query_bool(const struct request *, const char *name, bool preset, bool *out);
/* A duration; -1 means no limit. */
struct err *request_query_ms(const struct request *, const char *name, int64_t preset,
                             int64_t *out);

extern const struct http_server_hooks request_hooks;

/* routes.c */
void routes_add(struct router *);

#endif
