"""Clients in other languages than libpq's: Node, Java and Go, each in a pod that is governed."""

import json
import os

from lab import install, kube, proc

NAMESPACE = "clients"
HERE = os.path.dirname(os.path.abspath(__file__))
COMMANDS = {
    "node": ["node", "/clients/traffic.js"],
    "java": ["java", "-XX:+UseSerialGC", "-cp", "/clients:/usr/share/java/postgresql.jar", "Traffic"],
    "go": ["/clients/traffic"],
}


def prepare(weir):
    """Builds them on the node's disk, and loads the image that runs them."""
    folder = f"{weir.cluster.dir}/clients"
    os.makedirs(folder, exist_ok=True)
    weir.cluster.load(kube.clients_image())
    install.need("javac", "default-jdk-headless")
    install.need("go", "golang-go")
    proc.run(["javac", "--release", "17", "-d", folder, f"{HERE}/Traffic.java"])
    proc.run(["go", "build", "-o", f"{folder}/traffic", "./traffic"], cwd=os.path.join(HERE, "../../drivers/pgx"),
             env=dict(os.environ, CGO_ENABLED="0", GOFLAGS="-mod=readonly"))
    with open(f"{HERE}/traffic.js", encoding="utf-8") as source, open(f"{folder}/traffic.js", "w", encoding="utf-8") as f:
        f.write(source.read())


def start(weir, seconds, languages=tuple(COMMANDS)):
    """One pod for each language; their names. Their namespace is not enforced: a path of the node is
    mounted."""
    weir.shell(f"kubectl create namespace {NAMESPACE} && kubectl label namespace {NAMESPACE} weir.dev/inject=enabled && "
               f"kubectl -n {NAMESPACE} wait --for=create serviceaccount/default --timeout=60s")
    weir.cluster.kubectl("patch", "clusterguardpolicy", "shop", "--type=json", "-p", json.dumps(
        [{"op": "add", "path": "/spec/subjects/-", "value": {"namespaces": [NAMESPACE]}}]))
    env = [{"name": name, "value": value} for name, value in (
        ("PGHOST", "db.data.svc"), ("PGDATABASE", "shop"), ("PGUSER", "app"), ("PGPASSWORD", "app-secret"),
        ("PGSSLMODE", "verify-full"), ("NODE_PATH", "/usr/share/nodejs"))]
    for name in languages:
        command = COMMANDS[name]
        weir.cluster.apply(json.dumps({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {"restartPolicy": "Never", "terminationGracePeriodSeconds": 1,
                     "containers": [{"name": "app", "image": kube.CLIENTS, "command": [*command, str(seconds)], "env": env,
                                     "volumeMounts": [{"name": "clients", "mountPath": "/clients"}]}],
                     "volumes": [{"name": "clients", "hostPath": {"path": f"{weir.cluster.dir}/clients"}}]}}))
    # One that has little to do may be over before it is seen to be ready.
    for name in languages:
        weir.cluster.wait_status(name, "has started", lambda found: found["status"].get("phase") in ("Running", "Succeeded"),
                                 namespace=NAMESPACE, timeout=120)
    return list(languages)


def ended(weir, pod):
    """What it has printed at its end; the pod is removed."""
    def over():
        return "done " in weir.cluster.logs(pod, "app", namespace=NAMESPACE)
    try:
        proc.wait_until(over, f"{pod} ends", 180, every=0.5)
        return weir.cluster.logs(pod, "app", namespace=NAMESPACE)
    finally:
        weir.cluster.kubectl("-n", NAMESPACE, "delete", "pod", pod, "--now", "--wait=false")


def clean(weir):
    """Nothing of it stays."""
    weir.shell(f"kubectl delete namespace {NAMESPACE} --wait=false")
    weir.policies()
