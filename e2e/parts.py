#!/usr/bin/env python3
"""Makes ahead what the suites would make when they come to it: servers, drivers, a Kubernetes, images, each into
``~/.cache/weir``. CI runs it beside the compiler and the first suites, at the lowest priority, so that it takes the
time in which they wait. Nothing needs it: a part that is missing is made by the suite that asks for it, and one that
is being made is waited for.
"""

import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))

from lab import install, kube  # noqa: E402

# In the order in which the suites come to them; what takes longest first among equals.
PARTS = (
    ("Kubernetes", kube.kubernetes),
    ("PostgreSQL 18", lambda: install.postgres_bin(18)),
    ("drivers of Python", install.driver_python),
    ("driver of Java", install.pgjdbc),
    ("psql 18", lambda: install.psql(18)),
    ("packages of a node", kube.node_packages),
    ("Helm", kube.helm),
    ("CoreDNS", kube.coredns),
    ("image of clients", kube.client_image),
    ("image of PostgreSQL", kube.postgres_image),
    ("image of Node and Java", kube.clients_image),
    ("image of SSH", kube.ssh_image),
    ("image of BusyBox", kube.busybox_image),
    ("image of the API's clients", kube.api_image),
    ("parser of PromQL", install.promql),
)


def main():
    failed = 0
    for name, make in PARTS:
        at = time.monotonic()
        try:
            make()
        except Exception as error:  # noqa: BLE001 the suite that needs it will try again, and say why
            failed += 1
            print(f"[parts] {name}: {error}", file=sys.stderr, flush=True)
        else:
            print(f"[parts] {name}: {time.monotonic() - at:.0f} s", file=sys.stderr, flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
