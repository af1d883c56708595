"""What happens when a part of Weir is away, is replaced, or changes its keys, while an application
works."""

import json
import re
import time

from lab import proc
from lab.report import contains, equal, lacks

import clients

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

    def controller_is_down(self):
        """Running pods go on; new ones of an enforced namespace do not start, elsewhere without a sidecar."""
        self.scale("controller", 0)
        try:
            self.works()
            spec = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "new"},
                    "spec": {"terminationGracePeriodSeconds": 0,
                             "containers": [{"name": "app", "image": "weir.test/client:1", "command": ["sleep", "9"]}]}}
            self.weir.shell("kubectl create namespace injected && kubectl label namespace injected weir.dev/inject=enabled && "
                            "kubectl -n injected wait --for=create serviceaccount/default --timeout=60s")
            for namespace, starts in (("shop", False), ("injected", True)):
                done = self.cluster.run("kubectl", "-n", namespace, "create", "-f", "-", "--dry-run=server",
                                        input=json.dumps(spec), check=False)
                equal(done.returncode == 0, starts, f"{namespace}: {done.stderr}")
            done = self.weir.shell("kubectl apply --dry-run=server -f manifests/quickstart/3-policy.yaml", check=False)
            assert done.returncode != 0, "a policy was accepted unseen"
        finally:
            self.scale("controller", 2)
            self.weir.shell("kubectl delete namespace injected --wait=false --ignore-not-found")
        self.works()

    def collector_is_down(self):
        """For a minute: Batch and Blocking go on, BlockingStrict refuses; nothing acknowledged is lost."""
        for delivery, goes_on in (("Batch", True), ("Blocking", True), ("BlockingStrict", False)):
            self._delivery(delivery)
            self._while_the_collector_is_away(delivery, goes_on, 60 if delivery == "Blocking" else 15)
        self.weir.policies()
        self.works()

    def _delivery(self, delivery):
        self.cluster.kubectl("patch", "clusterguardpolicy", "shop", "--type=merge", "-p",
                             json.dumps({"spec": {"audit": {"record": "Full", "delivery": delivery}}}))
        time.sleep(1)

    def _while_the_collector_is_away(self, delivery, goes_on, seconds):
        mark = f"{delivery.lower()}-{int(time.time())}"
        log = f"{self.weir.work}/writer.log"
        open(log, "w", encoding="utf-8").close()
        self.scale("collector", 0)
        child = proc.spawn([*self.cluster.inside(), "kubectl", "-n", "shop", "exec", "deploy/reporter", "-c", "app",
                            "--", "python3", "-u", "-c", WRITER, mark, str(seconds)], log=log)
        child.wait(seconds + 60)
        self.scale("collector", 1)
        with open(log, encoding="utf-8") as f:
            text = f.read()
        acknowledged = re.findall(rf"(?m)^ack ({mark}-\d+)$", text)
        equal(bool(acknowledged), goes_on, f"{delivery}: {text[-600:]}")
        if not goes_on:
            contains(text, "refused")
        def recorded():
            found = self.weir.evidence(f"query -n shop --text {mark} --limit 1000 -o json", check=False)
            return all(number in found for number in acknowledged)
        proc.wait_until(recorded, f"{delivery}: all {len(acknowledged)} acknowledged statements are recorded", 60, every=1)
        rows = self.weir.shell("kubectl -n data exec db -- env PGPASSWORD=real-secret psql -h 127.0.0.1 -U postgres "
                               f"-d shop -Atc \"select count(*) from notes where text like '{mark}-%'\"").stdout.strip()
        if not goes_on:
            equal(rows, "0", "rows that a refused statement wrote")
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
        """Helm replaces controllers and collector: no query fails, and back."""
        child, log = self.traffic(60)
        self.weir.install("--set controller.annotations.round=two --set collector.annotations.round=two")
        self.weir.shell("helm rollback weir -n weir-system --wait --timeout 120s")
        done, failed, text = self.summary(child, log)
        equal(failed, 0, text[-1500:])
        print(f"      {done} queries during an upgrade and a rollback, none failed")
        self.works()

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

    def helm_test(self):
        self.weir.shell("helm test weir -n weir-system --timeout 120s")


def run(weir, report):
    """The claims."""
    outages = Outages(weir)
    for claim in (outages.helm_test, outages.sidecar_is_killed, outages.sidecar_is_killed_under_other_clients,
                  outages.controller_is_down, outages.collector_is_down,
                  outages.certificates_rotate_under_traffic, outages.upgrade_under_traffic, outages.node_restarts):
        report.check(f"outages: {claim.__name__}", claim)
