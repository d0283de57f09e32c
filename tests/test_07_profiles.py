"""User profiles: activated, read, changed, suggested, asked about."""
import base64
import hashlib

import pytest
from elasticsearch import AuthenticationException, ConflictError, Elasticsearch

from inferd import MARK, basic

PROFILES, PASS = "/_security/profile", "pw-" + MARK
PEOPLE = {"juan": ("Juan Pérez", "juan@bazooka.gum"), "jacknich": ("Jack Nicholson", "jack@example.com"),
          "ana": ("Ana Jackson", None)}


def uid_of(name):
    digest = base64.urlsafe_b64encode(hashlib.sha256(name.encode()).digest()).decode().rstrip("=")
    return f"u_{digest}_0"


def activate(server, name, **more):
    return server.post(PROFILES + "/_activate", {"grant_type": "password", "username": name, "password": PASS, **more})


@pytest.fixture
def people(spawn):
    server = spawn()
    for name, (full, email) in PEOPLE.items():
        assert server.put(f"/_security/user/{name}", {"password": PASS, "roles": ["monitor", "superuser"],
                                                      "full_name": full, "email": email}).status == 200
        assert activate(server, name).status == 200
    return server


def suggested(server, **body):
    answer = server.post(PROFILES + "/_suggest", body)
    assert answer.status == 200, answer
    assert answer.json["total"] == {"value": answer.json["total"]["value"], "relation": "eq"}
    return [p["user"]["username"] for p in answer.json["profiles"]]


def test_activated_and_read(people):
    uid = uid_of("juan")
    shown = activate(people, "juan").json
    assert list(shown) == ["uid", "enabled", "last_synchronized", "user", "labels", "data", "_doc"]
    assert (shown["uid"], shown["enabled"], shown["labels"], shown["data"]) == (uid, True, {}, {})
    assert shown["user"] == {"username": "juan", "roles": ["monitor", "superuser"], "realm_name": "default_native",
                             "email": "juan@bazooka.gum", "full_name": "Juan Pérez"}
    assert shown["_doc"]["_primary_term"] == 1 and shown["_doc"]["_seq_no"] > 0
    assert "email" not in activate(people, "ana").json["user"]
    other = "u_" + "x" * 43 + "_0"
    answer = people.get(f"{PROFILES}/{uid},{other},{uid}")
    assert (answer.status, [p["uid"] for p in answer.json["profiles"]]) == (200, [uid])
    assert answer.json["errors"] == {"count": 1, "details": {
        other: {"type": "resource_not_found_exception", "reason": "profile document not found"}}}
    assert "errors" not in people.get(f"{PROFILES}/{uid}").json
    assert people.get("/_security/user/juan?with_profile_uid=true").json["juan"]["profile_uid"] == uid
    assert "profile_uid" not in people.get("/_security/user/juan").json["juan"]
    assert "profile_uid" not in people.get("/_security/user/elastic?with_profile_uid=true").json["elastic"]
    found = people.post("/_security/_query/user?with_profile_uid=true", {"query": {"term": {"username": "ana"}}}).json
    assert found["users"][0]["profile_uid"] == uid_of("ana")


def test_api_keys_name_their_owners_profile(people):
    mine = people.post("/_security/api_key", {"name": "of-elastic"}).json["id"]
    theirs = people.post("/_security/api_key", {"name": "of-ana"}, auth=basic("ana", PASS)).json["id"]
    for path in ("/_security/api_key?with_profile_uid=true", "/_security/_query/api_key?with_profile_uid=true"):
        keys = {k["id"]: k for k in people.get(path).json["api_keys"]}
        assert keys[theirs]["profile_uid"] == uid_of("ana") and "profile_uid" not in keys[mine]
    assert "profile_uid" not in people.get("/_security/api_key").text


def test_who_may_be_activated(people):
    token = people.post("/_security/oauth2/token", {"grant_type": "password", "username": "ana", "password": PASS}).json
    by_token = people.post(PROFILES + "/_activate", {"grant_type": "access_token", "access_token": token["access_token"]})
    assert by_token.json["uid"] == uid_of("ana")
    elastic = people.post(PROFILES + "/_activate", {"grant_type": "password", "username": "elastic",
                                                    "password": people.password}).json
    assert (elastic["user"]["realm_name"], elastic["user"]["roles"]) == ("reserved", ["superuser"])
    assert people.post(PROFILES + "/_activate", {"grant_type": "password", "username": "juan",
                                                 "password": "wrong-" + MARK}).status == 401
    service = people.post("/_security/service/elastic/kibana/credential/token/t").json["token"]["value"]
    answer = people.post(PROFILES + "/_activate", {"grant_type": "access_token", "access_token": service})
    assert (answer.status, answer.reason) == (
        400, "profile is supported for user only, but subject is a [service_account]")
    for body, why in (({}, "grant_type [] is not supported"),
                      ({"grant_type": "kerberos"}, "grant_type [kerberos] is not supported"),
                      ({"grant_type": "password", "username": "x"}, "[password] is required"),
                      ({"grant_type": "access_token", "username": "x", "access_token": "y"}, "[username] is not supported"),
                      ({"grant_type": "password", "x": 1}, "unknown field [x]")):
        answer = people.post(PROFILES + "/_activate", body)
        assert answer.status == 400 and why in answer.reason, answer
    # Kibana's own account may do all that
    kibana = "Bearer " + service
    assert people.post(PROFILES + "/_activate", {"grant_type": "password", "username": "ana", "password": PASS},
                       auth=kibana).status == 200
    assert people.get(f"{PROFILES}/{uid_of('ana')}", auth=kibana).status == 200
    path = f"{PROFILES}/{uid_of('ana')}/_data"
    assert people.put(path, {"data": {"kibana1": {"a": 1}}}, auth=kibana).json == {"acknowledged": True}
    for body in ({"data": {"other": 1}}, {"data": {"kibana1": 1}, "labels": {"other": 1}}, {"no": 1}):
        assert people.put(path, body, auth=kibana).status == 403
    assert people.put(f"{PROFILES}/{uid_of('ana')}/_disable", auth=kibana).status == 403


def test_labels_and_data(people):
    uid = uid_of("juan")
    path = f"{PROFILES}/{uid}/_data"
    assert people.put(path, {"labels": {"direction": "north", "kibana": {"space": "a", "tags": [1, 2]}},
                             "data": {"app1": {"k1": "v1", "k2": "v2"}, "app2": {"z": None}}}).json == {"acknowledged": True}
    assert people.post(path, {"labels": {"kibana": {"space": "b", "tags": [3]}}, "data": {"app1": {"k2": {"deep": True}}}}).status == 200

    def get(query=""):
        return people.get(f"{PROFILES}/{uid}{query}").json["profiles"][0]
    assert get()["labels"] == {"direction": "north", "kibana": {"space": "b", "tags": [3]}} and get()["data"] == {}
    everything = {"app1": {"k1": "v1", "k2": {"deep": True}}, "app2": {"z": None}}
    assert get("?data=*")["data"] == everything
    assert get("?data=app1")["data"] == {"app1": everything["app1"]}
    assert get("?data=app1.k1,app2")["data"] == {"app1": {"k1": "v1"}, "app2": {"z": None}}
    assert get("?data=nothing")["data"] == {}
    assert activate(people, "juan").json["labels"]["direction"] == "north"  # kept
    now = get()["_doc"]["_seq_no"]
    answer = people.put(path + f"?if_seq_no={now - 1}&if_primary_term=1", {"data": {"app1": 1}})
    assert (answer.status, answer.type) == (409, "version_conflict_engine_exception")
    assert people.put(path + f"?if_seq_no={now}&if_primary_term=1", {"data": {"app3": 1}}).status == 200
    assert get()["_doc"]["_seq_no"] > now and get("?data=app3")["data"] == {"app3": 1}
    for body, why in (({}, "update request is empty"), ({"labels": {}}, "update request is empty"),
                      ({"labels": {"a.b": 1}}, "must not contain dot, but found [a.b]"),
                      ({"data": {"_a": 1}}, "must not start with underscore, but found [_a]"),
                      ({"labels": 1}, "[labels] is not an object"), ({"no": {}}, "unknown field [no]")):
        answer = people.put(path, body)
        assert answer.status == 400 and why in answer.reason, answer
    assert people.put(path + "?if_seq_no=x", {"data": {"a": 1}}).status == 400
    missing = people.put(PROFILES + "/u_x_0/_data", {"data": {"a": 1}})
    assert (missing.status, missing.type, missing.reason) == (
        404, "document_missing_exception", "[profile_u_x_0]: document missing")
    for i in range(3):
        answer = people.put(path, {"data": {f"big{i}": "x" * 400_000}})
    assert answer.status == 413 and len(get("?data=big1")["data"]["big1"]) == 400_000
    people.kill()
    people.start()
    assert get("?data=app3")["data"] == {"app3": 1} and get()["labels"]["direction"] == "north"


def test_enabled_and_disabled(people):
    uid = uid_of("juan")
    assert people.put(f"{PROFILES}/{uid}/_disable").json == {"acknowledged": True}
    assert people.get(f"{PROFILES}/{uid}").json["profiles"][0]["enabled"] is False
    assert suggested(people, name="juan") == []
    asked = {"uids": [uid], "privileges": {"cluster": ["monitor"]}}
    assert people.post(PROFILES + "/_has_privileges", asked).json == {"has_privilege_uids": []}
    assert people.post(f"{PROFILES}/{uid}/_enable").json == {"acknowledged": True}
    assert people.post(PROFILES + "/_has_privileges", asked).json == {"has_privilege_uids": [uid]}
    people.put(f"{PROFILES}/{uid}/_disable")
    assert activate(people, "juan").json["enabled"] is True
    assert people.put(PROFILES + "/u_x_0/_enable").status == 404


def test_suggestions(people):
    assert suggested(people, name="juan") == ["juan"]
    assert suggested(people, name="PÉR") == ["juan"]  # a word is being typed
    assert sorted(suggested(people, name="jack")) == ["ana", "jacknich"]
    assert suggested(people, name="jack ") == suggested(people, name="jack")
    assert suggested(people, name="nicholson jack")[0] == "jacknich"
    assert suggested(people, name="nicholso ana") == ["ana"]  # only the last word may be a beginning
    assert suggested(people, name="example") == ["jacknich"]
    assert suggested(people, name="zzz") == []
    assert sorted(suggested(people)) == sorted(PEOPLE) and len(suggested(people, size=2)) == 2 and suggested(people, size=0) == []
    people.put(f"{PROFILES}/{uid_of('ana')}/_data", {"labels": {"direction": ["north", "east"], "kibana": {"space": "demo"}},
                                                     "data": {"app": {"a": 1, "b": 2}}})
    for hint in ({"uids": [uid_of("ana")]}, {"labels": {"direction": ["west", "east"]}}, {"labels": {"kibana.space": "demo"}}):
        assert suggested(people, name="jack", hint=hint)[0] == "ana"
        other = {"uids": [uid_of("jacknich")]} if "uids" in hint else {"labels": {"direction": "south"}}
        assert len(suggested(people, name="jack", hint=other)) == 2
    shown = people.get(PROFILES + "/_suggest?data=app.a", body={"name": "ana"}).json["profiles"][0]
    assert list(shown) == ["uid", "user", "labels", "data"] and shown["data"] == {"app": {"a": 1}}
    assert people.post(PROFILES + "/_suggest", {"name": "ana", "data": ["app.b"]}).json["profiles"][0]["data"] == {"app": {"b": 2}}
    for body, why in (({"size": -1}, "[size] parameter cannot be negative but was [-1]"), ({"size": 10001}, "Result window is too large"),
                      ({"hint": {}}, "[hint] parameter cannot be empty"), ({"hint": {"uids": []}}, "[uids] hint cannot be empty"),
                      ({"hint": {"labels": {"a": "b", "c": "d"}}}, "[labels] hint supports a single key"),
                      ({"hint": {"labels": {"a*": "b"}}}, "cannot contain wildcard"), ({"hint": {"labels": {"a": []}}}, "cannot be empty"),
                      ({"hint": {"labels": {"a": 1}}}, "supports either string"), ({"name": "x" * 2000}, "cannot be longer"),
                      ({"data": 1}, "[data]"), ({"no": 1}, "unknown field [no]")):
        answer = people.post(PROFILES + "/_suggest", body)
        assert answer.status == 400 and why in answer.reason, answer
    assert people.post(PROFILES + "/_suggest?data=a", {"data": "b"}).status == 400


def test_who_has_privileges(people):
    people.put("/_security/user/ana", {"roles": []})
    asked = {"uids": [uid_of("ana"), uid_of("juan"), "u_none_0", uid_of("juan")],
             "privileges": {"cluster": ["monitor"], "index": [{"names": ["index1*"], "privileges": ["read"]}]}}
    assert people.post(PROFILES + "/_has_privileges", asked).json == {
        "has_privilege_uids": [uid_of("juan")], "errors": {"count": 1, "details": {
            "u_none_0": {"type": "resource_not_found_exception", "reason": "profile document not found"}}}}
    many = [f"n{i}" for i in range(700)]
    asked_much = {"uids": [uid_of(name) for name in PEOPLE], "privileges": {"index": [{"names": many[:300], "privileges": many[:300]}]}}
    assert people.post(PROFILES + "/_has_privileges", asked_much).status == 200
    asked_much["privileges"]["index"][0]["names"] = many
    assert people.post(PROFILES + "/_has_privileges", asked_much).status == 413
    people.delete("/_security/user/juan")
    assert people.get(PROFILES + "/_has_privileges", body=asked).json["has_privilege_uids"] == []
    for body in ({"uids": []}, {"uids": ["x"]}, {"privileges": {"cluster": ["monitor"]}}, {"uids": [1], "privileges": {"cluster": ["all"]}},
                 {"uids": [uid_of("ana")], "privileges": {"cluster": ["nothing"]}}, {"uids": ["x"], "privileges": {"no": []}}):
        assert people.post(PROFILES + "/_has_privileges", body).status == 400, body


def test_the_official_client(people):
    client = Elasticsearch(people.url, basic_auth=("elastic", people.password))
    uid = client.security.activate_user_profile(grant_type="password", username="juan", password=PASS)["uid"]
    assert client.security.update_user_profile_data(uid=uid, labels={"a": "b"}, data={"app": {"x": 1}})["acknowledged"]
    shown = client.security.get_user_profile(uid=uid, data="*")["profiles"][0]
    assert shown["data"] == {"app": {"x": 1}} and client.security.get_user_profile(uid=[uid, uid_of("ana")])["profiles"][1]["enabled"]
    with pytest.raises(ConflictError):
        client.security.update_user_profile_data(uid=uid, labels={"a": "c"}, if_seq_no=1, if_primary_term=1)
    assert client.security.suggest_user_profiles(name="juan", hint={"uids": [uid]})["profiles"][0]["uid"] == uid
    assert client.security.has_privileges_user_profile(uids=[uid], privileges={"cluster": ["monitor"]})["has_privilege_uids"] == [uid]
    client.security.disable_user_profile(uid=uid)
    client.security.enable_user_profile(uid=uid)
    with pytest.raises(AuthenticationException):
        client.security.activate_user_profile(grant_type="password", username="juan", password="wrong-" + MARK)
    assert people.get("/", auth=basic("juan", PASS)).status == 200
