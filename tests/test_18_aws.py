"""Amazon Bedrock and SageMaker: signatures, event streams, and what is said in each language."""
import json
import types

import pytest

import upstream_aws as aws
from inferd import MARK
from services import (AWS, BY, C, CC, R, S, T, deltas, finish_reasons, questions, said, same_rows,
                      tool_calls)
from upstream import Reply, int8s, vector

BEDROCK, SAGEMAKER = "amazonbedrock", "amazon_sagemaker"
TITAN = {"provider": "amazontitan", "model": "amazon.titan-embed-text-v2:0"}
WEATHER = {"type": "function", "function": {
    "name": "get_weather", "description": "Tells", "parameters": {"type": "object"}}}


# ---- that the judge of signatures judges right: examples that another program made ----

def test_a_known_signature():
    request = types.SimpleNamespace(
        method="POST", path="/model/anthropic.claude-3-haiku-20240307-v1%3A0/converse", query="",
        body=b'{"messages":[{"role":"user","content":[{"text":"hi"}]}]}', headers={
            "content-type": "application/json", "x-amz-date": "20250121T120000Z",
            "host": "bedrock-runtime.us-east-1.amazonaws.com"})
    assert aws.signature("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
                         "20250121/us-east-1/bedrock/aws4_request", "20250121T120000Z",
                         ["content-type", "host", "x-amz-date"], request) == \
        "99d1771732c351d2950f5977fc2c11bdfc325797b70b5b11536109654fe54b9f"


def test_known_frames():
    kind = aws.header(":content-type", "application/json")
    one = aws.raw_frame(aws.header(":event-type", "contentBlockDelta") + kind +
                        aws.header(":message-type", "event"),
                        b'{"contentBlockIndex":0,"delta":{"text":"Hi"}}')
    assert (len(one), one[:12].hex(), one[-4:].hex()) == (148, "0000009400000057b4ab9aee",
                                                          "1f944657")
    two = aws.raw_frame(aws.header(":exception-type", "throttlingException") + kind +
                        aws.header(":message-type", "exception"), b'{"message":"slow"}')
    assert (len(two), two[:12].hex(), two[-4:].hex()) == (131, "0000008300000061a9d144e5",
                                                          "9350311c")


@pytest.mark.parametrize("service", [BEDROCK, SAGEMAKER])
def test_another_secret_makes_another_signature(story, service):
    story.make(service, C)
    story.server.delete("/_inference/e?force=true")
    settings = {**BY[service, C].settings, "secret_key": "not-it-" + MARK}
    answer = story.server.put("/_inference/completion/e", {"service": service,
                                                           "service_settings": settings})
    assert answer.status == 400
    assert story.upstream.violations and "the signature" in story.upstream.violations[0]
    story.upstream.violations.clear()


# ---- addresses ----

ARN = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/a1 b"


@pytest.mark.parametrize("model, segment", [
    ("anthropic.claude-3-haiku-20240307-v1:0", "anthropic.claude-3-haiku-20240307-v1%3A0"),
    ("us.meta~x", "us.meta~x"), ("../../evil?x=1#y", "..%2F..%2Fevil%3Fx%3D1%23y"),
    (ARN, "arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3Aapplication-inference-profile%2Fa1%20b"),
    ("é漢", "%C3%A9%E6%BC%A2")])
def test_the_model_is_one_segment(story, model, segment):
    story.make(BEDROCK, C, model=model)
    assert story.ask("hi") == [{"result": "Echo: hi"}]
    assert story.request.target == f"/amazonbedrock/model/{segment}/converse"
    assert "".join(story.words({"input": "hi"})) == "Echo: hi"
    assert story.requests[1].target == f"/amazonbedrock/model/{segment}/converse-stream"


@pytest.mark.parametrize("service", [BEDROCK, SAGEMAKER])
@pytest.mark.parametrize("region", ["us-east-1", "eu-central-2", "cn-north-1"])
def test_the_region_is_signed(story, service, region):
    story.make(service, C, region=region)
    story.ask("hi")
    assert story.request.region == region


# ---- Bedrock ----

def test_a_completion_word_by_word(story):
    story.make(BEDROCK, C)
    story.ask("hi")
    assert story.request.method == "POST"
    assert story.request.headers["content-type"] == "application/json"
    assert story.request.json == {"messages": [{"role": "user", "content": [{"text": "hi"}]}]}


def test_every_setting_of_a_completion(story):
    story.make(BEDROCK, C, task_settings={"max_new_tokens": 9, "temperature": 0.5, "top_p": 0.25,
                                          "top_k": 1})
    story.ask("hi")
    story.ask("hi", task_settings={"max_new_tokens": 10, "top_p": 0.75})
    first, second = (r.json for r in story.requests)
    assert first["inferenceConfig"] == {"maxTokens": 9, "temperature": 0.5, "topP": 0.25}
    assert first["additionalModelRequestFields"] == {"top_k": 1}
    assert second["inferenceConfig"] == {"maxTokens": 10, "temperature": 0.5, "topP": 0.75}


@pytest.mark.parametrize("maker", ["ai21labs", "amazontitan", "meta"])
def test_makers_without_top_k(story, maker):
    answer = story.server.put("/_inference/completion/x", {
        "service": BEDROCK, "task_settings": {"top_k": 1},
        "service_settings": {**BY[BEDROCK, C].settings, "provider": maker}})
    assert (answer.status, answer.reason) == (
        400, f"The [top_k] task parameter is not available for provider [{maker}]")


def test_embeddings_of_titan(story):
    story.make(BEDROCK, T, **TITAN)
    assert same_rows(story.ask(["a"])["text_embedding"], [vector("a")])
    assert story.request.json == {"inputText": "a"}
    assert story.request.target == "/amazonbedrock/model/amazon.titan-embed-text-v2%3A0/invoke"
    # Its models take one text; a call with more, or one that is cut into chunks, is several requests.
    assert same_rows(story.ask(["b", "c"])["text_embedding"], [vector("b"), vector("c")])
    assert [r.json["inputText"] for r in story.requests[1:]] in (["b", "c"], ["c", "b"])
    chunked = story.post({"input": "word " * 300}, query="?chunk=true").json
    assert len(chunked["text_embedding"][0]["chunks"]) == 2


@pytest.mark.parametrize("given, sent", [
    (None, "search_document"), ("ingest", "search_document"), ("search", "search_query"),
    ("classification", "classification"), ("clustering", "clustering")])
def test_embeddings_of_cohere(story, given, sent):
    story.make(BEDROCK, T, task_settings={"truncate": "START"})
    answer = story.post({"input": ["a", "b"], **({"input_type": given} if given else {})}).json
    assert same_rows(answer["text_embedding"], [vector("a"), vector("b")])
    assert story.request.json == {"texts": ["a", "b"], "input_type": sent, "truncate": "START"}


@pytest.mark.parametrize("maker", ["ai21labs", "anthropic", "meta", "mistral"])
def test_makers_without_embeddings(story, maker):
    answer = story.server.put("/_inference/text_embedding/x", {
        "service": BEDROCK, "service_settings": {**BY[BEDROCK, T].settings, "provider": maker}})
    assert (answer.status, answer.reason) == (
        400, f"The [text_embedding] task type for provider [{maker}] is not available")


def test_a_chat_word_by_word(story):
    story.make(BEDROCK, CC)
    story.chunks({"messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Pa"}, {"type": "text", "text": "ris?"}]},
        {"role": "assistant", "tool_calls": [{"id": "t1", "type": "function", "function": {
            "name": "get_weather", "arguments": '{"city": "Paris"}'}}]},
        {"role": "tool", "tool_call_id": "t1", "content": "sunny"},
        {"role": "user", "content": "and now?"}],
        "tools": [WEATHER], "tool_choice": {"type": "function", "function": {"name": "get_weather"}},
        "max_completion_tokens": 5, "temperature": 0.5, "top_p": 1, "stop": ["END"]})
    assert story.request.json == {
        "system": [{"text": "Be brief."}],
        "messages": [
            {"role": "user", "content": [{"text": "Pa"}, {"text": "ris?"}]},
            {"role": "assistant", "content": [{"toolUse": {
                "toolUseId": "t1", "name": "get_weather", "input": {"city": "Paris"}}}]},
            {"role": "user", "content": [
                {"toolResult": {"toolUseId": "t1", "content": [{"text": "sunny"}]}},
                {"text": "and now?"}]}],
        "inferenceConfig": {"maxTokens": 5, "temperature": 0.5, "topP": 1, "stopSequences": ["END"]},
        "toolConfig": {"tools": [{"toolSpec": {"name": "get_weather", "description": "Tells",
                                               "inputSchema": {"json": {"type": "object"}}}}],
                       "toolChoice": {"tool": {"name": "get_weather"}}}}


def test_the_chunks_of_a_chat(story):
    story.make(BEDROCK, CC)
    story.upstream.script(aws.AwsStream(aws.tool_frames("f", ['{"a":', "1}"])))
    got = story.chunks()
    assert [k["choices"] for k in got if "usage" not in k] == [
        [{"delta": {"role": "assistant"}, "index": 0}],
        [{"delta": {"tool_calls": [{"index": 0, "id": "tooluse_1", "function": {"name": "f"},
                                    "type": "function"}]}, "index": 1}],
        [{"delta": {"tool_calls": [{"index": 0, "function": {"arguments": '{"a":'}, "type": None}]},
          "index": 1}],
        [{"delta": {"tool_calls": [{"index": 0, "function": {"arguments": "1}"}, "type": None}]},
          "index": 1}],
        [{"delta": {}, "finish_reason": "tool_calls", "index": 0}]]
    assert got[-1]["usage"] == {"completion_tokens": 3, "prompt_tokens": 9, "total_tokens": 12}
    assert tool_calls(got) == [("tooluse_1", "f", '{"a":1}')]


@pytest.mark.parametrize("theirs, ours", [
    ("end_turn", "stop"), ("stop_sequence", "stop"), ("max_tokens", "length"),
    ("content_filtered", "content_filter"), ("guardrail_intervened", "content_filter"),
    ("from_the_future", "stop")])
def test_why_a_chat_ends(story, theirs, ours):
    story.make(BEDROCK, CC)
    story.upstream.script(aws.AwsStream(aws.text_frames("x", theirs)))
    assert finish_reasons(story.chunks()) == [ours]


def test_frames_that_are_not_known_are_skipped(story):
    story.make(BEDROCK, C)
    frames = list(aws.text_frames("a b"))
    frames.insert(1, aws.frame("fromTheFuture", {"x": 1}))
    frames.insert(3, aws.frame("contentBlockDelta", {"contentBlockIndex": 2, "delta": {"new": {}}}))
    story.upstream.script(aws.AwsStream(frames, split=1))
    assert story.words() == ["a ", "b"]


@pytest.mark.parametrize("status, kind", [
    (400, "ValidationException"), (403, "AccessDeniedException"), (404, "ResourceNotFoundException"),
    (408, "ModelTimeoutException"), (424, "ModelErrorException"), (429, "ThrottlingException"),
    (500, "InternalServerException"), (503, "ServiceUnavailableException"), (302, "Whatever")])
@pytest.mark.parametrize("task, operation", [(T, "invoke model"), (C, "converse"),
                                             (CC, "converse")])
def test_refusals_of_bedrock(story, task, operation, status, kind):
    """Never tried again, always a 500, in the words of Amazon's SDK."""
    story.make(BEDROCK, task)
    story.upstream.script(Reply(status, {"message": "no luck"}, {
        "x-amzn-ErrorType": kind + ":http://internal.amazon.com/", "x-amzn-RequestId": "r-1"}))
    wanted = (f"AmazonBedrock {operation} failure: [no luck (Service: BedrockRuntime, Status Code: "
              f"{status}, Request ID: r-1)]")
    if task == CC:
        stream = story.stream()
        error = json.loads(stream.all()[0][1])["error"]
        assert (stream.status, error["message"]) == (500, wanted)
        assert error["type"] == kind
    else:
        answer = story.post()
        assert (answer.status, answer.reason) == (500, wanted)
    assert len(story.requests) == 1


# ---- SageMaker ----

ATTRIBUTES = {"custom_attributes": "c1", "enable_explanations": "true", "inference_id": "i1",
              "session_id": "s1", "target_variant": "v1"}


def test_a_call_in_elastics_language(story):
    story.make(SAGEMAKER, T, target_model="m.tar.gz", target_container_hostname="h1",
               inference_component_name="n1", task_settings=ATTRIBUTES)
    story.ask(["a", "b"], input_type="search", task_settings={"any": {"key": [1]}})
    request = story.request
    assert request.target == "/amazon_sagemaker/endpoints/elastic-float/invocations"
    assert request.json == {"input": ["a", "b"], "input_type": "search",
                            "task_settings": {"any": {"key": [1]}}}
    assert {k: v for k, v in request.headers.items() if k.startswith("x-amzn-")} == {
        "x-amzn-sagemaker-custom-attributes": "c1", "x-amzn-sagemaker-enable-explanations": "true",
        "x-amzn-sagemaker-inference-component": "n1", "x-amzn-sagemaker-inference-id": "i1",
        "x-amzn-sagemaker-session-id": "s1", "x-amzn-sagemaker-target-container-hostname": "h1",
        "x-amzn-sagemaker-target-model": "m.tar.gz", "x-amzn-sagemaker-target-variant": "v1"}


@pytest.mark.parametrize("kind, member", [("byte", "text_embedding_bytes"),
                                          ("bit", "text_embedding_bits")])
def test_bytes_and_bits(story, kind, member):
    story.make(SAGEMAKER, T, element_type=kind, endpoint_name="elastic-" + kind)
    assert story.ask(["a", "b"]) == {member: [{"embedding": int8s("a")}, {"embedding": int8s("b")}]}


def test_a_batch_is_as_large_as_the_setting_says(story):
    story.make(SAGEMAKER, T, batch_size=2)
    assert same_rows(story.ask(["a", "b", "c"])["text_embedding"],
                     [vector("a"), vector("b"), vector("c")])
    assert sorted(str(r.json["input"]) for r in story.requests) == ["['a', 'b']", "c"]


def test_rerank_in_elastics_language(story):
    story.make(SAGEMAKER, R)
    answer = story.ask("the capital", ["the moon", "the capital"], top_n=1, return_documents=True)
    assert [(r["index"], r["text"]) for r in answer] == [(1, "the capital")]
    assert story.request.json == {"input": ["the moon", "the capital"], "query": "the capital",
                                  "top_n": 1, "return_documents": True}


OPENAI = {"api": "openai", "element_type": None}


def test_embeddings_in_openais_language(story):
    story.make(SAGEMAKER, T, endpoint_name="openai-1", dimensions=4, task_settings={"user": "u"},
               **OPENAI)
    assert same_rows(story.ask(["a"])["text_embedding"], [vector("a", 4)])
    assert same_rows(story.ask(["a", "b"])["text_embedding"], [vector("a", 4), vector("b", 4)])
    assert [r.json for r in story.requests] == [{"input": "a", "user": "u", "dimensions": 4},
                                                {"input": ["a", "b"], "user": "u", "dimensions": 4}]


def test_chats_in_openais_language(story):
    story.make(SAGEMAKER, C, endpoint_name="openai-1", **OPENAI)
    assert story.ask("hi") == [{"result": "Echo: hi"}]
    assert story.request.json == {"messages": [{"role": "user", "content": "hi"}], "n": 1,
                                  "stream": False}
    assert story.words({"input": "one two"}) == ["Echo: ", "one ", "two"]
    assert story.requests[1].target == \
        "/amazon_sagemaker/endpoints/openai-1/invocations-response-stream"
    story.make(SAGEMAKER, CC, endpoint_name="openai-1", **OPENAI)
    assert said(story.chunks()) == "Echo: tell me more"
    got = story.chunks({**questions(CC), "tools": [WEATHER]})
    assert tool_calls(got) == [("call_1", "get_weather", '{"city": "Paris"}')]


@pytest.mark.parametrize("size", [1, 5, 1000])
def test_parts_are_cut_anywhere(story, size):
    from upstream import text_chunks
    story.make(SAGEMAKER, C, endpoint_name="openai-1", **OPENAI)
    story.upstream.script(aws.AwsStream(aws.parts(aws.sse(text_chunks("Grüße 漢字")), size)))
    assert "".join(deltas(story.stream().all())) == "Grüße 漢字"


@pytest.mark.parametrize("task", [S, R])
def test_openais_language_has_no_word_for_it(story, task):
    answer = story.server.put(f"/_inference/{task}/x", {"service": SAGEMAKER, "service_settings": {
        **AWS, "region": "us-east-1", "api": "openai", "endpoint_name": "e"}})
    assert answer.status == 405
    assert answer.reason.startswith(f"Task [{task}] is not compatible for service "
                                    "[amazon_sagemaker] and api [openai].")


@pytest.mark.parametrize("status, kind, ours, attempts, prefix", [
    (400, "ValidationError", 400, 1, "Received a validation error from SageMaker"),
    (424, "ModelError", 424, 1, "Received a model error from SageMaker"),
    (429, "ModelNotReadyException", 429, 3, "Received a model not ready error from SageMaker"),
    (429, "ThrottlingException", 500, 3, "Received an error from SageMaker"),
    (500, "InternalFailure", 500, 3, "Received an internal failure from SageMaker"),
    (503, "ServiceUnavailable", 503, 3, "SageMaker is unavailable"),
    (403, "AccessDeniedException", 500, 1, "Received an error from SageMaker")])
def test_refusals_of_sagemaker(story, status, kind, ours, attempts, prefix):
    story.make(SAGEMAKER, S)
    story.upstream.script(*[Reply(status, {"Message": "no luck"}, {"x-amzn-errortype": kind})]
                          * attempts)
    answer = story.post()
    assert (answer.status, len(story.requests)) == (ours, attempts)
    assert answer.reason == (f"{prefix} for request from inference entity id [e] status [{status}]. "
                             "Error message: [no luck]")
