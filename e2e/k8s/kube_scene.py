"""The same work with the Kubernetes API in a governed namespace and in one that is not."""

import base64
import json
import os

from lab import kube
from lab.installed import FIXTURES

# names that nothing else is called
GOVERNED, DIRECT = "ns-governed", "ns-direct"
PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
SECRET = "correct-horse-battery"
POLICY = """\
apiVersion: weir.dev/v1alpha1
kind: DataLabel
metadata: {name: secret.kubernetes}
spec:
  kubernetes: [{resource: secrets, fields: [data.password, stringData.password]}]
  mask: {constant: "[masked]"}
---
apiVersion: weir.dev/v1alpha1
kind: ClusterGuardPolicy
metadata: {name: api}
spec:
  mode: Enforce
  subjects: [{namespaces: [ns-governed]}]
  targets: [kubernetes]
  audit: {record: Full, delivery: Blocking}
  rules:
  - {name: hide, match: {labels: ["secret.*"]}, action: Mask}
  - {name: no-tokens, match: {kubernetes: {effects: [IssuesCredentials]}}, action: Deny}
  - name: ask-first
    match: {kubernetes: {commands: ["touch *"]}}
    action: RequireApproval
    approval: {groups: [data-stewards], count: 1, deadline: 5m}
"""


class Scene:
    """The pods, and what a user types in them."""

    def __init__(self, weir):
        self.weir, self.cluster = weir, weir.cluster

    def prepare(self):
        """Both namespaces, with the same in them, and the policy of the governed one."""
        self.cluster.load(kube.api_image())
        for namespace in (GOVERNED, DIRECT):
            self.weir.shell(f"kubectl create namespace {namespace}")
        self.weir.shell(f"kubectl label namespace {GOVERNED} weir.dev/enforce=true")
        self.cluster.apply(POLICY)
        for namespace in (GOVERNED, DIRECT):
            self.cluster.run("kubectl", "-n", namespace, "wait", "--for=create", "serviceaccount/default",
                             "configmap/kube-root-ca.crt", "--timeout=30s")
            self.fixture("api.yaml", namespace)
        for namespace in (GOVERNED, DIRECT):
            for pod in ("worker", "peer"):
                self.cluster.wait_pod(pod, namespace=namespace, timeout=120)
            self.cluster.kubectl("cp", f"{FIXTURES}/chart", f"{namespace}/worker:/tmp/chart", "-c", "app")

    def clean(self):
        """Nothing of it stays."""
        self.weir.shell(f"kubectl delete --ignore-not-found namespace {GOVERNED} {DIRECT} --wait=false; "
                        "kubectl delete --ignore-not-found clusterguardpolicy api; "
                        "kubectl delete --ignore-not-found datalabel secret.kubernetes", check=False)

    def fixture(self, name, namespace):
        """Applies one of the manifests in a namespace."""
        with open(os.path.join(FIXTURES, name), encoding="utf-8") as f:
            self.cluster.apply(f.read().replace("@NAMESPACE@", namespace))

    def run(self, *argv, pod="worker", namespace=GOVERNED, **kwargs):
        """A command in a pod."""
        kwargs.setdefault("check", False)
        return self.cluster.exec(pod, *argv, namespace=namespace, container="app", **kwargs)

    def sh(self, script, **kwargs):
        """A line of shell in a pod; what it printed. It must succeed."""
        done = self.run("sh", "-c", script, **kwargs)
        assert done.returncode == 0, f"{script}: {done.stdout}{done.stderr}"
        return done.stdout

    def both(self, script, **kwargs):
        """The same line, governed and not: exit code and what was printed, with the namespace's name out of it."""
        found = []
        for namespace in (GOVERNED, DIRECT):
            done = self.run("sh", "-c", script, namespace=namespace, **kwargs)
            found.append((done.returncode, done.stdout.replace(namespace, "NS"), done.stderr.replace(namespace, "NS")))
        return found

    def token(self, pod="worker", namespace=GOVERNED, path=f"{PATH}/token"):
        """The token that a pod's programs see."""
        return self.run("cat", path, pod=pod, namespace=namespace, check=True).stdout.strip()

    def volume(self, name, pod="worker"):
        """Where the node keeps a volume of a governed pod."""
        uid = self.cluster.get("pod", pod, namespace=GOVERNED)["metadata"]["uid"]
        mounts = [line.split()[1] for line in self.cluster.run("cat", "/proc/self/mounts").stdout.splitlines()]
        found, = [path for path in mounts if f"/pods/{uid}/" in path and path.endswith(f"/{name}")]
        return found

    def real_token(self, pod="worker"):
        """The token that only the sidecar has, from the node's own view."""
        return self.cluster.run("cat", f"{self.volume('weir-kube-token', pod)}/token").stdout.strip()

    def api(self, token, path=f"/api/v1/namespaces/{GOVERNED}/configmaps", host="kubernetes.default.svc", **kwargs):
        """What the API server answers to a bare request: the code, and the answer."""
        done = self.run("curl", "-s", "-m", "20", "--cacert", f"{PATH}/ca.crt", "-w", "\n%{http_code}", "-H",
                         f"Authorization: Bearer {token}", f"https://{host}{path}", **kwargs)
        body, _, code = done.stdout.rpartition("\n")
        return code, body or done.stderr


def claims(token):
    """Header and claims of a JWT."""
    def part(text):
        return json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    header, payload, _ = token.split(".")
    return part(header), part(payload)
