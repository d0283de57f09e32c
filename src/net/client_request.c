/* client's requests: an http_out into an easy handle.
 *
 * Handles are reused without a reset: what never changes is set once, the rest per call. curl reads
 * the header list and the body where they lie; the list's nodes and lines are the call's own, so a
 * header costs no malloc. Header lines are checked here: whatever a setting may hold, it cannot
 * smuggle in a second header or a second request.
 *
 * Pitfalls of libcurl 7.88 behind these options: its HTTP/2 fails answers that come before the
 * body was read, so 1.1 is asked for by name; "Expect:" must be emptied or large bodies wait a
 * second; without NOSIGNAL every action costs two sigaction calls; without QUICK_EXIT a cancelled
 * call waits for its name to be resolved, and the loop with it. */
#include <stdlib.h>

#include "bug.h"
#include "client_private.h"

#define READ_BYTES (64L << 10)  /* a typical answer in one recv */
#define MANY_BYTES (512u << 10) /* below what makes curl ask before it sends */

static int on_prereq(void *arg, char *ip, char *local_ip, int port, int local_port)
{
    struct client_call *call = arg;
    /* curl tries again by itself when a connection that had idled turns out to be closed; with many
     * of those in the pool up to five times. Once is enough: the body may have been read. */
    if (call->cancelled || ++call->tries > 2)
        return CURL_PREREQFUNC_ABORT;
    driver_connected(call, local_port);
    return CURL_PREREQFUNC_OK;
}

CURL *request_handle_new(struct client *c, struct client_call *call)
{
    CURL *h = curl_easy_init();
    BUG_ON(!h);
    driver_prepare(c, h);
    curl_easy_setopt(h, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(h, CURLOPT_QUICK_EXIT, 1L);
    curl_easy_setopt(h, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(h, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(h, CURLOPT_PROXY, ""); /* not from the environment either */
    curl_easy_setopt(h, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(h, CURLOPT_PATH_AS_IS, 1L); /* what was signed is what is sent */
    curl_easy_setopt(h, CURLOPT_SSL_VERIFYPEER, 1L);
    curl_easy_setopt(h, CURLOPT_SSL_VERIFYHOST, 2L);
    if (c->ca_file)
        curl_easy_setopt(h, CURLOPT_CAINFO, c->ca_file);
    curl_easy_setopt(h, CURLOPT_CONNECTTIMEOUT_MS, (long)c->options.connect_timeout_ms);
    curl_easy_setopt(h, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(h, CURLOPT_BUFFERSIZE, READ_BYTES);
    curl_easy_setopt(h, CURLOPT_ERRORBUFFER, call->detail);
    curl_easy_setopt(h, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(h, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(h, CURLOPT_PREREQFUNCTION, on_prereq);
    call->parsed = curl_url();
    BUG_ON(!call->parsed);
    curl_easy_setopt(h, CURLOPT_PRIVATE, call);
    curl_easy_setopt(h, CURLOPT_HEADERDATA, call);
    curl_easy_setopt(h, CURLOPT_WRITEDATA, call);
    curl_easy_setopt(h, CURLOPT_PREREQDATA, call);
    curl_easy_setopt(h, CURLOPT_OPENSOCKETDATA, call);
    return h;
}

/* --- another way out --- */

static void set_blob(CURL *h, CURLoption option, struct str pem)
{
    struct curl_blob blob = {(void *)(uintptr_t)pem.p, pem.n, CURL_BLOB_COPY};
    if (pem.n)
        curl_easy_setopt(h, option, &blob);
}

void request_egress(struct client_call *call, const struct client_egress *egress)
{
    CURL *h = call->easy;
    if (egress->proxy) {
        curl_easy_setopt(h, CURLOPT_PROXY, egress->proxy);
        curl_easy_setopt(h, CURLOPT_NOPROXY, ""); /* not from the environment */
        curl_easy_setopt(h, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
        curl_easy_setopt(h, CURLOPT_HEADEROPT, (long)CURLHEADER_SEPARATE); /* keys are not for it */
    }
    if (egress->ca.n) { /* and no others: the system's would be a way around it */
        curl_easy_setopt(h, CURLOPT_CAINFO, NULL);
        curl_easy_setopt(h, CURLOPT_CAPATH, NULL);
        set_blob(h, CURLOPT_CAINFO_BLOB, egress->ca);
    }
    set_blob(h, CURLOPT_SSLCERT_BLOB, egress->certificate);
    set_blob(h, CURLOPT_SSLKEY_BLOB, egress->key);
}

/* --- the URL --- */

bool request_route_key(struct str url, char *out, size_t cap, size_t *n_out)
{
    for (size_t i = 0; i < url.n; i++) {
        if ((unsigned char)url.p[i] <= ' ' || url.p[i] == 0x7f)
            return false;
    }
    size_t scheme = str_find(url, STR("://"));
    if (scheme == SIZE_MAX || !(str_eq_nocase(str_sub(url, 0, scheme), STR("http")) ||
                                str_eq_nocase(str_sub(url, 0, scheme), STR("https"))))
        return false;
    size_t start = scheme + 3, end = start;
    for (; end < url.n && !memchr("/?#\\", url.p[end], 4); end++) {
        if (url.p[end] == '@')
            start = end + 1;
    }
    if (start == end || scheme + 3 + (end - start) > cap)
        return false;
    size_t n = 0;
    for (size_t i = 0; i < end; i++) {
        char c = url.p[i];
        if (i < scheme + 3 || i >= start)
            out[n++] = c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
    }
    *n_out = n;
    return true;
}

/* A parsed URL saves curl from parsing it for each request, which is a tenth of its work. Both
 * options are set, since a repeated attempt looks at the text. */
static const char *set_url(struct client_call *call)
{
    struct str url = call->out->url;
    if (call->url.n == url.n + 1 && memcmp(call->url.p, url.p, url.n) == 0)
        return NULL; /* as before */
    buf_clear(&call->url);
    buf_put(&call->url, url);
    buf_char(&call->url, '\0');
    bool fits = !call->url.full;
    if (!fits || curl_url_set(call->parsed, CURLUPART_URL, call->url.p, CURLU_PATH_AS_IS) != 0) {
        buf_clear(&call->url);
        return fits ? "The URL is not valid" : "The URL is too long";
    }
    curl_easy_setopt(call->easy, CURLOPT_URL, call->url.p);
    curl_easy_setopt(call->easy, CURLOPT_CURLU, call->parsed);
    return NULL;
}

/* --- headers --- */

static bool name_ok(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        if ((unsigned char)s.p[i] <= ' ' || (unsigned char)s.p[i] >= 0x7f || s.p[i] == ':' ||
            s.p[i] == ';')
            return false;
    }
    return s.n > 0;
}

static bool value_ok(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if ((c < ' ' && c != '\t') || c == 0x7f)
            return false;
    }
    return true;
}

/* The framing of the message is curl's business: a wrong length would let one caller's bytes be
 * read as the next one's request. */
static bool is_framing(struct str name)
{
    static const struct str ours[] = {STR_INIT("content-length"), STR_INIT("transfer-encoding"),
                                      STR_INIT("expect")};
    for (size_t i = 0; i < sizeof ours / sizeof ours[0]; i++) {
        if (str_eq_nocase(name, ours[i]))
            return true;
    }
    return false;
}

/* "Name: value", or curl's "Name;" for an empty value. */
static void put_line(struct buf *lines, struct str name, struct str value)
{
    buf_put(lines, name);
    buf_put(lines, value.n ? STR(": ") : STR(";"));
    buf_put(lines, value);
    buf_char(lines, '\0');
}

/* What curl would add by itself is taken out or replaced, where it would. */
static size_t put_defaults(struct buf *lines, const struct http_headers *hs, size_t body_n,
                           bool has_body)
{
    struct str ignored;
    size_t n = 0;
    if (!http_header_get(hs, STR("user-agent"),
                         &ignored)) { /* curl's own option formats it twice */
        put_line(lines, STR("User-Agent"), STR("inferd/" INFERD_VERSION));
        n++;
    }
    if (has_body && !http_header_get(hs, STR("content-type"), &ignored)) {
        buf_put(lines, str_n("Content-Type:", 14)); /* curl would call it a form */
        n++;
    }
    if (body_n >= MANY_BYTES) {
        buf_put(lines, str_n("Expect:", 8)); /* curl would ask, and wait a second for an answer */
        n++;
    }
    return n;
}

static const char *set_headers(struct client_call *call, bool has_body)
{
    const struct http_out *out = call->out;
    struct buf *lines = &call->lines;
    size_t n = 0;
    buf_clear(lines);
    for (size_t i = 0; i < out->headers.n; i++) {
        struct str name = out->headers.h[i].name, value = out->headers.h[i].value;
        if (!name_ok(name))
            return "The name of a header holds a character that is not allowed";
        if (!value_ok(value))
            return "The value of a header holds a character that is not allowed";
        if (is_framing(name))
            continue;
        put_line(lines, name, value);
        n++;
    }
    n += put_defaults(lines, &out->headers, has_body ? out->body.n : 0, has_body);
    if (lines->full)
        return "The headers are too large";
    char *p = lines->p; /* no longer moves */
    for (size_t i = 0; i < n; i++) {
        call->nodes[i].data = p;
        call->nodes[i].next = i + 1 < n ? &call->nodes[i + 1] : NULL;
        p += strlen(p) + 1;
    }
    curl_easy_setopt(call->easy, CURLOPT_HTTPHEADER, n ? call->nodes : NULL);
    return NULL;
}

/* --- method and body --- */

static bool sends_body(const struct http_out *out)
{
    return out->method == HTTP_POST || out->method == HTTP_PUT || out->method == HTTP_PATCH ||
           (out->body.n && out->method != HTTP_HEAD);
}

static void set_method(struct client_call *call, bool has_body)
{
    CURL *h = call->easy;
    const struct http_out *out = call->out;
    enum method implied = HTTP_POST;
    if (has_body) {
        curl_easy_setopt(h, CURLOPT_POST, 1L);
        curl_easy_setopt(h, CURLOPT_POSTFIELDS, out->body.n ? out->body.p : "");
        curl_easy_setopt(h, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)out->body.n);
    } else if (out->method == HTTP_HEAD) {
        curl_easy_setopt(h, CURLOPT_NOBODY, 1L);
        implied = HTTP_HEAD;
    } else {
        curl_easy_setopt(h, CURLOPT_HTTPGET, 1L);
        implied = HTTP_GET;
    }
    curl_easy_setopt(h, CURLOPT_CUSTOMREQUEST,
                     out->method == implied ? NULL : http_method_name(out->method));
}

const char *request_set(struct client_call *call, enum client_failure *failure_out)
{
    bool has_body = sends_body(call->out);
    *failure_out = CLIENT_UNKNOWN_HOST;
    const char *wrong = set_url(call);
    if (wrong)
        return wrong;
    *failure_out = CLIENT_BROKEN;
    set_method(call, has_body);
    return set_headers(call, has_body);
}
