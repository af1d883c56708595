"""Evidence under faults: a full disk below the spool, kill -9 of the engine.

Only for Weir: a relay has no evidence to lose.
"""

import json
import os
import re
import subprocess
import threading
import time
import urllib.parse
import urllib.request

from lab import proc, weir, wire
from lab.report import equal

CLIENTS = 16
BLOCKING = weir.PERMISSIVE.replace("delivery: Batch", "delivery: Blocking")
STRICT = weir.PERMISSIVE.replace("delivery: Batch", "delivery: BlockingStrict")


def start(scene, **kwargs):
    """An engine of its own."""
    target = weir.target_yaml(scene.server.port, client_tls="Refuse")
    return weir.Weir(scene.weir_path, scene.server.port, target=target, **kwargs).start()


def statements(w, text):
    """Recorded statements whose text contains ``text``."""
    return w.events(text=text)


def writers(port, stop, acknowledged):
    """16 clients that insert as fast as they are acknowledged, until the engine dies."""
    def one(client):
        conn = wire.Conn(port)
        n = 0
        try:
            while not stop.is_set():
                if conn.query(f"INSERT INTO marks VALUES ({client}, {n})").tags != ["INSERT 0 1"]:
                    return
                acknowledged[client] = n + 1
                n += 1
                conn.seen.clear()
        except (wire.Closed, OSError):
            pass
    threads = [threading.Thread(target=one, args=(c,), daemon=True) for c in range(CLIENTS)]
    for t in threads:
        t.start()
    return threads


def killed(scene, policies):
    """kill -9 while 16 clients write; restart; (Weir, acknowledged, committed)."""
    scene.server.psql("TRUNCATE marks", "shop")
    w = start(scene, policies=policies)
    stop, acknowledged = threading.Event(), [0] * CLIENTS
    threads = writers(w.port, stop, acknowledged)
    time.sleep(3)
    proc.wait_until(lambda: sum(acknowledged) >= 200, "the writers write", 120)
    w.kill()
    stop.set()
    for t in threads:
        t.join(10)
    proc.wait_until(lambda: scene.server.query("select count(*) from pg_stat_activity where usename = 'app' "
                                               "and query like 'INSERT INTO marks%'") == "0", "sessions end")
    committed = int(scene.server.query("select count(*) from marks", "shop"))
    w.start()
    w.settle()
    return w, sum(acknowledged), committed


def no_acknowledged_event_lost(scene, policies):
    """Under Blocking, what a client saw end is recorded with its end, and what the server
    committed is recorded as begun."""
    w, acknowledged, committed = killed(scene, policies)
    events = statements(w, "INSERT INTO marks")
    seen = {e.text for e in events}
    missing = max(0, committed - len(seen))
    if missing or committed < acknowledged:
        raise AssertionError(f"acknowledged {acknowledged}, committed {committed}, recorded {len(seen)}")
    complete = {e.text for e in events if e.outcome == "completed"}
    if len(complete) < acknowledged:
        raise AssertionError(f"acknowledged {acknowledged}, recorded with their end {len(complete)}")
    w.stop()


def gap_is_reported(scene):
    """After kill -9 under Batch the collector reports unclosed sessions or a gap, and the
    window that may be lost is a second."""
    w, acknowledged, _ = killed(scene, weir.PERMISSIVE)
    recorded = {e.text for e in statements(w, "INSERT INTO marks")}
    if not recorded:
        raise AssertionError("nothing of three seconds was recorded")
    codes = {e.raw["code"] for e in w.events(kind="finding")}
    if not codes & {"gap", "unclean_shutdown"} or "unclosed_session" not in codes:
        raise AssertionError(f"findings: {codes}")
    print(f"        Batch: acknowledged {acknowledged}, recorded {len(recorded)}")
    w.stop()


def fresh_connections_after_restart(scene):
    """After kill -9 clients get a clean close, the server's sessions end, and the restarted
    engine serves at once."""
    w = start(scene)
    conn = wire.Conn(w.port)
    w.kill()
    conn.sock.settimeout(5)
    conn.drain_to_close()
    if proc.accepts(w.port):
        raise AssertionError("something still listens")
    w.start()
    equal(wire.Conn(w.port).query("select 1").rows, [[b"1"]])
    w.stop()


def sigterm_drains(scene):
    """SIGTERM lets a running statement end, then exits with 0."""
    w = start(scene)
    conn = wire.Conn(w.port)
    conn.send(wire.query("select pg_sleep(3), 'done'"))
    proc.wait_until(lambda: scene.server.query("select count(*) from pg_stat_activity where state = 'active' "
                                               "and query like 'select pg_sleep(3), %'") == "1", "it runs")
    w.child.terminate()
    answer = wire.Answer(conn.until_ready())
    equal(answer.rows[0][1], b"done")
    conn.close()
    equal(w.child.wait(20), 0, "exit status")


def no_row_before_its_record(scene):
    """Under BlockingStrict a client gets no row that the collector has not committed: of a result
    that kill -9 cut short, every row that arrived is in the recording."""
    w = start(scene, policies=STRICT.replace("record: Commands", "record: Full"))
    conn = wire.Conn(w.port)
    conn.send(wire.query("select 'row ' || g || ' of the strict result' from generate_series(1, 300000) g"))
    last = 0
    try:
        while last < 20_000:
            kind, body = conn.read()
            last += kind == "D"
            conn.seen.clear()
        w.kill()
        while True:
            last += conn.read()[0] == "D"
            conn.seen.clear()
    except (wire.Closed, OSError):
        pass
    if not 20_000 <= last < 300_000:
        raise AssertionError(f"{last} rows arrived")
    w.start()
    w.settle()
    session = next(e.session for e in statements(w, "strict result"))
    text = w.cli("replay", str(session)).stdout
    if f"row {last} of the strict result" not in text:
        raise AssertionError(f"{last} rows arrived; the recording ends with {text[-300:]!r}")
    w.stop()


LABELLED = """\
apiVersion: weir.dev/v1alpha1
kind: DataLabel
metadata: {name: pii.ssn}
spec: {columns: [{target: db, table: public.moved, columns: [ssn]}], mask: {constant: "[ssn]"}}
---
apiVersion: weir.dev/v1alpha1
kind: ClusterGuardPolicy
metadata: {name: hide}
spec:
  mode: Enforce
  subjects: [{names: ["*"]}]
  targets: [db]
  rules:
  - {name: hide, match: {labels: ["pii.*"]}, action: Mask}
"""


def labels_follow_across_restart(scene):
    """A labelled column that was renamed, with its table, is masked by an engine that never saw its
    name; and where the labels' places cannot be read, nothing is shown."""
    scene.server.psql("DROP TABLE IF EXISTS moved, elsewhere; CREATE TABLE moved (id int, ssn text);"
                      "INSERT INTO moved VALUES (1, '811-12-1001'); GRANT SELECT ON moved TO app", "shop")
    w = start(scene, policies=LABELLED)
    equal(wire.Conn(w.port).query("SELECT ssn FROM moved").rows, [[b"[ssn]"]])
    w.kill()
    scene.server.psql("ALTER TABLE moved RENAME COLUMN ssn TO note; ALTER TABLE moved RENAME TO elsewhere", "shop")
    w.start()
    equal(wire.Conn(w.port).query("SELECT note FROM elsewhere").rows, [[b"[ssn]"]])
    w.kill()
    folder = os.path.join(w.state, "labels")
    for name in os.listdir(folder):
        with open(os.path.join(folder, name), "w", encoding="ascii") as f:
            f.write("{")
    w.start()
    answer = wire.Conn(w.port).query("SELECT note FROM elsewhere")
    equal((answer.rows, len(answer.errors)), ([], 1))
    w.stop()


def full_disk(scene, policies, refused):
    """With no room for the spool a governed statement is refused before it runs (Blocking) or
    the engine keeps its memory bounded (Batch); with room again it works again."""
    where = proc.workdir("weir-full-")
    state = os.path.join(where, "state")
    os.makedirs(state)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m,mode=700", "tmpfs", state], check=True)
    try:
        w = start(scene, policies=policies, where=where, state_dir=state)
        conn = wire.Conn(w.port)
        equal(conn.query("select 1").rows, [[b"1"]])
        idle = proc.held_kb(w.pid)
        _fill(os.path.join(state, "filler"))
        scene.server.psql("TRUNCATE marks", "shop")
        outcomes, peak, unseen = [], 0, 0
        for n in range(3000):
            try:
                answer = conn.query(f"INSERT INTO marks VALUES (1, {n}) /* {'x' * 1000} */")
            except wire.Closed:
                # Its start was kept, its end could not be: the client never sees it end.
                unseen = 1
                break
            outcomes.append(answer.errors[0] if answer.errors else None)
            peak = max(peak, proc.held_kb(w.pid))
            if n % 100 == 0:
                conn.seen.clear()
                _fill(os.path.join(state, "filler"))
            if refused and answer.errors:
                break
        ran = int(scene.server.query("select count(*) from marks", "shop"))
        if not outcomes.count(None) <= ran <= outcomes.count(None) + unseen:
            raise AssertionError(f"{ran} statements ran, {outcomes.count(None)} succeeded, {unseen} unseen")
        if refused and not any(outcomes) and not unseen:
            raise AssertionError("no statement was refused")
        if peak - idle > 32 * 1024:
            raise AssertionError(f"the engine grew by {peak - idle} kB")
        errors = [o for o in outcomes if o]
        if errors and not any(word in errors[0]["M"].lower() for word in ("audit", "spool", "evidence", "record")):
            raise AssertionError(f"the error does not say why: {errors[0]}")
        os.unlink(os.path.join(state, "filler"))
        proc.wait_until(lambda: _works(w.port), "works with room again", 20)
        if refused:
            # The collector's store is on the same disk: nothing that a client saw end is missing, or damaged.
            w.settle()
            recorded = {e.text for e in w.statements(text="INSERT INTO marks") if e.outcome == "completed"}
            if len(recorded) < outcomes.count(None):
                raise AssertionError(f"{outcomes.count(None)} succeeded, {len(recorded)} are recorded")
            verified = w.cli("verify")
            if "complete and unaltered" not in verified.stdout:
                raise AssertionError(verified.stdout[-500:])
        w.stop()
    finally:
        subprocess.run(["umount", "-l", state], check=False)


def second_process(scene):
    """A second process on the same state directory ends and says why; the first goes on."""
    w = start(scene)
    second = subprocess.run([w.binary, "standalone", "--config", w.config], cwd=w.dir, capture_output=True,
                            text=True, timeout=20, check=False)
    if second.returncode == 0 or "another process uses it" not in second.stdout + second.stderr:
        raise AssertionError(f"{second.returncode}: {(second.stdout + second.stderr)[-400:]}")
    equal(wire.Conn(w.port).query("select 1").rows, [[b"1"]])
    w.stop()


def ten_megabytes(scene):
    """A statement of 10 MB, with HTML and control characters in it, is recorded whole, found, shown in
    bounds, and verified from an export."""
    w = start(scene)
    core = "<script>alert(1)</script>\x1b[31m & \u202e"
    text = f"select length('{core}{os.urandom(5_000_000).hex()}')"
    answer = wire.Conn(w.port).query(text)
    equal(answer.rows, [[str(len(text) - len("select length('')")).encode()]])
    w.settle()
    found = w.statements(text="<SCRIPT>alert(1)")
    equal([e.text == text for e in found], [True])
    session = str(found[0].session)
    for command in (["query", "--text", "<script>alert"], ["sessions"], ["replay", session]):
        shown = w.cli(*command).stdout
        if "\x1b" in shown or "\u202e" in shown:
            raise AssertionError(f"{command[0]} shows control characters")
    equal([e["text"] == text for e in w.json("query", "--text", "<script>alert")], [True])
    page = _page(w, f"/ui/sessions/{session}")
    if len(page) > 1_000_000 or "<script>alert" in page or "&lt;script&gt;alert" not in page:
        raise AssertionError(f"the page has {len(page)} characters")
    if "characters are not shown here" not in page:
        raise AssertionError("the page does not say how much it hides")
    bundle = os.path.join(w.dir, "all.weir")
    w.cli("export", "--file", bundle)
    key = json.loads(w.cli("verify", "--output", "json").stdout)["log"]["key"]
    verified = subprocess.run([w.binary, "verify", bundle, "--log-key", key], capture_output=True, text=True, timeout=60, check=False)
    if verified.returncode != 0 or "complete and unaltered" not in verified.stdout:
        raise AssertionError((verified.stdout + verified.stderr)[-500:])
    w.stop()


def _page(w, path):
    """A page of the web UI, as a browser that logged in with the one-time link gets it."""
    link = re.search(r"http://\S+", w.cli("ui").stdout).group(0)
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
    door = browser.open(link, timeout=10).read().decode()
    form = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', door))
    origin = "/".join(link.split("/")[:3])
    login = urllib.request.Request(origin + "/ui/login/once", urllib.parse.urlencode(form).encode(),
                                   {"Origin": origin})
    browser.open(login, timeout=10).close()
    with browser.open(origin + path, timeout=30) as page:
        return page.read().decode()


def _works(port):
    try:
        return not wire.Conn(port).query("select 1").errors
    except wire.Refused:
        return False


def _fill(path):
    block = b"\0" * 4096
    with open(path, "ab", buffering=0) as f:
        try:
            while f.write(block) == len(block):
                pass
        except OSError:
            pass


def claims(scene, results):
    """All claims of this file."""
    if not scene.is_weir:
        return
    results.check("kill -9 under Blocking loses no acknowledged event", no_acknowledged_event_lost, scene, BLOCKING)
    results.check("kill -9 under BlockingStrict loses no acknowledged event", no_acknowledged_event_lost, scene, STRICT)
    results.check("BlockingStrict records rows before it delivers them", no_row_before_its_record, scene)
    results.check("labels follow a rename across a restart", labels_follow_across_restart, scene)
    results.check("kill -9 under Batch is reported as a gap", gap_is_reported, scene)
    results.check("kill -9 ends cleanly and a restart serves", fresh_connections_after_restart, scene)
    results.check("SIGTERM drains", sigterm_drains, scene)
    results.check("a second process on a state directory ends and says why", second_process, scene)
    results.check("a statement of 10 MB is recorded whole and shown in bounds", ten_megabytes, scene)
    results.check("full-disk under Blocking refuses before the statement runs", full_disk, scene, BLOCKING, True)
    results.check("full-disk under Batch keeps memory bounded", full_disk, scene, weir.PERMISSIVE, False)
