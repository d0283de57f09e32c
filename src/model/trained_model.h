/* trained_model: a model as the trained-models API knows it: configuration, vocabulary, definition.
 * Source: trained_models.md 3 to 8.
 *
 * Of two families: pytorch, which is deployed and reads texts, and trees (tree_ensemble,
 * lang_ident), whose definition comes with the PUT and which answer without a deployment; tree.h.
 *
 * Three kinds. Uploaded: PUT, then parts and vocabulary. Package: its files come from the model
 * repository (".elser_model_2"). Snapshot: a folder in path.models, there without a PUT. Packages
 * may lie in path.models as well (ID.metadata.json, ID.pt and their vocabulary). What lies there is
 * `local`: shown and deployable like the others, never changed or deleted through the API, and
 * hidden by an uploaded model of the same id.
 * A struct trained_model is immutable, counted, owns its arena. Thread: any. */
#ifndef INFERD_TRAINED_MODEL_H
#define INFERD_TRAINED_MODEL_H

#include <stdatomic.h>

#include "nlp.h"
#include "pool.h"
#include "store.h"
#include "tree.h"

enum trained_model_kind { MODEL_UPLOADED, MODEL_PACKAGE, MODEL_SNAPSHOT };

struct trained_model {
    atomic_uint refs;
    struct arena *arena;
    enum trained_model_kind kind;
    struct str model_id, description, created_by, platform_architecture; /* {NULL, 0}: absent */
    const char *model_type;         /* static; "pytorch" for those that are no trees */
    struct str input_field;         /* the first of input_fields */
    const struct str *input_fields; /* of trees: as many as they like */
    size_t n_input_fields;
    int64_t create_time_ms;
    const struct str *tags;
    size_t n_tags;
    const struct json *metadata, *package;   /* objects, or NULL */
    const struct json *default_field_map;    /* echoed */
    struct nlp_config nlp;                   /* not of trees */
    const struct tree_model *tree;           /* NULL: no tree */
    struct tree_config tree_config;          /* of a tree */
    struct str definition;                   /* of a tree: gzip in base64, as it is stored */
    struct str prefix_ingest, prefix_search; /* {NULL, 0}: absent */
    int64_t per_deployment_bytes, per_allocation_bytes; /* of metadata; 0: not given */
    int64_t model_size_bytes;                           /* as the config says; 0: not given */
    int64_t definition_bytes; /* of a whole definition; else what was announced, or 0 */
    bool fully_defined;       /* every part and the vocabulary are there */
    bool local;               /* lies in path.models: the API neither changes nor deletes it */
    uint64_t rev;
};

struct trained_model *trained_model_ref(struct trained_model *);
void trained_model_unref(struct trained_model *); /* NULL is fine */
/* Of its inference_config: "text_embedding", "regression". */
const char *trained_model_task(const struct trained_model *);

/* --- the registry: durable, of one data folder. Blocking: pool threads only. --- */

struct registry;

struct registry_options {
    struct store *store;
    const char *path_data;   /* files under <path_data>/trained_models/<model id>/ */
    const char *path_models; /* snapshot folders */
};
struct err *registry_open(const struct registry_options *, struct registry **out);
void registry_close(struct registry *); /* NULL is fine */

/* PUT: checks everything ES checks. `package`: the metadata of a package, which fills the config
 * (kind MODEL_PACKAGE); NULL: uploaded. */
struct err *registry_put(struct registry *, struct str model_id, const struct json *body,
                         const struct json *package, struct trained_model **out);
/* By model id, else by alias; a reference. 404 "No known trained model with model_id [x]". */
struct err *registry_get(struct registry *, struct str id_or_alias, struct trained_model **out);
/* Comma list of ids, aliases and patterns ("", "_all", "*": all); sorted by model id. References in
 * an array in the arena. A missing id is a 404 even with allow_no_match. */
struct err *registry_find(struct registry *, struct str expression, bool allow_no_match,
                          struct arena *, struct trained_model ***out, size_t *n_out);
/* Config, aliases, vocabulary and definition. Whether it is in use is the caller's question. */
struct err *registry_delete(struct registry *, struct str model_id);

/* On disk when it returns. A part that is there already is ERR_EXISTS, unless it was found at open
 * and has the same bytes: its sender may not have heard that it arrived. No room: 507. */
struct err *registry_put_part(struct registry *, struct str model_id, uint32_t part,
                              uint32_t total_parts, int64_t total_bytes, struct str bytes);
/* `text` is what `body` was parsed from, and is kept as it is. */
struct err *registry_put_vocabulary(struct registry *, struct str model_id, struct str text,
                                    const struct json *body);
struct err *registry_put_alias(struct registry *, struct str alias, struct str model_id,
                               bool reassign);
struct err *registry_drop_alias(struct registry *, struct str alias, struct str model_id);
/* Aliases of a model, sorted. */
struct err *registry_aliases(struct registry *, struct str model_id, struct arena *,
                             const struct str **out, size_t *n_out);

/* What a deployment loads: checks that the definition is whole (ES's 400 and 404 texts), puts the
 * parts together (once) and gives the files' names in the arena. They stay until registry_delete,
 * those of a local model as long as nobody touches path.models. */
struct model_files {
    const char *definition; /* model.pt */
    const char *vocabulary; /* vocabulary.json */
    const char *snapshot;   /* a folder instead of both; else NULL */
};
struct err *registry_files(struct registry *, const struct trained_model *, struct arena *,
                           struct model_files *out);

/* For whoever fetches a package: the folder its files belong in (made), and: they are all there,
 * complete and checked. */
struct err *registry_package_folder(struct registry *, struct str model_id, struct arena *,
                                    const char **out);
struct err *registry_package_done(struct registry *, struct str model_id, int64_t definition_bytes);

/* What PUT and GET show, as GET's query parameters ask. */
struct trained_model_show {
    bool exclude_generated, definition_status, human;
    bool definition, compressed; /* a tree's, as JSON or as it is stored */
    const struct str *aliases;
    size_t n_aliases;
};
void trained_model_render(struct json_out *, const struct trained_model *,
                          const struct trained_model_show *);

#endif
