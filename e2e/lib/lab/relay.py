"""A bare TCP relay: the yardstick of transparency. It forwards bytes and half-closes
and knows nothing of PostgreSQL, so through it no suite may differ from a direct run.

``python3 relay.py LISTEN_PORT TARGET_PORT``
"""

import socket
import sys
import threading


def _pump(source, sink):
    try:
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


def _serve(client, port):
    try:
        server = socket.create_connection(("127.0.0.1", port))
    except OSError:
        client.close()
        return
    for end in (client, server):
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    up = threading.Thread(target=_pump, args=(client, server), daemon=True)
    up.start()
    _pump(server, client)
    up.join()
    client.close()
    server.close()


def main():
    """Accepts for ever."""
    listen, target = int(sys.argv[1]), int(sys.argv[2])
    with socket.create_server(("127.0.0.1", listen), backlog=512) as listener:
        while True:
            client, _ = listener.accept()
            threading.Thread(target=_serve, args=(client, target), daemon=True).start()


if __name__ == "__main__":
    main()
