"""Holds and budgets: before a statement runs, at row 10,001, over a window."""

import threading
import time

from lab import proc, wire
from lab.report import contains, equal

LIMIT = 10_000
EXPORT = "SELECT id, body FROM orders ORDER BY id"


class Running:
    """A statement that runs in the background on a connection of its own."""

    def __init__(self, scene, sql, w=None, extended=False, first=()):
        self.w = w or scene.weir
        self.conn = scene.conn(self.w, timeout=60)
        for before in first:
            equal(self.conn.query(before).code, None, before)
        self.answer, self.error = None, None
        self.conn.send(wire.extended(sql) + wire.SYNC if extended else wire.query(sql))
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self):
        try:
            self.answer = wire.Answer(self.conn.until_ready())
        except (wire.Closed, OSError) as error:
            self.error = error

    def delivered(self):
        """Rows that the client has now."""
        return sum(1 for kind, _ in list(self.conn.seen) if kind == "D")

    def notice(self):
        """The text of the hold's notice, once it is there."""
        def found():
            for kind, body in list(self.conn.seen):
                if kind == "N" and "awaiting approval" in wire.fields(body)["M"]:
                    return wire.fields(body)["M"]
            return None
        return proc.wait_until(found, "the notice", 60)

    def result(self):
        """The answer, once complete."""
        self.thread.join(60)
        if self.thread.is_alive():
            raise AssertionError("still waiting")
        if self.error:
            raise AssertionError(f"connection lost: {self.error!r}")
        return self.answer


def held(scene, w=None, **kwargs):
    """An export held at its limit: (Running, request name)."""
    running = Running(scene, EXPORT, w, **kwargs)
    notice = running.notice()
    name = running.w.wait_request()
    contains(notice, name, "the notice names the request")
    equal(running.delivered(), LIMIT, "rows delivered while held")
    return running, name


def approve_finishes(scene, extended):
    """Held with 10,000 rows delivered, approved, and all 50,000 arrive."""
    running, name = held(scene, extended=extended)
    time.sleep(0.5)
    equal(running.delivered(), LIMIT, "nothing trickles")
    scene.weir.cli("approve", name)
    answer = running.result()
    equal((len(answer.rows), answer.code, answer.tags), (50_000, None, ["SELECT 50000"]))
    equal([int(r[0]) for r in answer.rows], list(range(1, 50_001)), "in order, none twice, none lost")
    equal(running.conn.query("SELECT 1").rows, [[b"1"]])


def approve_some_rows(scene):
    """An approval for --rows N holds again after N more rows."""
    running, name = held(scene)
    scene.weir.cli("approve", name, "--rows", "5000")
    proc.wait_until(lambda: running.delivered() == LIMIT + 5000, "5,000 more rows", 60)
    second = scene.weir.wait_request()
    if second == name:
        raise AssertionError("the same request twice")
    scene.weir.cli("deny", second, "--reason", "enough")
    equal(running.result().code, "42501")


def deny_ends(scene):
    """Denied: an error with the reason, exactly 10,000 rows, and the session lives on."""
    running, name = held(scene)
    scene.weir.cli("deny", name, "--reason", "not on a Friday")
    answer = running.result()
    equal((answer.code, len(answer.rows), answer.status), ("42501", LIMIT, "I"))
    contains(str(answer.errors[0]), "not on a Friday", "the reason")
    equal(running.conn.query("SELECT 1").rows, [[b"1"]], "the session")
    proc.wait_until(lambda: scene.server.query("SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE "
                                               "'SELECT id, body FROM orders%'") == "0", "cancelled upstream")


def deadline_ends(scene):
    """Nobody decides: the deadline denies."""
    w = scene.start(scene.hurried())
    try:
        running, _ = held(scene, w)
        answer = running.result()
        equal((answer.code, len(answer.rows)), ("42501", LIMIT))
        equal(w.requests(), [], "pending requests")
        equal(running.conn.query("SELECT 1").rows, [[b"1"]])
        running.conn.close()
    finally:
        w.stop()


def cancel_ends(scene):
    """CancelRequest ends a held statement."""
    running, _ = held(scene)
    wire.cancel(scene.weir.port, running.conn.key)
    answer = running.result()
    equal((answer.code, len(answer.rows)), ("57014", LIMIT))
    proc.wait_until(lambda: scene.weir.requests() == [], "the request is closed", 30)
    equal(running.conn.query("SELECT 1").rows, [[b"1"]])


def client_gone(scene):
    """A client that goes away while held is noticed and closes the request."""
    running, name = held(scene)
    running.conn.sock.shutdown(2)
    running.conn.sock.close()
    proc.wait_until(lambda: scene.weir.requests() == [], "the request is closed", 30)
    done = scene.weir.cli("approve", name, check=False)
    if done.returncode == 0:
        raise AssertionError("approved what is gone")


def server_ends_the_session(scene):
    """A server that ends the session while a statement waits: the client hears why at once, and nobody is asked any more."""
    running = Running(scene, "SELECT secret FROM vault", first=("SET application_name = 'idle too long'",))
    running.notice()
    name = scene.weir.wait_request()
    mine = "FROM pg_stat_activity WHERE application_name = 'idle too long'"
    equal(scene.server.query(f"SELECT pg_terminate_backend(pid) {mine}"), "t")
    running.thread.join(10)
    said = [wire.fields(body) for kind, body in running.conn.seen if kind == "E"]
    equal(([fields["C"] for fields in said], running.thread.is_alive()), (["57P01"], False), "what the client hears")
    proc.wait_until(lambda: scene.weir.requests() == [], "the request is closed", 30)
    if scene.weir.cli("approve", name, check=False).returncode == 0:
        raise AssertionError("approved what is gone")


def memory_is_flat(scene):
    """Held with a million rows behind it, the engine does not grow."""
    idle = proc.held_kb(scene.weir.pid)
    running = Running(scene, "SELECT o.id, o.body, repeat('x', 100) FROM orders o, generate_series(1, 20) g")
    running.notice()
    name = scene.weir.wait_request()
    time.sleep(2)
    grown = proc.held_kb(scene.weir.pid) - idle
    scene.weir.cli("deny", name, "--reason", "test")
    running.result()
    if grown > 8 * 1024:
        raise AssertionError(f"grew by {grown} kB")


def before_it_runs(scene):
    """A statement held before it runs has not reached the server; approved, it runs."""
    running = Running(scene, "SELECT secret FROM vault")
    running.notice()
    name = scene.weir.wait_request()
    equal(scene.server.query("SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT secret%'"), "0", "at the server")
    equal(running.delivered(), 0)
    requests = scene.weir.requests()
    contains(str(requests), "SELECT secret FROM vault", "the reviewer sees the statement")
    scene.weir.cli("approve", name)
    equal(running.result().rows, [[b"opened"]])
    running = Running(scene, "UPDATE vault SET secret = 'changed' WHERE id = 1", extended=True)
    running.notice()
    scene.weir.cli("deny", scene.weir.wait_request(), "--reason", "no")
    equal(running.result().code, "42501")
    equal(scene.server.query("SELECT secret FROM vault", "shop"), "opened", "unchanged")


def cursor_is_one_statement(scene):
    """A cursor's FETCHes count together: 10,000 rows, then a hold."""
    conn = scene.conn(timeout=30)
    conn.query(f"BEGIN; DECLARE c CURSOR FOR {EXPORT}")
    for _ in range(10):
        equal(len(conn.query("FETCH 1000 FROM c").rows), 1000)
    conn.send(wire.query("FETCH 1000 FROM c"))
    name = scene.weir.wait_request()
    scene.weir.cli("approve", name)
    equal(len(wire.Answer(conn.until_ready()).rows), 1000)
    conn.close()


def portal_is_one_statement(scene):
    """Partial Executes of one portal count together."""
    conn = scene.conn(timeout=30)
    conn.query("BEGIN")
    conn.pipeline(wire.parse(EXPORT), wire.bind(portal="p"))
    rows = 0
    for _ in range(10):
        rows += len(conn.pipeline(wire.execute(1000, "p")).rows)
    equal(rows, LIMIT)
    conn.send(wire.execute(1000, "p") + wire.SYNC)
    scene.weir.cli("deny", scene.weir.wait_request(), "--reason", "no")
    answer = wire.Answer(conn.until_ready())
    equal((answer.code, answer.rows, answer.status), ("42501", [], "E"))
    conn.close()


def requester_cannot_approve(scene):
    """The one who asks cannot decide, root included."""
    w = scene.start(scene.hurried(), identity="root")
    try:
        running = Running(scene, "SELECT secret FROM vault", w)
        running.notice()
        name = w.wait_request()
        done = w.cli("approve", name, check=False)
        if done.returncode == 0:
            raise AssertionError("the requester approved itself")
        equal(running.delivered(), 0)
        equal(running.result().code, "42501", "the deadline denies")
        running.conn.close()
    finally:
        w.stop()


def only_the_group(scene):
    """An OS user outside the rule's groups, or without the socket's permission, cannot decide."""
    running = Running(scene, "SELECT secret FROM vault")
    running.notice()
    name = scene.weir.wait_request()
    done = scene.weir.cli("approve", name, check=False, user="nobody")
    if done.returncode == 0:
        raise AssertionError("nobody approved")
    scene.weir.cli("deny", name, "--reason", "test")
    equal(running.result().code, "42501")


def budget_survives_kill(scene):
    """Rows used in a window are not given back by kill -9."""
    w = scene.start()
    try:
        equal(len(scene.conn(w).query("SELECT id FROM metered LIMIT 60").rows), 60)
        time.sleep(1.5)
        w.kill()
        w.start()
        answer = scene.conn(w).query("SELECT id FROM metered")
        equal(answer.code, "42501", "beyond the budget")
        if len(answer.rows) > 40:
            raise AssertionError(f"{len(answer.rows)} rows after 60 of 100")
        equal(scene.conn(w).query("SELECT id FROM metered LIMIT 1").code, "42501", "the budget is used up")
        equal(scene.conn(w).query("SELECT 1").rows, [[b"1"]], "other statements")
        w.cli("budgets", "reset")
        equal(len(scene.conn(w).query("SELECT id FROM metered LIMIT 60").rows), 60, "after the operator's reset")
        equal(len(proc.wait_until(lambda: w.events(kind="budgets_reset"), "the reset is itself evidence")), 1)
    finally:
        w.stop()


def lookups_count_before_they_run(scene):
    """A budget of statements holds for those of one message, of one pipeline and of one list."""
    def lookup(guess):
        return f"SELECT id FROM customers WHERE card = '{guess}'"

    w = scene.start()
    try:
        conn = scene.conn(w)
        listed = "SELECT id FROM customers WHERE card IN ({})"
        for sql in ("; ".join(map(lookup, range(11))), listed.format(", ".join(f"'{n}'" for n in range(11))),
                    "SELECT id FROM customers WHERE card = ANY ('{1,2}')"):
            equal(conn.query(sql).code, "42501", sql)
        equal(conn.query("; ".join(map(lookup, range(4)))).tags, ["SELECT 0"] * 4, "what was refused took nothing")
        equal(conn.query(listed.format("'1', '2'")).code, None, "six are used up")
        lookups = [wire.extended(lookup(number)) for number in range(8)]
        answer = conn.pipeline(*lookups)
        equal((answer.tags, answer.code), (["SELECT 0"] * 4, "42501"), "a pipeline")
    finally:
        w.stop()


def claims(scene, results):
    """All claims of this file."""
    results.check("hold: approve at row 10,001 finishes (simple)", approve_finishes, scene, False)
    results.check("hold: approve at row 10,001 finishes (extended)", approve_finishes, scene, True)
    for test in (approve_some_rows, deny_ends, deadline_ends, cancel_ends, client_gone, server_ends_the_session,
                 memory_is_flat, before_it_runs,
                 cursor_is_one_statement, portal_is_one_statement, requester_cannot_approve, only_the_group,
                 budget_survives_kill, lookups_count_before_they_run):
        results.check(f"hold: {test.__name__.replace('_', ' ')}", test, scene)
