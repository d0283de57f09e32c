/* gzip on zlib. Output goes straight into the buf, never more than its ceiling leaves; whether more
 * would come is found out with one byte to spare, so a bomb costs no more than the ceiling. */
#include "gzip.h"

#include <zlib.h>

#include "bug.h"

#define GZIP_WINDOW (15 + 16) /* the largest window, gzip framing only */
#define CHUNK_MIN   16384
#define CHUNK_MAX   (1 << 20)
#define FEED_MAX    (1u << 30) /* zlib counts in unsigned int */

/* zlib takes its input through a pointer to non-const which it does not write to. */
static void feed(z_stream *z, struct str *in)
{
    if (z->avail_in > 0 || in->n == 0)
        return;
    z->next_in = (Bytef *)(uintptr_t)in->p;
    z->avail_in = in->n < FEED_MAX ? (uInt)in->n : FEED_MAX;
    in->p += z->avail_in;
    in->n -= z->avail_in;
}

/* As much as is in the buf already, within sensible bounds and the ceiling. */
static size_t next_chunk(const struct buf *out)
{
    size_t left = out->limit > out->n ? out->limit - out->n : 0;
    size_t want = out->n < CHUNK_MIN ? CHUNK_MIN : out->n > CHUNK_MAX ? CHUNK_MAX : out->n;
    return want < left ? want : left;
}

static struct err *bomb(const struct buf *out)
{
    return err_new(ERR_TOO_LARGE, "Decompressed content is longer than [%zu] bytes", out->limit);
}

/* One call of inflate, with output into `out` or, at the ceiling, into a byte that must stay empty.
 */
static struct err *inflate_some(z_stream *z, struct buf *out, int *rc_out)
{
    Bytef spare;
    size_t room = next_chunk(out);
    z->next_out = room ? (Bytef *)buf_reserve(out, room) : &spare;
    if (!z->next_out)
        return bomb(out);
    z->avail_out = room ? (uInt)room : 1;
    *rc_out = inflate(z, Z_NO_FLUSH);
    if (room)
        out->n += room - z->avail_out;
    else if (z->avail_out == 0)
        return bomb(out);
    return NULL;
}

static struct err *inflate_member(z_stream *z, struct str *in, struct buf *out)
{
    for (;;) {
        feed(z, in);
        int rc = Z_OK;
        TRY(inflate_some(z, out, &rc));
        if (rc == Z_STREAM_END)
            return NULL;
        BUG_ON(rc == Z_MEM_ERROR || rc == Z_STREAM_ERROR);
        if (rc != Z_OK && rc != Z_BUF_ERROR)
            return err_new(ERR_PARSE, "Not in GZIP format: %s", z->msg ? z->msg : "bad data");
        if (z->avail_in == 0 && in->n == 0 && z->avail_out > 0)
            return err_new(ERR_PARSE, "Unexpected end of ZLIB input stream");
    }
}

struct err *gzip_inflate(struct str in, struct buf *out)
{
    if (in.n == 0)
        return err_new(ERR_PARSE, "Unexpected end of ZLIB input stream");
    z_stream z = {0};
    BUG_ON(inflateInit2(&z, GZIP_WINDOW) != Z_OK);
    struct err *e;
    do {
        e = inflate_member(&z, &in, out);
        if (e)
            break;
        inflateReset(&z); /* keeps next_in: the next member follows directly */
    } while (z.avail_in > 0 || in.n > 0);
    inflateEnd(&z);
    return e;
}

void gzip_deflate(struct str in, int level, struct buf *out)
{
    BUG_ON(level < 1 || level > 9);
    z_stream z = {0};
    BUG_ON(deflateInit2(&z, level, Z_DEFLATED, GZIP_WINDOW, 8, Z_DEFAULT_STRATEGY) != Z_OK);
    int rc = Z_OK;
    while (rc == Z_OK || rc == Z_BUF_ERROR) {
        feed(&z, &in);
        size_t room = next_chunk(out);
        char *to = buf_reserve(out, room ? room : 1); /* at the ceiling this sets `full` */
        if (!to)
            break;
        z.next_out = (Bytef *)to;
        z.avail_out = (uInt)room;
        rc = deflate(&z, in.n == 0 ? Z_FINISH : Z_NO_FLUSH);
        out->n += room - z.avail_out;
    }
    deflateEnd(&z);
}
