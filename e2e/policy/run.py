#!/usr/bin/env python3
"""What policies do, seen by real clients: denials, masks, limits, holds, evidence.

    run.py --weir PATH [--only hold] [--server 15|18]
    run.py --direct      the controls alone: without Weir every refused statement works

Each claim about a refusal has its control: the same statement direct, where it must succeed.
Last line: N passed, N failed.
"""

import argparse
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../lib"))
sys.path.insert(0, HERE)
import attacks  # noqa: E402
import denials  # noqa: E402
import approvals  # noqa: E402
import evidence  # noqa: E402
import holds  # noqa: E402
import masks  # noqa: E402
import migrations  # noqa: E402
import names  # noqa: E402
import quarantine  # noqa: E402
import races  # noqa: E402
import saw  # noqa: E402
import sessions  # noqa: E402
import values  # noqa: E402
from lab import postgres, report, weir, wire  # noqa: E402


class Scene:
    """The server, Weir with the suite's policy, and connections to either."""

    def __init__(self, a, server):
        self.server, self.binary = server, a.weir
        with open(os.path.join(HERE, "policy.yaml"), encoding="utf-8") as f:
            self.policy = f.read()
        self.weir = self.start() if a.weir else None

    def start(self, policy=None, **kwargs):
        """An instance of Weir in front of the server."""
        where = kwargs.pop("where", None) or weir.proc.workdir("weir-policy-")
        target = weir.target_yaml(self.server.port, client_tls="Refuse")
        return weir.Weir(self.binary, self.server.port, target=target, where=where,
                         policies=policy or self.policy, **kwargs).start()

    def hurried(self):
        """The policies with deadlines that a claim can wait for."""
        text = self.policy.replace("deadline: 60s", "deadline: 4s")
        assert text != self.policy
        return text

    def conn(self, w=None, **kwargs):
        """A raw connection through Weir."""
        return wire.Conn((w or self.weir).port, **kwargs)

    def direct(self):
        """A raw connection to the server: the control."""
        return wire.Conn(self.server.port)

    def psql(self, *argv, w=None, **kwargs):
        """Stock psql through Weir."""
        return weir.psql((w or self.weir).port, *argv, **kwargs)


def main():
    """All claims."""
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = ap.add_mutually_exclusive_group(required=True)
    what.add_argument("--weir", metavar="PATH")
    what.add_argument("--direct", action="store_true")
    ap.add_argument("--only", help="parts of names, by comma")
    ap.add_argument("--server", type=int, default=15, choices=[15, 18])
    a = ap.parse_args()
    server = postgres.Postgres(a.server, conf={"max_prepared_transactions": "4"}).start()
    with open(os.path.join(HERE, "fixture.sql"), encoding="utf-8") as f:
        server.psql(f.read())
    results = report.Report(a.only)
    scene = Scene(a, server)
    denials.controls(scene, results)
    if a.weir:
        for module in (denials, attacks, names, sessions, migrations, races, masks, values, holds, approvals, quarantine, saw,
                       evidence):
            module.claims(scene, results)
        scene.weir.stop()
    results.finish()


if __name__ == "__main__":
    main()
