/* handlers: what the rows of routes.c point at. Each owes its request exactly one answer. */
#ifndef INFERD_HANDLERS_H
#define INFERD_HANDLERS_H

#include "request.h"

#define ES_VERSION "9.1.0"
/* Clients print it; it names no build of Elasticsearch. */
#define ES_BUILD_HASH "696e66657264"
#define ES_BUILD_DATE "2025-07-24T00:00:00.000000000Z"

/* inference_api.c */
void get_endpoints(struct request *);
void put_endpoint(struct request *);
void update_endpoint(struct request *);
void delete_endpoint(struct request *);
void get_services(struct request *);
void get_diagnostics(struct request *);
/* Of a list of references, those that the caller may see; the others are let go. */
size_t keep_seen(const struct request *, struct endpoint **list, size_t n);
/* The task type of the URL; TASK_ANY when it names none. */
struct err *url_task(const struct request *, enum task *out);

/* infer.c */
void post_infer(struct request *);
void post_stream(struct request *);

/* simulate.c */
void post_simulate(struct request *);

/* openai.c, openai_chat.c: the second door */
void post_openai_embeddings(struct request *);
void post_openai_chat(struct request *);
void post_openai_rerank(struct request *);
void get_openai_models(struct request *);
void get_openai_model(struct request *);

/* cluster.c: what clients ask of any Elasticsearch */
void get_root(struct request *);
void get_license(struct request *);
void get_cluster_health(struct request *);
void get_nodes(struct request *);
void get_cluster_settings(struct request *);
void get_authenticate(struct request *);

/* xpack.c */
void get_xpack(struct request *);
void get_xpack_usage(struct request *);

/* deployments.c, deployments_infer.c, deployments_stats.c */
void post_start(struct request *);
void post_update(struct request *);
void post_stop(struct request *);
void post_clear_model_cache(struct request *);
void post_ml_infer(struct request *);
void get_model_stats(struct request *);

/* trained_models.c, cat_trained_models.c, ml_info.c: see ml.h */
void put_trained_model(struct request *);
void get_trained_models(struct request *);
void delete_trained_model(struct request *);
void put_definition_part(struct request *);
void put_vocabulary(struct request *);
void put_model_alias(struct request *);
void delete_model_alias(struct request *);
void cat_trained_models(struct request *);
void get_ml_info(struct request *);

/* health.c */
void get_health(struct request *);
void get_ready(struct request *);
void get_metrics(struct request *);

#endif
