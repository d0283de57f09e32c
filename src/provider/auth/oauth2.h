/* oauth2: the client credentials grant (RFC 6749 4.4): an id and a secret are exchanged for a token
 * at the server that the endpoint names. Source: shared facts, providers.md 3.12 and 3.5.
 *
 * Its settings are client_id, scopes ([S]) and the secret client_secret; oauth2_auth also needs
 * token_url, and shows the credentials in a header as RFC 6749 2.3.1 prefers. Schemes with a server
 * of their own (entra.c) build on the functions below. */
#ifndef INFERD_PROVIDER_AUTH_OAUTH2_H
#define INFERD_PROVIDER_AUTH_OAUTH2_H

#include "auth.h"

extern const struct auth oauth2_auth;

/* For the rows of a table. The setting that names the server differs. */
#define SETTING_ROW_CLIENT_SECRET(task_bits)                                                       \
    {                                                                                              \
        .name = "client_secret", .place = IN_SECRET, .type = SETTING_STR, .tasks = (task_bits),    \
        .flags = SETTING_UPDATABLE | SETTING_UNLISTED, .label = "OAuth2 Client Secret",            \
        .description = "The secret that the application proves itself with.",                      \
    }

#define SETTING_ROW_CLIENT_ID(task_bits)                                                           \
    {                                                                                              \
        .name = "client_id", .place = IN_SERVICE, .type = SETTING_STR, .tasks = (task_bits),       \
        .flags = SETTING_UPDATABLE | SETTING_UNLISTED, .label = "OAuth2 Client ID",                \
        .description = "The ID of the application at the authorization server.",                   \
    }

#define SETTING_ROW_SCOPES(task_bits)                                                              \
    {                                                                                              \
        .name = "scopes", .place = IN_SERVICE, .type = SETTING_STR_LIST, .tasks = (task_bits),     \
        .flags = SETTING_UPDATABLE | SETTING_UNLISTED, .label = "OAuth2 Scopes",                   \
        .description = "The permissions that the application asks for.",                           \
    }

/* For a provider's `check`: client_id, scopes and the setting `server` come together, and with a
 * client_secret they must be there. label: "Azure OpenAI". */
struct err *oauth2_check(const struct endpoint *, const char *label, const char *server);

/* For other schemes. A request for a token at `url`; the credentials stand in the body, or, with
 * `basic`, in a header. */
void oauth2_ask(const struct endpoint *, struct str url, bool basic, struct http_out *out);
void oauth2_key(const struct endpoint *, struct buf *out);
struct err *oauth2_take(const struct endpoint *, const struct http_in *, int64_t now_s,
                        struct token *out);
/* Unless the caller's own headers have an Authorization. */
struct err *oauth2_sign(const struct endpoint *, const struct token *, int64_t now_s,
                        struct http_out *);
/* A text setting or secret of the endpoint by its name; {NULL, 0}: not set. */
struct str oauth2_setting(const struct endpoint *, const char *name);

#endif
