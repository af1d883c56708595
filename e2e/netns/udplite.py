#!/usr/bin/env python3
"""A UDP-Lite server that answers `SERVER <peer>` on port 5432 of both families."""
import selectors
import socket

IPPROTO_UDPLITE = 136

ready = selectors.DefaultSelector()
for family, address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
    sock = socket.socket(family, socket.SOCK_DGRAM, IPPROTO_UDPLITE)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    sock.bind((address, 5432))
    ready.register(sock, selectors.EVENT_READ)
while True:
    for key, _ in ready.select():
        _, peer = key.fileobj.recvfrom(2048)
        key.fileobj.sendto(f"SERVER {peer}".encode(), peer)
