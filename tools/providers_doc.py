#!/usr/bin/env python3
"""Writes docs/providers.md from what the server says of its services (GET /_inference/_services?details=true).

    tools/providers_doc.py                    # build/inferd, or the binary that INFERD_BIN names
    tools/providers_doc.py URL [USER:PASSWORD]   # a server that runs
    tools/providers_doc.py --print ...        # to standard output
"""
import base64
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TARGET = os.path.join(ROOT, "docs", "providers.md")
SHORT = {"text_embedding": "TE", "sparse_embedding": "SE", "rerank": "RR", "completion": "CO",
         "chat_completion": "CC"}

HEAD = """\
# Settings of each service

Written by `tools/providers_doc.py` from what the server says of itself; do not edit. What each service is
and speaks to: [services.md](services.md). The service `custom` is not listed, as in Elasticsearch.

*Secret*: stored, used and never shown. *Updatable*: `PUT _inference/<id>/_update` may change it; the others stay
as they were made. Task settings may be changed by `_update` and by each call. Settings that not all tasks of a service have
name theirs: {tasks}.
`rate_limit.requests_per_minute` is written `"rate_limit": {{"requests_per_minute": N}}`.
"""

COMMON_HEAD = """
## Every service that has these tasks

Beyond Elasticsearch; see [differences.md](differences.md).
"""


def tasks_of(names):
    return " ".join(SHORT.get(n, n) for n in names)


def cell(text):
    return " ".join(str(text).replace("|", "\\|").split())


def default_of(c, rpm):
    if c["name"] == "rate_limit.requests_per_minute" and rpm:
        if len(set(rpm.values())) == 1:
            return f"`{next(iter(rpm.values()))}`"
        return ", ".join(f"{SHORT[t]} `{n}`" for t, n in rpm.items())
    if c.get("default_value") is None:
        return ""
    return f"`{json.dumps(c['default_value'])}`"


def row(c, all_tasks, rpm, words):
    flags = [word for word in words if c[WORDS[word]]]
    if c.get("required_for"):
        flags.insert(0, f"required for {tasks_of(c['required_for'])}")
    tasks = c["supported_task_types"]
    only = "" if set(tasks) == set(all_tasks) else f" *({tasks_of(tasks)})*"
    says = cell(c["description"])
    if c.get("choices"):
        says += (" " if says else "") + "One of " + ", ".join(f"`{x}`" for x in c["choices"]) + "."
    return (f"| `{c['name']}`{only} | {c['type']} | {', '.join(flags)} | {default_of(c, rpm)} | "
            f"{says} |\n")


WORDS = {"required": "required", "secret": "sensitive", "updatable": "updatable"}


def table(heading, settings, all_tasks, rpm=None, words=tuple(WORDS)):
    rows = "".join(row(c, all_tasks, rpm, words) for c in settings)
    return f"\n| {heading} | type | | default | |\n|---|---|---|---|---|\n" + rows if rows else ""


OF_ELASTICSEARCH = ("rate_limit.requests_per_minute", "max_input_tokens")


def common_settings(services):
    """{name: setting} of what most services may be told in the same words: shown once, with all the
    tasks that have it anywhere."""
    found = {}
    for s in services:
        for c in s["settings"]["service_settings"]:
            if c["updatable"] and not c["required"] and c["name"] not in OF_ELASTICSEARCH:
                found.setdefault((c["name"], c["description"]), []).append(c)
    common = {}
    for (name, _), same in found.items():
        if len(same) * 2 > len(services):
            tasks = {t for c in same for t in c["supported_task_types"]}
            common[name] = dict(same[0], supported_task_types=[t for t in SHORT if t in tasks])
    return common


def render(services):
    """The whole page."""
    services = sorted(services, key=lambda s: s["service"])
    common = common_settings(services)
    page = HEAD.format(tasks=", ".join(f"{s} `{n}`" for n, s in SHORT.items()))
    for s in services:
        own = [c for c in s["settings"]["service_settings"] if c["name"] not in common]
        page += f"\n## {s['service']}\n\n{s['name']}: {tasks_of(s['task_types'])}\n"
        page += table("service setting", own, s["task_types"], s["requests_per_minute"])
        page += table("task setting", s["settings"]["task_settings"], s["task_types"],
                      words=("required",))
    return page + COMMON_HEAD + table("service setting", common.values(), SHORT)


# ---- asking a server ----

def ask(url, credentials):
    token = base64.b64encode(credentials.encode()).decode()
    request = urllib.request.Request(url.rstrip("/") + "/_inference/_services?details=true",
                                     headers={"Authorization": "Basic " + token})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def ask_binary(binary):
    """Starts a server for the one question."""
    with tempfile.TemporaryDirectory() as folder:
        environment = dict(os.environ, ELASTIC_PASSWORD="for-one-question")
        server = subprocess.Popen([binary, "-E", "http.port=0", "-E", f"path.data={folder}/data"],
                                  env=environment, stderr=subprocess.DEVNULL)
        try:
            return ask(f"http://127.0.0.1:{wait_port(server, folder)}", "elastic:for-one-question")
        finally:
            server.terminate()
            server.wait(30)


def wait_port(server, folder):
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if server.poll() is not None:
            raise SystemExit(f"the server ended with status {server.returncode}")
        try:
            with open(f"{folder}/data/http.port") as f:
                text = f.read()
            if text.endswith("\n"):
                return int(text)
        except FileNotFoundError:
            pass
        time.sleep(0.02)
    raise SystemExit("the server did not listen within a minute")


def main(arguments):
    to_output = "--print" in arguments
    arguments = [a for a in arguments if a != "--print"]
    if arguments and arguments[0].startswith("http"):
        services = ask(arguments[0], (arguments + ["elastic:changeme"])[1])
    else:
        services = ask_binary(os.environ.get("INFERD_BIN", os.path.join(ROOT, "build", "inferd")))
    page = render(services)
    if to_output:
        sys.stdout.write(page)
        return
    with open(TARGET, "w") as f:
        f.write(page)


if __name__ == "__main__":
    main(sys.argv[1:])
