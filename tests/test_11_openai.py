"""OpenAI: every task, what is sent, and what becomes of each refusal."""
import json
import time

import pytest

from inferd import MARK, wait_until
from upstream import (TOOL_PIECES, Close, Default, Hang, Reply, Reset, close_to, f32, vector)

KEY = "sk-" + MARK + "-1"
SETTINGS = {"api_key": KEY, "model_id": "text-embedding-3-small"}
CHAT = {"api_key": KEY, "model_id": "gpt-4o-mini"}


@pytest.fixture
def embed(server, upstream):
    server.make("text_embedding", "my-ep", "openai", SETTINGS)
    upstream.clear()
    return "/_inference/text_embedding/my-ep"


@pytest.fixture
def complete(server, upstream):
    server.make("completion", "c", "openai", CHAT)
    upstream.clear()
    return "/_inference/completion/c"


@pytest.fixture
def chat(server, upstream):
    server.make("chat_completion", "chat", "openai", CHAT)
    upstream.clear()
    return "/_inference/chat_completion/chat/_stream"


def error(message, kind="invalid_request_error", code=None, param=None):
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


# ---- embeddings ----

@pytest.mark.parametrize("number", ["1e999", "-1E39", "9" * 40])
def test_numbers_that_no_float_holds_do_not_pass(server, upstream, embed, number):
    body = '{"data": [{"index": 0, "embedding": [0.1, %s, 0.2]}]}' % number
    upstream.script(*[Reply(200, body)] * 3)
    answer = server.post(embed, {"input": "a"})
    assert answer.status == 500
    assert answer.reason == (f"Failed to send OpenAI embeddings request. Cause: Value [{number}] in "
                             "the OpenAI embeddings response is out of range for a float")
    upstream.script(*[Reply(200, body.replace(number, word)) for word in ("NaN", "null", '"1"')])
    assert server.post(embed, {"input": "a"}).status == 500
    upstream.script(Reply(200, body.replace(number, "1e-999")))
    (row,) = server.post(embed, {"input": "a"}).json["text_embedding"]
    assert row["embedding"] == [0.1, 0, 0.2]


def test_embeddings(server, upstream, embed):
    texts = ["one", "two", "drei", "四", "🙂 \"quoted\" \\ \n\t", "", "nul \0 inside", "\x7f\u2028"]
    answer = server.post(embed, {"input": texts})
    assert answer.status == 200
    assert list(answer.json) == ["text_embedding"]
    rows = answer.json["text_embedding"]
    assert [list(r) for r in rows] == [["embedding"]] * len(texts)
    for text, row in zip(texts, rows):
        assert close_to(row["embedding"], vector(text))
    (request,) = upstream.requests
    assert request.json == {"input": texts, "model": "text-embedding-3-small"}
    assert (request.method, request.target) == ("POST", "/v1/embeddings")
    assert request.headers["authorization"] == "Bearer " + KEY


def test_a_lone_string_is_a_list_of_one(server, upstream, embed):
    answer = server.post("/_inference/my-ep", {"input": "one"})
    assert len(answer.json["text_embedding"]) == 1
    assert upstream.requests[0].json["input"] == ["one"]


def test_numbers_keep_their_value(server, upstream, embed):
    numbers = [0.1, -0.0093, 1e-7, -7.7057e-4, 3, 0, 1.0e10, 0.333333343267, 123456.789, -1]
    upstream.script(Reply(200, {"data": [{"index": 0, "embedding": numbers}]}))
    got = server.post(embed, {"input": "x"}).json["text_embedding"][0]["embedding"]
    assert [f32(g) for g in got] == [f32(n) for n in numbers]


def test_results_are_put_in_the_order_of_the_inputs(server, upstream, embed):
    rows = [{"index": i, "embedding": [i / 10]} for i in (2, 0, 1)]
    upstream.script(Reply(200, {"data": rows}))
    got = server.post(embed, {"input": ["a", "b", "c"]}).json["text_embedding"]
    assert [r["embedding"] for r in got] == [[0.0], [0.1], [0.2]]


def test_a_thousand_inputs_are_one_request(server, upstream, embed):
    texts = [f"text number {i}" for i in range(1000)]
    rows = server.post(embed, {"input": texts}).json["text_embedding"]
    assert len(rows) == 1000 and len(upstream.requests) == 1
    assert close_to(rows[999]["embedding"], vector(texts[999]))


def test_a_large_answer(server, upstream, embed):
    rows = [{"index": i, "embedding": [round(j / 3072, 6) for j in range(3072)]}
            for i in range(200)]
    upstream.script(Reply(200, {"data": rows}, chunked=60000))
    got = server.post(embed, {"input": ["x"] * 200}, check=False).json["text_embedding"]
    assert len(got) == 200 and len(got[199]["embedding"]) == 3072


def test_task_settings_of_the_endpoint_and_of_the_call(server, upstream):
    server.make("text_embedding", "e", "openai", dict(SETTINGS, dimensions=4, organization_id="o"),
                task_settings={"user": "stored", "headers": {"X-Team": "a"}})
    upstream.clear()
    server.post("/_inference/e", {"input": "x"})
    server.post("/_inference/e", {"input": "x", "task_settings": {"user": "call"}})
    first, second = upstream.requests
    assert first.json == {"input": ["x"], "model": "text-embedding-3-small", "user": "stored",
                          "dimensions": 4}
    assert second.json["user"] == "call"
    for r in (first, second):
        assert r.headers["x-team"] == "a" and r.headers["openai-organization"] == "o"
    answer = server.post("/_inference/e", {"input": "x", "task_settings": {"nope": 1}})
    assert answer.status == 400 and "nope" in answer.reason
    assert server.get("/_inference/e").json["endpoints"][0]["task_settings"]["user"] == "stored"


def test_measured_dimensions_are_not_sent(server, upstream, embed):
    server.post(embed, {"input": "x"})
    assert "dimensions" not in upstream.requests[0].json


def test_input_type_is_taken_and_not_sent(server, upstream, embed):
    for kind in ("ingest", "search", "CLASSIFICATION", "clustering", "unspecified"):
        assert server.post(embed, {"input": "x", "input_type": kind}).status == 200
    assert all(set(b) == {"input", "model"} for b in upstream.bodies())
    answer = server.post(embed, {"input": "x", "input_type": "internal_search"})
    assert (answer.status, answer.reason) == (400, "Unrecognized input_type [internal_search]")


def test_the_path_of_its_own_url_stays(server, upstream):
    server.make("text_embedding", "e", "openai",
                dict(SETTINGS, url="https://proxy.example:8443/v1/embeddings?api=2"))
    assert upstream.requests[0].target == "/v1/embeddings?api=2"


# ---- what a call may get wrong ----

@pytest.mark.parametrize("body, reason", [
    ({}, "Validation Failed: 1: Field [input] cannot be null;"),
    ({"input": None}, "Validation Failed: 1: Field [input] cannot be null;"),
    ({"input": []}, "Validation Failed: 1: Field [input] cannot be an empty array;"),
    ({"input": "x", "query": "q"},
     "Validation Failed: 1: Field [query] cannot be specified for task type [text_embedding];"),
    ({"input": "x", "top_n": 1},
     "Validation Failed: 1: Field [top_n] cannot be specified for task type [text_embedding];"),
    ({"input": "x", "return_documents": True}, "Validation Failed: 1: Field [return_documents] "
     "cannot be specified for task type [text_embedding];"),
])
def test_refused_inputs(server, upstream, embed, body, reason):
    answer = server.post(embed, body)
    assert (answer.status, answer.type) == (400, "action_request_validation_exception")
    assert answer.reason == reason
    assert upstream.requests == []


def test_unknown_members_are_parse_errors_with_their_place(server, upstream, embed):
    answer = server.post(embed, b'{"input": "x",\n "foo": 1}')
    assert (answer.status, answer.type) == (400, "x_content_parse_exception")
    assert answer.reason == "[2:2] [cluster:internal/xpack/inference] unknown field [foo]"
    for body in ({"input": {"a": 1}}, {"input": 5}, {"input": [["x"]]}, {"input": "x",
                                                                       "task_settings": []}):
        answer = server.post(embed, body)
        assert (answer.status, answer.type) == (400, "x_content_parse_exception"), body
    assert upstream.requests == []


def test_numbers_and_booleans_in_a_list_are_text(server, upstream, embed):
    assert server.post(embed, {"input": ["x", 5, True]}).status == 200
    assert upstream.requests[0].json["input"] == ["x", "5", "true"]


def test_another_task_in_the_url(server, embed):
    answer = server.post("/_inference/rerank/my-ep", {"input": "x", "query": "q"})
    assert (answer.status, answer.reason) == (
        400, "Incompatible task_type, the requested type [rerank] does not match the model type "
        "[text_embedding]")


def test_a_body_is_needed(server, embed):
    answer = server.post(embed)
    assert (answer.status, answer.type, answer.reason) == (
        400, "parse_exception", "request body is required")


# ---- refusals of the service ----

NAME = "for request from inference entity id [my-ep] status"

# upstream status, body, client status, text, attempts
REFUSALS = [
    (401, error("Incorrect API key provided: sk-abc.", code="invalid_api_key"), 401,
     f"Received an authentication error status code {NAME} [401]. Error message: [Incorrect API "
     "key provided: sk-abc.]", 1),
    (400, error("bad"), 400, f"Received a bad request status code {NAME} [400]. Error message: "
     "[bad]", 1),
    (403, error("no"), 403, f"Received an unsuccessful status code {NAME} [403]. Error message: "
     "[no]", 1),
    (404, error("none"), 404, "Resource not found at [https://api.openai.com/v1/embeddings] "
     f"{NAME} [404]. Error message: [none]", 1),
    (422, error("val"), 422, f"Received an input validation error response {NAME} [422]. Error "
     "message: [val]", 1),
    (500, error("boom"), 400, f"Received a server error status code {NAME} [500]. Error message: "
     "[boom]", 3),
    (502, error("gate"), 400, f"Received a server error status code {NAME} [502]. Error message: "
     "[gate]", 1),
    (503, error("busy"), 400, f"Received a server busy error status code {NAME} [503]. Error "
     "message: [busy]", 3),
    (529, "", 400, f"Received a server error status code {NAME} [529]", 1),
    (500, "no json", 400, f"Received a server error status code {NAME} [500]", 3),
    (418, "", 400, f"Received an unsuccessful status code {NAME} [418]", 1),
    (429, error("slow down"), 429, "Received a rate limit status code. Token limit [unknown], "
     "remaining tokens [unknown]. Request limit [unknown], remaining requests [unknown] "
     f"{NAME} [429]. Error message: [slow down]", 3),
    (413, error("long"), 413, f"Received a content too large status code {NAME} [413]. Error "
     "message: [long]", 3),
]


@pytest.mark.parametrize("status, body, client_status, text, attempts", REFUSALS)
def test_refusals_of_the_service(server, upstream, embed, status, body, client_status, text,
                                 attempts):
    upstream.script(*[Reply(status, body)] * attempts)
    answer = server.post(embed, {"input": "a text"})
    assert (answer.status, answer.type, answer.reason) == (client_status, "status_exception", text)
    assert len(upstream.requests) == attempts


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_redirects_are_not_followed(server, upstream, embed, status):
    upstream.script(Reply(status, "", headers={"location": upstream.url + "/v1/embeddings"}))
    answer = server.post(embed, {"input": "x"})
    assert answer.reason.startswith("Unhandled redirection ")
    assert answer.status == (status if status != 308 else 400)
    assert len(upstream.requests) == 1


def test_the_quota_is_told(server, upstream, embed):
    headers = {"x-ratelimit-limit-tokens": "10000", "x-ratelimit-remaining-tokens": "99800",
               "x-ratelimit-limit-requests": "3000", "x-ratelimit-remaining-requests": "0"}
    upstream.script(*[Reply(429, error("x"), headers=headers)] * 3)
    answer = server.post(embed, {"input": "x"})
    assert answer.status == 429
    assert ("Token limit [10000], remaining tokens [99800]. Request limit [3000], remaining "
            "requests [0]") in answer.reason


def test_retry_after_never_outlasts_the_call(server, upstream, embed):
    upstream.script(Reply(429, error("x"), headers={"retry-after": "86000"}))
    started = time.monotonic()
    answer = server.post(embed + "?timeout=300ms", {"input": "x"})
    upstream.queue.clear()
    assert answer.status in (200, 408, 429)
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("first", [
    Reply(500, error("x")), Reply(503, error("x")), Reply(429, error("x")), Reset(), Close(),
    Reply(200, "garbage"), Reply(200, "{}"), Reply(200, '{"data": ['),
    Reply(200, '{"data": []}'), Reply(200, {"data": [{"embedding": "text"}]}),
    Reply(200, {"data": [{"embedding": [1, "2"]}]}), Reply(200, b"\xff\xfe"),
    Reply(200, {"data": []}, length=100, close=True),
    pytest.param(Reply(raw=b"HTTP/1.1 200 OK\r\nbroken"), marks=pytest.mark.http1),
    Reply(raw=b"not http\r\n\r\n"), Reply(raw=b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n"),
], ids=repr)
def test_what_is_tried_again(server, upstream, embed, first):
    upstream.script(first, first)
    answer = server.post(embed, {"input": "x"})
    assert answer.status == 200, answer
    assert close_to(answer.json["text_embedding"][0]["embedding"], vector("x"))
    assert len(upstream.requests) == 3


def test_three_broken_answers_are_a_500_with_the_cause(server, upstream, embed):
    upstream.script(*[Reply(200, '{"no": 1}')] * 3)
    answer = server.post(embed, {"input": "x"})
    assert answer.status == 500
    assert answer.reason.startswith("Failed to send OpenAI embeddings request")
    assert "Failed to find required field [data] in OpenAI embeddings response" in answer.text
    assert len(upstream.requests) == 3
    upstream.script(*[Reset()] * 12)  # a kept connection that dies is replaced within an attempt
    answer = server.post(embed, {"input": "x"})
    upstream.queue.clear()
    assert answer.status == 500
    assert answer.reason.startswith("Failed to send OpenAI embeddings request")


def test_an_empty_body_is_not_tried_again(server, upstream, embed):
    upstream.script(Reply(200, ""))
    answer = server.post(embed, {"input": "x"})
    assert answer.status >= 400
    assert "Response body was empty for request from inference entity id [my-ep]" in answer.text
    assert len(upstream.requests) == 1


def test_more_or_fewer_vectors_than_inputs(server, upstream, embed):
    one = {"index": 0, "embedding": [0.1]}
    upstream.script(*[Reply(200, {"data": [one]})] * 3)
    assert server.post(embed, {"input": ["a", "b"]}).status == 500
    upstream.script(*[Reply(200, {"data": [one, dict(one, index=1)]})] * 3)
    assert server.post(embed, {"input": ["a"]}).status == 500


def test_too_long_is_halved_and_sent_again(server, upstream, embed):
    upstream.script(Reply(413, error("too long")),
                    Reply(400, error("This is too long. Please reduce your prompt; or completion "
                                     "length.")))
    answer = server.post(embed, {"input": ["12345678", "abcd🙂fg", "x"]})
    assert answer.status == 200
    assert [b["input"] for b in upstream.bodies()] == [
        ["12345678", "abcd🙂fg", "x"], ["1234", "abcd", ""], ["12", "ab", ""]]


def test_no_character_is_cut_in_two(server, upstream, embed):
    upstream.script(Reply(413, error("too long")), Reply(413, error("too long")))
    server.post(embed, {"input": ["🙂🙂🙂", "ä漢🙂x"]})
    first, second, third = upstream.bodies()
    assert second["input"] == ["🙂", "ä漢"]
    assert third["input"] in (["🙂", "ä"], ["", "ä"])


def test_inputs_are_cut_to_max_input_tokens(server, upstream):
    server.make("text_embedding", "e", "openai", dict(SETTINGS, max_input_tokens=2))
    server.post("/_inference/e", {"input": ["123456789", "short", "漢字漢字漢字漢字"]})
    assert upstream.requests[-1].json["input"] == ["123456", "short", "漢字漢字漢字"]


def test_an_answer_over_the_limit_is_refused(spawn, upstream):
    server = spawn({"xpack.inference.http.max_response_size": "100kb"})
    server.make("text_embedding", "e", "openai", SETTINGS)
    upstream.clear()
    upstream.script(Reply(200, b" " * 300000))
    answer = server.post("/_inference/e", {"input": "x"})
    assert answer.status == 500 and len(upstream.requests) == 1
    upstream.script(Reply(200, b" " * 300000, chunked=5000))
    assert server.post("/_inference/e", {"input": "x"}).status == 500
    assert server.post("/_inference/e", {"input": "x"}).status == 200


def test_interim_and_odd_but_legal_answers(server, upstream, embed):
    body = json.dumps({"data": [{"index": 0, "embedding": [0.5]}]}).encode()
    for raw in (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s",
                b"HTTP/1.1 200\r\nContent-Length:%d\r\n\r\n%s",
                b"HTTP/1.0 200 OK\r\nX-Length: %d\r\n\r\n%s"):
        upstream.script(Reply(raw=raw % (len(body), body)))
        answer = server.post(embed, {"input": "x"})
        assert answer.json == {"text_embedding": [{"embedding": [0.5]}]}


@pytest.mark.http1
def test_connections_are_used_again_and_dead_ones_replaced(server, upstream, embed):
    for _ in range(6):
        assert server.post(embed, {"input": "x"}).status == 200
    assert len({r.connection for r in upstream.requests}) < 6
    for _ in range(6):
        upstream.drop_idle()
        assert server.post(embed, {"input": "x"}).status == 200
    upstream.close_idle_at_once = True
    for _ in range(6):
        assert server.post(embed, {"input": "x"}).status == 200


@pytest.mark.parametrize("body", [b"[" * 100000, b'{"a":' * 100000, b'{"data": [' + b"1," * 100000,
                                  b'{"data": [{"embedding": [NaN]}]}', b"\x00", b'"' * 3])
def test_answers_that_would_hurt(server, upstream, embed, body):
    upstream.script(*[Reply(200, body)] * 3)
    assert server.post(embed, {"input": "x"}).status == 500
    assert server.post(embed, {"input": "x"}).status == 200


def test_headers_without_end(server, upstream, embed):
    for raw in (b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 200000, b"HTTP/1.1 200 OK\r\nx: " +
                b"y" * 2000000, b"HTTP/1.1 100 Continue\r\n\r\n" * 50000):
        upstream.script(*[Reply(raw=raw)] * 3)
        answer = server.post(embed, {"input": "x"})
        upstream.queue.clear()
        assert answer.status >= 400
    assert server.post(embed, {"input": "x"}).status == 200


@pytest.mark.parametrize("settings, task_settings", [
    ({"api_key": KEY + "\r\nx-evil: 1"}, {}),
    ({"organization_id": "o\r\nx-evil: 1"}, {}),
    ({"organization_id": "o\nx-evil: 1"}, {}),
    ({}, {"headers": {"x-a": "1\r\nx-evil: 1"}}),
    ({}, {"headers": {"x-a: 1\r\nx-evil": "1"}}),
    ({}, {"headers": {"x-evil : 1\nx-b": "1"}}),
    ({"url": "https://api.openai.com/v1/embeddings HTTP/1.1\r\nx-evil: 1\r\n"}, {}),
])
def test_no_header_can_be_smuggled_in(server, upstream, settings, task_settings):
    answer = server.put("/_inference/text_embedding/evil", {
        "service": "openai", "service_settings": dict(SETTINGS, **settings),
        "task_settings": task_settings})
    assert answer.status in (200, 400, 500)
    for r in upstream.requests:
        assert not any(name.startswith("x-evil") for name in r.headers), r.headers
    upstream.violations.clear()


@pytest.mark.parametrize("headers", [
    {"Content-Length": "0"}, {"content-length": "5"}, {"Transfer-Encoding": "chunked"},
    {"Host": "other"}, {"Connection": "close"}, {"Expect": "100-continue"}, {"": "x"},
    {"X-Empty": ""}, {"X-Long": "y" * 20000},
])
def test_the_callers_headers_cannot_break_the_framing(server, upstream, headers):
    answer = server.put("/_inference/text_embedding/e", {
        "service": "openai", "service_settings": SETTINGS, "task_settings": {"headers": headers}})
    assert answer.status in (200, 400, 500), answer
    upstream.violations.clear()  # `Expect` may be sent when it was asked for
    for r in upstream.requests:
        assert r.json == {"input": ["how big"], "model": "text-embedding-3-small"}
        assert "transfer-encoding" not in r.headers


# ---- time ----

def test_timeouts_are_408_and_end_the_call(server, upstream, embed):
    upstream.script(Hang())
    started = time.monotonic()
    answer = server.post(embed + "?timeout=200ms", {"input": "x"})
    assert (answer.status, answer.type) == (408, "status_exception")
    assert answer.reason == "Request timed out after [200ms]"
    assert 0.15 < time.monotonic() - started < 5
    assert upstream.requests[0].gone.wait(5), "the call upstream goes on"
    upstream.script(Hang())
    answer = server.post(embed + "?timeout=1s", {"input": "x", "timeout": "5h"})
    assert answer.reason == "Request timed out after [1s]"


def test_a_slow_answer_within_the_timeout(server, upstream, embed):
    upstream.script(Reply(200, {"data": [{"index": 0, "embedding": [1]}]}, delay=0.15,
                          drip=(12, 0.01)))
    assert server.post(embed + "?timeout=10s", {"input": "x"}).status == 200


@pytest.mark.parametrize("value, statuses", [
    ("-1", {200}), ("0", {408}), ("0ms", {408}), ("1nanos", {200, 408}), ("1d", {200}),
    ("99999999999999999d", {200, 400}), ("9223372036854775807ms", {200, 400}), ("9223372036854ms", {200}), ("-5s", {400, 200}),
    ("1.5s", {200, 400}), ("", {200, 400}),
])
def test_odd_timeouts(server, embed, value, statuses):
    assert server.post(f"{embed}?timeout={value}", {"input": "x"}).status in statuses


@pytest.mark.parametrize("value", ["soon", "5", "5parsecs", "s"])
def test_timeouts_that_are_none(server, embed, value):
    answer = server.post(f"{embed}?timeout={value}", {"input": "x"})
    assert (answer.status, answer.reason) == (
        400, f"failed to parse setting [timeout] with value [{value}] as a time value: unit is "
        "missing or unrecognized")


# ---- where it may go ----

def test_private_addresses_are_refused(spawn, upstream):
    """Without a base_url of the operator an endpoint's own url must not reach the inside."""
    server = spawn({"inference.upstream.openai.base_url": None})
    port = upstream.url.rsplit(":", 1)[1]
    for host in ("127.0.0.1", "localhost", "[::1]", "0.0.0.0", "127.1", "2130706433", "0x7f000001",
                 "[::ffff:127.0.0.1]", "10.0.0.1", "169.254.169.254", "192.168.1.1"):
        answer = server.put("/_inference/completion/x", {
            "service": "openai",
            "service_settings": dict(CHAT, url=f"http://{host}:{port}/v1/chat/completions")})
        assert answer.status == 400, (host, answer)
    assert upstream.requests == []


def test_private_addresses_when_the_operator_allows_them(spawn, upstream):
    server = spawn({"inference.upstream.openai.base_url": None,
                    "inference.upstream.allow_private": "true"})
    server.make("completion", "x", "openai", dict(CHAT, url=upstream.url + "/v1/chat/completions"))
    answer = server.post("/_inference/x", {"input": "hi"})
    assert answer.json == {"completion": [{"result": "Echo: hi"}]}


def test_an_unknown_host(spawn):
    server = spawn({"inference.upstream.openai.base_url": "http://no-such-host.invalid"})
    answer = server.put("/_inference/completion/x", {"service": "openai", "service_settings": CHAT})
    assert answer.status == 400
    assert "Invalid host [http://no-such-host.invalid" in answer.text
    assert "please check that the URL is correct." in answer.text


def test_a_port_where_no_one_listens(spawn):
    import socket
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        server = spawn({"inference.upstream.openai.base_url":
                        f"http://127.0.0.1:{s.getsockname()[1]}"})
        answer = server.put("/_inference/completion/x",
                            {"service": "openai", "service_settings": CHAT})
    assert answer.status == 400
    assert "Failed to send OpenAI chat completions request" in answer.text


@pytest.mark.parametrize("url", ["ftp://x/y", "file:///etc/passwd", "gopher://x", "dict://x:1/",
                                 "//x/y", "x", "http://"])
def test_urls_of_other_kinds_reach_nothing(spawn, upstream, url):
    server = spawn({"inference.upstream.openai.base_url": None,
                    "inference.upstream.allow_private": "true"})
    answer = server.put("/_inference/completion/x", {
        "service": "openai", "service_settings": dict(CHAT, url=url)})
    assert answer.status == 400
    assert server.get("/_inference/x").status == 404


# ---- rate limits ----

def test_calls_are_spaced_by_the_rate_limit(server, upstream):
    server.make("completion", "c", "openai", dict(CHAT, rate_limit={"requests_per_minute": 600}))
    upstream.clear()
    started = time.monotonic()
    for _ in range(4):
        assert server.post("/_inference/c", {"input": "x"}).status == 200
    assert time.monotonic() - started > 0.28, "600 a minute are one every 100 ms"
    gaps = [b.at - a.at for a, b in zip(upstream.requests, upstream.requests[1:])]
    assert min(gaps) > 0.08


def test_equal_credentials_share_the_limit_and_others_do_not(server, upstream):
    limited = dict(CHAT, rate_limit={"requests_per_minute": 300})
    server.make("completion", "a", "openai", limited)
    server.make("completion", "b", "openai", limited)
    server.make("completion", "other", "openai", dict(limited, api_key=KEY + "x"))
    time.sleep(0.2)
    started = time.monotonic()
    server.post("/_inference/a", {"input": "x"})
    server.post("/_inference/other", {"input": "x"})
    assert time.monotonic() - started < 0.15
    server.post("/_inference/b", {"input": "x"})
    assert time.monotonic() - started > 0.18


def test_a_full_queue_is_429(spawn, upstream):
    import threading
    server = spawn({"xpack.inference.http.request_executor.queue_capacity": "2"})
    server.make("completion", "c", "openai", dict(CHAT, rate_limit={"requests_per_minute": 120}))
    upstream.clear()
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(
        server.post("/_inference/c", {"input": "x"}))) for _ in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(20)
    statuses = sorted(a.status for a in answers)
    assert set(statuses) == {200, 429} and statuses.count(200) in (2, 3)
    full = next(a for a in answers if a.status == 429)
    assert full.type == "es_rejected_execution_exception"
    assert full.reason.startswith("Failed to execute task for inference id [c] because the "
                                  "request service [")
    assert full.reason.endswith("] queue is full")
    assert len(upstream.requests) == statuses.count(200)


def test_a_call_that_times_out_in_the_queue_sends_nothing(server, upstream):
    server.make("completion", "c", "openai", dict(CHAT, rate_limit={"requests_per_minute": 30}))
    upstream.clear()
    answer = server.post("/_inference/c?timeout=150ms", {"input": "x"})
    assert (answer.status, answer.reason) == (408, "Request timed out after [150ms]")
    assert upstream.requests == []


# ---- completion ----

def test_completion(server, upstream, complete):
    answer = server.post(complete, {"input": "What is 2+2?"})
    assert answer.json == {"completion": [{"result": "Echo: What is 2+2?"}]}
    assert upstream.requests[0].json == {
        "messages": [{"role": "user", "content": "What is 2+2?"}], "model": "gpt-4o-mini", "n": 1,
        "stream": False}


def test_completion_takes_one_input(server, upstream, complete):
    assert server.post(complete, {"input": ["a"]}).status == 200
    answer = server.post(complete, {"input": ["a", "b"]})
    assert (answer.status, answer.reason) == (400, "OpenAI chat completions only accepts 1 input")
    assert len(upstream.requests) == 1


def test_completion_does_not_retry_429(server, upstream, complete):
    upstream.script(Reply(429, error("slow down"), headers={"retry-after": "3"}))
    answer = server.post(complete, {"input": "x"})
    assert (answer.status, answer.reason) == (
        429, "Received a rate limit status code for request from inference entity id [c] status "
        "[429]. Error message: [slow down]")
    assert answer.header("retry-after") == "3"
    assert len(upstream.requests) == 1


def test_null_content_is_a_failure(server, upstream, complete):
    bad = {"choices": [{"index": 0, "message": {"role": "assistant", "content": None}}]}
    upstream.script(*[Reply(200, bad)] * 3)
    answer = server.post(complete, {"input": "x"})
    assert answer.status == 500
    assert answer.reason.startswith("Failed to send OpenAI chat completions request")


def test_completion_stream(server, upstream, complete):
    stream = server.stream(complete + "/_stream", {"input": "tell me more"})
    assert stream.status == 200
    assert stream.header("content-type") == "text/event-stream"
    events = stream.all()
    assert [e[0] for e in events] == ["message"] * len(events)
    assert events[-1] == ("message", "[DONE]")
    deltas = []
    for _, data in events[:-1]:
        body = json.loads(data)
        assert list(body) == ["completion"]
        deltas += [list(d.items()) for d in body["completion"]]
    assert all(len(d) == 1 and d[0][0] == "delta" and d[0][1] for d in deltas)
    assert "".join(d[0][1] for d in deltas) == "Echo: tell me more"
    assert upstream.requests[0].json == {
        "messages": [{"role": "user", "content": "tell me more"}], "model": "gpt-4o-mini", "n": 1,
        "stream": True, "stream_options": {"include_usage": True}}


def test_tasks_that_do_not_stream(server, embed):
    stream = server.stream(embed + "/_stream", {"input": "x"})
    assert stream.status == 405
    ((name, data),) = stream.all()
    assert name == "error"
    body = json.loads(data)
    assert body["status"] == 405
    assert body["error"]["reason"].startswith(
        "Streaming is not allowed for service [openai] and task [text_embedding]. Supported "
        "tasks: [completion")


# ---- chat_completion ----

TOOLS = [{"type": "function", "function": {
    "name": "get_weather", "description": "Weather of a city", "strict": True,
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}}]


def chunks(stream):
    assert stream.status == 200
    events = stream.all()
    assert all(name == "message" for name, _ in events)
    assert events[-1][1] == "[DONE]"
    return [json.loads(data) for _, data in events[:-1]]


def test_chat_stream(server, upstream, chat):
    got = chunks(server.stream(chat, {"messages": [{"role": "user", "content": "hi there"}]}))
    for c in got:
        assert list(c) == [m for m in ("id", "choices", "model", "object", "usage") if m in c]
        assert (c["id"], c["model"], c["object"]) == ("chatcmpl-1", "gpt-4o-mini",
                                                      "chat.completion.chunk")
    assert got[0]["choices"] == [{"delta": {"content": "", "role": "assistant"}, "index": 0}]
    assert [c["choices"][0]["delta"].get("content") for c in got[1:-2]] == ["Echo: ", "hi ", "there"]
    assert got[-2]["choices"] == [{"delta": {}, "finish_reason": "stop", "index": 0}]
    assert got[-1]["choices"] == []
    assert got[-1]["usage"] == {"completion_tokens": 28, "prompt_tokens": 16, "total_tokens": 44}
    assert all("usage" not in c for c in got[:-1])


def test_everything_a_chat_may_ask_for_is_sent(server, upstream, chat):
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Weather "},
                                     {"type": "text", "text": "in Paris?"}]},
        {"role": "assistant", "tool_calls": [{"id": "call_1", "type": "function", "function": {
            "name": "get_weather", "arguments": '{"city": "Paris"}'}}]},
        {"role": "tool", "tool_call_id": "call_1", "content": "rain"},
    ]
    chunks(server.stream(chat, {
        "messages": messages, "model": "gpt-4o", "max_completion_tokens": 50, "stop": ["END"],
        "temperature": 0.25, "top_p": 1, "tools": TOOLS,
        "tool_choice": {"type": "function", "function": {"name": "get_weather"}}}))
    assert upstream.requests[0].json == {
        "messages": messages, "model": "gpt-4o", "max_completion_tokens": 50, "n": 1,
        "stop": ["END"], "temperature": 0.25, "top_p": 1, "tools": TOOLS,
        "tool_choice": {"type": "function", "function": {"name": "get_weather"}},
        "stream": True, "stream_options": {"include_usage": True}}


def test_small_forms_of_a_chat(server, upstream, chat):
    ask = [{"role": "user", "content": "x"}]
    chunks(server.stream(chat, {"messages": ask, "stop": "END", "tool_choice": "none"}))
    chunks(server.stream("/_inference/chat/_stream", {"messages": ask}))
    chunks(server.stream("/_inference/chat_completion/chat/_unified", {"messages": ask}))
    chunks(server.stream("/_inference/chat/_unified", {"messages": ask}))
    first, second, third, fourth = upstream.bodies()
    assert (first["stop"], first["tool_choice"]) == (["END"], "none")
    assert second == third == fourth == {
        "messages": ask, "model": "gpt-4o-mini", "n": 1, "stream": True,
        "stream_options": {"include_usage": True}}


def test_tool_calls_in_the_stream(server, upstream, chat):
    got = chunks(server.stream(chat, {"messages": [{"role": "user", "content": "Paris?"}],
                                      "tools": TOOLS}))
    first = got[0]["choices"][0]["delta"]
    assert first == {"role": "assistant", "tool_calls": [
        {"index": 0, "id": "call_1", "function": {"arguments": "", "name": "get_weather"},
         "type": "function"}]}
    calls = [c["choices"][0]["delta"]["tool_calls"][0] for c in got[:-2]]
    assert "".join(c["function"]["arguments"] for c in calls) == "".join(TOOL_PIECES)
    assert json.loads("".join(TOOL_PIECES)) == {"city": "Paris"}
    assert all(c["index"] == 0 and "id" not in c for c in calls[1:])
    assert got[-2]["choices"] == [{"delta": {}, "finish_reason": "tool_calls", "index": 0}]
    assert got[-1]["usage"]["total_tokens"] == 44


def chat_fails(stream, status):
    """The one error event of a chat call that never began."""
    assert stream.status == status
    assert stream.header("content-type") == "text/event-stream"
    ((name, data),) = stream.all()
    assert name == "error"
    body = json.loads(data)
    assert list(body) == ["error"]
    assert list(body["error"]) == [m for m in ("code", "message", "param", "type")
                                   if m in body["error"]]
    return body["error"]


def test_errors_of_the_service_on_chat(server, upstream, chat):
    upstream.script(Reply(401, error("Incorrect API key", code="invalid_api_key", param="p")))
    got = chat_fails(server.stream(chat, {"messages": [{"role": "user", "content": "x"}]}), 401)
    assert got == {"code": "invalid_api_key", "param": "p", "type": "invalid_request_error",
                   "message": "Received an authentication error status code for request from "
                   "inference entity id [chat] status [401]. Error message: [Incorrect API key]"}
    upstream.script(Reply(429, "no json"))
    got = chat_fails(server.stream(chat, {"messages": [{"role": "user", "content": "x"}]}), 429)
    assert got["code"] == "too_many_requests"
    upstream.script(*[Reply(503, "no json")] * 3)
    got = chat_fails(server.stream(chat, {"messages": [{"role": "user", "content": "x"}]}), 400)
    assert got["message"].startswith("Received a server busy error status code for request from")


@pytest.mark.parametrize("body, part", [
    ({}, "Required [messages]"), ({"messages": None}, "Field [messages] cannot be null"),
    ({"messages": []}, "Field [messages] cannot be an empty array"),
    ({"messages": [{"content": "x"}]}, "[messages]"),
    ({"messages": [{"role": "user", "content": "x", "foo": 1}]}, "[messages]"),
    ({"messages": [{"role": "user", "content": "x"}], "stream": True}, "unknown field [stream]"),
    ({"messages": [{"role": "user", "content": "x"}], "temperature": "hot"}, "temperature"),
    ({"messages": [{"role": "user", "content": "x"}], "tools": [{}]}, "tools"),
    ({"messages": "x"}, "messages"),
])
def test_bodies_that_are_no_chat(server, upstream, chat, body, part):
    got = chat_fails(server.stream(chat, body), 400)
    assert got["code"] == "bad_request"
    assert got["type"] in ("x_content_parse_exception", "action_request_validation_exception",
                           "illegal_argument_exception")
    assert part in got["message"]
    assert upstream.requests == []


def test_chat_that_is_not_there_or_no_chat(server, upstream, chat, complete):
    ask = {"messages": [{"role": "user", "content": "x"}]}
    got = chat_fails(server.stream("/_inference/chat_completion/none/_stream", ask), 404)
    assert got == {"code": "not_found", "message": "Inference endpoint not found [none]",
                   "type": "resource_not_found_exception"}
    got = chat_fails(server.stream("/_inference/chat_completion/c/_stream", ask), 400)
    assert "[completion]" in got["message"] and "[chat_completion]" in got["message"]


def test_chat_only_streams(server, chat):
    answer = server.post("/_inference/chat_completion/chat",
                         {"messages": [{"role": "user", "content": "x"}]})
    assert answer.status == 400
    assert ("The [chat_completion] task type only supports streaming, please try again with the "
            "_stream API") in answer.text


# ---- many at once ----

def test_many_calls_at_once(server, upstream):
    import concurrent.futures
    server.make("text_embedding", "e", "openai",
                dict(SETTINGS, rate_limit={"requests_per_minute": 60000000}))
    def call(i):
        text = f"text {i}"
        if i % 10 == 0:
            text *= 1000
        answer = server.post("/_inference/e", {"input": text})
        return answer.status == 200 and close_to(
            answer.json["text_embedding"][0]["embedding"], vector(text))
    with concurrent.futures.ThreadPoolExecutor(24) as pool:
        assert all(pool.map(call, range(400)))
    diagnostics = list(server.get("/_inference/.diagnostics").json.values())[0]["external"]
    assert diagnostics["connection_pool_stats"]["leased_connections"] == 0


@pytest.mark.parametrize("size", [1, 15000, 17000, 200000])
def test_clients_that_leave_cancel_their_calls(server, upstream, embed, size):
    """However large the request was, and at whatever moment its client leaves."""
    for n in range(1, 7):
        upstream.script(Hang())
        connection = server.connect()
        body, head = server.head({"input": "x" * size}, None, True)
        connection.request("POST", embed, body, head)
        request = upstream.wait(n)
        time.sleep(0.01 * (n % 2))
        connection.sock.close()
        connection.close()
        assert request.gone.wait(5), "the call upstream goes on although its client has left"
    wait_until(lambda: server.get("/").status == 200)


def test_one_default_after_a_scripted_one(server, upstream, embed):
    upstream.script(Default(), Reply(401, error("x")))
    assert [server.post(embed, {"input": "x"}).status for _ in range(3)] == [200, 401, 200]
