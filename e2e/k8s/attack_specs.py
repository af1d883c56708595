"""Attacks by whoever may write pods, Services or webhooks: refused at admission in `fort`, and accepted
where nobody enforces."""

import json
import os

from lab import proc
from lab.report import contains, equal

FIXTURES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "fixtures")
TOKEN = {"name": "t", "projected": {"sources": [{"serviceAccountToken": {"path": "token", "audience": "weir.dev"}}]}}
HOST = {"name": "t", "hostPath": {"path": "/run"}}
GIT = {"name": "t", "gitRepo": {"repository": "https://git.example/x.git"}}
MOUNT = [{"name": "t", "mountPath": "/t"}]



def own(name):
    """A volume of the pod's own that bears a name of Weir's."""
    return [{"name": name, "emptyDir": {"medium": "Memory"}}]


# name, what differs in the pod, what the refusal says
ADMISSION = (
    ("hostNetwork", {"hostNetwork": True}, "hostNetwork"),
    ("hostPID", {"hostPID": True}, "hostPID"),
    ("hostIPC", {"hostIPC": True}, "hostIPC"),
    ("shareProcessNamespace", {"shareProcessNamespace": True}, "shareProcessNamespace"),
    ("privileged", {"containers.0.securityContext": {"privileged": True}}, "privileged"),
    *((f"capability {capability}", {"containers.0.securityContext": {"capabilities": {"add": [capability]}}}, "capabilit")
      for capability in ("NET_ADMIN", "NET_RAW", "SYS_ADMIN", "SYS_PTRACE", "SYS_MODULE", "ALL")),
    ("the sidecar's UID for a container", {"containers.0.securityContext": {"runAsUser": 2177}}, "2177"),
    ("the sidecar's UID for the pod", {"securityContext": {"runAsUser": 2177}}, "2177"),
    ("the sidecar's state in another container",
     {"containers.0.volumeMounts": [{"name": "weir-state", "mountPath": "/t"}], "volumes": own("weir-state")},
     "weir-state"),
    ("the sidecar's token in another container",
     {"containers.0.volumeMounts": [{"name": "weir-identity", "mountPath": "/t"}], "volumes": own("weir-identity")},
     "weir-identity"),
    ("a second token with Weir's audience", {"volumes": [TOKEN], "containers.0.volumeMounts": MOUNT}, "audience"),
    ("a host path", {"volumes": [HOST], "containers.0.volumeMounts": MOUNT}, "hostPath"),
    *((f"the node as a client, by {where}'s {how}", {f"containers.0.{where}": {how: {"host": "10.0.0.9", "port": 5432}}}, "host of its own")
      for where in ("livenessProbe", "readinessProbe", "startupProbe") for how in ("httpGet", "tcpSocket")),
    *((f"the node as a client, by {when}", {"containers.0.lifecycle": {when: {"httpGet": {"host": "10.0.0.9", "port": 5432}}}}, "host of its own")
      for when in ("postStart", "preStop")),
    ("the node as a client, by a probe of an init container",
     {"initContainers": [{"name": "first", "image": "weir.test/client:1", "restartPolicy": "Always", "command": ["sleep", "infinity"],
                          "startupProbe": {"tcpSocket": {"host": "10.0.0.9", "port": 5432}}}]}, "host of its own"),
    ("a repository that the node fetches", {"volumes": [GIT], "containers.0.volumeMounts": MOUNT}, "gitRepo"),
    ("own host names", {"hostAliases": [{"ip": "10.0.0.9", "hostnames": ["db.data.svc"]}]}, "hostAliases"),
    ("own name servers", {"dnsConfig": {"nameservers": ["10.0.0.9"]}}, "name servers"),
)
# Accepted in `fort` as elsewhere: what differs in the pod.
ORDINARY = (
    ("probes and hooks of the pod itself", {
        "containers.0.livenessProbe": {"httpGet": {"path": "/", "port": 8080}}, "containers.0.readinessProbe": {"tcpSocket": {"port": 8080}},
        "containers.0.startupProbe": {"exec": {"command": ["true"]}},
        "containers.0.lifecycle": {"preStop": {"httpGet": {"path": "/", "port": 8080}}, "postStart": {"exec": {"command": ["true"]}}}}),
    ("search domains and options of the resolver, as charts set them", {"dnsConfig": {
        "searches": ["elsewhere.svc.cluster.local"], "options": [{"name": "ndots", "value": "2"}]}}),
    ("a host name and a subdomain", {"hostname": "web-0", "subdomain": "web"}),
)
# What a foreign webhook does: a server that puts an init container in front.
HOOK = """\
import base64, http.server, json, ssl
PATCH = [{"op": "add", "path": "/spec/initContainers/0", "value": {"name": "first", "image": "weir.test/client:1",
          "command": ["psql", "-XAtc", "select ssn from customers where id = 1"], "env": [
          {"name": "PGHOST", "value": "db.data.svc"}, {"name": "PGDATABASE", "value": "shop"},
          {"name": "PGUSER", "value": "app"}, {"name": "PGPASSWORD", "value": "app-secret"}]}}]
class Hook(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        pod = review["request"]["object"]["spec"]
        patch = json.loads(json.dumps(PATCH))
        if not pod.get("initContainers"):
            patch = [{"op": "add", "path": "/spec/initContainers", "value": [patch[0]["value"]]}]
        if any(c["name"] == "first" for c in pod.get("initContainers", ())):
            patch = []
        body = json.dumps({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": {
            "uid": review["request"]["uid"], "allowed": True, "patchType": "JSONPatch",
            "patch": base64.b64encode(json.dumps(patch).encode()).decode()}}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
server = http.server.ThreadingHTTPServer(("0.0.0.0", 8443), Hook)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("/tls/tls.crt", "/tls/tls.key")
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"""


def foreign_services(database, other):
    """Services without a selector whose endpoints are the database, and the database and another pod that is
    not ready, as anybody may write them."""
    items = []
    for name, port, others in (("mine", 7654, ()), ("half", 7655, (other,))):
        items.append({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
                      "spec": {"ports": [{"name": "pg", "port": port, "targetPort": 5432}]}})
        items.append({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": f"{name}-1", "labels": {"kubernetes.io/service-name": name}},
            "addressType": "IPv4", "ports": [{"name": "pg", "port": 5432, "protocol": "TCP"}],
            "endpoints": [{"addresses": [database], "conditions": {"ready": True}},
                          *({"addresses": [one], "conditions": {"ready": False}} for one in others)]})
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": items})


class Specs:
    """The claims."""

    def __init__(self, weir, pod):
        self.weir, self.cluster, self.pod = weir, weir.cluster, pod
        self.outcomes = []

    def changed(self, changes):
        """The attacker's pod with changes, under a name of its own."""
        import attacks  # the table of pods is there
        return attacks.variant("sent", changes)

    def create(self, namespace, pod, *options):
        """A dry run on the server."""
        return self.cluster.run("kubectl", "-n", namespace, "create", "-f", "-", "--dry-run=server", *options,
                                input=json.dumps(pod), check=False)

    def refused(self, name, changes, says):
        """Accepted where Weir is not, refused in `fort` with the reason."""
        pod = self.changed(changes)
        free = self.create("free", pod)
        equal(free.returncode, 0, f"without enforcement: {free.stderr}")
        held = self.create("fort", pod)
        self.outcomes.append((name, "free", "accepted", held.stderr.strip()[-90:]))
        assert held.returncode != 0, "accepted"
        contains(held.stderr, says)

    def ordinary_pods_are_accepted(self):
        """Fields that are refused with what leaves the pod, without it."""
        for name, changes in ORDINARY:
            for namespace in ("free", "fort"):
                done = self.create(namespace, self.changed(changes))
                equal(done.returncode, 0, f"{name} in {namespace}: {done.stderr}")

    def claims(self):
        """Those that are more than a changed pod."""
        return (self.ordinary_pods_are_accepted, self.hand_made_sidecar, self.without_the_controller_nothing_is_hand_made,
                self.webhook_that_prepends, self.debug_container, self.debug_container_at_the_sidecar,
                self.exec_into_the_sidecar, self.resize_of_the_sidecar, self.image_change_of_the_sidecar,
                self.namespace_label_stays)

    def _injected(self):
        done = self.create("fort", self.changed({}), "-o", "json")
        return json.loads(done.stdout)

    def _hand_made(self):
        for change in ({"env": [{"name": "LD_PRELOAD", "value": "/x"}]}, {"args": ["probe"]},
                       {"lifecycle": {"postStart": {"exec": {"command": ["/weir-sidecar", "probe"]}}}},
                       {"image": "weir.test/client:1"}, {"restartPolicy": None}, {"command": ["/bin/true"]}):
            pod = self._injected()
            for key in ("uid", "creationTimestamp", "generation", "managedFields"):
                pod["metadata"].pop(key, None)
            pod.pop("status", None)
            pod["spec"]["initContainers"][0].update(change)
            if change.get("restartPolicy", "") is None:
                del pod["spec"]["initContainers"][0]["restartPolicy"]
            yield next(iter(change)), pod

    def hand_made_sidecar(self):
        """The webhook puts the real one in its place."""
        real = self._injected()["spec"]["initContainers"][0]
        for what, pod in self._hand_made():
            done = self.create("fort", pod, "-o", "json")
            if done.returncode == 0:
                equal(json.loads(done.stdout)["spec"]["initContainers"][0], real, what)
            else:
                contains(done.stderr, "weir", what)

    def without_the_controller_nothing_is_hand_made(self):
        """The admission policy alone refuses every variant."""
        self.cluster.kubectl("-n", "weir-system", "scale", "deployment/weir-controller", "--replicas=0")
        try:
            proc.wait_until(lambda: not self.cluster.get("pods", "-l", "app.kubernetes.io/component=controller",
                                                         namespace="weir-system")["items"], "no controller runs", 60)
            for says, pod in self._hand_made_offline():
                done = self.create("fort", pod)
                equal(done.returncode == 0, says is None, f"{says}: {done.stderr}")
                contains(done.stderr, says or "")
        finally:
            self.cluster.kubectl("-n", "weir-system", "scale", "deployment/weir-controller", "--replicas=2")
            self.weir.shell("kubectl -n weir-system rollout status deployment/weir-controller --timeout=90s")
            self.weir.wait_admission()

    def _hand_made_offline(self):
        """Why each is refused; the first is not."""
        who = json.loads(self.cluster.run("kubectl", "auth", "whoami", "-o", "json").stdout)["status"]["userInfo"]["username"]
        pod = self.cluster.get("pod", "attacker", namespace="fort")
        pod["metadata"] = {"name": "sent", "labels": {"app": "attacker"}, "annotations": {"weir.dev/created-by": who}}
        pod.pop("status")
        pod["spec"].pop("nodeName")
        yield None, pod
        yield "no controller answered", self.changed({})
        for key, value in (("env", []), ("args", ["probe"]), ("image", "weir.test/client:1"), ("command", ["/bin/true"])):
            copy = json.loads(json.dumps(pod))
            copy["spec"]["initContainers"][0][key] = value
            yield f"differs in: {key}", copy
        copy = json.loads(json.dumps(pod))
        args = copy["spec"]["initContainers"][0]["args"]
        place, = [i for i, arg in enumerate(args) if arg.startswith("--controller-address=")]
        args[place] += ",evil.example"
        yield "differs in: args", copy
        copy = json.loads(json.dumps(pod))
        copy["spec"]["initContainers"].insert(0, {"name": "first", "image": "weir.test/client:1"})
        yield "put its own before it", copy
        copy = json.loads(json.dumps(pod))
        copy["metadata"]["annotations"] = {"weir.dev/created-by": "somebody-else"}
        yield "created-by", copy
        copy = json.loads(json.dumps(pod))
        del copy["metadata"]["annotations"]
        yield "created-by", copy

    def webhook_that_prepends(self):
        """A foreign webhook's container does not run before the sidecar."""
        work = self.weir.work
        proc.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                  "-keyout", "hook.key", "-out", "hook.crt", "-days", "3", "-subj", "/CN=hook.free.svc",
                  "-addext", "subjectAltName=DNS:hook.free.svc"], cwd=work)
        with open(f"{work}/hook.py", "w", encoding="utf-8") as f:
            f.write(HOOK)
        self.weir.shell("kubectl -n free create secret tls hook --cert=hook.crt --key=hook.key && "
                        "kubectl -n free create configmap hook --from-file=hook.py")
        self.cluster.kubectl("apply", "-f", f"{FIXTURES}/hook.yaml")
        self.cluster.wait_pod("hook", namespace="free")
        try:
            self.weir.shell("sed \"s/@CA@/$(base64 -w0 <hook.crt)/\" <<'END' | kubectl apply -f -\n"
                            + WEBHOOK + "END\n")
            def prepends():
                done = self.create("free", self.changed({}), "-o", "json")
                return done.returncode == 0 and [c["name"] for c in json.loads(done.stdout)["spec"].get(
                    "initContainers", ())] == ["first"]
            proc.wait_until(prepends, "the foreign webhook works where nobody protects", 20, every=0.5)
            held = self.create("fort", self.changed({}), "-o", "json")
            if held.returncode == 0:
                equal([c["name"] for c in json.loads(held.stdout)["spec"]["initContainers"]],
                      ["weir-sidecar", "weir-probe", "first"])
            else:
                contains(held.stderr, "weir")
        finally:
            self.cluster.kubectl("delete", "mutatingwebhookconfiguration", "zzz-foreign", "--ignore-not-found")

    def debug_container(self):
        """A plain one is governed like the rest; one with more rights is refused."""
        for namespace in ("free", "fort"):
            done = self.cluster.run("kubectl", "-n", namespace, "debug", "attacker", "--image=weir.test/client:1",
                                    "--profile=netadmin", "--container=admin", "--", "sleep", "60", check=False)
            equal(done.returncode == 0, namespace == "free", done.stderr)
        done = self.cluster.run("kubectl", "-n", "fort", "debug", "attacker", "--image=weir.test/client:1",
                                "--profile=baseline", "--container=plain", "--env=PGHOST=db.data.svc",
                                "--", "sleep", "60", check=False)
        if done.returncode != 0:
            contains(done.stderr, "weir")
            return
        question = "PGPASSWORD=app-secret psql 'host=db.data.svc dbname=shop user=app sslmode=require' -XAtc 'select ssn from customers'"
        def masked():
            text = self.cluster.exec("attacker", "sh", "-c", question, namespace="fort", container="plain", check=False)
            assert "078-05" not in text.stdout
            return "***-**-1120" in text.stdout
        proc.wait_until(masked, "the debug container is governed", 20, every=0.5)

    def debug_container_at_the_sidecar(self):
        """Another container's processes may be joined where Weir is not, the sidecar's nowhere."""
        for namespace, aim in (("free", "app"), ("loose", "weir-sidecar"), ("fort", "weir-sidecar")):
            done = self.cluster.run("kubectl", "-n", namespace, "debug", "attacker", "--image=weir.test/client:1",
                                    f"--target={aim}", "--container=aim", "--", "sleep", "60", check=False)
            equal(done.returncode == 0, namespace == "free", done.stderr)

    def exec_into_the_sidecar(self):
        """Nowhere, by nobody; into other containers as ever."""
        equal(self.cluster.exec("attacker", "true", namespace="fort", container="app", check=False).returncode, 0)
        for namespace in ("loose", "fort"):
            done = self.cluster.exec("attacker", "/weir-sidecar", "--version", namespace=namespace,
                                     container="weir-sidecar", check=False)
            assert done.returncode != 0, "entered"
            contains(done.stderr, "weir:")
        done = self.cluster.run("kubectl", "-n", "fort", "attach", "attacker", "-c", "weir-sidecar", check=False, timeout=20)
        assert done.returncode != 0, "attached"

    def resize_of_the_sidecar(self):
        patch = json.dumps({"spec": {"initContainers": [{"name": "weir-sidecar", "resources": {
            "requests": {"memory": "16Mi"}, "limits": {"memory": "17Mi"}}}]}})
        done = self.cluster.run("kubectl", "-n", "fort", "patch", "pod", "attacker", "--subresource=resize",
                                "--dry-run=server", "-p", patch, check=False)
        assert done.returncode != 0, "accepted"
        contains(done.stderr, "Weir's containers cannot be changed")

    def image_change_of_the_sidecar(self):
        done = self.cluster.run("kubectl", "-n", "fort", "set", "image", "pod/attacker", "--dry-run=server",
                                "weir-sidecar=weir.test/client:1", check=False)
        assert done.returncode != 0, "accepted"
        contains(done.stderr, "weir")

    def namespace_label_stays(self):
        """Who may change namespaces, but not Weir's rules, cannot take the label off."""
        self.weir.shell("kubectl create clusterrole labels --verb=get,patch,update --resource=namespaces && "
                        "kubectl create clusterrolebinding labels --clusterrole=labels --user=mallory")
        try:
            def granted():
                return self.weir.shell("kubectl auth can-i patch namespaces", who="mallory", check=False).returncode == 0
            proc.wait_until(granted, "mallory may change namespaces", 30, every=0.2)
            off = "kubectl label --dry-run=server namespace fort weir.dev/enforce-"
            done = self.weir.shell(off, who="mallory", check=False)
            assert done.returncode != 0, "the label came off"
            contains(done.stderr, "unenforce")
            equal(self.weir.shell("kubectl label --dry-run=server namespace free some=label", who="mallory", check=False).returncode, 0)
            equal(self.weir.shell(off, check=False).returncode, 0, "who may, can")
        finally:
            self.weir.shell("kubectl delete clusterrolebinding labels; kubectl delete clusterrole labels")


WEBHOOK = """\
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingWebhookConfiguration
metadata: {name: zzz-foreign}
webhooks:
- name: foreign.example.org
  admissionReviewVersions: [v1]
  sideEffects: None
  reinvocationPolicy: IfNeeded
  failurePolicy: Ignore
  clientConfig: {service: {namespace: free, name: hook}, caBundle: "@CA@"}
  rules: [{apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [pods]}]
  namespaceSelector:
    matchExpressions: [{key: kubernetes.io/metadata.name, operator: In, values: [free, fort]}]
"""
