"""The official Python clients, both majors, on one server."""
import hashlib
import json
import os
import subprocess
import sys

import pytest

from inferd import FACTOR, MARK, PASSWORD, ROOT
from test_20_local import MODEL, MODELS

HERE = os.path.dirname(os.path.abspath(__file__))
STEPS = [line.split("def ")[1].split("(")[0]
         for before, line in zip(*(lambda ls: (ls, ls[1:]))(
             open(os.path.join(HERE, "client_story.py")).read().splitlines()))
         if before == "@step"]


@pytest.fixture(scope="module")
def es8():
    """The folder of the 8.x client; installed at the first run."""
    requirements = os.path.join(HERE, "requirements-es8.txt")
    folder = os.path.join(ROOT, ".venv-es8")
    with open(requirements, "rb") as f:
        wanted = hashlib.sha256(f.read()).hexdigest()
    mark = os.path.join(folder, ".made-from")
    if not os.path.exists(mark) or open(mark).read() != wanted:
        subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--upgrade",
                        "--disable-pip-version-check", "--target", folder, "-r", requirements],
                       check=True, timeout=300)
        with open(mark, "w") as f:
            f.write(wanted)
    return folder


@pytest.fixture(scope="module")
def results(shared, the_upstream, es8, tmp_path_factory):
    """What each step of client_story.py said, by major."""
    from inferd import Inferd
    the_upstream.clear()
    have_model = os.path.isfile(os.path.join(MODELS, MODEL, "model.safetensors"))
    out = {}
    for major, path in ((9, ""), (8, es8)):
        server = Inferd(tmp_path_factory.mktemp(f"client{major}"), upstream=the_upstream,
                        settings={"path.models": MODELS} if have_model else None).start()
        env = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
        run = subprocess.run(
            [sys.executable, os.path.join(HERE, "client_story.py"), server.url, PASSWORD]
            + ([MODEL] if have_model else []),
            env=dict(env, PYTHONPATH=path), capture_output=True, text=True, timeout=50 * FACTOR)
        lines = [json.loads(l) for l in run.stdout.splitlines()]
        out[major] = {l["step"]: l for l in lines}
        out[major]["stderr"] = run.stderr
        assert MARK not in "".join(l.get("why", "") for l in lines if "Error" not in
                                   l.get("why", "")), lines
        server.stop(20)
    assert the_upstream.violations == []
    return out


@pytest.mark.timeout(300)
@pytest.mark.parametrize("major", [9, 8])
@pytest.mark.parametrize("step", STEPS)
def test_client(results, major, step):
    result = results[major].get(step)
    assert result, f"the story ended before [{step}]: {results[major]['stderr'][-2000:]}"
    assert result["ok"], result["why"]


@pytest.mark.parametrize("major", [9, 8])
def test_the_client_is_the_one_meant(results, major):
    assert results[major]["version"]["version"].startswith(f"{major}.")
