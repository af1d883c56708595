"""The Kubernetes part of the evasion corpus: a real API server with the corpus's fixtures, Weir with
``kube/*.yaml`` in front of it, inside the cluster's own namespaces, and the corpus's own harness; once
through a plain listener and once over TLS, where HTTP/2 is spoken too. With ``FAKE=1`` the corpus's
stand-in takes the server's place, without a cluster.

The budgets of the one identity are reset between items by the operator's command, which is itself
evidence. The last line of the output is JSON: the sums of both runs.
"""

import json
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../lib"))
from lab import kube, proc, weir  # noqa: E402
from lab.cluster import Cluster  # noqa: E402

CORPUS = os.path.abspath(os.environ["CORPUS"])
FRONT = 8001
COUNTED = ("tier1_leaks", "tier2_leaks", "benign_broken", "benign_altered", "tier3_leaks", "benign_leaked",
           "overblocked", "skipped")


class Fake:
    """The stand-in: no TLS, no namespaces."""

    def __init__(self):
        self.port = self.api = proc.free_port()
        self.token, self.inside, self.ca = "none", [], None

    def __enter__(self):
        proc.spawn([sys.executable, os.path.join(CORPUS, "lib/fake_kube.py"), str(self.port)])
        proc.wait_until(lambda: proc.accepts(self.port), "the stand-in listens")
        return self

    def __exit__(self, *_):
        pass


class Real:
    """A cluster with the corpus's fixture."""

    def __init__(self):
        self.cluster = Cluster(images=[kube.busybox_image()])
        self.port, self.api = FRONT, 6443

    def __enter__(self):
        self.cluster.__enter__()
        self.inside = self.cluster.inside()
        log = os.path.join(self.cluster.dir, "fixture.log")
        child = proc.spawn([*self.inside, "bash", os.path.join(CORPUS, "fixtures/kube/setup.sh"), str(FRONT)], log=log)

        def ready():
            with open(log, encoding="utf-8", errors="replace") as f:
                return "fixture ready" in f.read()
        proc.wait_until(ready, "the fixture is ready", 300, child=child, log=log)
        kubectl = lambda *argv: proc.run([*self.inside, "kubectl", *argv]).stdout  # noqa: E731
        self.token = kubectl("create", "token", "admin", "-n", "default", "--duration", "8h").strip()
        root = kubectl("get", "configmap", "kube-root-ca.crt", "-n", "default", "-o", "json")
        self.ca = json.loads(root)["data"]["ca.crt"]
        return self

    def __exit__(self, *trace):
        self.cluster.__exit__(*trace)


def policies(server):
    """The corpus's policy with the server's address and a token filled in."""
    w = weir.Weir(os.environ["WEIR"], server.api, identity="corpus", target_name="kubernetes", wrap=server.inside)
    os.unlink(os.path.join(w.dir, "policies", "target.yaml"))
    token = os.path.join(w.dir, "api.token")
    with open(token, "w", encoding="ascii") as f:
        f.write(server.token)
    os.chmod(token, 0o600)
    tls = "{mode: Disable}"
    if server.ca is not None:
        ca = os.path.join(w.dir, "api-ca.pem")
        with open(ca, "w", encoding="ascii") as f:
            f.write(server.ca)
        tls = f"{{mode: VerifyFull, caFile: {ca}, serverName: kubernetes}}"
    for name in ("target.yaml.in", "policy.yaml", "labels.yaml"):
        with open(os.path.join(HERE, "kube", name), encoding="utf-8") as f:
            text = f.read().replace("${API_PORT}", str(server.api)).replace("${TLS}", tls)
            w.write(name.removesuffix(".in"), text.replace("${TOKEN_FILE}", token))
    return w


def harness(server, *more):
    """Runs the corpus's harness; its last line, and its status where that says more than that items failed."""
    argv = [*server.inside, sys.executable, os.path.join(CORPUS, "validate.py"), "kube", *more]
    if os.environ.get("ONLY"):
        argv += ["--only", os.environ["ONLY"]]
    if os.environ.get("VERBOSE"):
        argv += ["--verbose"]
    ended = subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=False)
    lines = ended.stdout.splitlines()
    print("\n".join(lines[:-1]), flush=True)
    if ended.returncode not in (0, 1) or not lines:
        sys.exit(ended.returncode or 1)
    return json.loads(lines[-1])


def main():
    """Direct, or through Weir twice."""
    fake = os.environ.get("FAKE") == "1"
    with Fake() if fake else Real() as server:
        if os.environ.get("PROXY", "weir") == "direct":
            print(json.dumps(harness(server, "--port", str(server.port))))
            return
        w = policies(server).start()
        reset = f"{w.binary} budgets reset --state-dir {w.state}"
        gateway = ["--mode", "gateway", "--port", str(w.port), "--admin-port", str(server.port), "--between", reset]
        runs = [("plain", harness(server, *gateway))]
        if not fake:
            runs.append(("TLS", harness(server, *gateway, "--tls")))
        total = {"proto": "kube", "items": runs[0][1]["items"]}
        for name in COUNTED:
            total[name] = sum(result.get(name, 0) for _, result in runs)
        total["failed_ids"] = sorted({f"{item} ({how})" for how, result in runs for item in result["failed_ids"]})
        print(json.dumps(total))


if __name__ == "__main__":
    main()
