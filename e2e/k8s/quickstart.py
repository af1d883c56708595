"""The quick start, literally: the commands of README.md as they stand there, and
their output where it is shown."""

import json
import os
import re

from lab import proc
from lab.build import ROOT
from lab.report import contains, equal, lacks

PAGE = os.path.join(ROOT, "README.md")
SECTION = "Quick start in Kubernetes"
# Who types a command; everything else is the administrator's.
WHO = (("kubectl weir requests", "alice"), ("kubectl weir approve", "alice"), ("kubectl weir query", "bob"),
       ("kubectl weir sessions", "bob"))


def steps():
    """(number, [(command, [lines of output])]) of each step of the page."""
    with open(PAGE, encoding="utf-8") as f:
        page = re.search(rf"(?ms)^## {SECTION}$(.*?)^## ", f.read()).group(1)
    for part in re.split(r"(?m)^\*\*(?=\d+\. )", page)[1:]:
        commands = []
        for block in re.findall(r"```console\n(.*?)```", part, re.S):
            for line in block.splitlines():
                if line.startswith("$ "):
                    commands.append((line[2:], []))
                else:
                    commands[-1][1].append(line)
        yield int(part.split(".", 1)[0]), commands


class Page:
    """Runs it."""

    def __init__(self, weir):
        self.weir = weir
        self.steps = dict(steps())

    def step(self, number):
        """Types the commands of one step; returns what was printed."""
        printed = []
        for command, expected in self.steps[number]:
            done = self.weir.shell(command, who=who(command), check=not any("ERROR" in line for line in expected))
            text = done.stdout + done.stderr
            for line in expected:
                contains(squashed(text), squashed(line), command)
            printed.append(text)
        return printed

    def before_weir_all_is_clear(self):
        def clear():
            return self.weir.psql("select ssn from customers order by id") == "078-05-1120\n219-09-9999\n"
        proc.wait_until(clear, "the database answers, in clear", every=0.3)

    def install(self):
        self.step(1)

    def secrets(self):
        self.step(2)

    def govern(self):
        self.step(3)
        def replaced():
            pods = self.weir.cluster.get("pods", "-l", "app=reporter", namespace="shop")["items"]
            return len(pods) == 1 and pods
        for pod in proc.wait_until(replaced, "the old pod is gone", every=0.2):
            equal([c["name"] for c in pod["spec"]["initContainers"]], ["weir-sidecar", "weir-probe"])

    def masked_and_denied(self):
        self.step(4)

    def dsn_is_untouched(self):
        done = self.weir.cluster.exec("deploy/reporter", "sh", "-c",
                                      'psql "$DATABASE_URL" -Atc "select ssn from customers where id = 1"',
                                      namespace="shop", container="app")
        equal(done.stdout, "***-**-1120\n")

    def held_and_approved(self):
        (export, _), (requests, _), (approve, _) = self.steps[5]
        log = f"{self.weir.work}/export.log"
        child = self.weir.spawn(export.rstrip("& "), log)
        def listed():
            text = self.weir.shell(requests, who="alice", check=False).stdout
            return re.search(r"\bweir-[0-9a-z]+", text)
        name = proc.wait_until(listed, "a request is listed", every=0.2).group(0)
        contains(self.weir.shell("kubectl get accessrequests -n shop").stdout, name)
        self.weir.shell(approve.replace("NAME", name), who="alice")
        equal(child.wait(60), 0, f"the export ends: {proc.tail(log)}")
        with open(f"{self.weir.work}/export.txt", encoding="utf-8") as f:
            equal(len(f.readlines()), 5000, "rows")
        request = self.weir.cluster.get("accessrequest", name, namespace="shop")
        equal([d["approver"] for d in request["status"]["decisions"]], ["alice"])
        assert 1 <= len(request["spec"]["summary"]) <= 3, request["spec"]["summary"]

    def evidence(self):
        denied, sessions = self.step(6)
        contains(denied, "delete from orders")
        contains(denied, "ns/shop/sa/default")
        lacks(denied, "078-05-1120")
        contains(sessions, "ns/shop/sa/default")

    def evidence_names_the_pod(self):
        """Namespace, pod, UID, service account, workload, node and image digests, in every event."""
        pod = self.weir.cluster.get("pods", "-l", "app=reporter", namespace="shop")["items"][0]
        events = json.loads(self.weir.evidence("query -n shop --decision deny --limit 1 -o json"))
        who = (events[0] if isinstance(events, list) else events["events"][0])["session"]["identity"]
        expected = {"namespace": "shop", "service_account": "default", "pod": pod["metadata"]["name"],
                    "uid": pod["metadata"]["uid"], "workload": "Deployment/reporter",
                    "node": pod["spec"]["nodeName"]}
        equal({name: who.get(name) for name in expected}, expected)
        assert any("client" in image for image in who["images"]), who["images"]

    def evidence_needs_the_right(self):
        for who_asks in ("alice", "mallory"):
            done = self.weir.shell("kubectl weir query -n shop", who=who_asks, check=False)
            assert done.returncode != 0, f"{who_asks}: {done.stdout}"

    def enforce(self):
        self.step(7)


def who(command):
    """Who types it."""
    return next((person for start, person in WHO if command.startswith(start)), None)


def squashed(text):
    """With single blanks."""
    return re.sub(r"[ \t]+", " ", text).strip()


def run(weir, report):
    """The claims, in the page's order."""
    page = Page(weir)
    weir.database()
    if not report.wanted("quickstart"):
        weir.install()
        weir.govern()
        return
    report.check("quickstart: before Weir all is clear", page.before_weir_all_is_clear)
    page.install()
    page.secrets()
    page.govern()
    for claim in (page.masked_and_denied, page.dsn_is_untouched, page.held_and_approved, page.evidence,
                  page.evidence_names_the_pod,
                  page.evidence_needs_the_right, page.enforce):
        report.check(f"quickstart: {claim.__name__}", claim)
