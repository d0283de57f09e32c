"""Fixtures of the black-box stories. See README.md."""
import os
import shutil
import sys

import pytest

sys.path.insert(0, os.path.dirname(__file__))

import http2  # noqa: E402
import inferd  # noqa: E402
from upstream import Upstream  # noqa: E402


def pytest_addoption(parser):
    parser.addoption("--slow-binary", action="store_true",
                     help="the binary has sanitizers: wait longer, repeat less")
    parser.addoption("--http2", action="store_true",
                     help="the scripted provider speaks HTTP/2 behind TLS")


def pytest_configure(config):
    config.addinivalue_line("markers", "http1: about the bytes or the connections of HTTP/1.1")
    if config.getoption("--slow-binary"):
        inferd.FACTOR = 6
        config._inicache["timeout"] = "360"


def pytest_collection_modifyitems(config, items):
    if config.getoption("--http2"):
        for item in items:
            if item.get_closest_marker("http1"):
                item.add_marker(pytest.mark.skip(reason="about HTTP/1.1"))


@pytest.fixture(scope="session")
def slow_binary(request):
    return request.config.getoption("--slow-binary")


@pytest.fixture(scope="session")
def the_upstream(request, tmp_path_factory):
    upstream = Upstream()
    if request.config.getoption("--http2"):
        pki = http2.make_pki(tmp_path_factory.mktemp("pki"))
        upstream.url = http2.Gate(upstream.port, pki).url
        inferd.SETTINGS["inference.upstream.certificate_authorities"] = str(pki / "ca.pem")
    return upstream


@pytest.fixture
def upstream(the_upstream):
    """The scripted provider with nothing scripted. What it got must have been well-formed."""
    the_upstream.clear()
    yield the_upstream
    assert the_upstream.violations == []
    assert the_upstream.queue == [], "scripted behaviours were left over"


class Shared:
    """One server for all stories that need no settings of their own; a new one after a crash."""

    def __init__(self, folder, upstream):
        self.folder, self.upstream, self.server, self.n = folder, upstream, None, 0

    def get(self):
        if self.server is None or not self.server.alive():
            self.n += 1
            # Stories of deployments must not depend on how many processors the machine has.
            settings = {"node.processors": "16", "http.loops": "2"}
            self.server = inferd.Inferd(self.folder / str(self.n), settings=settings,
                                        upstream=self.upstream).start()
        return self.server


@pytest.fixture(scope="session")
def shared(tmp_path_factory, the_upstream):
    shared = Shared(tmp_path_factory.mktemp("shared"), the_upstream)
    yield shared
    if shared.server:
        shared.server.stop()


@pytest.fixture
def server(shared, upstream):
    """A running server without endpoints, shared by the stories; it must survive each."""
    server = shared.get()
    server.wipe()
    yield server
    if not server.alive():
        pytest.fail(f"the server ended with {server.process.returncode}:\n{server.log()[-4000:]}")


@pytest.fixture
def spawn(tmp_path, upstream):
    """spawn(settings={...}, name="a") starts a server of the story's own; stopped at the end."""
    servers = []

    def make(settings=None, name="a", start=True, **kw):
        s = inferd.Inferd(tmp_path / name, settings=settings, upstream=upstream, **kw)
        servers.append(s)
        return s.start() if start else s
    yield make
    for s in servers:
        if s.alive():
            s.stop()
        elif s.process is not None and s.process.returncode not in (0, 1, -9, 78):
            pytest.fail(f"the server ended with {s.process.returncode}:\n{s.log()[-4000:]}")
    shutil.rmtree(tmp_path, ignore_errors=True)


@pytest.fixture
def story(server, upstream):
    from services import Story
    return Story(server, upstream)


@pytest.fixture
def alone(spawn, upstream):
    """A story on a server of its own, which has no token yet and may be restarted."""
    from services import Story
    return Story(spawn(), upstream)
