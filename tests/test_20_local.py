"""The elasticsearch service: a real all-MiniLM-L6-v2, held against what sentence-transformers says.

Needs INFERD_TEST_MODELS, a folder that holds all-minilm-l6-v2 in Hugging Face snapshot layout.
"""
import concurrent.futures
import json
import math
import os
import shutil
import threading
import time

import pytest

from inferd import FACTOR, Inferd, wait_until

MODELS = os.environ.get("INFERD_TEST_MODELS", "")
MODEL = "all-minilm-l6-v2"
HERE = os.path.dirname(__file__)
SETTINGS = {"model_id": MODEL, "num_allocations": 1, "num_threads": 1}
PATH = "/_inference/text_embedding/minilm"
# Made with sentence-transformers on the CPU, fp32; see the fixture's own "how".
with open(os.path.join(HERE, "fixtures", "minilm_examples.json")) as f:
    EXAMPLES = {t["name"]: t for t in json.load(f)["texts"]}

needs_model = pytest.mark.skipif(
    not os.path.isfile(os.path.join(MODELS, MODEL, "model.safetensors")),
    reason=f"INFERD_TEST_MODELS names no folder with {MODEL}")


def cosine(a, b):
    return (sum(x * y for x, y in zip(a, b)) /
            math.sqrt(sum(x * x for x in a) * sum(y * y for y in b)))


def embed(server, texts, **more):
    answer = server.post(PATH + "?timeout=50s", {"input": texts, **more})
    assert answer.status == 200, answer
    return [item["embedding"] for item in answer.json["text_embedding"]]


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    s = Inferd(tmp_path_factory.mktemp("local"), settings={"path.models": MODELS}).start()
    answer = s.put(PATH + "?timeout=50s", {"service": "elasticsearch",
                                           "service_settings": SETTINGS})
    assert answer.status == 200, answer
    s.made = answer.json
    yield s
    s.stop(20)


@pytest.fixture
def alone(tmp_path):
    """alone(models): a server of the story's own."""
    servers = []

    def make(models=MODELS, **settings):
        s = Inferd(tmp_path / "own", settings={"path.models": str(models), **settings}).start()
        servers.append(s)
        return s
    yield make
    for s in servers:
        s.stop(20)


@needs_model
def test_the_endpoint(local):
    assert local.made == {
        "inference_id": "minilm", "task_type": "text_embedding", "service": "elasticsearch",
        "service_settings": {"num_allocations": 1, "num_threads": 1, "model_id": MODEL,
                             "dimensions": 384, "similarity": "cosine", "element_type": "float"},
        "chunking_settings": {"strategy": "sentence", "max_chunk_size": 250,
                              "sentence_overlap": 1}}
    assert list(local.made["service_settings"])[:3] == ["num_allocations", "num_threads", "model_id"]
    assert local.get("/_inference/minilm").json == {"endpoints": [local.made]}


@needs_model
@pytest.mark.parametrize("name", EXAMPLES)
def test_embeddings_are_those_of_sentence_transformers(local, name):
    example = EXAMPLES[name]
    (got,) = embed(local, example["text"])
    assert len(got) == 384
    assert cosine(got, example["embedding_256"]) >= 0.99999
    assert max(abs(a - b) for a, b in zip(got, example["embedding_256"])) < 1e-4
    assert abs(math.sqrt(sum(x * x for x in got)) - 1) < 1e-4


@needs_model
def test_a_batch_gives_what_single_calls_give(local):
    """Padding next to longer texts must not change a result."""
    examples = list(EXAMPLES.values()) * (3 if FACTOR == 1 else 1)
    for example, got in zip(examples, embed(local, [e["text"] for e in examples])):
        assert cosine(got, example["embedding_256"]) >= 0.99999, example["name"]


@needs_model
def test_a_long_text_is_cut_at_the_models_limit(local):
    text = EXAMPLES["long_truncated"]["text"]
    long, longer = embed(local, [text, text + " and something quite different" * 50])
    assert cosine(long, longer) > 0.999999
    (huge,) = embed(local, "word " * (200000 if FACTOR == 1 else 20000))
    assert len(huge) == 384


@needs_model
def test_similar_texts_are_near(local):
    cat, kitten, invoice = embed(local, ["A cat sleeps on the sofa.",
                                         "A kitten naps on the couch.",
                                         "The invoice is due on Friday."])
    assert cosine(cat, kitten) > cosine(cat, invoice) + 0.3


@needs_model
def test_many_clients_at_once(local):
    examples = list(EXAMPLES.values())

    def one(i):
        example = examples[i % len(examples)]
        (got,) = embed(local, example["text"])
        return cosine(got, example["embedding_256"])
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        assert min(pool.map(one, range(96 if FACTOR == 1 else 24))) >= 0.99999


@needs_model
def test_a_queue_that_one_key_has_filled_lets_another_in(alone):
    s = alone(**{"inference.local.queue_capacity": 16})
    assert s.put(PATH + "?timeout=50s", {"service": "elasticsearch",
                                         "service_settings": SETTINGS}).status == 200
    heavy, light = ("ApiKey " + s.post("/_security/api_key", {"name": n}).json["encoded"]
                    for n in ("heavy", "light"))
    stop, statuses = threading.Event(), []

    def flood():
        while not stop.is_set():
            statuses.append(s.post(PATH, {"input": "heavy words " * (40 if FACTOR == 1 else 2)}, auth=heavy).status)
    threads = [threading.Thread(target=flood) for _ in range(40)]
    for t in threads:
        t.start()
    try:
        wait_until(lambda: 429 in statuses)
        light_statuses = [s.post(PATH, {"input": "light"}, auth=light).status
                          for _ in range(10 if FACTOR == 1 else 3)]
    finally:
        stop.set()
        for t in threads:
            t.join()
    assert set(light_statuses) == {200}
    assert set(statuses) == {200, 429}


@needs_model
@pytest.mark.parametrize("body, part", [
    ({}, "Field [input] cannot be null"), ({"input": []}, "Field [input] cannot be an empty array"),
    ({"input": "x", "query": "q"}, "Field [query] cannot be specified"),
    ({"input": "x", "task_settings": {"foo": 1}}, "foo"),
])
def test_refused_calls(local, body, part):
    answer = local.post(PATH, body)
    assert answer.status == 400 and part in answer.reason


@needs_model
def test_input_types(local):
    plain, search, ingest = (embed(local, "x", **more)[0] for more in (
        {}, {"input_type": "search"}, {"input_type": "ingest"}))
    assert cosine(plain, search) > 0.999 and cosine(plain, ingest) > 0.999


@needs_model
def test_it_does_not_stream(local):
    stream = local.stream(PATH + "/_stream", {"input": "x"})
    assert stream.status == 405
    ((name, data),) = stream.all()
    assert json.loads(data)["error"]["reason"].startswith(
        "Streaming is not allowed for service [elasticsearch]")


@needs_model
def test_the_id_of_a_running_deployment_is_taken(local):
    answer = local.put(PATH, {"service": "elasticsearch", "service_settings": SETTINGS})
    assert answer.status == 400
    assert answer.reason == (
        "Inference endpoint IDs must be unique. Requested inference endpoint ID [minilm] matches "
        "existing trained model ID(s) but must not.")


@needs_model
def test_allocations_can_be_changed(local):
    answer = local.put("/_inference/minilm/_update", {"service_settings": {"num_allocations": 2}})
    assert answer.status == 200
    assert answer.json["service_settings"]["num_allocations"] == 2
    assert local.get("/_inference/minilm").json["endpoints"] == [answer.json]
    test_many_clients_at_once(local)
    for bad in ({"num_allocations": 0}, {"num_allocations": "x"}, {"model_id": "other"},
                {"num_threads": 2}):
        assert local.put("/_inference/minilm/_update", {"service_settings": bad}).status == 400
    answer = local.put("/_inference/minilm/_update", {"service_settings": {"num_allocations": 1}})
    assert answer.json["service_settings"]["num_allocations"] == 1
    assert local.get("/_inference/minilm").json["endpoints"] == [local.made]


@needs_model
def test_two_endpoints_on_one_model(local):
    made = local.put("/_inference/text_embedding/second?timeout=50s", {
        "service": "elasticsearch", "service_settings": SETTINGS})
    assert made.status == 200
    answer = local.post("/_inference/second", {"input": EXAMPLES["plain"]["text"]})
    got = answer.json["text_embedding"][0]["embedding"]
    assert cosine(got, EXAMPLES["plain"]["embedding_256"]) >= 0.99999
    assert local.delete("/_inference/second").status == 200
    assert local.post("/_inference/second", {"input": "x"}).status == 404
    assert len(embed(local, "still here")) == 1


@needs_model
def test_delete_and_create_again(local):
    for _ in range(3):
        path = "/_inference/text_embedding/again?timeout=50s"
        assert local.put(path, {"service": "elasticsearch",
                                "service_settings": SETTINGS}).status == 200
        assert local.post("/_inference/again", {"input": "x"}).status == 200
        assert local.delete("/_inference/again").status == 200


@needs_model
def test_deleting_while_calls_run(local):
    """Every call ends, one way or the other; nothing hangs and nothing crashes."""
    assert local.put("/_inference/text_embedding/busy?timeout=50s", {
        "service": "elasticsearch", "service_settings": SETTINGS}).status == 200
    statuses = []
    texts = [EXAMPLES["paragraph"]["text"]] * 8
    threads = [threading.Thread(target=lambda: statuses.append(
        local.post("/_inference/busy", {"input": texts}).status)) for _ in range(8)]
    for t in threads:
        t.start()
    time.sleep(0.05)
    assert local.delete("/_inference/busy").status == 200
    for t in threads:
        t.join(30 * FACTOR)
    assert len(statuses) == 8 and set(statuses) <= {200, 404, 400, 409, 503}, statuses


@needs_model
def test_a_call_that_times_out_or_leaves(local):
    texts = [EXAMPLES["paragraph"]["text"]] * 300
    answer = local.post(PATH + "?timeout=30ms", {"input": texts})
    assert (answer.status, answer.reason) == (408, "Request timed out after [30ms]")
    body, head = local.head({"input": texts}, None, True)
    connection = local.connect()
    connection.request("POST", PATH, body, head)
    connection.sock.close()
    connection.close()
    (got,) = embed(local, EXAMPLES["plain"]["text"])
    assert cosine(got, EXAMPLES["plain"]["embedding_256"]) >= 0.99999


def waiting(server):
    """Texts in the queue of a local model: the big call is in before a small one may be."""
    lines = server.get("/_prometheus/metrics").text.splitlines()
    return int(next(l for l in lines if l.startswith("inferd_local_queue ")).split()[1])


@needs_model
def test_a_full_queue_is_429(alone):
    server = alone(**{"inference.local.queue_capacity": "4"})
    assert server.put(PATH + "?timeout=50s", {"service": "elasticsearch",
                                              "service_settings": SETTINGS}).status == 200
    big = []
    thread = threading.Thread(target=lambda: big.append(
        server.post(PATH + "?timeout=5m", {
            "input": [EXAMPLES["paragraph"]["text"]] * (60 if FACTOR == 1 else 20)})))
    thread.start()
    wait_until(lambda: waiting(server) > 0 or not thread.is_alive(), 30)
    answers = []
    while thread.is_alive() and not any(a.status == 429 for a in answers):
        answers.append(server.post(PATH, {"input": "small"}))
    thread.join(30 * FACTOR)
    assert big[0].status == 200, "a call larger than the queue is let into an empty one"
    full = [a for a in answers if a.status == 429]
    assert full, "nothing was refused while the queue was over its limit"
    assert full[0].type == "es_rejected_execution_exception"
    assert full[0].reason == "inference process queue is full. Unable to execute command"
    assert len(embed(server, "x")) == 1


@needs_model
def test_a_restart_brings_it_back(alone):
    server = alone()
    made = server.put(PATH + "?timeout=50s", {"service": "elasticsearch",
                                              "service_settings": SETTINGS}).json
    before = embed(server, "the same text")[0]
    server.stop(20)
    server.start()
    assert server.get("/_inference/minilm").json == {"endpoints": [made]}
    def answered():
        answer = server.post(PATH, {"input": "the same text"})
        return answer if answer.status == 200 else None
    after = wait_until(answered, 20).json["text_embedding"][0]["embedding"]
    assert cosine(before, after) > 0.9999999
    server.kill()
    server.start()
    assert wait_until(answered, 20)


# ---- how many allocations ----

NUMBER = "Validation Failed: 1: [number_of_allocations] cannot be set if adaptive allocations is enabled;"


@needs_model
def test_a_number_of_allocations_or_adaptive_ones(local):
    path = "/_inference/text_embedding/counted"
    def put(**settings):
        return local.put(path + "?timeout=50s", {"service": "elasticsearch", "service_settings": {
            "model_id": MODEL, "num_threads": 1, **settings}})

    def update(**settings):
        return local.put(path + "/_update", {"service_settings": settings})
    on, off = {"enabled": True, "min_number_of_allocations": 1}, {"enabled": False}
    answer = put(num_allocations=1, adaptive_allocations=on)
    assert (answer.status, answer.type, answer.reason) == (400, "action_request_validation_exception", NUMBER)
    assert local.get(path).status == 404, "nothing was made"
    assert put(num_allocations=1, adaptive_allocations=off).status == 200
    answer = update(num_allocations=2, adaptive_allocations=on)
    assert (answer.status, answer.type, answer.reason) == (400, "action_request_validation_exception", NUMBER)
    assert update(adaptive_allocations=on).status == 200
    answer = update(num_allocations=2)
    assert (answer.status, answer.type, answer.reason) == (400, "validation_exception", NUMBER)
    assert update(num_allocations=1, adaptive_allocations=off).status == 200
    assert local.post(path, {"input": "a"}).status == 200
    assert local.delete(path).status == 200


# ---- what a configuration or a model may have wrong ----

BAD_SETTINGS = [
    ({"num_allocations": 1, "num_threads": 1}, None),
    ({"model_id": MODEL, "num_threads": 1}, "Validation Failed: 1: [service_settings] does not "
     "contain one of the required settings [num_allocations, adaptive_allocations];"),
    ({"model_id": MODEL, "num_allocations": 1}, "Validation Failed: 1: [service_settings] does not "
     "contain the required setting [num_threads];"),
    ({"model_id": MODEL, "num_allocations": 0, "num_threads": 1}, "Validation Failed: 1: "
     "[service_settings] Invalid value [0]. [num_allocations] must be a positive integer;"),
    ({"model_id": MODEL, "num_allocations": 1, "num_threads": "x"}, "Validation Failed: 1: field "
     "[num_threads] is not of the expected type. The value [x] cannot be converted to a "
     "[Integer];"),
    ({"model_id": MODEL, "num_allocations": 1, "num_threads": 3}, None),
    ({"model_id": MODEL, "num_allocations": 1, "num_threads": 64}, None),
    (dict(SETTINGS, foo="bar"), None),
    (dict(SETTINGS, api_key="x"), None),
]


@pytest.mark.parametrize("settings, reason", BAD_SETTINGS)
def test_refused_settings(server, settings, reason):
    answer = server.put("/_inference/text_embedding/x", {"service": "elasticsearch",
                                                         "service_settings": settings})
    assert answer.status == 400, answer
    if reason:
        assert answer.reason == reason


@pytest.mark.parametrize("name", ["no-such-model", "../../etc", "..", "/etc", "a/b", "A B", "."])
def test_models_that_are_not_there(server, name):
    answer = server.put("/_inference/text_embedding/x", {
        "service": "elasticsearch", "service_settings": dict(SETTINGS, model_id=name)})
    assert answer.status in (400, 404), answer
    if name == "no-such-model":
        assert answer.status == 404
        assert answer.reason == "No known trained model with model_id [no-such-model]"
    assert server.get("/_inference/x").status == 404


def damaged(tmp_path, damage):
    """A folder of models with a copy of MiniLM in it, changed by damage(folder)."""
    folder = tmp_path / "models" / "broken"
    shutil.copytree(os.path.join(MODELS, MODEL), folder)
    for path, _, files in os.walk(folder):
        os.chmod(path, 0o755)
        for name in files:
            os.chmod(os.path.join(path, name), 0o644)
    damage(folder)
    return folder.parent


def write(name, data):
    return lambda folder: (folder / name).write_bytes(data)


def cut(name, n):
    def damage(folder):
        with open(folder / name, "r+b") as f:
            f.truncate(n)
    return damage


def flip_header(folder):
    """safetensors: a tensor that claims to lie beyond the end."""
    with open(folder / "model.safetensors", "r+b") as f:
        n = int.from_bytes(f.read(8), "little")
        header = json.loads(f.read(n))
        name = next(k for k in header if k != "__metadata__")
        header[name]["data_offsets"] = [0, 1 << 50]
        text = json.dumps(header).encode()[:n].ljust(n)
        f.seek(8)
        f.write(text)


def forget_config_member(folder):
    config = json.loads((folder / "config.json").read_text())
    config["hidden_size"] = 383
    (folder / "config.json").write_text(json.dumps(config))


DAMAGES = {
    "no weights": lambda f: (f / "model.safetensors").unlink(),
    "no config": lambda f: (f / "config.json").unlink(),
    "no tokenizer": lambda f: [(f / n).unlink() for n in ("tokenizer.json", "vocab.txt")],
    "empty weights": write("model.safetensors", b""),
    "cut weights": cut("model.safetensors", 1000000),
    "header only": cut("model.safetensors", 100),
    "huge header": write("model.safetensors", b"\xff" * 8 + b"{}"),
    "offsets beyond the end": flip_header,
    "config is no JSON": write("config.json", b"{"),
    "config of another kind": write("config.json", b'{"model_type": "nonsense"}'),
    "config does not fit the weights": forget_config_member,
    "tokenizer is no JSON": write("tokenizer.json", b"[" * 100),
    "tokenizer of another kind": write("tokenizer.json", b'{"model": {"type": "Nonsense"}}'),
}


@needs_model
@pytest.mark.parametrize("name", DAMAGES)
def test_a_broken_model_is_a_clear_refusal(alone, tmp_path, name):
    server = alone(damaged(tmp_path, DAMAGES[name]))
    answer = server.put("/_inference/text_embedding/x?timeout=50s", {
        "service": "elasticsearch", "service_settings": dict(SETTINGS, model_id="broken")})
    assert 400 <= answer.status < 500, answer
    assert len(answer.reason) > 20, answer
    assert server.get("/_inference/x").status == 404
    assert server.get("/_inference/_all").json == {"endpoints": [
        e for e in server.get("/_inference/_all").json["endpoints"]
        if e["inference_id"].startswith(".")]}
