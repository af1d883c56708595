"""Connections inside an SSH connection: governed by their own protocol, or refused."""

import contextlib
import hashlib
import http.client
import http.server
import os
import subprocess
import threading

from lab import postgres, proc, sshd, weir
from lab.report import contains, equal, lacks

POLICY = """\
apiVersion: weir.dev/v1alpha1
kind: ClusterGuardPolicy
metadata: {name: hosts}
spec:
  mode: Enforce
  subjects: [{names: ["*"]}]
  targets: [host, behind]
  audit: {record: Commands, delivery: Batch}
  rules:
  - {name: forwards, match: {ssh: {destinations: ["127.0.0.1:*", "localhost:*", "/tmp/*"]}}, action: Allow}
  - {name: agents, match: {ssh: {channels: [agent, forwarded-tcpip, forwarded-streamlocal]}}, action: Allow}
  - {name: no-dumps, match: {ssh: {commands: [pg_dump]}}, action: Deny}
---
apiVersion: weir.dev/v1alpha1
kind: DataLabel
metadata: {name: pii.ssn}
spec:
  columns: [{target: db, table: public.customers, columns: [ssn]}]
  mask: {partial: {keepLast: 4}}
---
apiVersion: weir.dev/v1alpha1
kind: ClusterGuardPolicy
metadata: {name: shop}
spec:
  mode: Enforce
  subjects: [{names: ["*"]}]
  targets: [db]
  audit: {record: Commands, delivery: Batch}
  rules:
  - {name: mask, match: {labels: [pii.ssn]}, action: Mask}
  - name: people
    match: {sql: {effects: [Update]}}
    action: RequireApproval
    approval: {groups: [root], count: 1, deadline: 5m}
"""
LIMITED = POLICY.replace("  rules:\n  - {name: forwards", """\
  rules:
  - {name: bulk, limits: {statement: {bytes: 1Mi}, onExceed: Deny}}
  - {name: forwards""")
BEHIND = """\
---
apiVersion: weir.dev/v1alpha1
kind: Target
metadata: {{name: behind}}
spec:
  protocol: SSH
  addresses: [{{host: 127.0.0.1, port: {port}}}]
  credentials: {{mode: Brokered, secretRef: {{name: host-login}}}}
  ssh: {{hostKeys: ["{key}"], user: {user}}}
"""
TABLE = """\
CREATE ROLE app LOGIN PASSWORD 'app-secret'; CREATE DATABASE shop OWNER app
"""
ROWS = "CREATE TABLE customers (id int, ssn text); INSERT INTO customers VALUES (1, '811-12-1001')"


class Site:
    """What lies behind the host: a database, another host, and a web server."""

    def __init__(self, scene):
        self.scene = scene
        self.pg = postgres.Postgres(15, auth="scram-sha-256").start()
        for statement in TABLE.split(";"):
            self.pg.query(statement)
        self.pg.query(ROWS, database="shop", user="app")
        self.behind = sshd.Sshd().start()
        with open(self.behind.path("authorized_keys"), "a", encoding="utf-8") as f:
            f.write(scene.server.read("key.pub"))
        self.blob = os.urandom(4 << 20)
        blob = self.blob

        class Web(http.server.BaseHTTPRequestHandler):
            """One file."""
            def do_GET(self):
                self.send_response(200)
                self.send_header("content-length", str(len(blob)))
                self.end_headers()
                self.wfile.write(blob)

            def log_message(self, *_):
                pass

        self.web = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Web)
        threading.Thread(target=self.web.serve_forever, daemon=True).start()

    def start(self, policy, database=True):
        """An instance of Weir that knows them, or all but the database."""
        if database:
            return self.scene.start(policy=policy + self.targets() + "---\n" + weir.target_yaml(self.pg.port))
        return self.scene.start(policy=policy.split("---")[0] + self.targets())

    def targets(self):
        """The Target of the host behind the host."""
        return BEHIND.format(port=self.behind.port, key=self.behind.public(), user=self.behind.user)

    @contextlib.contextmanager
    def forward(self, w, place):
        """A local port that ssh leads to a place."""
        local = proc.free_port()
        child = subprocess.Popen(["ssh", *self.scene.options(w), "-N", "-L", f"127.0.0.1:{local}:{place}", "127.0.0.1"],
                                 stderr=subprocess.PIPE, text=True)
        try:
            proc.wait_until(lambda: proc.accepts(local), "ssh listens", child=child)
            yield local
        finally:
            child.terminate()
            child.wait(10)

    def stop(self):
        """Ends them."""
        self.web.shutdown()
        self.behind.stop()
        self.pg.stop()


def claims(scene, results):
    """All claims."""
    site = Site(scene)
    w = site.start(POLICY)
    results.check("a database behind a forward is governed as if it were dialled", database, site, w)
    results.check("no brokered login goes through another host unverified", brokered, site, w)
    results.check("a statement inside a forward is held, approved, and cancelled", held, site, w)
    results.check("what a web server sends through a forward is the same", web, site, w)
    results.check("forwards of one connection do not stand in each other's way", beside, site, w)
    results.check("a host behind the host is governed: ssh -J", jump, site, w)
    results.check("hosts behind one another are reached up to a depth, and no further", deep, site, w)
    results.check("a destination that refuses is told as ssh tells it", refused_there, site, w)
    results.check("a forward ends where its channel ends", ends, site, w)
    results.check("what a rule allows works back to the client: -R, its socket, -A", backwards, site, w)
    results.check("-D leads to what the policy names, and nowhere else", socks, site, w)
    w.stop()
    w = site.start(POLICY, database=False)
    results.check("a database that no target covers cannot be spoken to through a forward", uncovered, site, w)
    results.check("nor through its socket", uncovered_socket, site, w)
    w.stop()
    w = site.start(LIMITED)
    results.check("a limit on bytes ends a forward", limited, site, w)
    w.stop()
    site.stop()


def psql(port, sql, **kwargs):
    return weir.psql(port, "-Atc", sql, **kwargs)


def database(site, w):
    with site.forward(w, f"127.0.0.1:{site.pg.port}") as port:
        for env in ({"PGSSLMODE": "disable"}, {"PGSSLMODE": "require"}):
            equal(psql(port, "select id, ssn from customers", env=env).stdout, "1|***-**-1001\n")
        denied = psql(port, "select upper(ssn) from customers")
        contains(denied.stderr, 'denied by policy "shop"')
        lacks(denied.stdout, "811")
    event = w.wait_statement("select id, ssn from customers", decision="permit")
    session = event.raw["session"]
    equal((session["target"], session["destination"]), ("db", f"127.0.0.1:{site.pg.port}"))
    contains(session["client"], " through ")
    outer = session["client"].rsplit(" ", 1)[1]
    w.settle()
    led = [e for e in w.statements() if e.session == outer]
    equal({(e.raw["command"], e.text) for e in led}, {("direct-tcpip", f"127.0.0.1:{site.pg.port}")})


def brokered(site, w):
    login = weir.secret_files(w.dir, "db", "app", "app-secret")
    targets = site.targets() + "---\n"
    policies = POLICY + targets + weir.target_yaml(site.pg.port, brokered=login)
    other = site.scene.start(policy=policies)
    try:
        with site.forward(other, f"127.0.0.1:{site.pg.port}") as port:
            done = psql(port, "select 1", env={"PGSSLMODE": "disable"})
            equal((done.returncode, done.stdout), (2, ""))
            contains(done.stderr, "needs upstreamTLS with verification")
    finally:
        other.stop()


def held(site, w):
    with site.forward(w, f"127.0.0.1:{site.pg.port}") as port:
        def ask():
            return subprocess.Popen(["psql", "-XAc", "update customers set id = 1 where id = 1"], stdout=subprocess.PIPE,
                                    stderr=subprocess.PIPE, text=True, env=postgres.clean_env(
                                        PGHOST="127.0.0.1", PGPORT=str(port), PGUSER="app", PGPASSWORD="app-secret",
                                        PGDATABASE="shop"))
        child = ask()
        w.cli("approve", w.wait_request())
        equal(child.communicate(timeout=20)[0], "UPDATE 1\n")
        child = ask()
        w.wait_request()
        child.send_signal(2)
        contains(child.communicate(timeout=20)[1], "canceling statement due to user request")
        proc.wait_until(lambda: not w.requests(), "nobody is asked any more")


def fetch(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", "/")
    return connection.getresponse().read()


def web(site, w):
    with site.forward(w, f"localhost:{site.web.server_port}") as port:
        for _ in range(3):
            equal(hashlib.sha256(fetch(port)).hexdigest(), hashlib.sha256(site.blob).hexdigest())


def beside(site, w):
    with site.forward(w, f"127.0.0.1:{site.web.server_port}") as port:
        found = [None] * 12
        threads = [threading.Thread(target=lambda n=n: found.__setitem__(n, fetch(port))) for n in range(len(found))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        equal([part == site.blob for part in found], [True] * len(found))


def jump(site, w):
    scene = site.scene
    through = " ".join(["ssh", *scene.options(w), "-W", "%h:%p", "127.0.0.1"])
    argv = ["ssh", *sshd.client(site.behind.port, known_hosts=os.path.join(w.state, "known_hosts"),
                                options=(f"ProxyCommand={through}",)), "127.0.0.1"]
    done = proc.run([*argv, "echo behind"], check=False, timeout=30)
    equal(done.stdout, "behind\n", done.stderr)
    denied = proc.run([*argv, "pg_dump shop"], check=False, timeout=30)
    equal(denied.returncode, 126)
    contains(denied.stderr, 'denied by policy "hosts" rule "no-dumps"')
    event = w.wait_statement("echo behind")
    equal(event.raw["session"]["target"], "behind")


def deep(site, w):
    options = "".join("  {} {}\n".format(*option.split("=", 1)) for option in site.scene.options(w)
                      if "=" in option and not option.startswith("Port="))
    config = os.path.join(w.dir, "deep")
    with open(config, "w", encoding="utf-8") as f:
        f.write(f"Host h0\n  Port {w.port}\n")
        for n in range(1, 6):
            f.write(f"Host h{n}\n  Port {site.scene.server.port}\n  ProxyJump h{n - 1}\n")
        f.write(f"Host *\n  HostName 127.0.0.1\n{options}")
    answers = [proc.run(["ssh", "-F", config, f"h{n}", "echo in"], check=False, timeout=60) for n in (4, 5)]
    equal(answers[0].stdout, "in\n", answers[0].stderr)
    equal((answers[1].returncode, answers[1].stdout), (255, ""))


def refused_there(site, w):
    port = proc.free_port()
    answers = [proc.run(["ssh", "-o", "LogLevel=INFO", *options, "-W", f"127.0.0.1:{port}", "127.0.0.1"], check=False, timeout=20)
               for options in (site.scene.direct_options(), site.scene.options(w))]
    equal([(a.returncode, a.stdout) for a in answers], [(255, "")] * 2)
    contains(answers[0].stderr, "Connection refused")
    contains(answers[1].stderr, "Connection refused")


def ends(site, w):
    before = site.pg.query("select count(*) from pg_stat_activity where usename = 'app'")
    equal(before.strip(), "0")
    with site.forward(w, f"127.0.0.1:{site.pg.port}") as port:
        child = subprocess.Popen(["psql", "-XAt"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                 env=postgres.clean_env(PGHOST="127.0.0.1", PGPORT=str(port), PGUSER="app",
                                                        PGPASSWORD="app-secret", PGDATABASE="shop"))
        child.stdin.write("select 'there';\n")
        child.stdin.flush()
        equal(child.stdout.readline(), "there\n")
    count = "select count(*) from pg_stat_activity where usename = 'app'"
    proc.wait_until(lambda: site.pg.query(count).strip() == "0", "the server's session has ended")
    child.kill()


def backwards(site, w):
    there, digest = proc.free_port(), hashlib.sha256(site.blob).hexdigest()
    path = f"/tmp/weir-back-{os.getpid()}.sock"
    for place, fetcher in ((f"127.0.0.1:{there}", f"curl -s http://127.0.0.1:{there}/"),
                           (path, f"curl -s --unix-socket {path} http://x/")):
        done = proc.run(["ssh", *site.scene.options(w), "-o", "ExitOnForwardFailure=yes", "-R",
                         f"{place}:127.0.0.1:{site.web.server_port}", "127.0.0.1", f"{fetcher} | sha256sum"],
                        check=False, timeout=60)
        equal(done.stdout[:64], digest, done.stderr)
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", os.path.join(w.dir, "agent")], stdout=subprocess.DEVNULL)
    try:
        env = {**os.environ, "SSH_AUTH_SOCK": os.path.join(w.dir, "agent")}
        proc.wait_until(lambda: os.path.exists(env["SSH_AUTH_SOCK"]), "the agent listens")
        proc.run(["ssh-add", "-q", site.scene.server.path("ca")], env=env)
        done = proc.run(["ssh", "-o", "IdentityAgent=SSH_AUTH_SOCK", "-A", *site.scene.options(w), "127.0.0.1",
                         "ssh-add -L"], check=False, env=env)
        contains(done.stdout, site.scene.server.public("ca"))
    finally:
        proc.stop(agent)


def socks(site, w):
    local = proc.free_port()
    child = subprocess.Popen(["ssh", *site.scene.options(w), "-N", "-D", f"127.0.0.1:{local}", "127.0.0.1"],
                             stderr=subprocess.DEVNULL)
    try:
        proc.wait_until(lambda: proc.accepts(local), "ssh listens", child=child)
        base = ["curl", "-s", "-m", "20", "--socks5-hostname", f"127.0.0.1:{local}"]
        got = subprocess.run([*base, f"http://localhost:{site.web.server_port}/"], capture_output=True, check=False)
        equal(hashlib.sha256(got.stdout).hexdigest(), hashlib.sha256(site.blob).hexdigest())
        refused = subprocess.run([*base, f"http://[::1]:{site.web.server_port}/"], capture_output=True, check=False)
        equal((refused.returncode, refused.stdout), (97, b""))
    finally:
        child.terminate()
        child.wait(10)


def uncovered(site, w):
    with site.forward(w, f"127.0.0.1:{site.pg.port}") as port:
        for env in ({"PGSSLMODE": "disable"}, {"PGSSLMODE": "prefer"}):
            done = psql(port, "select ssn from customers", env=env)
            equal((done.returncode, done.stdout), (2, ""))
    w.settle()
    findings = [e.raw for e in w.events(kind="finding")]
    contains(str(findings), "ungoverned_protocol")


def uncovered_socket(site, w):
    path = os.path.join(site.pg.socket_dir, f".s.PGSQL.{site.pg.port}")
    direct = f"/tmp/weir-forward-{os.getpid()}.sock"
    os.symlink(path, direct)
    os.chmod(site.pg.dir, 0o755)
    os.chmod(site.pg.socket_dir, 0o755)
    try:
        with site.forward(w, direct) as port:
            done = psql(port, "select ssn from customers", env={"PGSSLMODE": "disable"})
            equal((done.returncode, done.stdout), (2, ""))
        ssh = ["ssh", *site.scene.direct_options(), "-N", "-L"]
        local = proc.free_port()
        child = proc.spawn([*ssh, f"127.0.0.1:{local}:{direct}", "127.0.0.1"])
        try:
            proc.wait_until(lambda: proc.accepts(local), "ssh listens")
            equal(psql(local, "select ssn from customers").stdout, "811-12-1001\n", "direct")
        finally:
            proc.stop(child)
    finally:
        os.unlink(direct)


def limited(site, w):
    with site.forward(w, f"127.0.0.1:{site.web.server_port}") as port:
        try:
            got = len(fetch(port))
        except (http.client.HTTPException, OSError) as error:
            got = len(getattr(error, "partial", b""))
        assert got <= 1 << 20, got
    event = w.wait_statement(f"127.0.0.1:{site.web.server_port}", outcome="limit_exceeded")
    contains(event.rules, "hosts/bulk")
