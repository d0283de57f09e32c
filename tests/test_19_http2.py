"""Services that speak HTTP/2 behind TLS: who shares connections, what a service may say in the middle
of it, and what none may do to the others. `pytest --http2` tells the stories of all providers so."""
import concurrent.futures
import shutil
import socket
import threading
import time

import hpack
import pytest
from h2.errors import ErrorCodes

from http2 import Gate, make_pki, wait_for
from inferd import MARK
from upstream import Hang, Reply, Stream, reply_text, text_chunks

PATH = "/_inference/completion/c"
BODY = {"input": "hi"}
ANSWER = {"completion": [{"result": reply_text("hi")}]}
KEY = "sk-" + MARK
SETTINGS = {"api_key": KEY, "model_id": "gpt-4o-mini", "rate_limit": {"requests_per_minute": 10000000}}

pytestmark = pytest.mark.skipif(not shutil.which("openssl"), reason="needs the openssl command")


@pytest.fixture(scope="module")
def pki(tmp_path_factory):
    return make_pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture
def gate(upstream, pki):
    gate = Gate(upstream.port, pki)
    yield gate
    gate.close()


@pytest.fixture
def start(spawn, pki, gate):
    def start(**more):
        settings = {"inference.upstream.openai.base_url": gate.url, "http.loops": "1",
                    "inference.upstream.certificate_authorities": str(pki / "ca.pem"),
                    "xpack.inference.skip_validate_and_start": "true", **more}
        server = spawn(settings)
        server.make("completion", "c", "openai", SETTINGS)
        return server
    return start


def at_once(server, n, body=BODY):
    with concurrent.futures.ThreadPoolExecutor(n) as pool:
        return list(pool.map(lambda _: server.post(PATH, body), range(n)))


def once(act):
    """A hook for the first stream that comes."""
    left = [1]

    def hook(peer, stream, head):
        if not left:
            return False
        left.pop()
        act(peer, stream)
        return True
    return hook


# --- what goes well ---

def test_one_connection_carries_all(start, gate):
    server = start()
    assert server.post(PATH, BODY).json == ANSWER
    for _ in range(3):
        assert all(a.json == ANSWER for a in at_once(server, 24))
    assert gate.spoken == ["h2"]
    assert gate.peers[0].most > 1
    assert gate.resets == []
    pool = server.get("/_inference/.diagnostics").json
    assert pool


def test_what_is_sent(start, gate):
    server = start()
    assert server.post(PATH, BODY).json == ANSWER
    (_, fields), = gate.heads
    head = dict(fields)
    assert [name for name, _ in fields[:4]] == [":method", ":scheme", ":path", ":authority"]
    assert (head[":method"], head[":scheme"], head[":path"]) == ("POST", "https", "/v1/chat/completions")
    assert head[":authority"] == f"127.0.0.1:{gate.port}"
    assert head["authorization"] == f"Bearer {KEY}"
    assert not {"host", "connection", "transfer-encoding", "te", "upgrade"} & set(head)
    kinds = {name: field for field in fields for name in field[:1]}
    assert isinstance(kinds["authorization"], hpack.NeverIndexedHeaderTuple)
    assert not isinstance(kinds["content-type"], hpack.NeverIndexedHeaderTuple)


def test_it_is_only_offered(start, upstream, pki, gate):
    gate.alpn = ("http/1.1",)
    server = start()
    for _ in range(3):
        assert server.post(PATH, BODY).json == ANSWER
    assert gate.spoken == ["http/1.1"]


def test_it_changes_its_mind(start, gate):
    server = start()
    for alpn in (("h2", "http/1.1"), ("http/1.1",), ("h2",)):
        gate.alpn = alpn
        assert all(a.json == ANSWER for a in at_once(server, 8))
        assert gate.spoken[-1] == alpn[0]
        for close in gate.sockets:
            close()
        gate.sockets.clear()
        wait_for(lambda: stats(server)["available_connections"] == 0)


def stats(server):
    (node,) = server.get("/_inference/.diagnostics").json.values()
    return node["external"]["connection_pool_stats"]


def test_it_can_be_switched_off(start, gate):
    server = start(**{"inference.upstream.http2": "false"})
    assert server.post(PATH, BODY).json == ANSWER
    assert gate.spoken == ["http/1.1"]


def test_large_both_ways(start, gate, upstream):
    server = start()
    text = "x" * 3_000_000
    assert server.post(PATH, {"input": text}).json == {"completion": [{"result": reply_text(text)}]}
    assert gate.spoken == ["h2"]
    answers = at_once(server, 6, {"input": text})
    assert all(len(a.json["completion"][0]["result"]) > 3_000_000 for a in answers)


def test_other_heads_and_trailers(start, gate):
    def act(peer, stream):
        import json
        body = json.dumps({"choices": [{"message": {"role": "assistant", "content": "ok"}}]}).encode()
        peer.head(stream, 103, [("link", "<x>")])
        peer.head(stream, 200, [("content-type", "application/json")])
        peer.data(stream, body[:10])
        peer.data(stream, body[10:])
        peer.send(lambda c: c.send_headers(stream, [("x-trailer", "1")], end_stream=True))
    server = start()
    gate.hooks.append(once(act))
    assert server.post(PATH, BODY).json == {"completion": [{"result": "ok"}]}
    assert server.post(PATH, BODY).json == ANSWER
    assert gate.spoken == ["h2"]


def test_streams(start, gate, upstream):
    server = start()
    upstream.script(*[Stream(text_chunks("a b c d"), split=n) for n in (1, 7, 1000)])
    for _ in range(3):
        events = server.stream(PATH + "/_stream", BODY).all()
        assert events[-1] == ("message", "[DONE]")
    assert gate.spoken == ["h2"]


# --- limits of a service ---

def test_no_more_streams_than_it_allows(start, gate, upstream):
    gate.max_streams = 2
    server = start(**{"xpack.inference.http.max_route_connections": "3"})
    assert server.post(PATH, BODY).json == ANSWER  # and its settings are known
    answers = at_once(server, 16)
    assert all(a.json == ANSWER for a in answers), answers
    assert max(peer.most for peer in gate.peers) <= 2
    assert 1 <= len(gate.spoken) <= 3


def test_a_burst_on_a_known_service_opens_one(start, gate):
    server = start()
    assert server.post(PATH, BODY).json == ANSWER
    gate.peers[0].close()
    time.sleep(0.1)
    assert all(a.json == ANSWER for a in at_once(server, 16))
    assert gate.spoken == ["h2", "h2"]


# --- a service that goes ---

def test_requests_that_it_has_not_looked_at(start, gate, upstream):
    server = start()
    gate.hooks.append(once(lambda peer, stream: peer.goaway(last=0)))
    assert server.post(PATH, BODY).json == ANSWER
    assert gate.spoken == ["h2", "h2"]
    gate.hooks.append(once(lambda peer, stream: peer.reset(stream, ErrorCodes.REFUSED_STREAM)))
    assert server.post(PATH, BODY).json == ANSWER
    assert len(upstream.requests) == 2


def test_what_runs_may_end_after_its_goodbye(start, gate, upstream):
    server = start()
    hang = Hang()
    upstream.script(hang)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        first = pool.submit(server.post, PATH, BODY)
        upstream.wait(1)
        gate.peers[0].goaway(last=1)  # graceful: what it has begun it ends
        time.sleep(0.05)
        assert server.post(PATH, BODY).json == ANSWER
        hang.release()
        assert first.result().json == ANSWER
    assert gate.spoken == ["h2", "h2"]


def test_an_idle_one_that_was_closed(start, gate):
    server = start()
    for n in range(1, 5):
        assert server.post(PATH, BODY).json == ANSWER
        assert len(gate.spoken) == n
        gate.peers[-1].close()
        time.sleep(0.05)


def test_it_asks_for_the_other_protocol(start, gate):
    server = start()
    gate.hooks.append(once(lambda peer, stream: peer.reset(stream, ErrorCodes.HTTP_1_1_REQUIRED)))
    gate.alpn = ("h2", "http/1.1")
    assert server.post(PATH, BODY).json == ANSWER
    assert server.post(PATH, BODY).json == ANSWER
    assert gate.spoken == ["h2", "http/1.1"]


def test_one_that_has_died_in_silence(start, gate):
    server = start()
    assert server.post(PATH, BODY).json == ANSWER
    gate.hooks.append(lambda peer, stream, head: peer.number == 1 and peer.die())
    assert server.post(PATH + "?timeout=2500ms", BODY).status == 408
    assert server.post(PATH, BODY).json == ANSWER
    assert gate.spoken == ["h2", "h2"]


def test_one_that_is_only_slow(start, gate):
    server = start()
    assert server.post(PATH, BODY).json == ANSWER
    gate.hooks.append(once(lambda peer, stream: None))  # no answer, for ever
    assert server.post(PATH + "?timeout=2500ms", BODY).status == 408
    time.sleep(0.2)
    assert all(a.json == ANSWER for a in at_once(server, 8))
    assert gate.spoken == ["h2"]


# --- answers that break off ---

@pytest.mark.parametrize("code", [ErrorCodes.INTERNAL_ERROR, ErrorCodes.NO_ERROR, ErrorCodes.CANCEL])
def test_a_reset_is_no_end(start, gate, code):
    def act(peer, stream):
        peer.head(stream, 200, [("content-type", "text/event-stream")])
        peer.data(stream, b'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n')
        time.sleep(0.05)
        peer.reset(stream, code)
    server = start()
    gate.hooks.append(once(act))
    events = server.stream(PATH + "/_stream", BODY).all()
    assert events[0] == ("message", '{"completion":[{"delta":"a"}]}')
    assert events[-1][0] == "error" and "its stream was reset" in events[-1][1]
    assert server.post(PATH, BODY).json == ANSWER
    assert gate.spoken == ["h2"]


@pytest.mark.parametrize("length", [5, 500])
def test_a_length_that_is_wrong(start, gate, length):
    def act(peer, stream):
        peer.send(lambda c: c.config.__setattr__("validate_outbound_headers", False))
        peer.head(stream, 200, [("content-type", "application/json"), ("content-length", str(length))])
        peer.data(stream, b"{" + b" " * 48 + b"}", end=True)
    server = start(**{"xpack.inference.http.retry.timeout": "0"})
    gate.hooks.append(lambda peer, stream, head: act(peer, stream) or True)
    answer = server.post(PATH, BODY)
    assert answer.status == 500 or "broke off" in answer.text, answer
    gate.hooks.clear()
    assert server.post(PATH, BODY).json == ANSWER


def test_answered_before_all_was_sent(start, gate):
    def early(peer, stream, head):
        if int(head["content-length"]) < 1_000_000:
            return False
        peer.h2.send_headers(stream, [(":status", "413"), ("content-length", "2")])
        peer.h2.send_data(stream, b"no", end_stream=True)
        peer.h2.reset_stream(stream, ErrorCodes.NO_ERROR)
        return True
    gate.early = early
    server = start(**{"xpack.inference.truncator.reduction_percentage": "0.99"})
    answer = server.post(PATH, {"input": "x" * 3_000_000})
    assert answer.status == 413, answer
    assert server.post(PATH, BODY).json == ANSWER
    assert gate.spoken == ["h2"]


def test_the_connection_breaks_under_many(start, gate, upstream):
    server = start()
    assert server.post(PATH, BODY).json == ANSWER
    hangs = upstream.script(*[Hang() for _ in range(12)])
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        calls = [pool.submit(server.post, PATH, BODY) for _ in range(12)]
        upstream.wait(13)
        gate.peers[0].close()
        for hang in hangs:
            hang.release()
        answers = [call.result() for call in calls]  # what had not been answered is tried again
    assert all(a.json == ANSWER for a in answers), [a for a in answers if a.status != 200][:1]


# --- who holds up whom ---

def test_a_client_that_does_not_read_holds_up_nobody(start, gate, upstream):
    server = start()
    upstream.script(Stream([{"choices": [{"index": 0, "delta": {"content": "x" * 2000}}]}], endless=True, done=False))
    slow = server.socket(rcvbuf=4096)
    slow.sendall(raw_stream(server))
    wait_for(lambda: gate.stalls > 3)
    for _ in range(5):
        assert server.post(PATH, BODY).json == ANSWER
    big = "y" * 2_000_000
    assert len(server.post(PATH, {"input": big}).json["completion"][0]["result"]) > 2_000_000
    slow.close()
    wait_for(lambda: ErrorCodes.CANCEL in gate.resets)
    assert gate.spoken == ["h2"]


def raw_stream(server):
    import base64
    body = b'{"input":"hi"}'
    return (f"POST {PATH}/_stream HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            f"Authorization: Basic {base64.b64encode(f'elastic:{server.password}'.encode()).decode()}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n").encode() + body


def test_a_client_that_leaves(start, gate, upstream):
    server = start()
    upstream.script(Hang())
    s = server.socket()
    s.sendall(raw_stream(server))
    request = upstream.wait(1)
    s.close()
    wait_for(lambda: gate.resets == [ErrorCodes.CANCEL])
    assert request.gone.wait(10)
    assert server.post(PATH, BODY).json == ANSWER
    assert gate.spoken == ["h2"]


def test_a_body_that_is_too_large(start, gate, upstream):
    server = start(**{"xpack.inference.http.max_response_size": "100kb"})
    upstream.script(Reply(200, b"x" * 300_000, chunked=10_000), Reply(200, b"x" * 300_000))
    for _ in range(2):
        answer = server.post(PATH, BODY)
        assert answer.status >= 400 and "larger than [102400] bytes" in answer.text, answer
    assert server.post(PATH, BODY).json == ANSWER
    assert gate.spoken == ["h2"]


# --- hostile ones ---

def frame(kind, flags, stream, payload):
    return (len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload)


@pytest.mark.parametrize("name, raw", [
    ("noise", b"\x00" * 4000),
    ("http/1.1", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok" * 4),
    ("data on stream 0", frame(0, 0, 0, b"x")),
    ("a stream of its own", frame(1, 4, 2, b"\x88")),
    ("a pushed one", frame(5, 4, 1, b"\x00\x00\x00\x02\x82\x86\x84")),
    ("a frame that is too long", frame(0, 0, 1, b"x" * 70000)),
    ("a bad field", frame(1, 4, 1, b"\xff\xff\xff\xff\xff\xff")),
    ("no status", frame(1, 5, 1, b"\x0f\x0d\x010")),
    ("a bad setting", frame(4, 0, 0, b"\x00\x05\x00\x00\x00\x01")),
    ("a window of zero more", frame(8, 0, 0, b"\x00" * 4)),
    ("too much of a window", frame(8, 0, 0, b"\x7f\xff\xff\xff") * 2),
    ("settings of the wrong length", frame(4, 0, 0, b"\x00" * 5)),
    ("a head without an end", frame(1, 0, 1, b"\x88") + frame(0, 0, 1, b"x")),
    ("a flood of pings", frame(6, 0, 0, b"12345678") * 20000),
    ("a flood of settings", frame(4, 0, 0, b"\x00\x03\x00\x00\x00\x64") * 20000),
    ("a flood of resets", frame(3, 0, 1, b"\x00\x00\x00\x08") * 20000),
    ("a flood of continuations", frame(1, 0, 1, b"\x88") + frame(9, 0, 1, b"") * 20000),
    ("names without end", frame(1, 0, 1, b"\x88") + frame(9, 0, 1, b"\x00\x01a\x7f\x81\x7f" + b"v" * 16000) * 40),
], ids=lambda v: v if isinstance(v, str) else "")
def test_hostile_services(start, gate, name, raw):
    def act(peer, stream, head):
        peer.raw(raw)
        time.sleep(0.1)
        peer.close()
        return True
    server = start(**{"xpack.inference.http.retry.timeout": "0"})
    gate.hooks.append(act)
    for _ in range(2):
        answer = server.post(PATH + "?timeout=5s", BODY)
        assert answer.status >= 400, answer
        assert "Traceback" not in answer.text and KEY not in answer.text
    gate.hooks.clear()
    wait_for(lambda: all(peer.gone for peer in gate.peers))
    assert server.post(PATH, BODY).json == ANSWER


def test_a_head_that_is_too_large(start, gate):
    def act(peer, stream, head):
        peer.head(stream, 200, [(f"x-{i}", "v" * 2000) for i in range(40)])
        peer.data(stream, b"{}", end=True)
        return True
    server = start(**{"xpack.inference.http.retry.timeout": "0"})
    gate.hooks.append(act)
    answer = server.post(PATH, BODY)
    assert answer.status >= 400 and "headers" in answer.text, answer
    gate.hooks.clear()
    assert server.post(PATH, BODY).json == ANSWER
    assert gate.spoken == ["h2"]


def test_chaos(start, gate, upstream):
    """Every call ends, whatever becomes of its connection."""
    server = start()
    stop = threading.Event()

    def trouble():
        n = 0
        while not stop.wait(0.02):
            n += 1
            try:
                peer = gate.peers[-1]
                (peer.close, lambda: peer.goaway(last=0), lambda: peer.raw(b"\x00" * 30),
                 lambda: [peer.reset(s) for s in list(peer.open)])[n % 4]()
            except (OSError, ValueError, IndexError, socket.error):
                pass
            except Exception:  # the h2 package, of a connection that ended meanwhile
                pass
    thread = threading.Thread(target=trouble)
    thread.start()
    try:
        answers = [a for _ in range(10) for a in at_once(server, 16)]
    finally:
        stop.set()
        thread.join()
    assert len(answers) == 160 and any(a.status == 200 for a in answers)
    assert server.post(PATH, BODY).json == ANSWER
