"""The tour of a cluster in README.md, command by command, as it stands there; the agent's machine is the
node's own namespaces."""

import os
import pty
import re
import select
import subprocess
import time

from lab import build, kube, proc
from lab.build import ROOT
from lab.report import contains, equal, lacks

COMMAND = re.compile(r"^# (.+)$", re.M)


def blocks(kind):
    """The blocks of the tour's section."""
    with open(os.path.join(ROOT, "README.md"), encoding="utf-8") as f:
        section = f.read().split("## A cluster in five minutes", 1)[1].split("\n## ", 1)[0]
    return re.findall(rf"```{kind}\n(.*?)```", section, re.S)


class Tour:
    """A directory to walk it in."""

    def __init__(self, cluster):
        self.cluster, self.dir = cluster, proc.workdir("weir-api-tour-")
        self.inside = [*cluster.inside(), "env", f"PATH={build.release()}:{os.path.join(cluster.dir, 'bin')}:{os.environ['PATH']}",
                       f"HOME={self.dir}"]
        self.exports = ""

    def text(self, command):
        """The reader's image is one that is there."""
        return self.exports + command.replace("--image=busybox", f"--image={kube.BUSYBOX}")

    def argv(self, command):
        """A command of the tour."""
        return [*self.inside, "sh", "-c", f"cd {self.dir}; {self.text(command)}"]

    def run(self, command):
        """What came of it."""
        return subprocess.run(self.argv(command), text=True, timeout=150, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, check=False)

    def typed(self, command, while_waiting, lines):
        """A command at a terminal; ``while_waiting`` runs before it says anything."""
        pid, terminal = pty.fork()
        if pid == 0:
            argv = self.argv(command)
            os.execvp(argv[0], argv)
        while_waiting()
        shown, end = b"", time.monotonic() + 60
        for line in [*lines, b""]:
            os.write(terminal, line)
            # After the last line until it has ended.
            want, until = len(shown), time.monotonic() + (5 if line else 60)
            while time.monotonic() < min(until, end):
                ready, _, _ = select.select([terminal], [], [], 0.3)
                try:
                    shown += os.read(terminal, 4096) if ready else b""
                except OSError:
                    break
                if line and not ready and len(shown) > want:
                    break
        os.waitpid(pid, 0)
        return shown


def walk(cluster):
    """All of it."""
    cluster.load(kube.busybox_image())
    tour = Tour(cluster)
    made, seen, held, after = [COMMAND.findall(block) for block in blocks("console")]
    for command in made:
        done = tour.run(command)
        equal(done.returncode, 0, f"{command}: {done.stderr}")
    for name, text in zip(("policies/cluster.yaml", "weir.yaml"), blocks("yaml"), strict=True):
        with open(os.path.join(tour.dir, name), "w", encoding="utf-8") as f:
            f.write(text)
    log = os.path.join(tour.dir, "weir.log")
    weir = proc.spawn(tour.argv("exec " + seen[0].removesuffix(" &")), log=log)
    try:
        def ready():
            with open(log, encoding="utf-8", errors="replace") as f:
                return "weir: ready" in f.read()
        proc.wait_until(ready, "weir is ready", child=weir, log=log)
        tour.exports = seen[1] + "; "
        equal(tour.run(seen[2]).stdout, "[masked]")
        contains(tour.run(seen[3]).stderr, 'denied by policy "agents" rule "no-tokens"')

        def approve():
            def waits():
                found = re.search(r"weir-\w+", tour.run(held[1]).stdout)
                return found and found[0]
            name = proc.wait_until(waits, "the shell waits", 20, every=0.3)
            contains(tour.run(held[2].replace("NAME", name)).stdout, "approved")
        shown = tour.typed(held[0], approve, [b"echo typed $((6*7))\n", b"exit\n"])
        contains(shown.decode(errors="replace"), "typed 42")
        contains(tour.run(after[0]).stdout, "masked")

        def replayed():
            sessions = re.findall(r"\b[0-9a-z]{13}\b", tour.run(after[1]).stdout)
            return "".join(tour.run(after[2].replace("SESSION", session)).stdout for session in sessions)
        proc.wait_until(lambda: "typed 42" in replayed(), "the shell can be replayed", 30, every=0.3)
        lacks(replayed(), "correct-horse")
    finally:
        proc.stop(weir)
        for thing in ("rolebinding/agent", "serviceaccount/agent", "secret/shop-db", "deployment/web"):
            cluster.kubectl("delete", "--ignore-not-found", "--wait=false", thing, check=False)


def run(weir, report):
    """The one claim."""
    report.check("api: the tour of README.md works as it is written", walk, weir.cluster)
