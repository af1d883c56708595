#!/usr/bin/env python3
"""SSH through Weir, seen by stock clients: what works, what is refused, what is recorded.

    run.py --weir PATH [--only sftp]

Each claim about a result compares it with the same command direct, on a real OpenSSH server.
Last line: N passed, N failed.
"""

import argparse
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../lib"))
sys.path.insert(0, HERE)
import clients  # noqa: E402
import denials  # noqa: E402
import evasion  # noqa: E402
import files  # noqa: E402
import forwards  # noqa: E402
import hostile  # noqa: E402
import libraries  # noqa: E402
import logins  # noqa: E402
import masks  # noqa: E402
import tour  # noqa: E402
from lab import install, proc, report, sshd, weir  # noqa: E402


NEEDS = {"sshd": "openssh-server", "ssh": "openssh-client", "rsync": "rsync", "git": "git", "curl": "curl",
         "script": "bsdutils"}


class Scene:
    """A server, Weir in front of it, and stock clients to either."""

    def __init__(self, binary):
        self.binary = binary
        self.server = sshd.Sshd().start()
        self.direct_known = self.server.path("known_hosts")
        with open(self.direct_known, "w", encoding="utf-8") as f:
            f.write(f"[127.0.0.1]:{self.server.port} {self.server.public()}\n")
        with open(os.path.join(HERE, "policy.yaml"), encoding="utf-8") as f:
            self.policy = f.read()
        self.weir = self.start()

    def secrets(self, where, **fields):
        """Writes the Secret ``host-login`` into a secrets directory."""
        directory = os.path.join(where, "state/secrets/host-login")
        os.makedirs(directory, mode=0o700, exist_ok=True)
        for name, text in fields.items():
            path = os.path.join(directory, name.replace("_", "-").replace("-pub", ".pub"))
            with open(path, "w", encoding="utf-8") as f:
                f.write(text)
            os.chmod(path, 0o600)

    def target(self, *, ssh=None, credentials="{mode: Brokered, secretRef: {name: host-login}}"):
        """The Target of the server."""
        ssh = ssh or f'{{hostKeys: ["{self.server.public()}"], user: {self.server.user}}}'
        return f"""\
apiVersion: weir.dev/v1alpha1
kind: Target
metadata: {{name: host}}
spec:
  protocol: SSH
  addresses: [{{host: 127.0.0.1, port: {self.server.port}}}]
  credentials: {credentials}
  ssh: {ssh}
"""

    def start(self, policy=None, *, secret=None, where=None, **target):
        """An instance of Weir in front of the server."""
        where = where or proc.workdir("weir-ssh-")
        self.secrets(where, **(secret or {"ssh_privatekey": self.server.read("key")}))
        return weir.Weir(self.binary, self.server.port, target=self.target(**target), where=where,
                         policies=policy or self.policy, target_name="host").start()

    def options(self, w=None, *more, **kwargs):
        """Options of stock clients through Weir."""
        w = w or self.weir
        return sshd.client(w.port, known_hosts=os.path.join(w.state, "known_hosts"), options=more, **kwargs)

    def direct_options(self, *more):
        """Options of stock clients to the server itself."""
        return sshd.client(self.server.port, known_hosts=self.direct_known, options=more,
                           identity=self.server.path("key"))

    def ssh(self, *argv, w=None, options=(), check=False, **kwargs):
        """Stock ssh through Weir."""
        return proc.run(["ssh", *self.options(w, *options), "127.0.0.1", *argv], check=check,
                        timeout=kwargs.pop("timeout", 60), **kwargs)

    def both(self, program, *argv, options=(), **kwargs):
        """The same program direct and through Weir."""
        return [proc.run([program, *found, *argv], check=False, timeout=180, **kwargs)
                for found in (self.direct_options(*options), self.options(None, *options))]


def main():
    """All claims."""
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--weir", metavar="PATH", required=True)
    ap.add_argument("--only", help="parts of names, by comma")
    a = ap.parse_args()
    results = report.Report(a.only)
    for program, package in NEEDS.items():
        install.need(program, package)
    scene = Scene(a.weir)
    for module in (clients, libraries, logins, denials, files, masks, forwards, hostile, evasion, tour):
        module.claims(scene, results)
    scene.weir.stop()
    results.finish()


if __name__ == "__main__":
    main()
