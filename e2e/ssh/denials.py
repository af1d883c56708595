"""What policies refuse, hold and limit over SSH, and how it reads."""

import hashlib
import os
import re
import socket
import subprocess
import time

from lab import proc
from lab.report import contains, equal, lacks

POLICY = """\
apiVersion: weir.dev/v1alpha1
kind: ClusterGuardPolicy
metadata: {name: hosts}
spec:
  mode: Enforce
  subjects: [{names: ["*"]}]
  targets: [host]
  audit: {record: Commands, delivery: Batch}
  rules:
"""

RULES = POLICY + """\
  - {name: no-shadow, match: {ssh: {commands: ["*shadow*"]}}, action: Deny}
  - {name: no-locale, match: {ssh: {env: [LC_SECRET]}}, action: Deny}
  - name: shells
    match: {ssh: {channels: [shell]}}
    action: RequireApproval
    approval: {groups: [root], count: 1, deadline: 5m}
"""

WINDOW = POLICY + """\
  - {name: bulk, limits: {window: {bytes: 1Mi, per: 1h}, onExceed: Deny}}
"""

HELD = POLICY + """\
  - name: bulk
    limits: {statement: {bytes: 1Mi}, onExceed: RequireApproval}
    approval: {groups: [root], count: 1, deadline: 5m}
"""

UNOPENED = POLICY + """\
  - {name: no-sessions, match: {ssh: {channels: [session]}}, action: Deny}
"""

LIST = POLICY.replace("mode: Enforce", "mode: Enforce\n  default: Deny") + """\
  - {name: read, match: {ssh: {argv: [[cat, "/etc/hostname"], [uptime]]}}, action: Allow}
"""


def claims(scene, results):
    """All claims."""
    w = scene.start(policy=UNOPENED)
    results.check("a session that a rule denies is not opened", unopened, scene, w)
    w.stop()
    w = scene.start(policy=RULES)
    results.check("a denied command is told on standard error with policy, reason and audit id", denied, scene, w)
    results.check("the connection lives on after a denial", lives_on, scene, w)
    results.check("what was denied is recorded and did not run", recorded, scene, w)
    results.check("a command that is not denied runs", lambda: equal(scene.ssh("echo in", w=w).stdout, "in\n"))
    results.check("a variable that a rule names does not reach the command", variable, scene, w)
    results.check("forwarding is refused: -L, -D, -R, sockets, X11, agent, tun", forwarding, scene, w)
    results.check("a subsystem other than sftp is refused", subsystem, scene, w)
    results.check("a shell is held, said so, and runs once it is approved", held_shell, scene, w)
    results.check("a shell that is not approved does not run", refused_shell, scene, w)
    results.check("a long command that waits hides nothing from whoever decides", long_is_shown, scene, w)
    results.check("a client that goes away while held closes the request", gone_while_held, scene, w)
    results.check("a held shell holds up no other channel", held_beside, scene, w)
    w.stop()
    w = scene.start(policy=WINDOW)
    results.check("a budget over commands, channels and connections ends what passes it", window, scene, w)
    w.stop()
    w = scene.start(policy=HELD)
    results.check("a result above the limit pauses and goes on once it is approved", held_result, scene, w)
    results.check("a result above the limit that is not approved ends in the protocol's form", ended_result, scene, w)
    w.stop()
    w = scene.start(policy=LIST)
    results.check("with default: Deny nothing but the listed commands runs, word for word", listed, scene, w)
    w.stop()


DENIAL = re.compile(r'weir: denied by policy "hosts" rule "[^"]+": .+ \(audit id [0-9a-z-]+/\d+\)')


def is_denied(answer, rule):
    equal(answer.returncode, 126, "exit status")
    assert DENIAL.search(answer.stderr), answer.stderr
    contains(answer.stderr, f'rule "{rule}"')
    equal(answer.stdout, "")


def unopened(scene, w):
    told = ["-o", "LogLevel=INFO", *scene.options(w)]
    done = proc.run(["ssh", *told, "127.0.0.1", "echo ran"], check=False, timeout=60)
    lacks(done.stdout, "ran")
    contains(done.stderr, "no-sessions")


def denied(scene, w):
    is_denied(scene.ssh("cat /etc/shadow", w=w), "no-shadow")


class Master:
    """A connection that several commands share."""

    def __init__(self, scene, w, name):
        self.base = ["ssh", *scene.options(w), "-o", f"ControlPath={w.dir}/{name}"]
        proc.run([*self.base, "-M", "-fN", "127.0.0.1"])

    def run(self, *argv, **kwargs):
        """A command on it."""
        return proc.run([*self.base, "127.0.0.1", *argv], check=False, timeout=30, **kwargs)

    def popen(self, *argv, **kwargs):
        """A command on it, in the background."""
        return subprocess.Popen([*self.base, "127.0.0.1", *argv], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                text=True, **kwargs)

    def close(self):
        """Ends it."""
        proc.run([*self.base, "-O", "exit", "127.0.0.1"], check=False)


def lives_on(scene, w):
    master = Master(scene, w, "lives")
    try:
        for n in range(3):
            assert DENIAL.search(master.run("cat /etc/shadow").stderr)
            equal(master.run(f"echo {n}").stdout, f"{n}\n")
    finally:
        master.close()


def recorded(scene, w):
    mark = f"/tmp/weir-shadow-{os.getpid()}"
    is_denied(scene.ssh(f"touch {mark}", w=w), "no-shadow")
    assert not os.path.exists(mark)
    event = w.wait_statement(f"touch {mark}", outcome="denied")
    equal(event.decision, "deny")
    equal(event.rules, ["hosts/no-shadow"])


def variable(scene, w):
    answer = scene.ssh("printenv LC_SECRET; printenv LC_OTHER", w=w, options=("SetEnv=LC_SECRET=a LC_OTHER=b",))
    equal(answer.stdout, "b\n", answer.stderr)


def forwarding(scene, w):
    port = scene.server.port
    for argv, rule in ((["-W", f"127.0.0.1:{port}"], "forwarding"),
                       (["-o", "ExitOnForwardFailure=yes", "-N", "-R", f"127.0.0.1:{proc.free_port()}:127.0.0.1:{port}"], ""),
                       (["-o", "ExitOnForwardFailure=yes", "-N", "-R", f"/tmp/weir-{os.getpid()}.sock:127.0.0.1:{port}"], "")):
        done = proc.run(["ssh", *scene.options(w), *argv, "127.0.0.1"], check=False, timeout=20)
        equal(done.returncode, 255, f"{argv}: {done.stderr}")
        contains(done.stderr, rule)
        lacks(done.stdout, "SSH-2.0")
    local = proc.free_port()
    child = proc.spawn(["ssh", *scene.options(w), "-N", "-L", f"127.0.0.1:{local}:127.0.0.1:{port}", "127.0.0.1"])
    try:
        proc.wait_until(lambda: proc.accepts(local), "ssh listens")
        with socket.create_connection(("127.0.0.1", local), timeout=5) as s:
            equal(s.recv(10), b"", "what came through")
    finally:
        proc.stop(child)
    for name, option in (("DISPLAY", "ForwardX11=yes"), ("SSH_AUTH_SOCK", "ForwardAgent=yes")):
        answer = scene.ssh(f"printenv {name}; echo ran", w=w, options=(option,), env={**os.environ, "DISPLAY": ":9"})
        equal(answer.stdout, "ran\n", answer.stderr)
    kinds = {e.raw["command"] for e in w.statements() if e.outcome == "denied"}
    w.settle()
    kinds = {e.raw["command"] for e in w.statements() if e.outcome == "denied"}
    assert {"direct-tcpip", "tcpip-forward", "streamlocal-forward"} <= kinds, kinds


def subsystem(scene, w):
    done = proc.run(["ssh", *scene.options(w), "-s", "127.0.0.1", "raw"], check=False, input="leak")
    equal(done.stdout, "")
    assert DENIAL.search(done.stderr) or "(subsystem)" in done.stderr, done.stderr


def shell(scene, w, **kwargs):
    return subprocess.Popen(["ssh", *scene.options(w), "-T", "127.0.0.1"], stdin=subprocess.PIPE,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **kwargs)


def held_shell(scene, w):
    child = shell(scene, w)
    child.stdin.write("echo approved $((6*7)); exit 4\n")
    child.stdin.flush()
    name = w.wait_request()
    equal(child.poll(), None)
    w.cli("approve", name)
    out, err = child.communicate(timeout=20)
    equal((out, child.returncode), ("approved 42\n", 4), err)
    contains(err, f"weir: awaiting approval {name}")


def refused_shell(scene, w):
    child = shell(scene, w)
    child.stdin.write("echo ran\n")
    child.stdin.flush()
    name = w.wait_request()
    w.cli("deny", name, "--reason", "not today")
    out, err = child.communicate(timeout=20)
    equal(out, "")
    contains(err, "not today")
    contains(err, f"access request {name}")


def long_is_shown(scene, w):
    command = f"{'true; ' * 900}echo HIDDEN-PART; {'true; ' * 900}sh"
    child = subprocess.Popen(["ssh", *scene.options(w), "127.0.0.1", command], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, text=True)
    name = w.wait_request()
    spec = w.requests()[0]["spec"]
    equal(spec["statement"], command)
    summary = spec["summary"]
    equal(len(summary), 3)
    contains(summary[0], "true; true; sh", "the end of the command")
    contains(summary[1], hashlib.sha256(command.encode()).hexdigest()[:16], "which command it is")
    contains(summary[1], "characters are hidden", "that there is more of it")
    shown = "".join(line[13:] for line in w.cli("requests").stdout.splitlines())
    contains(shown, command, "the card of weir requests")
    w.cli("deny", name, "--reason", "no")
    out, err = child.communicate(timeout=20)
    equal(out, "", err)


def gone_while_held(scene, w):
    child = shell(scene, w)
    w.wait_request()
    child.kill()
    child.wait()
    proc.wait_until(lambda: not w.requests(), "the request is closed")


def held_beside(scene, w):
    master = Master(scene, w, "beside")
    try:
        child = master.popen()
        name = w.wait_request()
        for n in range(3):
            equal(master.run(f"echo {n}").stdout, f"{n}\n")
        w.cli("deny", name, "--reason", "done")
        child.wait(20)
        equal(master.run("echo after").stdout, "after\n")
    finally:
        master.close()


def window(scene, w):
    equal(len(scene.ssh("head -c 600000 /dev/zero", w=w).stdout), 600_000)
    answer = scene.ssh("head -c 600000 /dev/zero", w=w)
    assert len(answer.stdout) <= (1 << 20) - 600_000, len(answer.stdout)
    equal(answer.returncode, 126)
    contains(answer.stderr, 'rule "bulk": the limit of 1048576 bytes per 3600 s is reached')
    master = Master(scene, w, "window")
    try:
        again = master.run("head -c 600000 /dev/zero")
        assert len(again.stdout) < 500_000 and again.returncode == 126, again
        equal(master.run("exit 3").returncode, 3, "the connection lives on")
    finally:
        master.close()
    done = proc.run(["scp", "-O", *scene.options(w), "127.0.0.1:/etc/ssh/moduli", f"{w.dir}/m"], check=False)
    assert done.returncode != 0, done
    event = w.wait_statement("head -c 600000 /dev/zero", outcome="limit_exceeded")
    contains(event.raw["reason"], "is reached")
    w.cli("budgets", "reset")
    equal(len(scene.ssh("head -c 600000 /dev/zero", w=w).stdout), 600_000)


def held_result(scene, w):
    child = subprocess.Popen(["ssh", *scene.options(w), "127.0.0.1", "seq 1 2000000"], stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE)
    got = []
    import threading
    reader = threading.Thread(target=lambda: got.append(child.stdout.read()))
    reader.start()
    name = w.wait_request()
    before = proc.held_kb(w.pid)
    time.sleep(1)
    equal(child.poll(), None)
    assert proc.held_kb(w.pid) - before < 6_000
    w.cli("approve", name)
    reader.join(30)
    equal(child.wait(10), 0)
    equal(len(got[0]), len("\n".join(str(n) for n in range(1, 2_000_001))) + 1)


def ended_result(scene, w):
    child = subprocess.Popen(["ssh", *scene.options(w), "127.0.0.1", "seq 1 2000000"], stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE)
    import threading
    got = []
    reader = threading.Thread(target=lambda: got.append(child.stdout.read()))
    reader.start()
    name = w.wait_request()
    w.cli("deny", name, "--reason", "too much")
    reader.join(20)
    error = child.stderr.read().decode()
    equal(child.wait(10), 126)
    contains(error, "too much")
    assert len(got[0]) <= 1 << 20
    event = w.wait_statement("seq 1 2000000", outcome="denied")
    equal(event.raw["request"], name)


def listed(scene, w):
    with open("/etc/hostname", encoding="utf-8") as f:
        equal(scene.ssh("cat /etc/hostname", w=w).stdout, f.read())
    for command in ("cat /etc/hostname; id", "cat /etc/hostname /etc/passwd", "id", "cat $(echo /etc/hostname)",
                    "uptime && id", "cat /etc/hostname > /tmp/x"):
        answer = scene.ssh(command, w=w)
        equal((answer.stdout, answer.returncode), ("", 126), command)
    equal(scene.ssh(w=w, options=("RequestTTY=no",), input="id\n").stdout, "")
