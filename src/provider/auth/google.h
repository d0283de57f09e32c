/* google: access tokens for Google Cloud from a service account's key file, by the JWT bearer grant
 * (RFC 7523): a claim signed with the account's RSA key is exchanged at the file's token_uri for a
 * token of an hour. Source: shared facts, providers.md 3.8; Google's "Using OAuth 2.0 for server to
 * server applications".
 *
 * The key file is the secret setting service_account_json. It comes from whoever makes the
 * endpoint, so nothing in it is trusted: its errors name members, never their values. */
#ifndef INFERD_PROVIDER_AUTH_GOOGLE_H
#define INFERD_PROVIDER_AUTH_GOOGLE_H

#include "auth.h"

extern const struct auth google_auth;

#endif
