"""--rotate-secrets-key: a new key for the stored secrets, whatever happens meanwhile."""
import contextlib
import os
import random
import sqlite3
import subprocess
import time

import pytest

from inferd import FACTOR, MARK

SETTINGS = {"xpack.inference.skip_validate_and_start": "true"}
N = 40


def key(i):
    return f"sk-{MARK}-{i}"


@pytest.fixture
def stopped(spawn):
    server = spawn(SETTINGS)
    for i in range(N):
        server.make("completion", f"e{i}", "openai", {"api_key": key(i), "model_id": "m"})
    server.stop()
    return server


def path(server, name="secrets.key"):
    return os.path.join(server.data, name)


def read(server, name="secrets.key"):
    with open(path(server, name)) as f:
        return f.read()


def begin(server):
    return subprocess.Popen(server.command() + ["--rotate-secrets-key"], env=server.environment(),
                            stderr=subprocess.PIPE, cwd=server.folder)


def rotate(server):
    process = begin(server)
    _, said = process.communicate(timeout=60 * FACTOR)
    assert MARK.encode() not in said
    return process.returncode, said.decode()


def check(server, upstream):
    """Every endpoint still has its own key."""
    server.start()
    upstream.clear()
    for i in range(N):
        assert server.post(f"/_inference/e{i}", {"input": "x"}).status == 200
    assert [r.headers["authorization"] for r in upstream.requests] == [
        "Bearer " + key(i) for i in range(N)]
    assert not os.path.exists(path(server, "secrets.key.next"))
    server.stop()


def test_a_new_key(stopped, upstream):
    before = read(stopped)
    status, said = rotate(stopped)
    assert status == 0 and f'"secrets":{N}' in said
    assert read(stopped) != before
    assert os.stat(path(stopped)).st_mode & 0o777 == 0o600
    after = read(stopped)
    check(stopped, upstream)
    assert read(stopped) == after
    with open(path(stopped), "w") as f:
        f.write(before)
    status, said = rotate(stopped)
    assert status == 1 and "is not the one that the stored secrets were encrypted with" in said


def sealed(server):
    """The secrets as they lie in the database: their nonces and tags."""
    with contextlib.closing(sqlite3.connect(path(server, "store.db"))) as db:
        rows = [r[0] for r in db.execute("SELECT body FROM private WHERE kind = 'secret'")]
    return [part for row in rows for part in (row[9:33], row[-16:])]


def seen(server, marks):
    """Those of the marks that any file of the data folder holds."""
    found = set()
    for folder, _, names in os.walk(server.data):
        for name in names:
            with open(os.path.join(folder, name), "rb") as f:
                data = f.read()
            found |= {m for m in marks if m in data}
    return found


def test_nothing_of_the_old_key_is_left(stopped):
    old = sealed(stopped) + [read(stopped).strip().encode()]
    assert len(old) == 2 * N + 1 and seen(stopped, old) == set(old)
    assert rotate(stopped)[0] == 0
    assert seen(stopped, old) == set()
    assert len(seen(stopped, sealed(stopped))) == 2 * N


def test_what_is_deleted_is_gone_at_once(spawn):
    server = spawn(SETTINGS)
    for i in range(N):
        server.make("completion", f"e{i}", "openai", {"api_key": key(i), "model_id": "m"})
    old = sealed(server)
    for i in range(N):
        if i % 2:
            assert server.delete(f"/_inference/e{i}").status == 200
        else:
            body = {"service_settings": {"api_key": "sk-other-" + MARK}}
            assert server.put(f"/_inference/completion/e{i}/_update", body).status == 200
        assert seen(server, old) == set(old) & set(sealed(server)), i


def test_without_secrets(spawn):
    server = spawn()
    server.stop()
    assert rotate(server)[0] == 0
    server.start()


def test_while_a_server_runs(spawn, upstream):
    server = spawn(SETTINGS)
    before = read(server)
    status, said = rotate(server)
    assert status == 1 and "another" in said
    assert read(server) == before


def test_cut_between_the_transaction_and_the_exchange(stopped, upstream):
    before = read(stopped)
    assert rotate(stopped)[0] == 0
    os.rename(path(stopped), path(stopped, "secrets.key.next"))
    with open(path(stopped), "w") as f:
        f.write(before)
    check(stopped, upstream)
    assert read(stopped) != before


def test_cut_before_the_transaction(stopped, upstream):
    before = read(stopped)
    with open(path(stopped, "secrets.key.next"), "w") as f:
        f.write("5" * 64 + "\n")
    check(stopped, upstream)
    assert read(stopped) == before


def test_kill_at_any_moment(stopped, upstream):
    for _ in range(12):
        process = begin(stopped)
        time.sleep(random.random() * 0.03 * FACTOR)
        process.kill()
        process.communicate()
        check(stopped, upstream)
