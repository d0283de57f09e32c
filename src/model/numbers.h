/* numbers: what a deployment has done, counted in documents, as _stats shows it. Time is an
 * argument (wall clock, milliseconds). Pure; the deployment's lock is held around each call.
 * Source: trained_models.md 8.
 *
 * An average is of the time allocations were busy with a document: its share, by tokens, of the
 * batches it was in; nothing for a cache hit. So number times average is work done, which is what
 * whoever scales a deployment reckons with. */
#ifndef INFERD_NUMBERS_H
#define INFERD_NUMBERS_H

#include "model.h"

#define NUMBERS_WINDOW_MS 60000

struct numbers_window {
    int64_t index; /* which since the start */
    int64_t inferences, hits;
    double ms;
};

struct numbers {
    int64_t start_ms;
    int64_t inferences, hits, errors, rejected, timeouts;
    double ms; /* all documents together */
    int64_t last_access_ms, peak;
    struct numbers_window now, last;
};

void numbers_init(struct numbers *, int64_t start_ms);
/* n documents were answered; of them `hits` from the cache; together they took ms. */
void numbers_inferred(struct numbers *, int64_t now_ms, int64_t n, int64_t hits, double ms);
/* All but `pending`, which numbers does not know. Moves the windows on. */
void numbers_show(struct numbers *, int64_t now_ms, struct deployment_numbers *out);

#endif
