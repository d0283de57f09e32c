"""Cohere, API v2: embeddings of three types, rerank, completion."""
import json

import pytest

from inferd import MARK
from upstream import Reply, Stream, close_to, cohere_events, int8s, score, vector

KEY = "co-" + MARK
EMBED = {"api_key": KEY, "model_id": "embed-v4.0"}
RERANK = {"api_key": KEY, "model_id": "rerank-v3.5"}
CHAT = {"api_key": KEY, "model_id": "command-a"}
DOCUMENTS = ["Carson City is the capital of Nevada", "the moon", "Washington is the capital"]


def make(server, upstream, task, settings, **more):
    server.make(task, "c", "cohere", settings, **more)
    upstream.clear()
    return f"/_inference/{task}/c"


def test_embeddings(server, upstream):
    path = make(server, upstream, "text_embedding", EMBED)
    rows = server.post(path, {"input": ["a", "b"]}).json["text_embedding"]
    assert all(close_to(r["embedding"], vector(t)) for r, t in zip(rows, "ab"))
    (request,) = upstream.requests
    assert request.target == "/v2/embed"
    assert request.headers["authorization"] == "Bearer " + KEY
    assert request.headers["request-source"] == "unspecified:elasticsearch"
    assert request.json == {"texts": ["a", "b"], "model": "embed-v4.0",
                            "input_type": "search_query", "embedding_types": ["float"]}


@pytest.mark.parametrize("kind, sent, member", [
    ("int8", "int8", "text_embedding_bytes"), ("byte", "int8", "text_embedding_bytes"),
    ("bit", "binary", "text_embedding_bits"), ("binary", "binary", "text_embedding_bits"),
])
def test_bytes_and_bits(server, upstream, kind, sent, member):
    path = make(server, upstream, "text_embedding", dict(EMBED, embedding_type=kind))
    answer = server.post(path, {"input": ["a", "b"]}).json
    assert answer == {member: [{"embedding": int8s("a")}, {"embedding": int8s("b")}]}
    assert upstream.requests[0].json["embedding_types"] == [sent]


def test_a_value_that_is_no_byte(server, upstream):
    path = make(server, upstream, "text_embedding", dict(EMBED, embedding_type="byte"))
    upstream.script(*[Reply(200, {"embeddings": {"int8": [[1, 200]]}})] * 3)
    answer = server.post(path, {"input": "a"})
    assert answer.status == 500
    assert "Value [200] is out of range for a byte" in answer.text


@pytest.mark.parametrize("given, sent", [
    ("ingest", "search_document"), ("search", "search_query"), ("Clustering", "clustering"),
    ("classification", "classification"),
])
def test_input_types(server, upstream, given, sent):
    path = make(server, upstream, "text_embedding", EMBED)
    assert server.post(path, {"input": "a", "input_type": given}).status == 200
    assert upstream.requests[0].json["input_type"] == sent


def test_the_callers_input_type_wins_over_the_stored_one(server, upstream):
    path = make(server, upstream, "text_embedding", EMBED,
                task_settings={"input_type": "ingest", "truncate": "END"})
    server.post(path, {"input": "a"})
    server.post(path, {"input": "a", "input_type": "clustering"})
    server.post(path, {"input": "a", "task_settings": {"input_type": "search",
                                                       "truncate": "NONE"}})
    assert [(b["input_type"], b["truncate"]) for b in upstream.bodies()] == [
        ("search_document", "END"), ("clustering", "END"), ("search_query", "NONE")]


def test_the_old_name_of_the_model_and_its_own_url(server, upstream):
    settings = {"api_key": KEY, "model": "embed-v3", "url": "https://co.example/v2/embed?x=1"}
    made = server.make("text_embedding", "c", "cohere", settings)
    assert made["service_settings"]["model_id"] == "embed-v3"
    assert "model" not in made["service_settings"]
    assert upstream.requests[0].target == "/v2/embed?x=1"


def test_other_shapes_of_embeddings(server, upstream):
    path = make(server, upstream, "text_embedding", EMBED)
    upstream.script(Reply(200, {"embeddings": [[0.5, 0.25]]}))
    assert server.post(path, {"input": "a"}).json == {"text_embedding": [{"embedding": [0.5, 0.25]}]}
    upstream.script(*[Reply(200, {"embeddings": {"ubinary": [[1]]}})] * 3)
    answer = server.post(path, {"input": "a"})
    assert answer.status == 500
    assert ("Failed to find a supported embedding type in the Cohere embeddings response. "
            "Supported types are [binary, float, int8]") in answer.text


# ---- rerank ----

def ranked(query, documents):
    return sorted(((score(query, d), i) for i, d in enumerate(documents)), reverse=True)


def test_rerank(server, upstream):
    path = make(server, upstream, "rerank", RERANK)
    answer = server.post(path, {"query": "the capital", "input": DOCUMENTS})
    assert [(r["relevance_score"], r["index"]) for r in answer.json["rerank"]] == [
        (pytest.approx(s), i) for s, i in ranked("the capital", DOCUMENTS)]
    assert all(list(r) == ["index", "relevance_score"] for r in answer.json["rerank"])
    assert upstream.requests[0].target == "/v2/rerank"
    assert upstream.requests[0].json == {"model": "rerank-v3.5", "query": "the capital",
                                         "documents": DOCUMENTS}


def test_rerank_with_documents_and_top_n(server, upstream):
    path = make(server, upstream, "rerank", RERANK,
                task_settings={"return_documents": True, "top_n": 2, "max_chunks_per_doc": 5})
    answer = server.post(path, {"query": "the capital", "input": DOCUMENTS}).json["rerank"]
    assert len(answer) == 2
    assert [r["text"] for r in answer] == [DOCUMENTS[i] for _, i in
                                           ranked("the capital", DOCUMENTS)[:2]]
    assert list(answer[0]) == ["index", "relevance_score", "text"]
    server.post(path, {"query": "q", "input": DOCUMENTS, "top_n": 1, "return_documents": False,
                       "task_settings": {"top_n": 3}})
    first, second = upstream.bodies()
    assert (first["return_documents"], first["top_n"], first["max_chunks_per_doc"]) == (True, 2, 5)
    assert (second["return_documents"], second["top_n"]) == (False, 1)


@pytest.mark.parametrize("body, reason", [
    ({"input": ["a"]}, "Field [query] cannot be null for task type [rerank]"),
    ({"input": ["a"], "query": ""}, "Field [query] cannot be empty for task type [rerank]"),
    ({"query": "q"}, "Field [input] cannot be null"),
    ({"query": "q", "input": []}, "Field [input] cannot be an empty array"),
    ({"query": "q", "input": ["a"], "input_type": "search"},
     "Field [input_type] cannot be specified for task type [rerank]"),
])
def test_refused_reranks(server, upstream, body, reason):
    path = make(server, upstream, "rerank", RERANK)
    answer = server.post(path, body)
    assert (answer.status, answer.reason) == (400, f"Validation Failed: 1: {reason};")
    assert upstream.requests == []


def test_a_rank_of_no_document(server, upstream):
    path = make(server, upstream, "rerank", RERANK)
    upstream.script(*[Reply(200, {"results": [{"index": 9, "relevance_score": 0.5}]})] * 3)
    answer = server.post(path, {"query": "q", "input": ["a"]})
    assert answer.status in (200, 500)


# ---- completion ----

def test_completion(server, upstream):
    path = make(server, upstream, "completion", CHAT)
    assert server.post(path, {"input": "hi"}).json == {"completion": [{"result": "Echo: hi"}]}
    assert upstream.requests[0].target == "/v2/chat"
    assert upstream.requests[0].json == {"messages": [{"role": "user", "content": "hi"}],
                                         "model": "command-a", "stream": False}
    answer = server.post(path, {"input": ["a", "b"]})
    assert (answer.status, answer.reason) == (400, "Cohere completion only accepts 1 input")


def deltas(stream):
    events = stream.all()
    assert events[-1] == ("message", "[DONE]")
    return [d["delta"] for _, data in events[:-1] for d in json.loads(data)["completion"]]


def test_stream(server, upstream):
    path = make(server, upstream, "completion", CHAT)
    stream = server.stream(path + "/_stream", {"input": "tell me more"})
    assert stream.status == 200
    assert deltas(stream) == ["Echo: ", "tell ", "me ", "more"]
    assert upstream.requests[0].json["stream"] is True


def test_stream_that_ends_with_an_error(server, upstream):
    path = make(server, upstream, "completion", CHAT)
    upstream.script(Stream(cohere_events("a b", "ERROR", "out of luck"), done=False))
    events = server.stream(path + "/_stream", {"input": "x"}).all()
    assert [json.loads(d)["completion"][0]["delta"] for _, d in events[:2]] == ["a ", "b"]
    assert len(events) == 3 and events[2][0] == "error"
    assert "Cohere stopped the stream due to an error: out of luck" in events[2][1]


@pytest.mark.parametrize("finish", ["COMPLETE", "MAX_TOKENS", "STOP_SEQUENCE"])
def test_ends_that_are_none(server, upstream, finish):
    path = make(server, upstream, "completion", CHAT)
    upstream.script(Stream(cohere_events("a b", finish), done=False))
    assert deltas(server.stream(path + "/_stream", {"input": "x"})) == ["a ", "b"]


def test_events_that_are_not_known_are_skipped(server, upstream):
    path = make(server, upstream, "completion", CHAT)
    extra = 'event: {0}\ndata: {{"type": "{0}", "delta": {{"message": {{"tool_plan": "x"}}}}}}\n\n'
    events = list(cohere_events("a"))
    for kind in ("tool-plan-delta", "citation-start", "from-the-future"):
        events.insert(2, extra.format(kind))
    upstream.script(Stream(events, done=False))
    assert deltas(server.stream(path + "/_stream", {"input": "x"})) == ["a"]


def test_a_task_that_is_not_there(server):
    answer = server.put("/_inference/sparse_embedding/x", {"service": "cohere",
                                                           "service_settings": CHAT})
    assert answer.status == 400
    assert answer.reason == "The [cohere] service does not support task type [sparse_embedding]"


# ---- refusals of the service ----

NAME = "for request from inference entity id [c] status"

REFUSALS = [
    (401, {"message": "invalid api token"}, 401, f"Received an authentication error status code "
     f"{NAME} [401]. Error message: [invalid api token]", 1),
    (400, {"message": "bad"}, 400, f"Received an unsuccessful status code {NAME} [400]. Error "
     "message: [bad]", 1),
    (400, {"message": "invalid request: total number of texts must be at most 96"}, 400,
     f"Received a texts array too large response {NAME} [400]. Error message: [invalid request: "
     "total number of texts must be at most 96]", 1),
    (404, {"message": "no model"}, 404, f"Received an unsuccessful status code {NAME} [404]. Error "
     "message: [no model]", 1),
    (413, "", 413, f"Received an unsuccessful status code {NAME} [413]", 1),
    (422, "", 422, f"Received an unsuccessful status code {NAME} [422]", 1),
    (429, {"message": "slow"}, 429, f"Received a rate limit status code {NAME} [429]. Error "
     "message: [slow]", 3),
    (500, {"message": "x"}, 400, f"Received a server error status code {NAME} [500]. Error "
     "message: [x]", 3),
    (503, {"message": "x"}, 400, f"Received a server error status code {NAME} [503]. Error "
     "message: [x]", 1),
    (302, "", 302, f"Unhandled redirection {NAME} [302]", 1),
]


@pytest.mark.parametrize("status, body, client_status, text, attempts", REFUSALS)
@pytest.mark.parametrize("task", ["text_embedding", "rerank", "completion"])
def test_refusals_of_the_service(server, upstream, task, status, body, client_status, text,
                                 attempts):
    path = make(server, upstream, task, EMBED)
    upstream.script(*[Reply(status, body)] * attempts)
    answer = server.post(path, {"input": "x", **({"query": "q"} if task == "rerank" else {})})
    assert (answer.status, answer.type, answer.reason) == (client_status, "status_exception", text)
    assert len(upstream.requests) == attempts


@pytest.mark.parametrize("task, name", [("text_embedding", "Cohere embeddings"),
                                        ("rerank", "Cohere rerank"),
                                        ("completion", "Cohere completion")])
def test_broken_answers(server, upstream, task, name):
    path = make(server, upstream, task, EMBED)
    upstream.script(*[Reply(200, '{"a": 1}')] * 3)
    answer = server.post(path, {"input": "x", **({"query": "q"} if task == "rerank" else {})})
    assert answer.status == 500
    assert answer.reason.startswith(f"Failed to send {name} request")
    assert "Failed to find required field [" in answer.text


def test_one_key_one_limit(server, upstream):
    """Cohere's limit is by key, whatever the task."""
    import time
    limit = {"rate_limit": {"requests_per_minute": 300}}
    server.make("completion", "a", "cohere", dict(CHAT, **limit))
    server.make("rerank", "b", "cohere", dict(RERANK, **limit))
    time.sleep(0.2)
    started = time.monotonic()
    server.post("/_inference/a", {"input": "x"})
    server.post("/_inference/b", {"input": "x", "query": "q"})
    assert time.monotonic() - started > 0.18
