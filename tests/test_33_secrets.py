"""A hundred planted secrets, each of its own: in settings, keys, headers, passwords, urls, and thrown back by
providers in their errors. None is seen in an answer, in the log, in the figures, in what is on disk, or in a dump."""
import base64
import glob
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import urllib.parse

import pytest
import services
from inferd import MARK, basic, wait_until
from services import ALL, KEY, questions
from upstream import Reply, Stream

USERS = 12


class Planted:
    """Secrets of their own, and the search for them."""

    def __init__(self):
        self.all = []

    def new(self, like=""):
        secret = f"{like}{MARK}-planted-{len(self.all):03d}-x7Qz"
        self.all.append(secret)
        return secret

    def into(self, settings):
        """The settings with a new secret wherever the recipe has the common one."""
        def one(value):
            if isinstance(value, dict):
                return {k: one(v) for k, v in value.items()}
            if isinstance(value, str) and value == KEY:
                return self.new("key-")
            if isinstance(value, str) and value in services.AWS.values():
                return self.new("aws-")
            return value
        return {k: one(v) for k, v in settings.items()}

    def seen_in(self, data):
        if isinstance(data, str):
            data = data.encode()
        found = [s for s in self.all if s.encode() in data or urllib.parse.quote(s, safe="").encode() in data]
        return found


def thrown_back(request):
    """What a careless provider says: everything that it was sent."""
    said = " ".join(f"{k}: {v}" for k, v in request.headers.items()) + " " + request.target
    return Reply(401, {"error": {"message": f"wrong credentials: {said}", "code": "no", "type": "auth"},
                       "message": said, "detail": said, "errors": [{"message": said}]})


def make_endpoints(server, planted):
    names = []
    for recipe in ALL:
        if recipe.service == "googlevertexai":
            continue  # its key is a private key, looked for by test_18_google
        name = f"e{len(names)}"
        body = {"service": recipe.service, "service_settings": planted.into(recipe.settings)}
        if recipe.task_settings:
            body["task_settings"] = recipe.task_settings
        if recipe.service == "openai" or len(names) % 3 == 0:
            body["service_settings"]["egress"] = {"headers": {"X-Team": "blue"}}
        answer = server.put(f"/_inference/{recipe.task}/{name}", body)
        assert answer.status == 200, (recipe, answer.json)
        names.append((name, recipe.task))
    return names


def test_a_hundred_planted_secrets(spawn, upstream):
    resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    planted = Planted()
    password = planted.new("pw-")
    server = spawn({"xpack.inference.skip_validate_and_start": "true", "logger.level": "debug",
                    "inference.slow_call_threshold": "1ms", "http.loops": "1"}, password=password)
    answers = []
    send = server.request

    def listen(method, path, *args, **kw):
        """Every answer is kept, and `server`'s own look-out for secrets is left to this story."""
        kw["check"] = False
        kw.setdefault("auth", basic("elastic", password))
        answer = send(method, path, *args, **kw)
        answers.append((method, path, answer.body))
        return answer
    server.request = listen

    names = make_endpoints(server, planted)
    for i in range(USERS):
        assert server.put(f"/_security/user/u{i}", {"password": planted.new("pw-"), "roles": ["superuser"]}).status == 200
    keys = [server.post("/_security/api_key", {"name": f"k{i}"}).json for i in range(USERS)]
    answers.clear()  # a key is told once, there
    planted.all += [k["api_key"] for k in keys] + [k["encoded"] for k in keys]
    assert len(planted.all) >= 100

    for name, task in names:
        upstream.clear()
        upstream.choose = thrown_back
        stream = task == "chat_completion"
        path = f"/_inference/{task}/{name}" + ("/_stream" if stream else "")
        body = questions(task)
        assert server.post(path, body).status >= 400
        server.post(f"/_inference/{task}/{name}/_simulate", body)
        server.get(f"/_inference/{task}/{name}")
        server.put(f"/_inference/{task}/{name}/_update", {"service_settings": {"api_key": 5}})
    upstream.choose = None
    upstream.clear()
    for i, key in enumerate(keys):
        auth = "ApiKey " + key["encoded"]
        assert server.get("/_security/_authenticate", auth=auth).status == 200
        server.get("/_security/_authenticate", auth=auth[:-4] + "AAAA")
        server.get(f"/_security/user/u{i}")
        secret = planted.new("url-")
        server.get(f"/_inference/x?api_key={secret}")
        server.post("/_inference/completion/e0", {"input": planted.new("text-")})
        server.put(f"/_inference/completion/bad{i}", {"service": "openai", "service_settings": {
            "api_key": planted.new("key-"), "model_id": 7, "url": f"https://user:{planted.new('url-')}@h.example/"}})
    for path in ("/_inference/_all", "/_inference/.diagnostics", "/_prometheus/metrics", "/_security/user",
                 "/_security/api_key", "/_nodes", "/_inference/_services"):
        server.get(path)

    own_words = {s for s in planted.all if s.startswith(("url-", "text-"))}  # an error may say what its own caller sent
    for method, path, body in answers:
        seen = [s for s in planted.seen_in(body) if s not in own_words]
        assert not seen, f"{method} {path}: {seen} in {body[:600]}"
    dump = dump_of(server)
    assert b"inferd" in dump and not planted.seen_in(dump)
    server.process.send_signal(signal.SIGSEGV)
    server.process.wait(20)
    log = server.log()
    assert not planted.seen_in(log), [line for line in log.splitlines() if planted.seen_in(line)][:3]
    files = 0
    for folder, _, found in os.walk(server.folder):
        for name in found:
            with open(os.path.join(folder, name), "rb") as f:
                data = f.read()
            assert not name.startswith("core"), f"{name}: a dump was written"
            assert not planted.seen_in(data), f"{name}: {planted.seen_in(data)}"
            files += 1
    assert files >= 3
    server.process = None


def dump_of(server):
    """What root gets when he asks for the memory of the process. Without gdb, or where it may not: a word."""
    if shutil.which("gcore"):
        subprocess.run(["gcore", "-o", os.path.join(server.folder, "dump"), str(server.process.pid)],
                       capture_output=True, timeout=120)
    for path in glob.glob(os.path.join(server.folder, "dump.*")):
        with open(path, "rb") as f:
            data = f.read()
        os.remove(path)
        return data
    return b"no gdb: inferd could not be dumped"


def escaped(text):
    return "".join(f"\\u{ord(c):04x}" for c in text)


def test_whatever_way_a_service_throws_a_key_back(spawn, upstream):
    """Escaped, encoded, cut, in what is tried again and in streams: neither the caller nor the log, at its most
    talkative, sees the key."""
    server = spawn({"logger.level": "debug"})
    key = "sk-\"" + MARK + "/planted<é>-0123456789"
    raw = {"url": upstream.url + "/custom/errors", "secret_parameters": {"api_key": key},
           "headers": {"Authorization": "Bearer ${api_key}"}, "request": "{\"input\": ${input}}",
           "response": {"json_parser": {"completion_result": "$.a"}}}
    upstream.choose = lambda request: Reply(200, {"a": ["ok"]})
    answer = server.put("/_inference/completion/raw", {"service": "custom", "service_settings": raw})
    assert answer.status == 200, answer
    upstream.choose = None
    upstream.clear()
    server.make("completion", "plain", "openai", {"api_key": key, "model_id": "m"})
    upstream.clear()
    seen = {form: base64.b64encode((form + key).encode()).decode()[len(form) + 2:-6]
            for form in ("", "u:", "us:", "user:")}
    said = [key, urllib.parse.quote(key, safe=""), escaped(key), json.dumps(key), json.dumps(key).replace("/", "\\/"),
            json.dumps(json.dumps(key)), "x" * (1988 - 20) + key] + [
        "Basic " + base64.b64encode((form + key).encode()).decode() for form in seen]

    def forbidden(text):
        return MARK in text or escaped(MARK) in text or any(s in text for s in seen.values())
    for text in said:
        for reply in (Reply(401, {"error": {"message": text}}), Reply(429, {"error": {"message": text}}),
                      Reply(400, f'{{"error": {{"message": "{text}"}}}}'), Reply(503, text),
                      Reply(200, {"error": {"message": text}})):
            upstream.choose = lambda request, reply=reply: reply
            for path in ("/_inference/plain", "/_inference/raw"):
                answer = server.post(path, {"input": "a"}, check=False)
                assert answer.status >= 400
                assert not forbidden(answer.text), (text, answer)
        upstream.clear()
        upstream.choose = lambda request, text=text: Stream(
            [{"choices": [{"index": 0, "delta": {"content": "a"}}]}, {"error": {"message": text}}], done=False)
        stream = server.stream("/_inference/plain/_stream", {"input": "a"})
        assert stream.next()[0] == "message"
        assert stream.next()[0] == "error" and not forbidden(stream.raw.decode())
        stream.drop()
        upstream.clear()
    upstream.choose = None
    server.stop()
    log = server.log()
    assert "retrying upstream" in log
    assert not forbidden(log), [line for line in log.splitlines() if forbidden(line)][:3]


def test_the_search_finds_what_is_there():
    planted = Planted()
    secret = planted.new()
    assert planted.seen_in(b"... " + secret.encode() + b" ...") == [secret]
    assert planted.seen_in("x=" + urllib.parse.quote(secret, safe="")) == [secret]
    assert planted.seen_in(json.dumps({"a": "b"})) == []
    assert re.search("planted", secret) and wait_until(lambda: True)


def in_memory(server, text):
    """How often it lies in what the process may write."""
    times = 0
    with open(f"/proc/{server.process.pid}/maps") as maps, open(f"/proc/{server.process.pid}/mem", "rb", 0) as memory:
        for begin, end in re.findall(r"^(\w+)-(\w+) rw", maps.read(), re.M):
            try:
                memory.seek(int(begin, 16))
                times += memory.read(int(end, 16) - int(begin, 16)).count(text.encode())
            except OSError:  # gone meanwhile
                pass
    return times


def test_bodies_of_the_security_api_are_wiped(spawn, slow_binary):
    server, planted = spawn(), Planted()
    if slow_binary or not os.access(f"/proc/{server.process.pid}/mem", os.R_OK):
        pytest.skip("the memory of this process cannot be read")
    as_ann = {"grant_type": "password", "username": "ann"}
    for method, path, status, body in (
            ("PUT", "/user/ann", 200, {"roles": []}), ("PUT", "/user/ben", 400, {"roles": [], "x": 1}),
            ("PUT", "/user/ben?x=1", 400, {"roles": []}), ("POST", "/nothing", 400, {}),
            ("POST", "/oauth2/token", 401, as_ann), ("POST", "/oauth2/token", 400, {**as_ann, "x": 1}),
            ("POST", "/profile/_activate", 400, {**as_ann, "access_token": "x"})):
        answer = server.request(method, "/_security" + path, {**body, "password": planted.new()})
        assert answer.status == status, answer
    token = {"grant_type": "access_token", "access_token": planted.new()}
    assert server.post("/_security/profile/_activate", token).status == 401
    assert {secret: n for secret in planted.all if (n := in_memory(server, secret))} == {}
    assert in_memory(server, "/_security/profile/_activate") > 0  # the search is not blind
