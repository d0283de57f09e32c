/* client's HTTP/2, the part that nghttp2 sees: its callbacks, which only note in a call what has
 * come for it, and requests as it takes them. Nothing here tells a call anything, so none can go
 * while nghttp2 runs; a stream whose call has gone has none to note it in. */
#include "bug.h"
#include "client_h2.h"

#define MAX_TRUSTED_BYTES (1u << 20) /* a length that is only claimed reserves no more */
#define MAX_TRAILER_BYTES (8u << 10)
#define MAX_FIELDS_BYTES  (256u << 10) /* of a request: what HTTP/1.1 takes, too */

/* --- what it tells --- */

static struct client_call *call_of(nghttp2_session *session, int32_t id)
{
    return nghttp2_session_get_stream_user_data(session, id);
}

void h2_touch(struct client_call *call)
{
    if (!list_linked(&call->stream.touched))
        list_push(&call->connection->h2->touched, &call->stream.touched);
}

int h2_fail(struct client_call *call, enum stream_fault fault, uint32_t code)
{
    if (call->stream.fault == STREAM_WELL) {
        call->stream.fault = fault;
        call->stream.code = code;
    }
    h2_touch(call);
    return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE; /* resets the stream, where that is asked for */
}

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
    struct client_call *call = call_of(session, frame->hd.stream_id);
    if (!call || call->stream.head_ready)
        return 0;
    buf_clear(&call->head);
    call->in.headers.n = 0;
    call->answer.status = 0;
    call->answer.framing = ANSWER_TO_THE_END;
    return 0;
}

static void note_length(struct client_call *call, struct str name, struct str value)
{
    uint64_t n = 0;
    if (!str_eq(name, STR("content-length")) || value.n > 18 || call->answer.to_head)
        return;
    for (size_t i = 0; i < value.n; i++) /* digits: nghttp2 has looked */
        n = n * 10 + (uint64_t)(value.p[i] - '0');
    call->answer.framing = ANSWER_LENGTH;
    call->answer.left = n;
}

/* Names and values lie one behind the other; where, is known when all have come. */
static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name_p,
                     size_t name_n, const uint8_t *value_p, size_t value_n, uint8_t flags,
                     void *arg)
{
    struct client_call *call = call_of(session, frame->hd.stream_id);
    if (!call)
        return 0;
    struct stream *st = &call->stream;
    struct str name = {(const char *)name_p, name_n}, value = {(const char *)value_p, value_n};
    size_t *bytes = st->head_ready ? &st->trailer_bytes : &st->head_bytes;
    *bytes += name.n + value.n + 4; /* as HTTP/1.1 has it */
    if (st->head_bytes > HTTP_ANSWER_MAX_HEAD || st->trailer_bytes > MAX_TRAILER_BYTES)
        return h2_fail(call, STREAM_LARGE_HEAD, 0);
    if (st->head_ready) /* a trailer */
        return 0;
    if (name.p[0] == ':') { /* ":status", three digits: nghttp2 has looked */
        call->answer.status = (value.p[0] - '0') * 100 + (value.p[1] - '0') * 10 + value.p[2] - '0';
        return 0;
    }
    note_length(call, name, value);
    struct http_headers *hs = &call->in.headers;
    if (hs->n == HTTP_MAX_HEADERS)
        return 0;
    buf_put(&call->head, name);
    buf_put(&call->head, value);
    hs->h[hs->n++] = (struct http_header){{NULL, name.n}, {NULL, value.n}};
    return 0;
}

static void head_came(struct client_call *call)
{
    if (call->stream.head_ready) /* trailers */
        return;
    if (call->answer.status < 200) {
        if (call->answer.status < 100) /* which nghttp2 lets pass */
            h2_fail(call, STREAM_BAD_STATUS, 0);
        return;
    }
    const char *p = call->head.p;
    for (size_t i = 0; i < call->in.headers.n; i++) {
        struct http_header *h = &call->in.headers.h[i];
        h->name.p = p;
        h->value.p = p + h->name.n;
        p += h->name.n + h->value.n;
    }
    call->stream.head_ready = call->begun = true;
    h2_touch(call);
}

/* nghttp2 would keep them until a stream ends: other connections may have room now. */
static void send_away_unsent(struct connection *k)
{
    struct h2 *h = k->h2;
    long n = 0, most = h->closing ? 0 : (long)h->max_streams;
    for (struct list_link *l = h->calls.next; l != &h->calls; l = l->next) {
        struct client_call *call = LIST_OWNER(l, struct client_call, stream.mate);
        if (call->stream.id && ++n > most && !call->stream.sent)
            h2_fail(call, STREAM_RESET, NGHTTP2_REFUSED_STREAM);
    }
}

static void learn_limit(struct connection *k)
{
    k->h2->settled = true;
    k->h2->max_streams = k->way->route->max_streams = nghttp2_session_get_remote_settings(
        k->h2->session, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
    send_away_unsent(k);
}

/* A service that takes few calls on each connection would be sent all that wait on every one. */
static void say_goodbye(struct connection *k, int32_t last_id)
{
    uint32_t taken = ((uint32_t)last_id + 1) / 2;
    if (k->h2->n_begun > taken)
        k->way->route->life_calls = taken ? taken : 1;
    k->h2->closing = true;
    send_away_unsent(k);
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
    struct connection *k = arg;
    if (frame->hd.type == NGHTTP2_GOAWAY)
        say_goodbye(k, frame->goaway.last_stream_id);
    if (frame->hd.type == NGHTTP2_SETTINGS && !(frame->hd.flags & NGHTTP2_FLAG_ACK))
        learn_limit(k);
    struct client_call *call = call_of(session, frame->hd.stream_id);
    if (!call)
        return 0;
    call->last_ms = loop_now_ms(k->client->loop);
    if (frame->hd.type == NGHTTP2_HEADERS)
        head_came(call);
    bool carries = frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA;
    if (carries && frame->hd.flags & NGHTTP2_FLAG_END_STREAM) {
        call->stream.ended = true;
        h2_touch(call);
    }
    return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *p, size_t n,
                   void *arg)
{
    struct connection *k = arg;
    struct client_call *call = call_of(session, id);
    nghttp2_session_consume_connection(session, n);
    if (!call || call->stream.fault)
        return 0;
    call->last_ms = loop_now_ms(k->client->loop);
    if (n > call->limits.max_response_bytes - call->body_bytes) {
        h2_fail(call, STREAM_TOO_LARGE, 0);
        return 0;
    }
    call->body_bytes += n;
    if (call->body.n == 0 && call->answer.framing == ANSWER_LENGTH && !call->events->body)
        buf_reserve(&call->body, call->answer.left < MAX_TRUSTED_BYTES ? (size_t)call->answer.left
                                                                       : MAX_TRUSTED_BYTES);
    if (!buf_put(&call->body, str_n((const char *)p, n)))
        h2_fail(call, STREAM_TOO_LARGE, 0); /* for this machine's memory */
    else if (call->events->body)
        h2_touch(call);
    else
        nghttp2_session_consume_stream(session, id, n);
    return 0;
}

static int on_closed(nghttp2_session *session, int32_t id, uint32_t code, void *arg)
{
    struct client_call *call = call_of(session, id);
    if (!call)
        return 0;
    call->stream.id = 0;
    if (!call->stream.ended)
        h2_fail(call, STREAM_RESET, code);
    return 0;
}

static int on_sent(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
    struct client_call *call = call_of(session, frame->hd.stream_id);
    if (call && frame->hd.type == NGHTTP2_HEADERS)
        call->stream.sent = true;
    return 0;
}

static ssize_t give_body(nghttp2_session *session, int32_t id, uint8_t *to, size_t room,
                         uint32_t *flags_out, nghttp2_data_source *source, void *arg)
{
    struct client_call *call = call_of(session, id);
    if (!call)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    struct str *rest = &call->stream.body;
    size_t n = rest->n < room ? rest->n : room;
    memcpy(to, rest->p, n);
    *rest = str_n(rest->p + n, rest->n - n);
    if (rest->n == 0)
        *flags_out |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)n;
}

/* --- the session --- */

nghttp2_session *h2_session_new(struct connection *k)
{
    nghttp2_session_callbacks *does;
    nghttp2_option *options;
    nghttp2_session *session;
    BUG_ON(nghttp2_session_callbacks_new(&does) || nghttp2_option_new(&options));
    nghttp2_session_callbacks_set_on_begin_headers_callback(does, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(does, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(does, on_frame);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(does, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(does, on_closed);
    nghttp2_session_callbacks_set_on_frame_send_callback(does, on_sent);
    nghttp2_option_set_no_auto_window_update(options, 1);
    nghttp2_option_set_max_send_header_block_length(options, MAX_FIELDS_BYTES);
    BUG_ON(nghttp2_session_client_new2(&session, does, k, options));
    nghttp2_session_callbacks_del(does);
    nghttp2_option_del(options);
    return session;
}

/* --- requests --- */

/* Kept out of the table of fields that both sides remember: RFC 7541 section 7.1.3. */
static bool is_secret(struct str name)
{
    static const char *const parts[] = {"auth", "key", "token", "secret", "cookie", NULL};
    for (const char *const *part = parts; *part; part++) {
        if (str_find(name, str_c(*part)) != SIZE_MAX)
            return true;
    }
    return false;
}

static size_t make_fields(struct client_call *call, nghttp2_nv out[REQUEST_MAX_FIELDS],
                          struct str *body_out)
{
    struct http_header fields[REQUEST_MAX_FIELDS];
    size_t n = request_fields(call, fields, body_out);
    for (size_t i = 0; i < n; i++) {
        struct str name = fields[i].name, value = fields[i].value;
        out[i] = (nghttp2_nv){(uint8_t *)(uintptr_t)name.p, (uint8_t *)(uintptr_t)value.p, name.n,
                              value.n,
                              is_secret(name) ? NGHTTP2_NV_FLAG_NO_INDEX : NGHTTP2_NV_FLAG_NONE};
    }
    return n;
}

bool h2_submit(nghttp2_session *session, struct client_call *call)
{
    struct stream *st = &call->stream;
    nghttp2_nv fields[REQUEST_MAX_FIELDS];
    size_t n = make_fields(call, fields, &st->body);
    nghttp2_data_provider body = {.read_callback = give_body};
    int32_t id = nghttp2_submit_request(session, NULL, fields, n, st->body.n ? &body : NULL, call);
    st->id = id < 0 ? 0 : id;
    return id >= 0;
}
