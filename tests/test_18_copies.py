"""Services that copy OpenAI: where each differs in its path, its key and its members."""
import json

import pytest

from services import BY, C, CC, KEY, R, T, Story, questions, said, same_rows
from upstream import Reply, Stream, chunk, vector

ASK = {"messages": [{"role": "user", "content": "tell me more"}]}
TOOL = {"type": "function", "function": {"name": "f", "description": "d", "strict": True,
                                         "parameters": {"type": "object"}}}
OPTIONS = {"temperature": 0.5, "top_p": 0.25, "stop": ["END"], "tools": [TOOL],
           "tool_choice": {"type": "function", "function": {"name": "f"}}}

# service: the path of its chats, its word for the most tokens, whether a stream asks for its usage
CHATS = {
    "ai21": ("/studio/v1/chat/completions", "max_tokens", True),
    "deepseek": ("/chat/completions", "max_tokens", True),
    "fireworksai": ("/inference/v1/chat/completions", "max_completion_tokens", True),
    "groq": ("/openai/v1/chat/completions", "max_completion_tokens", True),
    "llama": ("/v1/openai/v1/chat/completions", "max_tokens", False),
    "mistral": ("/v1/chat/completions", "max_tokens", False),
    "nvidia": ("/v1/chat/completions", "max_tokens", False),
    "openshift_ai": ("/v1/chat/completions", "max_tokens", False),
}


@pytest.mark.parametrize("service", CHATS)
def test_a_chat_word_by_word(story, service):
    path, most, usage = CHATS[service]
    story.make(service, CC)
    story.chunks({**ASK, **OPTIONS, "max_completion_tokens": 5})
    request = story.request
    assert (request.method, request.target) == ("POST", f"/{service}{path}")
    assert request.headers["authorization"] == "Bearer " + KEY
    assert request.headers["content-type"] == "application/json"
    assert request.json == {**ASK, **OPTIONS, most: 5, "n": 1, "model": "m-1", "stream": True,
                            **({"stream_options": {"include_usage": True}} if usage else {})}


@pytest.mark.parametrize("service", CHATS)
def test_a_completion_word_by_word(story, service):
    path, _, usage = CHATS[service]
    story.make(service, C)
    story.ask("tell me more")
    assert story.request.target == f"/{service}{path}"
    assert story.request.json == {**ASK, "n": 1, "model": "m-1", "stream": False}
    story.words()
    assert story.requests[1].json == {
        **ASK, "n": 1, "model": "m-1", "stream": True,
        **({"stream_options": {"include_usage": True}} if usage else {})}


@pytest.mark.parametrize("service", CHATS)
def test_what_else_a_chunk_may_hold(story, service):
    """Thoughts, verdicts and numbers that are not part of the answer."""
    story.make(service, CC)
    story.upstream.script(Stream([
        chunk({"role": "assistant", "reasoning_content": "hm", "content": None}),
        chunk({"content": "a"}, x_groq={"id": "r"}, service_tier="auto", usage=None),
        {"id": "c", "object": "chat.completion.chunk", "model": "m", "choices": [
            {"index": 1, "delta": {"content": "b", "refusal": "no"}, "finish_reason": "length",
             "matched_stop": 7}]}]))
    got = story.chunks()
    assert [k["choices"] for k in got[1:]] == [
        [{"delta": {"content": "a"}, "index": 0}],
        [{"delta": {"content": "b", "refusal": "no"}, "finish_reason": "length", "index": 1}]]


@pytest.mark.parametrize("service", ["fireworksai", "groq"])
def test_users_and_headers(story, service):
    story.make(service, CC, task_settings={"user": "u", "headers": {"x-one": "1", "X-Two": "2"}})
    story.chunks()
    assert story.request.json["user"] == "u"
    assert (story.request.headers["x-one"], story.request.headers["x-two"]) == ("1", "2")


@pytest.mark.parametrize("service", ["deepseek", "fireworksai", "nvidia"])
def test_an_address_of_ones_own(story, service):
    path = CHATS[service][0]
    extra = "/beta" + path if service == "deepseek" else path
    story.make(service, C, url=f"https://gateway.example{extra}?x=1")
    assert story.ask("hi") == [{"result": "Echo: hi"}]
    assert story.request.target == f"/{service}{extra}?x=1"
    story.upstream.script(Reply(404, ""))
    assert f"[https://gateway.example{extra}?x=1]" in story.post().reason


def test_deepseek_has_no_rate_limit(story):
    answer = story.server.put("/_inference/completion/x", {"service": "deepseek", "service_settings": {
        **BY["deepseek", C].settings, "rate_limit": {"requests_per_minute": 5}}})
    assert answer.status == 400 and "rate_limit" in answer.reason


def test_llama_without_a_key(story):
    story.make("llama", C, api_key=None)
    story.ask("hi")
    assert "authorization" not in story.request.headers


def test_openshift_without_a_model(story):
    story.make("openshift_ai", CC, model_id=None)
    story.chunks()
    assert "model" not in story.request.json
    story.chunks({**ASK, "model": "other"})
    assert story.requests[1].json["model"] == "other"


# ---- embeddings ----

@pytest.mark.parametrize("service, path, settings, body", [
    ("fireworksai", "/inference/v1/embeddings", {}, {"input": ["a", "b"], "model": "m-1"}),
    ("fireworksai", "/inference/v1/embeddings", {"dimensions": 4},
     {"input": ["a", "b"], "model": "m-1", "dimensions": 4}),
    ("llama", "/v1/inference/embeddings", {}, {"contents": ["a", "b"], "model_id": "m-1"}),
    ("mistral", "/v1/embeddings", {}, {"input": ["a", "b"], "model": "m-1",
                                       "encoding_format": "float"}),
    ("nvidia", "/v1/embeddings", {}, {"input": ["a", "b"], "model": "m-1", "input_type": "query"}),
    ("openshift_ai", "/v1/embeddings", {}, {"input": ["a", "b"], "model": "m-1"}),
    ("openshift_ai", "/v1/embeddings", {"dimensions": 4, "model_id": None},
     {"input": ["a", "b"], "dimensions": 4})])
def test_embeddings_word_by_word(story, service, path, settings, body):
    made = story.make(service, T, **settings)
    n = settings.get("dimensions", 8)
    assert made["service_settings"]["dimensions"] == n
    assert same_rows(story.ask(["a", "b"])["text_embedding"], [vector("a", n), vector("b", n)])
    assert story.request.target == f"/{service}{path}"
    assert story.request.json == body


@pytest.mark.parametrize("given, sent", [("ingest", "passage"), ("search", "query"), (None, "query")])
def test_input_types_of_nvidia(story, given, sent):
    story.make("nvidia", T, task_settings={"truncate": "START"})
    story.ask(["a"], **({"input_type": given} if given else {}))
    assert (story.request.json["input_type"], story.request.json["truncate"]) == (sent, "START")
    answer = story.post({"input": "a", "input_type": "clustering"})
    assert answer.status == 400
    assert "Input type [clustering] is not supported for [Nvidia]" in answer.reason


@pytest.mark.parametrize("service", ["llama", "mistral", "nvidia", "openshift_ai"])
def test_inputs_are_cut_to_the_most_tokens(story, service):
    story.make(service, T, max_input_tokens=2)
    story.ask(["0123456789"])
    assert (story.request.json.get("input") or story.request.json["contents"]) == ["012345"]


@pytest.mark.parametrize("service", ["fireworksai", "mistral", "nvidia", "openshift_ai"])
def test_rows_in_another_order(story, service):
    story.make(service, T)
    story.upstream.script(Reply(200, {"data": [{"index": 1, "embedding": [0.5]},
                                               {"index": 0, "embedding": [0.25]}]}))
    assert story.ask(["a", "b"]) == {"text_embedding": [{"embedding": [0.25]}, {"embedding": [0.5]}]}


# ---- rerank ----

def test_rerank_of_nvidia(story):
    """It knows no top_n and sends no texts."""
    story.make("nvidia", R)
    answer = story.ask("the capital", ["the moon", "the capital", "x"], top_n=1,
                       return_documents=True)
    assert [(r["index"], r["text"]) for r in answer] == [(1, "the capital")]
    assert story.request.target == "/nvidia/v1/retrieval/nvidia/reranking"
    assert story.request.json == {"model": "m-1", "query": {"text": "the capital"}, "passages": [
        {"text": "the moon"}, {"text": "the capital"}, {"text": "x"}]}


def test_rerank_of_openshift(story):
    story.make("openshift_ai", R, task_settings={"return_documents": True, "top_n": 1})
    answer = story.ask("the capital", ["the moon", "the capital"])
    assert [(r["index"], r["text"]) for r in answer] == [(1, "the capital")]
    assert story.request.json == {"model": "m-1", "query": "the capital", "top_n": 1,
                                  "return_documents": True,
                                  "documents": ["the moon", "the capital"]}


def test_errors_of_mistral_are_shown_whole(story):
    story.make("mistral", C)
    for body in ({"object": "error", "message": {"detail": [{"loc": ["x"], "msg": "bad"}]}},
                 {"detail": "Not Found"}, "plain"):
        text = body if isinstance(body, str) else json.dumps(body)
        story.upstream.script(Reply(403, text))
        assert story.post().reason.endswith(f"Error message: [{text}]")
    story.upstream.script(Reply(403, "é" * 5000))
    assert len(story.post().reason) < 3000


def test_a_model_of_the_call(story):
    story.make("groq", CC)
    assert said(story.chunks({**questions(CC), "model": "other"})) == "Echo: tell me more"
    assert story.request.json["model"] == "other"


@pytest.mark.parametrize("service, task", [("llama", T), ("openshift_ai", R), ("nvidia", C)])
def test_without_a_base_url_its_own_address_is_called(spawn, upstream, service, task):
    """When the operator lets private addresses be."""
    base = f"inference.upstream.{service}.base_url"
    recipe = BY[service, task]
    url = recipe.settings.get("url", "https://x" + CHATS[service][0]).partition("//")[2]
    url = f"{upstream.url}/{service}/{url.partition('/')[2]}"
    story = Story(spawn({base: None, "inference.upstream.allow_private": "true"}), upstream)
    story.make(service, task, url=url)
    assert story.post().status == 200
    assert url.endswith(story.request.target)
    story = Story(spawn({base: None}, name="b"), upstream)
    answer = story.server.put(f"/_inference/{task}/x", {"service": service, "service_settings": {
        **recipe.settings, "url": url}})
    assert answer.status == 400 and "is private, which is not allowed" in answer.text
