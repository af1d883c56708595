"""Peers that do not keep to the protocol: a clear end, flat memory, and everybody else is served."""

import socket
import struct
import time

from lab import install, proc
from lab.report import contains, equal

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
    results.check("two hundred clients that say nothing hold up nobody and cost little", silent, scene)
    python = install.venv("paramiko", PARAMIKO)
    for name in CLIENTS:
        results.check(f"{name.replace('_', ' ')}", raw, scene, python, name)


def cut(scene, sent):
    with socket.create_connection(("127.0.0.1", scene.weir.port), timeout=15) as s:
        before = proc.rss_kb(scene.weir.pid)
        try:
            s.sendall(sent)
            s.shutdown(socket.SHUT_WR)
            while s.recv(65536):
                pass
        except (ConnectionResetError, BrokenPipeError):
            pass
        grown = proc.rss_kb(scene.weir.pid) - before
        assert grown < 4_000, f"memory grew by {grown} kB"
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


def silent(scene):
    before = proc.rss_kb(scene.weir.pid)
    held = [socket.create_connection(("127.0.0.1", scene.weir.port)) for _ in range(200)]
    try:
        time.sleep(1)
        equal(scene.ssh("echo in").stdout, "in\n")
        grown = proc.rss_kb(scene.weir.pid) - before
        assert grown < 30_000, f"memory grew by {grown} kB"
    finally:
        for s in held:
            s.close()


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
    "ten_thousand_channels_are_refused_beyond_a_bound": """
refused = opened = 0
for n in range(1, 400):
    try:
        t.open_session(timeout=10); opened += 1
    except paramiko.ChannelException as error:
        refused += 1
        assert error.code == 4, error
for n in range(9600):
    send(cMSG_CHANNEL_OPEN, "session", 100000 + n, 1 << 21, 1 << 15)
time.sleep(2)
assert opened >= 60 and refused >= 100, (opened, refused)
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
time.sleep(1)
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
time.sleep(1)
assert not t.is_active()
print("ok")
""",
    "a_truncated_message_ends_the_connection": """
m = Message(); m.add_byte(cMSG_CHANNEL_OPEN); m.add_int(0x7fffffff)
t._send_user_message(m)
time.sleep(1)
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
    before = proc.rss_kb(scene.weir.pid)
    done = proc.run([python, "-c", PRELUDE + CLIENTS[name], str(scene.weir.port), scene.server.user], check=False,
                    timeout=120)
    contains(done.stdout, "ok", done.stderr[-600:])
    grown = proc.rss_kb(scene.weir.pid) - before
    assert grown < 40_000, f"memory grew by {grown} kB"
    equal(scene.ssh("echo in").stdout, "in\n", "everybody else")
