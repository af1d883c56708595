"""Attacks on decisions and identities: approving one's own request, and tokens that are not one's own."""

import json
import re

from lab import proc
from lab.report import contains, equal, lacks

ENROL = """\
import json, ssl, subprocess, sys, urllib.request
subprocess.run(["openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                "-keyout", "/tmp/k", "-out", "/tmp/c", "-subj", "/CN=x"], check=True, capture_output=True)
request = urllib.request.Request("https://weir-controller.weir-system.svc/v1/enrol", method="POST", headers={
    "Authorization": "Bearer " + sys.stdin.read().strip(), "Content-Type": "application/json"},
    data=json.dumps({"csr": open("/tmp/c").read()}).encode())
context = ssl._create_unverified_context()
try:
    print(json.dumps(json.load(urllib.request.urlopen(request, context=context, timeout=10))["identity"]))
except urllib.error.HTTPError as error:
    print(error.code, error.read().decode()[:200])
"""


class People:
    """The claims."""

    def __init__(self, weir, inside):
        self.weir, self.cluster, self.inside = weir, weir.cluster, inside

    def claims(self):
        """In order."""
        return (self.approving_ones_own_request, self.approving_without_the_group, self.a_request_is_not_edited,
                self.tokens_of_others)

    def _held(self, pod="attacker", namespace="fort"):
        log = f"{self.weir.work}/held.log"
        child = proc.spawn([*self.cluster.inside(), "kubectl", "-n", namespace, "exec", pod, "-c", "app", "--",
                            "psql", "-XAtc", "select * from orders"], log=log)
        def named():
            for request in self.cluster.get("accessrequests", namespace=namespace)["items"]:
                if request.get("status", {}).get("phase", "Pending") == "Pending":
                    return request["metadata"]["name"]
            return None
        return child, proc.wait_until(named, "a request", 30, every=0.2)

    def _decide(self, name, namespace, config, approver="somebody"):
        """A decision on the request as it is; the controller may write its status in between."""
        for _ in range(5):
            done = self._decide_once(name, namespace, config, approver)
            if "the object has been modified" not in done.stderr:
                break
        return done

    def _decide_once(self, name, namespace, config, approver):
        request = self.cluster.get("accessrequest", name, namespace=namespace)
        decision = {"approver": approver, "decision": "Approve", "at": "2026-01-01T00:00:00Z"}
        patch = json.dumps({"metadata": {"resourceVersion": request["metadata"]["resourceVersion"]},
                            "status": {"phase": request.get("status", {}).get("phase", "Pending"), "decisions": [decision]}})
        return self.cluster.run("kubectl", *config, "-n", namespace, "patch", "accessrequest", name,
                                "--subresource=status", "--type=merge", "-p", patch, check=False)

    def approving_ones_own_request(self):
        """The pod's own service account, with every right that RBAC can give, in the approvers' group."""
        self.weir.shell("kubectl create clusterrolebinding self --clusterrole=weir-reviewer --serviceaccount=fort:default")
        self.cluster.kubectl("patch", "clusterguardpolicy", "shop", "--type=json", "-p", json.dumps(
            [{"op": "add", "path": "/spec/rules/2/approval/groups/-", "value": "system:serviceaccounts"}]))
        child, name = self._held()
        try:
            token = self.cluster.kubectl("-n", "fort", "create", "token", "default").strip()
            config = ["--kubeconfig=/dev/null", "--server=https://192.168.77.1:6443", f"--token={token}",
                      f"--certificate-authority={self.cluster.dir}/pki/ca.crt"]
            done = self._decide(name, "fort", config)
            assert done.returncode != 0, "approved its own request"
            contains(done.stderr, "weir.dev")
            done = self._decide(name, "fort", [f"--kubeconfig={self.weir.people['alice']}"], approver="mallory")
            equal(done.returncode, 0, done.stderr)
            equal(child.wait(60), 0)
            status = self.cluster.get("accessrequest", name, namespace="fort")["status"]
            equal([d["approver"] for d in status["decisions"]], ["alice"], "the approver is who the API server says")
        finally:
            proc.stop(child)
            self.weir.shell("kubectl delete clusterrolebinding self")

    def approving_without_the_group(self):
        self.weir.shell("kubectl create clusterrolebinding mallory --clusterrole=weir-reviewer --user=mallory")
        child, name = self._held()
        try:
            done = self._decide(name, "fort", [f"--kubeconfig={self.weir.people['mallory']}"])
            assert done.returncode != 0, "approved without being in the group"
            done = self._decide(name, "fort", [])
            assert done.returncode != 0, "the administrator approved without being in the group"
        finally:
            proc.stop(child)
            self.weir.shell("kubectl delete clusterrolebinding mallory")

    def a_request_is_not_edited(self):
        child, name = self._held()
        try:
            patch = json.dumps({"spec": {"statement": "select 1"}})
            done = self.cluster.run("kubectl", "-n", "fort", "patch", "accessrequest", name, "--type=merge", "-p", patch,
                                    check=False)
            assert done.returncode != 0, "edited"
            done = self.cluster.run("kubectl", "-n", "fort", "create", "-f", "-", input=json.dumps(
                {**self._copy(name), "metadata": {"name": "forged", "namespace": "fort"}}), check=False)
            assert done.returncode != 0, "forged"
        finally:
            proc.stop(child)

    def _copy(self, name):
        request = self.cluster.get("accessrequest", name, namespace="fort")
        return {key: request[key] for key in ("apiVersion", "kind", "spec")}

    def _enrol(self, token):
        return self.cluster.exec("attacker", "python3", "-c", ENROL, input=token, namespace="free", container="app").stdout

    def tokens_of_others(self):
        """A token enrols the pod that it is bound to: not one without Weir's audience, not one of a pod that has no sidecar
        of Weir's, not once its pod is gone. Nobody but a node issues one with it."""
        create = ["kubectl", "-n", "free", "create", "token", "default"]
        uid = self.cluster.get("pod", "token", namespace="free")["metadata"]["uid"]
        bound = ["--bound-object-kind=Pod", "--bound-object-name=token", f"--bound-object-uid={uid}"]
        good = self.cluster.exec("token", "cat", "/t/token", namespace="free", container="app").stdout
        self._denied("a pod without a sidecar", good, "is not Weir's sidecar")
        posed = self.cluster.exec("posed", "cat", "/t/token", namespace="free", container="app").stdout
        self._denied("a sidecar of one's own", posed, "image of the pod's sidecar")
        self._denied("another audience", self.cluster.run(*create, *bound).stdout)
        self._denied("nonsense", good[:-8] + "AAAAAAAA")
        for options in (bound, []):
            done = self.cluster.run(*create, "--audience=weir.dev", *options, check=False)
            assert done.returncode != 0, "a token of Weir's audience was issued"
            contains(done.stderr, "weir:")
        self.cluster.kubectl("-n", "free", "delete", "pod", "token", "--now")
        self._denied("a pod that is gone", good)

    def _denied(self, what, token, says=""):
        answer = self._enrol(token.strip())
        lacks(answer, "spiffe", what)
        assert re.match("40[13]", answer), f"{what}: {answer}"
        contains(answer, says, what)
