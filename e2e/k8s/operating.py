"""What those who run Weir look at: `weir check` with a pod that tries to get past its sidecar, `weir status`, and
`weir inject`, which writes what the webhook writes. What they say when something is wrong is claimed where it is:
`absence`, `told`."""

import json

from lab import proc
from lab.report import equal

# What is checked in an installation that is as it should be.
CHECKS = {"kubernetes", "nodes", "admission policies", "runtime classes", "namespaces", "resources", "controller", "collector",
          "webhooks", "weir's policies", "certificates", "injection", "enforcement", "running pods", "probe"}
DEPLOYMENT = {
    "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "written", "namespace": "shop"},
    "spec": {"selector": {"matchLabels": {"app": "written"}}, "template": {
        "metadata": {"labels": {"app": "written"}},
        "spec": {"containers": [{"name": "app", "image": "weir.test/client:1", "command": ["sleep", "infinity"]},
                                {"name": "other", "image": "weir.test/client:1", "env": [{"name": "SSL_CERT_FILE", "value": "/own"}]}]}}}}


class Operating:
    """The claims."""

    def __init__(self, weir):
        self.weir, self.cluster = weir, weir.cluster

    def check_probes_and_finds_all_in_order(self):
        # What ran before the namespace was governed is a finding for as long as it runs.
        proc.wait_until(lambda: len(self.cluster.get("pods", "-l", "app=reporter", namespace="shop")["items"]) == 1, "one reporter", 30, every=0.2)
        done = self.weir.shell("kubectl weir check --probe shop -o json", check=False)
        found = json.loads(done.stdout)
        equal([one for one in found["checks"] if one["outcome"] != "ok"], [])
        equal((found["ok"], done.returncode), (True, 0))
        equal({one["check"] for one in found["checks"]}, CHECKS)
        texts = {one["check"]: one["text"] for one in found["checks"]}
        equal(texts["probe"], "a pod in shop dialled an address directly and was captured")
        equal(texts["enforcement"], "a pod with NET_ADMIN is refused in shop")
        equal([p["metadata"]["name"] for p in self.cluster.get("pods", namespace="shop")["items"]
               if p["metadata"]["name"].startswith("weir-check-") and "deletionTimestamp" not in p["metadata"]], [], "its pod is gone")

    def status_counts(self):
        found = json.loads(self.weir.shell("kubectl weir status -o json").stdout)
        equal([(one["name"], one["ready"], one["wanted"]) for one in found["processes"]],
              [("weir-controller", 2, 2), ("weir-collector", 1, 1)])
        shop = next(one for one in found["namespaces"] if one["name"] == "shop")
        equal(shop, {"name": "shop", "enforced": True, "governed": 1, "sidecarNotReady": 0, "optedOut": 0, "unprotected": 0})
        equal({kind: found["policies"][kind] for kind in ("Target", "DataLabel", "ClusterGuardPolicy")},
              {"Target": 2, "DataLabel": 1, "ClusterGuardPolicy": 2})
        equal((found["notReady"], found["unread"]), ([], []))

    def inject_writes_what_the_webhook_writes(self):
        """The webhook leaves a pod that was injected offline as it would have made it."""
        image = self.cluster.get("pods", "-l", "app=reporter", namespace="shop")["items"][0]["spec"]["initContainers"][0]["image"]
        self.weir.shell("kubectl -n weir-system get configmap weir-admission -o jsonpath='{.data.ca\\.crt}' > inject-ca.crt")
        written = self.weir.shell(f"weir inject --enforced -f - --image {image} --ca inject-ca.crt | "
                                  "kubectl create --dry-run=client -o json -f -", input=json.dumps(DEPLOYMENT)).stdout
        template = json.loads(written)["spec"]["template"]
        equal([one["name"] for one in template["spec"]["initContainers"]], ["weir-sidecar", "weir-probe"])
        made = []
        for pod in (template, DEPLOYMENT["spec"]["template"]):
            pod = {"apiVersion": "v1", "kind": "Pod", **pod, "metadata": {**pod["metadata"], "name": "written"}}
            done = self.weir.shell("kubectl -n shop create --dry-run=server -o json -f -", input=json.dumps(pod))
            made.append(json.loads(done.stdout))
        for part in ("initContainers", "containers", "volumes"):
            equal(*(named(pod["spec"][part]) for pod in made), part)
        equal(*(pod["metadata"]["annotations"] for pod in made))


def named(parts):
    """By name: what Kubernetes adds itself has names that it draws."""
    return {one["name"]: one for one in parts if not one["name"].startswith("kube-api-access")}


def run(weir, report):
    """The claims."""
    suite = Operating(weir)
    for claim in (suite.check_probes_and_finds_all_in_order, suite.status_counts, suite.inject_writes_what_the_webhook_writes):
        report.check(f"operating: {claim.__name__}", claim)
