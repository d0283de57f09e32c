"""Amazon Bedrock and SageMaker, as upstream.py plays the others.

Every request is signed once more here, from the bytes that came in, and the signatures must be
equal (AWS Signature Version 4). Streams are frames of AWS's event stream with both checksums.
"""
import calendar
import hashlib
import hmac
import json
import re
import struct
import time
import urllib.parse
import zlib

from upstream import (Reply, Stream, chat, expect, int8s, members, pieces, reply_text, route, score,
                      text_chunks, texts, tool_chunks, vector, weights, TOOL_PIECES)

# Access keys and their secrets; those of the stories.
SECRETS = {}

EVENT_STREAM = "application/vnd.amazon.eventstream"


# ---- signatures ----

def digest(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def again(segment):
    """The path is signed with every segment encoded once more than it was sent."""
    return urllib.parse.quote(segment, safe="-_.~")


def signature(secret, scope, at, names, request):
    date, region, service, _ = scope.split("/")
    path = "/".join(again(s) for s in request.path.split("/"))
    headers = "".join(f"{n}:{' '.join(request.headers[n].split())}\n" for n in names)
    canonical = "\n".join([request.method, path, request.query, headers, ";".join(names),
                           hashlib.sha256(request.body).hexdigest()])
    text = "\n".join(["AWS4-HMAC-SHA256", at, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = digest(digest(digest(digest(b"AWS4" + secret.encode(), date), region), service),
                 "aws4_request")
    return digest(key, text).hex()


def signed_for(service):
    def check(request):
        match = re.fullmatch(r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\S+), SignedHeaders=(\S+), "
                             r"Signature=([0-9a-f]{64})", request.headers.get("authorization", ""))
        expect(match, "the form of Authorization")
        access, scope, names, sent = match.groups()
        names = names.split(";")
        expect(access in SECRETS, "an access key that nobody has")
        expect(names == sorted(names), "the order of the signed headers")
        must = {"host", "content-type"} | {h for h in request.headers if h.startswith("x-amz")}
        expect(must <= set(names), f"headers that are not signed: {must - set(names)}")
        at = request.headers.get("x-amz-date", "")
        expect(re.fullmatch(r"\d{8}T\d{6}Z", at), "X-Amz-Date")
        when = calendar.timegm(time.strptime(at, "%Y%m%dT%H%M%SZ"))
        expect(abs(when - time.time()) < 60, "X-Amz-Date is not now")
        parts = scope.split("/")
        expect(len(parts) == 4 and parts[0] == at[:8] and parts[2:] == [service, "aws4_request"],
               "the scope")
        expect(signature(SECRETS[access], scope, at, names, request) == sent, "the signature")
        request.region = parts[1]
    return check


# ---- the event stream ----

def header(name, value):
    name, value = name.encode(), value.encode()
    return bytes([len(name)]) + name + b"\x07" + struct.pack(">H", len(value)) + value


def raw_frame(headers, payload):
    head = struct.pack(">II", 16 + len(headers) + len(payload), len(headers))
    whole = head + struct.pack(">I", zlib.crc32(head)) + headers + payload
    return whole + struct.pack(">I", zlib.crc32(whole))


def frame(event, payload):
    """payload: bytes, or anything JSON."""
    if not isinstance(payload, bytes):
        payload = json.dumps(payload).encode()
    kind = "application/octet-stream" if event == "PayloadPart" else "application/json"
    # A header of each other type, as a reader must be able to skip them.
    odd = (b"\x01t\x00" b"\x01f\x01" b"\x01b\x02\x7f" b"\x01s\x03\x00\x01" b"\x01i\x04\x00\x00\x00\x01"
           b"\x01l\x05" + bytes(8) + b"\x01y\x06\x00\x02\xff\x00" b"\x01d\x08" + bytes(8) +
           b"\x01u\x09" + bytes(16))
    return raw_frame(header(":event-type", event) + odd + header(":content-type", kind) +
                     header(":message-type", "event"), payload)


def exception(kind, message):
    return raw_frame(header(":exception-type", kind) + header(":content-type", "application/json") +
                     header(":message-type", "exception"), json.dumps({"message": message}).encode())


def error(code, message):
    return raw_frame(header(":message-type", "error") + header(":error-code", code) +
                     header(":error-message", message), b"")


def AwsStream(frames, **more):
    return Stream(frames, done=False, content_type=EVENT_STREAM, **more)


# ---- Bedrock ----

PADDING = {"p": "abcdefghij"}


def text_frames(text, stop="end_turn"):
    yield frame("messageStart", {"role": "assistant", **PADDING})
    for piece in pieces(text):
        yield frame("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": piece},
                                          **PADDING})
    yield frame("contentBlockStop", {"contentBlockIndex": 0, **PADDING})
    yield from end_frames(stop)


def tool_frames(name, argument_pieces):
    yield frame("messageStart", {"role": "assistant"})
    yield frame("contentBlockDelta", {"contentBlockIndex": 0, "delta": {
        "reasoningContent": {"text": "a tool, then"}}})
    yield frame("contentBlockStart", {"contentBlockIndex": 1, "start": {
        "toolUse": {"toolUseId": "tooluse_1", "name": name}}})
    for piece in argument_pieces:
        yield frame("contentBlockDelta", {"contentBlockIndex": 1, "delta": {
            "toolUse": {"input": piece}}})
    yield frame("contentBlockStop", {"contentBlockIndex": 1})
    yield from end_frames("tool_use")


def end_frames(stop):
    yield frame("messageStop", {"stopReason": stop, **PADDING})
    yield frame("metadata", {"usage": {"inputTokens": 9, "outputTokens": 3, "totalTokens": 12},
                             "metrics": {"latencyMs": 412}, **PADDING})


def converse_body(body):
    members(body, ["messages"], ["messages", "system", "inferenceConfig", "toolConfig",
                                 "additionalModelRequestFields"])
    roles = [m["role"] for m in body["messages"]]
    expect(roles[0] == "user" and all(a != b for a, b in zip(roles, roles[1:])), "turns")
    if "inferenceConfig" in body:
        members(body["inferenceConfig"], [], ["maxTokens", "temperature", "topP", "stopSequences"])
        expect(body["inferenceConfig"], "an empty inferenceConfig")
    for m in body["messages"]:
        expect(set(m) == {"role", "content"} and m["content"], "a message without content")
        for block in m["content"]:
            expect(len(block) == 1 and set(block) <= {"text", "toolUse", "toolResult"}, "a block")
    return "".join(b.get("text", "") for b in body["messages"][-1]["content"])


@route("amazonbedrock", "/model/([^/]+)/converse", signed_for("bedrock"))
def converse(request, model):
    text = reply_text(converse_body(request.json))
    return Reply(200, {"output": {"message": {"role": "assistant", "content": [
        {"reasoningContent": {"reasoningText": {"text": "hm"}}}, {"text": text}]}},
        "stopReason": "end_turn", "metrics": {"latencyMs": 412},
        "usage": {"inputTokens": 9, "outputTokens": 3, "totalTokens": 12}})


@route("amazonbedrock", "/model/([^/]+)/converse-stream", signed_for("bedrock"))
def converse_stream(request, model):
    body = request.json
    text = reply_text(converse_body(body))
    if "toolConfig" in body and "toolResult" not in body["messages"][-1]["content"][0]:
        return AwsStream(tool_frames(body["toolConfig"]["tools"][0]["toolSpec"]["name"],
                                     TOOL_PIECES))
    return AwsStream(text_frames(text))


@route("amazonbedrock", "/model/([^/]+)/invoke", signed_for("bedrock"))
def invoke(request, model):
    body = request.json
    expect(request.headers.get("accept") == "application/json", "Accept")
    if urllib.parse.unquote(model).startswith("amazon."):
        members(body, ["inputText"], ["inputText"])
        return Reply(200, {"embedding": vector(body["inputText"]), "inputTextTokenCount": 3})
    members(body, ["texts", "input_type"], ["texts", "input_type", "truncate"])
    expect(body["input_type"] in ("search_document", "search_query", "classification",
                                  "clustering"), "[input_type]")
    return Reply(200, {"id": "e", "texts": body["texts"], "response_type": "embeddings_floats",
                       "embeddings": [vector(t) for t in texts(body, "texts")]})


# ---- SageMaker: endpoints named openai-... and elastic-... ----

def accepts(request, name):
    expect(request.headers.get(name) == "application/json", name)


def openai_call(request):
    body = request.json
    if "messages" in body:
        return chat(request, {"messages", "n", "stop", "temperature", "top_p", "tool_choice",
                              "tools", "stream", "stream_options", "user", "max_completion_tokens"},
                    False)
    members(body, ["input"], ["input", "user", "dimensions"])
    inputs = [body["input"]] if isinstance(body["input"], str) else body["input"]
    expect(inputs == [body["input"]] or len(inputs) > 1, "a list of one input")
    return Reply(200, {"object": "list", "model": "m", "usage": {"prompt_tokens": 8}, "data": [
        {"object": "embedding", "index": i, "embedding": vector(t, body.get("dimensions", 8))}
        for i, t in enumerate(inputs)]})


def elastic_call(body, name):
    """By the endpoint's name: what kind of model is behind it."""
    if "messages" in body:  # as when an endpoint is tried out
        return {"id": "c", "object": "chat.completion", "model": "m", "choices": [
            {"index": 0, "message": {"role": "assistant", "content": "yes"}}]}
    members(body, ["input"], ["input", "input_type", "query", "top_n", "return_documents",
                              "task_settings"])
    inputs = [body["input"]] if isinstance(body["input"], str) else body["input"]
    if name == "elastic-sparse":
        return {"sparse_embedding": [{"is_truncated": False, "embedding": weights(t)}
                                     for t in inputs]}
    if name == "elastic-rerank":
        ranked = sorted(((score(body["query"], t), i) for i, t in enumerate(inputs)), reverse=True)
        return {"rerank": [{"index": i, "relevance_score": s, "text": inputs[i]}
                           for s, i in ranked[:body.get("top_n", len(ranked))]]}
    if name == "elastic-chat":
        return {"completion": [{"result": reply_text(inputs[0])}]}
    if name == "elastic-float":
        return {"text_embedding": [{"embedding": vector(t)} for t in inputs]}
    kind = {"elastic-byte": "bytes", "elastic-bit": "bits"}[name]
    return {"text_embedding_" + kind: [{"embedding": int8s(t)} for t in inputs]}


@route("amazon_sagemaker", "/endpoints/([^/]+)/invocations", signed_for("sagemaker"))
def invocation(request, name):
    accepts(request, "accept")
    if name.startswith("openai"):
        return openai_call(request)
    return Reply(200, elastic_call(request.json, name))


def parts(data, size):
    """PayloadParts of a byte stream that is cut anywhere."""
    for i in range(0, len(data), size):
        yield frame("PayloadPart", data[i:i + size])


def sse(chunks):
    return b"".join(b"data: " + json.dumps(c).encode() + b"\n\n" for c in chunks) + \
        b"data: [DONE]\n\n"


@route("amazon_sagemaker", "/endpoints/([^/]+)/invocations-response-stream",
       signed_for("sagemaker"))
def invocation_stream(request, name):
    accepts(request, "x-amzn-sagemaker-accept")
    body = request.json
    if name.startswith("openai"):
        answer = openai_call(request)
        return AwsStream(parts(sse(answer.events), 33))
    if "messages" in body:
        expect(not {"n", "stream", "stream_options"} & set(body), "members of OpenAI's")
        chunks = (tool_chunks(body["tools"][0]["function"]["name"], TOOL_PIECES, "m")
                  if body.get("tools") and body["messages"][-1]["role"] == "user" else
                  text_chunks(reply_text(body["messages"][-1]["content"]), "m"))
        return AwsStream(frame("PayloadPart", c) for c in chunks)
    members(body, ["input"], ["input", "input_type", "task_settings"])
    return AwsStream(frame("PayloadPart", {"completion": [{"delta": p}]})
                     for p in pieces(reply_text(body["input"])))
