"""What each endpoint has done: calls, tokens by the provider's own count, failures by kind."""
import re

import pytest

from inferd import MARK, wait_until
from upstream import Hang, Reply, Reset, Stream, chunk

KEY = "sk-" + MARK
MODEL = {"api_key": KEY, "model_id": "gpt-4o-mini"}
EMBED = {"api_key": KEY, "model_id": "text-embedding-3-small"}


def usage(server, name):
    (node,) = server.get("/_inference/.diagnostics").json.values()
    return node["inference_endpoints"].get(name)


def series(server, family):
    """{frozenset of labels: value}"""
    found = {}
    for line in server.get("/_prometheus/metrics").text.splitlines():
        if match := re.fullmatch(family + r"\{(.*)\} (\d+)", line):
            labels = dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', match.group(1)))
            found[tuple(sorted(labels.items()))] = int(match.group(2))
    return found


def embeddings(tokens):
    return {"object": "list", "data": [{"object": "embedding", "index": 0, "embedding": [0.5] * 8}],
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens}}


def test_calls_and_tokens(server, upstream):
    server.make("text_embedding", "e", "openai", EMBED)
    upstream.clear()
    before = usage(server, "e")
    assert before["calls"] == 1  # the probe
    assert (before["service"], before["task_type"]) == ("openai", "text_embedding")
    upstream.script(Reply(200, embeddings(7)), Reply(200, embeddings(5)))
    for _ in range(2):
        assert server.post("/_inference/text_embedding/e", {"input": "a"}).status == 200
    after = usage(server, "e")
    assert after["calls"] == 3
    assert after["tokens"] == {"in": before["tokens"]["in"] + 12, "out": 0}
    assert set(after["failures"].values()) == {0}


def test_a_stream_counts_at_its_end(server, upstream):
    server.make("completion", "c", "openai", MODEL)
    upstream.clear()
    before = usage(server, "c")["tokens"]
    last = {"id": "x", "object": "chat.completion.chunk", "choices": [],
            "usage": {"prompt_tokens": 11, "completion_tokens": 13, "total_tokens": 24}}
    upstream.script(Stream([chunk({"content": "a"}), last]))
    server.stream("/_inference/completion/c/_stream", {"input": "hi"}).all()
    assert usage(server, "c")["tokens"] == {"in": before["in"] + 11, "out": before["out"] + 13}


@pytest.mark.parametrize("reply, attempts, kind", [
    (Reply(429, {"error": {"message": "slow"}}), 3, "rate_limited"),
    (Reply(401, {"error": {"message": "no"}}), 1, "denied"),
    (Reply(400, {"error": {"message": "bad"}}), 1, "refused"),
    (Reply(503, {"error": {"message": "down"}}), 3, "service_error"),
    (Reply(200, "garbage"), 3, "service_error"),
    (Reset(), 6, "transport"),
])
def test_failures_have_kinds(server, upstream, reply, attempts, kind):
    server.make("completion", "c", "openai", MODEL)
    upstream.clear()
    upstream.script(*[reply] * attempts)
    assert server.post("/_inference/completion/c", {"input": "hi"}).status >= 400
    upstream.queue.clear()  # a kept connection that is reset is tried once more
    failures = usage(server, "c")["failures"]
    assert {k: v for k, v in failures.items() if v} == {kind: 1}


def test_timeouts(server, upstream):
    server.make("completion", "c", "openai",
                dict(MODEL, rate_limit={"requests_per_minute": 1000000}))
    upstream.clear()
    upstream.script(Hang())
    assert server.post("/_inference/completion/c?timeout=50ms", {"input": "hi"}).status == 408
    assert usage(server, "c")["failures"]["timeout"] == 1


def test_a_fallback_counts_for_both(server, upstream):
    server.make("completion", "second", "cohere", {"api_key": KEY, "model_id": "command-a"})
    server.make("completion", "first", "openai", dict(MODEL, fallback=["second"]))
    upstream.clear()
    upstream.script(Reply(401, {"error": {"message": "no"}}))
    assert server.post("/_inference/completion/first", {"input": "hi"}).status == 200
    first, second = usage(server, "first"), usage(server, "second")
    assert (first["calls"], first["failures"]["denied"]) == (2, 1)
    assert (second["calls"], sum(second["failures"].values())) == (2, 0)


def test_counts_survive_updates_and_end_with_deletion(server, upstream):
    server.make("text_embedding", "e", "openai", dict(EMBED, cache={"ttl": "1m"}))
    path = "/_inference/text_embedding/e"
    for _ in range(3):
        server.post(path, {"input": "a"})
    before = usage(server, "e")
    assert (before["calls"], before["cached_calls"]) == (4, 2)
    new = {"service_settings": {"api_key": KEY + "2"}}
    assert server.put(path + "/_update", new).status == 200
    after = usage(server, "e")
    assert after["calls"] == 5  # its probe
    assert after["tokens"]["in"] > before["tokens"]["in"]
    server.delete(path)
    assert usage(server, "e") is None
    assert not [k for k in series(server, "inferd_endpoint_calls_total")
                if ("inference_id", "e") in k]
    server.make("text_embedding", "e", "openai", EMBED)
    assert usage(server, "e")["calls"] == 1


def test_series(server, upstream):
    server.make("completion", "c.1_x", "openai", MODEL)
    upstream.clear()
    upstream.script(Reply(401, {"error": {"message": "no"}}))
    server.post("/_inference/completion/c.1_x", {"input": "hi"})
    labels = (("inference_id", "c.1_x"), ("service", "openai"), ("task_type", "completion"))
    assert series(server, "inferd_endpoint_calls_total") == {labels: 2}
    denied = tuple(sorted(labels + (("kind", "denied"),)))
    failures = series(server, "inferd_endpoint_failures_total")
    assert (len(failures), failures[denied]) == (8, 1)
    tokens = series(server, "inferd_endpoint_tokens_total")
    assert {dict(k)["direction"] for k in tokens} == {"in", "out"}


def test_those_who_wait_for_a_rate_limit_are_counted(server, upstream):
    server.make("completion", "slow", "openai", dict(MODEL, rate_limit={"requests_per_minute": 30}))

    def waiting():
        lines = server.get("/_prometheus/metrics").text.splitlines()
        return int(next(line for line in lines if line.startswith("inferd_rate_limit_queue ")).split()[1])
    connections = []
    for _ in range(3):  # the probe had this moment's place
        connection = server.connect()
        body, head = server.head({"input": "a"}, {}, True)
        connection.request("POST", "/_inference/slow", body, head)
        connections.append(connection)
    wait_until(lambda: waiting() == 3, 10, "waiting")
    connections[2].close()
    wait_until(lambda: waiting() <= 2, 10, "leaving")
    assert connections[0].getresponse().status == 200
    wait_until(lambda: waiting() <= 1, 10, "a turn")
    connections[1].close()
    wait_until(lambda: waiting() == 0, 10, "the end")


def histogram(server, family, name):
    """{bound: count} and the sum, of one endpoint."""
    counts, total = {}, None
    for line in server.get("/_prometheus/metrics").text.splitlines():
        if line.startswith(f"{family}_bucket{{") and f'inference_id="{name}"' in line:
            counts[re.search(r'le="([^"]*)"', line).group(1)] = int(line.rsplit(" ", 1)[1])
        elif line.startswith(f"{family}_sum{{") and f'inference_id="{name}"' in line:
            total = float(line.rsplit(" ", 1)[1])
    return counts, total


def test_durations_are_counted_in_buckets(server, upstream):
    server.make("completion", "slowish", "openai", MODEL)
    before, _ = histogram(server, "inferd_endpoint_duration_seconds", "slowish")
    last = {"id": "x", "object": "chat.completion.chunk", "choices": []}
    upstream.script(Stream([chunk({"content": "a"}), last], pause=0.3))
    server.stream("/_inference/completion/slowish/_stream", {"input": "hi"}).all()
    after, total = histogram(server, "inferd_endpoint_duration_seconds", "slowish")
    assert after["+Inf"] == before["+Inf"] + 1
    assert after["0.25"] - before["0.25"] == 0, "it took 0.3 s and more"
    assert total >= 0.3
    first, _ = histogram(server, "inferd_endpoint_first_token_seconds", "slowish")
    assert first["+Inf"] == 1


def test_a_trace_is_handed_on(server, upstream):
    server.make("completion", "traced", "openai", MODEL)
    parent, state = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "vendor=abc"
    for headers, want in (({"traceparent": parent, "tracestate": state}, (parent, state)),
                          ({"traceparent": parent[:-1], "tracestate": state}, (None, None)),
                          ({"traceparent": parent.upper()}, (None, None)),
                          ({"traceparent": "00-" + "0" * 32 + parent[35:]}, (None, None)), ({}, (None, None))):
        upstream.clear()
        assert server.post("/_inference/completion/traced", {"input": "x"}, headers=headers).status == 200
        seen = upstream.requests[-1].headers
        assert (seen.get("traceparent"), seen.get("tracestate")) == want


def test_slow_calls_are_logged_without_contents(spawn, upstream):
    server = spawn({"inference.slow_call_threshold": "200ms"})
    server.make("completion", "slow", "openai", MODEL)
    upstream.script(Stream([chunk({"content": "secret answer"}),
                            {"id": "x", "object": "chat.completion.chunk", "choices": []}], pause=0.3))
    server.stream("/_inference/completion/slow/_stream", {"input": "secret question"},
                  headers={"x-opaque-id": "me"}).all()
    server.post("/_inference/completion/slow", {"input": "fast"})
    server.stop()
    lines = [line for line in server.log_lines() if line["message"] == "slow inference call"]
    assert len(lines) == 1 and lines[0]["inference_id"] == "slow" and lines[0]["took_ms"] >= 200
    assert lines[0]["x_opaque_id"] == "me" and "secret" not in str(lines)
