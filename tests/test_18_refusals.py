"""What every service and task says when its provider refuses, breaks, is silent or goes away."""
import http.client
import json

import pytest

import upstream_aws as aws
from services import ALL, BY, C, CC, R, T, Story, deltas
from upstream import Close, Default, Hang, Reply, Reset, default_answer
from upstream_anthropic import error_event

BEDROCK, SAGEMAKER = "amazonbedrock", "amazon_sagemaker"
OF_AWS = (BEDROCK, SAGEMAKER)
OTHERS = [r for r in ALL if r.service not in OF_AWS]
STREAMS = [r for r in ALL if r.streams]

# ---- what is said of a status, and after how many attempts ----

SE = "Received a server error status code"
RL = "Received a rate limit status code"
AU = "Received an authentication error status code"
PD = "Received a permission denied error status code"
RE = "Unhandled redirection"
BIG = "Received a content too large status code"
UN = "Received an unsuccessful status code"
BAD = "Received a bad request status code"
VAL = "Received an input validation error response"
NF = "Resource not found at [{url}]"
BUSY = "Received a server busy error status code"
QUOTA = RL + (". Token limit [unknown], remaining tokens [unknown]. Request limit [unknown], "
              "remaining requests [unknown]")
AZURE_QUOTA = RL + ". Remaining tokens [unknown]. Remaining requests [unknown]."

USUAL = {500: (3, SE), 502: (1, SE), 503: (1, SE), 504: (1, SE), 529: (1, SE), 429: (3, RL),
         413: (1, UN), 400: (1, UN), 401: (1, AU), 402: (1, UN), 403: (1, UN), 404: (1, UN),
         422: (1, UN), 302: (1, RE)}
OPENAI = {**USUAL, 503: (3, BUSY), 413: (3, BIG), 400: (1, BAD), 404: (1, NF), 422: (1, VAL),
          429: (3, QUOTA)}
OPENAI_CHAT = {**OPENAI, 429: (1, RL)}
STUDIO = {**USUAL, 503: (3, BUSY), 413: (3, BIG), 429: (3, AZURE_QUOTA)}
ANTHROPIC = {**USUAL, 403: (1, PD), 529: (
    3, "Received an Anthropic server is temporarily overloaded status code"), 429: (
    3, RL + ". Token limit [unknown], remaining tokens [unknown], tokens reset [unknown]. Request "
    "limit [unknown], remaining requests [unknown], request reset [unknown]. Retry after "
    "[unknown]")}
DOWN = "The Google {} service may be temporarily overloaded or down"
GOOGLE = {**USUAL, 401: (1, UN), 403: (1, PD), 404: (1, NF)}
WATSONX = {**USUAL, **{s: (1, UN) for s in (429, 502, 503, 504, 529)}, 400: (1, BAD), 403: (1, PD),
           404: (1, NF)}
BY_DETAIL = {**USUAL, 400: (1, VAL), 402: (1, "Payment required"), 422: (1, VAL)}
MIXEDBREAD = {
    **USUAL, 502: (1, UN), 504: (1, UN), 529: (1, UN), 302: (1, UN), 400: (1, BAD), 404: (1, NF),
    402: (1, "Insufficient balance. Top up your account to continue."),
    403: (1, "Valid credentials but insufficient permissions for this resource."),
    422: (1, "Request format is correct but cannot be processed."),
    503: (3, "Service temporarily down for maintenance or overloaded. Retry later.")}

COLUMNS = {"alibabacloud-ai-search": {**USUAL, 500: (1, SE)}, "anthropic": ANTHROPIC,
           "azureaistudio": STUDIO, "contextualai": {**USUAL, 503: (3, SE)},
           "custom": {**USUAL, 500: (1, SE)},
           "googleaistudio": {**GOOGLE, 503: (3, DOWN.format("AI Studio"))},
           "googlevertexai": {**GOOGLE, 503: (3, DOWN.format("Vertex AI"))}, "jinaai": BY_DETAIL,
           "mixedbread": MIXEDBREAD, "voyageai": BY_DETAIL, "watsonxai": WATSONX}


def column(recipe):
    if recipe.service in COLUMNS:
        return COLUMNS[recipe.service]
    if (recipe.service, recipe.task) in (("fireworksai", T), ("openshift_ai", R)):
        return USUAL
    if recipe.service == "azureopenai" and recipe.task == T:
        return {**OPENAI, 429: (3, AZURE_QUOTA)}
    return OPENAI_CHAT if recipe.task in (C, CC) else OPENAI


# ---- how each says it ----

def with_error(status):
    return {"error": {"message": "no luck", "type": "t", "code": "c", "param": "p"}}


def of_google(status):
    return {"error": {"code": status, "message": "no luck", "status": "UNLUCKY", "details": []}}


BODIES = {"alibabacloud-ai-search": lambda s: {"request_id": "r", "code": "Bad", "http_code": s,
                                               "message": "no luck"},
          "anthropic": lambda s: {"type": "error", "error": {"type": "t", "message": "no luck"}},
          "googleaistudio": of_google, "googlevertexai": of_google,
          "jinaai": lambda s: {"detail": "no luck"}, "voyageai": lambda s: {"detail": "no luck"},
          "watsonxai": lambda s: {"errors": [{"code": "c", "message": "no luck"}], "trace": "t",
                                  "status_code": s}}
RAW = ("ai21", "contextualai", "llama", "mistral", "mixedbread", "nvidia", "openshift_ai")


def body_and_message(recipe, status):
    body = BODIES.get(recipe.service, with_error)(status)
    if recipe.service == "custom":
        phrase = {413: "Content Too Large", 422: "Unprocessable Content"}.get(  # by RFC 9110
            status, http.client.responses.get(status, ""))
        return body, (f"Received a server error response: HTTP/1.1 {status} {phrase}, body: "
                      f"{json.dumps(body)}")
    if (recipe.service, recipe.task) == ("openshift_ai", R):
        body = {"message": "no luck"}
    elif recipe.service in RAW:
        return body, json.dumps(body)
    return body, "no luck"


# ---- the addresses that are named: those of the service, whatever base_url stands before them ----

VERTEX = "https://us-central1-aiplatform.googleapis.com/v1/projects/p-1/locations/"
STUDIO_URL = "https://generativelanguage.googleapis.com/v1/models/m-1:"
AZURE_URL = ("https://my-resource.openai.azure.com/openai/deployments/my-deployment/{}"
             "?api-version=2024-10-21")
WATSONX_URL = "https://us-south.ml.cloud.ibm.com/ml/v1/text/{}?version=2024-05-02"
URLS = {
    "ai21": "https://api.ai21.com/studio/v1/chat/completions",
    "azureopenai": AZURE_URL.format("chat/completions"),
    ("azureopenai", T): AZURE_URL.format("embeddings"),
    "deepseek": "https://api.deepseek.com/chat/completions",
    "fireworksai": "https://api.fireworks.ai/inference/v1/chat/completions",
    ("googleaistudio", T): STUDIO_URL + "batchEmbedContents",
    "googleaistudio": STUDIO_URL + "generateContent",
    ("googlevertexai", T): VERTEX + "us-central1/publishers/google/models/m-1:predict",
    ("googlevertexai", R): "https://discoveryengine.googleapis.com/v1/projects/p-1/locations/global/"
                           "rankingConfigs/default_ranking_config:rank",
    ("googlevertexai", C): VERTEX + "global/publishers/google/models/m-1:generateContent",
    ("googlevertexai", CC): VERTEX + "global/publishers/google/models/m-1:streamGenerateContent"
                                     "?alt=sse",
    "groq": "https://api.groq.com/openai/v1/chat/completions",
    "mistral": "https://api.mistral.ai/v1/chat/completions",
    ("mistral", T): "https://api.mistral.ai/v1/embeddings",
    ("mixedbread", T): "https://api.mixedbread.com/v1/embeddings",
    ("mixedbread", R): "https://api.mixedbread.com/v1/reranking",
    "nvidia": "https://integrate.api.nvidia.com/v1/chat/completions",
    ("nvidia", T): "https://integrate.api.nvidia.com/v1/embeddings",
    ("nvidia", R): "https://ai.api.nvidia.com/v1/retrieval/nvidia/reranking",
    ("watsonxai", T): WATSONX_URL.format("embeddings"),
    ("watsonxai", R): WATSONX_URL.format("rerank"), ("watsonxai", C): WATSONX_URL.format("chat"),
    ("watsonxai", CC): WATSONX_URL.format("chat_stream"),
}


def url_of(recipe):
    if "url" in recipe.settings and recipe.service != "watsonxai":
        return recipe.settings["url"]
    return URLS.get((recipe.service, recipe.task)) or URLS.get(recipe.service)


def failure(story, query=""):
    """(status, reason) of a call that fails before anything is said, whatever the task."""
    if story.task != CC:
        answer = story.post(query=query)
        assert answer.type == "status_exception"
        return answer.status, answer.reason
    stream = story.stream(query=query)
    ((name, data),) = stream.all()
    assert name == "error"
    error = json.loads(data)["error"]
    assert error["message"] and error["type"]
    assert list(error) == [m for m in ("code", "message", "param", "type") if m in error]
    return stream.status, error["message"]


EXCHANGE = ("googlevertexai", "watsonxai")  # where a token comes before the call


def always(reply):
    return lambda request: Default() if request.path.endswith("/token") else reply


@pytest.mark.parametrize("recipe", OTHERS, ids=str)
def test_refusals(story, recipe):
    """Every status: how often it is tried, what is said, with which status of our own."""
    story.make(recipe.service, recipe.task)
    for status, (attempts, prefix) in column(recipe).items():
        body, message = body_and_message(recipe, status)
        story.upstream.clear()
        exchanged = status == 401 and recipe.service in EXCHANGE
        if exchanged:  # asked once more, unless the token was renewed a moment ago
            story.upstream.choose = always(Reply(status, body))
        else:
            story.upstream.script(*[Reply(status, body)] * attempts)
        prefix = prefix.format(url=url_of(recipe))
        wanted = (f"{prefix} for request from inference entity id [e] status [{status}]. Error "
                  f"message: [{message}]")
        ours = status if status < 500 else 400
        assert (status, failure(story)) == (status, (ours, wanted))
        calls = [r for r in story.requests if not r.path.endswith("/token")]
        assert (status, len(calls)) in [(status, attempts), (status, attempts + exchanged)]
        assert story.upstream.queue == []


@pytest.mark.parametrize("recipe", OTHERS, ids=str)
def test_refusals_without_words(story, recipe):
    """No body, or one that is not the provider's: a proxy has answered."""
    story.make(recipe.service, recipe.task)
    prefix = column(recipe)[401][1]
    wanted = f"{prefix} for request from inference entity id [e] status [401]"
    allowed = {wanted, wanted + ". Error message: [<html>no</html>]"}
    if recipe.service == "custom":
        allowed = {wanted + ". Error message: [Parsing custom response body failed. Response: "
                   "HTTP/1.1 401 Unauthorized]"}
    for reply in (Reply(401, ""), Reply(401, "<html>no</html>", content_type="text/html")):
        story.upstream.choose = always(reply)
        status, reason = failure(story)
        assert status == 401 and reason in allowed


@pytest.mark.parametrize("recipe", [r for r in OTHERS if r.task != CC], ids=str)
def test_second_thoughts(story, recipe):
    """A refusal that is worth another try, a lost connection and garbage, then an answer."""
    story.make(recipe.service, recipe.task)
    worth = [s for s, (n, _) in column(recipe).items() if n == 3 and s != 413]
    for first in [Reply(s, "") for s in worth] + [Reset(), Close(), Reply(200, "<html>"),
                                                  Reply(200, b'{"a":', length=9)]:
        story.upstream.script(first)
        assert story.post().status == 200, first


@pytest.mark.parametrize("recipe", ALL, ids=str)
def test_garbage(story, recipe):
    story.make(recipe.service, recipe.task)
    if recipe.task == CC:
        for body in ('{"a": 1}', "<html>", "[]"):
            story.upstream.script(Reply(200, body))
            events = story.stream().all()
            assert [name for name, _ in events] == ["error"], events
        return
    for body in ('{"a": 1}', "<html>", "[]", "null", '{"data": 1}', "{" * 500):
        story.upstream.script(*[Reply(200, body)] * 3)
        status, reason = failure(story)
        assert status == 500
        assert reason.startswith(f"Failed to send {recipe.name} request. Cause: "), reason
        assert story.upstream.queue == []


@pytest.mark.parametrize("recipe", ALL, ids=str)
def test_nothing_at_all(story, recipe):
    story.make(recipe.service, recipe.task)
    story.upstream.script(Reply(200, ""))
    status, reason = failure(story)
    if recipe.task != CC:
        assert (status, reason) == (400, "Response body was empty for request from inference "
                                         "entity id [e]")
    assert len(story.requests) == 1


@pytest.mark.parametrize("recipe", ALL, ids=str)
def test_lost_connections(story, recipe):
    story.make(recipe.service, recipe.task)
    for ending in (Reset(), Close()):
        story.upstream.clear()
        story.upstream.choose = lambda request: (
            Default() if request.path.endswith("/token") else ending)
        status, reason = failure(story)
        assert status == 500
        assert reason.startswith(f"Failed to send {recipe.name} request. Cause: "), reason
        assert 3 <= len(story.requests) <= 6  # a kept connection's end does not count


@pytest.mark.parametrize("recipe", ALL, ids=str)
def test_silence(story, recipe):
    story.make(recipe.service, recipe.task)
    assert story.stream().all() if recipe.task == CC else story.post()  # a token may be needed
    story.upstream.clear()
    story.upstream.script(Hang())
    status, reason = failure(story, "?timeout=100ms")
    assert (status, reason) == (408, "Request timed out after [100ms]")
    assert story.requests[0].gone.wait(5)


@pytest.mark.parametrize("recipe", ALL, ids=str)
def test_one_byte_at_a_time(story, recipe):
    """A slow answer is an answer."""
    story.make(recipe.service, recipe.task)

    def choose(request):
        answer = default_answer(request)
        if hasattr(answer, "events"):
            answer.pause = 0.01
        else:
            answer.drip = (max(1, len(answer.body) // 10), 0.01)
        return answer
    story.upstream.choose = choose
    if recipe.task == CC:
        assert story.chunks()
    else:
        assert story.post().status == 200


# ---- inside a stream ----

STREAM_ERROR = "Received an error response for request from inference entity id [e]"


def spoil(story, bad=None, **more):
    """Lets the next streams be spoiled behind their first words."""
    def choose(request):
        answer = default_answer(request)
        if hasattr(answer, "events"):
            keep = answer.events[:len(answer.events) - 3]
            answer.events = keep + ([bad] if bad else [])
            answer.done = False
            for name, value in more.items():
                setattr(answer, name, value)
        return answer
    story.upstream.choose = choose


def broken_stream(story):
    """(status, reason, error) of a stream that says some words first."""
    stream = story.stream()
    events = stream.all()
    assert stream.status == 200 and not stream.broken
    assert deltas(events)[0] == "Echo: " and events[-1][0] == "error", events
    assert [name for name, _ in events].count("error") == 1
    body = json.loads(events[-1][1])
    return body.get("status"), body["error"].get("reason"), body["error"]


@pytest.mark.parametrize("recipe", STREAMS, ids=str)
@pytest.mark.parametrize("cut", ["fin", "rst"])
def test_a_stream_that_is_cut(story, recipe, cut):
    story.make(recipe.service, recipe.task)
    spoil(story, cut=cut)
    status, reason, error = broken_stream(story)
    if recipe.task == C:
        assert status == 500
        assert reason.startswith(f"Failed to send {recipe.name} request. Cause: ")
    assert len(story.requests) == 1, "a stream that began is not begun again"


@pytest.mark.parametrize("recipe", [r for r in STREAMS if r.service != SAGEMAKER], ids=str)
def test_a_stream_that_ends_early(story, recipe):
    """In good form, but nothing has said that it is complete. (Models behind SageMaker cannot.)"""
    story.make(recipe.service, recipe.task)
    spoil(story)
    broken_stream(story)


def errors_inside(recipe):
    """(what is sent, status, message) per kind of stream."""
    if recipe.service == BEDROCK:
        text = "AmazonBedrock StreamingChatProcessor failure: [slow]"
        return [(aws.exception("throttlingException", "slow"), 500, text),
                (aws.error("InternalError", "slow"), 500, text)]
    if recipe.service == SAGEMAKER:
        return [(aws.exception("ModelStreamError", "slow"), 500,
                 "Received an error from SageMaker for [e]. Error message: [slow]")]
    text = STREAM_ERROR + ". Error message: [slow]"
    if recipe.service == "anthropic":
        return [(error_event("overloaded_error", "slow"), 500, text),
                (error_event("rate_limit_error", "slow"), 429, text)]
    if recipe.service.startswith("google"):
        return [({"error": {"code": 503, "message": "slow", "status": "UNAVAILABLE"}}, 500, text)]
    error = {"error": {"message": "slow", "type": "server_error", "code": "busy"}}
    return [(error, 500, text), (f"event: error\ndata: {json.dumps(error)}\n\n", 500, text)]


@pytest.mark.parametrize("recipe", STREAMS, ids=str)
def test_an_error_inside_a_stream(story, recipe):
    story.make(recipe.service, recipe.task)
    for sent, status, text in errors_inside(recipe):
        spoil(story, sent)
        got, reason, error = broken_stream(story)
        if recipe.task == C:
            assert (got, reason) == (status, text)
        else:
            assert error["message"] == text and error["type"]


def garbage_inside(recipe):
    if recipe.service not in OF_AWS:
        return [b"data: {broken\n\n", b"data: 7\n\n"]
    good = aws.frame("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "x"}})
    bad = bytearray(good)
    bad[len(bad) // 2] ^= 1
    head = bytearray(good)
    head[8] ^= 1
    return [bytes(bad), bytes(head), b"\xff" * 16, b"\0" * 16, aws.frame(
        "PayloadPart" if recipe.service == SAGEMAKER else "contentBlockDelta", b"{broken")]


@pytest.mark.parametrize("recipe", STREAMS, ids=str)
def test_garbage_inside_a_stream(story, recipe):
    story.make(recipe.service, recipe.task)
    for garbage in garbage_inside(recipe):
        spoil(story, garbage)
        broken_stream(story)


def test_streams_that_fall_silent(spawn, upstream):
    """Of every kind; on a server that waits a shorter time."""
    story = Story(spawn({"xpack.inference.http.stream_stall_timeout": "100ms"}), upstream)
    for service in ("ai21", BEDROCK, SAGEMAKER, "anthropic", "googleaistudio", "googlevertexai",
                    "watsonxai"):
        story.make(service, C)
        spoil(story, gate=Hang(), gate_at=-1)
        broken_stream(story)
        assert story.requests[-1].gone.wait(5)


@pytest.mark.parametrize("recipe", STREAMS, ids=str)
def test_a_client_that_leaves(story, recipe):
    story.make(recipe.service, recipe.task)
    gate = Hang()
    spoil(story, gate=gate, gate_at=-1)
    stream = story.stream()
    while "".join(deltas([stream.next()])) != "Echo: ":
        pass
    stream.drop()
    assert story.requests[-1].gone.wait(5), "the provider goes on for nobody"


# ---- beyond the table ----

@pytest.mark.parametrize("recipe", [r for r in OTHERS if column(r).get(413) == (3, BIG)
                                    and r.task == T], ids=str)
def test_too_long_is_halved(story, recipe):
    story.make(recipe.service, T)
    reason = "Please reduce your prompt; or completion length."
    story.upstream.script(Reply(413, ""), Reply(400, {"error": {"message": reason}}))
    answer = story.post({"input": ["abcdefgh"]})
    sent = [r.json.get("input") or r.json.get("contents") for r in story.requests]
    if recipe.service in ("llama", "mistral", "nvidia", "openshift_ai"):
        assert answer.status in (200, 400)
        assert sent[:2] == [["abcdefgh"], ["abcd"]]
        story.upstream.queue.clear()
    else:
        assert answer.status == 200 and sent == [["abcdefgh"], ["abcd"], ["ab"]]


@pytest.mark.parametrize("service, task, headers, wanted", [
    ("azureopenai", T, {"x-ratelimit-remaining-tokens": "7", "x-ratelimit-remaining-requests": "8"},
     RL + ". Remaining tokens [7]. Remaining requests [8]."),
    ("azureaistudio", R, {"x-ratelimit-limit-tokens": "9", "x-ratelimit-remaining-tokens": "7"},
     RL + ". Token limit [9], remaining tokens [7]. Request limit [unknown], remaining requests "
     "[unknown]"),
    ("mistral", T, {"x-ratelimit-limit-requests": "6", "x-ratelimit-remaining-requests": "5"},
     RL + ". Token limit [unknown], remaining tokens [unknown]. Request limit [6], remaining "
     "requests [5]"),
    ("anthropic", C, {"anthropic-ratelimit-tokens-limit": "1",
                      "anthropic-ratelimit-tokens-remaining": "2",
                      "anthropic-ratelimit-tokens-reset": "3",
                      "anthropic-ratelimit-requests-limit": "4",
                      "anthropic-ratelimit-requests-remaining": "5",
                      "anthropic-ratelimit-requests-reset": "6"},
     RL + ". Token limit [1], remaining tokens [2], tokens reset [3]. Request limit [4], remaining "
     "requests [5], request reset [6]. Retry after [unknown]"),
])
def test_the_quota_is_told(story, service, task, headers, wanted):
    story.make(service, task)
    story.upstream.script(*[Reply(429, "", headers)] * 3)
    status, reason = failure(story)
    assert (status, reason) == (429, wanted + " for request from inference entity id [e] status "
                                             "[429]")


@pytest.mark.parametrize("service, wanted", [
    ("anthropic", {"type": "t"}), ("azureopenai", {"type": "t", "code": "c", "param": "p"}),
    ("groq", {"type": "t", "code": "c", "param": "p"}), ("mistral", {"type": "t", "code": "c"}),
    ("googlevertexai", {"type": "UNLUCKY", "code": "400"})])
def test_what_a_chat_is_told_of_a_refusal(story, service, wanted):
    recipe = BY[service, CC]
    story.make(service, CC)
    story.upstream.script(Reply(400, body_and_message(recipe, 400)[0]))
    ((name, data),) = story.stream().all()
    assert json.loads(data)["error"].items() >= wanted.items()


def test_a_location_that_is_a_host_is_refused(story):
    for service, task, name in (("googlevertexai", T, "location"), (BEDROCK, C, "region"),
                                (SAGEMAKER, R, "region")):
        recipe = BY[service, task]
        answer = story.server.put(f"/_inference/{task}/x", {
            "service": service, "service_settings": {**recipe.settings, name: "evil.example/"}})
        assert answer.status == 400 and "evil.example/" in answer.reason
    assert story.upstream.requests == []
