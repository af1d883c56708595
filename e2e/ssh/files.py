"""Files over SSH: sizes that are known before the first byte, scp as the files that it moves, paths of rsync and
git, and ends that are kept before the client sees them."""

import hashlib
import os
import subprocess

import denials
from denials import POLICY
from lab import proc
from lab.report import contains, equal

MIB = 1 << 20

SIZES = POLICY + """\
  - {name: small-files, match: {ssh: {channels: [sftp]}}, limits: {statement: {bytes: 1Mi}, onExceed: Deny}}
"""

HELD = POLICY + """\
  - name: small-files
    match: {ssh: {channels: [sftp]}}
    limits: {statement: {bytes: 1Mi}, onExceed: RequireApproval}
    approval: {groups: [root], count: 1, deadline: 5m}
"""

PATHS = POLICY + """\
  - {name: secrets, match: {ssh: {sftp: {operations: [read], paths: ["*/secret*"]}}}, action: Deny}
  - {name: fixed, match: {ssh: {sftp: {operations: [write], paths: ["*/fixed/*"]}}}, action: Deny}
  - name: asked
    match: {ssh: {sftp: {operations: [read, write], paths: ["*/ask*"]}}}
    action: RequireApproval
    approval: {groups: [root], count: 1, deadline: 5m}
"""

WINDOW = POLICY + """\
  - {name: bulk, limits: {window: {bytes: 1Mi, per: 1h}, onExceed: Deny}}
"""

STRICT = POLICY.replace("delivery: Batch", "delivery: BlockingStrict").replace("  rules:\n", "")

NO_FORWARDS = POLICY + """\
  - {name: no-forwards, match: {ssh: {forwarding: true}}, action: Deny}
"""


def claims(scene, results):
    """All claims."""
    files = Files(scene)
    w = scene.start(policy=SIZES)
    results.check("a file above the limit is refused before its first byte, however it is read", too_large, files, w)
    results.check("files within the limit arrive whole, any number of them", small, files, w)
    results.check("scp leaves the event of each file: path, size, digest, direction", moved, files, w)
    w.stop()
    w = scene.start(policy=WINDOW)
    results.check("channels and connections at once get no more than the window holds", at_once, files, w)
    w.stop()
    w = scene.start(policy=HELD)
    results.check("a file above the limit is held once, and arrives once it is approved", held, files, w)
    w.stop()
    w = scene.start(policy=denials.HELD)
    results.check("what was released of a file does not count again against its channel", once, files, w)
    results.check("many small files on one channel add up", add_up, files, w)
    w.stop()
    w = scene.start(policy=PATHS)
    results.check("rules about paths hold for sftp, scp, rsync and git", paths, files, w)
    results.check("what may not be read gets no other name over sftp", renamed, files, w)
    results.check("scp of a path that needs an approval waits for it, in both directions", asked, files, w)
    w.stop()
    w = scene.start(policy=STRICT)
    results.check("under BlockingStrict an end is with the collector before the client sees it", strict, files, w)
    results.check("under BlockingStrict clients work as ever", works, files, w)
    w.stop()
    w = scene.start(policy=NO_FORWARDS)
    results.check("ssh -N for nothing but forwarding ends where rules deny forwarding", useless, files, w)
    w.stop()


class Files:
    """A directory of the server's user with files, and one of the client's."""

    def __init__(self, scene):
        self.scene = scene
        self.there = f"{scene.server.home}/files-{os.getpid()}"
        self.here = proc.workdir("weir-files-")
        os.makedirs(f"{self.there}/dir")
        os.makedirs(f"{self.there}/fixed")
        for name, size in (("big", 3 * MIB), ("dir/small", 700_000), ("dir/other", 900_000), ("dir/empty", 0),
                           ("secret", 100), ("ask", 2000), ("plain", 50_000)):
            with open(f"{self.there}/{name}", "wb") as f:
                f.write(os.urandom(size))
        proc.run(["git", "init", "-q", "--bare", f"{self.there}/secret.git"])
        proc.run(["chown", "-R", scene.server.user, self.there])

    def read(self, name):
        """What a file of the server holds."""
        with open(f"{self.there}/{name}", "rb") as f:
            return f.read()

    def fresh(self, name="got"):
        """A path of the client's where nothing is."""
        path = f"{self.here}/{name}"
        proc.run(["rm", "-rf", path])
        return path

    def scp(self, w, *argv):
        """Stock scp."""
        return proc.run(["scp", *self.scene.options(w), *argv], check=False, timeout=60)

    def sftp(self, w, batch):
        """Stock sftp with a batch."""
        return proc.run(["sftp", "-b", "-", *self.scene.options(w), "127.0.0.1"], input=batch, check=False, timeout=60)

    def remote(self, name):
        """A path of the server for scp."""
        return f"127.0.0.1:{self.there}/{name}"


def got(path):
    if not os.path.exists(path):
        return b""
    with open(path, "rb") as f:
        return f.read()


def too_large(files, w):
    out = files.fresh()
    for flag in ("-s", "-O"):
        done = files.scp(w, flag, files.remote("big"), out)
        assert done.returncode != 0, done
        equal(got(out), b"", f"scp {flag}")
        contains(done.stderr, "it is larger than the limit of 1048576 bytes per statement")
    with open(out, "wb") as f:
        f.write(b"x" * (3 * MIB - 1000))
    done = files.sftp(w, f"reget {files.there}/big {out}\n")
    assert done.returncode != 0, done
    equal(len(got(out)), 3 * MIB - 1000, "a resumed download")
    done = proc.run(["ssh", *files.scene.options(w), "127.0.0.1", f"scp -f {files.there}/big"], input="\0" * 9,
                    check=False)
    assert len(done.stdout) < 100, "scp by hand"
    # Another name, a link, and the file by way of the program behind the subsystem.
    os.symlink(f"{files.there}/big", f"{files.there}/link")
    done = files.sftp(w, f"get {files.there}/link {files.fresh()}\n")
    assert done.returncode != 0, done
    equal(got(out), b"", "through a link")


def small(files, w):
    out = files.fresh()
    for flag in ("-s", "-O"):
        done = files.scp(w, flag, "-r", files.remote("dir"), files.fresh())
        equal(done.returncode, 0, done.stderr)
        for name in ("small", "other", "empty"):
            equal(got(f"{out}/{name}"), files.read(f"dir/{name}"), f"scp {flag}")
    done = files.scp(w, "-O", files.remote("dir/*"), out)
    equal(done.returncode, 0, done.stderr)
    done = files.scp(w, "-O", f"{out}/other", files.remote("up"))
    equal(done.returncode, 0, done.stderr)
    equal(files.read("up"), files.read("dir/other"))


def moved(files, w):
    w.settle()
    events = [e.raw for e in w.events(kind="file_transferred")]
    events = [e for e in events if e["protocol"] == "scp"]
    for name, direction, held in (("dir/small", "download", "dir/small"), ("up", "upload", "dir/other")):
        found = [e for e in events if e["path"].endswith(f"/{name}") or e["path"].endswith(f"/{name}/other")]
        found = [e for e in found if e["direction"] == direction and e["complete"]]
        assert found, (name, events)
        content = files.read(held)
        equal((found[0]["bytes"], found[0]["sha256"]), (len(content), hashlib.sha256(content).hexdigest()))


def at_once(files, w):
    for shared in (True, False):
        w.cli("budgets", "reset")
        master = denials.Master(files.scene, w, "at-once") if shared else None
        base = master.base if master else ["ssh", *files.scene.options(w)]
        children = [subprocess.Popen([*base, "127.0.0.1", f"head -c 600000 {files.there}/big"], stdout=subprocess.PIPE,
                                     stderr=subprocess.DEVNULL) for _ in range(8)]
        total = sum(len(child.communicate(timeout=60)[0]) for child in children)
        if master:
            master.close()
        assert MIB - 200_000 < total <= MIB, (shared, total)


def once(files, w):
    for flag in ("-s", "-O"):
        out = files.fresh()
        child = subprocess.Popen(["scp", flag, *files.scene.options(w), files.remote("big"), out],
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        w.cli("approve", w.wait_request())
        _, err = child.communicate(timeout=60)
        equal(child.returncode, 0, err)
        equal(got(out), files.read("big"))


def add_up(files, w):
    out = files.fresh()
    child = subprocess.Popen(["scp", "-s", "-r", *files.scene.options(w), files.remote("dir"), out],
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    w.cli("deny", w.wait_request(), "--reason", "enough")
    _, err = child.communicate(timeout=60)
    assert child.returncode != 0 and "enough" in err, err
    assert sum(len(got(f"{out}/{name}")) for name in ("small", "other")) <= MIB


def held(files, w):
    for flag in ("-s", "-O"):
        out = files.fresh()
        child = subprocess.Popen(["scp", flag, *files.scene.options(w), files.remote("big"), out],
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        name = w.wait_request()
        equal(got(out), b"", "what came before the approval")
        w.cli("approve", name)
        _, err = child.communicate(timeout=60)
        equal(child.returncode, 0, err)
        equal(got(out), files.read("big"))
        equal(w.requests(), [])
    out = files.fresh()
    child = subprocess.Popen(["scp", "-O", *files.scene.options(w), files.remote("big"), out],
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    w.cli("deny", w.wait_request(), "--reason", "too much")
    _, err = child.communicate(timeout=60)
    assert child.returncode != 0 and "too much" in err, err
    equal(got(out), b"")


def paths(files, w):
    out = files.fresh()
    shell = " ".join(["ssh", *files.scene.options(w)])
    attempts = [
        ["scp", "-s", *files.scene.options(w), files.remote("secret"), out],
        ["scp", "-O", *files.scene.options(w), files.remote("secret"), out],
        ["scp", "-O", *files.scene.options(w), files.remote("sec*"), out],
        ["scp", "-O", "-r", *files.scene.options(w), f"127.0.0.1:{files.there}", out],
        ["rsync", "-a", "-e", shell, files.remote("secret"), out],
        ["git", "-c", f"core.sshCommand={shell}", "clone", "-q", f"127.0.0.1:{files.there}/secret.git", out],
    ]
    secret = files.read("secret")
    for argv in attempts:
        done = proc.run(argv, check=False, timeout=60)
        assert done.returncode != 0, (argv, done)
        contains(done.stderr, 'rule "secrets"')
        there = [got(os.path.join(top, name)) for top, _, names in os.walk(out) for name in names] + [got(out)
                if os.path.isfile(out) else b""]
        assert secret not in there, argv
        files.fresh()
    done = files.scp(w, "-O", f"{files.there}/plain", files.remote("fixed/x"))
    assert done.returncode != 0 and 'rule "fixed"' in done.stderr, done
    assert not os.path.exists(f"{files.there}/fixed/x")
    equal(files.scp(w, "-O", files.remote("plain"), out).returncode, 0)
    done = proc.run(["rsync", "-a", "-e", shell, files.remote("dir/"), files.fresh("r")], check=False)
    equal(done.returncode, 0, done.stderr)


def renamed(files, w):
    for command in ("ln", "ln -s", "rename"):
        done = files.sftp(w, f"{command} {files.there}/secret {files.there}/harmless\n")
        assert done.returncode != 0, (command, done)
        assert not os.path.lexists(f"{files.there}/harmless"), command
    for path in (f"/proc/self/root{files.there}/secret", f"/proc/self/cwd/{os.path.basename(files.there)}/secret"):
        done = files.sftp(w, f"get {path} {files.fresh()}\n")
        assert done.returncode != 0, (path, done)
    done = files.sftp(w, f"rename {files.there}/plain {files.there}/moved\nrename {files.there}/moved {files.there}/plain\n")
    equal(done.returncode, 0, done.stderr)


def asked(files, w):
    out = files.fresh()
    for source, target in ((files.remote("ask"), out), (f"{files.there}/plain", files.remote("ask-up"))):
        child = subprocess.Popen(["scp", "-O", *files.scene.options(w), source, target],
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        w.cli("approve", w.wait_request())
        _, err = child.communicate(timeout=60)
        equal(child.returncode, 0, err)
    equal(got(out), files.read("ask"))
    equal(files.read("ask-up"), files.read("plain"))


def strict(files, w):
    mark = f"echo strict-{os.getpid()}; exit 3"
    equal(files.scene.ssh(mark, w=w).returncode, 3)
    found = [e for e in w.statements(text=mark) if e.raw["outcome"] == {"status": "failed", "code": "exit 3"}]
    equal(len(found), 1, "ends at the moment that the client has gone")
    out = files.fresh()
    for flag in ("-s", "-O"):
        equal(files.scp(w, flag, files.remote("dir/small"), out).returncode, 0)
        protocol = {"-s": "sftp", "-O": "scp"}[flag]
        found = [e for e in w.events(kind="file_transferred") if e.raw["protocol"] == protocol]
        assert [e for e in found if e.raw["bytes"] == 700_000 and e.raw["complete"]], (flag, found)


def works(files, w):
    shell = " ".join(["ssh", *files.scene.options(w)])
    for flag in ("-s", "-O"):
        equal(files.scp(w, flag, "-r", files.remote("dir"), files.fresh()).returncode, 0, flag)
        equal(files.scp(w, flag, "-r", f"{files.there}/dir", files.remote(f"new{flag}")).returncode, 0, flag)
        equal(files.read(f"new{flag}/small"), files.read("dir/small"))
    equal(proc.run(["rsync", "-a", "-e", shell, files.remote("dir/"), files.fresh("r")], check=False).returncode, 0)
    equal(files.scene.ssh("echo out; echo err >&2; kill -TERM $$", w=w).stdout, "out\n")
    equal(len(files.scene.ssh("head -c 3000000 /dev/zero", w=w).stdout), 3_000_000)
    equal(files.scene.ssh(w=w, options=("RequestTTY=no",), input="echo shell\n").stdout, "shell\n")


def useless(files, w):
    options = files.scene.options(w)
    done = proc.run(["ssh", *options, "-N", "-D", f"127.0.0.1:{proc.free_port()}", "127.0.0.1"], check=False, timeout=20)
    equal(done.returncode, 255)
    contains(done.stderr, 'rule "no-forwards"')
    equal(files.scene.ssh("echo ran", w=w).stdout, "ran\n")
    master = denials.Master(files.scene, w, "useful")
    try:
        equal(master.run("echo shared").stdout, "shared\n")
    finally:
        master.close()
