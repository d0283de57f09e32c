/* http_parse: reads the bytes of an HTTP/1.1 request. No sockets, no memory of its own.
 *
 *     struct http_scan scan = {0};
 *     switch (http_scan(&scan, bytes_so_far, max)) ...   // again with more bytes, from the start
 *     int status = http_head_parse(&scan, bytes.p, &head, &headers);   // views into the bytes
 *     http_chunked_feed(&chunked, &rest, &piece) ...     // when head.chunked
 *
 * Strict after RFC 9112: lines end in CRLF, no control characters, no folded lines, one
 * Content-Length of plain digits or one "Transfer-Encoding: chunked", exactly one Host on 1.1. The
 * one leniency: a request target may hold any visible ASCII character but '#', since
 * Elasticsearch's clients send more than RFC 3986 allows and nothing about framing hangs on it.
 * The result never depends on how the bytes were cut into pieces. Thread: the holder's. */
#ifndef INFERD_HTTP_PARSE_H
#define INFERD_HTTP_PARSE_H

#include "http.h"

/* Where the lines of a head end; zero-initialise before its first byte. */
struct http_scan {
    uint32_t pos;     /* bytes already looked at */
    uint32_t start;   /* the request line begins here: after at most one empty line */
    uint32_t n_lines; /* request line included, the empty last line not */
    uint32_t ends[HTTP_MAX_HEADERS + 1]; /* offset of the CR of each line */
    uint32_t head_n;                     /* bytes of the whole head, once it is complete */
    const char *reason;                  /* what was wrong, static, once it is */
};

enum { HTTP_SCAN_MORE = -1, HTTP_SCAN_DONE = 0 }; /* otherwise the status to answer with */

/* `in` holds all bytes so far and only grows between calls; what lies beyond `max` bytes is not
 * looked at and means 414 (no line has ended) or 431. `max` must fit 31 bits. */
int http_scan(struct http_scan *, struct str in, size_t max);

enum http_coding { HTTP_CODING_NONE, HTTP_CODING_GZIP, HTTP_CODING_OTHER };

struct http_head {
    enum method method;
    struct str target; /* as received */
    struct str path;   /* of the origin or absolute form, up to '?' */
    struct str query;
    bool http10;
    bool keep_alive;
    bool chunked;
    bool has_length;
    bool expect_continue;
    bool accept_gzip;
    enum http_coding coding; /* of the body */
    uint64_t length;         /* UINT64_MAX stands for anything larger too */
    const char *reason;      /* set when the answer is not 0; static */
};

/* 0, or the status to answer with (405: of TRACE and CONNECT). `p` is where `in` was. */
int http_head_parse(const struct http_scan *, const char *p, struct http_head *out,
                    struct http_headers *headers_out);

bool http_is_token(struct str); /* RFC 9110 5.6.2: what a method or a header's name is made of */

/* The chunked coding. Zero-initialise before the first byte. Extensions are skipped and trailers
 * ignored, both within limits. */
struct http_chunked {
    int state;
    int digits;    /* of the size read so far */
    uint64_t left; /* bytes of the current chunk still to come */
    size_t extra;  /* bytes of extensions and trailers so far, of all chunks together */
};

enum http_chunk { HTTP_CHUNK_MORE, HTTP_CHUNK_DATA, HTTP_CHUNK_END, HTTP_CHUNK_BAD };

/* Takes bytes off the front of `*in`. DATA: *data_out is the next piece of the body, a view into
 * the bytes taken; call again. MORE: `*in` is empty. END: what is left in `*in` is the next
 * request's. */
enum http_chunk http_chunked_feed(struct http_chunked *, struct str *in, struct str *data_out);

#endif
