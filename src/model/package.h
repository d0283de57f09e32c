/* package: models that come from elsewhere: Elasticsearch's built-in ones (".elser_model_2") from a
 * model repository, snapshots ("org/name") from a hub.
 *
 *     struct packages *p;
 *     TRY(packages_open(&options, &p));       // goes on with what an earlier run had begun
 *     packages_put(p, &order);                // PUT _ml/trained_models/.elser_model_2
 *     packages_ensure(p, STR("org/name"), loop, done, ctx);
 *     packages_close(p);
 *
 * A package P is P.metadata.json (what the model is, size and SHA-256 of its definition, name of
 * its vocabulary), P.pt and that vocabulary; P is the model id without its dot. When path.models
 * holds P.metadata.json, the package is taken from there. Of a hub's snapshot only data is taken:
 * JSON, vocabularies and safetensors, never pickles or code; its folder appears in path.models when
 * all of it is there and checked.
 *
 * One thread of its own does all of it, one file at a time per model, over a loop with its own
 * connections; files are appended to, so that a cut or a restart costs little, and named only
 * when size and hash are right. Thread: any, but for open and close (main).
 * Source: trained_models.md 14; the hub's API as huggingface.co documents it. */
#ifndef INFERD_PACKAGE_H
#define INFERD_PACKAGE_H

#include "err.h"
#include "loop.h"
#include "str.h"

struct packages;
struct registry;
struct trained_model;

struct packages_options {
    struct registry *registry;
    const char *repository; /* xpack.ml.model_repository: https, http or file address */
    const char *hub;        /* inference.hub.url; empty: there is none */
    const char *path_models;
    const char *ca_file; /* NULL: the system's */
    int64_t connect_timeout_ms;
};

/* ERR_ARGUMENT: an address is none. Blocking. */
struct err *packages_open(const struct packages_options *, struct packages **out);
/* Ends what is under way; those who wait hear nothing. After the loops stopped. NULL is fine. */
void packages_close(struct packages *);

struct package_order {
    struct str model_id; /* with its dot; copied */
    struct str body;     /* of the PUT, JSON; copied */
    bool wait;           /* wait_for_completion */
    struct loop *loop;
    /* On `loop`, once: the model (a reference), or an err. */
    void (*done)(void *ctx, struct err *, struct trained_model *);
    void *ctx;
};
void packages_put(struct packages *, const struct package_order *);

/* The model is there, whole, when done gets NULL: fetched first if it is a built-in one or, with a
 * hub, "org/name". Any other id: NULL at once, whether there is such a model or not. */
void packages_ensure(struct packages *, struct str model_id, struct loop *,
                     void (*done)(void *ctx, struct err *), void *ctx);
/* Nothing is being fetched for the model when done runs; its partial files stay. */
void packages_cancel(struct packages *, struct str model_id, struct loop *, void (*done)(void *ctx),
                     void *ctx);

/* False: nothing is being fetched for the model. Bytes of its definition. */
bool packages_progress(struct packages *, struct str model_id, int64_t *have, int64_t *total);

/* What of path.models a hub's "org/name" is called: "org__name". False: it is no such id. */
bool hub_folder_name(struct str model_id, char out[256]);

#endif
