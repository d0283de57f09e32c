/* framing: cuts a byte stream into events, wherever the network cut it.
 *
 *     struct framing f;
 *     framing_init(&f, FRAMING_SSE, limit_bytes);
 *     struct event ev;
 *     framing_feed(&f, bytes);
 *     while (framing_next(&f, &ev, &err)) ...        // ev is valid until the next feed or next
 *     framing_end(&f)                                 // see below
 *     framing_deinit(&f);
 *
 * SSE: WHATWG HTML 9.2.6 (LF, CR or CRLF; comments; multi-line data; BOM; default name "message").
 * An event that the stream leaves without its blank line is dropped, as the standard says.
 * NDJSON: one event per non-empty line, an unterminated last line counts at the end.
 * AWS (application/vnd.amazon.eventstream): both checksums are verified; an event's name is
 * :event-type, :exception-type or :error-code, its data the payload (or :error-message).
 *
 * A single event above the limit is ERR_TOO_LARGE, damage is ERR_IO. Take all events after each
 * feed: what is not taken yet is kept, and only the unfinished event is bounded by the limit.
 * Thread: the holder's. */
#ifndef INFERD_FRAMING_H
#define INFERD_FRAMING_H

#include "buf.h"
#include "err.h"
#include "http.h"

struct framing {
    enum framing_kind kind;
    size_t limit;
    struct buf in; /* bytes not yet cut, from `at` on */
    size_t at;
    size_t scanned;  /* bytes after `at` known to hold no line end */
    struct buf data; /* the event under construction */
    struct buf name;
    bool has_data, at_start, ended, after_cr, handed_out, broken;
};

void framing_init(struct framing *, enum framing_kind, size_t limit_bytes);
void framing_deinit(struct framing *);
void framing_feed(struct framing *, struct str bytes);
/* True: one event in *out. False: none yet, or *err_out is set (garbage; nothing more comes). */
bool framing_next(struct framing *, struct event *out, struct err **err_out);
void framing_end(struct framing *); /* no more bytes: framing_next may give a last event */

/* Writing an SSE event: "event: <name>\ndata: <data>\n\n"; data must hold no line breaks. */
void sse_write(struct buf *out, struct str name, struct str data);

#endif
