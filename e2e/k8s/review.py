"""A hold, a person and an auditor, in a real browser: an export of 50,000 rows is held, Slack hears of it, a reviewer
logs in through OpenID Connect and clicks once, the client finishes, and an auditor replays what it saw.

The provider, the place that looks like Slack, and Chromium run on the node; pictures go to target/browser.
"""

import json
import os
import sys

from lab import install, pki, proc
from lab.build import ROOT
from lab.report import contains, equal

BROWSER = os.path.join(ROOT, "e2e/browser")
NODE = "192.168.77.1"
ISSUER, SLACK, UI = f"https://{NODE}:9444", 9445, "https://localhost:9446"
ROWS = 50_000
OWNER = "olga@corp.example"
# Slack as the controller sees it: a Service without pods, which leads to the node.
PLACES = f"""\
apiVersion: v1
kind: Service
metadata: {{name: slack, namespace: hooks}}
spec: {{ports: [{{port: {SLACK}}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: slack, namespace: hooks, labels: {{kubernetes.io/service-name: slack}}}}
addressType: IPv4
ports: [{{port: {SLACK}, protocol: TCP, name: ""}}]
endpoints: [{{addresses: ["{NODE}"]}}]
"""
OPTIONS = (f"--set collector.ui.url={UI}", f"--set oidc.issuer={ISSUER}", "--set oidc.clientId=weir",
           "--set oidc.clientSecretRef.name=weir-oidc", "--set oidc.usernameClaim=email", "--set oidc.groupsClaim=groups",
           "--set oidc.caRef.name=oidc-ca", "--set notifications.slack.secretRef.name=weir-slack",
           "--set notifications.slack.channel=C0HOLDS", f"--set notifications.slack.apiURL=http://slack.hooks.svc:{SLACK}/api",
           "--set notifications.slack.allowHTTP=true")
# A pod that somebody made herself: she answers for it.
OWNED = """\
apiVersion: v1
kind: Pod
metadata: {name: owned, namespace: shop}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: app
    image: weir.test/client:1
    command: [sleep, infinity]
    env:
    - {name: PGHOST, value: db.data.svc}
    - {name: PGDATABASE, value: shop}
    - {name: PGUSER, value: app}
    - {name: PGPASSWORD, value: app-secret}
    - {name: PGSSLMODE, value: verify-full}
    volumeMounts: [{name: ca, mountPath: /root/.postgresql}]
  volumes:
  - {name: ca, configMap: {name: shop-ca, items: [{key: ca.crt, path: root.crt}]}}
"""


class Review:
    """The claims."""

    def __init__(self, weir):
        self.weir, self.cluster, self.children = weir, weir.cluster, []
        sys.path.insert(0, BROWSER)
        import run as browser  # pylint: disable=import-outside-toplevel
        self.modules = browser.modules()
        self.screens = os.path.abspath(browser.SCREENS)

    # -------------------------------------------------------------------------------- scene

    def prepare(self):
        """The provider, Slack's place, people, and Weir that knows them."""
        work, shell = self.weir.work, self.weir.shell
        install.need("chromium", "chromium")
        pki.issue(work, "provider", f"IP:{NODE}")
        self._run("provider", ["node", f"{BROWSER}/provider.mjs", ISSUER, f"{UI}/ui/login/return", f"{work}/provider.crt",
                               f"{work}/provider.key"],
                  "provider: ready", MODULES=self.modules)
        python = install.venv("slack", "slack_sdk==3.48.0")
        self._run("slack", [python, f"{ROOT}/e2e/notify/slack_receiver.py", "xoxb-token", "0", NODE, str(SLACK)], str(SLACK))
        shell("kubectl create namespace hooks")
        self.cluster.apply(PLACES)
        shell("kubectl -n weir-system create secret generic weir-oidc --from-literal=client-secret=weir-secret")
        shell("kubectl -n weir-system create configmap oidc-ca --from-file=ca.crt=provider-ca.crt")
        shell("kubectl -n weir-system create secret generic weir-slack --from-literal=token=xoxb-token")
        self.weir.install(*OPTIONS)
        self._run("forward", ["kubectl", "-n", "weir-system", "port-forward", "service/weir-collector", "9446:8446"],
                  "Forwarding from")

    def restore(self):
        """As before."""
        for child in self.children:
            proc.stop(child)
        self.weir.install()
        self.weir.shell("kubectl delete --ignore-not-found namespace hooks; kubectl -n shop delete --ignore-not-found pod/owned; "
                        "kubectl -n weir-system delete --ignore-not-found secret/weir-oidc secret/weir-slack "
                        "configmap/oidc-ca; kubectl delete --ignore-not-found clusterrolebinding review-self review-owner",
                        check=False)

    def _run(self, name, argv, ready, **env):
        """A program in the node's namespace, until the end of the suite."""
        log = f"{self.weir.work}/review-{name}.log"
        settings = [f"{key}={value}" for key, value in env.items()]
        child = proc.spawn([*self.cluster.inside(), "env", *settings, *argv], log=log, cwd=self.weir.work)
        self.children.append(child)

        def said():
            with open(log, encoding="utf-8", errors="replace") as f:
                return ready in f.read()
        proc.wait_until(said, f"{name} is ready", 30, child=child, log=log)

    def _held(self, pod="deploy/reporter"):
        """An export that waits: the client, where its output goes, and the request."""
        known = {r["metadata"]["name"] for r in self.cluster.get("accessrequests", namespace="shop")["items"]}
        out = f"{self.weir.work}/export-{len(known)}.txt"
        log = f"{self.weir.work}/review-export-{len(known)}.log"
        child = self.weir.spawn(f"kubectl -n shop exec {pod} -c app -- psql -XAtc 'select id, body from export order by id' > {out}", log)

        def waits():
            for request in self.cluster.get("accessrequests", namespace="shop")["items"]:
                if request["metadata"]["name"] not in known:
                    return request["metadata"]["name"]
            return None
        return child, out, proc.wait_until(waits, "a request waits", 30, every=0.2, child=child, log=log)

    def _browse(self, what, **told):
        """A part of cluster.mjs, in Chromium on the node; what it found out."""
        scene = f"{self.weir.work}/scene.json"
        with open(scene, "w", encoding="utf-8") as f:
            json.dump({"ui": UI, "issuer": ISSUER, "screens": self.screens, "chromium": "/usr/bin/chromium", "insecure": True,
                       "env": {}, **told}, f)
        done = self.cluster.run("env", f"SCENE={scene}", f"MODULES={self.modules}", "node", f"{BROWSER}/cluster.mjs", what,
                                check=False, timeout=300)
        assert done.returncode == 0, f"{what}: {done.stdout[-1500:]}{done.stderr[-1500:]}"
        return json.loads(done.stdout.strip().splitlines()[-1])

    def _decisions(self, name):
        status = self.cluster.get("accessrequest", name, namespace="shop").get("status", {})
        return status.get("phase"), [(d["approver"], d["decision"]) for d in status.get("decisions", [])]

    def _phase_is_written(self, name):
        """The page shows what the decisions make of a request before the leader writes it down."""
        proc.wait_until(lambda: self._decisions(name)[0] not in (None, "Pending"), "its phase is written", 30, every=0.2)

    # ------------------------------------------------------------------------------- claims

    def slack_hears_and_one_click_lets_it_through(self):
        child, out, name = self._held()
        with open(f"{self.weir.work}/review-slack.log", encoding="utf-8") as slack:
            def told():
                slack.seek(0)
                lines = [json.loads(line) for line in slack if line.startswith("{")]
                return [line for line in lines if name in json.dumps(line["body"])]
            message = proc.wait_until(told, "Slack hears of it", 30, every=0.2)[0]
        equal((message["status"], message["problem"]), (200, None), "Slack takes the message")
        contains(json.dumps(message["body"]), "select id, body from export order by id", "the statement, whole")
        contains(json.dumps(message["body"]), f"{UI}/ui/holds/shop/{name}", "the link")
        seen = self._browse("approve", request=name, person="jane")
        assert len(seen["summary"]) <= 3, seen
        contains(" ".join(seen["summary"]), "export", "the summary says what")
        equal(child.wait(60), 0, "the client")
        with open(out, encoding="utf-8") as f:
            equal(sum(1 for _ in f), ROWS, "rows that the client has")
        self._phase_is_written(name)
        equal(self._decisions(name), ("Approved", [("jane@corp.example", "Approve")]))
        contains(seen["again"], "Nothing was decided", "the same click, replayed")

    def nobody_approves_what_is_theirs(self):
        """The pod's own identity with every right, whoever made the pod, an administrator without the group."""
        self.weir.shell("kubectl create clusterrolebinding review-self --clusterrole=weir-reviewer --serviceaccount=shop:default")
        self.weir.shell(f"kubectl create clusterrolebinding review-owner --clusterrole=cluster-admin --user={OWNER}")
        config = self.cluster.user(OWNER, "data-stewards")
        self.cluster.run("env", f"KUBECONFIG={config}", "kubectl", "apply", "-f", "-", input=OWNED)
        self.cluster.wait_pod("owned", namespace="shop")
        child, _, name = self._held(pod="owned")
        try:
            token = self.weir.shell("kubectl -n shop create token default").stdout.strip()
            refused = self._browse("refused", request=name, token=token)
            contains(refused["why"], "cannot", "the pod's own identity")
            refused = self._browse("refused", request=name, person="olga")
            contains(refused["why"], "cannot", "whoever made the pod, who is an administrator")
            equal(self._decisions(name)[1], [], "nothing was decided")
            self._browse("deny", request=name, person="jane", reason="ask for an aggregate")
            assert child.wait(60) != 0, "a denied export went through"
            self._phase_is_written(name)
            equal(self._decisions(name), ("Denied", [("jane@corp.example", "Deny")]))
        finally:
            proc.stop(child)

    def an_auditor_replays_it(self):
        seen = self._browse("replay", person="amy", statement="select id, body from export order by id")
        equal(seen["rows"], "1row 1", "the first row that the client saw")
        for what in ("by jane@corp.example", f"{ROWS:,} rows"):
            contains(seen["steps"], what)
        contains(self.weir.evidence("query --since 10m --kind reads -o json"), "amy@corp.example", "the read is evidence")


def run(weir, report):
    """The claims."""
    names = ("slack_hears_and_one_click_lets_it_through", "nobody_approves_what_is_theirs", "an_auditor_replays_it")
    if not any(report.wanted(f"review: {name}") for name in names):
        return
    suite = Review(weir)
    try:
        suite.prepare()
        for name in names:
            report.check(f"review: {name}", getattr(suite, name))
    finally:
        suite.restore()
