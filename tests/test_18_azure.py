"""Azure OpenAI and Azure AI Studio: who is shown which key, and which model is asked how."""
import json

import pytest

from inferd import MARK
from services import BY, C, CC, KEY, R, T, questions, said, same_rows, tool_calls
from upstream import Reply, vector

OPENAI, STUDIO = "azureopenai", "azureaistudio"
DEPLOYMENT = "/azureopenai/openai/deployments/my-deployment/"
VERSION = "?api-version=2024-10-21"


# ---- Azure OpenAI ----

def test_a_key(story):
    story.make(OPENAI, T, dimensions=4, task_settings={"user": "u"})
    assert same_rows(story.ask(["a", "b"])["text_embedding"], [vector("a", 4), vector("b", 4)])
    assert story.request.target == DEPLOYMENT + "embeddings" + VERSION
    assert story.request.headers["api-key"] == KEY
    assert "authorization" not in story.request.headers
    assert story.request.json == {"input": ["a", "b"], "user": "u", "dimensions": 4}


def test_an_entra_token(story):
    made = story.make(OPENAI, C, api_key=None, entra_id="entra-" + MARK)
    assert "entra_id" not in made["service_settings"]
    story.ask("hi")
    assert story.request.headers["authorization"] == "Bearer entra-" + MARK
    assert "api-key" not in story.request.headers
    assert story.request.target == DEPLOYMENT + "chat/completions" + VERSION
    assert story.request.json == {"messages": [{"role": "user", "content": "hi"}], "n": 1,
                                  "stream": False}


CLIENT = {"api_key": None, "client_secret": "client-" + MARK, "client_id": "app-1",
          "tenant_id": "tenant/1", "scopes": ["https://cognitiveservices.azure.com/.default", "b"]}


def test_client_credentials(alone):
    """One token for many calls."""
    made = alone.make(OPENAI, C, **CLIENT)
    assert made["service_settings"]["client_id"] == "app-1"
    for _ in range(3):
        alone.ask("hi")
    assert {r.headers["authorization"] for r in alone.requests} == {"Bearer token-tenant%2F1-app-1"}
    assert len(alone.upstream.requests) == 3, "the token of the first try is still good"
    alone.restart()
    alone.ask("hi")
    (ask, _) = alone.upstream.requests
    assert ask.target == "/azureopenai/tenant%2F1/oauth2/v2.0/token"
    assert ask.form == {"grant_type": "client_credentials", "client_id": "app-1",
                        "client_secret": "client-" + MARK,
                        "scope": "https://cognitiveservices.azure.com/.default b"}


def test_client_credentials_that_are_refused(alone):
    alone.make(OPENAI, C, **CLIENT)
    alone.restart()
    alone.upstream.script(Reply(401, {"error": "invalid_client", "error_description": "AADSTS1"}))
    answer = alone.post()
    assert (answer.status, answer.reason) == (
        500, "Failed to retrieve access token for request for inference id [e]: [invalid_client] "
             "AADSTS1")
    assert alone.requests == []


@pytest.mark.parametrize("secrets, reason", [
    ({}, "[secret_settings] must have either the [api_key] or the [entra_id] key set"),
    ({"api_key": KEY, "entra_id": KEY},
     "[secret_settings] must have only one of the [api_key] or the [entra_id] key set"),
    ({"api_key": KEY, "client_secret": KEY},
     "[secret_settings] must have exactly one of [api_key], [entra_id], or [client_secret] field "
     "set, received: [api_key, client_secret]")])
def test_exactly_one_secret(story, secrets, reason):
    settings = {k: v for k, v in BY[OPENAI, C].settings.items() if k != "api_key"}
    answer = story.server.put("/_inference/completion/x", {"service": OPENAI, "service_settings": {
        **settings, **secrets}})
    assert answer.status == 400 and reason in answer.reason
    assert story.upstream.requests == []


def test_a_chat(story):
    story.make(OPENAI, CC, task_settings={"user": "u", "headers": {"x-more": "1"}})
    assert said(story.chunks({**questions(CC), "model": "ignored", "max_completion_tokens": 5})) == \
        "Echo: tell me more"
    assert story.request.json == {**questions(CC), "max_completion_tokens": 5, "n": 1, "user": "u",
                                  "stream": True, "stream_options": {"include_usage": True}}
    assert story.request.headers["x-more"] == "1"


def test_a_name_that_would_break_the_address(story):
    story.make(OPENAI, C, deployment_id="a/../b?c#d")
    story.ask("hi")
    assert story.request.target == ("/azureopenai/openai/deployments/a%2F..%2Fb%3Fc%23d/chat/"
                                    "completions" + VERSION)


def test_what_azure_adds_is_passed_over(story):
    story.make(OPENAI, C)
    story.upstream.script(Reply(200, {"choices": [{
        "content_filter_results": {"hate": {"filtered": False, "severity": "safe"}},
        "finish_reason": "stop", "index": 0, "logprobs": None,
        "message": {"content": "Paris.", "role": "assistant"}}], "created": 1, "id": "c",
        "model": "gpt-4", "prompt_filter_results": [{"prompt_index": 0}]}),
        Reply(401, {"statusCode": 401, "message": "Unauthorized. Access token is missing"}))
    assert story.ask("hi") == [{"result": "Paris."}]
    assert story.post().reason == ("Received an authentication error status code for request from "
                                   "inference entity id [e] status [401]")


# ---- Azure AI Studio ----

HOST = "https://x.inference.ai.azure.com"
BOX = {"temperature": 0.5, "top_p": 1.5, "do_sample": True, "max_new_tokens": 9}


@pytest.mark.parametrize("maker, kind, target, path, shown", [
    ("openai", "token", "/openai/deployments/d/chat/completions?api-version=1",
     "/openai/deployments/d/chat/completions?api-version=1", {"api-key": KEY}),
    ("meta", "token", "/token", "/token/v1/chat/completions", {"authorization": KEY}),
    ("cohere", "token", "/token/", "/token/v1/chat/completions", {"authorization": KEY}),
    ("mistral", "realtime", "/realtime/score", "/realtime/score", {"authorization": "Bearer " + KEY}),
    ("meta", "realtime", "/realtime/score", "/realtime/score", {"authorization": "Bearer " + KEY}),
    ("microsoft_phi", "realtime", "/realtime/score", "/realtime/score",
     {"authorization": "Bearer " + KEY}),
    ("databricks", "realtime", "/realtime/score", "/realtime/score",
     {"authorization": "Bearer " + KEY})])
def test_completions_of_all_makers(story, maker, kind, target, path, shown):
    made = story.make(STUDIO, C, provider=maker, endpoint_type=kind, target=HOST + target,
                      task_settings={"temperature": 0.5})
    assert made["task_settings"] == {"temperature": 0.5, "max_new_tokens": 64}
    assert story.ask("hi", task_settings=BOX) == [{"result": "Echo: hi"}]
    assert story.words({"input": "one two"}) == ["Echo: ", "one ", "two"]
    first, second = story.requests
    assert first.target == second.target == "/azureaistudio" + path
    assert {k: v for k, v in first.headers.items() if k in ("api-key", "authorization")} == shown
    message = [{"content": "hi", "role": "user"}]
    if kind == "token":
        assert first.json == {"messages": message, "parameters": BOX}
    else:
        assert first.json == {"input_data": {"input_string": message, "parameters": BOX}}
    assert second.json["stream"] is True


CHAT = [{"role": "system", "content": "s"}, {"role": "user", "content": "hi"}]


@pytest.mark.parametrize("maker, target, most", [
    ("openai", "/openai/deployments/d/chat/completions?api-version=1", "max_completion_tokens"),
    ("meta", "/token", "max_tokens"), ("cohere", "/token", "max_tokens")])
def test_chats_by_the_token(story, maker, target, most):
    story.make(STUDIO, CC, provider=maker, target=HOST + target,
               task_settings={"temperature": 0.5, "max_new_tokens": 7})
    assert said(story.chunks({"messages": CHAT, "top_p": 0.25, "stop": ["x"]})) == "Echo: hi"
    sent = story.request.json
    assert sent["messages"] == CHAT and sent["stop"] == ["x"]
    assert (sent["temperature"], sent["top_p"], sent[most]) == (0.5, 0.25, 7)
    assert "model" not in sent
    story.chunks({"messages": CHAT, "temperature": 1, "max_completion_tokens": 9, "model": "other"})
    sent = story.requests[1].json
    assert (sent["temperature"], sent[most]) == (1, 9)
    assert sent.get("model") == (None if maker == "openai" else "other")


@pytest.mark.parametrize("maker", ["mistral", "meta", "microsoft_phi", "databricks"])
def test_chats_in_realtime(story, maker):
    story.make(STUDIO, CC, provider=maker, endpoint_type="realtime", target=HOST + "/realtime/score",
               task_settings={"do_sample": True})
    assert said(story.chunks({"messages": CHAT, "max_completion_tokens": 9})) == "Echo: hi"
    assert story.request.json == {
        "input_data": {"input_string": [{"content": m["content"], "role": m["role"]} for m in CHAT],
                       "parameters": {"do_sample": True, "max_new_tokens": 9}}, "stream": True}
    stream = story.stream({"messages": CHAT, "stop": "x"})
    assert (stream.status, "Field [stop] is not supported by the [realtime]" in stream.all()[0][1]) \
        == (400, True)
    stream = story.stream({"messages": CHAT, "tools": [{"type": "function",
                                                        "function": {"name": "f"}}]})
    assert (stream.status, "Field [tools]" in stream.all()[0][1]) == (400, True)


@pytest.mark.parametrize("maker, target, path", [
    ("cohere", "/token", "/token/v1/embeddings"),
    ("openai", "/openai/deployments/d/embeddings?api-version=1",
     "/openai/deployments/d/embeddings?api-version=1")])
def test_embeddings(story, maker, target, path):
    story.make(STUDIO, T, provider=maker, target=HOST + target, dimensions=4,
               task_settings={"user": "u"})
    assert same_rows(story.ask(["a"])["text_embedding"], [vector("a", 4)])
    assert story.request.target == "/azureaistudio" + path
    assert story.request.json == {"input": ["a"], "user": "u", "dimensions": 4}


def test_rerank(story):
    story.make(STUDIO, R, task_settings={"return_documents": True, "top_n": 2})
    answer = story.ask("the capital", ["the moon", "the capital", "x"])
    assert [(r["index"], r["text"]) for r in answer] == [(1, "the capital"), (0, "the moon")]
    story.ask("q", ["a"], top_n=1, return_documents=False)
    assert [r.json for r in story.requests] == [
        {"query": "the capital", "documents": ["the moon", "the capital", "x"],
         "return_documents": True, "top_n": 2},
        {"query": "q", "documents": ["a"], "return_documents": False, "top_n": 1}]


@pytest.mark.parametrize("task, maker, kind, reason", [
    (T, "meta", "token", "The [text_embedding] task type for provider [meta] is not available"),
    (R, "openai", "token", "The [rerank] task type for provider [openai] is not available"),
    (C, "openai", "realtime", "The [realtime] endpoint type with [completion] task type for "
     "provider [openai] is not available"),
    (C, "mistral", "token", "The [token] endpoint type with [completion] task type for provider "
     "[mistral] is not available")])
def test_what_there_is_not(story, task, maker, kind, reason):
    answer = story.server.put(f"/_inference/{task}/x", {"service": STUDIO, "service_settings": {
        **BY[STUDIO, task].settings, "provider": maker, "endpoint_type": kind}})
    assert (answer.status, answer.reason) == (400, reason)


def test_tools_of_azure_openai(story):
    story.make(OPENAI, CC)
    got = story.chunks({**questions(CC), "tools": [{"type": "function", "function": {"name": "f"}}],
                        "tool_choice": "required"})
    assert [(n, json.loads(a)) for _, n, a in tool_calls(got)] == [("f", {"city": "Paris"})]
    assert story.request.json["tool_choice"] == "required"
