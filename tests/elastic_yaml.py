"""Elastic's own YAML client tests, run through the official Python client against inferd.

    git clone https://github.com/elastic/elasticsearch-clients-tests FOLDER      (nothing of it is kept here)
    python tests/elastic_yaml.py FOLDER --binary build/inferd [PATTERN...]
    python tests/elastic_yaml.py FOLDER --url http://127.0.0.1:9200 --password PASSWORD [PATTERN...]

PATTERN picks files below FOLDER/tests; without one: those about what inferd has. With --binary the
server is started with a data folder of its own and a model repository of tiny built-in models; one
that runs already needs -E xpack.ml.model_repository=URL for the tests of service elser. Needs what
is in tests/requirements-yaml.txt. Ends with the number of tests that passed and failed.
"""

import argparse
import base64
import contextlib
import json
import os
import re
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml
from elasticsearch import ApiError, Elasticsearch

from repository import Repository, package

# Of security, all but what only a serverless project has.
DEFAULT = ["inference/*", "machine_learning/*trained_model*", "machine_learning/*tm_*", "machine_learning/10_info*",
           "security/*"]
PACKAGES = {"elser_model_2": "elser_like_text_expansion", "elser_model_2_linux-x86_64": "elser_like_text_expansion_quantized",
            "multilingual-e5-small": "e5_like_text_embedding", "multilingual-e5-small_linux-x86_64": "e5_like_text_embedding",
            "rerank-v1": "bert_text_similarity"}
CATCH = {"bad_request": 400, "unauthorized": 401, "forbidden": 403, "missing": 404, "request_timeout": 408,
         "conflict": 409, "unavailable": 503}


class Failure(Exception):
    pass


def fill(value, stash):
    """$name and ${name} anywhere in strings; a string that is a name alone keeps its type."""
    if isinstance(value, dict):
        return {k: fill(v, stash) for k, v in value.items()}
    if isinstance(value, list):
        return [fill(v, stash) for v in value]
    if isinstance(value, str):
        whole = re.fullmatch(r"\$\{?(\w+)\}?", value)
        if whole and whole[1] in stash:
            return stash[whole[1]]
        return re.sub(r"\$\{?(\w+)\}?", lambda m: str(stash.get(m[1], m[0])), value)
    return value


def look(answer, path, stash):
    if path in ("", "$body"):
        return answer
    for i, part in enumerate(re.split(r"(?<!\\)\.", str(path))):
        part = fill(part.replace("\\.", "."), stash)
        if i == 0 and isinstance(part, (dict, list)):  # an object that was kept
            answer = part
            continue
        answer = answer[int(part)] if isinstance(answer, list) else answer[part]
    return answer


def look_for_match(answer, path, stash):
    """Names of the answer may hold dots: the longest that fits is taken."""
    try:
        return look(answer, path, stash)
    except (KeyError, IndexError, TypeError):
        if isinstance(answer, dict) and path in answer:
            return answer[path]
        raise


def body_of(body):
    if not isinstance(body, str):
        return body
    try:
        return json.loads(body)
    except ValueError:
        return [json.loads(line) for line in body.splitlines() if line.strip()]


def do(client, step, stash):
    step = dict(step)
    catch, headers = step.pop("catch", None), step.pop("headers", None)
    for word in ("warnings", "allowed_warnings", "node_selector", "warnings_regex"):
        step.pop(word, None)
    (api, arguments), = step.items()
    arguments = fill(dict(arguments or {}), stash)
    ignore = arguments.pop("ignore", None)
    if "body" in arguments:
        arguments["body"] = fill(body_of(arguments["body"]), stash)
    if headers:
        client = client.options(headers={k.lower(): v for k, v in fill(headers, stash).items()})
    if ignore:
        client = client.options(ignore_status=ignore)
    method = client
    for part in api.split("."):
        method = getattr(method, part)
    try:
        answer = method(**arguments)
    except ApiError as e:
        want = CATCH.get(catch)
        if catch and (want == e.status_code or (catch in ("request", "param")) or catch.startswith("/")):
            return e.body
        raise Failure(f"{api}: {e}") from e
    if catch and catch != "param":
        raise Failure(f"{api}: no error, expected {catch}")
    return getattr(answer, "body", answer)


def same(have, want):
    if isinstance(want, str) and len(want) > 2 and want.startswith("/") and want.rstrip().endswith("/"):
        return re.search(want.strip().strip("/"), str(have), re.X) is not None
    return have == want


def check(kind, what, answer, stash):
    if kind in ("is_true", "is_false"):
        try:
            value = look(answer, what, stash)
        except (KeyError, IndexError, TypeError):
            value = None
        truth = value not in (None, False, "", "false", 0)
        if truth != (kind == "is_true"):
            raise Failure(f"{kind}: {what} is {value!r}")
        return
    (path, want), = what.items()
    want, have = fill(want, stash), look_for_match(answer, path, stash)
    good = {"match": lambda: same(have, want), "length": lambda: len(have) == want, "gt": lambda: have > want,
            "gte": lambda: have >= want, "lt": lambda: have < want, "lte": lambda: have <= want}[kind]()
    if not good:
        raise Failure(f"{kind} {path}: have {have!r}, want {want!r}")


def run(client, steps, stash):
    answer = None
    for step in steps or []:
        (kind, what), = step.items()
        if kind == "do":
            answer = do(client, what, stash)
        elif kind == "set":
            for path, name in what.items():
                stash[name] = look(answer, path, stash)
        elif kind != "skip":
            check(kind, what, answer, stash)


def named_users(steps):
    """The users whose passwords a file's own headers hold."""
    for step in steps or []:
        for value in ((step.get("do") or {}).get("headers") or {}).values():
            if str(value).startswith("Basic "):
                yield base64.b64decode(value[6:]).decode().split(":", 1)


@contextlib.contextmanager
def superuser(client, steps):
    """Elastic's own test set-up has one superuser more, by whose name some steps go."""
    made = [u for u in named_users(steps) if u[0] == "x_pack_rest_user"]
    for name, password in made:
        client.security.put_user(username=name, password=password, roles=["superuser"])
    yield
    if made:
        client.security.delete_user(username="x_pack_rest_user")


@contextlib.contextmanager
def server(args):
    """The binary with data and models of its own, which must end well; or the one that runs."""
    if args.url:
        yield
        return
    repository = Repository()
    for name, source in PACKAGES.items():
        repository.files.update(package(name, source))
    args.password = secrets.token_hex(8)
    with tempfile.TemporaryDirectory(prefix="inferd-") as folder:
        port, log = Path(folder, "data", "http.port"), Path(folder, "log")
        with open(log, "wb") as err:
            process = subprocess.Popen(
                [args.binary, "-E", "http.port=0", "-E", f"path.data={folder}/data", "-E",
                 f"xpack.ml.model_repository={repository.url}"],
                stderr=err, env={**os.environ, "ELASTIC_PASSWORD": args.password})
            try:
                for _ in range(400):
                    if (port.exists() and port.read_text(encoding="ascii").strip()) or process.poll() is not None:
                        break
                    time.sleep(0.05)
                args.url = f"http://127.0.0.1:{port.read_text(encoding='ascii').strip()}"
                yield
            finally:
                process.send_signal(signal.SIGTERM)
                status = process.wait(60)
                repository.close()
        if status != 0:
            print(log.read_text(encoding="utf-8", errors="replace")[-4000:])
            raise SystemExit(f"the server ended with {status}")


def main():
    p = argparse.ArgumentParser()
    p.add_argument("folder", type=Path)
    p.add_argument("patterns", nargs="*", default=DEFAULT)
    p.add_argument("--binary", default="build/inferd")
    p.add_argument("--url")
    p.add_argument("--user", default="elastic")
    p.add_argument("--password")
    a = p.parse_args()
    with server(a):
        return tell(a)


def told(client, setup, steps, teardown):
    """What went wrong; None: nothing."""
    stash, problem = {}, None
    for part in (setup + steps, teardown):
        try:
            run(client, part, stash)
        except Exception as e:  # pylint: disable=broad-except
            problem = problem or f"{type(e).__name__} {e}"
    return problem


def tell(a):
    client = Elasticsearch(a.url, basic_auth=(a.user, a.password), request_timeout=120, max_retries=0)
    passed, failed = 0, 0
    for file in sorted({f for pattern in a.patterns for f in (a.folder / "tests").glob(pattern)}):
        sections = {}
        for document in yaml.safe_load_all(file.read_text(encoding="utf-8")):
            sections.update(document or {})
        if not sections.pop("requires", {}).get("stack", True):
            continue
        setup, teardown = sections.pop("setup", None) or [], sections.pop("teardown", None) or []
        for name, steps in sections.items():
            with superuser(client, setup + steps):
                problem = told(client, setup, steps, teardown)
            passed, failed = passed + (problem is None), failed + (problem is not None)
            print(f"FAILED  {file.name}: {name}: {problem}" if problem else f"ok      {file.name}: {name}")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
