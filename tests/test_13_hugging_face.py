"""Hugging Face: inference endpoints and text-embeddings-inference, and chat in OpenAI's form."""
import json

import pytest

from inferd import MARK
from upstream import Reply, Stream, close_to, chunk, score, vector, weights

KEY = "hf_" + MARK
BASE = "https://abc.endpoints.huggingface.cloud/hf"
CHAT = "/v1/chat/completions"


def make(server, upstream, task, path, name="h", settings=None, **more):
    made = server.make(task, name, "hugging_face",
                       dict({"api_key": KEY, "url": BASE + path}, **(settings or {})), **more)
    upstream.clear()
    assert made["service_settings"]["url"] == BASE + path
    assert made["service_settings"]["rate_limit"] == {"requests_per_minute": 3000}
    return f"/_inference/{task}/{name}"


@pytest.mark.parametrize("url", ["/embed", "/embed_wrapped"])
def test_embeddings(server, upstream, url):
    path = make(server, upstream, "text_embedding", url)
    rows = server.post(path, {"input": ["a", "b"], "input_type": "search"}).json["text_embedding"]
    assert all(close_to(r["embedding"], vector(t)) for r, t in zip(rows, "ab"))
    (request,) = upstream.requests
    assert (request.target, request.json) == ("/hf" + url, {"inputs": ["a", "b"]})
    assert request.headers["authorization"] == "Bearer " + KEY


def test_no_model_for_embeddings(server):
    answer = server.put("/_inference/text_embedding/x", {
        "service": "hugging_face",
        "service_settings": {"api_key": KEY, "url": BASE + "/embed", "model_id": "m"}})
    assert answer.status == 400
    assert "model_id" in answer.reason


def test_sparse(server, upstream):
    path = make(server, upstream, "sparse_embedding", "/sparse")
    answer = server.post(path, {"input": ["the wish is the wish", "be"]}).json
    assert list(answer) == ["sparse_embedding"]
    for item, text in zip(answer["sparse_embedding"], ["the wish is the wish", "be"]):
        assert list(item) == ["is_truncated", "embedding"]
        assert item["is_truncated"] is False
        assert item["embedding"] == weights(text)
    made = server.get("/_inference/h").json["endpoints"][0]
    assert made["chunking_settings"]["strategy"] == "sentence"
    assert "similarity" not in made["service_settings"]


def test_sparse_tells_when_an_input_was_cut(server, upstream):
    path = make(server, upstream, "sparse_embedding", "/sparse")
    upstream.script(Reply(413, {"error": "too long", "error_type": "Validation"}))
    answer = server.post(path, {"input": ["wish wish wish", "x"]}).json["sparse_embedding"]
    assert [i["is_truncated"] for i in answer] == [True, True]
    make(server, upstream, "sparse_embedding", "/sparse", settings={"max_input_tokens": 2})
    answer = server.post(path, {"input": ["wish wish wish", "x"]}).json["sparse_embedding"]
    assert [i["is_truncated"] for i in answer] == [True, False]
    assert upstream.requests[0].json == {"inputs": ["wish w", "x"]}


def test_rerank_is_sorted_and_cut_here(server, upstream):
    documents = ["the moon", "the capital", "a capital idea", "nothing"]
    path = make(server, upstream, "rerank", "/rerank")
    answer = server.post(path, {"query": "the capital", "input": documents}).json["rerank"]
    expected = sorted(((score("the capital", d), -i) for i, d in enumerate(documents)),
                      reverse=True)
    assert [(r["index"], r["relevance_score"]) for r in answer] == [
        (-i, pytest.approx(s)) for s, i in expected]
    assert all("text" not in r for r in answer)
    answer = server.post(path, {"query": "the capital", "input": documents, "top_n": 2,
                                "return_documents": True}).json["rerank"]
    assert [r["text"] for r in answer] == [documents[-i] for _, i in expected[:2]]
    assert upstream.bodies() == [
        {"texts": documents, "query": "the capital"},
        {"texts": documents, "query": "the capital", "return_text": True, "top_n": 2}]


def test_rerank_in_the_other_form(server, upstream):
    path = make(server, upstream, "rerank", "/rerank",
                task_settings={"return_documents": True, "top_n": 1})
    upstream.script(Reply(200, [{"index": 0, "relevance_score": 0.1, "document": {"text": "a"}},
                                {"index": 1, "relevance_score": 0.9, "document": {"text": "b"}}]))
    answer = server.post(path, {"query": "q", "input": ["a", "b"]}).json["rerank"]
    assert answer == [{"index": 1, "relevance_score": pytest.approx(0.9), "text": "b"}]


def test_completion(server, upstream):
    path = make(server, upstream, "completion", CHAT)
    assert server.post(path, {"input": "hi"}).json == {"completion": [{"result": "Echo: hi"}]}
    stream = server.stream(path + "/_stream", {"input": "hi you"})
    events = stream.all()
    assert [json.loads(d)["completion"][0]["delta"] for _, d in events[:-1]] == ["Echo: ", "hi ",
                                                                                 "you"]
    first, second = upstream.bodies()
    assert first == {"messages": [{"role": "user", "content": "hi"}], "n": 1, "stream": False}
    assert second["stream_options"] == {"include_usage": True}
    answer = server.post(path, {"input": ["a", "b"]})
    assert (answer.status, answer.reason) == (400, "Hugging Face completion only accepts 1 input")


def test_completion_with_a_model(server, upstream):
    path = make(server, upstream, "completion", CHAT, settings={"model_id": "llama"})
    server.post(path, {"input": "hi"})
    assert upstream.requests[0].json["model"] == "llama"


def test_chat(server, upstream):
    path = make(server, upstream, "chat_completion", CHAT)
    stream = server.stream(path + "/_stream", {"messages": [{"role": "user", "content": "hi"}],
                                               "max_completion_tokens": 7})
    events = stream.all()
    assert events[-1] == ("message", "[DONE]")
    assert json.loads(events[1][1])["choices"][0]["delta"] == {"content": "Echo: "}
    assert upstream.requests[0].json == {
        "messages": [{"role": "user", "content": "hi"}], "max_tokens": 7, "n": 1, "stream": True,
        "stream_options": {"include_usage": True}}


def test_an_error_inside_the_chat_stream(server, upstream):
    path = make(server, upstream, "chat_completion", CHAT)
    upstream.script(Stream([chunk({"content": "a"}), {"error": {
        "message": "input too long", "http_status_code": 422}}], done=False))
    events = server.stream(path + "/_stream", {"messages": [{"role": "user", "content": "x"}]}).all()
    assert [e[0] for e in events] == ["message", "error"]
    got = json.loads(events[1][1])["error"]
    assert got["code"] == "422" or got["code"] == 422
    assert "input too long" in got["message"]
    assert "[DONE]" not in events[1][1]


NAME = "for request from inference entity id [h] status"

REFUSALS = [
    (401, {"error": "Invalid credentials"}, 401, f"Received an authentication error status code "
     f"{NAME} [401]. Error message: [Invalid credentials]", 1),
    (400, {"error": "bad", "error_type": "Validation"}, 400, f"Received an unsuccessful status "
     f"code {NAME} [400]. Error message: [bad]", 1),
    (404, "", 404, f"Received an unsuccessful status code {NAME} [404]", 1),
    (413, {"error": "long"}, 413, f"Received a content too large status code {NAME} [413]. Error "
     "message: [long]", 3),
    (422, {"error": "tokens"}, 422, f"Received an unsuccessful status code {NAME} [422]. Error "
     "message: [tokens]", 1),
    (424, "", 424, f"Received an unsuccessful status code {NAME} [424]", 1),
    (429, {"error": "full", "error_type": "Overloaded"}, 429, f"Received a rate limit status code "
     f"{NAME} [429]. Error message: [full]", 3),
    (500, {"error": "x"}, 400, f"Received a server error status code {NAME} [500]. Error message: "
     "[x]", 1),
    (502, "", 400, f"Received a rate limit status code {NAME} [502]", 3),
    (503, {"error": "unhealthy"}, 400, f"Received a rate limit status code {NAME} [503]. Error "
     "message: [unhealthy]", 3),
    (307, "", 307, f"Unhandled redirection {NAME} [307]", 1),
]


@pytest.mark.parametrize("status, body, client_status, text, attempts", REFUSALS)
@pytest.mark.parametrize("task, url", [("text_embedding", "/embed"), ("sparse_embedding", "/sparse"),
                                       ("rerank", "/rerank")])
def test_refusals_of_the_service(server, upstream, task, url, status, body, client_status, text,
                                 attempts):
    path = make(server, upstream, task, url)
    upstream.script(*[Reply(status, body)] * attempts)
    answer = server.post(path, {"input": "x", **({"query": "q"} if task == "rerank" else {})})
    assert (answer.status, answer.type, answer.reason) == (client_status, "status_exception", text)
    assert len(upstream.requests) == attempts


def test_a_cold_start_is_waited_for(server, upstream):
    path = make(server, upstream, "text_embedding", "/embed")
    upstream.script(Reply(503, {"error": "starting"}), Reply(502, "<html>"))
    assert server.post(path, {"input": "x"}).status == 200
    assert len(upstream.requests) == 3


@pytest.mark.parametrize("task, url, body", [
    ("text_embedding", "/embed", {"no": 1}), ("text_embedding", "/embed", "text"),
    ("text_embedding", "/embed", [[0.1], [0.2]]), ("text_embedding", "/embed", [["a"]]),
    ("sparse_embedding", "/sparse", [["a"]]), ("sparse_embedding", "/sparse", [{"a": "b"}]),
    ("rerank", "/rerank", {"a": 1}), ("rerank", "/rerank", [{"index": 0}]),
    ("rerank", "/rerank", [{"score": 1}]), ("rerank", "/rerank", [5]),
])
def test_broken_answers(server, upstream, task, url, body):
    path = make(server, upstream, task, url)
    upstream.script(*[Reply(200, body)] * 3)
    answer = server.post(path, {"input": "x", **({"query": "q"} if task == "rerank" else {})})
    assert answer.status == 500, answer
    assert answer.reason.startswith("Failed to send Hugging Face ")


def test_similarity(server, upstream):
    server.make("text_embedding", "h", "hugging_face", {"api_key": KEY, "url": BASE + "/embed"})
    made = server.get("/_inference/h").json["endpoints"][0]
    assert list(made["service_settings"]) == ["url", "similarity", "dimensions", "rate_limit"]
    assert made["service_settings"]["similarity"] == "cosine"
