"""The audit log: who, what, which endpoint, which outcome; never what was said."""
import json
import os
import signal
import stat

import openai
import pytest

from inferd import MARK, PASSWORD, basic, wait_until
from upstream import Hang, Reply, Stream, chunk

KEY = "sk-" + MARK


def lines(server, name="audit.json"):
    with open(os.path.join(server.data, name)) as f:
        text = f.read()
    assert MARK not in text, "a secret is in the audit log"
    assert text == "" or text.endswith("\n")
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture
def audited(spawn, upstream):
    server = spawn({"xpack.security.audit.enabled": "true"})
    server.make("completion", "c", "openai", {"api_key": KEY, "model_id": "m"})
    wait_until(lambda: len(lines(server)) == 2)  # DELETE, PUT
    server.mark = 2
    return server


def fresh(server, n):
    """The n lines that came since; a line is written just after its answer."""
    wait_until(lambda: len(lines(server)) >= server.mark + n)
    new = lines(server)[server.mark:]
    assert len(new) == n, new
    server.mark += n
    return new


def test_a_call(audited, upstream):
    server = audited
    server.post("/_inference/completion/c", {"input": "the question"},
                headers={"x-opaque-id": "my-id"})
    (line,) = fresh(server, 1)
    assert line.pop("@timestamp").endswith("Z") and line.pop("duration_ms") >= 0
    assert line.pop("origin.address").startswith("127.0.0.1:")
    assert line == {
        "type": "audit", "event.action": "access_granted", "event.outcome": "success",
        "user.name": "elastic", "user.realm": "reserved", "authentication.type": "REALM",
        "request.method": "POST", "url.path": "/_inference/completion/c",
        "action": "cluster:monitor/xpack/inference/post", "inference_id": "c",
        "opaque_id": "my-id", "http.status": 200}
    with open(os.path.join(server.data, "audit.json")) as f:
        assert "the question" not in f.read()
    assert stat.S_IMODE(os.stat(os.path.join(server.data, "audit.json")).st_mode) == 0o600


def test_outcomes(audited, upstream):
    server = audited
    server.get("/", auth=None)
    server.get("/", auth=basic("nobody", "pw-" + MARK))
    server.get("/", auth="ApiKey aWQ6a2V5")
    server.get("/", auth="Bearer x" + MARK)
    got = fresh(server, 4)
    assert [e["event.action"] for e in got] == ["anonymous_access_denied"] + [
        "authentication_failed"] * 3
    assert [e.get("user.name") for e in got] == [None, "nobody", None, None]
    assert got[2]["apikey.id"] == "id"
    assert {e["event.outcome"] for e in got} == {"failure"} and {
        e["http.status"] for e in got} == {401}
    server.put("/_security/user/low", {"password": "pw-" + MARK, "roles": ["inference_user"]})
    low = basic("low", "pw-" + MARK)
    server.delete("/_inference/c", auth=low)
    upstream.script(Reply(403, {"error": {"message": "theirs"}}))
    server.post("/_inference/c", {"input": "x"}, auth=low)
    made, denied, theirs = fresh(server, 3)
    assert (made["action"], made["url.path"]) == ("cluster:admin/xpack/security/user/put",
                                                  "/_security/user/low")
    assert (denied["event.action"], denied["user.name"], denied["inference_id"]) == (
        "access_denied", "low", "c")
    assert (theirs["event.action"], theirs["event.outcome"], theirs["http.status"]) == (
        "access_granted", "failure", 403)


def test_streams_have_the_outcome_of_their_end(audited, upstream):
    """Their status has gone out with the first event, and says nothing of what came then."""
    server = audited
    upstream.script(Stream([chunk({"content": "a"})], done=False, cut="rst"))
    stream = server.stream("/_inference/c/_stream", {"input": "x"})
    assert [name for name, _ in stream.all()] == ["message", "error"]
    server.stream("/_inference/c/_stream", {"input": "x"}).all()
    broken, whole = fresh(server, 2)
    assert (broken["event.outcome"], broken["http.status"]) == ("failure", 200)
    assert (whole["event.outcome"], whole["http.status"]) == ("success", 200)
    upstream.script(Stream([chunk({"content": "a"}), chunk({"content": "b"})], gate=Hang(), gate_at=1))
    stream = server.stream("/_inference/c/_stream", {"input": "x"})
    assert stream.next()[0] == "message"
    stream.drop()
    (left,) = fresh(server, 1)
    assert (left["event.outcome"], left["http.status"]) == ("unknown", 200)


def test_who_it_was(audited, upstream):
    server = audited
    server.put("/_security/user/ann", {"password": "pw-" + MARK, "roles": ["superuser"]})
    key = server.post("/_security/api_key", {"name": "k"}).json
    token = server.post("/_security/oauth2/token", {"grant_type": "client_credentials"}).json
    fresh(server, 3)
    server.get("/", headers={"es-security-runas-user": "ann"})
    openai.OpenAI(base_url=server.url + "/v1", api_key=key["encoded"]).chat.completions.create(
        model="c", messages=[{"role": "user", "content": "x"}])
    server.get("/", auth="Bearer " + token["access_token"])
    as_ann, by_key, by_token = fresh(server, 3)
    assert (as_ann["user.name"], as_ann["user.run_by.name"]) == ("ann", "elastic")
    assert (by_key["apikey.id"], by_key["apikey.name"], by_key["authentication.type"]) == (
        key["id"], "k", "API_KEY")
    assert (by_key["inference_id"], by_key["url.path"]) == ("c", "/v1/chat/completions")
    assert by_token["authentication.type"] == "TOKEN"
    server.put("/_security/user/low", {"password": "pw-" + MARK, "roles": ["inference_user"]})
    server.get("/_inference", auth=basic("low", "pw-" + MARK), headers={"es-security-runas-user": "ann"})
    refused = fresh(server, 2)[1]
    assert (refused["event.action"], refused["user.name"], refused["user.run_as.name"]) == (
        "access_denied", "low", "ann")
    server.get("/_health", auth=None)
    server.get("/" + "x" * 5000, auth=None)
    (line,) = fresh(server, 1)
    assert len(line["url.path"]) == 1024


def test_the_file_is_opened_anew(audited):
    server = audited
    os.rename(os.path.join(server.data, "audit.json"), os.path.join(server.data, "old.json"))
    server.get("/")
    wait_until(lambda: len(lines(server, "old.json")) == server.mark + 1)
    server.signal(signal.SIGHUP)
    wait_until(lambda: os.path.exists(os.path.join(server.data, "audit.json")))
    server.get("/")
    wait_until(lambda: len(lines(server)) == 1)
    assert len(lines(server, "old.json")) == server.mark + 1


def test_events_can_be_left_out(spawn):
    server = spawn({"xpack.security.audit.enabled": "true",
                    "xpack.security.audit.logfile.events.exclude": "access_granted, access_denied"})
    server.get("/")
    server.get("/", auth=None)
    wait_until(lambda: lines(server))
    assert [e["event.action"] for e in lines(server)] == ["anonymous_access_denied"]


def test_mistakes(spawn):
    server = spawn({"xpack.security.audit.enabled": "true",
                    "xpack.security.audit.logfile.events.exclude": "nothing"}, start=False)
    server.launch()
    assert server.wait_exit() != 0
    assert "there is no audit event [nothing]" in server.log()


def test_off_is_the_default(server):
    server.get("/")
    assert not os.path.exists(os.path.join(server.data, "audit.json"))
    assert PASSWORD  # the marker that no line may hold is in every password


def test_services_and_what_is_done_for_others(audited):
    server = audited
    path = "/_security/service/elastic/kibana/credential/token/t1"
    value = server.post(path).json["token"]["value"]
    (line,) = fresh(server, 1)
    assert (line["url.path"], line["action"], line["http.status"]) == (
        path, "cluster:admin/xpack/security/service_account/token/create", 200)
    assert value not in json.dumps(line)
    server.get("/", auth="Bearer " + value)
    server.get("/", auth="Bearer " + value[:-4] + "AAAA")
    server.delete(path)
    good, bad, _ = fresh(server, 3)
    assert (good["user.name"], good["user.realm"], good["authentication.type"], good["authentication.token.name"]) == (
        "elastic/kibana", "_service_account", "TOKEN", "t1")
    assert (bad["event.action"], bad["user.name"], bad["authentication.token.name"], bad["http.status"]) == (
        "authentication_failed", "elastic/kibana", "t1", 401)
    server.put("/_security/user/juan", {"password": "pw-" + MARK, "roles": ["superuser"]})
    given = {"username": "juan", "password": "pw-" + MARK}
    server.post("/_security/oauth2/token", {"grant_type": "password", **given})
    server.post("/_security/profile/_activate", {"grant_type": "password", **given})
    server.post("/_security/api_key/grant", {"grant_type": "password", **given, "api_key": {"name": "k"}})
    server.post("/_security/oauth2/token", {"grant_type": "password", "username": "juan", "password": "wrong-" + MARK})
    made = fresh(server, 5)[1:]
    assert [(m["user.name"], m["event.outcome"], m["http.status"]) for m in made] == [
        ("elastic", "success", 200)] * 3 + [("elastic", "failure", 401)]
    with open(os.path.join(server.data, "audit.json")) as f:
        text = f.read()
    assert MARK not in text and value not in text
