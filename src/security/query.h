/* query: the part of Elasticsearch's query language that lists of users, roles and keys need;
 * private to security/.
 *
 *     query_init(&q, arena, "api_keys", "id", fields);
 *     TRY(query_read(&q, body));                 // query, from, size, sort, search_after
 *     for each: key_render(k, query_row(&q)); TRY(query_row_end(&q));
 *     query_render(&q, out);
 *
 * A row is the JSON that the API shows of a thing; fields are its members, metadata.x reaches into
 * it. Queries: match_all, match_none, ids, term, terms, match, prefix, wildcard, exists, range,
 * simple_query_string, bool. Thread: its owner. */
#ifndef INFERD_QUERY_H
#define INFERD_QUERY_H

#include "json.h"

#define QUERY_MAX_SORTS 8

struct query_sort {
    struct str field;
    bool descending;
};

struct query {
    struct arena *arena;
    const char *list;          /* what the answer calls its rows */
    const char *id;            /* the member that is the document's id */
    const char *const *fields; /* those that may be asked about */
    const struct json *query, *after;
    int64_t from, size;
    struct query_sort sorts[QUERY_MAX_SORTS];
    size_t n_sorts;
    struct buf text; /* the row being written */
    struct json_out w;
    const struct json **rows; /* that match */
    size_t n, room;
};

void query_init(struct query *, struct arena *, const char *list, const char *id,
                const char *const *fields);
void query_deinit(struct query *);
struct err *query_read(struct query *, const struct json *body); /* NULL: everything */
struct json_out *query_row(struct query *);
struct err *query_row_end(struct query *);
/* {"total":n,"count":n,LIST:[...]}; rows carry _sort when they were sorted. */
void query_render(struct query *, struct json_out *);

#endif
