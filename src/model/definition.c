/* What there is of a model's files, and in which state: the part that needs no writing. */
#include "definition.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bug.h"
#include "log.h"

/* --- looking --- */

/* Anything but a regular file is not ours. */
static bool size_of(const char *folder, const char *name, int64_t *out)
{
    char path[PATH_MAX];
    struct stat st;
    if ((size_t)snprintf(path, sizeof path, "%s/%s", folder, name) >= sizeof path ||
        lstat(path, &st) != 0 || !S_ISREG(st.st_mode))
        return false;
    *out = st.st_size;
    return true;
}

/* "3.12.94027" */
static bool parse_name(const char *name, uint32_t *i, struct part *out)
{
    struct str rest = str_c(name), text[3];
    int64_t v[3];
    for (int k = 0; k < 3; k++) {
        if (!str_split(&rest, '.', &text[k]) || !str_to_i64(text[k], &v[k]))
            return false;
    }
    if (rest.p || v[0] < 0 || v[1] <= v[0] || v[1] > DEFINITION_MAX_PARTS || v[2] <= 0)
        return false;
    *i = (uint32_t)v[0];
    *out = (struct part){.total_bytes = v[2], .total_parts = (uint32_t)v[1], .recovered = true};
    return true;
}

static void drop_file(const char *folder, const char *name)
{
    char path[PATH_MAX];
    if ((size_t)snprintf(path, sizeof path, "%s/%s", folder, name) < sizeof path &&
        unlink(path) == 0)
        log_info("removed what an interrupted upload left", LOG_C("path", path));
}

static bool is_unfinished(const char *name)
{
    return str_ends(str_c(name), STR(".new"));
}

static void found_part(struct definition *d, const char *folder, const char *name)
{
    uint32_t i;
    struct part p;
    if (is_unfinished(name)) {
        drop_file(folder, name);
        return;
    }
    if (!parse_name(name, &i, &p) || !size_of(folder, name, &p.bytes))
        return;
    struct part *slot = definition_reserve(d, i);
    if (slot->total_parts)
        return;
    *slot = p;
    d->part_bytes += p.bytes;
    d->announced = p.total_bytes;
}

static struct err *read_parts(struct definition *d)
{
    char folder[PATH_MAX];
    if ((size_t)snprintf(folder, sizeof folder, "%s/parts", d->folder) >= sizeof folder)
        return err_new(ERR_ARGUMENT, "the data folder's path is too long [%s]", d->folder);
    DIR *dir = opendir(folder);
    if (!dir)
        return errno == ENOENT ? NULL
                               : err_new(ERR_IO, "cannot read [%s]: %s", folder, strerror(errno));
    for (struct dirent *e; (e = readdir(dir));)
        found_part(d, folder, e->d_name);
    closedir(dir);
    return NULL;
}

static void drop_unfinished(const char *folder)
{
    DIR *dir = opendir(folder);
    if (!dir)
        return;
    for (struct dirent *e; (e = readdir(dir));) {
        if (is_unfinished(e->d_name))
            drop_file(folder, e->d_name);
    }
    closedir(dir);
}

struct err *definition_open(const char *folder, struct definition *out)
{
    *out = (struct definition){
        .folder = mem_strdup(folder), .whole_bytes = -1, .vocabulary_bytes = -1};
    drop_unfinished(folder);
    out->vocabulary_recovered = size_of(folder, "vocabulary.json", &out->vocabulary_bytes);
    if (size_of(folder, "model.pt", &out->whole_bytes)) {
        char parts[PATH_MAX];
        snprintf(parts, sizeof parts, "%s/parts", folder);
        err_free(definition_remove(parts)); /* a crash came between the naming and this */
        return NULL;
    }
    struct err *e = read_parts(out);
    if (e)
        definition_deinit(out);
    return e;
}

void definition_deinit(struct definition *d)
{
    free(d->folder);
    free(d->parts);
    *d = (struct definition){0};
}

/* --- knowing --- */

struct part *definition_part(struct definition *d, uint32_t i)
{
    return i < d->n_parts ? &d->parts[i] : NULL;
}

struct part *definition_reserve(struct definition *d, uint32_t i)
{
    BUG_ON(i >= DEFINITION_MAX_PARTS);
    if (i >= d->n_parts) {
        uint32_t n = i + 1 > 2 * d->n_parts ? i + 1 : 2 * d->n_parts;
        d->parts = mem_grow(d->parts, n * sizeof *d->parts);
        memset(d->parts + d->n_parts, 0, (n - d->n_parts) * sizeof *d->parts);
        d->n_parts = n;
    }
    return &d->parts[i];
}

static struct err *truncated(const char *id)
{
    return err_status(400,
                      "Model definition truncated. Unable to deserialize trained model definition "
                      "[%s]",
                      id);
}

struct err *definition_check(const struct definition *d, const char *id)
{
    const struct part *first = NULL;
    uint32_t n = 0;
    if (d->whole_bytes >= 0)
        return NULL;
    for (uint32_t i = 0; i < d->n_parts; i++) {
        const struct part *p = &d->parts[i];
        if (p->total_parts == 0)
            continue;
        n++;
        first = first ? first : p;
        if (p->total_bytes != first->total_bytes)
            return err_status(400,
                              "[%s] [total_definition_length] must be the same in all model "
                              "definition parts. The totals of two of its parts are [%lld] and "
                              "[%lld]. Please delete the model and upload it again",
                              id, (long long)first->total_bytes, (long long)p->total_bytes);
    }
    if (!first)
        return err_new(ERR_NOT_FOUND, "Could not find trained model definition [%s]", id);
    bool gap = false; /* n parts are there: are they the first n? */
    for (uint32_t i = 0; i < n; i++)
        gap = gap || d->parts[i].total_parts == 0;
    if (gap || n != first->total_parts || d->part_bytes != first->total_bytes)
        return truncated(id);
    return NULL;
}

int64_t definition_bytes(const struct definition *d)
{
    int64_t n = d->whole_bytes >= 0 ? d->whole_bytes : d->part_bytes;
    return n + (d->vocabulary_bytes > 0 ? d->vocabulary_bytes : 0);
}

void definition_now_whole(struct definition *d)
{
    d->whole_bytes = d->part_bytes;
    d->part_bytes = 0;
    free(d->parts);
    d->parts = NULL;
    d->n_parts = 0;
}

void definition_now_none(struct definition *d)
{
    d->part_bytes = d->announced = 0;
    free(d->parts);
    d->parts = NULL;
    d->n_parts = 0;
}
