/* aws: what Amazon's services have in common: keys, regions, signed requests, how errors look.
 * Private to provider/. Source: shared facts, providers.md 3.2. */
#ifndef INFERD_PROVIDER_AWS_H
#define INFERD_PROVIDER_AWS_H

#include "shape.h"

/* Rows of a table; they are found by these names. */
#define SETTING_AWS_ACCESS_KEY(task_bits, service_name)                                            \
    {                                                                                              \
        .name = "access_key", .place = IN_SECRET, .type = SETTING_STR, .tasks = (task_bits),       \
        .flags = SETTING_REQUIRED | SETTING_UPDATABLE, .label = "Access Key",                      \
        .description = "A valid AWS access key that has permissions to use " service_name          \
                       " and access to models for inference requests.",                            \
    }

#define SETTING_AWS_SECRET_KEY(task_bits)                                                          \
    {                                                                                              \
        .name = "secret_key", .place = IN_SECRET, .type = SETTING_STR, .tasks = (task_bits),       \
        .flags = SETTING_REQUIRED | SETTING_UPDATABLE, .label = "Secret Key",                      \
        .description = "A valid AWS secret key that is paired with the access_key.",               \
    }

#define SETTING_AWS_REGION(task_bits)                                                              \
    {                                                                                              \
        .name = "region", .place = IN_SERVICE, .type = SETTING_STR, .tasks = (task_bits),          \
        .flags = SETTING_REQUIRED, .label = "Region",                                              \
        .description = "The region that your model or ARN is deployed in.",                        \
    }

/* A region becomes part of a host name: letters, digits and dashes, or an error of settings. */
struct err *aws_region_check(const struct endpoint *);
/* https://<prefix>.<region>.amazonaws.com, in China .amazonaws.com.cn */
struct str aws_origin(const struct endpoint *, const char *prefix, struct arena *);
/* For auth.sign. `service` is the name that is signed: "bedrock". */
struct err *aws_sign(const struct endpoint *, const char *service, int64_t now_s,
                     struct http_out *);

/* "ThrottlingException" of the header X-Amzn-ErrorType or the body's __type; empty: not said. */
struct str aws_error_type(const struct http_in *);
/* The member message or Message of a JSON text, or empty. */
struct str aws_message(struct arena *, struct str body);

#endif
