"""Quarantine: one order ends what an identity does and refuses what it begins, until it is lifted."""

import json
import time

from holds import held
from lab import proc, wire
from lab.report import contains, equal

WHO = "*"


def order(w, *argv, **kwargs):
    """``weir quarantine`` on everybody who uses this instance."""
    return w.cli("quarantine", WHO, *argv, **kwargs)


def changes(w):
    """What the record says of quarantines, in order."""
    found = [event.raw for event in w.events(kind="quarantine_changed")]
    return sorted(found, key=lambda event: event["time"])


def cut(conn):
    """What a connection was told at its end."""
    try:
        answer = wire.Answer(conn.until_ready())
    except (wire.Closed, OSError):
        answer = None
    seen = [wire.fields(body) for kind, body in conn.seen if kind == "E"]
    if not seen:
        raise AssertionError(f"no error before the end: {answer!r}")
    return seen[-1]


def sessions_end(scene):
    """Idle, busy and held sessions end at once; new ones are refused; the record says by whom and why."""
    w = scene.start()
    try:
        idle, busy = scene.conn(w), scene.conn(w)
        equal(idle.query("select 1").code, None, "before")
        busy.send(wire.query("select pg_sleep(30)"))
        waiting, request = held(scene, w)
        time.sleep(0.3)
        since = time.time()
        said = order(w, "--reason", "reads at night").stdout
        contains(said, "is cut off", "what the operator is told")
        for conn, what in ((idle, "idle"), (busy, "busy")):
            error = cut(conn)
            took = time.time() - since
            equal((error["S"], error["C"]), ("FATAL", "57P01"), what)
            contains(error["M"], "quarantined", what)
            assert "night" not in error["M"], "the reason is not the client's business"
            print(f"      the {what} session ended after {took:.2f} s")
            assert took < 5, took
        waiting.thread.join(5)
        proc.wait_until(lambda: not w.requests(), "the held request is closed", 30)
        refused = scene.psql("-c", "select 1", w=w)
        contains(refused.stderr, "quarantined", "a new connection")
        event = proc.wait_until(lambda: changes(w), "the event", 30)[-1]
        equal((event["on"], event["reason"]), (True, "reads at night"), "the event")
        assert event["by"], "who ordered it is known"
        def told():
            rows = json.loads(w.cli("ask", "who-was-cut-off", "-o", "json").stdout)["rows"]
            return [(row[1], row[5], row[6]) for row in rows]
        # Whom it hit is told by the engine, and comes a moment after the order.
        proc.wait_until(lambda: len(told()) > 1, "whom it hit is on record", 30)
        equal(told(),
              [(what, event["by"], "reads at night") for what in ("order", "pod")], "the order, and whom it hit")
        def closed():
            return [e for e in w.events(kind="access_request_closed") if e.raw["name"] == request]
        proc.wait_until(closed, "the end of the hold is recorded", 30)
        w.settle()
        equal(len(closed()), 1, "the hold is over once")
    finally:
        w.stop()


def logins_on_the_way_are_told(scene):
    """Who is about to log in is told, not just dropped; and so is who comes while policies change under an order."""
    w = scene.start()
    try:
        silent, asked = scene.conn(w, login=False), scene.conn(w, login=False)
        asked.begin()
        equal(asked.read()[0], "R", "asked for its password")
        order(w, "--reason", "reads at night")
        error = cut(asked)
        equal((error["S"], error["C"]), ("FATAL", "57P01"), "asked")
        contains(error["M"], "quarantined", "asked")
        silent.begin()
        contains(cut(silent)["M"], "quarantined", "silent until then")
        later = scene.conn(w, login=False)
        revisions = len(w.events(kind="policy_changed"))
        w.write("policy.yaml", scene.policy + "  - {name: no-plain, match: {sql: {tables: [public.plain]}}, action: Deny}\n")
        proc.wait_until(lambda: len(w.events(kind="policy_changed")) > revisions, "the edit is in force", 10)
        later.begin()
        contains(cut(later)["M"], "quarantined", "after an edit under the order")
    finally:
        w.stop()


def lifted_as_plainly(scene):
    """It survives a restart, is lifted by the same words, and policy judges again."""
    w = scene.start()
    try:
        order(w, "--reason", "a drill")
        w.kill()
        w.start()
        contains(scene.psql("-c", "select 1", w=w).stderr, "quarantined", "after a restart")
        listed = json.loads(w.cli("quarantine", "-o", "json").stdout)
        equal([(one["spec"]["reason"], "lifted" in one["spec"]) for one in listed], [("a drill", False)], "the list")
        order(w, "--lift", "--reason", "the drill is over")
        proc.wait_until(lambda: scene.psql("-Atc", "select 1", w=w).stdout == "1\n", "let in again", 5)
        equal(order(w, "--lift", "--reason", "again", check=False).returncode, 1, "lifted twice")
        last = proc.wait_until(lambda: [e for e in changes(w) if not e["on"]], "the event", 5)[-1]
        equal((last["on"], last["reason"]), (False, "the drill is over"), "the event of the lifting")
    finally:
        w.stop()


def nobody_is_not_an_order(scene):
    """A reason and somebody are needed."""
    for argv in (("quarantine", WHO), ("quarantine", "--reason", "x"), ("quarantine", WHO, "--reason", " ")):
        assert scene.weir.cli(*argv, check=False).returncode != 0, argv
    contains(scene.psql("-Atc", "select 1").stdout, "1", "nothing changed")


def claims(scene, results):
    """All of them."""
    for claim in (sessions_end, logins_on_the_way_are_told, lifted_as_plainly, nobody_is_not_an_order):
        results.check(f"quarantine: {claim.__name__.replace('_', ' ')}", claim, scene)
