"""Streams: exact framing, how they end, what they survive, and who waits for whom."""
import json
import re
import threading
import time

import pytest

from inferd import FACTOR, MARK, wait_until
from upstream import Hang, Reply, Reset, Stream, chunk, text_chunks

KEY = "sk-" + MARK
SETTINGS = {"api_key": KEY, "model_id": "gpt-4o-mini", "rate_limit": {"requests_per_minute": 600000}}
ASK = {"messages": [{"role": "user", "content": "x"}]}
ENVELOPE = "Received an error response for request from inference entity id"


@pytest.fixture
def complete(server, upstream):
    server.make("completion", "c", "openai", SETTINGS)
    upstream.clear()
    return "/_inference/completion/c/_stream"


@pytest.fixture
def chat(server, upstream):
    server.make("chat_completion", "chat", "openai", SETTINGS)
    upstream.clear()
    return "/_inference/chat_completion/chat/_stream"


def deltas(events):
    return [d["delta"] for name, data in events if data != "[DONE]" and name == "message"
            for d in json.loads(data)["completion"]]


# ---- the form ----

def test_the_bytes_of_a_stream(server, upstream, complete):
    upstream.script(Stream(text_chunks("Hi 🙂\n\"you\"")))
    stream = server.stream(complete, {"input": "x"})
    stream.all()
    assert stream.raw.decode() == (
        'event: message\ndata: {"completion":[{"delta":"Hi "}]}\n\n'
        'event: message\ndata: {"completion":[{"delta":"🙂\\n\\"you\\""}]}\n\n'
        'event: message\ndata: [DONE]\n\n')
    assert stream.header("content-type") == "text/event-stream"
    assert stream.header("transfer-encoding") == "chunked"
    assert stream.header("content-length") is None


@pytest.mark.parametrize("kind", ["application/json", "application/vnd.elasticsearch+json;compatible-with=8",
                                  "application/vnd.elasticsearch+json;compatible-with=9"])
def test_a_client_may_ask_for_events_only(server, complete, kind):
    """As the Go client does; its Accept names no version that could match Content-Type's."""
    head = {"accept": "text/event-stream", "content-type": kind}
    stream = server.stream(complete, {"input": "x"}, headers=head)
    assert stream.status == 200
    assert "".join(deltas(stream.all())) == "Echo: x"
    head["content-type"] = "application/vnd.elasticsearch+json;compatible-with=7"
    assert server.stream(complete, {"input": "x"}, headers=head).status == 400
    assert server.post("/_inference/none", {"input": "x"}, headers=head).status == 406


def test_the_bytes_of_a_chat_stream(server, upstream, chat):
    upstream.script(Stream([chunk({"role": "assistant", "content": "Hel"}), chunk({}, "stop")]))
    stream = server.stream(chat, ASK)
    stream.all()
    head = '"model":"gpt-4o-mini","object":"chat.completion.chunk"}\n\n'
    assert stream.raw.decode() == (
        'event: message\ndata: {"id":"chatcmpl-1","choices":[{"delta":{"content":"Hel",'
        '"role":"assistant"},"index":0}],' + head +
        'event: message\ndata: {"id":"chatcmpl-1","choices":[{"delta":{},"finish_reason":"stop",'
        '"index":0}],' + head +
        'event: message\ndata: [DONE]\n\n')


def test_each_event_goes_out_when_it_comes_in(server, upstream, complete):
    (gate,) = (Hang(),)
    upstream.script(Stream([chunk({"content": "a"}), chunk({"content": "b"})], gate=gate,
                           gate_at=1))
    stream = server.stream(complete, {"input": "x"})
    assert deltas([stream.next()]) == ["a"]  # while the provider has said no more than that
    gate.release()
    assert deltas(stream.all()) == ["b"]


def test_a_stream_on_a_kept_connection(server, upstream, complete):
    body, head = server.head({"input": "one two"}, None, True)
    connection = server.connect()
    for _ in range(3):
        connection.request("POST", complete, body, head)
        response = connection.getresponse()
        assert response.read().endswith(b"data: [DONE]\n\n")
        connection.request("GET", "/_health")
        assert connection.getresponse().read()


def test_requests_pipelined_behind_a_stream(server, upstream, complete):
    from rawhttp import Raw
    body, head = server.head({"input": "one two"}, None, True)
    one = (f"POST {complete} HTTP/1.1\r\nHost: x\r\nAuthorization: {head['authorization']}\r\n"
           f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n").encode() + body
    with Raw(server) as raw:
        raw.send((one + b"GET /_health HTTP/1.1\r\nHost: x\r\n\r\n") * 3)
        for _ in range(3):
            assert raw.answer().body.endswith(b"data: [DONE]\n\n")
            assert raw.answer().status == 200


def test_a_stream_for_http_1_0_ends_with_the_connection(server, upstream, complete):
    from rawhttp import Raw
    body, head = server.head({"input": "one two"}, None, True)
    with Raw(server) as raw:
        raw.send(f"POST {complete} HTTP/1.0\r\nAuthorization: {head['authorization']}\r\n"
                 f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()
                 + body)
        data = b""
        while part := raw.more():
            data += part
    text = data.split(b"\r\n\r\n", 1)[1]
    assert text.startswith(b"event: message\ndata: ") and text.endswith(b"data: [DONE]\n\n")
    assert b"transfer-encoding" not in data.lower()


def test_gzip_does_not_hold_back_a_stream(server, upstream, complete):
    (gate,) = (Hang(),)
    upstream.script(Stream([chunk({"content": "a"}), chunk({"content": "b"})], gate=gate,
                           gate_at=1))
    stream = server.stream(complete, {"input": "x"}, {"Accept-Encoding": "gzip"})
    assert stream.header("content-encoding") is None
    assert deltas([stream.next()]) == ["a"]
    gate.release()
    stream.all()


def test_pretty_and_filter_leave_a_stream_whole(server, upstream, complete):
    for query in ("?filter_path=x", "?human", "?error_trace"):
        assert deltas(server.stream(complete + query, {"input": "x"}).all()) == ["Echo: ", "x"]


# ---- what providers send ----

EVENTS = [chunk({"role": "assistant", "content": ""}), chunk({"content": "Grüße, "}),
          chunk({"content": "漢字 🙂"}), chunk({}, "stop")]
WANTED = ["Grüße, ", "漢字 🙂"]


@pytest.mark.parametrize("eol", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("split", [1, 2, 3, 7, 64])
def test_line_ends_and_pieces(server, upstream, complete, eol, split):
    """Bytes may be cut anywhere: within a UTF-8 sequence, between CR and LF."""
    events = ["data: " + json.dumps(e, ensure_ascii=False) + "\n\n" for e in EVENTS]
    upstream.script(Stream(events, split=split, eol=eol))
    events = server.stream(complete, {"input": "x"}).all()
    assert deltas(events) == WANTED
    assert events[-1] == ("message", "[DONE]")


def test_comments_fields_and_several_data_lines(server, upstream, complete):
    one = json.dumps(chunk({"content": "a"}))
    cut = one.index(",") + 1
    upstream.script(Stream([
        "\ufeff: a comment\n\n", ":\n", "id: 7\nretry: 100\n\n",
        f"event: message\ndata: {one[:cut]}\ndata:{one[cut:]}\nunknown: x\n\n",
        "data:\n\n", "data\n\n", f"DATA: {json.dumps(chunk({'content': 'b'}))}\n\n",
        ": keep-alive\n\n" * 20, "event: ping\n\n",
    ]))
    assert deltas(server.stream(complete, {"input": "x"}).all()) == ["a", "b"]


def test_the_end_mark_in_any_case_and_what_follows_it(server, upstream, complete):
    upstream.script(Stream([chunk({"content": "a"}), "data: [done]\n\n",
                            chunk({"content": "late"})], done=False))
    events = server.stream(complete, {"input": "x"}).all()
    assert deltas(events) == ["a"] and events[-1][1] == "[DONE]"


def test_a_provider_that_keeps_the_stream_open_after_the_end_mark(server, upstream, complete):
    gate = Hang()
    upstream.script(Stream([chunk({"content": "a"})], gate=gate, gate_at=-1))
    started = time.monotonic()
    events = server.stream(complete, {"input": "x"}).all()
    assert events[-1][1] == "[DONE]"
    assert time.monotonic() - started < 5 * FACTOR
    gate.release()


def test_chunks_without_text(server, upstream, complete):
    upstream.script(Stream([
        chunk({"content": None}), chunk({}), {"choices": []}, {"id": "x"},
        {"choices": [{"index": 0, "delta": {"content": "a"}}, {"index": 1,
                                                               "delta": {"content": "b"}}]},
        {"choices": [], "usage": {"total_tokens": 5}}]))
    assert deltas(server.stream(complete, {"input": "x"}).all()) == ["a", "b"]


def test_events_that_keep_a_chat_alive(server, upstream, chat):
    upstream.script(Stream([": hm\n\n", "event: ping\ndata: {}\n\n", chunk({"content": "a"})]))
    first, last = server.stream(chat, ASK).all()
    assert (json.loads(first[1])["choices"][0]["delta"], last[1]) == ({"content": "a"}, "[DONE]")


def test_a_very_long_event(server, upstream, complete):
    text = "0123456789" * 50000
    upstream.script(Stream([chunk({"content": text})]))
    assert "".join(deltas(server.stream(complete, {"input": "x"}).all())) == text


def test_an_event_without_end_is_refused(server, upstream, complete):
    upstream.script(Stream(["data: " + "x" * 1000000] + ["x" * 1000000] * 7, done=False))
    events = server.stream(complete, {"input": "x"}).all()
    assert [e[0] for e in events] == ["error"]


def test_a_whole_answer_to_a_stream_request(server, upstream, complete):
    """Not the provider's agreed form: an error, or one message and the end; never silence."""
    upstream.script(*[Reply(200, {"choices": [{"index": 0, "message": {"content": "whole"}}]})] * 3)
    events = server.stream(complete, {"input": "x"}).all()
    upstream.queue.clear()
    assert events and (events[-1][0] == "error" or events[-1][1] == "[DONE]")


# ---- errors ----

def test_before_the_first_chunk_the_status_is_real(server, upstream, complete):
    upstream.script(Reply(401, {"error": {"message": "no"}}))
    stream = server.stream(complete, {"input": "x"})
    assert stream.status == 401
    assert stream.header("content-type") == "text/event-stream"
    ((name, data),) = stream.all()
    assert name == "error"
    assert json.loads(data) == {"error": {
        "root_cause": [{"type": "status_exception", "reason": json.loads(data)["error"]["reason"]}],
        "type": "status_exception",
        "reason": "Received an authentication error status code for request from inference entity "
                  "id [c] status [401]. Error message: [no]"}, "status": 401}


@pytest.mark.parametrize("body, status", [({"input": ["a", "b"]}, 400), ({}, 400), ({"x": 1}, 400)])
def test_refused_inputs_of_a_stream(server, upstream, complete, body, status):
    stream = server.stream(complete, body)
    assert stream.status == status
    ((name, data),) = stream.all()
    assert name == "error" and json.loads(data)["status"] == status
    assert upstream.requests == []


def test_refusals_are_retried_before_the_stream_begins(server, upstream, complete):
    upstream.script(Reply(500, ""), Reset())
    stream = server.stream(complete, {"input": "x"})
    assert stream.status == 200
    assert deltas(stream.all()) == ["Echo: ", "x"]
    assert len(upstream.requests) >= 3


def test_a_refusal_of_many_megabytes(server, upstream, complete):
    upstream.script(Reply(400, b"x" * (8 << 20)))
    stream = server.stream(complete, {"input": "x"})
    assert stream.status >= 400
    assert [e[0] for e in stream.all()] == ["error"]


@pytest.mark.parametrize("ending", [
    {"cut": "fin"}, {"cut": "rst"}, {"done": False}, {"done": False, "cut": "fin"},
], ids=str)
def test_a_stream_that_is_cut(server, upstream, complete, ending):
    behaviour = Stream([chunk({"content": "a"}), chunk({"content": "b"})], **{"done": False,
                                                                             **ending})
    upstream.script(behaviour)
    stream = server.stream(complete, {"input": "x"})
    events = stream.all()
    assert stream.status == 200 and not stream.broken
    assert deltas(events) == ["a", "b"]
    assert events[-1][0] == "error" and len(events) == 3
    body = json.loads(events[-1][1])
    assert body["status"] >= 400 and body["error"]["reason"]
    assert len(upstream.requests) == 1, "a stream that began is not begun again"


def test_a_stream_cut_within_an_event(server, upstream, complete):
    upstream.script(Stream([chunk({"content": "a"}), 'data: {"choices":'], done=False, cut="fin"))
    events = server.stream(complete, {"input": "x"}).all()
    assert deltas(events) == ["a"] and events[-1][0] == "error"


def test_a_stream_cut_after_the_end_mark_is_complete(server, upstream, complete):
    upstream.script(Stream([chunk({"content": "a"})], cut="rst"))
    events = server.stream(complete, {"input": "x"}).all()
    assert deltas(events) == ["a"] and events[-1] == ("message", "[DONE]")


def test_a_stream_cut_before_its_first_event(server, upstream, complete):
    upstream.script(*[Stream([], done=False, cut="fin")] * 3)
    stream = server.stream(complete, {"input": "x"})
    events = stream.all()
    upstream.queue.clear()
    assert stream.status >= 400 and [e[0] for e in events] == ["error"]


@pytest.mark.parametrize("bad", [
    {"error": {"message": "overloaded", "type": "server_error", "code": "busy", "param": None}},
    'event: error\ndata: {"error": {"message": "overloaded", "type": "server_error", '
    '"code": "busy"}}\n\n',
], ids=["member", "event"])
def test_an_error_inside_a_stream(server, upstream, complete, chat, bad):
    upstream.script(Stream([chunk({"content": "a"}), bad, chunk({"content": "late"})]))
    events = server.stream(complete, {"input": "x"}).all()
    assert [e[0] for e in events] == ["message", "error"]
    body = json.loads(events[1][1])
    assert body["status"] == 500
    assert body["error"]["reason"] == f"{ENVELOPE} [c]. Error message: [overloaded]"
    upstream.script(Stream([chunk({"content": "a"}), bad]))
    events = server.stream(chat, ASK).all()
    assert [e[0] for e in events] == ["message", "error"]
    assert json.loads(events[1][1]) == {"error": {
        "code": "busy", "message": f"{ENVELOPE} [chat]. Error message: [overloaded]",
        "type": "server_error"}}


def test_garbage_inside_a_stream(server, upstream, complete, chat):
    upstream.script(Stream([chunk({"content": "a"}), "data: {broken\n\n"]))
    events = server.stream(complete, {"input": "x"}).all()
    assert [e[0] for e in events] == ["message", "error"]
    assert json.loads(events[1][1])["error"]["reason"] == f"{ENVELOPE} [c]"
    upstream.script(Stream([chunk({"content": "a"}), "data: {broken\n\n"]))
    events = server.stream(chat, ASK).all()
    got = json.loads(events[1][1])["error"]
    assert (got["code"], got["message"]) == ("stream_error", f"{ENVELOPE} [chat]")


# ---- time ----

def test_the_timeout_is_for_the_beginning_of_a_stream(server, upstream, complete):
    upstream.script(Hang())
    stream = server.stream(complete + "?timeout=150ms", {"input": "x"})
    assert stream.status == 408
    ((name, data),) = stream.all()
    assert name == "error" and "Request timed out after [150ms]" in data
    assert upstream.requests[0].gone.wait(5)
    upstream.script(Stream([chunk({"content": str(i)}) for i in range(6)], pause=0.1))
    events = server.stream(complete + "?timeout=300ms", {"input": "x"}).all()
    assert len(deltas(events)) == 6, "a stream that goes on is not cut by the timeout"


def test_a_stream_that_falls_silent_is_ended(spawn, upstream):
    server = spawn({"xpack.inference.http.stream_stall_timeout": "300ms"})
    server.make("completion", "c", "openai", SETTINGS)
    gate = Hang()
    upstream.script(Stream([chunk({"content": "a"}), chunk({"content": "b"})], gate=gate,
                           gate_at=1))
    events = server.stream("/_inference/c/_stream", {"input": "x"}).all()
    assert deltas(events) == ["a"] and events[-1][0] == "error"
    assert upstream.requests[-1].gone.wait(5)


# ---- who waits for whom ----

def test_a_client_that_leaves_ends_the_stream_upstream(server, upstream, complete):
    upstream.script(Stream([chunk({"content": "word "})], endless=True, pause=0.01))
    stream = server.stream(complete, {"input": "x"})
    for _ in range(3):
        assert stream.next()
    stream.drop()
    assert upstream.requests[0].gone.wait(5), "the provider goes on talking to no one"
    upstream.script(Stream([chunk({"content": "word "})], endless=True))
    stream = server.stream(complete, {"input": "x"})
    stream.next()
    stream.drop()
    assert upstream.requests[1].gone.wait(5)


def test_a_client_that_leaves_before_the_first_chunk(server, upstream, complete):
    upstream.script(Hang())
    body, head = server.head({"input": "x"}, None, True)
    connection = server.connect()
    connection.request("POST", complete, body, head)
    request = upstream.wait(1)
    connection.sock.close()
    connection.close()
    assert request.gone.wait(5)


def test_a_slow_reader_slows_the_provider(server, upstream, complete):
    """Nothing piles up in the server: when its client does not read, it stops reading too."""
    text = "0123456789" * 1000
    upstream.script(Stream([chunk({"content": text})], endless=True))
    stream = server.stream(complete, {"input": "x"}, rcvbuf=8192)
    assert stream.next()
    request = upstream.requests[0]
    sent, still = -1, time.monotonic()
    end = time.monotonic() + 10 * FACTOR
    while time.monotonic() - still < 0.5:
        assert time.monotonic() < end and request.sent < 64 << 20, (
            f"{request.sent} bytes were taken for a client that does not read")
        if request.sent != sent:
            sent, still = request.sent, time.monotonic()
        time.sleep(0.02)
    assert request.sent < 32 << 20
    while request.sent < sent + (1 << 20):  # and when it reads again, all goes on, nothing is lost
        name, data = stream.next()
        assert data == '{"completion":[{"delta":"' + text + '"}]}'
    stream.drop()
    assert request.gone.wait(5)


def test_a_slow_reader_gets_everything(server, upstream, complete):
    texts = [f"{i:06d}" + "x" * 5000 for i in range(1500)]
    upstream.script(Stream([chunk({"content": t}) for t in texts]))
    stream = server.stream(complete, {"input": "x"}, rcvbuf=8192)
    got = []
    for i, event in enumerate(iter(stream.next, None)):
        got.append(event)
        if i % 300 == 0:
            time.sleep(0.05)
    assert deltas(got) == texts
    assert got[-1] == ("message", "[DONE]")


def test_many_streams_at_once(server, upstream, complete):
    results = []
    def one(i):
        events = server.stream(complete, {"input": f"number {i} of many"}).all()
        results.append("".join(deltas(events)) == f"Echo: number {i} of many")
    threads = [threading.Thread(target=one, args=(i,)) for i in range(30)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(20)
    assert results == [True] * 30


def test_streams_and_calls_side_by_side(server, upstream, complete):
    gates = [Hang() for _ in range(5)]
    upstream.script(*[Stream([chunk({"content": "a"}), chunk({"content": "b"})], gate=g, gate_at=1)
                      for g in gates])
    streams = []
    for _ in gates:
        streams.append(server.stream(complete, {"input": "x"}))
        assert deltas([streams[-1].next()]) == ["a"]
    answer = server.post("/_inference/c", {"input": "meanwhile"})
    assert answer.json == {"completion": [{"result": "Echo: meanwhile"}]}
    for g in gates:
        g.release()
    for s in streams:
        assert deltas(s.all()) == ["b"]


def test_nothing_is_left_behind(server, upstream, complete):
    """After cut, left and finished streams no connection is still counted as in use."""
    for behaviour in (Stream([chunk({"content": "a"})]), Stream([chunk({"content": "a"})],
                                                                done=False, cut="rst")):
        upstream.script(behaviour)
        server.stream(complete, {"input": "x"}).all()
    wait_until(lambda: list(server.get("/_inference/.diagnostics").json.values())[0]["external"]
               ["connection_pool_stats"]["leased_connections"] == 0, 5)
    text = server.get("/_prometheus/metrics", headers={"accept": None}).text
    assert re.search(r"(?m)^\w*upstream\w*in_flight\w* 0$", text), text
