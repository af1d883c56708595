#!/usr/bin/env python3
"""What leaves Weir in the forms of others, judged by others: OCSF by its published schema, OpenTelemetry by its own
protobuf messages and by the receiver of its own Collector.

    run.py --weir PATH [--only ocsf]

Real statements through a real engine are the evidence. Last line: N passed, N failed.
"""

import argparse
import json
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../lib"))
import shipping  # noqa: E402
from lab import install, postgres, proc, report, weir, wire  # noqa: E402
from lab.report import equal, lacks  # noqa: E402

PACKAGES = ("ocsf-json-schema==1.2.0", "jsonschema==4.26.0", "opentelemetry-proto==1.45.2")
POLICY = """\
apiVersion: weir.dev/v1alpha1
kind: DataLabel
metadata: {name: honey.trap}
spec:
  honey: true
  columns: [{target: db, table: public.trap, columns: [secret]}]
---
apiVersion: weir.dev/v1alpha1
kind: ClusterGuardPolicy
metadata: {name: shop}
spec:
  mode: Enforce
  subjects: [{names: ["*"]}]
  targets: [db]
  audit: {record: RECORD, delivery: Batch}
  rules:
  - {name: no-drop, match: {sql: {effects: [Drop]}}, action: Deny}
  - name: vault
    match: {sql: {tables: [public.vault]}}
    action: RequireApproval
    approval: {groups: [root], count: 1, deadline: 60s}
"""
SQL = "CREATE TABLE t (id int, body text); INSERT INTO t VALUES (1, 'plain-value'); " \
      "CREATE TABLE trap (id int, secret text); INSERT INTO trap VALUES (1, 'honey-value'); " \
      "CREATE TABLE vault (id int); INSERT INTO vault VALUES (1);"
OCSF = """
import json, sys
from jsonschema import Draft202012Validator
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema
schemas, seen = {}, {}
official = OcsfJsonSchemaEmbedded(get_ocsf_schema(version=sys.argv[1]))
for line in sys.stdin:
    event = json.loads(line)
    assert event["metadata"]["version"] == sys.argv[1], event
    key = (event["class_uid"], tuple(event["metadata"].get("profiles", [])))
    if key not in schemas:
        name = official.lookup_class_name_from_uid(class_uid=key[0])
        schemas[key] = Draft202012Validator(official.get_class_schema(class_name=name, profiles=list(key[1])))
    problems = [f"{'/'.join(map(str, e.absolute_path))}: {e.message[:300]}" for e in schemas[key].iter_errors(event)]
    assert not problems, (event, problems)
    seen[str(key[0])] = seen.get(str(key[0]), 0) + 1
print(json.dumps(seen))
"""
OTLP = """
import json, sys
from google.protobuf.json_format import Parse
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
ids = []
for line in sys.stdin:
    request = Parse(line, ExportLogsServiceRequest())
    for resource in request.resource_logs:
        assert {a.key for a in resource.resource.attributes} >= {"service.name"}, resource
        for scope in resource.scope_logs:
            for record in scope.log_records:
                assert record.time_unix_nano > 1_600_000_000_000_000_000 and record.severity_number, record
                ids.append(json.loads(record.body.string_value)["id"])
print(json.dumps(ids))
"""


class Scene:
    """Some evidence of each kind."""

    def __init__(self, binary, record, receiver=None):
        self.receiver = receiver
        collector = receiver.settings() if receiver else ""
        self.python = install.venv("exports", *PACKAGES)
        self.server = postgres.Postgres(15).start()
        self.server.psql("CREATE ROLE app LOGIN PASSWORD 'app-secret'; ")
        self.server.psql("CREATE DATABASE shop OWNER app;")
        self.server.psql("\\c shop\nSET ROLE app;\n" + SQL)
        target = weir.target_yaml(self.server.port, client_tls="Refuse")
        self.weir = weir.Weir(binary, self.server.port, target=target, policies=POLICY.replace("RECORD", record),
                              collector=collector).start()
        conn = wire.Conn(self.weir.port)
        for sql in ("SELECT body FROM t WHERE body = 'literal-in-text'", "INSERT INTO t VALUES (2, 'x')", "UPDATE t SET id = 3",
                    "DELETE FROM t WHERE id = 3", "SELECT nosuch FROM t", "SELECT secret FROM trap", "SELECT 1"):
            conn.query(sql)
        for _ in range(10):
            conn.query("DROP TABLE t")
        conn.send(wire.query("SELECT * FROM vault"))
        self.weir.cli("approve", self.weir.wait_request())
        conn.until_ready()
        conn.close()
        self.weir.write("policy.yaml", POLICY.replace("RECORD", record).replace("no-drop", "no-drops"))
        proc.wait_until(lambda: len(self.weir.events(kind="policy_changed")) > 1, "the policy changed", 20)
        proc.wait_until(lambda: self.weir.events(kind="finding", text="was refused"), "a finding", 20)
        self.weir.settle()

    def export(self, *argv):
        """Lines of an export."""
        return self.weir.cli("events", "export", *argv).stdout

    def judge(self, code, text, *argv):
        """What a program of others says of it."""
        done = subprocess.run([self.python, "-c", code, *argv], input=text, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise AssertionError(done.stderr[-3000:])
        return json.loads(done.stdout)


def ocsf_is_valid(scene, version):
    """Every line satisfies the published schema, and each class that SQL brings about is there."""
    seen = scene.judge(OCSF, scene.export("--format", "ocsf", "--ocsf-version", version), version)
    equal(set(seen), {"2006", "3002", "3004", "6003", "6005"})


def otlp_is_valid(scene):
    """The protobuf messages of OpenTelemetry take it, and every event but recordings is a record once."""
    ids = scene.judge(OTLP, scene.export("--format", "otlp"))
    events = [json.loads(line) for line in scene.export("--format", "jsonl").splitlines()]
    wanted = {event["id"] for event in events if event["kind"] not in ("recording_chunk", "evidence_read", "heartbeat")}
    equal(len(ids), len(set(ids)))
    assert wanted <= set(ids), wanted - set(ids)


def values_stay(scene):
    """No value of a result leaves in any form but a recording's own."""
    for form in ("ocsf", "otlp"):
        text = scene.export("--format", form)
        for value in ("plain-value", "honey-value"):
            lacks(text, value, form)


def the_record_level_holds(scene):
    """Under Metadata no text leaves."""
    for form in ("ocsf", "otlp", "jsonl"):
        lacks(scene.export("--format", form), "literal-in-text", form)


def honey_and_denials_are_findings(scene):
    """Each once, where it happened."""
    found = scene.weir.events(kind="finding")
    codes = [event.raw["code"] for event in found]
    equal((codes.count("honey_row_read"), codes.count("repeated_denials")), (1, 1), str(codes))
    honey = next(event for event in found if event.raw["code"] == "honey_row_read")
    read = next(event for event in scene.weir.statements() if "public.trap" in event.tables)
    equal(honey.session, read.session)
    text = scene.weir.metrics()
    assert 'weir_findings_total{code="honey_row_read"} 1' in text, text


def main():
    """All claims."""
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--weir", metavar="PATH", required=True)
    ap.add_argument("--only", help="parts of names, by comma")
    a = ap.parse_args()
    results = report.Report(a.only)
    full = Scene(a.weir, "Full")
    for version in ("1.5.0", "1.8.0"):
        results.check(f"exports: ocsf_is_valid {version}", ocsf_is_valid, full, version)
    for claim in (otlp_is_valid, values_stay, honey_and_denials_are_findings):
        results.check(f"exports: {claim.__name__}", claim, full)
    full.weir.stop()
    bare = Scene(a.weir, "Metadata")
    results.check("exports: the_record_level_holds", the_record_level_holds, bare)
    bare.weir.stop()
    shipped = Scene(a.weir, "Full", shipping.Receiver().start())
    for claim in shipping.CLAIMS:
        results.check(f"exports: {claim.__name__}", claim, shipped)
    shipped.weir.stop()
    results.finish()


if __name__ == "__main__":
    main()
