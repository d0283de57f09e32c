"""A scripted provider: one HTTP/1.1 server that answers as OpenAI, Cohere (v2) and Hugging Face do.

Left alone it answers every good request deterministically (see `vector`, `weights`, `score`,
`reply_text`), so a story can compute what the client must see. It checks every request against the
provider's wire format and notes what is wrong in `violations`, which the fixture asserts empty.

    upstream.script(Reply(429, {"error": {...}}, headers={"retry-after": "1"}))   # the next request
    upstream.script(Reset(), Reply(500))                                          # the next two
    upstream.script(Stream([chunk, chunk], cut="fin"))
    gate = upstream.script(Hang())[0]; ...; gate.release()

Each request takes one behaviour off the queue; when it is empty, the default answers.
`upstream.requests` holds what came in, oldest first.

The other services stand in files of their own, upstream_*.py, which put themselves into ROUTES;
their paths begin with the service's name (inferd.py sets base_urls so):

    @route("mistral", "/v1/embeddings")
    def embeddings(request): ... expect(...) ... return Reply(200, {...})
"""
import asyncio
import hashlib
import json
import math
import re
import socket
import struct
import threading
import time

# ---- what a story can compute ----


def f32(x):
    """The float32 nearest to x, as a float."""
    return struct.unpack("f", struct.pack("f", x))[0]


def vector(text, n=8):
    """The embedding of a text: n numbers of at most five digits, unlike for unlike texts."""
    digest = hashlib.sha256(text.encode()).digest()
    return [round((digest[i % 32] - 127.5 + i // 32) / 200, 5) for i in range(n)]


def int8s(text, n=8):
    digest = hashlib.sha256(text.encode()).digest()
    return [digest[i % 32] - 128 for i in range(n)]


def weights(text):
    """Sparse: every word of the text with a weight from its own letters."""
    return {w: round(1 + (sum(w.encode()) % 100) / 100, 2) for w in text.lower().split()}


def score(query, text):
    """Relevance: the share of the query's words found in the text, made unique by the text."""
    words = query.lower().split()
    found = sum(w in text.lower().split() for w in words) / max(1, len(words))
    noise = hashlib.sha256(text.encode()).digest()[0] / 100000
    return round(found * 0.9 + noise, 5)


def reply_text(prompt):
    return "Echo: " + prompt


def pieces(text):
    """How a text is streamed: word by word."""
    words = text.split(" ")
    return [w + (" " if i + 1 < len(words) else "") for i, w in enumerate(words)]


# ---- behaviours ----


class Behaviour:
    pass


class Default(Behaviour):
    """Answers as if nothing was scripted (to let one pass in a row)."""


class Reply(Behaviour):
    """One whole answer. body: bytes, str, or anything JSON. The rest bends it:
    length: the Content-Length to claim; chunked: send in chunks of that many bytes; delay: seconds
    before the head; drip: (bytes, seconds) between pieces; close: end the connection afterwards;
    raw: send these bytes and nothing else, then close."""

    def __init__(self, status=200, body=b"", headers=None, length=None, chunked=0, delay=0,
                 drip=None, close=False, raw=None, content_type="application/json"):
        self.status, self.headers, self.length = status, dict(headers or {}), length
        self.chunked, self.delay, self.drip, self.close, self.raw = chunked, delay, drip, close, raw
        self.content_type = content_type
        if isinstance(body, str):
            body = body.encode()
        self.body = body if isinstance(body, bytes) else json.dumps(body).encode()


class Reset(Behaviour):
    """Reads the request, then resets the connection."""


class Close(Behaviour):
    """Reads the request, then closes without a byte."""


class Hang(Behaviour):
    """Answers nothing until released (then as by default) or until the client is gone."""

    def __init__(self):
        self.event = threading.Event()

    def release(self):
        self.event.set()


class Stream(Behaviour):
    """An event stream. events: dicts (one `data:` block each), or str/bytes sent as they are.
    done: end with [DONE]; cut: None, "fin" (end the connection without the last chunk), "rst";
    pause: seconds between pieces; gate: a Hang to wait for before piece number `gate_at`;
    split: send everything in pieces of that many bytes; endless: repeat the last event for ever;
    headers: more of them."""

    def __init__(self, events, done=True, cut=None, pause=0, gate=None, gate_at=0, split=0,
                 endless=False, status=200, eol="\n", chunked=True,
                 content_type="text/event-stream", headers=None):
        self.events, self.done, self.cut, self.pause = list(events), done, cut, pause
        self.gate, self.gate_at, self.split, self.endless = gate, gate_at, split, endless
        self.status, self.eol, self.chunked = status, eol, chunked
        self.content_type, self.headers = content_type, dict(headers or {})

    def blocks(self):
        for e in self.events:
            yield self.block(e)
        if self.done and not self.endless:
            yield self.block("data: [DONE]\n\n")

    def block(self, e):
        if isinstance(e, dict):
            e = "data: " + json.dumps(e) + "\n\n"
        if isinstance(e, str):
            e = e.replace("\n", self.eol).encode()
        return e


class Request:
    """What came in. `gone` is set when the client closes before the answer is complete, `complete`
    when the answer has been written whole."""

    def __init__(self, method, target, headers, connection):
        self.method, self.target, self.headers, self.connection = method, target, headers, connection
        self.path, _, self.query = target.partition("?")
        self.body = b""
        self.json = None
        self.at = time.monotonic()
        self.gone = threading.Event()
        self.complete = threading.Event()
        self.sent = 0

    def __repr__(self):
        return f"<{self.method} {self.target} {self.body[:200]!r}>"


# ---- providers ----

CHAT_MEMBERS = {"messages", "model", "n", "stop", "temperature", "top_p", "tool_choice", "tools",
                "stream", "stream_options", "user", "max_completion_tokens"}
HF_CHAT_MEMBERS = (CHAT_MEMBERS - {"max_completion_tokens", "user"}) | {"max_tokens"}


class Wrong(Exception):
    pass


def expect(ok, what):
    if not ok:
        raise Wrong(what)


def members(body, required, allowed):
    expect(isinstance(body, dict), "the body is no object")
    expect(set(required) <= set(body), f"missing members {sorted(set(required) - set(body))}")
    expect(set(body) <= set(allowed), f"unknown members {sorted(set(body) - set(allowed))}")


def texts(body, name):
    value = body[name]
    expect(isinstance(value, list) and all(isinstance(t, str) for t in value), f"[{name}]")
    return value


def openai_embeddings(request):
    body = request.json
    members(body, ["input", "model"], ["input", "model", "user", "dimensions"])
    n = body.get("dimensions", 8)
    data = [{"object": "embedding", "index": i, "embedding": vector(t, n)}
            for i, t in enumerate(texts(body, "input"))]
    return Reply(200, {"object": "list", "data": data, "model": body["model"],
                       "usage": {"prompt_tokens": 8, "total_tokens": 8}})


def chunk(delta, finish=None, model="gpt-4o-mini", **extra):
    """One chunk of OpenAI's chat stream."""
    return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1737460800,
            "model": model, "system_fingerprint": "fp_1",
            "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}],
            **extra}


def usage_chunk(model="gpt-4o-mini"):
    return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1737460800,
            "model": model, "choices": [],
            "usage": {"completion_tokens": 28, "prompt_tokens": 16, "total_tokens": 44}}


def text_chunks(text, model="gpt-4o-mini"):
    yield chunk({"role": "assistant", "content": "", "refusal": None}, model=model)
    for piece in pieces(text):
        yield chunk({"content": piece}, model=model)
    yield chunk({}, "stop", model=model)
    yield usage_chunk(model)


def tool_chunks(name, argument_pieces, model="gpt-4o-mini"):
    yield chunk({"role": "assistant", "content": None, "tool_calls": [
        {"index": 0, "id": "call_1", "type": "function",
         "function": {"name": name, "arguments": ""}}]}, model=model)
    for piece in argument_pieces:
        yield chunk({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}, model=model)
    yield chunk({}, "tool_calls", model=model)
    yield usage_chunk(model)


TOOL_PIECES = ['{"city":', ' "Par', 'is"}']


def chat(request, allowed, needs_model, options=True):
    """options: whether a stream must (True) or must not (False) ask for its usage."""
    body = request.json
    members(body, ["messages", "n", "stream"] + (["model"] if needs_model else []), allowed)
    expect(body["n"] == 1, "[n] is not 1")
    expect(("stream_options" in body) == (body["stream"] and options), "[stream_options]")
    if "stream_options" in body:
        expect(body["stream_options"] == {"include_usage": True}, "[stream_options]")
    for m in body["messages"]:
        expect(set(m) <= {"role", "content", "tool_call_id", "tool_calls"}, f"message {m}")
        expect("role" in m, "message without role")
    model = body.get("model", "tgi")
    last = body["messages"][-1].get("content") or ""
    if isinstance(last, list):
        last = "".join(part["text"] for part in last)
    if body["stream"]:
        if body.get("tools") and body["messages"][-1]["role"] == "user":
            name = body["tools"][0]["function"]["name"]
            return Stream(tool_chunks(name, TOOL_PIECES, model))
        return Stream(text_chunks(reply_text(last), model))
    return Reply(200, {
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1737460800, "model": model,
        "choices": [{"index": 0, "message": {"role": "assistant", "content": reply_text(last)},
                     "logprobs": None, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}})


def openai_chat(request):
    return chat(request, CHAT_MEMBERS, True)


def hf_chat(request):
    return chat(request, HF_CHAT_MEMBERS, False)


def cohere_source(request):
    expect(request.headers.get("request-source") == "unspecified:elasticsearch", "Request-Source")


def cohere_embed(request):
    body = request.json
    cohere_source(request)
    members(body, ["texts", "model", "input_type", "embedding_types"],
            ["texts", "model", "input_type", "embedding_types", "truncate"])
    expect(body["input_type"] in ("search_document", "search_query", "classification",
                                  "clustering"), "[input_type]")
    expect(body["embedding_types"] in (["float"], ["int8"], ["binary"]), "[embedding_types]")
    expect(body.get("truncate") in (None, "NONE", "START", "END"), "[truncate]")
    kind = body["embedding_types"][0]
    make = vector if kind == "float" else int8s
    return Reply(200, {"id": "e-1", "texts": body["texts"],
                       "embeddings": {kind: [make(t) for t in texts(body, "texts")]},
                       "meta": {"api_version": {"version": "2"},
                                "billed_units": {"input_tokens": 3}},
                       "response_type": "embeddings_by_type"})


def cohere_rerank(request):
    body = request.json
    cohere_source(request)
    members(body, ["model", "query", "documents"],
            ["model", "query", "documents", "top_n", "return_documents", "max_chunks_per_doc"])
    ranked = sorted(((score(body["query"], t), i, t)
                     for i, t in enumerate(texts(body, "documents"))), reverse=True)
    results = []
    for s, i, t in ranked[:body.get("top_n", len(ranked))]:
        item = {"index": i, "relevance_score": s}
        if body.get("return_documents"):
            item["document"] = {"text": t}
        results.append(item)
    return Reply(200, {"id": "r-1", "results": results,
                       "meta": {"api_version": {"version": "2"},
                                "billed_units": {"search_units": 1}}})


def cohere_events(text, finish="COMPLETE", error=None):
    """Cohere's v2 stream: SSE blocks with an event line each."""
    def block(event):
        return f"event: {event['type']}\ndata: {json.dumps(event)}\n\n"
    yield block({"id": "x", "type": "message-start", "delta": {"message": {
        "role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []}}})
    yield block({"type": "content-start", "index": 0,
                 "delta": {"message": {"content": {"type": "text", "text": ""}}}})
    for piece in pieces(text):
        yield block({"type": "content-delta", "index": 0,
                     "delta": {"message": {"content": {"text": piece}}}})
    yield block({"type": "content-end", "index": 0})
    delta = {"finish_reason": finish, "usage": {
        "billed_units": {"input_tokens": 4, "output_tokens": 2},
        "tokens": {"input_tokens": 70, "output_tokens": 2}}}
    if error:
        delta["error"] = error
    yield block({"type": "message-end", "delta": delta})


def cohere_chat(request):
    body = request.json
    cohere_source(request)
    members(body, ["messages", "model", "stream"], ["messages", "model", "stream"])
    expect(len(body["messages"]) == 1 and body["messages"][0]["role"] == "user", "[messages]")
    text = reply_text(body["messages"][0]["content"])
    if body["stream"]:
        return Stream(cohere_events(text), done=False)
    return Reply(200, {"id": "x", "message": {"role": "assistant", "content": [
        {"type": "text", "text": text}]}, "finish_reason": "COMPLETE",
        "usage": {"billed_units": {"input_tokens": 4, "output_tokens": 2},
                  "tokens": {"input_tokens": 70, "output_tokens": 2}}})


def hf_embed(request):
    members(request.json, ["inputs"], ["inputs"])
    return Reply(200, [vector(t) for t in texts(request.json, "inputs")])


def hf_embed_wrapped(request):
    members(request.json, ["inputs"], ["inputs"])
    return Reply(200, {"embeddings": [vector(t) for t in texts(request.json, "inputs")]})


def hf_sparse(request):
    members(request.json, ["inputs"], ["inputs"])
    return Reply(200, [weights(t) for t in texts(request.json, "inputs")])


def hf_rerank(request):
    """As text-embeddings-inference: ignores top_n."""
    body = request.json
    members(body, ["texts", "query"], ["texts", "query", "return_text", "top_n"])
    results = []
    for i, t in enumerate(texts(body, "texts")):
        item = {"index": i, "score": score(body["query"], t)}
        if body.get("return_text"):
            item["text"] = t
        results.append(item)
    return Reply(200, results)


PATHS = {
    "/v1/embeddings": openai_embeddings,
    "/v1/chat/completions": openai_chat,
    "/v2/embed": cohere_embed,
    "/v2/rerank": cohere_rerank,
    "/v2/chat": cohere_chat,
    "/hf/embed": hf_embed,
    "/hf/embed_wrapped": hf_embed_wrapped,
    "/hf/sparse": hf_sparse,
    "/hf/rerank": hf_rerank,
    "/hf/v1/chat/completions": hf_chat,
}


def check_manners(request, content_type="application/json"):
    h = request.headers
    expect(request.method == "POST", "the method is not POST")
    expect(h.get("content-type", "").split(";")[0] == content_type, "Content-Type")
    expect(h.get("host"), "Host")
    for name in ("expect", "cookie", "x-opaque-id", "transfer-encoding"):
        expect(name not in h, f"a header that is not wanted: {name}")


def bearer(request):
    expect(request.headers.get("authorization", "").startswith("Bearer "),
           "Authorization is no Bearer")


# ---- services in files of their own ----

ROUTES = {}  # service -> [(pattern, checks of the head, content type, handler)]


def route(service, pattern, head=bearer, content_type="application/json"):
    """Registers a handler for the paths of a service that match; the groups of the pattern are its
    arguments behind the request. head: checks what is shown of credentials."""
    def register(handler):
        ROUTES.setdefault(service, []).append((re.compile(pattern), head, content_type, handler))
        return handler
    return register


def default_answer(request):
    service, _, rest = request.path[1:].partition("/")
    for pattern, head, content_type, handler in ROUTES.get(service, []):
        match = pattern.fullmatch("/" + rest)
        if match:
            check_manners(request, content_type)
            head(request)
            return handler(request, *match.groups())
    check_manners(request)
    bearer(request)
    handler = PATHS.get(request.path)
    expect(handler, "no such path")
    return handler(request)


# ---- the server ----

STATUS = {200: "OK", 301: "Moved Permanently", 302: "Found", 307: "Temporary Redirect",
          400: "Bad Request", 401: "Unauthorized", 402: "Payment Required", 403: "Forbidden",
          404: "Not Found", 408: "Request Timeout", 413: "Payload Too Large",
          422: "Unprocessable Entity", 424: "Failed Dependency", 429: "Too Many Requests",
          500: "Internal Server Error", 502: "Bad Gateway", 503: "Service Unavailable",
          504: "Gateway Timeout", 529: "Overloaded"}


class Gone(Exception):
    pass


class Connection:
    def __init__(self, upstream, reader, writer, number):
        self.upstream, self.reader, self.writer, self.number = upstream, reader, writer, number
        self.watch = None

    async def read_request(self):
        head = await self.reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        method, target, _ = first.split(" ")
        headers = {}
        for line in filter(None, lines):
            name, value = line.split(":", 1)
            if name.lower() in headers:
                self.upstream.violations.append(f"header [{name}] was sent twice: {first}")
            headers[name.lower()] = value.strip()
        request = Request(method, target, headers, self.number)
        request.body = await self.reader.readexactly(int(headers.get("content-length", 0)))
        try:
            if headers.get("content-type") != "application/x-www-form-urlencoded":
                request.json = json.loads(request.body)
        except ValueError:
            self.upstream.violations.append(f"the body is no JSON: {request!r}")
        return request

    async def write(self, request, data):
        if self.writer.is_closing() or self.reader.at_eof():
            raise Gone()
        self.writer.write(data)
        try:
            await self.writer.drain()
        except (ConnectionError, OSError):
            raise Gone()
        request.sent += len(data)

    def reset(self):
        sock = self.writer.get_extra_info("socket")
        if sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def until(self, condition):
        """Waits until the condition holds; Gone when the client closes first."""
        while not condition():
            if self.reader.at_eof() or self.reader.exception() or self.writer.is_closing():
                raise Gone()
            await asyncio.sleep(0.002)

    async def sleep(self, seconds):
        end = time.monotonic() + seconds
        await self.until(lambda: time.monotonic() >= end)

    async def reply(self, request, b):
        await self.sleep(b.delay)
        if b.raw is not None:
            await self.write(request, b.raw)
            return False
        lines = [f"HTTP/1.1 {b.status} {STATUS.get(b.status, 'Whatever')}"]
        if b.content_type:
            lines.append(f"content-type: {b.content_type}")
        if b.chunked:
            lines.append("transfer-encoding: chunked")
        else:
            lines.append(f"content-length: {len(b.body) if b.length is None else b.length}")
        lines += [f"{k}: {v}" for k, v in b.headers.items()]
        head = ("\r\n".join(lines) + "\r\n\r\n").encode()
        step, pause = b.drip or (max(1, len(b.body)), 0)
        if b.chunked:
            step = b.chunked
        parts = [b.body[i:i + step] for i in range(0, len(b.body), step)]
        if b.chunked:
            parts = [b"%x;ext=1\r\n%s\r\n" % (len(p), p) for p in parts] + [b"0\r\nx-trailer: 1\r\n\r\n"]
        if parts and not pause:
            await self.write(request, head + b"".join(parts))
        else:
            await self.write(request, head)
            for part in parts:
                await self.sleep(pause)
                await self.write(request, part)
        return not b.close and (b.chunked or b.length in (None, len(b.body)))

    async def stream(self, request, b):
        head = f"HTTP/1.1 {b.status} {STATUS.get(b.status)}\r\ncontent-type: {b.content_type}\r\n"
        head += "".join(f"{k}: {v}\r\n" for k, v in b.headers.items())
        head += "transfer-encoding: chunked\r\n\r\n" if b.chunked else "connection: close\r\n\r\n"
        await self.write(request, head.encode())
        wrap = (lambda p: b"%x\r\n%s\r\n" % (len(p), p)) if b.chunked else (lambda p: p)
        blocks = b.blocks()
        if b.split:
            whole = b"".join(blocks)
            blocks = (whole[i:i + b.split] for i in range(0, len(whole), b.split))
        last = b""
        for i, piece in enumerate(blocks):
            if b.gate and i == b.gate_at:
                await self.until(b.gate.event.is_set)
            if b.pause and i:
                await self.sleep(b.pause)
            await self.write(request, wrap(piece))
            last = piece
        while b.endless:
            await self.write(request, wrap(last))
            if b.pause:
                await self.sleep(b.pause)
            else:
                await asyncio.sleep(0)
        if b.gate and b.gate_at < 0:
            await self.until(b.gate.event.is_set)
        if b.cut == "rst":
            await asyncio.sleep(0.02)  # what was sent should arrive before the reset
            self.reset()
            return False
        if b.cut == "fin" or not b.chunked:
            return False
        await self.write(request, b"0\r\n\r\n")
        return True

    async def act(self, request, behaviour):
        """True: the connection may be used again."""
        if isinstance(behaviour, Hang):
            await self.until(behaviour.event.is_set)
            behaviour = Default()
        if isinstance(behaviour, Default):
            try:
                behaviour = default_answer(request)
            except Wrong as e:
                self.upstream.violations.append(f"{e}: {request!r}")
                behaviour = Reply(400, {"error": {"message": f"upstream.py: {e}"}})
        if isinstance(behaviour, Reset):
            self.reset()
            return False
        if isinstance(behaviour, Close):
            return False
        act = self.stream if isinstance(behaviour, Stream) else self.reply
        if not await act(request, behaviour):
            return False
        request.complete.set()
        return True

    async def run(self):
        try:
            keep = True
            while keep:
                request = await self.read_request()
                behaviour = self.upstream.take(request)
                try:
                    keep = await self.act(request, behaviour)
                except Gone:
                    request.gone.set()
                    return
                if self.upstream.close_idle_at_once:
                    return
        except (asyncio.IncompleteReadError, ConnectionError, ValueError, OSError):
            pass
        finally:
            self.writer.close()


class Upstream:
    def __init__(self):
        self.lock = threading.Condition()
        self.number = 0
        self.writers = set()
        self.clear()
        self.loop = asyncio.new_event_loop()
        ready = threading.Event()
        self.thread = threading.Thread(target=self.run, args=(ready,), daemon=True)
        self.thread.start()
        ready.wait(10)
        self.url = f"http://127.0.0.1:{self.port}"

    def clear(self):
        """Forgets the script, the requests and the violations."""
        with self.lock:
            self.queue, self.requests, self.violations = [], [], []
            self.choose = None  # choose(request) -> behaviour, when nothing is queued
            self.close_idle_at_once = False

    def script(self, *behaviours):
        with self.lock:
            self.queue += behaviours
        return behaviours

    def take(self, request):
        with self.lock:
            self.requests.append(request)
            self.lock.notify_all()
            if self.queue:
                return self.queue.pop(0)
            return self.choose(request) if self.choose else Default()

    def wait(self, n, seconds=10):
        """Waits for request number n (from 1) and gives it."""
        with self.lock:
            if not self.lock.wait_for(lambda: len(self.requests) >= n, seconds):
                raise AssertionError(f"only {len(self.requests)} of {n} requests came in")
            return self.requests[n - 1]

    def bodies(self):
        return [r.json for r in self.requests]

    def drop_idle(self):
        """Closes every connection that is open now."""
        done = threading.Event()

        def close():
            for w in list(self.writers):
                w.close()
            done.set()
        self.loop.call_soon_threadsafe(close)
        done.wait(5)

    def run(self, ready):
        asyncio.set_event_loop(self.loop)

        async def serve(reader, writer):
            self.number += 1
            self.writers.add(writer)
            try:
                await Connection(self, reader, writer, self.number).run()
            finally:
                self.writers.discard(writer)

        async def start():
            # A small send buffer, so that a slow reader at the other end is felt here.
            sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 << 10)
            sock.bind(("127.0.0.1", 0))
            self.port = sock.getsockname()[1]
            await asyncio.start_server(serve, sock=sock, limit=64 << 20, backlog=512)
            ready.set()
        self.loop.run_until_complete(start())
        self.loop.run_forever()


def close_to(a, b):
    """Are two lists of floats the same to float32?"""
    return len(a) == len(b) and all(
        math.isclose(f32(x), f32(y), rel_tol=0, abs_tol=0) for x, y in zip(a, b))
