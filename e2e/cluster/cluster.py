#!/usr/bin/env python3
"""``make cluster``: a cluster that stays up after this ends.

    cluster.py up | down
"""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))

from lab.cluster import Cluster  # noqa: E402

# short: unix sockets below it have paths of at most 107 bytes
WHERE = os.environ.get("WEIR_CLUSTER", "/run/weir-cluster")


def up():
    """Starts it, or finds it."""
    cluster = Cluster.attach(WHERE)
    if cluster is None:
        cluster = Cluster(WHERE, detached=True).start()
        print(f"up after {cluster.took:.1f} s")
    inside = os.path.join(WHERE, "in")
    print(f"""\
The cluster runs in namespaces of its own; a command inside of it:
  {inside} kubectl get pods -A
  {inside} helm list -A
  {inside} ctr -a {WHERE}/containerd.sock -n k8s.io images import IMAGE.tar
Images that it has: weir.test/client:1 (psql and other clients; imagePullPolicy IfNotPresent).
Weir is not installed by it yet.
Stop it with: make cluster-down""")


def down():
    """Stops it, if it runs."""
    cluster = Cluster.attach(WHERE)
    if cluster is None:
        print("no cluster runs")
        return
    cluster.stop()
    print("stopped")


if __name__ == "__main__":
    if sys.argv[1:] not in (["up"], ["down"]):
        sys.exit(__doc__)
    up() if sys.argv[1] == "up" else down()
