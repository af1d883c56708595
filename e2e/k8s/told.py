"""Who is told what: reviewers of holds by a signed webhook, auditors of reads and of what runs without Weir."""

import base64
import collections
import json
import os
import re

from lab import pki, proc
from lab.build import ROOT
from lab.report import contains, equal

import monitoring

RECEIVER = os.path.join(ROOT, "crates/notify/tests/receiver.py")
SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
HOOKS = """\
apiVersion: v1
kind: Service
metadata: {name: receiver, namespace: hooks}
spec: {selector: {app: receiver}, ports: [{port: 9443}]}
---
apiVersion: v1
kind: Pod
metadata: {name: receiver, namespace: hooks, labels: {app: receiver}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: receiver
    image: weir.test/client:1
    command: [python3, -u, /config/receiver.py, /tls/tls.crt, /tls/tls.key, "@SECRET@", "1", "0.0.0.0", "9443"]
    readinessProbe: {tcpSocket: {port: 9443}, periodSeconds: 1}
    volumeMounts:
    - {name: config, mountPath: /config}
    - {name: tls, mountPath: /tls}
  volumes:
  - {name: config, configMap: {name: receiver}}
  - {name: tls, secret: {secretName: receiver-tls}}
"""
OPTIONS = ("--set notifications.webhook.url=https://receiver.hooks.svc:9443/weir",
           "--set notifications.webhook.secretRef.name=weir-webhook",
           "--set notifications.webhook.caRef.name=hooks-ca",
           # for the metrics; nobody is there
           "--set collector.otlp.endpoint=http://receiver.hooks.svc:4318")
BARE = """\
apiVersion: v1
kind: Pod
metadata: {name: bare, namespace: bare}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{name: app, image: "weir.test/client:1", command: [sleep, infinity]}]
"""


class Told:
    """The claims."""

    def __init__(self, weir):
        self.weir, self.cluster = weir, weir.cluster

    def prepare(self):
        """A receiver with a certificate of its own authority, and Weir that knows it."""
        pki.issue(self.weir.work, "hooks", "DNS:receiver.hooks.svc")
        shell = self.weir.shell
        shell("kubectl create namespace hooks && kubectl -n hooks wait --for=create serviceaccount/default --timeout=60s")
        shell("kubectl -n hooks create secret tls receiver-tls --cert=hooks.crt --key=hooks.key")
        shell(f"kubectl -n hooks create configmap receiver --from-file={RECEIVER}")
        shell(f"kubectl -n weir-system create secret generic weir-webhook --from-literal=key={SECRET}")
        shell("kubectl -n weir-system create configmap hooks-ca --from-file=ca.crt=hooks-ca.crt")
        self.cluster.apply(HOOKS.replace("@SECRET@", SECRET))
        self.cluster.wait_pod("receiver", namespace="hooks")
        self.weir.install(*OPTIONS)

    def restore(self):
        """As before."""
        self.weir.install()
        self.weir.shell("kubectl delete --ignore-not-found namespace hooks bare; kubectl -n weir-system delete "
                        "--ignore-not-found secret/weir-webhook configmap/hooks-ca", check=False)

    def _held(self):
        """A hold: the client and the request's name."""
        known = self._waiting()
        log = f"{self.weir.work}/told.log"
        child = self.weir.spawn("kubectl -n shop exec deploy/reporter -c app -- psql -XAtc 'select * from orders'", log)
        name = proc.wait_until(lambda: next(iter(self._waiting() - known), None), "a request waits", every=0.2, log=log)
        return child, name

    def _waiting(self):
        text = self.weir.shell("kubectl weir requests -n shop", who="alice", check=False).stdout
        return set(re.findall(r"\bweir-[0-9a-z]+", text))

    def _received(self):
        """What the receiver got, requests of other suites among it."""
        lines = self.cluster.logs("receiver", "receiver", namespace="hooks").splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def _got(self, name):
        """What the receiver got of a request."""
        return [message for message in self._received() if message["body"]["data"]["name"] == name]

    def reviewers_are_told_once_in_order_and_signed(self):
        child, name = self._held()
        proc.wait_until(lambda: self._got(name), "the receiver hears of it", 60, every=0.2)
        self.weir.shell(f"kubectl weir approve -n shop {name}", who="alice")
        equal(child.wait(60), 0)
        def all_told():
            return self.cluster.get("accessrequest", name, namespace="shop")["status"].get("notified")
        proc.wait_until(lambda: len(all_told() or ()) == 3, "three messages are told", 60, every=0.2)
        equal(all_told(), ["created", "decided-1", "closed"])
        got = self._got(name)
        equal([message["good"] and message["fresh"] for message in got], [True] * len(got), "signatures")
        taken = [message for message in got if message["status"] == 204]
        equal([message["body"]["type"] for message in taken],
              ["access_request.created", "access_request.decided", "access_request.closed"])
        # The receiver refuses the first it hears, whatever it is about: it comes again under the same id, and nothing twice.
        def accepted():
            return collections.Counter(m["id"] for m in self._received() if m["status"] == 204)
        refused = [message for message in self._received() if message["status"] != 204]
        equal([message["status"] for message in refused], [503])
        proc.wait_until(lambda: accepted()[refused[0]["id"]] == 1, "what was refused comes again", 60, every=0.5)
        equal(set(accepted().values()), {1})
        data = taken[0]["body"]["data"]
        equal((data["statement"], data["decide"]["approve"]),
              ("select * from orders", f"kubectl weir approve {name} -n shop"))
        assert len(data["summary"]) <= 3, data["summary"]
        equal(taken[1]["body"]["data"]["decision"]["approver"], "alice")
        equal(taken[2]["body"]["data"]["phase"], "Approved")

    def a_dead_receiver_blocks_no_hold(self):
        self.cluster.kubectl("delete", "pod", "receiver", namespace="hooks")
        child, name = self._held()
        self.weir.shell(f"kubectl weir approve -n shop {name}", who="alice")
        equal(child.wait(60), 0)

    def reads_are_evidence(self):
        self.weir.evidence("sessions -n shop")
        self.weir.evidence("query -n shop --since 1m --text read-by-bob")
        read = self.weir.evidence("query --since 5m --kind reads -o json")
        for part in ('"bob"', "/v1/sessions", "read-by-bob"):
            assert part in read, (part, read)

    def pods_without_weir_are_findings_where_it_is_enforced(self):
        self.weir.shell("kubectl create namespace bare && kubectl -n bare wait --for=create serviceaccount/default --timeout=60s")
        self.cluster.apply(BARE)
        self.cluster.wait_pod("bare", namespace="bare")
        self.weir.shell("kubectl label namespace bare weir.dev/enforce=true")
        def found():
            return "pod bare/bare" in self.weir.evidence("query --since 5m --kind findings")
        proc.wait_until(found, "it is a finding", 30, every=0.5)
        done = self.weir.shell("kubectl weir check -o json", check=False)
        equal(done.returncode, 1, done.stderr)
        failed = [one["text"] for one in json.loads(done.stdout)["checks"] if (one["check"], one["outcome"]) == ("running pods", "fail")]
        equal(len(failed), 1, done.stdout)
        contains(failed[0], "bare")
        namespaces = {one["name"]: one for one in json.loads(self.weir.shell("kubectl weir status -o json").stdout)["namespaces"]}
        equal((namespaces["bare"]["enforced"], namespaces["bare"]["unprotected"]), (True, 1))


def run(weir, report):
    """The claims."""
    told = Told(weir)
    claims = (told.reviewers_are_told_once_in_order_and_signed, told.a_dead_receiver_blocks_no_hold,
              told.reads_are_evidence, told.pods_without_weir_are_findings_where_it_is_enforced)
    claims = [(f"told: {claim.__name__}", claim) for claim in claims]
    claims += [(f"monitoring: {claim.__name__}", claim) for claim in monitoring.Monitoring(weir).claims()]
    if not any(report.wanted(name) for name, _ in claims):
        return
    try:
        told.prepare()
        for name, claim in claims:
            report.check(name, claim)
    finally:
        told.restore()
