"""Every kind of workload that runs pods, in a namespace that is enforced. The manifests are what a
developer has; nothing in them is for Weir."""

import base64
import json
import textwrap

from lab import proc
from lab.report import contains, equal, lacks

import clients

NAMESPACE = "work"
ELSEWHERE = "elsewhere"
QUESTION = "select ssn from customers where id = 1"
MASKED = "***-**-1120"
POD = """\
terminationGracePeriodSeconds: 1
containers:
- name: app
  image: weir.test/client:1
  command: [sh, -c, "psql -XAtc '{sql}' && {then}"]
  env: &env
  - {{name: PGHOST, value: db.data.svc}}
  - {{name: PGDATABASE, value: shop}}
  - {{name: PGUSER, value: app}}
  - {{name: PGPASSWORD, value: app-secret}}
  - {{name: PGSSLMODE, value: require}}
  - {{name: PGCONNECT_TIMEOUT, value: "15"}}
"""


def pod(then="sleep infinity", sql=QUESTION, extra=""):
    """A pod's specification that asks and goes on."""
    return POD.format(sql=sql, then=then) + extra


def job_pod():
    """A pod's specification that asks and ends, and has the time that any pod has to end in."""
    return pod("true").replace("terminationGracePeriodSeconds: 1\n", "")


def indented(text, by):
    """For a place deeper in YAML."""
    return textwrap.indent(text, " " * by)


def deployment_of(name, replicas):
    """A Deployment of such pods."""
    return f"""\
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
{indented(pod(), 6)}"""


class Workloads:
    """The claims."""

    def __init__(self, weir):
        self.weir, self.cluster = weir, weir.cluster

    def namespace(self):
        """Enforced, and granted."""
        self.weir.shell(f"kubectl create namespace {NAMESPACE} && "
                        f"kubectl label namespace {NAMESPACE} weir.dev/enforce=true && "
                        f"kubectl -n {NAMESPACE} wait --for=create serviceaccount/default --timeout=60s")
        self.grant()

    def grant(self):
        """The namespace may use the database."""
        self.cluster.kubectl("patch", "clusterguardpolicy", "shop", "--type=json", "-p", json.dumps(
            [{"op": "add", "path": "/spec/subjects/-", "value": {"namespaces": [NAMESPACE]}}]))

    def clean(self):
        """Nothing of it stays."""
        self.cluster.kubectl("delete", "namespace", NAMESPACE, "--wait=false")
        self.weir.policies()

    def masked(self, selector, count=1, timeout=120):
        """Waits until every pod of the selector has printed the masked value, and nothing else."""
        def printed():
            pods = [p for p in self.cluster.get("pods", "-l", selector, namespace=NAMESPACE)["items"]
                    if "deletionTimestamp" not in p["metadata"]]
            logs = [self.cluster.logs(p["metadata"]["name"], "app", namespace=NAMESPACE) for p in pods]
            for log in logs:
                lacks(log, "078-05")
            return len(pods) == count and all(MASKED in log for log in logs) and pods
        try:
            return proc.wait_until(printed, f"{count} pods of {selector} are masked", timeout, every=0.5)
        except TimeoutError as error:
            raise TimeoutError(f"{error}{self.cluster.describe('', NAMESPACE)}") from None

    def apply(self, manifest):
        """In the namespace."""
        self.cluster.apply(manifest, namespace=NAMESPACE)

    def deployment(self):
        self.apply(deployment_of("three", 3))
        self.masked("app=three", 3)
        self.cluster.kubectl("delete", "deployment", "three", namespace=NAMESPACE)

    def stateful_set(self):
        self.apply(f"""\
apiVersion: apps/v1
kind: StatefulSet
metadata: {{name: two}}
spec:
  replicas: 2
  serviceName: two
  selector: {{matchLabels: {{app: two}}}}
  template:
    metadata: {{labels: {{app: two}}}}
    spec:
{indented(pod(), 6)}""")
        self.masked("app=two", 2)
        self.cluster.kubectl("delete", "statefulset", "two", namespace=NAMESPACE)

    def quota_and_limit_range(self):
        """Where every container must say what it needs, Weir's do."""
        self.apply(f"""\
apiVersion: v1
kind: ResourceQuota
metadata: {{name: bounds}}
spec: {{hard: {{requests.cpu: "2", requests.memory: 2Gi, limits.cpu: "8", limits.memory: 4Gi}}}}
---
apiVersion: v1
kind: LimitRange
metadata: {{name: bounds}}
spec:
  limits:
  - type: Container
    default: {{cpu: 500m, memory: 128Mi}}
    defaultRequest: {{cpu: 10m, memory: 32Mi}}
    max: {{cpu: "2", memory: 1Gi}}
---
{deployment_of("bounded", 1)}""")
        found, = self.masked("app=bounded")
        self.copied(found["metadata"]["name"])
        self.cluster.kubectl("delete", "deployment/bounded", "quota/bounds", "limitrange/bounds", namespace=NAMESPACE)

    def copied(self, name):
        """A copy of a pod for debugging is governed like the pod."""
        self.cluster.kubectl("debug", name, "--copy-to=copy", "--share-processes=false", "--container=helper",
                             "--image=weir.test/client:1", "--", "sleep", "infinity", namespace=NAMESPACE)
        try:
            def printed():
                log = self.cluster.logs("copy", "app", namespace=NAMESPACE)
                lacks(log, "078-05")
                return MASKED in log
            proc.wait_until(printed, "the copy of the pod is masked", 60, every=0.5)
        finally:
            self.cluster.kubectl("delete", "pod", "copy", "--now", namespace=NAMESPACE)

    def not_root(self):
        """A pod that may not run as root, with groups of its own for its volumes."""
        context = "securityContext: {runAsNonRoot: true, runAsUser: 1000, runAsGroup: 1000, fsGroup: 2000}\n"
        self.apply(f"""\
apiVersion: v1
kind: Pod
metadata: {{name: plain, labels: {{app: plain}}}}
spec:
{indented(pod(extra=context), 2)}""")
        self.masked("app=plain")
        self.cluster.kubectl("delete", "pod", "plain", "--now", namespace=NAMESPACE)

    def job_completes(self):
        self.apply(f"""\
apiVersion: batch/v1
kind: Job
metadata: {{name: once}}
spec:
  backoffLimit: 0
  template:
    spec:
      restartPolicy: Never
{indented(job_pod(), 6)}""")
        self.cluster.wait_job("once", namespace=NAMESPACE)
        found, = self.masked("job-name=once")
        sidecar = found["status"]["initContainerStatuses"][0]
        equal((sidecar["name"], sidecar["state"].get("terminated", {}).get("exitCode")), ("weir-sidecar", 0))

    def cron_job(self):
        self.apply(f"""\
apiVersion: batch/v1
kind: CronJob
metadata: {{name: nightly}}
spec:
  schedule: "0 3 * * *"
  jobTemplate:
    spec:
      backoffLimit: 0
      template:
        metadata: {{labels: {{app: nightly}}}}
        spec:
          restartPolicy: Never
{indented(job_pod(), 10)}""")
        self.cluster.kubectl("create", "job", "tonight", "--from=cronjob/nightly", namespace=NAMESPACE)
        self.cluster.wait_job("tonight", namespace=NAMESPACE)
        self.masked("app=nightly")

    def init_container_uses_the_database(self):
        extra = textwrap.dedent(f"""\
            initContainers:
            - name: migrate
              image: weir.test/client:1
              command: [sh, -c, "psql -XAtc '{QUESTION}'"]
              env: *env
            """)
        self.apply(f"apiVersion: v1\nkind: Pod\nmetadata: {{name: migrated, labels: {{app: migrated}}}}\nspec:\n"
                   + indented(pod(extra=extra), 2))
        self.masked("app=migrated")
        contains(self.cluster.logs("migrated", "migrate", namespace=NAMESPACE), MASKED)
        names = [c["name"] for c in self.cluster.get("pod", "migrated", namespace=NAMESPACE)["spec"]["initContainers"]]
        equal(names[:1] + names[-1:], ["weir-sidecar", "migrate"])

    def own_service_account_volume(self):
        extra = textwrap.dedent("""\
              volumeMounts: [{name: own, mountPath: /var/run/secrets/kubernetes.io/serviceaccount}]
            automountServiceAccountToken: false
            volumes:
            - name: own
              projected:
                sources:
                - serviceAccountToken: {path: token, audience: somebody}
                - configMap: {name: kube-root-ca.crt, items: [{key: ca.crt, path: ca.crt}]}
            """)
        self.apply("apiVersion: v1\nkind: Pod\nmetadata: {name: own, labels: {app: own}}\nspec:\n"
                   + indented(pod(extra=extra), 2))
        self.masked("app=own")
        token = self.cluster.exec("own", "cat", "/var/run/secrets/kubernetes.io/serviceaccount/token",
                                  namespace=NAMESPACE, container="app").stdout
        claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
        equal(claims["aud"], ["somebody"])

    def a_jvm_trusts_by_its_own_store(self):
        """pgjdbc with the JVM's default trust and verify-full, and nothing in the pod that names a file."""
        clients.prepare(self.weir)
        try:
            pod, = clients.start(self.weir, 3, ["java"])
            text = clients.ended(self.weir, pod)
            contains(text, "Picked up JAVA_TOOL_OPTIONS: -Djavax.net.ssl.trustStore=")
            contains(text, " failed 0 last " + MASKED)
        finally:
            clients.clean(self.weir)
            self.grant()

    def resolvers_that_do_not_know_the_cluster(self):
        """The node's resolvers in an enforced namespace, and name servers that do not exist in one that is
        not: sidecars find controller and collector all the same."""
        address = self.cluster.get("service", "db", namespace="data")["spec"]["clusterIP"]
        asks = pod().replace("db.data.svc", address)
        def make(name, dns):
            return (f"apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, labels: {{app: {name}}}, "
                    "annotations: {weir.dev/inject: enabled}}\nspec:\n" + indented(asks + dns, 2))
        self.apply(make("nodes-resolver", "dnsPolicy: Default\n"))
        self.masked("app=nodes-resolver")
        self.weir.shell(f"kubectl create namespace {ELSEWHERE} && "
                        f"kubectl -n {ELSEWHERE} wait --for=create serviceaccount/default --timeout=60s")
        try:
            self.cluster.kubectl("patch", "clusterguardpolicy", "shop", "--type=json", "-p", json.dumps(
                [{"op": "add", "path": "/spec/subjects/-", "value": {"namespaces": [ELSEWHERE]}}]))
            self.cluster.apply(make("no-resolver", "dnsPolicy: None\ndnsConfig: {nameservers: [192.0.2.53]}\n"),
                               namespace=ELSEWHERE)
            proc.wait_until(lambda: MASKED in self.cluster.logs("no-resolver", "app", namespace=ELSEWHERE),
                            "the pod without resolvers is masked", 60)
            for namespace in (NAMESPACE, ELSEWHERE):
                proc.wait_until(lambda scope=namespace: "resolver" in self.weir.evidence(f"sessions -n {scope} -o json"),
                                f"evidence from {namespace}", 30)
        finally:
            self.weir.shell(f"kubectl delete namespace {ELSEWHERE} --wait=false")

    def twenty_at_once(self):
        self.apply(f"""\
apiVersion: apps/v1
kind: Deployment
metadata: {{name: twenty}}
spec:
  replicas: 20
  selector: {{matchLabels: {{app: twenty}}}}
  template:
    metadata: {{labels: {{app: twenty}}}}
    spec:
{indented(pod(), 6)}""")
        self.masked("app=twenty", 20, timeout=240)
        self.cluster.kubectl("delete", "deployment", "twenty", namespace=NAMESPACE)

    def replicas_share_one_budget(self):
        """Five pods of one service account and one restart: together they read what the window allows,
        and not a row more."""
        limit = 40
        self.cluster.kubectl("patch", "clusterguardpolicy", "shop", "--type=json", "-p", json.dumps([
            {"op": "add", "path": "/spec/rules/-", "value": {
                "name": "hourly", "limits": {"window": {"rows": limit, "per": "1h"}, "onExceed": "Deny"}}}]))
        spec = indented(pod(then="sleep infinity", sql="select 1 where false"), 6)
        self.cluster.kubectl("-n", NAMESPACE, "create", "serviceaccount", "readers")
        self.cluster.apply(f"""\
apiVersion: apps/v1
kind: Deployment
metadata: {{name: readers}}
spec:
  replicas: 5
  selector: {{matchLabels: {{app: readers}}}}
  template:
    metadata: {{labels: {{app: readers}}}}
    spec:
      serviceAccountName: readers
{spec}""", namespace=NAMESPACE)
        self.weir.shell(f"kubectl -n {NAMESPACE} rollout status deployment/readers --timeout=120s")
        pods = [p["metadata"]["name"] for p in self.cluster.get("pods", "-l", "app=readers", namespace=NAMESPACE)["items"]]
        read, refused = 0, set()
        for turn in range(40):
            if turn == 1:
                self.cluster.kill(pods[0], "weir-sidecar", namespace=NAMESPACE)
                self.cluster.wait_pod(pods[0], namespace=NAMESPACE)
            for name in pods:
                done = self.cluster.exec(name, "psql", "-XAtc", "select id from orders limit 2", namespace=NAMESPACE,
                                         container="app", check=False)
                read += len(done.stdout.split())
                if "hourly" in done.stderr:
                    refused.add(name)
            assert read <= limit, f"{read} rows of {limit}"
            if len(refused) == len(pods):
                break
        equal(len(refused), len(pods), "pods that were refused")
        assert read >= limit * 3 // 4, f"{read} rows of {limit}"
        print(f"      five pods and a restart read {read} of {limit} rows")

    def evidence_names_the_workload(self):
        workloads = ("Deployment/three", "StatefulSet/two", "Job/once", "CronJob/nightly")

        def listed():
            found = self.weir.evidence(f"sessions -n {NAMESPACE} -o json")
            return all(workload in found for workload in workloads) and found
        text = proc.wait_until(listed, f"sessions of {workloads} are listed", 30, every=0.5)
        for field in ("node1", "weir.test/client:1", '"uid":'):
            contains(text, field)


def run(weir, report):
    """The claims."""
    suite = Workloads(weir)
    claims = (suite.deployment, suite.quota_and_limit_range, suite.not_root, suite.stateful_set, suite.job_completes, suite.cron_job,
              suite.init_container_uses_the_database, suite.own_service_account_volume,
              suite.a_jvm_trusts_by_its_own_store, suite.resolvers_that_do_not_know_the_cluster, suite.twenty_at_once,
              suite.evidence_names_the_workload, suite.replicas_share_one_budget)
    names = [f"workloads: {claim.__name__}" for claim in claims]
    if not any(map(report.wanted, names)):
        return
    suite.namespace()
    try:
        for name, claim in zip(names, claims):
            report.check(name, claim)
    finally:
        suite.clean()
