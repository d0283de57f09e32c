"""--reset-password: a new password for somebody who is locked out, on the server's own machine."""
import contextlib
import os
import pty
import re
import sqlite3
import subprocess

import pytest

from inferd import FACTOR, MARK, PASSWORD, basic

NEW = "pw-" + MARK + "-another"


@pytest.fixture
def stopped(spawn):
    server = spawn()
    assert server.put("/_security/user/juan", {"password": PASSWORD, "roles": ["monitor"],
                                               "full_name": "J", "metadata": {"k": 1}}).status == 200
    server.stop()
    return server


def reset(server, user, *more, said=None):
    done = subprocess.run(server.command() + ["--reset-password", user, *more], input=said,
                          env=server.environment(), cwd=server.folder, timeout=60 * FACTOR,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    log = done.stderr.decode()
    assert MARK not in log
    return done.returncode, done.stdout.decode(), log


def lets_in(server, user, password):
    return server.get("/_security/_authenticate", auth=basic(user, password), check=False).status == 200


def hashes(server):
    with contextlib.closing(sqlite3.connect(os.path.join(server.data, "store.db"))) as db:
        return [re.search(rb'"password":"([^"]*)"', r[0])[1] for r in
                db.execute("SELECT body FROM private WHERE kind = 'user'")]


def test_a_random_one(stopped):
    before = hashes(stopped)
    status, out, log = reset(stopped, "elastic")
    fresh = re.fullmatch(r"New password of the user elastic: ([\w*=+-]{20})\n", out)
    assert status == 0 and fresh and fresh[1] not in log
    gone, = set(before) - set(hashes(stopped))
    for name in os.listdir(stopped.data):
        path = os.path.join(stopped.data, name)
        if os.path.isfile(path):
            with open(path, "rb") as f:
                assert gone not in f.read(), name
    stopped.start()
    assert lets_in(stopped, "elastic", fresh[1]) and not lets_in(stopped, "elastic", PASSWORD)
    assert lets_in(stopped, "juan", PASSWORD)
    stopped.password = fresh[1]


def test_one_that_is_read(stopped):
    status, out, _ = reset(stopped, "juan", "--password-stdin", said=NEW.encode() + b"\n")
    assert (status, out) == (0, "")
    stopped.start()
    assert lets_in(stopped, "juan", NEW) and not lets_in(stopped, "juan", PASSWORD)
    assert stopped.get("/_security/user/juan").json["juan"] == {
        "username": "juan", "roles": ["monitor"], "full_name": "J", "email": None,
        "metadata": {"k": 1}, "enabled": True}


def test_one_that_is_typed(stopped):
    def typed(*lines):
        ours, theirs = pty.openpty()
        process = subprocess.Popen(stopped.command() + ["--reset-password=juan", "--password-stdin"],
                                   stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                   env=stopped.environment(), cwd=stopped.folder)
        os.close(theirs)
        for prompt, line in zip((b"New password: ", b"The same again: "), lines):
            said = b""
            while not said.endswith(prompt):
                more = process.stderr.read(1)
                assert more, said
                said += more
            os.write(ours, line.encode() + b"\n")
        out, err = process.communicate(timeout=60 * FACTOR)
        os.set_blocking(ours, False)
        with contextlib.suppress(OSError):
            assert MARK.encode() not in os.read(ours, 4096)
        os.close(ours)
        assert out == b"" and MARK.encode() not in err
        return process.returncode, err.decode()
    status, log = typed(NEW, NEW + "x")
    assert status == 1 and "the two passwords are not the same" in log
    assert typed(NEW, NEW)[0] == 0
    stopped.start()
    assert lets_in(stopped, "juan", NEW)


def test_who_is_disabled(spawn):
    server = spawn()
    for name in ("juan", "ana"):
        server.put(f"/_security/user/{name}", {"password": PASSWORD, "roles": ["superuser"]})
    ana = basic("ana", PASSWORD)
    assert server.put("/_security/user/elastic/_disable", auth=ana).status == 200
    assert server.put("/_security/user/juan/_disable", auth=ana).status == 200
    server.stop()
    assert reset(server, "elastic", "--password-stdin", said=NEW.encode())[0] == 0
    status, _, log = reset(server, "juan", "--password-stdin", said=NEW.encode())
    assert status == 0 and "disabled and stays so" in log
    server.password = NEW
    server.launch()
    server.wait_ready()
    assert lets_in(server, "elastic", NEW) and not lets_in(server, "juan", NEW)


def test_what_is_refused(stopped):
    before = hashes(stopped)
    for user, said, why in (("nobody", NEW, "there is no user [nobody]"),
                            ("juan", "short", "passwords must be at least [6] characters"),
                            ("juan", "", "passwords must be at least [6] characters"),
                            ("juan", "x" * 9000, "longer than"),
                            ("juan", "x" * 5000, "at most [4096] bytes"),
                            ("juan", "a\0bcdefgh", "hold no NUL")):
        status, out, log = reset(stopped, user, "--password-stdin", said=said.encode())
        assert (status, out) == (1, "") and why in log, (said[:20], log)
    assert hashes(stopped) == before


def test_a_folder_without_a_store(spawn):
    server = spawn(start=False)
    status, out, log = reset(server, "elastic")
    assert (status, out) == (1, "") and "is [path.data] right?" in log
    assert not os.path.exists(server.data)
    server.settings["store"] = "memory"
    assert reset(server, "elastic")[0] == 1
    server.settings["store"] = "sqlite"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a file away")
def test_a_store_of_another_user(stopped):
    os.chown(os.path.join(stopped.data, "store.db"), 1, 1)
    status, out, log = reset(stopped, "elastic")
    assert (status, out) == (1, "") and "belongs to user [daemon]: run this as that user" in log


def test_while_a_server_runs(spawn):
    server = spawn()
    status, out, log = reset(server, "elastic")
    assert (status, out) == (1, "") and "another" in log and str(server.process.pid) in log
    assert lets_in(server, "elastic", PASSWORD)


def test_without_a_built_in_user(spawn):
    """A store that has only ever been used without security."""
    server = spawn({"xpack.security.enabled": "false"})
    server.stop()
    assert reset(server, "elastic", "--password-stdin", said=NEW.encode())[0] == 0
    del server.settings["xpack.security.enabled"]
    server.password = NEW
    server.start()
    assert lets_in(server, "elastic", NEW)
