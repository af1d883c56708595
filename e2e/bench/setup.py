"""What the benchmark measures against: one server, the ways to it, and the tools.

The server trusts loopback, so that no way has its password's cost in a round; PgBouncer pools
by session. Nothing here knows what is measured.
"""

import json
import os
import re
import shutil
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.abspath(os.path.join(HERE, "../.."))
sys.path.insert(0, os.path.join(HERE, "../lib"))
from lab import build, install, postgres, proc, weir  # noqa: E402

RELEASE = build.release()
SCHEMA = """
create role bench login superuser;
create database bench owner bench;
\\c bench bench
create table people (id int primary key, name text, region text);
insert into people select g, 'Person ' || g, 'EU' from generate_series(1, 10000) g;
create table big as select g as id, 'Person ' || g as name, format('8%s-12-%s', 10 + g % 90, 1000 + g % 9000) as ssn,
  '40000012345' || (10000 + g % 90000) as card, 'user' || g || '@example.test' as email,
  'a note of some length about order ' || g as note from generate_series(1, {rows}) g;
create table secret (id int, ssn text);
vacuum analyze;
checkpoint;
"""
LABELS = """\
apiVersion: weir.dev/v1alpha1
kind: DataLabel
metadata: {{name: {name}}}
spec: {{columns: [{{target: db, table: {table}, columns: [{column}]}}], mask: {mask}}}
---
"""
# everything on: rules over effects, a label that needs the catalog, a limit that counts rows
RULES = """\
apiVersion: weir.dev/v1alpha1
kind: ClusterGuardPolicy
metadata: {{name: bench}}
spec:
  mode: Enforce
  subjects: [{{names: ["*"]}}]
  targets: [db]
  audit: {{record: Commands, delivery: {delivery}}}
  rules:
  - {{name: no-blind-writes, match: {{sql: {{effects: [Update, Delete], where: Missing}}}}, action: Deny}}
  - {{name: no-drop, match: {{sql: {{effects: [Drop, Truncate]}}}}, action: Deny}}
  - {{name: hide, match: {{labels: ["pii.*"]}}, action: Mask}}
  - name: bulk
    limits: {{statement: {{rows: 100000000}}, onExceed: Deny}}
"""


def policies(kind, delivery):
    """The policy of an instance: counted, masking, masking with a keyed token, or scanning."""
    partial, constant, token = "{partial: {keepLast: 4}}", '{constant: "[hidden]"}', "{token: {}}"
    text = LABELS.format(name="pii.secret", table="public.secret", column="ssn", mask=partial)
    if kind in ("masking", "tokens"):
        text = LABELS.format(name="pii.ssn", table="public.big", column="ssn", mask=partial)
        text += LABELS.format(name="pii.card", table="public.big", column="card", mask=constant)
        text += LABELS.format(name="pii.email", table="public.big", column="email",
                              mask=token if kind == "tokens" else "{partial: {keepFirst: 1}}")
    if kind == "scanning":
        text = ("apiVersion: weir.dev/v1alpha1\nkind: DataLabel\nmetadata: {name: pii.found}\n"
                f"spec: {{detectors: [ssn, pan, email, iban], mask: {constant}}}\n---\n")
    return text + RULES.format(delivery=delivery)


def cpu_seconds(pid):
    """CPU time of all threads of a process, in seconds, by the scheduler's own count."""
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        try:
            with open(f"/proc/{pid}/task/{task}/schedstat", encoding="ascii") as f:
                total += int(f.read().split()[0])
        except OSError:
            pass
    return total / 1e9


class Tools:
    """The benchmark's own binary."""

    def __init__(self):
        self.tool = os.path.join(RELEASE, "weir-bench")
        if not os.path.exists(self.tool):
            raise SystemExit(f"{self.tool} is not built: make bench builds it")


class Scene(Tools):
    """The server and every way to it."""

    def __init__(self, a):
        super().__init__()
        self.a, self.big_rows = a, 100_000 if a.quick else 1_000_000
        self.server = postgres.Postgres(a.server, auth="trust", conf={"max_connections": "300", "shared_buffers": "512MB",
                                                                     "jit": "off", "autovacuum": "off"}).start()
        self.server.psql(SCHEMA.format(rows=self.big_rows))
        self.pgbench_path = os.path.join(install.postgres_bin(15), "pgbench")
        self._pgbench_init()
        self.ports, self.pids, self.instances = {"direct": self.server.port}, {}, {}
        self.ports["relay"], self.pids["relay"], _ = self.fresh("relay")
        self.pgbouncer = self._pgbouncer()
        self.ports["weir"], self.pids["weir"], _ = self.fresh("weir")

    def _pgbench_init(self):
        proc.run([self.pgbench_path, "-i", "-q", "-s", "10", "-h", "127.0.0.1", "-p", str(self.server.port), "-U", "bench", "bench"],
                 env=postgres.clean_env())

    def fresh(self, way, kind="counted", tls=False):
        """A new proxy: (port, pid, stop)."""
        if way == "relay" or self.a.without_weir:
            port = proc.free_port()
            child = proc.spawn([self.tool, "relay", f"127.0.0.1:{port}", f"127.0.0.1:{self.server.port}"])
            proc.wait_until(lambda: proc.accepts(port), "the relay listens", child=child)
            self.ca = self.server.ca
            return port, child.pid, lambda: proc.stop(child)
        where = proc.workdir("weir-bench-")
        target = weir.target_yaml(self.server.port, tls=tls, ca=self.server.ca, client_tls="Offer" if tls else "Refuse")
        w = weir.Weir(os.environ["WEIR"], self.server.port, target=target, where=where,
                      policies=policies(kind, self.a.delivery)).start()
        if tls:
            self.ca = w.ca()
        return w.port, w.pid, w.stop

    def _pgbouncer(self):
        """PgBouncer by session, where it is installed: the peer to beat."""
        path = shutil.which("pgbouncer") or "/usr/sbin/pgbouncer"
        if not os.path.exists(path):
            install.apt("pgbouncer")
        where = proc.workdir("weir-pgbouncer-")
        port = proc.free_port()
        with open(f"{where}/pgbouncer.ini", "w", encoding="ascii") as f:
            f.write(f"[databases]\nbench = host=127.0.0.1 port={self.server.port} dbname=bench\n[pgbouncer]\n"
                    f"listen_addr = 127.0.0.1\nlisten_port = {port}\nauth_type = trust\nauth_file = {where}/users\n"
                    "pool_mode = session\ndefault_pool_size = 150\nmax_client_conn = 300\nunix_socket_dir =\n"
                    "log_connections = 0\nlog_disconnections = 0\nignore_startup_parameters = extra_float_digits\n")
        with open(f"{where}/users", "w", encoding="ascii") as f:
            f.write('"bench" ""\n')
        child = proc.spawn(self.server._as_user(path, f"{where}/pgbouncer.ini"), log=f"{where}/../{os.path.basename(where)}.log")
        proc.wait_until(lambda: proc.accepts(port), "PgBouncer listens", child=child, log=f"{where}/../{os.path.basename(where)}.log")
        self.ports["pgbouncer"], self.pids["pgbouncer"] = port, child.pid
        return True

    def port(self, way):
        """The port of a way; special instances of Weir start when first asked for."""
        if way not in self.ports:
            kind = way if way in ("masking", "tokens", "scanning") else "counted"
            self.ports[way], self.pids[way], _ = self.fresh("weir", kind, tls=way == "tls")
        return self.ports[way]

    def pid(self, way):
        """The process of a proxy, or None for direct."""
        return self.pids.get(way)

    def bench(self, command, way, *argv, tls=False):
        """One line of JSON from the benchmark's own client."""
        port = self.port(way)
        more = ["--tls", self.server.ca if way == "direct" else self.ca] if tls else []
        return json.loads(proc.run([self.tool, command, "--address", f"127.0.0.1:{port}", *more, *argv]).stdout)

    def pgbench(self, way, seconds, *argv):
        """Transactions per second of 16 clients."""
        done = proc.run([self.pgbench_path, "-n", "-c", "16", "-j", "1", "-T", str(seconds), "-h", "127.0.0.1",
                         "-p", str(self.port(way)), "-U", "bench", *argv, "bench"], env=postgres.clean_env())
        failed = re.search(r"number of failed transactions: (\d+)", done.stdout)
        if failed and failed.group(1) != "0":
            raise RuntimeError(done.stdout)
        return float(re.search(r"tps = ([\d.]+) \(without", done.stdout).group(1))


def example(package, name, build_only=False):
    """The output of an example in release mode, on the pinned CPU."""
    argv = ["cargo", "build", "--release", "--locked", "--quiet", "-p", package, "--example", name]
    affinity = os.sched_getaffinity(0)
    os.sched_setaffinity(0, range(os.cpu_count()))
    try:
        proc.run(argv, cwd=ROOT, timeout=1800)
    finally:
        os.sched_setaffinity(0, affinity)
    if build_only:
        return ""
    return proc.run([os.path.join(RELEASE, "examples", name)], cwd=proc.workdir("weir-example-"), timeout=900).stdout


def figures(text):
    """{id: value} of lines such as ``B9.rate 170000 events/s``; the worst of repeated ones."""
    found = {}
    for ident, value in re.findall(r"^(B\d+(?:\.\w+)?) ([\d.]+)", text, re.M):
        value = float(value)
        worse = min if ident == "B9.rate" else max
        found[ident] = worse(found[ident], value) if ident in found else value
    return found


def speeds(text):
    """{name: GB/s} of the detector's example."""
    return {name: float(rate) for name, rate in re.findall(r"^(\w+)\s+([\d.]+) GB/s", text, re.M)}
