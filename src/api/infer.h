/* infer: an inference call made for a request, and the shape its answer takes.
 *
 *     struct infer *inf = infer_new(r, &shape);
 *     TRY(... infer_endpoint(inf, id), inference_input(..., &inf->call.input) ...)
 *     infer_submit(inf);            // owes the answer from here on
 *
 * A shape writes what callers of one API expect: Elasticsearch's own in infer.c, OpenAI's in
 * openai.c. Lives in the request's arena. Thread: the request's loop. */
#ifndef INFERD_INFER_H
#define INFERD_INFER_H

#include "request.h"

struct infer;

struct infer_shape {
    /* The JSON of a whole answer; result NULL: of what was gathered. */
    void (*whole)(struct infer *, const struct result *, struct json_out *);
    /* Server-sent events: for one delta; for the end (result: the service did not stream). */
    void (*delta)(struct infer *, const struct delta *, struct buf *events);
    void (*end)(struct infer *, const struct result *, struct buf *events);
    void (*error)(struct infer *, const struct err *, struct buf *events);
    /* Takes a delta of a stream that is answered whole; NULL: never asked. */
    void (*gather)(struct infer *, const struct delta *);
    /* Ends what the shape holds outside the arena; NULL: nothing. Once, also after a failure. */
    void (*let_go)(struct infer *);
};

struct infer {
    struct sink sink;
    const struct infer_shape *shape;
    struct request *request;
    struct call call;
    struct buf event; /* events being written; kept for the next */
    bool events;      /* answer as server-sent events */
    bool streaming;   /* ... and the head has gone out */
    struct loop_timer cancel_soon;
    struct usage_pass pass;   /* of an API key: until it is settled */
    struct chunk_map *chunks; /* inputs are cut into chunks; NULL: they are not */
    void *own;                /* the shape's */
};

struct infer *infer_new(struct request *, const struct infer_shape *);
/* The endpoint and the request's timeout. ERR_NOT_FOUND. */
struct err *infer_endpoint(struct infer *, struct str inference_id);
/* Instead of submitting: answers with the error, which is taken, and lets go of everything. */
void infer_refuse(struct infer *, struct err *);
void infer_submit(struct infer *);

#endif
