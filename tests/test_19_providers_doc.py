"""docs/providers.md says what the binary says of its services."""
import os
import sys

from inferd import ROOT

sys.path.insert(0, os.path.join(ROOT, "tools"))

from providers_doc import TARGET, render  # noqa: E402


def test_the_page_is_what_the_server_says(server):
    with open(TARGET) as f:
        written = f.read()
    said = render(server.get("/_inference/_services?details=true", check=False).json)
    assert written.splitlines() == said.splitlines(), "run tools/providers_doc.py"


def test_every_service_and_setting_is_on_the_page(server):
    with open(TARGET) as f:
        written = f.read()
    for service in server.get("/_inference/_services?details=true", check=False).json:
        assert f"\n## {service['service']}\n" in written
        for name in service["configurations"]:
            assert f"| `{name}`" in written
        for settings in service["settings"].values():
            for setting in settings:
                assert f"| `{setting['name']}`" in written


def test_details_are_asked_for(server):
    """Without the parameter the answer is Elasticsearch's."""
    plain = server.get("/_inference/_services").json
    more = server.get("/_inference/_services?details=true", check=False).json
    assert [{k: v for k, v in s.items() if k not in ("settings", "requests_per_minute")}
            for s in more] == plain
    openai = next(s for s in more if s["service"] == "openai")
    assert openai["requests_per_minute"] == {
        "text_embedding": 3000, "completion": 500, "chat_completion": 500}
    assert [s["name"] for s in openai["settings"]["task_settings"]] == ["user", "headers"]
