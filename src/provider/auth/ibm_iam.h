/* ibm_iam: access tokens of IBM Cloud for an API key. Source: shared facts, providers.md 3.13. The
 * key is the secret setting api_key. */
#ifndef INFERD_PROVIDER_AUTH_IBM_IAM_H
#define INFERD_PROVIDER_AUTH_IBM_IAM_H

#include "auth.h"

extern const struct auth ibm_iam_auth;

#endif
