/* Errors are small heap objects; an error is rare enough that its cost does not matter, and it
 * must be able to leave the arena of the call that met it. */
#include "err.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "bug.h"

static const struct {
    int status;
    const char *type;
} kinds[N_ERR_KINDS] = {
#define X(symbol, http_status, es_type) [symbol] = {http_status, es_type},
#include "err.def"
#undef X
};

static __attribute__((format(printf, 1, 0))) char *format(const char *fmt, va_list ap)
{
    char *text;
    BUG_ON(vasprintf(&text, fmt, ap) < 0);
    return text;
}

static struct err *make(enum err_kind kind, char *reason)
{
    BUG_ON((unsigned)kind >= N_ERR_KINDS);
    struct err *e = mem_new(sizeof *e);
    e->kind = kind;
    e->status = kinds[kind].status;
    e->reason = reason;
    return e;
}

struct err *err_new(enum err_kind kind, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    struct err *e = make(kind, format(fmt, ap));
    va_end(ap);
    return e;
}

struct err *err_status(int status, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    struct err *e = make(ERR_STATUS, format(fmt, ap));
    va_end(ap);
    e->status = status;
    return e;
}

struct err *err_wrap(struct err *cause, enum err_kind kind, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    struct err *e = make(kind, format(fmt, ap));
    va_end(ap);
    e->cause = cause;
    if (cause)
        e->retry_after_ms = cause->retry_after_ms; /* still true of the whole */
    return e;
}

static char *dup_or_null(const char *z)
{
    return z ? mem_strdup(z) : NULL;
}

struct err *err_copy(const struct err *e)
{
    struct err *head = NULL, **link = &head;
    for (; e; e = e->cause) {
        struct err *c = mem_new(sizeof *c);
        *c = *e;
        c->reason = dup_or_null(e->reason);
        c->chat_type = dup_or_null(e->chat_type);
        c->chat_code = dup_or_null(e->chat_code);
        c->chat_param = dup_or_null(e->chat_param);
        c->unsuccessful = dup_or_null(e->unsuccessful);
        c->cause = NULL;
        *link = c;
        link = &c->cause;
    }
    return head;
}

void err_free(struct err *e)
{
    while (e) {
        struct err *cause = e->cause;
        free(e->reason);
        free(e->chat_type);
        free(e->chat_code);
        free(e->chat_param);
        free(e->unsuccessful);
        free(e);
        e = cause;
    }
}

const char *err_type(const struct err *e)
{
    return kinds[e->kind].type;
}

void err_list_add(struct err_list *l, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    char *one = format(fmt, ap), *all;
    va_end(ap);
    BUG_ON(asprintf(&all, "%s%d: %s;", l->text ? l->text : "Validation Failed: ", ++l->n, one) < 0);
    free(one);
    free(l->text);
    l->text = all;
}

struct err *err_list_end(struct err_list *l, enum err_kind kind)
{
    char *text = l->text;
    *l = (struct err_list){0};
    return text ? make(kind, text) : NULL;
}
