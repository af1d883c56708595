#!/usr/bin/env python3
"""ClickHouse's HTTP interface over chDB, which is its engine in a library: for tests, on loopback.

    serve.py DIRECTORY     prints the port, serves until its standard input closes

As the server does: the statement is the body, `database` and settings are parameters of the URL,
`param_NAME` are values of `{NAME:Type}`, an error is status 500 with the message.
"""

import http.server
import sys
import threading
import urllib.parse

from chdb import session

LOCK = threading.Lock()


class Handler(http.server.BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        """Runs the statement in the body."""
        body = self.rfile.read(int(self.headers.get("content-length", 0))).decode()
        asked = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(self.path).query, keep_blank_values=True))
        database = asked.pop("database", "default")
        values = {k.removeprefix("param_"): v for k, v in asked.items() if k.startswith("param_")}
        settings = {k: v for k, v in asked.items() if not k.startswith("param_")}
        try:
            with LOCK:
                answer, status = self.server.run(database, settings, values, body), 200
        except Exception as error:  # whatever the engine says, the client hears
            answer, status = str(error).encode(), 500
        self.send_response(status)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        """Nothing."""


class Server(http.server.ThreadingHTTPServer):
    """The engine behind an address."""

    def __init__(self, directory):
        super().__init__(("127.0.0.1", 0), Handler)
        self.session = session.Session(directory)

    def run(self, database, settings, values, sql):
        """The answer's bytes."""
        quoted = database.replace("`", "")
        self.session.query(f"CREATE DATABASE IF NOT EXISTS `{quoted}`")
        self.session.query(f"USE `{quoted}`")
        for name, value in settings.items():
            value = value.replace("\\", "\\\\").replace("'", "\\'")
            self.session.query(f"SET {name} = '{value}'")
        return self.session.query(sql, params=values).bytes() if values else self.session.query(sql).bytes()


def main():
    """Serves."""
    server = Server(sys.argv[1])
    print(server.server_address[1], flush=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()


main()
