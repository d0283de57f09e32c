"""Everything at once for a few seconds: odd providers, clients that leave, endpoints that change
under their calls. Nothing may crash, hang, leak a connection or mix up answers."""
import http.client
import json
import os
import random
import threading
import time

import pytest

from inferd import FACTOR, MARK, Inferd, wait_until
from upstream import (Close, Default, Hang, Reply, Reset, Stream, chunk, close_to, reply_text,
                      text_chunks, vector)

pytestmark = pytest.mark.slow

SETTINGS = {"api_key": MARK, "model_id": "m", "rate_limit": {"requests_per_minute": 60000000}}
SECONDS = 6


def behaviour(rng):
    roll = rng.random()
    if roll < 0.6:
        return Default()
    return rng.choice([
        lambda: Reply(500, {"error": {"message": "x"}}),
        lambda: Reply(429, "x"),
        lambda: Reply(401, {"error": {"message": "x"}}),
        lambda: Reply(413, "x"),
        lambda: Reply(200, "garbage"),
        lambda: Reply(200, {"data": []}, length=500, close=True),
        lambda: Reset(),
        lambda: Close(),
        lambda: Hang(),
        lambda: Reply(200, b"x" * 100000, drip=(10000, 0.005)),
        lambda: Stream([chunk({"content": "a "})] * 50, done=False, cut=rng.choice(["fin", "rst"])),
        lambda: Stream([chunk({"content": "y" * 20000})], endless=True, pause=0.001),
        lambda: Stream(text_chunks("one two three"), split=5, pause=0.001),
        lambda: Stream([chunk({"content": "a"}), {"error": {"message": "x"}}]),
        lambda: Default(),
    ])()


class Caller:
    def __init__(self, server, seed, end):
        self.server, self.rng, self.end = server, random.Random(seed), end
        self.wrong, self.count = [], 0

    def run(self):
        while time.monotonic() < self.end:
            action = self.rng.choice([self.embed, self.embed, self.complete, self.stream, self.leave,
                                      self.leave_stream, self.change])
            try:
                action()
                self.count += 1
            except (http.client.HTTPException, OSError) as e:
                self.wrong.append(f"{action.__name__}: {e!r}")
            except AssertionError as e:
                self.wrong.append(f"{action.__name__}: {e}")

    def embed(self):
        text = f"{self.rng.random()}" * self.rng.choice([1, 1, 500])
        answer = self.server.post("/_inference/e?timeout=400ms", {"input": [text, "b"]})
        if answer.status == 200:
            rows = answer.json["text_embedding"]
            good = any(close_to(rows[0]["embedding"], vector(text[:n]))
                       for n in (len(text), len(text) // 2, len(text) // 4))
            assert good, "the vector of another text"
        else:
            assert answer.status in (400, 401, 404, 408, 413, 429, 500), answer

    def complete(self):
        text = f"{self.rng.random()}"
        answer = self.server.post("/_inference/c?timeout=400ms", {"input": text})
        if answer.status == 200:
            result = answer.json["completion"][0]["result"]
            assert any(result == reply_text(text[:n]) for n in (
                len(text), len(text) // 2, len(text) // 4)), "the answer to another question"
        else:
            assert answer.status in (400, 401, 404, 408, 413, 429, 500), answer

    def stream(self):
        s = self.server.stream("/_inference/c/_stream?timeout=400ms", {"input": "x"})
        for _ in range(200):
            event = s.next()
            if event is None:
                break
            if event[0] == "message" and event[1] != "[DONE]":
                json.loads(event[1])
        s.drop()

    def leave(self):
        body, head = self.server.head({"input": "x" * self.rng.choice([1, 100000])}, None, True)
        connection = self.server.connect()
        connection.request("POST", "/_inference/e", body, head)
        time.sleep(self.rng.random() * 0.02)
        connection.sock.close()
        connection.close()

    def leave_stream(self):
        s = self.server.stream("/_inference/c/_stream?timeout=400ms", {"input": "x"}, rcvbuf=4096)
        for _ in range(self.rng.randrange(3)):
            if s.next() is None:
                break
        s.drop()

    def change(self):
        kind = self.rng.random()
        if kind < 0.4:
            self.server.put("/_inference/c/_update?timeout=400ms", {
                "task_settings": {"user": f"u{self.rng.random()}"}})
        elif kind < 0.7:
            name = self.rng.choice("ce")
            task = "completion" if name == "c" else "text_embedding"
            self.server.delete(f"/_inference/{name}?force=true")
            self.server.put(f"/_inference/{task}/{name}?timeout=400ms", {
                "service": "openai", "service_settings": SETTINGS})
        else:
            self.server.get("/_inference")


def descriptors(server):
    return len(os.listdir(f"/proc/{server.process.pid}/fd"))


@pytest.mark.timeout(240)
def test_everything_at_once(tmp_path, the_upstream, slow_binary):
    upstream = the_upstream
    upstream.clear()
    seed = int(time.time() * 1000)
    print("seed", seed)
    server = Inferd(tmp_path / "s", upstream=upstream).start()
    server.make("text_embedding", "e", "openai", SETTINGS)
    server.make("completion", "c", "openai", SETTINGS)
    before = descriptors(server)
    rng = random.Random(seed)
    lock = threading.Lock()

    def choose(request):
        with lock:
            return behaviour(rng)
    upstream.choose = choose
    end = time.monotonic() + SECONDS * (2 if slow_binary else 1)
    callers = [Caller(server, seed + i, end) for i in range(12)]
    threads = [threading.Thread(target=c.run) for c in callers]
    for t in threads:
        t.start()
    for t in threads:
        t.join(60 * FACTOR)
    assert server.alive(), server.log()[-5000:]
    wrong = [w for c in callers for w in c.wrong]
    assert wrong == [], wrong[:10]
    assert sum(c.count for c in callers) > (50 if slow_binary else 200)
    upstream.clear()

    def busy():
        (node,) = server.get("/_inference/.diagnostics").json.values()
        text = server.get("/_prometheus/metrics", headers={"accept": None}).text
        counts = [line for line in text.splitlines() if "in_flight" in line and line[0] != "#"]
        leased = node["external"]["connection_pool_stats"]["leased_connections"]
        return [c for c in counts if float(c.rsplit(" ", 1)[1]) > 1] + ([leased] if leased else [])
    try:
        wait_until(lambda: not busy(), 10, "the end of all calls")
    except AssertionError:
        pytest.fail(f"still under way: {busy()}")
    for connection in threading.enumerate():
        assert connection not in threads
    server.make("completion", "c", "openai", SETTINGS)
    assert server.post("/_inference/c", {"input": "x"}).json == {"completion": [
        {"result": "Echo: x"}]}
    wait_until(lambda: descriptors(server) < before + 80, 10, "closing of connections")
    server.stop(15)


def resident_mib(server):
    with open(f"/proc/{server.process.pid}/statm", encoding="ascii") as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def test_what_a_burst_needed_is_given_back(spawn, slow_binary):
    """Large bodies on many connections at once, which stay open."""
    server = spawn({"http.loops": "2"})
    server.make("completion", "c", "openai", SETTINGS)
    assert server.post("/_inference/c", {"input": "x"}).status == 200
    before = resident_mib(server)
    body = json.dumps({"input": "x" * 200_000}).encode()
    _, headers = server.head(body, {"host": "x", "content-length": str(len(body))}, True)
    head = "".join(f"{k}: {v}\r\n" for k, v in headers.items())
    head = f"POST /_inference/c HTTP/1.1\r\n{head}\r\n".encode()
    sockets = [server.socket(60) for _ in range(50 if slow_binary else 400)]
    for s in sockets:
        s.sendall(head + body[:-1])
    for s in sockets:
        s.sendall(body[-1:])
    for s in sockets:
        answer = http.client.HTTPResponse(s)
        answer.begin()
        assert (answer.status, len(answer.read()) > 200_000) == (200, True)
    if not slow_binary:  # sanitizers keep what was freed
        assert resident_mib(server) > before + 30
        wait_until(lambda: resident_mib(server) < before + 20, 40, "memory given back")
    for s in sockets:
        s.close()
