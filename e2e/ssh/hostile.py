"""Peers that do not keep to the protocol: a clear end, flat memory, and everybody else is served."""

import os
import socket
import struct
import time

from lab import install, proc, weir
from lab.report import contains, equal, lacks

HERE = os.path.dirname(os.path.abspath(__file__))

PARAMIKO = "paramiko==3.5.1"


def claims(scene, results):
    """All claims."""
    results.check("the strict key exchange is offered (terrapin)", strict, scene)
    results.check("weak algorithms are not offered", weak, scene)
    results.check("a banner of a megabyte is cut", lambda: cut(scene, b"A" * (1 << 20)))
    results.check("bytes that are not SSH are cut", lambda: cut(scene, b"GET / HTTP/1.1\r\n\r\n"))
    results.check("an impossible packet length is cut",
                  lambda: cut(scene, b"SSH-2.0-x\r\n" + struct.pack(">I", 0x7FFFFFFF) + b"\0" * 64))
    results.check("a packet of length zero is cut",
                  lambda: cut(scene, b"SSH-2.0-x\r\n" + struct.pack(">I", 0) + b"\0" * 64))
    results.check("lines before the greeting without end are cut", lambda: cut(scene, b"patience\r\n" * 200_000))
    results.check("clients that connect and say nothing take no place of the server's, and little memory", slow, scene)
    results.check("commands that run what they write, and so on, end nothing but themselves", rewritten, scene)
    python = install.venv("paramiko", PARAMIKO)
    for name in CLIENTS:
        results.check(f"{name.replace('_', ' ')}", raw, scene, python, name)
    servers(scene, results, python)


def rewritten(scene):
    # The text is walked in Weir: what it writes is read as what it runs.
    for text in ("cd $(mktemp -d); echo x > x; ./x", "cd $(mktemp -d); printf '[include]\\npath = c\\n' > c; git -c include.path=c status",
                 "cd $(mktemp -d); echo '. ./y' > x; echo '. ./x' > y; echo . ./x"):
        scene.ssh(text)
        equal(scene.ssh("echo alive").stdout.strip(), "alive", text)


# what a server does: (what the client is told, what stands in the record); none: the connection lives on
SERVERS = {
    "says nothing": ("silent", "did not complete the key exchange"),
    "sends lines before its greeting without end": ("lines", "key exchange with the server failed"),
    "sends one line without end": ("line", "key exchange with the server failed"),
    "states an impossible packet length": ("oversized", "key exchange with the server failed"),
    "sends a message in the middle of the first key exchange (terrapin)": ("injected", "key exchange with the server failed"),
    "sends data for a channel that was never opened": ("stray", "no channel 4242"),
    "sends more than its window": ("overrun", "more data than the window"),
    "shows another host key when keys are exchanged anew": ("rekey", "which the target does not know"),
    "grants windows without end": ("windows", None),
    "opens thousands of channels": ("opens", None),
    "says goodbye with commands for a terminal": ("escape", "bye"),
}
SFTP = {"an empty packet": "sftp-zero", "a packet of four gigabytes": "sftp-huge", "a request as an answer": "sftp-kind",
        "an answer that nobody waits for": "sftp-number", "a field that is longer than its packet": "sftp-inner"}


class Rogue:
    """A server that breaks the protocol, and Weir before it."""

    def __init__(self, scene, python):
        self.scene, self.python, self.port = scene, python, proc.free_port()
        target = scene.target().replace(f"port: {scene.server.port}", f"port: {self.port}")
        where = proc.workdir("weir-rogue-")
        scene.secrets(where, ssh_privatekey=scene.server.read("key"))
        self.weir = weir.Weir(scene.binary, self.port, target=target, where=where, policies=scene.policy,
                              target_name="host").start()

    def serve(self, how):
        """The server, until it is stopped."""
        child = proc.spawn([self.python, os.path.join(HERE, "rogue.py"), str(self.port), self.scene.server.path("hostkey"),
                            self.scene.server.path("otherhostkey"), how])
        proc.wait_until(lambda: proc.accepts(self.port), "the server listens", child=child)
        return child


def servers(scene, results, python):
    """Claims about servers."""
    rogue = Rogue(scene, python)
    for name, (how, told) in SERVERS.items():
        results.check(f"a server that {name}", server, rogue, how, told)
    for name, how in SFTP.items():
        results.check(f"a server that answers SFTP with {name}", sftp_server, rogue, how)
    results.check("how those servers ended their connections is recorded, in words fit for a terminal", ends, rogue)
    rogue.weir.stop()


def ends(rogue):
    rogue.weir.settle()
    closed = rogue.weir.events(kind="connection_refused") + rogue.weir.events(kind="connection_closed")
    reasons = [e.raw["reason"] for e in closed]
    for _, told in SERVERS.values():
        assert told is None or any(told in reason for reason in reasons), (told, reasons)
    for reason in reasons:
        assert reason.isprintable(), repr(reason)
    found = [e.raw["code"] for e in rogue.weir.events(kind="finding")]
    equal(found.count("host_key_refused"), 1, "findings about another host key")
    broken = [s for s in rogue.weir.statements() if "not SFTP" in (s.raw.get("reason") or "")]
    equal(len(broken), len(SFTP), "subsystems that were ended")


def server(rogue, how, told):
    child = rogue.serve(how)
    try:
        before = proc.held_kb(rogue.weir.pid)
        start = time.monotonic()
        answer = rogue.scene.ssh("go", w=rogue.weir)
        assert time.monotonic() - start < 20, "the client waited too long"
        if told is None:
            equal((answer.returncode, answer.stdout), (0, "well\n"), answer.stderr)
        else:
            equal(answer.returncode, 255, answer.stdout + answer.stderr)
            contains(answer.stderr, told)
            lacks(answer.stdout, "still here")
        grown = proc.held_kb(rogue.weir.pid) - before
        assert grown < 30_000, f"memory grew by {grown} kB"
        if how not in ("silent", "lines", "line", "oversized", "injected"):
            equal(rogue.scene.ssh("behave", w=rogue.weir).stdout, "well\n", "the next connection")
    finally:
        proc.stop(child)


def sftp_server(rogue, how):
    child = rogue.serve(how)
    try:
        answer = proc.run(["sftp", *rogue.scene.options(rogue.weir), "-b", "-", "127.0.0.1"], input="ls /\n", check=False,
                          timeout=30)
        assert answer.returncode != 0, answer.stdout
        contains(answer.stderr, "what is sent is not SFTP")
    finally:
        proc.stop(child)


def slow(scene):
    before = proc.held_kb(scene.weir.pid)
    half = [socket.create_connection(("127.0.0.1", scene.weir.port), timeout=15) for _ in range(400)]
    try:
        for s in half:
            s.recv(4)
        done = proc.run(["ss", "-Htn", "state", "established", f"( dport = :{scene.server.port} )"])
        assert len(done.stdout.splitlines()) < 20, "the server was dialled for nobody"
        equal(scene.ssh("echo in").stdout, "in\n", "everybody else")
        grown = proc.held_kb(scene.weir.pid) - before
        assert grown < 20_000, f"memory grew by {grown} kB"
    finally:
        for s in half:
            s.close()


def cut(scene, sent):
    with socket.create_connection(("127.0.0.1", scene.weir.port), timeout=15) as s:
        before = proc.held_kb(scene.weir.pid)
        try:
            s.sendall(sent)
            s.shutdown(socket.SHUT_WR)
            while s.recv(65536):
                pass
        except OSError:
            pass  # cut
        grown = proc.held_kb(scene.weir.pid) - before
        # code that was given back counts again once it runs
        assert grown < 12_000, f"memory grew by {grown} kB"
    equal(scene.ssh("echo in").stdout, "in\n")


def strict(scene):
    options = [o for o in scene.options() if o != "LogLevel=ERROR"]
    done = proc.run(["ssh", "-vvv", "-F", "/dev/null", *without_log_level(options), "127.0.0.1", "true"], check=False)
    contains(done.stderr, "kex-strict-s-v00@openssh.com")
    contains(done.stderr, "will use strict KEX ordering")


def without_log_level(options):
    """Options less the one that silences."""
    found = []
    for word in options:
        if word == "-o":
            continue
        if word in ("-F", "/dev/null"):
            continue
        found += ["-o", word]
    return found


def weak(scene):
    options = without_log_level([o for o in scene.options() if o != "LogLevel=ERROR"])
    for option in ("KexAlgorithms=diffie-hellman-group1-sha1", "KexAlgorithms=diffie-hellman-group14-sha1",
                   "Ciphers=aes128-cbc", "Ciphers=3des-cbc", "MACs=hmac-sha1,hmac-md5", "HostKeyAlgorithms=ssh-rsa"):
        ciphers = ["-o", "Ciphers=aes128-ctr"] if option.startswith("MACs") else []
        done = proc.run(["ssh", "-F", "/dev/null", *options, "-o", option, *ciphers, "127.0.0.1", "true"], check=False)
        equal(done.returncode, 255, option)
        contains(done.stderr, "no matching", option)


PRELUDE = """
import sys, time, struct, socket
import paramiko
from paramiko.common import cMSG_CHANNEL_WINDOW_ADJUST, cMSG_CHANNEL_DATA, cMSG_CHANNEL_OPEN, cMSG_CHANNEL_REQUEST
from paramiko.message import Message
t = paramiko.Transport(("127.0.0.1", int(sys.argv[1])))
t.start_client(timeout=15)
t.auth_none(sys.argv[2])
def message(kind, *fields):
    m = Message()
    m.add_byte(kind)
    for f in fields:
        if isinstance(f, bool): m.add_boolean(f)
        elif isinstance(f, int): m.add_int(f)
        else: m.add_string(f)
    return m
def send(*a):
    t._send_user_message(message(*a))
def alive():
    c = t.open_session()
    c.exec_command("echo alive")
    return c.makefile().read()
"""

# name: what a raw client does; it prints "ok" when it saw what it should
CLIENTS = {
    "a_message_in_the_middle_of_the_first_key_exchange_ends_it": """
class Injecting(paramiko.Transport):
    def _send_kex_init(self):
        super()._send_kex_init()
        if not self.initial_kex_done:
            self._send_message(message(b"\\x02", "injected"))
t.close()
t = Injecting(("127.0.0.1", int(sys.argv[1])))
try:
    t.start_client(timeout=10); print("let in")
except (paramiko.SSHException, EOFError):
    print("ok")
""",
    "a_message_that_grows_a_thousandfold_is_cut": """
t.close()
t = paramiko.Transport(("127.0.0.1", int(sys.argv[1])))
t.use_compression(True)
t.start_client(timeout=15)
t.auth_none(sys.argv[2])
assert alive() == b"alive\\n"
c = t.open_session()
c.exec_command("cat >/dev/null")
try:
    for n in range(20):
        send(cMSG_CHANNEL_DATA, c.remote_chanid, b"\\0" * (64 << 20))
except Exception:
    pass
for n in range(300):
    if not t.is_active(): break
    time.sleep(0.1)
assert not t.is_active()
print("ok")
""",
    "answers_that_nobody_reads_end_the_connection": """
c = t.open_session(window_size=32768)
c.exec_command("cat /dev/zero")
time.sleep(1)
try:
    for n in range(20000):
        send(cMSG_CHANNEL_REQUEST, c.remote_chanid, "hack@example.com", True)
except Exception:
    pass
for n in range(300):
    if not t.is_active(): break
    time.sleep(0.1)
assert not t.is_active()
print("ok")
""",
    "ten_thousand_channels_are_refused_beyond_a_bound": """
refused, opened = 0, []
for n in range(1, 400):
    try:
        opened.append(t.open_session(timeout=10))
    except paramiko.ChannelException as error:
        refused += 1
        assert error.code == 4, error
for n in range(9600):
    send(cMSG_CHANNEL_OPEN, "session", 100000 + n, 1 << 21, 1 << 15)
time.sleep(2)
assert len(opened) == 256 and refused == 143, (len(opened), refused)
print("ok")
""",
    "an_unknown_channel_type_is_refused_and_the_connection_lives_on": """
try:
    t.open_channel("hack@example.com", timeout=10); print("opened")
except paramiko.ChannelException as error:
    assert error.code in (1, 3), error
assert alive() == b"alive\\n"
print("ok")
""",
    "an_unknown_request_is_refused_and_the_connection_lives_on": """
c = t.open_session()
m = message(cMSG_CHANNEL_REQUEST, c.remote_chanid, "hack@example.com", True)
c._event_pending()
t._send_user_message(m)
try:
    c._wait_for_event(); print("accepted")
except paramiko.SSHException:
    pass
assert t.global_request("hack@example.com", wait=True) is None
assert alive() == b"alive\\n"
print("ok")
""",
    "unknown_messages_are_ignored": """
for kind in (85, 101, 110, 127):
    m = Message(); m.add_byte(bytes([kind])); m.add_bytes(b"x" * 100)
    t._send_user_message(m)
assert alive() == b"alive\\n"
print("ok")
""",
    "data_beyond_the_window_ends_the_connection": """
c = t.open_session()
c.exec_command("sleep 60")
try:
    for n in range(1000):
        send(cMSG_CHANNEL_DATA, c.remote_chanid, b"x" * 32768)
    time.sleep(3)
except Exception:
    pass
for n in range(300):
    if not t.is_active(): break
    time.sleep(0.1)
assert not t.is_active()
print("ok")
""",
    "windows_that_are_granted_without_end_cost_no_memory": """
c = t.open_session()
c.exec_command("cat /dev/zero")
for n in range(100):
    send(cMSG_CHANNEL_WINDOW_ADJUST, c.remote_chanid, 0xFFFFFFFF)
time.sleep(3)
print("ok")
""",
    "data_for_a_channel_that_is_not_open_ends_the_connection": """
send(cMSG_CHANNEL_DATA, 4242, b"x")
for n in range(300):
    if not t.is_active(): break
    time.sleep(0.1)
assert not t.is_active()
print("ok")
""",
    "a_truncated_message_ends_the_connection": """
m = Message(); m.add_byte(cMSG_CHANNEL_OPEN); m.add_int(0x7fffffff)
t._send_user_message(m)
for n in range(300):
    if not t.is_active(): break
    time.sleep(0.1)
assert not t.is_active()
print("ok")
""",
    "broken_SFTP_lengths_end_the_channel_and_not_the_connection": """
for broken in (struct.pack(">I", 0), struct.pack(">I", 0xFFFFFFFF), struct.pack(">IB", 1, 200),
               struct.pack(">IBI", 5, 1, 3) + struct.pack(">IBII", 13, 5, 1, 0xFFFF) + b"abcd"):
    c = t.open_session()
    c.invoke_subsystem("sftp")
    c.sendall(broken)
    c.settimeout(10)
    data = b""
    while True:
        piece = c.recv(4096)
        if not piece: break
        data += piece
    error = c.makefile_stderr().read()
    assert b"not SFTP" in error, (broken, data, error)
assert alive() == b"alive\\n"
print("ok")
""",
}


def raw(scene, python, name):
    before = proc.held_kb(scene.weir.pid)
    done = proc.run([python, "-c", PRELUDE + CLIENTS[name], str(scene.weir.port), scene.server.user], check=False,
                    timeout=120)
    contains(done.stdout, "ok", done.stderr[-600:])
    grown = proc.held_kb(scene.weir.pid) - before
    assert grown < 40_000, f"memory grew by {grown} kB"
    equal(scene.ssh("echo in").stdout, "in\n", "everybody else")
