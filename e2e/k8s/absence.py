"""Without a controller: running pods go on by the policies that they have, for as long as is configured, and then
nothing is permitted; what never had a policy does not start; all comes back with the controller.

The claims share one absence, so that its time is spent once.
"""

import json
import time

from lab import proc
from lab.report import contains, equal, lacks

import pods
from edits import Asking
from pods import MASKED, QUESTION

# Seconds for which sidecars keep their policies here.
KEEP = 30
# Heartbeats come every five seconds; the last one may have been so long ago.
HEARTBEAT = 5
INJECTED = "injected"
REASON = f"the controller has been away for more than {KEEP} s"


def pod(name, namespace=INJECTED):
    """One that asks once and stays."""
    return json.dumps(pods.asking({"name": name, "namespace": namespace}, "sleep 600"))


class Absence:
    """The claims; `outages` has what they share with its own."""

    def __init__(self, outages):
        self.outages, self.weir, self.cluster = outages, outages.weir, outages.cluster
        self.asking, self.log = None, f"{self.weir.work}/absence.log"

    # ------------------------------------------------------------------------------ scene

    def _controller(self, keep, replicas=None):
        """How long policies are kept, by the argument that the chart sets."""
        found = self.cluster.get("deployment", "weir-controller", namespace="weir-system")
        before = found["spec"]["template"]["spec"]["containers"][0]["args"]
        args = [f"--keep={keep}" if arg.startswith("--keep=") else arg for arg in before]
        spec = {"template": {"spec": {"containers": [{"name": "controller", "args": args}]}}}
        if replicas is not None:
            spec["replicas"] = replicas
        self.cluster.kubectl("-n", "weir-system", "patch", "deployment", "weir-controller", "-p", json.dumps({"spec": spec}))
        self.weir.shell("kubectl -n weir-system rollout status deployment/weir-controller --timeout=120s")
        self.weir.wait_admission()

    def prepare(self):
        """A namespace that is not enforced, a client with an open connection; then nobody controls any more."""
        self.weir.shell(f"kubectl create namespace {INJECTED} && kubectl label namespace {INJECTED} weir.dev/inject=enabled && "
                        f"kubectl -n {INJECTED} wait --for=create serviceaccount/default --timeout=60s")
        self.cluster.kubectl("patch", "clusterguardpolicy", "shop", "--type=json", "-p", json.dumps(
            [{"op": "add", "path": "/spec/subjects/-", "value": {"namespaces": [INJECTED]}}]))
        open(self.log, "w", encoding="utf-8").close()
        self.cluster.apply(pod("kept"))
        self._controller(KEEP)
        self.cluster.wait_pod("kept", namespace=INJECTED)
        self.asking = Asking(self.weir, "kept", INJECTED)
        self.asking.wait(MASKED)
        self.running = self.weir.spawn(f"kubectl -n {INJECTED} exec kept -c app -- psql -XAtc 'select pg_sleep({KEEP + 5})' -c 'select 2'", self.log)
        self.began = time.time()
        self.outages.scale("controller", 0)
        self.gone = time.time()
        self.checks = self.weir.spawn(f"kubectl weir check --probe {INJECTED} -o json > absent.json", self.log)

    def restore(self):
        """As before."""
        if self.asking:
            self.asking.stop()
        self._controller(300, replicas=2)
        self.weir.policies()
        self.weir.shell(f"kubectl delete namespace {INJECTED} --wait=false --ignore-not-found")

    # ----------------------------------------------------------------------------- claims

    def running_pods_go_on(self):
        """Also one whose sidecar starts anew: it has kept its policies."""
        self.outages.works()
        self.cluster.kill(self.outages.reporter()["metadata"]["name"], "weir-sidecar", namespace="shop")
        self.outages.works()
        assert time.time() < self.began + KEEP, f"it took {time.time() - self.began:.0f} s: nothing was shown"

    def no_pod_starts_unprotected_where_that_is_enforced(self):
        """Elsewhere as configured: without a sidecar. No policy is accepted unseen."""
        for namespace, starts in (("shop", False), (INJECTED, True)):
            done = self.cluster.run("kubectl", "create", "-f", "-", "--dry-run=server", input=pod("tried", namespace), check=False)
            equal(done.returncode == 0, starts, f"{namespace}: {done.stderr}")
        done = self.weir.shell("kubectl apply --dry-run=server -f manifests/quickstart/3-policy.yaml", check=False)
        assert done.returncode != 0, "a policy was accepted unseen"

    def one_that_never_had_a_policy_does_not_start(self):
        """Injected by `weir inject`, for which no controller is needed."""
        image = self.outages.reporter()["spec"]["initContainers"][0]["image"]
        self.weir.shell("kubectl -n weir-system get configmap weir-admission -o jsonpath='{.data.ca\\.crt}' > inject-ca.crt")
        made = self.weir.shell(f"weir inject -f - --image {image} --ca inject-ca.crt | kubectl apply -f -", input=pod("new"))
        equal(made.stdout, "pod/new created\n", made.stderr)
        def asks():
            return "not enrolled yet" in self.cluster.logs("new", "weir-sidecar", namespace=INJECTED)
        proc.wait_until(asks, "its sidecar asks for an identity", 30, every=0.3)
        self._waits("new")

    def _waits(self, name):
        status = self.cluster.get("pod", name, namespace=INJECTED)["status"]
        probe, = [one for one in status["initContainerStatuses"] if one["name"] == "weir-probe"]
        lacks(probe["state"], "terminated", "the probe goes on trying")
        equal([next(iter(one["state"])) for one in status["containerStatuses"]], ["waiting"], "the application")
        equal([one["status"] for one in status["conditions"] if one["type"] == "Ready"], ["False"])

    def then_nothing_is_permitted(self):
        """A session that is open ends, a new one is refused; the reason is said to both."""
        said = self.asking.wait("closed", timeout=KEEP + 10)
        assert self.began + KEEP - HEARTBEAT <= said <= self.gone + KEEP + 2, (
            f"refused {said - self.gone:.1f} s after the last controller was gone")
        equal([answer.split(": ")[0] for _, answer in self.asking.answers()], [MASKED, "closed"])
        assert self.running.wait(20) != 0, "what followed a statement that ran was permitted"
        contains(proc.tail(self.log), REASON)
        proc.wait_until(lambda: REASON in self.weir.psql(QUESTION), "the other pod, whose sidecar was killed, is refused", 10, every=0.2)
        lacks(self.weir.psql("select 1 as one"), "1\n")
        print(f"      refused {said - self.gone:.1f} s after the last controller was gone (kept for {KEEP} s)")

    def weir_check_says_so(self):
        """A probe, which starts without a sidecar here, gets past it."""
        equal(self.checks.wait(60), 1)
        with open(f"{self.weir.work}/absent.json", encoding="utf-8") as f:
            failed = [(one["check"], one["text"]) for one in json.load(f)["checks"] if one["outcome"] == "fail"]
        text = json.dumps(failed)
        contains(text, f"a pod in {INJECTED} dialled an address directly and was NOT captured")
        contains(text, f"a pod in {INJECTED} would start without the sidecar")
        equal([one for one in failed if one[0] == "controller"], [("controller", "0 of 0 replicas ready")])
        equal(self.weir.shell("kubectl weir status").stdout.splitlines()[0].split()[:5], ["weir-controller", "0", "of", "0", "ready"])

    def nor_by_a_sidecar_that_starts_anew(self):
        """What it has kept is too old."""
        self.cluster.kill("kept", "weir-sidecar", namespace=INJECTED)
        def again():
            found = self.cluster.get("pod", "kept", namespace=INJECTED)["status"]["initContainerStatuses"][0]
            return found["restartCount"] == 1 and "running" in found["state"] and found
        found = proc.wait_until(again, "the sidecar runs again", 60, every=0.3)
        equal((found["name"], found["ready"]), ("weir-sidecar", False))
        def log():
            return self.cluster.logs("kept", "weir-sidecar", namespace=INJECTED)
        proc.wait_until(lambda: "no policy yet" in log(), "it has looked for the controller", 30, every=0.3)
        lacks(log(), "the kept policy is used")
        lacks(self.weir.psql(QUESTION, pod="kept", namespace=INJECTED), "1120")

    def all_comes_back_with_the_controller(self):
        """Also a pod that waited for it: it starts."""
        self._controller(300, replicas=2)
        self.outages.works()
        self._starts("new")

    def _starts(self, name):
        def masked():
            return self.cluster.logs(name, "app", namespace=INJECTED) == f"{MASKED}\n"
        proc.wait_until(masked, "the pod that waited has started, and is masked", 60, every=0.3)

    def nor_does_one_that_has_an_identity_only(self):
        """The controller admits and enrols it; where policies are handed out, nobody is reached."""
        self._sidecars_find(1)
        try:
            self.cluster.apply(pod("blind"))
            def asks():
                log = self.cluster.logs("blind", "weir-sidecar", namespace=INJECTED)
                return "identity granted" in log and "no policy yet" in log
            proc.wait_until(asks, "its sidecar has an identity and no policy", 30, every=0.3)
            self._waits("blind")
        finally:
            self._sidecars_find("sidecars")
        self._starts("blind")

    def _sidecars_find(self, target):
        """Where the Service leads on the port of those who have an identity."""
        self.cluster.kubectl("-n", "weir-system", "patch", "service", "weir-controller", "-p", json.dumps(
            {"spec": {"ports": [{"port": 8444, "name": "sidecars", "targetPort": target}]}}))


def run(outages, report):
    """The claims."""
    absence = Absence(outages)
    claims = (absence.running_pods_go_on, absence.no_pod_starts_unprotected_where_that_is_enforced,
              absence.one_that_never_had_a_policy_does_not_start, absence.then_nothing_is_permitted, absence.weir_check_says_so,
              absence.nor_by_a_sidecar_that_starts_anew, absence.all_comes_back_with_the_controller,
              absence.nor_does_one_that_has_an_identity_only)
    if not any(report.wanted(f"absence: {claim.__name__}") for claim in claims):
        return
    try:
        absence.prepare()
        for claim in claims:
            report.check(f"absence: {claim.__name__}", claim)
    finally:
        absence.restore()
