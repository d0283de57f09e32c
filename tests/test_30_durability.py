"""What was acknowledged is there after kill -9; what was not is there whole or not at all."""
import random
import threading
import time

import pytest

from inferd import MARK, Inferd, wait_until
from upstream import Upstream

pytestmark = pytest.mark.slow


class Writer:
    """Changes endpoints of its own and remembers what the server acknowledged.

    known[id] is the state after the last acknowledged change: None (absent) or (user, key).
    maybe[id] is the state that the unacknowledged change would have led to."""

    def __init__(self, number, seed):
        self.random = random.Random(seed)
        self.names = [f"w{number}-{i}" for i in range(4)]
        self.known = dict.fromkeys(self.names)
        self.maybe = {}
        self.acknowledged = 0
        self.problems = []

    def step(self, server):
        name = self.random.choice(self.names)
        state = self.known[name]
        user, key = f"u{self.random.random()}", f"sk-{MARK}-{self.random.random()}"
        if state is None:
            wanted = (user, key)
            call = ("PUT", f"/_inference/completion/{name}", {
                "service": "openai", "service_settings": {
                    "api_key": key, "model_id": "m", "rate_limit": {"requests_per_minute": 600000}},
                "task_settings": {"user": user}})
        elif self.random.random() < 0.35:
            wanted = None
            call = ("DELETE", f"/_inference/{name}", None)
        else:
            wanted = (user, key)
            call = ("PUT", f"/_inference/{name}/_update", {
                "service_settings": {"api_key": key}, "task_settings": {"user": user}})
        self.maybe[name] = wanted
        answer = server.request(*call)
        if answer.status != 200:
            self.problems.append((call, answer))
        self.known[name] = wanted
        del self.maybe[name]
        self.acknowledged += 1

    def run(self, server, stop):
        try:
            while not stop.is_set():
                self.step(server)
        except OSError:
            pass  # killed in the middle
        except Exception as e:  # http.client's, of an answer that was cut
            if "Incomplete" not in type(e).__name__ and "BadStatus" not in type(e).__name__ \
                    and "RemoteDisconnected" not in type(e).__name__:
                self.problems.append(e)


def check(server, upstream, writer):
    """Compares, and takes over what has become of the change that was under way."""
    for name in writer.names:
        answer = server.get("/_inference/" + name)
        if answer.status == 404:
            found = None
        else:
            (endpoint,) = answer.json["endpoints"]
            user = endpoint["task_settings"]["user"]
            before = len(upstream.requests)
            result = server.post("/_inference/" + name, {"input": "x"})
            assert result.status == 200, f"the endpoint [{name}] cannot be used: {result}"
            request = upstream.requests[before]
            assert request.json["user"] == user
            found = (user, request.headers["authorization"].removeprefix("Bearer "))
        allowed = [writer.known[name]] + ([writer.maybe[name]] if name in writer.maybe else [])
        assert found in allowed, (
            f"[{name}] is {found}, but {writer.known[name]} was acknowledged"
            + (f" and {writer.maybe[name]} was under way" if name in writer.maybe else ""))
        writer.known[name] = found
    writer.maybe = {}


def test_kill_at_random_moments(tmp_path, the_upstream, slow_binary):
    upstream = the_upstream
    upstream.clear()
    seed = int(time.time())
    print("seed", seed)
    rng = random.Random(seed)
    server = Inferd(tmp_path / "s", upstream=upstream).start()
    writers = [Writer(i, seed + i) for i in range(4)]
    try:
        for _ in range(4 if slow_binary else 12):
            stop = threading.Event()
            threads = [threading.Thread(target=w.run, args=(server, stop)) for w in writers]
            for t in threads:
                t.start()
            # Writes are counted, not time: a slow machine writes fewer in a moment.
            enough = sum(w.acknowledged for w in writers) + rng.randint(0, 40)
            wait_until(lambda: any(w.problems for w in writers) or
                       sum(w.acknowledged for w in writers) >= enough, 10, "writing")
            time.sleep(rng.uniform(0, 0.02))
            server.kill()
            stop.set()
            for t in threads:
                t.join(20)
            assert all(w.problems == [] for w in writers), [w.problems for w in writers]
            upstream.clear()
            server.start()
            for w in writers:
                check(server, upstream, w)
        names = {e["inference_id"] for e in server.get("/_inference/_all").json["endpoints"]
                 if not e["inference_id"].startswith(".")}
        assert names == {n for w in writers for n, s in w.known.items() if s}
    finally:
        if server.alive():
            server.stop()


def test_a_clean_restart_keeps_everything(spawn, upstream):
    server = spawn()
    made = [
        server.make("completion", "a", "openai", {"api_key": MARK + "1", "model_id": "m"},
                    task_settings={"user": "u", "headers": {"x-a": "b"}}),
        server.make("text_embedding", "b", "cohere", {
            "api_key": MARK + "2", "model_id": "m", "embedding_type": "bit",
            "rate_limit": {"requests_per_minute": 5555}}, chunking_settings={
                "strategy": "recursive", "max_chunk_size": 77, "separators": ["\n", "ä"]}),
        server.make("rerank", "c", "hugging_face", {"api_key": MARK + "3",
                                                    "url": "https://x.example/hf/rerank"}),
    ]
    for _ in range(2):
        server.restart()
        endpoints = server.get("/_inference").json["endpoints"]
        assert [e for e in endpoints if not e["inference_id"].startswith(".")] == made
    upstream.clear()
    assert server.post("/_inference/a", {"input": "x"}).status == 200
    assert server.post("/_inference/b", {"input": "x"}).status == 200
    assert server.post("/_inference/c", {"input": "x", "query": "x"}).status == 200
    assert [r.headers["authorization"] for r in upstream.requests] == [
        f"Bearer {MARK}{i}" for i in (1, 2, 3)]


def test_a_damaged_store_is_not_started_with(spawn):
    """A clear refusal, not half of the endpoints and not an empty store."""
    import glob
    import os
    server = spawn()
    server.make("completion", "a", "openai", {"api_key": MARK, "model_id": "m"})
    server.stop()
    files = [f for f in glob.glob(os.path.join(server.data, "**"), recursive=True)
             if os.path.isfile(f) and not f.endswith("http.port")]
    store = max(files, key=os.path.getsize)
    with open(store, "r+b") as f:
        f.write(b"this is not what was written here" * 200)
    server.launch()
    assert server.wait_exit(10) == 1
    assert "ERROR" in server.log() and MARK not in server.log()


def test_a_lost_key_is_said_at_the_start(spawn):
    """The secrets are sealed with a key beside the store; with another one they are unreadable."""
    import glob
    import os
    server = spawn()
    server.make("completion", "a", "openai", {"api_key": MARK, "model_id": "m"})
    server.stop()
    keys = [f for f in glob.glob(os.path.join(server.data, "**"), recursive=True)
            if os.path.isfile(f) and os.path.getsize(f) in (32, 33, 64, 65)]
    assert keys, "no file looks like a key"
    for key in keys:
        with open(key, "r+b") as f:
            data = f.read()
            f.seek(0)
            f.write(bytes(b ^ 1 for b in data))
    server.launch()
    try:
        server.wait_ready()
    except AssertionError:
        assert server.process.returncode == 1
        assert "ERROR" in server.log()
        return
    answer = server.post("/_inference/a", {"input": "x"})
    assert answer.status == 500
    server.kill()
