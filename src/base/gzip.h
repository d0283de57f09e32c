/* gzip: request and response bodies, with a ceiling against bombs. Source: RFC 1952, zlib. */
#ifndef INFERD_GZIP_H
#define INFERD_GZIP_H

#include "buf.h"
#include "err.h"

/* Appends to `out` (whose limit is the ceiling: passing it is ERR_TOO_LARGE). Bad or cut data and
 * trailing garbage: ERR_PARSE. Several members in a row are one body. */
struct err *gzip_inflate(struct str in, struct buf *out);
/* Level 1..9. */
void gzip_deflate(struct str in, int level, struct buf *out);

#endif
