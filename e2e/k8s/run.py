#!/usr/bin/env python3
"""``make e2e``: Weir on a real cluster, installed with Helm, with a real database and unmodified
clients.

    run.py [--only CLAIM] [--on DIR] [--keep]

Starts a cluster of its own, or uses the one of ``make cluster`` (``--on /run/weir-cluster``), with
Weir installed again. Quiet when fine; after the first claim that fails it shows pods, events, logs and evidence.
The suites run in this order, on one installation; what one changes, it puts back.
"""

import argparse
import os
import sys
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "../lib"), HERE]

from lab import kube  # noqa: E402
from lab.cluster import Cluster  # noqa: E402
from lab.installed import Installed  # noqa: E402
from lab.report import Report  # noqa: E402

import admission  # noqa: E402
import api_rules  # noqa: E402
import api_tour  # noqa: E402
import attacks  # noqa: E402
import chart  # noqa: E402
import cutoff  # noqa: E402
import drain  # noqa: E402
import edits  # noqa: E402
import fences  # noqa: E402
import figures  # noqa: E402
import kube as api  # noqa: E402
import operating  # noqa: E402
import outages  # noqa: E402
import quickstart  # noqa: E402
import review  # noqa: E402
import spread  # noqa: E402
import ssh  # noqa: E402
import told  # noqa: E402
import workloads  # noqa: E402

SUITES = (chart, quickstart, operating, workloads, edits, spread, told, review, cutoff, drain, ssh, api,
           api_rules, api_tour, attacks, admission, fences, outages, figures)


def images():
    """What the cluster has before Weir's own images are loaded."""
    return [kube.client_image(), kube.postgres_image()]


def started(where):
    """A cluster with everything but Weir, and whether it is this run's own."""
    cluster = Cluster.attach(where) if where else None
    if cluster is not None:
        return cluster, False
    began = time.monotonic()
    cluster = Cluster(where, images=images()).start()
    print(f"cluster: {time.monotonic() - began:.0f} s")
    return cluster, True


def main():
    """Runs the suites."""
    options = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    options.add_argument("--only", help="claims with this in their name (several with commas)")
    options.add_argument("--on", help="the directory of a running cluster")
    options.add_argument("--keep", action="store_true", help="leave a cluster of its own running until a key is pressed")
    options = options.parse_args()
    cluster, own = started(options.on)
    weir = Installed(cluster)

    def show():
        cluster.dump()
        weir.dump()
    report = Report(options.only, show)
    try:
        if not own:
            weir.reset()
        weir.prepare()
        for suite in SUITES:
            try:
                suite.run(weir, report)
            except Exception:  # the other suites say what they say
                report.record(f"{suite.__name__}: its scene is made, and unmade", False, traceback.format_exc())
        if options.keep and own:
            input(f"{cluster.dir}/in kubectl …; Enter ends it")
    except BaseException:
        show()
        raise
    finally:
        if own:
            cluster.stop()
    report.finish()


if __name__ == "__main__":
    main()
