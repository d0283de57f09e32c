/* sse_reader: server-sent events within the parts of another stream, which cut them anywhere:
 * SageMaker hands on what a model streams in pieces of its own choice.
 *
 *     TRY(sse_reader_feed(reader, part));
 *     struct event ev;
 *     while (sse_reader_next(reader, &ev)) ...     // ev is valid until the next of either
 *
 * Reads as net's framing does (WHATWG HTML 9.2.6), from an arena: a stream's state is not freed by
 * name. An event above 4 MiB is ERR_TOO_LARGE. */
#ifndef INFERD_PROVIDER_SSE_READER_H
#define INFERD_PROVIDER_SSE_READER_H

#include "arena.h"
#include "err.h"
#include "http.h"

struct sse_reader;

struct sse_reader *sse_reader_new(struct arena *);
struct err *sse_reader_feed(struct sse_reader *, struct str bytes);
bool sse_reader_next(struct sse_reader *, struct event *out);

#endif
