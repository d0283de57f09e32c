/* azureaistudio: what the two files of this service share. Private to them. */
#ifndef INFERD_PROVIDER_AZUREAISTUDIO_H
#define INFERD_PROVIDER_AZUREAISTUDIO_H

#include "shape.h"

enum {
    S_API_KEY,
    S_TARGET,
    S_PROVIDER,
    S_ENDPOINT_TYPE,
    S_SIMILARITY,
    S_DIMENSIONS,
    S_DIMENSIONS_SET_BY_USER,
    S_MAX_INPUT_TOKENS,
    S_RATE_LIMIT,
    S_TEMPERATURE,
    S_TOP_P,
    S_DO_SAMPLE,
    S_MAX_NEW_TOKENS,
    S_CHAT_MAX_NEW_TOKENS,
    S_USER,
    S_RETURN_DOCUMENTS,
    S_TOP_N,
    N_SETTINGS
};

/* Else in realtime. */
bool azureaistudio_by_token(const struct endpoint *);
bool azureaistudio_is_openai(const struct endpoint *);
/* Where to, and the key in the way that it is shown there. */
void azureaistudio_request(const struct endpoint *, const struct input *, struct http_out *);

/* azureaistudio_chat.c */
struct err *azureaistudio_chat_build(const struct endpoint *, const struct input *,
                                     struct http_out *);

#endif
