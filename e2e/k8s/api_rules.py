"""Rules about the Kubernetes API against a real API server: ``weir standalone`` in the node's namespaces,
with an explicit listener, and plain requests through it."""

import json
import os
import re
import subprocess

from lab import build, proc
from lab import weir as standalone
from lab.report import contains, equal, lacks

SPACE = "api-rules"
TARGET = """\
apiVersion: weir.dev/v1alpha1
kind: Target
metadata: {name: cluster}
spec:
  protocol: Kubernetes
  addresses: [{host: 127.0.0.1, port: 6443}]
  upstreamTLS: {mode: VerifyFull, caFile: CA, serverName: kubernetes}
  credentials: {mode: Brokered, tokenFile: TOKEN}
"""
POLICY = """\
apiVersion: weir.dev/v1alpha1
kind: DataLabel
metadata: {name: secret.kubernetes}
spec:
  kubernetes: [{resource: secrets, fields: ["data.*", "stringData.*"]}]
  mask: {constant: "[masked]"}
---
apiVersion: weir.dev/v1alpha1
kind: ClusterGuardPolicy
metadata: {name: api}
spec:
  mode: Enforce
  subjects: [{names: ["*"]}]
  targets: [cluster]
  audit: {record: Commands, delivery: Blocking}
  rules:
  - {name: hide, match: {labels: ["secret.*"]}, action: Mask}
  - {name: pages, match: {kubernetes: {resources: [configmaps]}}, limits: {statement: {objects: 5}}}
  - name: large
    match: {kubernetes: {resources: [serviceaccounts]}}
    limits: {statement: {objects: 5}, onExceed: RequireApproval}
    approval: {groups: [sre], count: 1, deadline: 1m}
  - name: ask
    match: {kubernetes: {resources: [limitranges], verbs: [list]}}
    action: RequireApproval
    approval: {groups: [sre], count: 1, deadline: 1m, meanwhile: Retry}
  - {name: no-shells, match: {kubernetes: {effects: [RunsCommand]}}, action: Deny}
"""


class Rules:
    """The scene and the claims."""

    def __init__(self, cluster):
        self.cluster, self.inside = cluster, cluster.inside()
        cluster.kubectl("create", "namespace", SPACE)
        cluster.kubectl("wait", "--for=create", "-n", SPACE, "serviceaccount/default", "configmap/kube-root-ca.crt",
                        "--timeout=60s")
        made = [{"apiVersion": "v1", "kind": kind, "metadata": {"name": f"n{n}", "namespace": SPACE}}
                for kind in ("ConfigMap", "ServiceAccount") for n in range(8)]
        made.append({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "db", "namespace": SPACE},
                     "stringData": {"password": "correct-horse"}})
        cluster.apply("\n---\n".join(json.dumps(each) for each in made))
        cluster.kubectl("create", "clusterrolebinding", SPACE, "--clusterrole=cluster-admin",
                        f"--serviceaccount={SPACE}:default")
        where = proc.workdir("weir-api-rules-")
        ca, token = os.path.join(where, "api-ca.crt"), os.path.join(where, "api.token")
        root = cluster.get("configmap", "kube-root-ca.crt", namespace=SPACE)
        for path, text in ((ca, root["data"]["ca.crt"]),
                           (token, cluster.kubectl("create", "token", "default", "-n", SPACE))):
            with open(path, "w", encoding="ascii") as f:
                f.write(text)
            os.chmod(path, 0o600)
        self.weir = standalone.Weir(os.path.join(build.release(), "weir"), 6443, where=where, wrap=self.inside,
                                    target=TARGET.replace("CA", ca).replace("TOKEN", token), target_name="cluster",
                                    policies=POLICY, identity="agent")
        with open(self.weir.config, "a", encoding="utf-8") as f:
            f.write("approverGroups: {sre: [root]}\n")
        self.weir.start()

    def clean(self):
        """Nothing of it stays."""
        self.weir.stop()
        self.cluster.kubectl("delete", "namespace", SPACE, "--wait=false")
        self.cluster.kubectl("delete", "clusterrolebinding", SPACE)

    # ----------------------------------------------------------------------------- requests

    def curl(self, path, *argv):
        """The command line of a request."""
        return [*self.inside, "curl", "-sS", "-m", "60", "--cacert", self.weir.ca(), "-w", "\n%{http_code}", *argv,
                f"https://127.0.0.1:{self.weir.port}{path}"]

    def ask(self, path, *argv):
        """Code and answer of a request."""
        text = proc.run(self.curl(path, *argv)).stdout
        body, _, code = text.rpartition("\n")
        return int(code), body

    def status(self, path, *argv, code=403):
        """The message of a request that is refused."""
        got, body = self.ask(path, *argv)
        equal(got, code, body)
        answer = json.loads(body)
        equal((answer["kind"], answer["code"]), ("Status", code))
        return answer["message"]

    def write(self, method, kind, body, query=""):
        """The message of a refused write of the Secret."""
        return self.status(f"/api/v1/namespaces/{SPACE}/secrets/db{query}", "-X", method, "-H",
                           f"Content-Type: application/{kind}", "-d", body)

    def events(self, *argv):
        """Recorded events, over the operator's socket: the API is in another namespace."""
        return self.weir.json("query", "--limit", "1000", *argv)

    def approve(self):
        """The name of the request that waits, which is approved."""
        name = self.weir.wait_request()
        self.weir.cli("approve", name)
        return name

    # ------------------------------------------------------------------------------- claims

    def a_list_above_its_limit_is_refused_as_a_whole(self):
        message = self.status(f"/api/v1/namespaces/{SPACE}/configmaps")
        contains(message, 'denied by policy "api" rule "pages"')
        audit_id = re.search(r"audit id (\S+?)\)", message)[1]
        session, number = audit_id.split("/")

        def outcomes():
            return [event["outcome"]["status"] for event in self.events("--session", session)
                    if event.get("number") == int(number) and event["kind"] == "statement_finished"]
        equal(proc.wait_until(outcomes, "the evidence arrives", 10), ["limit_exceeded"])

    def pages_of_a_list_count_together(self):
        path = f"/api/v1/namespaces/{SPACE}/configmaps?limit=4"
        code, first = self.ask(path)
        equal(code, 200, first)
        token = json.loads(first)["metadata"]["continue"]
        contains(self.status(f"{path}&continue={token}"), "limit of 5 rows")

    def a_token_that_was_not_given_here_is_too_old(self):
        listed = proc.run([*self.inside, "kubectl", "get", "--raw",
                           f"/api/v1/namespaces/{SPACE}/configmaps?limit=3"]).stdout
        token = json.loads(listed)["metadata"]["continue"]
        self.status(f"/api/v1/namespaces/{SPACE}/configmaps?limit=3&continue={token}", code=410)

    def a_list_that_waits_goes_on_where_it_was_held(self):
        asked = subprocess.Popen(self.curl(f"/api/v1/namespaces/{SPACE}/serviceaccounts"), stdout=subprocess.PIPE,
                                 text=True)
        self.approve()
        body, _, code = asked.communicate(timeout=60)[0].rpartition("\n")
        equal((code, len(json.loads(body)["items"])), ("200", 9))

    def a_request_that_is_asked_again_gets_its_ruling_once(self):
        path = f"/api/v1/namespaces/{SPACE}/limitranges"
        contains(self.status(path, code=429), "not decided yet")
        contains(self.status(path, code=429), "not decided yet")
        name = self.approve()
        headers = proc.run(self.curl(path, "-D", "-", "-o", "/dev/null")).stdout
        contains(headers.lower(), "200")
        contains(headers, f"it waited for access request {name}")
        self.status(path, code=429)
        self.weir.cli("deny", self.weir.wait_request(), "--reason", "enough")
        contains(self.status(path), "not approved: enough")

    def what_would_tell_a_masked_value_is_refused(self):
        value = "Y29ycmVjdC1ob3JzZQ=="
        test = json.dumps([{"op": "test", "path": "/data/password", "value": value}])
        contains(self.write("PATCH", "json-patch+json", test), 'rule "hide"')
        copy = json.dumps([{"op": "copy", "from": "/data/password", "path": "/metadata/annotations/x"}])
        contains(self.write("PATCH", "json-patch+json", copy), 'rule "hide"')
        applied = json.dumps({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "db"}, "data": {"password": value}})
        contains(self.write("PATCH", "apply-patch+yaml", applied, "?fieldManager=probe"), 'rule "hide"')
        merge = json.dumps({"data": {"password": value}})
        contains(self.write("PATCH", "merge-patch+json", merge, "?dryRun=All"), 'rule "hide"')
        self.is_unchanged()

    def a_mask_is_not_written_back(self):
        _, shown = self.ask(f"/api/v1/namespaces/{SPACE}/secrets/db")
        lacks(shown, "Y29ycmVjdC1ob3JzZQ")
        contains(self.write("PUT", "json", shown), "masked value")
        self.is_unchanged()

    def is_unchanged(self):
        secret = self.cluster.get("secret", "db", namespace=SPACE)
        equal(secret["data"], {"password": "Y29ycmVjdC1ob3JzZQ=="})

    def evidence_is_joined_with_the_servers_own(self):
        text = proc.run(self.curl(f"/api/v1/namespaces/{SPACE}/secrets/db", "-D", "-", "-o", "/dev/null")).stdout
        audit_id = re.search(r"(?im)^audit-id: (\S+)", text)[1]

        def found():
            return [(event["verb"], event["resource"], event["code"])
                    for event in self.events("--kind", "kubernetes", "--text", audit_id)]
        equal(proc.wait_until(found, "the evidence arrives", 60), [("get", "secrets", 200)])

    def a_certificate_of_the_client_is_refused_with_the_reason(self):
        where = os.path.join(self.cluster.dir, "pki")
        config = self.cluster.kubectl("config", "view", "--raw", "-o", "json")
        user = json.loads(config)["users"][0]["user"]
        import base64
        pair = []
        for kind in ("client-certificate", "client-key"):
            path = os.path.join(self.weir.dir, kind)
            data = user.get(f"{kind}-data")
            if data:
                with open(path, "wb") as f:
                    f.write(base64.b64decode(data))
            else:
                path = os.path.join(where, user[kind])
            pair.append(path)
        message = self.status("/api/v1/nodes", "--cert", pair[0], "--key", pair[1])
        contains(message, "a client certificate cannot pass")

    def a_refusal_that_kubectl_falls_back_from_is_recorded_once(self):
        # it never runs: kubectl asks for it, and then for the command
        self.cluster.apply(json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "idle", "namespace": SPACE},
                                       "spec": {"nodeName": "nowhere", "containers": [{"name": "c", "image": "none"}]}}))

        def denied():
            return sum(event["kind"] == "statement_finished" for event in self.events("--decision", "deny"))

        def settled():
            """How many are on record once no more come."""
            counts = [denied()]
            def same():
                counts.append(denied())
                return len(counts) > 3 and len(set(counts[-4:])) == 1
            proc.wait_until(same, "no more evidence arrives", 60, every=0.5)
            return counts[-1]
        before = settled()
        done = proc.run([*self.inside, "kubectl", "--kubeconfig", os.path.join(self.weir.state, "kubeconfig"), "exec",
                         "-n", SPACE, "idle", "--", "true"], check=False)
        contains(done.stderr, 'denied by policy "api" rule "no-shells"')
        proc.wait_until(lambda: denied() > before, "the evidence arrives", 60)
        equal(settled() - before, 1, done.stderr)

    def a_watch_ends_when_its_policy_changes(self):
        child = subprocess.Popen(self.curl(f"/api/v1/namespaces/{SPACE}/secrets?watch=1", "-N"), stdout=subprocess.PIPE,
                                 text=True)
        first = json.loads(child.stdout.readline())
        equal(first["object"]["data"], {"password": "W21hc2tlZF0="})
        self.weir.write("policy.yaml", POLICY.replace("[masked]", "[hidden]"))
        changed = None
        for _ in range(30):
            self.cluster.kubectl("annotate", "secret", "db", "-n", SPACE, "--overwrite", f"touched=t{_}")
            line = child.stdout.readline()
            if not line or '"ERROR"' in line or "[hidden]" in line:
                changed = line
                break
            equal(json.loads(line)["object"]["data"], {"password": "W21hc2tlZF0="})
        child.kill()
        self.weir.write("policy.yaml", POLICY)
        contains(changed or "", "the policy has changed")


def run(weir, report):
    """The claims."""
    names = [name for name in vars(Rules) if name.startswith(("a_", "pages_", "what_", "evidence_"))]
    if not any(report.wanted(f"rules: {name}") for name in names):
        return
    rules = Rules(weir.cluster)
    try:
        for name in names:
            report.check(f"rules: {name}", getattr(rules, name))
    finally:
        rules.clean()
