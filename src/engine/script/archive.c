/* Reads an archive front to back. An entry's name tells what it is: two pickles, source texts,
 * storages; anything else (ranges for debuggers, traced inputs, extra files) is checked and
 * dropped. Storages are allocated outside the arena, so that the ones nobody uses can be given
 * back. */
#include "archive.h"

#include "bug.h"
#include "map.h"
#include "zip.h"

#define DEFAULT_WEIGHT_BYTES ((uint64_t)64 << 30)
#define PICKLE_MOST          ((uint64_t)32 << 20)
#define CODE_MOST            ((uint64_t)32 << 20) /* all source texts together */
#define SMALL_TEXT_MOST      64
#define KEPT_MOST            ((uint64_t)1 << 20) /* bytes of a storage that is only checked */
#define ALIGNMENT            64

/* The end of both names of a state hook; what comes before it is looked at on a match. */
#define HOOK_TAIL "etstate__"
#define HOOK_HEAD 3 /* "__g", "__s" */
#define HOOK_MOST 12

struct hook_search {
    unsigned char tail[HOOK_MOST - 1]; /* last bytes of the piece before */
    size_t n_tail;
    bool found;
};

static bool has_hook(const unsigned char *p, size_t n)
{
    const unsigned char *end = p + n;
    while (p < end) {
        const unsigned char *hit = memmem(p, (size_t)(end - p), HOOK_TAIL, sizeof(HOOK_TAIL) - 1);
        if (!hit)
            return false;
        if (hit - p >= HOOK_HEAD &&
            (memcmp(hit - HOOK_HEAD, "__g", 3) == 0 || memcmp(hit - HOOK_HEAD, "__s", 3) == 0))
            return true;
        p = hit + 1;
    }
    return false;
}

static void hook_see(void *ctx, const void *bytes, size_t n)
{
    struct hook_search *h = ctx;
    unsigned char seam[2 * (HOOK_MOST - 1)];
    size_t head = n < HOOK_MOST - 1 ? n : HOOK_MOST - 1;
    if (h->found || n == 0)
        return;
    memcpy(seam, h->tail, h->n_tail);
    memcpy(seam + h->n_tail, bytes, head);
    h->found = has_hook(seam, h->n_tail + head) || has_hook(bytes, n);
    if (n >= HOOK_MOST - 1) {
        memcpy(h->tail, (const unsigned char *)bytes + n - (HOOK_MOST - 1), HOOK_MOST - 1);
        h->n_tail = HOOK_MOST - 1;
    } else {
        size_t all = h->n_tail + head, keep = all < HOOK_MOST - 1 ? all : HOOK_MOST - 1;
        memmove(h->tail, seam + all - keep, keep);
        h->n_tail = keep;
    }
}

/* What reading needs beside the archive. */
struct reader {
    struct archive *archive;
    struct arena *arena; /* texts */
    struct arena *keep;  /* storages */
    struct zip *zip;
    bool check_only;
    uint64_t weight_bytes, weight_most, code_bytes;
    struct str version, byteorder;
    struct err *hooks; /* the first entry with a hook */
};

static struct err *bad(const struct reader *r, struct str entry, const char *what)
{
    return err_new(ERR_ARGUMENT, "[%s]: [%.*s] %s", r->archive->file, STR_ARG(entry), what);
}

static struct err *read_into(struct reader *r, const struct zip_entry *e, void *to)
{
    struct hook_search h = {0};
    struct err *err = zip_read(r->zip, e, to, hook_see, &h);
    if (err && err->kind == ERR_ARGUMENT)
        return err_wrap(err, ERR_ARGUMENT,
                        "Model archive failed pre-load state-hook scan (unreadable or truncated "
                        "zip record; possible evasion)");
    if (!err && h.found && !r->hooks)
        r->hooks = err_new(ERR_ARGUMENT, "Model archive contains custom state hooks: [%.*s]",
                           STR_ARG(e->name));
    return err;
}

static struct err *read_text(struct reader *r, const struct zip_entry *e, uint64_t most,
                             struct str *out)
{
    char *p = e->size <= most ? arena_try(r->arena, (size_t)e->size + 1) : NULL;
    if (!p)
        return bad(r, e->name, "is too long");
    TRY(read_into(r, e, p));
    p[e->size] = 0;
    *out = str_n(p, (size_t)e->size);
    return NULL;
}

static struct err *read_code(struct reader *r, const struct zip_entry *e)
{
    struct code_file *f = &r->archive->code[r->archive->n_code];
    f->name = arena_dup(r->arena, e->name);
    TRY(read_text(r, e, CODE_MOST - r->code_bytes, &f->text));
    r->code_bytes += e->size;
    r->archive->n_code++;
    return NULL;
}

static struct err *read_storage(struct reader *r, const struct zip_entry *e)
{
    if (e->size > r->weight_most - r->weight_bytes)
        return err_new(ERR_ARGUMENT, "[%s] has tensors of more than [%llu] bytes", r->archive->file,
                       (unsigned long long)r->weight_most);
    r->weight_bytes += e->size;
    struct storage *s = arena_alloc(r->keep, sizeof(*s));
    *s = (struct storage){
        .next = r->archive->storages, .name = arena_dup(r->keep, e->name), .size = e->size};
    r->archive->storages = s;
    map_put(r->archive->by_name, s->name, s);
    if (!r->check_only || e->size <= KEPT_MOST) {
        size_t n = ((size_t)e->size / ALIGNMENT + 1) * ALIGNMENT;
        if (posix_memalign(&s->data, ALIGNMENT, n)) {
            s->data = NULL;
            return bad(r, e->name, "needs more memory than there is");
        }
    }
    return read_into(r, e, s->data);
}

/* "data/12": a storage; "data/12/x" is nothing we know. */
static bool is_in(struct str name, struct str folder)
{
    return str_starts(name, folder) && name.n > folder.n &&
           str_find_char(str_sub(name, folder.n, SIZE_MAX), '/') == SIZE_MAX;
}

static struct err *read_entry(struct reader *r, const struct zip_entry *e)
{
    struct archive *a = r->archive;
    if (is_in(e->name, STR("data/")) || is_in(e->name, STR("constants/")))
        return read_storage(r, e);
    if (str_starts(e->name, STR("code/")) && str_ends(e->name, STR(".py")))
        return read_code(r, e);
    if (str_eq(e->name, STR("data.pkl")))
        return read_text(r, e, PICKLE_MOST, &a->data_pkl);
    if (str_eq(e->name, STR("constants.pkl")))
        return read_text(r, e, PICKLE_MOST, &a->constants_pkl);
    if (str_eq(e->name, STR(".data/version")) || str_eq(e->name, STR("version"))) {
        if (r->version.p)
            return bad(r, e->name, "is a second version");
        return read_text(r, e, SMALL_TEXT_MOST, &r->version);
    }
    if (str_eq(e->name, STR("byteorder")))
        return read_text(r, e, SMALL_TEXT_MOST, &r->byteorder);
    return read_into(r, e, NULL);
}

static struct err *check(struct reader *r)
{
    struct archive *a = r->archive;
    int64_t version = 0;
    if (!a->data_pkl.p)
        return err_new(ERR_ARGUMENT, "[%s] has no [data.pkl]: it is no TorchScript model", a->file);
    if (!r->version.p)
        return err_new(ERR_ARGUMENT, "[%s] has no [version]: it is no TorchScript model", a->file);
    if (!str_to_i64(str_trim(r->version), &version) || version < 1 || version > 10)
        return err_new(ERR_ARGUMENT, "[%s] has the version [%.*s]; 1 to 10 can be read", a->file,
                       STR_ARG(str_trim(r->version)));
    if (r->byteorder.p && !str_eq(str_trim(r->byteorder), STR("little")))
        return err_new(ERR_ARGUMENT, "[%s] has the byte order [%.*s]; [little] is needed", a->file,
                       STR_ARG(str_trim(r->byteorder)));
    a->version = (int)version;
    return NULL;
}

static struct err *read_all(struct reader *r)
{
    size_t n = zip_count(r->zip);
    r->archive->file = arena_cstr(r->arena, str_c(zip_file(r->zip)));
    r->archive->code = arena_array(r->arena, n, sizeof(*r->archive->code));
    for (size_t i = 0; i < n; i++)
        TRY(read_entry(r, zip_at(r->zip, i)));
    if (r->hooks) {
        struct err *hooks = r->hooks;
        r->hooks = NULL;
        return hooks;
    }
    return check(r);
}

struct err *archive_read(const char *file, const struct engine_limits *limits, bool check_only,
                         struct arena *keep, struct arena *tmp, struct archive *out)
{
    *out = (struct archive){.by_name = map_new()};
    struct reader r = {.archive = out, .arena = tmp, .keep = keep, .check_only = check_only};
    r.weight_most =
        limits && limits->max_weight_bytes ? limits->max_weight_bytes : DEFAULT_WEIGHT_BYTES;
    TRY(zip_open(file, &r.zip));
    struct err *err = read_all(&r);
    err_free(r.hooks);
    zip_close(r.zip);
    return err;
}

void archive_deinit(struct archive *a)
{
    map_free(a->by_name);
    storages_free(a->storages);
    a->storages = NULL;
    a->by_name = NULL;
}

struct storage *archive_take_storages(struct archive *a)
{
    struct storage *kept = NULL, *next;
    for (struct storage *s = a->storages; s; s = next) {
        next = s->next;
        s->next = NULL;
        if (s->used) {
            s->next = kept;
            kept = s;
        } else {
            storages_free(s);
        }
    }
    a->storages = NULL;
    return kept;
}

void storages_free(struct storage *s)
{
    for (; s; s = s->next)
        free(s->data);
}

struct storage *archive_storage(const struct archive *a, struct str name)
{
    return map_get(a->by_name, name);
}
