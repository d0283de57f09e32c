/* api: the REST face. One file per resource; routes.c is the table of all of them.
 *
 *     struct api *api = api_new(&options, &parts);
 *     http_server_new(loop, &server_options, api_hooks(), api);
 *
 * Around every handler, done once here: authentication, privileges, unknown parameters, media
 * types, X-Opaque-Id, `pretty`, `filter_path`, `format`, the error envelope, HEAD, 405, metrics.
 * Thread: making and freeing, main; the hooks, the loops. */
#ifndef INFERD_API_H
#define INFERD_API_H

#include "http_server.h"
#include "inference.h"
#include "security.h"

struct api;

/* An option of the server that GET _cluster/settings shows. */
struct api_setting {
    const char *name, *value;
};

struct api_options {
    const char *node_name;
    const char *cluster_name;
    const char *cluster_uuid; /* 22 characters, stable across restarts */
    const char *node_id;
    const char *publish_host; /* for _nodes */
    int publish_port;
    size_t max_content_length;
    bool tls;                           /* of the HTTP port */
    int processors;                     /* for _ml/info and _stats */
    uint64_t memory_bytes;              /* of the machine or the container */
    uint64_t ml_memory_bytes;           /* what deployments may need of it */
    const struct api_setting *settings; /* [n_settings], by name; borrowed until api_free */
    size_t n_settings;
    int64_t slow_ms; /* _infer that takes as long is logged; 0: none */
};

struct models;
struct packages;
struct registry;

struct api_parts {
    struct inference *inference;
    struct models *models;
    struct registry *registry;
    struct packages *packages;
    struct security *security;
    struct audit *audit; /* NULL: none is kept */
    struct pool *pool;   /* for what may wait */
    struct store *store; /* whose health _health/ready tells */
};

struct api *api_new(const struct api_options *, const struct api_parts *); /* copies the texts */
void api_free(struct api *);
const struct http_server_hooks *api_hooks(void); /* their ctx is the struct api */

/* http_server_options.fixed_headers: every answer names the product, protocol errors too. */
extern const char api_fixed_headers[];

/* From now on _health/ready says so. Thread: any. */
void api_drain(struct api *);

/* The port is known only after listening; before the loops run. */
void api_set_port(struct api *, int port);

#endif
