"""What the chart has for Prometheus and Grafana: the operator's own definitions accept its objects, every expression
is PromQL, and every metric, label and value that one names is what Weir prints.

In the scene of `told`: there people are told of holds and events are exported, so that those metrics are there, too.
"""

import json
import re
import subprocess

from lab import install
from lab.cluster import documents
from lab.report import equal

OPERATOR = "github.com/prometheus-operator/prometheus-operator@v0.85.0"
KINDS = ("servicemonitors", "podmonitors", "prometheusrules")
# Prometheus adds these to what it scrapes.
TARGET = {"job", "namespace", "pod", "instance"}
FLAGS = "--set monitoring.serviceMonitor.enabled=true --set monitoring.prometheusRule.enabled=true --set monitoring.dashboard.enabled=true"
# The metrics of each expression with what is asked of their labels, and the labels that are grouped by.
PARSE = """\
import json, sys
import promql_parser
for line in sys.stdin:
    selectors, groups = [], []
    def see(one):
        if isinstance(one, promql_parser.VectorSelector):
            selectors.append([one.name, [[m.name, str(m.op), m.value] for m in one.matchers.matchers]])
        if isinstance(one, promql_parser.AggregateExpr) and one.modifier:
            groups.extend(one.modifier.labels)
        if isinstance(one, promql_parser.MatrixSelector):
            see(one.vector_selector)
    promql_parser.walk(promql_parser.parse(json.loads(line)), see)
    print(json.dumps([selectors, groups]))
"""


class Monitoring:
    """The claims."""

    def __init__(self, weir):
        self.weir, self.cluster = weir, weir.cluster

    def claims(self):
        """In order."""
        return (self.the_operators_definitions_accept_it, self.monitors_find_what_prints_metrics, self.expressions_name_what_is_printed)

    def _rendered(self):
        """The objects."""
        return documents(self.weir.shell(
            f"helm template weir charts/weir -n weir-system {FLAGS} -s templates/monitoring/monitors.yaml > monitoring.yaml && "
            "kubectl label --local -o json -f monitoring.yaml weir.test=read").stdout)

    def the_operators_definitions_accept_it(self):
        """And refuse a field that they do not have."""
        self._rendered()
        install.need("go", "golang-go")
        found = json.loads(subprocess.run(["go", "mod", "download", "-json", OPERATOR], capture_output=True, text=True, check=True, cwd="/").stdout)
        files = " ".join(f"-f {found['Dir']}/example/prometheus-operator-crd/monitoring.coreos.com_{kind}.yaml" for kind in KINDS)
        self.weir.shell(f"kubectl apply --server-side {files} && kubectl wait --for=condition=Established --timeout=60s {files}")
        try:
            done = self.weir.shell("kubectl apply --dry-run=server -f monitoring.yaml")
            equal(done.stderr, "", "warnings")
            equal(len(done.stdout.splitlines()), 5, done.stdout)
            for right, wrong in (("interval: 30s", "intervals: 30s"), ("for: 2m", "for: two")):
                done = self.weir.shell(f"sed 's/{right}/{wrong}/' monitoring.yaml | kubectl apply --dry-run=server -f -", check=False)
                assert done.returncode != 0, f"{wrong} was accepted"
        finally:
            self.weir.shell(f"kubectl delete --wait=false {files}")

    def _printed(self, address, port=9090):
        """What is printed there: {metric: [labels]}."""
        text = self.cluster.run("curl", "-sS", "--fail", "--max-time", "5", f"http://{address}:{port}/metrics").stdout
        found = {}
        for name, labels in re.findall(r"(?m)^(\w+)(?:\{(.*)\})? \S+$", text):
            found.setdefault(name, []).append(dict(re.findall(r'(\w+)="([^"]*)"', labels)))
        return found

    def monitors_find_what_prints_metrics(self):
        """Each finds one Service, whose name is the job of the rules, and behind its port metrics are printed; sidecars have
        them where the relabelling leads."""
        objects = self._rendered()
        services = self.cluster.get("services", namespace="weir-system")["items"]
        jobs = {}
        for monitor in (one for one in objects if one["kind"] == "ServiceMonitor"):
            service, = [one for one in services if monitor["spec"]["selector"]["matchLabels"].items() <= one["metadata"]["labels"].items()]
            endpoint, = monitor["spec"]["endpoints"]
            port, = [one["port"] for one in service["spec"]["ports"] if one["name"] == endpoint["port"]]
            jobs[service["metadata"]["name"]] = self._printed(service["spec"]["clusterIP"], port)
        equal(set(jobs), set(re.findall(r'job="([^"]+)"', json.dumps(objects).replace('\\"', '"'))), "jobs that rules name")
        monitor, = [one for one in objects if one["kind"] == "PodMonitor"]
        endpoint, = monitor["spec"]["podMetricsEndpoints"]
        keeps = [rule for rule in endpoint["relabelings"] if rule["action"] == "keep"]
        place, = [rule for rule in endpoint["relabelings"] if rule.get("targetLabel") == "__address__"]
        pod = self.cluster.get("pods", "-l", "app=reporter", namespace="shop")["items"][0]
        seen = {"__meta_kubernetes_pod_container_name": {one["name"] for one in pod["spec"]["initContainers"]},
                "__meta_kubernetes_pod_phase": {pod["status"]["phase"]}}
        for rule in keeps:
            source, = rule["sourceLabels"]
            equal(sum(bool(re.fullmatch(rule["regex"], value)) for value in seen[source]), 1, source)
        equal(place["sourceLabels"], ["__meta_kubernetes_pod_ip"])
        address = re.sub(place["regex"], place["replacement"].replace("$1", r"\1"), pod["status"]["podIP"], count=1)
        equal("weir_connections_open" in self._printed(*address.split(":")), True, address)

    def expressions_name_what_is_printed(self):
        """Those of the rules and of the dashboard."""
        objects = self._rendered()
        rules, = [one for one in objects if one["kind"] == "PrometheusRule"]
        dashboard, = [one["data"]["weir.json"] for one in objects if one["kind"] == "ConfigMap"]
        dashboard = json.loads(dashboard)
        asked = [rule["expr"] for group in rules["spec"]["groups"] for rule in group["rules"]]
        asked += [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]
        for variable in dashboard["templating"]["list"]:
            found = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["query"])
            asked += [f"sum by ({found[2]}) ({found[1]})"] if found else []
        assert len(asked) > 20, asked
        python = install.promql()
        done = subprocess.run([python, "-c", PARSE], input="".join(json.dumps(one) + "\n" for one in asked), capture_output=True, text=True,
                              check=False)
        equal((done.returncode, len(done.stdout.splitlines())), (0, len(asked)), f"{done.stderr[-300:]} at {asked[len(done.stdout.splitlines()):][:1]}")
        printed = {"up": [{}]}
        pods = self.cluster.get("pods", namespace="weir-system")["items"]
        places = [(pod["status"]["podIP"], 9090) for pod in pods if pod["status"]["phase"] == "Running"]
        places.append((self.cluster.get("pods", "-l", "app=reporter", namespace="shop")["items"][0]["status"]["podIP"], 15090))
        for place in places:
            for name, series in self._printed(*place).items():
                printed.setdefault(name, []).extend(series)
        for expression, line in zip(asked, done.stdout.splitlines()):
            selectors, groups = json.loads(line)
            assert selectors, expression
            for name, matchers in selectors:
                assert name in printed, f"{expression}: nothing prints {name}"
                for label, kind, value in matchers:
                    if label in TARGET:
                        continue
                    equal(kind in ("MatchOp.Equal", "MatchOp.Re"), True, expression)
                    values = {series.get(label) for series in printed[name]}
                    equal(set(value.split("|")) - values, set(), f"{expression}: {label} is one of {values}")
                for label in groups:
                    assert label in TARGET or all(label in series for series in printed[name]), f"{expression}: {name} has no label {label}"

