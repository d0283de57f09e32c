#include "api.h"

#include <stdlib.h>

#include "bug.h"
#include "clock.h"
#include "readiness.h"
#include "request.h"
#include "security_api.h"

const char api_fixed_headers[] = "X-elastic-product: Elasticsearch\r\n";

struct api *api_new(const struct api_options *options, const struct api_parts *parts)
{
    struct api *api = mem_new(sizeof *api);
    api->options = *options;
    api->options.node_name = mem_strdup(options->node_name);
    api->options.cluster_name = mem_strdup(options->cluster_name);
    api->options.cluster_uuid = mem_strdup(options->cluster_uuid);
    api->options.node_id = mem_strdup(options->node_id);
    api->options.publish_host = mem_strdup(options->publish_host);
    api->parts = *parts;
    api->started_wall_ms = clock_wall_ms();
    api->readiness = readiness_new(parts->store, parts->pool);
    api->router = router_new();
    routes_add(api->router);
    security_routes_add(api->router);
    return api;
}

static void free_text(const char *text)
{
    free((void *)(uintptr_t)text);
}

void api_free(struct api *api)
{
    if (!api)
        return;
    free_text(api->options.node_name);
    free_text(api->options.cluster_name);
    free_text(api->options.cluster_uuid);
    free_text(api->options.node_id);
    free_text(api->options.publish_host);
    router_free(api->router);
    readiness_free(api->readiness);
    free(api);
}

void api_drain(struct api *api)
{
    readiness_drain(api->readiness);
}

void api_set_port(struct api *api, int port)
{
    api->options.publish_port = port;
}

const struct http_server_hooks *api_hooks(void)
{
    return &request_hooks;
}
