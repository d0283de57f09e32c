"""Users and roles: made, changed, used, ended; what takes effect when, and what is refused."""
import os

import pytest

from inferd import MARK, basic

USERS, ROLES, MAPPINGS = "/_security/user", "/_security/role", "/_security/role_mapping"
PASS = "pw-" + MARK


def put_user(server, name="juan", roles=("superuser",), password=PASS, **more):
    body = {"roles": list(roles), **more}
    if password:
        body["password"] = password
    return server.put(f"{USERS}/{name}", body)


@pytest.fixture(autouse=True)
def nobody(server):
    def wipe():
        for name in server.get(USERS, check=False).json:
            if name != "elastic":
                server.delete(f"{USERS}/{name}")
        made = server.get("/_security/_query/role", check=False).json["roles"]
        server.delete(ROLES, body={"names": [r["name"] for r in made]})
    wipe()
    yield
    wipe()


def test_a_user_from_put_to_delete(server):
    answer = put_user(server, full_name="J", email="j@x.org", metadata={"k": 1})
    assert (answer.status, answer.json) == (200, {"created": True})
    assert server.get(f"{USERS}/juan").json == {"juan": {
        "username": "juan", "roles": ["superuser"], "full_name": "J", "email": "j@x.org",
        "metadata": {"k": 1}, "enabled": True}}
    juan = basic("juan", PASS)
    assert server.get("/_cluster/health", auth=juan).status == 200
    me = server.get("/_security/_authenticate", auth=juan).json
    assert (me["username"], me["full_name"]) == ("juan", "J")
    assert me["authentication_realm"] == {"name": "default_native", "type": "native"}
    assert server.put(f"{USERS}/juan/_disable").json == {}
    answer = server.get("/_cluster/health", auth=juan)
    assert (answer.status, answer.reason) == (
        401, "unable to authenticate user [juan] for REST request [/_cluster/health]")
    assert server.put(f"{USERS}/juan/_enable").json == {}
    assert server.get("/_cluster/health", auth=juan).status == 200
    found = server.post("/_security/_query/user", {"query": {"prefix": {"username": "ju"}},
                                                   "sort": ["username"]}).json
    assert (found["total"], found["count"], found["users"][0]["_sort"]) == (1, 1, ["juan"])
    assert server.delete(f"{USERS}/juan").json == {"found": True}
    assert server.get("/", auth=juan).status == 401
    gone = server.delete(f"{USERS}/juan")
    assert (gone.status, gone.json) == (404, {"found": False})
    assert (server.get(f"{USERS}/juan").status, server.get(f"{USERS}/juan").json) == (404, {})


def test_an_update_keeps_the_password(server):
    put_user(server)
    answer = put_user(server, password=None, roles=["inference_user"])
    assert answer.json == {"created": False}
    assert server.get("/_inference", auth=basic("juan", PASS)).status == 200
    assert server.get("/", auth=basic("juan", PASS)).status == 403


def test_passwords(server):
    put_user(server, roles=["inference_user"])
    other = "other-" + MARK
    assert server.put(f"{USERS}/_password", {"password": other},
                      auth=basic("juan", PASS)).status == 200
    assert server.get("/_inference", auth=basic("juan", PASS)).status == 401
    assert server.get("/_inference", auth=basic("juan", other)).status == 200
    assert server.post(f"{USERS}/juan/_password", {"password": PASS}).status == 200
    assert server.get("/_inference", auth=basic("juan", PASS)).status == 200
    put_user(server, "maria", ["inference_user"])
    answer = server.post(f"{USERS}/maria/_password", {"password": other}, auth=basic("juan", PASS))
    assert (answer.status, answer.reason) == (
        403, "action [cluster:admin/xpack/security/user/change_password] is unauthorized for user "
        "[juan] with effective roles [inference_user], this action is granted by the cluster "
        "privileges [manage_security,all]")
    assert server.post(f"{USERS}/nobody/_password", {"password": other}).reason == \
        "Validation Failed: 1: user must exist in order to change password;"
    key = server.post("/_security/api_key", {"name": "k"}, auth=basic("juan", PASS))
    assert key.status == 403, "inference_user may not make keys"


@pytest.mark.parametrize("name, body, reason", [
    ("x", {}, "Validation Failed: 1: password must be specified unless you are updating an "
              "existing user;"),
    ("x", {"password": "short"},
     "Validation Failed: 1: passwords must be at least [6] characters long;"),
    ("elastic", {"password": PASS}, "Validation Failed: 1: user [elastic] is reserved and only "
                                    "the password can be changed;"),
    ("x", {"password": PASS, "username": "y"}, "expecting username [x] in body but found [y]"),
    ("x", {"password": PASS, "metadata": {"_a": 1}},
     "Validation Failed: 1: metadata keys may not start with [_];")])
def test_what_is_refused(server, name, body, reason):
    answer = server.put(f"{USERS}/{name}", body)
    assert (answer.status, answer.reason) == (400, reason)


def test_names_and_hashes_that_are_refused(server):
    for name in ("%20x", "x%20", "x%C3%BC", "x" * 508):
        answer = server.put(f"{USERS}/{name}", {"password": PASS})
        assert answer.status == 400
        assert "User names must be at least 1 and no more than 507 characters." in answer.reason
    for hash in ("x", "$argon2id$v=19$m=4194304,t=9,p=1$c2FsdHNhbHQ$aGFzaA", "$2a$10$abc"):
        assert server.put(f"{USERS}/x", {"password_hash": hash}).status == 400
    assert server.put(f"{USERS}/elastic/_disable").status == 400, "not oneself"
    assert server.delete(f"{USERS}/elastic").status == 400


def test_a_role_from_put_to_delete(server):
    body = {"cluster": ["monitor_inference"], "description": "d", "metadata": {"v": 1},
            "indices": [{"names": "logs-*", "privileges": ["read"]}]}
    assert server.put(f"{ROLES}/r", body).json == {"role": {"created": True}}
    assert server.post(f"{ROLES}/r", body).json == {"role": {"created": False}}
    assert server.get(f"{ROLES}/r").json == {"r": {
        "cluster": ["monitor_inference"], "indices": [{
            "names": ["logs-*"], "privileges": ["read"], "allow_restricted_indices": False}],
        "applications": [], "run_as": [], "metadata": {"v": 1},
        "transient_metadata": {"enabled": True}, "description": "d"}}
    assert {"r", "superuser", "inference_admin"} <= set(server.get(ROLES).json)
    found = server.post("/_security/_query/role", {"query": {"match": {"name": "r"}}}).json
    assert (found["total"], found["roles"][0]["name"]) == (1, "r")
    cleared = server.post(f"{ROLES}/r/_clear_cache").json
    assert cleared["_nodes"] == {"total": 1, "successful": 1, "failed": 0}
    assert server.delete(f"{ROLES}/r").json == {"found": True}
    assert server.delete(f"{ROLES}/r").status == 404
    assert (server.get(f"{ROLES}/r").status, server.get(f"{ROLES}/r").json) == (404, {})


def test_many_roles_at_once(server):
    server.put(f"{ROLES}/old", {"cluster": ["all"]})
    answer = server.post(ROLES, {"roles": {
        "new": {"cluster": ["monitor"]}, "old": {"cluster": ["monitor"]},
        "superuser": {}, "bad": {"cluster": ["nothing"]}}}).json
    assert (answer["created"], answer["updated"]) == (["new"], ["old"])
    assert answer["errors"]["count"] == 2
    assert answer["errors"]["details"]["superuser"]["reason"] == \
        "role [superuser] is reserved and cannot be modified."
    assert server.post(ROLES, {"roles": {"new": {"cluster": ["monitor"]}}}).json == \
        {"noop": ["new"]}
    gone = server.delete(ROLES, body={"names": ["new", "old", "never"]}).json
    assert gone == {"deleted": ["new", "old"], "not_found": ["never"]}


def test_reserved_and_wrong_roles(server):
    assert server.put(f"{ROLES}/superuser", {}).reason == \
        "role [superuser] is reserved and cannot be modified."
    assert server.delete(f"{ROLES}/viewer").reason == \
        "role [viewer] is reserved and cannot be deleted"
    for body in ({"cluster": ["nothing"]}, {"cluster": "all"}, {"foo": 1}, {"indices": [{}]},
                 {"metadata": {"_a": 1}}, {"description": "x" * 1001},
                 {"metadata": {"inferd": {"endpoints": "a"}}}):
        assert server.put(f"{ROLES}/r", body).status == 400, body
    assert server.put(f"{ROLES}/r", {"cluster": ["manage_ilm", "read_ccr"]}).status == 200


def test_a_role_mapping_from_put_to_delete(server):
    body = {"roles": ["kibana_user"], "metadata": {"v": {"w": 1}}, "rules": {"all": [
        {"any": [{"field": {"username": "*"}}, {"field": {"groups": ["a", None, 1]}}]},
        {"except": {"field": {"dn": "x"}}}]}}
    assert server.put(f"{MAPPINGS}/everyone", body).json == {"role_mapping": {"created": True}}
    assert server.post(f"{MAPPINGS}/everyone", body).json == {"role_mapping": {"created": False}}
    shown = {"everyone": {"enabled": True, **body}}
    assert server.get(f"{MAPPINGS}/everyone").json == shown
    assert server.put(f"{MAPPINGS}/other", {
        "enabled": False, "rules": {"field": {"username": "a"}},
        "role_templates": [{"template": {"source": "{{username}}"}, "format": "string"}]}).status == 200
    assert set(server.get(MAPPINGS).json) == {"everyone", "other"}
    assert server.get(f"{MAPPINGS}/everyone,absent").json == shown
    for name in ("everyone", "other"):
        assert server.delete(f"{MAPPINGS}/{name}").json == {"found": True}
    gone = server.delete(f"{MAPPINGS}/everyone")
    assert (gone.status, gone.json) == (404, {"found": False})
    assert (server.get(f"{MAPPINGS}/everyone").status, server.get(MAPPINGS).json) == (404, {})


def test_wrong_role_mappings(server):
    rules = {"field": {"username": "*"}}
    deep = rules
    for _ in range(40):
        deep = {"any": [deep]}
    answer = server.put(f"{MAPPINGS}/m", {})
    assert answer.reason == ("Validation Failed: 1: role-mapping rules are missing;"
                             "2: role-mapping roles or role-templates are missing;")
    for wrong in ({"roles": "a"}, {"roles": [1]}, {"enabled": "yes"}, {"metadata": {"_a": 1}}, {"foo": 1},
                  {"rules": {}}, {"rules": {"any": rules}}, {"rules": {"any": [1]}}, {"rules": {"other": rules}},
                  {"rules": {"except": rules}}, {"rules": {"field": {"a": 1, "b": 2}}}, {"rules": deep},
                  {"rules": {"field": {"a": {}}}}, {"rules": {"any": [], "all": []}},
                  {"role_templates": [{"template": {"source": "x"}}]}, {"roles": [], "role_templates": [{}]}):
        answer = server.put(f"{MAPPINGS}/m", {"roles": ["a"], "rules": rules, **wrong})
        assert answer.status == 400, wrong
    assert server.get(MAPPINGS).json == {}


def test_role_changes_count_at_once_but_not_for_keys(server):
    put_user(server, roles=["r", "missing"])
    juan = basic("juan", PASS)
    answer = server.get("/_inference", auth=juan)
    assert answer.status == 403
    assert "with effective roles [] (assigned roles [missing,r] were not found), this" \
        in answer.reason
    server.put(f"{ROLES}/r", {"cluster": ["monitor_inference", "manage_own_api_key"]})
    assert server.get("/_inference", auth=juan).status == 200
    key = server.post("/_security/api_key", {"name": "k"}, auth=juan).json
    server.put(f"{ROLES}/r", {"cluster": ["monitor_ml"]})
    answer = server.get("/_inference", auth=juan)
    assert answer.status == 403
    assert "with effective roles [r] (assigned roles [missing] were not found), this" \
        in answer.reason
    assert server.get("/_inference", auth="ApiKey " + key["encoded"]).status == 200, "a snapshot"
    server.delete("/_security/api_key", body={"ids": [key["id"]]})
    server.delete(f"{ROLES}/r")
    assert server.get("/_inference", auth=juan).status == 403


def test_a_role_of_action_patterns(server):
    server.put(f"{ROLES}/r", {"cluster": ["cluster:monitor/xpack/inference*", "cluster:monitor/main"]})
    put_user(server, roles=["r"])
    juan = basic("juan", PASS)
    assert server.get("/", auth=juan).status == 200
    assert server.get("/_inference", auth=juan).status == 200
    assert server.get("/_cluster/health", auth=juan).status == 403
    assert server.delete("/_inference/x", auth=juan).status == 403


def test_a_user_may_be_limited_to_some_endpoints(server):
    server.make("completion", "a-1", "openai", {"api_key": "sk-" + MARK, "model_id": "m"})
    server.make("completion", "b-1", "openai", {"api_key": "sk-" + MARK, "model_id": "m"})
    server.put(f"{ROLES}/r", {"cluster": ["monitor_inference"],
                              "metadata": {"inferd": {"endpoints": ["a-*"]}}})
    put_user(server, roles=["r"])
    juan = basic("juan", PASS)
    assert server.get("/_inference/a-1", auth=juan).status == 200
    assert server.get("/_inference/b-1", auth=juan).status == 403
    put_user(server, roles=["r", "inference_user"])
    assert server.get("/_inference/b-1", auth=juan).status == 200, "the other role gives it"


def test_all_of_it_survives_kill(spawn):
    server = spawn()
    put_user(server, roles=["r"])
    server.put(f"{ROLES}/r", {"cluster": ["monitor"]})
    server.kill()
    for folder, _, files in os.walk(server.data):
        for name in files:
            with open(os.path.join(folder, name), "rb") as f:
                assert MARK.encode() not in f.read(), f"{name} holds a secret in clear"
    server.start()
    assert server.get("/", auth=basic("juan", PASS)).status == 200
    server.put(f"{USERS}/elastic/_password", {"password": "new-" + MARK})
    server.kill()
    server.password = "new-" + MARK
    server.start()
    assert server.get("/").status == 200
