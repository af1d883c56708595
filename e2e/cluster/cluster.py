#!/usr/bin/env python3
"""``make cluster``: a cluster that stays up after this ends, with Weir in it.

    cluster.py up | down | manifests
"""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))

from lab import kube, proc  # noqa: E402
from lab.build import ROOT  # noqa: E402
from lab.cluster import Cluster  # noqa: E402
from lab.installed import Installed  # noqa: E402

# short: unix sockets below it have paths of at most 107 bytes
WHERE = os.environ.get("WEIR_CLUSTER", "/run/weir-cluster")


def up():
    """Starts it, or finds it; installs Weir, or what has changed of it."""
    cluster = Cluster.attach(WHERE)
    if cluster is None:
        cluster = Cluster(WHERE, images=[kube.client_image(), kube.postgres_image()], detached=True).start()
        print(f"up after {cluster.took:.1f} s")
    weir = Installed(cluster).prepare()
    weir.install(f"--set-string controller.annotations.build={os.getpid()} --set-string collector.annotations.build={os.getpid()}")
    weir.database()
    weir.govern()
    inside = os.path.join(WHERE, "in")
    print(f"""\
The cluster runs in namespaces of its own; a command inside of it:
  {inside} kubectl get pods -A
  {inside} helm list -A
  {inside} kubectl weir status
  {inside} kubectl -n shop exec deploy/reporter -- psql -c "select * from customers"
  {inside} env KUBECONFIG={weir.people["alice"]} kubectl weir requests -n shop      (alice: data-stewards)
  {inside} env KUBECONFIG={weir.people["bob"]} kubectl weir query -n shop      (bob: auditors)
  {inside} ctr -a {WHERE}/containerd.sock -n k8s.io images import IMAGE.tar
Weir is in weir-system, a PostgreSQL in data, an application that it governs in shop.
Stop it with: make cluster-down""")


def down():
    """Stops it, if it runs."""
    cluster = Cluster.attach(WHERE)
    if cluster is None:
        print("no cluster runs")
        return
    cluster.stop()
    print("stopped")


def manifests():
    """Renders the chart with its default values."""
    rendered = proc.run([os.path.join(kube.helm(), "helm"), "template", "weir", "charts/weir", "-n", "weir-system",
                         "--no-hooks"], cwd=ROOT).stdout
    with open(os.path.join(ROOT, "manifests/install.yaml"), "w", encoding="utf-8") as f:
        f.write(rendered)


COMMANDS = {"up": up, "down": down, "manifests": manifests}

if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in COMMANDS:
        sys.exit(__doc__)
    COMMANDS[sys.argv[1]]()
