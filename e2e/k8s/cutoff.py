"""Quarantine in a cluster: one object ends what a service account does, in all its pods, and deleting or lifting it
is as plain."""

import json
import time

from lab import proc
from lab.report import contains, equal

WHO = "shop/default"
SESSION = "psql -XAtc 'select 1' -c 'select pg_sleep(60)'"


class CutOff:
    """The claims."""

    def __init__(self, weir):
        self.weir, self.cluster = weir, weir.cluster

    def prepare(self):
        """Somebody who may."""
        self.weir.shell("kubectl create clusterrolebinding respond --clusterrole=weir-responder --user=alice")

    def restore(self):
        """As before."""
        self.weir.shell("kubectl delete clusterrolebinding respond --ignore-not-found; kubectl delete quarantines --all")

    def only_responders_order(self):
        done = self.weir.shell(f"kubectl weir quarantine {WHO} --reason x", who="bob", check=False)
        assert done.returncode != 0, "an auditor ordered it"

    def sessions_end_in_all_pods_within_a_second(self):
        pods = [pod["metadata"]["name"] for pod in self.cluster.get("pods", "-l", "app=reporter", namespace="shop")["items"]]
        log = f"{self.weir.work}/cutoff.log"
        running = [self.weir.spawn(f"kubectl -n shop exec {pod} -c app -- {SESSION}", log) for pod in pods]
        with open(log, encoding="utf-8", errors="replace") as f:
            proc.wait_until(lambda: f.seek(0) == 0 and f.read().count("1\n") >= len(pods), "sessions run", 30, every=0.1)
        self.weir.shell(f"kubectl weir quarantine {WHO} --reason 'reads at night'", who="alice")
        since = time.time()
        for child in running:
            assert child.wait(30) != 0, "a session went on"
        print(f"      {len(pods)} sessions ended {time.time() - since:.2f} s after kubectl returned")
        with open(log, encoding="utf-8", errors="replace") as f:
            equal(f.read().count("this identity is quarantined"), len(pods), "what the clients were told")
        refused = self.weir.psql("select 1")
        contains(refused, "quarantined", "a new connection")

    def it_says_who_ordered_it(self):
        listed = json.loads(self.weir.shell("kubectl weir quarantine -o json", who="alice").stdout)
        equal([one["spec"]["by"] for one in listed], ["alice"])
        def recorded():
            seen = self.weir.evidence("query --since 10m --kind quarantines -o json")
            return all(part in seen for part in ('"alice"', "reads at night"))
        proc.wait_until(recorded, "the record names who ordered it, and why", 30, every=0.3)

    def lifting_lets_in_again(self):
        self.weir.shell(f"kubectl weir quarantine {WHO} --lift --reason 'the night shift'", who="alice")
        def works():
            return self.weir.psql("select 1 as one") == "1\n"
        proc.wait_until(works, "it is let in again", 20, every=0.2)
        # And by deleting the object, too.
        self.weir.shell(f"kubectl weir quarantine {WHO} --reason again", who="alice")
        proc.wait_until(lambda: not works(), "cut off again", 20, every=0.2)
        self.weir.shell("kubectl delete quarantines --all", who="alice")
        proc.wait_until(works, "let in by deletion", 20, every=0.2)


def run(weir, report):
    """The claims."""
    suite = CutOff(weir)
    claims = (suite.only_responders_order, suite.sessions_end_in_all_pods_within_a_second, suite.it_says_who_ordered_it,
              suite.lifting_lets_in_again)
    if not any(report.wanted(f"cutoff: {claim.__name__}") for claim in claims):
        return
    try:
        suite.prepare()
        for claim in claims:
            report.check(f"cutoff: {claim.__name__}", claim)
    finally:
        suite.restore()
