"""Anthropic's Messages API: what is sent word by word, and each kind of event."""
import json

import pytest

from services import BY, C, CC, KEY, finish_reasons, questions, tool_calls
from upstream import Reply, Stream
from upstream_anthropic import error_event, event, text_events, tool_events

SERVICE = "anthropic"
TOOL = {"type": "function", "function": {"name": "f", "description": "d",
                                         "parameters": {"type": "object"}}}


def test_a_completion_word_by_word(story):
    story.make(SERVICE, C, task_settings={"max_tokens": 9, "temperature": 0.5, "top_p": 0.25,
                                          "top_k": 7})
    story.ask("hi")
    story.words({"input": "hi", "task_settings": {"max_tokens": 10, "top_k": -1}})
    first, second = story.requests
    assert (first.method, first.target) == ("POST", "/anthropic/v1/messages")
    assert first.headers["x-api-key"] == KEY
    body = {"model": "m-1", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 9,
            "temperature": 0.5, "top_p": 0.25, "top_k": 7}
    assert first.json == body
    assert second.json == {**body, "max_tokens": 10, "top_k": -1, "stream": True}


@pytest.mark.parametrize("task", [C, CC])
def test_the_most_tokens_must_be_said(story, task):
    answer = story.server.put(f"/_inference/{task}/x", {
        "service": SERVICE, "service_settings": BY[SERVICE, task].settings})
    assert answer.status == 400 and "[max_tokens]" in answer.reason
    assert story.upstream.requests == []


def test_a_chat_word_by_word(story):
    story.make(SERVICE, CC)
    story.chunks({"messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Pa"}, {"type": "text", "text": "ris?"}]},
        {"role": "assistant", "content": "I look.", "tool_calls": [{
            "id": "t1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}]},
        {"role": "tool", "tool_call_id": "t1", "content": "sunny"}],
        "tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "f"}},
        "max_completion_tokens": 5, "temperature": 0.5, "top_p": 0.25, "stop": ["END"]})
    assert story.request.json == {
        "model": "m-1", "system": "Be brief.", "max_tokens": 5, "temperature": 0.5, "top_p": 0.25,
        "stop_sequences": ["END"], "stream": True,
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "Pa"},
                                         {"type": "text", "text": "ris?"}]},
            {"role": "assistant", "content": [
                {"type": "text", "text": "I look."},
                {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": 1}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1",
                                          "content": [{"type": "text", "text": "sunny"}]}]}],
        "tools": [{"name": "f", "description": "d", "input_schema": {"type": "object"}}],
        "tool_choice": {"type": "tool", "name": "f"}}


@pytest.mark.parametrize("ours, theirs", [("none", {"type": "none"}), ("auto", {"type": "auto"}),
                                          ("required", {"type": "any"})])
def test_choices_of_tools(story, ours, theirs):
    story.make(SERVICE, CC)
    story.chunks({**questions(CC), "tools": [TOOL], "tool_choice": ours})
    assert story.request.json["tool_choice"] == theirs


@pytest.mark.parametrize("change, part", [
    ({"tool_choice": "maybe"}, "Unsupported tool_choice value [maybe] for the Anthropic chat "
                               "completion API."),
    ({"tools": [{"type": "function", "function": {"name": "f", "strict": True}}]}, "[strict]"),
    ({"messages": [{"role": "robot", "content": "x"}]}, "[robot]"),
    ({"messages": [{"role": "tool", "content": "x"}]}, "[tool_call_id]")])
def test_what_it_has_no_word_for(story, change, part):
    story.make(SERVICE, CC)
    stream = story.stream({**questions(CC), "tools": [TOOL], **change})
    ((_, data),) = stream.all()
    assert stream.status == 400 and part in json.loads(data)["error"]["message"]
    assert story.upstream.requests == []


def test_the_chunks_of_a_chat(story):
    story.make(SERVICE, CC)
    story.upstream.script(Stream(tool_events("f", ['{"a":', "1}"]), done=False))
    got = story.chunks()
    assert (got[0]["id"], got[0]["model"]) == ("msg_1", "claude-3-5-haiku")
    assert got[0]["choices"] == [{"delta": {"role": "assistant"}, "index": 0}]
    assert got[0]["usage"] == {"completion_tokens": 1, "prompt_tokens": 16, "total_tokens": 17}
    assert tool_calls(got) == [("toolu_1", "f", '{"a":1}')]
    assert {c["index"] for k in got[1:-1] for c in k["choices"]} == {1}
    assert finish_reasons(got) == ["tool_use"]
    assert got[-1]["usage"] == {"completion_tokens": 5, "prompt_tokens": 0, "total_tokens": 5}


def test_white_space_is_said_too(story):
    story.make(SERVICE, C)
    blank = [event("content_block_delta", index=0, delta={"type": "text_delta", "text": t})
             for t in ("\n", "", " ")]
    events = list(text_events("a b"))
    story.upstream.script(Stream(events[:4] + blank + [event("from_the_future", x=1)] + events[4:],
                                 done=False))
    assert story.words() == ["a ", "\n", " ", "b"]


@pytest.mark.parametrize("kind, status", [
    ("invalid_request_error", 400), ("authentication_error", 401), ("permission_error", 403),
    ("not_found_error", 404), ("request_too_large", 413), ("rate_limit_error", 429),
    ("overloaded_error", 500), ("api_error", 500), ("new_error", 500)])
def test_errors_in_a_stream_have_a_status(story, kind, status):
    story.make(SERVICE, C)
    story.upstream.script(Stream([*list(text_events("a b"))[:4], error_event(kind, "slow")],
                                 done=False))
    events = story.stream().all()
    body = json.loads(events[-1][1])
    assert (events[-1][0], body["status"]) == ("error", status)
    assert body["error"]["reason"] == ("Received an error response for request from inference entity "
                                       "id [e]. Error message: [slow]")


def test_answers_of_several_blocks(story):
    story.make(SERVICE, C)
    story.upstream.script(Reply(200, {"content": [
        {"type": "text", "text": "a"}, {"type": "tool_use", "id": "t", "name": "f", "input": {}},
        {"type": "text", "text": "b"}]}))
    assert story.ask("hi") == [{"result": "a"}, {"result": "b"}]
