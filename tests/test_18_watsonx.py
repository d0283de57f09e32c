"""IBM watsonx.ai: keys are exchanged for tokens; ranking, embeddings, and chats with two ends."""
import concurrent.futures
import threading

import pytest

from inferd import MARK
from services import BY, C, CC, R, S, T, said, same_rows
from upstream import Default, Reply, Stream, chunk, usage_chunk, vector

SERVICE = "watsonxai"
ML = "/watsonxai/ml/v1/text/"
VERSION = "?version=2024-05-02"


def tokens(story):
    return [r for r in story.upstream.requests if r.path == "/watsonxai/identity/token"]


def test_a_token_for_many_calls(alone):
    key = "a+b&c=d " + MARK
    alone.make(SERVICE, C, api_key=key)
    alone.restart()
    for _ in range(4):
        alone.ask("hi")
    assert [t.form["apikey"] for t in tokens(alone)] == [key]
    assert {r.headers["authorization"] for r in alone.requests} == {"Bearer iam-" + key.encode().hex()}
    alone.make(SERVICE, T, name="other", api_key="another-" + MARK)
    alone.ask(["a"])
    key = "another-" + MARK
    assert alone.request.headers["authorization"] == "Bearer iam-" + key.encode().hex()


class Tokens:
    """A provider that numbers its tokens and knows the last one only, if any."""

    def __init__(self, upstream, good=True):
        self.n, self.good, self.lock = 0, good, threading.Lock()
        upstream.choose = self.choose

    def choose(self, request):
        with self.lock:
            if request.path.endswith("/identity/token"):
                self.n += 1
                return Reply(200, {"access_token": f"t-{MARK}-{self.n}", "expires_in": 3600,
                                   "token_type": "Bearer"})
            known = request.headers["authorization"] == f"Bearer t-{MARK}-{self.n}"
            if self.good and known:
                return Default()
            return Reply(401, {"errors": [{"code": "authentication_token_expired",
                                           "message": "token expired"}]})


def test_a_token_that_ends_before_its_time(alone):
    """All calls that find out share one new one."""
    alone.make(SERVICE, T)
    alone.restart()
    provider = Tokens(alone.upstream)
    alone.ask(["first"])
    assert provider.n == 1
    provider.n = 10  # what t-1 opened is closed now
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda i: alone.post({"input": [f"a {i}"]}), range(16)))
    assert [a.status for a in answers] == [200] * 16
    assert provider.n == 11
    refused = [r for r in alone.requests if r.headers["authorization"].endswith("-1")][1:]
    assert len(alone.requests) == 1 + 16 + len(refused) and len(refused) >= 1


def test_tokens_that_are_never_good(alone):
    """The second 401 is the answer, and not every call pays for an exchange."""
    alone.make(SERVICE, T)
    alone.restart()
    provider = Tokens(alone.upstream, good=False)
    for i in range(5):
        answer = alone.post()
        assert answer.status == 401 and "token expired" in answer.reason
    assert provider.n == 2 and len(alone.requests) == 6


def test_a_stream_whose_token_has_ended(alone):
    alone.make(SERVICE, C)
    alone.restart()
    provider = Tokens(alone.upstream)
    assert alone.words() == alone.words()
    provider.n = 10
    assert alone.words()
    assert provider.n == 11


PREFIX = " for request to generate Bearer Token from inference entity id [e] status [{}]"


@pytest.mark.parametrize("status, attempts, ours, prefix, phrase", [
    (400, 1, 400, "Received a bad request status code", "Bad Request"),
    (401, 1, 401, "Received an authentication error status code", "Unauthorized"),
    (403, 1, 403, "Received a permission denied error status code", "Forbidden"),
    (404, 1, 404, "Resource not found at [https://iam.cloud.ibm.com/identity/token]", "Not Found"),
    (429, 1, 429, "Received an unsuccessful status code", "Too Many Requests"),
    (500, 3, 400, "Received a server error status code", "Internal Server Error"),
    (503, 1, 400, "Received an unsuccessful status code", "Service Unavailable")])
def test_no_token(alone, status, attempts, ours, prefix, phrase):
    alone.make(SERVICE, C)
    alone.restart()
    alone.upstream.script(*[Reply(status, {"errorCode": "BXNIM0415E", "errorMessage": "no " + MARK})]
                          * attempts)
    answer = alone.post()
    assert (answer.status, len(tokens(alone)), alone.requests) == (ours, attempts, [])
    assert answer.reason == prefix + PREFIX.format(status) + f". Error message: [{phrase}]"


@pytest.mark.parametrize("url", ["us-south.ml.cloud.ibm.com", "https://us-south.ml.cloud.ibm.com",
                                 "https://us-south.ml.cloud.ibm.com/"])
def test_the_url_is_a_host(story, url):
    story.make(SERVICE, C, url=url)
    story.ask("hi")
    assert story.request.target == ML + "chat" + VERSION
    story.upstream.script(Reply(404, ""))
    assert story.post().reason.startswith(
        "Resource not found at [https://us-south.ml.cloud.ibm.com/ml/v1/text/chat?version="
        "2024-05-02]")


def test_embeddings(story):
    story.make(SERVICE, T)
    assert same_rows(story.ask(["a", "b"])["text_embedding"], [vector("a"), vector("b")])
    assert story.request.target == ML + "embeddings" + VERSION
    assert story.request.json == {"inputs": ["a", "b"], "model_id": "ibm/m-1", "project_id": "p-1"}


def test_rerank(story):
    story.make(SERVICE, R, task_settings={"return_documents": True, "top_n": 2,
                                          "truncate_input_tokens": 7})
    answer = story.ask("the capital", ["the moon", "the capital", "x"])
    assert [(r["index"], r["text"]) for r in answer] == [(1, "the capital"), (0, "the moon")]
    assert story.request.target == ML + "rerank" + VERSION
    assert story.request.json == {
        "model_id": "ibm/m-1", "query": "the capital", "project_id": "p-1",
        "inputs": [{"text": "the moon"}, {"text": "the capital"}, {"text": "x"}],
        "parameters": {"truncate_input_tokens": 7, "return_options": {"inputs": True, "top_n": 2}}}


def test_a_chat(story):
    story.make(SERVICE, CC)
    body = {"messages": [{"role": "user", "content": "hi"}], "max_completion_tokens": 5}
    assert said(story.chunks(body)) == "Echo: hi"
    assert story.request.target == ML + "chat_stream" + VERSION
    assert story.request.json == {"messages": body["messages"], "max_tokens": 5, "n": 1,
                                  "model": "ibm/m-1", "model_id": "ibm/m-1", "project_id": "p-1",
                                  "stream": True}


@pytest.mark.parametrize("done", [False, True])
def test_ends_of_a_stream(story, done):
    """Without [DONE], and with the usage behind the last choice."""
    story.make(SERVICE, CC)
    story.upstream.script(Stream([chunk({"content": "a"}), chunk({}, "stop"), usage_chunk()],
                                 done=done))
    got = story.chunks()
    assert said(got) == "a" and got[-1]["usage"]["total_tokens"] == 44


def test_tasks_that_it_has_not(story):
    answer = story.server.put(f"/_inference/{S}/x", {"service": SERVICE, "service_settings":
                                                     BY[SERVICE, T].settings})
    assert (answer.status, answer.reason) == (
        400, "The [watsonxai] service does not support task type [sparse_embedding]")
