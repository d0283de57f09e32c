/* err: the one way to fail. NULL is success everywhere.
 *
 *     TRY(json_parse(arena, body, &root));
 *     return err_new(ERR_NOT_FOUND, "Inference endpoint not found [%.*s]", STR_ARG(id));
 *     return err_wrap(cause, ERR_STATUS, "Could not complete ...");   // takes `cause`
 *
 * Whoever receives one passes it up (TRY), wraps it, answers it, or drops it with a log line, and
 * frees it once. An err owns its texts (heap), so it may cross threads and outlive arenas.
 * The reason is one sentence that names the offending value in square brackets. Never a secret.
 *
 * Kinds are rows of err.def: symbol, HTTP status, Elasticsearch's exception name. ERR_STATUS is
 * Elasticsearch's status_exception, whose HTTP status is given per case with err_status(). */
#ifndef INFERD_ERR_H
#define INFERD_ERR_H

#include "str.h"

enum err_kind {
#define X(symbol, status, type) symbol,
#include "err.def"
#undef X
    N_ERR_KINDS
};

struct err {
    enum err_kind kind;
    int status; /* HTTP; from the kind unless overridden */
    char *reason;
    struct err *cause; /* printed as caused_by; NULL: none */
    /* Only for chat_completion's OpenAI-like envelope: what the provider's own body said.
     * NULL: derived from kind and status. */
    char *chat_type, *chat_code, *chat_param;
    /* Only for 401: which WWW-Authenticate challenges to send; see security.h. */
    bool challenge;
    /* Only for 401: why what was presented did not count; printed beside the reason. NULL: nothing.
     */
    char *unsuccessful;
    /* Another service could have succeeded: a refusal for quota or credentials, a fault of theirs.
     */
    bool elsewhere;
    /* One of the inputs may be the cause: without it the others could pass. */
    bool by_input;
    /* Milliseconds a caller should wait (Retry-After); 0: not said. */
    int64_t retry_after_ms;
};

struct err *err_new(enum err_kind, const char *fmt, ...)
    __attribute__((format(printf, 2, 3), returns_nonnull));
/* ERR_STATUS with this HTTP status. */
struct err *err_status(int status, const char *fmt, ...)
    __attribute__((format(printf, 2, 3), returns_nonnull));
/* A new outer error over `cause`, which it takes. */
struct err *err_wrap(struct err *cause, enum err_kind, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
struct err *err_copy(const struct err *); /* deep */
void err_free(struct err *);              /* with its causes; NULL is fine */

const char *err_type(const struct err *); /* "status_exception" and so on; static */

/* Collects several problems into one error of the form
 * "Validation Failed: 1: first;2: second;". */
struct err_list {
    char *text;
    int n;
};
void err_list_add(struct err_list *, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* NULL when nothing was added; the list is empty again afterwards. */
struct err *err_list_end(struct err_list *, enum err_kind);

#define TRY(expr)                                                                                  \
    do {                                                                                           \
        struct err *try_err_ = (expr);                                                             \
        if (try_err_)                                                                              \
            return try_err_;                                                                       \
    } while (0)

#endif
