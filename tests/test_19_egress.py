"""How an endpoint's requests leave: by a proxy, with headers of the house, to servers that trust a
private CA and want a certificate. And keys that are changed under load."""
import concurrent.futures
import re
import shutil
import socket
import ssl
import subprocess
import threading

import pytest

from inferd import MARK, wait_until
from upstream import Reply, reply_text

KEY = "sk-" + MARK
FAST = {"rate_limit": {"requests_per_minute": 1000000}}
MODEL = {"api_key": KEY, "model_id": "gpt-4o-mini", **FAST}
PATH = "/_inference/completion/c"
BODY = {"input": "hi"}
ANSWER = {"completion": [{"result": reply_text("hi")}]}
ANYWHERE = {"inference.upstream.allow_private": "true",
            "inference.upstream.openai.base_url": None}

needs_openssl = pytest.mark.skipif(not shutil.which("openssl"), reason="needs the openssl command")


# --- servers in between ---

class Relay:
    """Accepts connections and hands each to `serve` on a thread."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.lock = threading.Lock()
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                peer, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.run, args=(peer,), daemon=True).start()

    def run(self, peer):
        try:
            self.serve(peer)
        except OSError:
            pass
        finally:
            peer.close()

    @staticmethod
    def pump(a, b, change=lambda data: data):
        try:
            while data := a.recv(65536):
                b.sendall(change(data))
        except OSError:
            pass
        finally:
            for s in (a, b):
                try:
                    s.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def join(self, peer, port, change=lambda data: data):
        with socket.create_connection(("127.0.0.1", port)) as other:
            thread = threading.Thread(target=self.pump, args=(other, peer), daemon=True)
            thread.start()
            self.pump(peer, other, change)
            thread.join(5)

    def close(self):
        self.listener.close()


class Proxy(Relay):
    """An HTTP proxy: notes the heads it gets, and takes every name for this machine. Whole URLs go
    to `port` as they are, with their paths only."""

    def __init__(self, port, refuse=None):
        self.target, self.refuse, self.heads = port, refuse, []
        super().__init__()

    def serve(self, peer):
        with socket.create_connection(("127.0.0.1", self.target)) as other:
            threading.Thread(target=self.pump, args=(other, peer), daemon=True).start()
            rest = b""
            while rest := self.request(peer, rest, other):
                rest = rest[1:]

    def head(self, peer, data):
        """The next head, and what came after it."""
        while b"\r\n\r\n" not in data:
            more = peer.recv(65536)
            if not more:
                raise ConnectionError
            data += more
        head, rest = data.split(b"\r\n\r\n", 1)
        with self.lock:
            self.heads.append(head.decode())
        return head, rest

    def request(self, peer, data, other):
        """Passes one request on. What came after it, behind a byte that says there may be more."""
        head, rest = self.head(peer, data)
        if self.refuse:
            peer.sendall(b"HTTP/1.1 %d No\r\nContent-Length: 0\r\n\r\n" % self.refuse)
            return None
        if head.startswith(b"CONNECT "):
            peer.sendall(b"HTTP/1.1 200 Connected\r\nX-Proxy: 1\r\n\r\n")
            self.join(peer, int(head.split()[1].rsplit(b":", 1)[1]))
            return None
        line, others = head.split(b"\r\n", 1)
        method, url, version = line.split()
        length = int(re.search(rb"(?i)content-length: (\d+)", others).group(1))
        while len(rest) < length:
            rest += peer.recv(65536)
        path = b"/" + url.split(b"/", 3)[3]
        other.sendall(b" ".join((method, path, version)) + b"\r\n" + others + b"\r\n\r\n" +
                      rest[:length])
        return b"+" + rest[length:]


class Tls(Relay):
    """TLS before `port`; notes the name of the certificate that each connection was opened with, and
    tells it with every request in X-Client."""

    def __init__(self, port, pki, want=True):
        self.target, self.names = port, []
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(pki / "server.pem", pki / "server.key")
        self.context.load_verify_locations(pki / "ca.pem")
        self.context.verify_mode = ssl.CERT_REQUIRED if want else ssl.CERT_NONE
        super().__init__()

    def serve(self, peer):
        with self.context.wrap_socket(peer, server_side=True) as tls:
            names = [v for row in (tls.getpeercert() or {}).get("subject", ()) for _, v in row]
            name = names[0] if names else "nobody"
            with self.lock:
                self.names.append(name)
            mark = b"\r\nX-Client: " + name.encode() + b"\r\nHost:"
            self.join(tls, self.target, lambda data: data.replace(b"\r\nHost:", mark))


@pytest.fixture(scope="module")
def pki(tmp_path_factory):
    """ca.pem; server, alice and bob, each .pem and .key, signed by it; other.pem, another CA."""
    folder = tmp_path_factory.mktemp("pki")

    def openssl(*args):
        subprocess.run(["openssl", *args], cwd=folder, check=True, capture_output=True)
    for ca in ("ca", "other"):
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                "-keyout", f"{ca}.key", "-out", f"{ca}.pem", "-days", "2", "-subj", f"/CN={ca}")
    (folder / "san").write_text("subjectAltName=DNS:localhost,DNS:model.invalid,IP:127.0.0.1")
    for name in ("server", "alice", "bob"):
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key",
                "-CAcreateserial", "-out", f"{name}.pem", "-days", "2",
                *(("-extfile", "san") if name == "server" else ()))
    return folder


@pytest.fixture
def relays():
    made = []

    def make(relay):
        made.append(relay)
        return relay
    yield make
    for relay in made:
        relay.close()


def port_of(upstream):
    return upstream.port


def refusal(server, settings, text, status=400):
    answer = server.put(PATH, {"service": "openai", "service_settings": settings})
    assert (answer.status, text in answer.text) == (status, True), answer
    return answer


# --- proxies and headers ---

def test_headers_of_the_house(server, upstream):
    egress = {"headers": {"X-Org": "a", "Content-Type": "application/json; house=1"}}
    made = server.make("completion", "c", "openai", dict(MODEL, egress=egress))
    assert made["service_settings"]["egress"] == egress
    upstream.clear()
    assert server.post(PATH, BODY).json == ANSWER
    (sent,) = upstream.requests
    assert sent.headers["x-org"] == "a"
    assert sent.headers["content-type"] == "application/json; house=1"
    (shown,) = server.post(PATH + "/_simulate", BODY).json["requests"]
    assert shown["headers"]["X-Org"] == "a"
    assert server.put(PATH + "/_update", {"service_settings": {"egress": {}}}).status == 200
    assert server.post(PATH, BODY).json == ANSWER
    assert "x-org" not in upstream.requests[-1].headers


def test_a_proxy(spawn, upstream, relays):
    proxy = relays(Proxy(port_of(upstream)))
    server = spawn(ANYWHERE)
    egress = {"proxy": f"http://127.0.0.1:{proxy.port}"}
    server.make("completion", "c", "openai",
                dict(MODEL, url="http://model.invalid/v1/chat/completions", egress=egress))
    assert server.post(PATH, BODY).json == ANSWER
    assert all(h.startswith("POST http://model.invalid/v1/chat/completions HTTP/1.1\r\n")
               for h in proxy.heads)
    events = server.stream(PATH + "/_stream", BODY).all()
    assert events[-1] == ("message", "[DONE]")
    assert server.post(PATH + "/_simulate", BODY).json["proxy"] == egress["proxy"]


def test_the_address_of_a_proxy_is_checked(server, upstream, relays):
    """The operator's base_url may be private; an endpoint's proxy may not."""
    proxy = relays(Proxy(port_of(upstream)))
    url = f"http://127.0.0.1:{proxy.port}"
    refusal(server, dict(MODEL, egress={"proxy": url}),
            f"The address of [{url}] is private, which is not allowed.")
    assert proxy.heads == []


def test_no_proxy_from_the_environment(spawn, upstream, relays):
    proxy = relays(Proxy(port_of(upstream)))
    env = {"http_proxy": "http://127.0.0.1:9", "no_proxy": "*", "NO_PROXY": "*"}
    server = spawn(ANYWHERE, env=env)
    server.make("completion", "c", "openai",
                dict(MODEL, url=upstream.url + "/v1/chat/completions",
                     egress={"proxy": f"http://127.0.0.1:{proxy.port}"}))
    assert len(proxy.heads) == 1


def test_a_proxy_that_refuses(spawn, upstream, relays):
    proxy = relays(Proxy(port_of(upstream), refuse=403))
    server = spawn(ANYWHERE)
    answer = refusal(server, dict(MODEL, url="https://model.invalid/v1/chat/completions",
                                  egress={"proxy": f"http://127.0.0.1:{proxy.port}"}), "403")
    assert MARK not in "".join(proxy.heads)
    assert "authorization" not in "".join(proxy.heads).lower(), answer


@pytest.mark.parametrize("egress, text", [
    ({"proxy": "socks5://p:1"}, "[proxy] must be of the form [http://host:port]"),
    ({"proxy": "http://u:p@p:1"}, "without credentials"),
    ({"headers": {"Content-Length": "1"}}, "must not be set"),
    ({"headers": {"X": "a\r\nY: b"}}, "must be one line of text"),
    ({"ca": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"},
     "[ca] must be certificates in PEM"),
    ({"client_certificate": "x"}, "[client_certificate] must be certificates in PEM"),
    ({"client_key": "x"}, "belongs into [egress_client_key]"),
    ({"proxies": "x"}, "[egress] does not allow the setting [proxies]"),
    ("http://p:1", "[egress]"),
])
def test_wrong_settings(server, upstream, egress, text):
    refusal(server, dict(MODEL, egress=egress), text)


def test_too_many_headers_for_a_signature(spawn, upstream):
    """The signature needs room beside the caller's own headers."""
    server = spawn({"xpack.inference.skip_validate_and_start": "true"})
    server.make("completion", "c", "openai",
                {"client_secret": "cs-" + MARK, "client_id": "id", "scopes": ["s"],
                 "token_url": upstream.url + "/token", "model_id": "m", **FAST})
    headers = {f"X-{i}": "v" for i in range(63)}
    body = dict(BODY, task_settings={"headers": headers})
    answer = server.post(PATH + "/_simulate", body)
    assert (answer.status, "more than [60] headers" in answer.reason) == (400, True)


# --- certificates ---

def trusting(pki, url, name=None, **more):
    egress = {"ca": (pki / "ca.pem").read_text(), **more}
    settings = dict(MODEL, url=url, egress=egress)
    if name:
        egress["client_certificate"] = (pki / f"{name}.pem").read_text()
        settings["egress_client_key"] = (pki / f"{name}.key").read_text()
    return settings


@needs_openssl
def test_a_private_ca(spawn, upstream, relays, pki):
    tls = relays(Tls(port_of(upstream), pki, want=False))
    server = spawn(ANYWHERE)
    url = f"https://localhost:{tls.port}/v1/chat/completions"
    refusal(server, dict(MODEL, url=url), "No secure connection")
    settings = trusting(pki, url)
    server.make("completion", "c", "openai", settings)
    assert server.post(PATH, BODY).json == ANSWER
    settings["egress"] = {"ca": (pki / "other.pem").read_text()}
    answer = server.put("/_inference/completion/d",
                        {"service": "openai", "service_settings": settings})
    assert (answer.status, "No secure connection" in answer.text) == (400, True)
    server.put("/_inference/completion/d", {"service": "openai",
                                            "service_settings": dict(MODEL, url=url)})
    assert server.get("/_inference/completion/d").status == 404  # no way in by a kept connection


@needs_openssl
def test_client_certificates_share_no_connections(spawn, upstream, relays, pki):
    tls = relays(Tls(port_of(upstream), pki))
    server = spawn(dict(ANYWHERE, **{"node.processors": "1"}))
    url = f"https://127.0.0.1:{tls.port}/v1/chat/completions"
    refusal(server, trusting(pki, url), "")
    for name in ("alice", "bob"):
        made = server.make("completion", name, "openai", trusting(pki, url, name))
        assert "egress_client_key" not in made["service_settings"]
        assert "PRIVATE KEY" not in server.get("/_inference/_all").text
    opened = len(tls.names)
    for name in ("alice", "bob", "alice", "bob"):  # on kept connections, each on its own
        assert server.post(f"/_inference/completion/{name}", BODY).json == ANSWER
        assert upstream.requests[-1].headers["x-client"] == name
    assert len(tls.names) == opened
    # whoever knows a certificate but not its key gets nowhere
    settings = trusting(pki, url, "alice")
    settings["egress_client_key"] = (pki / "bob.key").read_text()
    refusal(server, settings, "It is not the key of [client_certificate]")
    del settings["egress_client_key"]
    refusal(server, settings, "needs the setting [egress_client_key]")
    # and the key is kept with the other secrets
    server.restart()
    assert server.post("/_inference/completion/alice", BODY).json == ANSWER
    assert tls.names[-1] == "alice"


@needs_openssl
def test_tls_is_set_up_once(spawn, upstream, relays, pki):
    """However many calls follow each other, small or larger than a record in either direction."""
    tls = relays(Tls(port_of(upstream), pki, want=False))
    server = spawn(dict(ANYWHERE, **{"node.processors": "1"}))
    server.make("completion", "c", "openai",
                trusting(pki, f"https://localhost:{tls.port}/v1/chat/completions"))
    opened = len(tls.names)
    assert opened == 1
    for n in (1, 10, 15000, 17000, 70000, 300000) * 3:
        text = "".join(f"{i} " for i in range(n // 5))
        assert server.post(PATH, {"input": text}).json == {
            "completion": [{"result": reply_text(text)}]}
    for _ in range(3):
        assert server.stream(PATH + "/_stream", BODY).all()[-1] == ("message", "[DONE]")
    assert len(tls.names) == opened


@needs_openssl
def test_calls_at_once_behind_tls(spawn, upstream, relays, pki):
    """No more connections than calls were under way together, and no answer goes astray."""
    tls = relays(Tls(port_of(upstream), pki, want=False))
    server = spawn(dict(ANYWHERE, **{"node.processors": "1"}))
    server.make("completion", "c", "openai",
                trusting(pki, f"https://localhost:{tls.port}/v1/chat/completions"))

    def caller(name):
        for i in range(20):
            text = f"{name}-{i} " * (1 + i * 100)
            assert server.post(PATH, {"input": text}).json == {
                "completion": [{"result": reply_text(text)}]}
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(caller, "abcdefgh"))
    assert len(tls.names) <= 8


@needs_openssl
def test_certificates_by_a_proxy(spawn, upstream, relays, pki):
    tls = relays(Tls(port_of(upstream), pki))
    proxy = relays(Proxy(port_of(upstream)))
    server = spawn(ANYWHERE)
    url = f"https://model.invalid:{tls.port}/v1/chat/completions"
    server.make("completion", "c", "openai",
                trusting(pki, url, "bob", proxy=f"http://127.0.0.1:{proxy.port}",
                         headers={"X-Org": "a"}))
    assert server.post(PATH, BODY).json == ANSWER
    assert set(tls.names) == {"bob"}
    for head in proxy.heads:
        assert head.startswith(f"CONNECT model.invalid:{tls.port} HTTP/1.1\r\n")
        assert "authorization" not in head.lower() and "x-org" not in head.lower()
    assert upstream.requests[-1].headers["x-org"] == "a"


# --- keys ---

def test_a_key_is_changed_without_a_failed_call(server, upstream):
    """For a while the provider takes both keys; not one call may fail, and after the update none
    that begins may use the old one."""
    server.make("completion", "c", "openai", MODEL)
    upstream.clear()
    stop = threading.Event()
    failed = []

    def caller():
        n = 0
        while not stop.is_set():
            answer = server.post(PATH, BODY)
            n += 1
            if answer.status != 200:
                failed.append(answer)
        return n

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        callers = [pool.submit(caller) for _ in range(4)]
        try:
            for i in range(5):
                seen = len(upstream.requests)
                wait_until(lambda: len(upstream.requests) > seen + 20)
                new = {"service_settings": {"api_key": f"{KEY}-{i}"}}
                assert server.put(PATH + "/_update", new).status == 200
        finally:
            stop.set()
        assert all(c.result() > 5 for c in callers)
    assert failed == []
    upstream.clear()
    assert server.post(PATH, BODY).status == 200
    assert upstream.requests[0].headers["authorization"] == f"Bearer {KEY}-4"


def test_a_key_that_does_not_work_is_not_taken(server, upstream):
    server.make("completion", "c", "openai", MODEL)
    upstream.clear()
    upstream.script(Reply(401, {"error": {"message": "no"}}))
    answer = server.put(PATH + "/_update", {"service_settings": {"api_key": KEY + "-bad"}})
    assert answer.status == 400
    assert server.post(PATH, BODY).status == 200
    assert upstream.requests[-1].headers["authorization"] == f"Bearer {KEY}"
