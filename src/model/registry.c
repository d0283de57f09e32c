/* The registry: what is stored, in memory, found by id, alias and pattern. */
#include "registry_private.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>

#include "bug.h"
#include "log.h"
#include "trained_model_config.h"

struct err *registry_unknown(struct str id)
{
    return err_new(ERR_NOT_FOUND, "No known trained model with model_id [%.*s]",
                   STR_ARG(str_sub(id, 0, 1024)));
}

char *registry_folder(const struct registry *r, struct str id)
{
    size_t n = strlen(r->folder) + 1 + id.n + 1;
    char *path = mem_new(n);
    snprintf(path, n, "%s/%.*s", r->folder, STR_ARG(id));
    return path;
}

/* --- one stored model --- */

/* A tree's definition is stored compressed, beside the rest. */
static void put_body(struct json_out *w, const struct trained_model *m, const struct json *body)
{
    struct json_iter it = json_iter(body);
    json_obj(w);
    for (const struct json *v; (v = json_next(&it));) {
        if (m->tree &&
            (str_eq(v->key, STR("definition")) || str_eq(v->key, STR("compressed_definition"))))
            continue;
        json_key_s(w, v->key);
        json_put_node(w, v);
    }
    json_end(w);
}

struct str registry_document(struct arena *a, const struct trained_model *m,
                             const struct json *body, const struct json *package)
{
    struct buf b;
    struct json_out w;
    buf_init(&b, SIZE_MAX);
    json_out_init(&w, &b);
    json_obj(&w);
    json_key_str(&w, "created_by", m->created_by);
    json_key_i64(&w, "create_time", m->create_time_ms);
    json_key(&w, "body");
    put_body(&w, m, body);
    if (m->tree)
        json_key_str(&w, "compressed_definition", m->definition);
    if (package) {
        json_key(&w, "package");
        json_put_node(&w, package);
    }
    json_end(&w);
    struct str text = arena_dup(a, buf_str(&b));
    buf_deinit(&b);
    return text;
}

static struct err *read_document(struct trained_model *m, struct str text)
{
    const struct json *root;
    TRY(json_parse_copy(m->arena, text, &root));
    json_str(json_get(root, "created_by"), &m->created_by);
    json_i64(json_get(root, "create_time"), &m->create_time_ms);
    json_str(json_get(root, "compressed_definition"), &m->definition);
    const struct json *package = json_get(root, "package");
    m->kind = package ? MODEL_PACKAGE : MODEL_UPLOADED;
    return trained_model_config(m, (struct str){0}, json_get(root, "body"), package);
}

/* What the files are, in the model. */
static void show_files(struct trained_model *m, const struct definition *d)
{
    if (m->tree) {
        m->definition_bytes = tree_bytes(m->tree);
        m->fully_defined = true;
        return;
    }
    struct err *e = definition_check(d, "");
    m->definition_bytes = d->whole_bytes >= 0 ? d->whole_bytes : e ? d->announced : d->part_bytes;
    m->fully_defined = !e && d->vocabulary_bytes >= 0;
    err_free(e);
}

void registry_refresh(struct entry *entry)
{
    struct trained_model *old = entry->model;
    struct trained_model *m = trained_model_new(old->kind, old->model_id);
    struct err *e = read_document(m, str_c(entry->text));
    BUG_ON(e); /* it could be read when the entry was made */
    m->rev = entry->rev;
    show_files(m, &entry->files);
    entry->model = m;
    trained_model_unref(old);
}

struct err *registry_entry_new(struct registry *r, struct str id, struct str text, uint64_t rev,
                               struct entry **out)
{
    struct trained_model *m = trained_model_new(MODEL_UPLOADED, id);
    struct entry *entry = mem_new(sizeof *entry);
    char *folder = registry_folder(r, id);
    struct err *e = read_document(m, text);
    if (!e)
        e = definition_open(folder, &entry->files);
    free(folder);
    if (e) {
        free(entry);
        trained_model_unref(m);
        return e;
    }
    m->rev = rev;
    show_files(m, &entry->files);
    entry->model = m;
    entry->text = strndup(text.p, text.n);
    entry->rev = rev;
    *out = entry;
    return NULL;
}

void registry_entry_free(struct entry *entry)
{
    BUG_ON(entry->busy);
    definition_deinit(&entry->files);
    trained_model_unref(entry->model);
    free(entry->text);
    free(entry);
}

/* --- opening --- */

static struct err *load_model(struct registry *r, const struct doc *d)
{
    struct entry *entry;
    if (!trained_model_id_ok(d->id) && !trained_model_package_id_ok(d->id))
        return err_new(ERR_CORRUPT, "[%.*s] is not an id", STR_ARG(d->id));
    TRY(registry_entry_new(r, d->id, d->body, d->rev, &entry));
    r->bytes += definition_bytes(&entry->files);
    map_put(r->entries, d->id, entry);
    return NULL;
}

/* One document that cannot be read must not take the others with it. */
static struct err *load_models(struct registry *r, struct arena *tmp)
{
    struct docs docs;
    TRY(store_list(r->store, STORE_TRAINED_MODEL, tmp, &docs));
    for (size_t i = 0; i < docs.n; i++) {
        struct err *e = load_model(r, &docs.v[i]);
        if (e)
            log_error("a stored trained model cannot be used", LOG_S("model_id", docs.v[i].id),
                      LOG_E(e));
        err_free(e);
    }
    return NULL;
}

static struct err *load_aliases(struct registry *r, struct arena *tmp)
{
    struct docs docs;
    TRY(store_list(r->store, STORE_MODEL_ALIAS, tmp, &docs));
    for (size_t i = 0; i < docs.n; i++)
        map_put(r->aliases, docs.v[i].id, strndup(docs.v[i].body.p, docs.v[i].body.n));
    return NULL;
}

/* A document in the store is what makes a folder a model: a folder without one is what a crash left
 * of a DELETE. */
static struct err *drop_leftovers(struct registry *r, struct arena *tmp)
{
    DIR *dir = opendir(r->folder);
    if (!dir)
        return err_new(ERR_IO, "cannot read [%s]: %s", r->folder, strerror(errno));
    for (struct dirent *e; (e = readdir(dir));) {
        struct str name = str_c(e->d_name);
        struct doc stored;
        bool ours = trained_model_id_ok(name) || trained_model_package_id_ok(name);
        if (!ours || map_get(r->entries, name))
            continue;
        struct err *absent = store_get(r->store, STORE_TRAINED_MODEL, name, tmp, &stored);
        if (absent && absent->kind == ERR_NOT_FOUND) {
            char *path = registry_folder(r, name);
            struct err *failed = definition_remove(path);
            log_info("removed the files of a model that is not stored", LOG_C("path", path));
            err_free(failed);
            free(path);
        }
        err_free(absent);
    }
    closedir(dir);
    return NULL;
}

static struct err *load(struct registry *r, struct arena *tmp)
{
    TRY(definition_make_folder(r->folder));
    TRY(load_models(r, tmp));
    TRY(load_aliases(r, tmp));
    return drop_leftovers(r, tmp);
}

struct err *registry_open(const struct registry_options *o, struct registry **out)
{
    struct registry *r = mem_new(sizeof *r);
    size_t n = strlen(o->path_data) + sizeof "/trained_models";
    r->store = o->store;
    r->folder = mem_new(n);
    snprintf(r->folder, n, "%s/trained_models", o->path_data);
    r->path_models = mem_strdup(o->path_models);
    r->entries = map_new();
    r->aliases = map_new();
    BUG_ON(pthread_mutex_init(&r->admin, NULL) != 0);
    BUG_ON(pthread_mutex_init(&r->lock, NULL) != 0);
    BUG_ON(pthread_cond_init(&r->idle, NULL) != 0);
    struct arena *tmp = arena_new(ARENA_NO_LIMIT);
    struct err *e = definition_make_folder(o->path_data); /* a store in memory has not made it */
    if (!e)
        e = load(r, tmp);
    arena_free(tmp);
    if (e) {
        registry_close(r);
        return e;
    }
    *out = r;
    return NULL;
}

void registry_close(struct registry *r)
{
    if (!r)
        return;
    struct str id;
    void *v;
    for (size_t i = 0; map_next(r->entries, &i, &id, &v);)
        registry_entry_free(v);
    for (size_t i = 0; map_next(r->aliases, &i, &id, &v);)
        free(v);
    map_free(r->entries);
    map_free(r->aliases);
    pthread_cond_destroy(&r->idle);
    pthread_mutex_destroy(&r->lock);
    pthread_mutex_destroy(&r->admin);
    free(r->folder);
    free(r->path_models);
    free(r);
}

/* --- finding one --- */

struct entry *registry_entry(struct registry *r, struct str id)
{
    struct entry *entry = map_get(r->entries, id);
    return entry && !entry->deleting ? entry : NULL;
}

/* In the arena; NULL: no such alias. */
static struct str resolve_alias(struct registry *r, struct str alias, struct arena *a)
{
    const char *id = map_get(r->aliases, alias);
    return id ? arena_dup(a, str_c(id)) : (struct str){0};
}

static struct trained_model *find_stored(struct registry *r, struct str id, struct arena *a,
                                         struct str *id_out)
{
    *id_out = id;
    pthread_mutex_lock(&r->lock);
    struct entry *entry = registry_entry(r, id);
    struct str target = entry ? (struct str){0} : resolve_alias(r, id, a);
    if (target.p) {
        *id_out = target;
        entry = registry_entry(r, target);
    }
    struct trained_model *m = entry ? trained_model_ref(entry->model) : NULL;
    pthread_mutex_unlock(&r->lock);
    return m;
}

struct err *registry_get(struct registry *r, struct str id, struct trained_model **out)
{
    struct arena *tmp = arena_new(ARENA_NO_LIMIT);
    struct str model_id;
    struct err *e = NULL;
    *out = find_stored(r, id, tmp, &model_id);
    if (!*out)
        e = local_model_get(r->path_models, model_id, out);
    if (e && e->kind == ERR_NOT_FOUND) { /* said of what was asked for */
        err_free(e);
        e = registry_unknown(id);
    }
    arena_free(tmp);
    return e;
}

struct err *registry_aliases(struct registry *r, struct str model_id, struct arena *a,
                             const struct str **out, size_t *n_out)
{
    pthread_mutex_lock(&r->lock);
    struct str *list = arena_array(a, map_count(r->aliases), sizeof *list);
    struct str alias;
    void *v;
    size_t n = 0;
    for (size_t i = 0; map_next(r->aliases, &i, &alias, &v);) {
        if (!str_eq(str_c(v), model_id))
            continue;
        size_t at = n++;
        for (; at > 0 && str_cmp(list[at - 1], alias) > 0; at--)
            list[at] = list[at - 1];
        list[at] = arena_dup(a, alias);
    }
    pthread_mutex_unlock(&r->lock);
    *out = list;
    *n_out = n;
    return NULL;
}
