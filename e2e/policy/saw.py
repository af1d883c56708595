"""Breach scoping: who was given a value is told from fingerprints; the store has no value."""

import json
import os
import subprocess

from lab import proc, wire
from lab.report import contains, equal, lacks

SALARY, EMAIL, COPIED, HIDDEN = "30007.00", "user8@example.test", "user11@example.test", "819-12-1009"


def policy(scene):
    """Only pii.ssn is masked; fingerprints of all pii are kept, and results are not."""
    text = scene.policy.replace('match: {labels: ["pii.*"]}, action: Mask', 'match: {labels: [pii.ssn]}, action: Mask')
    return text.replace("audit: {record: Full, delivery: Batch}",
                        'audit: {record: Commands, delivery: Batch, fingerprints: ["pii.*"]}')


def saw(w, value, *argv):
    """The answer of ``weir query --saw``."""
    return json.loads(w.cli("query", "--saw", value, *argv, "-o", "json").stdout)


def told(w, value, statements):
    """Waits until the value was given in so many statements; the answer."""
    def enough():
        answer = saw(w, value)
        return sum(by["statements"] for by in answer["identities"]) >= statements and answer
    return proc.wait_until(enough, f"{statements} statements gave {value}", 10, log=w.log)


def who_was_given_it(scene):
    """In text and binary, by COPY and through a cursor: the reader is named; of a masked value nobody is."""
    w = scene.start(policy(scene))
    try:
        conn = scene.conn(w)
        sql = "SELECT name, salary FROM customers WHERE id = 7"
        equal(conn.query(sql).rows[0][1], SALARY.encode(), "the salary in text")
        binary = conn.pipeline(wire.extended(sql, binary=True)).rows[0][1]
        assert binary != SALARY.encode(), "the salary is binary"
        equal(conn.query("SELECT email FROM customers WHERE id = 8").rows[0][0], EMAIL.encode(), "the address")
        conn.query("BEGIN; DECLARE c CURSOR FOR SELECT email FROM customers WHERE id = 8")
        conn.query("FETCH ALL FROM c")
        conn.query("COMMIT")
        copied = scene.psql("-Atc", "COPY (SELECT id, email FROM customers WHERE id = 11) TO STDOUT", w=w)
        contains(copied.stdout, COPIED, "the copy")
        masked = conn.query("SELECT ssn FROM customers WHERE id = 9").rows[0][0]
        lacks(str(masked), HIDDEN, "the masked value")
        answer = told(w, SALARY, 2)
        equal([(by["identity"], by["labels"]) for by in answer["identities"]], [("reporter", ["pii.salary"])], "who")
        equal(answer["statements"][0]["target"], "db", "where")
        equal(saw(w, SALARY, "--label", "pii.salary")["perhaps"], [], "nothing is uncertain")
        equal(told(w, EMAIL, 2)["identities"][0]["labels"], ["pii.email"], "as what")
        told(w, COPIED, 1)
        equal([one["uncertain"] for one in saw(w, EMAIL)["perhaps"]], [1], "a COPY says no types")
        w.wait_statement("id = 9", outcome="completed")
        equal(saw(w, HIDDEN)["identities"], [], "who was given the masked value")
        equal(saw(w, "user12@example.test")["identities"], [], "who was given what nobody read")
        equal(saw(w, EMAIL, "--label", "pii.salary")["identities"], [], "under another label")
        read = subprocess.run([w.binary, "query", "--saw", "-", "--state-dir", w.state], input=EMAIL + "\n", text=True,
                              capture_output=True, check=True, timeout=60).stdout
        contains(read, "reporter", "the value on standard input")
        nothing_is_kept(w)
    finally:
        w.stop()


def nothing_is_kept(w):
    """The value is in no event, no file of the collector and no log; that it was asked is."""
    events = w.cli("query", "--kind", "all", "--limit", "1000", "-o", "json").stdout
    reads = [e.raw for e in w.events(kind="evidence_read") if e.raw["path"] == "/v1/saw"]
    assert reads, "the question is evidence"
    for value in (SALARY, EMAIL, COPIED, HIDDEN):
        lacks(events, value, "the events")
        lacks(json.dumps(reads), value, "who asked")
        for folder, _, names in os.walk(w.state):
            for name in names:
                path = os.path.join(folder, name)
                if not os.path.isfile(path):
                    continue
                with open(path, "rb") as f:
                    assert value.encode() not in f.read(), f"{value} is in {path}"
        with open(w.log, encoding="utf-8", errors="replace") as f:
            lacks(f.read(), value, "the log")


def what_cannot_be_said_is_said(scene):
    """Computed values and more than are kept: the reader is named as one who may have been given any."""
    w = scene.start(policy(scene))
    try:
        conn = scene.conn(w)
        conn.query("SELECT reverse(email) FROM customers WHERE id < 4")
        w.wait_statement("reverse", outcome="completed")
        def perhaps():
            return saw(w, EMAIL)["perhaps"]
        one = proc.wait_until(perhaps, "the uncertain values", 10, log=w.log)[0]
        equal((one["identity"], one["statements"], one["uncertain"], one["beyond"]), ("reporter", 1, 3, 0), "computed")
        text = w.cli("query", "--saw", EMAIL).stdout
        contains(text, "perhaps reporter too", "the table")
    finally:
        w.stop()


def values_in_another_form_are_uncertain(scene):
    """An array, a row, a document and a date in another style hold the value, and are no text that could be asked for."""
    for sql in ("SELECT array_agg(email) FROM customers WHERE id = 4", "SELECT xmlelement(name x, email) FROM customers WHERE id = 4",
                "SELECT (id, email) FROM customers WHERE id = 4", "COPY (SELECT email FROM customers WHERE id = 4) TO STDOUT (FORMAT csv)"):
        w = scene.start(policy(scene))
        try:
            equal(scene.psql("-Atc", sql, w=w).returncode, 0, sql)
            one = proc.wait_until(lambda: saw(w, EMAIL)["perhaps"], f"the uncertain value of {sql}", 10, log=w.log)[0]
            equal((one["identity"], one["uncertain"]), ("reporter", 1), sql)
        finally:
            w.stop()


def unasked_nothing_is_kept(scene):
    """Where no policy asks, there is no such event."""
    scene.conn().query("SELECT email FROM customers WHERE id = 3 /* unasked */")
    scene.weir.wait_statement("unasked", outcome="completed")
    equal(scene.weir.events(kind="labelled_values_seen"), [], "events")
    equal(saw(scene.weir, "user3@example.test"), {"labels": [], "identities": [], "statements": [], "more": False,
                                                  "perhaps": []}, "the answer")


def claims(scene, results):
    """All of them."""
    for claim in (who_was_given_it, what_cannot_be_said_is_said, values_in_another_form_are_uncertain,
                  unasked_nothing_is_kept):
        results.check(f"saw: {claim.__name__.replace('_', ' ')}", claim, scene)
