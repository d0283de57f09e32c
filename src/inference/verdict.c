#include "verdict.h"

#include <time.h>

#include "buf.h"

/* The codes Elasticsearch's RestStatus knows below 500. */
static bool status_is_known(int s)
{
    static const struct {
        int from, to;
    } known[] = {{100, 101}, {200, 207}, {300, 305}, {307, 307},
                 {400, 417}, {422, 424}, {429, 429}};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (s >= known[i].from && s <= known[i].to)
            return true;
    }
    return false;
}

bool status_goes_elsewhere(int status)
{
    switch (status) {
    case 401:
    case 402:
    case 403:
    case 404:
    case 408:
    case 429:
        return true;
    default:
        return status >= 500 || (status >= 300 && status < 400);
    }
}

static bool may_be_input(int upstream_status)
{
    return upstream_status == 400 || upstream_status == 413 || upstream_status == 422;
}

static char *dup_str(struct str s)
{
    return s.p ? strndup(s.p, s.n) : NULL;
}

struct err *verdict_err(struct str inference_id, int upstream_status, const struct verdict *v)
{
    int status = v->status ? v->status : status_is_known(upstream_status) ? upstream_status : 400;
    const char *sep = v->message.n ? ". Error message: [" : "";
    struct err *e =
        v->whole
            ? err_status(status, "%.*s", STR_ARG(v->prefix))
            : err_status(status,
                         "%.*s for request from inference entity id [%.*s] status [%d]%s%.*s%s",
                         STR_ARG(v->prefix), STR_ARG(inference_id), upstream_status, sep,
                         STR_ARG(v->message), v->message.n ? "]" : "");
    e->by_input = may_be_input(upstream_status);
    e->elsewhere = status_goes_elsewhere(upstream_status);
    e->chat_type = dup_str(v->chat_type);
    e->chat_code = dup_str(v->chat_code);
    e->chat_param = dup_str(v->chat_param);
    return e;
}

/* Any of the three forms of RFC 9110, 5.6.7. */
static bool read_date(struct str value, struct tm *out)
{
    static const char *const forms[] = {"%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT",
                                        "%a %b %e %H:%M:%S %Y"};
    char text[40];
    if (value.n >= sizeof text)
        return false;
    memcpy(text, value.p, value.n);
    text[value.n] = '\0';
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        *out = (struct tm){0};
        const char *end = strptime(text, forms[i], out);
        if (end && !*end)
            return true;
    }
    return false;
}

int64_t retry_after_ms(const struct http_headers *headers, int64_t now_wall_ms)
{
    struct str value;
    if (!http_header_get(headers, STR("retry-after"), &value))
        return 0;
    value = str_trim(value);
    int64_t seconds;
    if (str_to_i64(value, &seconds))
        return seconds > 0 && seconds < 86400 ? seconds * 1000 : 0;
    struct tm tm = {0};
    if (!read_date(value, &tm))
        return 0;
    int64_t wait = (int64_t)timegm(&tm) * 1000 - now_wall_ms;
    return wait > 0 && wait < INT64_C(86400000) ? wait : 0;
}

/* Where the path begins. */
static size_t url_path(struct str url)
{
    size_t scheme = str_find(url, STR("://"));
    size_t i = scheme == SIZE_MAX ? 0 : scheme + 3;
    while (i < url.n && url.p[i] != '/' && url.p[i] != '?' && url.p[i] != '#')
        i++;
    return i;
}

struct str url_rebase(struct arena *arena, struct str url, struct str base)
{
    struct str rest = str_sub(url, url_path(url), url.n);
    return arena_join(arena, base, rest);
}

struct str url_without_query(struct str url)
{
    size_t path = url_path(url);
    size_t end = path;
    while (end < url.n && url.p[end] != '?' && url.p[end] != '#')
        end++;
    size_t scheme = str_find(url, STR("://"));
    size_t from = scheme == SIZE_MAX ? 0 : scheme + 3;
    for (size_t i = path; i > from; i--) {
        if (url.p[i - 1] ==
            '@') /* user information, which may hold one too: show from the host on */
            return str_sub(url, i, end - i);
    }
    return str_sub(url, 0, end);
}
