"""Stock clients through Weir, each against the same thing direct."""

import hashlib
import os
import subprocess
import time

from lab import proc
from lab.report import contains, equal

# FULL=1: transfers of a gigabyte
MEGABYTES = int(os.environ.get("SSH_MEGABYTES") or (1024 if os.environ.get("FULL") else 64))

# name: command; output, standard error and status must be those of the real server
COMMANDS = {
    "output": "echo out; echo err >&2",
    "an exit status": "exit 42",
    "death by a signal": "kill -TERM $$",
    "much output": "head -c 3000000 /etc/ssh/moduli | sha256sum; seq 1 200000",
    "binary output": "head -c 100000 /usr/bin/env | base64",
    "a quoted word": "printf '%s|' 'a  b' \"c\"",
    "an empty command": "",
    "much standard error": "seq 1 100000 >&2; exit 3",
    "background output": "(sleep 0.3; echo late) & echo early; wait",
}


def digest(path):
    """SHA-256 of a file."""
    found = hashlib.sha256()
    with open(path, "rb") as f:
        for block in iter(lambda: f.read(1 << 20), b""):
            found.update(block)
    return found.hexdigest()


def same(scene, *argv, program="ssh", host=True, options=(), **kwargs):
    """The same program gives the same answer direct and through Weir."""
    words = ["127.0.0.1", *argv] if host else argv
    direct, through = scene.both(program, *words, options=options, **kwargs)
    equal(through.returncode, direct.returncode, f"exit status ({through.stderr[-300:]})")
    equal(through.stdout, direct.stdout, "output")
    equal(through.stderr, direct.stderr, "standard error")
    return through


def claims(scene, results):
    """All claims."""
    results.check("the host key is vouched for by the published known_hosts, strictly",
                  lambda: equal(scene.ssh("echo", "in", check=True).stdout, "in\n"))
    results.check("a client that knows no authority accepts the plain line",
                  lambda: equal(scene.ssh("echo in", check=True,
                                          options=("HostKeyAlgorithms=ssh-ed25519",)).stdout, "in\n"))
    results.check("a client that knows neither refuses", unknown_host, scene)
    for name, command in COMMANDS.items():
        results.check(f"ssh: {name} is as it is direct", same, scene, *([command] if command else ["true"]))
    results.check("ssh: standard input is as it is direct",
                  lambda: same(scene, "wc -c; sha256sum", input="x" * 500_000))
    results.check("ssh: a variable is as it is direct",
                  lambda: same(scene, "echo $LC_WEIR", options=("SetEnv=LC_WEIR=through",)))
    results.check("ssh -N does nothing and ends", nothing, scene)
    for name, options in {"rekey every megabyte": ("RekeyLimit=1M",), "compression": ("Compression=yes",),
                          "AES-GCM": ("Ciphers=aes256-gcm@openssh.com",), "AES-CTR": ("Ciphers=aes128-ctr",),
                          "ChaCha20": ("Ciphers=chacha20-poly1305@openssh.com",),
                          "keep-alives": ("ServerAliveInterval=1", "ServerAliveCountMax=2")}.items():
        results.check(f"ssh: {name}", same, scene, "head -c 5000000 /dev/zero | sha256sum; seq 1 400000 | sha256sum; "
                      "seq 1 300000; sleep 2.5")if name == "keep-alives" else \
            results.check(f"ssh: {name}", lambda o=options: same(scene, "seq 1 500000", options=o))
    results.check("ssh -tt: a terminal, its size and its modes", terminal, scene)
    results.check("a shell reads commands from standard input",
                  lambda: same(scene, options=("RequestTTY=no",), input="echo $0; echo two; exit 7\n"))
    results.check("a signal from the client's terminal reaches the program", interrupted, scene)
    results.check("many commands on one connection (ControlMaster)", multiplexed, scene)
    results.check("a channel that is not read holds up no other", one_stands_still, scene)
    results.check("scp -s in both directions", copied, scene, ("-s",))
    results.check("scp -O in both directions", copied, scene, ("-O",))
    results.check("scp -r of a tree", tree, scene)
    results.check("sftp: batch, listing, rename, remove, chmod, symlink, resume", sftp, scene)
    results.check("sftp typed at a terminal; reget and reput", typed, scene)
    results.check("sftp of a large file in both directions, the digests recorded", large, scene)
    results.check("keys exchanged anew every megabyte with data in flight both ways", rekeyed, scene)
    results.check("ssh-keyscan sees keys of the instance, and the host's never", scanned, scene)
    results.check("rsync in both directions, again with parts changed, and with deletion", rsync, scene)
    results.check("git: clone and push", git, scene)
    results.check("the session and its commands are recorded", recorded, scene)
    results.check("a client that goes away ends its command on the server", gone, scene)


def unknown_host(scene):
    known = os.path.join(scene.weir.dir, "nobody")
    with open(known, "w", encoding="utf-8") as f:
        f.write("")
    options = scene.options()
    options[options.index(next(o for o in options if o.startswith("UserKnownHostsFile")))] = \
        f"UserKnownHostsFile={known}"
    done = proc.run(["ssh", *options, "127.0.0.1", "true"], check=False)
    equal(done.returncode, 255, "exit status")
    contains(done.stderr, "Host key verification failed")


def nothing(scene):
    ends = []
    for options in (scene.direct_options(), scene.options()):
        mark = os.path.join(scene.weir.dir, f"logged-in-{len(ends)}")
        child = proc.spawn(["ssh", *options, "-N", "-o", "PermitLocalCommand=yes", "-o", f"LocalCommand=touch {mark}", "127.0.0.1"])
        proc.wait_until(lambda mark=mark: os.path.exists(mark), "it is logged in", child=child)
        time.sleep(1)
        equal(child.poll(), None, "it ended by itself")
        ends.append(proc.stop(child))
    equal(ends[0], ends[1], "how it ends when it is told to")


def terminal(scene):
    command = "stty size; stty -a | tr ';' '\\n' | grep -E 'intr|erase|speed'; tty | cut -c1-8; echo $TERM; exit 5"
    answers = []
    for options in (scene.direct_options(), scene.options()):
        script = f"stty rows 41 cols 137; ssh {' '.join(quoted(options))} -tt 127.0.0.1 {quoted([command])[0]}; echo status $?"
        done = proc.run(["script", "-qec", script, "/dev/null"], check=False,
                        env={**os.environ, "TERM": "xterm-256color"})
        # `script` has nothing to type and says so at some moment.
        answers.append(done.stdout.replace("\r", "").replace("^@", ""))
    equal(answers[1], answers[0], "what the terminal showed")
    contains(answers[1], "41 137")
    contains(answers[1], "status 5")


def quoted(words):
    """Words for a shell."""
    import shlex
    return [shlex.quote(word) for word in words]


def interrupted(scene):
    child = subprocess.Popen(["script", "-qec", " ".join(quoted(
        ["ssh", *scene.options(), "-tt", "127.0.0.1", "trap 'echo GOT; exit 9' INT; echo READY; sleep 20"])),
        "/dev/null"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, preexec_fn=os.setsid)
    seen = b""
    while b"READY" not in seen:
        seen += os.read(child.stdout.fileno(), 4096)
    child.stdin.write(b"\x03")
    child.stdin.flush()
    deadline = time.monotonic() + 10
    while b"GOT" not in seen and time.monotonic() < deadline:
        seen += os.read(child.stdout.fileno(), 4096)
    contains(seen.decode(), "GOT")
    equal(child.wait(10), 9, "status")


def multiplexed(scene):
    control = os.path.join(scene.weir.dir, "cm")
    base = ["ssh", *scene.options(), "-o", f"ControlPath={control}"]
    proc.run([*base, "-M", "-fN", "127.0.0.1"])
    try:
        children = [subprocess.Popen([*base, "127.0.0.1", f"seq {n} {n + 20000}; exit {n}"],
                                     stdout=subprocess.PIPE) for n in range(1, 9)]
        for n, child in enumerate(children, 1):
            out = child.communicate(timeout=60)[0].split()
            equal((len(out), int(out[0]), int(out[-1]), child.returncode), (20001, n, n + 20000, n))
    finally:
        proc.run([*base, "-O", "exit", "127.0.0.1"], check=False)


def one_stands_still(scene):
    control = os.path.join(scene.weir.dir, "cm2")
    base = ["ssh", *scene.options(), "-o", f"ControlPath={control}"]
    proc.run([*base, "-M", "-fN", "127.0.0.1"])
    try:
        stuck = subprocess.Popen([*base, "127.0.0.1", "cat /dev/zero"], stdout=subprocess.PIPE)
        time.sleep(2)
        before = proc.held_kb(scene.weir.pid)
        for n in range(5):
            equal(proc.run([*base, "127.0.0.1", f"echo {n}"], timeout=10).stdout, f"{n}\n")
        time.sleep(2)
        grown = proc.held_kb(scene.weir.pid) - before
        assert grown < 16_000, f"memory grew by {grown} kB"
        stuck.kill()
        stuck.wait()
    finally:
        proc.run([*base, "-O", "exit", "127.0.0.1"], check=False)


def copied(scene, flags):
    where = proc.workdir("weir-scp-")
    local, back = os.path.join(where, "local"), os.path.join(where, "back")
    with open(local, "wb") as f:
        for _ in range(MEGABYTES):
            f.write(os.urandom(1 << 20))
    remote = f"127.0.0.1:{scene.server.home}/copied"
    proc.run(["scp", *flags, *scene.options(), "-p", local, remote], timeout=300)
    equal(digest(f"{scene.server.home}/copied"), digest(local), "what arrived at the server")
    proc.run(["scp", *flags, *scene.options(), remote, back], timeout=300)
    equal(digest(back), digest(local), "what came back")


def tree(scene):
    where = proc.workdir("weir-tree-")
    for n in range(40):
        os.makedirs(f"{where}/tree/{n % 5}/deep", exist_ok=True)
        with open(f"{where}/tree/{n % 5}/deep/f{n}", "w", encoding="utf-8") as f:
            f.write(str(n) * n)
    remote = f"127.0.0.1:{scene.server.home}/tree-{os.getpid()}"
    for flag in ("-s", "-O"):
        proc.run(["scp", flag, "-r", *scene.options(), f"{where}/tree", f"{remote}{flag}"])
        proc.run(["scp", flag, "-r", *scene.options(), f"{remote}{flag}", f"{where}/back{flag}"])
        proc.run(["diff", "-r", f"{where}/tree", f"{where}/back{flag}"])


def sftp(scene):
    where = proc.workdir("weir-sftp-")
    local = os.path.join(where, "f")
    with open(local, "wb") as f:
        f.write(os.urandom(3 << 20))
    part = os.path.join(where, "part")
    with open(local, "rb") as f, open(part, "wb") as g:
        g.write(f.read(1 << 20))
    steps = f"""\
-mkdir box
cd box
put {local} one
rename one two
chmod 600 two
symlink two three
ls -1
df
reget two {part}
get three {where}/three
rm two
rm three
ls -1
cd ..
rmdir box
"""
    answers = []
    for options in (scene.direct_options(), scene.options()):
        with open(part, "r+b") as f:
            f.truncate(1 << 20)
        done = proc.run(["sftp", *options, "-b", "-", "127.0.0.1"], input=steps, check=False)
        equal(done.returncode, 0, done.stderr)
        equal(digest(part), digest(local), "the resumed file")
        equal(digest(f"{where}/three"), digest(local), "the file behind the link")
        answers.append([line for line in done.stdout.splitlines() if "%" not in line])
    equal(answers[1], answers[0], "what sftp said")


def rsync(scene):
    where = proc.workdir("weir-rsync-")
    os.makedirs(f"{where}/src")
    for n in range(30):
        with open(f"{where}/src/{n}", "wb") as f:
            f.write(os.urandom(n * 10_000))
    shell = " ".join(["ssh", *scene.options()])
    remote = f"127.0.0.1:{scene.server.home}/rsync-{os.getpid()}/"
    proc.run(["rsync", "-az", "-e", shell, f"{where}/src/", remote])
    proc.run(["rsync", "-az", "-e", shell, remote, f"{where}/back/"])
    proc.run(["diff", "-r", f"{where}/src", f"{where}/back"])
    for path in (f"{where}/src/29", f"{scene.server.home}/rsync-{os.getpid()}/28"):
        with open(path, "r+b") as f:
            f.seek(100_000)
            f.write(b"changed")
    os.unlink(f"{where}/src/3")
    up = proc.run(["rsync", "-az", "--checksum", "--delete", "--stats", "-e", shell, f"{where}/src/", remote]).stdout
    contains(up, "Number of deleted files: 1")
    contains(up, "Number of regular files transferred: 2")
    with open(f"{where}/back/27", "r+b") as f:
        f.truncate(10)
    proc.run(["rsync", "-az", "--delete", "--no-whole-file", "--checksum", "-e", shell, remote, f"{where}/back/"])
    proc.run(["diff", "-r", f"{where}/src", f"{where}/back"])


def typed(scene):
    where = proc.workdir("weir-typed-")
    local = os.path.join(where, "file")
    with open(local, "wb") as f:
        f.write(os.urandom(2 << 20))
    answers = []
    for options in (scene.direct_options(), scene.options()):
        there = f"{scene.server.home}/typed-{os.getpid()}"
        with open(local, "rb") as f, open(there, "wb") as g, open(f"{where}/part", "wb") as h:
            head = f.read(1 << 20)
            g.write(head)
            h.write(head)
        os.chmod(there, 0o666)
        lines = ["pwd", f"reput {local} {there}", f"reget {there} {where}/part", f"ls -1 {there}", "lpwd",
                 "rename no-such other", f"rm {there}", "bye", ""]
        child = subprocess.Popen(["script", "-qec", " ".join(quoted(["sftp", *options, "127.0.0.1"])), "/dev/null"],
                                 stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=where)
        shown, wanted = "", 1
        for line in lines:
            deadline = time.monotonic() + 20
            while shown.count("sftp> ") < wanted and line:
                assert time.monotonic() < deadline, shown
                piece = os.read(child.stdout.fileno(), 65536).decode()
                shown += piece
            wanted += 1
            if line:
                child.stdin.write(line + "\n")
                child.stdin.flush()
        shown += child.communicate(timeout=20)[0]
        equal(child.returncode, 0, shown)
        equal(digest(f"{where}/part"), digest(local), "the file that was resumed")
        # A terminal may echo what is typed before sftp does.
        answers.append([line for line in shown.replace("\r", "\n").splitlines()
                        if "%" not in line and line.strip() and line not in lines])
    equal(answers[1], answers[0], "what it showed")


def large(scene):
    where = proc.workdir("weir-large-")
    local, back, there = f"{where}/local", f"{where}/back", f"{scene.server.home}/large-{os.getpid()}"
    with open(local, "wb") as f:
        for _ in range(MEGABYTES):
            f.write(os.urandom(1 << 20))
    proc.run(["sftp", "-q", *scene.options(), "-b", "-", "127.0.0.1"], input=f"put {local} {there}\nget {there} {back}\n",
             timeout=600)
    wanted = digest(local)
    equal((digest(there), digest(back)), (wanted, wanted), "digests")
    scene.weir.settle()
    moved = [e.raw for e in scene.weir.events(kind="file_transferred") if e.raw["path"] == there]
    equal(sorted((e["direction"], e["bytes"], e["sha256"], e["complete"]) for e in moved),
          [(way, MEGABYTES << 20, wanted, True) for way in ("download", "upload")])
    os.unlink(there)


def rekeyed(scene):
    for cipher in ("aes128-gcm@openssh.com", "chacha20-poly1305@openssh.com", "aes256-ctr"):
        data = os.urandom(12 << 20)
        done = subprocess.run(["ssh", *scene.options(None, "RekeyLimit=1M", f"Ciphers={cipher}"), "127.0.0.1", "cat"],
                              input=data, stdout=subprocess.PIPE, check=True, timeout=120)
        equal(len(done.stdout), len(data), cipher)
        assert done.stdout == data, f"{cipher}: other bytes came back"


def scanned(scene):
    own = proc.run(["ssh-keyscan", "-T", "10", "-p", str(scene.weir.port), "127.0.0.1"]).stdout
    with open(os.path.join(scene.weir.state, "known_hosts"), encoding="utf-8") as f:
        known = f.read()
    lines = [line for line in own.splitlines() if not line.startswith("#")]
    equal({line.split()[1] for line in lines}, {"ssh-ed25519", "ecdsa-sha2-nistp256"}, "algorithms")
    for line in lines:
        contains(known, line.split()[2])
        assert line.split()[2] not in scene.server.public(), "the host's own key"


def git(scene):
    where = proc.workdir("weir-git-")
    bare = f"{scene.server.home}/repo-{os.getpid()}.git"
    scene.ssh(f"git init -q --bare -b main {bare}", check=True)
    env = {**os.environ, "GIT_SSH_COMMAND": " ".join(["ssh", *scene.options()]), "HOME": where,
           "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b"}
    proc.run(["git", "init", "-q", "-b", "main", f"{where}/one"], env=env)
    with open(f"{where}/one/file", "wb") as f:
        f.write(os.urandom(2 << 20))
    for argv in (["add", "."], ["commit", "-qm", "first"], ["push", "-q", f"ssh://127.0.0.1{bare}", "main"]):
        proc.run(["git", "-C", f"{where}/one", *argv], env=env)
    proc.run(["git", "clone", "-q", f"ssh://127.0.0.1{bare}", f"{where}/two"], env=env)
    equal(digest(f"{where}/two/file"), digest(f"{where}/one/file"))


def recorded(scene):
    mark = f"echo recorded-{os.getpid()}; exit 3"
    equal(scene.ssh(mark).returncode, 3)
    event = scene.weir.wait_statement(mark)
    equal(event.raw["command"], "exec")
    equal(event.raw["outcome"], {"status": "failed", "code": "exit 3"})
    equal(event.raw["session"]["protocol"], "ssh")
    equal(event.raw["session"]["user"], scene.server.user)
    assert event.raw["bytes"] > 10, event


def gone(scene):
    mark = f"sleep 321{os.getpid() % 100}"
    child = proc.spawn(["ssh", *scene.options(), "-tt", "127.0.0.1", mark])

    def runs():
        return proc.run(["pgrep", "-xf", mark], check=False).stdout.strip()
    proc.wait_until(runs, "the command runs")
    child.kill()
    child.wait()
    proc.wait_until(lambda: not runs(), "the command has ended on the server")
