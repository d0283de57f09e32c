/* What is sent after a PUT: parts in any order, the vocabulary; and what a deployment gets of it.
 *
 * Who writes a file marks it first, under the lock, then writes without it and says how it went.
 * Nothing is acknowledged before it is on disk. A sender that had no answer because the server died
 * may send the same bytes again: parts found at open take them once more. */
#include "registry_private.h"

#include <stdio.h>

#include "bug.h"
#include "engine.h"
#include "log.h"

/* --- who may write --- */

/* With the lock held. */
static void begin(struct registry *r, struct entry *entry, int64_t bytes)
{
    entry->busy++;
    r->bytes += bytes;
}

static void end(struct registry *r, struct entry *entry, int64_t bytes, bool failed)
{
    entry->busy--;
    if (failed)
        r->bytes -= bytes;
    pthread_cond_broadcast(&r->idle);
}

static struct err *uploading(struct registry *r, struct str id, const char *what,
                             struct entry **out)
{
    *out = registry_entry(r, id);
    if (!*out)
        return registry_unknown(id);
    if ((*out)->model->tree)
        return err_status(400, "cannot put %s for model [%.*s] as it is not an NLP model", what,
                          STR_ARG(id));
    if ((*out)->model->kind != MODEL_UPLOADED)
        return err_status(400, "model [%.*s] comes from a package; it takes no upload",
                          STR_ARG(id));
    return NULL;
}

static struct err *fits(const struct registry *r, struct str bytes)
{
    if (bytes.n <= (uint64_t)(REGISTRY_MAX_BYTES - r->bytes) && r->bytes <= REGISTRY_MAX_BYTES)
        return NULL;
    return err_status(409, "Native model store has exceeded the maximum acceptable size of 50gb, "
                           "please delete older unused pytorch models");
}

/* --- parts --- */

static struct err *check_part(uint32_t part, uint32_t total_parts, int64_t total_bytes)
{
    struct err_list list = {0};
    if (total_parts == 0)
        err_list_add(&list, "[total_parts] must be greater than 0");
    if (total_parts > DEFINITION_MAX_PARTS)
        err_list_add(&list, "[total_parts] must be less than or equal to %d", DEFINITION_MAX_PARTS);
    if (total_bytes <= 0)
        err_list_add(&list, "[total_definition_length] must be greater than 0");
    if (part >= total_parts)
        err_list_add(&list, "[part] must be less than total_parts");
    return err_list_end(&list, ERR_REQUEST);
}

static struct err *part_exists(struct str id, uint32_t i)
{
    return err_new(ERR_EXISTS,
                   "Trained machine learning model chunked doc [%.*s][%u] already exists",
                   STR_ARG(id), i);
}

struct claim {
    struct entry *entry;
    char *folder;
    struct part part;
    bool again; /* it is there: are these the same bytes? */
};

static struct err *claim_part(struct registry *r, struct str id, uint32_t i, struct part wanted,
                              struct str bytes, struct claim *out)
{
    TRY(uploading(r, id, "definition", &out->entry));
    struct definition *d = &out->entry->files;
    if (d->whole_bytes >= 0 || out->entry->assembling)
        return part_exists(id, i);
    struct part *p = definition_reserve(d, i);
    bool same = p->total_parts == wanted.total_parts && p->total_bytes == wanted.total_bytes &&
                p->bytes == wanted.bytes;
    if (p->writing || (p->total_parts && !(p->recovered && same)))
        return part_exists(id, i);
    out->again = p->total_parts > 0;
    if (!out->again)
        TRY(fits(r, bytes));
    p->writing = true;
    out->part = wanted;
    out->folder = mem_strdup(d->folder);
    begin(r, out->entry, out->again ? 0 : wanted.bytes);
    return NULL;
}

static void part_there(struct entry *entry, uint32_t i, struct part part)
{
    struct definition *d = &entry->files;
    *definition_part(d, i) = part;
    d->part_bytes += part.bytes;
    bool first = d->announced == 0;
    d->announced = part.total_bytes;
    if (first || d->part_bytes >= part.total_bytes)
        registry_refresh(entry);
}

static void release_part(struct registry *r, uint32_t i, const struct claim *c, bool failed)
{
    pthread_mutex_lock(&r->lock);
    definition_part(&c->entry->files, i)->writing = false;
    if (!failed && !c->again)
        part_there(c->entry, i, c->part);
    end(r, c->entry, c->again ? 0 : c->part.bytes, failed);
    pthread_mutex_unlock(&r->lock);
}

static struct err *put_together(struct registry *, struct str id, const char *id_text,
                                bool uploading);

/* Once the last part has come, in whatever order. */
static struct err *check_when_whole(struct registry *r, struct str id)
{
    struct arena *a = arena_new(ARENA_NO_LIMIT);
    const char *id_text = arena_cstr(a, id);
    pthread_mutex_lock(&r->lock);
    struct entry *entry = registry_entry(r, id);
    struct err *missing = entry ? definition_check(&entry->files, id_text) : registry_unknown(id);
    bool whole = entry && entry->files.whole_bytes >= 0;
    pthread_mutex_unlock(&r->lock);
    struct err *e = NULL;
    if (!missing && !whole)
        e = put_together(r, id, id_text, true);
    err_free(missing);
    arena_free(a);
    return e;
}

struct err *registry_put_part(struct registry *r, struct str id, uint32_t i, uint32_t total_parts,
                              int64_t total_bytes, struct str bytes)
{
    TRY(check_part(i, total_parts, total_bytes));
    struct claim c = {0};
    struct part wanted = {
        .bytes = (int64_t)bytes.n, .total_bytes = total_bytes, .total_parts = total_parts};
    pthread_mutex_lock(&r->lock);
    struct err *e = claim_part(r, id, i, wanted, bytes, &c);
    pthread_mutex_unlock(&r->lock);
    if (e)
        return e;
    if (!c.again)
        e = definition_write_part(c.folder, i, &c.part, bytes);
    else if (!definition_same_part(c.folder, i, &c.part, bytes))
        e = part_exists(id, i);
    release_part(r, i, &c, e != NULL);
    free(c.folder);
    return e || c.again ? e : check_when_whole(r, id);
}

/* --- vocabulary --- */

static struct err *vocabulary_exists(struct str id)
{
    return err_new(ERR_EXISTS, "Trained machine learning model vocabulary [%.*s] already exists",
                   STR_ARG(id));
}

/* A large one takes its time, so without the lock. */
static struct err *check_vocabulary(struct registry *r, struct str id, const struct json *body)
{
    struct entry *entry;
    struct trained_model *m = NULL;
    pthread_mutex_lock(&r->lock);
    struct err *e = uploading(r, id, "vocabulary", &entry);
    if (!e)
        m = trained_model_ref(entry->model);
    pthread_mutex_unlock(&r->lock);
    if (!e)
        e = vocabulary_check(&m->nlp.tokenization, id, body);
    trained_model_unref(m);
    return e;
}

static struct err *claim_vocabulary(struct registry *r, struct str id, struct str text,
                                    struct claim *out)
{
    TRY(uploading(r, id, "vocabulary", &out->entry));
    struct definition *d = &out->entry->files;
    if (d->vocabulary_writing || (d->vocabulary_bytes >= 0 && !d->vocabulary_recovered))
        return vocabulary_exists(id);
    out->again = d->vocabulary_bytes >= 0;
    if (!out->again)
        TRY(fits(r, text));
    d->vocabulary_writing = true;
    out->folder = mem_strdup(d->folder);
    begin(r, out->entry, out->again ? 0 : (int64_t)text.n);
    return NULL;
}

static void release_vocabulary(struct registry *r, int64_t bytes, const struct claim *c,
                               bool failed)
{
    pthread_mutex_lock(&r->lock);
    c->entry->files.vocabulary_writing = false;
    if (!failed && !c->again) {
        c->entry->files.vocabulary_bytes = bytes;
        registry_refresh(c->entry);
    }
    end(r, c->entry, c->again ? 0 : bytes, failed);
    pthread_mutex_unlock(&r->lock);
}

struct err *registry_put_vocabulary(struct registry *r, struct str id, struct str text,
                                    const struct json *body)
{
    struct claim c = {0};
    TRY(check_vocabulary(r, id, body));
    pthread_mutex_lock(&r->lock);
    struct err *e = claim_vocabulary(r, id, text, &c);
    pthread_mutex_unlock(&r->lock);
    if (e)
        return e;
    if (!c.again)
        e = definition_write_vocabulary(c.folder, text);
    else if (!definition_same_vocabulary(c.folder, text))
        e = vocabulary_exists(id);
    release_vocabulary(r, (int64_t)text.n, &c, e != NULL);
    free(c.folder);
    return e;
}

/* --- what a deployment loads --- */

struct assembly {
    struct registry *registry;
    struct entry *entry;
    struct part *parts; /* a copy */
    uint32_t n;
    char *folder;
    bool uploading; /* the last part has just come: the vocabulary may be missing */
};

static bool is_deleting(void *ctx)
{
    struct assembly *a = ctx;
    pthread_mutex_lock(&a->registry->lock);
    bool stop = a->entry->deleting;
    pthread_mutex_unlock(&a->registry->lock);
    return stop;
}

static struct err *no_vocabulary(struct str id)
{
    return err_new(ERR_NOT_FOUND,
                   "[%.*s] Could not find vocabulary document [%.*s_vocabulary] for model ",
                   STR_ARG(id), STR_ARG(id));
}

/* With the lock held; waits for others at its files. a->parts NULL afterwards: nothing to do. */
static struct err *claim_assembly(struct registry *r, struct str id, const char *id_text,
                                  struct assembly *a)
{
    for (;;) {
        a->entry = registry_entry(r, id);
        if (!a->entry)
            return registry_unknown(id);
        if (!a->entry->assembling && a->entry->busy == 0)
            break;
        pthread_cond_wait(&r->idle, &r->lock);
    }
    struct definition *d = &a->entry->files;
    TRY(definition_check(d, id_text));
    if (d->vocabulary_bytes < 0 && !a->uploading)
        return no_vocabulary(id);
    if (d->whole_bytes >= 0)
        return NULL;
    while (a->n < d->n_parts && d->parts[a->n].total_parts)
        a->n++;
    a->parts = mem_array(a->n, sizeof *a->parts);
    memcpy(a->parts, d->parts, a->n * sizeof *a->parts);
    a->folder = mem_strdup(d->folder);
    a->entry->assembling = true;
    begin(r, a->entry, 0);
    return NULL;
}

enum assembled { UNCHANGED, PUT_TOGETHER, REFUSED };

static void release_assembly(struct registry *r, const struct assembly *a, enum assembled how)
{
    pthread_mutex_lock(&r->lock);
    struct definition *d = &a->entry->files;
    a->entry->assembling = false;
    if (how == PUT_TOGETHER)
        definition_now_whole(d);
    if (how == REFUSED) {
        r->bytes -= d->part_bytes;
        definition_now_none(d);
    }
    if (how != UNCHANGED)
        registry_refresh(a->entry);
    end(r, a->entry, 0, false);
    pthread_mutex_unlock(&r->lock);
}

/* What is no archive at all is left to the start of a deployment, as in Elasticsearch. */
static bool is_archive(const char *file)
{
    char head[4] = "";
    FILE *f = fopen(file, "re");
    bool yes = f && fread(head, 1, 4, f) == 4 && memcmp(head, "PK\3\4", 4) == 0;
    if (f)
        fclose(f);
    return yes;
}

/* ERR_ARGUMENT: it can never run. */
static struct err *look_inside(const char *folder)
{
    struct engine_limits limits = {0};
    struct arena *a = arena_new(ARENA_NO_LIMIT);
    const char *file = arena_printf(a, "%s/" DEFINITION_COPY, folder).p;
    struct err *e = is_archive(file) ? program_check_script(file, &limits) : NULL;
    definition_remove_copy(folder);
    arena_free(a);
    return e;
}

/* Beyond Elasticsearch: an archive that can never run is refused when its last part comes. What is
 * wrong with the disk or for want of memory is left to the start of a deployment. */
static struct err *check_archive(struct assembly *a)
{
    struct err *e = definition_copy(a->folder, a->parts, a->n, is_deleting, a);
    if (!e)
        e = look_inside(a->folder);
    bool refused = e && e->kind == ERR_ARGUMENT;
    struct err *told = NULL;
    if (refused) {
        definition_remove_parts(a->folder);
        told = err_new(ERR_ARGUMENT,
                       "The definition is refused, and its parts have been removed: %s", e->reason);
    }
    err_free(e);
    release_assembly(a->registry, a, refused ? REFUSED : UNCHANGED);
    return told;
}

static struct err *put_together(struct registry *r, struct str id, const char *id_text,
                                bool uploading)
{
    struct assembly a = {.registry = r, .uploading = uploading};
    pthread_mutex_lock(&r->lock);
    struct err *e = claim_assembly(r, id, id_text, &a);
    pthread_mutex_unlock(&r->lock);
    if (e || !a.parts)
        return e;
    if (uploading) {
        e = check_archive(&a);
    } else {
        e = definition_assemble(a.folder, a.parts, a.n, is_deleting, &a);
        release_assembly(r, &a, e ? UNCHANGED : PUT_TOGETHER);
    }
    free(a.parts);
    free(a.folder);
    return e;
}

struct err *registry_files(struct registry *r, const struct trained_model *m, struct arena *a,
                           struct model_files *out)
{
    *out = (struct model_files){0};
    if (m->local)
        return local_model_files(r->path_models, m, a, out);
    char *id_text = arena_cstr(a, m->model_id);
    TRY(put_together(r, m->model_id, id_text, false));
    char *folder = registry_folder(r, m->model_id);
    out->definition = arena_printf(a, "%s/model.pt", folder).p;
    out->vocabulary = arena_printf(a, "%s/vocabulary.json", folder).p;
    free(folder);
    return NULL;
}

/* --- packages --- */

struct err *registry_package_folder(struct registry *r, struct str id, struct arena *a,
                                    const char **out)
{
    char *folder = registry_folder(r, id);
    struct err *e = definition_make_folder(folder);
    *out = arena_cstr(a, str_c(folder));
    free(folder);
    return e;
}

struct err *registry_package_done(struct registry *r, struct str id, int64_t definition_bytes_)
{
    struct definition found;
    char *folder = registry_folder(r, id);
    struct err *e = definition_open(folder, &found);
    free(folder);
    if (e)
        return e;
    pthread_mutex_lock(&r->lock);
    struct entry *entry = registry_entry(r, id);
    if (!entry) {
        e = registry_unknown(id);
    } else if (found.whole_bytes != definition_bytes_ || found.vocabulary_bytes < 0) {
        e = err_new(ERR_CORRUPT, "the files of model [%.*s] are not those of its package",
                    STR_ARG(id));
    } else {
        r->bytes += definition_bytes(&found) - definition_bytes(&entry->files);
        struct definition old = entry->files;
        entry->files = found;
        found = old;
        registry_refresh(entry);
    }
    pthread_mutex_unlock(&r->lock);
    definition_deinit(&found);
    return e;
}
