"""Deployments of uploaded models: started, asked, scaled, stopped, through the official client.

The models are tiny ones that Eland made (fixtures/models); what they must give was computed by
libtorch (expected.json), what becomes of it is Elasticsearch's rule (shared facts,
trained_models.md 11), written down here once more.
"""
import base64
import concurrent.futures
import hashlib
import json
import math
import os
import threading
import time

import elasticsearch
import pytest

from inferd import FACTOR, PASSWORD, wait_until

HERE = os.path.dirname(__file__)
TINY = os.path.join(HERE, "fixtures", "models", "eland_tiny")
NAMES = sorted(os.listdir(TINY))
EMBED = "bert_text_embedding"
TOLERANCE = 1e-4  # of a quantized model; the others stay below 1e-5


def read(name, file):
    with open(os.path.join(TINY, name, file), "rb") as f:
        return f.read()


def upload(es, name, model=None, **more):
    model = model or name
    data = read(name, "model.pt")
    config = json.loads(read(name, "config.json"))
    es.ml.put_trained_model(model_id=model, **{**config, **more})
    es.ml.put_trained_model_definition_part(
        model_id=model, part=0, definition=base64.b64encode(data).decode(),
        total_definition_length=len(data), total_parts=1)
    es.ml.put_trained_model_vocabulary(model_id=model, **json.loads(read(name, "vocabulary.json")))
    return model


@pytest.fixture(scope="module")
def server(shared):
    yield shared.get()


@pytest.fixture(scope="module")
def es(server):
    client = elasticsearch.Elasticsearch(server.url, basic_auth=("elastic", PASSWORD),
                                         request_timeout=60, max_retries=0)
    yield client
    for model in client.ml.get_trained_models(model_id="*", size=1000)["trained_model_configs"]:
        client.ml.delete_trained_model(model_id=model["model_id"], force=True)
    client.close()


@pytest.fixture
def model(es, request):
    """A small embedding model of the story's own, uploaded but not started."""
    name = "m-" + request.node.name[:40].split("[")[0].replace("test_", "")
    upload(es, EMBED, name)
    yield name
    es.ml.delete_trained_model(model_id=name, force=True)


def stats(es, deployment):
    (one,) = es.ml.get_trained_models_stats(model_id=deployment)["trained_model_stats"]
    return one


def node_of(es, deployment):
    return stats(es, deployment)["deployment_stats"]["nodes"][0]


def start(es, model, **more):
    return es.ml.start_trained_model_deployment(model_id=model, **more)["assignment"]


def infer(es, model, *texts, field="text_field", **more):
    answer = es.ml.infer_trained_model(model_id=model, docs=[{field: t} for t in texts], **more)
    return answer["inference_results"]


def refused(status, *parts, call):
    with pytest.raises(elasticsearch.ApiError) as e:
        call()
    assert e.value.status_code == status, e.value.body
    for part in parts:
        assert part in e.value.body["error"]["reason"], e.value.body
    return e.value.body["error"]


# ---- what each task gives ----

def softmax(row):
    top = max(row)
    e = [math.exp(x - top) for x in row]
    return [x / sum(e) for x in e]


def near(a, b):
    return abs(a - b) <= TOLERANCE * max(1, abs(b))


def check_embedding(result, case, config):
    (row,) = case["output"]
    assert len(result["predicted_value"]) == len(row)
    assert all(near(a, b) for a, b in zip(result["predicted_value"], row))


def check_expansion(result, case, config):
    first = case["output"][0]
    row = first[0] if isinstance(first[0], list) else first
    words = config["vocabulary"]
    want = {words[i].replace(".", "__"): x for i, x in enumerate(row) if x > 0}
    got = result["predicted_value"]
    assert all(near(got.get(k, 0), x) for k, x in want.items())
    assert all(near(x, want.get(k, 0)) for k, x in got.items())
    assert list(got.values()) == sorted(got.values(), reverse=True)


def check_similarity(result, case, config):
    assert near(result["predicted_value"], case["output"][0][0])


def check_classification(result, case, config):
    labels = config["classification_labels"]
    want = softmax(case["output"][0])
    assert result["predicted_value"] == labels[want.index(max(want))]
    assert near(result["prediction_probability"], max(want))


def check_zero_shot(result, case, config):
    labels = config["classification_labels"]
    row = case["output"][0]
    entails, contradicts = row[labels.index("entailment")], row[labels.index("contradiction")]
    assert result["predicted_value"] == case["text_pair"]
    assert near(result["prediction_probability"], softmax([entails, contradicts])[0])


def check_mask(result, case, config):
    at = case["tokens"].index("[MASK]")
    want = softmax(case["output"][0][at])
    assert result["predicted_value"] == config["vocabulary"][want.index(max(want))]
    assert near(result["prediction_probability"], max(want))


def check_ner(result, case, config):
    for entity in result["entities"]:
        assert case["text"][entity["start_pos"]:entity["end_pos"]].lower() == entity["entity"]
    assert all(0 < e["class_probability"] <= 1 for e in result["entities"])
    labels = config["classification_labels"]
    words = [row.index(max(row)) for row in case["output"][0][1:-1]]
    assert bool(result["entities"]) == any(labels[w] != "O" for w in words)


def check_answer(result, case, config):
    (begin,), (end,) = case["output"]
    tokens = case["tokens"]
    context = tokens.index("[SEP]") + 1

    def scores(row):
        kept = [x if i == 0 or context <= i < len(row) - 1 else -10000 for i, x in enumerate(row)]
        kept = softmax(kept)
        return [0] + kept[1:]
    b, e = scores(begin), scores(end)
    best = max(b[i] * e[j] for i in range(context, len(b) - 1)
               for j in range(i, min(len(e) - 1, i + 15)))
    assert near(result["prediction_probability"], best)
    text = case["text_pair"]
    assert text[result["start_offset"]:result["end_offset"]] == result["predicted_value"]


CHECKS = {"text_embedding": check_embedding, "text_expansion": check_expansion,
          "text_similarity": check_similarity, "text_classification": check_classification,
          "zero_shot_classification": check_zero_shot, "fill_mask": check_mask, "ner": check_ner,
          "question_answering": check_answer}


def asked(task, case):
    """The document and the update of a case."""
    if task == "text_similarity":
        return case["text_pair"], {task: {"text": case["text"]}}
    if task == "question_answering":
        return case["text_pair"], {task: {"question": case["text"]}}
    if task == "zero_shot_classification":
        return case["text"], {task: {"labels": [case["text_pair"]], "multi_label": True}}
    if task == "fill_mask":
        return " ".join(case["tokens"][1:-1]), None  # `text` is another one there
    return case["text"], None


@pytest.mark.parametrize("name", NAMES)
def test_every_model_gives_what_libtorch_gives(es, name):
    config = json.loads(read(name, "config.json"))["inference_config"]
    (task,) = config
    if task == "zero_shot_classification":
        config[task]["hypothesis_template"] = "{}"
    upload(es, name, inference_config=config)
    config = {**config[task], **json.loads(read(name, "vocabulary.json"))}
    assignment = start(es, name, wait_for="fully_allocated")
    assert assignment["assignment_state"] == "started"
    try:
        for case in json.loads(read(name, "expected.json"))["cases"]:
            text, update = asked(task, case)
            more = {"inference_config": update} if update else {}
            (result,) = infer(es, name, text, **more)
            CHECKS[task](result, case, config)
    finally:
        es.ml.stop_trained_model_deployment(model_id=name)
        es.ml.delete_trained_model(model_id=name)


# ---- starting and stopping ----

def test_from_start_to_stop(es, model):
    assert "deployment_stats" not in stats(es, model)
    refused(409, f"Model [{model}] must be deployed to use. Please deploy with the start trained "
                 "model deployment API.", call=lambda: infer(es, model, "a"))
    a = start(es, model, number_of_allocations=1, threads_per_allocation=1, cache_size="10kb")
    parameters = a["task_parameters"]
    assert (parameters["model_id"], parameters["deployment_id"], parameters["cache_size"]) == (
        model, model, "10kb")
    assert parameters["model_bytes"] == len(read(EMBED, "model.pt"))
    assert (parameters["priority"], parameters["queue_capacity"]) == ("normal", 10000)
    (route,) = a["routing_table"].values()
    assert route == {"current_allocations": 1, "target_allocations": 1, "routing_state": "started",
                     "reason": ""}
    one = stats(es, model)
    deployment = one["deployment_stats"]
    assert deployment["state"] == "started" and deployment["cache_size"] == "10kb"
    assert deployment["allocation_status"] == {
        "allocation_count": 1, "target_allocation_count": 1, "state": "fully_allocated"}
    assert "inference_count" not in deployment and "error_count" not in deployment
    (node,) = deployment["nodes"]
    (attributes,) = [n["attributes"] for n in node["node"].values()]
    assert int(attributes["ml.machine_memory"]) > 1 << 28 and int(attributes["ml.allocated_processors"]) > 0
    assert {"ml.max_jvm_size", "ml.config_version"} <= set(attributes)
    assert node["routing_state"] == {"routing_state": "started"}
    assert (node["inference_count"], node["inference_cache_hit_count"]) == (0, 0)
    assert "average_inference_time_ms" not in node and "last_access" not in node
    assert one["model_size_stats"]["required_native_memory_bytes"] > 240 << 20
    refused(400, f"an existing deployment with the same id [{model}] exist",
            call=lambda: start(es, model))
    refused(409, "as it is currently deployed; use force to delete the model",
            call=lambda: es.ml.delete_trained_model(model_id=model))
    assert es.ml.stop_trained_model_deployment(model_id=model)["stopped"] is True
    assert es.ml.stop_trained_model_deployment(model_id=model)["stopped"] is True
    refused(404, f"No known model deployment with id [{model}]",
            call=lambda: es.ml.stop_trained_model_deployment(model_id=model, allow_no_match=False))


@pytest.mark.parametrize("more, status, part", [
    ({"number_of_allocations": 0}, 400, "[number_of_allocations] must be a positive integer"),
    ({"threads_per_allocation": 0}, 400, "[threads_per_allocation] must be a positive integer"),
    ({"threads_per_allocation": 3}, 400,
     "[threads_per_allocation] must be a power of 2 less than or equal to 32"),
    ({"queue_capacity": 0}, 400, "[queue_capacity] must be a positive integer"),
    ({"queue_capacity": 100001}, 400, "[queue_capacity] must be less than 100000"),
    ({"timeout": "0s"}, 400, "[timeout] must be positive"),
    ({"priority": "low", "number_of_allocations": 2}, 400,
     "[number_of_allocations] must be 1 when [priority] is low"),
    ({"priority": "low", "threads_per_allocation": 2}, 400,
     "[threads_per_allocation] must be 1 when [priority] is low"),
    ({"adaptive_allocations": {"enabled": True, "min_number_of_allocations": -1}}, 400,
     "[min_number_of_allocations] must be a non-negative integer or null"),
    ({"adaptive_allocations": {"enabled": True, "min_number_of_allocations": 3,
                               "max_number_of_allocations": 2}}, 400,
     "[min_number_of_allocations] must not be larger than [max_number_of_allocations]"),
    ({"adaptive_allocations": {"enabled": True}, "number_of_allocations": 1}, 400,
     "[number_of_allocations] cannot be set if adaptive allocations is enabled"),
    ({}, 404, "No known trained model with model_id [none]"),
])
def test_refused_starts(es, more, status, part):
    refused(status, part, call=lambda: start(es, "none", **more))


def test_an_incomplete_model_does_not_start(es):
    es.ml.put_trained_model(model_id="partial", **json.loads(read(EMBED, "config.json")))
    with pytest.raises(elasticsearch.ApiError) as e:
        start(es, "partial")
    assert e.value.status_code in (400, 404)
    assert "deployment_stats" not in stats(es, "partial")
    es.ml.delete_trained_model(model_id="partial")


def test_several_deployments_of_one_model(es, model):
    start(es, model, deployment_id=model + "-a")
    start(es, model, deployment_id=model + "-b", priority="low")
    both = es.ml.get_trained_models_stats(model_id=model)["trained_model_stats"]
    assert [s["deployment_stats"]["deployment_id"] for s in both] == [model + "-a", model + "-b"]
    assert infer(es, model, "a") == infer(es, model + "-a", "a") == infer(es, model + "-b", "a")
    assert stats(es, model + "-b")["deployment_stats"]["priority"] == "low"
    assert es.ml.stop_trained_model_deployment(model_id=model + "-*")["stopped"] is True
    assert "deployment_stats" not in stats(es, model)


def test_ids_that_others_have(server, es, model):
    upload(es, EMBED, model + "-2")
    refused(400, f"cannot deploy more than one model at the same time; [{model}*] matches models "
                 f"[{model}, {model}-2]", call=lambda: start(es, model + "*", deployment_id="d"))
    refused(400, f"Deployment id [{model}-2] is the same as an another model",
            call=lambda: start(es, model, deployment_id=model + "-2"))
    refused(400, "Model IDs must be unique. Requested model ID [.rerank-v1-elasticsearch] matches "
                 "existing model IDs but must not.",
            call=lambda: start(es, model, deployment_id=".rerank-v1-elasticsearch"))
    start(es, model, deployment_id="taken")
    answer = put(server, "text_embedding", "taken", {
        "model_id": model, "num_allocations": 1, "num_threads": 1})
    assert answer.status == 400 and "Inference endpoint IDs must be unique." in answer.reason
    es.ml.delete_trained_model(model_id=model + "-2", force=True)


def test_an_alias_is_asked(es, model):
    es.ml.put_trained_model_alias(model_id=model, model_alias="an_alias")
    start(es, model)
    assert infer(es, "an_alias", "a") == infer(es, model, "a")
    refused(404, "Could not find trained model [nothing]", call=lambda: infer(es, "nothing", "a"))


def test_deployments_outlive_the_server(spawn):
    server = spawn()
    with elasticsearch.Elasticsearch(server.url, basic_auth=("elastic", PASSWORD)) as es:
        upload(es, EMBED, "stays")
        start(es, "stays", deployment_id="d", cache_size="1mb", queue_capacity=7)
        before = infer(es, "d", "a text")
    server.kill()
    server.start()
    with elasticsearch.Elasticsearch(server.url, basic_auth=("elastic", PASSWORD)) as es:
        wait_until(lambda: stats(es, "d")["deployment_stats"]["state"] == "started")
        assert stats(es, "d")["deployment_stats"]["queue_capacity"] == 7
        assert stats(es, "d")["deployment_stats"]["cache_size"] == "1mb"
        assert infer(es, "d", "a text") == before
        es.ml.stop_trained_model_deployment(model_id="d")
    server.restart()
    with elasticsearch.Elasticsearch(server.url, basic_auth=("elastic", PASSWORD)) as es:
        assert "deployment_stats" not in stats(es, "stays")


# ---- asking ----

def test_refused_documents(es, model):
    start(es, model)
    refused(400, "Input field [text_field] does not exist in the source document",
            call=lambda: infer(es, model, "a", field="other"))
    refused(400, "Input value [5] for field [text_field] must be a string",
            call=lambda: infer(es, model, 5))
    refused(400, "docs", call=lambda: es.perform_request(
        "POST", f"/_ml/trained_models/{model}/_infer", body={},
        headers={"content-type": "application/json", "accept": "application/json"}))
    assert infer(es, model, "a", "b") == infer(es, model, "a") + infer(es, model, "b")
    (old,) = es.perform_request(
        "POST", f"/_ml/trained_models/{model}/deployment/_infer", body={"docs": [
            {"text_field": "a"}]}, headers={"content-type": "application/json",
                                            "accept": "application/json"})["inference_results"]
    assert [old] == infer(es, model, "a")


def test_the_cache_counts(es, model):
    start(es, model)
    first = infer(es, model, "a b")
    infer(es, model, "c")
    assert infer(es, model, "a b") == first
    node = node_of(es, model)
    assert (node["inference_count"], node["inference_cache_hit_count"]) == (3, 1)
    assert 0 < node["average_inference_time_ms"] < node[
        "average_inference_time_ms_excluding_cache_hits"]
    assert node["peak_throughput_per_minute"] == 3 and node["throughput_last_minute"] == 0
    assert stats(es, model)["inference_stats"]["inference_count"] == 3
    es.ml.clear_trained_model_deployment_cache(model_id=model)
    infer(es, model, "a b")
    infer(es, model, "x", "y", "x")  # in one call
    node = node_of(es, model)
    assert (node["inference_count"], node["inference_cache_hit_count"]) == (7, 2)
    es.ml.stop_trained_model_deployment(model_id=model)
    start(es, model, cache_size="0b")
    infer(es, model, "a", "a")
    assert node_of(es, model)["inference_cache_hit_count"] == 0


LONG = "elastic search engine vector query " * 200
DOCS = 2000 if FACTOR == 1 else 300


def test_a_full_queue_and_a_timeout(es, model):
    start(es, model, queue_capacity=1, cache_size="0b")
    seen = set()

    def one(i):
        try:
            infer(es, model, *[LONG + str(i)] * 40)
            return 200
        except elasticsearch.ApiError as e:
            seen.add(e.body["error"]["reason"])
            return e.status_code
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(one, range(64)))
    assert set(statuses) == {200, 429}
    assert seen == {"inference process queue is full. Unable to execute command"}
    assert stats(es, model)["deployment_stats"]["rejected_execution_count"] > 0
    error = refused(408, "timeout [1ms] waiting for inference result",
                    call=lambda: infer(es, model, *[LONG] * 3000, timeout="1ms"))
    assert error["type"] == "status_exception"
    wait_until(lambda: node_of(es, model)["number_of_pending_requests"] == 0)
    assert node_of(es, model)["timeout_count"] > 0


def test_update_under_load_loses_no_request(es, model):
    start(es, model)
    want = infer(es, model, "a b")
    stop, failures, done = threading.Event(), [], [0]

    def ask(n):
        while not stop.is_set():
            try:
                assert infer(es, model, "a b", f"{n} other {done[0]}")[0] == want[0]
                done[0] += 1
            except Exception as e:
                failures.append(e)
    threads = [threading.Thread(target=ask, args=(n,)) for n in range(4)]
    for t in threads:
        t.start()
    for n in (2, 1, 2, 1, 2):
        a = es.ml.update_trained_model_deployment(model_id=model, number_of_allocations=n)
        assert a["assignment"]["task_parameters"]["number_of_allocations"] == n
        time.sleep(0.1 * FACTOR)
    wait_until(lambda: failures or done[0] > 10, 10, "answering")
    stop.set()
    for t in threads:
        t.join()
    assert not failures
    error = refused(429, "Could not update deployment because there are not enough resources to "
                         "provide all requested allocations",
                    call=lambda: es.ml.update_trained_model_deployment(
                        model_id=model, number_of_allocations=1000))
    assert error["type"] == "status_exception"
    refused(404, "No known model deployment with id [none]",
            call=lambda: es.ml.update_trained_model_deployment(model_id="none",
                                                               number_of_allocations=1))


def test_adaptive_allocations_are_shown(es, model):
    start(es, model, adaptive_allocations={"enabled": True, "min_number_of_allocations": 1})

    def shown():
        return stats(es, model)["deployment_stats"].get("adaptive_allocations")
    assert shown() == {"enabled": True, "min_number_of_allocations": 1}
    refused(400, "[number_of_allocations] cannot be set if adaptive allocations is enabled",
            call=lambda: es.ml.update_trained_model_deployment(model_id=model,
                                                               number_of_allocations=2))
    es.ml.update_trained_model_deployment(model_id=model, adaptive_allocations={
        "max_number_of_allocations": 2})
    assert shown() == {"enabled": True, "min_number_of_allocations": 1,
                       "max_number_of_allocations": 2}
    es.ml.update_trained_model_deployment(model_id=model, adaptive_allocations={
        "enabled": False, "min_number_of_allocations": None})
    assert shown() == {"enabled": False, "max_number_of_allocations": 2}


def test_stopping_with_and_without_what_waits(es, model):
    start(es, model, cache_size="0b")
    results = []

    def ask():
        try:
            results.append(len(infer(es, model, *[LONG] * DOCS, timeout="60s")))
        except elasticsearch.ApiError as e:
            results.append((e.status_code, e.body["error"]["reason"]))

    def stop(**more):
        t = threading.Thread(target=ask)
        t.start()
        wait_until(lambda: node_of(es, model)["number_of_pending_requests"] > 0)
        es.perform_request("POST", f"/_ml/trained_models/{model}/deployment/_stop", params=more,
                           headers={"accept": "application/json"})
        t.join()
        return results.pop()
    assert stop(finish_pending_work="true") == DOCS
    start(es, model, cache_size="0b")
    status, reason = stop()
    assert status == 409 and f"Trained model [{model}] is [stopping]" in reason


def test_what_does_not_fit(spawn):
    server = spawn({"xpack.ml.max_machine_memory_percent": "1", "node.processors": "2"})
    with elasticsearch.Elasticsearch(server.url, basic_auth=("elastic", PASSWORD),
                                     max_retries=0) as es:
        upload(es, EMBED, "big", metadata={"per_deployment_memory_bytes": 1 << 50,
                                           "per_allocation_memory_bytes": 1})
        error = refused(429, "Could not start deployment because no ML nodes with sufficient "
                             "capacity were found", call=lambda: start(es, "big"))
        assert error["caused_by"]["type"] == "illegal_state_exception"
        assert "insufficient available memory. Available memory for ML [" in (
            error["caused_by"]["reason"])
        assert "deployment_stats" not in stats(es, "big")


# ---- endpoints ----

def put(server, task, name, settings, service="elasticsearch", **more):
    return server.put(f"/_inference/{task}/{name}", {
        "service": service, "service_settings": settings, **more})


def test_endpoints_on_uploaded_models(server, es):
    own = {"num_allocations": 1, "num_threads": 1}
    for task, name in (("text_embedding", "e5_like_text_embedding"),
                       ("sparse_embedding", "elser_like_text_expansion"),
                       ("rerank", "bert_text_similarity")):
        upload(es, name, "up-" + name)
        answer = put(server, task, "ep-" + task, {**own, "model_id": "up-" + name})
        assert answer.status == 200, answer
    made = server.get("/_inference/ep-text_embedding").json["endpoints"][0]["service_settings"]
    assert list(made) == ["num_allocations", "num_threads", "model_id", "dimensions",
                          "similarity", "element_type"]
    assert made["dimensions"] == 32

    # the prefix of the input type is put in front
    case = json.loads(read("e5_like_text_embedding", "expected.json"))["cases"][0]
    kind = {"query: ": "search", "passage: ": "ingest"}
    (prefix,) = [p for p in kind if case["text"].startswith(p)]
    answer = server.post("/_inference/ep-text_embedding", {
        "input": case["text"][len(prefix):], "input_type": kind[prefix]})
    got = answer.json["text_embedding"][0]["embedding"]
    assert all(near(a, b) for a, b in zip(got, case["output"][0]))

    case = json.loads(read("elser_like_text_expansion", "expected.json"))["cases"][0]
    answer = server.post("/_inference/ep-sparse_embedding", {"input": case["text"]})
    weights = answer.json["sparse_embedding"][0]["embedding"]
    assert near(max(weights.values()), max(case["output"][0]))

    cases = json.loads(read("bert_text_similarity", "expected.json"))["cases"]
    answer = server.post("/_inference/ep-rerank", {
        "query": cases[0]["text"], "input": [cases[0]["text_pair"]]})
    assert near(answer.json["rerank"][0]["relevance_score"], cases[0]["output"][0][0])

    refused(409, "Cannot stop deployment [ep-rerank] as it is used by inference endpoint "
                 "[ep-rerank]",
            call=lambda: es.ml.stop_trained_model_deployment(model_id="ep-rerank"))
    refused(409, "use force", call=lambda: es.ml.delete_trained_model(
        model_id="up-bert_text_similarity"))
    answer = put(server, "rerank", "wrong", {**own, "model_id": "up-e5_like_text_embedding"})
    assert answer.status == 400 and "does not match the requested task type" in answer.reason
    for task in ("text_embedding", "sparse_embedding", "rerank"):
        assert server.delete(f"/_inference/ep-{task}").status == 200
    assert "deployment_stats" not in stats(es, "up-bert_text_similarity")


def test_endpoints_share_a_deployment(server, es, model):
    start(es, model, deployment_id="shared-one")
    for name in ("first", "second"):
        answer = put(server, "text_embedding", name, {"deployment_id": "shared-one"})
        assert answer.status == 200, answer
        settings = answer.json["service_settings"]
        assert (settings["deployment_id"], settings["model_id"]) == ("shared-one", model)
        assert (settings["num_allocations"], settings["num_threads"]) == (1, 1)
    got = [server.post(f"/_inference/{n}", {"input": "a"}).json for n in ("first", "second")]
    assert got[0] == got[1]
    assert put(server, "text_embedding", "x", {"deployment_id": "no"}).status == 404
    answer = put(server, "text_embedding", "x", {"deployment_id": "shared-one", "model_id": "y"})
    assert answer.status == 400 and "which does not match the model [y]" in answer.reason
    assert server.put("/_inference/first/_update", {
        "service_settings": {"num_allocations": 2}}).status == 409
    assert server.delete("/_inference/first").status == 200
    assert server.delete("/_inference/second").status == 200
    assert stats(es, "shared-one")["deployment_stats"]["state"] == "started"


def test_an_uploaded_model_may_not_say_how_long_it_is(server, es):
    config = json.loads(read(EMBED, "config.json"))["inference_config"]
    config["text_embedding"].pop("embedding_size", None)
    upload(es, EMBED, "unmeasured", inference_config=config)
    answer = put(server, "text_embedding", "measured", {
        "model_id": "unmeasured", "num_allocations": 1, "num_threads": 1})
    assert answer.status == 200 and answer.json["service_settings"]["dimensions"] == 32
    assert server.delete("/_inference/measured").status == 200


PRESETS = [".elser-2-elasticsearch", ".multilingual-e5-small-elasticsearch",
           ".rerank-v1-elasticsearch"]


def test_endpoints_that_are_there_from_the_start(server):
    found = {e["inference_id"]: e for e in server.get("/_inference/_all").json["endpoints"]}
    assert [n for n in found if n.startswith(".")] == PRESETS
    chunks = {"strategy": "sentence", "max_chunk_size": 250, "sentence_overlap": 1}
    adaptive = {"enabled": True, "min_number_of_allocations": 0, "max_number_of_allocations": 32}
    assert found[PRESETS[0]] == {
        "inference_id": PRESETS[0], "task_type": "sparse_embedding", "service": "elasticsearch",
        "service_settings": {"num_threads": 1, "model_id": ".elser_model_2_linux-x86_64",
                             "adaptive_allocations": adaptive}, "chunking_settings": chunks}
    assert found[PRESETS[1]]["service_settings"] == {
        "num_threads": 1, "model_id": ".multilingual-e5-small_linux-x86_64",
        "adaptive_allocations": adaptive}
    assert found[PRESETS[2]]["task_settings"] == {"return_documents": True}
    for name in PRESETS:
        answer = server.delete(f"/_inference/{name}")
        assert answer.status == 400 and answer.reason == (
            f"[{name}] is a reserved inference endpoint. Use the force=true query parameter to "
            "delete the inference endpoint.")
        assert server.delete(f"/_inference/{name}?force=true").status == 200
        assert server.get(f"/_inference/{name}").json == {"endpoints": [found[name]]}


def test_the_first_call_deploys(server, es, spawn, tmp_path):
    """The package lies in path.models, under the name the endpoint looks for."""
    folder = tmp_path / "models"
    folder.mkdir()
    source, name = "elser_like_text_expansion", "elser_model_2_linux-x86_64"
    data = read(source, "model.pt")
    (folder / f"{name}.pt").write_bytes(data)
    (folder / f"{name}.vocab.json").write_bytes(read(source, "vocabulary.json"))
    (folder / f"{name}.metadata.json").write_text(json.dumps({
        "packaged_model_id": name, "minimum_version": "11.0.0", "size": len(data),
        "sha256": hashlib.sha256(data).hexdigest(), "description": "tiny", "model_type": "pytorch",
        "tags": [], "vocabulary_file": f"{name}.vocab.json",
        "inference_config": json.loads(read(source, "config.json"))["inference_config"]}))
    own = spawn({"path.models": str(folder)})
    elser = put(own, "sparse_embedding", "old", {"num_allocations": 1, "num_threads": 1},
                service="elser", task_settings={})
    assert elser.status == 200, elser
    assert elser.json["service"] == "elasticsearch"
    assert elser.json["service_settings"]["model_id"] == ".elser_model_2_linux-x86_64"
    first, second = elser.all("warning")
    assert "The [elser] service is deprecated" in first and "[model_id]" in second
    answer = put(own, "text_embedding", "old2", {"num_allocations": 1, "num_threads": 1},
                 service="elser")
    assert answer.status == 400
    assert own.delete("/_inference/old").status == 200
    answer = own.post(f"/_inference/{PRESETS[0]}", {"input": "elastic search engine"}, check=False)
    assert answer.status == 200, answer
    assert answer.json["sparse_embedding"][0]["embedding"]
    shown = own.get(f"/_inference/{PRESETS[0]}").json["endpoints"][0]["service_settings"]
    assert list(shown)[0] == "num_allocations" and shown["num_allocations"] == 1
