"""Services that copy OpenAI, whole or in part: their paths, keys and the members that each allows.
As upstream.py plays the others."""
import urllib.parse

from upstream import (CHAT_MEMBERS, Reply, Stream, bearer, chat, expect, members, pieces, reply_text,
                      route, score, texts, vector)

USUAL = CHAT_MEMBERS - {"max_completion_tokens", "user", "stream_options"}
OLD = USUAL | {"max_tokens"}
NEW = USUAL | {"max_completion_tokens", "user", "stream_options"}


def floats(rows, model="m"):
    return Reply(200, {"object": "list", "model": model, "data": [
        {"object": "embedding", "index": i, "embedding": row} for i, row in enumerate(rows)],
        "usage": {"prompt_tokens": 8, "total_tokens": 8}})


def ranked(query, documents, top_n=None):
    order = sorted(((score(query, t), i) for i, t in enumerate(documents)), reverse=True)
    return order[:len(order) if top_n is None else top_n]


# ---- chats that differ in a word ----

@route("ai21", "/studio/v1/chat/completions")
def ai21(request):
    return chat(request, OLD | {"stream_options"}, True)


@route("deepseek", "/(?:beta/)?chat/completions")
def deepseek(request):
    return chat(request, OLD | {"stream_options"}, True)


@route("groq", "/openai/v1/chat/completions")
def groq(request):
    return chat(request, NEW, True)


@route("fireworksai", "/inference/v1/chat/completions")
def fireworks(request):
    return chat(request, NEW, True)


@route("fireworksai", "/inference/v1/embeddings")
def fireworks_embeddings(request):
    body = request.json
    members(body, ["input", "model"], ["input", "model", "dimensions"])
    return floats([vector(t, body.get("dimensions", 8)) for t in texts(body, "input")])


@route("mistral", "/v1/chat/completions")
def mistral(request):
    return chat(request, OLD, True, options=False)


@route("mistral", "/v1/embeddings")
def mistral_embeddings(request):
    body = request.json
    members(body, ["input", "model", "encoding_format"], ["input", "model", "encoding_format"])
    expect(body["encoding_format"] == "float", "[encoding_format]")
    return floats([vector(t) for t in texts(body, "input")])


# ---- Llama Stack ----

def maybe_bearer(request):
    if "authorization" in request.headers:
        bearer(request)


@route("llama", "/v1/openai/v1/chat/completions", maybe_bearer)
def llama(request):
    return chat(request, OLD, True, options=False)


@route("llama", "/v1/inference/embeddings", maybe_bearer)
def llama_embeddings(request):
    members(request.json, ["model_id", "contents"], ["model_id", "contents"])
    return Reply(200, {"embeddings": [vector(t) for t in texts(request.json, "contents")]})


# ---- NVIDIA ----

@route("nvidia", "/v1/chat/completions")
def nvidia(request):
    return chat(request, OLD, True, options=False)


@route("nvidia", "/v1/embeddings")
def nvidia_embeddings(request):
    body = request.json
    members(body, ["input", "model", "input_type"], ["input", "model", "input_type", "truncate"])
    expect(body["input_type"] in ("passage", "query"), "[input_type]")
    expect(body.get("truncate") in (None, "NONE", "START", "END"), "[truncate]")
    return floats([vector(t) for t in texts(body, "input")])


@route("nvidia", "/v1/retrieval/nvidia/reranking")
def nvidia_rerank(request):
    body = request.json
    members(body, ["model", "query", "passages"], ["model", "query", "passages"])
    expect(set(body["query"]) == {"text"}, "[query]")
    expect(all(set(p) == {"text"} for p in body["passages"]), "[passages]")
    order = ranked(body["query"]["text"], [p["text"] for p in body["passages"]])
    return Reply(200, {"rankings": [{"index": i, "logit": s} for s, i in order]})


# ---- OpenShift AI ----

@route("openshift_ai", "/v1/chat/completions")
def openshift(request):
    return chat(request, OLD, False, options=False)


@route("openshift_ai", "/v1/embeddings")
def openshift_embeddings(request):
    body = request.json
    members(body, ["input"], ["input", "model", "dimensions"])
    return floats([vector(t, body.get("dimensions", 8)) for t in texts(body, "input")])


def cohere_like_rerank(request, required, allowed):
    body = request.json
    members(body, required, allowed)
    documents = texts(body, "documents")
    return Reply(200, {"id": "r", "model": "m", "usage": {"total_tokens": 9}, "results": [
        {"index": i, "relevance_score": s,
         **({"document": {"text": documents[i]}} if body.get("return_documents") else {})}
        for s, i in ranked(body["query"], documents, body.get("top_n"))]})


@route("openshift_ai", "/v1/rerank")
def openshift_rerank(request):
    return cohere_like_rerank(request, ["query", "documents"],
                              ["model", "query", "documents", "top_n", "return_documents"])


# ---- Azure OpenAI ----

def azure_key(request):
    h = request.headers
    expect(("api-key" in h) != ("authorization" in h), "one of api-key and Authorization")
    if "authorization" in h:
        bearer(request)


def azure_query(request):
    expect(request.query == "api-version=2024-10-21", "api-version")


@route("azureopenai", "/openai/deployments/([^/]+)/embeddings", azure_key)
def azure_embeddings(request, deployment):
    azure_query(request)
    body = request.json
    members(body, ["input"], ["input", "user", "dimensions"])
    return floats([vector(t, body.get("dimensions", 8)) for t in texts(body, "input")])


@route("azureopenai", "/openai/deployments/([^/]+)/chat/completions", azure_key)
def azure_chat(request, deployment):
    """With what Azure adds: verdicts of its filters, and a first chunk without choices."""
    azure_query(request)
    is_chat = "stream_options" in request.json
    answer = chat(request, NEW - {"model"}, False, options=is_chat)
    if isinstance(answer, Stream):
        answer.events.insert(0, {"choices": [], "created": 0, "id": "", "model": "", "object": "",
                                 "prompt_filter_results": [{"prompt_index": 0,
                                                            "content_filter_results": {}}]})
    return answer


@route("azureopenai", "/([^/]+)/oauth2/v2.0/token", lambda request: None,
       "application/x-www-form-urlencoded")
def entra_token(request, tenant):
    form = urllib.parse.parse_qs(request.body.decode(), strict_parsing=True)
    expect(form["grant_type"] == ["client_credentials"], "[grant_type]")
    expect(set(form) == {"grant_type", "client_id", "client_secret", "scope"}, "the form")
    request.form = {k: v[0] for k, v in form.items()}
    return Reply(200, {"token_type": "Bearer", "expires_in": 3599,
                       "access_token": f"token-{tenant}-{form['client_id'][0]}"})


# ---- Azure AI Studio: the target's path says what is behind it ----

def studio_key(request):
    h = request.headers
    if request.path.startswith("/azureaistudio/openai/"):
        expect("api-key" in h and "authorization" not in h, "api-key")
    elif request.path.startswith("/azureaistudio/realtime/"):
        bearer(request)
    else:
        expect(h.get("authorization") and " " not in h["authorization"], "a bare key")


def studio_parameters(parameters):
    members(parameters, [], ["temperature", "top_p", "do_sample", "max_new_tokens"])


@route("azureaistudio", "/(?:openai|token)/.*(?:chat/completions)", studio_key)
def studio_chat(request):
    """A completion as Elasticsearch sends it, or a chat in OpenAI's shape."""
    body = request.json
    if "stream" in body and "parameters" not in body:
        return studio_chat_completion(request)
    members(body, ["messages"], ["messages", "parameters", "stream"])
    studio_parameters(body.get("parameters", {}))
    expect(body.get("stream") in (None, True), "[stream]")
    request.json = dict(body, n=1, model="m", stream=body.get("stream", False))
    answer = chat(request, set(request.json), True, options=False)
    request.json = body
    return answer


def studio_chat_completion(request):
    if request.path.startswith("/azureaistudio/openai/"):
        return chat(request, NEW - {"model", "user"}, False)
    body = request.json
    expect("n" not in body, "[n]")
    request.json = dict(body, n=1)
    answer = chat(request, (OLD | {"n"}) - {"stream_options"}, False, options=False)
    request.json = body
    return answer


@route("azureaistudio", "/realtime/score", studio_key)
def studio_realtime(request):
    body = request.json
    members(body, ["input_data"], ["input_data", "stream"])
    members(body["input_data"], ["input_string"], ["input_string", "parameters"])
    studio_parameters(body["input_data"].get("parameters", {}))
    text = reply_text(body["input_data"]["input_string"][-1]["content"])
    if body.get("stream"):
        return Stream([{"id": "c", "object": "chat.completion.chunk", "model": "m", "choices": [
            {"index": 0, "delta": {"content": p}}]} for p in pieces(text)])
    return Reply(200, {"output": text})


@route("azureaistudio", "/(?:openai|token)/.*embeddings", studio_key)
def studio_embeddings(request):
    body = request.json
    members(body, ["input"], ["input", "user", "dimensions"])
    return floats([vector(t, body.get("dimensions", 8)) for t in texts(body, "input")])


@route("azureaistudio", "/token/v1/rerank", studio_key)
def studio_rerank(request):
    return cohere_like_rerank(request, ["query", "documents"],
                              ["query", "documents", "top_n", "return_documents"])


# ---- IBM watsonx: tokens for keys; chats in OpenAI's shape that end without [DONE] ----

@route("watsonxai", "/identity/token", lambda request: None, "application/x-www-form-urlencoded")
def iam_token(request):
    form = urllib.parse.parse_qs(request.body.decode(), strict_parsing=True)
    expect(set(form) == {"grant_type", "apikey"}, "the form")
    expect(form["grant_type"] == ["urn:ibm:params:oauth:grant-type:apikey"], "[grant_type]")
    request.form = {k: v[0] for k, v in form.items()}
    return Reply(200, {"access_token": "iam-" + form["apikey"][0].encode().hex(),
                       "refresh_token": "none", "token_type": "Bearer", "expires_in": 3600, "scope": "ibm openid",
                       "expiration": 1893456000})


def watsonx_body(request, required, more=()):
    expect(request.query == "version=2024-05-02", "version")
    members(request.json, [*required, "model_id", "project_id"],
            [*required, "model_id", "project_id", *more])


@route("watsonxai", "/ml/v1/text/embeddings")
def watsonx_embeddings(request):
    watsonx_body(request, ["inputs"])
    return Reply(200, {"model_id": "m", "created_at": "2025-01-21T12:00:00Z",
                       "results": [{"embedding": vector(t)} for t in texts(request.json, "inputs")],
                       "input_token_count": 10})


@route("watsonxai", "/ml/v1/text/rerank")
def watsonx_rerank(request):
    watsonx_body(request, ["query", "inputs", "parameters"])
    body = request.json
    members(body["parameters"], ["return_options"], ["return_options", "truncate_input_tokens"])
    options = body["parameters"]["return_options"]
    members(options, [], ["inputs", "top_n"])
    documents = [d["text"] for d in body["inputs"]]
    return Reply(200, {"model_id": "m", "input_token_count": 30, "results": [
        {"index": i, "score": s,
         **({"input": {"text": documents[i]}} if options.get("inputs") else {})}
        for s, i in ranked(body["query"], documents, options.get("top_n"))]})


@route("watsonxai", "/ml/v1/text/(chat|chat_stream)")
def watsonx_chat(request, operation):
    expect(request.query == "version=2024-05-02", "version")
    expect(request.json["stream"] == (operation == "chat_stream"), "[stream]")
    answer = chat(request, OLD | {"project_id", "model_id"}, True, options=False)
    if isinstance(answer, Stream):
        answer.done = False
    return answer
