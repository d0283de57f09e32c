/* trained_model_config: from the body of a PUT (and a package's metadata) to a struct trained_model
 * and what all of Elasticsearch's checks of the two say; private to model/.
 * Source: trained_models.md 5. Pure; Thread: any. */
#ifndef INFERD_TRAINED_MODEL_CONFIG_H
#define INFERD_TRAINED_MODEL_CONFIG_H

#include "nlp.h"
#include "trained_model.h"

/* A model without content, one reference. */
struct trained_model *trained_model_new(enum trained_model_kind, struct str model_id);

/* Fills what the config says into `m`, copied or borrowed from trees in m->arena: `body` as it was
 * PUT, `package` its metadata or NULL. `text` is what body was parsed from, for error texts. A
 * tree's definition is in the body, or it was stored and is in m->definition already. */
struct err *trained_model_config(struct trained_model *m, struct str text, const struct json *body,
                                 const struct json *package);

/* What a package's metadata says, in m->arena, without anybody's PUT. */
struct err *trained_model_of_package(struct trained_model *m, const struct json *package);

/* Lower-case letters, digits, '-', '_', '.'; alphanumeric at both ends (Elasticsearch's MlStrings).
 */
bool trained_model_id_ok(struct str);
/* The same behind the dot of a built-in model. */
bool trained_model_package_id_ok(struct str);
bool model_alias_ok(struct str);

#define MODEL_ID_LIMIT 64

#endif
