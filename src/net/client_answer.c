/* client's answers: head and body as curl hands them over, and the words for when there is none.
 *
 * The lines of a head gather in one buffer and are read once, when the blank line has come: the
 * views then handed out stay where they are. Heads of 1xx answers are dropped, so are trailers, but
 * all count towards one limit. */
#include <errno.h>

#include "bug.h"
#include "client_private.h"

#define MAX_HEAD_BYTES    (64u << 10)
#define MAX_TRUSTED_BYTES (1u << 20) /* a length that is only claimed reserves no more */

/* --- head --- */

static void read_line(struct client_call *call, struct str line)
{
    size_t colon = str_find_char(line, ':');
    if (colon == SIZE_MAX || call->in.headers.n == HTTP_MAX_HEADERS)
        return;
    http_header_add(&call->in.headers, str_trim(str_sub(line, 0, colon)),
                    str_trim(str_sub(line, colon + 1, line.n)));
}

static int read_status(struct str line)
{
    int64_t status;
    size_t space = str_find_char(line, ' ');
    if (space == SIZE_MAX || !str_to_i64(str_sub(line, space + 1, 3), &status))
        return 0;
    return (int)status;
}

static void read_head(struct client_call *call)
{
    struct str rest = buf_str(&call->head), line;
    call->in.headers.n = 0;
    bool first = true;
    while (str_split(&rest, '\n', &line)) {
        if (first)
            call->in.status = read_status(line);
        else
            read_line(call, line);
        first = false;
    }
}

static bool may_have_body(const struct client_call *call)
{
    return call->out->method != HTTP_HEAD && call->in.status != 204 && call->in.status != 304;
}

/* Room for the whole body at once when its length is known; false: it is not allowed. */
static bool expect_body(struct client_call *call)
{
    struct str length;
    uint64_t n;
    if (!may_have_body(call) ||
        !http_header_get(&call->in.headers, STR("content-length"), &length) ||
        !str_to_u64(length, &n))
        return true;
    if (n > call->limits.max_response_bytes) {
        call->too_large = true;
        return false;
    }
    if (!call->events->body)
        buf_reserve(&call->body, n < MAX_TRUSTED_BYTES ? (size_t)n : MAX_TRUSTED_BYTES);
    return true;
}

static bool head_complete(struct client_call *call)
{
    read_head(call);
    call->in_block = false;
    if (call->in.status == 101) {
        call->upgraded = true; /* to what nobody asked for */
        return false;
    }
    if (call->in.status < 200)
        return true;
    call->head_done = true;
    if (!expect_body(call))
        return false;
    call_arm(call); /* from here on it can stall */
    if (call->events->head) {
        call->client->current = call;
        call->events->head(call->ctx, call->in.status, &call->in.headers);
        call->client->current = NULL;
    }
    return !call->cancelled;
}

static void keep_line(struct client_call *call, struct str line)
{
    struct buf *head = &call->head;
    if (!call->in_block) {
        buf_clear(head);
        call->in_block = true;
    } else if (line.p[0] == ' ' || line.p[0] == '\t') { /* a folded line goes on */
        for (size_t i = head->n; i > 0 && (head->p[i - 1] == '\n' || head->p[i - 1] == '\r'); i--)
            head->p[i - 1] = ' ';
    }
    buf_put(head, line);
}

size_t on_header(char *p, size_t size, size_t n, void *arg)
{
    struct client_call *call = arg;
    if (call->cancelled)
        return 0;
    call->last_ms = loop_now_ms(call->client->loop);
    call->head_bytes += n;
    if (call->head_bytes > MAX_HEAD_BYTES) {
        call->head_broken = true;
        return 0;
    }
    if (call->head_done || n == 0) /* trailers */
        return n;
    if (p[0] != '\r' && p[0] != '\n') {
        keep_line(call, str_n(p, n));
        return n;
    }
    return head_complete(call) ? n : 0;
}

/* --- body --- */

size_t on_body(char *p, size_t size, size_t n, void *arg)
{
    struct client_call *call = arg;
    struct client *c = call->client;
    if (call->cancelled)
        return 0;
    if (call->paused) {
        call->held = true;
        return CURL_WRITEFUNC_PAUSE; /* curl keeps these bytes and brings them again */
    }
    call->last_ms = loop_now_ms(c->loop);
    if (n > call->limits.max_response_bytes - call->body_bytes) {
        call->too_large = true;
        return 0;
    }
    call->body_bytes += n;
    if (!call->events->body)
        return buf_put(&call->body, str_n(p, n)) ? n : 0;
    c->current = call;
    bool more = call->events->body(call->ctx, str_n(p, n));
    c->current = NULL;
    if (call->cancelled)
        return 0;
    call->paused = !more;
    return n;
}

/* --- no answer --- */

enum client_failure answer_failure(const struct client_call *call, CURLcode code)
{
    if (call->too_large)
        return CLIENT_TOO_LARGE;
    switch (code) {
    case CURLE_OK:
        return call->head_done ? CLIENT_OK : CLIENT_BROKEN;
    case CURLE_URL_MALFORMAT:
    case CURLE_COULDNT_RESOLVE_HOST:
        return CLIENT_UNKNOWN_HOST;
    case CURLE_UNSUPPORTED_PROTOCOL: /* of the URL; or what came was no HTTP */
        return call->tries ? CLIENT_BROKEN : CLIENT_UNKNOWN_HOST;
    case CURLE_COULDNT_RESOLVE_PROXY:
        return CLIENT_CONNECT;
    case CURLE_COULDNT_CONNECT:
        return call->refused ? CLIENT_REFUSED_ADDRESS : CLIENT_CONNECT;
    case CURLE_OPERATION_TIMEDOUT: /* only connecting has a limit of curl's */
        return CLIENT_CONNECT;
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CIPHER:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_CRL_BADFILE:
    case CURLE_SSL_INVALIDCERTSTATUS:
        return CLIENT_TLS;
    default:
        return CLIENT_BROKEN;
    }
}

static struct err *connect_err(const struct client_call *call, CURLcode code)
{
    struct str key = call->route->key;
    if (code == CURLE_COULDNT_RESOLVE_PROXY)
        return err_new(ERR_IO, "Could not resolve the host of the proxy to [%.*s]", STR_ARG(key));
    if (code == CURLE_OPERATION_TIMEDOUT)
        return err_new(ERR_IO, "Connecting to [%.*s] timed out after [%lldms]", STR_ARG(key),
                       (long long)call->client->options.connect_timeout_ms);
    long why = 0;
    char text[128];
    curl_easy_getinfo(call->easy, CURLINFO_OS_ERRNO, &why);
    return err_new(ERR_IO, "Could not connect to [%.*s]: %s", STR_ARG(key),
                   why ? strerror_r((int)why, text, sizeof text) : "no address left to try");
}

static struct err *broken_err(const struct client_call *call, CURLcode code)
{
    struct str key = call->route->key;
    if (call->head_broken)
        return err_new(ERR_IO, "The headers from [%.*s] are larger than [%u] bytes", STR_ARG(key),
                       MAX_HEAD_BYTES);
    if (call->upgraded)
        return err_new(ERR_IO, "[%.*s] switched to another protocol", STR_ARG(key));
    switch (code) {
    case CURLE_GOT_NOTHING:
        return err_new(ERR_IO, "[%.*s] closed the connection without an answer", STR_ARG(key));
    case CURLE_PARTIAL_FILE:
        return err_new(ERR_IO, "[%.*s] closed the connection before the end of its answer",
                       STR_ARG(key));
    case CURLE_ABORTED_BY_CALLBACK: /* on_prereq */
        return err_new(ERR_IO, "[%.*s] closed the connection twice", STR_ARG(key));
    default: /* of a proxy that refuses only curl's own words tell */
        return err_new(ERR_IO, "The exchange with [%.*s] broke off: %s", STR_ARG(key),
                       call->special && call->detail[0] ? call->detail : curl_easy_strerror(code));
    }
}

struct err *answer_err(const struct client_call *call, enum client_failure failure, CURLcode code)
{
    struct str key = call->route->key;
    switch (failure) {
    case CLIENT_OK:
        return NULL;
    case CLIENT_UNKNOWN_HOST:
        return err_new(ERR_IO, "Could not resolve the host of [%.*s]", STR_ARG(key));
    case CLIENT_REFUSED_ADDRESS:
        return err_new(ERR_IO, "The address of [%.*s] is not a public one", STR_ARG(key));
    case CLIENT_CONNECT:
        return connect_err(call, code);
    case CLIENT_TLS: /* curl's words say what is wrong with the certificate */
        return err_new(ERR_IO, "No secure connection to [%.*s]: %s", STR_ARG(key),
                       call->detail[0] ? call->detail : curl_easy_strerror(code));
    case CLIENT_TOO_LARGE:
        return err_new(ERR_TOO_LARGE, "The answer of [%.*s] is larger than [%zu] bytes",
                       STR_ARG(key), call->limits.max_response_bytes);
    default:
        return broken_err(call, code);
    }
}
