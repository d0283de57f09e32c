"""What README.md tells a newcomer to type, typed: its first five minutes, block by block."""
import base64
import json
import os
import re
import subprocess
import sys

import pytest

from inferd import FACTOR, ROOT, basic
from test_20_local import MODEL, MODELS

TINY = os.path.join(ROOT, "tests", "fixtures", "models", "eland_tiny", "bert_text_embedding")
PASSWORD = "secret"  # README's
# A curl that fails where the server refuses. Eland's own import is told by `./check eland`; its
# model, here a tiny one, was put there before.
SHELL = """
set -eu
curl() { command curl -sS --fail-with-body "$@"; echo; }
eland_import_hub_model() { [ "$1" = --url ]; }
"""

pytestmark = pytest.mark.skipif(
    not os.path.isfile(os.path.join(MODELS, MODEL, "model.safetensors")),
    reason="INFERD_TEST_MODELS holds no all-minilm-l6-v2")


def blocks():
    """[(language, text)] of the chapter, without the start of the server."""
    with open(os.path.join(ROOT, "README.md")) as f:
        chapter = f.read().split("\n## The first five minutes\n")[1].split("\n## ")[0]
    found = re.findall(r"(?ms)^```(\w*)\n(.*?)^```$", chapter)
    assert found[0] == ("", f"ELASTIC_PASSWORD={PASSWORD} build/inferd -E path.models=.cache/models\n")
    assert {language for language, _ in found} == {"", "python"}
    return found[1:]


def put_tiny_model(server, name):
    """What Eland does, in one part."""
    with open(os.path.join(TINY, "config.json")) as c, open(os.path.join(TINY, "vocabulary.json")) as v, \
            open(os.path.join(TINY, "model.pt"), "rb") as m:
        config, words, data = json.load(c), json.load(v), m.read()
    auth = basic("elastic", PASSWORD)
    model = f"/_ml/trained_models/{name}"
    part = {"definition": base64.b64encode(data).decode(), "total_definition_length": len(data),
            "total_parts": 1}
    for method, path, body in (("PUT", model, config), ("PUT", model + "/definition/0", part),
                               ("PUT", model + "/vocabulary", words),
                               ("POST", model + "/deployment/_start?wait_for=started", None)):
        answer = server.request(method, path, body, auth=auth)
        assert answer.status == 200, answer


@pytest.mark.timeout(120)
def test_the_first_five_minutes(spawn):
    server = spawn({"path.models": MODELS}, password=PASSWORD)
    put_tiny_model(server, "minilm")
    env = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
    exported, said = "", []
    for language, text in blocks():
        text = text.replace("127.0.0.1:9200", f"127.0.0.1:{server.port}")
        command = [sys.executable, "-"] if language else ["bash"]
        ran = subprocess.run(command, input=text if language else SHELL + exported + text, env=env,
                             capture_output=True, text=True, timeout=50 * FACTOR)
        assert ran.returncode == 0, f"{text}\n{ran.stdout}\n{ran.stderr}"
        if not language:
            exported += "".join(re.findall(r"(?m)^export .*\n", text))
        said.append(ran.stdout)
    assert "text_embedding" in said[0] and "predicted_value" in said[1]
    assert "Echo: Say hello" in said[2] and "data: [DONE]" in said[2]
    assert "my-minilm" in said[3] and re.match(r"\[-?0\.\d+, ", said[4])
