"""Values that no label names: found in results by a label's detectors, and masked."""

import re

from lab import wire
from lab.report import contains, equal, lacks

POLICY = """\
apiVersion: weir.dev/v1alpha1
kind: DataLabel
metadata: {name: found.mail}
spec: {detectors: [email], mask: {constant: "[mail]"}}
---
apiVersion: weir.dev/v1alpha1
kind: DataLabel
metadata: {name: found.ssn}
spec: {detectors: [ssn], mask: {partial: {keepLast: 4}}}
---
apiVersion: weir.dev/v1alpha1
kind: ClusterGuardPolicy
metadata: {name: values}
spec:
  mode: Enforce
  subjects: [{names: ["*"]}]
  targets: [db]
  audit: {record: Full, delivery: Batch}
  rules:
  - {name: hide-values, match: {labels: ["found.*"]}, action: Mask}
"""
MAIL, SSN = "zora@example.test", "805-36-9215"
TEXT = f"call {MAIL}, ssn {SSN}"
HIDDEN = "call [mail], ssn ***-**-9215"

# an expression that yields the values, and what the client gets for it as text
CELLS = {
    "text": (f"'{TEXT}'::text", HIDDEN),
    "computed": (f"upper('{MAIL}') || ' x'", "[mail] x"),
    "json": (f"json_build_object('m', '{MAIL}')", re.compile(r'\{"m" : "\*{4}@\*{7}\.\*{4}"\}')),
    "jsonb": (f"jsonb_build_object('m', '{MAIL}')", re.compile(r'\{"m": "\*{4}@\*{7}\.\*{4}"\}')),
    "array": (f"array['{MAIL}']", None),
    "row": (f"row(1, '{MAIL}')", None),
    "xml": (f"xmlelement(name x, '{MAIL}')", None),
    "nothing": ("'nothing here'", "nothing here"),
    "number": ("42", "42"),
}


def _same(got, expected, what):
    got = None if got is None else got.decode()
    matched = expected.fullmatch(got or "") if isinstance(expected, re.Pattern) else got == expected
    if not matched:
        raise AssertionError(f"{what}: {got!r}, not {expected!r}")


def cells(scene, w):
    """In every type of cell, simple and extended, text and binary; direct they are there."""
    conn, real = scene.conn(w), scene.direct()
    for name, (sql, expected) in CELLS.items():
        sql = f"SELECT {sql} AS c, 'beside' AS d"
        if name not in ("nothing", "number"):
            contains(str(real.query(sql).rows).lower(), MAIL, f"{name}: the control")
        for answer in (conn.query(sql), conn.pipeline(wire.extended(sql))):
            equal(answer.errors, [], name)
            _same(answer.rows[0][0], expected, name)
            equal(answer.rows[0][1], b"beside", name)
        lacks(str(conn.pipeline(wire.extended(sql, binary=True)).rows).lower(), MAIL, f"{name} in binary")


def bulk(scene, w):
    """Among many rows, those that hold a value, and no other, are changed."""
    rows = scene.conn(w).query(f"SELECT CASE WHEN g % 500 = 7 THEN '{MAIL}' ELSE 'row ' || g END FROM generate_series(1, 20000) g").rows
    equal(len(rows), 20000)
    for n, row in enumerate(rows, 1):
        equal(row[0].decode(), "[mail]" if n % 500 == 7 else f"row {n}")


def copy_out(scene, w):
    """COPY TO STDOUT, as text, CSV and binary: starred, every length as it was."""
    for form in ("text", "csv", "binary"):
        sql = f"COPY (SELECT 1, '{TEXT}', 'é') TO STDOUT (FORMAT {form})"
        real, seen = scene.direct().query(sql), scene.conn(w).query(sql)
        data = lambda answer: b"".join(body for kind, body in answer.messages if kind == "d")
        contains(str(data(real)), MAIL, f"{form}: the control")
        lacks(str(data(seen)), MAIL, form)
        lacks(str(data(seen)), SSN, form)
        equal(len(data(seen)), len(data(real)), form)


def said(scene, w):
    """Errors and notices."""
    conn = scene.conn(w)
    error = conn.query(f"SELECT '{MAIL}'::int").errors[0]
    lacks(str(error), MAIL, "the error")
    equal(error["C"], "22P02")
    answer = conn.query(f"DO $$ BEGIN RAISE NOTICE 'see {MAIL}'; END $$")
    notices = [body for kind, body in answer.messages if kind == "N"]
    equal(bool(notices) or bool(answer.errors), True)
    lacks(str(notices), MAIL, "the notice")


def evidence(scene, w):
    """The record says which label was found in which column, and keeps what the client saw."""
    scene.conn(w).query(f"SELECT 'a' AS a, '{MAIL}' AS found_here /* value evidence */")
    event = w.wait_statement("value evidence", outcome="completed")
    equal((list(event.raw["labels"]), list(event.raw["masked"])), (["found.mail"], ["found_here"]))
    contains(str(event.rules), "hide-values", "rules")
    replay = w.cli("replay", str(event.session)).stdout
    contains(replay.split("/* value evidence */")[1], "[mail]", "the recording")


def claims(scene, results):
    """All claims of this file."""
    w = scene.start(POLICY)
    for test in (cells, bulk, copy_out, said, evidence):
        results.check(f"values: {test.__name__.replace('_', ' ')}", test, scene, w)
    w.stop()
