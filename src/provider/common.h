/* common: settings that every endpoint may have, whoever answers it. inference/ gives them their
 * meaning (extras.h); here they are rows, so that they are read, stored, updated and listed like
 * any other. Beyond Elasticsearch; docs/differences.md. */
#ifndef INFERD_PROVIDER_COMMON_H
#define INFERD_PROVIDER_COMMON_H

#include "settings.h"

enum {
    COMMON_FALLBACK,
    COMMON_CACHE,
    COMMON_HEDGE,
    COMMON_TIMEOUTS,
    COMMON_EGRESS,
    COMMON_EGRESS_CLIENT_KEY,
    N_COMMON
};

extern const struct setting common_rows[N_COMMON];

#endif
