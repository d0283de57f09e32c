"""What all answers have in common, and the few calls that clients make of any Elasticsearch."""
import json
import re

import pytest

from inferd import MARK, Inferd
from upstream import Reply

VENDOR = "application/vnd.elasticsearch+json"


@pytest.fixture
def endpoint(server):
    server.make("completion", "c", "openai", {"api_key": MARK, "model_id": "m"})
    return "/_inference/c"


# ---- GET / and its neighbours ----

def test_root(server):
    root = server.get("/").json
    assert list(root) == ["name", "cluster_name", "cluster_uuid", "version", "tagline"]
    assert root["tagline"] == "You Know, for Search"
    assert re.fullmatch(r"[A-Za-z0-9_-]{22}", root["cluster_uuid"])
    version = root["version"]
    assert version["number"].startswith("9.")
    assert version["build_flavor"] != "serverless"
    assert version["build_snapshot"] is False
    assert server.request("HEAD", "/").body == b""


def test_the_cluster_keeps_its_name_over_restarts(spawn):
    server = spawn()
    before = server.get("/").json["cluster_uuid"]
    node = list(server.get("/_nodes").json["nodes"])
    server.restart()
    assert server.get("/").json["cluster_uuid"] == before
    assert list(server.get("/_nodes").json["nodes"]) == node
    assert spawn(name="b").get("/").json["cluster_uuid"] != before


def test_license(server):
    licence = server.get("/_license").json["license"]
    assert licence["status"] == "active"
    assert licence["type"] in ("trial", "enterprise")
    assert server.get("/_license?local=true&accept_enterprise=true").status == 200


def test_xpack(server):
    body = server.get("/_xpack").json
    assert body["features"]["inference"] == {"available": True, "enabled": True}
    assert body["features"]["ml"]["available"] is True
    assert body["features"]["watcher"] == {"available": False, "enabled": False}
    assert body["license"]["status"] == "active"
    assert body["tagline"] == "You know, for X"


def test_xpack_usage_counts_endpoints(server, endpoint):
    server.make("completion", "d", "openai", {"api_key": MARK, "model_id": "m"})
    server.make("rerank", "r", "cohere", {"api_key": MARK, "model_id": "m"})
    usage = server.get("/_xpack/usage").json
    assert usage["security"]["api_key_service"] == {"enabled": True}
    assert usage["watcher"]["available"] is False
    usage = usage["inference"]
    assert (usage["available"], usage["enabled"]) == (True, True)
    models = {(m["service"], m["task_type"].upper()): m["count"] for m in usage["models"]}
    assert models[("openai", "COMPLETION")] == 2
    assert models[("cohere", "RERANK")] == 1


def test_cluster_health(server):
    health = server.get("/_cluster/health?wait_for_status=yellow&timeout=50s").json
    assert health["status"] == "green"
    assert health["timed_out"] is False
    assert health["number_of_nodes"] == 1
    assert health["active_shards_percent_as_number"] == 100.0
    assert "task_max_waiting_in_queue_millis" in health


def test_settings_of_the_cluster(spawn):
    server = spawn({"xpack.ml.trained_models.adaptive_allocations.scale_to_zero_time": "15m",
                    "xpack.security.http.ssl.key_passphrase": "pass-" + MARK})
    assert server.get("/_cluster/settings").json == {"persistent": {}, "transient": {}}
    flat = server.get("/_cluster/settings?include_defaults=true&flat_settings=true").json["defaults"]
    scaling = "xpack.ml.trained_models.adaptive_allocations."
    assert (flat[scaling + "scale_to_zero_time"], flat[scaling + "scale_up_cooldown_time"]) == ("15m", "5m")
    assert flat["xpack.ml.max_machine_memory_percent"] == "90"
    assert flat["xpack.inference.http.max_response_size"] == "52428800b"
    assert not [name for name in flat if name.startswith("xpack.security")]

    def flattened(tree, before=""):
        for name, value in tree.items():
            if isinstance(value, dict):
                yield from flattened(value, before + name + ".")
            else:
                yield before + name, value
    nested = server.get("/_cluster/settings?include_defaults").json["defaults"]
    assert dict(flattened(nested)) == flat
    assert server.get("/_cluster/settings?include_defaults=5").status == 400
    answer = server.put("/_cluster/settings", {"persistent": {}})
    assert answer.status == 405 and answer.header("allow") == "GET"


@pytest.mark.parametrize("path", ["/_nodes", "/_nodes/_all/http", "/_nodes/http"])
def test_nodes_tell_where_to_sniff(server, path):
    body = server.get(path).json
    assert body["_nodes"] == {"total": 1, "successful": 1, "failed": 0}
    (node,) = body["nodes"].values()
    assert node["http"]["publish_address"] == f"127.0.0.1:{server.port}"
    assert node["roles"] != ["master"]
    assert node["version"] == server.get("/").json["version"]["number"]


def test_authenticate(server):
    me = server.get("/_security/_authenticate").json
    assert me["username"] == "elastic"
    assert me["roles"] == ["superuser"]
    assert me["enabled"] is True


def test_metrics_are_text_of_prometheus(server, endpoint):
    server.post(endpoint, {"input": "x"})
    answer = server.get("/_prometheus/metrics", headers={"accept": "text/plain"})
    assert answer.status == 200
    assert answer.header("content-type").startswith("text/plain")
    seen = {}
    for line in answer.text.splitlines():
        if line.startswith("# ") or not line:
            continue
        assert re.fullmatch(r"[a-zA-Z_:][a-zA-Z0-9_:]*(\{[^}]*\})? -?[0-9.e+-]+|.* (NaN|\+Inf)", line)
        name, value = line.rsplit(" ", 1)
        seen[name] = float(value)
    assert any(value > 0 for value in seen.values())
    assert server.get("/_prometheus/metrics", auth=None, headers={"accept": None}).status == 401


# ---- headers ----

@pytest.mark.parametrize("method, path, body, status", [
    ("GET", "/", None, 200), ("HEAD", "/", None, 200), ("GET", "/_health", None, 200),
    ("GET", "/nothing", None, 400), ("POST", "/_license", None, 405),
    ("GET", "/_inference/none", None, 404), ("POST", "/_inference/none", {"input": "x"}, 404),
    ("GET", "/_inference?x=1", None, 400), ("PUT", "/_inference/completion/UP", {}, 400),
    ("POST", "/_inference/none/_stream", {"input": "x"}, 404),
    ("POST", "/_inference/chat_completion/none/_stream", {"messages": []}, 404),
    ("GET", "/_prometheus/metrics", None, 200), ("GET", "/_inference/_services", None, 200),
])
def test_the_product_header_is_on_everything(server, method, path, body, status):
    answer = server.request(method, path, body)  # request() asserts the header
    assert answer.status == status
    for auth in (None, "Basic x", "ApiKey x"):
        answer = server.request(method, path, body, auth=auth)
        assert answer.status == (200 if path == "/_health" else 401)


def test_the_product_header_is_on_streams(server, endpoint):
    stream = server.stream(endpoint + "/_stream", {"input": "a"}, {"X-Opaque-Id": "id-1"})
    assert stream.header("x-opaque-id") == "id-1"
    stream.all()


def test_opaque_id_comes_back(server, endpoint):
    for path in ("/", "/nothing", "/_inference/none", "/_health"):
        assert server.get(path, headers={"X-Opaque-Id": "my id/1"}).all("x-opaque-id") == ["my id/1"]
    assert server.get("/").header("x-opaque-id") is None
    assert server.get("/", auth=None, headers={"X-Opaque-Id": "a"}).header("x-opaque-id") == "a"


@pytest.mark.parametrize("accept, content_type", [
    (None, "application/json"),
    ("*/*", "application/json"),
    ("application/json", "application/json"),
    ("application/*", "application/json"),
    ("application/json; charset=utf-8", "application/json"),
    (VENDOR + "; compatible-with=8", VENDOR + ";compatible-with=8"),
    (VENDOR + ";compatible-with=9", VENDOR + ";compatible-with=9"),
    (VENDOR + "; compatible-with=9,text/plain", VENDOR + ";compatible-with=9"),
    ("text/html, application/json;q=0.9", "application/json"),
    ("application/yaml", "application/yaml"),
])
def test_the_media_type_is_echoed(server, accept, content_type):
    for path in ("/", "/_inference/none"):
        answer = server.get(path, headers={"accept": accept})
        assert answer.header("content-type") == content_type


def test_both_headers_of_a_client_with_a_body(server, endpoint):
    for n in (8, 9):
        kind = f"{VENDOR}; compatible-with={n}"
        answer = server.post(endpoint, {"input": "x"},
                             headers={"accept": kind, "content-type": kind})
        assert answer.status == 200
        assert answer.header("content-type") == f"{VENDOR};compatible-with={n}"


@pytest.mark.parametrize("accept, content_type", [
    (VENDOR + ";compatible-with=7", VENDOR + ";compatible-with=7"),
    (VENDOR + ";compatible-with=9", VENDOR + ";compatible-with=8"),
    (VENDOR + ";compatible-with=9", "application/json"),
    (VENDOR + ";compatible-with=10", VENDOR + ";compatible-with=10"),
    ("application/json", VENDOR + ";compatible-with=9"),
])
def test_versions_that_do_not_fit(server, endpoint, accept, content_type):
    answer = server.post(endpoint, {"input": "x"},
                         headers={"accept": accept, "content-type": content_type})
    assert answer.status == 400
    assert answer.type == "media_type_header_exception"


def test_the_version_is_named_when_it_is_wrong(server):
    header = VENDOR + ";compatible-with=7"
    answer = server.get("/", headers={"accept": header})
    assert (answer.status, answer.type) == (400, "media_type_header_exception")
    assert answer.reason == ("Accept version must be either version 9 or 8, but found 7. "
                             f"Accept={header}")


# ---- ways of looking ----

def test_pretty(server):
    answer = server.get("/_inference/completion/_all?pretty")
    assert answer.text == '{\n  "endpoints" : [ ]\n}\n'
    compact = server.get("/").text
    assert "\n" not in compact
    pretty = server.get("/?pretty=true")
    assert json.loads(pretty.text) == json.loads(compact)
    assert '\n  "version" : {\n    "number" : ' in pretty.text
    assert server.get("/?pretty=false").text == compact


def test_human_and_format(server):
    assert server.get("/?human").json == server.get("/").json
    assert server.get("/?format=json").json == server.get("/").json
    answer = server.get("/_license?format=yaml")
    assert answer.header("content-type") == "application/yaml"
    assert answer.text.startswith("---\nlicense:\n  status: \"active\"\n")
    assert server.get("/?format=toml").status == 406


def test_filter_path(server, endpoint):
    assert server.get("/?filter_path=version.number,tagline").json == {
        "version": {"number": server.get("/").json["version"]["number"]},
        "tagline": "You Know, for Search"}
    assert server.get("/_inference/c?filter_path=endpoints.inference_id").json == {
        "endpoints": [{"inference_id": "c"}]}
    assert server.get("/_inference/c?filter_path=**.model_id").json == {
        "endpoints": [{"service_settings": {"model_id": "m"}}]}
    assert server.get("/?filter_path=-version,-name").json.keys() == {
        "cluster_name", "cluster_uuid", "tagline"}
    assert server.get("/?filter_path=nothing").json == {}
    error = server.get("/_inference/none?filter_path=error.type")
    assert (error.status, error.json) == (404, {"error": {"type": "resource_not_found_exception"}})


def test_error_trace(server):
    assert "stack_trace" not in server.get("/_inference/none").json["error"]
    assert isinstance(server.get("/_inference/none?error_trace=true").json["error"]["stack_trace"],
                      str)


def test_pretty_errors(server):
    text = server.get("/_inference/none?pretty").text
    assert text.startswith('{\n  "error" : {\n    "root_cause" : [\n      {\n')


# ---- refusals ----

def test_no_handler(server):
    answer = server.get("/no/such?a=b")
    assert answer.status == 400
    assert answer.json == {"error": "no handler found for uri [/no/such?a=b] and method [GET]"}


@pytest.mark.parametrize("path", ["/%2e%2e/etc", "/_inference/a/b/c/d", "/a//b",
                                  "/" + "a/" * 300, "/_inference/%00", "/_inference/%zz"])
def test_odd_paths_are_refused(server, path):
    answer = server.get(path)
    assert answer.status in (400, 404)


def test_unknown_parameters(server):
    answer = server.get("/_inference/x?foo=1")
    assert (answer.status, answer.type) == (400, "illegal_argument_exception")
    assert answer.reason == "request [/_inference/x] contains unrecognized parameter: [foo]"
    answer = server.get("/?a=1&pretty&b")
    assert answer.reason == "request [/] contains unrecognized parameters: [a], [b]"
    for path in ("/?pretty=maybe", "/?error_trace=1"):
        assert server.get(path).status == 400


def test_the_error_envelope(server):
    answer = server.get("/_inference/none")
    assert answer.status == 404
    cause = {"type": "resource_not_found_exception",
             "reason": "Inference endpoint not found [none]"}
    assert answer.json == {"error": {"root_cause": [cause], **cause}, "status": 404}


def test_causes_are_shown(server, upstream):
    upstream.script(Reply(401, {"error": {"message": "no"}}))
    answer = server.put("/_inference/completion/x", {
        "service": "openai", "service_settings": {"api_key": MARK, "model_id": "m"}})
    error = answer.json["error"]
    assert answer.status == 400
    assert error["type"] == "status_exception"
    assert error["caused_by"]["type"] == "status_exception"
    assert error["root_cause"] == [error["caused_by"]]


def test_server_errors_are_in_the_log_without_the_body(spawn, upstream):
    server = spawn()
    server.make("completion", "c", "openai", {"api_key": MARK, "model_id": "m"})
    upstream.script(*[Reply(200, "garbage " + MARK)] * 3)
    answer = server.request("POST", "/_inference/c", {"input": "x"})
    assert answer.status == 500
    errors = [l for l in server.log_lines() if l["log.level"] == "ERROR"]
    assert errors and errors[-1]["status"] == 500
    assert MARK not in server.log()
