"""_simulate shows the request that a call would send, without its secrets, and sends nothing."""
import json
import os

import pytest

from inferd import MARK

KEY = "sk-" + MARK
MODEL = {"api_key": KEY, "model_id": "gpt-4o-mini"}
EMBED = {"api_key": KEY, "model_id": "text-embedding-3-small"}
MODELS = os.environ.get("INFERD_TEST_MODELS", "")


def simulate(server, path, body, query=""):
    answer = server.post(f"/_inference/{path}/_simulate{query}", body)
    assert answer.status == 200, answer
    return answer.json


@pytest.mark.parametrize("task, body", [
    ("text_embedding", {"input": ["a", "b"], "task_settings": {"user": "u"}}),
    ("completion", {"input": "hi"}),
])
def test_it_is_what_the_call_sends(server, upstream, task, body):
    server.make(task, "x", "openai", dict(EMBED if task == "text_embedding" else MODEL,
                                          organization_id="org"))
    upstream.clear()
    said = simulate(server, f"{task}/x", body)
    assert upstream.requests == []
    assert (said["inference_id"], said["task_type"], said["service"]) == ("x", task, "openai")
    (request,) = said["requests"]
    server.post(f"/_inference/{task}/x", body)
    (sent,) = upstream.requests
    assert request["method"] == "POST"
    assert request["url"] == upstream.url + sent.target
    assert request["body"] == sent.json
    assert request["headers"]["Authorization"] == "***"
    for name, value in request["headers"].items():
        assert sent.headers[name.lower()] == value or value == "***"
    assert request["headers"]["OpenAI-Organization"] == "org"


def test_without_a_task_type_in_the_path(server, upstream):
    server.make("completion", "c", "openai", MODEL)
    upstream.clear()
    assert len(simulate(server, "c", {"input": "hi"})["requests"]) == 1
    (request,) = simulate(server, "c", {"input": "hi"}, "?stream=true")["requests"]
    assert request["body"]["stream"] is True


def test_chat(server, upstream):
    server.make("chat_completion", "c", "openai", MODEL)
    upstream.clear()
    body = {"messages": [{"role": "user", "content": "hi"}]}
    (request,) = simulate(server, "chat_completion/c", body)["requests"]
    assert request["body"]["messages"] == [{"role": "user", "content": "hi"}]
    assert request["body"]["stream"] is True
    assert upstream.requests == []


def test_a_split_call_is_several_requests(server, upstream):
    server.make("text_embedding", "e", "cohere", {"api_key": KEY, "model_id": "embed-v4.0"})
    upstream.clear()
    inputs = [f"{i}" for i in range(200)]
    requests = simulate(server, "text_embedding/e",
                        {"input": inputs, "input_type": "search"})["requests"]
    assert [len(r["body"]["texts"]) for r in requests] == [96, 96, 8]
    assert sum((r["body"]["texts"] for r in requests), []) == inputs


def test_inputs_are_shortened_as_they_would_be(server, upstream):
    server.make("text_embedding", "e", "openai", dict(EMBED, max_input_tokens=2))
    upstream.clear()
    (request,) = simulate(server, "text_embedding/e", {"input": ["abcdefghijk"]})["requests"]
    assert request["body"]["input"] == ["abcdef"]


def test_secrets_are_masked_wherever_they_stand(server, upstream):
    server.make("completion", "c", "openai", MODEL)
    upstream.clear()
    body = {"input": f"my key is {KEY}!",
            "task_settings": {"headers": {"X-Key": "k " + KEY, "Cookie": "c"}}}
    (request,) = simulate(server, "completion/c", body)["requests"]
    assert request["body"]["messages"][0]["content"] == "my key is ***!"
    headers = request["headers"]
    assert (headers["X-Key"], headers["Cookie"]) == ("***", "***")
    assert MARK not in json.dumps(request)


def test_signatures_and_keys_in_urls_are_masked(spawn):
    server = spawn({"xpack.inference.skip_validate_and_start": "true"})
    server.make("completion", "aws", "amazonbedrock",
                {"access_key": "AK" + MARK, "secret_key": "sk" + MARK, "region": "us-east-1",
                 "provider": "anthropic", "model": "m:0"})
    (request,) = simulate(server, "completion/aws", {"input": "hi"})["requests"]
    assert request["headers"]["Authorization"] == "***"
    assert "X-Amz-Date" in request["headers"]
    assert request["url"].endswith("/model/m%3A0/converse")
    server.make("text_embedding", "google", "googleaistudio", {"api_key": "k/" + MARK,
                                                                "model_id": "m"})
    (request,) = simulate(server, "text_embedding/google", {"input": "hi"})["requests"]
    assert request["url"].endswith("key=***")


def test_a_token_is_not_asked_for(spawn, upstream):
    server = spawn({"xpack.inference.skip_validate_and_start": "true"})
    server.make("text_embedding", "o", "openai",
                {"client_secret": "cs-" + MARK, "client_id": "id", "scopes": ["s"],
                 "token_url": upstream.url + "/token", "model_id": "m"})
    (request,) = simulate(server, "text_embedding/o", {"input": "hi"})["requests"]
    assert request["headers"]["Authorization"] == "***"
    assert upstream.requests == []


def test_it_takes_no_place_in_the_rate_limit(server, upstream):
    server.make("completion", "c", "openai", dict(MODEL, rate_limit={"requests_per_minute": 1}))
    upstream.clear()
    for _ in range(5):
        simulate(server, "completion/c", {"input": "hi"})
    assert upstream.requests == []


@pytest.mark.parametrize("path, body, status, text", [
    ("nope", {"input": "a"}, 404, "Inference endpoint not found [nope]"),
    ("sparse_embedding/e", {"input": "a"}, 400, "Incompatible task_type"),
    ("e", {"inputs": "a"}, 400, "unknown field [inputs]"),
    ("e", None, 400, "body"),
])
def test_refused(server, upstream, path, body, status, text):
    server.make("text_embedding", "e", "openai", EMBED)
    upstream.clear()
    answer = server.post(f"/_inference/{path}/_simulate", body)
    assert (answer.status, text in answer.reason) == (status, True), answer
    assert server.post(f"/_inference/{path}/_simulate", body, auth=None).status == 401


@pytest.mark.skipif(not os.path.isdir(os.path.join(MODELS, "all-minilm-l6-v2")),
                    reason="INFERD_TEST_MODELS names no folder with all-minilm-l6-v2")
def test_a_local_model_counts_tokens(spawn):
    server = spawn({"path.models": MODELS})
    answer = server.put("/_inference/text_embedding/l?timeout=50s", {
        "service": "elasticsearch",
        "service_settings": {"model_id": "all-minilm-l6-v2", "num_allocations": 1,
                             "num_threads": 1}})
    assert answer.status == 200, answer
    said = simulate(server, "text_embedding/l", {"input": ["hello world", "word " * 1000]})
    assert said["model_id"] == "all-minilm-l6-v2"
    first, second = said["inputs"]
    assert first == {"tokens": 4, "is_truncated": False}
    assert second["is_truncated"]
    assert said["tokens"] == 4 + second["tokens"]
