"""The service `custom`: templates and paths of the caller's own."""
import urllib.parse

import pytest

from inferd import MARK
from services import BY, C, KEY, R, T, same_rows
from upstream import Reply, int8s, vector

SERVICE = "custom"
ECHO = {"url": "https://models.example/v1/echo/x", "headers": {"Content-Type": "text/x-own"},
        "response": {"json_parser": {"completion_result": "$.said"}}, "secret_parameters": None}


def refused(story, task, **changes):
    settings = {k: v for k, v in {**BY[SERVICE, task].settings, **changes}.items() if v is not None}
    answer = story.server.put(f"/_inference/{task}/x", {"service": SERVICE,
                                                        "service_settings": settings})
    assert answer.status == 400 and story.upstream.requests == []
    return answer.reason


def test_every_template_is_filled(story):
    """URL, query, headers and body, from secrets and from the settings of endpoint and call."""
    story.make(SERVICE, C, response=ECHO["response"],
               secret_parameters={"the_key": KEY, "who": "me"},
               url="https://models.example/v1/echo/${part}/${who}?a=1",
               query_parameters=[["q", "${part} & more"], ["q", "2"], ["key", "${the_key}"]],
               headers={"Content-Type": "text/x-own", "X-Who": "${who}/${part}"},
               request='{"in": ${input}, "n": ${n}, "who": ${who}, "list": ${list}}',
               task_settings={"parameters": {"part": "p1", "n": 5, "list": [1, {"a": None}]}})
    story.ask('a "b"\n${n}', task_settings={"parameters": {"n": 6.5}})
    request = story.request
    assert request.method == "POST"
    path, _, query = request.target.partition("?")
    assert path == "/custom/v1/echo/p1/me"
    assert urllib.parse.parse_qsl(query) == [("a", "1"), ("q", "p1 & more"), ("q", "2"), ("key", KEY)]
    assert request.headers["x-who"] == "me/p1"
    assert request.json == {"in": 'a "b"\n${n}', "n": 6.5, "who": "me", "list": [1, {"a": None}]}


def test_secrets_are_shown_to_nobody(story):
    made = story.make(SERVICE, C)
    assert "secret_parameters" not in made["service_settings"]
    story.ask("hi")
    assert story.request.headers["authorization"] == "Bearer " + KEY
    updated = story.server.put("/_inference/completion/e/_update", {
        "service_settings": {"secret_parameters": {"the_key": "new-" + MARK}}})
    assert updated.status == 200
    story.ask("hi")
    assert story.requests[-1].headers["authorization"] == "Bearer new-" + MARK


def test_a_request_may_lie_in_an_object(story):
    """As the API description has it, and typed clients with it."""
    text = BY[SERVICE, C].settings["request"]
    made = story.make(SERVICE, C, request={"content": text})
    assert made["service_settings"]["request"] == text
    assert story.ask("hi") == [{"result": "Echo: hi"}]
    story.upstream.clear()
    for wrong in ({"content": 5}, {"content": text, "more": 1}, {"other": text}):
        assert "field [request] is not of the expected type" in refused(story, C, request=wrong)


@pytest.mark.parametrize("change, field", [
    ({"request": '{"a": ${none}}'}, "request"),
    ({"url": "https://models.example/${none}"}, "url"),
    ({"headers": {"X-A": "${none}"}}, "header.X-A"),
    ({"query_parameters": [["k", "${none}"]]}, "query parameters: [k]")])
def test_names_that_nobody_gives(story, change, field):
    assert (f"Found placeholder [${{none}}] in field [{field}] after replacement call, please check "
            "that all templates have a corresponding field definition.") in refused(story, C, **change)


@pytest.mark.parametrize("change", [
    {"url": "ftp://models.example/"}, {"url": "https://"}, {"url": "https://a b/"},
    {"headers": {"Host": "evil"}}, {"headers": {"Content-Length": "0"}}, {"headers": {"A b": "x"}},
    {"request": None}, {"response": None}, {"response": {}}, {"response": {"json_parser": {}}},
    {"response": {"json_parser": {"completion_result": "$.a", "token_path": "$.b"}}}], ids=str)
def test_settings_that_make_no_service(story, change):
    refused(story, C, **change)


@pytest.mark.parametrize("given, sent", [("ingest", "doc"), ("search", "ask"), ("clustering", "any"),
                                         (None, "any")])
def test_input_types_are_translated(story, given, sent):
    story.make(SERVICE, T, request='{"texts": ${input}, "purpose": ${input_type}}',
               input_type={"translation": {"ingest": "doc", "search": "ask"}, "default": "any"})
    story.ask(["a", "b"], **({"input_type": given} if given else {}))
    assert story.request.json == {"texts": ["a", "b"], "purpose": sent}


@pytest.mark.parametrize("path", ["$.data.rows[*].numbers[*]", "$.data.rows[*].numbers"])
def test_paths_to_embeddings(story, path):
    story.make(SERVICE, T, response={"json_parser": {"text_embeddings": path}},
               request='{"texts": ${input}, "size": ${size}}',
               task_settings={"parameters": {"size": 4}})
    assert same_rows(story.ask(["a", "b"])["text_embedding"], [vector("a", 4), vector("b", 4)])


@pytest.mark.parametrize("kind, member", [("byte", "text_embedding_bytes"),
                                          ("bit", "text_embedding_bits"),
                                          ("binary", "text_embedding_bits")])
def test_bytes_and_bits(story, kind, member):
    story.make(SERVICE, T, request='{"texts": ${input}, "kind": "bytes"}', response={"json_parser": {
        "text_embeddings": "$.data.rows[*].numbers", "embedding_type": kind}})
    assert story.ask(["a"]) == {member: [{"embedding": int8s("a")}]}


def test_batches_of_the_size_that_was_set(story):
    story.make(SERVICE, T, batch_size=2)
    assert same_rows(story.ask(list("abcde"))["text_embedding"], [vector(t) for t in "abcde"])
    assert sorted(len(r.json["texts"]) for r in story.requests) == [1, 2, 2]


def test_rerank(story):
    """With what only a call can say; without the index the place in the list counts."""
    documents = ["the moon", "the capital", "x"]
    story.make(SERVICE, R, response={"json_parser": {
        "relevance_score": "$.ranks[*].points", "reranked_index": "$.ranks[*].at",
        "document_text": "$.ranks[*].text"}})
    answer = story.ask("the capital", documents)
    assert [(r["index"], r["text"]) for r in answer][0] == (1, "the capital")
    story.make(SERVICE, R, response={"json_parser": {"relevance_score": "$.ranks[*].points"}})
    assert [r["index"] for r in story.ask("the capital", documents)] == [0, 1, 2]
    assert story.request.json == {"question": "the capital", "texts": documents}


@pytest.mark.parametrize("answer, reason", [
    ({"said": "a"}, None), ({"said": ["a", "b"]}, None),
    ({"x": 1}, "Unable to find field [said] in map"), ({"said": None}, "[said]"),
    ({"said": {"a": 1}}, "[completion_result] is an invalid type"), ({"said": [1]}, "String"),
    ([], "")])
def test_answers(story, answer, reason):
    story.make(SERVICE, C, **ECHO, request='{"in": ${input}}')
    story.upstream.script(*[Reply(200, answer)] * (1 if reason is None else 3))
    got = story.post()
    if reason is None:
        said = answer["said"]
        assert got.json == {"completion": [{"result": t} for t in (
            said if isinstance(said, list) else [said])]}
    else:
        assert got.status == 500 and reason in got.reason


def test_an_input_cannot_leave_its_place(story):
    """Neither the body's strings nor, by way of parameters, the URL's host."""
    story.make(SERVICE, C)
    text = '"}, "x": {"y": "${the_key}"'
    assert story.ask(text) == [{"result": "Echo: " + text}]
    assert story.request.json == {"prompt": text}
    story.make(SERVICE, C, **{**ECHO, "url": "https://models.example/v1/echo/${at}"},
               request='{"in": ${input}}', task_settings={"parameters": {"at": "x"}})
    for bad in ("a b", "\r\nx: y", "é"):
        answer = story.post({"input": "x", "task_settings": {"parameters": {"at": bad}}})
        assert answer.status == 400, answer
    assert all("\n" not in r.target for r in story.requests)
