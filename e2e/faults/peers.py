"""Peers that misbehave: servers that die or lie, clients that stop reading or vanish."""

import socket
import struct
import threading
import time

from lab import proc, weir, wire
from lab.report import equal
from messages import BOUND_KB, QUICK, Watch, ends

READY = wire.message(b"Z", b"I")
LOGIN = (wire.message(b"R", struct.pack("!I", 0)) + wire.message(b"S", b"server_version\00015.0\0")
         + wire.message(b"S", b"standard_conforming_strings\0on\0") + wire.message(b"S", b"client_encoding\0UTF8\0")
         + wire.message(b"K", struct.pack("!II", 4242, 99)) + READY)
DESCRIPTION = wire.message(b"T", struct.pack("!H", 1) + b"a\0" + struct.pack("!IhIhih", 0, 0, 25, -1, -1, 0))
ROW = wire.message(b"D", struct.pack("!HI", 1, 5) + b"value")


class FakeServer:
    """Logs anyone in, then answers the first statement with ``script`` and closes."""

    def __init__(self, script, after="close", login=LOGIN):
        self.script, self.after, self.login = script, after, login
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                conn, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(conn,), daemon=True).start()

    def _serve(self, conn):
        try:
            while True:
                length, code = struct.unpack("!II", _exactly(conn, 8))
                _exactly(conn, length - 8)
                if code in (80877103, 80877104):
                    conn.sendall(b"N")
                    continue
                break
            conn.sendall(self.login)
            if self.script is not None:
                conn.settimeout(QUICK)
                conn.recv(65536)
                conn.sendall(self.script)
            if self.after == "hang":
                time.sleep(QUICK + 10)
            if self.after == "reset":
                conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        except OSError:
            pass
        finally:
            conn.close()


def _exactly(conn, count):
    data = b""
    while len(data) < count:
        more = conn.recv(count - len(data))
        if not more:
            raise OSError("gone")
        data += more
    return data


SERVERS = {
    "closes mid-row": (DESCRIPTION + ROW * 3 + ROW[:7], "close"),
    "closes between rows": (DESCRIPTION + ROW * 3, "close"),
    "resets mid-row": (DESCRIPTION + ROW * 3 + ROW[:7], "reset"),
    "closes without an answer": (b"", "close"),
    "sends a row of 2 GB": (DESCRIPTION + b"D" + struct.pack("!i", 2**31 - 1) + b"x" * 1000, "close"),
    "sends a message of length 0": (DESCRIPTION + b"D" + struct.pack("!i", 0), "close"),
    "sends a message of length -1": (b"T" + struct.pack("!i", -1), "close"),
    "sends garbage": (b"\xff\xfe garbage " * 50, "close"),
    "sends an unknown message": (wire.message(b"y", b"what") , "close"),
    "sends a row whose cell is longer than the row": (
        DESCRIPTION + wire.message(b"D", struct.pack("!HI", 1, 5000) + b"short") , "close"),
    "sends a description with 65535 columns and none there": (wire.message(b"T", b"\xff\xff"), "close"),
    "sends an error without an end": (wire.message(b"E", b"SERROR\0C42000\0Mhalf"), "close"),
}


def bad_server(scene, watch, script, after):
    """The client gets an error or a close within 5 s; others are unharmed."""
    fake = FakeServer(script, after)
    port, pid, _ = scene.front(fake.port)
    idle = proc.held_kb(pid)
    for send in (wire.query("select a"), wire.extended("select a") + wire.SYNC):
        conn = wire.Conn(port, timeout=QUICK)
        conn.send(send)
        _until_end(conn)
    if scene.is_weir and proc.held_kb(pid) - idle > BOUND_KB:
        raise AssertionError("memory")
    other = wire.Conn(port)
    other.sock.close()
    scene.proxies.pop()()
    fake.listener.close()
    watch.unharmed()


def _until_end(conn):
    data = b""
    try:
        while True:
            more = conn.sock.recv(65536)
            if not more:
                return data
            data += more
    except ConnectionError:
        return data
    except TimeoutError as error:
        raise AssertionError(f"neither error nor close after {QUICK} s: {data[:200]!r}") from error


def no_server(scene):
    """A server that is down is an error that says so, and the next attempt works."""
    port = proc.free_port()
    front, _, _ = scene.front(port)
    conn = wire.Conn(front, login=False)
    conn.send(struct.pack("!I", 32) + struct.pack("!I", 196608) + b"user\0app\0database\0shop\0\0")
    got = ends(conn, 10)
    if scene.is_weir and not got.startswith(b"E"):
        raise AssertionError(f"no ErrorResponse: {got[:100]!r}")
    fake = FakeServer(None)
    fake.listener.close()
    listener = socket.create_server(("127.0.0.1", port))
    fake.listener = listener
    threading.Thread(target=fake._accept, daemon=True).start()
    wire.Conn(front).sock.close()
    scene.proxies.pop()()


def client_stops_reading(scene, watch):
    """A client that reads nothing while a million rows wait: memory stays flat, and the
    rows are all there when it reads again."""
    idle = proc.held_kb(scene.pid)
    conn = wire.Conn(scene.port, timeout=120, rcvbuf=16384)
    conn.send(wire.query("select g, repeat('x', 100) from generate_series(1, 1000000) g"))
    peak, end = 0, time.monotonic() + (180 if scene.full else 20)
    while time.monotonic() < end:
        peak = max(peak, proc.held_kb(scene.pid))
        time.sleep(0.25)
    watch.unharmed()
    if scene.is_weir and peak - idle > 8 * 1024:
        raise AssertionError(f"grew by {peak - idle} kB")
    rows = 0
    while True:
        kind, _ = conn.read()
        conn.seen.clear()
        rows += kind == "D"
        if kind == "Z":
            break
    equal(rows, 1_000_000, "rows")
    conn.close()


def slow_tls_reader(scene):
    """A client that reads late over TLS gets all of a result, whatever its size: what the socket does
    not take at once lies in the TLS layer, and leaves it when there is room again."""
    target = weir.target_yaml(scene.server.port, tls=True, ca=scene.server.ca, client_tls="Offer")
    w = weir.Weir(scene.weir_path, scene.server.port, target=target).start()
    for size in range(500, 8000, 60):
        conn = wire.Conn(w.port, tls=w.ca(), rcvbuf=4096, timeout=5)
        conn.send(wire.query(f"select repeat('x', 1000) from generate_series(1, {size})"))
        time.sleep(0.05)
        equal(len(wire.Answer(conn.until_ready()).rows), size, f"rows of {size}")
        conn.close()
    w.stop()


def client_vanishes(scene, watch):
    """A client that resets in the middle of a result ends the server's session too."""
    for _ in range(20):
        conn = wire.Conn(scene.port, rcvbuf=16384)
        conn.send(wire.query("select g, repeat('x', 100), 'vanish' from generate_series(1, 1000000) g"))
        conn.sock.recv(1000)
        conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        conn.sock.close()
    proc.wait_until(lambda: scene.server.query(
        "select count(*) from pg_stat_activity where query like '%vanish%' and pid <> pg_backend_pid()") == "0",
        "the server's sessions end", 60)
    watch.unharmed()


def half_closed(scene, watch):
    """A half-closed client still gets its whole answer; results go out ahead of Terminate."""
    for tail in (b"", wire.TERMINATE):
        conn = wire.Conn(scene.port)
        conn.send(wire.query("select g from generate_series(1, 50000) g") + tail)
        if not tail:
            time.sleep(0.05)
        conn.sock.shutdown(socket.SHUT_WR)
        kinds = [k for k, _ in conn.drain_to_close()]
        equal((kinds.count("D"), kinds.count("Z")), (50000, 1), f"with {tail!r}")
    watch.unharmed()


def terminated_backend(scene, watch):
    """A dying backend's FATAL arrives before the close."""
    conn = wire.Conn(scene.port)
    pid = conn.query("select pg_backend_pid()").rows[0][0].decode()
    scene.server.query(f"select pg_terminate_backend({pid})")
    errors = [wire.fields(b) for k, b in conn.drain_to_close() if k == "E"]
    equal([(e["S"], e["C"]) for e in errors], [("FATAL", "57P01")])
    watch.unharmed()


def long_idle(scene, watch):
    """An idle session works after a while, and a notification reaches it meanwhile."""
    conn = wire.Conn(scene.port)
    conn.query("listen idle")
    time.sleep(90 if scene.full else 3)
    scene.server.query("notify idle, 'wake'", "shop")
    kind, body = conn.read()
    equal((kind, body[4:]), ("A", b"idle\0wake\0"))
    equal(conn.query("select 1").rows, [[b"1"]])
    conn.close()
    watch.unharmed()


def claims(scene, results):
    """All claims of this file."""
    watch = Watch(scene)
    for name, (script, after) in SERVERS.items():
        results.check(f"a server that {name} is an error or a close", bad_server, scene, watch, script, after)
    results.check("a server that is down is reported and retried", no_server, scene)
    if scene.is_weir:
        results.check("a slow reader over TLS gets everything", slow_tls_reader, scene)
    for test in (client_vanishes, half_closed, terminated_backend, long_idle, client_stops_reading):
        results.check(test.__name__.replace("_", " "), test, scene, watch)
