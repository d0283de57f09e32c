"""Every service and task: an endpoint is made, asked, streamed, with nothing but what is required."""
import json

import pytest

from services import (ALL, C, CC, MARK, R, S, T, deltas, finish_reasons, questions, said, same_rows,
                      tool_calls)
from upstream import TOOL_PIECES, reply_text, score, vector, weights

STREAMS = [r for r in ALL if r.streams]
CHATS = [r for r in ALL if r.task == CC]
DOCUMENTS = ["Carson City is the capital of Nevada", "the moon", "Washington is the capital"]
WEATHER = {"type": "function", "function": {
    "name": "get_weather", "description": "Tells the weather", "parameters": {
        "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}


def of(task):
    return pytest.mark.parametrize("recipe", [r for r in ALL if r.task == task], ids=str)


def test_every_service_has_its_stories(server):
    """What is not here has files of its own: 11, 12, 13 and 20."""
    listed = {(s["service"], t) for s in server.get("/_inference/_services").json
              for t in s["task_types"]}
    told = {(r.service, r.task) for r in ALL if r.service != "custom"}  # which is not listed
    others = ("openai", "cohere", "hugging_face", "elasticsearch")
    assert {(s, t) for s, t in listed if s not in others} == told


@pytest.mark.parametrize("recipe", ALL, ids=str)
def test_secrets_are_kept_and_shown_to_nobody(story, recipe):
    made = story.make(recipe.service, recipe.task)
    assert MARK not in json.dumps(made)
    listed = {s["service"]: s for s in story.server.get("/_inference/_services").json}
    for name, c in listed.get(recipe.service, {"configurations": {}})["configurations"].items():
        if c["sensitive"]:
            assert name not in made["service_settings"]


@of(T)
def test_embeddings(story, recipe):
    story.make(recipe.service, T)
    answer = story.ask(["a", "b"])
    assert same_rows(answer["text_embedding"], [vector("a"), vector("b")])
    assert list(answer) == ["text_embedding"]
    assert len(story.requests) == 1


@of(S)
def test_sparse_embeddings(story, recipe):
    words = {"task_settings": {"return_token": True}} if "alibaba" in recipe.service else {}
    story.make(recipe.service, S, **words)
    rows = story.ask(["the moon", "a star"])
    assert rows == [{"is_truncated": False, "embedding": pytest.approx(weights(t))}
                    for t in ("the moon", "a star")]


@of(R)
def test_rerank(story, recipe):
    story.make(recipe.service, R)
    ranked = sorted(((score("the capital", d), i) for i, d in enumerate(DOCUMENTS)), reverse=True)
    answer = story.ask("the capital", DOCUMENTS)
    assert [(r["relevance_score"], r["index"]) for r in answer] == [
        (pytest.approx(s), i) for s, i in ranked]


@of(C)
def test_completion(story, recipe):
    story.make(recipe.service, C)
    assert story.ask("tell me more") == [{"result": reply_text("tell me more")}]


@of(C)
def test_several_inputs_of_a_completion(story, recipe):
    story.make(recipe.service, C)
    answer = story.post({"input": ["a", "b"]})
    if recipe.service == "custom":  # what to make of them is its own business
        assert answer.status == 200
        return
    assert answer.status == 400 and story.upstream.requests == []
    wanted = "must be an odd number" if "alibaba" in recipe.service else " only accepts 1 input"
    assert wanted in answer.reason


@of(C)
def test_stream_of_a_completion(story, recipe):
    story.make(recipe.service, C)
    if not recipe.streams:
        stream = story.stream()
        assert stream.status == 405
        assert "Streaming is not allowed for service" in stream.all()[0][1]
        return
    assert story.words() == ["Echo: ", "tell ", "me ", "more"]
    assert story.words({"input": "Grüße, 漢字 🙂"}) == ["Echo: ", "Grüße, ", "漢字 ", "🙂"]


@of(CC)
def test_chat(story, recipe):
    story.make(recipe.service, CC)
    got = story.chunks()
    assert said(got) == reply_text("tell me more")
    assert "assistant" in [c["delta"].get("role") for k in got for c in k["choices"]] or \
        recipe.service == "googlevertexai"
    assert len(finish_reasons(got)) == 1
    assert [k for k in got if "usage" in k]


@of(CC)
def test_tools(story, recipe):
    story.make(recipe.service, CC)
    got = story.chunks({"messages": [{"role": "user", "content": "Paris?"}], "tools": [WEATHER],
                        "tool_choice": "auto"})
    ((call_id, name, arguments),) = tool_calls(got)
    assert call_id and name == "get_weather"
    assert json.loads(arguments) == json.loads("".join(TOOL_PIECES))
    # What the client does next: it answers the call.
    got = story.chunks({"tools": [WEATHER], "messages": [
        {"role": "system", "content": "Be brief."}, {"role": "user", "content": "Paris?"},
        {"role": "assistant", "tool_calls": [{"id": call_id, "type": "function", "function": {
            "name": name, "arguments": arguments}}]},
        {"role": "tool", "tool_call_id": call_id, "content": "sunny"}]})
    assert said(got).startswith("Echo: ")
    assert len(story.requests) == 2


@of(CC)
def test_every_option_of_a_chat(story, recipe):
    story.make(recipe.service, CC)
    body = {**questions(CC), "max_completion_tokens": 77, "stop": ["END"], "temperature": 0.25,
            "top_p": 0.5, "model": "other-model"}
    assert said(story.chunks(body)) == reply_text("tell me more")
    sent = json.dumps(story.request.json)
    for value in ("77", '"END"', "0.25", "0.5"):
        assert value in sent, value
    assert "other-model" in sent + story.request.target or recipe.service == "azureopenai"


@pytest.mark.parametrize("recipe", STREAMS, ids=str)
def test_a_chat_goes_on_word_by_word(story, recipe):
    """Each event goes out when it comes in, however its bytes are cut."""
    from upstream import Hang, default_answer
    story.make(recipe.service, recipe.task)
    gate = Hang()

    def choose(request):
        answer = default_answer(request)
        if hasattr(answer, "events"):
            answer.gate, answer.gate_at = gate, len(answer.events) - 3
        return answer
    story.upstream.choose = choose
    stream = story.stream()
    first = []
    while "".join(deltas(first)) != "Echo: ":
        first.append(stream.next())
    gate.release()
    assert "".join(deltas(stream.all())) == "tell me more"


@pytest.mark.parametrize("recipe", STREAMS, ids=str)
def test_bytes_may_be_cut_anywhere(story, recipe):
    from upstream import default_answer
    story.make(recipe.service, recipe.task)

    def choose(request):
        answer = default_answer(request)
        if hasattr(answer, "events"):
            answer.split = 3
        return answer
    story.upstream.choose = choose
    assert "".join(deltas(story.stream().all())) == reply_text("tell me more")
