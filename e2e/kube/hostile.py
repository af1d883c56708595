#!/usr/bin/env python3
"""Hostile clients of the Kubernetes API, and a hostile server: each is a claim about Weir.

    hostile.py --weir PATH [--only smuggled] [--full]

What is claimed of each: a clear error or a close within a few seconds, no masked value, no request
upstream that Weir did not read itself, memory within 32 MiB of the idle size, evidence of what was
refused, and a bystander that is not harmed. Last line: N passed, N failed.
"""

import argparse
import base64
import gzip
import json
import os
import re
import socket
import struct
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../lib"))
from lab import proc, report, weir  # noqa: E402

BOUND_KB = 32 << 10
QUICK = 10
VALUE = base64.b64encode(b"hostile-s3cr3t").decode()
SECRET = "/api/v1/namespaces/default/secrets/db"
MAPS = "/api/v1/namespaces/default/configmaps"

TARGET = """\
apiVersion: weir.dev/v1alpha1
kind: Target
metadata: {{name: kubernetes}}
spec:
  protocol: Kubernetes
  addresses: [{{host: 127.0.0.1, port: {port}}}]
  upstreamTLS: {{mode: Disable}}
  credentials: {{mode: Brokered, tokenFile: {token}}}
"""
POLICY = weir.SECRETS_LABEL + """\
apiVersion: weir.dev/v1alpha1
kind: ClusterGuardPolicy
metadata: {name: api}
spec:
  subjects: [{names: ["*"]}]
  targets: [kubernetes]
  audit: {record: Commands, delivery: Batch}
  rules:
  - {name: hide, match: {labels: ["secret.*"]}, action: Mask}
  - {name: pods, match: {kubernetes: {effects: [MountsSecrets, Privileged]}}, action: Deny}
  - {name: bulk, limits: {statement: {objects: 5000}, onExceed: Deny}}
"""


class Server:
    """An API server that answers as the path says, and remembers what it was asked."""

    def __init__(self, size):
        self.size, self.seen = size, []
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        """Serves each connection in a thread of its own."""
        while True:
            conn, _ = self.listener.accept()
            threading.Thread(target=self.serve, args=(conn,), daemon=True).start()

    def serve(self, conn):
        """Requests with a length, one after another."""
        rest = b""
        try:
            with conn:
                while True:
                    while b"\r\n\r\n" not in rest:
                        data = conn.recv(65536)
                        if not data:
                            return
                        rest += data
                    if rest.startswith(PREFACE[:16]):
                        self.seen.append("/http2")
                        speak_http2(conn, rest)
                        return
                    head, rest = rest.split(b"\r\n\r\n", 1)
                    length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
                    length = int(length[1]) if length else 0
                    if re.search(rb"(?i)\r\ntransfer-encoding:", head):
                        self.seen.append("chunked: " + head.decode("latin1"))
                        return
                    while len(rest) < length:
                        rest += conn.recv(65536)
                    rest = rest[length:]
                    target = head.split(b" ", 2)[1].decode()
                    self.seen.append(target)
                    if not self.answer(conn, target):
                        return
        except OSError:
            pass

    def answer(self, conn, target):
        """What a path stands for. Whether the connection goes on."""
        name = target.partition("?")[0].rsplit("/", 1)[1]
        if name == "huge":
            return self.chunks(conn, self.huge())
        if name == "endless-string":
            return self.chunks(conn, self.endless())
        if name == "deep":
            return self.whole(conn, b'{"a":' + b"[" * 100_000)
        if name == "cut":
            return self.whole(conn, b'{"kind":"ConfigMap","data":{"a":"b"')
        if name == "not-utf8":
            return self.whole(conn, b'{"kind":"ConfigMap","data":{"a":"\xff\xfe"}}')
        if name == "gzip":
            return self.whole(conn, gzip.compress(secret()), "Content-Encoding: gzip\r\n")
        if name == "bomb":
            return self.whole(conn, gzip.compress(b" " * (64 << 20)), "Content-Encoding: gzip\r\n")
        if name == "protobuf":
            return self.whole(conn, b"k8s\0" + VALUE.encode(), kind="application/vnd.kubernetes.protobuf")
        if name == "switch":
            head = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n"
            conn.sendall(head + VALUE.encode())
            return False
        if name == "header-flood":
            return self.whole(conn, b"{}", "".join(f"X-{n}: {'y' * 1000}\r\n" for n in range(2000)))
        if name == "headers-first":
            conn.sendall(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n")
            return self.whole(conn, secret())
        if name == "silent":
            time.sleep(60)
            return False
        if "/secrets/" in target:
            return self.whole(conn, secret())
        return self.whole(conn, b'{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"plain"},"data":{"a":"b"}}')

    def huge(self):
        """One object of many bytes."""
        yield b'{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"huge"},"data":{"a":"'
        for number in range(self.size // (1 << 20)):
            yield b"x" * (1 << 20) + b'","k%d":"' % number
        yield b'"}}'

    def endless(self):
        """One string that does not end."""
        yield b'{"kind":"ConfigMap","data":{"a":"'
        for _ in range(self.size // (1 << 20)):
            yield b"x" * (1 << 20)

    @staticmethod
    def chunks(conn, pieces):
        """An answer in chunks."""
        conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
        for piece in pieces:
            conn.sendall(b"%x\r\n" % len(piece) + piece + b"\r\n")
        conn.sendall(b"0\r\n\r\n")
        return True

    @staticmethod
    def whole(conn, body, headers="", kind="application/json"):
        """An answer with a length."""
        head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
        conn.sendall(head.encode() + body)
        return True


def secret():
    """A Secret."""
    return json.dumps({"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "db"},
                       "data": {"password": VALUE}}).encode()


class Scene:
    """The server, Weir in front of it, and what must stay as it is."""

    def __init__(self, binary, full):
        self.server = Server((1 << 30) if full else (96 << 20))
        self.weir = weir.Weir(binary, self.server.port, policies=POLICY, target_name="kubernetes", target="")
        token = os.path.join(self.weir.dir, "api.token")
        with open(token, "w", encoding="ascii") as f:
            f.write("token-of-weir")
        os.chmod(token, 0o600)
        self.weir.write("target.yaml", TARGET.format(port=self.server.port, token=token))
        self.weir.start()
        self.port = self.weir.port
        self.bystander = self.connect()
        self.unharmed(None)
        self.idle_kb = proc.held_kb(self.weir.pid)

    def connect(self):
        """A client's connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=QUICK)

    def unharmed(self, peak_kb=BOUND_KB):
        """The connection from the beginning still gets its answers; memory is within its bound."""
        self.bystander.sendall(get(MAPS + "/plain"))
        answer = read_one(self.bystander)
        if b'"data":{"a":"b"}' not in answer:
            raise AssertionError(f"the bystander got {answer[:200]!r}")
        if peak_kb is not None:
            # What was freed goes back to the kernel a moment later.
            def is_small():
                return proc.held_kb(self.weir.pid) - self.idle_kb <= peak_kb
            proc.wait_until(is_small, f"the engine has grown by {peak_kb} kB at most", 30, every=0.2)


def get(path, *headers, method="GET", body=b""):
    """A request as a client sends it."""
    lines = [f"{method} {path} HTTP/1.1", "Host: k", "Accept: application/json", *headers]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin1") + body


def post(*headers):
    """The head of a request that has a body."""
    return get(MAPS + "/x", *headers, method="POST")


def read_one(sock):
    """One answer with a length."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += sock.recv(65536) or sys.exit("the bystander's connection has ended")
    head, body = data.split(b"\r\n\r\n", 1)
    length = int(re.search(rb"(?i)content-length: *(\d+)", head)[1])
    while len(body) < length:
        body += sock.recv(65536)
    return head + b"\r\n\r\n" + body


def read_all(sock, within=QUICK, limit=1 << 20, quiet=0.5):
    """What comes until the other side closes, or is quiet for as long (in seconds) after it has said something."""
    data, until = b"", time.monotonic() + within
    sock.settimeout(quiet)
    while time.monotonic() < until and len(data) < limit:
        try:
            piece = sock.recv(65536)
        except TimeoutError:
            if data:
                break
            continue
        except ConnectionError:
            return data, True
        if not piece:
            return data, True
        data += piece
    return data, False


def harmless(scene, data, *, statuses=None):
    """No value in what came, and a status that is as claimed."""
    if VALUE.encode() in data or b"hostile-s3cr3t" in data:
        raise AssertionError(f"a masked value was shown: {data[-300:]!r}")
    found = [int(code) for code in re.findall(rb"HTTP/1\.[01] (\d{3})", data)]
    if statuses is not None and not (set(found) and set(found) <= set(statuses)):
        raise AssertionError(f"statuses {found}, not of {statuses}: {data[:300]!r}")
    scene.unharmed()
    return found


CHUNKED = "Transfer-Encoding: chunked"
INNER = get(SECRET)
SMUGGLED = {
    "a length beside chunks": post(CHUNKED, f"Content-Length: {len(INNER) + 5}") + b"0\r\n\r\n" + INNER,
    "two lengths that differ": post("Content-Length: 0", f"Content-Length: {len(INNER)}") + INNER,
    "a length with a sign": post("Content-Length: +0") + INNER,
    "a list of lengths": post(f"Content-Length: 0, {len(INNER)}") + INNER,
    "chunks in other words": post("Transfer-Encoding: xchunked", "Content-Length: 0") + INNER,
    "chunks, and then another coding": post("Transfer-Encoding: chunked, identity") + b"0\r\n\r\n" + INNER,
    "a blank before the colon": post("Transfer-Encoding : chunked", "Content-Length: 0") + INNER,
    "a folded header": post("Transfer-Encoding:\r\n chunked") + b"0\r\n\r\n" + INNER,
    "bare line feeds": post().replace(b"\r\n", b"\n") + INNER,
    "a bare carriage return": post("X: a\rContent-Length: 0") + INNER,
    "a chunk with an extension and a line feed": post(CHUNKED) + b"0;x\n\r\n" + INNER,
    "a chunk size beyond numbers": post(CHUNKED) + b"f" * 20 + b"\r\n" + INNER,
    "a chunk with a sign": post(CHUNKED) + b"-1\r\n\r\n" + INNER,
    "trailers that are headers": post(CHUNKED) + b"0\r\nContent-Length: 9\r\nAuthorization: Bearer x\r\n\r\n" + INNER,
    "a name with a zero": post("Transfer-Enco\0ding: chunked") + INNER,
    "no version": b"GET " + SECRET.encode() + b"\r\n\r\n" + INNER,
    "version 1.0 with chunks": post(CHUNKED).replace(b"HTTP/1.1", b"HTTP/1.0") + b"0\r\n\r\n" + INNER,
    "the absolute form": get("http://other.example" + SECRET),
    "the absolute form of a tunnel": get("other.example:443", method="CONNECT") + INNER,
    "an asterisk": get("*", method="OPTIONS") + INNER,
    "two hosts": get(SECRET, "Host: other"),
    "upgrade to HTTP/2": get(
        SECRET, "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA"),
    "a connection header that hides the token": get(SECRET, "Connection: close, authorization, host, accept"),
    "a method in the body's place": post("Expect: 100-continue", f"Content-Length: {len(INNER)}") + INNER,
    "an override of the method": get(
        SECRET, "X-HTTP-Method-Override: DELETE", "X-Original-URL: /api", "X-Rewrite-URL: /api"),
}


def smuggled(scene, data):
    """Upstream sees no request that Weir did not answer, none that it did not read, and no chunks of a client."""
    before = len(scene.server.seen)
    with scene.connect() as sock:
        sock.sendall(data)
        answer, _ = read_all(sock, quiet=3)
    found = harmless(scene, answer)
    asked = scene.server.seen[before:-1]
    if len(asked) > len(found):
        raise AssertionError(f"upstream was asked {asked} for answers {found}")
    odd = [target for target in asked if target.startswith("chunked") or not target.startswith("/api/v1/")]
    if odd:
        raise AssertionError(f"upstream was asked {odd}")


# ------------------------------------------------------------------------------------------ HTTP/2
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def frame(kind, flags, stream, body=b""):
    """A frame of RFC 9113."""
    return len(body).to_bytes(3, "big") + bytes([kind, flags]) + struct.pack("!I", stream) + body


def literal(name, value):
    """A header without an index or Huffman's code."""
    def text(part):
        data = part.encode()
        assert len(data) < 127
        return bytes([len(data)]) + data
    return b"\0" + text(name) + text(value)


def headers(path, *more):
    """The block of a GET."""
    first = [(":method", "GET"), (":scheme", "http"), (":authority", "k"), (":path", path),
             ("accept", "application/json")]
    return b"".join(literal(*pair) for pair in [*first, *more])


def http2(scene):
    """A connection that speaks HTTP/2 from its first byte."""
    sock = scene.connect()
    sock.sendall(PREFACE + frame(4, 0, 0))
    return sock


def pour(sock, pieces, within=QUICK):
    """Sends until everything is sent or the other side has had enough. What it said, and whether it closed."""
    until = time.monotonic() + within
    said = b""
    sock.settimeout(within)
    try:
        for piece in pieces:
            sock.sendall(piece)
            if time.monotonic() > until:
                break
    except OSError:
        pass
    try:
        said, closed = read_all(sock, within)
    except OSError:
        closed = True
    return said, closed


def speak_http2(conn, rest):
    """A server that answers every stream with the Secret."""
    while len(rest) < len(PREFACE):
        rest += conn.recv(65536)
    rest = rest[len(PREFACE):]
    conn.sendall(frame(4, 0, 0))
    while True:
        while len(rest) < 9 or len(rest) < 9 + int.from_bytes(rest[:3], "big"):
            data = conn.recv(65536)
            if not data:
                return
            rest += data
        length, kind, flags = int.from_bytes(rest[:3], "big"), rest[3], rest[4]
        stream, rest = struct.unpack("!I", rest[5:9])[0], rest[9 + length:]
        if kind == 4 and not flags & 1:
            conn.sendall(frame(4, 1, 0))
        elif kind == 1:
            conn.sendall(frame(1, 4, stream, b"\x88" + literal("content-type", "application/json"))
                         + frame(0, 1, stream, secret()))


def masked_over_http2(scene):
    """What HTTP/2 brings is the same."""
    with http2(scene) as sock:
        sock.sendall(frame(1, 5, 1, headers(SECRET)))
        said, _ = read_all(sock, quiet=3)
    if base64.b64encode(b"[masked]") not in said:
        raise AssertionError(f"{said!r}")
    harmless(scene, said)


def rapid_reset(scene):
    """Streams that are opened and reset at once end the connection, or cost nothing."""
    with http2(scene) as sock:
        block = headers(SECRET)
        cancel = struct.pack("!I", 8)
        said, _ = pour(sock, (frame(1, 5, n, block) + frame(3, 0, n, cancel) for n in range(1, 40_000, 2)))
    harmless(scene, said)


def continuation_flood(scene):
    """A header block without an end ends the connection."""
    with http2(scene) as sock:
        first = frame(1, 1, 1, headers(SECRET))
        more = frame(9, 0, 1, b"".join(literal(f"x-{n}", "y" * 100) for n in range(100)))
        said, closed = pour(sock, (first if n == 0 else more for n in range(10_000)))
    if not closed:
        raise AssertionError("the connection is still open")
    harmless(scene, said)


def empty_continuations(scene):
    """So do continuations that hold nothing."""
    with http2(scene) as sock:
        first = frame(1, 1, 1, headers(SECRET))
        said, closed = pour(sock, (first if n == 0 else frame(9, 0, 1) * 100 for n in range(2000)))
    if not closed:
        raise AssertionError("the connection is still open")
    harmless(scene, said)


def odd_pseudo_headers(scene):
    """Pseudo headers twice, late, or unknown, and headers of one connection, are refused."""
    good = [(":method", "GET"), (":scheme", "http"), (":authority", "k"), (":path", SECRET)]
    for bad in ([*good, (":path", MAPS)], [*good, ("x", "y"), (":path", MAPS)], [*good, (":proxy", "x")],
                [*good, ("connection", "close")], [*good, ("transfer-encoding", "chunked")],
                [*good, ("X-Upper", "y")], good[:3]):
        before = len(scene.server.seen)
        with http2(scene) as sock:
            sock.sendall(frame(1, 5, 1, b"".join(literal(*pair) for pair in bad)))
            said, _ = read_all(sock, 2)
        harmless(scene, said)
        if len(scene.server.seen) > before + 1:
            raise AssertionError(f"upstream was asked for {bad}")


def flood_of(scene, number, kind, body):
    """Frames that ask for answers do not fill memory with them."""
    with http2(scene) as sock:
        said, _ = pour(sock, (frame(kind, 0, 0, body) * 100 for _ in range(number // 100)))
    harmless(scene, said)


# ------------------------------------------------------------------------------------------ clients
def refused(scene, data, *statuses, within=QUICK):
    """A clear error, and evidence of it where the request was understood."""
    with scene.connect() as sock:
        try:
            sock.sendall(data)
        except OSError:
            pass
        answer, _ = read_all(sock, within)
    harmless(scene, answer, statuses=statuses)


def long_headers(scene):
    """More headers, or longer ones, than a request may have."""
    refused(scene, get(SECRET, *[f"X-{n}: y" for n in range(5000)]), 431)
    refused(scene, get(SECRET, "X: " + "y" * (1 << 20)), 431)
    refused(scene, get("/" + "a" * 20_000), 400, 414)


def endless_header(scene):
    """A head that never ends is cut off."""
    with scene.connect() as sock:
        lines = (b"X-%d: y\r\n" % n * 100 if n else b"GET / HTTP/1.1\r\n" for n in range(100_000))
        said, closed = pour(sock, lines)
    if not closed:
        raise AssertionError("the connection is still open")
    harmless(scene, said)


PROTOBUF = "Content-Type: application/vnd.kubernetes.protobuf"
BODIES = {
    "compressed": (["Content-Encoding: gzip", "Content-Type: application/json"],
                   gzip.compress(b'{"spec":{"hostPID":true}}')),
    "JSON of great depth": (["Content-Type: application/json"], b"[" * 200_000),
    "JSON of many values": (["Content-Type: application/json"], b"[" + b"0," * 1_000_000 + b"0]"),
    "a member twice": (["Content-Type: application/json"], b'{"spec":{"hostPID":false},"spec":{"hostPID":true}}'),
    "YAML that grows": (["Content-Type: application/yaml"], b"a: &a [x,x,x,x,x,x,x,x,x]\n" + b"".join(
        b"%c: &%c [%s]\n" % (n + 1, n + 1, b",".join([b"*%c" % n] * 9)) for n in range(97, 110))),
    "YAML of two documents": (["Content-Type: application/yaml"], b"a: 1\n---\nspec: {hostPID: true}\n"),
    "YAML of great depth": (["Content-Type: application/yaml"], b"[" * 100_000),
    "protobuf of great depth": ([PROTOBUF], b"k8s\0\x12\xff\xff\xff\x7f" + b"\x0a\x80\x01" * 1000),
    "protobuf without an end": ([PROTOBUF], b"k8s\0\x12" + b"\xff" * 9 + b"\x01"),
    "CBOR": (["Content-Type: application/cbor"], b"\xd9\xd9\xf7\xa0"),
    "of no known kind": (["Content-Type: text/html"], b"<x>"),
}


def body(scene, lines, content):
    """A pod that cannot be read is not sent on."""
    before = len(scene.server.seen)
    refused(scene, get("/api/v1/namespaces/default/pods", *lines, method="POST", body=content), 400, 403, 413, 415)
    if len(scene.server.seen) > before + 1:
        raise AssertionError("it was sent on")


def large_body(scene):
    """A body beyond what the API takes is refused by its length, and by its bytes."""
    pods = "/api/v1/namespaces/default/pods"
    refused(scene, get(pods, "Content-Length: 1000000000", method="POST"), 413)
    chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    refused(scene, get(pods, CHUNKED, method="POST") + chunk * 200, 413)


def slow_body(scene):
    """Many bodies that come slowly cost little, and end with their clients."""
    pods = get("/api/v1/namespaces/default/pods", "Content-Type: application/json", "Content-Length: 1000000",
               method="POST")
    waiting = [scene.connect() for _ in range(100)]
    for sock in waiting:
        sock.sendall(pods + b"{" * 1000)
    time.sleep(1)
    scene.unharmed()
    for sock in waiting:
        sock.close()


def half_open_upgrade(scene):
    """An upgrade that the server grants, and nobody asked for, and one that is asked for and goes nowhere."""
    refused(scene, get(MAPS + "/switch"), 502)
    refused(scene, get(MAPS + "/switch", "Connection: Upgrade", "Upgrade: websocket"), 502)
    waiting = []
    for _ in range(50):
        sock = scene.connect()
        sock.sendall(get("/api/v1/namespaces/default/pods/p/exec?command=x", "Connection: Upgrade", "Upgrade: SPDY/3.1",
                         method="POST"))
        waiting.append(sock)
    time.sleep(1)
    scene.unharmed()
    for sock in waiting:
        sock.close()


# ------------------------------------------------------------------------------------------ server
def from_server(scene, name, *statuses):
    """An answer of the server's that cannot be passed on is an error."""
    refused(scene, get(f"/api/v1/namespaces/default/secrets/{name}", "Accept-Encoding: gzip"), *statuses)


def huge_object(scene):
    """One object of any size goes by within the bound."""
    with scene.connect() as sock:
        sock.sendall(get("/api/v1/namespaces/default/secrets/huge", "Connection: close"))
        total, peak, last = 0, 0, 0
        sock.settimeout(QUICK)
        while data := sock.recv(1 << 20):
            total += len(data)
            if total - last > 8 << 20:
                last, peak = total, max(peak, proc.held_kb(scene.weir.pid))
    if peak - scene.idle_kb > BOUND_KB:
        raise AssertionError(f"the engine grew by {peak - scene.idle_kb} kB")
    scene.unharmed()


def slow_reader(scene):
    """Clients that do not read hold up the server, and not memory."""
    waiting = [scene.connect() for _ in range(10)]
    for sock in waiting:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.sendall(get(MAPS + "/huge"))
    time.sleep(3)
    scene.unharmed(2 * BOUND_KB)
    for sock in waiting:
        sock.close()
    time.sleep(1)
    scene.unharmed()


def recorded(scene):
    """What was refused, and why, is in the evidence."""
    scene.weir.settle()
    found = scene.weir.statements()
    denied = [event for event in found if event.outcome in ("denied", "failed")]
    if len(denied) < 10:
        raise AssertionError(f"{len(found)} requests are recorded, {len(denied)} of them refused")


def main():
    """All claims."""
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--weir", metavar="PATH", required=True)
    ap.add_argument("--only", help="parts of names, by comma")
    ap.add_argument("--full", action="store_true", help="objects of 1 GiB")
    a = ap.parse_args()
    results = report.Report(a.only)
    scene = Scene(a.weir, a.full)
    for name, data in SMUGGLED.items():
        results.check(f"smuggled: {name}", smuggled, scene, data)
    results.check("HTTP/2: masked as over HTTP/1", masked_over_http2, scene)
    results.check("HTTP/2: odd pseudo headers", odd_pseudo_headers, scene)
    results.check("HTTP/2: rapid reset", rapid_reset, scene)
    results.check("HTTP/2: a header block without end", continuation_flood, scene)
    results.check("HTTP/2: empty continuations", empty_continuations, scene)
    results.check("HTTP/2: a flood of pings", flood_of, scene, 100_000, 6, b"12345678")
    results.check("HTTP/2: a flood of settings", flood_of, scene, 100_000, 4, b"")
    results.check("client: floods of headers", long_headers, scene)
    results.check("client: a head without end", endless_header, scene)
    for name, (lines, content) in BODIES.items():
        results.check(f"body: {name}", body, scene, lines, content)
    results.check("body: larger than the API takes", large_body, scene)
    results.check("body: slow senders", slow_body, scene)
    results.check("client: half-open upgrades", half_open_upgrade, scene)
    for name in ("gzip", "bomb", "protobuf", "deep", "cut", "not-utf8", "header-flood"):
        results.check(f"server: {name}", from_server, scene, name, 502)
    results.check("server: early hints", from_server, scene, "headers-first", 200, 103)
    results.check("server: a string without end", from_server, scene, "endless-string", 502, 200)
    results.check("server: an object of any size", huge_object, scene)
    results.check("client: slow readers", slow_reader, scene)
    results.check("evidence of all of it", recorded, scene)
    scene.weir.stop()
    results.finish()


if __name__ == "__main__":
    main()
