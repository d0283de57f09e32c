"""Google Vertex AI and AI Studio: tokens by signed claims, Gemini's words, and the Model Garden's."""
import json
import threading
import time
import urllib.parse

import pytest

from inferd import MARK
from services import (BY, C, CC, KEY, R, T, finish_reasons, questions, said, same_rows,
                      service_account, tool_calls)
from upstream import Default, Reply, Stream, vector
from upstream_google import Account, candidate, error_body, gemini, text_events

VERTEX, STUDIO = "googlevertexai", "googleaistudio"
P = "/googlevertexai/v1/projects/p-1/locations/"
WEATHER = {"type": "function", "function": {"name": "get_weather", "description": "Tells",
                                            "parameters": {"type": "object"}}}


# ---- tokens ----

@pytest.fixture
def fresh(alone):
    yield alone
    Account.expires_in = 3599


def exchanges(story):
    return [r for r in story.upstream.requests if r.path == "/googlevertexai/token"]


def test_one_token_for_many_calls(fresh):
    """Of all endpoints of the account, at once and one by one."""
    fresh.make(VERTEX, R, name="other")
    fresh.restart()  # forgets its tokens; its endpoints are there
    answers = []

    def ask():
        answers.append(fresh.server.post("/_inference/rerank/other", questions(R)).status)
    threads = [threading.Thread(target=ask) for _ in range(16)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert answers == [200] * 16
    assert len(exchanges(fresh)) == 1
    recipe = BY[VERTEX, C]
    fresh.server.make(C, "chat", VERTEX, recipe.settings)
    assert fresh.server.post("/_inference/chat", questions(C)).status == 200
    assert len(exchanges(fresh)) == 1
    assert len({r.headers["authorization"] for r in fresh.requests}) == 1


def test_a_short_lived_token_is_renewed(fresh):
    """A minute before its end."""
    Account.expires_in = 61
    fresh.make(VERTEX, R)
    time.sleep(1.1)
    fresh.upstream.clear()
    Account.expires_in = 3599
    for _ in range(3):
        fresh.ask("q", ["a"])
    assert len(exchanges(fresh)) == 1
    Account.expires_in = 30  # asked for anew by every call
    fresh.restart()
    for _ in range(3):
        assert fresh.post().status == 200
    assert len(exchanges(fresh)) == 3


def test_another_account_has_another_token(story):
    story.make(VERTEX, R)
    file = json.loads(service_account())
    answer = story.server.put("/_inference/rerank/x", {"service": VERTEX, "service_settings": {
        **BY[VERTEX, R].settings,
        "service_account_json": json.dumps({**file, "private_key_id": "other"})}})
    assert answer.status == 400  # this one is not known
    assert "the head of the claim" in story.upstream.violations[0]
    story.upstream.violations.clear()


@pytest.mark.parametrize("status, body, attempts, wanted", [
    (400, {"error": "invalid_grant", "error_description": "Invalid JWT Signature."}, 1,
     "status [400], invalid_grant: Invalid JWT Signature."),
    (401, "", 1, "status [401]"), (500, "", 3, "status [500]"), (503, {"error": "busy"}, 3, "busy"),
    (200, "garbage", 1, "the answer cannot be read"), (200, {}, 1, "the answer cannot be read"),
    (200, {"access_token": "a\nb", "expires_in": 10}, 1, "the answer cannot be read")])
def test_no_token_no_call(fresh, status, body, attempts, wanted):
    fresh.make(VERTEX, R)
    fresh.restart()
    fresh.upstream.script(*[Reply(status, body)] * attempts)
    answer = fresh.post()
    assert answer.status == 403, answer
    assert answer.reason.startswith("Error getting access token for service account: ")
    assert wanted in answer.reason
    assert [len(exchanges(fresh)), len(fresh.requests)] == [attempts, 0]
    assert fresh.post().status == 200, "the next call asks again"


@pytest.mark.parametrize("change", [
    {"private_key": "none " + MARK}, {"client_email": None}, {"type": "authorized_user"},
    {"private_key": None}, {"token_uri": "file:///etc/passwd"}, "no JSON " + MARK, "[]"], ids=str)
def test_key_files_that_are_none(story, change):
    text = change if isinstance(change, str) else json.dumps(
        {**json.loads(service_account()), **change})
    answer = story.server.put("/_inference/rerank/x", {"service": VERTEX, "service_settings": {
        **BY[VERTEX, R].settings, "service_account_json": text}})
    assert answer.status == 400
    assert "[service_account_json] is not a service account key file" in answer.text
    assert story.upstream.requests == []


def test_a_token_server_of_ones_own_is_not_reached(story):
    """What the key file names is replaced like every other address of the service."""
    file = {**json.loads(service_account()), "token_uri": "http://evil.example/token"}
    answer = story.server.put("/_inference/rerank/x", {"service": VERTEX, "service_settings": {
        **BY[VERTEX, R].settings, "service_account_json": json.dumps(file)}})
    assert answer.status == 400
    assert [r.target for r in story.upstream.requests] == ["/googlevertexai/token"]
    assert "[aud]" in story.upstream.violations.pop()


# ---- Vertex AI: embeddings, rerank ----

def test_embeddings(story):
    story.make(VERTEX, T, dimensions=4, task_settings={"auto_truncate": True,
                                                       "input_type": "ingest"})
    rows = story.ask(["a", "b"])["text_embedding"]
    assert same_rows(rows, [vector("a", 4), vector("b", 4)])
    assert story.request.target == P + "us-central1/publishers/google/models/m-1:predict"
    assert story.request.json == {
        "instances": [{"content": "a", "task_type": "RETRIEVAL_DOCUMENT"},
                      {"content": "b", "task_type": "RETRIEVAL_DOCUMENT"}],
        "parameters": {"autoTruncate": True, "outputDimensionality": 4}}


@pytest.mark.parametrize("given, sent", [
    (None, None), ("ingest", "RETRIEVAL_DOCUMENT"), ("search", "RETRIEVAL_QUERY"),
    ("classification", "CLASSIFICATION"), ("clustering", "CLUSTERING")])
@pytest.mark.parametrize("service", [VERTEX, STUDIO])
def test_input_types(story, service, given, sent):
    story.make(service, T)
    story.ask(["a"], **({"input_type": given} if given else {}))
    (one,) = story.request.json.get("instances") or story.request.json["requests"]
    assert (one.get("task_type") or one.get("taskType")) == sent


def test_without_a_location_it_is_the_global_one(story):
    story.make(VERTEX, T, location=None)
    story.ask(["a"])
    assert story.request.target == P + "global/publishers/google/models/m-1:predict"
    story.upstream.script(Reply(404, ""))
    assert ("[https://aiplatform.googleapis.com/v1/projects/p-1/locations/global/publishers/google/"
            "models/m-1:predict]") in story.post().reason


def test_batches_of_the_size_that_was_set(story):
    story.make(VERTEX, T, max_batch_size=2)
    rows = story.ask(list("abcde"))["text_embedding"]
    assert same_rows(rows, [vector(t) for t in "abcde"])
    assert sorted(len(r.json["instances"]) for r in story.requests) == [1, 2, 2]


def test_a_request_holds_no_more_tokens_than_google_takes(story):
    """Twenty thousand, by estimate: three bytes each."""
    story.make(VERTEX, T)
    story.ask(["x" * 25000] * 3)
    assert sorted(len(r.json["instances"]) for r in story.requests) == [1, 2]


def test_rerank(story):
    story.make(VERTEX, R, task_settings={"top_n": 2})
    answer = story.ask("the capital", ["the moon", "the capital", "x"])
    assert [(r["index"], r["text"]) for r in answer] == [(1, "the capital"), (0, "the moon")]
    assert story.request.target == \
        P + "global/rankingConfigs/default_ranking_config:rank"
    assert story.request.json == {
        "model": "m-1", "query": "the capital", "topN": 2, "records": [
            {"id": "0", "content": "the moon"}, {"id": "1", "content": "the capital"},
            {"id": "2", "content": "x"}]}
    answer = story.ask("the capital", ["the moon", "the capital"], top_n=1, return_documents=False)
    assert [list(r) for r in answer] == [["index", "relevance_score"]]
    assert story.requests[1].json["ignoreRecordDetailsInResponse"] is True
    assert story.requests[1].json["topN"] == 1


def test_records_with_ids_that_are_none(story):
    story.make(VERTEX, R)
    for bad, text in (("x", "Expected numeric value for record ID field in Google Vertex AI rerank "
                            "response but received [x]"), ("7", "[7]"), ("-1", "[-1]")):
        story.upstream.script(*[Reply(200, {"records": [{"id": bad, "score": 1}]})] * 3)
        answer = story.post()
        assert answer.status == 500 and text in answer.text


# ---- Gemini's chats ----

def test_a_completion(story):
    story.make(VERTEX, C)
    assert story.ask("hi") == [{"result": "Echo: hi"}], "thoughts are not shown"
    assert story.request.target == P + "global/publishers/google/models/m-1:generateContent"
    assert story.request.json == {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}
    story.words({"input": "hi"})
    assert story.requests[1].target == \
        P + "global/publishers/google/models/m-1:streamGenerateContent?alt=sse"


def test_a_chat_word_by_word(story):
    story.make(VERTEX, CC, task_settings={"thinking_config": {"thinking_budget": 5},
                                          "max_tokens": 9})
    story.chunks({"messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Pa"}, {"type": "text", "text": "ris?"}]},
        {"role": "assistant", "content": "I look.", "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "get_weather",
                                                          "arguments": '{"city": "Paris"}'}},
            {"id": "c2", "type": "function", "function": {"name": "get_time", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "c1", "content": '{"sky": "blue"}'},
        {"role": "tool", "tool_call_id": "c2", "content": "noon"},
        {"role": "user", "content": "and now?"}],
        "tools": [WEATHER], "tool_choice": {"type": "function", "function": {"name": "get_weather"}},
        "temperature": 0.5, "top_p": 0.25, "stop": ["END"], "model": "gemini-9"})
    assert story.request.target == \
        P + "global/publishers/google/models/gemini-9:streamGenerateContent?alt=sse"
    assert story.request.json == {
        "systemInstruction": {"parts": [{"text": "Be brief."}]},
        "contents": [
            {"role": "user", "parts": [{"text": "Pa"}, {"text": "ris?"}]},
            {"role": "model", "parts": [
                {"text": "I look."},
                {"functionCall": {"name": "get_weather", "args": {"city": "Paris"}, "id": "c1"}},
                {"functionCall": {"name": "get_time", "args": {}, "id": "c2"}}]},
            {"role": "user", "parts": [
                {"functionResponse": {"name": "get_weather", "response": {"sky": "blue"}}},
                {"functionResponse": {"name": "get_time", "response": {"output": "noon"}}}]},
            {"role": "user", "parts": [{"text": "and now?"}]}],
        "generationConfig": {"stopSequences": ["END"], "temperature": 0.5, "maxOutputTokens": 9,
                             "topP": 0.25, "thinkingConfig": {"thinkingBudget": 5}},
        "tools": [{"functionDeclarations": [{"name": "get_weather", "description": "Tells",
                                             "parameters": {"type": "object"}}]}],
        "toolConfig": {"functionCallingConfig": {"mode": "ANY",
                                                 "allowedFunctionNames": ["get_weather"]}}}


def test_the_chunks_of_a_chat(story):
    story.make(VERTEX, CC)
    story.upstream.script(Stream([
        gemini([candidate([{"text": "hm", "thought": True}, {"text": "I "}, {"text": "look"}])]),
        gemini([candidate([{"functionCall": {"name": "f", "args": {"a": 1}}},
                           {"functionCall": {"name": "g", "args": {}, "id": "i2"}}],
                          finishReason="STOP")])], done=False))
    got = story.chunks()
    assert [k["id"] for k in got] == ["r-1"] * 2
    assert [k["object"] for k in got] == ["chat.completion.chunk"] * 2
    assert got[0]["choices"] == [{"delta": {"content": "I look", "role": "model"}, "index": 0}]
    assert tool_calls(got) == [("f", "f", '{"a":1}'), ("i2", "g", "{}")]
    assert finish_reasons(got) == ["STOP"]
    assert got[-1]["usage"] == {"completion_tokens": 2, "prompt_tokens": 7, "total_tokens": 9}


def test_roles_that_gemini_has_not(story):
    story.make(VERTEX, CC)
    stream = story.stream({"messages": [{"role": "developer", "content": "x"}]})
    ((_, data),) = stream.all()
    assert stream.status == 400
    assert json.loads(data)["error"]["message"] == (
        "Role [developer] not supported by Google VertexAI ChatCompletion. Supported roles: [user, "
        "assistant]")


# ---- the Model Garden ----

@pytest.mark.parametrize("maker", ["anthropic", "meta", "hugging_face", "mistral", "ai21"])
def test_models_of_other_makers(story, maker):
    address = f"https://us-east5-aiplatform.googleapis.com/garden/{maker}"
    for task in (C, CC):
        story.make(VERTEX, task, provider=maker, url=address, project_id=None, location=None,
                   model_id=None)
        if task == C:
            assert story.ask("hi") == [{"result": "Echo: hi"}]
            assert "".join(story.words({"input": "hi"})) == "Echo: hi"
        else:
            assert said(story.chunks()) == "Echo: tell me more"
            got = story.chunks({**questions(CC), "tools": [WEATHER]})
            assert [(n, json.loads(a)) for _, n, a in tool_calls(got)] == [
                ("get_weather", {"city": "Paris"})]
        assert {r.target for r in story.requests} == {f"/googlevertexai/garden/{maker}"}
        if maker == "anthropic":
            assert story.requests[0].json["max_tokens"] == 1024


# ---- AI Studio ----

def test_the_key_is_in_the_query_and_nowhere_else(story):
    story.make(STUDIO, C, api_key="a/b?c&d=" + MARK)
    story.ask("hi")
    assert story.request.key == "a/b?c&d=" + MARK
    assert story.request.target.startswith("/googleaistudio/v1/models/m-1:generateContent?key=")
    story.words({"input": "hi"})
    query = urllib.parse.parse_qs(story.requests[1].query)
    assert query == {"key": ["a/b?c&d=" + MARK], "alt": ["sse"]}
    for ending in (Reply(404, ""), Reply(400, error_body(400, "API key not valid.", "INVALID"))):
        story.upstream.script(ending)
        assert story.post().status in (400, 404)  # nothing of the key: checked on every answer


def test_embeddings_of_the_studio(story):
    story.make(STUDIO, T, dimensions=4)
    rows = story.ask(["a", "b"], input_type="search")["text_embedding"]
    assert same_rows(rows, [vector("a", 4), vector("b", 4)])
    assert story.request.json == {"requests": [
        {"model": "models/m-1", "content": {"parts": [{"text": t}]}, "outputDimensionality": 4,
         "taskType": "RETRIEVAL_QUERY"} for t in "ab"]}
    assert story.request.target == f"/googleaistudio/v1/models/m-1:batchEmbedContents?key={KEY}"


@pytest.mark.parametrize("service", [VERTEX, STUDIO])
def test_an_answer_without_text(story, service):
    """Stopped for safety: nothing was said, which is no failure."""
    story.make(service, C)
    story.upstream.script(Reply(200, {"candidates": [{"finishReason": "SAFETY", "index": 0}]}))
    assert story.ask("hi") == [{"result": ""}]
    story.upstream.script(Stream([*list(text_events("a b"))[:1],
                                  {"candidates": [{"finishReason": "SAFETY"}]}], done=False))
    assert story.words() == ["a "]


@pytest.mark.parametrize("service", [VERTEX, STUDIO])
def test_a_prompt_that_is_blocked(story, service):
    story.make(service, C)
    story.upstream.script(Default(), Stream([{"promptFeedback": {"blockReason": "SAFETY"}}],
                                            done=False))
    assert story.words()
    ((name, data),) = story.stream().all()
    assert name == "error" and "The prompt was blocked: SAFETY" in data
