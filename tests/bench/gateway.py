"""./bench gateway: what inferd costs in front of a provider, beside nginx doing proxy_pass.

One machine, one run: a scripted provider that answers at once, in front of it nginx (one worker,
kept-alive upstream connections) and inferd (one loop), both on the same one core; provider and
load generator (wrk) on the others. The same once more with TLS to the provider, where the TLS
connections that each of them opened are counted, and inferd also speaks HTTP/2. nginx passes the provider's bytes on unread; inferd checks
credentials, reads the request, builds the provider's, reads the answer and renders its own. Rounds
are interleaved (nginx, inferd, nginx, inferd ...); medians are shown, ratios are taken round by
round. Every kind of answer is compared in full before anything is measured, and a single error
under load ends the run.
"""
import argparse
import json
import os
import random
import re
import socket
import struct
import subprocess
import sys
import time

from lab import (BASIC, Failed, Lab, call, compile_c, machine, median, put_endpoint, revision,
                 spread, table, version, wait_for)

NAMES = ("nginx", "inferd")
DIMENSIONS = 1536
CHUNKS = 50
QUESTION = ("Which of these statements about the history of the lighthouse at the mouth of the "
            "harbour is true, and where would one look for a source that says so? ") * 2
RATE = {"rate_limit": {"requests_per_minute": 1000000000}}


# ---- what the provider says ----

def embedding_answer():
    """As the real one: pretty-printed, a number per line, eight to ten digits."""
    rng = random.Random(1)
    values = [rng.gauss(0, 1) for _ in range(DIMENSIONS)]
    norm = sum(v * v for v in values) ** 0.5
    numbers = ",\n".join(f"        {v / norm:.9g}" for v in values)
    return ('{\n  "object": "list",\n  "data": [\n    {\n      "object": "embedding",\n'
            f'      "index": 0,\n      "embedding": [\n{numbers}\n      ]\n    }}\n  ],\n'
            '  "model": "text-embedding-3-small",\n  "usage": {\n    "prompt_tokens": 46,\n'
            '    "total_tokens": 46\n  }\n}\n')


def chat_answer():
    return json.dumps({
        "id": "chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT", "object": "chat.completion",
        "created": 1741569952, "model": "gpt-4o-mini-2024-07-18",
        "choices": [{"index": 0, "message": {
            "role": "assistant", "content": "The second one; the harbour office keeps its log "
            "books from 1871 on, and the entry of that \"October gale\" says so.",
            "refusal": None, "annotations": []}, "logprobs": None, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 46, "completion_tokens": 31, "total_tokens": 77},
        "service_tier": "default", "system_fingerprint": "fp_560af6e559"})


def chunk(choices, **more):
    return {"id": "chatcmpl-B9MHDbslfkBeAs8l4bebGdFOJ6PeG", "object": "chat.completion.chunk",
            "created": 1741570283, "model": "gpt-4o-mini-2024-07-18",
            "service_tier": "default", "system_fingerprint": "fp_560af6e559",
            "choices": choices, **more}


def stream_answer():
    """CHUNKS pieces of text, the finish reason, the usage, [DONE]."""
    def choice(delta, reason=None):
        return [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}]
    events = [chunk(choice({"role": "assistant", "content": ""}))]
    events += [chunk(choice({"content": f" word{i:02d}"})) for i in range(CHUNKS)]
    events.append(chunk(choice({}, "stop")))
    events.append(chunk([], usage={"prompt_tokens": 46, "completion_tokens": CHUNKS,
                                   "total_tokens": 46 + CHUNKS}))
    return "".join(f"data: {json.dumps(e, separators=(',', ':'))}\n\n"
                   for e in events) + "data: [DONE]\n\n"


# ---- the workloads ----

def messages(model, stream):
    more = {"stream_options": {"include_usage": True}} if stream else {}
    return {"messages": [{"role": "user", "content": QUESTION}], "model": model, "n": 1,
            "stream": stream, **more}


class Workload:
    """One row of the table: what wrk sends to either server."""

    def __init__(self, name, nginx_path, nginx_body, inferd_path, inferd_body):
        def compact(body):
            return json.dumps(body, separators=(",", ":"))
        self.name = name
        self.path = {"nginx": nginx_path, "inferd": inferd_path, "direct": nginx_path}
        self.body = {"nginx": compact(nginx_body), "inferd": compact(inferd_body),
                     "direct": compact(nginx_body)}


def stream_workload(name, model, endpoint):
    return Workload(name, "/stream/v1/chat/completions", messages(model, True),
                    f"/_inference/chat_completion/{endpoint}/_stream",
                    {"messages": [{"role": "user", "content": QUESTION}]})


EMBEDDING = Workload(f"embedding, {DIMENSIONS} floats", "/v1/embeddings",
                     {"input": [QUESTION], "model": "text-embedding-3-small"},
                     "/_inference/text_embedding/emb", {"input": QUESTION})
COMPLETION = Workload("completion, short", "/v1/chat/completions", messages("gpt-4o-mini", False),
                      "/_inference/completion/com", {"input": QUESTION})
# 50 tokens a second at 512 streams, 200 at 64: a core must be able to keep up with either.
PACED = {64: stream_workload(f"stream, {CHUNKS} chunks, 5 ms apart", "paced-5", "paced-5"),
         512: stream_workload(f"stream, {CHUNKS} chunks, 20 ms apart", "paced-20", "paced-20")}
AT_ONCE = stream_workload(f"stream, {CHUNKS} chunks at once", "gpt-4o-mini", "burst")

ENDPOINTS = [("text_embedding", "emb", "text-embedding-3-small"),
             ("completion", "com", "gpt-4o-mini"), ("chat_completion", "burst", "gpt-4o-mini"),
             ("chat_completion", "paced-5", "paced-5"),
             ("chat_completion", "paced-20", "paced-20")]


# ---- the servers ----

# TLS before the provider, with HTTP/2 for those who ask; what it has accepted shows in /status.
TERMINATOR = """
daemon off; worker_processes 1; pid {folder}/tls.pid; error_log {folder}/tls.log warn;
worker_rlimit_nofile 8192;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
  uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
  keepalive_requests 1000000000; keepalive_timeout 75s;
  proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off;
  upstream provider {{ server 127.0.0.1:{port}; keepalive 1024; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{listen} ssl http2 backlog=4096;
    ssl_certificate {folder}/tls.pem; ssl_certificate_key {folder}/tls.key;
    location / {{ proxy_pass http://provider; }}
  }}
  server {{ listen 127.0.0.1:{status}; location = /status {{ stub_status; }} }}
}}
"""

NGINX = """
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/nginx.log warn;
worker_rlimit_nofile 8192;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  client_body_temp_path {folder}/n1; proxy_temp_path {folder}/n2; fastcgi_temp_path {folder}/n3;
  uwsgi_temp_path {folder}/n4; scgi_temp_path {folder}/n5;
  keepalive_requests 1000000000; keepalive_timeout 75s;
  proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffers 16 8k;
  upstream provider {{ server 127.0.0.1:{port}; keepalive 1024; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{listen} backlog=4096;
    location / {{ proxy_pass http://provider; }}
    location /stream {{ proxy_pass http://provider; proxy_buffering off; }}
    location = /idle {{ return 200 "idle"; }}
  }}
  {more}
}}
"""
TO_TLS = """
  upstream behind-tls {{ server 127.0.0.1:{tls}; keepalive 1024; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{listen} backlog=4096;
    location / {{ proxy_pass https://behind-tls; }}
    location /stream {{ proxy_pass https://behind-tls; proxy_buffering off; }}
  }}
"""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def start_upstream(lab):
    binary = compile_c(lab, "upstream.c", "upstream")
    p = lab.start([binary, lab.write("embedding.json", embedding_answer()),
                   lab.write("chat.json", chat_answer()),
                   lab.write("events.txt", stream_answer())],
                  lab.load_cores, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    p.port = int(p.popen.stdout.readline())
    return p


def start_nginx(lab, upstream, more=""):
    listen = free_port()
    conf = lab.write("nginx.conf", NGINX.format(folder=lab.folder, port=upstream.port,
                                                listen=listen, more=more))
    p = lab.start(["nginx", "-c", conf, "-e", lab.path("nginx.log")], lab.server_cores)
    p.port = listen

    def up():
        p.check_alive()
        try:
            return call(listen, "GET", "/idle", None, {})[0] == 200
        except OSError:
            return False
    wait_for(up, "nginx did not answer")
    return p


def start_inferd(lab, binary, upstream, data="data", **more):
    return lab.start_inferd(binary, data, {
        "http.loops": 1, "node.processors": 1, "inference.upstream.allow_private": "true",
        **({"inference.upstream.openai.base_url": f"http://127.0.0.1:{upstream.port}"}
           if upstream else {}),
        "xpack.inference.http.max_total_connections": 1024,
        "xpack.inference.http.max_route_connections": 1024,
        "xpack.inference.skip_validate_and_start": "true", **more}, lab.server_cores)


# ---- are the answers right? ----

def expect(condition, what):
    if not condition:
        raise Failed(f"wrong answer: {what}")


def f32(x):
    return struct.unpack("f", struct.pack("f", x))[0]


def ask(port, workload, name):
    status, body = call(port, "POST", workload.path[name], workload.body[name])
    expect(status == 200, f"{name}: {workload.name}: {status} {body[:500]}")
    return body.decode()


def check_nginx(nginx):
    expect(ask(nginx.port, EMBEDDING, "nginx") == embedding_answer(), "nginx: embedding")
    expect(ask(nginx.port, COMPLETION, "nginx") == chat_answer(), "nginx: completion")
    for w in (AT_ONCE, *PACED.values()):
        expect(ask(nginx.port, w, "nginx") == stream_answer(), f"nginx: {w.name}")


def check_inferd(inferd):
    got = json.loads(ask(inferd.port, EMBEDDING, "inferd"))["text_embedding"]
    sent = json.loads(embedding_answer())["data"][0]["embedding"]
    expect(len(got) == 1 and [f32(v) for v in got[0]["embedding"]] == [f32(v) for v in sent],
           "inferd: embedding")
    got = json.loads(ask(inferd.port, COMPLETION, "inferd"))
    sent = json.loads(chat_answer())["choices"][0]["message"]["content"]
    expect(got == {"completion": [{"result": sent}]}, "inferd: completion")
    for w in (AT_ONCE, *PACED.values()):
        check_stream(ask(inferd.port, w, "inferd"), w.name)


def check_stream(text, name):
    blocks = text.split("\n\n")
    expect(blocks.pop() == "" and all(b.startswith("event: message\ndata: ") for b in blocks), name)
    data = [b.split("data: ", 1)[1] for b in blocks]
    expect(data.pop() == "[DONE]", f"{name}: [DONE]")
    events = [json.loads(d) for d in data]
    said = "".join(c["delta"].get("content") or "" for e in events for c in e["choices"])
    expect(said == "".join(f" word{i:02d}" for i in range(CHUNKS)), f"{name}: text")
    expect(len(events) >= CHUNKS, f"{name}: events were merged")
    expect(any(c.get("finish_reason") == "stop" for e in events for c in e["choices"]),
           f"{name}: finish_reason")
    expect(any((e.get("usage") or {}).get("total_tokens") == 46 + CHUNKS for e in events),
           f"{name}: usage")


# ---- measuring ----

def one_round(lab, server, name, workload, connections, seconds):
    url = f"http://127.0.0.1:{server.port}{workload.path[name]}"
    before = server.cpu_ns()
    load = lab.wrk(url, [workload.body[name]], connections, seconds)
    load["cpu_us"] = (server.cpu_ns() - before) / 1000 / load["requests"]
    server.check_alive()
    return load


def measure(lab, servers, workload, connections, rounds, seconds):
    got = {name: [] for name in servers}
    for _ in range(rounds):
        for name, server in servers.items():
            got[name].append(one_round(lab, server, name, workload, connections, seconds))
    return got


def mid(rounds, key):
    return median([r[key] for r in rounds])


def ratios(got, key, name="inferd"):
    return [b[key] / a[key] for a, b in zip(got["nginx"], got[name])]


def load_rows(workload, connections, got):
    for name in got:
        r = got[name]
        yield [workload.name if name == "nginx" else "", connections, name,
               f"{mid(r, 'per_s'):.0f}", f"{mid(r, 'cpu_us'):.1f}", f"{mid(r, 'p50'):.0f}",
               f"{mid(r, 'p99'):.0f}",
               spread(ratios(got, "cpu_us", name)) if name != "nginx" else ""]


def measure_load(lab, servers, options):
    pair = {name: servers[name] for name in NAMES}
    rows = []
    for connections in options.connections:
        for workload in (COMPLETION, EMBEDDING, AT_ONCE, PACED.get(connections)):
            if workload:
                got = measure(lab, pair, workload, connections, options.rounds, options.seconds)
                rows += load_rows(workload, connections, got)
    print("CPU is the server's own, in microseconds per request; latencies in microseconds.\n"
          "The last column is inferd's CPU over nginx's: median of the rounds (least-most).\n")
    table(["workload", "conns", "server", "req/s", "CPU us", "p50", "p99", "CPU ratio"], rows)


def measure_latency(lab, servers, options):
    rows = []
    for workload in (COMPLETION, EMBEDDING, AT_ONCE):
        got = measure(lab, servers, workload, 1, options.rounds, options.seconds)
        direct = mid(got["direct"], "p50")
        added = {name: mid(got[name], "p50") - direct for name in NAMES}
        rows.append([workload.name, f"{direct:.0f}"]
                    + [f"{mid(got[name], 'p50'):.0f} (+{added[name]:.0f})" for name in NAMES]
                    + [f"{mid(got['inferd'], 'p99'):.0f}",
                       f"{added['inferd'] / max(added['nginx'], 1):.2f}"])
    print("One connection: p50 in microseconds, and what the server adds to the provider's own.\n")
    table(["workload", "direct", "nginx", "inferd", "inferd p99", "added, ratio"], rows)


# ---- TLS ----

def start_terminator(lab, upstream):
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                    "ec_paramgen_curve:P-256", "-nodes", "-keyout", lab.path("tls.key"), "-out",
                    lab.path("tls.pem"), "-days", "2", "-subj", "/CN=localhost", "-addext",
                    "subjectAltName=DNS:localhost,IP:127.0.0.1"], check=True, capture_output=True)
    ports = {"listen": free_port(), "status": free_port()}
    conf = lab.write("tls.conf", TERMINATOR.format(folder=lab.folder, port=upstream.port, **ports))
    p = lab.start(["nginx", "-c", conf, "-e", lab.path("tls.log")], lab.load_cores)
    p.port, p.status = ports["listen"], ports["status"]

    def up():
        p.check_alive()
        try:
            return accepted(p) is not None
        except OSError:
            return False
    wait_for(up, "the TLS terminator did not answer")
    return p


def accepted(terminator):
    """Connections so far, those that ask for the number left out."""
    text = call(terminator.status, "GET", "/status", None, {})[1].decode()
    terminator.asked = getattr(terminator, "asked", 0) + 1
    return int(re.search(r"handled requests\s+(\d+)", text).group(1)) - terminator.asked


def create_tls_endpoints(lab, port, tls):
    with open(lab.path("tls.pem")) as f:
        egress = {"ca": f.read()}
    for task, name, model in ENDPOINTS:
        path = "embeddings" if task == "text_embedding" else "chat/completions"
        body = openai(model)
        body["service_settings"].update(url=f"https://localhost:{tls.port}/v1/{path}", egress=egress)
        put_endpoint(port, task, name, body)


def measure_tls(lab, binary, upstream, options):
    tls = start_terminator(lab, upstream)
    listen = free_port()
    nginx = start_nginx(lab, upstream, TO_TLS.format(tls=tls.port, listen=listen))
    nginx.port = listen
    servers = {"nginx": nginx,
               "inferd": start_inferd(lab, binary, None, "tls", **{"inference.upstream.http2": "false"}),
               "inferd, HTTP/2": start_inferd(lab, binary, None, "tls-2")}
    check_nginx(nginx)
    for name in list(servers)[1:]:
        create_tls_endpoints(lab, servers[name].port, tls)
        check_inferd(servers[name])
    connections = options.connections[0]
    got, opened = {}, {}
    for workload in (COMPLETION, EMBEDDING, AT_ONCE):
        for name, server in [*servers.items()] * options.rounds:
            before = accepted(tls)
            load = one_round(lab, server, name.split(",")[0], workload, connections, options.seconds)
            got.setdefault(workload, {}).setdefault(name, []).append(load)
            n, of = opened.get(name, (0, 0))
            opened[name] = n + accepted(tls) - before, of + load["requests"]
    rows = [r for workload, rounds in got.items() for r in load_rows(workload, connections, rounds)]
    print("With TLS to the provider.\n")
    table(["workload", "conns", "server", "req/s", "CPU us", "p50", "p99", "CPU ratio"], rows)
    print("TLS connections opened: " + ", ".join(
        f"{name} {n} for {of} requests" for name, (n, of) in opened.items()) + "\n")
    for p in (*servers.values(), tls):
        p.stop()


# ---- memory ----

def settle(server):
    """RSS once it has stopped moving."""
    last = -1
    for _ in range(20):
        time.sleep(0.1)
        now = server.rss_kb()
        if now == last:
            break
        last = now
    return now


def idle_connections(port, n, request):
    """n open connections that have each had one answer."""
    out = []
    for _ in range(n):
        s = socket.create_connection(("127.0.0.1", port), 30)
        s.sendall(request)
        out.append(s)
        got = b""
        while b"\r\n\r\n" not in got:
            piece = s.recv(65536)
            expect(piece, "an idle connection was closed")
            got += piece
        expect(got.startswith(b"HTTP/1.1 200"), got[:100])
        head, body = got.split(b"\r\n\r\n", 1)
        length = [h for h in head.split(b"\r\n") if h.lower().startswith(b"content-length:")]
        left = int(length[0].split(b":")[1]) - len(body)
        while left > 0:
            left -= len(s.recv(65536))
    return out


def per_connection(server, request, n=1000):
    for s in idle_connections(server.port, 16, request):  # so that first uses are not counted
        s.close()
    before = settle(server)
    open_now = idle_connections(server.port, n, request)
    after = settle(server)
    for s in open_now:
        s.close()
    return (after - before) / n


def measure_memory(lab, binary, upstream):
    rows = []
    nginx = start_nginx(lab, upstream)
    rows.append(["nginx worker, idle", f"{settle(nginx) / 1024:.1f} MiB"])
    kib = per_connection(nginx, b"GET /idle HTTP/1.1\r\nHost: x\r\n\r\n")
    rows.append(["nginx, per idle connection", f"{kib:.2f} KiB"])
    nginx.stop()
    inferd = start_inferd(lab, binary, upstream, "memory")
    rows.append(["inferd, idle", f"{settle(inferd) / 1024:.1f} MiB"])
    kib = per_connection(inferd, b"GET /_health HTTP/1.1\r\nHost: x\r\n\r\n")
    rows.append(["inferd, per idle connection, after GET /_health", f"{kib:.2f} KiB"])
    create_endpoints(inferd.port)
    body = EMBEDDING.body["inferd"]
    request = (f"POST {EMBEDDING.path['inferd']} HTTP/1.1\r\nHost: x\r\nAuthorization: {BASIC}\r\n"
               f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}")
    kib = per_connection(inferd, request.encode())
    rows.append(["inferd, per idle connection, after an embedding", f"{kib:.2f} KiB"])
    started = time.monotonic()
    for i in range(1000):
        put_endpoint(inferd.port, "completion", f"many-{i}", openai("gpt-4o-mini"))
    per_put = (time.monotonic() - started)
    rows.append(["inferd, after creating 1,000 endpoints", f"{settle(inferd) / 1024:.1f} MiB"])
    rows.append(["    creating one (durable)", f"{per_put:.2f} ms"])
    inferd.stop()
    inferd = start_inferd(lab, binary, upstream, "memory")
    rows.append(["inferd, restarted with 1,000 endpoints", f"{settle(inferd) / 1024:.1f} MiB"])
    inferd.stop()
    print("Resident memory.\n")
    table(["what", "RSS"], rows)


def openai(model):
    return {"service": "openai", "service_settings": {"api_key": "sk-bench", "model_id": model,
                                                      **RATE}}


def create_endpoints(port):
    for task, name, model in ENDPOINTS:
        put_endpoint(port, task, name, openai(model))


# ---- the whole ----

def run(lab, options):
    upstream = start_upstream(lab)
    print(f"{time.strftime('%Y-%m-%d')}, inferd {revision()}, {version(['nginx', '-v'])}, "
          f"{version(['wrk', '-v'])}\n{machine()}\n"
          f"rounds of {options.seconds} s: {options.rounds}; answer sizes: embedding "
          f"{len(embedding_answer())} B, completion {len(chat_answer())} B, "
          f"stream {len(stream_answer())} B\n", flush=True)
    if "memory" in options.parts:
        measure_memory(lab, options.inferd, upstream)
    if "tls" in options.parts:
        measure_tls(lab, options.inferd, upstream, options)
    nginx = start_nginx(lab, upstream)
    inferd = start_inferd(lab, options.inferd, upstream)
    create_endpoints(inferd.port)
    check_nginx(nginx)
    check_inferd(inferd)
    servers = {"direct": upstream, "nginx": nginx, "inferd": inferd}
    if "latency" in options.parts:
        measure_latency(lab, servers, options)
    if "load" in options.parts:
        measure_load(lab, servers, options)
    print(f"RSS after all of that: nginx {nginx.rss_kb() / 1024:.1f} MiB, "
          f"inferd {inferd.rss_kb() / 1024:.1f} MiB")
    check_inferd(inferd)


def main():
    p = argparse.ArgumentParser(prog="./bench gateway", description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--inferd", required=True, help=argparse.SUPPRESS)
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--seconds", type=int, default=3)
    p.add_argument("--connections", type=lambda s: [int(c) for c in s.split(",")],
                   default=[64, 512], metavar="N,N")
    p.add_argument("--parts", type=lambda s: s.split(","), default=["memory", "tls", "latency", "load"],
                   metavar="PART,PART", help="of: memory,tls,latency,load")
    options = p.parse_args()
    os.environ.pop("http_proxy", None)
    try:
        with Lab() as lab:
            run(lab, options)
    except Failed as e:
        sys.exit(f"bench: {e}")


if __name__ == "__main__":
    main()
