"""Service accounts: what they may do, and the tokens that they come with."""
import base64

import pytest
from elasticsearch import AuthenticationException, AuthorizationException, Elasticsearch

from inferd import MARK, basic

SERVICE = "/_security/service/elastic"
FLEET = SERVICE + "/fleet-server"
TOKEN = FLEET + "/credential/token"
NAMES = ["elastic/auto-ops", "elastic/fleet-server", "elastic/fleet-server-remote", "elastic/kibana"]


@pytest.fixture(autouse=True)
def no_tokens(server):
    def wipe():
        for name in NAMES:
            for token in server.get(f"/_security/service/{name}/credential").json["tokens"]:
                assert server.delete(f"/_security/service/{name}/credential/token/{token}").status == 200
    wipe()
    yield
    wipe()


def make(server, account="fleet-server", name="t1", method="POST"):
    answer = server.request(method, f"{SERVICE}/{account}/credential/token/{name}")
    assert answer.status == 200, answer
    return answer.json["token"]["value"]


def secret_of(value):
    return base64.b64decode(value + "=" * (-len(value) % 4))


def told(prefix, secret):
    return "Bearer " + base64.b64encode(prefix + secret).decode().rstrip("=")


def test_accounts(server):
    assert list(server.get("/_security/service").json) == NAMES
    assert list(server.get("/_security/service/elastic").json) == NAMES
    assert server.get("/_security/service/other").json == {}
    assert server.get(SERVICE + "/nobody").json == {}
    fleet = server.get(FLEET).json
    assert list(fleet) == ["elastic/fleet-server"]
    role = fleet["elastic/fleet-server"]["role_descriptor"]
    assert role["cluster"] == ["monitor", "manage_own_api_key", "read_fleet_secrets",
                               "cluster:admin/xpack/connector/*"]
    assert {"names": ["profiling-*"], "privileges": ["read", "write"],
            "allow_restricted_indices": False} in role["indices"]
    assert role["applications"] == [{"application": "kibana-*", "privileges": ["reserved_fleet-setup"],
                                     "resources": ["*"]}]
    assert role["transient_metadata"] == {"enabled": True}
    kibana = server.get(SERVICE + "/kibana").json["elastic/kibana"]["role_descriptor"]
    assert "manage_ml" in kibana["cluster"] and kibana["metadata"] == {"_reserved": True}
    assert kibana["global"]["profile"] == {"write": {"applications": ["kibana*"]}}


def test_a_token_from_create_to_delete(server):
    answer = server.post(TOKEN + "/t1")
    assert answer.json["created"] is True and answer.json["token"]["name"] == "t1"
    value = answer.json["token"]["value"]
    assert value.startswith("AAEAAWVsYXN0aWMvZmxlZXQtc2VydmVyL3QxO")  # as Elasticsearch's begin
    prefix, _, secret = secret_of(value).partition(b":")
    assert prefix == b"\0\1\0\1elastic/fleet-server/t1" and len(secret) == 22
    me = server.get("/_security/_authenticate", auth="Bearer " + value)
    assert list(me.json) == ["username", "roles", "full_name", "email", "token", "metadata", "enabled",
                             "authentication_realm", "lookup_realm", "authentication_type"]
    realm = {"name": "_service_account", "type": "_service_account"}
    assert me.json == {
        "username": "elastic/fleet-server", "roles": [], "full_name": "Service account - elastic/fleet-server",
        "email": None, "token": {"name": "t1", "type": "_service_account_index"},
        "metadata": {"_elastic_service_account": True}, "enabled": True, "authentication_realm": realm,
        "lookup_realm": realm, "authentication_type": "token"}
    assert server.get(FLEET + "/credential").json == {
        "service_account": "elastic/fleet-server", "count": 1, "tokens": {"t1": {}},
        "nodes_credentials": {"_nodes": {"total": 1, "successful": 1, "failed": 0}, "file_tokens": {}}}
    assert server.get(SERVICE + "/fleet-server-remote/credential").json["count"] == 0
    again = server.put(TOKEN + "/t1")
    assert (again.status, again.type) == (409, "version_conflict_engine_exception")
    assert server.get("/", auth="Bearer " + value + "=").status == 200  # with its padding
    assert server.post(TOKEN + "/t1/_clear_cache").json["_nodes"]["failed"] == 0
    assert server.delete(TOKEN + "/t1").json == {"found": True}
    gone = server.delete(TOKEN + "/t1")
    assert (gone.status, gone.json) == (404, {"found": False})
    refused = server.get("/", auth="Bearer " + value)
    assert (refused.status, refused.reason) == (
        401, "failed to authenticate service account [elastic/fleet-server] with token name [t1]")
    assert len(refused.all("www-authenticate")) == 3


def test_names(server):
    made = server.post(TOKEN).json["token"]["name"]
    assert made.startswith("token_") and len(made) == 26
    for name in ("_x", "a%20b", "a.b", "x" * 257, "%C3%A9"):
        answer = server.put(f"{TOKEN}/{name}")
        assert answer.status == 400 and "service account token name must have at least 1" in answer.reason, name
    assert server.put(f"{TOKEN}/{'x' * 256}").status == 200
    answer = server.post(SERVICE + "/nobody/credential/token/t1")
    assert (answer.status, answer.type, answer.reason) == (
        400, "illegal_argument_exception", "service account [elastic/nobody] does not exist")
    assert server.post("/_security/service/me/kibana/credential/token/t1").status == 400


def test_what_a_service_may_do(server):
    fleet, kibana = "Bearer " + make(server), "Bearer " + make(server, "kibana")
    assert server.get("/_cluster/health", auth=fleet).status == 200
    assert server.get("/_inference/_all", auth=fleet).status == 200  # monitor gives it
    refused = server.put("/_inference/completion/x", {"no": "such"}, auth=fleet)
    assert (refused.status, refused.reason) == (
        403, "action [cluster:admin/xpack/inference/put] is unauthorized for service account "
        "[elastic/fleet-server], this action is granted by the cluster privileges [manage_inference,manage,all]")
    assert server.get("/_security/privilege/_builtin", auth=kibana).status == 200
    assert server.get("/_security/user", auth=kibana).status == 403
    asked = server.post("/_security/user/_has_privileges", {"cluster": ["monitor", "manage_ml", "manage_security"]},
                        auth=kibana).json
    assert asked["cluster"] == {"monitor": True, "manage_ml": True, "manage_security": False}
    key = server.post("/_security/api_key", {"name": "of-fleet"}, auth=fleet).json
    shown = server.get(f"/_security/api_key?id={key['id']}").json["api_keys"][0]
    assert (shown["username"], shown["realm"]) == ("elastic/fleet-server", "_service_account")
    assert server.get("/_cluster/health", auth="ApiKey " + key["encoded"]).status == 200
    assert server.delete("/_security/api_key", body={"ids": [key["id"]]}, auth=fleet).status == 403  # not said: its own
    assert server.delete("/_security/api_key", body={"ids": [key["id"]], "owner": True}, auth=fleet).json[
        "invalidated_api_keys"] == [key["id"]]
    refused = server.get("/", headers={"es-security-runas-user": "elastic"}, auth=kibana)
    assert (refused.status, refused.reason) == (403, (
        "action [cluster:monitor/main] is unauthorized for service account [elastic/kibana] because service account "
        "[elastic/kibana] is unauthorized to run as [elastic]"))
    models = server.get("/v1/models", auth=fleet)  # the second door takes it too
    assert models.status == 200


def test_a_user_of_the_same_name_is_another(server):
    """elastic/kibana may have manage_token, but not for a user who happens to have its name."""
    path = "/_security/user/elastic%2Fkibana"
    assert server.put(path, {"password": "pw-" + MARK, "roles": ["superuser"]}).status == 200
    kibana = "Bearer " + make(server, "kibana")
    answer = server.post("/_security/oauth2/token", {"grant_type": "client_credentials"}, auth=kibana)
    assert (answer.status, answer.reason) == (
        400, "OAuth2 token creation is not supported for service accounts")
    assert server.put("/_security/user/_password", {"password": "pw-" + MARK + "2"}, auth=kibana).status == 403
    assert server.put(path + "/_password", {"password": "pw-" + MARK + "2"}, auth=kibana).status == 403
    assert server.get("/", auth=basic("elastic/kibana", "pw-" + MARK)).status == 200
    assert server.get("/_security/user", auth=kibana).status == 403
    key = server.post("/_security/api_key", {"name": "k"}, auth=kibana).json
    theirs = server.get("/_security/api_key?owner=true", auth=basic("elastic/kibana", "pw-" + MARK)).json
    assert key["id"] not in [k["id"] for k in theirs["api_keys"]]
    server.delete("/_security/api_key", body={"ids": [key["id"]]})
    assert server.delete(path).status == 200


def test_tokens_that_are_none(server):
    value = secret_of(make(server))
    prefix, _, secret = value.partition(b":")
    for token in (told(prefix + b":", secret[:-1] + b"\xff"), told(prefix + b":", b""), told(prefix + b":", secret + b"x"),
                  told(prefix.replace(b"t1", b"t2") + b":", secret),
                  told(prefix.replace(b"fleet-server", b"kibana") + b":", secret),
                  told(prefix.replace(b"elastic", b"other") + b":", secret)):
        answer = server.get("/", auth=token)
        assert answer.status == 401 and "failed to authenticate service account" in answer.reason, token
    for token in (told(prefix, b""), told(b"\0\1\0\2" + prefix[4:] + b":", secret), told(prefix[:4], b""),
                  told(prefix[:4] + b"a/b/c/d:", secret), told(prefix[:4] + b"a/b:", secret), "Bearer AAEAAW",
                  "Bearer AAEA", "Bearer AAEAAW!!", told(prefix + b":", b"x" * 5000),
                  told(prefix[:4] + b"elastic/fleet-server/" + b"x" * 300 + b":", secret)):
        answer = server.get("/", auth=token)
        assert answer.status == 401 and "unable to authenticate with provided credentials" in answer.reason, token


def test_tokens_survive_and_are_stored_as_digests(spawn):
    server = spawn()
    value = make(server)
    server.kill()
    server.start()
    assert server.get("/", auth="Bearer " + value).status == 200
    assert server.get(FLEET + "/credential").json["tokens"] == {"t1": {}}
    assert server.delete(TOKEN + "/t1").status == 200
    server.kill()
    server.start()
    assert server.get("/", auth="Bearer " + value).status == 401
    secret = secret_of(value).partition(b":")[2]
    assert secret.decode() not in server.log()
    for name in ("store.db", "store.db-wal"):
        with open(f"{server.data}/{name}", "rb") as f:
            assert secret not in f.read()


def test_the_official_client(server):
    client = Elasticsearch(server.url, basic_auth=("elastic", server.password))
    assert "elastic/kibana" in client.security.get_service_accounts()
    value = client.security.create_service_token(namespace="elastic", service="kibana", name="py")["token"]["value"]
    kibana = Elasticsearch(server.url, bearer_auth=value)
    assert kibana.security.authenticate()["token"]["name"] == "py"
    with pytest.raises(AuthorizationException):
        kibana.security.create_service_token(namespace="elastic", service="kibana", name="more")
    assert client.security.get_service_credentials(namespace="elastic", service="kibana")["count"] == 1
    client.security.clear_cached_service_tokens(namespace="elastic", service="kibana", name="py")
    assert client.security.delete_service_token(namespace="elastic", service="kibana", name="py")["found"]
    with pytest.raises(AuthenticationException):
        kibana.security.authenticate()
