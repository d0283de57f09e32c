"""Who may call: Basic credentials of the built-in user, and the refusals word by word."""
import os
import re
import stat
import time

import pytest

import inferd
from inferd import MARK, PASSWORD, basic
from rawhttp import Raw

BASIC = 'Basic realm="security", charset="UTF-8"'


def refused(answer, reason):
    """401 exactly as Elasticsearch says it; the same challenges in body and headers."""
    challenges = answer.all("www-authenticate")
    assert challenges[0] == BASIC
    assert set(challenges[1:]) <= {'Bearer realm="security"', "ApiKey"}
    assert answer.status == 401
    error = answer.json["error"]
    listed = error["header"]["WWW-Authenticate"]
    assert (listed if isinstance(listed, list) else [listed]) == challenges
    assert (error["type"], error["reason"]) == ("security_exception", reason)
    assert error["root_cause"] == [{k: v for k, v in error.items() if k != "root_cause"}]
    assert answer.json["status"] == 401
    assert list(error)[-1] == "header" and list(error)[:3] == ["root_cause", "type", "reason"]


def test_no_credentials(server):
    refused(server.get("/_inference", auth=None),
            "missing authentication credentials for REST request [/_inference]")
    refused(server.get("/_inference?pretty", auth=None),
            "missing authentication credentials for REST request [/_inference?pretty]")


def test_authentication_comes_before_everything(server):
    for method, path, body in (("GET", "/nothing", None), ("POST", "/_license", None),
                               ("GET", "/?unknown", None), ("POST", "/_inference/x", b"{broken")):
        refused(server.request(method, path, body, auth=None),
                f"missing authentication credentials for REST request [{path}]")


def test_no_credentials_on_a_stream(server):
    answer = server.post("/_inference/x/_stream", {"input": "a"}, auth=None)
    assert answer.status == 401
    assert answer.all("www-authenticate")[0] == BASIC


@pytest.mark.parametrize("user, password", [
    ("elastic", "wrong"), ("elastic", ""), ("elastic", PASSWORD + "x"), ("elastic", PASSWORD[:-1]),
    ("nobody", PASSWORD), ("Elastic", PASSWORD), ("elastic", PASSWORD + ":"),
    ("elastic", PASSWORD.lower()),
])
def test_wrong_user_or_password_have_one_text(server, user, password):
    answer = server.get("/_inference", auth=basic(user, password))
    refused(answer, f"unable to authenticate user [{user}] for REST request [/_inference]")


@pytest.mark.parametrize("header", ["Basic ???", "Basic", "Basic ", "Basic " + "QQ==",
                                    "Basic " + "x" * 9000])
def test_unreadable_credentials(server, header):
    answer = server.get("/", auth=header)
    assert answer.status == 401
    assert answer.type == "security_exception"
    assert answer.all("www-authenticate")[0] == BASIC


def test_other_schemes(server):
    refused(server.get("/", auth="Digest a=b"),
            "missing authentication credentials for REST request [/]")
    for header in ("ApiKey aWQ6a2V5", "Bearer x"):
        answer = server.get("/", auth=header)
        assert answer.status == 401
        assert answer.type == "security_exception"


def test_the_scheme_is_compared_without_case(server):
    good = basic("elastic", PASSWORD)
    for header in (good, good.replace("Basic", "bAsIc"), good.replace("Basic ", "Basic  ")):
        assert server.get("/", auth=header).status == 200


def test_passwords_with_colons_and_letters_of_all_kinds(spawn):
    password = "p:w " + MARK + " ü漢🙂"
    server = spawn(password=password)
    assert server.get("/").status == 200
    assert server.get("/", auth=basic("elastic", password + "x")).status == 401


def test_the_second_time_is_fast_and_a_wrong_one_in_between_changes_nothing(spawn):
    """Verified credentials are remembered: hashing each time would cost a core."""
    server = spawn()
    assert server.get("/").status == 200
    started = time.monotonic()
    for _ in range(50):
        assert server.get("/").status == 200
    each = (time.monotonic() - started) / 50
    assert each < 0.01 * inferd.FACTOR
    assert server.get("/", auth=basic("elastic", "wrong")).status == 401
    assert server.get("/").status == 200
    assert server.get("/", auth=basic("elastic", "wrong")).status == 401


def test_the_password_stays_over_a_restart(spawn):
    server = spawn()
    server.stop()
    server.password = "another-" + MARK
    server.start()
    assert server.get("/").status == 401, "the environment counts at the first start only"
    assert server.get("/", auth=basic("elastic", PASSWORD)).status == 200
    server.stop()
    server.password = None
    server.start()
    assert server.get("/", auth=basic("elastic", PASSWORD)).status == 200
    server.password = PASSWORD


def test_no_password_given_one_is_printed_once(spawn):
    server = spawn(password=None)
    printed = re.findall(r"(?m)^Password of the user elastic.*: (\S+)$", server.log())
    assert len(printed) == 1 and len(printed[0]) >= 16
    assert server.get("/", auth=basic("elastic", printed[0])).status == 200
    assert server.get("/", auth=basic("elastic", printed[0] + "x")).status == 401
    server.restart()
    assert "Password of" not in server.log()
    assert server.get("/", auth=basic("elastic", printed[0])).status == 200
    server.password = printed[0]


def test_the_password_is_stored_as_a_hash_only(spawn):
    server = spawn()
    server.make("completion", "c", "openai", {"api_key": "sk-" + MARK, "model_id": "m"})
    server.stop()
    for folder, _, files in os.walk(server.data):
        for name in files:
            with open(os.path.join(folder, name), "rb") as f:
                assert MARK.encode() not in f.read(), f"{name} holds a secret in clear"


def test_the_password_is_not_in_the_environment_of_the_process(spawn):
    server = spawn()
    with open(f"/proc/{server.process.pid}/cmdline", "rb") as f:
        assert MARK.encode() not in f.read()


def test_guessing_is_slowed_down_for_the_guesser_only(spawn):
    """Many wrong passwords at once must not keep the right one out."""
    server = spawn()
    assert server.get("/").status == 200
    guessers = [Raw(server, basic("elastic", f"guess {i}")) for i in range(12)]
    for g in guessers:
        g.request("GET", "/")
    started = time.monotonic()
    assert server.get("/").status == 200
    assert time.monotonic() - started < 2 * inferd.FACTOR
    for g in guessers:
        assert g.answer().status in (401, 429)
        g.__exit__()


def test_two_authorization_headers(server):
    with Raw(server) as raw:
        raw.request("GET", "/", ["Authorization: " + basic("elastic", "wrong"),
                                 "Authorization: " + basic("elastic", PASSWORD)])
        assert raw.answer().status in (400, 401)


def test_files_that_hold_secrets(spawn):
    server = spawn()
    for folder, _, files in os.walk(server.data):
        assert stat.S_IMODE(os.stat(folder).st_mode) & 0o077 == 0 or folder == server.data, folder
        for name in files:
            if name != "http.port":
                assert stat.S_IMODE(os.stat(os.path.join(folder, name)).st_mode) & 0o077 == 0, name


def test_the_first_password_is_not_left_in_the_environment(server):
    """Where the kernel shows it to whoever may look: root, for the process may not be looked into."""
    path = f"/proc/{server.process.pid}/environ"
    try:
        with open(path, "rb") as f:
            shown = f.read()
    except PermissionError:
        return
    assert b"ELASTIC_PASSWORD=" in shown and server.password.encode() not in shown


def test_the_first_password_in_a_file(spawn, tmp_path):
    path = tmp_path / "password"
    password = "pw-" + MARK + "-in-a-file"

    def server(text, mode=0o600, **kw):
        path.write_bytes(text)
        path.chmod(mode)
        return spawn(env={"ELASTIC_PASSWORD_FILE": str(path)}, start=False, **{"password": None, **kw})

    def refused(why, *args, **kw):
        s = server(*args, **kw)
        s.launch()
        assert s.wait_exit() == 1 and why in s.log() and MARK not in s.log()
        s.process = None
    refused("must have the permissions 400 or 600, but has [644]", b"x" * 10, 0o644)
    refused("must hold a password of 1 to [4096] bytes", b"\n")
    refused("must hold a password of 1 to [4096] bytes", b"x" * 5000)
    refused("must hold a password of 1 to [4096] bytes", b"a\0b")
    refused("are both set", b"x" * 10, password=PASSWORD)
    good = server(password.encode() + b"\n", 0o400)
    good.launch()
    good.password = password
    good.wait_ready()
    assert good.get("/_security/_authenticate", auth=basic("elastic", password)).status == 200
    good.stop()
    path.unlink()
    good.password = None
    good.launch()  # not there any more
    assert good.wait_exit() == 1 and "cannot open" in good.log()
    good.process = None
