"""The chart's NetworkPolicies, enforced. The cluster's network has nobody who does that, so the rules are made from the
policies here, inside of the network namespaces of the pods that they select: with them everything that Weir does
goes on, and what no policy names is dropped.

What the chart does not use (blocks of addresses, ranges and names of ports, expressions) is an error, not a pass.
"""

import json

from lab import proc
from lab.cluster import documents
from lab.report import contains, equal

import pods

SYSTEM = "weir-system"
TABLE = "table inet policies"
PARTS = ("controller", "collector")
# Who needs whom: Weir's own parts, and what stands for any pod and for an Ingress.
NEEDED = (("controller", "default/kubernetes", 443), ("controller", "weir-system/weir-collector", 8445),
          ("collector", "weir-system/weir-controller", 443), ("collector", "weir-system/weir-controller", 8444),
          ("db", "weir-system/weir-controller", 443), ("db", "weir-system/weir-controller", 8444),
          ("db", "weir-system/weir-collector", 8445), ("db", "weir-system/weir-collector", 8446))
RESOLVER = "192.168.77.1"
DIAL = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=2); print('connected')"


def selected(selector, labels):
    """Whether labels are meant."""
    equal(set(selector) - {"matchLabels"}, set(), "a selector of another kind")
    return selector.get("matchLabels", {}).items() <= labels.items()


class Scene:
    """The cluster as policies see it."""

    def __init__(self, cluster):
        self.namespaces = {one["metadata"]["name"]: one["metadata"]["labels"] for one in cluster.get("namespaces")["items"]}
        self.pods = [one for one in cluster.get("pods", "-A")["items"] if one["status"].get("podIP")]
        self.services = cluster.get("services", "-A")["items"]
        self.slices = cluster.get("endpointslices", "-A")["items"]

    def addresses(self, peers, own):
        """The pods that peers name; None: everybody."""
        if not peers:
            return None
        found = set()
        for peer in peers:
            equal(set(peer) - {"podSelector", "namespaceSelector"}, set(), "a peer of another kind")
            spaces = [name for name, labels in self.namespaces.items() if selected(peer["namespaceSelector"], labels)] \
                if "namespaceSelector" in peer else [own]
            found |= {pod["status"]["podIP"] for pod in self.pods if pod["metadata"]["namespace"] in spaces
                      and selected(peer.get("podSelector", {}), pod["metadata"].get("labels", {}))}
        return found

    def backends(self):
        """(cluster IP, protocol, port, [(address, port)]) of each port of each Service."""
        for service in self.services:
            name, space = service["metadata"]["name"], service["metadata"]["namespace"]
            own = [one for one in self.slices if one["metadata"]["namespace"] == space
                   and one["metadata"]["labels"].get("kubernetes.io/service-name") == name]
            for port in service["spec"].get("ports", ()):
                leads = [(address, target["port"]) for one in own for target in one.get("ports") or ()
                         if target.get("name", "") == port.get("name", "")
                         for endpoint in one.get("endpoints") or () for address in endpoint["addresses"]]
                yield service["spec"]["clusterIP"], port["protocol"].lower(), port["port"], leads


def permitted(scene, policies, direction):
    """[(addresses or None, protocol, port)] that policies of one pod let through."""
    for policy in policies:
        equal(sorted(policy["spec"]["policyTypes"]), ["Egress", "Ingress"])
        for rule in policy["spec"][direction]:
            peers = scene.addresses(rule.get("from" if direction == "ingress" else "to"), policy["metadata"]["namespace"])
            for port in rule["ports"]:
                equal((set(port), type(port["port"])), ({"port", "protocol"}, int), "a port of another kind")
                yield peers, port["protocol"].lower(), port["port"]


def rules(scene, policies, node):
    """The rules of a pod that they select, for nft. A Service is what its endpoints are; whether the node's kubelet may
    probe is not for policies to say."""
    ways_in, ways_out = (list(permitted(scene, policies, way)) for way in ("ingress", "egress"))

    def admits(address, protocol, port):
        return any(one == protocol and number == port and (peers is None or address in peers) for peers, one, number in ways_out)

    def lines(ways, side):
        for peers, protocol, port in ways:
            if peers is None:
                yield f"{protocol} dport {port} accept"
            elif peers:
                yield f"ip {side} {{ {', '.join(sorted(peers))} }} {protocol} dport {port} accept"
    services = [f"ip daddr {ip} {protocol} dport {port} {'accept' if leads and all(admits(a, protocol, p) for a, p in leads) else 'drop'}"
                for ip, protocol, port, leads in scene.backends() if ip != "None"]
    # Who may open a connection is what policies say; the rest of one that is open goes both ways, and so do answers of resolvers.
    rest = "tcp flags & (syn | ack) != syn accept"
    return "\n".join([
        f"{TABLE} {{", "chain incoming {", "type filter hook input priority 0; policy drop", "iif lo accept", rest, "udp sport 53 accept",
        f"ip saddr {node} tcp dport 9090 accept", *lines(ways_in, "saddr"), "}",
        "chain outgoing {", "type filter hook output priority 0; policy drop", "oif lo accept", rest, *services, *lines(ways_out, "daddr"),
        "}", "}", ""])


class Fences:
    """The claims."""

    def __init__(self, weir):
        self.weir, self.cluster = weir, weir.cluster
        self.fenced = {}

    def _policies(self, *options):
        """As the chart renders them; those of the release are these."""
        return documents(self.weir.shell("helm template weir charts/weir -n weir-system -s templates/access/network-policies.yaml "
                                         + " ".join(options) + " | kubectl create --dry-run=client -o json -f -").stdout)

    def fence(self, *options):
        """Puts rules around every pod that a policy selects."""
        scene, policies = Scene(self.cluster), self._policies(*options)
        node = self.cluster.run("sh", "-c", "ip -4 -o address show dev cni0").stdout.split()[3].split("/")[0]
        for pod in scene.pods:
            labels, name = pod["metadata"].get("labels", {}), pod["metadata"]["name"]
            own = [one for one in policies if one["metadata"]["namespace"] == pod["metadata"]["namespace"]
                   and selected(one["spec"]["podSelector"], labels)]
            if own:
                pid = self.fenced.get(name) or self.cluster.pid(name, pod["spec"]["containers"][0]["name"], pod["metadata"]["namespace"])
                self.fenced[name] = pid
                text = f"{TABLE} {{}}\ndelete {TABLE}\n" + rules(scene, own, node)
                self.cluster.run("nsenter", "-n", "-t", pid, "nft", "-f", "-", input=text)

    def open(self):
        """As before."""
        for pid in self.fenced.values():
            self.cluster.run("nsenter", "-n", "-t", pid, "nft", "delete", *TABLE.split(), check=False)

    def _dial(self, pid, address, port):
        """Whether somebody is reached from the network namespace of a process."""
        done = self.cluster.run("nsenter", "-n", "-t", pid, "python3", "-c", DIAL, address, str(port), check=False)
        return done.stdout == "connected\n", done.stderr.strip().rsplit("\n", 1)[-1]

    def policies_select_weirs_pods(self):
        """And are those of the release."""
        live = {one["metadata"]["name"]: one["spec"] for one in self.cluster.get("networkpolicies", namespace=SYSTEM)["items"]}
        equal(live, {one["metadata"]["name"]: one["spec"] for one in self._policies("-f manifests/quickstart/values.yaml")})
        pods = [one for one in Scene(self.cluster).pods if one["metadata"]["namespace"] == SYSTEM]
        for part in PARTS:
            chosen = [pod["metadata"]["name"] for pod in pods if selected(live[f"weir-{part}"]["podSelector"], pod["metadata"]["labels"])]
            equal((len(chosen), [name for name in chosen if not name.startswith(f"weir-{part}-")]), (2 if part == "controller" else 1, []))

    def what_no_policy_names_is_dropped(self):
        """The rules hold: from Weir's pods to a database, and to a port that none has."""
        database = self.cluster.get("pod", "db", namespace="data")["status"]["podIP"]
        collector, = [pod for pod in Scene(self.cluster).pods if pod["metadata"]["name"].startswith("weir-collector-")]
        own, other = collector["status"]["podIP"], self.cluster.pid("db", "postgres", "data")
        pid = self.cluster.pid(collector["metadata"]["name"], "collector", SYSTEM)
        equal(self._dial(pid, database, 5432), (True, ""), "without policies")
        contains(self._dial(other, own, 7)[1], "refused", "without policies")
        self.fence()
        for here, address, port in ((pid, database, 5432), (other, own, 7)):
            contains(self._dial(here, address, port)[1], "timed out", f"{address}:{port}")

    def who_is_needed_is_reached(self):
        """One by one, since what is open already shows nothing."""
        self.fence()
        pids = {"db": self.cluster.pid("db", "postgres", "data"),
                **{name.split("-")[1]: pid for name, pid in self.fenced.items()}}
        for who, service, port in NEEDED:
            space, name = service.split("/")
            address = self.cluster.get("service", name, namespace=space)["spec"]["clusterIP"]
            equal(self._dial(pids[who], address, port), (True, ""), f"{service}:{port} from {who}")
        for part in PARTS:
            equal(self._dial(pids[part], RESOLVER, 53), (True, ""), f"names from {part}")

    def all_goes_on_behind_them(self):
        """Admission, enrolment, policies and evidence of a new pod; auditors; what Weir itself checks from within."""
        self.fence()
        self.weir.shell("helm test weir -n weir-system --timeout 60s")
        mark = "behind-fences"
        pod = pods.asking({"name": "fenced", "namespace": "shop"}, f"psql -XAtc 'select 1 /* {mark} */'")
        self.cluster.apply(json.dumps(pod))
        try:
            self.cluster.wait_status("fenced", "has ended", lambda found: found["status"]["phase"] == "Succeeded", namespace="shop")
            equal(self.cluster.logs("fenced", "app", namespace="shop"), "***-**-1120\n1\n")
            proc.wait_until(lambda: mark in self.weir.evidence(f"query -n shop --since 5m --text {mark}"), "it is evidence", 30, every=0.5)
        finally:
            self.cluster.kubectl("-n", "shop", "delete", "pod", "fenced", "--now", "--wait=false")

    def metrics_are_for_those_who_may(self):
        """For anybody, or for whom `metricsFrom` names."""
        pods = [pod for pod in Scene(self.cluster).pods if pod["metadata"]["name"] in self.fenced]
        equal(len(pods), 3)
        asks = self.cluster.pid("db", "postgres", "data")
        for who, reached in ((None, True), ("db", True), ("nobody", False)):
            peer = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "data"}}, "podSelector": {"matchLabels": {"app": who}}}
            self.fence(*(["--set-json", f"'networkPolicies.metricsFrom=[{json.dumps(peer)}]'"] if who else []))
            for pod in pods if reached else pods[:1]:
                equal(self._dial(asks, pod["status"]["podIP"], 9090)[0], reached, f"{pod['metadata']['name']} for {who}")


def run(weir, report):
    """The claims."""
    suite = Fences(weir)
    try:
        for claim in (suite.policies_select_weirs_pods, suite.what_no_policy_names_is_dropped, suite.who_is_needed_is_reached,
                      suite.all_goes_on_behind_them, suite.metrics_are_for_those_who_may):
            report.check(f"fences: {claim.__name__}", claim)
    finally:
        suite.open()
