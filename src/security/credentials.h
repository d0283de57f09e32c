/* credentials: what an Authorization header says, read and nothing more; private to security/.
 * Holds secrets: credentials_wipe ends it in every case. Thread: its owner. */
#ifndef INFERD_SECURITY_CREDENTIALS_H
#define INFERD_SECURITY_CREDENTIALS_H

#include "str.h"

#define CREDENTIALS_LIMIT 16384 /* bytes of header; more is unreadable */

enum credentials_kind {
    CREDENTIALS_NONE,    /* no header, an unknown scheme, or a scheme alone */
    CREDENTIALS_BASIC,   /* name: user; secret: password */
    CREDENTIALS_API_KEY, /* name: key id; secret: key */
    CREDENTIALS_BEARER,  /* secret: the token, borrowed from the header */
    CREDENTIALS_BAD_BASIC_ENCODING,
    CREDENTIALS_BAD_BASIC_VALUE,
    CREDENTIALS_BAD_API_KEY_ENCODING,
    CREDENTIALS_BAD_API_KEY_VALUE,
};

struct credentials {
    enum credentials_kind kind;
    struct str name, secret; /* borrowed from `decoded` */
    char *decoded;
    size_t n_decoded;
};

/* Base64 is the standard alphabet with its padding, and stray bits are refused. Neither part may
 * hold a NUL. The first colon splits. */
void credentials_parse(struct str header, struct credentials *out);
/* The value alone, without its scheme. */
void credentials_parse_api_key(struct str base64, struct credentials *out);
void credentials_wipe(struct credentials *);

#endif
