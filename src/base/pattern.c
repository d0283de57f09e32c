/* ICU's regular expressions. ICU asks a callback at each position where a match is tried, and after
 * every ten thousand steps of backtracking; that is where the watch is looked at. */
#include "pattern.h"

#include <unicode/uregex.h>

#include "bug.h"

/* Looking at the thread's clock is a system call; trying a position may take a few nanoseconds. */
#define CALLS_PER_LOOK 64

struct pattern {
    URegularExpression *icu;
    struct pattern_watch *watch;
    struct str source;
    char text[PATTERN_MAX_BYTES];
};

static int64_t thread_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

void pattern_watch_start(struct pattern_watch *w, int64_t ms)
{
    *w = (struct pattern_watch){.until_ns = thread_ns() + ms * 1000000};
}

static UBool go_on(const void *context, int64_t position)
{
    const struct pattern *p = context;
    return ++p->watch->calls % CALLS_PER_LOOK != 0 || thread_ns() < p->watch->until_ns;
}

static UBool go_on_matching(const void *context, int32_t steps)
{
    const struct pattern *p = context;
    return thread_ns() < p->watch->until_ns;
}

static struct err *refuse(const struct pattern *p, UErrorCode e)
{
    if (e == U_REGEX_STOPPED_BY_CALLER || e == U_REGEX_TIME_OUT)
        return err_new(ERR_ARGUMENT, "the regular expression [%.*s] takes too long on this text",
                       STR_ARG(p->source));
    if (e == U_REGEX_STACK_OVERFLOW)
        return err_new(ERR_ARGUMENT,
                       "the regular expression [%.*s] takes too much memory on this text",
                       STR_ARG(p->source));
    return err_new(ERR_ARGUMENT, "[%.*s] cannot be used as a regular expression: %s",
                   STR_ARG(p->source), u_errorName(e));
}

struct err *pattern_new(struct str source, struct pattern_watch *watch, struct pattern **out)
{
    if (source.n > PATTERN_MAX_BYTES)
        return err_new(ERR_ARGUMENT,
                       "a regular expression of [%zu] bytes is too long, at most [%d]", source.n,
                       PATTERN_MAX_BYTES);
    struct pattern *p = mem_new(sizeof *p);
    struct arena *tmp = arena_new(ARENA_NO_LIMIT);
    struct utf16 units;
    BUG_ON(!utf16_of(tmp, source, &units));
    if (source.n)
        memcpy(p->text, source.p, source.n);
    p->source = str_n(p->text, source.n);
    p->watch = watch;
    UErrorCode e = U_ZERO_ERROR;
    /* ICU takes no empty expression; this one matches the same. */
    if (units.n)
        p->icu = uregex_open(units.p, (int32_t)units.n, UREGEX_MULTILINE, NULL, &e);
    else
        p->icu = uregex_openC("(?:)", UREGEX_MULTILINE, NULL, &e);
    arena_free(tmp);
    if (U_SUCCESS(e)) {
        uregex_setStackLimit(p->icu, PATTERN_STACK_BYTES, &e);
        uregex_setMatchCallback(p->icu, go_on_matching, p, &e);
        uregex_setFindProgressCallback(p->icu, go_on, p, &e);
    }
    if (U_FAILURE(e)) {
        struct err *err = refuse(p, e);
        pattern_free(p);
        return err;
    }
    *out = p;
    return NULL;
}

void pattern_free(struct pattern *p)
{
    if (!p)
        return;
    uregex_close(p->icu);
    free(p);
}

void pattern_begin(struct pattern *p, struct utf16 units)
{
    UErrorCode e = U_ZERO_ERROR;
    uregex_setText(p->icu, units.p, (int32_t)units.n, &e);
    BUG_ON(U_FAILURE(e));
}

struct err *pattern_next(struct pattern *p, bool *found_out, size_t *start_out)
{
    UErrorCode e = U_ZERO_ERROR;
    *found_out = uregex_findNext(p->icu, &e);
    if (U_SUCCESS(e) && *found_out)
        *start_out = (size_t)uregex_start(p->icu, 0, &e);
    return U_FAILURE(e) ? refuse(p, e) : NULL;
}
