#!/usr/bin/env python3
"""One attempt to reach a server without Weir; says what answered.

Usage: attack.py KIND ADDRESS [PORT]
Prints one line: what was received, or `ERROR <errno name>`. The server's
answer begins with SERVER, a captured connection's with CAPTURED.
"""
import errno
import os
import socket
import struct
import sys

TIMEOUT = 2.0
IPPROTO_MPTCP = 262
IPPROTO_UDPLITE = 136
SO_MARK = 36
SO_BINDTODEVICE = 25


def target(address, port):
    """Family and address, resolved by name as any program would."""
    found = socket.getaddrinfo(address, port, 0, socket.SOCK_STREAM)[0]
    return found[0], found[4]


def hear(sock):
    sock.settimeout(TIMEOUT)
    # Both lines of a captured connection, or the server's only one.
    text = sock.recv(256).decode(errors="replace")
    while text.startswith("CAPTURED") and "\n" not in text.rstrip("\n"):
        more = sock.recv(256).decode(errors="replace")
        if not more:
            break
        text += more
    return " ".join(text.split())


def tcp(address, port, proto=0, prepare=None):
    family, where = target(address, port)
    with socket.socket(family, socket.SOCK_STREAM, proto) as sock:
        sock.settimeout(TIMEOUT)
        if prepare:
            prepare(sock, family)
        sock.connect(where)
        return hear(sock)


def udp(address, port, proto=0, kind=socket.SOCK_DGRAM):
    family, where = target(address, port)
    with socket.socket(family, kind, proto) as sock:
        sock.settimeout(TIMEOUT)
        sock.connect(where)
        sock.send(b"hello")
        return hear(sock)


def mapped(address, port):
    with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as sock:
        sock.settimeout(TIMEOUT)
        sock.connect(("::ffff:" + address, port))
        return hear(sock)


def bind_port(sock, family):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("", 15001 if os.geteuid() else 53))


def reuse(source):
    """From a source port that someone else has used before."""
    def prepare(sock, family):
        sock.settimeout(5 * TIMEOUT)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("", source))
    return lambda address, port: tcp(address, port, prepare=prepare)


def device_of(address):
    if "%" in address:
        return address.split("%")[1]
    return next(name for _, name in socket.if_nameindex() if name not in ("lo", "weir1"))


def fast_open(address, port):
    family, where = target(address, port)
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        # Blocking with kernel timeouts: a non-blocking one only starts.
        for option in (socket.SO_SNDTIMEO, socket.SO_RCVTIMEO):
            sock.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", int(TIMEOUT), 0))
        sock.sendto(b"hello", socket.MSG_FASTOPEN, where)
        return hear(sock)


def checksum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


def raw(address, port):
    """A SYN made by hand; the server's SYN+ACK is the answer."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((address, port))
        source = probe.getsockname()[0]
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP) as sock:
        sock.settimeout(TIMEOUT)
        head = struct.pack("!HHIIBBHHH", 41000 + os.getpid() % 9000, port, 7, 0, 0x50, 2, 1024, 0, 0)
        pseudo = socket.inet_aton(source) + socket.inet_aton(address) + struct.pack("!BBH", 0, 6, 20)
        head = head[:16] + struct.pack("!H", checksum(pseudo + head)) + head[18:]
        sock.sendto(head, (address, 0))
        while True:
            packet, peer = sock.recvfrom(256)
            if peer[0] == address and packet[20 + 13] & 0x12 == 0x12:
                return "SERVER answered a hand-made SYN"


def ping(address, port):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP) as sock:
        sock.settimeout(TIMEOUT)
        sock.sendto(struct.pack("!BBHHH", 8, 0, 0, 1, 1) + b"data", (address, 0))
        sock.recv(256)
        return "SERVER answered an echo request"


def hold(address, port):
    """A connection from before the rules; speaks after a line on stdin."""
    family, where = target(address, port)
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        sock.connect(where)
        print(hear(sock), flush=True)
        sys.stdin.readline()
        sock.send(b"still here")
        answer = hear(sock)
        return "SERVER echoed on the old connection" if "still here" in answer else answer


ATTACKS = {
    "tcp": tcp,
    "mapped": mapped,
    "source-port": lambda a, p: tcp(a, p, prepare=bind_port),
    "device": lambda a, p: tcp(a, p, prepare=lambda s, f: s.setsockopt(
        socket.SOL_SOCKET, SO_BINDTODEVICE, device_of(a).encode())),
    "mark": lambda a, p: tcp(a, p, prepare=lambda s, f: s.setsockopt(
        socket.SOL_SOCKET, SO_MARK, 0x57656972)),
    "mptcp": lambda a, p: tcp(a, p, proto=IPPROTO_MPTCP),
    "fast-open": fast_open,
    "raw": raw,
    "udp": udp,
    "udplite": lambda a, p: udp(a, p, proto=IPPROTO_UDPLITE),
    "sctp": lambda a, p: tcp(a, p, proto=socket.IPPROTO_SCTP),
    "dccp": lambda a, p: udp(a, p, proto=33, kind=6),
    "ping": ping,
    "hold": hold,
    "vsock": lambda a, p: socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM) and "SERVER vsock",
}


def main():
    kind, address = sys.argv[1:3]
    port = int(sys.argv[3]) if len(sys.argv) > 3 else 5432
    if kind.startswith("reuse:"):
        ATTACKS[kind] = reuse(int(kind.removeprefix("reuse:")))
    try:
        print(ATTACKS[kind](address, port) or "CLOSED")
    except socket.timeout:
        print("ERROR ETIMEDOUT")
    except OSError as error:
        print("ERROR", errno.errorcode.get(error.errno, error))


main()
