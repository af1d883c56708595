"""The demo's servers, a PostgreSQL and an OpenSSH: ``demo_server.py DIR`` runs until it is ended.

DIR/ready holds their ports; DIR/ssh has the key that the SSH server lets in, its host key, and a file.
"""

import os
import signal
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from lab import install, postgres, sshd  # noqa: E402

SQL = """
CREATE ROLE app LOGIN PASSWORD 'app-secret';
CREATE DATABASE shop OWNER app;
\\c shop
SET ROLE app;
CREATE TABLE customers (id int PRIMARY KEY, name text, ssn text, region text);
INSERT INTO customers SELECT g, 'Person ' || g, format('8%s-12-%s', 10 + g % 90, 1000 + g), 'EU'
FROM generate_series(1, 200) g;
CREATE TABLE orders (id int PRIMARY KEY, customer int, total numeric(10,2), placed date);
INSERT INTO orders SELECT g, g % 200 + 1, g * 1.25, date '2026-01-01' + g % 300
FROM generate_series(1, 50000) g;
ANALYZE;
"""


def main():
    """Starts it, fills it, says so, waits."""
    where = os.path.abspath(sys.argv[1])
    os.makedirs(where)
    os.chmod(os.path.dirname(where), 0o755)
    server = postgres.Postgres(15, where=where).start()
    server.psql(SQL)
    install.need("sshd", "openssh-server")
    install.need("sftp", "openssh-client")
    os.makedirs(os.path.join(where, "ssh"))
    host = sshd.Sshd(os.path.join(where, "ssh"), user="root").start(extra="SetEnv HISTFILE=/dev/null")
    with open(host.path("report.bin"), "wb") as f:
        f.write(os.urandom(3 << 20))
    with open(os.path.join(where, "ready.tmp"), "w", encoding="ascii") as f:
        f.write(f"{server.port} {host.port}\n")
    os.rename(os.path.join(where, "ready.tmp"), os.path.join(where, "ready"))
    signal.pause()


if __name__ == "__main__":
    main()
