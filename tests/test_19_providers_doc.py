"""docs/providers.md says what the binary says of its services."""
import os
import sys

from inferd import ROOT

sys.path.insert(0, os.path.join(ROOT, "tools"))

from providers_doc import TARGET, render  # noqa: E402


def test_the_page_is_what_the_server_says(server):
    with open(TARGET) as f:
        written = f.read()
    said = render(server.get("/_inference/_services").json)
    assert written.splitlines() == said.splitlines(), "run tools/providers_doc.py"


def test_every_service_and_setting_is_on_the_page(server):
    with open(TARGET) as f:
        written = f.read()
    for service in server.get("/_inference/_services").json:
        assert f"\n## {service['service']}\n" in written
        for name in service["configurations"]:
            assert f"| `{name}`" in written
