"""Settings and statistics of security, and calls about realms that only a configuration could make."""
import pytest
from elasticsearch import ApiError, AuthorizationException, BadRequestError, Elasticsearch

from inferd import MARK

SETTINGS, SEC = "/_security/settings", "/_security"
FRESH = {"index": {"auto_expand_replicas": "0-1", "number_of_replicas": "0",
                   "routing": {"allocation": {"include": {"_tier_preference": "data_content"}}}}}


def test_settings(spawn):
    server = spawn()
    assert server.get(SETTINGS).json == {"security": FRESH, "security-profile": FRESH, "security-tokens": FRESH}
    assert server.put(SETTINGS + "?timeout=1s&master_timeout=1s", {
        "security": {"index.auto_expand_replicas": None, "index.number_of_replicas": 1},
        "security-tokens": {"index.auto_expand_replicas": "1-all"}}).json == {"acknowledged": True}
    changed = server.get(SETTINGS).json
    assert changed["security"]["index"] == {"number_of_replicas": "1", "routing": FRESH["index"]["routing"]}
    assert changed["security-tokens"]["index"]["number_of_replicas"] == "1" and changed["security-profile"] == FRESH
    assert server.put(SETTINGS, {"security-profile": {"index.routing.allocation.include._tier_preference": "data_hot,data_warm",
                                                      "index.auto_expand_replicas": False}}).status == 200
    server.kill()
    server.start()
    kept = server.get(SETTINGS).json
    assert kept["security"] == changed["security"] and kept["security-tokens"] == changed["security-tokens"]
    assert kept["security-profile"]["index"] == {
        "auto_expand_replicas": "false", "number_of_replicas": "0",
        "routing": {"allocation": {"include": {"_tier_preference": "data_hot,data_warm"}}}}
    for body, why in (({}, "No settings given to update"), ({"security": {}}, "No settings given to update"),
                      ({"security": {"index.codec": "x"}}, "illegal setting for index [security]: [index.codec]"),
                      ({"security": {"index.number_of_replicas": -1}}, "[-1] for setting [index.number_of_replicas]"),
                      ({"security": {"index.number_of_replicas": "x"}}, "Failed to parse"),
                      ({"security": {"index.number_of_replicas": [1]}}, "Failed to parse"),
                      ({"security": {"index.auto_expand_replicas": "2-1"}}, "Failed to parse"),
                      ({"security": {"index.auto_expand_replicas": True}}, "Failed to parse"),
                      ({"security": {"index.routing.allocation.include._tier_preference": "data_cold,x"}}, "Failed to parse"),
                      ({"security": 1}, "is not an object"), ({"other": {}}, "unknown field [other]")):
        answer = server.put(SETTINGS, body)
        assert answer.status == 400 and why in answer.reason, (body, answer)
    assert server.get(SETTINGS).json == kept


def test_stats(server):
    nodes = server.get(SEC + "/stats").json["nodes"]
    (node, stats), = nodes.items()
    assert node in server.get("/_nodes").json["nodes"]
    assert stats["roles"]["dls"]["bit_set_cache"]["memory_in_bytes"] == 0


def test_realms_that_are_not_there(server):
    def refused(path, body, status, part):
        answer = server.post(SEC + path, body)
        assert answer.status == status and part in answer.reason, (path, answer)
        return answer
    # As Elasticsearch has it: the fault of the node's configuration.
    refused("/saml/prepare", {"realm": "saml1"}, 500, "Cannot find any matching realm for [SamlPrepareAuthenticationRequest{"
            "realmName=saml1, assertionConsumerServiceURL=null}]")
    assert refused("/saml/prepare", {"acs": "https://k/x"}, 500, "assertionConsumerServiceURL=https://k/x").type == "security_exception"
    answer = refused("/saml/authenticate", {"content": "PHNhbWw+", "ids": ["1"], "realm": "saml1"}, 401,
                     "unable to authenticate user [<unauthenticated-saml-user>] for action [cluster:admin/xpack/security/saml/authenticate]")
    assert len(answer.all("www-authenticate")) == 3
    refused("/saml/authenticate", {"ids": ["1"]}, 400, "Required [content]")
    refused("/saml/invalidate", {"query_string": "SAMLRequest=x", "realm": "saml1"}, 500, "Cannot find any matching realm for")
    refused("/saml/invalidate", {"realm": "saml1"}, 400, "query_string is missing")
    refused("/saml/complete_logout", {"realm": "saml1", "ids": []}, 500, "Cannot find any matching realm with name [saml1]")
    refused("/saml/complete_logout", {"ids": []}, 400, "Required [realm]")
    answer = server.get(SEC + "/saml/metadata/saml1")
    assert (answer.status, answer.reason) == (500, "Cannot find any matching realm for [saml1]")
    refused("/oidc/prepare", {"realm": "oidc1"}, 500, "Cannot find OpenID Connect realm with name [oidc1]")
    refused("/oidc/prepare", {"iss": "https://op"}, 500, "Cannot find OpenID Connect realm with issuer [https://op]")
    refused("/oidc/prepare", {}, 400, "one of [realm, issuer] must be provided")
    refused("/oidc/authenticate", {"redirect_uri": "https://k", "state": "s", "nonce": "n"}, 401, "[<OIDC Token>]")
    refused("/oidc/authenticate", {"redirect_uri": "https://k"}, 400, "state parameter is missing;2: nonce parameter is missing")
    token = server.post(SEC + "/oauth2/token", {"grant_type": "client_credentials"}).json["access_token"]
    refused("/saml/logout", {"token": token}, 500, "Authenticating realm reserved is not a SAML realm")
    refused("/oidc/logout", {"token": token}, 400, "Access token is not valid for an OpenID Connect realm")
    for path in ("/saml/logout", "/oidc/logout"):
        refused(path, {"token": token[:-1] + "!"}, 401, "token malformed")
        refused(path, {}, 400, "token is missing")
        refused(path, {"no": 1}, 400, "unknown field [no]")
        refused(path, {"token": {}}, 400, "doesn't support values of this type")
    assert server.get(SEC + "/_authenticate", auth="Bearer " + token).status == 200  # it still is
    server.delete(SEC + "/oauth2/token", body={"token": token})
    refused("/delegate_pki", {"x509_certificate_chain": ["MIIC"]}, 401, "unable to authenticate")
    refused("/delegate_pki", {"x509_certificate_chain": []}, 400, "certificates chain must not be empty")
    refused("/delegate_pki", {"x509_certificate_chain": [1]}, 400, "failed to parse field [x509_certificate_chain]")


def test_enrollment(server):
    for path in ("/enroll/node", "/enroll/kibana"):
        answer = server.get(SEC + path)
        assert (answer.status, answer.type) == (403, "security_exception")
        assert answer.reason == ("Enrollment mode is not enabled. Set [xpack.security.enrollment.enabled] to true, "
                                 "in order to use this API.")


def test_the_official_client(server):
    client = Elasticsearch(server.url, basic_auth=("elastic", server.password))
    assert client.security.get_settings()["security"]["index"]["number_of_replicas"] == "0"
    assert client.security.update_settings(security={"index.number_of_replicas": 0})["acknowledged"]
    with pytest.raises(BadRequestError):
        client.security.update_settings(security={"index.codec": MARK})
    assert client.security.get_stats()["nodes"]
    with pytest.raises(AuthorizationException):
        client.security.enroll_kibana()
    with pytest.raises(ApiError, match="Cannot find any matching realm"):
        client.security.saml_prepare_authentication(realm="saml1")
    with pytest.raises(ApiError, match="Cannot find OpenID Connect realm"):
        client.security.oidc_prepare_authentication(realm="oidc1")
    client.security.clear_cached_realms(realms="default_native")
    client.security.clear_cached_privileges(application="app")
    client.security.clear_cached_roles(name="x")
    client.security.clear_api_key_cache(ids="x")
