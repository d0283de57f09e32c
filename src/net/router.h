/* router: method and path to a row of a table.
 *
 * Patterns are literal segments and {names}: "/_inference/{task_type}/{inference_id}/_stream".
 * A literal segment wins over a {name} in the same place. Segments are percent-decoded before
 * they are matched or handed out. A trailing slash is ignored. Rows are borrowed for good. */
#ifndef INFERD_ROUTER_H
#define INFERD_ROUTER_H

#include "arena.h"
#include "http.h"

struct router;

#define ROUTER_MAX_PARAMS 6

struct route_match {
    const void *row;  /* NULL: no row for this method */
    unsigned allowed; /* bit per enum method that has a row for this path; 0: no such path */
    size_t n_params;
    struct {
        struct str name, value;
    } params[ROUTER_MAX_PARAMS];
};

struct router *router_new(void);
void router_free(struct router *);
void router_add(struct router *, enum method, const char *pattern, const void *row);
/* HEAD falls back to the GET row. Values live in `arena`. Thread: any, after the last add. */
void router_find(const struct router *, struct arena *, enum method, struct str path,
                 struct route_match *out);
struct str route_param(const struct route_match *, const char *name); /* {NULL, 0}: absent */

#endif
