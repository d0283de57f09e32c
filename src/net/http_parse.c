/* The head of a request, in two passes. http_scan finds the line ends as bytes arrive (memchr) and
 * stops at the first line that does not end in CRLF. http_head_parse then runs once over the whole:
 * one counting sweep proves that there is no control character but those line ends (the compiler
 * makes vector code of it), so that the passes over names and values need not look again.
 * Source: RFC 9112 (sections named below), RFC 9110. */
#include "http_parse.h"

#include "bug.h"

/* RFC 9110 5.6.2 */
static const bool is_token[256] = {
    ['!'] = 1, ['#'] = 1, ['$'] = 1, ['%'] = 1, ['&'] = 1, ['\''] = 1, ['*'] = 1, ['+'] = 1,
    ['-'] = 1, ['.'] = 1, ['^'] = 1, ['_'] = 1, ['`'] = 1, ['|'] = 1,  ['~'] = 1, ['0'] = 1,
    ['1'] = 1, ['2'] = 1, ['3'] = 1, ['4'] = 1, ['5'] = 1, ['6'] = 1,  ['7'] = 1, ['8'] = 1,
    ['9'] = 1, ['A'] = 1, ['B'] = 1, ['C'] = 1, ['D'] = 1, ['E'] = 1,  ['F'] = 1, ['G'] = 1,
    ['H'] = 1, ['I'] = 1, ['J'] = 1, ['K'] = 1, ['L'] = 1, ['M'] = 1,  ['N'] = 1, ['O'] = 1,
    ['P'] = 1, ['Q'] = 1, ['R'] = 1, ['S'] = 1, ['T'] = 1, ['U'] = 1,  ['V'] = 1, ['W'] = 1,
    ['X'] = 1, ['Y'] = 1, ['Z'] = 1, ['a'] = 1, ['b'] = 1, ['c'] = 1,  ['d'] = 1, ['e'] = 1,
    ['f'] = 1, ['g'] = 1, ['h'] = 1, ['i'] = 1, ['j'] = 1, ['k'] = 1,  ['l'] = 1, ['m'] = 1,
    ['n'] = 1, ['o'] = 1, ['p'] = 1, ['q'] = 1, ['r'] = 1, ['s'] = 1,  ['t'] = 1, ['u'] = 1,
    ['v'] = 1, ['w'] = 1, ['x'] = 1, ['y'] = 1, ['z'] = 1,
};

bool http_is_token(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        if (!is_token[(unsigned char)s.p[i]])
            return false;
    }
    return s.n > 0;
}

/* ---- finding the end ---- */

static int scan_fail(struct http_scan *s, int status, const char *reason)
{
    s->reason = reason;
    return status;
}

/* RFC 9112 2.2: one empty line before a request is forgiven, some clients send it after a body.
 * False: more bytes are needed to know. */
static bool scan_begin(struct http_scan *s, struct str in)
{
    if (in.n == 0 || (in.p[0] == '\r' && in.n == 1))
        return false;
    if (in.p[0] == '\r' && in.p[1] == '\n')
        s->start = s->pos = 2;
    return true;
}

int http_scan(struct http_scan *s, struct str in, size_t max)
{
    bool cut = in.n > max;
    if (cut)
        in.n = max;
    if (s->pos == 0 && !scan_begin(s, in))
        return HTTP_SCAN_MORE;
    /* A TLS hello or other noise must not wait for a line end that never comes. */
    if (in.n > s->start && !is_token[(unsigned char)in.p[s->start]])
        return scan_fail(s, 400, "the request does not begin with a method");
    while (s->pos < in.n) {
        const char *lf = memchr(in.p + s->pos, '\n', in.n - s->pos);
        if (!lf) {
            s->pos = (uint32_t)in.n;
            break;
        }
        uint32_t at = (uint32_t)(lf - in.p);
        uint32_t line = s->n_lines ? s->ends[s->n_lines - 1] + 2 : s->start;
        if (at == line || lf[-1] != '\r')
            return scan_fail(s, 400, "a line of the head does not end in CRLF");
        s->pos = at + 1;
        if (at - 1 == line) {
            s->head_n = s->pos;
            return HTTP_SCAN_DONE;
        }
        if (s->n_lines == HTTP_MAX_HEADERS + 1)
            return scan_fail(s, 431, "too many headers");
        s->ends[s->n_lines++] = at - 1;
    }
    if (cut)
        return s->n_lines ? scan_fail(s, 431, "the headers are too large")
                          : scan_fail(s, 414, "the request line is too long");
    return HTTP_SCAN_MORE;
}

/* ---- the request line, RFC 9112 3 ---- */

static int fail(struct http_head *h, int status, const char *reason)
{
    h->reason = reason;
    return status;
}

static bool method_find(struct str name, enum method *out)
{
    for (int i = 0; i < N_HTTP_METHODS; i++) {
        if (str_eq_c(name, http_method_name((enum method)i))) {
            *out = (enum method)i;
            return true;
        }
    }
    return false;
}

static int parse_method(struct http_head *h, struct str name)
{
    /* The two that nearly every request has, before the search. */
    if (name.n == 4 && memcmp(name.p, "POST", 4) == 0) {
        h->method = HTTP_POST;
        return 0;
    }
    if (name.n == 3 && memcmp(name.p, "GET", 3) == 0) {
        h->method = HTTP_GET;
        return 0;
    }
    if (method_find(name, &h->method))
        return 0;
    if (str_eq_c(name, "TRACE") || str_eq_c(name, "CONNECT"))
        return fail(h, 405, "method not allowed");
    return fail(h, 501, "unknown method");
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static int parse_version(struct http_head *h, struct str v)
{
    if (v.n != 8 || memcmp(v.p, "HTTP/", 5) != 0 || !is_digit(v.p[5]) || v.p[6] != '.' ||
        !is_digit(v.p[7]))
        return fail(h, 400, "malformed request line");
    if (v.p[5] != '1' || v.p[7] > '1')
        return fail(h, 505, "only HTTP/1.0 and HTTP/1.1 are spoken here");
    h->http10 = v.p[7] == '0';
    return 0;
}

/* Length of "http://authority" or "https://authority" at the front of a target; 0: it has none. */
static size_t absolute_prefix(struct str t)
{
    size_t at;
    if (t.n > 7 && str_eq_nocase(str_n(t.p, 7), STR("http://")))
        at = 7;
    else if (t.n > 8 && str_eq_nocase(str_n(t.p, 8), STR("https://")))
        at = 8;
    else
        return 0;
    size_t end = at;
    while (end < t.n && t.p[end] != '/' && t.p[end] != '?')
        end++;
    return end == at ? 0 : end;
}

static int parse_target(struct http_head *h, struct str t)
{
    for (size_t i = 0; i < t.n; i++) {
        unsigned char c = (unsigned char)t.p[i];
        if (c <= ' ' || c >= 0x7f || c == '#')
            return fail(h, 400, "invalid character in the request target");
    }
    h->target = t;
    struct str rest = t;
    if (t.n && t.p[0] != '/') {
        size_t n = absolute_prefix(t);
        bool star = h->method == HTTP_OPTIONS && str_eq_c(t, "*");
        if (n == 0 && !star)
            return fail(h, 400, "invalid request target");
        rest = str_n(t.p + n, t.n - n);
    }
    const char *mark = rest.n ? memchr(rest.p, '?', rest.n) : NULL;
    h->path = mark ? str_n(rest.p, (size_t)(mark - rest.p)) : rest;
    h->query = mark ? str_n(mark + 1, rest.n - h->path.n - 1) : str_n(NULL, 0);
    if (h->path.n == 0)
        h->path = STR("/"); /* "http://host" and "http://host?q" */
    return t.n ? 0 : fail(h, 400, "malformed request line");
}

static int parse_request_line(struct http_head *h, struct str line)
{
    const char *sp = memchr(line.p, ' ', line.n);
    if (!sp)
        return fail(h, 400, "malformed request line");
    struct str method = str_n(line.p, (size_t)(sp - line.p));
    struct str rest = str_n(sp + 1, line.n - method.n - 1);
    sp = rest.n ? memchr(rest.p, ' ', rest.n) : NULL;
    if (!sp)
        return fail(h, 400, "malformed request line");
    struct str target = str_n(rest.p, (size_t)(sp - rest.p));
    if (!http_is_token(method))
        return fail(h, 400, "invalid character in the method");
    int status = parse_version(h, str_n(sp + 1, rest.n - target.n - 1));
    if (status == 0)
        status = parse_method(h, method);
    return status ? status : parse_target(h, target);
}

/* ---- the headers that frame and steer a request ---- */

struct seen {
    int n_host, n_length, n_coding, n_te;
    bool close, keep_alive;
};

/* RFC 9112 6.2: plain digits. A sign, a list, a repetition or a leading zero is where two readers
 * of the same bytes may come to differ, and so ends the matter. */
static int on_content_length(struct http_head *h, struct seen *seen, struct str v)
{
    if (seen->n_length++)
        return fail(h, 400, "repeated Content-Length");
    if (v.n == 0 || (v.p[0] == '0' && v.n > 1))
        return fail(h, 400, "invalid Content-Length");
    uint64_t n = 0;
    for (size_t i = 0; i < v.n; i++) {
        if (!is_digit(v.p[i]))
            return fail(h, 400, "invalid Content-Length");
        if (__builtin_mul_overflow(n, 10, &n) ||
            __builtin_add_overflow(n, (uint64_t)(v.p[i] - '0'), &n))
            n = UINT64_MAX; /* and so for every digit after this one */
    }
    h->has_length = true;
    h->length = n;
    return 0;
}

static int on_transfer_encoding(struct http_head *h, struct seen *seen, struct str v)
{
    if (seen->n_te++ || h->http10 || !str_eq_nocase(v, STR("chunked")))
        return fail(h, 400, "invalid Transfer-Encoding");
    h->chunked = true;
    return 0;
}

static int on_host(struct http_head *h, struct seen *seen, struct str v)
{
    if (seen->n_host++)
        return fail(h, 400, "repeated Host");
    for (size_t i = 0; i < v.n; i++) {
        unsigned char c = (unsigned char)v.p[i];
        if (c >= 0x7f || strchr(" \t\",/<>?@\\^`{|}#", c))
            return fail(h, 400, "invalid Host");
    }
    return 0;
}

/* True while a comma-separated list has another element that is not empty. */
static bool list_next(struct str *rest, struct str *out)
{
    while (str_split(rest, ',', out)) {
        *out = str_trim(*out);
        if (out->n)
            return true;
    }
    return false;
}

static void on_connection(struct seen *seen, struct str v)
{
    struct str item;
    while (list_next(&v, &item)) {
        seen->close |= str_eq_nocase(item, STR("close"));
        seen->keep_alive |= str_eq_nocase(item, STR("keep-alive"));
    }
}

static int on_expect(struct http_head *h, struct str v)
{
    if (!str_eq_nocase(v, STR("100-continue")))
        return fail(h, 417, "unknown expectation");
    h->expect_continue = !h->http10; /* RFC 9110 10.1.1 */
    return 0;
}

static void on_content_encoding(struct http_head *h, struct seen *seen, struct str v)
{
    if (v.n == 0 || str_eq_nocase(v, STR("identity")))
        return;
    bool gzip = str_eq_nocase(v, STR("gzip")) || str_eq_nocase(v, STR("x-gzip"));
    h->coding = gzip && seen->n_coding == 0 ? HTTP_CODING_GZIP : HTTP_CODING_OTHER;
    seen->n_coding++;
}

/* RFC 9110 12.5.3: "gzip", "gzip;q=0.5", "*"; a weight of zero is a refusal. */
static void on_accept_encoding(struct http_head *h, struct str v)
{
    struct str item;
    while (list_next(&v, &item)) {
        struct str rest = item, name, weight;
        if (!str_split(&rest, ';', &name))
            continue;
        name = str_trim(name);
        if (!str_eq_nocase(name, STR("gzip")) && !str_eq_nocase(name, STR("x-gzip")))
            continue;
        bool refused = false;
        while (str_split(&rest, ';', &weight)) {
            weight = str_trim(weight);
            if (weight.n < 3 || (weight.p[0] | 32) != 'q' || weight.p[1] != '=')
                continue;
            refused = true;
            for (size_t i = 2; i < weight.n; i++)
                refused &= weight.p[i] == '0' || weight.p[i] == '.';
        }
        h->accept_gzip = !refused;
    }
}

static int on_header(struct http_head *h, struct seen *seen, struct str name, struct str v)
{
    switch (name.n) {
    case 4:
        return str_eq_nocase(name, STR("host")) ? on_host(h, seen, v) : 0;
    case 6:
        return str_eq_nocase(name, STR("expect")) ? on_expect(h, v) : 0;
    case 10:
        if (str_eq_nocase(name, STR("connection")))
            on_connection(seen, v);
        return 0;
    case 14:
        return str_eq_nocase(name, STR("content-length")) ? on_content_length(h, seen, v) : 0;
    case 15:
        if (str_eq_nocase(name, STR("accept-encoding")))
            on_accept_encoding(h, v);
        return 0;
    case 16:
        if (str_eq_nocase(name, STR("content-encoding")))
            on_content_encoding(h, seen, v);
        return 0;
    case 17:
        return str_eq_nocase(name, STR("transfer-encoding")) ? on_transfer_encoding(h, seen, v) : 0;
    default:
        return 0;
    }
}

/* ---- the whole ---- */

static bool is_ows(char c)
{
    return c == ' ' || c == '\t';
}

/* RFC 9112 5: name ":" OWS value OWS. A folded line begins with a space, which is no token, and so
 * has an empty name. */
static int parse_header(struct http_head *h, struct seen *seen, const char *p, const char *end,
                        struct http_header *out)
{
    const char *c = p;
    while (c < end && is_token[(unsigned char)*c])
        c++;
    if (c == p || c == end || *c != ':')
        return fail(h, 400, "malformed header");
    out->name = str_n(p, (size_t)(c - p));
    c++;
    while (c < end && is_ows(*c))
        c++;
    while (end > c && is_ows(end[-1]))
        end--;
    out->value = str_n(c, (size_t)(end - c));
    return on_header(h, seen, out->name, out->value);
}

/* Every line ends in CRLF, as http_scan saw to; any further control character is one too many. */
static bool has_controls(const char *p, size_t n, size_t n_lines)
{
    size_t found = 0;
    while (n) {
        size_t part = n < 255 ? n : 255;
        unsigned char count = 0; /* as wide as the bytes: that is what makes vector code good */
        for (size_t i = 0; i < part; i++) {
            unsigned char c = (unsigned char)p[i];
            count = (unsigned char)(count + ((c < 0x20 && c != '\t') || c == 0x7f));
        }
        found += count;
        p += part;
        n -= part;
    }
    return found != 2 * n_lines;
}

static int check(struct http_head *h, const struct seen *seen)
{
    if (seen->n_host == 0 && !h->http10)
        return fail(h, 400, "missing Host");
    if (h->chunked && h->has_length)
        return fail(h, 400, "both Content-Length and Transfer-Encoding");
    h->keep_alive = !seen->close && (!h->http10 || seen->keep_alive);
    return 0;
}

int http_head_parse(const struct http_scan *s, const char *p, struct http_head *out,
                    struct http_headers *headers)
{
    *out = (struct http_head){0};
    headers->n = 0;
    BUG_ON(s->head_n == 0);
    if (s->n_lines == 0)
        return fail(out, 400, "no request line");
    if (has_controls(p + s->start, s->head_n - s->start, s->n_lines + 1))
        return fail(out, 400, "control character in the head");
    int status = parse_request_line(out, str_n(p + s->start, s->ends[0] - s->start));
    struct seen seen = {0};
    for (uint32_t i = 1; status == 0 && i < s->n_lines; i++) {
        struct http_header *h = &headers->h[headers->n];
        status = parse_header(out, &seen, p + s->ends[i - 1] + 2, p + s->ends[i], h);
        headers->n++;
    }
    return status ? status : check(out, &seen);
}
