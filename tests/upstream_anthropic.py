"""Anthropic's Messages API, as upstream.py plays the others."""
import json

from upstream import (Reply, Stream, TOOL_PIECES, expect, members, pieces, reply_text, route)

MEMBERS = ["model", "messages", "max_tokens", "temperature", "top_p", "top_k", "stream", "system",
           "tools", "tool_choice", "stop_sequences"]


def event(kind, **members_of):
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **members_of})}\n\n"


def start():
    return event("message_start", message={
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-3-5-haiku",
        "content": [], "stop_reason": None, "stop_sequence": None,
        "usage": {"input_tokens": 16, "output_tokens": 1}})


def end(reason):
    yield event("message_delta", delta={"stop_reason": reason, "stop_sequence": None},
                usage={"output_tokens": 5})
    yield event("message_stop")


def text_events(text, reason="end_turn"):
    yield start()
    yield event("content_block_start", index=0, content_block={"type": "text", "text": ""})
    yield event("ping")
    for piece in pieces(text):
        yield event("content_block_delta", index=0, delta={"type": "text_delta", "text": piece})
    yield event("content_block_stop", index=0)
    yield from end(reason)


def tool_events(name, argument_pieces):
    yield start()
    yield event("content_block_start", index=0, content_block={"type": "thinking", "thinking": ""})
    yield event("content_block_delta", index=0, delta={"type": "thinking_delta", "thinking": "hm"})
    yield event("content_block_delta", index=0, delta={"type": "signature_delta", "signature": "s"})
    yield event("content_block_stop", index=0)
    yield event("content_block_start", index=1, content_block={
        "type": "tool_use", "id": "toolu_1", "name": name, "input": {}})
    for piece in argument_pieces:
        yield event("content_block_delta", index=1,
                    delta={"type": "input_json_delta", "partial_json": piece})
    yield event("content_block_stop", index=1)
    yield from end("tool_use")


def error_event(kind, message):
    return event("error", error={"type": kind, "message": message})


def key(request):
    expect(request.headers.get("x-api-key"), "x-api-key")
    expect(request.headers.get("anthropic-version") == "2023-06-01", "anthropic-version")
    expect("authorization" not in request.headers, "Authorization")


def answer(request):
    """To a body of the Messages API; also behind Vertex AI."""
    body = request.json
    blocks = body["messages"][-1]["content"]
    text = blocks if isinstance(blocks, str) else "".join(b.get("text", "") for b in blocks)
    for m in body["messages"]:
        expect(m["role"] in ("user", "assistant") and m["content"], f"message {m}")
    if body.get("stream"):
        if body.get("tools") and isinstance(blocks, str):
            return Stream(tool_events(body["tools"][0]["name"], TOOL_PIECES), done=False)
        return Stream(text_events(reply_text(text)), done=False)
    return Reply(200, {
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-3-5-haiku",
        "content": [{"type": "thinking", "thinking": "hm", "signature": "s"},
                    {"type": "text", "text": reply_text(text)}],
        "stop_reason": "end_turn", "stop_sequence": None,
        "usage": {"input_tokens": 16, "output_tokens": 5}})


@route("anthropic", "/v1/messages", key)
def messages(request):
    members(request.json, ["model", "messages", "max_tokens"], MEMBERS)
    return answer(request)
