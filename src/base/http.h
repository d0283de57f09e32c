/* http: HTTP messages as plain data, for those who build and read them without sockets
 * (providers above all) and those who send them (net). All views live in the arena named by the
 * function that filled the struct. */
#ifndef INFERD_HTTP_H
#define INFERD_HTTP_H

#include "arena.h"
#include "str.h"

enum method {
    HTTP_GET,
    HTTP_HEAD,
    HTTP_POST,
    HTTP_PUT,
    HTTP_DELETE,
    HTTP_OPTIONS,
    HTTP_PATCH,
    N_HTTP_METHODS
};

const char *http_method_name(enum method);
const char *http_reason(int status); /* "Not Found"; "" when unknown */

struct http_header {
    struct str name, value;
};

#define HTTP_MAX_HEADERS 64

struct http_headers {
    struct http_header h[HTTP_MAX_HEADERS];
    size_t n;
};

/* First header of that name, case-insensitive; false and *out = {NULL, 0} when absent. */
bool http_header_get(const struct http_headers *, struct str name, struct str *out);
void http_header_add(struct http_headers *, struct str name, struct str value); /* BUG when full */
void http_header_addf(struct http_headers *, struct arena *, struct str name, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* A request to be sent upstream. */
struct http_out {
    struct arena *arena; /* build allocates here */
    enum method method;
    struct str url; /* absolute */
    struct http_headers headers;
    struct str body;
};

/* An answer received from upstream, whole. */
struct http_in {
    struct arena *arena;
    int status;
    struct http_headers headers;
    struct str body;
};

/* How a provider's stream is cut into events; see net/framing.h. */
enum framing_kind { FRAMING_NONE, FRAMING_SSE, FRAMING_NDJSON, FRAMING_AWS };

/* One event cut from a stream: SSE (name = event type, "message" by default; data joined with
 * LF), NDJSON (data = one line), AWS event stream (name = :event-type or :exception-type). */
struct event {
    struct str name;
    struct str data;
    bool exception; /* AWS event stream :message-type exception or error */
};

/* Percent-encodes everything but unreserved characters (and '/' when keep_slash). */
struct str http_escape(struct arena *, struct str s, bool keep_slash);
/* Percent-decodes (no '+' rule); false on a bad escape or a NUL. */
bool http_unescape(struct arena *, struct str s, struct str *out);

#endif
