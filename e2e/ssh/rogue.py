"""A server that breaks the protocol.

    rogue.py PORT HOST_KEY OTHER_KEY HOW      (needs paramiko)

Serves any number of connections; whoever logs in is let in.
"""

import os
import socket
import struct
import sys
import threading
import time

import paramiko
from paramiko.common import (MSG_IGNORE, cMSG_CHANNEL_DATA, cMSG_CHANNEL_OPEN, cMSG_CHANNEL_WINDOW_ADJUST, cMSG_DISCONNECT,
                             cMSG_IGNORE)
from paramiko.message import Message


def message(kind, *fields):
    """One message."""
    m = Message()
    m.add_byte(kind)
    for field in fields:
        if isinstance(field, int):
            m.add_int(field)
        else:
            m.add_string(field)
    return m


class Injecting(paramiko.Transport):
    """Sends a message of no meaning in the middle of the first key exchange, as an attacker would."""

    def _send_kex_init(self):
        super()._send_kex_init()
        if not self.initial_kex_done:
            self._send_message(message(cMSG_IGNORE, b"injected"))


class Server(paramiko.ServerInterface):
    """Lets everybody in; ``exec`` and ``sftp`` do what was asked of the program."""

    def __init__(self, transport, how):
        self.transport, self.how = transport, how

    def check_channel_request(self, kind, chanid):
        return paramiko.OPEN_SUCCEEDED

    def get_allowed_auths(self, username):
        return "publickey"

    def check_auth_publickey(self, username, key):
        return paramiko.AUTH_SUCCESSFUL

    def check_channel_exec_request(self, channel, command):
        threading.Thread(target=self.run, args=(channel, command), daemon=True).start()
        return True

    def check_channel_subsystem_request(self, channel, name):
        threading.Thread(target=self.run, args=(channel, b""), daemon=True).start()
        return True

    def run(self, channel, command):
        """What happens once a command has begun."""
        t, number = self.transport, channel.remote_chanid
        time.sleep(0.1)
        if command == b"behave":
            channel.sendall(b"well\n")
        elif self.how == "stray":
            t._send_user_message(message(cMSG_CHANNEL_DATA, 4242, b"x"))
            time.sleep(5)
        elif self.how == "overrun":
            for _ in range(2000):
                t._send_user_message(message(cMSG_CHANNEL_DATA, number, b"x" * 32768))
        elif self.how == "windows":
            for _ in range(1000):
                t._send_user_message(message(cMSG_CHANNEL_WINDOW_ADJUST, number, 0xFFFFFFFF))
            channel.sendall(b"well\n")
        elif self.how == "opens":
            for n in range(2000):
                t._send_user_message(message(cMSG_CHANNEL_OPEN, b"session", 1000 + n, 1 << 21, 1 << 15))
            time.sleep(1)
            channel.sendall(b"well\n")
        elif self.how == "rekey":
            t.server_key_dict = {t.other.get_name(): t.other}
            t.renegotiate_keys()
            channel.sendall(b"still here\n")
        elif self.how == "escape":
            t._send_user_message(message(cMSG_DISCONNECT, 2, b"\x1b]0;evil\x07\x1b[2Jbye\r\nweir: permitted", b""))
        elif self.how.startswith("sftp"):
            channel.recv(9)
            channel.sendall(bytes.fromhex("000000050200000003"))
            request = channel.recv(4096)
            number = request[5:9]
            channel.sendall({
                "sftp-zero": struct.pack(">I", 0), "sftp-huge": struct.pack(">I", 0xFFFFFFFF) + b"\x67" * 64,
                "sftp-kind": struct.pack(">IB", 5, 3) + number,
                "sftp-number": struct.pack(">IBII", 9, 103, 0xABCDEF, 0),
                "sftp-inner": struct.pack(">IB", 13, 102) + number + struct.pack(">I", 0xFFFF) + b"abcd",
            }[self.how])
            time.sleep(5)
        channel.send_exit_status(0)
        channel.close()


def raw(connection, how):
    """What happens before any key exchange."""
    if how == "silent":
        time.sleep(60)
    elif how == "lines":
        while True:
            connection.sendall(b"patience\r\n" * 1000)
    elif how == "line":
        while True:
            connection.sendall(b"x" * 65536)
    elif how == "oversized":
        connection.sendall(b"SSH-2.0-rogue\r\n" + struct.pack(">I", 0x7FFFFFFF) + b"\0" * 100_000)
        time.sleep(20)


def serve(connection, own, other, how):
    """One connection."""
    try:
        if how in ("silent", "lines", "line", "oversized"):
            return raw(connection, how)
        t = (Injecting if how == "injected" else paramiko.Transport)(connection)
        t.other = other
        t.add_server_key(own)
        t.start_server(server=Server(t, how))
        t.join()
    except (OSError, EOFError, paramiko.SSHException):
        return None
    finally:
        connection.close()
    return None


def main():
    """Serves."""
    port, own, other, how = sys.argv[1:]
    assert MSG_IGNORE == 2
    own, other = paramiko.Ed25519Key(filename=own), paramiko.Ed25519Key(filename=other)
    listener = socket.create_server(("127.0.0.1", int(port)))
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=serve, args=(connection, own, other, how), daemon=True).start()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        os._exit(0)
