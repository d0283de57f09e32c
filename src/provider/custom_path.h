/* custom_path: picks values out of an answer by a path such as $.data[*].embedding, for the custom
 * service. Source: shared facts, providers.md 5.
 *
 * A path is '$' and then any mix of .field and [*]. Unlike JSONPath's, nested lists stay nested:
 * $.a[*].b[*].c gives a list of lists. A null is not there: as a field it is an error, within a
 * list it is left out. Private to custom*.c. */
#ifndef INFERD_PROVIDER_CUSTOM_PATH_H
#define INFERD_PROVIDER_CUSTOM_PATH_H

#include "err.h"
#include "json.h"

/* A list that the path made, or a value as it stands in the answer. */
struct found {
    const struct json *node; /* NULL: a list that the path made */
    const struct found *items;
    size_t n;
};

/* In `arena`, as long as the tree. `out->node` and `out->items` both NULL with n == 0: an empty
 * list. Errors are Elasticsearch's texts. */
struct err *path_find(const struct json *root, struct str path, struct arena *, struct found *out);

/* A list either way: one that the path made, or an array as it stands. `member` names it in the
 * error when it is none. */
struct err *found_list(const struct found *, const char *member, struct arena *, struct found *out);
/* "String", "Integer" and so on, as Elasticsearch names what it found. */
const char *found_type(const struct found *);

#endif
