"""Limits of an API key's own, and what it has used: requests, calls at once, tokens; kill -9."""
import concurrent.futures
import os
import random
import threading
import time

import openai
import pytest

from inferd import MARK, basic
from upstream import Default, Hang, Reply

KEYS = "/_security/api_key"
KEY = "sk-" + MARK
MONTH = lambda: time.strftime("%Y-%m", time.gmtime())


def setup(server, upstream, **settings):
    server.make("text_embedding", "e", "openai", {"api_key": KEY, "model_id": "m", **settings})
    server.make("completion", "c", "openai", {"api_key": KEY, "model_id": "m"})
    upstream.clear()


@pytest.fixture
def limited(server, upstream):
    setup(server, upstream)
    made = []

    def make(owner=True, **limits):
        key = server.post(KEYS, {"name": "limited", "role_descriptors": {"r": {
            "cluster": ["all"], "metadata": {"inferd": {"limits": limits}} if limits else {}}}})
        assert key.status == 200, key
        made.append(key.json["id"])
        return key.json["id"], "ApiKey " + key.json["encoded"]
    yield make
    server.delete(KEYS, body={"ids": made})


def embed(server, auth, text="abcdefgh"):
    return server.post("/_inference/text_embedding/e", {"input": text}, auth=auth)


def used(server, key, auth=True):
    (shown,) = server.get(f"{KEYS}?id={key}&with_usage=true", check=False, auth=auth).json["api_keys"]
    return shown["inferd"]


def refused(answer, key, limit, what):
    assert answer.status == 429, answer
    assert answer.type == "es_rejected_execution_exception"
    assert answer.reason == f"API key [{key}] is limited to [{limit}] {what}"
    return int(answer.header("retry-after"))


def told(server, metric):
    lines = server.get("/_prometheus/metrics").text.splitlines()
    return int(next(line for line in lines if line.startswith(metric + " ")).split()[1])


def test_requests_per_minute(server, upstream, limited):
    key, auth = limited(requests_per_minute=3)
    assert [embed(server, auth).status for _ in range(3)] == [200] * 3
    before = told(server, "inferd_key_limit_rejected_total")
    assert 1 <= refused(embed(server, auth), key, 3, "requests per minute") <= 60
    assert told(server, "inferd_key_limit_rejected_total") == before + 1
    assert len(upstream.requests) == 3
    assert server.get("/_inference/_all", auth=auth).status == 200, "only inference is limited"
    assert embed(server, True).status == 200, "and only the key's"
    wrong = server.post("/_inference/text_embedding/e", {"input": 5}, auth=limited(
        requests_per_minute=1)[1])
    assert wrong.status == 400


def test_calls_at_once(server, upstream, limited):
    key, auth = limited(concurrency=2)
    gates = upstream.script(Hang(), Hang())
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        two = [pool.submit(embed, server, auth) for _ in range(2)]
        upstream.wait(2)
        assert refused(embed(server, auth), key, 2, "requests at once") == 1
        for gate in gates:
            gate.release()
        assert [f.result().status for f in two] == [200, 200]
    assert embed(server, auth).status == 200


def test_a_client_that_leaves_gives_its_place_back(server, upstream, limited):
    key, auth = limited(concurrency=1)
    upstream.script(Hang())
    connection = server.connect()
    connection.request("POST", "/_inference/text_embedding/e",
                       *server.head({"input": "x"}, None, auth))
    request = upstream.wait(1)
    connection.close()
    request.gone.wait(10)
    for _ in range(100):
        answer = embed(server, auth)
        if answer.status == 200:
            break
        time.sleep(0.02)
    assert answer.status == 200


def test_tokens_per_month(server, upstream, limited):
    key, auth = limited(tokens_per_month=10)
    reply = {"data": [{"index": 0, "embedding": [1]}], "usage": {"prompt_tokens": 6,
                                                                "total_tokens": 6}}
    upstream.choose = lambda request: Reply(200, reply)
    assert embed(server, auth).status == 200
    assert embed(server, auth).status == 200  # 6 of 10 were used
    wait = refused(embed(server, auth), key, 10, "tokens per month")
    assert 0 < wait <= 31 * 86400
    assert used(server, key) == {
        "limits": {"tokens_per_month": 10},
        "usage": {MONTH(): {"tokens": 12, "endpoints": {
            "e": {"calls": 2, "tokens": {"in": 12, "out": 0}}}}}}
    # more leave: the same key goes on
    server.put(f"{KEYS}/{key}", {"role_descriptors": {"r": {"cluster": ["all"], "metadata": {
        "inferd": {"limits": {"tokens_per_month": 13}}}}}})
    assert embed(server, auth).status == 200
    assert used(server, key)["usage"][MONTH()]["tokens"] == 18


def test_what_is_counted(server, upstream, limited):
    key, auth = limited()
    embed(server, auth)
    one = used(server, key)["usage"][MONTH()]
    upstream.script(*[Reply(401, {"error": {"message": "no"}})])
    assert embed(server, auth).status == 401
    two = used(server, key)["usage"][MONTH()]
    assert two["endpoints"]["e"]["calls"] == 2 and two["tokens"] == one["tokens"]
    stream = server.stream("/_inference/completion/c/_stream", {"input": "hi you"}, auth=auth)
    assert stream.all()[-1] == ("message", "[DONE]")
    client = openai.OpenAI(base_url=server.url + "/v1", api_key=auth.split()[1], max_retries=0)
    client.embeddings.create(model="e", input="x")
    three = used(server, key)["usage"][MONTH()]["endpoints"]
    assert three["c"]["calls"] == 1 and three["e"]["calls"] == 3
    assert sum(three["c"]["tokens"].values()) > 0


def test_cached_answers_cost_no_tokens(server, upstream, limited):
    setup(server, upstream, cache={"max_size": "1mb", "ttl": "10m"})
    key, auth = limited()
    embed(server, auth)
    one = used(server, key)["usage"][MONTH()]["tokens"]
    embed(server, auth)
    assert len(upstream.requests) == 1
    two = used(server, key)["usage"][MONTH()]
    assert (two["tokens"], two["endpoints"]["e"]["calls"]) == (one, 2)


def test_the_strictest_of_all_roles(server, upstream):
    setup(server, upstream)
    server.put("/_security/role/slow", {"cluster": ["all"], "metadata": {"inferd": {"limits": {
        "requests_per_minute": 2, "concurrency": 5}}}})
    server.put("/_security/user/slow", {"password": "pw-" + MARK, "roles": ["slow"]})
    user = basic("slow", "pw-" + MARK)
    key = server.post(KEYS, {"name": "k", "role_descriptors": {
        "a": {"cluster": ["all"], "metadata": {"inferd": {"limits": {"requests_per_minute": 9,
                                                                     "concurrency": 4}}}},
        "b": {"cluster": ["all"]}}}, auth=user).json
    assert used(server, key["id"])["limits"] == {"requests_per_minute": 2, "concurrency": 4}
    assert [embed(server, "ApiKey " + key["encoded"]).status for _ in range(3)] == [200, 200, 429]
    assert [embed(server, user).status for _ in range(3)] == [200] * 3, "a user is not limited"
    server.delete(KEYS, body={"ids": [key["id"]]})
    server.delete("/_security/user/slow")
    server.delete("/_security/role/slow")


@pytest.mark.parametrize("limits", [5, {"concurrency": 0}, {"concurrency": "1"}, {"other": 1},
                                    {"tokens_per_month": 1.5}, {"requests_per_minute": -1}], ids=str)
def test_wrong_limits(server, limits):
    answer = server.post(KEYS, {"name": "k", "role_descriptors": {"r": {
        "metadata": {"inferd": {"limits": limits}}}}})
    assert answer.status == 400 and "metadata.inferd.limits" in answer.reason


def test_kill_loses_and_doubles_nothing(spawn, upstream):
    """What was answered is counted once; what was not may be."""
    server = spawn()
    setup(server, upstream)
    key = server.post(KEYS, {"name": "k"}).json
    auth, answered, asked = "ApiKey " + key["encoded"], 0, 0
    reply = {"data": [{"index": 0, "embedding": [1]}], "usage": {"prompt_tokens": 3,
                                                                "total_tokens": 3}}
    upstream.choose = lambda request: Reply(200, reply)
    lock = threading.Lock()

    def storm(stop):
        nonlocal answered, asked
        while not stop.is_set():
            with lock:
                asked += 1
            try:
                good = embed(server, auth).status == 200
            except OSError:
                return
            except Exception:  # cut in the middle of the answer
                return
            with lock:
                answered += good
    for _ in range(3):
        stop = threading.Event()
        threads = [threading.Thread(target=storm, args=(stop,)) for _ in range(8)]
        for t in threads:
            t.start()
        time.sleep(0.1 + random.random() / 4)
        server.kill()
        stop.set()
        for t in threads:
            t.join()
        server.start()
    shown = used(server, key["id"])["usage"][MONTH()]
    calls = shown["endpoints"]["e"]["calls"]
    assert answered <= calls <= asked
    assert shown["tokens"] == 3 * calls
    assert os.stat(os.path.join(server.data, "usage")).st_mode & 0o777 == 0o600


def test_a_damaged_file_is_no_end(spawn, upstream):
    server = spawn()
    setup(server, upstream)
    key = server.post(KEYS, {"name": "k"}).json
    embed(server, "ApiKey " + key["encoded"])
    server.stop()
    path = os.path.join(server.data, "usage")
    with open(path, "r+b") as f:
        f.write(bytes(random.randrange(256) for _ in range(4096)))
        f.truncate(os.path.getsize(path) - 100)
    server.start()
    assert used(server, key["id"])["usage"] == {}
    assert embed(server, "ApiKey " + key["encoded"]).status == 200
    assert used(server, key["id"])["usage"][MONTH()]["endpoints"]["e"]["calls"] == 1
