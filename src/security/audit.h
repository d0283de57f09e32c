/* audit: who did what, with which outcome: one JSON line per request, in a file of its own. Never
 * what a request or an answer contained.
 *
 *     TRY(audit_open(path, "access_granted", &audit));   // events that are left out
 *     audit_write(audit, &event);
 *     audit_reopen(audit);                                // the file was moved away
 *
 * A line is one write(2), so lines of several threads never mix, and a line whose request has been
 * answered survives the death of the process. Thread: any. */
#ifndef INFERD_SECURITY_AUDIT_H
#define INFERD_SECURITY_AUDIT_H

#include "security.h"

struct audit;

/* name, as Elasticsearch has it */
#define AUDIT_EVENTS(X)                                                                            \
    X(AUDIT_GRANTED, "access_granted")                                                             \
    X(AUDIT_DENIED, "access_denied")              /* 403 of our own */                             \
    X(AUDIT_FAILED, "authentication_failed")      /* credentials that did not count */             \
    X(AUDIT_ANONYMOUS, "anonymous_access_denied") /* none */                                       \
    X(AUDIT_TAMPERED, "tampered_request")         /* cannot be read: refused before all that */

enum audit_kind {
#define X(symbol, name) symbol,
    AUDIT_EVENTS(X)
#undef X
        N_AUDIT_KINDS
};

struct audit_event {
    enum audit_kind kind;
    const struct user *user;  /* NULL: not known */
    struct str authorization; /* what he came with: names are taken from it, never secrets */
    struct str run_as;        /* whom he wanted to act for, which was refused */
    struct str peer, method, path, action, inference_id, opaque_id; /* p NULL: absent */
    int status;        /* 0: the client left before an answer */
    bool broken, left; /* after that status: a stream that failed, a client that left */
    int64_t duration_ms;
};

/* `excluded`: names of events, separated by commas. */
struct err *audit_open(const char *path, const char *excluded, struct audit **out);
void audit_close(struct audit *); /* NULL is fine */
/* Opens the path anew; the old file stays as it is when that fails. */
struct err *audit_reopen(struct audit *);
void audit_write(struct audit *, const struct audit_event *);

#endif
