"""Models that are decision trees: through the official client, against those who trained them."""
import base64
import glob
import gzip
import json
import os

import pytest
from elasticsearch import ApiError, Elasticsearch

from inferd import PASSWORD

MODELS = "/_ml/trained_models"
FIXTURES = os.path.join(os.path.dirname(__file__), "..", "src", "model", "trees", "*.json")
NAMES = sorted(os.path.basename(p)[:-5] for p in glob.glob(FIXTURES))
STUMP = {"input": {"field_names": ["a"]}, "inference_config": {"regression": {}},
         "definition": {"trained_model": {"tree": {
             "feature_names": ["a"], "tree_structure": [{"node_index": 0, "leaf_value": 2}]}}}}


def fixture(name):
    with open(FIXTURES.replace("*", name), encoding="utf-8") as f:
        return json.load(f)


@pytest.fixture
def models(server):
    yield server
    for config in server.get(MODELS + "?size=1000").json["trained_model_configs"]:
        server.delete(f"{MODELS}/{config['model_id']}?force=true")


@pytest.fixture
def client(models):
    with Elasticsearch(models.url, basic_auth=("elastic", PASSWORD)) as es:
        yield es


@pytest.mark.parametrize("name", NAMES)
def test_as_their_makers(client, name):
    case = fixture(name)
    made = client.ml.put_trained_model(model_id=name, **case["body"])
    assert made["model_type"] == "tree_ensemble" and made["model_size_bytes"] > 0
    results = client.ml.infer_trained_model(model_id=name, docs=case["docs"])["inference_results"]
    for have, want in zip(results, case["expected"], strict=True):
        if isinstance(want, list):
            have = {c["class_name"]: c["class_probability"] for c in have["top_classes"]}
            assert [have[f"class {i}"] for i in range(len(want))] == pytest.approx(want, abs=case["tolerance"])
        else:
            assert have["predicted_value"] == pytest.approx(want, rel=case["tolerance"])


def test_compressed_as_eland_sends_it(client):
    case = fixture("lightgbm_binary")
    body = dict(case["body"])
    definition = body.pop("definition")
    packed = base64.b64encode(gzip.compress(json.dumps(definition).encode())).decode()
    client.ml.put_trained_model(model_id="packed", compressed_definition=packed, **body)
    shown = client.ml.get_trained_models(model_id="packed", include="definition")
    assert shown["trained_model_configs"][0]["definition"] == definition
    shown = client.ml.get_trained_models(model_id="packed", include="definition", decompress_definition=False)
    assert "definition" not in shown["trained_model_configs"][0]
    assert shown["trained_model_configs"][0]["compressed_definition"] == packed
    shown = client.ml.get_trained_models(model_id="packed", include="definition_status")
    config = shown["trained_model_configs"][0]
    assert config["fully_defined"] is True
    assert not {"definition", "compressed_definition", "location"} & set(config)
    assert config["input"] == body["input"]
    client.ml.put_trained_model_alias(model_id="packed", model_alias="wrapped")
    for asked in ("packed", "wrapped"):
        result, = client.ml.infer_trained_model(
            model_id=asked, docs=case["docs"][:1], inference_config={
                "classification": {"num_top_classes": 0, "results_field": "r"}})["inference_results"]
        assert sorted(result) == ["prediction_probability", "prediction_score", "r"]


def test_is_no_pytorch_model(models):
    assert models.put(f"{MODELS}/t", STUMP).status == 200
    assert models.post(f"{MODELS}/t/_infer", {"docs": [{"a": 1}, {"b": 1}]}).json == {"inference_results": [
        {"predicted_value": 2.0}, {"warning": "Model [t] could not be inferred as all fields were missing"}]}
    answer = models.post(f"{MODELS}/t/deployment/_start")
    assert (answer.status, answer.reason) == (
        400, "model [t] of type [tree_ensemble] cannot be deployed. Only PyTorch models can be deployed")
    answer = models.put(f"{MODELS}/t/vocabulary", {"vocabulary": ["a"]})
    assert answer.reason == "cannot put vocabulary for model [t] as it is not an NLP model"
    answer = models.put(f"{MODELS}/t/definition/0", {"definition": "aaaa", "total_parts": 1,
                                                     "total_definition_length": 3})
    assert answer.status == 400
    answer = models.post(f"{MODELS}/t/_infer", {"docs": [{"a": 1}], "inference_config": {"ner": {}}})
    assert answer.reason == "Trained model [t] is configured for task [regression] but called with task [ner]"
    answer = models.put("/_inference/text_embedding/e", {"service": "elasticsearch", "service_settings": {
        "model_id": "t", "num_threads": 1, "num_allocations": 1}})
    assert answer.status == 400
    table = models.get("/_cat/ml/trained_models?format=json").json
    assert table[0]["type"] == "tree_ensemble"
    stats = models.get(f"{MODELS}/t/_stats").json["trained_model_stats"][0]
    assert stats["model_size_stats"]["required_native_memory_bytes"] == 0
    assert models.delete(f"{MODELS}/t").json == {"acknowledged": True}
    assert models.put(f"{MODELS}/l", {**STUMP, "model_type": "lang_ident"}).json["model_type"] == "lang_ident"


def test_hostile_definitions(client):
    def tree(*nodes):
        return {"trained_model": {"tree": {"feature_names": ["a"], "tree_structure": list(nodes)}}}

    def split(i, left, right, feature=0):
        return {"node_index": i, "split_feature": feature, "threshold": 0, "left_child": left, "right_child": right}
    leaf = {"node_index": 1, "leaf_value": 1}
    deep = [n for i in range(2000) for n in (
        split(2 * i, 2 * i + 1, 2 * i + 2), {"node_index": 2 * i + 1, "leaf_value": 1})]
    bad = [tree(split(0, 0, 1), leaf), tree(split(0, 1, 1), leaf), tree(split(0, 1, 7), leaf),
           tree(split(0, 1, 2, 5), leaf, {"node_index": 2, "leaf_value": 1}),
           tree(*deep, {"node_index": 4000, "leaf_value": 1}), tree(), {}, {"trained_model": {"tree": {}}}]
    for definition in bad:
        with pytest.raises(ApiError) as e:
            client.ml.put_trained_model(model_id="bad", **{**STUMP, "definition": definition})
        assert e.value.status_code == 400, definition
    bomb = base64.b64encode(gzip.compress(b" " * (40 << 20))).decode()
    body = {k: v for k, v in STUMP.items() if k != "definition"}
    with pytest.raises(ApiError) as e:
        client.ml.put_trained_model(model_id="bad", **body, compressed_definition=bomb)
    assert e.value.status_code == 400 and "Decompressed content is longer" in str(e.value.body)
    assert client.ml.get_trained_models(model_id="bad*")["count"] == 0


def test_survives_kill(spawn):
    case = fixture("encodings")
    server = spawn()
    assert server.put(f"{MODELS}/t", case["body"]).status == 200
    before = server.post(f"{MODELS}/t/_infer", {"docs": case["docs"]}).json
    server.kill()
    server.start()
    assert server.post(f"{MODELS}/t/_infer", {"docs": case["docs"]}).json == before
