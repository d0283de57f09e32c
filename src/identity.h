/* identity: who this installation is: made on the first start, kept in the store. */
#ifndef INFERD_IDENTITY_H
#define INFERD_IDENTITY_H

#include "store.h"

#define IDENTITY_CHARS 22 /* 16 random bytes in URL-safe base64 */

struct identity {
    char cluster_uuid[IDENTITY_CHARS + 1];
    char node_id[IDENTITY_CHARS + 1];
};

/* Blocking. Thread: main. */
struct err *identity_read(struct store *, struct identity *out);

#endif
