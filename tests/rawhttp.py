"""HTTP by hand, for what no client library sends."""
import gzip


class RawAnswer:
    def __init__(self, status, headers, body, head):
        self.status, self.headers, self.body, self.head = status, headers, body, head

    def header(self, name):
        values = [v for k, v in self.headers if k == name.lower()]
        return ", ".join(values) if values else None

    def text(self):
        if self.header("content-encoding") == "gzip":
            return gzip.decompress(self.body).decode()
        return self.body.decode()


class Raw:
    """One connection. `send` bytes, `answer()` the next answer, `closed()` whether it ended."""

    def __init__(self, server, auth=None, timeout=10):
        self.sock = server.socket(timeout)
        self.auth = auth
        self.left = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()

    def send(self, data):
        self.sock.sendall(data)

    def request(self, method, target, headers=(), body=b""):
        lines = [f"{method} {target} HTTP/1.1", "Host: x"]
        if self.auth:
            lines.append("Authorization: " + self.auth)
        lines += list(headers)
        self.send(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body)

    def more(self):
        data = self.sock.recv(65536)
        self.left += data
        return data

    def until(self, mark):
        while mark not in self.left:
            if not self.more():
                raise EOFError(f"the connection ended: {self.left!r}")
        part, self.left = self.left.split(mark, 1)
        return part

    def exactly(self, n):
        while len(self.left) < n:
            if not self.more():
                raise EOFError(f"the connection ended: {self.left!r}")
        part, self.left = self.left[:n], self.left[n:]
        return part

    def answer(self, head_only=False):
        head = self.until(b"\r\n\r\n").decode("latin-1")
        first, *lines = head.split("\r\n")
        version, status, _ = first.split(" ", 2)
        assert version == "HTTP/1.1"
        headers = [(n.lower(), v.strip()) for n, v in (line.split(":", 1) for line in lines)]
        h = dict(headers)
        assert not ("content-length" in h and "transfer-encoding" in h)
        body = b""
        if head_only or status in ("100", "204", "304"):
            pass
        elif h.get("transfer-encoding") == "chunked":
            while n := int(self.until(b"\r\n"), 16):
                body += self.exactly(n)
                assert self.exactly(2) == b"\r\n"
            assert self.exactly(2) == b"\r\n"
        else:
            body = self.exactly(int(h["content-length"]))
        return RawAnswer(int(status), headers, body, head)

    def closed(self):
        """Waits for the end of the connection; False when bytes come instead."""
        if self.left:
            return False
        try:
            return self.more() == b""
        except ConnectionResetError:
            return True
