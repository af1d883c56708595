"""Clients other than OpenSSH's through Weir, each against the same thing direct: Ansible, paramiko,
asyncssh, libssh2 (curl), Go's x/crypto/ssh, and Java's JSch, Apache MINA SSHD and sshj."""

import os
import socket
import subprocess
import threading

from clients import digest, quoted
from denials import POLICY
from lab import install, proc
from lab.report import contains, equal

HERE = os.path.dirname(os.path.abspath(__file__))
ANSIBLE = ("ansible-core==2.19.14",)
ASYNCSSH = ("asyncssh==2.24.1",)
PARAMIKO = ("paramiko==3.5.1",)


def claims(scene, results):
    """All claims."""
    results.check("Ansible: ping, and copy with its own check", ansible, scene)
    results.check("asyncssh: commands, a terminal, sftp in both directions", library, scene, "asyncssh", ASYNCSSH, ASYNC)
    results.check("paramiko: commands, a terminal, sftp in both directions", library, scene, "paramiko", PARAMIKO, PARA)
    results.check("refusals stand between packets of content, never inside one", between, scene)
    results.check("libssh2 (curl): sftp:// and scp:// in both directions", curl, scene)
    results.check("Go x/crypto/ssh: commands, a terminal, known hosts and their authority", go, scene)
    for name in ("jsch", "mina", "sshj"):
        results.check(f"{name} (Java): commands, sftp in both directions, a forward, known hosts", java, scene, name)


def ways(scene):
    """(port, known_hosts, key or nothing) of the server and of Weir."""
    return ((scene.server.port, scene.direct_known, scene.server.path("key")),
            (scene.weir.port, os.path.join(scene.weir.state, "known_hosts"), None))


def remote(scene, name, way):
    """A path on the server."""
    return f"{scene.server.home}/{name}-{os.getpid()}-{way}"


def ansible(scene):
    python = install.venv("ansible", *ANSIBLE)
    programs = os.path.dirname(python)
    answers = []
    for way, options in enumerate((scene.direct_options(), scene.options())):
        where = proc.workdir("weir-ansible-")
        local, there = os.path.join(where, "file"), remote(scene, "ansible", way)
        with open(local, "wb") as f:
            f.write(bytes(range(256)) * 4000)
        inventory = os.path.join(where, "hosts")
        with open(inventory, "w", encoding="utf-8") as f:
            f.write(f"host ansible_host=127.0.0.1 ansible_python_interpreter=/usr/bin/python3 "
                    f"ansible_ssh_common_args={quoted([' '.join(quoted(options))])[0]}\n")
        env = {**os.environ, "HOME": where, "ANSIBLE_LOCALHOST_WARNING": "False", "ANSIBLE_NOCOLOR": "1",
               "ANSIBLE_HOST_KEY_CHECKING": "True", "ANSIBLE_SSH_PIPELINING": str(way == 0), "LC_ALL": "C.UTF-8"}
        said = []
        for module, argument in (("ping", ""), ("copy", f"src={local} dest={there} mode=0640"),
                                 ("copy", f"src={local} dest={there} mode=0640"), ("command", "id -un")):
            done = proc.run([os.path.join(programs, "ansible"), "-i", inventory, "host", "-m", module, "-a", argument],
                            env=env, check=False, timeout=120)
            equal(done.returncode, 0, done.stdout + done.stderr)
            said += [line for line in done.stdout.splitlines() if "changed" in line or "pong" in line or "checksum" in line
                     or line == scene.server.user]
        equal(digest(there), digest(local), "the copied file")
        answers.append(said)
    equal(answers[1], answers[0], "what Ansible said")
    assert len(answers[0]) > 5, answers


# Both print what they saw; arguments: port, user, known_hosts, key or "", a local file, a path on the server.
ASYNC = """
import asyncio, asyncssh, hashlib, sys
port, user, known, key, local, there = sys.argv[1:]
async def main():
    options = dict(username=user, known_hosts=known, client_keys=[key] if key else None, agent_path=None, config=None)
    async with asyncssh.connect("127.0.0.1", int(port), **options) as c:
        done = await c.run("echo out; echo err >&2; exit 3")
        print(repr((done.stdout, done.stderr, done.exit_status)))
        done = await c.run("kill -TERM $$")
        print(done.exit_signal[0])
        done = await c.run("cat | sha256sum", input="x" * 1000000)
        print(done.stdout)
        done = await c.run("stty size", term_type="xterm", term_size=(99, 33))
        print(repr(done.stdout))
        print(await asyncio.gather(*[line(c, n) for n in range(8)]))
        async with c.start_sftp_client() as s:
            await s.put(local, there)
            await s.get(there, local + ".back")
            print((await s.stat(there)).size, sorted(await s.listdir("/etc/ssh"))[:3], await s.realpath("."))
            await s.remove(there)
            try: await s.stat(there)
            except asyncssh.SFTPNoSuchFile as e: print("gone", e)
    print(hashlib.sha256(open(local + ".back", "rb").read()).hexdigest())
async def line(c, n):
    return len((await c.run(f"seq {n} 20000")).stdout)
asyncio.run(main())
"""
PARA = """
import hashlib, paramiko, sys
port, user, known, key, local, there = sys.argv[1:]
c = paramiko.SSHClient()
c.load_host_keys(known)
c.set_missing_host_key_policy(paramiko.RejectPolicy())
if key:
    c.connect("127.0.0.1", int(port), user, key_filename=key, look_for_keys=False, allow_agent=False)
else:
    t = paramiko.Transport(("127.0.0.1", int(port)))
    t.start_client()
    shown = t.get_remote_server_key()
    assert c.get_host_keys().check(f"[127.0.0.1]:{port}", shown), (shown.get_name(), open(known).read())
    t.auth_none(user)
    c._transport = t
i, o, e = c.exec_command("echo out; echo err >&2; exit 3")
print(o.read(), e.read(), o.channel.recv_exit_status())
i, o, e = c.exec_command("cat | sha256sum")
i.write("x" * 1000000); i.channel.shutdown_write()
print(o.read())
i, o, e = c.exec_command("stty size", get_pty=True)
print(o.read())
s = c.open_sftp()
s.put(local, there)
s.get(there, local + ".back")
print(s.stat(there).st_size, sorted(s.listdir("/etc/ssh"))[:3], s.normalize("."))
with s.open(there) as f:
    f.seek(1000); print(f.read(10))
s.remove(there)
try: s.stat(there)
except FileNotFoundError as error: print("gone", error)
print(hashlib.sha256(open(local + ".back", "rb").read()).hexdigest())
c.close()
"""


def library(scene, name, requirements, text):
    python = install.venv(name, *requirements)
    where = proc.workdir(f"weir-{name}-")
    local = os.path.join(where, "file")
    with open(local, "wb") as f:
        f.write(os.urandom(8 << 20))
    answers = []
    for port, known, key in ways(scene):
        done = proc.run([python, "-c", text, str(port), scene.server.user, known, key or "", local,
                         remote(scene, name, 0)], check=False, timeout=120)
        equal(done.returncode, 0, done.stderr[-2000:])
        contains(done.stdout, digest(local), "what came back")
        answers.append(done.stdout)
    equal(answers[1], answers[0], "what it saw")


FIXED = POLICY + """\
  - {name: fixed, match: {ssh: {sftp: {operations: [mkdir], paths: ["*"]}}}, action: Deny}
"""
BETWEEN = """
import asyncio, asyncssh, hashlib, sys
async def main():
    options = dict(username=sys.argv[2], known_hosts=None, client_keys=None, agent_path=None, config=None)
    async with asyncssh.connect("127.0.0.1", int(sys.argv[1]), **options) as c, c.start_sftp_client() as s:
        reading = asyncio.ensure_future(read(s))
        refused = 0
        while not reading.done():
            try: await asyncio.wait_for(s.mkdir("/tmp/never"), 20)
            except asyncssh.SFTPPermissionDenied: refused += 1
        print(await reading, refused)
async def read(s):
    async with s.open(sys.argv[3], "rb") as f:
        return hashlib.sha256(await f.read()).hexdigest()
asyncio.run(main())
"""


def between(scene):
    w = scene.start(policy=FIXED)
    try:
        there = remote(scene, "between", 1)
        with open(there, "wb") as f:
            for _ in range(32):
                f.write(os.urandom(1 << 20))
        python = install.venv("asyncssh", *ASYNCSSH)
        done = proc.run([python, "-c", BETWEEN, str(w.port), scene.server.user, there], check=False, timeout=120)
        equal(done.returncode, 0, done.stderr[-2000:])
        found, refused = done.stdout.split()
        equal(found, digest(there), "what was read")
        assert int(refused) > 5, f"{refused} refusals"
    finally:
        w.stop()


def curl(scene):
    where = proc.workdir("weir-curl-")
    local = os.path.join(where, "file")
    with open(local, "wb") as f:
        f.write(os.urandom(5 << 20))
    port, known, _ = ways(scene)[1]
    # libssh2 in curl knows no login without a credential: any key will do.
    for scheme in ("sftp", "scp"):
        there = remote(scene, scheme, 1)
        base = ["curl", "-sS", "--key", scene.server.path("key"), "--pubkey", scene.server.path("key.pub"),
                "-u", f"{scene.server.user}:", "--ssl-reqd"]
        home = {**os.environ, "HOME": where}
        os.makedirs(os.path.join(where, ".ssh"), exist_ok=True)
        with open(known, encoding="utf-8") as f, open(os.path.join(where, ".ssh/known_hosts"), "w", encoding="utf-8") as g:
            g.write(f.read())
        url = f"{scheme}://127.0.0.1:{port}{there}"
        proc.run([*base, "-T", local, url], env=home, timeout=120)
        equal(digest(there), digest(local), f"{scheme}: what arrived")
        proc.run([*base, "-o", f"{local}.{scheme}", url], env=home, timeout=120)
        equal(digest(f"{local}.{scheme}"), digest(local), f"{scheme}: what came back")
    with open(os.path.join(where, ".ssh/known_hosts"), "w", encoding="utf-8") as f:
        f.write("")
    done = proc.run([*base, "-o", "/dev/null", url], env=home, check=False)
    assert done.returncode != 0, "a host that is not known was believed"


def go(scene):
    install.need("go", "golang-go")
    program = os.path.join(install.CACHE, "ssh-go")
    subprocess.run(["go", "build", "-o", program, "."], cwd=os.path.join(HERE, "go"), check=True,
                   env=dict(os.environ, GOFLAGS="-mod=readonly"))
    answers = []
    for port, known, key in ways(scene):
        done = proc.run([program, str(port), scene.server.user, known, *([key] if key else [])], check=False, timeout=120)
        equal(done.returncode, 0, done.stdout + done.stderr)
        answers.append(done.stdout.splitlines())
    equal(answers[1][:-2], answers[0][:-2], "what it saw")
    equal(answers[1][-2:], ["ssh-ed25519 yes", "ssh-ed25519-cert-v01@openssh.com yes"], "whom it believes")


FORWARDS = POLICY + """\
  - {name: greeter, match: {ssh: {destinations: ["127.0.0.1:%d"]}}, action: Allow}
"""


def java(scene, name):
    install.need("javac", "default-jdk-headless")
    jars = install.jars(os.path.join(HERE, "java/pom.xml"))
    classes = os.path.join(install.CACHE, "ssh-java-classes")
    os.makedirs(classes, exist_ok=True)
    proc.run(["javac", "-cp", f"{jars}/*", "-d", classes, os.path.join(HERE, "java/Clients.java")], timeout=120)
    greeter = socket.create_server(("127.0.0.1", 0))
    port = greeter.getsockname()[1]
    threading.Thread(target=greets, args=(greeter,), daemon=True).start()
    local = os.path.join(proc.workdir(f"weir-{name}-"), "file")
    with open(local, "wb") as f:
        f.write(os.urandom(3 << 20))
    w = scene.start(policy=FORWARDS % port)
    answers = []
    for at, known, key in ((scene.server.port, scene.direct_known, scene.server.path("key")),
                           (w.port, os.path.join(w.state, "known_hosts"), "-")):
        done = proc.run(["java", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", f"{jars}/*:{classes}", "Clients", name, str(at),
                         scene.server.user, known, key, local, remote(scene, name, 0), str(port)], check=False, timeout=120)
        equal(done.returncode, 0, done.stdout[-1000:] + done.stderr[-2000:])
        for expected in (digest(local), "gone", "HELLO", "still here", "a host that is not known is refused"):
            contains(done.stdout, expected, name)
        answers.append(done.stdout)
    equal(answers[1], answers[0], "what it saw")
    # Where nothing allows it, the forward is refused and everything else goes on.
    done = proc.run(["java", "-cp", f"{jars}/*:{classes}", "Clients", name, str(scene.weir.port), scene.server.user,
                     os.path.join(scene.weir.state, "known_hosts"), "-", local, remote(scene, name, 1), str(port)], check=False, timeout=120)
    contains(done.stdout, "still here", done.stderr[-1000:])
    assert "HELLO" not in done.stdout, done.stdout
    w.stop()
    greeter.close()


def greets(listener):
    """Says HELLO to all."""
    while True:
        try:
            s, _ = listener.accept()
        except OSError:
            return
        s.sendall(b"HELLO")
        s.close()
