"""Policies change while connections are open: how fast they are in force, what a broken one does, and
what is left when a Target is gone."""

import datetime
import json
import re
import time

from lab import proc
from lab.report import contains, equal, lacks

# One connection that stays open and asks over and over; prints each new answer with its time.
ASKING = """\
import psycopg2, sys, time
connection = psycopg2.connect("")
connection.autocommit = True
cursor, last = connection.cursor(), None
while True:
    try:
        cursor.execute("select ssn from customers where id = 1")
        answer = cursor.fetchone()[0]
    except psycopg2.OperationalError as error:
        answer = "closed: " + str(error).splitlines()[0]
    except psycopg2.Error as error:
        answer = "error: " + str(error).splitlines()[0]
    if answer != last:
        print(f"{time.time():.3f} {answer}", flush=True)
        last = answer
    if answer.startswith("closed"):
        break
    time.sleep(0.01)
"""
STRICTER = {"spec": {"mask": {"partial": None, "constant": "[gone]"}}}
BROKEN = (("effects: [Updat]", "Unsupported value"), ('ssh: {commands: ["rm *"]}', "ssh"))


class Asking:
    """A client with one open connection."""

    def __init__(self, weir, pod="deploy/reporter", namespace="shop"):
        self.log = f"{weir.work}/asking.log"
        open(self.log, "w", encoding="utf-8").close()
        self.child = proc.spawn([*weir.cluster.inside(), "kubectl", "-n", namespace, "exec", "-i", pod,
                                 "-c", "app", "--", "python3", "-u", "-c", ASKING], log=self.log)

    def answers(self):
        """[(time, answer)] so far."""
        with open(self.log, encoding="utf-8") as f:
            return [(float(m.group(1)), m.group(2)) for m in re.finditer(r"(?m)^(\d+\.\d+) (.*)$", f.read())]

    def wait(self, part, timeout=30):
        """When an answer with that in it first came."""
        return proc.wait_until(lambda: next((at for at, answer in self.answers() if part in answer), None),
                               f"an answer with {part!r}", timeout, every=0.02, child=None, log=self.log)

    def stop(self):
        """Ends it."""
        proc.stop(self.child)


class Edits:
    """The claims."""

    def __init__(self, weir):
        self.weir, self.cluster = weir, weir.cluster
        self.figures = []

    def in_force_within_a_second(self):
        asking = Asking(self.weir)
        try:
            asking.wait("***-**-1120")
            proc.calm()
            self.cluster.kubectl("patch", "datalabel", "pii.ssn", "--type=merge", "-p", json.dumps(STRICTER))
            written = time.time()
            took = asking.wait("[gone]") - written
            self.figures.append(f"a policy edit is in force on an open connection {max(took, 0) * 1000:.0f} ms after "
                                "kubectl returned")
            assert took < 1, f"{took:.3f} s"
            print(f"      {self.figures[-1]}")
        finally:
            asking.stop()
            self.weir.policies()

    def broken_policy_is_refused_and_changes_nothing(self):
        for match, reason in BROKEN:
            rule = f"{{name: broken, match: {{{match}}}, action: Deny}}"
            if "effects" in match:
                rule = f"{{name: broken, match: {{sql: {{{match}}}}}, action: Deny}}"
            done = self.weir.shell(f"""kubectl apply -f - <<'END'
apiVersion: weir.dev/v1alpha1
kind: ClusterGuardPolicy
metadata: {{name: shop}}
spec:
  subjects: [{{namespaces: [shop]}}]
  targets: [shop]
  rules: [{rule}]
END
""", check=False)
            assert done.returncode != 0, f"{match} was accepted"
            contains(done.stderr, reason)
        contains(self.weir.psql("select ssn from customers where id = 1"), "***-**-1120")
        contains(self.weir.psql("delete from orders"), "no-blind-writes")

    def policy_that_breaks_later_says_so(self):
        """Its label goes away: what it hides stays hidden or is refused, and its status says why."""
        self.cluster.kubectl("delete", "datalabel", "pii.ssn")
        try:
            def says_so():
                status = self.cluster.get("clusterguardpolicy", "shop").get("status", {})
                return next((c for c in status.get("conditions", ())
                             if c["type"] == "Ready" and c["status"] == "False"), None)
            condition = proc.wait_until(says_so, "the policy is not ready", every=0.2)
            contains(condition["message"], "pii")
            lacks(self.weir.psql("select id from customers where id = 1 and false"), "078-05")
        finally:
            self.weir.policies()
        self._masked_again()

    def one_malformed_object_stops_no_other(self):
        self.cluster.apply("""\
apiVersion: weir.dev/v1alpha1
kind: Target
metadata: {name: elsewhere}
spec:
  protocol: PostgreSQL
  addresses: [{service: {namespace: nowhere, name: none, port: 5432}}]
""")
        try:
            self.cluster.kubectl("patch", "datalabel", "pii.ssn", "--type=merge", "-p", json.dumps(STRICTER))
            proc.wait_until(lambda: "[gone]" in self.weir.psql("select ssn from customers where id = 1"),
                            "the edit is in force beside an unresolved Target", 30)
            def unresolved():
                conditions = self.cluster.get("target", "elsewhere").get("status", {}).get("conditions", ())
                return any(c["type"] == "Ready" and c["status"] == "False" for c in conditions)
            proc.wait_until(unresolved, "the Target is not ready", every=0.2)
        finally:
            self.cluster.kubectl("delete", "target", "elsewhere")
            self.weir.policies()

    def without_the_target_all_is_refused(self):
        asking = Asking(self.weir)
        try:
            asking.wait("***-**-1120")
            self.cluster.kubectl("delete", "target", "shop")
            deleted = time.time()
            def ended():
                return next((at for at, answer in asking.answers() if answer.startswith(("closed", "error"))), None)
            took = proc.wait_until(ended, "the open connection is refused", 10, every=0.02) - deleted
            print(f"      refused {max(took, 0) * 1000:.0f} ms after kubectl returned")
            for host in ("db.data.svc", self.cluster.get("pod", "db", namespace="data")["status"]["podIP"]):
                text = self.cluster.exec("deploy/reporter", "psql", f"host={host} sslmode=require", "-Atc",
                                         "select ssn from customers", namespace="shop", container="app", check=False)
                assert text.returncode != 0, text.stdout
                lacks(text.stdout + text.stderr, "078-05")
            equal([answer for _, answer in asking.answers() if "078-05" in answer], [])
        finally:
            asking.stop()
            self.weir.policies()
        self._masked_again()

    def an_exception_lifts_a_rule_until_it_is_over(self):
        over = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0) + datetime.timedelta(seconds=60)
        expires = over.strftime("%Y-%m-%dT%H:%M:%SZ")
        statement = "begin; delete from orders; rollback"
        def deleted():
            return "no-blind-writes" not in self.weir.psql(statement)
        def explained():
            return self.weir.shell("kubectl weir explain --service-account shop/default --target shop "
                                   "--sql 'delete from orders'").stdout
        def status():
            conditions = self.cluster.get("policyexception", "hotfix").get("status", {}).get("conditions", ())
            return next(((c["reason"], c["message"]) for c in conditions if c["type"] == "Ready"), ("", ""))
        assert not deleted(), "it was not denied before"
        self.cluster.apply(f"""\
apiVersion: weir.dev/v1alpha1
kind: PolicyException
metadata: {{name: hotfix}}
spec:
  owner: data-platform
  reason: the table is emptied by hand
  expires: {expires}
  subjects: [{{namespaces: [shop]}}]
  targets: [shop]
  rules: [shop/no-blind-writes]
""")
        try:
            proc.wait_until(deleted, "the exception lifts the rule", 30, every=0.1)
            contains(explained(), f"hotfix lifts shop/no-blind-writes, until {expires} "
                                  "(owner data-platform: the table is emptied by hand)")
            def recorded():
                return "hotfix lifts shop/no-blind-writes" in self.weir.evidence("query -n shop --since 1m -o json")
            proc.wait_until(recorded, "the evidence names the exception", 30)
            lacks(str(status()), "over since")
            left = (over - datetime.datetime.now(datetime.timezone.utc)).total_seconds()
            time.sleep(max(left, 0) + 0.2)
            assert not deleted(), "it binds no more after the exception is over"
            proc.wait_until(lambda: "over since" in status()[1], f"the status says that it is over: {status()}", 30)
            contains(explained(), f"hotfix no longer lifts shop/no-blind-writes, over since {expires}")
        finally:
            self.cluster.kubectl("delete", "policyexception", "hotfix")

    def _masked_again(self):
        proc.wait_until(lambda: "***-**-1120" in self.weir.psql("select ssn from customers where id = 1"),
                        "all is as before", 30)


def run(weir, report):
    """The claims."""
    edits = Edits(weir)
    for claim in (edits.in_force_within_a_second, edits.broken_policy_is_refused_and_changes_nothing,
                  edits.policy_that_breaks_later_says_so, edits.one_malformed_object_stops_no_other,
                  edits.without_the_target_all_is_refused, edits.an_exception_lifts_a_rule_until_it_is_over):
        report.check(f"edits: {claim.__name__}", claim)
