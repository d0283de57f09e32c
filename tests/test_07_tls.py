"""TLS on the HTTP port: versions, certificates read again, client certificates, what is refused."""
import os
import signal
import socket
import ssl
import subprocess
import time

import pytest
from elasticsearch import Elasticsearch

import inferd
from inferd import PASSWORD, basic

SSL = "xpack.security.http.ssl."


def openssl(folder, *args):
    subprocess.run(["openssl", *args], cwd=folder, check=True, capture_output=True)


def make_authority(folder, name):
    openssl(folder, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
            "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.pem",
            "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign")


def make_certificate(folder, name, authority, passphrase=None):
    cipher = ["-passout", f"pass:{passphrase}"] if passphrase else ["-nodes"]
    openssl(folder, "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", *cipher, "-subj", f"/CN={name}",
            "-keyout", f"{name}.key", "-out", f"{name}.csr")
    (folder / "ext").write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
    openssl(folder, "x509", "-req", "-in", f"{name}.csr", "-CA", f"{authority}.pem", "-CAkey", f"{authority}.key",
            "-CAcreateserial", "-days", "1", "-extfile", "ext", "-out", f"{name}.pem")


@pytest.fixture(scope="module")
def pki(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pki")
    for name in ("ca", "other"):
        make_authority(folder, name)
    for name, authority in (("server", "ca"), ("second", "ca"), ("client", "ca"), ("stranger", "other")):
        make_certificate(folder, name, authority)
    make_certificate(folder, "sealed", "ca", passphrase="open sesame")
    return folder


class Tls:
    """A server that speaks TLS; the plain client of the other stories cannot talk to it."""

    def __init__(self, folder, pki, settings=None, name="server"):
        self.folder = folder
        values = {"http.port": "0", "path.data": str(folder / "data"), SSL + "enabled": "true",
                  SSL + "certificate": str(pki / f"{name}.pem"), SSL + "key": str(pki / f"{name}.key"),
                  "http.loops": "1", **(settings or {})}
        args = [a for k, v in values.items() for a in ("-E", f"{k}={v}")]
        self.log = open(folder / "log", "wb")
        self.process = subprocess.Popen([inferd.binary(), *args], stderr=self.log,
                                        env={**os.environ, "ELASTIC_PASSWORD": PASSWORD})
        port = folder / "data" / "http.port"
        inferd.wait_until(lambda: port.exists() and port.read_text().strip() or self.process.poll() is not None, 20,
                          "the port file")
        self.port = int(port.read_text()) if port.exists() else None

    def context(self, pki, client=None, version=None):
        c = ssl.create_default_context(cafile=str(pki / "ca.pem"))
        if client:
            c.load_cert_chain(str(pki / f"{client}.pem"), str(pki / f"{client}.key"))
        if version:
            c.minimum_version = c.maximum_version = version
        return c

    def connect(self, context):
        s = socket.create_connection(("127.0.0.1", self.port), timeout=10 * inferd.FACTOR)
        return context.wrap_socket(s, server_hostname="localhost")

    def ask(self, s, path="/", body=b""):
        s.sendall(f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: {basic('elastic', PASSWORD)}\r\n"
                  f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        return s.recv(65536)

    def get(self, s, path="/"):
        s.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: {basic('elastic', PASSWORD)}\r\n\r\n".encode())
        return s.recv(65536)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(30 * inferd.FACTOR) == 0
        self.log.close()


@pytest.fixture
def tls(tmp_path, pki):
    servers = []

    def make(settings=None, name="server"):
        folder = tmp_path / str(len(servers))
        folder.mkdir()
        servers.append(Tls(folder, pki, settings, name))
        return servers[-1]
    yield make
    for s in servers:
        if s.process.poll() is None:
            s.stop()


def test_both_versions_and_keep_alive(tls, pki):
    server = tls()
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        with server.connect(server.context(pki, version=version)) as s:
            for _ in range(3):
                assert server.get(s).startswith(b"HTTP/1.1 200 ")


def test_the_official_client(tls, pki):
    server = tls()
    es = Elasticsearch(f"https://127.0.0.1:{server.port}", basic_auth=("elastic", PASSWORD), ca_certs=str(pki / "ca.pem"))
    assert es.info()["tagline"] == "You Know, for Search"
    es.close()


def test_large_bodies_and_pipelines(tls, pki):
    """More than a record holds, in both directions, and bytes that OpenSSL has read ahead."""
    server = tls()
    with server.connect(server.context(pki)) as s:
        big = b'{"input": "' + b"x" * 3_000_000 + b'"}'
        assert server.ask(s, "/_inference/nothing", big).startswith(b"HTTP/1.1 404 ")
        request = f"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: {basic('elastic', PASSWORD)}\r\n\r\n".encode()
        s.sendall(request * 40)
        got = b""
        while got.count(b"HTTP/1.1 200 OK") < 40 or not got.endswith(b"}"):
            piece = s.recv(65536)
            assert piece
            got += piece


def test_plain_http_and_noise_are_dropped(tls, pki):
    server = tls()
    for noise in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", os.urandom(300), b"\x16\x03\x01\xff\xff" + b"\0" * 200):
        with socket.create_connection(("127.0.0.1", server.port), timeout=10 * inferd.FACTOR) as s:
            s.sendall(noise)
            try:
                s.shutdown(socket.SHUT_WR)
                while s.recv(65536):
                    pass
            except OSError as e:  # it may be gone before we shut our side
                assert not isinstance(e, TimeoutError)
    with server.connect(server.context(pki)) as s:
        assert server.get(s).startswith(b"HTTP/1.1 200 ")


def test_a_handshake_that_stops_is_ended(tls, pki):
    server = tls({"http.head_timeout": "300ms"})
    with socket.create_connection(("127.0.0.1", server.port), timeout=10 * inferd.FACTOR) as s:
        s.sendall(b"\x16\x03\x01\x02\x00")
        start = time.monotonic()
        assert s.recv(100) == b""
        assert time.monotonic() - start < 5 * inferd.FACTOR


def test_client_certificates(tls, pki):
    authorities = {SSL + "certificate_authorities": str(pki / "ca.pem")}
    required = tls({**authorities, SSL + "client_authentication": "required"})
    with required.connect(required.context(pki, client="client")) as s:
        assert required.get(s).startswith(b"HTTP/1.1 200 ")
    for client in (None, "stranger"):
        with pytest.raises((ssl.SSLError, ConnectionResetError)):
            with required.connect(required.context(pki, client=client)) as s:
                assert required.get(s) == b""
                raise ConnectionResetError
    optional = tls({**authorities, SSL + "client_authentication": "optional"})
    with optional.connect(optional.context(pki)) as s:
        assert optional.get(s).startswith(b"HTTP/1.1 200 ")


def test_certificates_are_read_again(tls, pki, tmp_path):
    for name in ("pem", "key"):
        (tmp_path / f"now.{name}").write_bytes((pki / f"server.{name}").read_bytes())
    server = tls({SSL + "certificate": str(tmp_path / "now.pem"), SSL + "key": str(tmp_path / "now.key")})
    subject = lambda s: dict(x[0] for x in s.getpeercert()["subject"])["commonName"]
    with server.connect(server.context(pki)) as before:
        assert subject(before) == "server"
        for name in ("pem", "key"):
            (tmp_path / f"now.{name}").write_bytes((pki / f"second.{name}").read_bytes())
        server.process.send_signal(signal.SIGHUP)
        inferd.wait_until(lambda: b"certificate reloaded" in (server.folder / "log").read_bytes(), 10, "reload")
        with server.connect(server.context(pki)) as after:
            assert subject(after) == "second"
        assert server.get(before).startswith(b"HTTP/1.1 200 ")
    (tmp_path / "now.pem").write_text("rubbish")
    server.process.send_signal(signal.SIGHUP)
    inferd.wait_until(lambda: b"certificate not reloaded" in (server.folder / "log").read_bytes(), 10, "refusal")
    with server.connect(server.context(pki)) as s:
        assert subject(s) == "second"


def test_an_encrypted_key(tls, pki):
    server = tls({SSL + "key_passphrase": "open sesame"}, name="sealed")
    with server.connect(server.context(pki)) as s:
        assert server.get(s).startswith(b"HTTP/1.1 200 ")
    assert b"sesame" not in (server.folder / "log").read_bytes()


@pytest.mark.parametrize("settings, words", [
    ({SSL + "certificate": ""}, b"needs [xpack.security.http.ssl.certificate]"),
    ({SSL + "certificate": "/nothing/there.pem"}, b"cannot use [/nothing/there.pem]"),
    ({SSL + "supported_protocols": "TLSv1.1"}, b"[TLSv1.1] is not one of"),
    ({SSL + "client_authentication": "required"}, b"certificate_authorities] is needed"),
    ({SSL + "cipher_suites": "NONE-SUCH"}, b"no cipher of [NONE-SUCH] is known")])
def test_what_cannot_be_used_is_said_at_the_start(tls, settings, words):
    server = tls(settings)
    assert server.process.wait(10 * inferd.FACTOR) not in (0, -6, -11)
    assert words in (server.folder / "log").read_bytes()


def test_the_wrong_key_is_refused(tls, pki):
    server = tls({SSL + "key": str(pki / "client.key")})
    assert server.process.wait(10 * inferd.FACTOR) not in (0, -6, -11)
    assert b"cannot use" in (server.folder / "log").read_bytes() or b"is not the key" in (server.folder / "log").read_bytes()
