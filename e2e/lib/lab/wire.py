"""A low-level PostgreSQL client for tests that send what no driver would: split,
pipelined, malformed or out-of-order messages. It never rewrites anything and keeps
every message that came back.
"""

import base64
import hashlib
import hmac
import os
import socket
import ssl
import struct


class Closed(Exception):
    """The other side closed the connection."""


def cstr(text):
    """A zero-terminated string."""
    return (text if isinstance(text, bytes) else text.encode()) + b"\0"


def message(kind, body=b""):
    """One frontend message."""
    return kind + struct.pack("!I", len(body) + 4) + body


def query(sql):
    """A simple Query message."""
    return message(b"Q", cstr(sql))


def parse(sql, name="", oids=()):
    """A Parse message."""
    return message(b"P", cstr(name) + cstr(sql) + struct.pack("!H", len(oids))
                   + b"".join(struct.pack("!I", o) for o in oids))


def bind(params=(), name="", portal="", binary=False):
    """A Bind message with text parameters."""
    body = cstr(portal) + cstr(name) + struct.pack("!HH", 0, len(params))
    for p in params:
        body += struct.pack("!i", -1) if p is None else struct.pack("!I", len(p)) + p
    return message(b"B", body + struct.pack("!HH", 1, int(binary)))


def describe(kind, name=""):
    """Describe 'S'tatement or 'P'ortal."""
    return message(b"D", kind.encode() + cstr(name))


def execute(rows=0, portal=""):
    """An Execute message."""
    return message(b"E", cstr(portal) + struct.pack("!I", rows))


SYNC, FLUSH, TERMINATE = message(b"S"), message(b"H"), message(b"X")


def extended(sql, params=(), binary=False):
    """Parse, Bind, Describe and Execute of one statement, without Sync."""
    return parse(sql) + bind(params, binary=binary) + describe("P") + execute()


class Conn:
    """One connection; logs in unless ``login=False``."""

    def __init__(self, port, user="app", database="shop", password="app-secret", *, tls=None,
                 options=None, proto=196608, login=True, timeout=30, host="127.0.0.1", rcvbuf=None):
        self.sock = socket.socket()
        if rcvbuf:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        self.sock.settimeout(timeout)
        self.sock.connect((host, port))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        self.params, self.key, self.status, self.seen = {}, None, None, []
        self.user, self.password = user, password
        if tls:
            self._start_tls(tls)
        if login:
            self.begin(database, options, proto)
            self._login()

    def begin(self, database="shop", options=None, proto=196608):
        """The start-up packet."""
        fields = {"user": self.user, "database": database, **(options or {})}
        body = struct.pack("!I", proto) + b"".join(cstr(k) + cstr(v) for k, v in fields.items()) + b"\0"
        self.send(struct.pack("!I", len(body) + 4) + body)

    def _start_tls(self, ca):
        self.send(struct.pack("!II", 8, 80877103))
        answer = self.sock.recv(1)
        if answer != b"S":
            raise Closed(f"TLS refused: {answer!r}")
        context = ssl.create_default_context(cafile=ca)
        self.sock = context.wrap_socket(self.sock, server_hostname="localhost")

    def send(self, data):
        """Sends raw bytes."""
        self.sock.sendall(data)

    def read(self):
        """The next message as (type letter, body)."""
        while len(self.buffer) < 5 or len(self.buffer) < 1 + struct.unpack("!I", self.buffer[1:5])[0]:
            data = self.sock.recv(1 << 18)
            if not data:
                raise Closed("closed by peer")
            self.buffer += data
        end = 1 + struct.unpack("!I", self.buffer[1:5])[0]
        kind, body, self.buffer = chr(self.buffer[0]), self.buffer[5:end], self.buffer[end:]
        self.seen.append((kind, body))
        if kind == "S":
            name, value = body.split(b"\0")[:2]
            self.params[name.decode()] = value.decode(errors="replace")
        elif kind == "K":
            self.key = body
        elif kind == "Z":
            self.status = body.decode()
        return kind, body

    def _login(self):
        while True:
            kind, body = self.read()
            if kind == "E":
                raise Refused(fields(body))
            if kind == "Z":
                return
            if kind == "R":
                self._authenticate(struct.unpack("!I", body[:4])[0], body[4:])

    def _authenticate(self, code, body):
        if code == 3:
            self.send(message(b"p", cstr(self.password)))
        elif code == 5:
            inner = hashlib.md5((self.password + self.user).encode()).hexdigest()
            self.send(message(b"p", cstr("md5" + hashlib.md5(inner.encode() + body[:4]).hexdigest())))
        elif code == 10:
            self.nonce = base64.b64encode(os.urandom(18)).decode()
            first = f"n,,n=,r={self.nonce}".encode()
            self.send(message(b"p", cstr("SCRAM-SHA-256") + struct.pack("!I", len(first)) + first))
        elif code == 11:
            server_first = body.decode()
            kv = dict(x.split("=", 1) for x in server_first.split(","))
            salted = hashlib.pbkdf2_hmac("sha256", self.password.encode(),
                                         base64.b64decode(kv["s"]), int(kv["i"]))
            client_key = hmac.new(salted, b"Client Key", "sha256").digest()
            final = f"c=biws,r={kv['r']}"
            auth = f"n=,r={self.nonce},{server_first},{final}".encode()
            signature = hmac.new(hashlib.sha256(client_key).digest(), auth, "sha256").digest()
            proof = bytes(a ^ b for a, b in zip(client_key, signature))
            self.send(message(b"p", f"{final},p={base64.b64encode(proof).decode()}".encode()))

    def until_ready(self):
        """Messages up to and including ReadyForQuery."""
        start = len(self.seen)
        while self.read()[0] != "Z":
            pass
        return self.seen[start:]

    def query(self, sql):
        """A simple query; returns an ``Answer``."""
        self.send(query(sql))
        return Answer(self.until_ready())

    def pipeline(self, *messages):
        """Sends messages and a Sync; returns an ``Answer``."""
        self.send(b"".join(messages) + SYNC)
        return Answer(self.until_ready())

    def drain_to_close(self):
        """Everything up to the close; raises when the peer keeps the connection open."""
        start = len(self.seen)
        try:
            while True:
                self.read()
        except (Closed, ConnectionError, ssl.SSLError):
            return self.seen[start:]

    def reset(self):
        """Breaks the connection: the peer gets a reset."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def close(self):
        """Terminate, then close."""
        try:
            self.send(TERMINATE)
        except OSError:
            pass
        self.sock.close()


class Refused(Exception):
    """The login was refused; ``fields`` is the ErrorResponse."""

    def __init__(self, error):
        super().__init__(f"{error.get('C')}: {error.get('M')}")
        self.fields = error


class Answer:
    """The messages of one round trip, by what tests ask of them."""

    def __init__(self, messages):
        self.messages = messages
        self.kinds = "".join(kind for kind, _ in messages)
        self.rows = [data_row(body) for kind, body in messages if kind == "D"]
        self.errors = [fields(body) for kind, body in messages if kind == "E"]
        self.notices = [fields(body) for kind, body in messages if kind == "N"]
        self.tags = [body.rstrip(b"\0").decode() for kind, body in messages if kind == "C"]
        self.status = next((body.decode() for kind, body in reversed(messages) if kind == "Z"), None)

    @property
    def code(self):
        """SQLSTATE of the first error, or None."""
        return self.errors[0].get("C") if self.errors else None

    @property
    def text(self):
        """Message of the first error, or ''."""
        return self.errors[0].get("M", "") if self.errors else ""


def fields(body):
    """An ErrorResponse or NoticeResponse as {letter: text}."""
    return {chr(p[0]): p[1:].decode(errors="replace") for p in body.split(b"\0") if p}


def data_row(body):
    """The cells of a DataRow."""
    (count,), at, cells = struct.unpack("!H", body[:2]), 2, []
    for _ in range(count):
        (length,) = struct.unpack("!i", body[at:at + 4])
        at += 4
        cells.append(None if length < 0 else body[at:at + length])
        at += max(length, 0)
    return cells


def row_description(body):
    """[(name, table oid, attribute number, type oid, format)] of a RowDescription."""
    (count,), at, columns = struct.unpack("!H", body[:2]), 2, []
    for _ in range(count):
        end = body.index(b"\0", at)
        table, number, kind, _, _, form = struct.unpack("!IhIhih", body[end + 1:end + 19])
        columns.append((body[at:end].decode(), table, number, kind, form))
        at = end + 19
    return columns


def cancel(port, key, host="127.0.0.1"):
    """Sends a CancelRequest with the key of a BackendKeyData and waits for the close."""
    with socket.create_connection((host, port), timeout=10) as s:
        s.sendall(struct.pack("!II", 12 + len(key) - 4, 80877102) + key)
        s.recv(1)
