"""Weir as a process under test: its configuration, its policies, its start, its CLI.

All knowledge of Weir's YAML and of its state directory that the suites share is in
this file, so that a change of the schema is made once. A suite never parses Weir's
files: it asks the CLI.
"""

import glob
import http.client
import json
import os
import signal
import urllib.parse

from . import postgres, proc

PERMISSIVE = """\
apiVersion: weir.dev/v1alpha1
kind: ClusterGuardPolicy
metadata: {name: everything}
spec:
  mode: Enforce
  subjects: [{names: ["*"]}]
  targets: [db]
  audit: {record: Commands, delivery: Batch}
  rules:
  - {name: streams, match: {sql: {effects: [FunctionCall, Replication, CopyBoth]}}, action: Allow}
  - {name: opaque, match: {opaque: true}, action: Allow}
"""


def target_yaml(port, *, name="db", tls=False, ca=None, brokered=None, client=None,
                client_tls="Offer"):
    """A Target. ``brokered`` is (user name file, password file);
    ``client`` is None for any, or the file of the placeholder password."""
    upstream = f"{{mode: VerifyFull, caFile: {ca}, serverName: localhost}}" if tls else "{mode: Disable}"
    lines = ["apiVersion: weir.dev/v1alpha1", "kind: Target", f"metadata: {{name: {name}}}", "spec:",
             "  protocol: PostgreSQL",
             f"  addresses: [{{host: 127.0.0.1, port: {port}}}]",
             f"  clientTLS: {client_tls}", f"  upstreamTLS: {upstream}"]
    if brokered:
        answer = f"{{password: {{file: {client}}}}}" if client else "{any: {}}"
        lines.append(f"  credentials: {{mode: Brokered, usernameFile: {brokered[0]}, "
                     f"passwordFile: {brokered[1]}, client: {answer}}}")
    else:
        lines.append("  credentials: {mode: PassThrough}")
    return "\n".join(lines) + "\n"


def secret_files(where, name, user, password):
    """(user name file, password file), readable by their owner alone."""
    paths = []
    for kind, text in (("user", user), ("password", password)):
        path = os.path.join(where, f"{name}.{kind}")
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        os.chmod(path, 0o600)
        paths.append(path)
    return tuple(paths)


# All that Secrets hold.
SECRETS_LABEL = """\
apiVersion: weir.dev/v1alpha1
kind: DataLabel
metadata: {name: secret.kubernetes}
spec:
  kubernetes: [{resource: secrets, fields: ["data.*"]}]
  mask: {constant: "[masked]"}
---
"""


class Weir:
    """One ``weir standalone`` with an explicit listener in front of one server."""

    def __init__(self, binary, upstream_port, *, policies=PERMISSIVE, target=None, where=None,
                 state_dir=None, identity="reporter", wrap=(), target_name="db", collector=""):
        self.binary = os.path.abspath(binary)
        self.dir = where or proc.workdir("weir-run-")
        self.state = state_dir or os.path.join(self.dir, "state")
        self.port, self.admin_port, self.collector_port = (proc.free_port(wrap) for _ in range(3))
        self.log = os.path.join(self.dir, "weir.log")
        self.wrap = list(wrap)
        self.child = None
        os.makedirs(os.path.join(self.dir, "policies"), exist_ok=True)
        os.makedirs(self.state, mode=0o700, exist_ok=True)
        self.write("target.yaml", target or target_yaml(upstream_port))
        self.write("policy.yaml", policies)
        self.config = os.path.join(self.dir, "weir.yaml")
        with open(self.config, "w", encoding="utf-8") as f:
            f.write(f"""\
identity: {{name: {identity}}}
resources: [policies/]
stateDir: {self.state}
listeners: [{{address: "127.0.0.1:{self.port}", target: {target_name}}}]
admin: {{address: "127.0.0.1:{self.admin_port}"}}
collector: {{address: "127.0.0.1:{self.collector_port}"{collector}}}
""")

    def write(self, name, text):
        """Replaces a resource file atomically (the way an editor or a mount does)."""
        path = os.path.join(self.dir, "policies", name)
        with open(path + ".tmp", "w", encoding="utf-8") as f:
            f.write(text)
        os.rename(path + ".tmp", path)

    def start(self, env=None):
        """Starts it and waits for ``weir: ready``."""
        before = os.path.getsize(self.log) if os.path.exists(self.log) else 0
        self.child = proc.spawn([*self.wrap, self.binary, "standalone", "--config", self.config],
                                log=self.log, cwd=self.dir, env=env)

        def ready():
            with open(self.log, "rb") as f:
                f.seek(before)
                return b"weir: ready" in f.read()
        proc.wait_until(ready, "weir standalone is ready", child=self.child, log=self.log)
        return self

    def stop(self):
        """SIGTERM: drains."""
        return proc.stop(self.child, signal.SIGTERM, timeout=20)

    def kill(self):
        """kill -9."""
        return proc.stop(self.child, signal.SIGKILL)

    @property
    def pid(self):
        """Of the engine's process."""
        return self.child.pid

    def ca(self):
        """The certificate authority that clients must trust."""
        found = proc.wait_until(lambda: _first(f"{self.state}/ca.pem", f"{self.state}/ca.crt",
                                               f"{self.state}/ca/*.pem", f"{self.state}/ca/*.crt"),
                                "Weir's CA certificate appears", timeout=30)
        return found

    # ------------------------------------------------------------------------------ its CLI
    def cli(self, *argv, check=True, user=None, timeout=60):
        """Runs a ``weir`` command against this instance."""
        command = [self.binary, *argv, "--state-dir", self.state]
        if user:
            command = ["setpriv", f"--reuid={user}", "--clear-groups", *command]
        return proc.run(command, check=check, timeout=timeout, cwd=self.dir)

    def json(self, *argv):
        """The list in a command's ``--output json``, whatever it is wrapped in."""
        text = self.cli(*argv, "--output", "json").stdout
        try:
            value = json.loads(text)
        except json.JSONDecodeError:
            return [json.loads(line) for line in text.splitlines() if line.strip()]
        if isinstance(value, dict):
            value = next((v for v in value.values() if isinstance(v, list)), [value])
        return value

    def requests(self):
        """Requests that wait."""
        return self.json("requests")

    def wait_request(self, timeout=60):
        """The name of the one pending request, once there is one."""
        return proc.wait_until(self.requests, "a request is pending", timeout, log=self.log)[0]["name"]

    def metrics(self):
        """The Prometheus text."""
        return http_get(self.admin_port, "/metrics")[1]

    def metric(self, name):
        """The sum of one metric's samples."""
        return sum(float(line.rsplit(" ", 1)[1]) for line in self.metrics().splitlines()
                   if line.split("{")[0].split(" ")[0] == name)

    def events(self, **filters):
        """Recorded events as ``Event``s, oldest first, over the auditors' HTTP API, page by page."""
        found, cursor = [], None
        while True:
            parameters = {**filters, "limit": "10000", **({"cursor": cursor} if cursor else {})}
            page = self.api("/v1/events?" + urllib.parse.urlencode(parameters, quote_via=urllib.parse.quote))
            found += [Event(e) for e in page["events"]]
            cursor = page.get("next")
            if not cursor:
                return found[::-1]

    def statements(self, **filters):
        """Statements that ended."""
        return self.events(kind="statement_finished", **filters)

    def api(self, path):
        """A GET of the auditors' API with the token of the state directory."""
        with open(os.path.join(self.state, "collector.token"), encoding="ascii") as f:
            token = f.read().strip()
        status, text = http_get(self.collector_port, path, {"Authorization": f"Bearer {token}"})
        if status != 200:
            raise RuntimeError(f"{path}: {status} {text[:300]}")
        return json.loads(text)

    def wait_statement(self, text, timeout=60, **wanted):
        """The first recorded statement with that text whose fields are as wanted."""
        def found():
            for event in self.statements(text=text):
                if all(getattr(event, k) == v for k, v in wanted.items()):
                    return event
            return None
        return proc.wait_until(found, f"evidence of {text!r} with {wanted}", timeout, every=0.2)

    def settle(self):
        """Waits until what was spooled has reached the collector's store: nothing new comes, while the spool has
        nothing that the collector has not acknowledged."""
        last = [None, 0]

        def still():
            # Reading is an event itself.
            newest = [e["id"] for e in self.api("/v1/events?limit=50")["events"] if e["kind"] != "evidence_read"]
            now = newest[0] if newest else None
            shipped = self.metric("weir_spool_unacknowledged_events") == 0
            last[1] = last[1] + 1 if now == last[0] and shipped else 0
            last[0] = now
            return last[1] >= 4
        proc.wait_until(still, "the collector has everything", 120, every=0.4)


class Event:
    """One recorded event by the names that the suites use."""

    def __init__(self, raw):
        self.raw, self.kind = raw, raw.get("kind")
        self.text = raw.get("text") or ""
        self.outcome = (raw.get("outcome") or {}).get("status", "")
        self.decision = raw.get("decision", "")
        self.rules, self.would_deny = raw.get("rules") or [], raw.get("would_deny") or []
        self.masked, self.tables = raw.get("masked") or [], raw.get("tables") or []
        rows = raw.get("rows") or 0
        self.rows = len(rows) if isinstance(rows, list) else rows
        self.session = (raw.get("session") or {}).get("id")

    def __repr__(self):
        return f"Event({self.raw})"


def _first(*patterns):
    for pattern in patterns:
        for path in sorted(glob.glob(pattern)):
            if "key" not in os.path.basename(path):
                return path
    return None


def http_get(port, path, headers=None):
    """(status, text) of a plain GET on loopback."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", path, headers=headers or {})
    answer = connection.getresponse()
    return answer.status, answer.read().decode(errors="replace")


def psql(port, *argv, user="app", password="app-secret", database="shop", check=False, env=None,
         version=15, input=None, timeout=120):
    """Stock psql through a port, as an application would use it."""
    from . import install
    path, extra = install.psql(version)
    environment = postgres.clean_env(PGHOST="127.0.0.1", PGPORT=str(port), PGUSER=user, PGPASSWORD=password,
                                     PGDATABASE=database, PGCONNECT_TIMEOUT="15", **extra, **(env or {}))
    kwargs = {"input": input} if input is not None else {}
    return proc.run([path, "-X", *argv], check=check, env=environment, timeout=timeout, **kwargs)
