"""Who may do what: every built-in role against every route, and _has_privileges."""
import os
import re

import pytest

from inferd import MARK, ROOT, basic

PASS = "pw-" + MARK
ROLES = ("superuser", "inference_admin", "inference_user", "machine_learning_admin",
         "machine_learning_user", "monitor", "manage", "read_security", "manage_security",
         "manage_service_account", "manage_user_profile", "none")
OWN = ("monitor", "manage", "read_security", "manage_security", "manage_service_account",
       "manage_user_profile")  # made of the privilege of that name
LISTS = {"monitor_inference": "monitor_inference,manage_inference,monitor,manage,all",
         "manage_inference": "manage_inference,manage,all", "monitor": "monitor,manage,all",
         "read_security": "read_security,manage_security,all",
         "manage_security": "manage_security,all",
         "read_service_account": "manage_service_account,read_security,manage_security,all",
         "manage_service_account": "manage_service_account,manage_security,all",
         "read_profile": "manage_user_profile,read_security,manage_security,all",
         "manage_user_profile": "manage_user_profile,manage_security,all",
         "manage_saml": "manage_saml,manage_security,all", "manage_oidc": "manage_oidc,manage_security,all",
         "saml_metadata": "manage_saml,monitor,manage,all", "delegate_pki": "delegate_pki,all", "manage_token": "manage_token,manage_security,all",
         "grant_api_key": "grant_api_key,manage_api_key,manage_security,all",
         "read_api_key": "manage_own_api_key,read_security,manage_api_key,manage_security,all",
         "manage_own_api_key": "manage_own_api_key,manage_api_key,manage_security,all",
         "monitor_ml": "monitor_ml,manage_ml,monitor,manage,all",
         "manage_ml": "manage_ml,manage,all",
         "deploy": "manage_inference,manage_ml,manage,all",
         "ask": "monitor_inference,manage_inference,monitor_ml,manage_ml,monitor,manage,all"}
GIVES = {"superuser": set(LISTS), "inference_admin": {"monitor_inference", "manage_inference"},
         "inference_user": {"monitor_inference"},
         "machine_learning_admin": {"monitor_ml", "manage_ml"},
         "machine_learning_user": {"monitor_ml"},
         "monitor": {"monitor", "monitor_inference", "monitor_ml"},
         "manage": {"monitor", "monitor_inference", "manage_inference", "monitor_ml", "manage_ml"},
         "read_security": {"read_security", "read_service_account", "read_profile", "read_api_key"},
         "manage_security": {"read_security", "manage_security", "read_service_account", "manage_service_account",
                             "read_profile", "manage_user_profile", "manage_saml", "manage_oidc", "manage_token",
                             "grant_api_key", "manage_own_api_key", "read_api_key"},
         "manage_service_account": {"read_service_account", "manage_service_account"},
         "manage_user_profile": {"read_profile", "manage_user_profile"},
         "none": set()}
GIVES["superuser"] = set(LISTS)
for given in GIVES.values():  # what several privileges give, and none is named after
    if given & {"manage_inference", "manage_ml"}:
        given.add("deploy")
    if given & {"monitor_inference", "monitor_ml"}:
        given.add("ask")
    if "monitor" in given:
        given.add("saml_metadata")
BAD = {"no": "such member"}
M, A, X = "cluster:monitor/", "cluster:admin/xpack/", "cluster:monitor/xpack/inference"
# Bodies that are refused later than the privilege is looked at: the matrix changes nothing.
L = "/_ml/trained_models/x"
S, SA, P = "/_security/service", A + "security/service_account/", "/_security/profile"
ROUTES = [
    ("GET", "/_ml/trained_models/_stats", None, "monitor_ml", M + "xpack/ml/inference/stats/get"),
    ("GET", L + "/_stats", None, "monitor_ml", M + "xpack/ml/inference/stats/get"),
    ("POST", L + "/_infer", BAD, "monitor_ml", M + "xpack/ml/inference/infer"),
    ("POST", L + "/deployment/_infer", BAD, "ask", M + "xpack/ml/trained_models/deployment/infer"),
    ("POST", L + "/deployment/_start", None, "deploy", A + "ml/trained_models/deployment/start"),
    ("POST", L + "/deployment/_stop", None, "deploy", A + "ml/trained_models/deployment/stop"),
    ("POST", L + "/deployment/_update", BAD, "manage_ml",
     A + "ml/trained_models/deployment/update"),
    ("POST", L + "/deployment/cache/_clear", None, "manage_ml",
     A + "ml/trained_models/deployment/clear_cache"),
    ("GET", "/", None, "monitor", M + "main"),
    ("GET", "/_license", None, "monitor", M + "xpack/license/get"),
    ("GET", "/_xpack", None, "monitor", M + "xpack/info"),
    ("GET", "/_xpack/usage", None, "monitor", M + "xpack/usage"),
    ("GET", "/_cluster/health", None, "monitor", M + "health"),
    ("GET", "/_cluster/settings", None, "monitor", M + "settings"),
    ("GET", "/_nodes", None, "monitor", M + "nodes/info"),
    ("GET", "/_prometheus/metrics", None, "monitor", M + "prometheus/metrics"),
    ("GET", "/_inference", None, "monitor_inference", X + "/get"),
    ("GET", "/_inference/_all", None, "monitor_inference", X + "/get"),
    ("GET", "/_inference/x", None, "monitor_inference", X + "/get"),
    ("GET", "/_inference/completion/x", None, "monitor_inference", X + "/get"),
    ("GET", "/_inference/_services", None, "monitor_inference", X + "/services/get"),
    ("GET", "/_inference/_services/rerank", None, "monitor_inference", X + "/services/get"),
    ("GET", "/_inference/.diagnostics", None, "monitor_inference", X + "/diagnostics/get"),
    ("POST", "/_inference/x", BAD, "monitor_inference", X + "/post"),
    ("POST", "/_inference/completion/x", BAD, "monitor_inference", X + "/post"),
    ("POST", "/_inference/x/_stream", BAD, "monitor_inference", X + "/post"),
    ("POST", "/_inference/completion/x/_stream", BAD, "monitor_inference", X + "/post"),
    ("POST", "/_inference/x/_unified", BAD, "monitor_inference", X + "/unified"),
    ("POST", "/_inference/completion/x/_unified", BAD, "monitor_inference", X + "/unified"),
    ("POST", "/_inference/x/_simulate", BAD, "monitor_inference", X + "/simulate"),
    ("POST", "/_inference/completion/x/_simulate", BAD, "monitor_inference", X + "/simulate"),
    ("PUT", "/_inference/x", BAD, "manage_inference", A + "inference/put"),
    ("PUT", "/_inference/completion/x", BAD, "manage_inference", A + "inference/put"),
    ("PUT", "/_inference/x/_update", BAD, "manage_inference", A + "inference/update"),
    ("PUT", "/_inference/completion/x/_update", BAD, "manage_inference", A + "inference/update"),
    ("POST", "/_inference/x/_update", BAD, "manage_inference", A + "inference/update"),
    ("POST", "/_inference/completion/x/_update", BAD, "manage_inference", A + "inference/update"),
    ("DELETE", "/_inference/x", None, "manage_inference", A + "inference/delete"),
    ("DELETE", "/_inference/completion/x", None, "manage_inference", A + "inference/delete"),
    ("POST", "/v1/embeddings", BAD, "monitor_inference", X + "/post"),
    ("POST", "/v1/chat/completions", BAD, "monitor_inference", X + "/post"),
    ("POST", "/v1/rerank", BAD, "monitor_inference", X + "/post"),
    ("POST", "/v2/rerank", BAD, "monitor_inference", X + "/post"),
    ("GET", "/v1/models", None, "monitor_inference", X + "/get"),
    ("GET", "/v1/models/x", None, "monitor_inference", X + "/get"),
    ("GET", S, None, "read_service_account", SA + "get"),
    ("GET", S + "/elastic", None, "read_service_account", SA + "get"),
    ("GET", S + "/elastic/kibana", None, "read_service_account", SA + "get"),
    ("GET", S + "/elastic/kibana/credential", None, "read_service_account", SA + "credential/get"),
    ("POST", S + "/elastic/nobody/credential/token", None, "manage_service_account", SA + "token/create"),
    ("POST", S + "/elastic/nobody/credential/token/x", None, "manage_service_account", SA + "token/create"),
    ("PUT", S + "/elastic/nobody/credential/token/x", None, "manage_service_account", SA + "token/create"),
    ("DELETE", S + "/elastic/kibana/credential/token/x", None, "manage_service_account", SA + "token/delete"),
    ("POST", S + "/elastic/kibana/credential/token/x/_clear_cache", None, "manage_security", A + "security/cache/clear"),
    ("POST", P + "/_activate", BAD, "manage_user_profile", A + "security/profile/activate"),
    ("GET", P + "/u_x_0", None, "read_profile", A + "security/profile/get"),
    ("GET", P + "/_suggest", None, "read_profile", A + "security/profile/suggest"),
    ("POST", P + "/_suggest", None, "read_profile", A + "security/profile/suggest"),
    ("GET", P + "/_has_privileges", BAD, "read_profile", A + "security/profile/has_privileges"),
    ("POST", P + "/_has_privileges", BAD, "read_profile", A + "security/profile/has_privileges"),
    ("PUT", P + "/u_x_0/_data", BAD, "manage_user_profile", A + "security/profile/put/data"),
    ("POST", P + "/u_x_0/_data", BAD, "manage_user_profile", A + "security/profile/put/data"),
    ("PUT", P + "/u_x_0/_enable", None, "manage_user_profile", A + "security/profile/set_enabled"),
    ("POST", P + "/u_x_0/_enable", None, "manage_user_profile", A + "security/profile/set_enabled"),
    ("PUT", P + "/u_x_0/_disable", None, "manage_user_profile", A + "security/profile/set_enabled"),
    ("POST", P + "/u_x_0/_disable", None, "manage_user_profile", A + "security/profile/set_enabled"),
    ("GET", "/_security/settings", None, "read_security", A + "security/settings/get"),
    ("PUT", "/_security/settings", BAD, "manage_security", A + "security/settings/update"),
    ("GET", "/_security/stats", None, "monitor", M + "xpack/security/stats"),
    ("POST", "/_security/saml/prepare", BAD, "manage_saml", A + "security/saml/prepare"),
    ("POST", "/_security/saml/authenticate", BAD, "manage_saml", A + "security/saml/authenticate"),
    ("POST", "/_security/saml/logout", BAD, "manage_saml", A + "security/saml/logout"),
    ("POST", "/_security/saml/invalidate", BAD, "manage_saml", A + "security/saml/invalidate"),
    ("POST", "/_security/saml/complete_logout", BAD, "manage_saml", A + "security/saml/complete_logout"),
    ("GET", "/_security/saml/metadata/x", None, "saml_metadata", M + "xpack/security/saml/metadata"),
    ("POST", "/_security/oidc/prepare", BAD, "manage_oidc", A + "security/oidc/prepare"),
    ("POST", "/_security/oidc/authenticate", BAD, "manage_oidc", A + "security/oidc/authenticate"),
    ("POST", "/_security/oidc/logout", BAD, "manage_oidc", A + "security/oidc/logout"),
    ("POST", "/_security/delegate_pki", BAD, "delegate_pki", A + "security/delegate_pki"),
    ("POST", "/_security/cross_cluster/api_key", BAD, "manage_security", A + "security/cross_cluster/api_key/create"),
    ("PUT", "/_security/cross_cluster/api_key/x", BAD, "manage_security", A + "security/cross_cluster/api_key/update"),
    ("GET", "/_nodes/_all", None, "monitor", M + "nodes/info"),
    ("GET", "/_nodes/_all/http", None, "monitor", M + "nodes/info"),
    ("PUT", "/_security/api_key", BAD, "manage_own_api_key", A + "security/api_key/create"),
    ("POST", "/_security/api_key/_bulk_update", BAD, "manage_own_api_key", A + "security/api_key/bulk_update"),
    ("POST", "/_security/api_key/grant", BAD, "grant_api_key", A + "security/api_key/grant"),
    ("POST", "/_security/oauth2/token", BAD, "manage_token", A + "security/token/create"),
    ("DELETE", "/_security/oauth2/token", BAD, "manage_token", A + "security/token/invalidate"),
    ("GET", "/_security/_query/api_key", None, "read_api_key", A + "security/api_key/query"),
    ("POST", "/_security/_query/api_key", None, "read_api_key", A + "security/api_key/query"),
    ("POST", "/_security/user/x", BAD, "manage_security", A + "security/user/put"),
    ("POST", "/_security/user/x/_enable", None, "manage_security", A + "security/user/set_enabled"),
    ("POST", "/_security/user/x/_disable", None, "manage_security", A + "security/user/set_enabled"),
    ("GET", "/_security/user/x", None, "read_security", A + "security/user/get"),
    ("POST", "/_security/_query/user", None, "read_security", A + "security/user/query"),
    ("POST", "/_security/role/x", BAD, "manage_security", A + "security/role/put"),
    ("GET", "/_security/role/x", None, "read_security", A + "security/role/get"),
    ("POST", "/_security/_query/role", None, "read_security", A + "security/role/query"),
    ("POST", "/_security/role_mapping/x", BAD, "manage_security", A + "security/role_mapping/put"),
    ("GET", "/_security/role_mapping/x", None, "read_security", A + "security/role_mapping/get"),
    ("POST", "/_security/privilege", BAD, "manage_security", A + "security/privilege/put"),
    ("GET", "/_security/privilege/app", None, "read_security", A + "security/privilege/get"),
    ("GET", "/_security/privilege/app/x", None, "read_security", A + "security/privilege/get"),
    ("POST", "/_security/privilege/app/_clear_cache", None, "manage_security", A + "security/privilege/cache/clear"),
    ("POST", "/_security/api_key/x/_clear_cache", None, "manage_security", A + "security/cache/clear"),
    ("POST", "/_security/role/x/_clear_cache", None, "manage_security", A + "security/roles/cache/clear"),
    ("POST", "/_security/realm/x/_clear_cache", None, "manage_security", A + "security/realm/cache/clear"),
    ("GET", "/_security/user", None, "read_security", A + "security/user/get"),
    ("PUT", "/_security/user/x", BAD, "manage_security", A + "security/user/put"),
    ("DELETE", "/_security/user/x", None, "manage_security", A + "security/user/delete"),
    ("PUT", "/_security/user/x/_disable", None, "manage_security", A + "security/user/set_enabled"),
    ("PUT", "/_security/user/x/_enable", None, "manage_security", A + "security/user/set_enabled"),
    ("GET", "/_security/_query/user", None, "read_security", A + "security/user/query"),
    ("GET", "/_security/role", None, "read_security", A + "security/role/get"),
    ("GET", "/_security/_query/role", None, "read_security", A + "security/role/query"),
    ("PUT", "/_security/role/x", BAD, "manage_security", A + "security/role/put"),
    ("POST", "/_security/role", BAD, "manage_security", A + "security/role/bulk_put"),
    ("DELETE", "/_security/role/x", None, "manage_security", A + "security/role/delete"),
    ("GET", "/_security/role_mapping", None, "read_security", A + "security/role_mapping/get"),
    ("PUT", "/_security/role_mapping/x", BAD, "manage_security", A + "security/role_mapping/put"),
    ("DELETE", "/_security/role_mapping/x", None, "manage_security", A + "security/role_mapping/delete"),
    ("DELETE", "/_security/role", BAD, "manage_security", A + "security/role/bulk_delete"),
    ("PUT", "/_security/privilege", BAD, "manage_security", A + "security/privilege/put"),
    ("GET", "/_security/privilege", None, "read_security", A + "security/privilege/get"),
    ("DELETE", "/_security/privilege/app/x", None, "manage_security",
     A + "security/privilege/delete"),
    ("GET", "/_security/privilege/_builtin", None, "read_security",
     A + "security/privilege/builtin/get"),
    ("POST", "/_security/api_key", BAD, "manage_own_api_key", A + "security/api_key/create"),
    ("DELETE", "/_security/api_key", BAD, "manage_own_api_key",
     A + "security/api_key/invalidate"),
    ("PUT", "/_security/api_key/x", BAD, "manage_own_api_key", A + "security/api_key/update"),
    ("GET", "/_security/_authenticate", None, None, None),
    ("GET", "/_ml/info", None, "monitor_ml", M + "xpack/ml/info/get"),
    ("GET", "/_ml/trained_models", None, "monitor_ml", M + "xpack/ml/inference/get"),
    ("GET", "/_ml/trained_models/x", None, "monitor_ml", M + "xpack/ml/inference/get"),
    ("GET", "/_cat/ml/trained_models", None, "monitor_ml", M + "xpack/ml/inference/get"),
    ("GET", "/_cat/ml/trained_models/x", None, "monitor_ml", M + "xpack/ml/inference/get"),
    ("PUT", "/_ml/trained_models/x", BAD, "manage_ml", A + "ml/inference/put"),
    ("PUT", "/_ml/trained_models/x/definition/0", BAD, "manage_ml",
     A + "ml/trained_models/part/put"),
    ("PUT", "/_ml/trained_models/x/vocabulary", BAD, "manage_ml",
     A + "ml/trained_models/vocabulary/put"),
    ("DELETE", "/_ml/trained_models/x", None, "manage_ml", A + "ml/inference/delete"),
    ("PUT", "/_ml/trained_models/x/model_aliases/a", None, "manage_ml",
     A + "ml/inference/model_aliases/put"),
    ("DELETE", "/_ml/trained_models/x/model_aliases/a", None, "manage_ml",
     A + "ml/inference/model_aliases/delete"),
]


@pytest.fixture(scope="module")
def people(shared):
    server = shared.get()
    for name in OWN:
        server.put(f"/_security/role/{name}", {"cluster": [name]})
    for role in ROLES:
        roles = [] if role == "none" else [role]
        assert server.put(f"/_security/user/u-{role}",
                          {"password": PASS, "roles": roles}).status == 200
    yield {role: basic(f"u-{role}", PASS) for role in ROLES}
    for role in ROLES:
        server.delete(f"/_security/user/u-{role}")
    server.delete("/_security/role", body={"names": list(OWN)})


@pytest.mark.parametrize("role", ROLES)
def test_matrix(server, people, role):
    assigned = "" if role == "none" else role
    for method, path, body, needs, action in ROUTES:
        answer = server.request(method, path, body, auth=people[role])
        if needs is None or needs in GIVES[role]:
            assert answer.status not in (401, 403), (method, path, answer)
            continue
        text = (f"action [{action}] is unauthorized for user [u-{role}] with effective roles "
                f"[{assigned}], this action is granted by the cluster privileges [{LISTS[needs]}]")
        assert answer.status == 403, (method, path, answer)
        assert text in answer.text, (method, path, answer)
        if not path.startswith("/v") and not path.endswith(("_stream", "_unified")):
            assert answer.json == {"error": {
                "root_cause": [{"type": "security_exception", "reason": text}],
                "type": "security_exception", "reason": text}, "status": 403}


# Those that everybody may call about himself, or that need no credentials; told about elsewhere.
SELF = {"GET /_security/_authenticate", "GET /_security/api_key", "GET /_security/user/_privileges", "GET /_security/enroll/node",
        "GET /_security/enroll/kibana", "GET /_health", "GET /_health/ready"} | {
    f"{method} /_security/user/{path}" for path in ("_password", "{}/_password") for method in ("PUT", "POST")} | {
    f"{method} /_security/user/{path}" for path in ("_has_privileges", "{}/_has_privileges") for method in ("GET", "POST")}


def rows_of(name):
    """(method, path, action) of each row of a table of routes."""
    with open(os.path.join(ROOT, "src", "api", name), encoding="utf-8") as f:
        text = re.sub(r"/\*.*?\*/", "", f.read(), flags=re.S)
    macros = dict(re.findall(r"#define (\w+)\s+(.+)", text))

    def value(expression):
        parts = re.findall(r'"[^"]*"|\w+', expression)
        return "".join(p[1:-1] if p[0] == '"' else value(macros[p]) for p in parts)
    for method, path, action in re.findall(r"\{HTTP_(\w+),\s*([^,]+),\s*PRIV_\w+,\s*([^,]+),", text):
        yield method, re.sub(r"\{\w+\}", "{}", value(path)), value(action)


def test_every_route_is_in_the_matrix():
    rows = list(rows_of("routes.c")) + list(rows_of("security_routes.c"))
    assert len(rows) > 150
    missing = [f"{method} {path} {action}" for method, path, action in rows if f"{method} {path}" not in SELF and not any(
        method == m and re.fullmatch(re.escape(path).replace(r"\{\}", "[^/]+"), p) and action == a for m, p, _, _, a in ROUTES)]
    assert missing == []


def test_keys_of_others_need_more_than_keys_of_ones_own(server, people):
    server.put("/_security/role/own", {"cluster": ["manage_own_api_key"]})
    server.put("/_security/user/u-own", {"password": PASS, "roles": ["own"]})
    own = basic("u-own", PASS)
    keys = "/_security/api_key"
    theirs = server.post(keys, {"name": "theirs"}).json
    mine = server.post(keys, {"name": "mine"}, auth=own).json
    assert [k["id"] for k in server.get(keys + "?owner=true", auth=own).json["api_keys"]] == \
        [mine["id"]]
    assert server.get(keys + "?username=u-own&realm_name=default_native", auth=own).status == 200
    refused = server.get(keys, auth=own)
    assert (refused.status, refused.reason) == (
        403, "action [cluster:admin/xpack/security/api_key/get] is unauthorized for user [u-own] "
        "with effective roles [own], this action is granted by the cluster privileges "
        "[manage_own_api_key,read_security,manage_api_key,manage_security,all]")
    listed = server.get("/_security/_query/api_key", auth=own).json
    assert [k["id"] for k in listed["api_keys"]] == [mine["id"]]
    assert server.delete(keys, body={"ids": [theirs["id"]]}, auth=own).status == 403
    assert server.delete(keys, body={"ids": [theirs["id"]], "owner": True}, auth=own).status == 404
    assert server.put(f"{keys}/{theirs['id']}", {}, auth=own).status == 404
    gone = server.delete(keys, body={"owner": True}, auth=own).json
    assert gone["invalidated_api_keys"] == [mine["id"]]
    assert server.get("/_security/_authenticate",
                      auth="ApiKey " + theirs["encoded"]).status == 200
    server.delete("/_security/user/u-own")
    server.delete("/_security/role/own")
    server.delete(keys, body={"ids": [theirs["id"]]})


def test_names_asked_twice_are_answered_once(server):
    asked = server.post("/_security/user/_has_privileges", {
        "cluster": ["monitor", "all", "monitor"],
        "index": [{"names": ["a", "b", "a"], "privileges": ["read", "read"]},
                  {"names": "a", "privileges": ["write"]}],
        "application": [{"application": "x", "privileges": ["p", "p"], "resources": ["r", "r"]},
                        {"application": "x", "privileges": ["q"], "resources": ["r", "s"]}]})
    assert asked.status == 200
    assert asked.body == (
        b'{"username":"elastic","has_all_requested":true,"cluster":{"monitor":true,"all":true},'
        b'"index":{"a":{"read":true,"write":true},"b":{"read":true}},'
        b'"application":{"x":{"r":{"p":true,"q":true},"s":{"q":true}}}}')


def test_a_short_question_with_a_long_answer(server):
    many = [f"n{i}" for i in range(1000)]
    answer = server.post("/_security/user/_has_privileges",
                         {"index": [{"names": many, "privileges": many}]})
    assert answer.status == 413 and answer.reason == "too many privileges are asked for"


def test_has_privileges(server, people):
    ask = {"cluster": ["monitor", "manage_inference", "monitor_inference", "cluster:monitor/main",
                       "cluster:admin/xpack/security/*", "manage_ilm"],
           "index": [{"names": ["a", "b*"], "privileges": ["read"]}],
           "application": [{"application": "kibana-.kibana", "privileges": ["read"],
                            "resources": ["*"]}]}

    def asked(role, method="POST", path="/_security/user/_has_privileges"):
        answer = server.request(method, path, ask, auth=people[role])
        assert answer.status == 200, answer
        return answer.json
    assert asked("superuser", "GET")["has_all_requested"] is True
    assert asked("monitor", path="/_security/user/u-monitor/_has_privileges") == {
        "username": "u-monitor", "has_all_requested": False,
        "cluster": {"monitor": True, "manage_inference": False, "monitor_inference": True,
                    "cluster:monitor/main": True, "cluster:admin/xpack/security/*": False,
                    "manage_ilm": False},
        "index": {"a": {"read": False}, "b*": {"read": False}},
        "application": {"kibana-.kibana": {"*": {"read": False}}}}
    assert asked("manage")["cluster"] == {
        "monitor": True, "manage_inference": True, "monitor_inference": True,
        "cluster:monitor/main": True, "cluster:admin/xpack/security/*": False, "manage_ilm": False}
    path = "/_security/user/_has_privileges"
    assert server.post(path, {"cluster": []}).status == 400
    assert server.post(path, {"cluster": ["nothing"]}).status == 400
    assert server.post("/_security/user/u-none/_has_privileges", ask,
                       auth=people["monitor"]).status == 403
    key = server.post("/_security/api_key", {"name": "k", "role_descriptors": {
        "r": {"cluster": ["monitor"]}}}).json
    answer = server.post(path, ask, auth="ApiKey " + key["encoded"]).json
    assert answer["cluster"]["monitor"] and not answer["cluster"]["manage_inference"]
    server.delete("/_security/api_key", body={"ids": [key["id"]]})


def test_application_privileges(server):
    path = "/_security/privilege"
    one = {"application": "myapp", "name": "read", "actions": ["data:read/*"], "metadata": {"a": 1}}
    put = server.put(path, {"myapp": {"read": one, "write": {"actions": ["data:write/*"]}}})
    assert put.json == {"myapp": {"read": {"created": True}, "write": {"created": True}}}
    assert server.put(path, {"myapp": {"read": one}}).json == {"myapp": {"read": {"created": False}}}
    assert server.get(f"{path}/myapp/read").json == {"myapp": {"read": one}}
    assert sorted(server.get(f"{path}/myapp").json["myapp"]) == ["read", "write"]
    assert server.post(f"{path}/myapp/_clear_cache").json["_nodes"]["failed"] == 0
    gone = server.delete(f"{path}/myapp/read,never")
    assert gone.status == 200
    assert gone.json == {"myapp": {"read": {"found": True}, "never": {"found": False}}}
    assert server.delete(f"{path}/myapp/read").status == 404
    assert server.get(f"{path}/myapp/read").status == 404
    server.delete(f"{path}/myapp/write")
    for bad, reason in (({"my": {"read": one}}, "Unexpected value [myapp] of field [application]"),
                        ({"X": {"read": {"actions": ["a/b"]}}}, "Application names must match"),
                        ({"myapp": {"R": {"actions": ["a/b"]}}}, "privilege names must match"),
                        ({"myapp": {"r": {"actions": ["ab"]}}}, "must contain one of"),
                        ({"myapp": {"r": {"actions": []}}}, "at least one action"), ({}, "At least one")):
        r = server.put(path, bad)
        assert r.status == 400 and reason in r.json["error"]["reason"], r.json
    assert server.get(path).json == {}


def test_own_privileges(server, people):
    answer = server.get("/_security/user/_privileges", auth=basic("u-monitor", PASS)).json
    assert answer == {"cluster": ["monitor"], "global": [], "indices": [], "applications": [],
                      "run_as": []}
