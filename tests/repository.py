"""A model repository that can be told to misbehave: files by path, with ranges as Elastic's has them.

    repo = Repository()
    repo.files["/p.pt"] = b"..."
    repo.script("/p.pt", Cut(1000), Status(503))      # the next answers for that path
    repo.requests                                     # [(path, Range header or None)]
"""
import hashlib
import http.server
import json
import re
import threading
from pathlib import Path

TINY = Path(__file__).parent / "fixtures" / "models" / "eland_tiny"


def package(name, source, data=None, **more):
    """A package's files, of one of the tiny models: as fixtures/models/README.md says."""
    folder = TINY / source
    data = (folder / "model.pt").read_bytes() if data is None else data
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    metadata = {"packaged_model_id": name, "minimum_version": "11.0.0", "size": len(data),
                "sha256": hashlib.sha256(data).hexdigest(), "description": "of " + name,
                "model_type": "pytorch", "tags": ["elastic"],
                "inference_config": config["inference_config"],
                "vocabulary_file": name + ".vocab.json", "from_the_future": {"a": 1}, **more}
    return {f"/{name}.metadata.json": json.dumps(metadata).encode(),
            f"/{name}.vocab.json": (folder / "vocabulary.json").read_bytes(), f"/{name}.pt": data}


class Cut:
    """The head promises all, the body ends after so many bytes."""

    def __init__(self, after):
        self.after = after


class Status:
    def __init__(self, status, headers=()):
        self.status, self.headers = status, dict(headers)


class Whole:
    """The whole file, whatever range was asked for; `body` instead of it."""

    def __init__(self, body=None):
        self.body = body


class Slow:
    """Waits for `gate` after so many bytes."""

    def __init__(self, after):
        self.after, self.gate = after, threading.Event()


class Repository:
    def __init__(self):
        self.files, self.scripts, self.requests = {}, {}, []
        self.lock = threading.Lock()
        self.released = threading.Event()
        repository = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args):
                pass

            def do_GET(self):
                repository.answer(self)
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def script(self, path, *behaviours):
        with self.lock:
            self.scripts.setdefault(path, []).extend(behaviours)

    def asked(self, path):
        return [r for p, r in self.requests if p == path]

    def close(self):
        self.released.set()
        self.server.shutdown()
        self.server.server_close()

    def next(self, path):
        with self.lock:
            queue = self.scripts.get(path) or [None]
            return queue.pop(0)

    def answer(self, h):
        asked = h.headers.get("range")
        self.requests.append((h.path, asked))
        behaviour = self.next(h.path)
        body = self.files.get(h.path)
        if isinstance(behaviour, Status):
            self.head(h, behaviour.status, 0, behaviour.headers)
            return
        if isinstance(behaviour, Whole):
            body, asked = (body if behaviour.body is None else behaviour.body), None
        if body is None:
            self.head(h, 404, 0)
            return
        first, status, more = 0, 200, {}
        if asked:
            first = int(re.fullmatch(r"bytes=(\d+)-", asked).group(1))
            if first >= len(body):
                self.head(h, 416, 0, {"Content-Range": f"bytes */{len(body)}"})
                return
            status = 206
            more = {"Content-Range": f"bytes {first}-{len(body) - 1}/{len(body)}"}
        body = body[first:]
        self.head(h, status, len(body), more)
        if isinstance(behaviour, Cut):
            h.wfile.write(body[:behaviour.after])
            h.wfile.flush()
            h.close_connection = True
            h.connection.shutdown(2)
        elif isinstance(behaviour, Slow):
            h.wfile.write(body[:behaviour.after])
            h.wfile.flush()
            while not behaviour.gate.wait(0.02) and not self.released.is_set():
                pass
            try:
                h.wfile.write(body[behaviour.after:])
            except OSError:
                pass
        else:
            try:
                h.wfile.write(body)
            except OSError:
                pass

    @staticmethod
    def head(h, status, length, headers=None):
        h.send_response(status)
        h.send_header("Content-Length", str(length))
        for k, v in (headers or {}).items():
            h.send_header(k, v)
        h.end_headers()
