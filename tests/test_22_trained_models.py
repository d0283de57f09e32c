"""Uploaded models from PUT to DELETE: with the official client, by hand, and through kill -9."""
import base64
import glob
import json
import os
import random
import threading

import pytest
from elasticsearch import ApiError, Elasticsearch, NotFoundError

import inferd
from inferd import PASSWORD, wait_until

MODELS = "/_ml/trained_models"
TINY = os.path.join(os.path.dirname(__file__), "fixtures", "models", "eland_tiny")
NAMES = sorted(os.path.basename(p) for p in glob.glob(os.path.join(TINY, "*")))
CONFIG = {"model_type": "pytorch", "inference_config": {"pass_through": {}}}
WORDS = {"vocabulary": ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a"]}


def tiny(name):
    folder = os.path.join(TINY, name)
    with open(os.path.join(folder, "config.json")) as c, \
            open(os.path.join(folder, "vocabulary.json")) as v, \
            open(os.path.join(folder, "model.pt"), "rb") as m:
        return json.load(c), json.load(v), m.read()


def b64(data):
    return base64.b64encode(data).decode()


def part(data, total, parts):
    return {"definition": b64(data), "total_definition_length": total, "total_parts": parts}


@pytest.fixture
def models(server):
    """The shared server without models."""
    yield server
    for config in server.get(MODELS + "?size=1000").json["trained_model_configs"]:
        server.delete(f"{MODELS}/{config['model_id']}?force=true")


@pytest.fixture
def client(models):
    with Elasticsearch(models.url, basic_auth=("elastic", PASSWORD)) as es:
        yield es


def contains(whole, piece):
    if isinstance(piece, dict):
        return all(k in whole and contains(whole[k], v) for k, v in piece.items())
    return whole == piece


@pytest.mark.parametrize("name", NAMES)
def test_what_eland_sends_comes_back(client, name):
    config, vocabulary, data = tiny(name)
    made = client.ml.put_trained_model(model_id=name, **config)
    assert contains(made.body, config)
    size = len(data) // 3 + 1
    pieces = [data[i:i + size] for i in range(0, len(data), size)]
    for i, piece in enumerate(pieces):
        answer = client.ml.put_trained_model_definition_part(
            model_id=name, part=i, definition=b64(piece), total_definition_length=len(data),
            total_parts=len(pieces))
        assert answer.body == {"acknowledged": True}
    shown = client.ml.get_trained_models(model_id=name, include="definition_status").body
    assert shown["trained_model_configs"][0].pop("fully_defined") is False
    answer = client.ml.put_trained_model_vocabulary(model_id=name, **vocabulary)
    assert answer.body == {"acknowledged": True}
    shown = client.ml.get_trained_models(model_id=name, include="definition_status").body
    assert shown["count"] == 1
    assert shown["trained_model_configs"][0].pop("fully_defined") is True
    assert shown["trained_model_configs"] == [made.body]
    # What GET shows without what the server made up is what a PUT takes.
    bare = client.ml.get_trained_models(model_id=name, exclude_generated=True).body
    bare = bare["trained_model_configs"][0]
    assert "create_time" not in bare and "created_by" not in bare
    assert client.ml.delete_trained_model(model_id=name).body == {"acknowledged": True}
    del bare["location"]
    again = client.ml.put_trained_model(**bare)
    assert again.body["inference_config"] == made.body["inference_config"]
    with pytest.raises(ApiError) as e:
        client.ml.put_trained_model(**bare)
    assert (e.value.status_code, e.value.error) == (400, "resource_already_exists_exception")


def test_lists(client):
    for name in ("a1", "a2", "b1"):
        client.ml.put_trained_model(model_id=name, tags=["t", name + "t"], **CONFIG)

    def ids(**kw):
        body = client.ml.get_trained_models(**kw).body
        return body["count"], [m["model_id"] for m in body["trained_model_configs"]]
    assert ids() == ids(model_id="*") == ids(model_id="_all") == (3, ["a1", "a2", "b1"])
    assert ids(model_id="a*") == (2, ["a1", "a2"])
    assert ids(model_id=["b1", "a1"]) == (2, ["a1", "b1"])
    assert ids(size=1, from_=1) == (3, ["a2"])
    assert ids(from_=7) == (3, [])
    assert ids(tags="t,b1t") == (1, ["b1"])
    assert ids(model_id="q*") == (0, [])
    for query in ({"model_id": "q"}, {"model_id": "q,a1"}, {"model_id": "q*",
                                                            "allow_no_match": False}):
        with pytest.raises(NotFoundError) as e:
            client.ml.get_trained_models(**query)
        assert e.value.message == "resource_not_found_exception"
        missing = query["model_id"].split(",")[0]
        assert e.value.body["error"]["reason"] == \
            f"No known trained model with model_id [{missing}]"
    assert ids(model_id="a1", include="definition") == (1, ["a1"])


def test_aliases(client):
    for name in ("m", "n"):
        client.ml.put_trained_model(model_id=name, **CONFIG)
    client.ml.put_trained_model_alias(model_id="m", model_alias="al")
    shown = client.ml.get_trained_models(model_id="al").body["trained_model_configs"][0]
    assert shown["model_id"] == "m" and shown["metadata"] == {"model_aliases": ["al"]}
    with pytest.raises(ApiError) as e:
        client.ml.put_trained_model_alias(model_id="n", model_alias="al")
    assert e.value.status_code == 400
    client.ml.put_trained_model_alias(model_id="n", model_alias="al", reassign=True)
    with pytest.raises(ApiError) as e:
        client.ml.delete_trained_model_alias(model_id="m", model_alias="al")
    assert e.value.status_code == 409
    client.ml.delete_trained_model_alias(model_id="n", model_alias="al")
    assert "metadata" not in client.ml.get_trained_models(
        model_id="n").body["trained_model_configs"][0]


@pytest.mark.parametrize("path, body, status, kind, reason", [
    ("/m/definition/x", part(b"a", 1, 1), 400, "illegal_argument_exception",
     "Failed to parse int parameter [part] with value [x]"),
    ("/m/definition/-1", part(b"a", 0, 0), 400, "action_request_validation_exception",
     "Validation Failed: 1: [part] must be greater or equal to 0;2: [total_parts] must be greater "
     "than 0;3: [total_definition_length] must be greater than 0;"),
    ("/m/definition/0", {"total_definition_length": 1, "total_parts": 10001}, 400,
     "action_request_validation_exception", "Validation Failed: 1: [definition] must not be null.;"
     "2: [total_parts] must be less than or equal to 10000;"),
    ("/m/definition/3", part(b"a", 1, 3), 400, "action_request_validation_exception",
     "Validation Failed: 1: [part] must be less than total_parts;"),
    ("/nope/definition/0", part(b"a", 1, 1), 404, "resource_not_found_exception",
     "No known trained model with model_id [nope]"),
    ("/m/definition/0", {**part(b"a", 1, 1), "more": 1}, 400, "x_content_parse_exception",
     "[1:72] [trained_model_definition_doc] unknown field [more]"),
    ("/m/definition/0", {**part(b"a", 1, 1), "definition": "YQ"}, 400,
     "x_content_parse_exception",
     "[trained_model_definition_doc] failed to parse field [definition]"),
    ("/m/vocabulary", {"vocabulary": []}, 400, None, None),
    ("/m/vocabulary", "{", 400, None, None),
    ("/m/vocabulary", "[]", 400, "x_content_parse_exception",
     "[1:1] Expected START_OBJECT but got [[]]"),
    ("/m/vocabulary", None, 400, "parse_exception", "request body is required"),
    ("/nope/vocabulary", WORDS, 404, "resource_not_found_exception",
     "No known trained model with model_id [nope]"),
    ("/m?x=1", CONFIG, 400, "illegal_argument_exception",
     "request [/_ml/trained_models/m] contains unrecognized parameter: [x]"),
    ("/%2e%2e%2fm", CONFIG, 400, "action_request_validation_exception",
     "Validation Failed: 1: Invalid model_id; '../m' can contain lowercase alphanumeric (a-z and "
     "0-9), hyphens or underscores; must start and end with alphanumeric;"),
])
def test_refusals(models, path, body, status, kind, reason):
    assert models.put(MODELS + "/m", CONFIG).status == 200
    answer = models.put(MODELS + path, body)
    assert answer.status == status
    if kind:
        assert (answer.type, answer.reason) == (kind, reason)


def test_get_refusals(models):
    for query, text in {
            "?from=-1": "Parameter [from] cannot be < 0",
            "?size=x": "Failed to parse int parameter [size] with value [x]",
            "?include=x": "unknown [include] parameter [x]. Valid options are [definition, "
                          "total_feature_importance, feature_importance_baseline, "
                          "hyperparameters, definition_status]"}.items():
        answer = models.get(MODELS + query)
        assert (answer.status, answer.reason) == (400, text)
    for name in ("a", "b"):
        models.put(f"{MODELS}/{name}", CONFIG)
    answer = models.get(MODELS + "?include=definition")
    assert (answer.status, answer.reason) == (
        400, "Getting model definition is not supported when getting more than one model")
    answer = models.delete(MODELS + "/nope")
    assert (answer.status, answer.reason) == (404, "Could not find trained model [nope]")
    assert models.request("HEAD", MODELS + "/a").status == 200
    assert models.request("HEAD", MODELS + "/nope").status == 404


def test_cat(models, client):
    models.put(MODELS + "/m", {**CONFIG, "description": "a\nb", "model_size_bytes": 94027})
    models.put(MODELS + "/model2", CONFIG)
    answer = models.get("/_cat/ml/trained_models?v&h=id,hs,t,d", headers={"accept": None})
    assert answer.header("content-type") == "text/plain; charset=UTF-8"
    assert answer.text == ("id     heap_size type    description\n"
                           "m         91.8kb pytorch         a b\n"
                           "model2        0b pytorch            \n")
    rows = models.get("/_cat/ml/trained_models/m*?format=json&s=id:desc").json
    assert [r["id"] for r in rows] == ["model2", "m"]
    assert list(rows[0]) == ["id", "heap_size", "operations", "create_time", "type",
                             "ingest.pipelines", "data_frame.id"]
    assert models.get("/_cat/ml/trained_models/q").status == 404
    assert "the trained model id" in models.get("/_cat/ml/trained_models?help").text
    assert client.cat.ml_trained_models(h="id").body == "m\nmodel2\n"
    assert client.cat.ml_trained_models(format="json", h="id").body == [
        {"id": "m"}, {"id": "model2"}]


def test_info(client):
    info = client.ml.info().body
    assert info["defaults"]["anomaly_detectors"]["categorization_analyzer"]["tokenizer"] == \
        "ml_standard"
    assert info["limits"]["total_ml_processors"] >= 1


# --- disk and memory ---

def put_parts(server, model, data, size, order=None):
    pieces = [data[i:i + size] for i in range(0, len(data), size)]
    for i in order or range(len(pieces)):
        answer = server.put(f"{MODELS}/{model}/definition/{i}",
                            part(pieces[i], len(data), len(pieces)))
        assert answer.status == 200, answer


def stored(server, *names):
    return os.path.join(server.data, "trained_models", *names)


def test_parts_may_come_in_any_order(models):
    data = bytes(range(256)) * 40
    models.put(MODELS + "/m", CONFIG)
    assert models.put(MODELS + "/m/vocabulary", WORDS).status == 200
    put_parts(models, "m", data, 1000, order=random.Random(7).sample(range(11), 11))
    shown = models.get(MODELS + "/m?include=definition_status").json["trained_model_configs"][0]
    assert shown["fully_defined"] is True
    answer = models.put(MODELS + "/m/definition/3", part(b"x", len(data), 11))
    assert (answer.status, answer.type, answer.reason) == (
        400, "resource_already_exists_exception",
        "Trained machine learning model chunked doc [m][3] already exists")
    answer = models.put(MODELS + "/m/vocabulary", WORDS)
    assert (answer.status, answer.type) == (400, "resource_already_exists_exception")


def memory(server, field):
    with open(f"/proc/{server.process.pid}/status") as f:
        return next(int(line.split()[1]) for line in f if line.startswith(field)) * 1024


def test_an_upload_of_200_mb_keeps_memory_flat(spawn, slow_binary):
    server = spawn()
    total = 20 if slow_binary else 200
    piece = random.Random(1).randbytes(1 << 20)
    body = json.dumps(part(piece, total << 20, total))
    server.put(MODELS + "/m", CONFIG)
    for i in range(10):
        assert server.put(f"{MODELS}/m/definition/{i}", body).status == 200
    before, peak = memory(server, "VmRSS"), memory(server, "VmHWM")
    for i in range(10, total):
        assert server.put(f"{MODELS}/m/definition/{i}", body).status == 200
    if not slow_binary:  # sanitizers keep what was freed for a while
        assert memory(server, "VmRSS") < before + (24 << 20)
        assert memory(server, "VmHWM") < peak + (24 << 20)
    assert len(os.listdir(stored(server, "m", "parts"))) == total
    assert server.delete(MODELS + "/m").status == 200
    assert os.listdir(stored(server)) == []


def test_a_large_part_gives_its_memory_back(spawn, slow_binary):
    server = spawn()
    size = (4 if slow_binary else 60) << 20
    body = json.dumps(part(b"\0" * size, 2 * size, 2))
    server.put(MODELS + "/m", CONFIG)
    before = memory(server, "VmRSS")
    assert server.put(MODELS + "/m/definition/1", body).status == 200
    assert os.path.getsize(stored(server, "m", "parts", f"1.2.{2 * size}")) == size
    if not slow_binary:
        wait_until(lambda: memory(server, "VmRSS") < before + (32 << 20), 5, "memory back")
    answer = server.put(MODELS + "/m/definition/0", b"{" + b" " * (101 << 20))
    assert answer.status == 413


def test_kill_between_parts_then_resume(spawn):
    server = spawn()
    data = random.Random(2).randbytes(5000)
    server.put(MODELS + "/m", CONFIG)
    put_parts(server, "m", data, 1000, order=[0, 4, 2])
    server.put(MODELS + "/m/vocabulary", WORDS)
    server.kill()
    with open(stored(server, "m", "parts", "1.5.5000.new"), "wb") as f:
        f.write(data[1000:1500])  # as if the kill had come while it was written
    server.start()
    assert not os.path.exists(stored(server, "m", "parts", "1.5.5000.new"))
    # A client that had no answer sends the same again; another one's bytes are refused.
    assert server.put(MODELS + "/m/definition/4", part(b"x" * 1000, 5000, 5)).status == 400
    put_parts(server, "m", data, 1000)
    assert server.put(MODELS + "/m/vocabulary", WORDS).status == 200
    shown = server.get(MODELS + "/m?include=definition_status").json["trained_model_configs"][0]
    assert shown["fully_defined"] is True
    server.restart()
    shown = server.get(MODELS + "/m?include=definition_status").json["trained_model_configs"][0]
    assert shown["fully_defined"] is True


def test_kill_at_any_moment_loses_nothing_acknowledged(spawn, slow_binary):
    server = spawn()
    luck = random.Random(3)
    for round in range(2 if slow_binary else 5):
        model, acknowledged, seen = f"m{round}x", [], threading.Event()
        data = luck.randbytes(200_000)
        assert server.put(f"{MODELS}/{model}", CONFIG).status == 200

        def upload():
            try:
                for i in range(200):
                    body = part(data[i * 1000:(i + 1) * 1000], len(data), 200)
                    if server.put(f"{MODELS}/{model}/definition/{i}", body).status == 200:
                        acknowledged.append(i)
                    seen.set()
            except OSError:
                pass
            except Exception as e:  # a broken answer is no answer
                assert "http.client" in type(e).__module__
        thread = threading.Thread(target=upload)
        thread.start()
        seen.wait(20)
        threading.Event().wait(luck.random() * 0.05)
        server.kill()
        thread.join()
        server.start()
        names = os.listdir(stored(server, model, "parts"))
        for i in acknowledged:
            assert f"{i}.200.200000" in names
            with open(stored(server, model, "parts", f"{i}.200.200000"), "rb") as f:
                assert f.read() == data[i * 1000:(i + 1) * 1000]
        assert not [n for n in names if n.endswith(".new")]
        put_parts(server, model, data, 1000)


def test_a_deleted_model_leaves_nothing(spawn):
    server = spawn()
    data = b"abc" * 1000
    server.put(MODELS + "/m", CONFIG)
    put_parts(server, "m", data, 1000, order=[1])
    assert server.delete(MODELS + "/m").json == {"acknowledged": True}
    assert not os.path.exists(stored(server, "m"))
    os.makedirs(stored(server, "left", "parts"))
    server.put(MODELS + "/m", CONFIG)
    server.kill()
    server.start()
    assert not os.path.exists(stored(server, "left"))
    assert server.get(MODELS + "/m").status == 200


def test_a_store_in_memory_leaves_models_on_disk_alone(spawn):
    server = spawn()
    server.put(MODELS + "/m", CONFIG)
    put_parts(server, "m", b"abc", 1, order=[0])
    server.stop()
    server.settings["store"] = "memory"
    server.start()
    assert server.get(MODELS).json["count"] == 0
    server.put(MODELS + "/other", CONFIG)
    server.stop()
    server.settings["store"] = "sqlite"
    server.start()
    assert server.get(MODELS).json["count"] == 1
    assert os.listdir(stored(server, "m", "parts")) == ["0.3.3"]


# --- path.models ---

def make_package(folder, name, source):
    config, vocabulary, data = tiny(source)
    metadata = {"packaged_model_id": name, "size": len(data), "model_type": "pytorch",
                "description": config["description"], "tags": ["local"],
                "inference_config": config["inference_config"],
                "vocabulary_file": name + ".vocab.json"}
    for suffix, text in ((".metadata.json", json.dumps(metadata)),
                         (".vocab.json", json.dumps(vocabulary))):
        with open(os.path.join(folder, name + suffix), "w") as f:
            f.write(text)
    with open(os.path.join(folder, name + ".pt"), "wb") as f:
        f.write(data)
    return metadata


def test_packages_in_path_models(spawn, tmp_path):
    folder = tmp_path / "models"
    folder.mkdir()
    metadata = make_package(str(folder), "my-elser", "elser_like_text_expansion")
    server = spawn({"path.models": str(folder)})
    shown = server.get(MODELS + "/my-elser?include=definition_status").json
    config = shown["trained_model_configs"][0]
    assert config["fully_defined"] is True and config["model_package"] == metadata
    assert config["tags"] == ["local"] and "text_expansion" in config["inference_config"]
    assert server.delete(MODELS + "/my-elser").status == 409
    assert server.put(MODELS + "/my-elser", CONFIG).status == 200  # what is uploaded hides it
    assert "model_package" not in server.get(MODELS + "/my-elser").text
    assert server.delete(MODELS + "/my-elser").status == 200
    assert "model_package" in server.get(MODELS + "/my-elser").text


def test_what_is_deployed_is_not_deleted_unless_forced(spawn):
    server = spawn()
    config, vocabulary, data = tiny("bert_text_embedding")
    server.put(MODELS + "/m", config)
    put_parts(server, "m", data, 40000, order=[2, 0, 1])
    server.put(MODELS + "/m/vocabulary", vocabulary)
    server.put(MODELS + "/m/model_aliases/al", None)
    assert server.post(MODELS + "/m/deployment/_start?deployment_id=d").status == 200
    assert os.listdir(stored(server, "m")) != ["parts"]
    answer = server.delete(MODELS + "/m")
    assert (answer.status, answer.reason) == (
        409, "Cannot delete model [m] as it is currently deployed; use force to delete the model")
    answer = server.put(MODELS + "/d", CONFIG)
    assert (answer.status, answer.reason) == (
        400, "Cannot create model [d] the id is the same as an current model deployment")
    assert server.delete(MODELS + "/m?force=true").json == {"acknowledged": True}
    assert server.get(MODELS + "/m").status == server.get(MODELS + "/al").status == 404
    assert server.post(MODELS + "/al/_infer", {"docs": [{"text_field": "a"}]}).status == 404
    assert os.listdir(stored(server)) == []


def test_an_archive_that_can_never_run_is_refused_with_its_last_part(spawn):
    """By name, and at once; the next upload begins anew."""
    import io
    import zipfile
    server = spawn()
    server.put(MODELS + "/m", CONFIG)
    evil = io.BytesIO()
    with zipfile.ZipFile(evil, "w") as z:
        z.writestr("m/version", "3")
        z.writestr("m/data.pkl", b"\x80\x02cos\nsystem\nq\x00X\x02\x00\x00\x00idq\x01\x85q\x02Rq\x03.")
        z.writestr("m/constants.pkl", b"\x80\x02).")
    data = evil.getvalue()
    assert server.put(MODELS + "/m/definition/1", part(data[200:], len(data), 2)).status == 200
    refused = server.put(MODELS + "/m/definition/0", part(data[:200], len(data), 2))
    assert refused.status == 400
    assert "[data.pkl] names the global [os.system]" in refused.text
    assert os.listdir(stored(server, "m")) == []
    assert server.post(MODELS + "/m/deployment/_start").status == 404
    put_parts(server, "m", b"x" * 100, 40)
