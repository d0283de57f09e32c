"""HTTP/1.1 byte by byte: what is accepted, what is refused, and how the connection goes on."""
import gzip
import json
import os
import socket
import time
import zlib

import pytest

from inferd import FACTOR, MARK, PASSWORD, basic, wait_until
from rawhttp import Raw

AUTH = basic("elastic", PASSWORD)


@pytest.fixture(scope="module")
def strict(tmp_path_factory, the_upstream):
    """A server with small limits and short patience."""
    from inferd import Inferd
    s = Inferd(tmp_path_factory.mktemp("strict"), upstream=the_upstream, settings={
        "http.max_content_length": "64kb",
        "http.max_header_size": "4kb",
        "http.head_timeout": "400ms",
        "http.body_timeout": "400ms",
        "http.idle_timeout": "600ms",
        "http.loops": "1",
        "http.max_connections": "20",
    }).start()
    yield s
    s.stop()


@pytest.fixture
def raw(server):
    with Raw(server, AUTH) as r:
        yield r


def error_of(answer):
    """Every refusal has the error envelope and the product header."""
    assert answer.header("x-elastic-product") == "Elasticsearch"
    assert answer.header("content-type") == "application/json"
    body = json.loads(answer.text())
    assert body["status"] == answer.status
    assert body["error"]["type"] and body["error"]["reason"]
    return body["error"]


# ---- keeping the connection ----

def test_keep_alive(raw):
    for _ in range(3):
        raw.request("GET", "/")
        answer = raw.answer()
        assert answer.status == 200
        assert answer.header("connection") is None
        assert answer.header("date")


def test_close_when_asked(raw):
    raw.request("GET", "/", ["Connection: close"])
    answer = raw.answer()
    assert (answer.status, answer.header("connection")) == (200, "close")
    assert raw.closed()


def test_http_1_0(raw):
    raw.send(f"GET / HTTP/1.0\r\nAuthorization: {AUTH}\r\n\r\n".encode())
    answer = raw.answer()
    assert answer.status == 200
    assert raw.closed()


def test_http_1_0_keeps_when_asked(raw):
    for _ in range(2):
        raw.send(f"GET / HTTP/1.0\r\nConnection: keep-alive\r\nAuthorization: {AUTH}\r\n\r\n"
                 .encode())
        answer = raw.answer()
        assert (answer.status, answer.header("connection")) == (200, "keep-alive")


def test_pipelined_requests_are_answered_in_order(raw):
    one = lambda path: f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: {AUTH}\r\n\r\n"
    paths = ["/", "/_inference/none", "/_license", "/nothing", "/_xpack"]
    raw.send("".join(one(p) for p in paths).encode())
    answers = [raw.answer() for _ in paths]
    assert [a.status for a in answers] == [200, 404, 200, 400, 200]
    assert "none" in answers[1].text() and "/nothing" in answers[3].text()


def test_pipelined_behind_a_body(server, upstream, raw):
    server.make("completion", "c", "openai", {"api_key": MARK, "model_id": "m"})
    bodies = [json.dumps({"input": f"text {i}"}).encode() for i in range(4)]
    for b in bodies:
        raw.request("POST", "/_inference/c", ["Content-Type: application/json",
                                              f"Content-Length: {len(b)}"], b)
    results = [json.loads(raw.answer().text())["completion"][0]["result"] for _ in bodies]
    assert results == [f"Echo: text {i}" for i in range(4)]


def test_byte_by_byte(server, upstream, raw):
    server.make("completion", "c", "openai", {"api_key": MARK, "model_id": "m"})
    body = b'{"input": "hello"}'
    text = (f"\r\nPOST /_inference/c HTTP/1.1\r\nhOsT:x\r\nAuthorization:{AUTH}\r\n"
            f"content-type: \tapplication/json \r\nContent-Length: {len(body)}\r\n\r\n").encode()
    raw.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for i in range(len(text + body)):
        raw.send((text + body)[i:i + 1])
    answer = raw.answer()
    assert json.loads(answer.text()) == {"completion": [{"result": "Echo: hello"}]}


# ---- bodies ----

def post(raw, body, *headers):
    raw.request("POST", "/_inference/c", ["Content-Type: application/json", *headers], body)
    return raw.answer()


def chunked(body, size, extra=b""):
    parts = [body[i:i + size] for i in range(0, len(body), size)]
    return b"".join(b"%X%s\r\n%s\r\n" % (len(p), extra, p) for p in parts) + b"0\r\n"


@pytest.mark.parametrize("size, extra, trailer", [
    (1, b"", b""), (5, b";name=value", b""), (100, b"", b"X-Trailer: 1\r\n"), (7, b';q="a;b"', b""),
])
def test_chunked_body(server, upstream, raw, size, extra, trailer):
    server.make("completion", "c", "openai", {"api_key": MARK, "model_id": "m"})
    body = json.dumps({"input": "chunk by chunk"}).encode()
    for _ in range(2):
        answer = post(raw, chunked(body, size, extra) + trailer + b"\r\n",
                      "Transfer-Encoding: Chunked")
        assert json.loads(answer.text()) == {"completion": [{"result": "Echo: chunk by chunk"}]}


def test_expect_100_continue(server, upstream, raw):
    server.make("completion", "c", "openai", {"api_key": MARK, "model_id": "m"})
    body = b'{"input": "go on"}'
    raw.request("POST", "/_inference/c", ["Content-Type: application/json",
                                          f"Content-Length: {len(body)}", "Expect: 100-continue"])
    assert raw.answer().status == 100
    raw.send(body)
    assert json.loads(raw.answer().text()) == {"completion": [{"result": "Echo: go on"}]}


def test_expect_is_not_answered_with_100_without_credentials(server):
    with Raw(server) as raw:
        raw.request("POST", "/_inference/c", ["Content-Type: application/json",
                                              "Content-Length: 100", "Expect: 100-continue"])
        assert raw.answer().status == 401
        assert raw.closed()


def test_too_large_is_refused_before_the_body_comes(strict):
    with Raw(strict, AUTH) as raw:
        raw.request("POST", "/_inference/c", ["Content-Type: application/json",
                                              "Content-Length: 65537", "Expect: 100-continue"])
        answer = raw.answer()
        assert answer.status == 413
        error_of(answer)
        assert raw.closed()


def test_too_large_answer_survives_a_client_that_keeps_sending(strict):
    """The refusal must not be lost in a reset while the client is still writing."""
    with Raw(strict, AUTH) as raw:
        raw.request("POST", "/_inference/c", ["Content-Type: application/json",
                                              f"Content-Length: {8 << 20}"])
        try:
            raw.send(b"x" * (1 << 20))
        except (BrokenPipeError, ConnectionResetError):
            pass
        answer = raw.answer()
        assert answer.status == 413


@pytest.mark.parametrize("size, status", [(65536, 400), (65537, 413)])
def test_the_limit_of_a_body(strict, size, status):
    """64kb is allowed, one byte more is not, whichever way it comes."""
    body = b'{"' + b"x" * (size - 2)
    with Raw(strict, AUTH) as raw:
        assert post(raw, body, f"Content-Length: {len(body)}").status == status
    with Raw(strict, AUTH) as raw:
        answer = post(raw, chunked(body, 4096) + b"\r\n", "Transfer-Encoding: chunked")
        assert answer.status == status


def test_gzip_body(server, upstream, raw):
    server.make("completion", "c", "openai", {"api_key": MARK, "model_id": "m"})
    body = gzip.compress(json.dumps({"input": "packed"}).encode())
    for _ in range(2):
        answer = post(raw, body, "Content-Encoding: gzip", f"Content-Length: {len(body)}")
        assert json.loads(answer.text()) == {"completion": [{"result": "Echo: packed"}]}
    answer = post(raw, chunked(body, 3) + b"\r\n", "Content-Encoding: gzip",
                  "Transfer-Encoding: chunked")
    assert answer.status == 200
    two = gzip.compress(b'{"input": ') + gzip.compress(b'"members"}')
    assert post(raw, two, "Content-Encoding: gzip", f"Content-Length: {len(two)}").status == 200


def test_a_gzip_bomb_is_refused(strict):
    body = gzip.compress(b'{"input": "' + b" " * (60 << 20) + b'"}')
    assert len(body) < 65536
    with Raw(strict, AUTH) as raw:
        before = memory(strict)
        assert post(raw, body, "Content-Encoding: gzip",
                    f"Content-Length: {len(body)}").status == 413
        assert memory(strict) - before < 30 << 20


def memory(server):
    with open(f"/proc/{server.process.pid}/statm") as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("body", [
    b"not gzip at all", gzip.compress(b'{"input": "x"}')[:-5], b"",
    gzip.compress(b'{"input": "x"}')[:-8] + b"\0" * 8, gzip.compress(b'{"input": "x"}') + b"junk",
    zlib.compress(b'{"input": "x"}'),
])
def test_broken_gzip_is_a_bad_request(raw, body):
    answer = post(raw, body, "Content-Encoding: gzip", f"Content-Length: {len(body)}")
    assert answer.status == 400
    error_of(answer)


@pytest.mark.parametrize("coding", ["br", "deflate", "gzip, gzip", "zstd"])
def test_other_codings_are_415(raw, coding):
    answer = post(raw, b"{}", f"Content-Encoding: {coding}", "Content-Length: 2")
    assert answer.status == 415
    error_of(answer)


def test_gzip_answers_for_those_who_accept_it(raw):
    raw.request("GET", "/_inference/_services", ["Accept-Encoding: gzip, deflate"])
    packed = raw.answer()
    assert packed.header("content-encoding") == "gzip"
    raw.request("GET", "/_inference/_services")
    plain = raw.answer()
    assert plain.header("content-encoding") is None
    assert plain.text() == packed.text()
    assert len(packed.body) < len(plain.body) / 2
    raw.request("GET", "/_inference/_services", ["Accept-Encoding: gzip;q=0"])
    assert raw.answer().header("content-encoding") is None
    raw.request("GET", "/_health", ["Accept-Encoding: gzip"])
    assert raw.answer().header("content-encoding") is None, "too short to be worth it"


# ---- framing and limits: what is not HTTP as agreed ends the connection ----

GET = f"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: {AUTH}\r\n"
POST = (f"POST /_inference/c HTTP/1.1\r\nHost: x\r\nAuthorization: {AUTH}\r\n"
        "Content-Type: application/json\r\n")

FRAMING = {
    "both lengths": (POST + "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}", 400),
    "two lengths": (POST + "Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}", 400),
    "a list of lengths": (POST + "Content-Length: 2, 2\r\n\r\n{}", 400),
    "a negative length": (POST + "Content-Length: -2\r\n\r\n{}", 400),
    "a signed length": (POST + "Content-Length: +2\r\n\r\n{}", 400),
    "a hexadecimal length": (POST + "Content-Length: 0x2\r\n\r\n{}", 400),
    "an empty length": (POST + "Content-Length: \r\n\r\n{}", 400),
    "a length of 20 digits": (POST + "Content-Length: 18446744073709551618\r\n\r\n{}", 413),
    "an unknown transfer coding": (POST + "Transfer-Encoding: gzip\r\n\r\n", 400),
    "chunked twice": (POST + "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", 400),
    "chunked hidden": (POST + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 400),
    "two transfer codings": (POST + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"
                             "\r\n0\r\n\r\n", 400),
    "a bad chunk size": (POST + "Transfer-Encoding: chunked\r\n\r\nxyz\r\n{}\r\n0\r\n\r\n", 400),
    "a huge chunk size": (POST + "Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n", 400),
    "a chunk longer than it says": (POST + "Transfer-Encoding: chunked\r\n\r\n1\r\n{}\r\n0\r\n\r\n",
                                    400),
    "a chunk line without CR": (POST + "Transfer-Encoding: chunked\r\n\r\n2\n{}\r\n0\r\n\r\n", 400),
    "no Host": (f"GET / HTTP/1.1\r\nAuthorization: {AUTH}\r\n\r\n", 400),
    "two Hosts": (GET + "Host: y\r\n\r\n", 400),
    "a bad Host": ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
    "a folded header": (GET + "X: a\r\n b\r\n\r\n", 400),
    "a space before the colon": (GET + "X : a\r\n\r\n", 400),
    "a header without a name": (GET + ": a\r\n\r\n", 400),
    "a header without a colon": (GET + "nonsense\r\n\r\n", 400),
    "a NUL in a header": (GET + "X: a\0b\r\n\r\n", 400),
    "a bare CR in a header": (GET + "X: a\rb\r\n\r\n", 400),
    "a bare LF": (GET.replace("\r\n", "\n") + "\n", 400),
    "a space in the target": ("GET /a b HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "a fragment": ("GET /#a HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "no target": ("GET HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "a relative target": ("GET a HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "two spaces": ("GET  / HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "lower-case version": ("GET / http/1.1\r\nHost: x\r\n\r\n", 400),
    "HTTP/2.0": ("GET / HTTP/2.0\r\nHost: x\r\n\r\n", 505),
    "HTTP/0.9": ("GET /\r\n\r\n", 400),
    "an unknown method": ("BREW / HTTP/1.1\r\nHost: x\r\n\r\n", 501),
    "TRACE": ("TRACE / HTTP/1.1\r\nHost: x\r\n\r\n", 405),
    "CONNECT": ("CONNECT a:1 HTTP/1.1\r\nHost: x\r\n\r\n", 405),
    "another expectation": (POST + "Expect: a-miracle\r\nContent-Length: 2\r\n\r\n{}", 417),
    "TLS": ("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    "a preface of HTTP/2": ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
}


@pytest.mark.parametrize("name", FRAMING)
def test_framing(server, name):
    text, status = FRAMING[name]
    with Raw(server) as raw:
        raw.send(text.encode("latin-1"))
        answer = raw.answer()
        assert answer.status == status, answer.text()
        error_of(answer)
        assert answer.header("connection") == "close"
        assert raw.closed()


def test_a_smuggled_request_is_not_seen(server):
    with Raw(server) as raw:
        raw.send((POST + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n"
                  f"0\r\n\r\n{GET}\r\n").encode())
        assert raw.answer().status == 400
        assert raw.closed()


@pytest.mark.parametrize("text, status", [
    ("GET /" + "a" * 5000 + " HTTP/1.1\r\nHost: x\r\n\r\n", 414),
    (GET + "X: " + "a" * 5000 + "\r\n\r\n", 431),
    (GET + "".join(f"X{i}: a\r\n" for i in range(400)) + "\r\n", 431),
])
def test_limits_of_the_head(strict, text, status):
    with Raw(strict) as raw:
        raw.send(text.encode())
        answer = raw.answer()
        assert answer.status == status
        error_of(answer)
        assert raw.closed()


def test_many_headers_within_the_size(server):
    with Raw(server) as raw:
        raw.send((GET + "".join(f"X-{i}: a\r\n" for i in range(1000)) + "\r\n").encode())
        assert raw.answer().status == 431
        assert raw.closed()


# ---- patience ----

def test_a_slow_head_is_ended(strict):
    with Raw(strict, timeout=5) as raw:
        started = time.monotonic()
        raw.send(b"GET / HTTP/1.1\r\nHost: x\r\nX: ")
        end = started + 5 * FACTOR
        answer = None
        try:
            while time.monotonic() < end and not answer:
                raw.send(b"a")
                raw.sock.settimeout(0.05)
                try:
                    answer = raw.more()
                except TimeoutError:
                    pass
        except (ConnectionResetError, BrokenPipeError):
            answer = b""
        assert answer is not None, "bytes that dribble in kept the connection open"
        assert 0.3 < time.monotonic() - started < 3 * FACTOR
        assert answer == b"" or answer.startswith(b"HTTP/1.1 408 ")


def test_a_stalled_body_is_ended(strict):
    with Raw(strict, AUTH, timeout=5) as raw:
        raw.request("POST", "/_inference/c", ["Content-Type: application/json",
                                              "Content-Length: 100"], b'{"input": "')
        data = raw.more()
        assert data == b"" or data.startswith(b"HTTP/1.1 408 ")


def test_an_idle_connection_is_closed_silently(strict):
    with Raw(strict, AUTH, timeout=5) as raw:
        raw.request("GET", "/")
        assert raw.answer().status == 200
        assert raw.closed()
    with Raw(strict, timeout=5) as raw:
        assert raw.closed()


def test_connections_beyond_the_limit_are_closed_at_once(strict):
    held = []
    try:
        for _ in range(20):
            held.append(Raw(strict, AUTH))
            held[-1].request("GET", "/_health")
            assert held[-1].answer().status == 200
        with Raw(strict, AUTH) as extra:
            try:
                extra.request("GET", "/_health")
                assert extra.closed()
            except (ConnectionResetError, BrokenPipeError):
                pass
    finally:
        for r in held:
            r.__exit__()
    def there_is_room():
        try:
            with Raw(strict, AUTH) as again:
                again.request("GET", "/_health")
                return again.answer().status == 200
        except (EOFError, OSError):
            return False
    wait_until(there_is_room, 5)


# ---- methods and media types ----

def methods(answer):
    return {m.strip() for m in answer.header("allow").split(",")}


def test_405_with_allow(raw):
    raw.request("POST", "/_license", ["Content-Length: 0"])
    answer = raw.answer()
    assert answer.status == 405
    assert "GET" in methods(answer)
    body = json.loads(answer.text())
    assert body["status"] == 405
    assert body["error"].startswith(
        "Incorrect HTTP method for uri [/_license] and method [POST], allowed: [GET")
    raw.request("PATCH", "/_inference/a", ["Content-Length: 0"])
    answer = raw.answer()
    assert answer.status == 405
    assert {"GET", "PUT", "POST", "DELETE"} <= methods(answer)


def test_head_has_the_headers_of_get_and_no_body(raw):
    for path in ("/", "/_license"):
        raw.request("HEAD", path)
        head = raw.answer(head_only=True)
        assert head.status == 200
        raw.request("GET", path)
        get = raw.answer()
        assert head.header("content-type") == get.header("content-type")
        assert head.header("content-length") == str(len(get.body))


def test_options_tells_the_methods(raw):
    raw.request("OPTIONS", "/_inference/a")
    answer = raw.answer()
    assert answer.status == 200
    assert {"GET", "PUT", "POST", "DELETE"} <= methods(answer)
    assert answer.body == b""


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded",
                                          "multipart/form-data; boundary=x", "nonsense"])
def test_406_for_other_media(server, content_type):
    answer = server.post("/_inference/c", b"{}", headers={"content-type": content_type})
    assert answer.status == 406
    assert answer.json == {"error": f"Content-Type header [{content_type}] is not supported",
                           "status": 406}


def test_406_for_a_body_without_a_type(server):
    assert server.post("/_inference/c", b"{}", headers={"content-type": None}).status == 406


def test_an_empty_body_with_a_type_is_no_body(server):
    answer = server.post("/_inference/c", b"", headers={"content-type": "text/plain"})
    assert answer.status == 400
    assert answer.type == "parse_exception" and answer.reason == "request body is required"
    answer = server.get("/", headers={"content-type": "application/json"})
    assert answer.status == 200


@pytest.mark.parametrize("body", [
    b"{", b'{"input": "a"', b'{"input": }', b"[]", b'"x"', b"{}{}", b'{"a":1,}', b"\xff\xfe{}",
    b'{"input": "\xc3\x28"}', b'{"input": "a\nb"}', b'{"a":' * 2000 + b"1" + b"}" * 2000,
    b'{"input": 01}', b"nul", b'{"input": "\\ud800"}',
])
def test_bad_json_is_a_bad_request(server, upstream, body):
    server.make("completion", "c", "openai", {"api_key": MARK, "model_id": "m"})
    n = len(upstream.requests)
    answer = server.post("/_inference/c", body)
    assert answer.status == 400 or b"ud800" in body
    assert len(upstream.requests) == n or b"ud800" in body


def test_a_client_that_leaves_in_the_middle(server, upstream):
    """Half a head, half a body, an unread answer: the server goes on."""
    for part in (b"GET", GET.encode(), (POST + "Content-Length: 100\r\n\r\n{").encode(),
                 (POST + "Transfer-Encoding: chunked\r\n\r\n5\r\n{").encode(),
                 GET.encode() + b"\r\n"):
        for _ in range(5):
            with Raw(server) as raw:
                raw.send(part)
    assert server.get("/").status == 200
