/* fetch: one file from a repository of models, over http, https or from a file:// folder, into
 * memory or into a partial file that grows over cuts and restarts; private to model/.
 *
 *     struct fetch_order o = {.url = url, .path = "…/model.pt.partial", .limit = size, .size =
 * size}; struct fetch *f = fetch_start(fetcher, &o, done, ctx);
 *
 * What is in the partial file already is not asked for again (Range). Connections that are cut,
 * silent or refused and statuses 429 and 5xx are tried again with growing pauses, as long as every
 * FETCH_TRIES attempts bring a byte. Never more than `limit` bytes, never a redirect unless
 * `follow`. The file's content is the caller's to check.
 * Thread: the fetcher's loop, which may wait for the disk: it is no loop that serves clients. */
#ifndef INFERD_FETCH_H
#define INFERD_FETCH_H

#include "arena.h"
#include "buf.h"
#include "client.h"

#define FETCH_TRIES 6

struct fetcher;
struct fetcher *fetcher_new(struct loop *, const struct client_options *);
void fetcher_free(struct fetcher *); /* after all its fetches have ended */

struct fetch_order {
    struct str url;   /* copied */
    const char *path; /* copied; NULL: into memory */
    int64_t limit;    /* most bytes, whole */
    int64_t size;     /* exactly so many; -1: not known */
    _Atomic int64_t
        *have; /* bytes so far and `before` of other files, for whoever looks on; or NULL */
    int64_t before;
    bool follow; /* up to three redirects, to https or where the url itself leads */
};

struct fetch;
/* The end: err (taken by the callee), or the bytes when there was no path, valid during the call.
 * The fetch is gone afterwards. Never from within fetch_start. */
typedef void fetch_done(void *ctx, struct err *, struct str bytes);

struct fetch *fetch_start(struct fetcher *, const struct fetch_order *, fetch_done *, void *ctx);
void fetch_cancel(struct fetch *);        /* done does not follow */
int64_t fetch_have(const struct fetch *); /* bytes so far, earlier runs included */

/* NULL: an address that may be a repository: http, https or file, no user info, no query. */
struct err *fetch_check_base(const char *setting, struct str url);

#endif
