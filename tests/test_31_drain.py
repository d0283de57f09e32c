"""SIGTERM: no new connections, what is under way ends well, exit status 0."""
import json
import signal
import threading
import time

import pytest

from inferd import FACTOR, MARK, wait_until
from rawhttp import Raw
from upstream import Hang, Stream, chunk

SETTINGS = {"api_key": "sk-" + MARK, "model_id": "m", "rate_limit": {"requests_per_minute": 600000}}


@pytest.fixture
def own(spawn, upstream):
    server = spawn({"node.shutdown_grace": "5s"})
    server.make("completion", "c", "openai", SETTINGS)
    upstream.clear()
    return server


def refused(server):
    try:
        server.socket(1).close()
        return False
    except ConnectionRefusedError:
        return True


def ended(server, seconds=5):
    assert server.wait_exit(seconds) == 0, server.log()
    server.check_log(server.log())
    assert server.log_lines()[-1]["message"] == "stopped"


def test_calls_under_way_are_answered(own, upstream):
    gates = upstream.script(*[Hang() for _ in range(6)])
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(
        own.post("/_inference/c", {"input": "x"}))) for _ in gates]
    for t in threads:
        t.start()
    upstream.wait(6)
    own.signal(signal.SIGTERM)
    wait_until(lambda: refused(own), 5, "refusing new connections")
    assert own.alive()
    for g in gates:
        g.release()
    for t in threads:
        t.join(10)
    assert [a.json for a in answers] == [{"completion": [{"result": "Echo: x"}]}] * 6
    assert all(a.header("connection") == "close" for a in answers)
    ended(own)


def test_a_stream_under_way_is_finished(own, upstream):
    gate = Hang()
    upstream.script(Stream([chunk({"content": "a"}), chunk({"content": "b"})], gate=gate,
                           gate_at=1))
    stream = own.stream("/_inference/c/_stream", {"input": "x"})
    assert stream.next()
    own.signal(signal.SIGTERM)
    wait_until(lambda: refused(own), 5)
    gate.release()
    assert [e[1] for e in stream.all()] == ['{"completion":[{"delta":"b"}]}', "[DONE]"]
    ended(own)


def test_idle_connections_are_closed_at_once(own):
    with Raw(own) as never, Raw(own) as used:
        used.request("GET", "/_health")
        assert used.answer().status == 200
        started = time.monotonic()
        own.signal(signal.SIGTERM)
        assert used.closed() and never.closed()
        ended(own)
        assert time.monotonic() - started < 3 * FACTOR


def test_a_request_half_sent_does_not_hold_it_up_for_ever(spawn):
    server = spawn({"node.shutdown_grace": "1s"})
    with Raw(server) as half:
        half.send(b"GET / HTTP/1.1\r\nHost:")
        time.sleep(0.05)
        server.signal(signal.SIGTERM)
        ended(server, 4)


def test_the_grace_period_ends(spawn, upstream):
    server = spawn({"node.shutdown_grace": "300ms"})
    server.make("completion", "c", "openai", SETTINGS)
    upstream.clear()
    (gate,) = upstream.script(Hang())
    result = []

    def call():
        try:
            result.append(server.request("POST", "/_inference/c", {"input": "x"}, check=False))
        except Exception as e:
            result.append(e)
    thread = threading.Thread(target=call)
    thread.start()
    upstream.wait(1)
    started = time.monotonic()
    server.signal(signal.SIGTERM)
    ended(server, 8)
    assert time.monotonic() - started > 0.25
    gate.release()
    thread.join(10)
    assert len(result) == 1


def test_a_second_signal_ends_it_at_once(own, upstream):
    (gate,) = upstream.script(Hang())
    thread = threading.Thread(target=lambda: own_call(own))
    thread.start()
    upstream.wait(1)
    own.signal(signal.SIGTERM)
    wait_until(lambda: refused(own), 5)
    own.signal(signal.SIGTERM)
    ended(own, 3)
    gate.release()
    thread.join(10)


def own_call(server):
    try:
        server.request("POST", "/_inference/c", {"input": "x"}, check=False)
    except Exception:
        pass


def test_a_creation_under_way_is_kept(own, upstream):
    (gate,) = upstream.script(Hang())
    result = []
    thread = threading.Thread(target=lambda: result.append(own.put(
        "/_inference/completion/new", {"service": "openai", "service_settings": SETTINGS})))
    thread.start()
    upstream.wait(1)
    own.signal(signal.SIGTERM)
    wait_until(lambda: refused(own), 5)
    gate.release()
    thread.join(10)
    assert result[0].status == 200
    ended(own)
    own.start()
    assert own.get("/_inference/new").json == {"endpoints": [result[0].json]}


def test_under_load_no_call_is_cut(own, upstream):
    """Every call that was sent whole is answered whole, or its connection was refused."""
    lost, done = [], []
    stop = threading.Event()

    def caller():
        while not stop.is_set():
            connection = own.connect()
            try:
                connection.connect()
            except OSError:
                return
            body, head = own.head({"input": "x"}, None, True)
            try:
                while not stop.is_set():
                    connection.request("POST", "/_inference/c", body, head)
                    response = connection.getresponse()
                    json.loads(response.read())
                    done.append(response.status)
                    if response.getheader("connection") == "close":
                        break
            except Exception as e:
                # A kept connection may end between two requests; not within an answer.
                if "Incomplete" in type(e).__name__ or isinstance(e, ValueError):
                    lost.append(e)
            finally:
                connection.close()
    threads = [threading.Thread(target=caller) for _ in range(6)]
    for t in threads:
        t.start()
    wait_until(lambda: len(done) > 30, 10)
    own.signal(signal.SIGTERM)
    ended(own, 8)
    stop.set()
    for t in threads:
        t.join(10)
    assert lost == [] and set(done) == {200}
