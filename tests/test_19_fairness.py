"""A rate limit that many wait for: API keys take turns, and one call's parts let others in between."""
import concurrent.futures
import time

import pytest

from inferd import MARK, wait_until
from upstream import Default

KEYS = "/_security/api_key"
KEY = "sk-" + MARK


def make(server, upstream, per_minute, service="openai", **settings):
    server.make("text_embedding", "e", service, {
        "api_key": KEY, "model_id": "m", "rate_limit": {"requests_per_minute": per_minute},
        **settings})
    upstream.clear()


def key(server, name):
    made = server.post(KEYS, {"name": name}).json
    return "ApiKey " + made["encoded"]


def ask(server, auth, texts, timeout="30s"):
    return server.post(f"/_inference/text_embedding/e?timeout={timeout}", {"input": texts},
                       auth=auth).status


def order(upstream):
    """The first text of each request, as they came in."""
    return [(b.get("input") or b.get("texts"))[0] for b in upstream.bodies()]


@pytest.fixture
def pool():
    with concurrent.futures.ThreadPoolExecutor(80) as p:
        yield p


def waiting(upstream, n):
    """So many have been sent; what else was asked stands in line by now."""
    upstream.wait(n)
    time.sleep(0.5)


def test_a_key_that_sends_many_calls_waits_behind_itself(spawn, upstream, pool):
    server = spawn()
    make(server, upstream, 300)
    heavy, light = key(server, "heavy"), key(server, "light")
    many = [pool.submit(ask, server, heavy, [f"heavy {i}"]) for i in range(40)]
    waiting(upstream, 2)
    sent = len(upstream.requests)
    one = [pool.submit(ask, server, light, [f"light {i}"]) for i in range(3)]
    assert [f.result() for f in one] == [200] * 3
    came = order(upstream)
    places = [came.index(f"light {i}") for i in range(3)]
    # At most two slots each, and what was sent while they were on their way to the server.
    assert max(places) <= sent + 2 * 3 + 5, came
    assert len(came) < 30, "others still wait"
    assert [f.result() for f in many] == [200] * 40
    assert sorted(order(upstream)) == sorted(
        [f"heavy {i}" for i in range(40)] + [f"light {i}" for i in range(3)])


def test_nobody_is_kept_out_of_a_full_queue(spawn, upstream, pool):
    """The latest of the key that fills it give way."""
    server = spawn({"xpack.inference.http.request_executor.queue_capacity": 12})
    make(server, upstream, 120)
    heavy, light = key(server, "heavy"), key(server, "light")
    many = [pool.submit(ask, server, heavy, [f"heavy {i}"]) for i in range(40)]
    wait_until(lambda: sum(f.done() and f.result() == 429 for f in many) >= 20)  # it is full
    few = [pool.submit(ask, server, light, [f"light {i}"]) for i in range(4)]
    assert [f.result() for f in few] == [200] * 4
    statuses = [f.result() for f in many]
    assert set(statuses) == {200, 429} and statuses.count(429) > 20, statuses
    refused = server.get("/_prometheus/metrics").text
    assert f"inferd_rate_limit_rejected_total {statuses.count(429)}\n" in refused


def test_the_parts_of_one_call_let_another_in(spawn, upstream, pool):
    """Of the same key too."""
    server = spawn()
    make(server, upstream, 600, "cohere", model_id="embed-v4.0")
    mine = key(server, "mine")
    batch = pool.submit(ask, server, mine, [f"text {i}" for i in range(96 * 40)])
    waiting(upstream, 2)
    sent = len(upstream.requests)
    assert ask(server, mine, ["single"]) == 200
    assert order(upstream).index("single") <= sent + 2 + 3, order(upstream)
    assert batch.result() == 200


def test_who_leaves_leaves_no_gap(spawn, upstream, pool):
    """The slots of clients that have left are given to those who still wait."""
    server = spawn()
    make(server, upstream, 120)
    mine = key(server, "mine")
    assert ask(server, mine, ["first"]) == 200
    left = [server.connect() for _ in range(20)]
    for i, connection in enumerate(left):
        connection.request("POST", "/_inference/text_embedding/e",
                           *server.head({"input": [f"gone {i}"]}, None, mine))
    upstream.wait(2)
    for connection in left:
        connection.close()
    assert ask(server, mine, ["last"], timeout="4s") == 200, "nine slots or so, not twenty"
    assert order(upstream)[-1] == "last" and len(upstream.requests) < 12


def test_the_rate_is_kept(spawn, upstream, pool):
    server = spawn()
    make(server, upstream, 600)
    times = []

    def note(request):
        times.append(time.monotonic())
        return Default()
    upstream.choose = note
    keys = [key(server, f"k{i}") for i in range(4)]
    asked = [pool.submit(ask, server, keys[i % 4], [f"t{i}"]) for i in range(24)]
    assert [f.result() for f in asked] == [200] * 24
    times.sort()
    assert times[-1] - times[0] >= 23 * 0.1 - 0.05, "24 calls need 23 spaces between them"
