"""A service that speaks HTTP/2, by the h2 package: TLS before a scripted upstream. Every stream
becomes a request of its own to that upstream, so that all its behaviours can be had over HTTP/2:
what it cuts or resets becomes a reset stream.

    gate = Gate(port, pki)             # gate.url
    gate.hooks.append(hook)            # hook(peer, stream, headers) -> True: it has dealt with it
    gate.max_streams = 3               # for connections to come
"""
import http.client
import select
import socket
import ssl
import subprocess
import threading
import time

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings


def make_pki(folder):
    """ca.pem; server.pem and server.key, signed by it, for 127.0.0.1 and localhost."""
    def openssl(*args):
        subprocess.run(["openssl", *args], cwd=folder, check=True, capture_output=True)
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    openssl("req", "-x509", *curve, "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=ca")
    openssl("req", *curve, "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=server")
    (folder / "san").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1")
    openssl("x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
            "-out", "server.pem", "-days", "2", "-extfile", "san")
    return folder


class Peer:
    """One connection."""

    def __init__(self, gate, sock, number):
        self.gate, self.sock, self.number = gate, sock, number
        self.lock = threading.Condition()
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(
            client_side=False, header_encoding="utf-8"))
        self.bodies, self.heads, self.open, self.most = {}, {}, set(), 0
        self.gone = self.dead = False

    def flush(self):
        data = self.h2.data_to_send()
        if data:
            self.sock.setblocking(True)
            self.sock.sendall(data)
            self.sock.setblocking(False)

    def run(self):
        with self.lock:
            self.h2.local_settings = h2.settings.Settings(client=False, initial_values={
                h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: self.gate.max_streams,
                h2.settings.SettingCodes.MAX_HEADER_LIST_SIZE: 65536})
            self.h2.initiate_connection()
            self.h2.increment_flow_control_window(16 << 20)
            self.flush()
        self.sock.setblocking(False)
        while not self.gone:
            data = self.read()
            if not data:
                break
            with self.lock:
                for event in self.h2.receive_data(data):
                    self.on(event)
                self.flush()
                self.lock.notify_all()
        with self.lock:
            self.gone = True
            self.lock.notify_all()

    def read(self):
        while not self.gone:
            if self.dead:
                time.sleep(0.05)
                continue
            with self.lock:
                try:
                    return self.sock.recv(65536)
                except (ssl.SSLWantReadError, BlockingIOError):
                    pass
                except (OSError, ValueError):
                    return b""
            select.select([self.sock], [], [], 0.05)
        return b""

    def on(self, event):
        stream = getattr(event, "stream_id", None)
        if isinstance(event, h2.events.RequestReceived):
            names = [name for name, _ in event.headers]
            assert names == [n.lower() for n in names]
            self.heads[stream], self.bodies[stream] = dict(event.headers), bytearray()
            self.open.add(stream)
            self.most = max(self.most, len(self.open))
            self.gate.saw(self, event.headers)
            if self.gate.early and self.gate.early(self, stream, self.heads[stream]):
                self.open.discard(stream)
        elif isinstance(event, h2.events.DataReceived):
            self.bodies[stream] += event.data
            self.h2.acknowledge_received_data(event.flow_controlled_length, stream)
        elif isinstance(event, h2.events.StreamEnded) and stream in self.open:
            threading.Thread(target=self.serve, args=(stream,), daemon=True).start()
        elif isinstance(event, h2.events.StreamReset):
            self.open.discard(stream)
            self.gate.resets.append(event.error_code)

    # --- for hooks, on threads of their own ---

    def send(self, act):
        """act(h2 connection), and what it wants to say."""
        with self.lock:
            act(self.h2)
            self.flush()

    def head(self, stream, status, headers=(), end=False):
        self.send(lambda c: c.send_headers(stream, [(":status", str(status)), *headers], end_stream=end))

    def data(self, stream, data, end=False):
        """As the windows allow; False: the stream is gone."""
        view = memoryview(data)
        while len(view) or end:
            with self.lock:
                if self.gone or stream not in self.open:
                    return False
                room = min(self.h2.local_flow_control_window(stream), self.h2.max_outbound_frame_size)
                if room <= 0 and len(view):
                    self.gate.stalls += 1
                    self.lock.wait(0.2)
                    continue
                piece, view = view[:room], view[room:]
                last = end and not len(view)
                self.h2.send_data(stream, bytes(piece), end_stream=last)
                if last:
                    self.open.discard(stream)
                self.flush()
                if last:
                    return True
        return True

    def reset(self, stream, code=h2.errors.ErrorCodes.INTERNAL_ERROR):
        with self.lock:
            if stream in self.open:
                self.open.discard(stream)
                self.h2.reset_stream(stream, code)
                self.flush()

    def goaway(self, last, code=0):
        """By hand: the package would say nothing more after it."""
        self.raw(b"\0\0\x08\x07\0\0\0\0\0" + last.to_bytes(4, "big") + code.to_bytes(4, "big"))

    def raw(self, data):
        with self.lock:
            self.sock.setblocking(True)
            self.sock.sendall(data)
            self.sock.setblocking(False)

    def die(self):
        """Without a word: nothing is read or said any more."""
        self.dead = True
        return True

    def close(self):
        with self.lock:
            self.gone = True
            self.sock.close()

    def serve(self, stream):
        try:
            for hook in list(self.gate.hooks):
                if hook(self, stream, self.heads[stream]):
                    return
            self.forward(stream)
        except (OSError, ValueError, h2.exceptions.ProtocolError):
            pass
        finally:
            self.open.discard(stream)

    def forward(self, stream):
        head = dict(self.heads[stream])
        method, path = head.pop(":method"), head.pop(":path")
        head["host"] = head.pop(":authority")
        head.pop(":scheme")
        c = http.client.HTTPConnection("127.0.0.1", self.gate.port_behind, timeout=120)
        try:
            c.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in head.items():
                c.putheader(name, value)
            c.endheaders(bytes(self.bodies[stream]))
            done = threading.Event()
            threading.Thread(target=self.end_with, args=(stream, c, done), daemon=True).start()
            answer = c.getresponse()
            self.head(stream, answer.status, [(n.lower(), v) for n, v in answer.getheaders() if n.lower() not in
                                              ("connection", "transfer-encoding")])
            while piece := answer.read1(65536):
                if not self.data(stream, piece):
                    return
            if answer.length:
                raise http.client.IncompleteRead(b"")
            self.data(stream, b"", end=True)
        except (OSError, http.client.HTTPException, ValueError, AttributeError):
            self.reset(stream)
        finally:
            done.set()
            c.close()

    def end_with(self, stream, c, done):
        """A stream that was reset is a client that has gone."""
        while not done.wait(0.02):
            if self.gone or stream not in self.open:
                try:
                    c.sock.shutdown(socket.SHUT_RDWR)
                except (OSError, AttributeError):
                    pass
                return


class Gate:
    def __init__(self, port_behind, pki, alpn=("h2", "http/1.1")):
        self.port_behind = port_behind
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(pki / "server.pem", pki / "server.key")
        self.alpn = alpn
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port = self.listener.getsockname()[1]
        self.url = f"https://127.0.0.1:{self.port}"
        self.lock = threading.Lock()
        self.hooks, self.peers, self.max_streams, self.early = [], [], 100, None
        self.spoken, self.heads, self.resets, self.stalls = [], [], [], 0
        self.sockets = []  # what closes each connection
        threading.Thread(target=self.accept, daemon=True).start()

    def saw(self, peer, headers):
        with self.lock:
            self.heads.append((peer.number, headers))

    def accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.run, args=(sock,), daemon=True).start()

    def run(self, sock):
        tls = None
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.context.set_alpn_protocols(list(self.alpn))
            tls = self.context.wrap_socket(sock, server_side=True)
            with self.lock:
                self.sockets.append(lambda: sock_shutdown(tls))
                self.spoken.append(tls.selected_alpn_protocol())
                peer = Peer(self, tls, len(self.spoken))
            if self.spoken[-1] != "h2":
                self.relay(tls)
                return
            with self.lock:
                self.peers.append(peer)
            peer.run()
        except (OSError, h2.exceptions.ProtocolError):
            pass
        finally:
            sock.close()
            if tls:
                tls.close()

    def relay(self, tls):
        """HTTP/1.1, as it comes."""
        other = socket.create_connection(("127.0.0.1", self.port_behind))
        tls.setblocking(False)
        while True:
            for a, b in ((tls, other), (other, tls)):
                if a is tls and not tls.pending() and not select.select([tls, other], [], [], 5)[0]:
                    return
                try:
                    a.setblocking(False)
                    data = a.recv(65536)
                except (ssl.SSLWantReadError, BlockingIOError):
                    continue
                if not data:
                    return
                b.setblocking(True)
                b.sendall(data)

    def close(self):
        self.listener.close()
        for peer in self.peers:
            peer.gone = True


def sock_shutdown(tls):
    try:
        socket.socket.shutdown(tls, socket.SHUT_RDWR)
    except OSError:
        pass


def wait_for(condition, seconds=10):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came to be"
        time.sleep(0.005)
