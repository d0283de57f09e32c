/* base64: the standard alphabet (RFC 4648, section 4) into bytes, for what is sent as JSON.
 * White space between characters is skipped, as Elasticsearch's parser does; padding is required;
 * anything else is refused, bits that no byte takes included. */
#ifndef INFERD_BASE64_H
#define INFERD_BASE64_H

#include "str.h"

/* An upper bound of what n characters decode to. */
static inline size_t base64_bytes(size_t n)
{
    return n / 4 * 3 + 3;
}

/* Into out[base64_bytes(in.n)]. */
bool base64_decode(struct str in, unsigned char *out, size_t *n_out);

#endif
