/* What the files of the registry share.
 *
 * registry.c           opening, finding, what is shown
 * registry_change.c    PUT, DELETE and aliases: changes of names
 * registry_upload.c    parts, vocabulary, what a deployment loads
 * local_models.c       what lies in path.models
 * definition.h         the files of one model
 * trained_model_config.h   what may stand in a PUT
 *
 * Everything that is stored is in memory too. `admin` is held by whoever changes names, across the
 * store's fsync; `lock` for a few lines by everybody, and after admin. Work on a model's files is
 * done without a lock, counted in entry->busy; DELETE waits for it. */
#ifndef INFERD_REGISTRY_PRIVATE_H
#define INFERD_REGISTRY_PRIVATE_H

#include <pthread.h>

#include "definition.h"
#include "map.h"
#include "nlp.h"
#include "trained_model.h"

/* Elasticsearch's bound on all uploaded definitions together. */
#define REGISTRY_MAX_BYTES (INT64_C(50) << 30)

struct entry {
    struct trained_model *model;
    char *text; /* as stored */
    uint64_t rev;
    struct definition files;
    unsigned busy;   /* jobs at its files */
    bool deleting;   /* gone for everybody but those jobs */
    bool assembling; /* one of them puts the parts together */
};

struct registry {
    struct store *store;
    char *folder; /* <path.data>/trained_models */
    char *path_models;
    pthread_mutex_t admin;
    pthread_mutex_t lock;
    pthread_cond_t idle; /* some entry's busy or assembling fell */
    struct map *entries; /* model id: struct entry */
    struct map *aliases; /* alias: char *, the model id */
    int64_t bytes;       /* of all files, reserved ones included */
};

/* --- registry.c; with r->lock held --- */

/* NULL: no such stored model. */
struct entry *registry_entry(struct registry *, struct str model_id);
/* A new model from the entry's text and the state of its files. */
void registry_refresh(struct entry *);
/* What is stored, from what was asked for. In the arena. */
struct str registry_document(struct arena *, const struct trained_model *, const struct json *body,
                             const struct json *package);
struct err *registry_entry_new(struct registry *, struct str model_id, struct str text,
                               uint64_t rev, struct entry **out);
void registry_entry_free(struct entry *);
char *registry_folder(const struct registry *, struct str model_id);

struct err *registry_unknown(struct str model_id); /* 404 */

/* --- local_models.c; without a lock --- */

/* A model in path.models by its id, whatever is stored. ERR_NOT_FOUND: none. */
struct err *local_model_get(const char *path_models, struct str id, struct trained_model **out);
/* Their ids, sorted; those that cannot be read as well. */
struct err *local_model_ids(const char *path_models, struct arena *, struct str **out,
                            size_t *n_out);
/* ERR_ARGUMENT: its files are not as they should be. */
struct err *local_model_files(const char *path_models, const struct trained_model *, struct arena *,
                              struct model_files *out);

#endif
