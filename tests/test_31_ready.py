"""GET /_health/ready: what keeps the server from being sent requests, and what is only said."""
import os
import signal
import sqlite3
import time

import elasticsearch

from inferd import PASSWORD, wait_until
from rawhttp import Raw
from test_22_deployments import EMBED, start, upload
from test_22_trained_models import stored

READY = "/_health/ready"
GOOD = {"status": "ready", "reasons": []}


def reasons(answer):
    return {r["reason"]: r["blocking"] for r in answer.json["reasons"]}


def test_ready_without_credentials(server):
    answer = server.get(READY, auth=None)
    assert (answer.status, answer.json["status"]) == (200, "ready")
    assert server.request("HEAD", READY, auth=None).status == 200
    assert server.post(READY, {}, auth=None, check=False).status in (401, 405)


def test_a_fresh_server_has_no_reasons(spawn):
    server = spawn()
    assert [server.get(READY, auth=None).json for _ in range(3)] == [GOOD] * 3


def test_the_store_is_tried(spawn):
    server = spawn({"store": "sqlite"})
    assert server.get(READY, auth=None).json == GOOD
    path = next(os.path.join(d, f) for d, _, fs in os.walk(server.data) for f in fs if f == "store.db")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")  # nobody else may write now
    wait_until(lambda: server.get(READY, auth=None).status == 503, 20, "the store to be missed")
    answer = server.get(READY, auth=None)
    assert answer.status == 503 and answer.json["status"] == "not_ready"
    assert list(reasons(answer).values()) == [True] and "the store" in answer.json["reasons"][0]["reason"]
    failed = "the store cannot be written or read"  # SQLite gives up after five seconds
    wait_until(lambda: failed in reasons(server.get(READY, auth=None)), 30, "the store to fail")
    assert server.get("/_health", auth=None).status == 200, "the process itself lives"
    other.execute("ROLLBACK")
    other.close()
    wait_until(lambda: server.get(READY, auth=None).json == GOOD, 20, "the store to be back")


def test_deployments_are_said_and_block_nothing(spawn):
    server = spawn({"store": "sqlite"})
    with elasticsearch.Elasticsearch(server.url, basic_auth=("elastic", PASSWORD),
                                     request_timeout=60) as es:
        upload(es, EMBED, "bad")
        start(es, "bad", deployment_id="d")
    assert server.get(READY, auth=None).json == GOOD
    server.stop()
    with open(stored(server, "bad", "model.pt"), "r+b") as f:
        f.write(b"no archive")
        f.truncate(10)
    server.start()
    failed = {"deployment [d] has failed to start": False}
    wait_until(lambda: reasons(server.get(READY, auth=None)) == failed, 10, "the failure to be said")
    answer = server.get(READY, auth=None)
    assert (answer.status, answer.json["status"]) == (200, "ready")


def test_draining_is_not_ready(spawn):
    server = spawn({"node.shutdown_grace": "5s"})
    server.get(READY, auth=None)
    with Raw(server) as half:
        half.send(b"GET " + READY.encode() + b" HTTP/1.1\r\nHost: x\r\n")
        time.sleep(0.1)
        server.signal(signal.SIGTERM)
        wait_until(lambda: any(x["message"] == "draining" for x in server.log_lines()), 5)
        half.send(b"\r\n")
        answer = half.answer()
    assert answer.status == 503
    assert b'{"reason":"the server is shutting down","blocking":true}' in answer.body
    assert server.wait_exit(5) == 0
