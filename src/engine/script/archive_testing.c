#include "archive_testing.h"

#include <sys/mman.h>
#include <unistd.h>
#include <zlib.h>

#include "bug.h"

void maker_init(struct maker *m)
{
    *m = (struct maker){.fd = -1};
    buf_init(&m->file, SIZE_MAX);
    buf_init(&m->central, SIZE_MAX);
}

void maker_deinit(struct maker *m)
{
    if (m->fd >= 0)
        close(m->fd);
    buf_deinit(&m->file);
    buf_deinit(&m->central);
}

static void put16(struct buf *b, uint32_t v)
{
    buf_char(b, (char)(v & 0xff));
    buf_char(b, (char)(v >> 8 & 0xff));
}

static void put32(struct buf *b, uint32_t v)
{
    put16(b, v & 0xffff);
    put16(b, v >> 16);
}

/* What local and central header share, from "version needed" on. */
static void put_common(struct buf *b, int method, uint32_t crc, size_t packed, uint64_t size,
                       size_t n_name)
{
    put16(b, 20);
    put16(b, 0);
    put16(b, (uint32_t)method);
    put32(b, 0); /* time and date */
    put32(b, crc);
    put32(b, (uint32_t)packed);
    put32(b, (uint32_t)size);
    put16(b, (uint32_t)n_name);
    put16(b, 0); /* extra */
}

void maker_raw(struct maker *m, struct str name, int method, struct str bytes, uint64_t size,
               uint32_t crc)
{
    size_t at = m->file.n;
    put32(&m->file, 0x04034b50);
    put_common(&m->file, method, crc, bytes.n, size, name.n);
    buf_put(&m->file, name);
    buf_put(&m->file, bytes);
    put32(&m->central, 0x02014b50);
    put16(&m->central, 20);
    put_common(&m->central, method, crc, bytes.n, size, name.n);
    put16(&m->central, 0); /* comment */
    put16(&m->central, 0); /* disk */
    put16(&m->central, 0);
    put32(&m->central, 0);
    put32(&m->central, (uint32_t)at);
    buf_put(&m->central, name);
    m->n++;
}

static uint32_t crc_of(struct str s)
{
    return (uint32_t)crc32_z(0, (const unsigned char *)s.p, s.n);
}

void maker_add(struct maker *m, const char *name, struct str bytes)
{
    maker_raw(m, str_c(name), 0, bytes, bytes.n, crc_of(bytes));
}

void maker_deflate(struct maker *m, const char *name, struct str bytes)
{
    z_stream z = {0};
    BUG_ON(deflateInit2(&z, 9, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY) != Z_OK);
    uLong room = deflateBound(&z, bytes.n);
    char *out = mem_new(room);
    z.next_in = (Bytef *)(uintptr_t)bytes.p;
    z.avail_in = (uInt)bytes.n;
    z.next_out = (Bytef *)out;
    z.avail_out = (uInt)room;
    BUG_ON(deflate(&z, Z_FINISH) != Z_STREAM_END);
    maker_raw(m, str_c(name), 8, str_n(out, room - z.avail_out), bytes.n, crc_of(bytes));
    deflateEnd(&z);
    free(out);
}

void maker_end(struct maker *m)
{
    size_t at = m->file.n;
    buf_put(&m->file, buf_str(&m->central));
    put32(&m->file, 0x06054b50);
    put32(&m->file, 0); /* disks */
    put16(&m->file, (uint32_t)m->n);
    put16(&m->file, (uint32_t)m->n);
    put32(&m->file, (uint32_t)m->central.n);
    put32(&m->file, (uint32_t)at);
    put16(&m->file, 0);
}

const char *maker_bytes(struct maker *m, struct str bytes)
{
    if (m->fd < 0)
        m->fd = memfd_create("archive", MFD_CLOEXEC);
    BUG_ON(m->fd < 0 || ftruncate(m->fd, 0) < 0);
    for (size_t at = 0; at < bytes.n;) {
        ssize_t n = pwrite(m->fd, bytes.p + at, bytes.n - at, (off_t)at);
        BUG_ON(n <= 0);
        at += (size_t)n;
    }
    snprintf(m->path, sizeof(m->path), "/proc/self/fd/%d", m->fd);
    return m->path;
}

const char *maker_file(struct maker *m)
{
    maker_end(m);
    return maker_bytes(m, buf_str(&m->file));
}

struct str maker_module_pickle(const char *module, const char *class, char out[256])
{
    int n = snprintf(out, 256, "\x80\x02%c%s\n%s\n)\x81}b.", 'c', module, class);
    return str_n(out, (size_t)n);
}

void maker_code(struct maker *m, const char *version, const char *code)
{
    char pickle[256];
    maker_add(m, "x/version", str_c(version));
    maker_add(m, "x/data.pkl", maker_module_pickle("__torch__", "M", pickle));
    maker_add(m, "x/constants.pkl", STR("\x80\x02)."));
    maker_deflate(m, "x/code/__torch__.py", str_c(code));
}
