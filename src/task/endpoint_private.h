/* endpoint_private: what the endpoint_*.c files share. Not for others. */
#ifndef INFERD_ENDPOINT_PRIVATE_H
#define INFERD_ENDPOINT_PRIVATE_H

#include "endpoint.h"
#include "settings_private.h"

/* One reference, an arena of its own, no value set. */
struct endpoint *endpoint_new(const struct settings_table *, struct str id, enum task);
bool endpoint_is_chunked(enum task); /* chunking_settings exist for embeddings only */

/* Reads into an endpoint's values; default_rpm is known again from its own rate limit. */
struct settings_reader endpoint_reader(const struct endpoint *, struct arena *, enum settings_why);

#endif
