/* sagemaker_payload: what a model behind SageMaker is told and answers, by the endpoint's api:
 * OpenAI's shapes, or Elasticsearch's own. Source: shared facts, inference.md 3 and 6;
 * Elasticsearch 9.1. Private to amazon_sagemaker.c. */
#ifndef INFERD_PROVIDER_SAGEMAKER_PAYLOAD_H
#define INFERD_PROVIDER_SAGEMAKER_PAYLOAD_H

#include "shape.h"

enum {
    S_ACCESS_KEY,
    S_SECRET_KEY,
    S_ENDPOINT_NAME,
    S_REGION,
    S_API,
    S_TARGET_MODEL,
    S_TARGET_CONTAINER_HOSTNAME,
    S_INFERENCE_COMPONENT_NAME,
    S_BATCH_SIZE,
    S_DIMENSIONS,
    S_DIMENSIONS_SET_BY_USER,
    S_SIMILARITY,
    S_ELEMENT_TYPE,
    S_CUSTOM_ATTRIBUTES,
    S_ENABLE_EXPLANATIONS,
    S_INFERENCE_ID,
    S_SESSION_ID,
    S_TARGET_VARIANT,
    S_USER,
    N_SETTINGS
};

bool sagemaker_is_elastic(const struct values *);

/* The body of a request, set on `out`. */
struct err *sagemaker_body(const struct input *, struct http_out *out);
/* A whole answer. */
struct err *sagemaker_parse(const struct endpoint *, const struct input *, const struct http_in *,
                            struct result *);
/* One part of a stream (FRAMING_AWS) that is no exception. */
struct err *sagemaker_part(struct stream *, struct str bytes, struct sink *);

#endif
