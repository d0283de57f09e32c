/* json_view: the same JSON, as the caller asked to see it: ?pretty, ?filter_path, ?format=yaml.
 * Works on finished text, off the fast path: nothing here runs unless a parameter asks for it. */
#ifndef INFERD_JSON_VIEW_H
#define INFERD_JSON_VIEW_H

#include "json.h"

/* Elasticsearch's pretty form: two spaces, "key" : value, and a final newline. */
void json_pretty(const struct json *, struct buf *out);

/* filter_path: comma-separated dotted paths; `*` within a name, `**` over levels, a leading `-`
 * excludes. Writes compact JSON; `{}` when nothing is left. Bad patterns: ERR_ARGUMENT. */
struct err *json_filter(const struct json *, struct str filter_path, struct buf *out);

/* YAML 1.2 block style with a leading "---", as Elasticsearch writes it. */
void json_yaml(const struct json *, struct buf *out);

#endif
