/* A snapshot of a hub, in the manner of Hugging Face's: list of files -> each file -> checked ->
 * the folder gets its name. Until then it lies under a name that is no model's, one per revision,
 * so that a restart goes on with it and a new revision begins anew.
 *
 *     GET {hub}/api/models/{org}/{name}/revision/main?blobs=true
 *     GET {hub}/{org}/{name}/resolve/{revision}/{file}
 *
 * Taken are the files that a loader of ours reads, by their names; nothing else, so no pickle and
 * no code ever reaches the disk. Large files have their SHA-256 in the list, all have their size.
 */
#include "package_private.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "definition.h"
#include "model_private.h"

#define MAX_LIST_BYTES (4 << 20)
#define MAX_FILES      64
#define MAX_TEXT_BYTES (INT64_C(100) << 20)
#define MAX_BYTES      (INT64_C(50) << 30)

struct hub_file {
    struct str name; /* "1_Pooling/config.json" */
    int64_t size;
    struct str sha256; /* {NULL, 0}: not said */
};

/* --- names --- */

bool is_hub_id(struct str id)
{
    size_t slash = str_find_char(id, '/');
    return slash != SIZE_MAX && id.n <= 200 && snapshot_id_ok(str_sub(id, 0, slash)) &&
           snapshot_id_ok(str_sub(id, slash + 1, id.n));
}

bool hub_folder_name(struct str id, char out[256])
{
    size_t slash = str_find_char(id, '/');
    if (!is_hub_id(id))
        return false;
    snprintf(out, 256, "%.*s__%.*s", STR_ARG(str_sub(id, 0, slash)),
             STR_ARG(str_sub(id, slash + 1, id.n)));
    return true;
}

static bool is_text(struct str name)
{
    static const char *const names[] = {"config.json",
                                        "tokenizer.json",
                                        "tokenizer_config.json",
                                        "special_tokens_map.json",
                                        "added_tokens.json",
                                        "vocab.txt",
                                        "vocab.json",
                                        "merges.txt",
                                        "modules.json",
                                        "sentence_bert_config.json",
                                        "config_sentence_transformers.json"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (str_eq_c(name, names[i]))
            return true;
    }
    return false;
}

/* "1_Pooling": a module of sentence-transformers. */
static bool is_module(struct str folder)
{
    return snapshot_id_ok(folder) && folder.p[0] >= '0' && folder.p[0] <= '9' &&
           str_find_char(folder, '_') != SIZE_MAX;
}

static bool is_wanted(struct str name)
{
    struct str folder, file = name;
    if (str_find_char(name, '/') == SIZE_MAX)
        return is_text(name) || str_eq(name, STR("model.safetensors"));
    str_split(&file, '/', &folder);
    return is_module(folder) &&
           (str_eq(file, STR("config.json")) || str_eq(file, STR("model.safetensors")));
}

static bool is_weights(struct str name)
{
    return str_ends(name, STR(".safetensors"));
}

static const char *path_of(struct job *j, const struct hub_file *f, const char *suffix)
{
    return arena_printf(j->arena, "%s/%.*s%s", j->folder, STR_ARG(f->name), suffix).p;
}

/* --- the list --- */

static struct err *unusable(const struct job *j, const char *what)
{
    return err_new(ERR_ARGUMENT, "model [%s] of the hub cannot be used: %s", j->id, what);
}

static struct err *read_file(const struct job *j, const struct json *v, struct hub_file *out)
{
    const struct json *lfs = json_get(v, "lfs");
    if (!json_i64(json_get(v, "size"), &out->size) && !json_i64(json_get(lfs, "size"), &out->size))
        return unusable(j, "its list of files has no sizes");
    if (out->size < 0 || out->size > (is_weights(out->name) ? MAX_BYTES : MAX_TEXT_BYTES))
        return unusable(j, "one of its files is too large");
    if (!json_str(json_get(lfs, "sha256"), &out->sha256))
        json_str(json_get(lfs, "oid"), &out->sha256);
    return NULL;
}

static bool has_file(const struct job *j, const char *name)
{
    for (size_t i = 0; i < j->n_files; i++) {
        if (str_eq_c(j->files[i].name, name))
            return true;
    }
    return false;
}

static struct err *read_list(struct job *j, const struct json *list)
{
    int64_t total = 0;
    j->files = arena_array(j->arena, MAX_FILES, sizeof *j->files);
    struct json_iter it = json_iter(json_get(list, "siblings"));
    for (const struct json *v; (v = json_next(&it));) {
        struct hub_file *f = &j->files[j->n_files];
        *f = (struct hub_file){0};
        if (!json_str(json_get(v, "rfilename"), &f->name) || !is_wanted(f->name))
            continue;
        if (j->n_files == MAX_FILES - 1)
            return unusable(j, "it has too many files");
        if (has_file(j, arena_cstr(j->arena, f->name)))
            return unusable(j, "its list names a file twice");
        TRY(read_file(j, v, f));
        total += f->size;
        j->n_files++;
    }
    if (!has_file(j, "config.json") || !has_file(j, "model.safetensors"))
        return unusable(j, "it has no [config.json] or no [model.safetensors]");
    atomic_store(&j->total, total);
    return NULL;
}

static struct err *make_folders(struct job *j, const char *revision)
{
    char name[256];
    hub_folder_name(str_c(j->id), name);
    j->folder =
        arena_printf(j->arena, "%s/.fetching-%s-%s", j->packages->path_models, name, revision).p;
    TRY(definition_make_folder(j->packages->path_models));
    TRY(definition_make_folder(j->folder));
    for (size_t i = 0; i < j->n_files; i++) {
        struct str rest = j->files[i].name, folder;
        str_split(&rest, '/', &folder);
        if (rest.p)
            TRY(definition_make_folder(
                arena_printf(j->arena, "%s/%.*s", j->folder, STR_ARG(folder)).p));
    }
    return NULL;
}

static struct err *use_list(struct job *j, struct str bytes)
{
    const struct json *list;
    struct str revision;
    TRY(json_parse_copy(j->arena, bytes, &list));
    if (!json_str(json_get(list, "sha"), &revision) || revision.n > 64 || !snapshot_id_ok(revision))
        return unusable(j, "its list of files has no revision");
    TRY(read_list(j, list));
    j->base =
        arena_printf(j->arena, "%s/%s/resolve/%.*s", j->packages->hub, j->id, STR_ARG(revision)).p;
    return make_folders(j, arena_cstr(j->arena, revision));
}

/* --- files --- */

static void next_file(struct job *j);

/* All of it is there: it becomes a model. */
static void name_folder(struct job *j)
{
    char name[256];
    hub_folder_name(str_c(j->id), name);
    struct str to = arena_printf(j->arena, "%s/%s", j->packages->path_models, name);
    struct err *e = definition_sync(j->folder);
    if (!e && rename(j->folder, to.p) != 0)
        e = err_new(ERR_IO, "cannot make [%s]: %s", to.p, strerror(errno));
    if (!e)
        e = definition_sync(j->packages->path_models);
    job_end(j, e);
}

static void skip_file(struct job *j)
{
    j->before += j->files[j->file++].size;
    atomic_store(&j->have, j->before);
}

static void name_file(struct job *j)
{
    const struct hub_file *f = &j->files[j->file];
    if (rename(path_of(j, f, ".partial"), path_of(j, f, "")) != 0) {
        job_end(j, err_new(ERR_IO, "cannot name a file of model [%s]: %s", j->id, strerror(errno)));
        return;
    }
    skip_file(j);
    job_progress(j);
    next_file(j);
}

static void checked(struct job *j, struct err *e, const char *got)
{
    const struct hub_file *f = &j->files[j->file];
    if (!e && !str_eq_nocase(f->sha256, str_c(got))) {
        e = err_new(ERR_INTERNAL,
                    "Model sha256 checksums do not match, expected [%.*s] but got [%s]",
                    STR_ARG(str_sub(f->sha256, 0, 64)), got);
        unlink(path_of(j, f, ".partial"));
    }
    if (e)
        job_end(j, e);
    else
        name_file(j);
}

static void got_file(void *ctx, struct err *e, struct str bytes)
{
    struct job *j = ctx;
    const struct hub_file *f = &j->files[j->file];
    (void)bytes;
    j->fetch = NULL;
    if (e)
        job_end(j, e);
    else if (f->sha256.p)
        job_check(j, path_of(j, f, ".partial"), checked);
    else
        name_file(j);
}

static bool is_there(const char *path)
{
    struct stat st;
    return lstat(path, &st) == 0 && S_ISREG(st.st_mode);
}

static void next_file(struct job *j)
{
    while (j->file < j->n_files && is_there(path_of(j, &j->files[j->file], "")))
        skip_file(j); /* checked by an earlier run */
    if (j->file == j->n_files) {
        name_folder(j);
        return;
    }
    const struct hub_file *f = &j->files[j->file];
    struct fetch_order o = {.url = arena_printf(j->arena, "%s/%.*s", j->base, STR_ARG(f->name)),
                            .path = path_of(j, f, ".partial"),
                            .limit = f->size,
                            .size = f->size,
                            .have = &j->have,
                            .before = j->before,
                            .follow = true};
    job_fetch(j, &o, got_file);
}

static void got_list(void *ctx, struct err *e, struct str bytes)
{
    struct job *j = ctx;
    j->fetch = NULL;
    if (!e)
        e = use_list(j, bytes);
    if (e)
        job_end(j, e);
    else
        next_file(j);
}

void hub_begin(struct job *j)
{
    struct fetch_order o = {.url =
                                arena_printf(j->arena, "%s/api/models/%s/revision/main?blobs=true",
                                             j->packages->hub, j->id),
                            .limit = MAX_LIST_BYTES,
                            .size = -1,
                            .follow = true};
    job_fetch(j, &o, got_list);
}
