"""The tour of README.md, command by command, as it stands there."""

import os
import re
import subprocess

from lab import proc
from lab.build import ROOT
from lab.report import contains, equal, lacks

COMMAND = re.compile(r"^# (.+)$", re.M)


def claims(scene, results):
    """All claims."""
    results.check("the tour of README.md works as it is written", tour, scene)


def blocks(kind):
    """The blocks of the tour's section."""
    with open(os.path.join(ROOT, "README.md"), encoding="utf-8") as f:
        section = f.read().split("## A host in five minutes", 1)[1].split("\n## ", 1)[0]
    return re.findall(rf"```{kind}\n(.*?)```", section, re.S)


class Tour:
    """A directory to walk it in, and what differs from the reader's machine."""

    def __init__(self, scene):
        self.scene, self.server, self.dir = scene, scene.server, proc.workdir("weir-tour-")
        self.path = f"{os.path.dirname(scene.binary)}:{os.environ['PATH']}"
        self.env = {**os.environ, "PATH": self.path, "HOME": self.dir}
        self.env.pop("SSH_AUTH_SOCK", None)

    def text(self, text):
        """The reader's server is this one."""
        text = text.replace("port: 22", f"port: {self.server.port}").replace("user: weir}", f"user: {self.server.user}}}")
        text = text.replace("ssh-ed25519 AAAA…", self.server.public())
        text = text.replace("~weir/.ssh/authorized_keys", self.server.path("authorized_keys"))
        text = re.sub(r"(-- ssh )", rf"\1-p {self.server.port} ", text)
        return re.sub(r"(-- sftp )", rf"\1-P {self.server.port} ", text)

    def run(self, command, **kwargs):
        """A command of the tour."""
        return subprocess.run(["bash", "-c", self.text(command)], cwd=self.dir, env=self.env, text=True, timeout=60,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False, **kwargs)


def tour(scene):
    walk = Tour(scene)
    os.makedirs(os.path.join(walk.dir, "policies"))
    policy, config = blocks("yaml")
    for name, text in (("policies/host.yaml", policy), ("weir.yaml", config)):
        with open(os.path.join(walk.dir, name), "w", encoding="utf-8") as f:
            f.write(walk.text(text))
    keys, ssh, held, shell = [COMMAND.findall(block) for block in blocks("console")]
    for command in keys:
        done = walk.run(command)
        equal(done.returncode, 0, f"{command}: {done.stderr}")
    equal(walk.run(ssh[0]).stdout, f"{scene.server.user}\n")
    contains(walk.run(ssh[1]).stderr, 'denied by policy "hosts" rule "no-dumps"')
    transfer = subprocess.Popen(["bash", "-c", walk.text(held[0].removesuffix(" &"))], cwd=walk.dir, env=walk.env,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    line = next(line for line in transfer.stderr if "awaiting approval" in line)
    name = re.search(r"weir-\w+", line)[0]
    contains(walk.run(held[1]).stdout, name)
    contains(walk.run(re.sub(r"weir-\w+$", name, held[2])).stdout, "approved")
    equal(transfer.wait(60), 0, transfer.stderr.read())
    file = os.path.join(walk.dir, "git")
    assert os.path.getsize(file) > 1 << 20, file
    digest = proc.run(["sha256sum", file]).stdout[:64]
    equal(walk.run(shell[0], input="echo typed $((6*7)); exit\n").returncode, 0)
    collector = subprocess.Popen(["bash", "-c", "exec " + shell[1].removesuffix(" &")], cwd=walk.dir, env=walk.env,
                                 stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        line = collector.stderr.readline()
        while line and "weir: ready" not in line:
            line = collector.stderr.readline()
        contains(walk.run(shell[2]).stdout, digest)
        session = re.search(r"\b[0-9a-z]{13}\b", walk.run(shell[3]).stdout)[0]
        replayed = walk.run(shell[4].replace("SESSION", session)).stdout
        contains(replayed, "typed 42")
        equal(walk.run(shell[5].replace("SESSION", session)).returncode, 0)
        with open(os.path.join(walk.dir, "shell.cast"), encoding="utf-8") as f:
            cast = f.read()
        contains(cast, '"version":3')
        contains(cast, "typed 42")
        lacks(cast, "PRIVATE KEY")
    finally:
        proc.stop(collector)
