"""Approvals: what reviewers see, one request for a flood, shapes for some minutes, estimates, and who may not decide."""

import json

from holds import Running
from lab import proc, wire
from lab.report import contains, equal

POLICY = """
apiVersion: weir.dev/v1alpha1
kind: DataLabel
metadata: {name: pii.ssn}
spec:
  columns: [{target: db, table: public.customers, columns: [ssn]}]
  mask: {partial: {keepLast: 4}}
---
apiVersion: weir.dev/v1alpha1
kind: ClusterGuardPolicy
metadata: {name: review}
spec:
  mode: Enforce
  subjects: [{names: ["*"]}]
  targets: [db]
  audit: {record: Metadata, delivery: Batch}
  rules:
  - name: vault
    match: {sql: {tables: [public.vault]}}
    action: RequireApproval
    approval: {users: [root], deadline: 20s}
  - name: customers
    match: {sql: {tables: [public.customers]}}
    action: RequireApproval
    approval: {groups: [root], deadline: 20s, estimate: true, shape: {maxMinutes: 30}}
  - name: items
    match: {sql: {effects: [Delete]}}
    action: RequireApproval
    approval: {users: [root], deadline: 60s, shape: {maxMinutes: 30}}
  - name: bulk
    match: {sql: {tables: [public.orders]}}
    limits: {statement: {rows: 10000}, onExceed: RequireApproval}
    approval: {groups: [root], deadline: 20s, estimate: true, shape: {maxMinutes: 5}}
"""
BY_ID = "SELECT id, ssn FROM customers WHERE id = {}"


class Desk:
    """An instance of Weir with this suite's policy."""

    def __init__(self, scene):
        self.scene, self.w = scene, scene.start(policy=POLICY)

    def run(self, sql, **kwargs):
        """A statement in the background, once it waits."""
        running = Running(self.scene, sql, self.w, **kwargs)
        running.notice()
        return running

    def only(self):
        """The one request that waits, whole."""
        requests = self.w.requests()
        equal(len(requests), 1, f"requests that wait: {requests}")
        return requests[0]


def with_desk(claim):
    """A claim with an instance of its own."""
    def run(scene):
        desk = Desk(scene)
        try:
            claim(desk)
        finally:
            desk.w.stop()
    run.__name__, run.__doc__ = claim.__name__, claim.__doc__
    return run


@with_desk
def a_request_tells_everything(desk):
    """The statement in full although only metadata is recorded, what it touches, and three lines of English."""
    running = desk.run("SELECT id, ssn /* all */ FROM customers WHERE id > 0")
    request = desk.only()
    spec = request["spec"]
    equal(spec["statement"], "SELECT id, ssn /* all */ FROM customers WHERE id > 0")
    equal((spec["effects"], spec["tables"]), (["Select"], ["public.customers"]))
    equal(spec["labels"], ["pii.ssn"])
    equal(spec["columns"], [{"label": "pii.ssn", "columns": ["public.customers.ssn"]}])
    if not 1 <= len(spec["summary"]) <= 3:
        raise AssertionError(spec["summary"])
    contains(spec["summary"][0], "wants to read public.customers on db")
    contains(spec["summary"][-1], "Held by review/customers")
    equal(request["mayDecide"], True)
    text = desk.w.cli("requests").stdout
    contains(text, "public.customers.ssn", "the card names the labelled column")
    desk.w.cli("approve", request["name"], "--reason", "ticket 7")
    equal(running.result().code, None)
    desk.w.settle()
    decided = json.loads(desk.w.cli("query", "--kind", "requests", "--output", "json").stdout)
    contains(str(decided), "ticket 7", "why is evidence")
    contains(str(decided), "socket", "and how the approver was proved")


@with_desk
def the_server_is_asked_first(desk):
    """EXPLAIN before anything runs: the limit on rows holds at row 0, and the reviewer reads the estimate."""
    running = desk.run("SELECT id, body FROM orders ORDER BY id")
    equal(running.delivered(), 0, "rows before anybody decided")
    spec = desk.only()["spec"]
    if not 25_000 <= spec["estimatedRows"] <= 100_000:
        raise AssertionError(f"estimated {spec['estimatedRows']} of 50,000")
    contains(spec["reason"], "the server expects about", "the reason")
    contains(" ".join(spec["summary"]), "rows expected")
    desk.w.cli("approve", desk.only()["name"])
    equal(len(running.result().rows), 50_000)
    equal(running.conn.query("SHOW statement_timeout").rows, [[b"0"]], "the session is as it was")
    equal(running.conn.query("SHOW transaction_read_only").rows, [[b"off"]])
    # Fewer rows than the limit: nobody is asked.
    equal(len(running.conn.query("SELECT id FROM orders WHERE id = 5").rows), 1)
    # In a transaction nothing can be asked without a risk: the row limit holds as ever.
    conn = desk.scene.conn(desk.w, timeout=30)
    conn.query("BEGIN")
    conn.send(wire.query("SELECT id FROM orders"))
    name = desk.w.wait_request()
    spec = desk.only()["spec"]
    equal((spec["deliveredRows"], spec["binding"]), (10_000, "Shape"))
    contains(spec["detail"], "It runs as app", "it was asked for before the result began")
    desk.w.cli("deny", name, "--reason", "no")
    equal(wire.Answer(conn.until_ready()).code, "42501")


def over(runs):
    """How many of them have ended."""
    return sum(1 for running in runs if not running.thread.is_alive())


@with_desk
def a_flood_is_one_request(desk):
    """Many clients that ask the same wait for one request with a count. An approval of the statement is for the
    one that was shown, once; one of the shape, and a denial, is for all."""
    runs = [desk.run(BY_ID.format(1)) for _ in range(8)]
    request = desk.only()
    equal(request["status"]["repeats"], 7)
    contains(desk.w.cli("requests").stdout, "7 times more")
    desk.w.cli("approve", request["name"])
    equal((runs[0].result().code, len(runs[0].result().rows)), (None, 1))

    def asked_anew():
        waiting = desk.w.requests()
        return waiting and waiting[0]["status"]["repeats"] == 6 and waiting
    waiting = proc.wait_until(asked_anew, "the others ask anew, together", 20)
    equal(len(waiting), 1)
    equal(over(runs), 1, "one approval let one of them go on")
    desk.w.cli("approve", waiting[0]["name"], "--shape", "--minutes", "1")
    for running in runs:
        equal((running.result().code, len(running.result().rows)), (None, 1))
    equal(desk.w.requests(), [])


def schemas(desk):
    """Two schemas with a table of one name, and a role."""
    desk.scene.server.query("""
        DROP SCHEMA IF EXISTS scratch, prod CASCADE; CREATE SCHEMA scratch; CREATE SCHEMA prod;
        CREATE TABLE scratch.items (id int); CREATE TABLE prod.items (id int);
        INSERT INTO scratch.items SELECT generate_series(1, 5); INSERT INTO prod.items SELECT generate_series(1, 5);
        DO $$ BEGIN CREATE ROLE boss; EXCEPTION WHEN duplicate_object THEN NULL; END $$; GRANT boss TO app;
        GRANT ALL ON SCHEMA scratch, prod TO app, boss; GRANT ALL ON ALL TABLES IN SCHEMA scratch, prod TO app, boss;
        """, "shop")


def left(desk):
    """Rows of scratch.items and prod.items."""
    return tuple(int(desk.scene.server.query(f"SELECT count(*) FROM {name}.items", "shop"))
                 for name in ("scratch", "prod"))


def after(desk, first, sql):
    """A statement in the background on a connection that has run others before, once it waits."""
    running = Running(desk.scene, sql, desk.w, first=first)
    running.notice()
    return running


@with_desk
def what_a_name_stands_for_is_shown(desk):
    """Two sessions prepare other statements under one name: two requests, each with its own text, and one runs."""
    schemas(desk)
    one = after(desk, ["PREPARE p AS DELETE FROM scratch.items WHERE id = 1"], "EXECUTE p")
    two = after(desk, ["PREPARE p AS DELETE FROM prod.items"], "EXECUTE p")
    waiting = desk.w.requests()
    equal(len(waiting), 2, "they wait apart")
    contains(waiting[0]["spec"]["detail"], "p was prepared as:\nPREPARE p AS DELETE FROM scratch.items WHERE id = 1")
    contains(waiting[1]["spec"]["detail"], "DELETE FROM prod.items")
    equal([one["spec"].get("shape") for one in waiting], [None, None], "no shape stands for a name")
    contains(desk.w.cli("requests").stdout, "It runs as app", "the card says in which role")
    desk.w.cli("approve", waiting[0]["name"])
    equal(one.result().tags, ["DELETE 1"])
    equal(left(desk), (4, 5))
    desk.w.cli("deny", waiting[1]["name"], "--reason", "not that")
    equal(two.result().code, "42501")
    cursor = after(desk, ["BEGIN", "DECLARE c CURSOR FOR SELECT id, ssn FROM customers"], "FETCH 1 FROM c")
    contains(desk.only()["spec"]["detail"], "c was opened by:\nDECLARE c CURSOR FOR SELECT id, ssn FROM customers")
    desk.w.cli("deny", desk.only()["name"], "--reason", "no")
    equal(cursor.result().code, "42501")


@with_desk
def another_search_path_or_role_is_another_request(desk):
    """The same text by another search path or in another role waits apart, and no shape reaches across."""
    schemas(desk)
    one = after(desk, ["SET search_path = scratch"], "DELETE FROM items WHERE id = 1")
    two = after(desk, ["SET search_path = prod", "SET ROLE boss"], "DELETE FROM items WHERE id = 1")
    waiting = desk.w.requests()
    equal(len(waiting), 2, "they wait apart")
    contains(waiting[0]["spec"]["detail"], "It runs as app; search path: scratch.")
    contains(waiting[1]["spec"]["detail"], "It runs as boss, a role that app has taken on; search path: prod.")
    desk.w.cli("approve", waiting[0]["name"], "--shape", "--minutes", "10")
    equal(one.result().tags, ["DELETE 1"])
    equal(one.conn.query("DELETE FROM items WHERE id = 2").tags, ["DELETE 1"], "the shape, where it was approved")
    equal((over([two]), left(desk)), (0, (3, 5)))
    other = after(desk, ["SET search_path = prod"], "DELETE FROM items WHERE id = 3")
    equal(len(desk.w.requests()), 2, "the shape does not reach another schema")
    # In a message of several statements nobody knows what holds when one begins.
    several = Running(desk.scene, "SET search_path = prod; DELETE FROM items WHERE id = 4", desk.w,
                      first=["SET search_path = scratch"])
    several.notice()
    detail = desk.w.requests()[-1]["spec"]["detail"]
    contains(detail, "It stands in a message of several statements:\nSET search_path = prod; DELETE")
    for request in desk.w.requests():
        desk.w.cli("deny", request["name"], "--reason", "no")
    for running in (two, other, several):
        equal(running.result().code, "42501")
    equal(left(desk), (3, 5))


@with_desk
def a_tightened_rule_asks_anew(desk):
    """The rule asks others, and more of them: what waits is over, and a shape that was approved is good no more."""
    schemas(desk)
    one = desk.run("DELETE FROM scratch.items WHERE id = 1")
    desk.w.cli("approve", desk.only()["name"], "--shape", "--minutes", "10")
    equal(one.result().tags, ["DELETE 1"])
    equal(one.conn.query("DELETE FROM scratch.items WHERE id = 2").tags, ["DELETE 1"])
    two = desk.run("DELETE FROM scratch.items WHERE id > 2")
    desk.w.write("policy.yaml", POLICY.replace("users: [root], deadline: 60s",
                                                 "users: [alice, bob], count: 2, deadline: 60s"))
    equal(two.result().code, "42501")
    contains(str(two.result().errors[0]), "ask again")
    three = desk.run("DELETE FROM scratch.items WHERE id = 3")
    equal(desk.only()["spec"]["users"], ["alice", "bob"])
    desk.w.cli("deny", desk.only()["name"], "--reason", "no", check=False)
    equal(left(desk)[0], 3)
    three.conn.close()


@with_desk
def words_leave_nothing_out(desk):
    """A statement that does more than read is shown itself, and not as one that reads."""
    running = desk.run("SELECT set_config('search_path', 'x', false), id FROM customers")
    contains(desk.only()["spec"]["summary"][0], "set_config('search_path', 'x', false)")
    desk.w.cli("deny", desk.only()["name"], "--reason", "no")
    equal(running.result().code, "42501")


@with_desk
def an_exact_approval_binds_the_literals(desk):
    """Of two that wait with other literals one is approved: the other asks anew, under a new name."""
    one, two = desk.run(BY_ID.format(1)), desk.run(BY_ID.format(2))
    first = desk.only()["name"]
    desk.w.cli("approve", first)
    equal(one.result().code, None)
    second = desk.w.wait_request()
    if second == first:
        raise AssertionError("the approval was used twice")
    contains(desk.only()["spec"]["statement"], "id = 2")
    desk.w.cli("deny", second, "--reason", "not this one")
    equal(two.result().code, "42501")
    contains(str(two.result().errors[0]), "not this one")


@with_desk
def a_shape_goes_on_for_minutes(desk):
    """An approved shape lets other literals go on, each named in evidence, over a restart, and nothing else."""
    running = desk.run(BY_ID.format(1))
    request = desk.only()
    contains(request["spec"]["shape"], "id = ‹number›")
    equal(request["spec"]["freeLiterals"], ["1"])
    refused = desk.w.cli("approve", request["name"], "--shape", "--minutes", "31", check=False)
    equal(refused.returncode != 0, True, "longer than the policy lets anybody")
    contains(refused.stderr, "1 to 30 minutes")
    said = desk.w.cli("approve", request["name"], "--shape", "--minutes", "10").stdout
    contains(said, "of this shape")
    equal(running.result().code, None)
    equal(len(running.conn.query(BY_ID.format(2)).rows), 1, "another literal")
    desk.w.settle()
    found = desk.w.cli("query", "--kind", "statements", "--output", "json").stdout
    equal(found.count(f'"{request["name"]}"') >= 2, True, "evidence names the approval for both")
    desk.w.stop()
    desk.w.start()
    conn = desk.scene.conn(desk.w)
    equal(len(conn.query(BY_ID.format(3)).rows), 1, "after a restart")
    other = Running(desk.scene, "SELECT id, ssn FROM customers WHERE id < 3", desk.w)
    other.notice()
    desk.w.cli("deny", desk.w.wait_request(), "--reason", "another shape")
    equal(other.result().code, "42501")


@with_desk
def some_rows_of_what_has_not_begun(desk):
    """--rows on a statement that waits before it runs: so many rows, and then people are asked again."""
    running = desk.run("SELECT id FROM customers ORDER BY id")
    total = int(desk.scene.server.query("SELECT count(*) FROM customers", "shop"))
    desk.w.cli("approve", desk.only()["name"], "--rows", "2")
    proc.wait_until(lambda: running.delivered() == 2, "two rows", 10)
    desk.w.cli("approve", desk.w.wait_request())
    equal(len(running.result().rows), total)


@with_desk
def what_is_decided_is_final(desk):
    """A second decision, a decision about another request of the name, and one without a reason are refused."""
    running = desk.run("SELECT secret FROM vault")
    request = desk.only()
    name = request["name"]
    path = f"/v1/requests/{name}/approve"
    stale = proc.run(["curl", "-s", "--unix-socket", f"{desk.w.state}/weir.sock", "-d", '{"uid": "1"}',
                      f"http://weir{path}"]).stdout
    contains(stale, "conflict", "a replayed decision")
    equal(running.delivered(), 0)
    desk.w.cli("approve", name)
    equal(running.result().rows, [[b"opened"]])
    again = desk.w.cli("deny", name, "--reason", "too late", check=False)
    equal(again.returncode != 0, True, "decided twice")
    contains(again.stderr, "approved", "it says how it ended")


@with_desk
def watching_sees_every_change(desk):
    """`weir requests --watch --output json`: one line for each change."""
    log = f"{desk.w.dir}/watch.log"
    child = proc.spawn([desk.w.binary, "requests", "--watch", "--output", "json", "--state-dir", desk.w.state], log=log)

    def lines():
        with open(log, encoding="utf-8") as f:
            return [json.loads(line) for line in f if line.startswith("{")]
    try:
        running = desk.run("SELECT secret FROM vault")
        proc.wait_until(lines, "the request", 10)
        desk.w.cli("approve", desk.only()["name"])
        running.result()
        proc.wait_until(lambda: len(lines()) >= 2, "the decision", 10)
    finally:
        proc.stop(child)
    states = [line["status"]["phase"] for line in lines()]
    equal((states[0], states[-1]), ("Pending", "Approved"))


def claims(scene, results):
    """All of them."""
    for claim in (a_request_tells_everything, the_server_is_asked_first, a_flood_is_one_request,
                  what_a_name_stands_for_is_shown, another_search_path_or_role_is_another_request,
                  a_tightened_rule_asks_anew, words_leave_nothing_out,
                  an_exact_approval_binds_the_literals, a_shape_goes_on_for_minutes,
                  some_rows_of_what_has_not_begun, what_is_decided_is_final, watching_sees_every_change):
        results.check(f"approvals: {claim.__name__.replace('_', ' ')}", claim, scene)
