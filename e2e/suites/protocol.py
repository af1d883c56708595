"""What no driver's suite sends: each case is bytes for a server that trusts its clients, and
what came back, byte for byte, is compared between a direct run and one through the proxy.

Out of order, malformed, unfinished and unusual, but each answered by the server in a way that a
client could rely on. A message that does not have its shape (``REFUSED``) ends the session at Weir:
08P01, where the server may have gone on after an error of its own.
"""

import re
import socket
import struct

from lab.wire import (FLUSH, SYNC, TERMINATE, bind, cstr, describe, execute, extended, message,
                      parse, query)

QUIET = 0.4  # seconds without a byte: the answer is over


def startup(version=196608, **fields):
    """A start-up packet."""
    fields = {"user": "postgres", "database": "postgres", **{k.strip(): v for k, v in fields.items()}}
    body = struct.pack("!I", version)
    body += b"".join(cstr(k) + cstr(v) for k, v in fields.items()) + b"\0"
    return struct.pack("!I", len(body) + 4) + body


def close(kind, name=""):
    """Close 'S'tatement or 'P'ortal."""
    return message(b"C", kind.encode() + cstr(name))


def request(code, rest=b""):
    """A request in the place of a start-up packet."""
    return struct.pack("!II", 8 + len(rest), code) + rest


def copy_data(data):
    """CopyData."""
    return message(b"d", data)


COPY_DONE = message(b"c")
LOGIN = startup()
BAD_FORMATS = message(b"B", b"\0\0" + struct.pack("!HHH", 2, 0, 0) + struct.pack("!HH", 1, 1) + b"\0\0\0\x011\0\0")
COPY_IN = query("CREATE TEMP TABLE c (a int); COPY c FROM STDIN")
PAUSE = object()

# name: what is sent, step by step; each step waits for its answer to be over
CASES = {
    # before and at the start
    "an SSL request that is declined": [request(80877103), LOGIN, query("select 1")],
    "protocol 2.0": [startup(131072)],
    "protocol 4.0": [startup(262144)],
    "protocol 3.9 with an unknown option": [startup(196617, **{"_pq_.nosuch": "1"}), query("select 1")],
    "protocol 3.0 with an unknown option": [startup(196608, **{"_pq_.nosuch": "1"}), query("select 1")],
    "no user": [struct.pack("!II", 9, 196608) + b"\0"],
    "an empty database name": [startup(database="")],
    "a start-up packet that is too short": [struct.pack("!I", 4)],
    "a start-up packet that is too long": [struct.pack("!I", 100000) + b"x" * 100],
    "HTTP": [b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"],
    "a start-up packet without its end": [struct.pack("!II", 23, 196608) + b"user\0postgres\0x"],
    "a setting that does not exist": [startup(nosuch="1")],
    "a setting with a bad value": [startup(datestyle="nosuch")],
    "settings at the start": [startup(datestyle="German", application_name="a\u00e9b", TimeZone="UTC"),
                              query("SHOW datestyle"), query("RESET datestyle; SHOW datestyle")],
    "options at the start": [startup(options="-c search_path=pg_catalog,\\ x -c geqo=off"),
                             query("SHOW search_path"), query("SHOW geqo")],
    "replication, logical": [startup(replication="database"), query("SHOW wal_level"), query("select 1"),
                             parse("select 1") + SYNC],
    "replication, physical": [startup(replication="true"), query("SHOW wal_level"), query("select 1")],
    "replication, a bad value": [startup(replication="nosuch")],
    "a start-up packet, byte by byte": [*(LOGIN[i:i + 1] for i in range(8)), LOGIN[8:], query("select 1")],
    "a cancel request for nobody": [request(80877102, struct.pack("!II", 99999999, 1))],
    "a cancel request that is too short": [struct.pack("!IIH", 10, 80877102, 7)],
    "start-up and first query in one": [LOGIN + query("select 1")],
    "start-up and Terminate in one": [LOGIN + TERMINATE],
    # simple protocol
    "an empty query": [LOGIN, query(""), query(" ; ;"), query("-- only this")],
    "several queries at once": [LOGIN, query("select 1") + query("select nosuch") + query("select 3")],
    "several statements with an error": [LOGIN, query("select 1; select 1/0; select 3")],
    "a syntax error after a statement": [LOGIN, query("select 1; selec 2"), query("select 3")],
    "a failed transaction": [LOGIN, query("BEGIN"), query("select 1/0"), query("select 1"), query("COMMIT")],
    "bytes that are no text": [LOGIN, query(b"select '\xff\xfe'"), query("select 2")],
    "a query without its end": [LOGIN, message(b"Q", b"select 1"), query("select 2")],
    "a query with bytes behind its end": [LOGIN, message(b"Q", b"select 1\0select 2\0"), query("select 2")],
    "an empty query body": [LOGIN, message(b"Q"), query("select 2")],
    "a text of 2 MB": [LOGIN, query("select length('" + "x" * 2_000_000 + "')")],
    "a text with 20,000 statements": [LOGIN, query("select 1;" * 20_000)],
    "deep parentheses": [LOGIN, query("select " + "(" * 900 + "1" + ")" * 900)],
    "too deep parentheses": [LOGIN, query("select " + "(" * 30_000 + "1" + ")" * 30_000), query("select 2")],
    "notices of each level": [LOGIN, query("DO $$BEGIN RAISE NOTICE 'a' USING DETAIL='b', HINT='c', ERRCODE='01234'; "
                                           "RAISE WARNING 'w'; RAISE INFO 'i'; END$$")],
    "an error with every field": [LOGIN, query("DO $$BEGIN RAISE 'm' USING DETAIL='d', HINT='h', ERRCODE='22012', "
                                               "COLUMN='c', CONSTRAINT='k', DATATYPE='t', TABLE='a', SCHEMA='s'; END$$")],
    "LISTEN and NOTIFY of its own": [LOGIN, query("LISTEN a"), query("NOTIFY a, 'x'; NOTIFY a, 'y'"),
                                     query("BEGIN; NOTIFY a"), query("COMMIT")],
    "settings that are reported": [LOGIN, query("SET datestyle = 'SQL'; SET client_encoding = LATIN1; "
                                                "SET application_name = 'x'"), query("RESET ALL"),
                                   query("SET SESSION AUTHORIZATION postgres")],
    "encodings": [LOGIN, query("SET client_encoding = LATIN1"), query(b"select '\xe9', length('\xe9')"),
                  query("SET client_encoding = SJIS"), query(b"select '\x95\x5c'")],
    "strings without standard_conforming_strings": [LOGIN, query("SET standard_conforming_strings = off"),
                                                    query("select 'a\\'b'"), query("select 1")],
    # extended protocol
    "everything in one pipeline": [LOGIN, extended("select 1") + SYNC + extended("select 2") + SYNC],
    "Flush instead of Sync": [LOGIN, extended("select 1") + FLUSH, extended("select 2") + FLUSH, SYNC],
    "an error and what follows up to Sync": [LOGIN, extended("select 1/0") + extended("select 2") + SYNC,
                                             extended("select 3") + SYNC],
    "a query among what is skipped": [LOGIN, parse("selec") + query("select 1") + SYNC, query("select 2")],
    "a query in the middle of a pipeline": [LOGIN, parse("select 1", "s") + query("select 2") + bind((), "s") + execute()
                                            + SYNC],
    "Flush and Sync alone": [LOGIN, FLUSH, SYNC, SYNC + SYNC],
    "an empty statement": [LOGIN, extended("") + SYNC, extended("-- x") + SYNC],
    "several statements in a Parse": [LOGIN, parse("select 1; select 2") + SYNC],
    "names that do not exist": [LOGIN, bind((), "nosuch") + SYNC, execute(0, "nosuch") + SYNC,
                                describe("S", "nosuch") + SYNC, describe("P", "nosuch") + SYNC,
                                close("S", "nosuch") + close("P", "nosuch") + SYNC],
    "a name that is taken": [LOGIN, parse("select 1", "s") + SYNC, parse("select 2", "s") + SYNC,
                             bind((), "s", "p") + bind((), "s", "p") + SYNC],
    "portals that are suspended": [LOGIN, query("BEGIN"), parse("select generate_series(1,5)", "s") + bind((), "s", "p")
                                   + execute(2, "p") + FLUSH, execute(2, "p") + FLUSH, execute(2, "p") + SYNC,
                                   execute(2, "p") + SYNC, query("COMMIT"), execute(1, "p") + SYNC],
    "two portals in turns": [LOGIN, query("BEGIN"), parse("select generate_series(1,3)", "s") + bind((), "s", "p")
                             + bind((), "s", "q") + execute(1, "p") + execute(1, "q") + execute(1, "p")
                             + execute(0, "q") + execute(0, "p") + SYNC],
    "a portal that ends with its transaction": [LOGIN, parse("select 1") + bind((), "", "p") + SYNC,
                                                execute(0, "p") + SYNC],
    "a negative row count": [LOGIN, parse("select generate_series(1,3)") + bind()
                             + message(b"E", b"\0" + struct.pack("!i", -1)) + SYNC],
    "a cursor by its portal": [LOGIN, query("BEGIN; DECLARE c CURSOR FOR select generate_series(1,4)"),
                               describe("P", "c") + execute(2, "c") + SYNC, query("FETCH 1 FROM c"),
                               execute(0, "c") + close("P", "c") + SYNC, query("FETCH 1 FROM c")],
    "PREPARE, then Bind": [LOGIN, query("PREPARE s(int) AS select $1 + 1"), bind([b"4"], "s") + describe("P") + execute()
                           + SYNC, describe("S", "s") + SYNC, query("DEALLOCATE s"), bind([b"4"], "s") + SYNC],
    "Parse, then EXECUTE": [LOGIN, parse("select $1::int * 2", "s") + SYNC, query("EXECUTE s(21)"),
                            query("DISCARD ALL"), query("EXECUTE s(21)")],
    "a parameter whose type is not known": [LOGIN, parse("select $1", "s") + describe("S", "s") + SYNC,
                                            parse("select $1 + 'x'", "t", (23,)) + describe("S", "t") + SYNC],
    "parameters that do not fit": [LOGIN, parse("select $1::int") + bind([b"x"]) + execute() + SYNC,
                                   parse("select $1::int") + bind() + SYNC, parse("select 1") + bind([b"1"]) + SYNC],
    "formats that do not fit": [LOGIN, parse("select $1::int") + BAD_FORMATS + SYNC, query("select 1")],
    "a format that does not exist": [LOGIN, parse("select 1") + message(b"B", b"\0\0" + struct.pack("!HHHH", 0, 0, 1, 7))
                                     + execute() + SYNC, query("select 1")],
    "a Bind that is cut": [LOGIN, parse("select $1::int") + message(b"B", b"\0\0\0\0\0\x01\0\0\0\x09ab") + SYNC,
                           query("select 1")],
    "a Bind with bytes behind its end": [LOGIN, parse("select 1") + message(b"B", b"\0\0\0\0\0\0\0\0xx") + SYNC,
                                         query("select 1")],
    "a Parse that is cut": [LOGIN, message(b"P", b"\0select 1\0\0\x05\0\0\0\x17") + SYNC, query("select 1")],
    "an Execute that is cut": [LOGIN, message(b"E", b"\0\0\0") + SYNC, query("select 1")],
    "a Describe of neither": [LOGIN, describe("X") + SYNC, close("X") + SYNC, query("select 1")],
    "a Sync with a body": [LOGIN, message(b"S", b"xx"), query("select 1")],
    "the most parameters": [LOGIN, parse("select 1 where 1 in (" + ",".join(f"${n}" for n in range(1, 65536)) + ")",
                                         "", (23,) * 65535)
                            + bind([b"1"] * 65535) + execute() + SYNC],
    "a transaction by a pipeline": [LOGIN, extended("BEGIN") + extended("select 1/0") + SYNC, extended("select 1") + SYNC,
                                    extended("ROLLBACK") + SYNC],
    "an implicit transaction that fails at Sync": [
        LOGIN, query("CREATE TEMP TABLE d (a int UNIQUE DEFERRABLE INITIALLY DEFERRED)"),
        extended("INSERT INTO d VALUES (1), (1)") + SYNC, query("select count(*) from d")],
    # COPY
    "COPY in": [LOGIN, COPY_IN, copy_data(b"1\n2\n") + copy_data(b"3") + copy_data(b"\n") + COPY_DONE,
                query("select sum(a) from c")],
    "COPY in that fails by the client": [LOGIN, COPY_IN, copy_data(b"1\n") + message(b"f", cstr("no more")),
                                         query("select sum(a) from c")],
    "COPY in that fails by the server": [LOGIN, COPY_IN, copy_data(b"x\n") + copy_data(b"1\n") + COPY_DONE,
                                         query("select 1")],
    "a query during COPY in": [LOGIN, COPY_IN, query("select 1"), query("select 2")],
    "Sync and Flush during COPY in": [LOGIN, COPY_IN, SYNC + FLUSH, copy_data(b"1\n") + COPY_DONE,
                                      query("select sum(a) from c")],
    "COPY in by a pipeline": [LOGIN, query("CREATE TEMP TABLE c (a int)"),
                              parse("COPY c FROM STDIN") + bind() + execute() + SYNC,
                              copy_data(b"5\n") + COPY_DONE, SYNC, query("select sum(a) from c")],
    "COPY in with its data at once": [LOGIN, COPY_IN + copy_data(b"1\n") + COPY_DONE + query("select sum(a) from c")],
    "COPY messages outside of COPY": [LOGIN, copy_data(b"x") + COPY_DONE + message(b"f", cstr("x")), query("select 1")],
    "COPY out among statements": [LOGIN, query("select 1; COPY (select generate_series(1,3)) TO STDOUT; select 2")],
    "two COPYs in one text": [LOGIN, query("CREATE TEMP TABLE c (a int); COPY c FROM STDIN; COPY c FROM STDIN; "
                                           "select sum(a) from c"), copy_data(b"1\n") + COPY_DONE,
                              copy_data(b"2\n") + COPY_DONE],
    "COPY data that is empty": [LOGIN, COPY_IN, copy_data(b"") + COPY_DONE, query("select count(*) from c")],
    "the old end of data": [LOGIN, COPY_IN, copy_data(b"1\n\\.\n") + COPY_DONE, query("select sum(a) from c")],
    # other messages
    "a function call": [LOGIN, message(b"F", struct.pack("!IHHHI", 1598, 0, 0, 0, 0)[:8] + struct.pack("!HH", 0, 0)),
                        query("select 1")],
    "a function call of abs": [LOGIN, message(b"F", struct.pack("!IHHHI", 1397, 1, 0, 1, 2) + b"-7" + b"\0\0"),
                               query("select 1")],
    "a function call that does not exist": [LOGIN, message(b"F", struct.pack("!IHHH", 1, 0, 0, 0)), query("select 1")],
    "a function call that is cut": [LOGIN, message(b"F", b"\0\0"), query("select 1")],
    "a message that does not exist": [LOGIN, message(b"z"), query("select 1")],
    "a password when nobody asked": [LOGIN, message(b"p", b"x\0"), query("select 1")],
    "a length that is too short": [LOGIN, b"Q\0\0\0\x03", query("select 1")],
    "a length that is too long": [LOGIN, b"S\x7f\xff\xff\xff", query("select 1")],
    "Terminate with a body": [LOGIN, message(b"X", b"x")],
    "a query, then Terminate": [LOGIN, query("select generate_series(1,1000)") + TERMINATE],
    "the server ends the session": [LOGIN, query("select pg_terminate_backend(pg_backend_pid())")],
    "a timeout while idle in a transaction": [startup(idle_in_transaction_session_timeout="200"), query("BEGIN"), PAUSE],
    "a statement that times out": [startup(statement_timeout="100"), query("select pg_sleep(5)"), query("select 1")],
    "a half-closed client": [LOGIN, query("select generate_series(1,1000), pg_sleep(0.0001)"), None],
}

REFUSED = frozenset([
    "a query without its end", "a query with bytes behind its end", "an empty query body",
    "formats that do not fit", "a Bind that is cut", "a Bind with bytes behind its end", "a Parse that is cut",
    "an Execute that is cut", "a Describe of neither", "a message that does not exist",
    "a password when nobody asked", "a length that is too short", "a length that is too long",
    "protocol 2.0", "a start-up packet without its end",
])


def refused(said):
    """Weir's answer to a message without its shape: an error in its own name (before the session
    begins, none), and the end."""
    last = said.splitlines()[-1]
    if last == "b'' closed":
        return
    assert "C08P01" in last and "weir: invalid message from the client" in last and last.endswith(" closed"), said


def answer(sock):
    """Everything up to silence, and whether the server closed."""
    got = b""
    sock.settimeout(5)
    try:
        while True:
            data = sock.recv(1 << 20)
            if not data:
                return got, True
            got += data
            if got[-6:-1] == b"Z\0\0\0\x05":
                sock.settimeout(QUIET / 4)
            elif len(got) > 1:
                sock.settimeout(QUIET)
    except TimeoutError:
        return got, False
    except ConnectionError:
        return got, True


def normal(data):
    """Without what differs from session to session: process ids, keys, the server's line numbers
    stay."""
    data = re.sub(rb"K\0\0\0\x0c.{8}", b"K", data, flags=re.S)
    return re.sub(rb"A\0\0\0(.).{4}", rb"A\1", data, flags=re.S)


def run(port, names=None):
    """{case: what came back} of a server that trusts its clients."""
    found = {}
    for name, steps in CASES.items():
        if names and name not in names:
            continue
        said = []
        with socket.create_connection(("127.0.0.1", port)) as sock:
            for step in steps:
                try:
                    if step is None:
                        sock.shutdown(socket.SHUT_WR)
                    elif step is not PAUSE:
                        sock.sendall(step)
                except ConnectionError:
                    said.append("could not be sent")
                    break
                # the bytes of one packet, sent one by one, have no answer of their own
                if isinstance(step, bytes) and len(step) == 1 and not step.isalpha():
                    continue
                got, closed = answer(sock)
                said.append(repr(normal(got)) + (" closed" if closed else ""))
                if closed:
                    break
        found[name] = "\n".join(said)
    return found
