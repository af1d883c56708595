#!/usr/bin/env python3
"""kube-rs and the fabric8 client for Java do through Weir what they do without it: a real etcd and a real API
server, without nodes, ``weir standalone`` in front, and each client's own account of what it found.

    clients.py --weir PATH [--only java,pages]

The accounts are the same both ways but for a Secret's values, which are masked, and for two refusals. The
programs are crates/controller/examples/kube_client.rs and clients/Works.java. kubectl, client-go, Python and
Helm do the same in a cluster (e2e/k8s/kube.py). Last line: N passed, N failed.
"""

import argparse
import base64
import json
import os
import ssl
import sys
import urllib.error
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../lib"))
from lab import build, install, kube, proc, report, weir  # noqa: E402
from lab.report import contains, equal  # noqa: E402

TOKEN = "token-of-the-clients"
VALUE = base64.b64encode(b"clients-s3cr3t").decode()
MASKED = base64.b64encode(b"[masked]").decode()
TARGET = """\
apiVersion: weir.dev/v1alpha1
kind: Target
metadata: {{name: kubernetes}}
spec:
  protocol: Kubernetes
  addresses: [{{host: 127.0.0.1, port: {port}}}]
  upstreamTLS: {{mode: VerifyFull, caFile: {ca}, serverName: kubernetes}}
  credentials: {{mode: Brokered, tokenFile: {token}}}
"""
# The limit is far away: it is there because the pages of a list that is counted have tokens of Weir's own.
POLICY = weir.SECRETS_LABEL + """\
apiVersion: weir.dev/v1alpha1
kind: ClusterGuardPolicy
metadata: {name: clients}
spec:
  mode: Enforce
  subjects: [{names: ["*"]}]
  targets: [kubernetes]
  audit: {record: Commands, delivery: Batch}
  rules:
  - {name: hide, match: {labels: ["secret.*"]}, action: Mask}
  - {name: keep, match: {kubernetes: {verbs: [delete], resources: [configmaps], names: [kept]}}, action: Deny}
  - {name: bulk, limits: {window: {objects: 100000, per: 1h}}}
"""
DEFINITION = {
    "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
    "metadata": {"name": "widgets.clients.weir.test"},
    "spec": {"group": "clients.weir.test", "scope": "Namespaced", "names": {"plural": "widgets", "kind": "Widget"},
             "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {
                 "type": "object", "properties": {"spec": {"type": "object", "properties": {
                     "size": {"type": "integer"}, "colour": {"type": "string"}}}}}}}]}}
# What is found with Weir and without it: the claim by the work in the clients' accounts.
SAME = {
    "objects are created, replaced, patched, applied and deleted": ("written", [
        {"a": "b"}, {"a": "b", "c": "d"}, {"c": "d", "e": "f"}, {"c": "d", "e": "h"}, None]),
    "a strategic patch finds its containers": ("strategic", {"one": "one:1", "two": "two:2", "three": "three:1"}),
    "a selector selects": ("selected", ["selected-a", "selected-c"]),
    "a list comes in pages": ("paged", [[f"paged-{n}" for n in page] for page in ((0, 1, 2, 3), (4, 5, 6, 7), (8, 9))]),
    "a watch tells everything in order": ("watched", [
        f"{what} watched-{n}" for n in range(3) for what in ("added", "modified", "deleted")]),
    "an informer has what the server has": ("mirrored", {
        "told": ["added mirrored-0", "added mirrored-1", "added mirrored-2", "modified mirrored-2",
                 "modified mirrored-0", "deleted mirrored-1"],
        "left": {"mirrored-0": {"a": "mirrored-0"}, "mirrored-2": {"a": "mirrored-2"}}}),
    "objects of a custom kind are objects": ("custom", {
        "spec": {"size": 1, "colour": "red"}, "listed": ["custom"], "gone": True}),
    "what is not there is Not Found": ("missing", {
        "code": 404, "reason": "NotFound", "message": 'configmaps "nothing" not found'}),
    "conflicts are Conflicts": ("conflicts", [
        {"code": 409, "reason": "AlreadyExists", "message": 'configmaps "twice" already exists'},
        {"code": 409, "reason": "Conflict", "message": 'Operation cannot be fulfilled on configmaps "twice": the object '
         "has been modified; please apply your changes to the latest version and try again"}]),
}


class Server:
    """etcd and an API server."""

    def __init__(self, where):
        self.where, self.port = where, proc.free_port()
        self.ca = self.certificates()
        self.trust = ssl.create_default_context(cafile=self.ca)
        proc.run(["openssl", "genrsa", "-out", f"{where}/accounts.key", "2048"])
        with open(f"{where}/tokens.csv", "w", encoding="ascii") as f:
            f.write(f"{TOKEN},clients,clients\n")
        binaries = kube.kubernetes()
        store, peer = (f"http://127.0.0.1:{proc.free_port()}" for _ in range(2))
        proc.spawn([f"{binaries}/etcd", "--data-dir", f"{where}/etcd", "--listen-client-urls", store,
                    "--advertise-client-urls", store, "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
                    "--initial-cluster", f"default={peer}"], log=f"{where}/etcd.log")
        child = proc.spawn([
            f"{binaries}/kube-apiserver", "--etcd-servers", store, "--bind-address", "127.0.0.1",
            "--secure-port", str(self.port), "--tls-cert-file", f"{where}/api.crt", "--tls-private-key-file",
            f"{where}/api.key", "--service-account-issuer", "https://kubernetes", "--service-account-key-file",
            f"{where}/accounts.key", "--service-account-signing-key-file", f"{where}/accounts.key", "--token-auth-file",
            f"{where}/tokens.csv", "--authorization-mode", "AlwaysAllow", "--service-cluster-ip-range", "10.0.0.0/24",
            "--endpoint-reconciler-type", "none", "--disable-admission-plugins", "ServiceAccount"], log=f"{where}/api.log")
        proc.wait_until(lambda: self.ask("/readyz") == b"ok", "the API server is ready", 120, every=0.5, child=child,
                        log=f"{where}/api.log")
        self.make("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", DEFINITION)
        proc.wait_until(self.knows_widgets, "the custom kind is discovered", every=0.2, child=child, log=f"{where}/api.log")

    def knows_widgets(self):
        """Whether discovery of both kinds, by group and aggregated, has the custom kind."""
        aggregated = self.ask("/apis", accept="application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList")
        return b'"widgets"' in (aggregated or b"") and b'"widgets"' in (self.ask("/apis/clients.weir.test/v1") or b"")

    def certificates(self):
        """The root; the server's own certificate lies beside it."""
        where, key = self.where, ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        proc.run(["openssl", "req", "-x509", *key, "-keyout", f"{where}/ca.key", "-out", f"{where}/ca.crt", "-days", "30",
                  "-subj", "/CN=root"])
        proc.run(["openssl", "req", *key, "-keyout", f"{where}/api.key", "-out", f"{where}/api.csr", "-subj", "/CN=api"])
        with open(f"{where}/names", "w", encoding="ascii") as f:
            f.write("subjectAltName=DNS:kubernetes,IP:127.0.0.1\n")
        proc.run(["openssl", "x509", "-req", "-in", f"{where}/api.csr", "-CA", f"{where}/ca.crt", "-CAkey", f"{where}/ca.key",
                  "-CAcreateserial", "-days", "30", "-extfile", f"{where}/names", "-out", f"{where}/api.crt"])
        return f"{where}/ca.crt"

    def ask(self, path, body=None, accept="application/json"):
        """What the server answers, past Weir; None where it does not."""
        asked = urllib.request.Request(f"https://127.0.0.1:{self.port}{path}", data=body, headers={
            "Authorization": f"Bearer {TOKEN}", "Accept": accept, "Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(asked, timeout=10, context=self.trust) as answer:
                return answer.read()
        except (urllib.error.URLError, ConnectionError):
            return None

    def make(self, path, body):
        """Makes an object."""
        made = self.ask(path, json.dumps(body).encode())
        assert made and json.loads(made)["kind"] == body["kind"], f"{body} was not made: {made}"


class Scene:
    """The server, and Weir in front of it."""

    def __init__(self, binary):
        self.where = proc.workdir("weir-kube-clients-")
        self.server = Server(self.where)
        token = os.path.join(self.where, "token")
        with open(token, "w", encoding="ascii") as f:
            f.write(TOKEN)
        os.chmod(token, 0o600)
        target = TARGET.format(port=self.server.port, ca=self.server.ca, token=token)
        self.weir = weir.Weir(binary, self.server.port, target=target, target_name="kubernetes", policies=POLICY).start()

    def config(self, way):
        """A kubeconfig for a way: through Weir, nobody has a token."""
        port, ca, user = self.server.port, self.server.ca, {"token": TOKEN}
        if way == "governed":
            port, ca, user = self.weir.port, self.weir.ca(), {}
        path = os.path.join(self.where, f"{way}.kubeconfig")
        cluster = {"server": f"https://127.0.0.1:{port}", "certificate-authority": ca}
        with open(path, "w", encoding="utf-8") as f:
            json.dump({"apiVersion": "v1", "kind": "Config", "current-context": "c",
                       "clusters": [{"name": "c", "cluster": cluster}], "users": [{"name": "c", "user": user}],
                       "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}]}, f)
        return path


class Client:
    """One client, and its accounts of what it found, without Weir and through it."""

    def __init__(self, scene, name, command):
        self.scene, self.name, self.command = scene, name, command
        self.accounts = None

    def space(self, way):
        """The namespace in which it works."""
        return f"{self.name}-{way}"

    def run(self, way, command):
        """Its account, by work."""
        space = self.space(way)
        self.scene.server.make("/api/v1/namespaces", {"kind": "Namespace", "metadata": {"name": space}})
        self.scene.server.make(f"/api/v1/namespaces/{space}/secrets", {
            "kind": "Secret", "metadata": {"name": "db"}, "data": {"password": VALUE}})
        env = dict(os.environ, KUBECONFIG=self.scene.config(way))
        return json.loads(proc.run([*command, space], env=env, timeout=300).stdout)

    def both(self, work):
        """What a work found, without Weir and through it. The first who asks runs the client."""
        if self.accounts is None:
            self.accounts = []
            command = self.command(self.scene.where)
            self.accounts = [self.run(way, command) for way in ("direct", "governed")]
        assert self.accounts, "it did not run to its end"
        return [account[work] for account in self.accounts]

    def finds(self, work, wanted):
        """The same both ways."""
        for found in self.both(work):
            equal(found, wanted)

    def discovers(self):
        """The same resources, custom ones among them."""
        direct, governed = self.both("discovered")
        equal(governed, direct)
        equal(direct["version"], f"v{kube.KUBERNETES}")
        for resource in ("v1 secrets", "apps/v1 deployments", "clients.weir.test/v1 widgets"):
            contains(direct["resources"], resource)

    def sees_masks(self):
        """Alone, in a list and in a watch."""
        for found, value in zip(self.both("secret"), (VALUE, MASKED)):
            equal(found, {"got": {"password": value}, "listed": [{"password": value}], "watched": [{"password": value}]})

    def keeps_what_is_masked(self):
        """What is beside the mask can be changed; the mask does not replace the value."""
        direct, governed = self.both("rewritten")
        equal(direct, {"labels": {"seen": "yes"}, "whole": None})
        equal(governed["labels"], {"seen": "yes"})
        refused(governed["whole"], 'denied by policy "clients" rule "hide": a masked value would be written back')
        for way in ("direct", "governed"):
            stored = json.loads(self.scene.server.ask(f"/api/v1/namespaces/{self.space(way)}/secrets/db"))
            equal((stored["data"], stored["metadata"]["labels"]), ({"password": VALUE}, {"seen": "yes"}), way)

    def is_refused(self):
        """By a rule, in the client's own terms, with the policy's words."""
        direct, governed = self.both("kept")
        equal(direct, {"refused": None, "there": False})
        equal(governed["there"], True)
        refused(governed["refused"], 'denied by policy "clients" rule "keep"')


def refused(answer, words):
    """A refusal of Weir's, as the client's own error has it."""
    assert answer, "it was not refused"
    equal((answer["code"], answer["reason"]), (403, "Forbidden"), answer)
    contains(answer["message"], words)


def kube_rs(_where):
    """The client of kube-rs: with the features of the whole workspace it is what the unit tests have built."""
    proc.run(["cargo", "build", "--release", "--locked", "--quiet", "--workspace", "--example", "kube_client"],
             cwd=build.ROOT, timeout=1800)
    return [os.path.join(build.release(), "examples/kube_client")]


def java(where):
    """The client of fabric8."""
    install.need("javac", "openjdk-17-jdk-headless")
    jars = install.jars(os.path.join(HERE, "clients/pom.xml"))
    proc.run(["javac", "-Xlint:all,-try", "-Werror", "-cp", f"{jars}/*", "-d", f"{where}/classes",
              os.path.join(HERE, "clients/Works.java")])
    return ["java", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", f"{where}/classes:{jars}/*", "Works"]


def main():
    """All claims."""
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--weir", metavar="PATH", required=True)
    ap.add_argument("--only", help="parts of names, by comma")
    a = ap.parse_args()
    results = report.Report(a.only)
    scene = Scene(a.weir)
    for name, command in (("kube-rs", kube_rs), ("java", java)):
        client = Client(scene, name, command)
        for claim, (work, wanted) in SAME.items():
            results.check(f"{name}: {claim}", client.finds, work, wanted)
        results.check(f"{name}: all resources are discovered", client.discovers)
        results.check(f"{name}: a Secret is masked wherever it is seen", client.sees_masks)
        results.check(f"{name}: a mask is not written back", client.keeps_what_is_masked)
        results.check(f"{name}: what a policy refuses is Forbidden, with its words", client.is_refused)
    scene.weir.stop()
    results.finish()


if __name__ == "__main__":
    main()
