"""HTTP/2 as others speak it, nginx and Node: bursts of calls, each with an input of its own, whose
answers must be theirs. What these servers do to connections no call may feel unless its answer had begun."""
import concurrent.futures
import json
import os
import shutil
import socket
import subprocess

import pytest

from http2 import make_pki, wait_for

PATH = "/_inference/completion/c"
SETTINGS = {"api_key": "sk-x", "model_id": "gpt-4o-mini", "rate_limit": {"requests_per_minute": 10000000}}

pytestmark = pytest.mark.skipif(not shutil.which("openssl"), reason="needs the openssl command")


@pytest.fixture(scope="module")
def pki(tmp_path_factory):
    return make_pki(tmp_path_factory.mktemp("pki"))


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as s:
        return s.getsockname()[1]


def is_open(port):
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def run(tmp_path):
    processes = []

    def run(port, *command):
        log = open(tmp_path / f"server.{len(processes)}.log", "w")
        processes.append(subprocess.Popen(command, stdout=log, stderr=log, cwd=tmp_path))
        wait_for(lambda: is_open(port))
        return processes[-1]
    yield run
    for p in processes:
        p.terminate()
        p.wait()


@pytest.fixture
def nginx(run, pki, upstream, tmp_path):
    if not shutil.which("nginx"):
        pytest.skip("needs nginx")

    def nginx(settings):
        port = free_port()
        temp = " ".join(f"{kind}_temp_path {tmp_path}/{kind};"
                        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        (tmp_path / "nginx.conf").write_text(f"""
            {"user root;" if os.geteuid() == 0 else ""}
            daemon off; pid {tmp_path}/nginx.pid; error_log {tmp_path}/nginx.log;
            events {{ }}
            http {{
              access_log off; client_max_body_size 100m; {temp}
              upstream behind {{ server 127.0.0.1:{upstream.port}; keepalive 32; }}
              server {{
                listen 127.0.0.1:{port} ssl http2; {settings}
                ssl_certificate {pki}/server.pem; ssl_certificate_key {pki}/server.key;
                location / {{ proxy_pass http://behind; proxy_http_version 1.1; proxy_set_header Connection ""; }}
              }}
            }}""")
        run(port, "nginx", "-c", str(tmp_path / "nginx.conf"))
        return port
    return nginx


@pytest.fixture
def start(spawn, pki):
    def start(port):
        server = spawn({"inference.upstream.openai.base_url": f"https://127.0.0.1:{port}", "http.loops": "1",
                        "inference.upstream.certificate_authorities": str(pki / "ca.pem"),
                        "xpack.inference.skip_validate_and_start": "true"})
        server.make("completion", "c", "openai", SETTINGS)
        return server
    return start


def call(server, n):
    """True: the answer is this input's. None: there is none, and a clear word about why."""
    text = f"{n} " + "x" * (n * 7919 % 3000) if n % 40 else f"{n} " + "y" * 1_000_000
    if n % 3:
        answer = server.post(PATH, {"input": text})
        return None if answer.status >= 400 else answer.json == {"completion": [{"result": "Echo: " + text}]}
    got, stream = "", server.stream(PATH + "/_stream", {"input": text}, timeout=60)
    for name, data in stream.all():
        if name == "error":
            return None if ("Echo: " + text).startswith(got) else False
        if data != "[DONE]":
            got += "".join(d["delta"] for d in json.loads(data)["completion"])
    stream.close()
    return got == "Echo: " + text


def burst(server, n, at_once):
    with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
        answers = list(pool.map(lambda i: call(server, i), range(1, n + 1)))
    assert False not in answers
    return answers.count(None)


@pytest.mark.parametrize("settings", [
    "", "keepalive_requests 5;", "http2_max_concurrent_streams 1;",
    "http2_max_concurrent_streams 3; keepalive_requests 7; http2_body_preread_size 0;",
    "keepalive_timeout 0;",
], ids=lambda s: s or "as it comes")
def test_nginx(nginx, start, settings):
    assert burst(start(nginx(settings)), 200, 24) == 0


@pytest.mark.skipif(not shutil.which("node"), reason="needs node")
@pytest.mark.parametrize("streams, life", [(100, 0), (2, 0), (5, 150)])
def test_node(run, start, pki, streams, life):
    port = free_port()
    story = os.path.join(os.path.dirname(__file__), "http2_node.js")
    run(port, "node", story, str(port), pki / "server.key", pki / "server.pem", str(streams), str(life))
    failed = burst(start(port), 300, 24)
    assert failed < (300 if life else 1)  # after some failures in a row the circuit opens
