"""Who logs in, and whether the host is the one that the Target means."""

import glob
import os
import time

from lab import proc, sshd
from lab.report import contains, equal, lacks

PYTHON_PASSWORD = "correct horse"


def claims(scene, results):
    """All claims."""
    results.check("the pod needs no key, and has none", no_key, scene)
    results.check("the keys that clients see survive a restart, and so does known_hosts", restart, scene)
    results.check("a host key that the Target does not pin is refused with the reason, and recorded", wrong_key, scene)
    results.check("a host that changes its key is refused", changed_key, scene)
    results.check("a known_hosts file vouches for the host", known_hosts_file, scene)
    results.check("a host certificate of the Target's authority vouches for the host", host_certificate, scene)
    results.check("trust on first use keeps the key, records it, and refuses another", first_use, scene)
    results.check("a user CA signs a certificate for each login, with the user, the source and an end", user_ca, scene)
    results.check("a certificate that belongs to the key is shown", key_certificate, scene)
    results.check("a broker's key that the server refuses is told, and recorded", refused_login, scene)
    results.check("a placeholder password is asked for where the Target says so", placeholder, scene)
    results.check("PassThrough: a server that wants a public key is named as such", pass_through_key, scene)
    results.check("with PassThrough the client's agent signs the login, where a rule allows agents", by_agent, scene)
    results.check("weir run governs stock ssh without an option or a key", under_run, scene)
    results.check("ProxyJump through an allowed forward ends in a session of its own", proxy_jump, scene)


def through(scene, command="echo in", **kwargs):
    """A command through a Weir of its own; the instance and the answer."""
    w = scene.start(**kwargs)
    try:
        return w, scene.ssh(command, w=w)
    finally:
        w.stop()


def works(answer):
    equal(answer.stdout, "in\n", answer.stderr)


def refused(answer, reason):
    assert answer.returncode == 255, answer
    equal(answer.stdout, "")
    contains(answer.stderr, "weir: ")
    contains(answer.stderr, reason)


def no_key(scene):
    options = scene.options()
    assert "IdentityFile=none" in options, options
    works(scene.ssh("echo in"))
    environment = scene.ssh("env").stdout
    lacks(environment, "PRIVATE KEY")


def restart(scene):
    where = proc.workdir("weir-ssh-restart-")
    first = scene.start(where=where)
    known = os.path.join(first.state, "known_hosts")
    with open(known, encoding="utf-8") as f:
        before = f.read()
    first.stop()
    first.start()
    try:
        works(scene.ssh("echo in", w=first))
        with open(known, encoding="utf-8") as f:
            equal(f.read(), before)
    finally:
        first.stop()


def wrong_key(scene):
    w = scene.start(ssh=f'{{hostKeys: ["{scene.server.public("otherhostkey")}"], user: {scene.server.user}}}')
    try:
        refused(scene.ssh("echo in", w=w), "which the target does not know")
        w.settle()
        events = w.events(kind="connection_refused")
        contains(events[-1].raw["reason"], "which the target does not know")
    finally:
        w.stop()


def changed_key(scene):
    server = sshd.Sshd().start()
    w = scene.start(ssh=f'{{hostKeys: ["{server.public()}"], user: {server.user}}}',
                    secret={"ssh_privatekey": server.read("key")})
    w.write("target.yaml", scene.target(ssh=f'{{hostKeys: ["{server.public()}"], user: {server.user}}}')
            .replace(f"port: {scene.server.port}", f"port: {server.port}"))
    w.stop()
    w.start()
    try:
        works(scene.ssh("echo in", w=w))
        server.stop()
        server.start(hostkey="otherhostkey")
        refused(scene.ssh("echo in", w=w), "which the target does not know")
    finally:
        w.stop()
        server.stop()


def known_hosts_file(scene):
    path = scene.server.path("vouches")
    with open(path, "w", encoding="utf-8") as f:
        f.write(f"# a comment\n[127.0.0.1]:{scene.server.port} {scene.server.public()}\n")
    _, answer = through(scene, ssh=f"{{knownHostsFile: {path}, user: {scene.server.user}}}")
    works(answer)
    with open(path, "w", encoding="utf-8") as f:
        f.write(f"elsewhere {scene.server.public()}\n")
    _, answer = through(scene, ssh=f"{{knownHostsFile: {path}, user: {scene.server.user}}}")
    refused(answer, "nothing vouches for the host's key")


def host_certificate(scene):
    server = sshd.Sshd()
    for name, principals, works_or_not in (("good", "127.0.0.1", True), ("bad", "elsewhere", False)):
        proc.run(["ssh-keygen", "-q", "-s", server.path("hostca"), "-I", "host", "-h", "-n", principals,
                  "-V", "+1h", server.path("hostkey.pub")])
        server.start(extra=f"HostCertificate {server.path('hostkey-cert.pub')}")
        target = scene.target(ssh=f'{{hostCA: ["{server.public("hostca")}"], user: {server.user}}}') \
            .replace(f"port: {scene.server.port}", f"port: {server.port}")
        w = scene.start(secret={"ssh_privatekey": server.read("key")})
        w.write("target.yaml", target)
        w.stop()
        w.start()
        try:
            answer = scene.ssh("echo in", w=w)
            if works_or_not:
                works(answer)
            else:
                refused(answer, f"certificate is for {principals}")
        finally:
            w.stop()
            server.stop()


def first_use(scene):
    server = sshd.Sshd().start()
    target = scene.target(ssh=f"{{trustOnFirstUse: true, user: {server.user}}}") \
        .replace(f"port: {scene.server.port}", f"port: {server.port}")
    w = scene.start(secret={"ssh_privatekey": server.read("key")})
    w.write("target.yaml", target)
    w.stop()
    w.start()
    try:
        works(scene.ssh("echo in", w=w))
        works(scene.ssh("echo in", w=w))
        w.settle()
        found = [e.raw["message"] for e in w.events(kind="finding") if "trusted on first use" in e.raw["message"]]
        equal(len(found), 1, "findings")
        server.stop()
        server.start(hostkey="otherhostkey")
        refused(scene.ssh("echo in", w=w), "which the target does not know")
    finally:
        w.stop()
        server.stop()


def user_ca(scene):
    w, answer = through(scene, "echo in", secret={"ssh_ca_key": scene.server.read("ca")})
    works(answer)
    log = scene.server.read("sshd.log")
    contains(log, "Accepted publickey for " + scene.server.user)
    contains(log, "ID weir:reporter (serial")
    lines = [line for line in log.splitlines() if "ID weir:reporter" in line]
    contains(lines[-1], "CA ED25519")


def key_certificate(scene):
    private = scene.server.keygen(f"certified-{time.time_ns()}")
    proc.run(["ssh-keygen", "-q", "-s", scene.server.path("ca"), "-I", "mine", "-n", scene.server.user,
              "-V", "+1h", private + ".pub"])
    name = os.path.basename(private)
    _, answer = through(scene, secret={"ssh_privatekey": scene.server.read(name),
                                       "ssh_privatekey-cert_pub": scene.server.read(name + "-cert.pub")})
    works(answer)


def refused_login(scene):
    w = scene.start(secret={"ssh_privatekey": scene.server.read("otherhostkey")})
    try:
        answer = scene.ssh("echo in", w=w)
        equal(answer.returncode, 255)
        contains(answer.stderr, "the server refuses Weir's login")
        w.settle()
        contains(w.events(kind="connection_refused")[-1].raw["reason"], "refuses Weir's login")
    finally:
        w.stop()


def placeholder(scene):
    where = proc.workdir("weir-ssh-placeholder-")
    secret = os.path.join(where, "placeholder")
    with open(secret, "w", encoding="utf-8") as f:
        f.write(PYTHON_PASSWORD + "\n")
    w = scene.start(credentials="{mode: Brokered, secretRef: {name: host-login}, client: {password: {file: "
                    + secret + "}}}")
    ask = os.path.join(where, "ask")
    try:
        for answer, status in ((PYTHON_PASSWORD, 0), ("wrong", 255)):
            with open(ask, "w", encoding="utf-8") as f:
                f.write(f"#!/bin/sh\necho '{answer}'\n")
            os.chmod(ask, 0o755)
            options = [o for o in scene.options(w) if o != "BatchMode=yes"]
            options = [o for i, o in enumerate(options) if not (o == "-o" and i + 1 < len(options) and
                                                                options[i + 1] == "-o")]
            done = proc.run(["ssh", *options, "-o", "NumberOfPasswordPrompts=1", "127.0.0.1", "echo in"], check=False,
                            env={**os.environ, "SSH_ASKPASS": ask, "SSH_ASKPASS_REQUIRE": "force"})
            equal(done.returncode, status, done.stderr)
    finally:
        w.stop()


def pass_through_key(scene):
    w = scene.start(credentials="{mode: PassThrough}", ssh=f'{{hostKeys: ["{scene.server.public()}"]}}')
    try:
        answer = scene.ssh("echo in", w=w)
        refused(answer, "cannot pass Weir")
    finally:
        w.stop()


class Agent:
    """An ssh-agent with some keys."""

    def __init__(self, where, *keys):
        self.env = {**os.environ, "SSH_AUTH_SOCK": os.path.join(where, "agent")}
        self.child = proc.spawn(["ssh-agent", "-D", "-a", self.env["SSH_AUTH_SOCK"]])
        proc.wait_until(lambda: os.path.exists(self.env["SSH_AUTH_SOCK"]), "the agent listens")
        for key in keys:
            proc.run(["ssh-add", "-q", key], env=self.env)

    def stop(self):
        """Ends it."""
        proc.stop(self.child)


def by_agent(scene):
    rule = """\
  rules:
  - {name: agents, match: {ssh: {channels: [agent]}}, action: Allow}
"""
    w = scene.start(policy=scene.policy + rule, credentials="{mode: PassThrough}")
    agent = Agent(w.dir, scene.server.path("key"))
    other = Agent(proc.workdir("weir-agent-"), scene.server.path("otherhostkey"))

    def ssh(*argv, env=agent.env, options=("-A",), **kwargs):
        found = sshd.client(w.port, known_hosts=os.path.join(w.state, "known_hosts"), agent=True)
        return proc.run(["ssh", *found, *options, "127.0.0.1", *argv], check=False, env=env, timeout=30, **kwargs)
    try:
        equal(ssh("whoami; exit 3").stdout, f"{scene.server.user}\n")
        equal(ssh("cat | wc -c", input="x" * 300_000).stdout.strip(), "300000")
        equal(ssh("ssh-add -L").stdout.split()[1], scene.server.public("key").split()[1], "the agent behind")
        done = ssh("whoami", options=())
        equal((done.returncode, done.stdout), (255, ""))
        contains(done.stderr, "forward it (ssh -A)")
        done = ssh("whoami", env=other.env)
        equal((done.returncode, done.stdout), (255, ""))
        contains(done.stderr, "does not let")
        event = w.wait_statement("whoami; exit 3")
        equal((event.raw["session"]["user"], event.raw["outcome"]["code"]), (scene.server.user, "exit 3"))
    finally:
        agent.stop()
        other.stop()
        w.stop()
    w = scene.start(credentials="{mode: PassThrough}")
    agent = Agent(w.dir, scene.server.path("key"))
    try:
        done = ssh("whoami", env=agent.env)
        equal((done.returncode, done.stdout), (255, ""))
        contains(done.stderr, "a rule that allows agents")
    finally:
        agent.stop()
        w.stop()


def under_run(scene):
    w = scene.start(policy=scene.policy + """\
  rules:
  - {name: no-dumps, match: {ssh: {commands: [pg_dump]}}, action: Deny}
""")
    w.stop()
    home = proc.workdir("weir-home-")
    base = [w.binary, "run", "--config", w.config, "--", "ssh", "-p", str(scene.server.port),
            "-o", "StrictHostKeyChecking=yes", "-o", "BatchMode=yes", "127.0.0.1"]
    before = set(glob.glob("/tmp/weir-trust-*"))
    done = proc.run([*base, "whoami"], check=False, cwd=w.dir, env={**os.environ, "HOME": home})
    equal(done.stdout, f"{scene.server.user}\n", done.stderr)
    denied = proc.run([*base, "pg_dump shop"], check=False, cwd=w.dir, env={**os.environ, "HOME": home})
    equal(denied.returncode, 126)
    contains(denied.stderr, 'denied by policy "hosts" rule "no-dumps"')
    equal(set(glob.glob("/tmp/weir-trust-*")) - before, set(), "what it left")


def proxy_jump(scene):
    policy = scene.policy + """\
  rules:
  - {name: jumps, match: {ssh: {channels: [direct-tcpip]}}, action: Allow}
"""
    w = scene.start(policy=policy)
    try:
        jump = " ".join(["ssh", *scene.options(w), "-W", f"127.0.0.1:{scene.server.port}", "127.0.0.1"])
        behind = sshd.client(scene.server.port, known_hosts=os.path.join(w.state, "known_hosts"),
                             options=(f"ProxyCommand={jump}",))
        done = proc.run(["ssh", *behind, "127.0.0.1", "echo in"], check=False)
        works(done)
        event = w.wait_statement(f"127.0.0.1:{scene.server.port}")
        equal(event.raw["command"], "direct-tcpip")
    finally:
        w.stop()
