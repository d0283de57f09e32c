/* The head of an answer is looked at when its empty line has come: lines are found with memchr,
 * each is swept once for control characters (without early exit, so that the compiler makes vector
 * code of it) and then taken apart. Source: RFC 9112 (sections named below), RFC 9110. */
#include "http_answer.h"

#include "bug.h"

enum state { IN_HEAD, IN_BODY, ENDED, BAD };

/* One head being read. */
struct reading {
    struct http_answer *a;
    struct http_headers *headers;
    struct http_header *last; /* a folded line belongs to it; NULL: to none that is kept */
    bool any, framed;         /* there was a header; the last one frames */
    bool http10, close, keep_alive, chunked, has_length;
    uint64_t length;
};

static bool fail(struct http_answer *a, const char *reason)
{
    a->reason = reason;
    a->state = BAD;
    return false;
}

/* --- finding the end --- */

/* False: BAD, at the first byte that no answer begins with. */
static bool begins_well(struct http_answer *a, const struct http_span *in)
{
    static const char prefix[] = "HTTP/1.";
    size_t n = in->n < sizeof prefix - 1 ? in->n : sizeof prefix - 1;
    return memcmp(in->p, prefix, n) == 0 || fail(a, "it does not speak HTTP/1");
}

/* Bytes of the head with its empty line; 0: they are not all there, or BAD. */
static size_t head_end(struct http_answer *a, const struct http_span *in)
{
    size_t end = 0;
    while (!end && a->looked < in->n) {
        const char *lf = memchr(in->p + a->looked, '\n', in->n - a->looked);
        if (!lf) {
            a->looked = in->n;
            break;
        }
        size_t at = (size_t)(lf - in->p);
        if (at == a->line || (at == a->line + 1 && in->p[a->line] == '\r'))
            end = at + 1;
        a->line = a->looked = at + 1;
    }
    if (a->skipped + (end ? end : in->n) <= HTTP_ANSWER_MAX_HEAD)
        return end;
    a->head_too_large = true;
    fail(a, "its headers are too large");
    return 0;
}

/* --- lines --- */

static bool has_controls(const char *p, size_t n)
{
    unsigned char bad = 0;
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)p[i];
        bad |= (unsigned char)((c < 0x20 && c != '\t') || c == 0x7f);
    }
    return bad;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_ows(char c)
{
    return c == ' ' || c == '\t';
}

/* RFC 9112 4: "HTTP/1.1 200 OK"; the words may be missing, with the space before them too. */
static bool status_line(struct reading *r, struct str line)
{
    const char *p = line.p;
    if (line.n < 12 || !is_digit(p[7]) || p[8] != ' ' || !is_digit(p[9]) || !is_digit(p[10]) ||
        !is_digit(p[11]) || p[9] == '0' || (line.n > 12 && p[12] != ' '))
        return fail(r->a, "malformed status line");
    r->http10 = p[7] == '0';
    r->a->status = (p[9] - '0') * 100 + (p[10] - '0') * 10 + (p[11] - '0');
    return true;
}

/* RFC 9112 6.3: digits, and if repeated the same; anything else is where readers come to differ. */
static bool on_length(struct reading *r, struct str v)
{
    uint64_t n = 0;
    bool valid = v.n > 0;
    for (size_t i = 0; i < v.n && valid; i++)
        valid = is_digit(v.p[i]) && !__builtin_mul_overflow(n, 10, &n) &&
                !__builtin_add_overflow(n, (uint64_t)(v.p[i] - '0'), &n);
    if (!valid || (r->has_length && n != r->length))
        return fail(r->a, "invalid Content-Length");
    r->has_length = true;
    r->length = n;
    return true;
}

static bool on_coding(struct reading *r, struct str v)
{
    if (r->chunked || !str_eq_nocase(v, STR("chunked")))
        return fail(r->a, "invalid Transfer-Encoding");
    r->chunked = true;
    return true;
}

static void on_connection(struct reading *r, struct str v)
{
    struct str item;
    while (str_split(&v, ',', &item)) {
        item = str_trim(item);
        r->close |= str_eq_nocase(item, STR("close"));
        r->keep_alive |= str_eq_nocase(item, STR("keep-alive"));
    }
}

static bool on_header(struct reading *r, struct str name, struct str value)
{
    r->framed = true;
    if (name.n == 14 && str_eq_nocase(name, STR("content-length")))
        return on_length(r, value);
    if (name.n == 17 && str_eq_nocase(name, STR("transfer-encoding")))
        return on_coding(r, value);
    if (name.n == 10 && str_eq_nocase(name, STR("connection"))) {
        on_connection(r, value);
        return true;
    }
    r->framed = false;
    return true;
}

/* RFC 9112 5.2. What lies between the end of the value and the folded text becomes spaces. */
static bool folded_line(struct reading *r, char *line, struct str text)
{
    if (!r->any || r->framed)
        return fail(r->a, "a folded line where none may be");
    if (!r->last || text.n == 0)
        return true;
    struct str *value = &r->last->value;
    size_t at = (size_t)(value->p - r->a->head), end = at + value->n;
    memset(r->a->head + end, ' ', (size_t)(line - r->a->head) - end);
    value->n = (size_t)(text.p + text.n - value->p);
    return true;
}

static struct str trimmed(const char *p, const char *end)
{
    while (p < end && is_ows(*p))
        p++;
    while (end > p && is_ows(end[-1]))
        end--;
    return str_n(p, (size_t)(end - p));
}

/* RFC 9112 5: name ":" OWS value OWS. */
static bool header_line(struct reading *r, char *line, size_t n)
{
    if (is_ows(line[0]))
        return folded_line(r, line, trimmed(line, line + n));
    const char *colon = memchr(line, ':', n);
    struct str name = str_n(line, colon ? (size_t)(colon - line) : 0);
    if (!http_is_token(name))
        return fail(r->a, "malformed header");
    struct str value = trimmed(colon + 1, line + n);
    r->any = true;
    r->last = NULL;
    if (r->headers->n < HTTP_MAX_HEADERS) {
        r->last = &r->headers->h[r->headers->n++];
        *r->last = (struct http_header){name, value};
    }
    return on_header(r, name, value);
}

/* --- the whole head --- */

static bool read_lines(struct reading *r)
{
    char *p = r->a->head, *end = p + r->a->head_n;
    r->headers->n = 0;
    for (bool first = true;; first = false) {
        char *lf = memchr(p, '\n', (size_t)(end - p));
        size_t n = (size_t)(lf - p);
        n -= n && p[n - 1] == '\r';
        if (n == 0)
            return true;
        if (has_controls(p, n))
            return fail(r->a, "control character in the head");
        if (!(first ? status_line(r, str_n(p, n)) : header_line(r, p, n)))
            return false;
        p = lf + 1;
    }
}

/* RFC 9112 6.3 and 9.3. */
static bool decide(struct reading *r)
{
    struct http_answer *a = r->a;
    if (r->chunked && r->has_length)
        return fail(a, "both Content-Length and Transfer-Encoding");
    a->keep_alive = !r->close && (!r->http10 || (r->keep_alive && !r->chunked));
    a->left = r->has_length ? r->length : 0;
    if (a->to_head || a->status == 204 || a->status == 304)
        a->framing = ANSWER_NO_BODY;
    else if (r->chunked)
        a->framing = ANSWER_CHUNKED;
    else if (r->has_length)
        a->framing = ANSWER_LENGTH;
    else
        a->framing = ANSWER_TO_THE_END;
    a->keep_alive &= a->framing != ANSWER_TO_THE_END;
    return true;
}

/* True: a final head was read. False: more bytes are needed, or BAD. */
static bool take_head(struct http_answer *a, struct http_span *in, struct http_headers *headers)
{
    for (;;) {
        size_t n = begins_well(a, in) ? head_end(a, in) : 0;
        if (n == 0)
            return false;
        a->head = in->p;
        a->head_n = n;
        struct reading r = {.a = a, .headers = headers};
        if (!read_lines(&r))
            return false;
        if (a->status == 101)
            return fail(a, "it switched to another protocol");
        *in = (struct http_span){in->p + n, in->n - n};
        if (a->status >= 200)
            return decide(&r);
        a->skipped += n;
        a->looked = a->line = 0;
    }
}

/* --- the body --- */

static enum http_answer_event take_piece(struct http_answer *a, struct http_span *in, size_t most,
                                         struct str *out)
{
    size_t n = most < in->n ? most : in->n;
    *out = str_n(in->p, n);
    *in = (struct http_span){in->p + n, in->n - n};
    return HTTP_ANSWER_BODY;
}

static enum http_answer_event take_length(struct http_answer *a, struct http_span *in,
                                          struct str *out)
{
    if (a->left == 0) {
        a->state = ENDED;
        return HTTP_ANSWER_END;
    }
    if (in->n == 0)
        return HTTP_ANSWER_MORE;
    take_piece(a, in, a->left < SIZE_MAX ? (size_t)a->left : SIZE_MAX, out);
    a->left -= out->n;
    return HTTP_ANSWER_BODY;
}

static enum http_answer_event take_chunks(struct http_answer *a, struct http_span *in,
                                          struct str *out)
{
    struct str rest = str_n(in->p, in->n);
    enum http_chunk got = http_chunked_feed(&a->chunked, &rest, out);
    *in = (struct http_span){in->p + (in->n - rest.n), rest.n};
    switch (got) {
    case HTTP_CHUNK_MORE:
        return HTTP_ANSWER_MORE;
    case HTTP_CHUNK_DATA:
        a->chunked.extra = 0; /* a stream may have an extension in each of its many chunks */
        return HTTP_ANSWER_BODY;
    case HTTP_CHUNK_END:
        a->state = ENDED;
        return HTTP_ANSWER_END;
    case HTTP_CHUNK_BAD:
        break;
    }
    fail(a, "malformed chunk");
    return HTTP_ANSWER_BAD;
}

static enum http_answer_event take_body(struct http_answer *a, struct http_span *in,
                                        struct str *out)
{
    switch (a->framing) {
    case ANSWER_NO_BODY:
        a->state = ENDED;
        return HTTP_ANSWER_END;
    case ANSWER_LENGTH:
        return take_length(a, in, out);
    case ANSWER_CHUNKED:
        return take_chunks(a, in, out);
    case ANSWER_TO_THE_END:
        break;
    }
    return in->n ? take_piece(a, in, SIZE_MAX, out) : HTTP_ANSWER_MORE;
}

enum http_answer_event http_answer_next(struct http_answer *a, struct http_span *in,
                                        struct http_headers *headers, struct str *piece_out)
{
    switch ((enum state)a->state) {
    case IN_HEAD:
        if (in->n == 0)
            return HTTP_ANSWER_MORE;
        if (!take_head(a, in, headers))
            return a->state == BAD ? HTTP_ANSWER_BAD : HTTP_ANSWER_MORE;
        a->state = IN_BODY;
        return HTTP_ANSWER_HEAD;
    case IN_BODY:
        return take_body(a, in, piece_out);
    case ENDED:
        return HTTP_ANSWER_END;
    case BAD:
        break;
    }
    return HTTP_ANSWER_BAD;
}

bool http_answer_ends(const struct http_answer *a)
{
    return a->state == IN_BODY && a->framing == ANSWER_TO_THE_END;
}
