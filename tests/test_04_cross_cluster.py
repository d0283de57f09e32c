"""Cross-cluster API keys: made, shown, changed and ended; on the HTTP port they open nothing."""
import base64

import pytest
from elasticsearch import AuthenticationException, BadRequestError, Elasticsearch

from inferd import MARK, basic

KEYS, CROSS = "/_security/api_key", "/_security/cross_cluster/api_key"
ACCESS = {"search": [{"names": ["logs*"], "query": {"term": {"a": 1}}}], "replication": [{"names": "archive"}]}


@pytest.fixture(autouse=True)
def gone(server):
    yield
    server.delete(KEYS, body={"owner": True})


def make(server, access=None, **more):
    return server.post(CROSS, {"name": "cc", "access": access or ACCESS, **more})


def shown(server, key):
    return server.get(f"{KEYS}?id={key['id']}&with_limited_by=true").json["api_keys"][0]


def test_from_create_to_invalidate(server):
    made = make(server, expiration="1d", metadata={"answer": 42})
    assert made.status == 200, made
    key = made.json
    assert list(key) == ["id", "name", "expiration", "api_key", "encoded"]
    assert base64.b64decode(key["encoded"]).decode() == f"{key['id']}:{key['api_key']}"
    is_shown = shown(server, key)
    assert (is_shown["type"], is_shown["metadata"]) == ("cross_cluster", {"answer": 42}) and "limited_by" not in is_shown
    assert is_shown["access"] == {
        "search": [{"names": ["logs*"], "query": {"term": {"a": 1}}, "allow_restricted_indices": False}],
        "replication": [{"names": ["archive"], "allow_restricted_indices": False}]}
    role = is_shown["role_descriptors"]["cross_cluster"]
    assert role["cluster"] == ["cross_cluster_search", "cross_cluster_replication"]
    assert [i["privileges"] for i in role["indices"]] == [
        ["read", "read_cross_cluster", "view_index_metadata"],
        ["cross_cluster_replication", "cross_cluster_replication_internal"]]
    found = server.post("/_security/_query/api_key", {"query": {"term": {"type": "cross_cluster"}}}).json
    assert [k["id"] for k in found["api_keys"]] == [key["id"]]
    refused = server.get("/", auth="ApiKey " + key["encoded"])
    assert refused.status == 401 and refused.json["error"]["additional_unsuccessful_credentials"] == (
        f"API key: authentication expected API key type of [rest], but API key [{key['id']}] has type [cross_cluster]")
    wrong = base64.b64encode(f"{key['id']}:{'x' * 22}".encode()).decode()
    assert "invalid credentials" in server.get("/", auth="ApiKey " + wrong).json["error"]["additional_unsuccessful_credentials"]
    gone_ = server.delete(KEYS, body={"ids": [key["id"]]}).json
    assert gone_["invalidated_api_keys"] == [key["id"]]
    answer = server.put(f"{CROSS}/{key['id']}", {"metadata": {}})
    assert (answer.status, answer.reason) == (400, f"cannot update invalidated API key [{key['id']}]")


def test_update(server):
    key = make(server).json
    path = f"{CROSS}/{key['id']}"
    assert server.put(path, {"access": {"replication": [{"names": ["archive"]}]}, "metadata": {"tag": "prod"}}).json == {"updated": True}
    now = shown(server, key)
    assert now["access"] == {"replication": [{"names": ["archive"], "allow_restricted_indices": False}]}
    assert now["role_descriptors"]["cross_cluster"]["cluster"] == ["cross_cluster_replication"] and now["metadata"] == {"tag": "prod"}
    assert server.put(path, {"metadata": {"tag": "prod"}}).json == {"updated": False}
    assert server.put(path, {"expiration": "2d"}).json == {"updated": True}
    answer = server.put(path, {})
    assert answer.status == 400 and "must update either [access], [metadata], or [expiration]" in answer.reason
    kinds = "cannot update API key of type [{}] while expected type is [{}]"
    answer = server.put(f"{KEYS}/{key['id']}", {"metadata": {}})
    assert (answer.status, answer.reason) == (400, kinds.format("cross_cluster", "rest"))
    bulk = server.post(KEYS + "/_bulk_update", {"ids": [key["id"]], "metadata": {}}).json
    assert kinds.format("cross_cluster", "rest") in bulk["errors"]["details"][key["id"]]["reason"]
    other = server.post(KEYS, {"name": "rest"}).json
    answer = server.put(f"{CROSS}/{other['id']}", {"metadata": {}})
    assert (answer.status, answer.reason) == (400, kinds.format("rest", "cross_cluster"))
    server.put("/_security/user/juan", {"password": "pw-" + MARK, "roles": ["superuser"]})
    assert server.put(path, {"metadata": {}}, auth=basic("juan", "pw-" + MARK)).status == 404
    server.delete("/_security/user/juan")


def test_what_is_refused(server):
    key = server.post(KEYS, {"name": "rest"}).json
    answer = server.post(CROSS, {"name": "cc", "access": ACCESS}, auth="ApiKey " + key["encoded"])
    assert (answer.status, answer.reason) == (400, "authentication via API key not supported: An API key cannot be used to create a "
                                                   "cross-cluster API key")
    for access, why in ({}, "must specify non-empty access"), ({"search": []}, "must specify non-empty access"), \
            ({"search": [{}]}, "missing required [names]"), ({"search": [{"names": []}]}, "missing required [names]"), \
            ({"search": [{"names": [1]}]}, "missing required [names]"), ({"search": [1]}, "failed to parse field [search]"), \
            ({"search": "x"}, "failed to parse field [search]"), ({"search": [{"names": "a", "privileges": ["all"]}]}, "unknown field"), \
            ({"replication": [{"names": "a", "query": "{}"}]}, "does not support document or field"), ({"other": []}, "unknown field"), ("x", "Required [access]"), \
            *(({"search": [{"names": "a", "query": q}]}, "[query] must be") for q in (False, 1.5, ["a"])), \
            *(({"search": [{"names": "a", "field_security": f}]}, "[field_security] an object of") for f in (
                "a", ["a"], {"grant": "a"}, {"grant": [1]}, {"except": [["a"]]})):
        answer = server.post(CROSS, {"name": "cc", "access": access})
        assert answer.status == 400 and why in answer.reason, (access, answer)
    for body in ({"access": ACCESS}, {"name": "cc"}, {"name": "_cc", "access": ACCESS}, {"name": "cc", "access": ACCESS, "role_descriptors": {}},
                 {"name": "cc", "access": ACCESS, "metadata": {"_a": 1}}, {"name": "cc", "access": ACCESS, "expiration": "soon"}):
        assert server.post(CROSS, body).status == 400, body


def test_they_survive(spawn):
    server = spawn()
    key = make(server).json
    before = shown(server, key)
    server.kill()
    server.start()
    assert shown(server, key) == before
    assert server.get("/", auth="ApiKey " + key["encoded"]).status == 401


def test_the_official_client(server):
    client = Elasticsearch(server.url, basic_auth=("elastic", server.password))
    key = client.security.create_cross_cluster_api_key(name="cc", access=ACCESS)
    assert client.security.update_cross_cluster_api_key(id=key["id"], access={"search": [{"names": ["a"]}]})["updated"]
    with pytest.raises(AuthenticationException):
        Elasticsearch(server.url, api_key=key["encoded"]).info()
    with pytest.raises(BadRequestError):
        client.security.create_cross_cluster_api_key(name="cc", access={})
