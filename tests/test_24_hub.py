"""Snapshots fetched from a hub by their name: what is taken, what is not, and how far it is trusted."""
import hashlib
import json
import os

import pytest

from inferd import wait_until
from repository import Cut, Repository, Slow, Status
from test_21_local_kinds import create, model

SHA = "0123456789abcdef0123456789abcdef01234567"
LIST = "/api/models/org/tiny-model/revision/main?blobs=true"
FOLDER = "org__tiny-model"


def resolve(name):
    return f"/org/tiny-model/resolve/{SHA}/{name}"


class Hub(Repository):
    """Serves one folder as org/tiny-model, with what else such folders hold."""

    def __init__(self, folder):
        super().__init__()
        self.folder = {}
        for name in os.listdir(folder):
            with open(os.path.join(folder, name), "rb") as f:
                self.folder[name] = f.read()
        self.folder["pytorch_model.bin"] = b"\x80\x02."
        self.folder["modeling_tiny.py"] = b"raise SystemExit"
        self.folder["1_Pooling/config.json"] = b'{"pooling_mode_mean_tokens":true}'
        self.folder["onnx/model.onnx"] = b"onnx"
        self.publish()

    def publish(self, **more):
        siblings = []
        for name, data in self.folder.items():
            entry = {"rfilename": name, "size": len(data), "blobId": "x"}
            if name.endswith((".safetensors", ".bin")):
                entry["lfs"] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data),
                                "pointerSize": 134}
            siblings.append(entry)
            self.files[resolve(name)] = data
        listing = {"id": "org/tiny-model", "sha": SHA, "siblings": siblings, **more}
        self.files[LIST] = json.dumps(listing).encode()


@pytest.fixture
def hub(tmp_path):
    (tmp_path / "origin").mkdir()
    model(str(tmp_path / "origin"), "distilbert")
    h = Hub(str(tmp_path / "origin" / "distilbert"))
    yield h
    h.close()


@pytest.fixture
def server(spawn, hub, tmp_path):
    (tmp_path / "models").mkdir()
    s = spawn({"inference.hub.url": hub.url, "path.models": str(tmp_path / "models"),
               "node.processors": "8", "http.loops": "2"})
    s.models = str(tmp_path / "models")
    return s


def make(server, name="org/tiny-model"):
    return create(server, "text_embedding", name, "mine")


def test_a_snapshot_is_fetched_and_used(server, hub):
    answer = make(server)
    assert answer.status == 200, answer
    assert answer.json["service_settings"]["model_id"] == "org/tiny-model"
    texts = server.post("/_inference/mine", {"input": ["w10 w11"]})
    assert len(texts.json["text_embedding"][0]["embedding"]) == \
        answer.json["service_settings"]["dimensions"]
    assert os.listdir(server.models) == [FOLDER]
    taken = sorted(os.listdir(os.path.join(server.models, FOLDER)))
    assert taken == ["1_Pooling", "config.json", "model.safetensors", "vocab.txt"]
    asked = {p for p, _ in hub.requests}
    assert not [p for p in asked if p.endswith((".bin", ".py", ".onnx"))]
    shown = server.get("/_ml/trained_models/" + FOLDER).json["trained_model_configs"][0]
    assert shown["inference_config"]["text_embedding"]["tokenization"]["bert"]
    n = len(hub.requests)
    server.restart()
    assert wait_until(lambda: server.post("/_inference/mine", {"input": "w10"}).status == 200)
    assert create(server, "text_embedding", "org/tiny-model", "again").status == 200
    assert create(server, "text_embedding", FOLDER, "by-folder").status == 200
    assert len(hub.requests) == n


def test_large_files_may_live_elsewhere(server, hub):
    weights = hub.files.pop(resolve("model.safetensors"))
    hub.files["/cdn/weights?Signature=S3CRET"] = weights
    hub.script(resolve("model.safetensors"),
               Status(302, {"Location": "/cdn/weights?Signature=S3CRET"}))
    assert make(server).status == 200  # the log, which is searched for S3CRET, does not have it


@pytest.mark.parametrize("to", ["http://127.0.0.1:1/x", "file:///etc/passwd", "ftp://x/y",
                                "https://127.0.0.1:1/x", "//127.0.0.1:1/x"])
def test_redirects_to_other_places(server, hub, to):
    hub.script(resolve("config.json"), Status(302, {"Location": to}))
    answer = make(server)
    assert answer.status == 500, answer
    assert os.listdir(server.models) == [f".fetching-{FOLDER}-{SHA}"]


def test_endless_redirects_end(server, hub):
    hub.script(LIST, *[Status(302, {"Location": LIST})] * 10)
    answer = make(server)
    assert answer.status == 500 and "redirect" in answer.reason
    assert len(hub.asked(LIST)) == 4


def test_cuts_and_restarts_cost_only_the_rest(server, hub):
    weights = hub.files[resolve("model.safetensors")]
    hub.script(resolve("model.safetensors"), Cut(1000), Slow(3000))
    answer = server.put("/_inference/text_embedding/mine?timeout=1s", {
        "service": "elasticsearch", "service_settings": {
            "model_id": "org/tiny-model", "num_allocations": 1, "num_threads": 1}})
    assert (answer.status, answer.reason) == (
        408, "Model download task is currently running. Wait for trained model [org/tiny-model] "
        "download task to complete then try again")
    server.kill()
    server.start()
    assert make(server).status == 200
    assert hub.asked(resolve("model.safetensors"))[:2] == [None, "bytes=1000-"]
    assert hub.asked(resolve("model.safetensors"))[2] == "bytes=4000-"
    with open(os.path.join(server.models, FOLDER, "model.safetensors"), "rb") as f:
        assert f.read() == weights


def test_a_wrong_hash_is_refused(server, hub):
    hub.files[resolve("model.safetensors")] = b"\0" * len(hub.folder["model.safetensors"])
    answer = make(server)
    assert answer.status == 500 and "Model sha256 checksums do not match" in answer.reason
    assert FOLDER not in os.listdir(server.models)
    hub.publish()
    assert make(server).status == 200


@pytest.mark.parametrize("listing", [
    b"", b"[]", b"{}", b'{"sha":"../../x","siblings":[]}', b'{"sha":"abc"}',
    b'{"sha":"abc","siblings":[{"rfilename":"config.json"}]}',
    b'{"sha":"abc","siblings":[{"rfilename":"config.json","size":-1}]}',
    b'{"sha":"abc","siblings":[{"rfilename":"config.json","size":99999999999999}]}',
    b'{"sha":"abc","siblings":[{"rfilename":"../config.json","size":1}]}',
    b'{"sha":"abc","siblings":[{"rfilename":"config.json","size":1},'
    b'{"rfilename":"config.json","size":1}]}'])
def test_hostile_lists(server, hub, listing):
    hub.files[LIST] = listing
    answer = make(server)
    assert 400 <= answer.status <= 500, answer
    assert os.listdir(server.models) == []


def test_names_that_are_no_models(server, hub):
    for name in ("org/nope", "org/a/b", "../x", "org/..", "/x", "org/", "org/.x"):
        assert make(server, name).status == 404, name
    assert all(p.startswith("/api/models/org/nope/") for p, _ in hub.requests)


def test_without_a_hub_nothing_is_asked(spawn, tmp_path):
    s = spawn({"path.models": str(tmp_path)})
    answer = make(s)
    assert answer.status == 404
