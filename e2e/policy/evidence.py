"""What is recorded, and what changes when policies change."""

import json
import os
import time

from lab import proc, wire
from lab.report import contains, equal, lacks

OBSERVE_HEAD = "  mode: Observe\n"


def statement_is_recorded(scene):
    """Identity, text, decision, rows, tables, masked columns."""
    scene.conn().query("SELECT ssn AS recorded_alias, name FROM customers WHERE id < 4")
    event = scene.weir.wait_statement("recorded_alias", outcome="completed")
    equal((event.decision, event.rows), ("permit", 3))
    contains(str(event.tables), "customers", "tables")
    contains(str(event.masked), "recorded_alias", "masked columns")
    contains(str(event.raw), "reporter", "identity")


def denial_is_recorded(scene):
    """A denial with its rule; its audit id in the client's error finds it."""
    error = scene.conn().query("DELETE FROM plain /* recorded denial */").errors[0]
    event = scene.weir.wait_statement("recorded denial", outcome="denied")
    contains(str(event.rules), "no-blind-writes", "rules")
    audit_id = error["D"].split("audit id")[1].strip(" .:").split()[0]
    session, number = audit_id.split("/")
    contains(str(event.raw), session, "the audit id's session")
    equal(event.raw["number"], int(number), "the audit id's statement")


def filters(scene):
    """weir query filters by table, label, decision, identity and text."""
    scene.conn().query("SELECT card FROM customers WHERE id = 2 /* filters */")
    scene.weir.wait_statement("filters", outcome="completed")
    def found(*argv):
        return str(scene.weir.json("query", "--text", "filters", *argv))
    for argv in (("--table", "public.customers"), ("--label", "pii.card"), ("--decision", "permit"),
                 ("--identity", "reporter"), ("--target", "db"), ("--since", "1h")):
        contains(found(*argv), "filters", str(argv))
    for argv in (("--table", "public.plain"), ("--label", "pii.salary"), ("--decision", "deny"), ("--identity", "other")):
        lacks(found(*argv), "filters", str(argv))


def replay_shows_what_the_client_saw(scene):
    """record: Full replays masked values only."""
    conn = scene.conn()
    seen = conn.query("SELECT name, ssn FROM customers WHERE id IN (1, 2) /* replayed */").rows
    conn.close()
    event = scene.weir.wait_statement("replayed", outcome="completed")
    proc.wait_until(lambda: "Person 1" in scene.weir.cli("replay", str(event.session), check=False).stdout,
                    "the recording", 10)
    text = scene.weir.cli("replay", str(event.session)).stdout
    contains(text, "replayed", "the statement")
    contains(text, seen[0][1].decode(), "the masked value")
    lacks(text, "811-12-1001", "the real value")


def copied_in_data_is_recorded(scene):
    """record: Full keeps what a client sends by COPY FROM, whole messages and pieces of them."""
    scene.server.psql("DROP TABLE IF EXISTS copied; CREATE TABLE copied (t text); GRANT ALL ON copied TO app", "shop")
    conn = scene.conn()
    conn.send(wire.query("COPY copied FROM STDIN /* copied in */"))
    while conn.read()[0] != "G":
        pass
    data = wire.message(b"d", b"first row sent\n") + wire.message(b"d", b"second " * 20000 + b"end of it\n")
    for at in range(0, len(data), 50_000):
        conn.send(data[at:at + 50_000])
        time.sleep(0.05)
    conn.send(wire.message(b"c", b""))
    equal(wire.Answer(conn.until_ready()).tags, ["COPY 2"])
    conn.close()
    event = scene.weir.wait_statement("copied in", outcome="completed")
    proc.wait_until(lambda: "end of it" in scene.weir.cli("replay", str(event.session), "--output", "json", check=False).stdout,
                    "the recording of what was sent", 10)
    contains(scene.weir.cli("replay", str(event.session)).stdout, "first row sent", "the first row")


def nothing_real_on_disk(scene):
    """No real labelled value lies anywhere in the state directory."""
    scene.conn().query("SELECT ssn, card, salary, email FROM customers")
    time.sleep(2)
    found = proc.run(["grep", "-rlaE", "811-12-1001|4000001234510001", scene.weir.state], check=False).stdout
    equal(found, "", "files with real values")


def sessions_are_listed(scene):
    """weir sessions shows the session, with its database user as an attribute."""
    scene.conn().query("SELECT 'session listed'")
    text = proc.wait_until(lambda: scene.weir.cli("sessions", "--output", "json").stdout, "sessions")
    contains(text, "app", "the database user")
    for form in ("table", "yaml"):
        contains(scene.weir.cli("sessions", "--output", form).stdout, "reporter", form)


def observe(scene):
    """Observe changes nothing and records what would have been denied."""
    w = scene.start(scene.policy.replace("  mode: Enforce\n", OBSERVE_HEAD))
    try:
        answer = scene.conn(w).query("SELECT ssn FROM customers WHERE id = 1 /* observed */")
        equal(answer.rows, [[b"811-12-1001"]], "not masked")
        answer = scene.conn(w).query("BEGIN; DELETE FROM plain /* would be denied */; ROLLBACK")
        equal(answer.errors, [], "not denied")
        event = w.wait_statement("would be denied")
        contains(str(event.would_deny), "no-blind-writes", "would_deny")
        equal(len(scene.conn(w).query("SELECT * FROM orders").rows), 50_000, "not held")
    finally:
        w.stop()


def hot_reload(scene):
    """A good file swaps at once, also for open sessions; a bad one keeps the last good bundle and
    says so."""
    w = scene.start()
    try:
        conn = scene.conn(w)
        equal(conn.query("SELECT body FROM plain WHERE id = 3 /* before */").code, None)
        stricter = scene.policy + "  - {name: no-plain, match: {sql: {tables: [public.plain]}}, action: Deny}\n"
        w.write("policy.yaml", stricter)
        proc.wait_until(lambda: conn.query("SELECT body FROM plain WHERE id = 3").code == "42501", "the new rule", 30)
        w.write("policy.yaml", "kind: ClusterGuardPolicy\nmetadata: {name: broken}\nspec: {modee: Enforce}\n")

        def named():
            with open(w.log, encoding="utf-8", errors="replace") as f:
                return "modee" in f.read()
        proc.wait_until(named, "the log names the field", 30)
        equal(conn.query("SELECT body FROM plain WHERE id = 3").code, "42501", "the last good bundle is in force")
        w.write("policy.yaml", scene.policy)
        proc.wait_until(lambda: conn.query("SELECT body FROM plain WHERE id = 3").code is None, "the old rules", 30)
    finally:
        w.stop()


def no_policy_refuses(scene):
    """Without a policy that selects subject and target everything is refused."""
    policy = scene.policy.replace('subjects: [{names: ["*"]}]', 'subjects: [{names: ["somebody-else"]}]')
    w = scene.start(policy)
    try:
        done = scene.psql("-c", "SELECT 1", w=w)
        if done.returncode == 0:
            raise AssertionError("it worked")
        contains(done.stderr.lower(), "polic", "the error")
    finally:
        w.stop()


def policy_check(scene):
    """weir policy check accepts the suite's policy and places errors in a broken one."""
    w = scene.weir
    files = [f"{w.dir}/policies/policy.yaml", f"{w.dir}/policies/target.yaml"]
    proc.run([w.binary, "policy", "check", *files])
    broken = f"{w.dir}/broken.yaml"
    with open(broken, "w", encoding="utf-8") as f:
        f.write(scene.policy.replace("keepLast", "keepLsat"))
    done = proc.run([w.binary, "policy", "check", broken, files[1]], check=False)
    if done.returncode == 0:
        raise AssertionError("accepted")
    for part in ("broken.yaml", "keepLsat", "keepLast"):
        contains(done.stdout + done.stderr, part)


def explain(scene):
    """weir explain gives the decision with its rule."""
    w = scene.weir
    done = proc.run([w.binary, "explain", "--sql", "DELETE FROM plain", "--as", "reporter", "--target", "db",
                     "--config", w.config], check=False, cwd=w.dir)
    contains(done.stdout, "no-blind-writes")
    done = proc.run([w.binary, "explain", "--sql", "SELECT ssn FROM customers", "--as", "reporter", "--target", "db",
                     "--config", w.config], check=False, cwd=w.dir)
    contains(done.stdout, "hide-pii")


KUBERNETES = """\
kind: Target
metadata: {name: kubernetes}
spec:
  protocol: Kubernetes
  addresses: [{host: 127.0.0.1, port: 6443}]
  upstreamTLS: {mode: Disable}
---
kind: DataLabel
metadata: {name: secret.kubernetes}
spec: {kubernetes: [{resource: secrets, fields: ["data.*"]}], mask: {constant: "[masked]"}}
---
kind: ClusterGuardPolicy
metadata: {name: api}
spec:
  mode: Enforce
  subjects: [{names: ["*"]}]
  targets: [kubernetes]
  rules:
  - {name: hide, match: {labels: ["secret.*"]}, action: Mask}
  - {name: no-shells, match: {kubernetes: {effects: [RunsCommand]}}, action: Deny}
  - {name: no-mounts, match: {kubernetes: {effects: [MountsSecrets]}}, action: Deny}
"""
POD = """\
kind: Pod
spec:
  containers: [{name: c, envFrom: [{secretRef: {name: db}}]}]
"""


def explain_kubernetes(scene):
    """weir explain reads a request to a Kubernetes API as people type it."""
    w = scene.weir
    for name, text in (("api.yaml", KUBERNETES), ("pod.yaml", POD)):
        with open(os.path.join(w.dir, name), "w", encoding="utf-8") as f:
            f.write(text)

    def asked(*words, object_file=None):
        extra = ["--object", object_file] if object_file else []
        done = proc.run([w.binary, "explain", "--policy", "api.yaml", "--as", "web", "--target", "kubernetes",
                         "--kubernetes", *words, *extra, "-o", "json"], check=False, cwd=w.dir)
        return json.loads(done.stdout)[0] if done.returncode == 0 else done
    read = asked("get", "secrets", "shop/db")
    equal((read["verdict"], read["masked_fields"]), ("permit", ["data.*"]), "a read of a Secret")
    for words, file, rule in ((("create", "pods/exec", "shop/web"), None, "no-shells"),
                              (("create", "pods", "shop/"), "pod.yaml", "no-mounts"),
                              (("POST", "/api/v1/namespaces/shop/pods"), "pod.yaml", "no-mounts")):
        said = asked(*words, object_file=file)
        equal((said["verdict"], said["rules"]), ("deny", [f"api/{rule}"]), rule)
    for words, file, why in ((("get", "secrets"), None, "which object?"), (("get", "secrets", "a/b"), "none.yaml", "none.yaml")):
        done = asked(*words, object_file=file)
        equal(done.returncode, 1, why)
        contains(done.stderr, why, "what is wrong")


def metrics_and_health(scene):
    """/metrics, /healthz and /readyz answer; no name or SQL is a label."""
    from lab import weir
    for path in ("/healthz", "/readyz"):
        equal(weir.http_get(scene.weir.admin_port, path)[0], 200, path)
    text = scene.weir.metrics()
    contains(text, "# TYPE", "Prometheus text")
    for secret in ("customers", "811-12", "app-secret", "SELECT"):
        lacks(text, secret, "labels")


def claims(scene, results):
    """All claims of this file."""
    for test in (statement_is_recorded, denial_is_recorded, filters, replay_shows_what_the_client_saw,
                 copied_in_data_is_recorded,                  nothing_real_on_disk, sessions_are_listed, observe, hot_reload, no_policy_refuses, policy_check, explain, explain_kubernetes,
                 metrics_and_health):
        results.check(f"evidence: {test.__name__.replace('_', ' ')}", test, scene)
