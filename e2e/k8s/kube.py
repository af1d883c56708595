"""The Kubernetes API from governed pods: who has the token, what is refused, and stock clients that do what
they do without Weir."""

import json
import re

from lab import proc
from lab.report import contains, equal, lacks

import kube_scene as scene
import kube_streams
from kube_scene import DIRECT, GOVERNED, PATH, SECRET

VERSIONS = ("-1.32", "-1.33", "-1.34", "")
# What somebody does with kubectl, one line each; compared with the same where Weir is not.
TYPED = """\
kubectl@V@ create configmap typed@N@ --from-literal=a=b
kubectl@V@ get configmap typed@N@ -o jsonpath='{.data.a}'
kubectl@V@ get configmaps typed@N@ --no-headers -o custom-columns=N:.metadata.name
kubectl@V@ patch configmap typed@N@ --type=merge -p '{"data":{"c":"d"}}'
kubectl@V@ get configmap typed@N@ -o jsonpath='{.data}'
printf 'apiVersion: v1\\nkind: ConfigMap\\nmetadata: {name: typed@N@}\\ndata: {a: x}\\n' | kubectl@V@ apply --server-side --force-conflicts -f -
printf 'apiVersion: v1\\nkind: ConfigMap\\nmetadata: {name: typed@N@}\\ndata: {a: y}\\n' | kubectl@V@ apply -f - 2>/dev/null
kubectl@V@ label configmap typed@N@ tier=web
kubectl@V@ get configmaps -l tier=web -o name
kubectl@V@ delete configmap typed@N@
kubectl@V@ get configmap typed@N@
kubectl@V@ get nodes
kubectl@V@ wait --for=condition=Ready pod/peer --timeout=20s
kubectl@V@ logs peer --limit-bytes=7
kubectl@V@ exec peer -- sh -c 'echo out; echo err >&2; exit 7'
printf 'typed' | kubectl@V@ exec -i peer -- cat
kubectl@V@ auth can-i create pods
kubectl@V@ api-resources --api-group=apps -o name
kubectl@V@ explain configmap.data | head -5
kubectl@V@ get --raw /api/v1/namespaces/default/nothing-like-this
"""
PYTHON = """\
import json, sys
from kubernetes import client, config, watch
from kubernetes.stream import stream
config.load_incluster_config()
space = open("/var/run/secrets/kubernetes.io/serviceaccount/namespace").read()
core = client.CoreV1Api()
made = core.create_namespaced_config_map(space, {"metadata": {"name": "python"}, "data": {"a": "b"}})
out = {"made": made.data, "listed": len(core.list_namespaced_config_map(space, field_selector="metadata.name=python").items)}
seen = []
for event in watch.Watch().stream(core.list_namespaced_config_map, space, timeout_seconds=120,
                                  field_selector="metadata.name=python"):
    seen.append(event["type"])
    if event["type"] == "ADDED":
        core.patch_namespaced_config_map("python", space, {"data": {"c": "d"}})
    elif event["type"] == "MODIFIED":
        core.delete_namespaced_config_map("python", space)
    else:
        break
out["seen"] = seen
out["exec"] = stream(core.connect_get_namespaced_pod_exec, "peer", space, command=["echo", "through a WebSocket"],
                     stdout=True, stderr=True, stdin=False, tty=False)
out["log"] = core.read_namespaced_pod_log("peer", space, limit_bytes=7)
print(json.dumps(out))
"""
HELM = """\
cd /tmp
helm install one chart --wait=false | grep STATUS
kubectl get configmap one-thing -o jsonpath='{.data.text}'
helm upgrade one chart --set text=second | grep -E 'STATUS|REVISION'
kubectl get configmap one-thing -o jsonpath='{.data.text}'
helm rollback one 1
kubectl get configmap one-thing -o jsonpath='{.data.text}'
helm history one -o json | tr -d ' ' | grep -o '"status":"[a-z]*"'
helm uninstall one
"""


def as_said(found):
    """What a kubectl did and said, without when; and without a race of its own: the first (empty) frame of a stream
    may be there before kubectl has made the stream, which it remarks upon."""
    code, out, err = found
    err = re.sub(r"[EW]\d{4} [0-9:.]+ +\d+ ", "", err)
    return code, out, re.sub(r"(?m)^websocket\.go:\d+\] Unknown stream id \d+, discarding message\n", "", err)


class Kube(kube_streams.Streams):
    """The claims."""

    # ------------------------------------------------------------------------ who has the token

    def programs_have_a_placeholder(self):
        header, claims = scene.claims(self.token())
        real_header, real = scene.claims(self.real_token())
        equal((header["alg"], real_header["alg"]), ("HS256", "RS256"))
        for claim in ("iss", "sub", "aud"):
            equal(claims[claim], real[claim], claim)
        equal(claims["kubernetes.io"]["pod"], real["kubernetes.io"]["pod"])
        assert claims["exp"] == real["exp"], (claims, real)
        equal(self.run("cat", f"{PATH}/namespace").stdout, GOVERNED)
        equal(self.sh(f"grep -c BEGIN {PATH}/ca.crt").strip(), "2", "authorities")

    def the_real_token_is_nowhere_in_them(self):
        signature = self.real_token().rsplit(".", 1)[1]
        found = self.sh(f"grep -rlF --exclude-dir=proc --exclude-dir=sys --exclude-dir=usr -e '{signature}' / 2>/dev/null; "
                        "cat /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n' | "
                        f"grep -cF -e '{signature}'; true")
        equal(found.split(), ["0"])
        mounts = self.run("cat", "/proc/self/mountinfo").stdout
        lacks(mounts, "weir-kube-token")
        contains(mounts, "/kubernetes.io/serviceaccount ro")
        done = self.run("sh", "-c", f"touch {PATH}/x")
        contains(done.stderr, "Read-only")

    def a_pod_without_a_token_gets_none(self):
        done = self.run("ls", PATH, pod="peer")
        assert done.returncode != 0, done.stdout

    def volumes_of_the_authors_own_are_stood_in_for(self):
        self.fixture("api-odd.yaml", GOVERNED)
        self.cluster.wait_pod("odd", namespace=GOVERNED, timeout=90)
        spec = self.cluster.get("pod", "odd", namespace=GOVERNED)["spec"]
        equal([v["name"] for v in spec["volumes"] if "own" in v["name"] or "usual" in v["name"]], [])
        ours = [self.token("odd", path=path) for path in ("/own/api/tok", "/file", "/usual/token")]
        equal(len(set(ours)), 1)
        equal(scene.claims(ours[0])[0]["alg"], "HS256")
        vault = scene.claims(self.token("odd", path="/vault/token"))
        equal((vault[0]["alg"], vault[1]["aud"]), ("RS256", ["vault"]), "another audience stays")
        done = self.run("sh", "-c", 'curl -s -o /dev/null -w "%{http_code}" --cacert /own/root.pem -H "Authorization: Bearer '
                        '$(cat /own/api/tok)" https://kubernetes.default.svc/api/v1/namespaces/ns-governed/pods', pod="odd")
        equal(done.stdout, "200", done.stderr)
        self.cluster.kubectl("-n", GOVERNED, "delete", "pod", "odd", "--wait=false")

    def the_server_is_reached_by_each_of_its_names(self):
        endpoint = self.cluster.get("endpointslice", "kubernetes", namespace="default")
        node = f"{endpoint['endpoints'][0]['addresses'][0]}:{endpoint['ports'][0]['port']}"
        cluster_ip = self.cluster.get("service", "kubernetes", namespace="default")["spec"]["clusterIP"]
        for host in ("kubernetes.default.svc", "kubernetes.default.svc.cluster.local", "kubernetes", cluster_ip, node):
            host = "kubernetes.default" if host == "kubernetes" else host
            code, body = self.api(self.token(), host=host)
            equal(code, "200", f"{host}: {body}")
        who = json.loads(self.sh("kubectl auth whoami -o json"))
        equal(who["status"]["userInfo"]["username"], f"system:serviceaccount:{GOVERNED}:worker")

    # -------------------------------------------------------------------------- what is refused

    def a_placeholder_is_worth_nothing_elsewhere(self):
        stolen = self.token()
        code, _ = self.api(stolen, namespace=DIRECT)
        equal(code, "401", "where Weir is not")
        code, body = self.api(self.token("second"), pod="second")
        equal(code, "200", body)
        code, body = self.api(stolen, pod="second")
        equal(code, "403", "in another governed pod")
        contains(body, "(foreign-identity)")

    def a_foreign_token_is_refused(self):
        real = self.cluster.kubectl("create", "token", "worker", namespace=DIRECT).strip()
        path = f"/api/v1/namespaces/{DIRECT}/configmaps"
        equal(self.api(real, path, namespace=DIRECT)[0], "200", "it is good where Weir is not")
        code, body = self.api(real, path)
        equal(code, "403", body)
        status = json.loads(body)
        equal((status["kind"], status["reason"]), ("Status", "Forbidden"))
        contains(status["message"], 'denied by policy "api" rule "(foreign-identity)"')
        lacks(body, real)
        equal(self.api(self.real_token(), path=f"/api/v1/namespaces/{GOVERNED}/configmaps")[0], "403",
              "the pod's own, which it should not have")

    def nobody_is_impersonated(self):
        login = f"--server=https://kubernetes.default.svc --certificate-authority={PATH}/ca.crt --token=$(cat {PATH}/token)"
        self.sh(f"kubectl {login} get configmaps -n {GOVERNED}")
        for options in ("--as=admin", "--as=x --as-group=system:masters", "--as=x --as-uid=1"):
            done = self.run("sh", "-c", f"kubectl {login} {options} get nodes")
            assert done.returncode != 0, done.stdout
            contains(done.stderr, "(foreign-identity)")

    def rbac_goes_on_deciding(self):
        governed, direct = self.both("kubectl get nodes; kubectl -n kube-system get pods; kubectl delete namespace default")
        equal(governed, direct)
        contains(governed[2], "Forbidden")

    def secrets_are_masked(self):
        for form in ("json", "yaml", "jsonpath='{.data}'", "go-template='{{range .data}}{{.}}{{end}}'"):
            shown = self.sh(f"kubectl get secret database -o {form}")
            lacks(shown, "Y29ycmVjdC1ob3JzZS1iYXR0ZXJ5", form)
            contains(shown, "W21hc2tlZF0", form)
        shown = self.run("kubectl", "get", "secret", "database", "-o", "jsonpath={.data.password}", namespace=DIRECT)
        contains(shown.stdout, "Y29ycmVjdC1ob3JzZS1iYXR0ZXJ5")
        done = self.run("kubectl", "create", "token", "worker")
        contains(done.stderr, 'denied by policy "api" rule "no-tokens"')
        lacks(self.weir.evidence("query -n ns-governed --limit 200 -o json"), SECRET)

    def a_held_exec_is_approved_by_somebody_else(self):
        log = f"{self.weir.work}/held.log"
        child = self.weir.spawn(f"kubectl -n {GOVERNED} exec worker -c app -- kubectl exec peer -- touch /tmp/released", log)
        def listed():
            return re.search(r"\bweir-[0-9a-z]+", self.weir.shell("kubectl weir requests -n ns-governed", who="alice",
                                                                  check=False).stdout)
        name = proc.wait_until(listed, "a request is listed", 30, every=0.3).group(0)
        done = self.cluster.exec("peer", "ls", "/tmp/released", namespace=GOVERNED, container="app", check=False)
        assert done.returncode != 0, "it ran before anybody approved"
        self.weir.shell(f"kubectl weir approve {name} -n {GOVERNED}", who="alice")
        equal(child.wait(60), 0, proc.tail(log))
        self.cluster.exec("peer", "ls", "/tmp/released", namespace=GOVERNED, container="app")

    # ---------------------------------------------------------------------------- it goes on

    def a_placeholder_outlives_its_sidecar(self):
        before = self.token()
        self.cluster.kill("worker", "weir-sidecar", namespace=GOVERNED)
        def answers():
            return self.api(before)[0] == "200"
        proc.wait_until(answers, "the sidecar serves again", 60, every=0.5)
        proc.wait_until(lambda: self.token() != before, "a new placeholder stands there", 30, every=0.5)
        equal(self.api(before)[0], "200", "the one from before")
        equal(self.api(self.token())[0], "200")

    def a_new_token_is_used_at_once(self):
        """Kubernetes replaces the token in the sidecar's volume; here by hand, with one of the same pod."""
        pod = self.cluster.get("pod", "worker", namespace=GOVERNED)["metadata"]
        new = self.cluster.kubectl("create", "token", "worker", "--bound-object-kind=Pod", "--bound-object-name=worker",
                                   f"--bound-object-uid={pod['uid']}", "--duration=2h", namespace=GOVERNED).strip()
        volume, placeholder = self.volume("weir-kube-token"), self.token()

        def used():
            """Who the API server sees right after; None where the kubelet put its own token back in between."""
            put = self.cluster.run("sh", "-c", f"cd {volume} && rm -rf ..mine && cp -rL ..data ..mine && cat > ..mine/token && "
                                   "ln -sfn ..mine ..next && mv -T ..next ..data", input=new, check=False)
            if put.returncode != 0:
                return None
            who = json.loads(self.sh("kubectl auth whoami -o json"))["status"]["userInfo"]["extra"]
            there = self.cluster.run("cat", f"{volume}/..data/token").stdout
            return who["authentication.kubernetes.io/credential-id"] if there == new else None
        equal(proc.wait_until(used, "the token stays for a moment", every=1), [f"JTI={scene.claims(new)[1]['jti']}"])
        equal(self.api(placeholder)[0], "200")
        # The kubelet soon puts its own token back.
        log = self.cluster.logs("worker", "weir-sidecar", namespace=GOVERNED)
        for token in (new, placeholder):
            lacks(log, token.rsplit(".", 1)[1])

    # ------------------------------------------------------------------------------ stock clients

    def kubectl_does_what_it_does(self, version):
        number = (version or "own").strip("-").replace(".", "")
        for line in TYPED.splitlines():
            governed, direct = self.both(line.replace("@V@", version).replace("@N@", number))
            equal(as_said(governed), as_said(direct), f"kubectl{version}: {line}")

    def client_go_does_what_it_does(self, work):
        governed, direct = self.both(f"apis {work} $(cat {PATH}/namespace)")
        equal(governed[:2], direct[:2], governed[2])
        equal(governed[0], 0, governed[2])

    def python_does_what_it_does(self):
        governed, direct = self.both("python3 -", input=PYTHON)
        equal(governed, direct)
        equal(governed[0], 0, governed[2])

    def helm_does_what_it_does(self):
        governed, direct = self.both(HELM)
        equal(governed, direct)
        equal(governed[0], 0, governed[2])

    def second(self):
        """One more governed pod, with a key of its own."""
        pod = self.cluster.get("pod", "worker", namespace=DIRECT)
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "second", "namespace": GOVERNED}, "spec": {
            "serviceAccountName": "worker", "terminationGracePeriodSeconds": 1,
            "containers": [{key: pod["spec"]["containers"][0][key] for key in ("name", "image", "command")}]}}
        self.cluster.apply(json.dumps(pod))
        self.cluster.wait_pod("second", namespace=GOVERNED, timeout=90)


def run(weir, report):
    """The claims."""
    claims = [(claim.__name__, claim) for claim in (
        Kube.programs_have_a_placeholder, Kube.the_real_token_is_nowhere_in_them, Kube.a_pod_without_a_token_gets_none,
        Kube.volumes_of_the_authors_own_are_stood_in_for, Kube.the_server_is_reached_by_each_of_its_names,
        Kube.a_placeholder_is_worth_nothing_elsewhere, Kube.a_foreign_token_is_refused, Kube.nobody_is_impersonated,
        Kube.rbac_goes_on_deciding, Kube.secrets_are_masked, Kube.a_held_exec_is_approved_by_somebody_else)]
    claims += [(f"kubectl{version}", Kube.kubectl_does_what_it_does, version) for version in VERSIONS]
    claims += [(f"client_go_{work}", Kube.client_go_does_what_it_does, work)
               for work in ("typed", "dynamic", "informer", "leader")]
    claims += [(claim.__name__, claim) for claim in kube_streams.CLAIMS]
    claims += [(claim.__name__, claim) for claim in (
        Kube.python_does_what_it_does, Kube.helm_does_what_it_does,
        Kube.a_placeholder_outlives_its_sidecar, Kube.a_new_token_is_used_at_once)]
    if not any(report.wanted(f"kube: {name}") for name, *_ in claims):
        return
    kube = Kube(weir)
    try:
        kube.prepare()
        kube.second()
        for name, claim, *arguments in claims:
            report.check(f"kube: {name}", claim, kube, *arguments)
    finally:
        kube.clean()
