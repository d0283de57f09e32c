"""The official JavaScript clients, both majors: client_story.js on one server each."""
import json
import os
import re
import shutil
import subprocess

import pytest

from inferd import FACTOR, PASSWORD, Inferd

HERE = os.path.dirname(os.path.abspath(__file__))
STEPS = re.findall(r"(?m)^steps\.(\w+) = ", open(os.path.join(HERE, "client_story.js")).read())

pytestmark = [
    pytest.mark.skipif(not shutil.which("node"), reason="node is not installed"),
    pytest.mark.skipif(not os.path.isdir(os.path.join(HERE, "node_modules", "es9")),
                       reason="run `npm ci` in tests/ first"),
    pytest.mark.timeout(300),
]


@pytest.fixture(scope="module")
def results(the_upstream, tmp_path_factory):
    the_upstream.clear()
    out = {}
    for name in ("es9", "es8"):
        server = Inferd(tmp_path_factory.mktemp(name), upstream=the_upstream).start()
        env = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
        run = subprocess.run(["node", os.path.join(HERE, "client_story.js"), server.url, PASSWORD,
                              name], cwd=HERE, env=env, capture_output=True, text=True,
                             timeout=60 * FACTOR)
        out[name] = {l["step"]: l for l in map(json.loads, run.stdout.splitlines())}
        out[name]["stderr"] = run.stderr
        server.stop(20)
    assert the_upstream.violations == []
    return out


@pytest.mark.parametrize("name", ["es9", "es8"])
@pytest.mark.parametrize("step", STEPS)
def test_client(results, name, step):
    result = results[name].get(step)
    assert result, f"the story ended before [{step}]: {results[name]['stderr'][-2000:]}"
    assert result["ok"], result["why"]
