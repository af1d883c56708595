"""How fast a change reaches everybody: fifty sidecars that only watch (each with the certificate of a
pod of its own, over both replicas of the controller), and five real ones that report it in force."""

import base64
import json
import os
import re
import statistics
import time

from lab import proc
from lab.report import equal

HERE = os.path.dirname(os.path.abspath(__file__))
FAKES, REAL, ROUNDS = 50, 5, 3
HOST = "weir-controller.weir-system.svc"
# A pod that is never scheduled; its identity is all that is needed, for which it has a sidecar.
POD = {"apiVersion": "v1", "kind": "Pod", "spec": {
    "nodeSelector": {"weir.test/nowhere": "1"}, "containers": [{"name": "app", "image": "weir.test/client:1"}]}}
POLICY = {"apiVersion": "weir.dev/v1alpha1", "kind": "ClusterGuardPolicy", "metadata": {"name": "spread"}}


class Spread:
    """The claims."""

    def __init__(self, weir):
        self.weir, self.cluster = weir, weir.cluster
        self.folder = f"{weir.cluster.dir}/work/watchers"
        self.log = f"{self.folder}/log"

    def fifty_sidecars_within_a_second(self):
        os.makedirs(self.folder, exist_ok=True)
        self.weir.shell("kubectl create namespace fakes && kubectl label namespace fakes weir.dev/inject=enabled && "
                        "kubectl -n fakes wait --for=create serviceaccount/default --timeout=60s")
        watchers = None
        try:
            pods = [{**POD, "metadata": {"name": f"fake-{n}", "namespace": "fakes"}} for n in range(FAKES)]
            self.cluster.apply(json.dumps({"apiVersion": "v1", "kind": "List", "items": pods}))
            self._change(0)
            self._certificates()
            address = self.cluster.get("service", "weir-controller", namespace="weir-system")["spec"]["clusterIP"]
            open(self.log, "w", encoding="ascii").close()
            watchers = proc.spawn([*self.cluster.inside(), "python3", f"{HERE}/fixtures/watchers.py", self.folder, str(FAKES),
                                   f"https://{HOST}:8444/v1/watch", f"{HOST}:8444:{address}"], log=self.log)
            self._wait(1)
            proc.calm()
            spreads, delays = [], []
            for round_ in range(1, ROUNDS + 1):
                began = time.time()
                self._change(round_)
                written = time.time()
                times = sorted(self._wait(round_ + 1).values())
                spreads.append(times[-1] - times[0])
                delays.append(times[-1] - written)
                assert times[-1] - began < 5, f"{times[-1] - began:.3f} s with kubectl's own start"
            print(f"      {FAKES} sidecars have a change at most {max(max(delays), 0) * 1000:.0f} ms after kubectl returned, the last "
                  f"{statistics.median(spreads) * 1000:.0f} ms after the first")
            assert max(delays) < 1, delays
        finally:
            if watchers:
                proc.stop(watchers)
            self.weir.shell("kubectl delete clusterguardpolicy spread --ignore-not-found; "
                            "kubectl delete namespace fakes --wait=false")

    def five_sidecars_report_it_in_force_within_a_second(self):
        self.weir.shell(f"kubectl -n shop scale deployment/reporter --replicas={REAL} && "
                        "kubectl -n shop rollout status deployment/reporter --timeout=120s")
        try:
            proc.calm()
            before = self._in_force()
            for number, reason in enumerate(("one", "two", "three"), 1):
                self.cluster.kubectl("patch", "datalabel", "pii.ssn", "--type=merge", "-p",
                                     json.dumps({"spec": {"mask": {"partial": None, "constant": reason}}}))
                time.sleep(1.2)
                proc.wait_until(lambda wanted=number * REAL: self._in_force()["+Inf"] - before["+Inf"] >= wanted,
                                f"all have reported {reason}", 30, every=0.3)
            after = self._in_force()
            gained = {bound: after[bound] - before[bound] for bound in after}
            print(f"      {REAL} sidecars, 3 changes: {gained['+Inf']} reports, "
                  f"{gained['0.1']} within 0.1 s, {gained['1']} within 1 s")
            assert gained["+Inf"] >= 3 * REAL, gained
            equal(gained["1"], gained["+Inf"], "reports within a second")
        finally:
            self.weir.policies()
            self.weir.shell("kubectl -n shop scale deployment/reporter --replicas=1 && "
                            "kubectl -n shop rollout status deployment/reporter --timeout=120s")

    def _change(self, number):
        spec = {"subjects": [{"namespaces": ["fakes"]}], "targets": ["shop"],
                "rules": [{"name": f"r{number}", "match": {"sql": {"effects": ["Delete"]}}, "action": "Deny"}]}
        self.cluster.apply(json.dumps({**POLICY, "spec": spec}))

    def _certificates(self):
        """What the controller would issue to each of the pods, signed with its own root."""
        data = self.cluster.get("secret", "weir-ca", namespace="weir-system")["data"]
        for name, key in (("ca.crt", "tls.crt"), ("ca.key", "tls.key")):
            with open(f"{self.folder}/{name}", "wb") as f:
                f.write(base64.b64decode(data[key]))
        with open(f"{self.folder}/extensions", "w", encoding="ascii") as f:
            f.write("subjectAltName=URI:spiffe://cluster.local/ns/fakes/sa/default\nextendedKeyUsage=clientAuth\n")
        proc.run(["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-out", "key.pem"],
                 cwd=self.folder)
        uids = {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in self.cluster.get("pods", namespace="fakes")["items"]}
        for number in range(FAKES):
            subject = f"/CN=fake-{number}/serialNumber={uids[f'fake-{number}']}"
            proc.run(["openssl", "req", "-new", "-key", "key.pem", "-subj", subject, "-out", "request"], cwd=self.folder)
            proc.run(["openssl", "x509", "-req", "-in", "request", "-CA", "ca.crt", "-CAkey", "ca.key", "-days", "1",
                      "-extfile", "extensions", "-out", f"{number}.crt"], cwd=self.folder)

    def _wait(self, snapshots):
        """When each sidecar was sent its so manieth snapshot."""
        def reached():
            with open(self.log, encoding="ascii") as f:
                seen = {}
                for at, number, what in re.findall(r"(?m)^(\S+) (\d+) (.*)$", f.read()):
                    assert re.fullmatch("[0-9a-f]{64}", what), what
                    seen.setdefault(number, []).append(float(at))
            return len(seen) == FAKES and all(len(times) >= snapshots for times in seen.values()) and seen
        seen = proc.wait_until(reached, f"{FAKES} sidecars have {snapshots} snapshots", 20, every=0.1, log=self.log)
        return {number: times[snapshots - 1] for number, times in seen.items()}

    def _in_force(self):
        """The controllers' histogram of how long a change took, added up: {bound: reports}."""
        pods = self.cluster.get("pods", "-l", "app.kubernetes.io/component=controller", namespace="weir-system")["items"]
        total = {}
        for address in (pod["status"]["podIP"] for pod in pods if pod["status"]["phase"] == "Running"):
            text = self.cluster.run("curl", "-sS", "--max-time", "5", f"http://{address}:9090/metrics").stdout
            for bound, count in re.findall(r'(?m)^weir_controller_in_force_seconds_bucket\{le="([^"]+)"\} (\d+)', text):
                total[bound] = total.get(bound, 0) + int(count)
        return total


def run(weir, report):
    """The claims."""
    spread = Spread(weir)
    for claim in (spread.fifty_sidecars_within_a_second, spread.five_sidecars_report_it_in_force_within_a_second):
        report.check(f"spread: {claim.__name__}", claim)
