"""Built-in models from a repository that is slow, cuts, lies and moves; and from a folder."""
import hashlib
import json
import os
import platform
import random
import threading

import pytest
from elasticsearch import Elasticsearch

from inferd import PASSWORD, Inferd, wait_until
from repository import Cut, Repository, Slow, Status, Whole, package
from test_22_trained_models import CONFIG, MODELS, stored, tiny

ID = ".elser_model_2"
PT, VOCABULARY, METADATA = ("/elser_model_2" + s for s in (".pt", ".vocab.json", ".metadata.json"))
BODY = {"input": {"field_names": ["text_field"]}}


@pytest.fixture
def repo():
    r = Repository()
    r.files = package("elser_model_2", "elser_like_text_expansion")
    yield r
    r.close()


@pytest.fixture
def fetching(spawn, repo):
    return spawn({"xpack.ml.model_repository": repo.url + "/"})


def shown(server, model=ID):
    answer = server.get(f"{MODELS}/{model}?include=definition_status")
    return answer.json["trained_model_configs"][0] if answer.status == 200 else answer.status


def put(server, wait=True, body=BODY, model=ID):
    return server.put(f"{MODELS}/{model}" + ("?wait_for_completion=true" if wait else ""), body)


def assert_whole(server, repo, model=ID):
    assert shown(server, model)["fully_defined"] is True
    with open(stored(server, model, "model.pt"), "rb") as f:
        assert f.read() == repo.files[PT]
    with open(stored(server, model, "vocabulary.json"), "rb") as f:
        assert f.read() == repo.files[VOCABULARY]
    assert sorted(os.listdir(stored(server, model))) == ["model.pt", "vocabulary.json"]


def test_a_package_is_fetched_and_kept(fetching, repo):
    with Elasticsearch(fetching.url, basic_auth=("elastic", PASSWORD)) as es:
        made = es.ml.put_trained_model(model_id=ID, input=BODY["input"],
                                       wait_for_completion=True).body
    metadata = json.loads(repo.files[METADATA])
    assert made["model_package"] == {**metadata, "model_repository": repo.url}
    assert made["description"] == "of elser_model_2" and made["tags"] == ["elastic"]
    assert made["model_size_bytes"] == metadata["size"]
    assert made["input"] == BODY["input"] and "text_expansion" in made["inference_config"]
    assert_whole(fetching, repo)
    assert [p for p, _ in repo.requests] == [METADATA, VOCABULARY, PT]
    answer = put(fetching)
    assert (answer.status, answer.reason) == (
        400, f"Trained machine learning model [{ID}] already exists")
    fetching.restart()
    assert_whole(fetching, repo)
    assert len(repo.requests) == 3
    assert fetching.delete(f"{MODELS}/{ID}").status == 200
    assert os.listdir(stored(fetching)) == []


def test_without_waiting_the_config_comes_first(fetching, repo):
    slow = Slow(1000)
    repo.script(PT, slow)
    answer = put(fetching, wait=False)
    assert answer.status == 200 and "fully_defined" not in answer.json
    assert shown(fetching)["fully_defined"] is False
    again = put(fetching, wait=False)  # while it is fetched: the same answer
    assert again.json == answer.json
    slow.gate.set()
    wait_until(lambda: shown(fetching)["fully_defined"], 10, "the package")
    assert_whole(fetching, repo)
    lines = [x for x in fetching.log_lines() if x["message"] == "fetching a model"]
    assert lines and lines[-1]["bytes"] == lines[-1]["of"]


def stats(server, model=ID):
    (one,) = server.get(f"{MODELS}/{model}/_stats").json["trained_model_stats"]
    return one


def test_stats_show_how_far_it_has_come(fetching, repo):
    slow = Slow(40000)
    repo.script(PT, slow)
    assert put(fetching, wait=False).status == 200
    whole = {"download": {"bytes": 40000, "total_bytes": len(repo.files[PT])}}
    wait_until(lambda: stats(fetching).get("inferd") == whole, 10, "the progress")
    slow.gate.set()
    wait_until(lambda: shown(fetching)["fully_defined"], 10, "the package")
    wait_until(lambda: "inferd" not in stats(fetching), 10, "the end of it")


@pytest.mark.parametrize("platform,warned", [
    (None, None), (platform.machine(), None), ("darwin-aarch64", "darwin-aarch64"),
    ('x"\r\nSet-Cookie: a', "another platform")])
def test_a_package_for_another_platform_is_warned_of(spawn, repo, platform, warned):
    more = {}
    if platform:
        more["platform_architecture"] = platform if warned else "linux-" + platform
    repo.files = package("elser_model_2", "elser_like_text_expansion", **more)
    answer = put(spawn({"xpack.ml.model_repository": repo.url}))
    assert answer.status == 200
    if not warned:
        assert answer.header("warning") is None
        return
    start, text = answer.header("warning").split(" \"")
    assert start.startswith("299 Elasticsearch-")
    assert text.startswith(f"The model [{ID}] is made for the platform [{warned}]; ")
    assert answer.header("set-cookie") is None


def test_cuts_cost_only_the_rest(fetching, repo):
    repo.script(METADATA, Cut(10), Status(503))
    repo.script(VOCABULARY, Cut(5))
    repo.script(PT, Cut(0), Cut(30000), Status(429), Cut(1000), Status(500))
    assert put(fetching).status == 200
    assert_whole(fetching, repo)
    assert repo.asked(PT) == [None, None, "bytes=30000-", "bytes=30000-", "bytes=31000-",
                              "bytes=31000-"]


def test_a_server_that_ignores_ranges_begins_anew(fetching, repo):
    repo.script(PT, Cut(30000), Whole())
    assert put(fetching).status == 200
    assert_whole(fetching, repo)


def test_too_many_faults_are_the_end_until_the_next_put(fetching, repo):
    repo.script(PT, Cut(30000), *[Status(500)] * 5)
    answer = put(fetching)
    assert answer.status == 500 and "answered with status [500]" in answer.reason
    assert shown(fetching)["fully_defined"] is False
    assert put(fetching).status == 200
    assert repo.asked(PT)[-1] == "bytes=30000-"
    assert_whole(fetching, repo)


def test_kill_then_resume(fetching, repo):
    repo.script(PT, Slow(40000))
    assert put(fetching, wait=False).status == 200
    partial = stored(fetching, ID, "model.pt.partial")
    wait_until(lambda: os.path.exists(partial) and os.path.getsize(partial) == 40000, 10, "bytes")
    fetching.kill()
    fetching.start()
    wait_until(lambda: shown(fetching)["fully_defined"], 10, "the package")
    assert repo.asked(PT) == [None, "bytes=40000-"]
    assert_whole(fetching, repo)


def test_stop_then_resume(fetching, repo):
    repo.script(PT, Slow(40000))
    assert put(fetching, wait=False).status == 200
    partial = stored(fetching, ID, "model.pt.partial")
    wait_until(lambda: os.path.exists(partial) and os.path.getsize(partial) == 40000, 10, "bytes")
    fetching.restart()
    wait_until(lambda: shown(fetching)["fully_defined"], 10, "the package")
    assert_whole(fetching, repo)


def test_a_wrong_hash_is_never_used(fetching, repo):
    good = repo.files[PT]
    repo.files[PT] = good[:-1] + b"!"
    answer = put(fetching)
    want, got = (hashlib.sha256(x).hexdigest() for x in (good, repo.files[PT]))
    assert (answer.status, answer.reason) == (
        500, f"Model sha256 checksums do not match, expected [{want}] but got [{got}]")
    assert shown(fetching)["fully_defined"] is False
    assert os.listdir(stored(fetching, ID)) == ["vocabulary.json"]
    repo.files[PT] = good
    assert put(fetching).status == 200
    assert_whole(fetching, repo)


@pytest.mark.parametrize("more", [-5, 5])
def test_a_wrong_size_is_said_at_once(fetching, repo, more):
    size = len(repo.files[PT])
    repo.files[PT] = random.Random(1).randbytes(size + more)
    answer = put(fetching)
    assert (answer.status, answer.reason) == (
        500, f"Model size does not match, expected [{size}] but got [{size + more}]")


@pytest.mark.parametrize("path", [METADATA, VOCABULARY, PT])
def test_what_is_not_there_is_404(fetching, repo, path):
    del repo.files[path]
    answer = put(fetching)
    assert (answer.status, answer.reason) == (404, f"{repo.url}{path} not found")
    if path == METADATA:
        assert shown(fetching) == 404


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_redirects_are_not_followed(fetching, repo, status):
    repo.script(METADATA, Status(status, {"Location": repo.url + "/other.json"}))
    answer = put(fetching)
    assert answer.status == 500 and f"redirect, status [{status}]" in answer.reason
    assert repo.asked("/other.json") == [] and shown(fetching) == 404


@pytest.mark.parametrize("metadata", [
    b"", b"{", b"[]", b"{}", b'{"size":1}', b'{"size":0,"sha256":"%s"}' % (b"0" * 64),
    b'{"size":99999999999999,"sha256":"%s"}' % (b"0" * 64),
    b'{"size":1,"sha256":"%s"}' % (b"g" * 64),
    b'{"size":1,"sha256":"%s","inference_config":{"pass_through":{}},'
    b'"vocabulary_file":"../x"}' % (b"0" * 64),
    b'{"size":1,"sha256":"%s","inference_config":{"nope":{}}}' % (b"0" * 64),
    b" " * (1 << 20) + b"{}"])
def test_hostile_metadata(fetching, repo, metadata):
    repo.files[METADATA] = metadata
    answer = put(fetching)
    assert 400 <= answer.status <= 500, answer
    assert shown(fetching) == 404 and os.listdir(stored(fetching)) == []


def test_a_hostile_vocabulary(fetching, repo):
    repo.files[VOCABULARY] = b'{"vocabulary":[]}'
    assert put(fetching).status == 400
    assert shown(fetching)["fully_defined"] is False


def test_members_of_the_package_cannot_be_set(fetching, repo):
    answer = put(fetching, body={**BODY, "description": "x", "inference_config": {
        "pass_through": {}}, "tags": []})
    assert (answer.status, answer.reason) == (
        400, "Validation Failed: " + "".join(
            f"{i}: illegal to set [{name}] at inference model creation for packaged model;"
            for i, name in enumerate(("description", "inference_config", "tags"), 1)))
    assert put(fetching, body="{").status == 400
    assert put(fetching, model=".Elser").status == 400
    assert shown(fetching) == 404


def test_delete_ends_the_fetching(fetching, repo):
    slow = Slow(1000)
    repo.script(PT, slow)
    assert put(fetching, wait=False).status == 200
    wait_until(lambda: repo.asked(PT), 10, "the fetching")
    assert fetching.delete(f"{MODELS}/{ID}?force=true").status == 200
    assert shown(fetching) == 404 and os.listdir(stored(fetching)) == []
    slow.gate.set()
    assert put(fetching).status == 200
    assert_whole(fetching, repo)


def write_all(folder, files):
    folder.mkdir(exist_ok=True)
    for path, data in files.items():
        (folder / path[1:]).write_bytes(data)


def test_from_a_folder(spawn, repo, tmp_path):
    write_all(tmp_path / "a repo", repo.files)
    server = spawn({"xpack.ml.model_repository": f"file://{tmp_path}/a%20repo"})
    assert put(server).status == 200
    assert_whole(server, repo)
    answer = put(server, model=".other")
    assert (answer.status, answer.reason) == (
        404, f"file://{tmp_path}/a%20repo/other.metadata.json not found")


def test_from_path_models_before_the_repository(spawn, repo, tmp_path):
    write_all(tmp_path / "models", repo.files)
    server = spawn({"xpack.ml.model_repository": repo.url, "path.models": f"{tmp_path}/models"})
    assert put(server).status == 200
    assert_whole(server, repo)
    assert repo.requests == []
    assert [m["model_id"] for m in server.get(MODELS).json["trained_model_configs"]] == [
        ID, "elser_model_2"]
    assert server.put(MODELS + "/mine", CONFIG).status == 200


@pytest.mark.parametrize("url", ["ftp://x", "http://", "https://u:p@host/x", "http://h/?a=b",
                                 "file://relative", "file:///a b", ""])
def test_addresses_that_are_none(tmp_path, url):
    server = Inferd(tmp_path / "own", settings={"xpack.ml.model_repository": url})
    server.launch()
    assert server.wait_exit() == 1
    assert "[xpack.ml.model_repository] must be an http, https or file address" in server.log()


def start(server, timeout):
    return server.post(f"{MODELS}/{ID}/deployment/_start?timeout={timeout}")


def test_a_start_waits_for_the_fetching(fetching, repo):
    slow = Slow(1000)
    repo.script(PT, slow)
    assert put(fetching, wait=False).status == 200
    wait_until(lambda: repo.asked(PT), 10, "the fetching")
    answer = start(fetching, "200ms")
    assert (answer.status, answer.type, answer.reason) == (
        408, "model_deployment_timeout_exception",
        f"Model download task is currently running. Wait for trained model [{ID}] download task "
        "to complete then try again")
    threading.Timer(0.3, slow.gate.set).start()
    assert start(fetching, "20s").status == 200
    # The API description does not know the weights of text_expansion.
    infer = fetching.post(f"{MODELS}/{ID}/_infer", {"docs": [{"text_field": "elastic search"}]},
                          check=False)
    assert infer.status == 200 and infer.json["inference_results"][0]["predicted_value"], infer
    answer = fetching.delete(f"{MODELS}/{ID}")
    assert (answer.status, answer.reason) == (
        409, f"Cannot delete model [{ID}] as it is currently deployed; use force to delete the "
        "model")
    assert fetching.delete(f"{MODELS}/{ID}?force=true").status == 200
    assert shown(fetching) == 404 and os.listdir(stored(fetching)) == []
