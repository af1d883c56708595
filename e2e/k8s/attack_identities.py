"""Attacks with an identity that is real, but another pod's, or no longer anybody's. What proves a pod is taken out of
its sidecar from the node, as somebody has it who broke into that.

Each first succeeds as what it is: with its own name, with Weir's own root, or as the collector.
"""

import base64
import dataclasses
import hashlib
import json
import os
import struct
import time

from lab import proc
from lab.report import contains, equal, lacks

CONTROLLER, COLLECTOR = "weir-controller.weir-system.svc", "weir-collector.weir-system.svc"
ENROL, CONTROL, INGEST = f"{CONTROLLER}:443", f"{CONTROLLER}:8444", f"{COLLECTOR}:8445"
NOTHING = {"rows": 0, "bytes": 0, "statements": 0}
PRIVATE = "/var/lib/weir/private"
# What the controller answers the collector alone.
FOR_THE_COLLECTOR = (("GET", "/v1/pods"), *(("POST", path) for path in (
    "/v1/people/decide", "/v1/people/requests", "/v1/people/coverage", "/v1/review", "/v1/fingerprints", "/v1/findings")))


@dataclasses.dataclass
class Stolen:
    """What proves a pod."""

    name: str
    uid: str
    token: str
    files: str  # with .crt and .key

    @property
    def engine(self):
        """What its evidence is under."""
        return "pod_" + self.uid.replace("-", "_")


class Identities:
    """The claims."""

    def __init__(self, weir):
        self.weir, self.cluster = weir, weir.cluster
        self.dir, self.granted, self.lone = f"{weir.work}/identities", None, None

    def claims(self):
        """In order; the last one takes a pod away."""
        return (self.a_bundle_is_of_ones_own_identity, self.a_signing_request_names_nobody_else,
                self.an_authority_of_ones_own_is_nobody, self.what_the_collector_may_ask_no_pod_may,
                self.budgets_and_requests_are_of_ones_own_identity, self.evidence_is_in_ones_own_name,
                self.a_pod_that_is_gone_is_nobody_and_so_is_its_successor)

    # ---------------------------------------------------------------------------- means

    def steal(self, namespace, pod):
        """Key, certificate and token of a pod's sidecar."""
        os.makedirs(self.dir, exist_ok=True)
        root = f"/proc/{self.cluster.pid(pod, 'weir-sidecar', namespace)}/root"
        def read(path):
            return self.cluster.run("cat", f"{root}{path}").stdout
        kept = json.loads(read(f"{PRIVATE}/identity.json"))["enrolment"]
        uid = self.cluster.get("pod", pod, namespace=namespace)["metadata"]["uid"]
        stolen = Stolen(f"{namespace}/{pod}", uid, read("/var/run/weir/identity/token").strip(), f"{self.dir}/{namespace}-{pod}")
        for path, text in ((f"{stolen.files}.crt", kept["certificate"]), (f"{stolen.files}.key", read(f"{PRIVATE}/identity.key")),
                           (f"{self.dir}/roots.crt", kept["roots"])):
            write(path, text)
        return stolen

    def ask(self, files, place, method="GET", path="/v1/watch", data=None, headers=(), body=None):
        """(status, answer) of a request with a certificate; a watch is heard for a second."""
        host, port = place.split(":")
        address = self.cluster.get("service", host.split(".")[0], namespace="weir-system")["spec"]["clusterIP"]
        with_certificate = ["--cert", f"{files}.crt", "--key", f"{files}.key"] if files else []
        sends = ["--data-binary", f"@{body}"] if body else ["--json", json.dumps(data)] if data is not None else []
        # A watch has no end.
        done = self.cluster.run("curl", "-sS", "--http2", "-X", method, "--max-time", "0.8" if path.startswith("/v1/watch") else "15",
                                "--cacert", f"{self.dir}/roots.crt", *with_certificate, "--resolve", f"{host}:{port}:{address}",
                                *(word for header in headers for word in ("-H", header)), *sends,
                                "-w", "\n%{http_code}", f"https://{place}{path}", check=False)
        answer, status = done.stdout.rsplit("\n", 1)
        return status, answer or done.stderr

    def bundle(self, files, **options):
        """What a watch is sent first."""
        status, answer = self.ask(files, CONTROL, **options)
        equal(status, "200", answer[:300])
        snapshot = json.loads(answer.splitlines()[0])
        equal(snapshot["type"], "snapshot")
        return snapshot

    def enrol(self, token, subject, name):
        """(status, answer) for a request that claims a name."""
        proc.run(["openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", "claimed.key",
                  "-out", "claimed.csr", "-subj", subject, "-addext", f"subjectAltName=URI:{name}"], cwd=self.dir)
        with open(f"{self.dir}/claimed.csr", encoding="ascii") as f:
            return self.ask(None, ENROL, "POST", "/v1/enrol", {"csr": f.read()}, [f"Authorization: Bearer {token}"])

    def signed(self, issuer, subject, name):
        """A certificate for a name by an authority of the folder; its files."""
        write(f"{self.dir}/extensions", f"subjectAltName=URI:{name}\nextendedKeyUsage=clientAuth\n")
        proc.run(["openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", f"by-{issuer}.key",
                  "-out", "request", "-subj", subject], cwd=self.dir)
        proc.run(["openssl", "x509", "-req", "-in", "request", "-CA", f"{issuer}.crt", "-CAkey", f"{issuer}.key", "-days", "1",
                  "-extfile", "extensions", "-out", f"by-{issuer}.crt"], cwd=self.dir)
        return f"{self.dir}/by-{issuer}"

    def prepare(self):
        """What was stolen, once."""
        if self.lone is None:
            self.granted, self.lone = self.steal("fort", "attacker"), self.steal("free", "lone")
            data = self.cluster.get("secret", "weir-ca", namespace="weir-system")["data"]
            for name, key in (("weir.crt", "tls.crt"), ("weir.key", "tls.key")):
                write(f"{self.dir}/{name}", base64.b64decode(data[key]).decode())

    # --------------------------------------------------------------------------- claims

    def a_bundle_is_of_ones_own_identity(self):
        """Whatever else is said: the login of a Target goes to whom it is granted."""
        self.prepare()
        own = self.bundle(self.granted.files)
        equal(base64.b64decode(own["secrets"]["shop-login"]["password"]), b"app-secret", "who may, has it")
        bare = self.bundle(self.lone.files)
        for path, headers in (("/v1/watch?namespace=fort&pod=attacker", ()), (f"/v1/watch?uid={self.granted.uid}", ()),
                              ("/v1/watch", ("X-Forwarded-Client-Cert: URI=spiffe://cluster.local/ns/fort/sa/default",
                                             "X-Remote-User: system:serviceaccount:fort:default", f"weir-engine: {self.granted.engine}"))):
            equal(self.bundle(self.lone.files, path=path, headers=headers)["digest"], bare["digest"], path)
        equal({name: list(keys) for name, keys in bare["secrets"].items()}, {"kube-root-ca.crt": ["ca.crt"]})
        equal([one for one in bare["resources"] if one["kind"] == "ClusterGuardPolicy" and one["metadata"]["name"] == "shop"], [])
        equal(self.ask(self.lone.files, CONTROL, path="/v1/watch/fort/attacker")[0], "404")

    def a_signing_request_names_nobody_else(self):
        """What is granted was attested; a second key of a pod is a finding."""
        self.prepare()
        name = "spiffe://cluster.local/ns/fort/sa/default"
        status, answer = self.enrol(self.lone.token, f"/CN=attacker/serialNumber={self.granted.uid}", name)
        equal(status, "200", answer)
        granted = json.loads(answer)
        equal((granted["identity"]["name"], granted["identity"]["pod"]), ("spiffe://cluster.local/ns/free/sa/default", "lone"))
        write(f"{self.dir}/claimed.crt", granted["certificate"])
        text = proc.run(["openssl", "x509", "-in", "claimed.crt", "-noout", "-subject", "-ext", "subjectAltName"], cwd=self.dir).stdout
        for part in ("ns/free/sa/default", "CN = lone", self.lone.uid):
            contains(text, part)
        lacks(text, "fort")
        lacks(text, self.granted.uid)
        # Each replica of the controller knows the keys that it saw.
        for _ in range(2):
            equal(self.enrol(self.lone.token, "/CN=lone", name)[0], "200")
        proc.wait_until(lambda: f"pod free/lone ({self.lone.uid})" in self.weir.evidence("query --since 5m --kind findings -o json"),
                        "the second key is a finding", 30, every=0.5)

    def an_authority_of_ones_own_is_nobody(self):
        """The same certificate by Weir's root is the pod."""
        self.prepare()
        proc.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", "mine.key",
                  "-out", "mine.crt", "-days", "1", "-subj", "/CN=Weir"], cwd=self.dir)
        who = (f"/CN=attacker/serialNumber={self.granted.uid}", "spiffe://cluster.local/ns/fort/sa/default")
        contains(json.dumps(self.bundle(self.signed("weir", *who))["secrets"]), "shop-login")
        for place, path in ((CONTROL, "/v1/watch"), (INGEST, "/v1/ingest")):
            status, answer = self.ask(self.signed("mine", *who), place, path=path)
            equal(status, "000", answer)
        for subject, name in ((f"/CN=attacker/serialNumber={self.lone.uid}", who[1]), (who[0], "spiffe://cluster.local/ns/fort/sa/other"),
                              (who[0], "spiffe://cluster.local/ns/free/sa/default"), (who[0], "spiffe://other/ns/fort/sa/default")):
            status, answer = self.ask(self.signed("weir", subject, name), CONTROL)
            assert status in ("403", "000"), f"{subject} {name}: {status} {answer[:300]}"

    def what_the_collector_may_ask_no_pod_may(self):
        """Decisions in the name of people among it."""
        self.prepare()
        collector, = [p for p in self.cluster.get("pods", "-l", "app.kubernetes.io/component=collector", namespace="weir-system")["items"]
                      if "deletionTimestamp" not in p["metadata"]]
        pod = collector["metadata"]
        files = self.signed("weir", f"/CN={pod['name']}/serialNumber={pod['uid']}",
                            "spiffe://cluster.local/ns/weir-system/sa/weir-collector")
        status, answer = self.ask(files, CONTROL, path="/v1/pods")
        equal(status, "200", answer)
        contains(answer, self.granted.uid)
        for method, path in FOR_THE_COLLECTOR:
            status, answer = self.ask(self.granted.files, CONTROL, method, path)
            equal(status, "403", f"{path}: {answer}")
            contains(answer, "only the collector", path)

    def budgets_and_requests_are_of_ones_own_identity(self):
        """A lease of another's budget, and somebody else's request."""
        self.prepare()
        def lease(name):
            asked = {"key": f"spiffe://cluster.local/ns/{name}|target:shop|*|3600000ms", "perMs": 3600000, "spent": NOTHING,
                     "want": {**NOTHING, "rows": 5}, "limit": {**NOTHING, "rows": 5}}
            return self.ask(self.lone.files, CONTROL, "POST", "/v1/leases", {"budgets": [asked]})
        status, answer = lease("fort/sa/default")
        equal(status, "403", answer)
        contains(answer, "not one of this identity")
        status, answer = lease("free/sa/default")
        assert status in ("200", "422"), f"one's own: {status} {answer}"
        def pending():
            return {one["metadata"]["name"] for one in self.cluster.get("accessrequests", namespace="fort")["items"]
                    if one.get("status", {}).get("phase", "Pending") == "Pending"}
        known = pending()
        log = f"{self.weir.work}/identities-held.log"
        child = self.weir.spawn("kubectl -n fort exec attacker -c app -- psql -XAtc 'select * from orders'", log)
        try:
            request, = proc.wait_until(lambda: pending() - known, "a request waits", 30, every=0.2, log=log)
            brief = self.steal("fort", "brief")
            path = f"/v1/access-requests/{request}"
            for method, tried, data in (("DELETE", path, None), ("POST", f"{path}/repeats", {"repeats": 9})):
                status, answer = self.ask(brief.files, CONTROL, method, tried, data)
                equal(status, "404", f"{method}: {answer}")
                equal(request in pending(), True, "it waits as before")
            status, answer = self.ask(self.granted.files, CONTROL, "DELETE", path)
            equal(status[0], "2", f"its own: {answer}")
            proc.wait_until(lambda: request not in pending(), "whose it is withdraws it", 20, every=0.2)
        finally:
            proc.stop(child)

    def _evidence(self):
        """The last frames that the granted pod's sidecar wrote: their payloads."""
        root = f"/proc/{self.cluster.pid('attacker', 'weir-sidecar', 'fort')}/root{PRIVATE}/spool"
        segment = self.cluster.run("sh", "-c", f"ls {root}/*.seg | tail -1").stdout.strip()
        content = base64.b64decode(self.cluster.run("base64", "-w0", segment).stdout)
        equal(content[:8], b"WEIRSPL1")
        at = 12 + struct.unpack("<I", content[8:12])[0] + 32
        payloads = []
        while at + 36 <= len(content):
            length, = struct.unpack("<I", content[at:at + 4])
            payloads.append(content[at + 36:at + 36 + length])
            at += 36 + length
        return payloads

    def _hand_in(self, stolen, engine, payload, previous):
        """A frame in the name of an engine, signed with a pod's key: (status, answer)."""
        link = hashlib.sha256(previous + payload).digest()
        with open(f"{self.dir}/frame", "wb") as f:
            f.write(struct.pack("<I", len(payload)) + link + payload)
        epoch, first, count = head(payload)
        moment = int(time.time() * 1e6)
        write(f"{self.dir}/head", f"weir-head/1\n{engine}\n{epoch} {first + count - 1}\n{base64.b64encode(link).decode()}\n{moment}\n")
        proc.run(["openssl", "dgst", "-sha256", "-sign", f"{stolen.files}.key", "-out", "signature", "head"], cwd=self.dir)
        with open(f"{self.dir}/signature", "rb") as f:
            signature = base64.b64encode(f.read()).decode()
        return self.ask(stolen.files, INGEST, "POST", "/v1/ingest", body=f"{self.dir}/frame", headers=(
            f"weir-engine: {engine}", f"weir-previous: {previous.hex()}", f"weir-signature: {moment} {signature}"))

    def evidence_is_in_ones_own_name(self):
        """Neither on another pod's chain nor about another pod; both are findings about who tried."""
        self.prepare()
        self.weir.psql("select 1 as one", pod="attacker", namespace="fort")
        payload = proc.wait_until(self._evidence, "the sidecar has written evidence", 10)[-1]
        nothing = bytes(32)
        status, answer = self._hand_in(self.lone, self.granted.engine, payload, nothing)
        equal((status, json.loads(answer)["error"]), ("403", "foreign_engine"), answer)
        # of the same service account, too
        brief = self.steal("fort", "brief")
        status, answer = self._hand_in(brief, brief.engine, payload, nothing)
        equal((status, json.loads(answer)["error"]), ("403", "forged_identity"), answer)
        contains(answer, "names another")
        def found():
            text = self.weir.evidence("query --since 5m --kind findings -o json")
            return all(f"(pod {who.uid}) {what}" in text for who, what in (
                (self.lone, f"tried to write to the chain of {self.granted.engine}"), (brief, "handed in evidence that is not its own")))
        proc.wait_until(found, "both are findings", 20, every=0.5)

    def a_pod_that_is_gone_is_nobody_and_so_is_its_successor(self):
        """A certificate is good for an hour, its pod may be gone before. A new pod of the name is another one."""
        self.prepare()
        gone = self.steal("fort", "brief")
        self.bundle(gone.files)
        who = ("/CN=brief", "spiffe://cluster.local/ns/fort/sa/default")
        equal(self.enrol(gone.token, *who)[0], "200")
        log = f"{self.weir.work}/identities-watch.log"
        address = self.cluster.get("service", "weir-controller", namespace="weir-system")["spec"]["clusterIP"]
        watch = proc.spawn([*self.cluster.inside(), "curl", "-sSN", "--http2", "--cacert", f"{self.dir}/roots.crt", "--cert", f"{gone.files}.crt",
                            "--key", f"{gone.files}.key", "--resolve", f"{CONTROL}:{address}", f"https://{CONTROL}/v1/watch"], log=log)
        self.cluster.kubectl("-n", "fort", "delete", "pod", "brief", "--now")
        proc.wait_until(lambda: watch.poll() is not None, "its open watch ends", 20, every=0.2)

        def refused(says):
            status, answer = self.ask(gone.files, CONTROL)
            equal(status, "403", answer[:300])
            contains(answer, says)
            status, answer = self.enrol(gone.token, *who)
            assert status in ("401", "403"), f"{status} {answer}"
            lacks(answer, "certificate")
        refused("does not exist")
        self.again()
        refused("replaced by another of its name")
        successor = self.steal("fort", "brief")
        assert successor.uid != gone.uid
        self.bundle(successor.files)
        equal(self.enrol(successor.token, *who)[0], "200")

    def again(self):
        """The same pod once more, as its author wrote it."""
        import attacks  # the table of pods is there
        self.cluster.apply(json.dumps(attacks.variant("brief", {})), namespace="fort")
        self.cluster.wait_pod("brief", namespace="fort", timeout=60)


def write(path, text):
    """A file."""
    with open(path, "w", encoding="ascii") as f:
        f.write(text)


def head(payload):
    """(epoch, first number, count) of a frame: after its version, each a varint."""
    found, at = [], 0
    while len(found) < 4:
        value, shift = 0, 0
        while True:
            byte = payload[at]
            value |= (byte & 127) << shift
            at, shift = at + 1, shift + 7
            if byte < 128:
                break
        found.append(value)
    return found[1:]
