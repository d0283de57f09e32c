"""The stories of the official Go and Java clients, one server each. Run by `./check clients`.

    run.py --binary build-check/inferd --cache .cache [go9 go8 java]

Each story is a program that prints one JSON line per step. It talks to a server whose providers are
the scripted ones of ../upstream.py and uploads a tiny model of ../fixtures/models; once over plain
HTTP, once over TLS. What the programs
are built of is fetched by `go` and `mvn`, into the folder given with --cache, in the versions that
go/*.mod and java/pom.xml name. Ends with one line: N passed, N failed.
"""
import argparse
import glob
import http.client
import json
import os
import re
import shutil
import ssl
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))

import inferd  # noqa: E402
import upstream_anthropic  # noqa: E402, F401  each registers its paths
import upstream_aws  # noqa: E402, F401
import upstream_copies  # noqa: E402, F401
import upstream_custom  # noqa: E402, F401
import upstream_google  # noqa: E402, F401
import upstream_rankers  # noqa: E402, F401
from repository import Repository, package  # noqa: E402
from upstream import Upstream  # noqa: E402

# Elasticsearch's built-in models, played by tiny ones.
PACKAGES = {"elser_model_2": "elser_like_text_expansion",
            "elser_model_2_linux-x86_64": "elser_like_text_expansion_quantized",
            "multilingual-e5-small": "e5_like_text_embedding",
            "multilingual-e5-small_linux-x86_64": "e5_like_text_embedding",
            "rerank-v1": "bert_text_similarity"}
MODEL = os.path.join(HERE, "..", "fixtures", "models", "eland_tiny", "bert_text_classification")


def run(command, folder, **environment):
    print("+", " ".join(command[:3]), "...", flush=True)
    subprocess.run(command, cwd=folder, env=dict(os.environ, **environment), check=True,
                   stdout=sys.stderr)


def build_go(cache, major):
    """The story's program. That of 8.x is the same with the other import paths: a copy."""
    work = os.path.join(cache, "clients", f"go{major}")
    shutil.rmtree(work, ignore_errors=True)
    os.makedirs(work)
    for path in glob.glob(os.path.join(HERE, "go", "*.go")):
        with open(path) as source, open(os.path.join(work, os.path.basename(path)), "w") as copy:
            copy.write(source.read().replace("go-elasticsearch/v9", f"go-elasticsearch/v{major}"))
    for end in ("mod", "sum"):
        name = f"go.{end}" if major == 9 else f"go{major}.{end}"
        shutil.copy(os.path.join(HERE, "go", name), os.path.join(work, f"go.{end}"))
    program = os.path.join(work, "story")
    run(["go", "build", "-o", program, "."], work, GOPATH=os.path.join(cache, "go"),
        GOCACHE=os.path.join(cache, "go-build"), GOFLAGS="-modcacherw -mod=readonly -buildvcs=false")
    return [program]


def build_java(cache):
    """The story's classes, and the class path that Maven finds for them."""
    work = os.path.join(cache, "clients", "java")
    shutil.rmtree(work, ignore_errors=True)
    os.makedirs(work)
    shutil.copy(os.path.join(HERE, "java", "pom.xml"), work)
    listed = os.path.join(work, "classpath")
    run(["mvn", "-q", "-B", f"-Dmaven.repo.local={os.path.join(cache, 'm2')}",
         f"-Dmdep.outputFile={listed}",
         "org.apache.maven.plugins:maven-dependency-plugin:2.8:build-classpath"], work)
    with open(listed) as f:
        path = f.read().strip()
    classes = os.path.join(work, "classes")
    run(["javac", "-nowarn", "--release", "17", "-d", classes, "-cp", path,
         *sorted(glob.glob(os.path.join(HERE, "java", "src", "*.java")))], work)
    return ["java", "-cp", f"{path}:{classes}", "Story"]


BUILDS = {"go9": lambda cache: build_go(cache, 9), "go8": lambda cache: build_go(cache, 8),
          "java": build_java}
MAJORS = {"go9": 9, "go8": 8, "java": 9}


class Tls(inferd.Inferd):
    """A server that speaks TLS, with a certificate of an authority of its own."""

    def __init__(self, folder, settings, **more):
        self.authority = make_certificate(folder)
        super().__init__(folder, settings=settings | {
            "xpack.security.http.ssl.enabled": "true",
            "xpack.security.http.ssl.certificate": os.path.join(folder, "server.pem"),
            "xpack.security.http.ssl.key": os.path.join(folder, "server.key")}, **more)

    @property
    def url(self):
        return f"https://127.0.0.1:{self.port}"

    def connect(self, timeout=20):
        return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=timeout,
                                           context=ssl.create_default_context(cafile=self.authority))


def make_certificate(folder):
    """server.pem and server.key; the path of the authority's certificate."""
    def openssl(*args):
        subprocess.run(["openssl", *args], cwd=folder, check=True, capture_output=True)
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    openssl("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=ca")
    openssl("req", *key, "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=server")
    with open(os.path.join(folder, "san"), "w") as f:
        f.write("subjectAltName=DNS:localhost,IP:127.0.0.1")
    openssl("x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
            "-out", "server.pem", "-days", "2", "-extfile", "san")
    return os.path.join(folder, "ca.pem")


def steps_of(name):
    """The steps that the story's source has; one that was not told is a failure."""
    if name == "java":
        paths, pattern = glob.glob(os.path.join(HERE, "java", "src", "*.java")), r'steps\.put\("(\w+)"'
    else:
        paths, pattern = glob.glob(os.path.join(HERE, "go", "*.go")), r'(?m)^\t\{"(\w+)", func\(\) \{'
    return {step for path in paths for step in re.findall(pattern, open(path).read())} | {"version"}


def run_story(command, upstream, repository, tls):
    """The lines that a story told of a server of its own, and what it wrote to stderr."""
    with tempfile.TemporaryDirectory(prefix="inferd-clients-") as folder:
        settings = {"node.processors": "8", "xpack.ml.model_repository": repository.url,
                    "http.idle_timeout": "500ms"}  # the steps named idleConnections outwait it
        server = (Tls if tls else inferd.Inferd)(folder, settings=settings, upstream=upstream).start()
        try:
            env = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
            story = subprocess.run(
                [*command, server.url, inferd.PASSWORD, MODEL, *([server.authority] if tls else [])],
                env=env, capture_output=True, text=True, timeout=300)
        finally:
            server.stop(20)
    return [json.loads(line) for line in story.stdout.splitlines()], story.stderr


def tell(name, command, upstream, repository, tls):
    """Tells one story and what came of it; (passed, failed)."""
    lines, complaints = run_story(command, upstream, repository, tls)
    what = name + " tls" * tls
    told, failed = set(), 0
    for line in lines:
        told.add(line["step"])
        why = line.get("why", "")
        if line["step"] == "version" and not line["version"].startswith(f"{MAJORS[name]}."):
            why = f"the client is {line['version']}"
        print(f"FAILED: {what} {line['step']}: {why}" if why else f"ok: {what} {line['step']}")
        failed += bool(why)
    passed = len(lines) - failed
    for step in sorted(steps_of(name) - told):
        print(f"FAILED: {what} {step}: not told; {complaints[-1000:]}")
        failed += 1
    for violation in upstream.violations:
        print(f"FAILED: {what}: what was sent to a provider: {violation}")
        failed += 1
    upstream.clear()
    return passed, failed


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--binary", required=True)
    parser.add_argument("--cache", required=True)
    parser.add_argument("clients", nargs="*", metavar="go9|go8|java")
    options = parser.parse_args()
    os.environ["INFERD_BIN"] = os.path.abspath(options.binary)
    cache = os.path.abspath(options.cache)
    upstream, repository = Upstream(), Repository()
    for name, source in PACKAGES.items():
        repository.files.update(package(name, source))
    passed = failed = 0
    for name in options.clients or BUILDS:
        try:
            command = BUILDS[name](cache)
            for tls in (False, True):
                counts = tell(name, command, upstream, repository, tls)
                passed, failed = passed + counts[0], failed + counts[1]
        except (OSError, subprocess.SubprocessError, AssertionError) as e:
            print(f"FAILED: {name}: {e}")
            failed += 1
    print(f"{passed} passed, {failed} failed")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
