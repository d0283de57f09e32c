/* Changes of names: models come and go, aliases move. One at a time, each on disk before it shows.
 *
 * A model exists when its document is stored. So PUT stores it before it has a file, DELETE drops
 * it before the files go, and what a crash leaves of either is a folder that nobody asks for. */
#include "registry_private.h"

#include "bug.h"
#include "clock.h"
#include "log.h"
#include "trained_model_config.h"

/* --- PUT --- */

static struct err *check_id(struct registry *r, struct str id)
{
    struct str other;
    void *v;
    if (map_get(r->aliases, id))
        return err_status(400,
                          "requested model_id [%.*s] is the same as an existing model_alias. Model "
                          "model_aliases and ids must be unique",
                          STR_ARG(id));
    for (size_t i = 0; map_next(r->entries, &i, &other, &v);) {
        const struct trained_model *m = ((struct entry *)v)->model;
        for (size_t k = 0; k < m->n_tags; k++) {
            if (str_eq(m->tags[k], id))
                return err_status(400, "The provided model_id %.*s must not match existing tags.",
                                  STR_ARG(id));
        }
    }
    return NULL;
}

static struct err *check_tags(struct registry *r, const struct trained_model *m)
{
    struct buf list;
    struct err *e = NULL;
    buf_init(&list, 16384);
    for (size_t i = 0; i < m->n_tags; i++) {
        if (map_get(r->entries, m->tags[i]))
            buf_printf(&list, "%s%.*s", list.n ? ", " : "", STR_ARG(m->tags[i]));
    }
    if (list.n)
        e = err_status(400, "The provided tags [%.*s] must not match existing model_ids.",
                       STR_ARG(buf_str(&list)));
    buf_deinit(&list);
    return e;
}

static struct err *too_much(void)
{
    return err_status(409, "Native model store has exceeded the maximum acceptable size of 50gb, "
                           "please delete older unused pytorch models");
}

static struct err *exists(struct str id)
{
    return err_new(ERR_EXISTS, "Trained machine learning model [%.*s] already exists", STR_ARG(id));
}

static struct err *check_names(struct registry *r, const struct trained_model *m)
{
    TRY(check_id(r, m->model_id));
    int64_t coming = m->kind == MODEL_PACKAGE ? m->model_size_bytes : 0;
    if (r->bytes > REGISTRY_MAX_BYTES || coming > REGISTRY_MAX_BYTES - r->bytes)
        return too_much();
    TRY(check_tags(r, m));
    return map_get(r->entries, m->model_id) ? exists(m->model_id) : NULL;
}

static struct err *check_locked(struct registry *r, const struct trained_model *m)
{
    pthread_mutex_lock(&r->lock);
    struct err *e = check_names(r, m);
    pthread_mutex_unlock(&r->lock);
    return e;
}

/* Files of an earlier model of this name, whose removal failed, must not become this one's. */
static struct err *clear_folder(struct registry *r, struct str id)
{
    char *folder = registry_folder(r, id);
    struct err *e = definition_remove(folder);
    free(folder);
    return e;
}

static struct err *put(struct registry *r, const struct trained_model *m, struct str document,
                       struct entry **out)
{
    uint64_t rev;
    TRY(check_locked(r, m));
    TRY(clear_folder(r, m->model_id));
    struct err *e = store_put(r->store, STORE_TRAINED_MODEL, m->model_id, document, 0, &rev);
    if (e && e->kind == ERR_EXISTS) { /* stored, but not readable by this version */
        err_free(e);
        return exists(m->model_id);
    }
    return e ? e : registry_entry_new(r, m->model_id, document, rev, out);
}

static struct err *put_named(struct registry *r, const struct trained_model *m, struct str document,
                             struct trained_model **out)
{
    struct entry *entry;
    pthread_mutex_lock(&r->admin);
    struct err *e = put(r, m, document, &entry);
    if (!e) {
        pthread_mutex_lock(&r->lock);
        map_put(r->entries, m->model_id, entry);
        *out = trained_model_ref(entry->model);
        pthread_mutex_unlock(&r->lock);
    }
    pthread_mutex_unlock(&r->admin);
    return e;
}

struct err *registry_put(struct registry *r, struct str id, const struct json *body,
                         const struct json *package, struct trained_model **out)
{
    struct trained_model *draft =
        trained_model_new(package ? MODEL_PACKAGE : MODEL_UPLOADED, str_sub(id, 0, 1024));
    draft->created_by = STR("api_user");
    draft->create_time_ms = clock_wall_ms();
    struct err *e = trained_model_config(draft, json_raw(body), body, package);
    if (!e) {
        struct str document = registry_document(draft->arena, draft, body, package);
        e = put_named(r, draft, document, out);
    }
    trained_model_unref(draft);
    return e;
}

/* --- DELETE --- */

static size_t aliases_dropped(struct registry *r, struct str id, struct arena *a,
                              struct change *out)
{
    struct str alias;
    void *v;
    size_t n = 0;
    for (size_t i = 0; map_next(r->aliases, &i, &alias, &v);) {
        if (str_eq(str_c(v), id))
            out[n++] = (struct change){
                .kind = STORE_MODEL_ALIAS, .id = arena_dup(a, alias), .expect = STORE_ANY_REV};
    }
    return n;
}

/* What the store has to forget. With no entry: a 404, or that it is none of ours. */
static struct err *begin_delete(struct registry *r, struct str id, struct arena *a,
                                struct entry **entry_out, struct change **out, size_t *n_out)
{
    pthread_mutex_lock(&r->lock);
    struct entry *entry = registry_entry(r, id);
    if (entry) {
        struct change *v = arena_array(a, map_count(r->aliases) + 1, sizeof *v);
        v[0] = (struct change){.kind = STORE_TRAINED_MODEL, .id = id, .expect = STORE_ANY_REV};
        *n_out = 1 + aliases_dropped(r, id, a, v + 1);
        *out = v;
        entry->deleting = true;
        while (entry->busy)
            pthread_cond_wait(&r->idle, &r->lock);
    }
    pthread_mutex_unlock(&r->lock);
    *entry_out = entry;
    return NULL;
}

static struct err *not_stored(struct registry *r, struct str id)
{
    struct trained_model *local = NULL;
    struct err *e = local_model_get(r->path_models, id, &local);
    bool absent = e && e->kind == ERR_NOT_FOUND;
    trained_model_unref(local);
    err_free(e);
    if (absent)
        return err_new(ERR_NOT_FOUND, "Could not find trained model [%.*s]",
                       STR_ARG(str_sub(id, 0, 1024)));
    return err_status(409,
                      "Cannot delete model [%.*s] as it lies in [path.models]; remove its files "
                      "there",
                      STR_ARG(id));
}

static void end_delete(struct registry *r, struct str id, struct entry *entry,
                       const struct change *v, size_t n)
{
    struct err *e = definition_remove(entry->files.folder);
    if (e)
        log_warn("the files of a deleted model are still there; the next start tries again",
                 LOG_S("model_id", id), LOG_E(e));
    err_free(e);
    pthread_mutex_lock(&r->lock);
    r->bytes -= definition_bytes(&entry->files);
    map_take(r->entries, id);
    for (size_t i = 1; i < n; i++)
        free(map_take(r->aliases, v[i].id));
    pthread_mutex_unlock(&r->lock);
    registry_entry_free(entry);
}

static struct err *delete (struct registry *r, struct str id, struct arena *tmp)
{
    struct entry *entry;
    struct change *v = NULL;
    size_t n = 0;
    TRY(begin_delete(r, id, tmp, &entry, &v, &n));
    if (!entry)
        return not_stored(r, id);
    struct err *e = store_apply(r->store, v, n, NULL);
    if (!e) {
        end_delete(r, id, entry, v, n);
        return NULL;
    }
    pthread_mutex_lock(&r->lock);
    entry->deleting = false;
    pthread_mutex_unlock(&r->lock);
    return e;
}

struct err *registry_delete(struct registry *r, struct str id)
{
    struct arena *tmp = arena_new(ARENA_NO_LIMIT);
    pthread_mutex_lock(&r->admin);
    struct err *e = delete (r, id, tmp);
    pthread_mutex_unlock(&r->admin);
    arena_free(tmp);
    return e;
}

/* --- aliases --- */

static struct err *check_alias(struct str alias, struct str id)
{
    struct err_list list = {0};
    if (str_eq(alias, id))
        err_list_add(&list, "model_alias [%.*s] cannot equal model_id [%.*s]",
                     STR_ARG(str_sub(alias, 0, 256)), STR_ARG(str_sub(id, 0, 256)));
    if (!model_alias_ok(alias) || alias.n > 512)
        err_list_add(&list,
                     "Invalid model_alias; '%.*s' can contain lowercase alphanumeric (a-z and "
                     "0-9), hyphens or underscores; must start with alphanumeric and cannot end "
                     "with numbers",
                     STR_ARG(str_sub(alias, 0, 256)));
    return err_list_end(&list, ERR_REQUEST);
}

/* By its id alone, stored or local. */
static struct err *get_by_id(struct registry *r, struct str id, struct trained_model **out)
{
    pthread_mutex_lock(&r->lock);
    struct entry *entry = registry_entry(r, id);
    *out = entry ? trained_model_ref(entry->model) : NULL;
    pthread_mutex_unlock(&r->lock);
    return *out ? NULL : local_model_get(r->path_models, id, out);
}

static struct err *check_reassign(struct str alias, const struct trained_model *old,
                                  const struct trained_model *m, bool reassign)
{
    if (!reassign)
        return err_status(400,
                          "cannot assign model_alias [%.*s] to model_id [%.*s] as model_alias "
                          "already refers to [%.*s]. Set parameter [reassign] to [true] if "
                          "model_alias should be reassigned.",
                          STR_ARG(alias), STR_ARG(m->model_id), STR_ARG(old->model_id));
    if (strcmp(trained_model_task(old), trained_model_task(m)) != 0)
        return err_status(400,
                          "cannot reassign model_alias [%.*s] to model [%.*s] with inference "
                          "config type [%s] when it currently refers to a model with inference "
                          "config type [%s]",
                          STR_ARG(alias), STR_ARG(m->model_id), trained_model_task(m),
                          trained_model_task(old));
    return NULL;
}

/* The model an alias is of now; NULL: none, or one that is gone. */
static struct trained_model *current(struct registry *r, struct str alias, struct arena *tmp)
{
    struct trained_model *m = NULL;
    pthread_mutex_lock(&r->lock);
    const char *id = map_get(r->aliases, alias);
    struct str copy = id ? arena_dup(tmp, str_c(id)) : (struct str){0};
    pthread_mutex_unlock(&r->lock);
    if (copy.p)
        err_free(get_by_id(r, copy, &m));
    return m;
}

static struct err *put_alias(struct registry *r, struct str alias, const struct trained_model *m,
                             bool reassign, struct arena *tmp)
{
    struct trained_model *clash = NULL, *old = current(r, alias, tmp);
    struct err *e = NULL;
    if (old && !str_eq(old->model_id, m->model_id))
        e = check_reassign(alias, old, m, reassign);
    trained_model_unref(old);
    if (e)
        return e;
    err_free(get_by_id(r, alias, &clash));
    if (clash) {
        trained_model_unref(clash);
        return err_status(400, "model_alias cannot be the same as an existing trained model_id");
    }
    TRY(store_put(r->store, STORE_MODEL_ALIAS, alias, m->model_id, STORE_ANY_REV, NULL));
    pthread_mutex_lock(&r->lock);
    free(map_put(r->aliases, alias, strndup(m->model_id.p, m->model_id.n)));
    pthread_mutex_unlock(&r->lock);
    return NULL;
}

struct err *registry_put_alias(struct registry *r, struct str alias, struct str id, bool reassign)
{
    struct trained_model *m = NULL;
    TRY(check_alias(alias, id));
    struct arena *tmp = arena_new(ARENA_NO_LIMIT);
    pthread_mutex_lock(&r->admin);
    struct err *e = get_by_id(r, id, &m);
    if (!e)
        e = put_alias(r, alias, m, reassign, tmp);
    pthread_mutex_unlock(&r->admin);
    trained_model_unref(m);
    arena_free(tmp);
    return e;
}

static struct err *drop_alias(struct registry *r, struct str alias, struct str id)
{
    pthread_mutex_lock(&r->lock);
    const char *current_id = map_get(r->aliases, alias);
    bool other = current_id && !str_eq(str_c(current_id), id);
    pthread_mutex_unlock(&r->lock);
    if (!current_id)
        return err_new(ERR_NOT_FOUND, "model_alias [%.*s] could not be found",
                       STR_ARG(str_sub(alias, 0, 1024)));
    if (other)
        return err_status(409, "model_alias [%.*s] does not refer to provided model_id [%.*s]",
                          STR_ARG(alias), STR_ARG(str_sub(id, 0, 1024)));
    TRY(store_drop(r->store, STORE_MODEL_ALIAS, alias, STORE_ANY_REV));
    pthread_mutex_lock(&r->lock);
    free(map_take(r->aliases, alias));
    pthread_mutex_unlock(&r->lock);
    return NULL;
}

struct err *registry_drop_alias(struct registry *r, struct str alias, struct str id)
{
    pthread_mutex_lock(&r->admin);
    struct err *e = drop_alias(r, alias, id);
    pthread_mutex_unlock(&r->admin);
    return e;
}
