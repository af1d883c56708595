"""A throw-away PostgreSQL 15 or 18: SCRAM over TCP, TLS with a certificate authority
made for the occasion, fast and unsafe settings, gone at exit.

The server runs as user ``postgres`` (or ``nobody``): it refuses root. Administration
goes over its Unix socket, never through the proxy under test.
"""

import os
import pwd
import shutil
import signal
import subprocess

from . import install, proc

FAST = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "shared_buffers": "128MB",
    "max_connections": "200",
    "max_wal_size": "2GB",
    "autovacuum_naptime": "1h",
    "log_min_messages": "warning",
    "lc_messages": "'C'",
}


class Postgres:
    """One cluster. ``auth`` is the method for TCP connections."""

    def __init__(self, major=15, auth="scram-sha-256", conf=None, hba=None, superuser="postgres",
                 password="real-secret", where=None):
        self.major, self.auth, self.superuser, self.password = major, auth, superuser, password
        self.dir = where or proc.workdir(f"weir-pg{major}-")
        self.port = proc.free_port()
        self.user = _server_user()
        self.bin = install.readable_copy(install.postgres_bin(major), self.dir)
        self.data = os.path.join(self.dir, "data")
        self.socket_dir = os.path.join(self.dir, "s")
        self.log = os.path.join(self.dir, "server.log")
        self.ca = os.path.join(self.dir, "ca.pem")
        self.child = None
        self._initdb(conf or {}, hba or [])

    def _as_user(self, *argv):
        return ["setpriv", f"--reuid={self.user.pw_uid}", f"--regid={self.user.pw_gid}",
                "--clear-groups", *argv]

    def _env(self):
        env = dict(os.environ, LC_ALL="C.UTF-8")
        if self.major == 18:
            env["LD_LIBRARY_PATH"] = os.path.join(os.path.dirname(self.bin), "lib")
        return env

    def _initdb(self, conf, hba):
        for path in (self.data, self.socket_dir):
            os.makedirs(path)
            os.chown(path, self.user.pw_uid, self.user.pw_gid)
        secret = os.path.join(self.dir, "pw")
        with open(secret, "w", encoding="ascii") as f:
            f.write(self.password)
        os.chown(secret, self.user.pw_uid, self.user.pw_gid)
        proc.run(self._as_user(f"{self.bin}/initdb", "-D", self.data, "-U", self.superuser,
                               f"--pwfile={secret}", "-A", "trust", "-E", "UTF8",
                               "--locale=C.UTF-8", "--no-sync"), env=self._env(), cwd="/")
        os.unlink(secret)
        self._make_certificates()
        settings = dict(FAST, port=str(self.port), listen_addresses="'127.0.0.1'",
                        unix_socket_directories=f"'{self.socket_dir}'", ssl="on",
                        ssl_cert_file=f"'{self.dir}/server.crt'",
                        ssl_key_file=f"'{self.data}/server.key'",
                        password_encryption="'md5'" if self.auth == "md5" else "'scram-sha-256'")
        settings.update(conf)
        with open(f"{self.data}/postgresql.auto.conf", "a", encoding="utf-8") as f:
            f.writelines(f"{k} = {v}\n" for k, v in settings.items())
        with open(f"{self.data}/pg_hba.conf", "w", encoding="ascii") as f:
            lines = ["local all all trust", "local replication all trust", *hba,
                     f"host all all 127.0.0.1/32 {self.auth}",
                     f"host replication all 127.0.0.1/32 {self.auth}"]
            f.write("\n".join(lines) + "\n")

    def _make_certificates(self):
        make_ca(self.dir, "ca", "Throw-away PostgreSQL CA")
        make_leaf(self.dir, "ca", "server", ["DNS:localhost", "IP:127.0.0.1"])
        key = f"{self.data}/server.key"
        shutil.copy(f"{self.dir}/server.key", key)
        os.chmod(key, 0o600)
        os.chown(key, self.user.pw_uid, self.user.pw_gid)

    def start(self):
        """Starts the server and waits until it answers."""
        self.child = proc.spawn(self._as_user(f"{self.bin}/postgres", "-D", self.data),
                                log=self.log, env=self._env(), cwd="/")
        proc.wait_until(lambda: self.query("select 1", check=False) == "1", "PostgreSQL starts",
                        child=self.child, log=self.log)
        return self

    def stop(self):
        """Fast shutdown."""
        if self.child:
            proc.stop(self.child, signal.SIGINT)
            self.child = None

    def psql(self, sql, database="postgres", user=None, check=True, extra=()):
        """Runs SQL over the Unix socket as administrator; returns the finished process."""
        path, env = install.psql(15)
        return proc.run([path, "-X", "-q", "-h", self.socket_dir, "-p", str(self.port), "-U",
                         user or self.superuser, "-d", database, "-v", "ON_ERROR_STOP=1", *extra,
                         "-f", "-"], input=sql, check=check, env=clean_env(**env))

    def query(self, sql, database="postgres", user=None, check=True):
        """The text of a query's result, unaligned, without header."""
        return self.psql(sql, database, user, check, ("-At",)).stdout.strip()


def _server_user():
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise RuntimeError("neither user postgres nor nobody exists")


def clean_env(**extra):
    """The environment without the PG* variables of the caller."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("PG")}
    env["PSQL_HISTORY"] = "/dev/null"
    env.update(extra)
    return env


# ---------------------------------------------------------------------------- certificates

def _openssl(*argv):
    subprocess.run(["openssl", *argv], check=True, stdin=subprocess.DEVNULL, capture_output=True)


def make_ca(where, name, subject):
    """``name.pem`` and ``name.key`` of a new certificate authority."""
    _openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
             "-days", "7", "-subj", f"/CN={subject}", "-keyout", f"{where}/{name}.key",
             "-out", f"{where}/{name}.pem", "-addext", "basicConstraints=critical,CA:TRUE",
             "-addext", "keyUsage=critical,keyCertSign,cRLSign")
    os.chmod(f"{where}/{name}.key", 0o600)


def make_leaf(where, ca, name, names):
    """``name.crt`` and ``name.key`` signed by ``ca`` for the given subject names."""
    _openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj",
             f"/CN={names[0].split(':')[1]}", "-keyout", f"{where}/{name}.key",
             "-out", f"{where}/{name}.csr")
    with open(f"{where}/{name}.ext", "w", encoding="ascii") as f:
        f.write(f"subjectAltName={','.join(names)}\nextendedKeyUsage=serverAuth\n")
    _openssl("x509", "-req", "-days", "7", "-in", f"{where}/{name}.csr", "-CA", f"{where}/{ca}.pem",
             "-CAkey", f"{where}/{ca}.key", "-CAcreateserial", "-out", f"{where}/{name}.crt",
             "-extfile", f"{where}/{name}.ext")
    os.chmod(f"{where}/{name}.key", 0o600)
