"""What every endpoint may be given beyond Elasticsearch: fallback, cache, hedge, timeouts."""
import json
import time

import pytest

from inferd import MARK
from services import deltas
from upstream import Hang, Reply, Stream, chunk, close_to, reply_text, vector

KEY = "sk-" + MARK
MODEL = {"api_key": KEY, "model_id": "gpt-4o-mini"}
EMBED = {"api_key": KEY, "model_id": "text-embedding-3-small"}


def metric(server, name):
    text = server.get("/_prometheus/metrics").text
    return int(next(l for l in text.splitlines() if l.startswith(name + " ")).split()[1])


def targets(upstream):
    return [r.target for r in upstream.requests]


# --- fallback ---

def two(server, upstream):
    server.make("completion", "second", "cohere", {"api_key": KEY, "model_id": "command-a"})
    made = server.make("completion", "first", "openai", dict(MODEL, fallback=["second"]))
    upstream.clear()
    assert made["service_settings"]["fallback"] == ["second"]


@pytest.mark.parametrize("status, attempts", [(429, 1), (401, 1), (503, 3)])
def test_the_next_one_answers(server, upstream, status, attempts):
    two(server, upstream)
    upstream.script(*[Reply(status, {"error": {"message": "no"}})] * attempts)
    answer = server.post("/_inference/completion/first", {"input": "hi"})
    assert answer.json == {"completion": [{"result": reply_text("hi")}]}
    assert targets(upstream) == ["/v1/chat/completions"] * attempts + ["/v2/chat"]


def test_what_is_wrong_with_the_request_stays_wrong(server, upstream):
    two(server, upstream)
    upstream.script(Reply(400, {"error": {"message": "bad"}}))
    assert server.post("/_inference/completion/first", {"input": "hi"}).status == 400
    assert len(upstream.requests) == 1


def test_the_last_failure_is_the_answer(server, upstream):
    two(server, upstream)
    upstream.script(Reply(401, {"error": {"message": "a"}}), Reply(401, {"message": "b"}))
    answer = server.post("/_inference/completion/first", {"input": "hi"})
    assert (answer.status, "Error message: [b]" in answer.reason) == (401, True)


def test_a_stream_falls_back_before_its_first_delta_only(server, upstream):
    two(server, upstream)
    upstream.script(Reply(429, {"error": {"message": "no"}}))
    events = server.stream("/_inference/completion/first/_stream", {"input": "hi"}).all()
    text = "".join(json.loads(d)["completion"][0]["delta"] for _, d in events[:-1])
    assert text == reply_text("hi")
    upstream.script(Stream([chunk({"content": "half"})], done=False))
    events = server.stream("/_inference/completion/first/_stream", {"input": "hi"}).all()
    assert events[-1][0] == "error"
    assert targets(upstream)[-1] == "/v1/chat/completions"


BROKEN = {"garbage": Stream(["data: {nonsense\n\n"]),
          "error": Stream([{"error": {"message": "overloaded", "type": "server_error"}}]),
          "cut": Stream([], done=False, cut="rst")}


@pytest.mark.parametrize("first", BROKEN)
def test_a_stream_that_breaks_before_its_first_delta_falls_back(server, upstream, first):
    two(server, upstream)
    upstream.script(BROKEN[first])
    events = server.stream("/_inference/completion/first/_stream", {"input": "hi"}).all()
    assert "".join(deltas(events)) == reply_text("hi")
    assert targets(upstream)[-1] == "/v2/chat"


def test_an_empty_answer_falls_back(server, upstream):
    two(server, upstream)
    upstream.script(Reply(200, b""))
    answer = server.post("/_inference/completion/first", {"input": "hi"})
    assert answer.json == {"completion": [{"result": reply_text("hi")}]}


@pytest.mark.parametrize("timeouts", [{"first_token": "100ms"}, {"total": "100ms"}])
def test_an_endpoint_whose_time_is_over_falls_back(server, upstream, timeouts):
    """The fallback has its own time, and both are within what the caller gave."""
    server.make("completion", "second", "cohere", {"api_key": KEY, "model_id": "command-a"})
    server.make("completion", "first", "openai",
                dict(MODEL, fallback=["second"], timeouts=timeouts,
                     rate_limit={"requests_per_minute": 1000000}))
    upstream.clear()
    upstream.script(Hang())
    events = server.stream("/_inference/completion/first/_stream", {"input": "hi"}).all()
    assert "".join(deltas(events)) == reply_text("hi")
    assert targets(upstream) == ["/v1/chat/completions", "/v2/chat"]
    upstream.clear()
    upstream.script(Hang())
    if "total" in timeouts:
        upstream.script(Hang())
    answer = server.post("/_inference/completion/first?timeout=400ms", {"input": "hi"})
    assert (answer.status, answer.reason) == (408, "Request timed out after [400ms]")
    # first_token is for streams: there the caller's time was over.
    assert len(upstream.requests) == (2 if "total" in timeouts else 1)


def test_embeddings_fall_back_within_one_model_only(server, upstream):
    server.make("text_embedding", "same", "openai", dict(EMBED, organization_id="o2"))
    server.make("text_embedding", "other", "openai", dict(EMBED, model_id="ada"))
    server.make("text_embedding", "e", "openai", dict(EMBED, fallback=["same"]))
    upstream.clear()
    upstream.script(Reply(401, {"error": {"message": "no"}}))
    (row,) = server.post("/_inference/text_embedding/e", {"input": "a"}).json["text_embedding"]
    assert close_to(row["embedding"], vector("a"))
    assert upstream.requests[1].headers["openai-organization"] == "o2"
    body = {"service": "openai", "service_settings": dict(EMBED, fallback=["other"])}
    answer = server.put("/_inference/text_embedding/x", body)
    assert answer.status == 400
    assert "cannot be compared" in answer.reason


def test_a_fallback_has_a_model_of_its_own(server, upstream):
    server.make("chat_completion", "second", "cohere", {"api_key": KEY, "model_id": "command-a"})
    server.make("chat_completion", "first", "openai", dict(MODEL, fallback=["second"]))
    upstream.clear()
    upstream.script(Reply(401, {"error": {"message": "no"}}))
    server.stream("/_inference/chat_completion/first/_stream", {
        "messages": [{"role": "user", "content": "hi"}], "model": "gpt-other"}).all()
    assert [r.json["model"] for r in upstream.requests] == ["gpt-other", "command-a"]


def test_an_endpoint_whose_limit_is_used_up_falls_back(server, upstream):
    server.make("completion", "second", "cohere", {"api_key": KEY, "model_id": "command-a"})
    server.make("completion", "first", "openai",  # the trial takes the only turn of this minute
                dict(MODEL, fallback=["second"], rate_limit={"requests_per_minute": 1}))
    upstream.clear()
    answer = server.post("/_inference/completion/first", {"input": "hi"})
    assert answer.json == {"completion": [{"result": reply_text("hi")}]}
    assert targets(upstream) == ["/v2/chat"]


def test_nobody_answers_for_an_endpoint_that_is_tried(server, upstream):
    """Or a key that does not work would be taken."""
    two(server, upstream)
    no = Reply(401, {"error": {"message": "no"}})
    upstream.script(no, no)
    answer = server.put("/_inference/first/_update", {"service_settings": {"api_key": KEY + "-2"}})
    assert (answer.status, "authentication" in answer.json["error"]["caused_by"]["reason"]) == (
        400, True)
    body = {"service": "openai", "service_settings": dict(MODEL, fallback=["second"])}
    assert server.put("/_inference/completion/third", body).status == 400
    assert targets(upstream) == ["/v1/chat/completions"] * 2
    upstream.clear()
    server.post("/_inference/completion/first", {"input": "hi"})
    assert upstream.requests[0].headers["authorization"] == "Bearer " + KEY


def test_floats_do_not_fall_back_to_bits(server, upstream):
    """Though as many: eight dimensions are one byte of bits."""
    cohere = {"api_key": KEY, "model_id": "m"}
    upstream.script(Reply(200, {"embeddings": {"binary": [[7]]}}))
    server.make("text_embedding", "bits", "cohere", dict(cohere, embedding_type="bit"))
    body = {"service": "cohere", "service_settings": dict(cohere, fallback=["bits"])}
    answer = server.put("/_inference/text_embedding/x", body)
    assert (answer.status, "of type [bit], not [float]" in answer.reason) == (400, True)
    server.make("text_embedding", "floats", "jinaai", cohere)
    body["service_settings"]["fallback"] = ["floats"]
    assert server.put("/_inference/text_embedding/x", body).status == 200


@pytest.mark.parametrize("fallback, text", [
    (["nope"], "The fallback endpoint [nope] does not exist"),
    (["x"], "[fallback] must name other endpoints"),
    ("y", "field [fallback] is not of the expected type"),
])
def test_wrong_fallbacks(server, upstream, fallback, text):
    body = {"service": "openai", "service_settings": dict(MODEL, fallback=fallback)}
    answer = server.put("/_inference/completion/x", body)
    assert answer.status == 400
    assert text in answer.reason


# --- cache ---

def test_the_same_question_is_asked_once(server, upstream):
    server.make("text_embedding", "e", "openai", dict(EMBED, cache={"ttl": "1m"}))
    upstream.clear()
    hits = metric(server, "inferd_cache_hits_total")
    path = "/_inference/text_embedding/e"
    first = server.post(path, {"input": ["a", "b"]}).json
    assert server.post(path, {"input": ["a", "b"]}).json == first
    assert len(upstream.requests) == 1
    for other in ({"input": ["ab"]}, {"input": ["b", "a"]},
                  {"input": ["a", "b"], "task_settings": {"user": "u"}}):
        server.post(path, other)
    assert len(upstream.requests) == 4
    assert metric(server, "inferd_cache_hits_total") == hits + 1


def test_the_cache_ends_with_its_time_its_size_and_its_endpoint(server, upstream):
    settings = dict(EMBED, cache={"ttl": "1ms", "max_size": "64kb"})
    server.make("text_embedding", "e", "openai", settings)
    upstream.clear()
    path = "/_inference/text_embedding/e"
    server.post(path, {"input": "a"})
    time.sleep(0.01)
    server.post(path, {"input": "a"})
    assert len(upstream.requests) == 2
    server.put(path + "/_update", {"service_settings": {"cache": {"ttl": "1m", "max_size": "64kb"}}})
    upstream.clear()
    for i in list(range(40)) + [0]:
        server.post(path, {"input": f"{i}"})
    assert len(upstream.requests) == 41
    server.post(path, {"input": "39"})
    assert len(upstream.requests) == 41


@pytest.mark.parametrize("setting, value, text", [
    ("cache", {"ttl": "soon"}, "[cache] Invalid value [\"soon\"]. [ttl] must be a time"),
    ("cache", {"size": "1mb"}, "[cache] does not allow the setting [size]"),
    ("hedge", {}, "[hedge] does not contain the required setting [after]"),
    ("timeouts", {"stall": 5}, "[timeouts] Invalid value [5]. [stall] must be a time"),
])
def test_wrong_settings(server, upstream, setting, value, text):
    body = {"service": "openai", "service_settings": dict(EMBED, **{setting: value})}
    answer = server.put("/_inference/text_embedding/x", body)
    assert answer.status == 400
    assert text in answer.reason


# --- hedge ---

def test_a_slow_request_is_sent_again_and_the_faster_wins(server, upstream):
    server.make("text_embedding", "e", "openai",
                dict(EMBED, hedge={"after": "30ms"}, rate_limit={"requests_per_minute": 1000000}))
    upstream.clear()
    (gate,) = upstream.script(Hang())
    (row,) = server.post("/_inference/text_embedding/e", {"input": "a"}).json["text_embedding"]
    assert close_to(row["embedding"], vector("a"))
    assert len(upstream.requests) == 2
    gate.release()
    upstream.clear()
    server.post("/_inference/text_embedding/e", {"input": "a"})
    assert len(upstream.requests) == 1


def test_each_request_of_a_split_call_is_hedged(server, upstream):
    server.make("text_embedding", "e", "cohere", {
        "api_key": KEY, "model_id": "m", "hedge": {"after": "100ms"},
        "rate_limit": {"requests_per_minute": 1000000}})
    upstream.clear()
    upstream.script(Hang())
    inputs = [f"text {i}" for i in range(100)]
    rows = server.post("/_inference/text_embedding/e", {"input": inputs}).json["text_embedding"]
    assert all(close_to(r["embedding"], vector(t)) for r, t in zip(rows, inputs))
    assert sorted(len(r.json["texts"]) for r in upstream.requests) in ([4, 4, 96], [4, 96, 96])


# --- timeouts ---

def test_first_token_stall_and_total(server, upstream):
    def events(timeouts, *script):
        server.make("completion", "c", "openai",
                    dict(MODEL, timeouts=timeouts, rate_limit={"requests_per_minute": 1000000}))
        upstream.clear()
        upstream.script(*script)
        return server.stream("/_inference/completion/c/_stream", {"input": "hi"}).all()

    ((name, data),) = events({"first_token": "100ms"}, Hang())
    assert (name, "Request timed out after [100ms]" in data) == ("error", True)
    slow = Stream([chunk({"content": "a"})] * 3, pause=0.3)
    late = events({"stall": "100ms"}, slow)
    assert json.loads(late[0][1]) == {"completion": [{"delta": "a"}]}
    assert late[-1][0] == "error"
    assert "timed out after [100ms]" in late[-1][1]
    ((name, data),) = events({"first_token": "100ms", "total": "20s"}, Hang())
    assert (name, "Request timed out after [100ms]" in data) == ("error", True)
    good = events({"first_token": "200ms", "total": "20s"}, Stream([chunk({"content": "a"})] * 4,
                                                                   pause=0.1))
    assert (good[-1][1], len(good)) == ("[DONE]", 5)
    late = events({"total": "250ms"}, Stream([chunk({"content": "a"})] * 5, pause=0.1))
    assert late[-1][0] == "error"
    assert "Request timed out after [250ms]" in late[-1][1]


def test_a_chat_that_is_gathered_has_time_after_its_first_token(server, upstream):
    """On the second door an answer that is not streamed is a stream too."""
    server.make("chat_completion", "c", "openai",
                dict(MODEL, timeouts={"first_token": "200ms"}))
    upstream.clear()
    upstream.script(Stream([chunk({"content": "a"})] * 4 + [chunk({}, "stop")], pause=0.1))
    answer = server.post("/v1/chat/completions", {
        "model": "c", "messages": [{"role": "user", "content": "x"}]})
    assert answer.json["choices"][0]["message"]["content"] == "aaaa"


def test_null_takes_them_away(server, upstream):
    server.make("text_embedding", "b", "openai", EMBED)
    extras = {"fallback": ["b"], "cache": {}, "hedge": {"after": "1s"}, "timeouts": {"total": "9s"},
              "egress": {"headers": {"X-A": "b"}}}
    made = server.make("text_embedding", "e", "openai", {**EMBED, **extras})
    assert {k: v for k, v in made["service_settings"].items() if k in extras} == extras
    for name in extras:
        answer = server.put("/_inference/e/_update", {"service_settings": {name: None}})
        assert answer.status == 200 and name not in answer.json["service_settings"]
    upstream.clear()
    for _ in range(2):  # no cache any more
        assert server.post("/_inference/e", {"input": "a"}).status == 200
    assert len(upstream.requests) == 2 and "x-a" not in upstream.requests[0].headers
    assert server.get("/_inference/e").json["endpoints"] == [
        {k: v for k, v in answer.json.items()}]
