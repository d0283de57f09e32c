"""The second front door: the official openai and cohere clients, unchanged."""
import base64
import json
import os
import shutil
import struct
import subprocess

import cohere
import openai
import pytest

from inferd import FACTOR, MARK, PASSWORD
from services import ALL
from upstream_anthropic import end, event, start
from upstream import Reply, Stream, chunk, close_to, reply_text, score, tool_chunks, vector

KEY = "sk-" + MARK
TOKEN = base64.b64encode(f"elastic:{PASSWORD}".encode()).decode()
HERE = os.path.dirname(os.path.abspath(__file__))
TOOLS = [{"type": "function", "function": {
    "name": "weather", "description": "d",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}}]


@pytest.fixture
def client(server):
    return openai.OpenAI(base_url=server.url + "/v1", api_key=TOKEN, max_retries=0)


@pytest.fixture
def models(server, upstream):
    server.make("text_embedding", "emb", "openai", {"api_key": KEY, "model_id": "e"})
    server.make("chat_completion", "chat", "openai", {"api_key": KEY, "model_id": "gpt-4o-mini"})
    server.make("completion", "plain", "cohere", {"api_key": KEY, "model_id": "command-a"})
    server.make("rerank", "rank", "cohere", {"api_key": KEY, "model_id": "rerank-v3.5"})
    upstream.clear()


def test_embeddings(client, models):
    for encoding in ({}, {"encoding_format": "float"}, {"encoding_format": "base64"}):
        answer = client.embeddings.create(model="emb", input=["a", "b"], **encoding)
        for item, text in zip(answer.data, "ab"):
            numbers = item.embedding
            if isinstance(numbers, str):
                raw = base64.b64decode(numbers)
                numbers = list(struct.unpack(f"<{len(raw) // 4}f", raw))
            assert close_to(numbers, vector(text))
    assert answer.model == "emb"
    assert answer.usage.prompt_tokens > 0
    assert close_to(client.embeddings.create(model="emb", input="x").data[0].embedding, vector("x"))


def test_chat(client, models, upstream):
    answer = client.chat.completions.create(
        model="chat", messages=[{"role": "system", "content": "s"},
                                {"role": "user", "content": "hi"}],
        max_tokens=7, temperature=0.5, user="u", logprobs=False)
    assert answer.choices[0].message.content == reply_text("hi")
    assert answer.choices[0].finish_reason == "stop"
    assert answer.model == "chat"
    assert answer.usage.total_tokens > 0
    (request,) = upstream.requests
    assert request.json["max_completion_tokens"] == 7
    assert request.json["model"] == "gpt-4o-mini"
    assert [m["role"] for m in request.json["messages"]] == ["system", "user"]


def test_chat_stream(client, models):
    stream = client.chat.completions.create(
        model="chat", messages=[{"role": "user", "content": "hi"}], stream=True,
        stream_options={"include_usage": True})
    chunks = list(stream)
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == reply_text("hi")
    assert chunks[-1].usage.total_tokens > 0
    assert all(c.created > 0 and c.object == "chat.completion.chunk" for c in chunks)


def test_tool_calls(client, models, upstream):
    for stream in (False, True):
        upstream.script(Stream(tool_chunks("weather", ['{"ci', 'ty": "Bern"}'])))
        answer = client.chat.completions.create(
            model="chat", messages=[{"role": "user", "content": "?"}], tools=TOOLS,
            tool_choice="auto", stream=stream)
        if not stream:
            (call,) = answer.choices[0].message.tool_calls
            assert (call.function.name, json.loads(call.function.arguments)) == (
                "weather", {"city": "Bern"})
            assert answer.choices[0].finish_reason == "tool_calls"
            continue
        parts = [t.function for c in answer if c.choices for t in c.choices[0].delta.tool_calls or []]
        assert "".join(p.arguments or "" for p in parts) == '{"city": "Bern"}'


CHATS = [r for r in ALL if r.task == "chat_completion"]


@pytest.mark.parametrize("recipe", CHATS, ids=repr)
def test_every_service_chats_in_openais_shape(server, client, upstream, recipe):
    """Also those whose own chunks have other numbers, words and no ids."""
    server.make("chat_completion", "x", recipe.service, recipe.settings,
                **({"task_settings": recipe.task_settings} if recipe.task_settings else {}))
    ask = dict(model="x", messages=[{"role": "user", "content": "hi"}])
    ask["messages"] = [{"role": "developer", "content": "s"}] + ask["messages"]
    answer = client.chat.completions.create(**ask)
    assert answer.choices[0].message.content == reply_text("hi")
    assert answer.choices[0].finish_reason == "stop"
    assert answer.id and answer.usage.prompt_tokens > 0 and answer.usage.completion_tokens > 0
    assert answer.usage.total_tokens >= answer.usage.prompt_tokens + answer.usage.completion_tokens
    chunks = list(client.chat.completions.create(
        stream=True, stream_options={"include_usage": True}, **ask))
    assert [c.usage is not None for c in chunks] == [False] * (len(chunks) - 1) + [True]
    assert chunks[-1].usage == answer.usage and chunks[-1].choices == []
    assert len({c.id for c in chunks}) == 1 and chunks[0].id
    assert {(c.object, c.model) for c in chunks} == {("chat.completion.chunk", "x")}
    choices = [c.choices[0] for c in chunks[:-1]]
    assert {c.index for c in choices} == {0}
    assert [c.delta.role for c in choices] == ["assistant"] + [None] * (len(choices) - 1)
    assert "".join(c.delta.content or "" for c in choices) == reply_text("hi")
    assert [c.finish_reason for c in choices if c.finish_reason] == ["stop"]
    answer = client.chat.completions.create(tools=TOOLS, **ask)
    (call,) = answer.choices[0].message.tool_calls
    assert call.id and call.function.name == "weather"
    assert json.loads(call.function.arguments) == {"city": "Paris"}
    assert answer.choices[0].finish_reason == "tool_calls"
    # The client's own helper puts the chunks together, and refuses those that lack something.
    with client.chat.completions.stream(tools=TOOLS, **ask) as stream:
        whole = stream.get_final_completion()
    assert whole.choices[0].finish_reason == "tool_calls"
    (again,) = whole.choices[0].message.tool_calls
    assert (again.id, again.type, again.function.name) == (call.id, "function", "weather")
    assert json.loads(again.function.arguments) == {"city": "Paris"}


def test_two_calls_of_one_turn(server, client, upstream):
    """Each is number 0 of its content block at Anthropic's."""
    server.make("chat_completion", "x", "anthropic", {"api_key": KEY, "model_id": "claude"},
                task_settings={"max_tokens": 64})

    def blocks():
        yield start()
        yield event("content_block_start", index=0, content_block={"type": "text", "text": "so "})
        for i, city in enumerate(["Bern", "Rome"], 1):
            yield event("content_block_start", index=i, content_block={
                "type": "tool_use", "id": f"toolu_{i}", "name": "weather", "input": {}})
            yield event("content_block_delta", index=i, delta={
                "type": "input_json_delta", "partial_json": json.dumps({"city": city})})
        yield from end("tool_use")
    for streamed in (False, True):
        upstream.script(Stream(blocks(), done=False))
        ask = dict(model="x", messages=[{"role": "user", "content": "?"}], tools=TOOLS)
        if streamed:
            with client.chat.completions.stream(**ask) as stream:
                choice = stream.get_final_completion().choices[0]
        else:
            choice = client.chat.completions.create(**ask).choices[0]
        assert choice.message.content == "so "
        assert [(c.id, json.loads(c.function.arguments)["city"])
                for c in choice.message.tool_calls] == [("toolu_1", "Bern"), ("toolu_2", "Rome")]
        # The conversation goes on with the message as it came, whatever the client notes in it.
        upstream.clear()
        ask["messages"] += [choice.message.to_dict()] + [
            {"role": "tool", "tool_call_id": c.id, "content": "sun"}
            for c in choice.message.tool_calls]
        client.chat.completions.create(**ask)
        kinds = [b["type"] for m in upstream.requests[0].json["messages"][1:] for b in m["content"]]
        assert kinds == ["text", "tool_use", "tool_use", "tool_result", "tool_result"]


def test_dimensions_that_the_model_does_not_have(client, models):
    assert client.embeddings.create(model="emb", input="a", dimensions=8).data
    with pytest.raises(openai.BadRequestError) as e:
        client.embeddings.create(model="emb", input="a", dimensions=256)
    assert "[dimensions] must be [8]" in str(e.value)


@pytest.mark.parametrize("model, more, text", [
    ("chat", {"response_format": {"type": "json_object"}}, "[response_format]"),
    ("chat", {"functions": [{"name": "f", "parameters": {}}]}, "[functions]"),
    ("chat", {"n": 2}, "[n]"), ("plain", {"tools": TOOLS}, "[tools] need a model")])
def test_what_would_change_the_answer_is_not_ignored(client, models, upstream, model, more, text):
    with pytest.raises(openai.BadRequestError) as e:
        client.chat.completions.create(model=model, messages=[{"role": "user", "content": "x"}],
                                       **more)
    assert text in str(e.value) and not upstream.requests


def test_a_completion_endpoint_chats_too(client, models):
    ask = dict(model="plain", messages=[{"role": "user", "content": "hi"}])
    answer = client.chat.completions.create(**ask)
    assert answer.choices[0].message.content == reply_text("hi")
    chunks = list(client.chat.completions.create(stream=True, **ask))
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == reply_text("hi")
    assert chunks[-1].choices[0].finish_reason == "stop"
    chunks = list(client.chat.completions.create(
        stream=True, stream_options={"include_usage": True}, **ask))
    assert chunks[-1].usage.total_tokens > 0 and chunks[0].choices[0].delta.role == "assistant"


def test_models(client, models):
    assert [m.id for m in client.models.list()] == ["chat", "emb", "plain", "rank"]
    assert client.models.retrieve("emb").owned_by == "openai"


def test_rerank_by_coheres_client(server, models):
    client = cohere.ClientV2(api_key=TOKEN, base_url=server.url)
    documents = ["the moon", "Washington is the capital"]
    answer = client.rerank(model="rank", query="capital", documents=documents, top_n=1)
    (row,) = answer.results
    best = max(range(2), key=lambda i: score("capital", documents[i]))
    assert row.index == best
    assert row.relevance_score == pytest.approx(score("capital", documents[best]))


def test_errors_are_openais(server, client, models, upstream):
    with pytest.raises(openai.NotFoundError) as e:
        client.embeddings.create(model="nope", input="a")
    assert e.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError):
        client.embeddings.create(model="chat", input="a")
    with pytest.raises(openai.BadRequestError):
        client.embeddings.create(model="emb", input=[[1, 2, 3]])
    with pytest.raises(openai.BadRequestError) as e:
        client.chat.completions.create(model="chat", messages=[{"role": "user", "content": [
            {"type": "image_url", "image_url": {"url": "x"}}]}])
    assert "[messages]" in str(e.value) and "image_url" in str(e.value)
    for documents in ([], None, "x", [{"a": 1}]):
        answer = server.post("/v1/rerank", {"model": "rank", "query": "q", "documents": documents})
        assert answer.status == 400 and "[documents]" in answer.json["error"]["message"]
    for messages in ([], [{"role": "user", "content": ""}]):
        with pytest.raises(openai.BadRequestError) as e:
            client.chat.completions.create(model="plain", messages=messages)
        assert "[messages]" in str(e.value)
    with pytest.raises(openai.NotFoundError) as e:
        client.responses.create(model="chat", input="x")
    assert e.value.body["message"] == "Invalid URL (POST /v1/responses)"
    with pytest.raises(openai.APIStatusError) as e:
        client.models.delete("chat")
    assert (e.value.status_code, e.value.response.headers["allow"]) == (405, "GET")
    with pytest.raises(openai.AuthenticationError) as e:
        openai.OpenAI(base_url=server.url + "/v1", api_key="sk-wrong").models.list()
    assert e.value.code == "invalid_api_key"
    # The service's troubles are not the caller's: neither a bad request nor a wrong key.
    upstream.script(*[Reply(500, {"error": {"message": "boo"}})] * 3)
    with pytest.raises(openai.InternalServerError) as e:
        client.embeddings.create(model="emb", input="a")
    assert (e.value.status_code, e.value.type) == (502, "server_error")
    upstream.script(Reply(401, {"error": {"message": "boo"}}))
    with pytest.raises(openai.AuthenticationError) as e:
        client.embeddings.create(model="emb", input="a")
    assert e.value.code is None and "entity id [emb]" in str(e.value)
    upstream.script(Reply(429, {"error": {"message": "slow down", "code": "quota"}}))
    with pytest.raises(openai.RateLimitError) as e:
        client.chat.completions.create(model="chat", messages=[{"role": "user", "content": "x"}])
    assert "slow down" in str(e.value)


def test_a_broken_stream_is_no_answer(client, models, upstream):
    for stream in (False, True):
        upstream.script(Stream([chunk({"content": "half"})], done=False))
        with pytest.raises(openai.APIError):
            answer = client.chat.completions.create(
                model="chat", messages=[{"role": "user", "content": "x"}], stream=stream)
            list(answer)


@pytest.mark.skipif(not shutil.which("node") or
                    not os.path.isdir(os.path.join(HERE, "node_modules", "openai")),
                    reason="run `npm ci` in tests/ first")
def test_the_javascript_client(server, models):
    run = subprocess.run(["node", os.path.join(HERE, "openai_story.js"), server.url, TOKEN],
                         cwd=HERE, capture_output=True, text=True, timeout=60 * FACTOR)
    assert run.returncode == 0, run.stderr
    out = json.loads(run.stdout)
    assert close_to(out["embedding"], vector("a"))
    assert out["chat"] == out["streamed"] == reply_text("hi")
    assert out["call"]["name"] == "weather"
    assert json.loads(out["call"]["arguments"]) == {"city": "Paris"}
    assert out["models"] == ["chat", "emb", "plain", "rank"]
    assert out["error"] == [404, "model_not_found"]
