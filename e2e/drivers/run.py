#!/usr/bin/env python3
"""Drivers: the same scenario, direct and through a proxy, must print the same bytes.

    run.py --weir PATH [--only asyncpg,psql18] [--server 15|18|both]
    run.py --relay                   the harness against itself: a bare relay differs nowhere

Matrix: every driver x {plain, verify-full} x {PassThrough, Brokered}. Process ids, keys,
clocks and ports are normalised by the scenarios themselves. Last line: N passed, N failed.
"""

import argparse
import difflib
import os
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../lib"))
from lab import build, install, postgres, proc, report, weir  # noqa: E402

RELAY = os.path.join(HERE, "../lib/lab/relay.py")


def build_pgx():
    install.need("go", "golang-go")
    out = os.path.join(install.CACHE, "drivers-pgx")
    subprocess.run(["go", "build", "-o", out, "."], cwd=os.path.join(HERE, "pgx"), check=True,
                   env=dict(os.environ, GOFLAGS="-mod=readonly"))
    return [out]


def build_rust():
    target = os.path.join(install.CACHE, "drivers-rust-target")
    subprocess.run(["cargo", "build", "--quiet", "--locked"], cwd=os.path.join(HERE, "rust"), check=True,
                   env=dict(os.environ, CARGO_TARGET_DIR=target))
    return [os.path.join(target, build.host(), "debug/weir-e2e-tokio-postgres")]


def build_pgjdbc():
    jar = install.pgjdbc()
    classes = os.path.join(install.CACHE, "drivers-pgjdbc-classes")
    os.makedirs(classes, exist_ok=True)
    subprocess.run(["javac", "-cp", jar, "-d", classes, os.path.join(HERE, "pgjdbc/Scenario.java")], check=True)
    return ["java", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", f"{jar}:{classes}", "Scenario"]


def build_node():
    install.need("node", "nodejs")
    return ["env", f"NODE_PATH={install.driver_node()}", "node", os.path.join(HERE, "node/scenario.js")]


DRIVERS = {
    "psql15": lambda: [sys.executable, os.path.join(HERE, "psql.py"), "15"],
    "psql18": lambda: [sys.executable, os.path.join(HERE, "psql.py"), "18"],
    "psycopg": lambda: [install.driver_python(), os.path.join(HERE, "psycopg_driver.py")],
    "asyncpg": lambda: [install.driver_python(), os.path.join(HERE, "asyncpg_driver.py")],
    "tokio-postgres": build_rust,
    "pgjdbc": build_pgjdbc,
    "pgx": build_pgx,
    "node": build_node,
}


def transcript(command, server, port, tls, ca, extra):
    """One scenario's output; the tables are as new before each run."""
    server.psql("TRUNCATE ledger, inbox", database="shop")
    env = postgres.clean_env(
        PGHOST="localhost" if tls else "127.0.0.1", PGPORT=str(port), PGUSER="app", PGPASSWORD="app-secret",
        PGDATABASE="shop", PGSSLMODE="verify-full" if tls else "disable", PGTZ="UTC", LC_ALL="C.UTF-8", **extra)
    if tls:
        env["PGSSLROOTCERT"] = ca
    done = subprocess.run(command, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          errors="replace", timeout=300)
    return done.stdout + done.stderr.replace(str(port), "PORT") + f"\nexit {done.returncode}\n"


def compare(name, direct, through, keep):
    """Byte for byte."""
    for kind, text in (("direct", direct), ("through", through)):
        with open(os.path.join(keep, f"{name.replace(' ', '_')}.{kind}.txt"), "w", encoding="utf-8") as f:
            f.write(text)
    if not direct.rstrip().endswith("exit 0"):
        raise AssertionError("the direct run failed:\n" + direct[-1500:])
    if direct != through:
        diff = list(difflib.unified_diff(direct.splitlines(), through.splitlines(), "direct", "through", lineterm="", n=1))
        raise AssertionError(f"{len(diff)} lines of difference\n" + "\n".join(line[:300] for line in diff[:30]))


class Relayed:
    """The bare relay in the place of Weir."""

    def __init__(self, server):
        self.port = proc.free_port()
        self.server = server
        self.child = proc.spawn([sys.executable, RELAY, str(self.port), str(server.port)])
        proc.wait_until(lambda: proc.accepts(self.port), "the relay listens")

    def ca(self):
        """TLS goes through to the server."""
        return self.server.ca

    def stop(self):
        """Ends it."""
        proc.stop(self.child)


def start_weir(binary, server, tls, mode):
    """Weir in front of the server: permissive policy, one target."""
    where = proc.workdir("weir-drivers-")
    brokered = weir.secret_files(where, "login", "app", "app-secret") if mode == "Brokered" else None
    target = weir.target_yaml(server.port, tls=tls, ca=server.ca, brokered=brokered)
    return weir.Weir(binary, server.port, target=target, where=where).start()


def main():
    """The matrix."""
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = ap.add_mutually_exclusive_group(required=True)
    what.add_argument("--weir", metavar="PATH")
    what.add_argument("--relay", action="store_true")
    ap.add_argument("--only", help="drivers, by comma")
    ap.add_argument("--match", help="part of a test's name, e.g. 'verify-full Brokered'")
    ap.add_argument("--server", default="both", choices=["15", "18", "both"])
    ap.add_argument("--keep", help="directory for the transcripts")
    a = ap.parse_args()
    keep = a.keep or os.path.join(HERE, "../../target/e2e/drivers")
    shutil.rmtree(keep, ignore_errors=True)
    os.makedirs(keep)
    drivers = a.only.split(",") if a.only else list(DRIVERS)
    commands = {d: DRIVERS[d]() for d in drivers}
    if any(d.startswith("psql") for d in drivers):
        for d in drivers:
            if d.startswith("psql"):
                install.psql(int(d[4:]))
    results = report.Report()
    with open(os.path.join(HERE, "schema.sql"), encoding="utf-8") as f:
        schema = f.read()
    for major in {"15": [15], "18": [18], "both": [15, 18]}[a.server]:
        server = postgres.Postgres(major).start()
        server.psql(schema)
        for tls in (False, True):
            direct = {}
            for mode in ("PassThrough", "Brokered") if a.weir else ("relay",):
                label = f"PostgreSQL {major} {'verify-full' if tls else 'plain'} {mode}"
                if a.match and not all(w in label for w in a.match.split()):
                    continue
                try:
                    proxy = start_weir(a.weir, server, tls, mode) if a.weir else Relayed(server)
                except Exception as error:
                    results.record(f"{label}: start", False, str(error))
                    continue
                extra = {"PGCHANNELBINDING": "disable"} if tls and mode == "PassThrough" else {}
                if mode == "Brokered":
                    extra["WEIR_BROKERED"] = "1"
                for driver, command in commands.items():
                    key = (driver, tuple(extra.items()) if driver.startswith("psql") else "")
                    if key not in direct:
                        direct[key] = transcript(command, server, server.port, tls, server.ca, extra)

                    def one(command=command, key=key, driver=driver):
                        got = transcript(command, server, proxy.port, tls, proxy.ca() if tls else None, extra)
                        compare(f"{driver} {label}", direct[key], got, keep)
                    results.check(f"{driver} {label}", one)
                proxy.stop()
        server.stop()
    results.finish()


if __name__ == "__main__":
    main()
