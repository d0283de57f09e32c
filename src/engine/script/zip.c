/* Reading a ZIP from its end: end record, ZIP64 end record if there is one, central directory, then
 * each local header, which says where the data begins and must agree about the name. */
#include "zip.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "bug.h"
#include "file.h"
#include "map.h"

#define END_SIGNATURE     0x06054b50u
#define END64_SIGNATURE   0x06064b50u
#define LOCATOR_SIGNATURE 0x07064b50u
#define CENTRAL_SIGNATURE 0x02014b50u
#define LOCAL_SIGNATURE   0x04034b50u
#define END_BYTES         22
#define END64_BYTES       56
#define LOCATOR_BYTES     20
#define CENTRAL_BYTES     46
#define LOCAL_BYTES       30
#define COMMENT_MOST      65535

#define NAME_MOST      255
#define ENTRIES_MOST   ((uint64_t)250000)
#define DIRECTORY_MOST ((uint64_t)64 << 20)
/* What may come out of deflated entries together: libtorch packs source text, about 8 to 1. */
#define EXPANSION(file_bytes) (((uint64_t)256 << 20) + 16 * (file_bytes))
#define PIECE                 ((size_t)256 << 10)

struct zip {
    struct arena *arena;
    int fd;
    const char *file;
    uint64_t file_bytes;
    struct zip_entry *entries;
    size_t n;
    struct map *names;
    unsigned char *scratch; /* two pieces: of packed bytes and of unpacked ones nobody keeps */
};

/* Where the central directory lies, as the end records say. */
struct directory {
    uint64_t at, bytes, n;
    uint64_t end; /* of what entries may use: where the end records begin */
};

static uint32_t le16(const unsigned char *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8;
}

static uint32_t le32(const unsigned char *p)
{
    return le16(p) | le16(p + 2) << 16;
}

static uint64_t le64(const unsigned char *p)
{
    return le32(p) | (uint64_t)le32(p + 4) << 32;
}

static struct err *bad(const struct zip *z, const char *what)
{
    return err_new(ERR_ARGUMENT, "[%s] is not a model archive: %s", z->file, what);
}

static struct err *bad_entry(const struct zip *z, struct str name, const char *what)
{
    return err_new(ERR_ARGUMENT, "[%s]: entry [%.*s] %s", z->file,
                   (int)(name.n < 300 ? name.n : 300), name.p, what);
}

/* Refused as the engine of Elasticsearch does before it loads anything (trained_models.md 16). */
static struct err *evasion(const struct zip *z, const char *what)
{
    return err_new(ERR_ARGUMENT,
                   "Model archive failed pre-load state-hook scan (unreadable or truncated zip "
                   "record; possible evasion): [%s] %s",
                   z->file, what);
}

static struct err *read_at(const struct zip *z, uint64_t at, void *out, size_t n)
{
    if (at > z->file_bytes || n > z->file_bytes - at)
        return bad(z, "it ends too early");
    return file_read_at(z->fd, z->file, at, out, n);
}

/* The end record is the last 22 bytes but for a comment, whose length it tells. */
static struct err *find_end(const struct zip *z, unsigned char end[END_BYTES], uint64_t *at_out)
{
    if (z->file_bytes < END_BYTES)
        return bad(z, "it is too short");
    size_t most = END_BYTES + COMMENT_MOST;
    size_t n = z->file_bytes < most ? (size_t)z->file_bytes : most;
    unsigned char *tail = mem_new(n);
    struct err *err = read_at(z, z->file_bytes - n, tail, n);
    for (size_t i = n - END_BYTES + 1; !err && i-- > 0;) {
        if (le32(tail + i) != END_SIGNATURE || le16(tail + i + 20) != n - i - END_BYTES)
            continue;
        memcpy(end, tail + i, END_BYTES);
        *at_out = z->file_bytes - n + i;
        free(tail);
        return NULL;
    }
    free(tail);
    return err ? err : bad(z, "it has no end of central directory");
}

/* A value of the short record that is not "see the other" must be the same in both. */
static bool agrees(uint64_t narrow, uint64_t saturated, uint64_t wide)
{
    return narrow == saturated || narrow == wide;
}

static struct err *read_end64(const struct zip *z, const unsigned char *end, struct directory *d)
{
    unsigned char locator[LOCATOR_BYTES], r[END64_BYTES];
    if (d->end < LOCATOR_BYTES)
        return NULL;
    TRY(read_at(z, d->end - LOCATOR_BYTES, locator, sizeof(locator)));
    if (le32(locator) != LOCATOR_SIGNATURE)
        return NULL;
    uint64_t at = le64(locator + 8);
    TRY(read_at(z, at, r, sizeof(r)));
    if (le32(r) != END64_SIGNATURE || at + END64_BYTES > d->end - LOCATOR_BYTES)
        return bad(z, "its ZIP64 end record is damaged");
    if (le32(r + 16) || le32(r + 20) || le64(r + 24) != le64(r + 32))
        return bad(z, "it has several parts");
    *d =
        (struct directory){.n = le64(r + 32), .bytes = le64(r + 40), .at = le64(r + 48), .end = at};
    if (!agrees(le16(end + 10), 0xffff, d->n) || !agrees(le32(end + 12), 0xffffffff, d->bytes) ||
        !agrees(le32(end + 16), 0xffffffff, d->at))
        return bad(z, "its end records disagree");
    return NULL;
}

static struct err *find_directory(const struct zip *z, struct directory *d)
{
    unsigned char end[END_BYTES];
    TRY(find_end(z, end, &d->end));
    if (le16(end + 4) != le16(end + 6) || le16(end + 8) != le16(end + 10))
        return bad(z, "it has several parts");
    d->n = le16(end + 10);
    d->bytes = le32(end + 12);
    d->at = le32(end + 16);
    TRY(read_end64(z, end, d));
    if (d->at > d->end || d->bytes > d->end - d->at)
        return bad(z, "its central directory is not where it says");
    if (d->n == 0)
        return bad(z, "it is empty");
    if (d->n > ENTRIES_MOST || d->bytes > DIRECTORY_MOST || d->n > d->bytes / CENTRAL_BYTES)
        return bad(z, "its central directory is too large");
    return NULL;
}

/* Sizes of 4 GiB and more are in an extra field, in this order and only those that are. */
static bool read_extra64(const unsigned char *extra, size_t n, struct zip_entry *e)
{
    uint64_t *wide[] = {&e->size, &e->packed, &e->at};
    bool needed = false;
    for (size_t i = 0; i < 3; i++)
        needed |= *wide[i] == 0xffffffff;
    while (needed && n >= 4) {
        size_t length = le16(extra + 2);
        if (length > n - 4)
            return false;
        if (le16(extra) == 1) {
            const unsigned char *p = extra + 4;
            for (size_t i = 0; i < 3; i++) {
                if (*wide[i] != 0xffffffff)
                    continue;
                if (length < 8)
                    return false;
                *wide[i] = le64(p);
                p += 8;
                length -= 8;
            }
            return true;
        }
        extra += 4 + length;
        n -= 4 + length;
    }
    return true; /* without the field these are the sizes: of a file of 4 GiB less a byte */
}

/* Takes the top directory off; the first entry says which it is. */
static struct err *name_below(struct zip *z, struct str whole, struct str *top, struct str *out)
{
    size_t slash = str_find_char(whole, '/');
    if (slash == SIZE_MAX || slash == 0)
        return bad_entry(z, whole, "is in no directory");
    struct str first = str_sub(whole, 0, slash);
    if (!top->p)
        *top = first;
    if (!str_eq(first, *top))
        return bad_entry(z, whole, "is not in the directory of the first entry");
    *out = str_sub(whole, slash + 1, SIZE_MAX);
    if (first.n > NAME_MOST || out->n > NAME_MOST)
        return evasion(z, "has a name of 256 bytes or more");
    if (memchr(whole.p, 0, whole.n))
        return bad_entry(z, whole, "has a zero byte in its name");
    return NULL;
}

/* One header of the directory at *p; moves *p behind it. */
static struct err *read_central(struct zip *z, const unsigned char **p, const unsigned char *end,
                                struct str *top)
{
    const unsigned char *h = *p;
    if ((size_t)(end - h) < CENTRAL_BYTES || le32(h) != CENTRAL_SIGNATURE)
        return bad(z, "its central directory is damaged");
    size_t n_name = le16(h + 28), n_extra = le16(h + 30), n_comment = le16(h + 32);
    if ((size_t)(end - h) < CENTRAL_BYTES + n_name + n_extra + n_comment)
        return bad(z, "its central directory is damaged");
    *p = h + CENTRAL_BYTES + n_name + n_extra + n_comment;
    struct zip_entry e = {.crc = le32(h + 16),
                          .packed = le32(h + 20),
                          .size = le32(h + 24),
                          .at = le32(h + 42),
                          .deflated = le16(h + 10) == 8};
    struct str whole = str_n((const char *)h + CENTRAL_BYTES, n_name);
    TRY(name_below(z, whole, top, &e.name));
    if (!read_extra64(h + CENTRAL_BYTES + n_name, n_extra, &e))
        return bad_entry(z, whole, "has a damaged extra field");
    if (le16(h + 8) & 1)
        return bad_entry(z, whole, "is encrypted");
    if (le16(h + 10) != 0 && !e.deflated)
        return bad_entry(z, whole, "is neither stored nor deflated");
    if (!e.deflated && e.packed != e.size)
        return bad_entry(z, whole, "has two sizes");
    if (e.name.n == 0 && e.size == 0)
        return NULL; /* the directory itself */
    if (map_put(z->names, e.name, &z->entries[z->n]))
        return bad_entry(z, whole, "is there twice");
    z->entries[z->n++] = e;
    return NULL;
}

/* The local header says where the data begins; about the name and method it must agree. */
static struct err *read_local(struct zip *z, struct zip_entry *e, struct str top, uint64_t limit)
{
    unsigned char h[LOCAL_BYTES + 2 * NAME_MOST + 1];
    size_t n = top.n + 1 + e->name.n;
    TRY(read_at(z, e->at, h, LOCAL_BYTES));
    if (le32(h) != LOCAL_SIGNATURE || le16(h + 26) != n)
        return bad_entry(z, e->name, "has a damaged header");
    TRY(read_at(z, e->at + LOCAL_BYTES, h + LOCAL_BYTES, n));
    const char *name = (const char *)h + LOCAL_BYTES;
    if (memcmp(name, top.p, top.n) != 0 || name[top.n] != '/' ||
        memcmp(name + top.n + 1, e->name.p, e->name.n) != 0)
        return bad_entry(z, e->name, "has another name in its header");
    if (le16(h + 8) != (e->deflated ? 8u : 0u))
        return bad_entry(z, e->name, "has another method in its header");
    e->data_at = e->at + LOCAL_BYTES + n + le16(h + 28);
    if (e->data_at > limit || e->packed > limit - e->data_at)
        return bad_entry(z, e->name, "does not fit the file");
    return NULL;
}

static int by_place(const void *a, const void *b)
{
    const struct zip_entry *const *x = a, *const *y = b;
    return (*x)->at < (*y)->at ? -1 : (*x)->at > (*y)->at;
}

static struct err *check_overlap(const struct zip *z)
{
    const struct zip_entry **sorted = mem_array(z->n, sizeof(const struct zip_entry *));
    struct err *err = NULL;
    for (size_t i = 0; i < z->n; i++)
        sorted[i] = &z->entries[i];
    qsort(sorted, z->n, sizeof(const struct zip_entry *), by_place);
    for (size_t i = 1; i < z->n && !err; i++)
        if (sorted[i]->at < sorted[i - 1]->data_at + sorted[i - 1]->packed)
            err = bad_entry(z, sorted[i]->name, "overlaps another");
    free(sorted);
    return err;
}

static struct err *read_directory(struct zip *z)
{
    struct directory d;
    TRY(find_directory(z, &d));
    unsigned char *bytes = arena_try(z->arena, (size_t)d.bytes);
    if (!bytes)
        return bad(z, "its central directory is too large");
    TRY(read_at(z, d.at, bytes, (size_t)d.bytes));
    z->entries = arena_array(z->arena, (size_t)d.n, sizeof(*z->entries));
    const unsigned char *p = bytes;
    struct str top = {0};
    for (uint64_t i = 0; i < d.n; i++)
        TRY(read_central(z, &p, bytes + d.bytes, &top));
    if (p != bytes + d.bytes)
        return bad(z, "its central directory has bytes that belong to no entry");
    uint64_t deflated = 0;
    for (size_t i = 0; i < z->n; i++) {
        struct zip_entry *e = &z->entries[i];
        TRY(read_local(z, e, top, d.at));
        if (e->deflated && (e->size > EXPANSION(z->file_bytes) ||
                            (deflated += e->size) > EXPANSION(z->file_bytes)))
            return bad_entry(z, e->name, "unpacks to too many bytes");
    }
    return check_overlap(z);
}

static struct err *open_file(struct zip *z, const char *file)
{
    struct stat info;
    z->fd = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (z->fd < 0)
        return err_new(errno == ENOENT || errno == ENOTDIR ? ERR_ARGUMENT : ERR_IO,
                       "Could not open [%s]: [%s]", z->file, strerrordesc_np(errno));
    if (fstat(z->fd, &info) < 0 || !S_ISREG(info.st_mode))
        return err_new(ERR_ARGUMENT, "[%s] is not a regular file", z->file);
    z->file_bytes = (uint64_t)info.st_size;
    return NULL;
}

struct err *zip_open(const char *file, struct zip **out)
{
    struct arena *a = arena_new(ARENA_NO_LIMIT);
    struct zip *z = arena_alloc(a, sizeof(*z));
    const char *slash = strrchr(file, '/');
    z->arena = a;
    z->file = arena_cstr(a, str_c(slash ? slash + 1 : file));
    z->names = map_new();
    z->scratch = arena_alloc(a, 2 * PIECE);
    struct err *err = open_file(z, file);
    if (!err)
        err = read_directory(z);
    if (err) {
        zip_close(z);
        return err;
    }
    *out = z;
    return NULL;
}

void zip_close(struct zip *z)
{
    if (!z)
        return;
    if (z->fd >= 0)
        close(z->fd);
    map_free(z->names);
    arena_free(z->arena);
}

size_t zip_count(const struct zip *z)
{
    return z->n;
}

const struct zip_entry *zip_at(const struct zip *z, size_t i)
{
    BUG_ON(i >= z->n);
    return &z->entries[i];
}

const struct zip_entry *zip_find(const struct zip *z, struct str name)
{
    return map_get(z->names, name);
}

const char *zip_file(const struct zip *z)
{
    return z->file;
}

/* One entry on its way out. */
struct flow {
    struct zip *zip;
    const struct zip_entry *entry;
    unsigned char *to; /* next byte to write; NULL: nowhere */
    uint64_t left;     /* bytes that may still come */
    uint32_t crc;
    void (*see)(void *ctx, const void *bytes, size_t n);
    void *ctx;
};

static void flow_take(struct flow *f, const unsigned char *bytes, size_t n)
{
    f->crc = (uint32_t)crc32_z(f->crc, bytes, n);
    if (f->see)
        f->see(f->ctx, bytes, n);
    f->left -= n;
    if (f->to)
        f->to += n;
}

static struct err *copy_stored(struct flow *f)
{
    const struct zip_entry *e = f->entry;
    while (f->left > 0) {
        size_t n = f->left < PIECE ? (size_t)f->left : PIECE;
        unsigned char *into = f->to ? f->to : f->zip->scratch;
        TRY(read_at(f->zip, e->data_at + (e->size - f->left), into, n));
        flow_take(f, into, n);
    }
    return NULL;
}

/* Inflates what is in z->next_in; *end_out when the stream is over. */
static struct err *inflate_piece(struct flow *f, z_stream *s, bool *end_out)
{
    const struct zip_entry *e = f->entry;
    unsigned char spare;
    for (;;) {
        size_t room = f->left < PIECE ? (size_t)f->left : PIECE;
        unsigned char *into = room == 0 ? &spare : f->to ? f->to : f->zip->scratch;
        s->next_out = into;
        s->avail_out = room ? (uInt)room : 1;
        int rc = inflate(s, Z_NO_FLUSH);
        BUG_ON(rc == Z_MEM_ERROR || rc == Z_STREAM_ERROR);
        if (rc != Z_OK && rc != Z_STREAM_END && rc != Z_BUF_ERROR)
            return bad_entry(f->zip, e->name, "is damaged");
        if (room == 0 && s->avail_out == 0)
            return bad_entry(f->zip, e->name, "is longer than it says");
        if (room)
            flow_take(f, into, room - s->avail_out);
        *end_out = rc == Z_STREAM_END;
        if (*end_out || (s->avail_in == 0 && s->avail_out > 0))
            return NULL;
    }
}

static struct err *copy_deflated(struct flow *f)
{
    const struct zip_entry *e = f->entry;
    unsigned char *in = f->zip->scratch + PIECE;
    uint64_t at = 0;
    bool end = false;
    z_stream s = {0};
    BUG_ON(inflateInit2(&s, -15) != Z_OK);
    struct err *err = NULL;
    while (!err && !end) {
        size_t n = e->packed - at < PIECE ? (size_t)(e->packed - at) : PIECE;
        if (n == 0) {
            err = bad_entry(f->zip, e->name, "is cut short");
            break;
        }
        err = read_at(f->zip, e->data_at + at, in, n);
        at += n;
        s.next_in = in;
        s.avail_in = (uInt)n;
        if (!err)
            err = inflate_piece(f, &s, &end);
    }
    if (!err && (f->left > 0 || s.avail_in > 0 || at < e->packed))
        err = bad_entry(f->zip, e->name, "is shorter than it says");
    inflateEnd(&s);
    return err;
}

struct err *zip_read(struct zip *z, const struct zip_entry *e, void *to,
                     void (*see)(void *ctx, const void *bytes, size_t n), void *ctx)
{
    struct flow f = {.zip = z, .entry = e, .to = to, .left = e->size, .see = see, .ctx = ctx};
    struct err *err = e->deflated ? copy_deflated(&f) : copy_stored(&f);
    if (!err && f.crc != e->crc)
        err = bad_entry(z, e->name, "has another CRC than its bytes");
    return err;
}
