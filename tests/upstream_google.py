"""Google AI Studio and Vertex AI, as upstream.py plays the others.

The signed claim of a token exchange is verified by hand: RSASSA-PKCS1-v1_5 with SHA-256 is a power
and a fixed padding.
"""
import base64
import hashlib
import json
import time
import urllib.parse

from upstream import (Reply, Stream, TOOL_PIECES, chat, expect, members, pieces, reply_text, route,
                      vector)
from upstream_anthropic import answer as anthropic_answer
from upstream_copies import OLD, ranked


def usage():
    return {"promptTokenCount": 7, "candidatesTokenCount": 2, "totalTokenCount": 9}


def candidate(parts, **more):
    return {"content": {"parts": parts, "role": "model"}, "index": 0, **more}


def gemini(candidates, **more):
    return {"candidates": candidates, "usageMetadata": usage(), "modelVersion": "gemini-1.5-flash",
            "responseId": "r-1", **more}


def text_events(text):
    words = pieces(text)
    for i, word in enumerate(words):
        end = {"finishReason": "STOP"} if i + 1 == len(words) else {}
        yield gemini([candidate([{"text": word}], **end)])


def error_body(code, message, status):
    return {"error": {"code": code, "message": message, "status": status, "details": []}}


# ---- AI Studio: the key is in the query ----

def studio_key(request):
    query = urllib.parse.parse_qs(request.query, strict_parsing=True)
    expect(len(query.get("key", [])) == 1, "key")
    expect("authorization" not in request.headers, "Authorization")
    stream = ":streamGenerateContent" in request.path
    expect(query.get("alt") == (["sse"] if stream else None), "alt")
    request.key = query["key"][0]


@route("googleaistudio", "/v1/models/([^/:]+):(generateContent|streamGenerateContent)", studio_key)
def studio_completion(request, model, operation):
    body = request.json
    members(body, ["contents", "generationConfig"], ["contents", "generationConfig"])
    expect(body["generationConfig"] == {"candidateCount": 1}, "[generationConfig]")
    (content,) = body["contents"]
    expect(content["role"] == "user", "[role]")
    text = reply_text(content["parts"][0]["text"])
    if operation == "streamGenerateContent":
        return Stream(text_events(text), done=False)
    return Reply(200, gemini([candidate([{"text": text}], finishReason="STOP")]))


@route("googleaistudio", "/v1/models/([^/:]+):batchEmbedContents", studio_key)
def studio_embeddings(request, model):
    body = request.json
    members(body, ["requests"], ["requests"])
    rows = []
    for one in body["requests"]:
        members(one, ["model", "content"], ["model", "content", "outputDimensionality", "taskType"])
        expect(one["model"] == "models/" + model, "[model]")
        expect(one.get("taskType") in (None, "RETRIEVAL_DOCUMENT", "RETRIEVAL_QUERY",
                                       "CLASSIFICATION", "CLUSTERING"), "[taskType]")
        (part,) = one["content"]["parts"]
        rows.append({"values": vector(part["text"], one.get("outputDimensionality", 8))})
    return Reply(200, {"embeddings": rows})


# ---- tokens ----

class Account:
    """A service account: what Google knows of it. number: (modulus, exponent) of its key."""
    number = None
    email = None
    key_id = None
    expires_in = 3599
    tokens = {}  # that were given out: when they expire


def unpadded(text):
    expect("=" not in text, "padding in the claim")
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def verified(assertion):
    """The claims of a signed text; Wrong when the signature is not that of the account."""
    head, claims, signature = assertion.split(".")
    n, e = Account.number
    size = (n.bit_length() + 7) // 8
    raw = unpadded(signature)
    expect(len(raw) == size, "the length of the signature")
    prefix = bytes.fromhex("3031300d060960864801650304020105000420")
    hashed = prefix + hashlib.sha256(f"{head}.{claims}".encode()).digest()
    wanted = b"\0\1" + b"\xff" * (size - len(hashed) - 3) + b"\0" + hashed
    expect(pow(int.from_bytes(raw, "big"), e, n).to_bytes(size, "big") == wanted, "the signature")
    expect(json.loads(unpadded(head)) == {"alg": "RS256", "typ": "JWT", "kid": Account.key_id},
           "the head of the claim")
    return json.loads(unpadded(claims))


@route("googlevertexai", "/token", lambda request: None, "application/x-www-form-urlencoded")
def token(request):
    form = urllib.parse.parse_qs(request.body.decode(), strict_parsing=True)
    expect(set(form) == {"grant_type", "assertion"}, "the form")
    expect(form["grant_type"] == ["urn:ietf:params:oauth:grant-type:jwt-bearer"], "[grant_type]")
    claims = verified(form["assertion"][0])
    members(claims, ["iss", "scope", "aud", "iat", "exp"], ["iss", "scope", "aud", "iat", "exp"])
    expect(claims["iss"] == Account.email, "[iss]")
    expect(claims["scope"] == "https://www.googleapis.com/auth/cloud-platform", "[scope]")
    expect(claims["aud"] == "https://oauth2.googleapis.com/token", "[aud]")
    expect(abs(claims["iat"] - time.time()) < 60, "[iat]")
    expect(0 < claims["exp"] - claims["iat"] <= 3600, "[exp]")
    name = f"ya29.token-{len(Account.tokens)}"
    Account.tokens[name] = time.time() + Account.expires_in
    return Reply(200, {"access_token": name, "token_type": "Bearer",
                       "expires_in": Account.expires_in})


def with_token(request):
    scheme, _, name = request.headers.get("authorization", "").partition(" ")
    expect(scheme == "Bearer" and name in Account.tokens, "a token that nobody gave out")
    expect(Account.tokens[name] > time.time(), "an old token")


# ---- Vertex AI ----

PROJECT = "/v1/projects/([^/]+)/locations/([^/]+)"


@route("googlevertexai", PROJECT + "/publishers/google/models/([^/:]+):predict", with_token)
def predict(request, project, location, model):
    body = request.json
    members(body, ["instances"], ["instances", "parameters"])
    parameters = body.get("parameters", {})
    members(parameters, [], ["autoTruncate", "outputDimensionality"])
    for one in body["instances"]:
        members(one, ["content"], ["content", "task_type"])
    return Reply(200, {"predictions": [{"embeddings": {
        "statistics": {"truncated": False, "token_count": 6},
        "values": vector(one["content"], parameters.get("outputDimensionality", 8))}}
        for one in body["instances"]], "metadata": {"billableCharacterCount": 11}})


@route("googlevertexai", PROJECT + "/rankingConfigs/default_ranking_config:rank", with_token)
def rank(request, project, location):
    body = request.json
    members(body, ["query", "records"], ["model", "query", "records", "topN",
                                         "ignoreRecordDetailsInResponse"])
    expect([r["id"] for r in body["records"]] == [str(i) for i in range(len(body["records"]))], "ids")
    documents = [r["content"] for r in body["records"]]
    bare = body.get("ignoreRecordDetailsInResponse")
    return Reply(200, {"records": [
        {"id": str(i), "score": s, **({} if bare else {"content": documents[i]})}
        for s, i in ranked(body["query"], documents, body.get("topN"))]})


@route("googlevertexai", PROJECT +
       "/publishers/google/models/([^/:]+):(generateContent|streamGenerateContent)", with_token)
def generate(request, project, location, model, operation):
    body = request.json
    stream = operation == "streamGenerateContent"
    expect(request.query == ("alt=sse" if stream else ""), "alt")
    members(body, ["contents"], ["contents", "systemInstruction", "generationConfig", "tools",
                                 "toolConfig"])
    for c in body["contents"]:
        expect(c["role"] in ("user", "model") and c["parts"], f"content {c}")
    last = body["contents"][-1]["parts"]
    text = reply_text("".join(p.get("text", "") for p in last))
    if not stream:
        return Reply(200, gemini([candidate([{"text": "hm", "thought": True}, {"text": text}],
                                            finishReason="STOP")]))
    if body.get("tools") and "text" in last[0]:
        name = body["tools"][0]["functionDeclarations"][0]["name"]
        return Stream([gemini([candidate([{"functionCall": {
            "name": name, "args": json.loads("".join(TOOL_PIECES))}}], finishReason="STOP")])],
            done=False)
    return Stream(text_events(text), done=False)


# ---- the Model Garden: other makers' words ----

@route("googlevertexai", "/garden/anthropic", with_token)
def garden_anthropic(request):
    members(request.json, ["anthropic_version", "messages", "max_tokens"],
            ["anthropic_version", "messages", "max_tokens", "stream", "system", "tools",
             "tool_choice", "temperature", "top_p", "stop_sequences"])
    expect(request.json["anthropic_version"] == "vertex-2023-10-16", "[anthropic_version]")
    return anthropic_answer(request)


@route("googlevertexai", "/garden/(meta|hugging_face|ai21)", with_token)
def garden_openai(request, maker):
    return chat(request, OLD | {"stream_options"}, False)


@route("googlevertexai", "/garden/mistral", with_token)
def garden_mistral(request):
    return chat(request, OLD, False, options=False)
