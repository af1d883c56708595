"""The Kubernetes API, measured against a real API server: a GET of one object, a list of 5,000 objects
with one masked field, and a thousand open watches; direct, and through Weir with everything on. Both ways
are TLS and HTTP/2 or HTTP/1.1 as curl agrees on them with the server."""

import json
import os
import statistics
import time

from lab import proc, weir
from lab.cluster import Cluster

OBJECTS = 5000
WATCHES = 1000
EACH = 40
VALUE = "cGFzc3dvcmQgb2YgdGhlIGJlbmNobWFyaw=="
NOTE = "x" * 600
RESOURCES = """\
apiVersion: weir.dev/v1alpha1
kind: DataLabel
metadata: {name: secret.kubernetes}
spec:
  kubernetes: [{resource: secrets, fields: [data.password]}]
  mask: {constant: "[masked]"}
---
apiVersion: weir.dev/v1alpha1
kind: ClusterGuardPolicy
metadata: {name: api}
spec:
  mode: Enforce
  subjects: [{names: ["*"]}]
  targets: [kubernetes]
  audit: {record: Commands, delivery: DELIVERY}
  rules:
  - {name: hide, match: {labels: ["secret.*"]}, action: Mask}
  - {name: no-shells, match: {kubernetes: {effects: [RunsCommand, Tunnels]}}, action: Deny}
  - {name: bulk, limits: {window: {objects: 1000000000, per: 1h}}}
"""
TARGET = """\
apiVersion: weir.dev/v1alpha1
kind: Target
metadata: {name: kubernetes}
spec:
  protocol: Kubernetes
  addresses: [{host: 127.0.0.1, port: 6443}]
  upstreamTLS: {mode: VerifyFull, caFile: CA, serverName: kubernetes}
  credentials: {mode: Brokered, tokenFile: TOKEN}
"""


class Scene:
    """An API server with objects, and Weir."""

    def __init__(self, a, binary):
        self.cluster = Cluster(images=[]).start()
        self.inside = self.cluster.inside()
        self.kubectl("create", "namespace", "bench")
        self.kubectl("create", "serviceaccount", "bench", "-n", "bench")
        self.kubectl("create", "clusterrolebinding", "bench", "--clusterrole=cluster-admin", "--serviceaccount=bench:bench")
        where = proc.workdir("weir-bench-kube-")
        self.token = self.kubectl("create", "token", "bench", "-n", "bench", "--duration", "8h").strip()
        root = json.loads(self.kubectl("get", "configmap", "kube-root-ca.crt", "-n", "bench", "-o", "json"))
        self.direct_ca, token = os.path.join(where, "api-ca.pem"), os.path.join(where, "api.token")
        for path, text in ((self.direct_ca, root["data"]["ca.crt"]), (token, self.token)):
            with open(path, "w", encoding="ascii") as f:
                f.write(text)
            os.chmod(path, 0o600)
        target = TARGET.replace("CA", self.direct_ca).replace("TOKEN", token)
        self.weir = weir.Weir(binary, 6443, target=target, where=where, target_name="kubernetes", wrap=self.inside,
                              policies=RESOURCES.replace("DELIVERY", a.delivery)).start()
        self.ports = {"direct": 6443, "weir": self.weir.port}
        self.fill()

    def kubectl(self, *argv, **more):
        """What it prints."""
        return proc.run([*self.inside, "kubectl", *argv], **more).stdout

    def fill(self):
        """Five thousand Secrets, by several requests at once."""
        path = os.path.join(self.weir.dir, "objects")
        os.makedirs(path, exist_ok=True)
        config = []
        for n in range(OBJECTS):
            body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": f"s{n:05}", "annotations": {"note": NOTE}},
                    "data": {"password": VALUE, "user": "YXBw"}}
            with open(f"{path}/{n}", "w", encoding="ascii") as f:
                json.dump(body, f)
            config.append(f'url = "https://127.0.0.1:6443/api/v1/namespaces/bench/secrets"\nrequest = POST\n'
                          f'header = "Content-Type: application/json"\nheader = "Authorization: Bearer {self.token}"\n'
                          f'data = "@{path}/{n}"\noutput = /dev/null\nsilent\ncacert = "{self.direct_ca}"')
        with open(f"{path}/config", "w", encoding="ascii") as f:
            f.write("\nnext\n".join(config))
        proc.run([*self.inside, "curl", "-Z", "--parallel-max", "20", "-K", f"{path}/config"], timeout=600)

    @property
    def pid(self):
        """The engine's process, behind what brought it into the cluster."""
        children = proc.run(["pgrep", "-P", str(self.weir.pid)], check=False).stdout.split()
        return int(children[0]) if children else self.weir.pid

    def curl(self, way, *argv, url, **more):
        """curl, as a client of one of the ways."""
        ca = self.direct_ca if way == "direct" else self.weir.ca()
        auth = f"Authorization: Bearer {self.token}" if way == "direct" else "X-Nothing: 1"
        return proc.run([*self.inside, "curl", "-s", "--cacert", ca, "-H", auth, *argv,
                         f"https://127.0.0.1:{self.ports[way]}{url}"], **more).stdout

    def get(self, way, count):
        """Median microseconds of a GET of one object on a connection that is there."""
        text = self.curl(way, "-o", "/dev/null", "-w", "%{time_total}\n",
                         url=f"/api/v1/namespaces/bench/secrets/s00042?n=[1-{count}]")
        return statistics.median(float(line) for line in text.split()[5:]) * 1e6

    def list(self, way):
        """Megabytes per second of the list of all objects."""
        text = self.curl(way, "-o", "/dev/null", "-w", "%{size_download} %{time_total}", timeout=120,
                         url="/api/v1/namespaces/bench/secrets")
        size, took = text.split()
        return int(size) / float(took) / 1e6

    def stop(self):
        """Ends both."""
        self.weir.stop()
        self.cluster.stop()


def peak(pid, run):
    """Most resident megabytes above those before, while something runs."""
    import threading
    before, most, over = proc.rss_kb(pid), [0], threading.Event()

    def watch():
        while not over.wait(0.005):
            most[0] = max(most[0], proc.rss_kb(pid))
    thread = threading.Thread(target=watch)
    thread.start()
    try:
        run()
    finally:
        over.set()
        thread.join()
    return max(0, most[0] - before) / 1024


def watches(scene):
    """Resident megabytes with a thousand open watches, forty on each connection: the server lets about fifty begin at
    once."""
    urls = os.path.join(scene.weir.dir, "watches")
    with open(urls, "w", encoding="ascii") as f:
        for n in range(EACH):
            f.write(f'url = "https://127.0.0.1:{scene.weir.port}/api/v1/namespaces/bench/pods?watch=1&n={n}"\n'
                    "output = /dev/null\n")

    def opened():
        text = scene.curl("direct", url="/metrics")
        lines = [line for line in text.splitlines() if line.startswith("apiserver_longrunning_requests{")
                 and 'resource="pods"' in line and 'verb="WATCH"' in line and 'scope="namespace"' in line]
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines) >= WATCHES
    children = []
    for _ in range(WATCHES // EACH):
        children.append(proc.spawn([*scene.inside, "curl", "-s", "--cacert", scene.weir.ca(), "--http2", "-Z", "--retry",
                                    "30", "--retry-delay", "1", "--parallel-max", str(EACH), "-K", urls]))
        time.sleep(0.7)
    try:
        proc.wait_until(opened, f"{WATCHES} watches are open", 60, every=1)
        time.sleep(2)
        return proc.rss_kb(scene.pid) / 1024
    finally:
        for child in children:
            proc.stop(child)


def measure(bench, binary, median_of):
    """The rows of the report."""
    scene = Scene(bench.a, binary)
    try:
        scene.curl("weir", url="/api/v1/namespaces/bench/secrets/s00042")
        time.sleep(2)
        bench.add("kube.memory", peak(scene.pid, lambda: scene.list("weir")))
        ways, count = ["direct", "weir"], 300 if bench.a.quick else 2000
        found = bench.interleaved(ways, lambda way: scene.get(way, count))
        times = {way: statistics.median(values) for way, values in found.items()}
        limit = 1.2 * times["direct"] + 60
        bench.add("kube.get", times["weir"] / limit, times["direct"], None, {"weir us": times["weir"], "limit us": limit})
        found = bench.interleaved(ways, scene.list)
        rates = {way: statistics.median(values) for way, values in found.items()}
        bench.add("kube.list", median_of(found["weir"], found["direct"], lambda v, d: v / d), rates["direct"], None,
                  {"weir MB/s": rates["weir"]})
        bench.add("kube.watches", watches(scene))
    finally:
        scene.stop()
