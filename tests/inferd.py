"""Runs the server binary under test and talks to it.

    server = Inferd(folder, settings={"node.shutdown_grace": "5s"}, upstream=upstream)
    server.start()
    server.post("/_inference/x", {"input": "a"})      -> Answer(status, headers, body, json)
    server.stop()                                     # SIGTERM, exit status 0, a clean log

Every answer is checked on its way: product header, JSON against the API description, no secret.
"""
import base64
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import threading
import time

import schema

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# Every key and password of the stories holds this, so that none can slip out unseen.
MARK = "S3CRET"
PASSWORD = "pw-" + MARK + "-elastic"
SERVICES = ("openai", "cohere", "hugging_face")
# Those whose part of the scripted provider begins with their name (upstream_*.py).
PREFIXED = ("ai21", "alibabacloud-ai-search", "amazon_sagemaker", "amazonbedrock", "anthropic",
            "azureaistudio", "azureopenai", "contextualai", "custom", "deepseek", "fireworksai",
            "googleaistudio", "googlevertexai", "groq", "jinaai", "llama", "mistral", "mixedbread",
            "nvidia", "openshift_ai", "voyageai", "watsonxai")
FACTOR = 1  # --slow-binary: how much longer things may take


def binary():
    path = os.path.abspath(os.environ.get("INFERD_BIN", os.path.join(ROOT, "build", "inferd")))
    for candidate in (path, os.path.join(os.path.dirname(path), "src", os.path.basename(path))):
        if os.access(candidate, os.X_OK) and os.path.isfile(candidate):
            return candidate
    raise FileNotFoundError(f"no server binary at {path}: build it, or set INFERD_BIN")


def wait_until(condition, seconds=10, what="it"):
    end = time.monotonic() + seconds * FACTOR
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not happen within {seconds * FACTOR} s")
        time.sleep(0.005)


def basic(user, password):
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def header(self, name):
        """All values of a header, joined; None when it is not there."""
        values = [v for k, v in self.headers if k.lower() == name.lower()]
        return ", ".join(values) if values else None

    def all(self, name):
        return [v for k, v in self.headers if k.lower() == name.lower()]

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def text(self):
        return self.body.decode()

    @property
    def type(self):
        return self.json["error"]["type"]

    @property
    def reason(self):
        return self.json["error"]["reason"]

    def __repr__(self):
        return f"<{self.status} {self.body[:600]!r}>"


class EventStream:
    """An answer of server-sent events as it comes, read strictly by the server's own framing:
    `event: NAME`, one `data:` line, an empty line."""

    def __init__(self, connection, response):
        self.connection, self.response = connection, response
        self.status = response.status
        self.headers = response.getheaders()
        self.raw = b""
        self.taken = 0
        self.ended = False
        self.broken = False  # the body was cut

    def header(self, name):
        return self.response.getheader(name)

    def more(self):
        try:
            data = self.response.read1(65536)
        except (http.client.IncompleteRead, ConnectionError):
            self.broken, data = True, b""
        self.raw += data
        self.ended = not data
        return data

    def next(self):
        """(name, data) of the next event; None at the end."""
        while True:
            at = self.raw.find(b"\n\n", self.taken)
            if at >= 0:
                break
            if self.ended or not self.more():
                assert self.raw[self.taken:] == b"", f"an event was cut: {self.raw[self.taken:]!r}"
                return None
        block = self.raw[self.taken:at].decode()
        self.taken = at + 2
        match = re.fullmatch(r"event: (message|error)\ndata: ([^\n\r]*)", block)
        assert match, f"not an event of Elasticsearch's form: {block!r}"
        return match.group(1), match.group(2)

    def all(self):
        events = []
        while (e := self.next()) is not None:
            events.append(e)
        assert MARK.encode() not in self.raw
        return events

    def close(self):
        self.connection.close()

    def drop(self):
        """Closes at once, answer or not."""
        if self.connection.sock:
            self.connection.sock.close()
        self.response.close()
        self.connection.close()


SETTINGS = {}  # of every server, unless a story says otherwise


class Inferd:
    def __init__(self, folder, settings=None, upstream=None, env=None, password=PASSWORD,
                 config=None):
        self.folder = str(folder)
        self.data = os.path.join(self.folder, "data")
        self.settings = {
            "http.port": "0",
            "path.data": self.data,
            "xpack.inference.http.retry.initial_delay": "4ms",
            "xpack.inference.http.retry.max_delay_bound": "10ms",
            "node.shutdown_grace": "10s",
        }
        if upstream:
            for s in SERVICES:
                self.settings[f"inference.upstream.{s}.base_url"] = upstream.url
            for s in PREFIXED:
                self.settings[f"inference.upstream.{s}.base_url"] = f"{upstream.url}/{s}"
        self.settings.update(SETTINGS)
        self.settings.update(settings or {})
        self.env, self.password, self.config = dict(env or {}), password, config
        self.process = None
        self.port = None
        self.local = threading.local()
        self.logs = 0
        os.makedirs(self.folder, exist_ok=True)

    # ---- the process ----

    def command(self):
        args = [binary()]
        if self.config:
            args += ["--config", self.config]
        for k, v in self.settings.items():
            if v is not None:
                args += ["-E", f"{k}={v}"]
        return args

    def environment(self):
        env = {k: v for k, v in os.environ.items()
               if not k.startswith(("INFERD_", "ELASTIC_")) and not k.lower().endswith("_proxy")}
        env.pop("ELASTIC_PASSWORD", None)
        if self.password:
            env["ELASTIC_PASSWORD"] = self.password
        env.update(self.env)
        return env

    @property
    def log_path(self):
        return os.path.join(self.folder, f"stderr.{self.logs}.log")

    def launch(self):
        """Starts the process without waiting for it."""
        self.logs += 1
        self.local = threading.local()
        port_file = os.path.join(self.data, "http.port")
        if os.path.exists(port_file):
            os.unlink(port_file)
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(self.command(), env=self.environment(), stderr=log,
                                            stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL,
                                            cwd=self.folder)

    def start(self):
        self.launch()
        self.wait_ready()
        return self

    def wait_ready(self):
        path = os.path.join(self.data, "http.port")

        def port():
            assert self.alive(), f"the server ended with {self.process.returncode}: {self.log()}"
            try:
                with open(path) as f:
                    text = f.read()
            except FileNotFoundError:
                return None
            return int(text) if text.endswith("\n") else None
        self.port = wait_until(port, 20, "listening")
        if self.process.poll() is None:
            assert self.get("/_health", auth=None).status == 200

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def signal(self, number):
        self.process.send_signal(number)

    def wait_exit(self, seconds=10):
        return self.process.wait(seconds * FACTOR)

    def stop(self, seconds=10):
        """SIGTERM; the exit status must be 0 and the log clean."""
        if self.process is None:
            return
        try:
            self.signal(signal.SIGTERM)
            status = self.wait_exit(seconds)
        finally:
            if self.alive():
                self.process.kill()
                self.process.wait()
        log = self.log()
        self.process = None
        assert status == 0, f"exit status {status}: {log[-3000:]}"
        self.check_log(log)

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.check_log(self.log())

    def restart(self):
        self.stop()
        return self.start()

    # ---- the log ----

    def log(self):
        with open(self.log_path, errors="replace") as f:
            return f.read()

    def log_lines(self):
        return [json.loads(line) for line in self.log().splitlines() if line.startswith("{")]

    def check_log(self, log):
        assert MARK not in log, "a secret is in the log"
        assert '"bug: ' not in log, log[-3000:]
        assert "AddressSanitizer" not in log and "runtime error" not in log, log[-6000:]
        assert "ThreadSanitizer" not in log and "LeakSanitizer" not in log, log[-6000:]
        for line in log.splitlines():
            if line and not line.startswith("Password of the user"):
                entry = json.loads(line)
                assert isinstance(entry, dict), line

    # ---- requests ----

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def connect(self, timeout=20):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout * FACTOR)

    def socket(self, timeout=10, rcvbuf=None):
        s = socket.socket()
        if rcvbuf:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        s.settimeout(timeout * FACTOR)
        s.connect(("127.0.0.1", self.port))
        return s

    def head(self, body, headers, auth):
        all_headers = {"accept": "application/json"}
        if auth is True:
            all_headers["authorization"] = basic("elastic", self.password)
        elif auth:
            all_headers["authorization"] = auth
        if body is not None and not isinstance(body, (bytes, str)):
            body = json.dumps(body)
        if body is not None:
            all_headers["content-type"] = "application/json"
        all_headers.update({k.lower(): v for k, v in (headers or {}).items()})
        all_headers = {k: v for k, v in all_headers.items() if v is not None}
        return body.encode() if isinstance(body, str) else body, all_headers

    def request(self, method, path, body=None, headers=None, auth=True, check=True):
        body, head = self.head(body, headers, auth)
        connection = getattr(self.local, "connection", None)
        fresh = connection is None
        if fresh:
            connection = self.local.connection = self.connect()
        try:
            connection.request(method, path, body, head)
            response = connection.getresponse()
            answer = Answer(response.status, response.getheaders(), response.read())
        except (http.client.HTTPException, OSError):
            connection.close()
            self.local.connection = None
            if not fresh:  # the kept connection had ended meanwhile
                return self.request(method, path, body, head, None, check)
            raise
        if check:
            self.check_answer(method, path, answer)
        return answer

    def check_answer(self, method, path, answer):
        assert answer.all("x-elastic-product") == ["Elasticsearch"], answer.headers
        assert MARK.encode() not in answer.body, answer
        kind = answer.header("content-type") or ""
        if kind.startswith("application/") and "json" in kind and answer.body:
            body = answer.json
            if answer.status >= 400 and isinstance(body.get("error"), dict) and "status" in body:
                assert body["status"] == answer.status
            if "filter_path" not in path and "chunk=true" not in path:
                schema.check(method, path.split("?")[0], answer.status, body)

    def get(self, path, **kw):
        return self.request("GET", path, **kw)

    def put(self, path, body=None, **kw):
        return self.request("PUT", path, body, **kw)

    def post(self, path, body=None, **kw):
        return self.request("POST", path, body, **kw)

    def delete(self, path, **kw):
        return self.request("DELETE", path, **kw)

    def stream(self, path, body, headers=None, auth=True, timeout=20, rcvbuf=None):
        body, head = self.head(body, headers, auth)
        connection = self.connect(timeout)
        if rcvbuf:
            connection.sock = self.socket(timeout, rcvbuf)
        connection.request("POST", path, body, head)
        stream = EventStream(connection, connection.getresponse())
        assert stream.header("x-elastic-product") == "Elasticsearch"
        return stream

    # ---- endpoints ----

    def make(self, task, name, service, settings=None, **more):
        """PUTs an endpoint, over any that is there."""
        self.delete(f"/_inference/{name}?force=true")
        body = {"service": service, "service_settings": settings or {}, **more}
        answer = self.put(f"/_inference/{task}/{name}", body)
        assert answer.status == 200, answer
        return answer.json

    def wipe(self):
        for endpoint in self.get("/_inference/_all", check=False).json["endpoints"]:
            name = endpoint["inference_id"]
            if not name.startswith("."):
                assert self.delete(f"/_inference/{name}?force=true").status == 200
