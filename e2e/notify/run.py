#!/usr/bin/env python3
"""People are told in Slack and by mail, and decide in Slack: real clients, real receivers, real Weir.

    run.py --weir PATH [--only button]

Slack is played by a server that checks every message with Slack's own models; mail goes to aiosmtpd with
STARTTLS and a login. Last line: N passed, N failed.
"""

import argparse
import email
import email.policy
import hashlib
import hmac
import http.client
import json
import os
import queue
import subprocess
import sys
import threading
import time
import urllib.parse

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../lib"))
from lab import install, postgres, proc, report, weir, wire  # noqa: E402
from lab.report import contains, equal, lacks  # noqa: E402

PACKAGES = ("aiosmtpd==1.4.6", "slack_sdk==3.48.0")
TOKEN, SECRET, PASSWORD = "xoxb-test-token", "8f742231b10e8888abcd99yyyzzz85a5", "mail-secret"
POLICY = """\
apiVersion: weir.dev/v1alpha1
kind: ClusterGuardPolicy
metadata: {name: shop}
spec:
  mode: Enforce
  subjects: [{names: ["*"]}]
  targets: [db]
  audit: {record: Full, delivery: Batch}
  rules:
  - name: bulk
    match: {sql: {tables: [public.orders]}}
    limits: {statement: {rows: 10}, onExceed: RequireApproval}
    approval: {groups: [data-stewards, root], count: 1, deadline: 60s}
"""
# What is said beside a statement whose result is held in its middle: the server cannot be asked then.
UNTOLD = "\n\nIn which role and by which search path it runs is not known."
NOTIFICATIONS = """\
notifications:
  uiURL: https://weir.example
  slack:
    tokenFile: slack.token
    channel: "#holds"
    apiURL: http://127.0.0.1:{slack}/api
    allowHTTP: true
    signingSecretFile: slack.secret
    people:
    - {{slack: U0JANE, user: jane@example, groups: [data-stewards]}}
    - {{slack: U0BOB, user: bob@example, groups: [guests]}}
    - {{slack: U0SELF, user: reporter, groups: [data-stewards]}}
  email:
    host: localhost
    port: {mail}
    username: weir
    passwordFile: mail.password
    caFile: ca.pem
    from: Weir <weir@example.org>
    to: [Stewards <stewards@example.org>]
"""
SQL = "CREATE TABLE orders (id int PRIMARY KEY, body text); " \
      "INSERT INTO orders SELECT g, 'order ' || g FROM generate_series(1, 50) g;"


class Receiver:
    """A process that prints its port, then lines of JSON."""

    def __init__(self, *argv):
        self.child = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
        self.port = int(self.child.stdout.readline())
        self.lines, self.all = queue.Queue(), []
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.child.stdout:
            self.lines.put(json.loads(line))

    def next(self, claim, what, timeout=20):
        """The next line of which `claim` holds; those before it are dropped."""
        end = time.monotonic() + timeout
        while True:
            try:
                line = self.lines.get(timeout=max(0.01, end - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"{what}: it did not come; came: {str(self.all[-5:])[:2000]}") from None
            self.all.append(line)
            if claim(line):
                return line

    def stop(self):
        """Ends it."""
        self.child.kill()
        self.child.wait()


class Scene:
    """PostgreSQL, both receivers, Weir."""

    def __init__(self, binary):
        python = install.venv("notify", *PACKAGES)
        self.dir = proc.workdir("weir-notify-")
        self._certificates()
        self.slack = Receiver(python, os.path.join(HERE, "slack_receiver.py"), TOKEN, "1")
        self.mail = Receiver(python, os.path.join(HERE, "mail_receiver.py"), self._path("cert.pem"),
                             self._path("key.pem"), "weir", PASSWORD)
        self.server = postgres.Postgres(15).start()
        self.server.psql("CREATE ROLE app LOGIN PASSWORD 'app-secret'; ")
        self.server.psql("CREATE DATABASE shop OWNER app;")
        self.server.psql("\\c shop\nSET ROLE app;\n" + SQL)
        for name, text in (("slack.token", TOKEN), ("slack.secret", SECRET), ("mail.password", PASSWORD)):
            with open(self._path(name), "w", encoding="ascii") as f:
                f.write(text + "\n")
        target = weir.target_yaml(self.server.port, client_tls="Refuse")
        self.weir = weir.Weir(binary, self.server.port, target=target, policies=POLICY, where=self.dir)
        with open(self.weir.config, "a", encoding="utf-8") as f:
            f.write(NOTIFICATIONS.format(slack=self.slack.port, mail=self.mail.port))
        self.weir.start()

    def _path(self, name):
        return os.path.join(self.dir, name)

    def _certificates(self):
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        proc.run(["openssl", "req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-days", "3",
                  "-subj", "/CN=mail-ca"], cwd=self.dir)
        with open(self._path("ext"), "w", encoding="ascii") as f:
            f.write("subjectAltName=DNS:localhost\n")
        proc.run(["openssl", "req", *key, "-keyout", "key.pem", "-out", "csr.pem", "-subj", "/CN=mail"], cwd=self.dir)
        proc.run(["openssl", "x509", "-req", "-in", "csr.pem", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
                  "-days", "3", "-out", "cert.pem", "-extfile", "ext"], cwd=self.dir)

    def held(self, sql="SELECT id, body FROM orders ORDER BY id"):
        """A statement that is held: its connection, the thread that reads, and Slack's message."""
        conn = wire.Conn(self.weir.port, timeout=60)
        answer = []
        conn.send(wire.query(sql))
        thread = threading.Thread(target=lambda: answer.append(wire.Answer(conn.until_ready())), daemon=True)
        thread.start()
        message = self.slack.next(lambda line: line["status"] == 200 and is_first(line), "Slack's message")
        return Held(self, conn, thread, answer, message)

    def press(self, payload, secret=SECRET, at=None, signature=None):
        """What Slack sends when somebody presses a button: (status, body)."""
        body = "payload=" + urllib.parse.quote_plus(json.dumps(payload))
        at = str(int(time.time()) if at is None else at)
        right = hmac.new(secret.encode(), f"v0:{at}:{body}".encode(), hashlib.sha256).hexdigest()
        headers = {"X-Slack-Request-Timestamp": at, "X-Slack-Signature": signature or f"v0={right}",
                   "Content-Type": "application/x-www-form-urlencoded"}
        connection = http.client.HTTPConnection("127.0.0.1", self.weir.collector_port, timeout=10)
        connection.request("POST", "/slack/interactions", body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()

    def answer(self, path):
        """What was said at a place for answers."""
        return self.slack.next(lambda line: line["path"] == path, f"the answer at {path}")["body"]


class Held:
    """A held statement."""

    def __init__(self, scene, conn, thread, answer, message):
        self.scene, self.conn, self.thread, self.reply, self.message = scene, conn, thread, answer, message
        self.blocks = message["body"]["blocks"]
        actions = next(block for block in self.blocks if block["type"] == "actions")
        self.buttons = {one["action_id"]: one for one in actions["elements"]}
        self.value = json.loads(self.buttons["weir_deny"]["value"])
        self.name = self.value["name"]

    def payload(self, user, action, answer_to="/actions/1"):
        """Of a press."""
        return {"type": "block_actions", "user": {"id": user}, "trigger_id": "123.456",
                "response_url": f"http://127.0.0.1:{self.scene.slack.port}{answer_to}",
                "message": {"blocks": self.blocks},
                "actions": [{"type": "button", "action_id": action, "value": self.buttons[action]["value"]}]}

    def result(self):
        """The client's answer."""
        self.thread.join(20)
        assert not self.thread.is_alive(), "the client still waits"
        return self.reply[0]

    def waits(self):
        """Whether nobody has decided."""
        return self.name in [one["name"] for one in self.scene.weir.requests()]

    def end(self):
        """Leaves nothing behind: the same statement would wait for the same request."""
        if self.waits():
            self.scene.weir.cli("deny", self.name, "--reason", "test is over")
        self.thread.join(20)
        self.conn.close()


def is_first(line):
    """Whether a line is a request's first message."""
    body = line["body"]
    return line["path"] == "/api/chat.postMessage" and "thread_ts" not in body


def statement_of(blocks):
    """The preformatted text."""
    return "".join(block["elements"][0]["elements"][0]["text"] for block in blocks if block["type"] == "rich_text")


def button_approves(scene):
    """The message is in Slack's own form, whole; one press and the client has all rows."""
    held = scene.held()
    try:
        equal(scene.slack.all[0]["status"], 429, "the first attempt was too early for Slack")
        equal(held.message["problem"], None, "what Slack's models say")
        equal(held.message["body"]["channel"], "#holds")
        equal(statement_of(held.blocks), "SELECT id, body FROM orders ORDER BY id" + UNTOLD)
        shown = json.dumps(held.blocks)
        for part in ("reporter", "shop/bulk", "data-stewards", "10 rows delivered", "weir approve", held.name):
            contains(shown, part)
        equal(held.buttons["weir_open"]["url"], f"https://weir.example/ui/holds/{held.name}")
        equal(scene.press(held.payload("U0JANE", "weir_approve")), (200, ""))
        answer = held.result()
        equal((len(answer.rows), answer.code), (50, None))
        said = scene.answer("/actions/1")
        assert said["replace_original"] is True, said
        contains(json.dumps(said["blocks"]), "Approved by jane@example")
        lacks(json.dumps(said["blocks"]), "weir_actions")
        decided = proc.wait_until(lambda: scene.weir.events(kind="access_request_decided"), "evidence", 10)
        equal((decided[-1].raw["approver"], decided[-1].raw["via"]), ("jane@example", "slack"))
        end = scene.slack.next(lambda line: line["path"] == "/api/chat.update", "the message without buttons")
        equal((end["problem"], end["body"]["ts"], end["body"]["channel"]), (None, held.message["ts"], "C0RESOLVED"))
        lacks(json.dumps(end["body"]["blocks"]), "weir_approve")
        posted = [line for line in scene.slack.all if line["body"].get("thread_ts") == held.message["ts"]]
        contains(json.dumps(posted), "Approved by jane@example")
    finally:
        held.end()


def mail_is_one_thread(scene):
    """Letters came over TLS, after a login, and refer to the first."""
    held = scene.held()
    try:
        about = f"({held.name})"
        first = scene.mail.next(lambda line: about in line["letter"], "a letter")
        equal((first["tls"], first["login"], first["from"]), (True, True, "weir@example.org"))
        letter = email.message_from_string(first["letter"], policy=email.policy.default)
        contains(letter["subject"], "Approval needed: reporter on db")
        equal(letter["auto-submitted"], "auto-generated")
        plain = letter.get_body(("plain",)).get_content()
        page = letter.get_body(("html",)).get_content()
        for part in (plain, page):
            contains(part, "SELECT id, body FROM orders ORDER BY id")
            contains(part, f"https://weir.example/ui/holds/{held.name}")
        scene.weir.cli("deny", held.name, "--reason", "not today")
        second = scene.mail.next(lambda line: about in line["letter"], "the letter about the end")
        second = email.message_from_string(second["letter"], policy=email.policy.default)
        equal(second["references"], letter["message-id"])
        equal(second["in-reply-to"], letter["message-id"])
    finally:
        held.end()


def strangers_decide_nothing(scene):
    """Who is not mapped, not in the group, or the requester, is told so, and nothing is decided."""
    held = scene.held()
    try:
        for user, place, words in (("U0NOBODY", "/actions/2", "does not know who you are"),
                                   ("U0BOB", "/actions/3", "is not among those who may decide"),
                                   ("U0SELF", "/actions/4", "is the requester")):
            equal(scene.press(held.payload(user, "weir_approve", place))[0], 200)
            said = scene.answer(place)
            equal((said["response_type"], said["replace_original"]), ("ephemeral", False))
            contains(said["text"], words)
            if user == "U0NOBODY":
                contains(said["text"], f"https://weir.example/ui/holds/{held.name}")
        assert held.waits(), "somebody decided"
    finally:
        held.end()


def forgeries_decide_nothing(scene):
    """What Slack did not sign, signed long ago, or sent before, is refused; so is another place for answers."""
    held = scene.held()
    try:
        payload = held.payload("U0JANE", "weir_approve")
        equal(scene.press(payload, secret="other")[0], 401)
        equal(scene.press(payload, signature="v0=" + "0" * 64)[0], 401)
        equal(scene.press(payload, signature="none")[0], 401)
        equal(scene.press(payload, at=int(time.time()) - 301)[0], 401)
        equal(scene.press({"type": "block_actions", "user": {"id": "U0JANE"}, "actions": [
            {"action_id": "weir_approve", "value": "weir-x"}]})[0], 400)
        bob, at = held.payload("U0BOB", "weir_approve", "/actions/5"), int(time.time())
        equal(scene.press(bob, at=at)[0], 200)
        equal(scene.press(bob, at=at)[0], 401)
        scene.answer("/actions/5")
        away = held.payload("U0NOBODY", "weir_approve")
        away["response_url"] = "http://localhost:1/elsewhere"
        equal(scene.press(away)[0], 200)
        proc.wait_until(lambda: "for an answer" in open(scene.weir.log, encoding="utf-8").read(), "it is refused", 10)
        assert held.waits(), "somebody decided"
        for secret in (TOKEN, SECRET, PASSWORD):
            lacks(open(scene.weir.log, encoding="utf-8").read(), secret, "the log")
    finally:
        held.end()


def denial_asks_why(scene):
    """Deny opens a dialog; its reason reaches the client; without a reason nothing happens."""
    held = scene.held()
    try:
        equal(scene.press(held.payload("U0JANE", "weir_deny", "/actions/6"))[0], 200)
        opened = scene.slack.next(lambda line: line["path"] == "/api/views.open", "the dialog")["body"]
        equal(opened["trigger_id"], "123.456")

        def submit(reason):
            view = {"callback_id": opened["view"]["callback_id"],
                    "private_metadata": opened["view"]["private_metadata"],
                    "state": {"values": {"reason": {"reason": {"type": "plain_text_input", "value": reason}}}}}
            return scene.press({"type": "view_submission", "user": {"id": "U0JANE"}, "view": view})
        status, text = submit("  ")
        equal((status, json.loads(text)["response_action"]), (200, "errors"))
        assert held.waits(), "a denial without a reason counted"
        equal(submit("not on a Saturday")[0], 200)
        answer = held.result()
        contains(str(answer.errors), "not on a Saturday")
        contains(scene.answer("/actions/6")["text"], "Denied by jane@example: not on a Saturday")
    finally:
        held.end()


def long_statement_is_whole(scene):
    """A statement of 40,000 characters is there in full, over several messages of one thread."""
    comment = "".join(f"-- line {n} <&> ä😀\n" for n in range(2000))
    sql = f"SELECT id, body FROM orders ORDER BY id\n{comment}"
    held = scene.held(sql)
    try:
        parts = [held.message]
        while len(statement_of([block for part in parts for block in part["body"]["blocks"]])) < len(sql):
            more = scene.slack.next(lambda line: line["body"].get("thread_ts") == held.message["ts"], "the next part")
            equal(more["problem"], None)
            parts.append(more)
        equal(statement_of([block for part in parts for block in part["body"]["blocks"]]), sql + UNTOLD)
        assert len(parts) > 2, len(parts)
    finally:
        held.end()


def channels_are_counted(scene):
    """Metrics say what each receiver took."""
    text = scene.weir.metrics()
    for channel in ("slack", "email"):
        line = next(line for line in text.splitlines()
                    if line.startswith("weir_notifications_total") and f'channel="{channel}"' in line
                    and 'outcome="sent"' in line)
        assert float(line.rsplit(" ", 1)[1]) >= 3, line


def main():
    """All claims."""
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--weir", metavar="PATH", required=True)
    ap.add_argument("--only", help="parts of names, by comma")
    a = ap.parse_args()
    scene = Scene(a.weir)
    results = report.Report(a.only)
    for claim in (button_approves, mail_is_one_thread, strangers_decide_nothing, forgeries_decide_nothing,
                  denial_asks_why, long_statement_is_whole, channels_are_counted):
        results.check(f"notify: {claim.__name__}", claim, scene)
    scene.weir.stop()
    scene.slack.stop()
    scene.mail.stop()
    results.finish()


if __name__ == "__main__":
    main()
