"""What happens when a part of Weir is away, is replaced, or changes its keys, while an application
works."""

import json
import os
import re
import time

from lab import proc
from lab.report import equal, lacks

import absence
import clients
import pods

# Asks without pause on a connection each, and on one that stays open; says what failed, and how many went well.
TRAFFIC = """\
import psycopg2, signal, sys, time
done, failed, held = 0, 0, None
running = True
def end(*_):
    global running
    running = False
signal.signal(signal.SIGTERM, end)
signal.signal(signal.SIGINT, end)
deadline = time.time() + float(sys.argv[1])
while running and time.time() < deadline:
    try:
        fresh = psycopg2.connect("")
        if held is None:
            held = psycopg2.connect("")
            held.autocommit = True
        for connection in (fresh, held):
            cursor = connection.cursor()
            cursor.execute("select ssn from customers where id = 1")
            answer = cursor.fetchone()[0]
            assert answer == "***-**-1120", "not masked: " + answer
            done += 1
            if done == 1:
                print("first", flush=True)
        fresh.close()
    except Exception as error:
        failed += 1
        held = None
        print(f"failed {time.time():.2f} {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}", flush=True)
        time.sleep(0.1)
    time.sleep(0.02)
print(f"done {done} failed {failed}", flush=True)
"""
# Writes numbered rows and says which the server acknowledged.
WRITER = """\
import psycopg2, sys, time
deadline = time.time() + float(sys.argv[2])
number = 0
while time.time() < deadline:
    number += 1
    try:
        connection = psycopg2.connect("", connect_timeout=10)
        connection.autocommit = True
        connection.cursor().execute("insert into notes (text) values (%s)", (f"{sys.argv[1]}-{number}",))
        connection.close()
        print(f"ack {sys.argv[1]}-{number}", flush=True)
    except Exception as error:
        print(f"refused {sys.argv[1]}-{number} {str(error).splitlines()[0] if str(error) else ''}", flush=True)
    time.sleep(0.25)
"""
# How statements wait for evidence, and whether they go on without the collector.
DELIVERIES = {"Batch": True, "Blocking": True, "BlockingStrict": False}
WRITERS = "writers"
# Seconds for which the collector is away.
AWAY = 60
# What another release's images are called.
RELEASE = "another"


def writer(delivery):
    """A pod, its service account, and the policy that it is under alone."""
    name = delivery.lower()
    metadata = {"name": name, "namespace": WRITERS}
    yield {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}
    yield {"apiVersion": "weir.dev/v1alpha1", "kind": "ClusterGuardPolicy",
           "metadata": {"name": f"{WRITERS}-{name}", "labels": {"weir.test": WRITERS}},
           "spec": {"subjects": [{"namespaces": [WRITERS], "serviceAccounts": [name]}], "targets": ["shop"],
                    "audit": {"record": "Full", "delivery": delivery}}}
    yield pods.pod(metadata, pods.container("sleep", "infinity"), serviceAccountName=name)


class Made:
    """Pods that are made one after the other, in the background."""

    def __init__(self, weir):
        self.log, self.end = f"{weir.work}/made.log", f"{weir.work}/made.end"
        pod = pods.asking({"generateName": "made-", "namespace": "shop", "labels": {"weir.test": "made"}})
        for leftover in (self.log, self.end):
            if os.path.exists(leftover):
                os.unlink(leftover)
        with open(f"{weir.work}/made.json", "w", encoding="utf-8") as f:
            json.dump(pod, f)
        self.child = weir.spawn("until [ -e made.end ]; do kubectl create -f made.json; sleep 1; done", self.log)

    def refused(self):
        """What was said of those that could not be made."""
        with open(self.log, encoding="utf-8") as f:
            return [line.rstrip() for line in f if not line.endswith(" created\n")]

    def stop(self):
        """No more."""
        with open(self.end, "w", encoding="ascii"):
            self.child.wait(30)


class Outages:
    """The claims."""

    def __init__(self, weir):
        self.weir, self.cluster = weir, weir.cluster

    # ---------------------------------------------------------------------------- helpers

    def traffic(self, seconds):
        """The application at work; its log."""
        log = f"{self.weir.work}/traffic.log"
        open(log, "w", encoding="utf-8").close()
        child = proc.spawn([*self.cluster.inside(), "kubectl", "-n", "shop", "exec", "deploy/reporter", "-c", "app",
                            "--", "python3", "-u", "-c", TRAFFIC, str(seconds)], log=log)
        return child, log

    def summary(self, child, log, timeout=180):
        """(done, failed, the log)."""
        child.wait(timeout)
        with open(log, encoding="utf-8") as f:
            text = f.read()
        found = re.search(r"done (\d+) failed (\d+)", text)
        assert found, text[-2000:]
        lacks(text, "not masked")
        return int(found.group(1)), int(found.group(2)), text

    def pods(self, component):
        """Those that are not going."""
        return [p for p in self.cluster.get("pods", "-l", f"app.kubernetes.io/component={component}",
                                            namespace="weir-system")["items"] if "deletionTimestamp" not in p["metadata"]]

    def scale(self, component, replicas):
        """And waits."""
        self.cluster.kubectl("-n", "weir-system", "scale", f"deployment/weir-{component}", f"--replicas={replicas}")
        if replicas:
            self.weir.shell(f"kubectl -n weir-system rollout status deployment/weir-{component} --timeout=120s")
            self.weir.wait_admission()
        else:
            proc.wait_until(lambda: not self.cluster.get("pods", "-l", f"app.kubernetes.io/component={component}",
                                                         namespace="weir-system")["items"], f"no {component}", 90)

    def reporter(self):
        """The application's pod."""
        return next(p for p in self.cluster.get("pods", "-l", "app=reporter", namespace="shop")["items"]
                    if "deletionTimestamp" not in p["metadata"])

    def works(self, timeout=30):
        """The application gets its masked answer."""
        proc.wait_until(lambda: "***-**-1120" in self.weir.psql("select ssn from customers where id = 1"),
                        "the application works", timeout, every=0.3)

    # ----------------------------------------------------------------------------- claims

    def sidecar_is_killed(self):
        """A client that reconnects goes on: same certificate authority, rules in force in between."""
        pod = self.reporter()["metadata"]["name"]
        authority = self.cluster.exec(pod, "sha256sum", "/var/run/weir/trust/ca.crt", namespace="shop", container="app").stdout
        child, log = self.traffic(30)

        def runs():
            with open(log, encoding="utf-8") as f:
                return "first" in f.read()
        proc.wait_until(runs, "traffic runs", 30, child=child, log=log)
        self.cluster.kill(pod, "weir-sidecar", namespace="shop")
        done, failed, text = self.summary(child, log)
        assert failed, "nothing failed: was it killed?"
        assert not text.rstrip().splitlines()[-2].startswith("done 0"), text
        equal(self.cluster.exec(pod, "sha256sum", "/var/run/weir/trust/ca.crt", namespace="shop", container="app").stdout,
              authority, "the authority is the same")
        self.works()
        print(f"      {done} queries, {failed} failed while the sidecar was away")

    def sidecar_is_killed_under_other_clients(self):
        """Node, Java and Go read their authorities once; they reconnect and go on."""
        clients.prepare(self.weir)
        try:
            pods = clients.start(self.weir, seconds=60)
            time.sleep(8)
            for pod in pods:
                self.cluster.kill(pod, "weir-sidecar", namespace=clients.NAMESPACE)
            for pod in pods:
                text = clients.ended(self.weir, pod)
                found = re.search(r"done (\d+) failed (\d+) last (.*)", text)
                assert found, f"{pod}: {text[-1500:]}"
                print(f"      {pod}: {found.group(0)}")
                assert int(found.group(1)) > 50 and int(found.group(2)) > 0, text
                equal(found.group(3), "***-**-1120", pod)
        finally:
            clients.clean(self.weir)

    def collector_is_down(self):
        """For a minute, under each delivery at once: Batch and Blocking go on, BlockingStrict refuses; nothing acknowledged
        is lost."""
        self.weir.shell(f"kubectl create namespace {WRITERS} && kubectl label namespace {WRITERS} weir.dev/inject=enabled && "
                        f"kubectl -n {WRITERS} wait --for=create serviceaccount/default --timeout=60s")
        try:
            self.cluster.apply(json.dumps({"apiVersion": "v1", "kind": "List", "items": [
                item for delivery in DELIVERIES for item in writer(delivery)]}))
            for delivery in DELIVERIES:
                self.cluster.wait_pod(delivery.lower(), namespace=WRITERS)
            self.scale("collector", 0)
            mark = str(int(time.time()))
            children = {delivery: self._writes(delivery, mark) for delivery in DELIVERIES}
            for child, _ in children.values():
                child.wait(AWAY + 60)
            self.works()
            self.scale("collector", 1)
            for delivery, goes_on in DELIVERIES.items():
                self._nothing_is_lost(delivery, goes_on, f"{delivery.lower()}-{mark}", children[delivery][1])
        finally:
            self.weir.shell(f"kubectl delete namespace {WRITERS} --wait=false; kubectl delete clusterguardpolicies -l weir.test={WRITERS}")

    def _writes(self, delivery, mark):
        log = f"{self.weir.work}/writer-{delivery}.log"
        open(log, "w", encoding="utf-8").close()
        return proc.spawn([*self.cluster.inside(), "kubectl", "-n", WRITERS, "exec", delivery.lower(), "-c", "app", "--", "python3", "-u",
                           "-c", WRITER, f"{delivery.lower()}-{mark}", str(AWAY)], log=log), log

    def _nothing_is_lost(self, delivery, goes_on, mark, log):
        with open(log, encoding="utf-8") as f:
            text = f.read()
        acknowledged = re.findall(rf"(?m)^ack ({mark}-\d+)$", text)
        equal(bool(acknowledged), goes_on, f"{delivery}: {text[-600:]}")
        equal("refused" in text, not goes_on, f"{delivery}: {text[-600:]}")
        def recorded():
            found = self.weir.evidence(f"query -n {WRITERS} --text {mark} --limit 1000 -o json", check=False)
            return all(number in found for number in acknowledged)
        proc.wait_until(recorded, f"{delivery}: all {len(acknowledged)} acknowledged statements are recorded", 60, every=1)
        rows = self.weir.shell("kubectl -n data exec db -- env PGPASSWORD=real-secret psql -h 127.0.0.1 -U postgres "
                               f"-d shop -Atc \"select count(*) from notes where text like '{mark}-%'\"").stdout.strip()
        equal(rows, str(len(acknowledged)), f"{delivery}: rows that were written, and those that were acknowledged")
        print(f"      {delivery}: {len(acknowledged)} acknowledged while the collector was away, all recorded")

    def certificates_rotate_under_traffic(self):
        """A new authority beside the old one: no query fails."""
        before = self.cluster.get("secret", "weir-ca", namespace="weir-system")["data"]["tls.crt"]
        child, log = self.traffic(25)
        self.weir.shell("kubectl -n weir-system annotate --overwrite secret weir-ca weir.dev/rotate=now")
        proc.wait_until(lambda: self.cluster.get("secret", "weir-ca", namespace="weir-system")["data"]["tls.crt"] != before,
                        "the authority is another", 30, every=0.5)
        done, failed, text = self.summary(child, log)
        equal(failed, 0, text[-1500:])
        assert done > 100, done
        self.weir.shell("kubectl apply --dry-run=server -f manifests/quickstart/3-policy.yaml")
        created = self.cluster.run("kubectl", "-n", "shop", "run", "after", "--image=weir.test/client:1", "--restart=Never",
                                   "--", "sleep", "30", check=False)
        equal(created.returncode, 0, created.stderr)
        self.cluster.wait_pod("after", namespace="shop")
        self.cluster.kubectl("-n", "shop", "delete", "pod", "after", "--now")

    def upgrade_under_traffic(self):
        """Helm replaces every image by another one, and back: no query fails, and every pod that is made meanwhile has the
        sidecar of one release or the other. While it rolls back, controllers that are still of the newer release inject what
        the older one does not know: enforced namespaces refuse that for a moment, and never let it in bare."""
        self.weir.load_release(RELEASE)
        before = self.reporter()["spec"]["initContainers"][0]["image"]
        after = f"{before.rsplit(':', 1)[0]}:{RELEASE}"
        child, log = self.traffic(240)
        made = Made(self.weir)
        try:
            self.weir.install(f"--set image.tag={RELEASE}")
            self.cluster.apply(json.dumps(pods.asking({"name": "newer", "namespace": "shop"}, "sleep infinity")))
            newer = self.cluster.wait_pod("newer", namespace="shop")
            equal(newer["spec"]["initContainers"][0]["image"], after)
            ids = {pod["status"]["initContainerStatuses"][0]["imageID"] for pod in (newer, self.reporter())}
            equal(len(ids), 2, f"images of sidecars: {ids}")
            equal(made.refused(), [], "pods that were refused during the upgrade")
            self.weir.shell("helm rollback weir -n weir-system --wait --timeout 120s")
            time.sleep(2)
            made.stop()
            refused = made.refused()
            self.cluster.exec("deploy/reporter", "pkill", "-INT", "python3", namespace="shop", container="app")
            done, failed, text = self.summary(child, log)
            equal(failed, 0, text[-1500:])
            equal([line for line in refused if not line.endswith("it differs in: image")], [], "why pods were refused")
            print(f"      {done} queries during an upgrade and a rollback, none failed; {len(refused)} pods were refused during the rollback")
            self._all_are_governed({before, after})
            self._goes_on_under_the_older_release()
        finally:
            made.stop()
            self.weir.shell("kubectl -n shop delete pod newer --now --ignore-not-found; kubectl -n shop delete pods -l weir.test=made --now --wait=false")
        self.works()

    def _all_are_governed(self, images):
        """Every pod that was made meanwhile, by either image."""
        def over():
            pods = self.cluster.get("pods", "-l", "weir.test=made", namespace="shop")["items"]
            return all(pod["status"]["phase"] in ("Succeeded", "Failed") for pod in pods) and pods
        pods = proc.wait_until(over, "the pods that were made meanwhile have ended", 60, every=0.5)
        first = [pod["spec"]["initContainers"][0] for pod in pods]
        equal({(one["name"], one["image"]) for one in first}, {("weir-sidecar", image) for image in images})
        for pod in pods:
            equal(self.cluster.logs(pod["metadata"]["name"], "app", namespace="shop"), "***-**-1120\n", pod["metadata"]["name"])
        print(f"      {len(pods)} pods were made meanwhile")

    def _goes_on_under_the_older_release(self):
        """A pod of the newer release: an edit reaches it, its labels can be changed, its sidecar starts anew."""
        self.cluster.kubectl("patch", "datalabel", "pii.ssn", "--type=merge", "-p",
                             json.dumps({"spec": {"mask": {"partial": None, "constant": "[gone]"}}}))
        def answers(what):
            return self.weir.psql("select ssn from customers where id = 1", pod="newer") == f"{what}\n"
        try:
            proc.wait_until(lambda: answers("[gone]"), "an edit reaches the newer release's sidecar", 20, every=0.2)
        finally:
            self.weir.policies()
        self.cluster.kubectl("label", "pod", "newer", "tier=web", namespace="shop")
        self.cluster.kill("newer", "weir-sidecar", namespace="shop")
        proc.wait_until(lambda: answers("***-**-1120"), "its sidecar starts anew", 30, every=0.3)

    def node_restarts(self):
        """From zero, with everything installed and namespaces enforced: nothing waits for itself."""
        began, before = time.monotonic(), time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self.cluster.restart()

        def anew(pod):
            """Whether its containers are ready, and run since after the restart: at first the API server knows no better
            than before it."""
            containers = pod["status"].get("containerStatuses", ())
            return containers and all(one["ready"] and one["state"].get("running", {}).get("startedAt", "") > before
                                      for one in containers)

        def up():
            if self.weir.shell("kubectl -n weir-system get pods", check=False).returncode != 0:
                return False
            return [sum(map(bool, map(anew, self.pods(component)))) for component in ("controller", "collector")] == [2, 1]
        proc.wait_until(up, "controller and collector are ready again", 180, every=1)
        self.cluster.wait_pod("db", namespace="data", timeout=120)
        self.works(timeout=120)
        print(f"      all works {time.monotonic() - began:.0f} s after the node lost its power")


def run(weir, report):
    """The claims."""
    outages = Outages(weir)
    for claim in (outages.sidecar_is_killed, outages.sidecar_is_killed_under_other_clients, outages.collector_is_down,
                  outages.certificates_rotate_under_traffic, outages.upgrade_under_traffic, outages.node_restarts):
        report.check(f"outages: {claim.__name__}", claim)
    absence.run(outages, report)
