/* entra: access tokens of Microsoft Entra ID for an application, by client credentials. Source:
 * shared facts, providers.md 3.5 (Microsoft identity platform v2.0). Settings: those of oauth2.h,
 * and tenant_id. */
#ifndef INFERD_PROVIDER_AUTH_ENTRA_H
#define INFERD_PROVIDER_AUTH_ENTRA_H

#include "auth.h"

extern const struct auth entra_auth;

#endif
