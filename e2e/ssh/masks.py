"""Values that are masked in what commands and shells show."""

import os
import subprocess

from lab import proc
from lab.report import contains, equal, lacks

POLICY = """\
apiVersion: weir.dev/v1alpha1
kind: DataLabel
metadata: {name: pii.found}
spec: {detectors: [email, ssn, private_key], mask: {partial: {keepLast: 4}}}
---
apiVersion: weir.dev/v1alpha1
kind: ClusterGuardPolicy
metadata: {name: hosts}
spec:
  mode: Enforce
  subjects: [{names: ["*"]}]
  targets: [host]
  audit: {record: Full, delivery: Batch}
  rules:
  - {name: hide, match: {labels: [pii.found]}, action: Mask}
"""
SSN, MASKED = "805-36-9215", "***-**-9215"


def claims(scene, results):
    """All claims."""
    w = scene.start(policy=POLICY)
    results.check("a value in what a command shows is masked, on both streams, and recorded so", commands, scene, w)
    results.check("a value is masked however the server's writes cut it", cut, scene, w)
    results.check("a shell masks values and stays a shell", shell, scene, w)
    results.check("a private key is hidden over all its lines", key, scene, w)
    results.check("text without values is the same, whatever it is", same, scene, w)
    results.check("files, rsync and git are not changed", files, scene, w)
    w.stop()


def commands(scene, w):
    done = scene.ssh(f"echo 'ssn {SSN}, x'; echo 'zora@example.test' >&2; printf 'ssn {SSN}'", w=w)
    equal(done.stdout, f"ssn {MASKED}, x\nssn {MASKED}")
    equal(done.stderr, "****@*******.test\n")
    w.settle()
    event = next(e for e in w.statements() if "zora" in e.text)
    equal((event.masked, event.raw["rules"], event.outcome), (["pii.found"], ["hosts/hide"], "completed"))
    replayed = w.cli("replay", event.session).stdout.split(event.text, 1)[1]
    contains(replayed, MASKED)
    lacks(replayed, SSN)


def cut(scene, w):
    program = f"import os; [os.write(1, c.encode()) for c in 'ssn {SSN} x\\n']"
    equal(scene.ssh(f'python3 -c "{program}"', w=w).stdout, f"ssn {MASKED} x\n")


def shell(scene, w):
    child = subprocess.Popen(["ssh", *scene.options(w), "-tt", "127.0.0.1"], stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    child.stdin.write("stty -echo; PS1='$ '; echo silent $((6*7))\n")
    child.stdin.flush()
    for line in child.stdout:
        if "silent 42" in line:
            break
    child.stdin.write(f"printf 'ssn %s\\n' {SSN}; exit 3\n")
    child.stdin.flush()
    out = child.communicate(timeout=20)[0]
    contains(out, f"ssn {MASKED}")
    lacks(out, SSN)
    equal(child.returncode, 3)


def key(scene, w):
    path = scene.server.path("otherhostkey")
    os.chmod(path, 0o644)
    done = scene.ssh(f"cat {path}; echo after", w=w)
    for line in scene.server.read("otherhostkey").splitlines()[1:-1]:
        lacks(done.stdout, line)
    contains(done.stdout, "after\n")


def same(scene, w):
    for command in ("seq 1 20000", "head -c 300000 /usr/bin/env | base64 -w 0", "gzip -c /usr/bin/env",
                    "printf 'no end of line'", "true"):
        answers = [subprocess.run(["ssh", *options, "127.0.0.1", command], capture_output=True, check=False)
                   for options in (scene.direct_options(), scene.options(w))]
        equal(len({(a.returncode, a.stdout, a.stderr) for a in answers}), 1, command)


def files(scene, w):
    there, here = os.path.join(scene.server.home, "masks.txt"), os.path.join(w.dir, "masks.txt")
    with open(there, "w", encoding="utf-8") as f:
        f.write(f"ssn {SSN}\n" * 1000)
    for argv in (["sftp", "-q", *scene.options(w), f"127.0.0.1:{there}", here],
                 ["scp", "-q", "-O", *scene.options(w), f"127.0.0.1:{there}", here],
                 ["rsync", "-e", " ".join(["ssh", *scene.options(w)]), f"127.0.0.1:{there}", here]):
        proc.run(argv)
        with open(here, encoding="utf-8") as f:
            equal(f.read(), f"ssn {SSN}\n" * 1000, argv[0])
        os.unlink(here)
