"""The node's processors are divided among its deployments: what fits, what has to wait, who shares."""
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

import inferd
from inferd import wait_until
from test_22_trained_models import MODELS
from test_25_defaults import E5, ELSER, RERANK, repo  # noqa: F401 (a fixture)
from test_26_adaptive import COOLDOWN, TO_ZERO, upload

NO_CAPACITY = "Could not start deployment because no ML nodes with sufficient capacity were found"
FULL = ("Could not assign (more) allocations on node [{node}]. Reason: This node has insufficient allocated "
        "processors. Available processors [{have}], free processors [{free}], processors required for each "
        "allocation of this model [{need}]")


@pytest.fixture
def node(spawn):
    """A server with so many processors, and the model `tiny`."""
    def make(processors, **settings):
        server = spawn({"node.processors": str(processors), "http.loops": "2", **settings})
        upload(server)
        server.node = next(iter(server.get("/_nodes").json["nodes"]))
        return server
    return make


def ask_to_start(server, name, body=None, **query):
    more = "".join(f"&{k}={v}" for k, v in query.items())
    return server.post(f"{MODELS}/tiny/deployment/_start?deployment_id={name}&timeout=30s{more}", body)


def start(server, name, body=None, **query):
    answer = ask_to_start(server, name, body, **query)
    assert answer.status == 200, answer
    return answer.json["assignment"]


def stop(server, name):
    assert server.post(f"{MODELS}/{name}/deployment/_stop").json == {"stopped": True}


def update(server, name, n):
    return server.post(f"{MODELS}/{name}/deployment/_update", {"number_of_allocations": n})


def stats(server, name):
    """None: there is no such deployment."""
    answer = server.get(f"{MODELS}/{name}/_stats")
    return answer.json["trained_model_stats"][0]["deployment_stats"] if answer.status == 200 else None


def status(server, name):
    return stats(server, name)["allocation_status"]


def running(server, name):
    return status(server, name)["allocation_count"]


def infer(server, name, text="these are words"):
    return server.post(f"{MODELS}/{name}/_infer?timeout=20s", {"docs": [{"text_field": text}]}, check=False)


def check_refused(answer, server, **numbers):
    assert (answer.status, answer.reason) == (429, NO_CAPACITY)
    cause = answer.json["error"]["caused_by"]
    assert cause == {"type": "illegal_state_exception", "reason": (
        "Could not start deployment because no suitable nodes were found, allocation explanation ["
        + FULL.format(node=server.node, **numbers) + "]")}


def test_what_one_leaves_another_gets(node):
    server = node(3)
    start(server, "a", number_of_allocations=2, wait_for="fully_allocated")
    short = start(server, "b", number_of_allocations=4)
    why = FULL.format(node=server.node, have=3, free=0, need=1)
    assert short["reason"] == why and short["assignment_state"] == "started"
    assert short["task_parameters"]["number_of_allocations"] == 4
    route = short["routing_table"][server.node]
    assert (route["current_allocations"], route["target_allocations"]) == (1, 1)
    assert status(server, "b") == {"allocation_count": 1, "target_allocation_count": 4, "state": "started"}
    assert stats(server, "b")["reason"] == why
    assert "reason" not in stats(server, "a")
    assert infer(server, "b").status == 200
    stop(server, "a")
    wait_until(lambda: running(server, "b") == 3)
    assert status(server, "b") == {"allocation_count": 3, "target_allocation_count": 4, "state": "started"}
    assert stats(server, "b")["nodes"][0]["number_of_allocations"] == 3
    assert update(server, "b", 3).status == 200
    assert status(server, "b")["state"] == "fully_allocated" and "reason" not in stats(server, "b")


def test_what_one_gives_back_another_gets(node):
    server = node(4)
    start(server, "a", number_of_allocations=3)
    start(server, "b", number_of_allocations=2, threads_per_allocation=1)
    start(server, "c", priority="low")
    assert running(server, "b") == 1
    assert update(server, "a", 1).status == 200
    wait_until(lambda: status(server, "b")["state"] == "fully_allocated")
    wait_until(lambda: running(server, "a") == 1)
    refused = update(server, "a", 3)
    assert (refused.status, refused.reason) == (
        429, "Could not update deployment because there are not enough resources to provide all requested "
             "allocations")
    assert status(server, "a") == {"allocation_count": 1, "target_allocation_count": 1, "state": "fully_allocated"}
    assert update(server, "a", 2).status == 200
    wait_until(lambda: running(server, "a") == 2)


def free_processors(server):
    text = server.get("/_prometheus/metrics").text
    return {k: int(v) for k, v in (line.split() for line in text.splitlines() if line.startswith("inferd_node_"))}


def test_metrics_tell_what_is_free(node):
    server = node(3)
    start(server, "a", threads_per_allocation=2)
    start(server, "low", priority="low")
    assert free_processors(server) == {"inferd_node_processors": 3, "inferd_node_processors_free": 1}
    stop(server, "a")
    assert free_processors(server)["inferd_node_processors_free"] == 3


def allowed_cpus(server, name):
    """Of each thread of that name."""
    tasks = f"/proc/{server.process.pid}/task"
    found = []
    for task in os.listdir(tasks):
        with open(f"{tasks}/{task}/status", encoding="utf-8") as f:
            fields = dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)
        if fields["Name"] == name:
            found.append(fields["Cpus_allowed_list"])
    return sorted(found)


def test_threads_stay_where_they_are_put(node):
    available = len(os.sched_getaffinity(0))
    server = node(available, **{"inference.local.pin_threads": "true"})
    start(server, "low", priority="low")
    start(server, "a", number_of_allocations=available)

    def press(_):
        for i in range(10):
            assert infer(server, "a", f"words {i} {time.monotonic()}").status == 200
            assert infer(server, "low", f"words {i} {time.monotonic()}").status == 200
    with ThreadPoolExecutor(2 * available) as pool:
        list(pool.map(press, range(2 * available)))
    cpus = {str(c) for c in os.sched_getaffinity(0)}
    seen = allowed_cpus(server, "allocation")
    assert len(seen) == available + 1
    assert sum(c in cpus for c in seen) >= (1 if available > 1 else 2)
    stop(server, "a")
    wait_until(lambda: len(allowed_cpus(server, "allocation")) == 1, what="the end of the threads")
    if available > 1:
        assert not set(allowed_cpus(server, "allocation")) & cpus, "low priority runs where there is room"
    server.settings["node.processors"] = str(available + 1)  # more than there are: then it can only hurt
    server.restart()
    start(server, "a")
    assert infer(server, "a").status == 200
    assert available == 1 or not set(allowed_cpus(server, "allocation")) & cpus


def resident(server):
    with open(f"/proc/{server.process.pid}/status", encoding="utf-8") as f:
        return next(int(line.split()[1]) << 10 for line in f if line.startswith("VmRSS"))


@pytest.mark.skipif(not os.environ.get("INFERD_TEST_MODELS"), reason="INFERD_TEST_MODELS is not set")
def test_allocations_share_the_weights(spawn):
    server = spawn({"path.models": os.environ["INFERD_TEST_MODELS"], "node.processors": "8", "http.loops": "2"})
    weights = os.path.getsize(os.path.join(os.environ["INFERD_TEST_MODELS"], "all-minilm-l6-v2", "model.safetensors"))
    path = f"{MODELS}/all-minilm-l6-v2/deployment"
    assert server.post(f"{path}/_start?timeout=60s&cache_size=0b").status == 200
    assert infer(server, "all-minilm-l6-v2").status == 200
    before = resident(server)
    assert update(server, "all-minilm-l6-v2", 6).status == 200
    assert server.post(f"{path}/_start?deployment_id=other&number_of_allocations=2&timeout=60s&cache_size=0b").status == 200

    def press(i):
        for name in ("all-minilm-l6-v2", "other") * 4:
            assert infer(server, name, f"words {i} {time.monotonic()}").status == 200
    with ThreadPoolExecutor(12) as pool:
        list(pool.map(press, range(12)))
    most = weights if inferd.FACTOR == 1 else 3 * weights  # sanitizers keep books of memory
    assert resident(server) - before < most, "eight allocations of one model have one copy of its weights"


def test_what_does_not_fit(node):
    server = node(2)
    check_refused(ask_to_start(server, "a", threads_per_allocation=4), server, have=2, free=2, need=4)
    refused = ask_to_start(server, "a", number_of_allocations=3, wait_for="fully_allocated")
    assert (refused.status, refused.reason) == (
        429, "Could not start deployment because there are not enough resources to provide all requested "
             "allocations")
    assert stats(server, "a") is None
    start(server, "a", threads_per_allocation=2)
    check_refused(ask_to_start(server, "b"), server, have=2, free=0, need=1)
    check_refused(ask_to_start(server, "b", wait_for="starting"), server, have=2, free=0, need=1)
    assert stats(server, "b") is None
    stop(server, "a")
    start(server, "b")
    check_refused(ask_to_start(server, "a", threads_per_allocation=2), server, have=2, free=1, need=2)
    start(server, "a")


def test_low_priority_takes_no_processor(node):
    server = node(1)
    for name in ("low1", "low2"):
        start(server, name, priority="low", wait_for="fully_allocated")
    start(server, "a", wait_for="fully_allocated")
    start(server, "low3", priority="low", wait_for="fully_allocated")
    check_refused(ask_to_start(server, "b"), server, have=1, free=0, need=1)
    want = infer(server, "a").json["inference_results"]
    for name in ("low1", "low2", "low3"):
        assert infer(server, name).json["inference_results"] == want


def endpoint(server, name, settings, **more):
    return server.put(f"/_inference/text_embedding/{name}?timeout=30s", {
        "service": "elasticsearch", "service_settings": {"model_id": "tiny", "num_threads": 1, **settings}, **more})


def test_endpoints_count_too(node):
    server = node(2)
    start(server, "a")
    assert endpoint(server, "e", {"num_allocations": 1}).status == 200
    check_refused(endpoint(server, "f", {"num_allocations": 1}), server, have=2, free=0, need=1)
    assert server.get("/_inference/f").status == 404
    assert stats(server, "f") is None
    check_refused(ask_to_start(server, "b"), server, have=2, free=0, need=1)
    assert server.delete("/_inference/e").status == 200
    start(server, "b")
    stop(server, "a")
    assert endpoint(server, "f", {"num_allocations": 1}).status == 200
    assert server.post("/_inference/f", {"input": "a"}).status == 200


def test_what_comes_and_goes_always_comes(node):
    """More of those than processors: they take turns, and each answers."""
    server = node(1)
    start(server, "a")
    adaptive = {"adaptive_allocations": {"enabled": True}}
    start(server, "b", adaptive, wait_for="fully_allocated")
    assert endpoint(server, "e", {"adaptive_allocations": {"enabled": True, "min_number_of_allocations": 0}}
                    ).status == 200
    check_refused(ask_to_start(server, "c", {"adaptive_allocations": {
        "enabled": True, "min_number_of_allocations": 1}}), server, have=1, free=0, need=1)
    want, bad = infer(server, "a").json["inference_results"], []

    def press(name):
        for _ in range(20):
            answer = infer(server, name)
            if answer.status != 200 or answer.json["inference_results"] != want:
                bad.append(answer)
    threads = [threading.Thread(target=press, args=(name,)) for name in ("a", "b", "e") * 2]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not bad


def test_default_endpoints_share_one_processor(spawn, repo):  # noqa: F811
    server = spawn({"xpack.ml.model_repository": repo.url, "node.processors": "1", "http.loops": "2"})
    for _ in range(2):
        assert server.post(f"/_inference/{ELSER}", {"input": "the the"}).status == 200
        assert server.post(f"/_inference/rerank/{RERANK}", {"query": "the", "input": ["of"]}).status == 200
        assert server.post(f"/_inference/{E5}", {"input": "a"}).status == 200


def test_scaling_stays_within_what_is_free(node):
    server = node(2, **{"inference.local.scaling_interval": "50ms", TO_ZERO: "1h", COOLDOWN: "100ms"})
    start(server, "a")
    start(server, "b", {"adaptive_allocations": {"enabled": True, "min_number_of_allocations": 1}}, cache_size="0b")
    stopping, bad, most = threading.Event(), [], [0]

    def press(i):
        while not stopping.is_set():
            docs = [{"text_field": f"words and more words {k} {time.monotonic()} " * 20} for k in range(64)]
            answer = server.post(f"{MODELS}/b/_infer?timeout=60s", {"docs": docs}, check=False)
            if answer.status != 200:
                bad.append(answer)
    threads = [threading.Thread(target=press, args=(i,)) for i in range(4)]
    for t in threads:
        t.start()
    try:
        def needs_more():
            now = stats(server, "b")
            most[0] = max(most[0], now["number_of_allocations"])
            return now["scaling"]["needed_number_of_allocations"] > 1
        wait_until(needs_more, 60, "a load for more than one")
        for _ in range(20):
            needs_more()
        assert most[0] == 1
        stop(server, "a")
        wait_until(lambda: running(server, "b") == 2, 60, "growth")
    finally:
        stopping.set()
        for t in threads:
            t.join()
    assert not bad
    messages = [line["message"] for line in server.log_lines()]
    assert "adaptive allocations scaler: scaling failed" not in messages


def test_a_smaller_machine_after_a_restart(node):
    server = node(4)
    start(server, "a", number_of_allocations=2)
    start(server, "b", threads_per_allocation=2)
    assert endpoint(server, "e", {"num_allocations": 1}).status == 429
    assert update(server, "a", 1).status == 200
    assert endpoint(server, "e", {"num_allocations": 1}).status == 200
    want = infer(server, "a").json["inference_results"]
    server.settings["node.processors"] = "1"
    server.restart()
    for name in ("a", "b", "e"):
        wait_until(lambda n=name: stats(server, n) and stats(server, n)["state"] == "started", 20, name)
        assert infer(server, name).json["inference_results"] == want
        assert running(server, name) == 1
    check_refused(ask_to_start(server, "c"), server, have=1, free=0, need=1)
