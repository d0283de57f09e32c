"""API keys: made, used on both doors, limited, expired, ended; what is stored of them."""
import base64
import os
import time

import openai
import pytest

from inferd import MARK, PASSWORD, basic, wait_until

KEYS = "/_security/api_key"
NOT_VALID = ("unable to authenticate with provided credentials and anonymous access is not "
             "allowed for this request")


def make(server, name="k", **body):
    answer = server.post(KEYS, {"name": name, **body})
    assert answer.status == 200, answer
    return answer.json


def auth(key):
    return "ApiKey " + key["encoded"]


@pytest.fixture(autouse=True)
def no_keys(server):
    server.delete(KEYS, body={"owner": True})
    yield


def refused(answer, why):
    assert answer.status == 401, answer
    error = answer.json["error"]
    assert list(error) == ["root_cause", "type", "reason", "additional_unsuccessful_credentials",
                           "header"]
    assert error["reason"] == NOT_VALID
    assert error["additional_unsuccessful_credentials"] == why
    assert error["root_cause"] == [{k: v for k, v in error.items() if k != "root_cause"}]


def test_the_answer_holds_a_key_that_works(server):
    key = make(server, metadata={"team": "a"})
    assert list(key) == ["id", "name", "api_key", "encoded"]
    assert base64.b64decode(key["encoded"]).decode() == f"{key['id']}:{key['api_key']}"
    assert (len(key["id"]), len(key["api_key"])) == (20, 22)
    for scheme in ("ApiKey ", "apikey "):
        me = server.get("/_security/_authenticate", auth=scheme + key["encoded"])
        assert me.status == 200
    assert me.json == {
        "username": "elastic", "roles": [], "full_name": None, "email": None, "metadata": {},
        "enabled": True, "authentication_realm": {"name": "_es_api_key", "type": "_es_api_key"},
        "lookup_realm": {"name": "_es_api_key", "type": "_es_api_key"},
        "authentication_type": "api_key", "api_key": {"id": key["id"], "name": "k",
                                                       "managed_by": "elasticsearch"}}


def test_wrong_keys_are_told_apart(server):
    key = make(server)
    wrong = base64.b64encode(f"{key['id']}:wrong".encode()).decode()
    refused(server.get("/", auth="ApiKey " + wrong),
            f"API key: invalid credentials for API key [{key['id']}]")
    refused(server.get("/", auth="ApiKey aWQ6a2V5"), "API key: unable to find apikey with id id")
    for bare in (key["api_key"], "____", base64.b64encode(b"nocolon").decode()):
        answer = server.get("/", auth="ApiKey " + bare)
        assert answer.status == 401
        assert answer.reason == "error attempting to authenticate request"


def test_an_ended_key(server):
    key = make(server)
    answer = server.delete(KEYS, body={"ids": [key["id"]]})
    assert answer.json == {"invalidated_api_keys": [key["id"]],
                           "previously_invalidated_api_keys": [], "error_count": 0}
    refused(server.get("/", auth=auth(key)),
            f"API key: api key [{key['id']}] has been invalidated")
    again = server.delete(KEYS, body={"ids": [key["id"]]}).json
    assert again["previously_invalidated_api_keys"] == [key["id"]]
    shown = server.get(f"{KEYS}?id={key['id']}").json["api_keys"][0]
    assert shown["invalidated"] and shown["invalidation"] >= shown["creation"]
    unknown = server.delete(KEYS, body={"ids": ["nothing"]})
    assert unknown.status == 404 and unknown.json["error_count"] == 0


def test_a_key_expires(server):
    key = make(server, expiration="300ms")
    assert key["expiration"] <= time.time() * 1000 + 300
    assert server.get("/_security/_authenticate", auth=auth(key)).status == 200
    wait_until(lambda: server.get("/", auth=auth(key)).status == 401)
    refused(server.get("/", auth=auth(key)), "API key: api key is expired")
    assert make(server, expiration="1d")["expiration"] > time.time() * 1000 + 86_000_000
    assert server.post(KEYS, {"name": "k", "expiration": "soon"}).status == 400


def test_get(server):
    a, b = make(server, "app-1"), make(server, "other", role_descriptors={
        "r": {"cluster": ["monitor"], "index": [{"names": "x", "privileges": ["read"]}]}})
    ids = lambda query: sorted(k["name"] for k in server.get(KEYS + query).json["api_keys"]
                               if not k["invalidated"])
    assert ids("") == ["app-1", "other"]
    assert ids("?name=app*") == ["app-1"] and ids("?name=app") == []
    assert ids(f"?id={b['id']}") == ["other"]
    assert ids("?owner=true") == ids("?username=elastic&realm_name=reserved") == ["app-1", "other"]
    assert ids("?username=nobody") == []
    server.delete(KEYS, body={"name": "app-1"})
    assert [k["id"] for k in server.get(KEYS + "?active_only=true").json["api_keys"]] == [b["id"]]
    shown = server.get(f"{KEYS}?id={b['id']}&with_limited_by=true").json["api_keys"][0]
    assert list(shown) == ["id", "name", "type", "creation", "invalidated", "username", "realm",
                           "realm_type", "metadata", "role_descriptors", "limited_by"]
    assert shown["role_descriptors"] == {"r": {
        "cluster": ["monitor"], "indices": [{"names": ["x"], "privileges": ["read"],
                                             "allow_restricted_indices": False}],
        "applications": [], "run_as": [], "metadata": {}, "transient_metadata": {"enabled": True}}}
    assert shown["limited_by"][0]["superuser"]["cluster"] == ["all"]
    unknown = server.get(KEYS + "?id=nothing")
    assert (unknown.status, unknown.json) == (404, {"api_keys": []})
    assert server.get(KEYS + "?name=nothing").status == 200
    assert server.get(f"{KEYS}?id={a['id']}&name=x").status == 400


def test_query(server):
    keys = [make(server, f"q{i}", metadata={"n": i}) for i in range(5)]

    def query(body=None, **more):
        answer = server.post("/_security/_query/api_key", body, **more)
        assert answer.status == 200, answer
        return answer.json
    one = query({"query": {"ids": {"values": [keys[2]["id"]]}}})
    assert (one["total"], one["count"], one["api_keys"][0]["name"]) == (1, 1, "q2")
    mine = {"bool": {"must": [{"prefix": {"name": "q"}}, {"term": {"invalidated": False}}]}}
    page = query({"query": mine, "size": 2, "from": 1, "sort": [{"name": "desc"}]})
    assert (page["total"], page["count"]) == (5, 2)
    assert [(k["name"], k["_sort"]) for k in page["api_keys"]] == [("q3", ["q3"]), ("q2", ["q2"])]
    after = query({"query": mine, "sort": ["name"], "search_after": ["q2"]})
    assert [k["name"] for k in after["api_keys"]] == ["q3", "q4"]
    for q, names in (
            ({"term": {"metadata.n": 3}}, ["q3"]),
            ({"terms": {"name": ["q0", "q4"]}}, ["q0", "q4"]),
            ({"match": {"name": {"query": "q1"}}}, ["q1"]),
            ({"wildcard": {"name": "*4"}}, ["q4"]),
            ({"range": {"metadata.n": {"gt": 1, "lte": 3}}}, ["q2", "q3"]),
            ({"bool": {"must_not": {"terms": {"name": ["q0", "q1", "q2"]}},
                       "filter": [{"exists": {"field": "metadata.n"}}]}}, ["q3", "q4"]),
            ({"bool": {"should": [{"term": {"name": "q0"}}, {"term": {"name": "q1"}}]}},
             ["q0", "q1"])):
        body = {"query": {"bool": {"must": [q, {"term": {"invalidated": False}}]}}}
        assert sorted(k["name"] for k in query(body)["api_keys"]) == names, q
    assert server.get("/_security/_query/api_key").json["total"] >= 5
    for bad in ({"query": {"term": {"hash": 1}}}, {"query": {"script": {}}}, {"size": -1},
                {"from": 9999, "size": 9999}, {"aggs": {}}, {"query": {}}, {"sort": ["secret"]}):
        assert server.post("/_security/_query/api_key", bad).status == 400, bad


def test_update(server):
    key = make(server)
    body = {"role_descriptors": {"r": {"cluster": ["monitor"]}}, "metadata": {"a": 1}}
    assert server.put(f"{KEYS}/{key['id']}", body).json == {"updated": True}
    assert server.put(f"{KEYS}/{key['id']}", body).json == {"updated": False}
    assert server.get("/", auth=auth(key)).status == 200
    assert server.get("/_inference", auth=auth(key)).status == 200
    assert server.put("/_inference/completion/x", {}, auth=auth(key)).status == 403
    assert server.get(f"{KEYS}?id={key['id']}").json["api_keys"][0]["metadata"] == {"a": 1}
    assert server.put(f"{KEYS}/nothing", body).reason == \
        "no API key owned by requesting user found for ID [nothing]"


def test_a_key_has_its_own_limits(server):
    key = make(server, role_descriptors={"r": {"cluster": ["monitor_inference"]}})
    assert server.get("/_inference", auth=auth(key)).status == 200
    answer = server.delete("/_inference/x", auth=auth(key))
    assert answer.status == 403
    assert answer.reason == (
        f"action [cluster:admin/xpack/inference/delete] is unauthorized for API key id "
        f"[{key['id']}] of user [elastic], this action is granted by the cluster privileges "
        "[manage_inference,manage,all]")
    own = server.get(f"{KEYS}?id={key['id']}", auth=auth(key))
    assert own.status == 200 and own.json["api_keys"][0]["id"] == key["id"]
    assert server.get(KEYS, auth=auth(key)).status == 403
    assert server.post(KEYS, {"name": "d"}, auth=auth(key)).status == 403


def test_a_key_may_be_limited_to_some_endpoints(server, upstream):
    for name in ("a-1", "b-1"):
        server.make("completion", name, "openai", {"api_key": "sk-" + MARK, "model_id": "m"})
    upstream.clear()
    key = make(server, role_descriptors={"r": {
        "cluster": ["manage_inference"], "metadata": {"inferd": {"endpoints": ["a-*"]}}}})
    post = lambda path, body: server.post(path, body, auth=auth(key)).status
    for name, status in (("a-1", 200), ("b-1", 403)):
        assert post(f"/_inference/{name}", {"input": "x"}) == status
        assert post(f"/_inference/completion/{name}", {"input": "x"}) == status
        assert server.get(f"/_inference/{name}", auth=auth(key)).status == status
        assert server.get(f"/v1/models/{name}", auth=auth(key)).status in (status, 404)
        assert post("/v1/chat/completions", {
            "model": name, "messages": [{"role": "user", "content": "x"}]}) == status
        stream = server.stream(f"/_inference/{name}/_stream", {"input": "x"}, auth=auth(key))
        assert stream.status == status
    assert server.delete("/_inference/b-1", auth=auth(key)).status == 403
    listed = server.get("/_inference/_all", auth=auth(key)).json["endpoints"]
    assert [e["inference_id"] for e in listed] == ["a-1"]
    models = server.get("/v1/models", auth=auth(key)).json["data"]
    assert [m["id"] for m in models] == ["a-1"]
    answer = server.post("/_inference/b-1", {"input": "x"}, auth=auth(key))
    assert answer.type == "security_exception"
    assert "[b-1]" in answer.reason


def test_bearer_on_the_second_door(server, upstream):
    server.make("text_embedding", "emb", "openai", {"api_key": "sk-" + MARK, "model_id": "e"})
    key = make(server)
    for token in (key["encoded"], base64.b64encode(f"elastic:{PASSWORD}".encode()).decode()):
        client = openai.OpenAI(base_url=server.url + "/v1", api_key=token, max_retries=0)
        assert len(client.embeddings.create(model="emb", input="a").data) == 1
    server.delete(KEYS, body={"ids": [key["id"]]})
    client = openai.OpenAI(base_url=server.url + "/v1", api_key=key["encoded"], max_retries=0)
    with pytest.raises(openai.AuthenticationError):
        client.embeddings.create(model="emb", input="a")
    assert server.get("/", auth="Bearer " + key["encoded"]).status == 401, "that door only"


def test_a_key_of_a_key_gives_nothing(server):
    key = make(server)
    answer = server.post(KEYS, {"name": "d"}, auth=auth(key))
    assert answer.status == 400
    assert answer.reason == ("creating derived api keys requires an explicit role descriptor that "
                             "is empty (has no privileges)")
    made = server.post(KEYS, {"name": "d", "role_descriptors": {"r": {}}}, auth=auth(key))
    assert made.status == 200
    assert server.get("/", auth=auth(made.json)).status == 403


@pytest.mark.parametrize("body, reason", [
    ({}, "Validation Failed: 1: api key name is required;"),
    ({"name": "x" * 257},
     "Validation Failed: 1: api key name may not be more than 256 characters long;"),
    ({"name": "_x"}, "Validation Failed: 1: api key name may not begin with an underscore;"),
    ({"name": "k", "metadata": {"_a": 1}},
     "Validation Failed: 1: API key metadata keys may not start with [_];")])
def test_bad_bodies(server, body, reason):
    answer = server.post(KEYS, body)
    assert (answer.status, answer.reason) == (400, reason)


def test_keys_survive_kill_and_are_stored_as_hashes(spawn):
    server = spawn()
    keys = [make(server, f"k{i}") for i in range(3)]
    server.delete(KEYS, body={"ids": [keys[2]["id"]]})
    server.kill()
    for folder, _, files in os.walk(server.data):
        for name in files:
            with open(os.path.join(folder, name), "rb") as f:
                data = f.read()
            assert not any(k["api_key"].encode() in data or k["encoded"].encode() in data
                           for k in keys), name
    server.start()
    assert [server.get("/", auth=auth(k)).status for k in keys] == [200, 200, 401]
    assert not any(k["api_key"] in server.log() for k in keys)


def test_no_security_no_security_api(spawn):
    server = spawn({"xpack.security.enabled": "false"})
    answer = server.get("/_security/_authenticate", auth=None)
    assert answer.status == 400
    assert answer.json["error"] == \
        "no handler found for uri [/_security/_authenticate] and method [GET]"
    assert server.get("/_inference", auth="ApiKey nonsense").status == 200


def test_checking_a_key_costs_no_password_hash(server):
    key = make(server)
    server.get("/", auth=auth(key))
    started = time.monotonic()
    for _ in range(50):
        assert server.get("/", auth=auth(key)).status == 200
    assert (time.monotonic() - started) / 50 < 0.05


def test_basic_is_none_of_it(server):
    key = make(server)
    assert server.get("/", auth=basic(key["id"], key["api_key"])).status == 401
