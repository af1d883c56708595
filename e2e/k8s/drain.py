"""How a pod ends: what its programs began is finished while it goes, the sidecar is the last to end, and nothing of
the evidence stays behind."""

import json
import re

from lab import proc
from lab.cluster import documents
from lab.report import contains, equal

import pods
from pods import MASKED, QUESTION, container

# Long enough to be under way when everything ends.
SLOW = "select ssn from customers, pg_sleep(5) where id = 1"
# The application: what it has begun, then on the same connection, then on a new one.
APP = f"""\
import psycopg2, signal, sys
asked = []
signal.signal(signal.SIGTERM, lambda *_: asked.append(True))
def ask(connection, mark, sql):
    cursor = connection.cursor()
    cursor.execute(sql + " /* drain-" + mark + " */")
    print(mark, "after SIGTERM" if asked else "before SIGTERM", cursor.fetchone()[0], flush=True)
connection = psycopg2.connect("")
connection.autocommit = True
ask(connection, "early", "{QUESTION}")
ask(connection, "running", "{SLOW}")
ask(connection, "same", "{QUESTION}")
ask(psycopg2.connect(""), "new", "{QUESTION}")
"""
# A sidecar of the application's own, which ends after it and has something to write down then.
HELPER = f"""trap 'psql -XAtc "{QUESTION} /* drain-helper */"; exit 0' TERM; sleep infinity & wait"""
# Whoever does not listen is cut when the time is over.
DEAF = """trap '' TERM; psql -XAtc "select pg_sleep(60) /* drain-deaf */"; sleep 60"""
MARKS = ("early", "running", "same", "new", "helper")


def leaving(name, grace, *containers, **spec):
    """A pod of the shop."""
    return json.dumps(pods.pod({"name": name, "namespace": "shop"}, *containers, grace=grace, **spec))


class Drain:
    """The claims."""

    def __init__(self, weir):
        self.weir, self.cluster = weir, weir.cluster
        self.logs = {name: f"{weir.work}/drain-{name}.log" for name in ("app", "helper", "pod")}

    def prepare(self):
        """Two pods at work, and what looks at the first one."""
        for log in self.logs.values():
            open(log, "w", encoding="utf-8").close()
        self.cluster.apply(leaving("leaving", 30, container("python3", "-u", "-c", APP),
                                   initContainers=[container("sh", "-c", HELPER, name="helper", restartPolicy="Always")]))
        self.cluster.apply(leaving("deaf", 1, container("sh", "-c", DEAF)))
        for name in ("leaving", "deaf"):
            self.cluster.wait_pod(name, namespace="shop", timeout=60)
        self.children = [self.weir.spawn(f"timeout 90 kubectl -n shop logs -f leaving -c {name}", self.logs[name])
                         for name in ("app", "helper")]
        self.children.append(self.weir.spawn("timeout 90 kubectl -n shop get pod leaving -w -o json", self.logs["pod"]))

    def restore(self):
        """As before."""
        for child in self.children:
            proc.stop(child)
        self.weir.shell("kubectl -n shop delete pod leaving deaf --now --ignore-not-found")

    def _said(self, name):
        with open(self.logs[name], encoding="utf-8") as f:
            return f.read()

    def a_pod_that_goes_finishes_what_it_began(self):
        """Statements under way and new ones, of the application and of its own sidecar, which ends later."""
        proc.wait_until(lambda: "early" in self._said("app"), "the application works", 30, log=self.logs["app"])
        self.cluster.kubectl("-n", "shop", "delete", "pod", "leaving", "deaf", "--wait=false")
        proc.wait_until(lambda: not self.cluster.kubectl("-n", "shop", "get", "pod", "leaving", "deaf", "--ignore-not-found"),
                        "the pods are gone", 60, every=0.2)
        equal(self._said("app").splitlines(), [f"{mark} {when} SIGTERM {MASKED}" for mark, when in (
            ("early", "before"), ("running", "after"), ("same", "after"), ("new", "after"))])
        equal(self._said("helper"), f"{MASKED}\n")

    def the_sidecar_ends_last_and_well(self):
        """As Kubernetes itself writes it down."""
        status = documents(self._said("pod"))[-1]["status"]
        ended = {one["name"]: one["state"].get("terminated", {})
                 for one in (*status["initContainerStatuses"], *status["containerStatuses"])}
        equal({name: ended[name].get("exitCode") for name in ("app", "helper", "weir-sidecar")},
              {"app": 0, "helper": 0, "weir-sidecar": 0})
        times = [ended[name]["finishedAt"] for name in ("app", "helper", "weir-sidecar")]
        equal(times, sorted(times), "the order of their ends")

    def all_of_it_is_evidence(self):
        """The last statement included, and that of a session that was cut."""
        def recorded():
            events = json.loads(self.weir.evidence("query -n shop --since 5m --text drain- --limit 100 -o json"))
            return set(re.findall(r"/\* drain-(\w+) \*/", json.dumps(events))) == {*MARKS, "deaf"} and events
        proc.wait_until(recorded, f"statements {MARKS} and the cut one are recorded", 30, every=0.5)
        text = self.weir.evidence("query -n shop --since 5m --text drain-deaf --limit 100 -o json")
        contains(text, "aborted")


def run(weir, report):
    """The claims."""
    suite = Drain(weir)
    claims = (suite.a_pod_that_goes_finishes_what_it_began, suite.the_sidecar_ends_last_and_well, suite.all_of_it_is_evidence)
    if not any(report.wanted(f"drain: {claim.__name__}") for claim in claims):
        return
    suite.children = []
    try:
        suite.prepare()
        for claim in claims:
            report.check(f"drain: {claim.__name__}", claim)
    finally:
        suite.restore()
