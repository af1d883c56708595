"""Ill-formed, oversized, truncated and interleaved messages from a client.

Every claim ends with the bystander: a session opened before the attack still answers,
and the engine has not grown beyond its bound.
"""

import socket
import struct
import time

from lab import proc, wire
from lab.report import equal

BOUND_KB = 32 * 1024
QUICK = 5.0


def startup(body, length=None):
    """A start-up packet with any length field."""
    return struct.pack("!i", len(body) + 4 if length is None else length) + body


GOOD_STARTUP = struct.pack("!I", 196608) + b"user\0app\0database\0shop\0\0"

BEFORE_LOGIN = {
    "a start-up length of 0": startup(b"", 0),
    "a start-up length of 3": startup(b"", 3),
    "a start-up length of -1": startup(GOOD_STARTUP, -1),
    "a start-up length of 2 GB": startup(GOOD_STARTUP, 2**31 - 1),
    "a start-up of 1 MB": startup(struct.pack("!I", 196608) + b"user\0" + b"x" * 1_000_000 + b"\0\0"),
    "a start-up without its last zero": startup(struct.pack("!I", 196608) + b"user\0app"),
    "a start-up with an odd number of strings": startup(struct.pack("!I", 196608) + b"user\0app\0database\0\0\0x"),
    "protocol 2.0": startup(struct.pack("!I", 131072) + b"user\0app\0\0"),
    "protocol 4.0": startup(struct.pack("!I", 4 << 16) + b"user\0app\0\0"),
    "an HTTP request": b"GET / HTTP/1.1\r\nHost: db\r\n\r\n",
    "an SSH banner": b"SSH-2.0-OpenSSH_9.2\r\n",
    "a thousand zeros": b"\0" * 1000,
    "a thousand 0xff": b"\xff" * 1000,
    "a CancelRequest cut short": struct.pack("!II", 16, 80877102) + b"\0\0",
    "a CancelRequest of 1 MB": struct.pack("!II", 1_000_000, 80877102) + b"\0" * 100_000,
}

AFTER_LOGIN = {
    "a message length of 0": b"Q" + struct.pack("!i", 0),
    "a message length of 3": b"Q" + struct.pack("!i", 3),
    "a message length of -1": b"Q" + struct.pack("!i", -1) + b"select 1\0",
    "a Query of 2 GB announced": b"Q" + struct.pack("!i", 2**31 - 1) + b"select 1",
    "a Parse of 2 GB announced": b"P" + struct.pack("!i", 2**31 - 1) + b"\0select 1",
    "a Sync of 2 GB announced": b"S" + struct.pack("!i", 2**31 - 1),
    "an unknown message type": b"z" + struct.pack("!i", 4),
    "message type 0": b"\0" + struct.pack("!i", 4),
    "message type 0xff": b"\xff" + struct.pack("!i", 8) + b"abcd",
    "a message cut short": b"Q" + struct.pack("!i", 100) + b"select",
    "only a type byte": b"Q",
    "a second password": wire.message(b"p", b"secret\0"),
    "a second start-up": startup(GOOD_STARTUP),
    "a backend's message": wire.message(b"T", b"\0\0"),
}

# the session survives these: the server answers with an error
ERRORS = {
    "a Query without its zero": wire.message(b"Q", b"select 1"),
    "a Query with a zero inside": wire.message(b"Q", b"select 1\0, 2\0"),
    "an empty Query body": wire.message(b"Q", b""),
    "invalid UTF-8": wire.query(b"select '\xff\xfe\xc3\x28'"),
    "invalid UTF-8 in an identifier": wire.query(b"select 1 as \"\xed\xa0\x80\""),
    "a Parse without body": wire.message(b"P", b"") + wire.SYNC,
    "a Parse with 65535 types and none there": wire.message(b"P", b"\0select 1\0\xff\xff") + wire.SYNC,
    "a Bind with a negative parameter length": wire.parse("select $1::text") + wire.message(
        b"B", b"\0\0\0\0\0\1" + struct.pack("!i", -2) + b"\0\0") + wire.SYNC,
    "a Bind with a parameter of 2 GB": wire.parse("select $1::text") + wire.message(
        b"B", b"\0\0\0\0\0\1" + struct.pack("!i", 2**31 - 1) + b"x\0\0") + wire.SYNC,
    "a Bind with 65535 parameters and none there": wire.parse("select 1") + wire.message(
        b"B", b"\0\0\0\0\xff\xff") + wire.SYNC,
    "a Bind of an unknown statement": wire.bind(name="nosuch") + wire.SYNC,
    "a Bind with format 7": wire.parse("select 1") + wire.message(
        b"B", b"\0\0\0\0\0\0\0\1\0\7") + wire.execute() + wire.SYNC,
    "a Describe of neither statement nor portal": wire.message(b"D", b"X\0") + wire.SYNC,
    "a Describe without body": wire.message(b"D", b"") + wire.SYNC,
    "an Execute of an unknown portal": wire.execute(portal="nosuch") + wire.SYNC,
    "an Execute without body": wire.message(b"E", b"") + wire.SYNC,
    "a Close of neither statement nor portal": wire.message(b"C", b"X\0") + wire.SYNC,
    "a FunctionCall without body": wire.message(b"F", b""),
}


class Watch:
    """The bystander and the memory bound."""

    def __init__(self, scene):
        self.scene = scene
        self.conn = wire.Conn(scene.port)
        self.idle_kb = proc.held_kb(scene.pid)

    def unharmed(self):
        """The other connection answers; memory is within its bound."""
        equal(self.conn.query("select 41 + 1").rows, [[b"42"]], "the bystander")
        equal(wire_one(self.scene, "select 'new'"), b"new", "a new connection")
        grown = proc.held_kb(self.scene.pid) - self.idle_kb
        if self.scene.is_weir and grown > BOUND_KB:
            raise AssertionError(f"the engine grew by {grown} kB")


def wire_one(scene, sql):
    """One cell, over a new connection."""
    conn = wire.Conn(scene.port)
    try:
        return conn.query(sql).rows[0][0]
    finally:
        conn.close()


def ends(conn, within=QUICK):
    """The connection is closed (after an error or not) once we half-close it too."""
    start = time.monotonic()
    conn.sock.settimeout(within)
    seen = []
    try:
        conn.sock.shutdown(socket.SHUT_WR)
    except OSError:
        pass
    try:
        while data := conn.sock.recv(65536):
            seen.append(data)
    except ConnectionError:
        pass
    except TimeoutError as error:
        raise AssertionError(f"still open after {within} s; got {b''.join(seen)[:200]!r}") from error
    conn.sock.close()
    took = time.monotonic() - start
    if took > within:
        raise AssertionError(f"took {took:.1f} s")
    return b"".join(seen)


def before_login(watch, data):
    """Bytes instead of a start-up packet end in an error or a close."""
    conn = wire.Conn(watch.scene.port, login=False)
    try:
        conn.send(data)
    except OSError:
        pass
    ends(conn)
    watch.unharmed()


def after_login(watch, data):
    """Bytes after a login end in an error or a close."""
    conn = wire.Conn(watch.scene.port)
    try:
        conn.send(data)
    except OSError:
        pass
    time.sleep(0.1)
    ends(conn)
    watch.unharmed()


def session_survives(watch, data):
    """One error, then ReadyForQuery, then the session goes on; or a FATAL and the end."""
    conn = wire.Conn(watch.scene.port, timeout=QUICK)
    conn.send(data)
    try:
        answer = wire.Answer(conn.until_ready())
    except wire.Closed:
        kinds = [wire.fields(b).get("V") for k, b in conn.seen if k == "E"]
        if "FATAL" not in kinds:
            raise AssertionError("closed without an error") from None
    else:
        if not answer.errors:
            raise AssertionError(f"no error but {answer.kinds}")
        equal(answer.status, "I", "transaction status")
        equal(conn.query("select 'alive'").rows, [[b"alive"]], "the session")
    conn.close()
    watch.unharmed()


def stalled_half_message(watch):
    """A message that never ends does not hold memory or others."""
    conns = []
    for _ in range(50):
        conn = wire.Conn(watch.scene.port)
        conn.send(b"Q" + struct.pack("!i", 900_000_000) + b"x" * 1000)
        conns.append(conn)
    time.sleep(0.5)
    watch.unharmed()
    for conn in conns:
        conn.sock.close()
    watch.unharmed()


def oversized_really_sent(watch):
    """64 MB of one statement, really sent, is answered or refused; memory stays bounded."""
    conn = wire.Conn(watch.scene.port, timeout=60)
    size = 64 << 20
    peak = 0
    try:
        conn.send(b"Q" + struct.pack("!i", size + 4))
        block = b" " * (1 << 20)
        for _ in range(size >> 20):
            conn.send(block)
            peak = max(peak, proc.held_kb(watch.scene.pid))
    except OSError:
        pass
    ends(conn, 60)
    if watch.scene.is_weir and peak - watch.idle_kb > BOUND_KB:
        raise AssertionError(f"the engine grew by {peak - watch.idle_kb} kB while reading")
    watch.unharmed()


def megabyte_statement(watch):
    """1 MB statements work: a literal, and a list."""
    conn = wire.Conn(watch.scene.port)
    text = "x" * 1_000_000
    equal(len(conn.query(f"select '{text}'").rows[0][0]), 1_000_000, "literal")
    listing = ",".join(str(i) for i in range(150_000))
    equal(conn.query(f"select count(*) from t where id in ({listing})").rows, [[b"1000"]], "IN list")
    answer = conn.pipeline(*[wire.extended(f"select length('{text}')")])
    equal(answer.rows, [[b"1000000"]], "extended")
    conn.close()
    watch.unharmed()


def nested(watch, sql):
    """A result or an error; the session and the process survive."""
    conn = wire.Conn(watch.scene.port)
    answer = conn.query(sql)
    if not answer.errors and not answer.rows:
        raise AssertionError(f"neither rows nor error: {answer.kinds}")
    equal(conn.query("select 'alive'").rows, [[b"alive"]], "the session")
    answer = conn.pipeline(wire.extended(sql))
    equal(answer.status, "I")
    conn.close()
    watch.unharmed()


DEEP = 10_000
NESTED = {
    "parentheses": "select " + "(" * DEEP + "1" + ")" * DEEP,
    "additions": "select " + "1+" * DEEP + "1",
    "negations": "select " + "not " * DEEP + "true",
    "minus signs": "select " + "- " * DEEP + "1",
    "casts": "select 1" + "::int" * DEEP,
    "subqueries": "select * from " + "(select * from " * DEEP + "t" + ") x" * DEEP,
    "unions": "select 1" + " union all select 1" * DEEP,
    "joins": "select 1 from t" + " natural join t" * DEEP,
    "case": "select " + "case when true then " * DEEP + "1" + " end" * DEEP,
    "arrays": "select " + "array[" * DEEP + "1" + "]" * DEEP,
    "with": "with a as (" * DEEP + "select 1" + ") select 1" * DEEP,
    "comments": "select " + "/*" * DEEP + "*/" * DEEP + "1",
    "ands": "select 1 where " + "true and " * DEEP + "true",
    "concatenations": "select " + "'a'||" * DEEP + "'a'",
    "function calls": "select " + "abs(" * DEEP + "1" + ")" * DEEP,
}


def one_byte_at_a_time(watch):
    """Login and queries in segments of one byte give the same answers."""
    conn = wire.Conn(watch.scene.port, login=False)
    plain = conn.send
    conn.send = lambda data: [plain(data[i:i + 1]) for i in range(len(data))]
    conn.send(startup(GOOD_STARTUP))
    conn._login()
    equal(conn.query("select 1; select 'two'").rows, [[b"1"], [b"two"]])
    equal(conn.pipeline(wire.extended("select $1::text", (b"three",))).rows, [[b"three"]])
    conn.close()
    watch.unharmed()


def ten_thousand_in_one_write(watch):
    """10,000 pipelined statements come back in order."""
    conn = wire.Conn(watch.scene.port, timeout=60)
    import threading
    blob = b"".join(wire.extended("select $1::int", (str(i).encode(),)) for i in range(10_000)) + wire.SYNC
    sender = threading.Thread(target=conn.send, args=(blob,))
    sender.start()
    answer = wire.Answer(conn.until_ready())
    sender.join()
    equal([int(r[0]) for r in answer.rows], list(range(10_000)))
    conn.close()
    watch.unharmed()


def syncs_after_error(watch):
    """After an error everything up to Sync is skipped, then the session resynchronises."""
    conn = wire.Conn(watch.scene.port)
    conn.send(wire.extended("select 1") + wire.extended("select 1/0") + wire.extended("select 2") + wire.SYNC
              + wire.extended("select 3") + wire.SYNC + wire.query("select 4"))
    first, second, third = (wire.Answer(conn.until_ready()) for _ in range(3))
    equal((first.rows, first.code), ([[b"1"]], "22012"))
    equal((second.rows, third.rows), ([[b"3"]], [[b"4"]]))
    conn.close()
    watch.unharmed()


def interleaved_copy(watch):
    """A Query in the middle of COPY FROM STDIN ends as the server ends it; CopyData outside
    of COPY is ignored as the server ignores it."""
    conn = wire.Conn(watch.scene.port, timeout=QUICK)
    conn.send(wire.query("copy t from stdin"))
    while conn.read()[0] != "G":
        pass
    conn.send(wire.message(b"d", b"9999\tx\n") + wire.query("select 1"))
    start = len(conn.seen)
    _to_ready_or_close(conn)
    kinds = "".join(k for k, _ in conn.seen[start:])
    if "E" not in kinds:
        raise AssertionError(f"no error: {kinds}")
    conn.close()
    conn = wire.Conn(watch.scene.port)
    conn.send(wire.message(b"d", b"stray\n") + wire.message(b"c"))
    equal(conn.query("select 'alive'").rows, [[b"alive"]])
    conn.close()
    watch.unharmed()


def _to_ready_or_close(conn):
    try:
        while conn.read()[0] != "Z":
            pass
    except (wire.Closed, ConnectionError):
        pass


def copy_fail_and_flush(watch):
    """CopyFail, and Sync or Flush within COPY, behave as at the server."""
    conn = wire.Conn(watch.scene.port)
    conn.send(wire.query("copy t from stdin") + wire.message(b"d", b"1\tx\n") + wire.FLUSH + wire.SYNC
              + wire.message(b"f", b"no more\0"))
    answer = wire.Answer(conn.until_ready())
    equal(answer.code, "57014")
    equal(conn.query("select 'alive'").rows, [[b"alive"]])
    conn.close()
    watch.unharmed()


def tls_stuffing(watch):
    """Plain bytes sent right behind an SSLRequest never count as if they had come over TLS."""
    conn = wire.Conn(watch.scene.port, login=False)
    conn.send(struct.pack("!II", 8, 80877103) + startup(GOOD_STARTUP) + b"junk")
    got = conn.sock.recv(1)
    if got == b"S":
        rest = ends(conn)
        if b"R\0\0\0" in rest[:5]:
            raise AssertionError("logged in with stuffed bytes")
    conn.sock.close()
    watch.unharmed()


def cancel_storm(watch):
    """200 CancelRequests with made-up keys, and 50 late ones, harm nobody."""
    for i in range(200):
        wire.cancel(watch.scene.port, struct.pack("!II", i + 1, i * 7919))
    for _ in range(50):
        wire.cancel(watch.scene.port, watch.conn.key)
    time.sleep(0.3)
    for _ in range(3):  # a late cancel may hit at most a statement that runs meanwhile
        answer = watch.conn.query("select 41 + 1")
    equal(answer.rows, [[b"42"]])
    watch.unharmed()


def connection_churn(watch):
    """500 connections opened and dropped in every state leave nothing behind."""
    for i in range(500):
        conn = wire.Conn(watch.scene.port, login=i % 5 == 0)
        if i % 5 == 1:
            conn.send(b"\0\0")
        if i % 5 == 2:
            conn.send(startup(GOOD_STARTUP))
        conn.sock.close()
    proc.wait_until(lambda: watch.scene.server.query("select count(*) < 8 from pg_stat_activity where usename = 'app'") == "t",
                    "the server's sessions end with their clients'", 60)
    watch.unharmed()


def claims(scene, results):
    """All claims of this file."""
    watch = Watch(scene)
    for name, data in BEFORE_LOGIN.items():
        results.check(f"before login, {name} is refused", before_login, watch, data)
    for name, data in AFTER_LOGIN.items():
        results.check(f"after login, {name} ends the connection", after_login, watch, data)
    for name, data in ERRORS.items():
        results.check(f"{name} is an error and the session goes on", session_survives, watch, data)
    for name, sql in NESTED.items():
        results.check(f"10,000 nested {name} do no harm", nested, watch, sql)
    for test in (stalled_half_message, oversized_really_sent, megabyte_statement, one_byte_at_a_time,
                 ten_thousand_in_one_write, syncs_after_error, interleaved_copy, copy_fail_and_flush,
                 tls_stuffing, cancel_storm, connection_churn):
        results.check(test.__name__.replace("_", " "), test, watch)
