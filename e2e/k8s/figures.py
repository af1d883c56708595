"""Figures: what the sidecar adds to a pod's start, and what it needs while idle; in the end what is left
after `helm uninstall`."""

import json
import math
import statistics
import time

from lab import proc
from lab.installed import images
from lab.report import equal

ROUNDS = 7
POD = {"apiVersion": "v1", "kind": "Pod", "spec": {
    "terminationGracePeriodSeconds": 0, "restartPolicy": "Never",
    "containers": [{"name": "app", "image": "weir.test/client:1", "command": ["sh", "-c", "date +%s.%N; sleep 60"]}]}}
START_GOAL, START_LIMIT = 1.0, 2.5
RSS_GOAL, RSS_LIMIT = 8.0, 12.0


class Figures:
    """The claims."""

    def __init__(self, weir):
        self.weir, self.cluster = weir, weir.cluster

    def _start(self, namespace, name):
        pod = {**POD, "metadata": {"name": name, "namespace": namespace}}
        began = time.time()
        self.cluster.apply(json.dumps(pod))
        log = proc.wait_until(lambda: self.cluster.logs(name, "app", namespace=namespace).strip() if "app" in str(
            self.cluster.get("pod", name, namespace=namespace)["status"].get("containerStatuses", "")) else "",
            f"{name} prints", 60, every=0.2)
        found = self.cluster.get("pod", name, namespace=namespace)["spec"].get("initContainers", ())
        equal("weir-sidecar" in [container["name"] for container in found], namespace == "guarded", f"{name} has a sidecar")
        self.cluster.kubectl("-n", namespace, "delete", "pod", name, "--now")
        return float(log) - began

    def start_delay(self):
        self.weir.shell("kubectl create namespace plain && kubectl create namespace guarded && "
                        "kubectl label namespace guarded weir.dev/inject=enabled")
        try:
            for namespace in ("plain", "guarded"):
                self.cluster.kubectl("-n", namespace, "wait", "--for=create", "serviceaccount/default", "--timeout=60s")
            proc.calm()
            plain, guarded = [], []
            for number in range(ROUNDS):
                plain.append(self._start("plain", f"p{number}"))
                guarded.append(self._start("guarded", f"p{number}"))
            added = statistics.median(guarded) - statistics.median(plain)
            print(f"      start of a pod: {statistics.median(plain):.2f} s, with a sidecar {statistics.median(guarded):.2f} s: "
                  f"{added:.2f} s more (goal {START_GOAL} s)")
            assert added < START_LIMIT, f"{added:.2f} s"
        finally:
            self.weir.shell("kubectl delete namespace plain guarded --wait=false")

    def memory(self):
        for component, names in (("sidecar", self._sidecars()), ("controller", self._own("controller")),
                                 ("collector", self._own("collector"))):
            sizes = [self._resident(*name) for name in names]
            print(f"      {component}: {', '.join(f'{size:.1f}' for size in sizes)} MB resident")
            if component == "sidecar":
                assert sizes
                # One that has just started gives its code back within seconds.
                proc.wait_until(lambda names=names: max(self._resident(*name) for name in names) < RSS_LIMIT,
                                f"idle sidecars hold less than {RSS_LIMIT} MB (goal {RSS_GOAL} MB)", 60, every=1)

    def _resident(self, namespace, pod, container):
        """Megabytes."""
        pid = self.cluster.pid(pod, container, namespace)
        status = self.cluster.run("cat", f"/proc/{pid}/status").stdout
        return int(status.split("VmRSS:")[1].split()[0]) / 1e3

    def _sidecars(self):
        pods = self.cluster.get("pods", "-l", "app=reporter", namespace="shop")["items"]
        return [("shop", p["metadata"]["name"], "weir-sidecar") for p in pods if "deletionTimestamp" not in p["metadata"]]

    def _own(self, component):
        pods = self.cluster.get("pods", "-l", f"app.kubernetes.io/component={component}", namespace="weir-system")["items"]
        return [("weir-system", p["metadata"]["name"], component) for p in pods if p["status"]["phase"] == "Running"
                and "deletionTimestamp" not in p["metadata"]]

    def image_sizes(self):
        for name, size in self.weir.sizes.items():
            print(f"      image {name}: {size / 1e6:.1f} MB")
            assert size < images.LIMITS.get(name, math.inf), f"{name} is too large"

    def uninstall_leaves_nothing_broken(self):
        self.weir.shell("helm uninstall weir -n weir-system --wait --timeout 120s")
        for kind in ("mutatingwebhookconfigurations", "validatingwebhookconfigurations", "validatingadmissionpolicies",
                     "validatingadmissionpolicybindings", "clusterroles", "clusterrolebindings"):
            # What keeps the API server's watch of the parameters alive stays, and judges nothing.
            left = [o["metadata"]["name"] for o in self.cluster.get(kind)["items"]
                    if o["metadata"]["name"].startswith("weir") and o["metadata"]["name"] != "weir-params"]
            equal(left, [], kind)
        # The API server forgets a policy's parameters a moment before the policy.
        run = "kubectl -n shop run unprotected --image=weir.test/client:1 --restart=Never -- true"
        proc.wait_until(lambda: self.weir.shell(run, check=False).returncode == 0, "pods start without Weir", 30, every=0.5)
        self.weir.shell("kubectl apply -f manifests/quickstart/3-policy.yaml && kubectl get clusterguardpolicy shop && "
                        "kubectl -n weir-system get persistentvolumeclaim weir-collector")


def run(weir, report):
    """The claims; the last one takes Weir away."""
    figures = Figures(weir)
    for claim in (figures.image_sizes, figures.start_delay, figures.memory, figures.uninstall_leaves_nothing_broken):
        report.check(f"figures: {claim.__name__}", claim)
