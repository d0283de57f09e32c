"""The endpoints that are always there: listed, fetched and deployed when first called."""
import threading

import pytest

from inferd import wait_until
from repository import Repository, Slow
from test_22_trained_models import MODELS
from test_23_packages import package

VARIANT = "_linux-x86_64"
ADAPTIVE = {"enabled": True, "min_number_of_allocations": 0, "max_number_of_allocations": 32}
CHUNKS = {"strategy": "sentence", "max_chunk_size": 250, "sentence_overlap": 1}
ELSER, E5, RERANK = (".elser-2-elasticsearch", ".multilingual-e5-small-elasticsearch",
                     ".rerank-v1-elasticsearch")


def endpoint(id, task, model, **more):
    return {"inference_id": id, "task_type": task, "service": "elasticsearch",
            "service_settings": {"num_threads": 1, "model_id": model,
                                 "adaptive_allocations": ADAPTIVE}, **more}


@pytest.fixture
def repo():
    r = Repository()
    for name, source in (("elser_model_2" + VARIANT, "elser_like_text_expansion_quantized"),
                         ("multilingual-e5-small" + VARIANT, "e5_like_text_embedding"),
                         ("rerank-v1", "bert_text_similarity")):
        r.files.update(package(name, source))
    yield r
    r.close()


@pytest.fixture
def server(spawn, repo):
    return spawn({"xpack.ml.model_repository": repo.url})


def test_they_are_listed(server, repo):
    want = [endpoint(ELSER, "sparse_embedding", ".elser_model_2" + VARIANT,
                     chunking_settings=CHUNKS),
            endpoint(E5, "text_embedding", ".multilingual-e5-small" + VARIANT,
                     chunking_settings=CHUNKS),
            endpoint(RERANK, "rerank", ".rerank-v1", task_settings={"return_documents": True})]
    assert server.get("/_inference/_all").json["endpoints"] == want
    assert server.get("/_inference/rerank/_all").json["endpoints"] == want[2:]
    assert server.get("/_inference/" + E5).json["endpoints"] == want[1:2]
    assert repo.requests == [] and server.get(MODELS).json["count"] == 0


def test_they_cannot_be_made_and_come_back(server):
    body = {"service": "elasticsearch", "service_settings": {
        "model_id": "x", "num_threads": 1, "num_allocations": 1}}
    assert server.put(f"/_inference/sparse_embedding/{ELSER}", body).status == 400
    answer = server.delete("/_inference/" + ELSER)
    assert (answer.status, answer.reason) == (
        400, f"[{ELSER}] is a reserved inference endpoint. Use the force=true query parameter to "
        "delete the inference endpoint.")
    before = server.get("/_inference/_all").json
    assert server.delete(f"/_inference/{ELSER}?force=true").json["acknowledged"] is True
    assert server.get("/_inference/_all").json == before
    server.restart()
    assert server.get("/_inference/_all").json == before


def shown(server, model):
    answer = server.get(f"{MODELS}/{model}?include=definition_status")
    return answer.status == 200 and answer.json["trained_model_configs"][0]["fully_defined"]


def test_a_call_that_cannot_wait_leaves_the_fetching_going(server, repo):
    slow = Slow(1000)
    repo.script("/rerank-v1.pt", slow)
    answer = server.post(f"/_inference/rerank/{RERANK}?timeout=300ms",
                         {"query": "q", "input": ["a"]})
    assert answer.status == 408
    assert shown(server, ".rerank-v1") is False
    slow.gate.set()
    wait_until(lambda: shown(server, ".rerank-v1"), 10, "the model")
    assert len(repo.asked("/rerank-v1.pt")) == 1


def test_a_repository_without_the_model(server, repo):
    repo.files.clear()
    answer = server.post(f"/_inference/{ELSER}", {"input": "a"})
    assert (answer.status, answer.reason) == (
        404, f"{repo.url}/elser_model_2{VARIANT}.metadata.json not found")


def test_the_first_call_fetches_and_deploys(server, repo):
    answer = server.post(f"/_inference/{ELSER}", {"input": "the the"})
    assert answer.status == 200 and answer.json["sparse_embedding"][0]["embedding"], answer
    answer = server.post(f"/_inference/rerank/{RERANK}", {"query": "the", "input": ["of", "and"]})
    assert answer.status == 200 and len(answer.json["rerank"]) == 2, answer
    answer = server.post(f"/_inference/{E5}", {"input": "a"})
    assert answer.status == 200 and answer.json["text_embedding"][0]["embedding"], answer
    assert len(repo.requests) == 9
    assert server.get("/_inference/" + ELSER).json["endpoints"][0]["service_settings"][
        "num_allocations"] >= 0
    assert server.post(f"/_inference/{ELSER}", {"input": "again"}).status == 200
    assert len(repo.requests) == 9


def test_not_all_may_wait_for_the_first_start(server, repo):
    """While the model is fetched 99 calls wait, as in Elasticsearch; who gives up leaves a place."""
    slow = Slow(1000)
    repo.script("/rerank-v1.pt", slow)
    statuses = []

    def ask(timeout):
        answer = server.post(f"/_inference/rerank/{RERANK}?timeout={timeout}", {"query": "q", "input": ["a"]})
        statuses.append(answer.status)
        if answer.status == 429:
            assert answer.type == "es_rejected_execution_exception"
            assert answer.reason == ("Rejected inference request waiting for an allocation of deployment "
                                     f"[{RERANK}]. Too many pending requests")
    ask("1ms")
    assert statuses == [408]
    threads = [threading.Thread(target=ask, args=("50s",)) for _ in range(120)]
    for t in threads:
        t.start()
    wait_until(lambda: len(statuses) == 22, 20, "refusals")
    slow.gate.set()
    for t in threads:
        t.join()
    assert sorted(statuses[1:]) == [200] * 99 + [429] * 21
    assert server.post(f"/_inference/rerank/{RERANK}", {"query": "q", "input": ["a"]}).status == 200
