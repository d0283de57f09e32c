/* tree_definition: a tree's definition as it is stored, as it is shown, and as a struct tree_model;
 * private to model/. It is kept as Elasticsearch keeps it, JSON compressed by gzip and in base64,
 * which is also what `compressed_definition` of a PUT is. Thread: any; blocking for large ones. */
#ifndef INFERD_TREE_DEFINITION_H
#define INFERD_TREE_DEFINITION_H

#include "trained_model.h"

/* The definition of a model whose config has been read: m->definition, or that in `body`. Fills
 * m->tree, m->definition and the sizes. */
struct err *tree_definition_read(struct trained_model *m, struct body *, const struct json *body);

/* "definition": {...}, as JSON; from a definition that could be read. */
void tree_definition_render(struct str compressed, struct json_out *);

#endif
