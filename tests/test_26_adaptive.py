"""Adaptive allocations: they follow the load, go to zero when nobody asks, and come back with the first call."""
import glob
import json
import os
import threading
import time

import pytest

import inferd
from inferd import wait_until

HERE = os.path.dirname(os.path.abspath(__file__))
TINY = os.path.join(HERE, "fixtures", "models", "eland_tiny", "bert_text_embedding")
MINILM = os.path.join(os.environ.get("INFERD_TEST_MODELS", ""), "all-minilm-l6-v2")
TO_ZERO = "xpack.ml.trained_models.adaptive_allocations.scale_to_zero_time"
COOLDOWN = "xpack.ml.trained_models.adaptive_allocations.scale_up_cooldown_time"
FAST = {"inference.local.scaling_interval": "100ms", TO_ZERO: "400ms", COOLDOWN: "100ms", "node.processors": "4"}


def upload(server, model_id="tiny"):
    import base64
    with open(os.path.join(TINY, "config.json"), encoding="utf-8") as f:
        config = json.load(f)
    with open(os.path.join(TINY, "model.pt"), "rb") as f:
        definition = f.read()
    with open(os.path.join(TINY, "vocabulary.json"), encoding="utf-8") as f:
        vocabulary = json.load(f)
    path = f"/_ml/trained_models/{model_id}"
    assert server.put(path, config).status == 200
    assert server.put(f"{path}/definition/0", {
        "definition": base64.b64encode(definition).decode(), "total_definition_length": len(definition),
        "total_parts": 1}).status == 200
    assert server.put(f"{path}/vocabulary", vocabulary).status == 200


def start(server, query="", **adaptive):
    answer = server.post(f"/_ml/trained_models/tiny/deployment/_start?wait_for=started&timeout=30s{query}",
                         {"adaptive_allocations": {"enabled": True, **adaptive}})
    assert answer.status == 200, answer.json
    return answer.json["assignment"]


def stats(server):
    return server.get("/_ml/trained_models/tiny/_stats").json["trained_model_stats"][0]["deployment_stats"]


def allocations(server):
    return stats(server)["allocation_status"]["allocation_count"]


def wait_for_zero(server):
    """Asked for, reached, and its reason told: the three come one after the other."""
    def settled():
        now = stats(server)
        return (now["number_of_allocations"] == 0 and now["allocation_status"]["allocation_count"] == 0 and
                "no request" in now["scaling"].get("last_change", ""))
    wait_until(settled, 20, "zero")


def infer(server, text="these are words", timeout="10s"):
    return server.post(f"/_ml/trained_models/tiny/_infer?timeout={timeout}", {"docs": [{"text_field": text}]},
                       check=False)


def test_to_zero_and_back(spawn):
    server = spawn(FAST)
    upload(server)
    start(server, min_number_of_allocations=0, max_number_of_allocations=2)
    first = infer(server)
    assert first.status == 200
    for _ in range(3):
        wait_for_zero(server)
        now = stats(server)
        assert now["state"] == "started" and now["nodes"] == []
        assert now["allocation_status"] == {"allocation_count": 0, "target_allocation_count": 0,
                                            "state": "fully_allocated"}
        again = infer(server)
        assert again.status == 200
        assert again.json["inference_results"] == first.json["inference_results"], "the same text, the same numbers"
        wait_until(lambda: "a request came" in stats(server)["scaling"]["last_change"], 5, "the reason")
    server.stop()
    words = [line for line in server.log_lines() if line["message"] == "adaptive allocations scaler: scaled"]
    assert {(w["from"], w["allocations"]) for w in words} >= {(1, 0), (0, 1)}


def test_many_first_calls_at_once(spawn):
    """All that come while there is none are answered; with too many the rest is told so."""
    server = spawn(FAST)
    upload(server)
    start(server, min_number_of_allocations=0)
    statuses = []

    def ask(i):
        statuses.append(infer(server, f"words {i}").status)
    for _ in range(5):
        wait_for_zero(server)
        threads = [threading.Thread(target=ask, args=(i,)) for i in range(40)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
    assert statuses == [200] * 200


def test_its_files_are_gone_when_it_shall_come_back(spawn):
    """Weights are not kept at zero: who needs them then hears that they cannot be read, until they can."""
    server = spawn(FAST)
    upload(server)
    start(server, min_number_of_allocations=0)
    first = infer(server)
    assert first.status == 200
    wait_for_zero(server)
    (archive,) = glob.glob(os.path.join(server.data, "**", "model.pt"), recursive=True)
    os.rename(archive, archive + ".aside")
    for _ in range(3):
        refused = infer(server)
        assert refused.status >= 400 and refused.reason, refused
    os.rename(archive + ".aside", archive)
    again = infer(server)
    assert again.json["inference_results"] == first.json["inference_results"]
    wait_for_zero(server)
    with open(archive, "r+b") as f:  # cut short
        f.truncate(os.path.getsize(archive) // 2)
    assert infer(server).status >= 400
    assert server.get("/").status == 200


@pytest.mark.skipif(not os.path.isdir(MINILM), reason="INFERD_TEST_MODELS is not set")
def test_no_weights_in_memory_at_zero(spawn, slow_binary):
    server = spawn({**FAST, "path.models": os.environ["INFERD_TEST_MODELS"]})
    path = "/_inference/text_embedding/e"
    settings = {"model_id": "all-minilm-l6-v2", "num_threads": 1,
                "adaptive_allocations": {"enabled": True, "min_number_of_allocations": 0}}
    assert server.put(path, {"service": "elasticsearch", "service_settings": settings}).status == 200
    weights = os.path.getsize(os.path.join(MINILM, "model.safetensors")) >> 20
    first = server.post(path, {"input": "words"}).json
    for _ in range(3):
        used = rss_mib(server)
        wait_until(lambda: slow_binary or rss_mib(server) < used - weights * 0.8, 20, "memory given back")
        assert server.post(path, {"input": "words"}).json == first


def rss_mib(server):
    with open(f"/proc/{server.process.pid}/statm", encoding="ascii") as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 20


def test_follows_the_load(spawn):
    server = spawn({**FAST, TO_ZERO: "1h"})
    upload(server)
    start(server, "&cache_size=0b", min_number_of_allocations=1, max_number_of_allocations=3)
    stop, texts = threading.Event(), [f"words and more words {i} " * 20 for i in range(64)]

    def press(i):
        while not stop.is_set():
            body = {"docs": [{"text_field": f"{t} {time.monotonic()}"} for t in texts]}
            assert server.post("/_ml/trained_models/tiny/_infer?timeout=60s", body, check=False).status == 200
    threads = [threading.Thread(target=press, args=(i,)) for i in range(6)]
    for t in threads:
        t.start()
    try:
        wait_until(lambda: allocations(server) > 1, 60, "growth")
    finally:
        stop.set()
        for t in threads:
            t.join()
    wait_until(lambda: allocations(server) == 1, 60, "shrinking")
    assert stats(server)["adaptive_allocations"] == {"enabled": True, "min_number_of_allocations": 1,
                                                     "max_number_of_allocations": 3}
    lines = [line.split() for line in server.get("/_prometheus/metrics").text.splitlines() if "tiny" in line]
    told = {name.split("{")[0]: float(value) for name, value in lines}
    assert told["inferd_deployment_needed_allocations"] >= 1
    assert told["inferd_deployment_estimated_request_rate"] >= 0
    assert 0 < told["inferd_deployment_estimated_inference_seconds"] < 10
    path = "/_ml/trained_models/tiny/deployment/_update"
    assert server.post(path, {"adaptive_allocations": {"enabled": False}}).status == 200
    assert "inferd_deployment_needed_allocations{" not in server.get("/_prometheus/metrics").text


def test_never_below_min_and_numbers_are_refused(spawn):
    server = spawn(FAST)
    upload(server)
    start(server, min_number_of_allocations=1)
    time.sleep(1.2)
    assert stats(server)["number_of_allocations"] == 1
    path = "/_ml/trained_models/tiny/deployment/_update"
    refused = server.post(path, {"number_of_allocations": 2})
    assert refused.status == 400
    assert "[number_of_allocations] cannot be set if adaptive allocations is enabled" in refused.text
    assert server.post(path, {"adaptive_allocations": {"enabled": True, "min_number_of_allocations": None}}).status == 200
    wait_for_zero(server)
    assert server.post(path, {"adaptive_allocations": {"enabled": False}, "number_of_allocations": 1}).status == 200
    assert infer(server).status == 200


def test_without_the_scaler_zero_is_told(spawn):
    server = spawn(FAST)
    upload(server)
    start(server, min_number_of_allocations=0)
    wait_for_zero(server)
    path = "/_ml/trained_models/tiny/deployment/_update"
    assert server.post(path, {"adaptive_allocations": {"enabled": False}}).status == 200
    answer = infer(server)
    assert answer.status == 409
    assert answer.json["error"]["reason"] == "Trained model deployment [tiny] is not allocated to any nodes"


def test_restart_at_zero(spawn):
    server = spawn(FAST)
    upload(server)
    start(server, min_number_of_allocations=0)
    wait_for_zero(server)
    server.restart()
    wait_until(lambda: infer(server).status == 200, 20, "an answer")


@pytest.mark.parametrize("seconds", (0.6,))
def test_an_endpoint_wakes_too(spawn, seconds):
    server = spawn(FAST)
    upload(server)
    answer = server.put("/_inference/text_embedding/e?timeout=30s", {
        "service": "elasticsearch", "service_settings": {
            "model_id": "tiny", "num_threads": 1, "adaptive_allocations": {
                "enabled": True, "min_number_of_allocations": 0, "max_number_of_allocations": 2}}})
    assert answer.status == 200, answer.json
    for _ in range(3):
        wait_until(lambda: server.get("/_inference/text_embedding/e").json["endpoints"][0]["service_settings"]
                   .get("num_allocations") in (0, None), 20, "zero")
        time.sleep(seconds)
        assert server.post("/_inference/text_embedding/e", {"input": "these words"}).status == 200
    assert inferd.FACTOR >= 1
