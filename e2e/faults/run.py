#!/usr/bin/env python3
"""Bad input and faults: each is a claim about the proxy under test.

    run.py --weir PATH [--only full-disk] [--server 15|18]
    run.py --relay          the claims that must hold through a bare relay as well

The bounds that are claimed: no input makes the engine grow by more than 32 MiB over its
idle size, an ill-formed message ends in an error or a close within 5 s, and a connection
beside it is never harmed. Last line: N passed, N failed.
"""

import argparse
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../lib"))
sys.path.insert(0, HERE)
import durability  # noqa: E402
import messages  # noqa: E402
import peers  # noqa: E402
from lab import postgres, proc, report, weir  # noqa: E402

RELAY = os.path.join(HERE, "../lib/lab/relay.py")


class Scene:
    """What a claim needs: the server, the proxy in front of it, and a bystander."""

    def __init__(self, a, server):
        self.weir_path, self.server, self.is_weir = a.weir, server, bool(a.weir)
        self.full = a.full
        self.proxies = []
        self.port, self.pid, self.weir = self.front(server.port)

    def front(self, upstream_port, **kwargs):
        """A fresh proxy before that port: (port, pid, Weir or None)."""
        if self.is_weir:
            kwargs.setdefault("target", weir.target_yaml(upstream_port, client_tls="Refuse"))
            w = weir.Weir(self.weir_path, upstream_port, **kwargs).start()
            self.proxies.append(w.stop)
            return w.port, w.pid, w
        port = proc.free_port()
        child = proc.spawn([sys.executable, RELAY, str(port), str(upstream_port)])
        self.proxies.append(lambda: proc.stop(child))
        proc.wait_until(lambda: proc.accepts(port), "the relay listens")
        return port, child.pid, None

    def close(self):
        """Ends the proxies."""
        for stop in self.proxies:
            stop()


def main():
    """All claims, in order of cost."""
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = ap.add_mutually_exclusive_group(required=True)
    what.add_argument("--weir", metavar="PATH")
    what.add_argument("--relay", action="store_true")
    ap.add_argument("--only", help="parts of names, by comma")
    ap.add_argument("--server", type=int, default=15, choices=[15, 18])
    ap.add_argument("--full", action="store_true", help="minutes instead of seconds")
    a = ap.parse_args()
    server = postgres.Postgres(a.server).start()
    server.psql("CREATE ROLE app LOGIN PASSWORD 'app-secret'; CREATE DATABASE shop OWNER app")
    server.psql("CREATE TABLE marks (client int, n int, PRIMARY KEY (client, n)); CREATE TABLE t (id int, body text);"
                "INSERT INTO t SELECT g, 'row ' || g FROM generate_series(1, 1000) g", "shop", "app")
    results = report.Report(a.only)
    scene = Scene(a, server)
    for module in (messages, peers, durability):
        module.claims(scene, results)
    scene.close()
    results.finish()


if __name__ == "__main__":
    main()
