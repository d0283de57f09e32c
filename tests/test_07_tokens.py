"""Access tokens: made, renewed, ended; API keys for others, and many API keys changed at once."""
import base64
import os

import openai
import pytest

from inferd import MARK, PASSWORD, basic, wait_until

TOKEN = "/_security/oauth2/token"
KEYS = "/_security/api_key"
PW = "pw-" + MARK + "-a"
NOT_VALID = ("unable to authenticate with provided credentials and anonymous access is not "
             "allowed for this request")


@pytest.fixture
def ann(server):
    server.put("/_security/role/monitors", {"cluster": ["monitor"]})
    assert server.put("/_security/user/ann", {"password": PW, "roles": ["monitors"],
                                              "full_name": "Ann"}).status == 200
    yield basic("ann", PW)
    server.delete("/_security/user/ann")
    server.delete("/_security/role/monitors")
    server.delete(TOKEN, body={"username": "ann"})


def make(server, **body):
    answer = server.post(TOKEN, body or {"grant_type": "password", "username": "ann",
                                         "password": PW})
    assert answer.status == 200, answer
    return answer.json


def who(server, token):
    return server.get("/_security/_authenticate", auth="Bearer " + token)


def test_the_answer_holds_a_token_that_works(server, ann):
    made = make(server)
    assert list(made) == ["access_token", "type", "expires_in", "refresh_token", "authentication"]
    assert (made["type"], made["expires_in"]) == ("Bearer", 1200)
    me = who(server, made["access_token"])
    assert me.status == 200 and me.json == made["authentication"]
    assert me.json == {
        "username": "ann", "roles": ["monitors"], "full_name": "Ann", "email": None, "metadata": {},
        "enabled": True, "authentication_realm": {"name": "default_native", "type": "native"},
        "lookup_realm": {"name": "default_native", "type": "native"},
        "authentication_type": "token"}
    auth = "bearer " + made["access_token"]
    assert server.get("/", auth=auth).status == 200
    refused = server.delete("/_inference/x", auth=auth)
    assert refused.status == 403 and "for user [ann] with effective roles [monitors]" in refused.text


def test_roles_count_as_they_are_now(server, ann):
    auth = "Bearer " + make(server)["access_token"]
    server.put("/_security/role/monitors", {"cluster": ["none"]})
    assert server.get("/", auth=auth).status == 403
    server.put("/_security/user/ann/_disable")
    assert server.get("/", auth=auth).status == 401
    server.put("/_security/user/ann/_enable")
    assert server.get("/_security/_authenticate", auth=auth).status == 200


def test_another_of_the_same_name(server, ann):
    made = make(server)
    server.delete("/_security/user/ann")
    server.put("/_security/user/ann", {"password": PW, "roles": ["superuser"]})
    assert who(server, made["access_token"]).status == 401
    assert server.post(TOKEN, {"grant_type": "refresh_token",
                               "refresh_token": made["refresh_token"]}).status == 400


def test_wrong_tokens(server, ann):
    good = make(server)
    text = good["access_token"]
    for wrong in (text[:-1] + ("a" if text[-1] != "a" else "b"), "a" + text[1:], text + "a", "x",
                  good["refresh_token"]):
        answer = who(server, wrong)
        assert answer.status == 401 and answer.reason == NOT_VALID


def test_a_wrong_password_makes_none(server, ann):
    answer = server.post(TOKEN, {"grant_type": "password", "username": "ann", "password": "wrong-1"})
    assert answer.status == 401
    assert answer.reason == f"unable to authenticate user [ann] for REST request [{TOKEN}]"


def test_a_refresh_token_is_good_once(server, ann):
    first = make(server)
    second = make(server, grant_type="refresh_token", refresh_token=first["refresh_token"])
    assert second["authentication"]["username"] == "ann"
    assert who(server, second["access_token"]).status == 200
    assert who(server, first["access_token"]).status == 200
    for wrong in (first["refresh_token"], first["access_token"], "nothing"):
        again = server.post(TOKEN, {"grant_type": "refresh_token", "refresh_token": wrong})
        assert again.status == 400 and again.json["error"] == "invalid_grant"
        assert again.json["error_description"]


def test_client_credentials(server, ann):
    made = make(server, grant_type="client_credentials")
    assert "refresh_token" not in made and made["authentication"]["username"] == "elastic"
    key = server.post(KEYS, {"name": "k"}).json
    answer = server.post(TOKEN, {"grant_type": "client_credentials"},
                         auth="ApiKey " + key["encoded"])
    assert answer.status == 400
    assert server.post(TOKEN, {"grant_type": "client_credentials"}, auth=ann).status == 403


@pytest.mark.parametrize("body, reason", [
    ({}, "grant_type is missing"), ({"grant_type": "password"}, "username is missing"),
    ({"grant_type": "password", "username": "a"}, "password is missing"),
    ({"grant_type": "refresh_token"}, "refresh_token is missing")])
def test_what_a_request_must_say(server, body, reason):
    answer = server.post(TOKEN, body)
    assert (answer.status, answer.reason) == (400, f"Validation Failed: 1: {reason};")


def test_other_grants(server):
    answer = server.post(TOKEN, {"grant_type": "_kerberos"})
    assert answer.status == 400 and answer.json["error"] == "unsupported_grant_type"


def test_ending(server, ann):
    made = make(server)
    ended = server.delete(TOKEN, body={"token": made["access_token"]})
    assert (ended.status, ended.json) == (200, {
        "invalidated_tokens": 1, "previously_invalidated_tokens": 0, "error_count": 0})
    answer = who(server, made["access_token"])
    assert answer.status == 401
    assert answer.json["error"]["additional_unsuccessful_credentials"] == (
        "bearer token: The access token was invalidated")
    again = server.delete(TOKEN, body={"token": made["access_token"]})
    assert (again.status, again.json["previously_invalidated_tokens"]) == (200, 1)
    assert make(server, grant_type="refresh_token", refresh_token=made["refresh_token"])
    other = make(server)
    server.delete(TOKEN, body={"refresh_token": other["refresh_token"]})
    assert who(server, other["access_token"]).status == 200
    assert server.post(TOKEN, {"grant_type": "refresh_token",
                               "refresh_token": other["refresh_token"]}).status == 400
    ended = server.delete(TOKEN, body={"username": "ann", "realm_name": "default_native"}).json
    assert ended["invalidated_tokens"] == 3 and ended["previously_invalidated_tokens"] >= 1
    assert who(server, other["access_token"]).status == 401
    assert server.delete(TOKEN, body={"token": "nothing"}).status == 404
    assert server.delete(TOKEN, body={"username": "nobody"}).status == 404
    for wrong in ({}, {"token": "a", "refresh_token": "b"}, {"token": "a", "username": "b"}):
        assert server.delete(TOKEN, body=wrong).status == 400


def test_a_token_expires(spawn):
    server = spawn({"xpack.security.authc.token.timeout": "1s"})
    made = make(server, grant_type="client_credentials")
    assert made["expires_in"] == 1
    wait_until(lambda: who(server, made["access_token"]).status == 401)
    assert who(server, made["access_token"]).json["error"][
        "additional_unsuccessful_credentials"] == "bearer token: The access token expired"


def test_tokens_survive_and_are_not_on_disk(spawn):
    server = spawn()
    made = make(server, grant_type="password", username="elastic", password=PASSWORD)
    server.delete(TOKEN, body={"refresh_token": made["refresh_token"]})
    server.kill()
    server.start()
    assert who(server, made["access_token"]).status == 200
    assert server.post(TOKEN, {"grant_type": "refresh_token",
                               "refresh_token": made["refresh_token"]}).status == 400
    for name in os.listdir(server.data):
        path = os.path.join(server.data, name)
        if os.path.isfile(path):
            with open(path, "rb") as f:
                text = f.read()
            assert made["access_token"][20:].encode() not in text
            assert made["refresh_token"][20:].encode() not in text


def test_the_second_door_takes_tokens(server, ann):
    client = openai.OpenAI(base_url=server.url + "/v1", api_key=make(server)["access_token"],
                           max_retries=0)
    assert client.models.list().data == []
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=server.url + "/v1", api_key="A" * 63, max_retries=0).models.list()


# ---- API keys for others ----

def test_grant_by_password_and_by_token(server, ann):
    token = make(server)["access_token"]
    for more in ({"grant_type": "password", "username": "ann", "password": PW},
                 {"grant_type": "access_token", "access_token": token}):
        answer = server.post(KEYS + "/grant", {**more, "api_key": {"name": "hers"}})
        assert answer.status == 200, answer
        key = answer.json
        me = server.get("/_security/_authenticate", auth="ApiKey " + key["encoded"]).json
        assert me["username"] == "ann" and me["api_key"]["name"] == "hers"
        assert server.get("/", auth="ApiKey " + key["encoded"]).status == 200
        assert server.delete("/_inference/x", auth="ApiKey " + key["encoded"]).status == 403
    server.delete(KEYS, body={"username": "ann"})


def test_grants_that_fail(server, ann):
    path, key = KEYS + "/grant", {"name": "k"}
    hers = {"grant_type": "password", "username": "ann", "password": PW, "api_key": key}
    assert server.post(path, hers, auth=ann).status == 403
    assert server.post(path, {**hers, "password": "wrong-1"}).status == 401
    assert server.post(path, {"grant_type": "access_token", "access_token": "x",
                              "api_key": key}).status == 401
    for wrong in ({}, {**hers, "api_key": None}, {**hers, "grant_type": "x"},
                  {**hers, "username": ""}, {**hers, "api_key": {"name": ""}}):
        assert server.post(path, wrong).status == 400, wrong


# ---- in another's name ----

def test_run_as(server, ann):
    as_ann = {"es-security-runas-user": "ann"}
    me = server.get("/_security/_authenticate", headers=as_ann).json
    assert (me["username"], me["roles"], me["full_name"]) == ("ann", ["monitors"], "Ann")
    assert me["authentication_realm"] == {"name": "reserved", "type": "reserved"}
    assert me["lookup_realm"] == {"name": "default_native", "type": "native"}
    assert server.get("/", headers=as_ann).status == 200
    assert server.delete("/_inference/x", headers=as_ann).status == 403
    refused = server.get("/", headers={"es-security-runas-user": "elastic"}, auth=ann)
    assert (refused.status, refused.reason) == (403, (
        "action [cluster:monitor/main] is unauthorized for user [ann] because user [ann] is "
        "unauthorized to run as [elastic]"))
    server.put("/_security/user/ann/_disable")
    assert server.get("/", headers=as_ann).status == 403
    assert server.get("/", headers={"es-security-runas-user": "nobody"}).status == 403


def test_run_as_by_role_and_by_key(server, ann):
    server.put("/_security/role/manager", {"run_as": ["an*"], "cluster": ["manage_own_api_key"]})
    server.put("/_security/user/bob", {"password": PW, "roles": ["manager"]})
    bob, as_ann = basic("bob", PW), {"es-security-runas-user": "ann"}
    assert server.get("/", auth=bob).status == 403
    assert server.get("/", auth=bob, headers=as_ann).status == 200
    assert server.get("/", auth=bob, headers={"es-security-runas-user": "elastic"}).status == 403
    key = server.post(KEYS, {"name": "k"}, auth=bob).json["encoded"]
    me = server.get("/_security/_authenticate", auth="ApiKey " + key, headers=as_ann).json
    assert (me["username"], me["authentication_type"]) == ("ann", "api_key")
    narrow = server.post(KEYS, {"name": "k", "role_descriptors": {"r": {"cluster": ["monitor"]}}},
                         auth=bob).json["encoded"]
    assert server.get("/", auth="ApiKey " + narrow, headers=as_ann).status == 403
    server.delete(KEYS, body={"username": "bob"})
    server.delete("/_security/user/bob")
    server.delete("/_security/role/manager")


# ---- many keys at once ----

def test_bulk_update(server, ann):
    made = [server.post(KEYS, {"name": f"k{i}"}).json["id"] for i in range(3)]
    theirs = server.post(KEYS, {"name": "k"}, auth=basic("elastic", PASSWORD)).json["id"]
    server.delete(KEYS, body={"ids": [theirs]})
    ids = made + ["nothing", theirs, made[0]]
    answer = server.post(KEYS + "/_bulk_update", {"ids": ids, "metadata": {"a": 1},
                                                  "expiration": "1d"})
    assert answer.status == 200, answer
    assert list(answer.json) == ["updated", "noops", "errors"]
    assert answer.json["updated"] == made and answer.json["noops"] == []
    assert answer.json["errors"] == {"count": 2, "details": {
        "nothing": {"type": "resource_not_found_exception",
                    "reason": "no API key owned by requesting user found for ID [nothing]"},
        theirs: {"type": "illegal_argument_exception",
                 "reason": f"cannot update invalidated API key [{theirs}]"}}}
    again = server.post(KEYS + "/_bulk_update", {"ids": made, "metadata": {"a": 1}}).json
    assert again == {"updated": [], "noops": made}
    for id in made:
        assert server.get(f"{KEYS}?id={id}").json["api_keys"][0]["metadata"] == {"a": 1}
    for wrong in ({}, {"ids": []}, {"ids": [1]}, {"ids": ["a"], "x": 1}):
        assert server.post(KEYS + "/_bulk_update", wrong).status == 400
    server.delete(KEYS, body={"ids": made})
