"""What the API server refuses in enforced namespaces: each case first passes without the label.

The webhook repairs most of these pods before a policy sees them, so they are tried where the chart
installs no webhook but the policies count: ``kube-public``. Nothing is created there: all are dry
runs. Debug containers, exec, tokens and labels are tried on a real pod of an enforced namespace.
"""

import copy
import json

from lab import kube, proc
from lab.report import contains, equal

# no webhook injects here: `injection.exceptNamespaces` of the chart
BARE = "kube-public"
GOVERNED = "weir-e2e-policies"
PASSES, REFUSED, ORDINARILY = "not enforced, passes", "enforced, is refused", "enforced, passes"
DROPS = {"securityContext": {"capabilities": {"drop": ["NET_RAW"]}}}


def _sidecar(change):
    return lambda spec: change(spec["initContainers"][0])


def _app(change):
    return lambda spec: change(spec["containers"][0])


def _context(**fields):
    return _app(lambda app: app["securityContext"].update(fields))


def _pod_context(**fields):
    return lambda spec: spec.setdefault("securityContext", {}).update(fields)


def _adds(capability):
    return _app(lambda app: app["securityContext"]["capabilities"].update(add=[capability]))


def _mounts(volume):
    return _app(lambda app: app["volumeMounts"].append({"name": volume, "mountPath": "/x"}))


def _projects(spec):
    token = {"serviceAccountToken": {"audience": "weir.dev", "path": "token"}}
    spec["volumes"].append({"name": "t", "projected": {"sources": [token]}})


def _projects_for_the_api(audience=None):
    token = {"path": "token", **({"audience": audience} if audience else {})}
    return lambda spec: spec["volumes"].append({"name": "t", "projected": {"sources": [{"serviceAccountToken": token}]}})


def _kube_volume(**fields):
    def change(spec):
        spec["volumes"] = [v for v in spec["volumes"] if v["name"] != "weir-kube"] + [{"name": "weir-kube", **fields}]
    return change


def _reads(volume, place="containers"):
    """A variable from a file of a volume."""
    source = {"volumeName": volume, "path": "private/snapshot.json", "key": "A", "optional": True}
    variable = {"name": "X", "valueFrom": {"fileKeyRef": source}}
    # With the placeholder in its place: else the API server would have it mount a token.
    account = {"name": "weir-kube", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "readOnly": True}

    def change(spec):
        if volume not in (v["name"] for v in spec["volumes"]):
            spec["volumes"].append({"name": volume, "emptyDir": {}})
        spec[place].append({"name": "reads", "image": "x", "env": [variable], "volumeMounts": [account], **DROPS})
    return change


def _volume(**source):
    return lambda spec: spec["volumes"].append({"name": "t", **source})


def _token_volume(spec):
    return next(v for v in spec["volumes"] if v["name"] == "weir-identity")["projected"]["sources"][0]


# Volumes with which the node goes where the pod says, or runs what it says.
ELSEWHERE = {
    "awsElasticBlockStore": {"volumeID": "v"}, "azureDisk": {"diskName": "d", "diskURI": "/subscriptions/x", "kind": "Managed"},
    "azureFile": {"secretName": "s", "shareName": "x"}, "cephfs": {"monitors": ["192.0.2.1:5432"]}, "cinder": {"volumeID": "v"},
    "fc": {"wwids": ["x"]}, "flexVolume": {"driver": "a/b"}, "flocker": {"datasetName": "d"}, "gcePersistentDisk": {"pdName": "d"},
    "gitRepo": {"repository": "https://git.example/x.git"}, "glusterfs": {"endpoints": "e", "path": "p"},
    "iscsi": {"targetPortal": "192.0.2.1:5432", "iqn": "iqn.2001-04.com.example:x", "lun": 0},
    "nfs": {"server": "192.0.2.1", "path": "/"}, "photonPersistentDisk": {"pdID": "d"}, "portworxVolume": {"volumeID": "v"},
    "quobyte": {"registry": "192.0.2.1:5432", "volume": "v"}, "rbd": {"monitors": ["192.0.2.1:5432"], "image": "i"},
    "scaleIO": {"gateway": "https://192.0.2.1", "system": "s", "volumeName": "v", "secretRef": {"name": "s"}},
    "storageos": {"volumeName": "v"}, "vsphereVolume": {"volumePath": "[d] v"},
}
CLAIM = {"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}
# What pods have everywhere, and have in enforced namespaces too.
ORDINARY = {
    "a ConfigMap": _volume(configMap={"name": "c"}), "a Secret": _volume(secret={"secretName": "s"}), "a directory": _volume(emptyDir={}),
    "a volume without a kind": _volume(), "a claim": _volume(persistentVolumeClaim={"claimName": "c"}),
    "a claim of its own": _volume(ephemeral={"volumeClaimTemplate": CLAIM}), "a CSI driver": _volume(csi={"driver": "csi.example"}),
    "an image": _volume(image={"reference": "weir.test/client:1"}), "names of the pod": _volume(downwardAPI={"items": [
        {"path": "n", "fieldRef": {"fieldPath": "metadata.name"}}]}),
    "several sources": _volume(projected={"sources": [{"configMap": {"name": "c"}}, {"secret": {"name": "s"}}]}),
    "a token of another audience": _volume(projected={"sources": [
        {"serviceAccountToken": {"path": "t", "audience": "vault"}}]}),
    "a variable from a file of its own": _reads("mine"),
    "a sysctl that is safe": _pod_context(sysctls=[{"name": "net.ipv4.tcp_keepalive_time", "value": "60"}]),
    "profiles of the runtime": _pod_context(seccompProfile={"type": "RuntimeDefault"}, appArmorProfile={"type": "RuntimeDefault"},
                                            seLinuxOptions={"type": "container_t", "level": "s0:c1,c2"}),
}
# what somebody who may make pods tries, and a part of the reason that they are told
CASES = {
    "no sidecar": (lambda s: s.update(initContainers=[]), "no controller answered"),
    "an init container before the sidecar": (
        lambda s: s["initContainers"].insert(0, {"name": "first", "image": "x", **DROPS}), "another webhook"),
    "no probe": (lambda s: s["initContainers"].pop(1), "second init container"),
    "a sidecar with a hook": (
        _sidecar(lambda c: c.update(lifecycle={"postStart": {"exec": {"command": ["/x"]}}})), "lifecycle"),
    "a sidecar with a variable": (
        _sidecar(lambda c: c["env"].append({"name": "X", "value": "y"})), "differs in: env"),
    "a sidecar with variables from elsewhere": (
        _sidecar(lambda c: c.update(envFrom=[{"configMapRef": {"name": "c"}}])), "envFrom"),
    "a sidecar with a command": (_sidecar(lambda c: c.update(command=["/x"])), "command"),
    "a sidecar of another image": (_sidecar(lambda c: c.update(image="weir.test/client:1")), "image"),
    "a sidecar with another root": (_sidecar(lambda c: c["env"][0].update(value="mine")), "env"),
    "a sidecar that does not enforce": (_sidecar(lambda c: c["args"].remove("--enforced")), "args"),
    "a sidecar with more capabilities": (
        _sidecar(lambda c: c["securityContext"]["capabilities"]["add"].append("SYS_PTRACE")), "securityContext"),
    "a sidecar that starves": (
        _sidecar(lambda c: c.update(resources={"limits": {"memory": "1Mi"}})), "resources"),
    "another audience": (
        lambda s: _token_volume(s)["serviceAccountToken"].update(audience="other"), "volumes weir-identity"),
    "a second token of the audience": (_projects, "only the sidecar may hold a token"),
    "the sidecar's token in the application": (_mounts("weir-identity"), "the sidecar's alone"),
    "the sidecar's keys in the application": (_mounts("weir-state"), "the sidecar's alone"),
    "trust that can be written": (_mounts("weir-trust"), "read-only"),
    "a token for the API server": (_projects_for_the_api(), "only the sidecar may hold a token for the API server"),
    "a token for the API server by its audience": (
        _projects_for_the_api("https://kubernetes.default.svc.cluster.local"), "a token for the API server"),
    "the service account's token in the application": (_mounts("weir-kube-token"), "the sidecar's alone"),
    "a placeholder that can be written": (_mounts("weir-kube"), "read-only"),
    "a placeholder of one's own": (_kube_volume(configMap={"name": "mine"}), "volumes weir-identity"),
    "hostNetwork": (lambda s: s.update(hostNetwork=True), "hostNetwork"),
    "hostPID": (lambda s: s.update(hostPID=True), "hostPID"),
    "hostIPC": (lambda s: s.update(hostIPC=True), "hostIPC"),
    "shareProcessNamespace": (lambda s: s.update(shareProcessNamespace=True), "shareProcessNamespace"),
    "the runtime's socket": (
        lambda s: s["volumes"].append({"name": "h", "hostPath": {"path": "/run/containerd"}}), "hostPath"),
    "privileged": (_context(privileged=True), "privileged"),
    **{f"the capability {name}": (_adds(name), "capabilities") for name in (
        "NET_ADMIN", "NET_RAW", "SYS_ADMIN", "SYS_PTRACE", "SYS_MODULE", "BPF", "CAP_NET_ADMIN", "ALL")},
    "NET_RAW that is not dropped": (_app(lambda app: app.pop("securityContext")), "NET_RAW"),
    "the sidecar's user": (_context(runAsUser=2177), "2177"),
    "the probe's user for the pod": (lambda s: s.update(securityContext={"runAsUser": 2178}), "2178"),
    **{f"a volume of the kind {kind}": (_volume(**{kind: source}), "past the redirect: t;") for kind, source in ELSEWHERE.items()},
    **{f"a variable from a file of {volume} in {place}": (_reads(volume, place), "a variable from a file")
       for volume in ("weir-state", "weir-trust", "weir-kube") for place in ("containers", "initContainers")},
    **{f"the sysctl {name}": (_pod_context(sysctls=[{"name": name, "value": "1"}]), "sysctls") for name in (
        "net.ipv4.conf.all.route_localnet", "net.ipv4.ip_forward", "net/ipv4/ip_forward")},
    **{f"{where}'s {field}": (change(**{field: value}), "Unconfined")
       for where, change in (("the pod", _pod_context), ("a container", _context)) for field, value in (
           ("seccompProfile", {"type": "Unconfined"}), ("appArmorProfile", {"type": "Unconfined"}),
           ("seLinuxOptions", {"type": "spc_t"}))},
    "hostAliases": (
        lambda s: s.update(hostAliases=[{"ip": "192.0.2.1", "hostnames": ["db"]}]), "hostAliases"),
    "a name server of one's own": (
        lambda s: s.update(dnsPolicy="None", dnsConfig={"nameservers": ["192.0.2.1"]}), "name servers"),
}


class Policies:
    """The claims."""

    def __init__(self, cluster):
        self.cluster = cluster
        self.base = None

    def kubectl(self, *argv, **kwargs):
        """What kubectl did, whether or not it succeeded."""
        return self.cluster.run("kubectl", *argv, check=False, **kwargs)

    def prepare(self):
        """A governed namespace with a pod, and that pod as it was admitted."""
        self.kubectl("create", "namespace", GOVERNED)
        self.cluster.kubectl("label", "namespace", GOVERNED, "weir.dev/enforce=true", "--overwrite")
        self.cluster.run("kubectl", "-n", GOVERNED, "wait", "--for=create", "serviceaccount/default",
                         "--timeout=60s")
        self.cluster.kubectl("run", "app", f"--image={kube.CLIENT}", "--command", "sleep", "3600",
                             namespace=GOVERNED)
        pod = self.cluster.get("pod", "app", namespace=GOVERNED)
        spec = pod["spec"]
        spec.pop("nodeName", None)
        spec["volumes"] = [v for v in spec["volumes"] if not v["name"].startswith("kube-api-access-")]
        for container in spec["initContainers"] + spec["containers"]:
            container["volumeMounts"] = [
                m for m in container["volumeMounts"] if not m["name"].startswith("kube-api-access-")]
        metadata = {"name": "tried", "annotations": pod["metadata"]["annotations"]}
        self.base = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}

    def clean(self):
        """Leaves nothing."""
        self.kubectl("label", "namespace", BARE, "weir.dev/enforce-")
        self.kubectl("delete", "namespace", GOVERNED, "--wait=false")

    def enforce_bare(self):
        """From here on the policies count there."""
        self.cluster.kubectl("label", "namespace", BARE, "weir.dev/enforce=true", "--overwrite")

    def tried(self, change=None):
        """A dry run of the governed pod with a change."""
        pod = copy.deepcopy(self.base)
        if change is not None:
            change(pod["spec"])
        return self.kubectl("-n", BARE, "create", "--dry-run=server", "-f", "-", input=json.dumps(pod))

    def passes(self, change=None):
        """It would be made."""
        done = self.tried(change)
        assert done.returncode == 0, done.stderr

    def is_refused(self, change, reason):
        """It would not, and the reason is said."""
        refused(self.tried(change), reason)

    def debug(self, reason, **fields):
        """An ephemeral container, as a patch of one's own rather than by kubectl debug."""
        container = {"name": "d", "image": kube.CLIENT, **fields}
        refused(self.kubectl("-n", GOVERNED, "patch", "pod", "app", "--subresource=ephemeralcontainers",
                             "--type=strategic", "--dry-run=server", "-p",
                             json.dumps({"spec": {"ephemeralContainers": [container]}})), reason)

    def debug_containers_stay_out_of_the_sidecar(self):
        self.debug("joins", targetContainerName="weir-sidecar")

    def debug_containers_get_no_capability(self):
        self.debug("NET_ADMIN", securityContext={"capabilities": {"add": ["NET_ADMIN"]}})
        self.debug("SYS_PTRACE", securityContext={"capabilities": {"add": ["SYS_PTRACE"]}})
        self.debug("privileged", securityContext={"privileged": True})
        self.debug("2177", securityContext={"runAsUser": 2177})
        self.debug("sidecar's alone", volumeMounts=[{"name": "weir-state", "mountPath": "/x"}])
        self.debug("sidecar's alone", volumeMounts=[{"name": "weir-kube-token", "mountPath": "/x"}])
        self.debug("read-only", volumeMounts=[{"name": "weir-kube", "mountPath": "/x"}])
        variable = {"name": "X", "valueFrom": {"fileKeyRef": {"volumeName": "weir-state", "path": "x", "key": "A"}}}
        self.debug("a file of", env=[variable])

    def nobody_enters_the_sidecar(self):
        for container in ("weir-sidecar", "weir-probe"):
            refused(self.kubectl("-n", GOVERNED, "exec", "app", "-c", container, "--", "/x"), "nobody enters")
            refused(self.kubectl("-n", GOVERNED, "attach", "app", "-c", container), "nobody enters")

    def nobody_makes_tokens_of_the_audience(self):
        make = ("-n", GOVERNED, "create", "token", "default")
        assert self.kubectl(*make, "--audience=other").returncode == 0
        refused(self.kubectl(*make, "--audience=weir.dev"), "audience weir.dev")

    def no_secret_hands_out_a_token_of_a_service_account(self):
        def made(namespace, kind):
            secret = {"apiVersion": "v1", "kind": "Secret", "type": kind, "metadata": {
                "name": "handed", "annotations": {"kubernetes.io/service-account.name": "default"}}}
            return self.kubectl("-n", namespace, "create", "--dry-run=server", "-f", "-", input=json.dumps(secret))
        token = "kubernetes.io/service-account-token"
        refused(made(GOVERNED, token), "hand a token for the API server to programs")
        for namespace, kind in (("default", token), (GOVERNED, "Opaque")):
            done = made(namespace, kind)
            assert done.returncode == 0, done.stderr

    def a_pod_keeps_its_labels_and_its_sidecar(self):
        assert self.kubectl("-n", GOVERNED, "label", "pod", "app", "tier=web").returncode == 0
        refused(self.kubectl("-n", GOVERNED, "annotate", "pod", "app", "weir.dev/status-"), "fixed")
        refused(self.kubectl("-n", GOVERNED, "label", "pod", "app", "weir.dev/inject=disabled"), "fixed")
        refused(self.kubectl("-n", GOVERNED, "annotate", "pod", "app", "weir.dev/owner="), "fixed")
        patch = json.dumps({"metadata": {"annotations": {"weir.dev/unmatched": "Relay"}}})
        refused(self.kubectl("-n", GOVERNED, "patch", "pod", "app", "--subresource=status",
                             "--type=merge", "-p", patch), "fixed")
        address = json.dumps({"status": {"podIP": "192.0.2.1", "podIPs": [{"ip": "192.0.2.1"}]}})
        refused(self.kubectl("-n", GOVERNED, "patch", "pod", "app", "--subresource=status",
                             "--type=merge", "-p", address), "only nodes")
        image = json.dumps([{"op": "replace", "path": "/spec/initContainers/0/image", "value": kube.CLIENT}])
        refused(self.kubectl("-n", GOVERNED, "patch", "pod", "app", "--type=json", "-p", image),
                "cannot be changed")

    def a_binding_says_nothing_of_weir(self):
        waits = copy.deepcopy(self.base)
        waits["metadata"]["name"] = "waits"
        waits["spec"]["schedulerName"] = "nobody"
        self.cluster.kubectl("create", "-f", "-", namespace=GOVERNED, input=json.dumps(waits))

        def bound(path, **metadata):
            binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "waits", **metadata},
                       "target": {"apiVersion": "v1", "kind": "Node", "name": "nowhere"}}
            return self.kubectl("create", "--raw", f"/api/v1/namespaces/{GOVERNED}/{path}", "-f", "-", input=json.dumps(binding))
        for path in ("pods/waits/binding", "bindings"):
            for field in ("annotations", "labels"):
                refused(bound(path, **{field: {"weir.dev/created-by": "somebody"}}), "no binding sets them")
        done = bound("pods/waits/binding", annotations={"example.org/a": "b"})
        assert done.returncode == 0, done.stderr
        pod = self.cluster.get("pod", "waits", namespace=GOVERNED)
        equal((pod["metadata"]["annotations"]["example.org/a"], pod["spec"]["nodeName"]), ("b", "nowhere"))

    def a_namespace_is_loosened_by_those_who_may(self):
        role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
                "metadata": {"name": GOVERNED},
                "rules": [{"apiGroups": [""], "resources": ["namespaces", "namespaces/status"], "verbs": ["*"]}]}
        self.cluster.apply(json.dumps(role))
        self.kubectl("create", "clusterrolebinding", GOVERNED, f"--clusterrole={GOVERNED}", "--user=eve")
        try:
            proc.wait_until(lambda: self.kubectl("auth", "can-i", "patch", "namespaces", "--as=eve").returncode == 0,
                            "eve may change namespaces", 30, every=0.2)
            loosen = ("label", "namespace", GOVERNED, "weir.dev/enforce-", "--dry-run=server")
            refused(self.kubectl("--as=eve", *loosen), "unenforce")
            patch = json.dumps({"metadata": {"labels": {"weir.dev/enforce": "no"}}})
            refused(self.kubectl("--as=eve", "patch", "namespace", GOVERNED, "--subresource=status",
                                 "--type=merge", "--dry-run=server", "-p", patch), "unenforce")
            assert self.kubectl("--as=eve", "label", "namespace", GOVERNED, "a=b").returncode == 0
            assert self.kubectl(*loosen).returncode == 0
        finally:
            self.kubectl("delete", "clusterrole,clusterrolebinding", GOVERNED)


def refused(done, reason):
    """Not done, and why was said."""
    assert done.returncode != 0, f"it was done: {done.stdout}"
    contains(done.stderr + done.stdout, reason)


def run(weir, report):
    """The claims."""
    claims = (Policies.debug_containers_stay_out_of_the_sidecar,
              Policies.debug_containers_get_no_capability, Policies.nobody_enters_the_sidecar,
              Policies.nobody_makes_tokens_of_the_audience,
              Policies.no_secret_hands_out_a_token_of_a_service_account,
              Policies.a_pod_keeps_its_labels_and_its_sidecar, Policies.a_binding_says_nothing_of_weir,
              Policies.a_namespace_is_loosened_by_those_who_may)
    names = ["admission: enforced, passes: the pod that was admitted",
             *(f"admission: {claim.__name__}" for claim in claims),
             *(f"admission: {way}: {name}" for name in CASES for way in (PASSES, REFUSED)),
             *(f"admission: {ORDINARILY}: {name}" for name in ORDINARY)]
    if not any(map(report.wanted, names)):
        return
    policies = Policies(weir.cluster)
    try:
        policies.prepare()
        for name, (change, _) in CASES.items():
            report.check(f"admission: {PASSES}: {name}", policies.passes, change)
        policies.enforce_bare()
        report.check("admission: enforced, passes: the pod that was admitted", policies.passes)
        for name, change in ORDINARY.items():
            report.check(f"admission: {ORDINARILY}: {name}", policies.passes, change)
        for name, (change, reason) in CASES.items():
            report.check(f"admission: {REFUSED}: {name}", policies.is_refused, change, reason)
        for claim in claims:
            report.check(f"admission: {claim.__name__}", claim, policies)
    finally:
        policies.clean()
