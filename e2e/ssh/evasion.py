"""Clients that were changed to get around a policy: a root process in a governed pod speaks SSH, SFTP and scp
as it likes. Each attack succeeds where nothing stands in its way; here it gets nothing, and a stock client
that does nearly the same still works."""

import os
import socket
import threading

from hostile import PARAMIKO, PRELUDE
from lab import install, proc
from lab.report import contains, equal, lacks

SECRET, KEPT, MIB = "top-secret-content", "kept as it was", 1 << 20

RULES = """\
apiVersion: weir.dev/v1alpha1
kind: DataLabel
metadata: {{name: pii.found}}
spec: {{detectors: [ssn], mask: {{partial: {{keepLast: 4}}}}}}
---
apiVersion: weir.dev/v1alpha1
kind: ClusterGuardPolicy
metadata: {{name: hosts}}
spec:
  mode: Enforce
  subjects: [{{names: ["*"]}}]
  targets: [host]
  audit: {{record: Commands, delivery: Batch}}
  rules:
  - name: unread
    match: {{ssh: {{sftp: {{operations: [read], paths: ["{there}/safe/*", "{there}/one.txt", /etc/hostname, "{there}/safe.git"]}}}}}}
    action: Deny
  - name: unwritten
    match: {{ssh: {{sftp: {{operations: [write, append], paths: ["{there}/kept.txt"]}}}}}}
    action: Deny
  - {{name: only-more, match: {{ssh: {{sftp: {{operations: [write], paths: ["{there}/log.txt"]}}}}}}, action: Deny}}
  - name: back
    match: {{ssh: {{channels: [forwarded-tcpip]}}}}
    action: RequireApproval
    approval: {{groups: [root], count: 1, deadline: 5m}}
  - {{name: hide, match: {{labels: [pii.found]}}, action: Mask}}
  - {{name: elsewhere, match: {{ssh: {{destinations: ["127.0.0.1:{closed}", "/run/weir-closed.sock"]}}}}, action: Deny}}
  - {{name: forwards, match: {{ssh: {{destinations: ["*"]}}}}, action: Allow}}
  - {{name: bulk, limits: {{statement: {{bytes: 1Mi}}, onExceed: Deny}}}}
"""
LIST = """\
apiVersion: weir.dev/v1alpha1
kind: ClusterGuardPolicy
metadata: {{name: hosts}}
spec:
  default: Deny
  subjects: [{{names: ["*"]}}]
  targets: [host]
  audit: {{record: Commands, delivery: Batch}}
  rules:
  - {{name: looks, match: {{ssh: {{argv: [[cat, "{there}/data/*"]]}}}}, action: Allow}}
"""


def claims(scene, results):
    """All claims."""
    python = install.venv("paramiko", PARAMIKO)
    site = Site(scene, python)
    w = scene.start(policy=RULES.format(there=site.there, closed=site.closed))
    for name in CLIENTS:
        results.check(name.replace("_", " "), raw, site, w, name)
    results.check("scp, rsync and git say what they move, however they are asked", moved, site, w)
    w.stop()
    w = scene.start(policy=LIST.format(there=site.there))
    results.check("a word on a list does not lead out of its directory", listed, site, w)
    w.stop()
    site.close()


class Site:
    """Files of the server's user, and a service on loopback that answers what it gets."""

    def __init__(self, scene, python):
        self.scene, self.python = scene, python
        self.there = f"{scene.server.home}/evasion-{os.getpid()}"
        for name, text in (("safe/key", SECRET), ("one.txt", SECRET), ("kept.txt", KEPT), ("log.txt", KEPT), ("data/plain", "plain"), ("file", "x"),
                           ("big", "0123456789abcdef" * (3 * MIB // 16)), ("a", "a" * 50_000), ("ssn", "805-36-9215\n" * 1000)):
            os.makedirs(os.path.dirname(f"{self.there}/{name}"), exist_ok=True)
            with open(f"{self.there}/{name}", "w", encoding="ascii") as f:
                f.write(text)
        for name in ("sub", "up/d"):
            os.makedirs(f"{self.there}/{name}")
        os.symlink("sub", f"{self.there}/link")
        proc.run(["git", "init", "-q", "--bare", f"{self.there}/safe.git"])
        proc.run(["chown", "-R", scene.server.user, self.there])
        self.service, self.other = (socket.create_server(("127.0.0.1", 0)) for _ in range(2))
        self.open, self.closed = (s.getsockname()[1] for s in (self.service, self.other))
        for s in (self.service, self.other):
            threading.Thread(target=self.serve, args=(s,), daemon=True).start()

    @staticmethod
    def serve(listener):
        """Greets, and keeps what comes."""
        while True:
            try:
                s, _ = listener.accept()
            except OSError:
                return
            s.sendall(b"HELLO")
            threading.Thread(target=s.recv, args=(1,), daemon=True).start()

    def close(self):
        """Nothing is served any more."""
        self.service.close()
        self.other.close()

    def read(self, name):
        """What a file of the server holds."""
        with open(f"{self.there}/{name}", encoding="utf-8") as f:
            return f.read()


def raw(site, w, name):
    code = f"there, opened, closed = {site.there!r}, {site.open}, {site.closed}\n" + TOOLS + CLIENTS[name]
    done = proc.run([site.python, "-", str(w.port), site.scene.server.user], input=PRELUDE + code, check=False, timeout=120)
    contains(done.stdout, "ok", done.stdout[-600:] + done.stderr[-900:])
    lacks(done.stdout, SECRET)
    for kept in ("kept.txt", "log.txt"):
        equal(site.read(kept)[:len(KEPT)], KEPT, kept)


def moved(site, w):
    got = f"{proc.workdir('weir-evasion-')}/got"
    shell = " ".join(["ssh", *site.scene.options(w)])
    for extra in ([], ["-s"]):
        done = proc.run(["rsync", *extra, "-e", shell, f"127.0.0.1:{site.there}/safe/key", got], check=False)
        assert done.returncode != 0 and not os.path.exists(got), (extra, done)
    done = proc.run(["rsync", "-e", shell, f"127.0.0.1:{site.there}/data/plain", got], check=False)
    equal(done.returncode, 0, done.stderr)
    for command in (f"scp -ct -f {site.there}/safe/key", f"scp -f {site.there}/link/../safe/key",
                    f"git-upload-pack {site.there}/safe", "rsync --server --daemon .", f"scp {site.there}/safe/key {site.there}/copy",
                    f"scp {site.there}/safe/* {site.there}", f"rsync {site.there}/one.txt {site.there}/copy"):
        done = site.scene.ssh(command, w=w, input="\0\0\0\0")
        contains(done.stderr, "unread", command)
    assert not os.path.exists(f"{site.there}/copy")
    for command in (f"scp {site.there}/data/plain {site.there}/kept.txt", f"rsync {site.there}/data/plain {site.there}/kept.txt"):
        contains(site.scene.ssh(command, w=w).stderr, "unwritten", command)
    done = site.scene.ssh(f"scp {site.there}/data/plain {site.there}/up/plain && cat {site.there}/up/plain", w=w)
    equal(done.stdout, "plain", done.stderr)


def listed(site, w):
    equal(site.scene.ssh(f"cat {site.there}/data/plain", w=w).stdout, "plain")
    for word in (f"{site.there}/data/../safe/key", f"{site.there}/data/x/../../safe/key"):
        answer = site.scene.ssh(f"cat {word}", w=w)
        equal((answer.returncode, answer.stdout), (126, ""), word)
    # Nor does a variable change what a word on it does.
    answer = site.scene.ssh(f"cat {site.there}/data/plain", w=w, options=("SetEnv=LD_PRELOAD=/tmp/x.so",))
    contains(answer.stderr, "(default)")


TOOLS = r"""
from paramiko.common import cMSG_CHANNEL_REQUEST as REQUEST, cMSG_CHANNEL_DATA as DATA
def text(x):
    x = x if isinstance(x, bytes) else x.encode()
    return struct.pack(">I", len(x)) + x
def everything(c, timeout=15):
    c.settimeout(timeout)
    found = b""
    while True:
        piece = c.recv(65536)
        if not piece: return found
        found += piece
class Sftp:
    # one request at a time; an answer is (type, what follows its number)
    def __init__(self):
        self.c = t.open_session()
        self.c.invoke_subsystem("sftp")
        self.c.settimeout(15)
        self.number, self.buffer = 0, b""
        self.send(1, struct.pack(">I", 3))
        self.packet()
    def send(self, kind, body):
        self.c.sendall(struct.pack(">IB", len(body) + 1, kind) + body)
    def take(self, count):
        while len(self.buffer) < count:
            piece = self.c.recv(65536)
            assert piece, "the channel has ended"
            self.buffer += piece
        found, self.buffer = self.buffer[:count], self.buffer[count:]
        return found
    def packet(self):
        body = self.take(struct.unpack(">I", self.take(4))[0])
        return body[0], body[5:]
    def ask(self, kind, *fields):
        self.number += 1
        self.send(kind, struct.pack(">I", self.number) + b"".join(fields))
        return self.packet()
    def open(self, path, flags=1):
        kind, body = self.ask(3, text(path), struct.pack(">II", flags, 0))
        return body[4:] if kind == 102 else None
    def read(self, handle, offset=0, length=32768):
        kind, body = self.ask(5, text(handle), struct.pack(">QI", offset, length))
        return body[4:] if kind == 103 else None
    def cat(self, path, flags=1):
        handle = self.open(path, flags)
        return None if handle is None else self.read(handle)
    def done(self, *asked):
        kind, body = self.ask(*asked)
        return kind == 101 and body[:4] == bytes(4)
def scp(command, *parts):
    # each part once the far end has said something, or has ended
    c = t.open_session()
    c.exec_command(command)
    c.settimeout(3)
    found = b""
    for part in (*parts, None):
        try: found += c.recv(65536)
        except socket.timeout: pass
        try: part is not None and c.sendall(part)
        except OSError: break
    c.close()
    return found
"""

# name: what the client does; it prints "ok" when it got nothing, and what it may have
CLIENTS = {
    "a_second_program_on_a_channel_refills_no_limit": r"""
c = t.open_session(window_size=65536)
c.exec_command(f"cat {there}/big")
c.settimeout(15)
got = 0
while True:
    piece = c.recv(32768)
    if not piece: break
    got += len(piece)
    try: send(REQUEST, c.remote_chanid, "exec", False, "true")
    except Exception: break
assert got <= 1 << 20, got
print("ok")
""",
    "a_second_program_on_a_channel_takes_no_mask_away": r"""
for second in (("exec", False, "git-upload-pack x"), ("subsystem", False, "sftp"), ("exec", False, "scp -t x"), ("shell", False)):
    c = t.open_session()
    c.exec_command(f"read line; cat {there}/ssn")
    send(REQUEST, c.remote_chanid, *second)
    c.sendall(b"go\n")
    shown = everything(c)
    assert shown == b"***-**-9215\n" * 1000, (second, shown[:100])
assert alive() == b"alive\n"
print("ok")
""",
    "a_file_is_read_only_if_it_may_be_whatever_it_is_opened_for": r"""
f = Sftp()
for flags in (0, 1, 3, 4, 8, 9, 12, 0x20, 0x28):
    assert f.open(there + "/safe/key", flags) is None, flags
assert f.cat(there + "/data/plain", 8) == b"plain"
print("ok")
""",
    "paths_that_lead_up_out_of_a_link_find_what_was_judged": r"""
f = Sftp()
for path in ("/var/run/../etc/hostname", "/proc/self/root/../etc/hostname", there + "/link/../one.txt", there + "/sub/../safe/key",
             "../../../etc/hostname", "x/../../../etc/hostname"):
    assert f.cat(path) is None, path
assert f.cat(there + "/sub/../data/plain") == b"plain"
assert f.cat(there + "/nothing/../data/plain") == b"plain"
print("ok")
""",
    "nothing_comes_to_be_called_otherwise_through_a_directory_above_it": r"""
f = Sftp()
for fields in ((18, text(there + "/safe"), text(there + "/x")), (20, text(there), text(there + "/x")),
               (18, text(there), text(there + "x")), (20, text("../safe"), text(there + "/up/x")),
               (20, text("/var/run/../etc/hostname"), text(there + "/x")), (20, text(there + "/safe/key"), text(there + "/x"))):
    assert not f.done(*fields), fields
for path in ("/x", "/x/key", "/x/safe/key", "/up/x/key"):
    assert f.cat(there + path) is None, path
# The same once the server has said where home is.
f.ask(16, text("."))
for n, (target, behind) in enumerate((("../safe/key", ""), ("..", "/safe/key"), ("/proc/self/cwd", "/" + there.split("/")[-1] + "/safe/key"))):
    assert not f.done(20, text(target), text(f"{there}/up/l{n}")), target
    assert f.cat(f"{there}/up/l{n}{behind}") is None, target
assert f.done(18, text(there + "/a"), text(there + "/b")) and f.done(18, text(there + "/b"), text(there + "/a"))
assert f.done(20, text(there + "/sub"), text(there + "/y")) and f.done(13, text(there + "/y"))
print("ok")
""",
    "a_link_leads_to_nothing_else_from_where_it_is_moved_to": r"""
f = Sftp()
def moved(old, new, *, kind=18, extension=None):
    named = (text(f"{there}/{old}"), text(f"{there}/{new}"))
    return f.done(200, text(extension), *named) if extension else f.done(kind, *named)
def link(target, name): return f.done(20, text(target), text(f"{there}/{name}"))
for home in (False, True):
    for target, behind in (("one.txt", ""), ("safe/key", ""), ("./safe", "/key"), ("etc/../one.txt", "")):
        if not link(target, "sub/l"):
            assert ".." in target, target
            continue
        for extension in (None, "posix-rename@openssh.com", "hardlink@openssh.com"):
            assert not moved("sub/l", "l", extension=extension), (target, extension)
            assert f.cat(f"{there}/l{behind}") is None, (target, extension)
        assert f.done(13, text(there + "/sub/l"))
    # Where it leads to nothing that is denied, and what is no link, goes anywhere.
    assert link("data/plain", "sub/l") and moved("sub/l", "l") and f.cat(there + "/l") == b"plain"
    assert f.done(13, text(there + "/l"))
    assert link("/nowhere", "sub/l") and moved("sub/l", "l") and f.done(13, text(there + "/l"))
    assert moved("data", "up/data") and moved("up/data", "data") and f.cat(there + "/data/plain") == b"plain"
    assert moved("data/plain", "sub/plain", extension="posix-rename@openssh.com") and moved("sub/plain", "data/plain")
    assert not moved("sub/nothing", "nothing")
    f.ask(16, text("."))
# Requests that come together are answered in their order.
for number, kind, fields in ((700, 20, (text("one.txt"), text(there + "/sub/l"))), (701, 18, (text(there + "/sub/l"), text(there + "/l"))),
                             (702, 17, (text(there + "/data/plain"),)), (703, 18, (text(there + "/data/plain"), text(there + "/up/plain"))),
                             (704, 18, (text(there + "/up/plain"), text(there + "/data/plain")))):
    f.send(kind, struct.pack(">I", number) + b"".join(fields))
kinds = [f.packet() for _ in range(5)]
assert [kind for kind, _ in kinds] == [101, 101, 105, 101, 101], kinds
assert [body[:4] for kind, body in kinds if kind == 101] == [bytes(4), struct.pack(">I", 3), bytes(4), bytes(4)], kinds
assert f.done(13, text(there + "/sub/l"))
print("ok")
""",
    "nothing_is_written_by_another_name_or_cut_by_its_size": r"""
f = Sftp()
kept = text(there + "/kept.txt")
assert not f.done(20, kept, text(there + "/z"))
assert not f.done(200, text("hardlink@openssh.com"), kept, text(there + "/z"))
assert not f.done(9, kept, struct.pack(">IQ", 1, 0))
assert f.open(there + "/log.txt", 2) is None
log = f.open(there + "/log.txt", 2 | 4)
assert not f.done(10, text(log), struct.pack(">IQ", 1, 0))
assert f.done(6, text(log), struct.pack(">Q", 0) + text("more"))
assert f.done(9, kept, struct.pack(">II", 4, 0o644))
assert f.done(9, text(there + "/file"), struct.pack(">IQ", 1, 1))
print("ok")
""",
    "what_waits_for_approval_is_not_opened_by_the_client_itself": r"""
from paramiko.common import cMSG_CHANNEL_OPEN_SUCCESS as CONFIRM
for guess in range(4):
    with socket.create_server(("127.0.0.1", 0)) as free: port = free.getsockname()[1]
    t = paramiko.Transport(("127.0.0.1", int(sys.argv[1])))
    t.start_client(timeout=15)
    t.auth_none(sys.argv[2])
    t.request_port_forward("127.0.0.1", port, handler=lambda *_: None)
    s = socket.create_connection(("127.0.0.1", port))
    s.sendall(b"PRIVATE")
    time.sleep(1)
    c = paramiko.Channel(77)
    t._channels.put(77, c)
    c._set_transport(t)
    c._set_window(1 << 20, 32768)
    c.settimeout(2)
    found = b""
    try:
        send(CONFIRM, guess, 77, 1 << 20, 32768)
        found = c.recv(100)
    except (OSError, EOFError): pass
    assert found == b"", (guess, found)
    t.close()
print("ok")
""",
    "a_file_above_a_limit_is_not_copied_into_parts": r"""
f = Sftp()
def copy(name):
    source, target = f.open(there + "/" + name), f.open(there + "/part", 2 | 8 | 16)
    return f.done(200, text("copy-data"), text(source), struct.pack(">QQ", 0, 1000), text(target), struct.pack(">Q", 0))
assert copy("a") and not copy("big")
print("ok")
""",
    "a_handle_that_is_not_open_is_an_error_of_its_request_alone": r"""
f = Sftp()
assert f.read(b"nonsense") is None
handle = f.open(there + "/data/plain")
assert f.done(4, text(handle)) and not f.done(4, text(handle))
for number in (900, 901):
    f.send(3, struct.pack(">I", number) + text(there + "/data/plain") + struct.pack(">II", 1, 0))
first, second = f.packet()[1][4:], f.packet()[1][4:]
for number in (902, 903):
    f.send(4, struct.pack(">I", number) + text(first))
assert [f.packet()[1][:4] for _ in range(2)] == [bytes(4), struct.pack(">I", 4)]
assert f.read(second) == b"plain"
print("ok")
""",
    "scp_hides_no_file_in_what_was_not_sent": r"""
size = b"%d" % len(b"C0644 5 kept.txt\nhello\0")
scp("scp -t " + there, b"C0644 " + size + b" sub\n", b"C0644 5 kept.txt\n", b"hello\0")
scp("scp -r -t " + there, b"D0755 0 up\n", b"D0755 0 d\n", b"E\n", b"E\n", b"D0755 0 file\n", b"C0644 5 kept.txt\n", b"hello\0")
scp("scp -t " + there, b"C0644 5 " + b"x" * 2039 + b"C0644 5 kept.txt\n", b"hello\0")
found = scp(f"scp -f {there}/a {there}/one.txt", b"\0", b"\x01no\n", b"\0", b"\0")
assert found.startswith(b"C0644 50000 a\n"), found
print(found[14:].decode())
found = scp(f"scp -f {there}/a {there}/data/plain", b"\0", b"\x01no\n", b"\0", b"\0")
assert b"plain\0" in found[14:], found
scp("scp -t " + there, b"C0644 5 new.txt\nhello\0")
f = Sftp()
assert f.cat(there + "/new.txt") == b"hello"
print("ok")
""",
    "a_client_cannot_speak_for_the_server_inside_its_own_forward": r"""
t.close()
for number in range(4):
    t = paramiko.Transport(("127.0.0.1", int(sys.argv[1])))
    t.start_client(timeout=15)
    t.auth_none(sys.argv[2])
    c = t.open_channel("direct-tcpip", ("127.0.0.1", opened), ("127.0.0.1", 1))
    c.settimeout(2)
    assert c.recv(100) == b"HELLO"
    found = b""
    try:
        send(DATA, number, b"INJECTED")
        found = c.recv(100)
    except (OSError, EOFError): pass
    assert found == b"", (number, found)
    t.close()
print("ok")
""",
    "a_forward_leads_nowhere_else_however_its_end_is_spelt": r"""
for host in ("127.0.0.1", "localhost", "LOCALHOST", "0x7f000001", "2130706433", "0177.0.0.1", "127.1", "0", "0.0.0.0", "::ffff:127.0.0.1"):
    try:
        t.open_channel("direct-tcpip", (host, closed), ("127.0.0.1", 1))
        raise SystemExit(host)
    except paramiko.ChannelException as error:
        assert error.code == 1, (host, error)
c = t.open_channel("direct-tcpip", ("127.1", opened), ("127.0.0.1", 1))
c.settimeout(15)
assert c.recv(100) == b"HELLO"
print("ok")
""",
}
