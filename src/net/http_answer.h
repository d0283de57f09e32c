/* http_answer: reads the bytes of HTTP/1.1 answers. No sockets, no memory of its own.
 *
 *     struct http_answer a = {.to_head = method == HTTP_HEAD};
 *     struct http_span in = {bytes, n};
 *     switch (http_answer_next(&a, &in, &headers, &piece)) ...   // until MORE, END or BAD
 *     ... more bytes: what was left in `in`, with the new ones behind it ...
 *     if (http_answer_ends(&a)) ...                              // when the peer has closed
 *
 * Strict after RFC 9112, since whoever disagrees with a peer on where an answer ends hands its rest
 * to the next caller: one length or one "chunked", never both; no other coding, no space before a
 * colon, no control characters, no line without a name. Three leniencies that leave no doubt: lines
 * may end in LF alone, the same Content-Length may be repeated, and a folded line is joined with
 * spaces (written over the bytes given), unless it belongs to a header of the framing.
 *
 * Heads of 1xx answers are passed over; 101 is BAD, as nobody asks for another protocol. Of more
 * than HTTP_MAX_HEADERS headers the rest is checked and dropped. The result never depends on how
 * the bytes were cut into pieces, except for where pieces of a body begin and end.
 * Thread: the holder's. */
#ifndef INFERD_HTTP_ANSWER_H
#define INFERD_HTTP_ANSWER_H

#include "http_parse.h"

#define HTTP_ANSWER_MAX_HEAD (64u << 10) /* bytes, those of 1xx answers included */

struct http_span {
    char *p;
    size_t n;
};

enum http_answer_framing { ANSWER_NO_BODY, ANSWER_LENGTH, ANSWER_CHUNKED, ANSWER_TO_THE_END };

struct http_answer {
    bool to_head; /* set by the caller: the request was a HEAD, so no body follows */

    /* From HTTP_ANSWER_HEAD on. */
    int status;
    enum http_answer_framing framing;
    uint64_t left;   /* ANSWER_LENGTH: bytes of the body still to come */
    bool keep_alive; /* after END another answer may come */
    char *head;      /* the whole head, where the bytes were: what the headers point into */
    size_t head_n;

    const char *reason; /* of BAD; static */
    bool head_too_large;

    /* Private. */
    int state;
    size_t looked, line; /* of a head: bytes searched, where its current line begins */
    size_t skipped;      /* bytes of the heads before */
    struct http_chunked chunked;
};

enum http_answer_event {
    HTTP_ANSWER_MORE, /* bytes are missing; of a head, what came stays in `in` */
    HTTP_ANSWER_HEAD, /* once: status, framing and headers are known, views into the bytes taken */
    HTTP_ANSWER_BODY, /* *piece_out is the next piece of the body, a view into the bytes taken */
    HTTP_ANSWER_END,  /* what is left in `in` is no part of this answer */
    HTTP_ANSWER_BAD,
};

/* Takes bytes off the front of `*in`. After END and BAD it says the same again. */
enum http_answer_event http_answer_next(struct http_answer *, struct http_span *in,
                                        struct http_headers *headers, struct str *piece_out);

/* No more bytes come. True: the answer is complete by that; else it was cut. */
bool http_answer_ends(const struct http_answer *);

#endif
