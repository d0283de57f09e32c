"""A service that keeps failing is given a rest: calls fail at once until it has had time."""
import time

import pytest

from inferd import MARK
from upstream import Hang, Reply, Reset, reply_text

KEY = "sk-" + MARK
FAST = {"rate_limit": {"requests_per_minute": 1000000}}
MODEL = {"api_key": KEY, "model_id": "gpt-4o-mini", **FAST}
PATH = "/_inference/completion/c"
BODY = {"input": "hi"}
N = 10


def metric(server, name):
    text = server.get("/_prometheus/metrics").text
    return int(next(l for l in text.splitlines() if l.startswith(name)).split()[-1])


def circuit(server, name="c"):
    (node,) = server.get("/_inference/.diagnostics").json.values()
    return node["inference_endpoints"][name]["circuit"]


def make(server, upstream, **more):
    server.make("completion", "c", "openai", dict(MODEL, **more))
    upstream.clear()


def fail(server, upstream, n=N, reply=None):
    upstream.script(*[reply or Reply(503, {"error": {"message": "down"}})] * 3 * n)
    for _ in range(n):
        assert server.post(PATH, BODY).status >= 400
    upstream.clear()


def is_open(answer):
    return answer.status == 503 and "circuit is open" in answer.reason


def test_it_opens_rests_and_closes(server, upstream):
    make(server, upstream)
    opened = metric(server, "inferd_circuit_opened_total")
    fail(server, upstream)
    begin = time.monotonic()
    answer = server.post(PATH, BODY)
    assert is_open(answer), answer
    assert 1 <= int(answer.header("retry-after")) <= 5
    assert upstream.requests == []
    assert circuit(server) == "open"
    assert metric(server, "inferd_circuit_opened_total") == opened + 1
    assert metric(server, 'inferd_endpoint_circuit_open{inference_id="c"') == 1
    events = server.stream(PATH + "/_stream", BODY).all()
    assert (events[0][0], "circuit is open" in events[0][1]) == ("error", True)
    while is_open(answer := server.post(PATH, BODY)):
        assert time.monotonic() < begin + 20
        time.sleep(0.05)
    assert time.monotonic() > begin + 4
    assert answer.json == {"completion": [{"result": reply_text("hi")}]}
    assert circuit(server) == "closed"
    assert server.post(PATH, BODY).status == 200
    log = [l for l in server.log_lines() if "circuit" in l["message"]][-2:]
    assert [l["message"] for l in log] == ["circuit opened", "circuit closed"]


@pytest.mark.parametrize("reply", [Reply(429, {"error": {"message": "slow"}}),
                                   Reply(401, {"error": {"message": "no"}}),
                                   Reply(400, {"error": {"message": "bad"}}),
                                   Reply(200, "garbage")])
def test_what_it_answers_does_not_open_it(server, upstream, reply):
    make(server, upstream)
    fail(server, upstream, N + 2, reply)
    assert circuit(server) == "closed"


def test_a_success_in_between_starts_again(server, upstream):
    make(server, upstream)
    fail(server, upstream, N - 1)
    assert server.post(PATH, BODY).status == 200
    fail(server, upstream, N - 1)
    assert circuit(server) == "closed"


def test_broken_connections_open_it(server, upstream):
    make(server, upstream)
    upstream.script(*[Reset()] * 60)
    while not is_open(server.post(PATH, BODY)):
        assert upstream.queue
    upstream.clear()
    assert circuit(server) == "open"


def test_timeouts_of_the_endpoint_open_it_those_of_callers_do_not(server, upstream):
    make(server, upstream)
    upstream.script(*[Hang()] * N)
    for _ in range(N):
        assert server.post(PATH + "?timeout=20ms", BODY).status == 408
    upstream.clear()
    assert circuit(server) == "closed"
    make(server, upstream, timeouts={"total": "20ms"})
    upstream.script(*[Hang()] * N)
    for _ in range(N):
        assert server.post(PATH, BODY).status == 408
    upstream.clear()
    assert circuit(server) == "open"


def test_fallbacks_take_over_at_once(server, upstream):
    server.make("completion", "other", "cohere", {"api_key": KEY, "model_id": "command-a", **FAST})
    make(server, upstream)
    fail(server, upstream)
    new = {"service_settings": {"fallback": ["other"]}}
    assert server.put(PATH + "/_update", new).status == 200  # its probe goes, and closes the circuit
    assert circuit(server) == "closed"
    upstream.script(*[r for _ in range(N) for r in [Reply(503, {})] * 3 + [Reply(401, {})]])
    for _ in range(N):
        assert server.post(PATH, BODY).status == 401
    upstream.clear()
    assert server.post(PATH, BODY).json == {"completion": [{"result": reply_text("hi")}]}
    assert [r.target for r in upstream.requests] == ["/v2/chat"]


def test_endpoints_with_other_credentials_are_not_held_back(server, upstream):
    server.make("completion", "d", "openai", dict(MODEL, api_key=KEY + "2"))
    make(server, upstream)
    fail(server, upstream)
    assert (circuit(server), circuit(server, "d")) == ("open", "closed")
    assert server.post("/_inference/completion/d", BODY).status == 200
