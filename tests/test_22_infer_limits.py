"""_infer with an API key: its limits hold there too, and what it uses is counted by deployment."""
import concurrent.futures
import os
import time

import elasticsearch
import pytest

from inferd import PASSWORD
from test_08_key_limits import KEYS, MONTH, refused, used
from test_22_deployments import EMBED, start, upload
from test_27_trees import STUMP

MODEL, DEPLOYMENT, ALIAS = "m-limits", "d-limits", "a-limits"


@pytest.fixture(scope="module")
def server(shared):
    yield shared.get()


@pytest.fixture(scope="module", autouse=True)
def deployed(server):
    with elasticsearch.Elasticsearch(server.url, basic_auth=("elastic", PASSWORD),
                                     request_timeout=60, max_retries=0) as es:
        upload(es, EMBED, MODEL)
        es.ml.put_trained_model_alias(model_id=MODEL, model_alias=ALIAS)
        start(es, MODEL, deployment_id=DEPLOYMENT)
        yield
        es.ml.delete_trained_model(model_id=MODEL, force=True)


@pytest.fixture
def limited(server):
    made = []

    def make(**limits):
        key = server.post(KEYS, {"name": "infer", "role_descriptors": {"r": {
            "cluster": ["all"], "metadata": {"inferd": {"limits": limits}} if limits else {}}}})
        made.append(key.json["id"])
        return key.json["id"], "ApiKey " + key.json["encoded"]
    yield make
    server.delete(KEYS, body={"ids": made})


# Unchecked: the description knows no lists as predicted_value.
def infer(server, auth, *texts, ident=DEPLOYMENT):
    return server.post(f"/_ml/trained_models/{ident}/_infer",
                       {"docs": [{"text_field": t} for t in texts]}, auth=auth, check=False)


def tokens_run(server):
    lines = server.get("/_prometheus/metrics").text.splitlines()
    return int(next(l for l in lines if l.startswith("inferd_local_tokens_total ")).split()[1])


def test_requests_per_minute_whatever_the_deployment_is_called(server, limited):
    key, auth = limited(requests_per_minute=3)
    assert [infer(server, auth, "a", ident=i).status for i in (DEPLOYMENT, MODEL, ALIAS)] == [200] * 3
    for ident in (DEPLOYMENT, MODEL, ALIAS):
        assert 1 <= refused(infer(server, auth, "a", ident=ident), key, 3,
                            "requests per minute") <= 60
    assert infer(server, auth, "a", ident="nothing").status == 404, "nobody is asked"
    assert infer(server, True, "a").status == 200, "and only the key's"
    assert list(used(server, key)["usage"][MONTH()]["endpoints"]) == [DEPLOYMENT]
    assert used(server, key)["usage"][MONTH()]["endpoints"][DEPLOYMENT]["calls"] == 3


def test_the_other_path_is_limited_too(server, limited):
    key, auth = limited(requests_per_minute=1)
    assert infer(server, auth, "a").status == 200
    answer = server.post(f"/_ml/trained_models/{DEPLOYMENT}/deployment/_infer",
                         {"docs": [{"text_field": "a"}]}, auth=auth)
    refused(answer, key, 1, "requests per minute")


def test_tokens_are_those_that_were_run(server, limited):
    key, auth = limited()
    before = tokens_run(server)
    assert infer(server, auth, "one text of mine", "and another").status == 200
    ran = tokens_run(server) - before
    row = used(server, key)["usage"][MONTH()]["endpoints"][DEPLOYMENT]
    assert row == {"calls": 1, "tokens": {"in": ran, "out": 0}} and ran > 4
    # the deployment's cache has it: nothing is run
    assert infer(server, auth, "one text of mine").status == 200
    assert used(server, key)["usage"][MONTH()]["endpoints"][DEPLOYMENT] == {
        "calls": 2, "tokens": {"in": ran, "out": 0}}


def test_tokens_per_month(server, limited):
    key, auth = limited(tokens_per_month=3)
    assert infer(server, auth, "words that nobody has sent before").status == 200
    refused(infer(server, auth, "x"), key, 3, "tokens per month")


def test_a_call_that_fails_counts_without_tokens(server, limited):
    key, auth = limited()
    answer = server.post(f"/_ml/trained_models/{DEPLOYMENT}/_infer", {"docs": [{"other": "a"}]},
                         auth=auth)
    assert answer.status == 400, answer
    assert used(server, key)["usage"][MONTH()]["endpoints"][DEPLOYMENT] == {
        "calls": 1, "tokens": {"in": 0, "out": 0}}


def test_trees_are_counted_by_their_own_name(server, limited):
    key, auth = limited(requests_per_minute=1)
    assert server.put("/_ml/trained_models/m-tree", STUMP).status == 200
    ask = lambda: server.post("/_ml/trained_models/m-tree/_infer", {"docs": [{"x": 1}]}, auth=auth)
    assert ask().status == 200
    refused(ask(), key, 1, "requests per minute")
    assert used(server, key)["usage"][MONTH()]["endpoints"] == {
        "m-tree": {"calls": 1, "tokens": {"in": 0, "out": 0}}}
    server.delete("/_ml/trained_models/m-tree")


def test_calls_at_once(server, limited):
    key, auth = limited(concurrency=1)
    texts = [f"{os.getpid()} {i} " + "long " * 100 for i in range(300)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda n: infer(server, auth, *[f"{n} {t}" for t in texts]), range(8)))
    statuses = {a.status for a in answers}
    assert statuses == {200, 429}, statuses
    refused(next(a for a in answers if a.status == 429), key, 1, "requests at once")
    assert infer(server, auth, "a").status == 200, "the place was given back"


def test_a_client_that_leaves_gives_its_place_back(server, limited):
    key, auth = limited(concurrency=1)
    connection = server.connect()
    connection.request("POST", f"/_ml/trained_models/{DEPLOYMENT}/_infer",
                       *server.head({"docs": [{"text_field": f"leaving {i} " + "on " * 100}
                                              for i in range(300)]}, None, auth))
    connection.close()
    for _ in range(500):
        answer = infer(server, auth, "a")
        if answer.status == 200:
            break
        time.sleep(0.02)
    assert answer.status == 200


def test_slow_calls_are_logged_without_contents(spawn):
    server = spawn({"inference.slow_call_threshold": "100ms"})
    with elasticsearch.Elasticsearch(server.url, basic_auth=("elastic", PASSWORD), max_retries=0) as es:
        upload(es, EMBED, MODEL)
        start(es, MODEL, deployment_id=DEPLOYMENT)
    docs = {"docs": [{"text_field": "the secret question "}]}
    path = f"/_ml/trained_models/{MODEL}/_infer"
    assert server.post(path, docs, check=False).status == 200
    docs["docs"] = [{"text_field": f"the secret question {i} " * 100} for i in range(4000)]
    answer = server.post(path + "?timeout=150ms", docs, headers={"x-opaque-id": "me"}, check=False)
    assert answer.status == 408
    server.stop()
    (line,) = [line for line in server.log_lines() if line["message"] == "slow inference call" and line["documents"] > 1]
    assert (line["deployment_id"], line["model_id"], line["documents"]) == (DEPLOYMENT, MODEL, 4000)
    assert line["took_ms"] >= 100 and line["status"] == 408 and line["x_opaque_id"] == "me"
    assert "secret" not in server.log()


def test_a_key_for_some_endpoints_reaches_no_others_by_their_deployments(server):
    """Deployments of endpoints are theirs: neither asked, changed nor stopped past a key's list. Those of
    no endpoint are for whoever has the privilege."""
    for name in ("mine", "theirs"):
        server.make("text_embedding", name, "elasticsearch",
                    {"model_id": MODEL, "num_allocations": 1, "num_threads": 1})
    key = server.post(KEYS, {"name": "some", "role_descriptors": {"r": {
        "cluster": ["manage_inference", "manage_ml"],
        "metadata": {"inferd": {"endpoints": ["mine", "third"]}}}}}).json
    auth = "ApiKey " + key["encoded"]

    def post(path, body=None):
        answer = server.post("/_ml/trained_models/" + path, body, auth=auth, check=False)
        if answer.status == 403:
            assert answer.reason == "inference endpoint [theirs] is not among those that the roles are limited to"
        return answer.status
    docs = {"docs": [{"text_field": "a"}]}
    for name, status in (("mine", 200), ("theirs", 403)):
        assert post(f"{name}/_infer", docs) == status
        assert post(f"{name}/deployment/_infer", docs) == status
        assert post(f"{name}/deployment/_update", {"number_of_allocations": 1}) == status
        assert post(f"{name}/deployment/cache/_clear") == status
    assert post(f"{DEPLOYMENT}/_infer", docs) == 200
    for which in ("theirs", "_all", "mine,theirs", "t*"):
        assert post(f"{which}/deployment/_stop?force=true") == 403
    (node,) = server.get("/_inference/.diagnostics", auth=auth).json.values()
    shown = node["inference_endpoints"]
    assert "mine" in shown and "theirs" not in shown
    assert server.post("/_inference/theirs", {"input": "a"}).status == 200, "it was not stopped"

    # of a deployment that several share, one that is allowed is enough to ask, not to change it
    settings = {"service": "elasticsearch", "service_settings": {"deployment_id": DEPLOYMENT}}
    for name in ("third", "theirs-too"):
        assert server.put(f"/_inference/text_embedding/{name}", settings).status == 200
    assert post(f"{DEPLOYMENT}/_infer", docs) == 200
    answer = server.post(f"/_ml/trained_models/{DEPLOYMENT}/deployment/cache/_clear", auth=auth)
    assert answer.status == 403 and "[theirs-too]" in answer.reason
    server.delete(KEYS, body={"ids": [key["id"]]})
    for name in ("mine", "theirs", "third", "theirs-too"):
        assert server.delete(f"/_inference/{name}").status == 200
