#!/usr/bin/env python3
"""Other people's test suites, direct and through a proxy, compared with each other.

    run.py regression --weir PATH     PostgreSQL's own regression suite
    run.py isolation  --weir …                       its isolation suite
    run.py pipeline   --weir …                       libpq's pipeline tests
    run.py protocol   --weir …                       what no driver sends, byte for byte
    run.py asyncpg    --weir …                       asyncpg's own tests
    run.py pgx        --weir …                       pgx's own tests
    run.py psycopg    --weir … --checkout DIR        psycopg's own tests, which no package has
    run.py pgbench    --weir … [--seconds 60]        16 clients, no error, in every mode
    run.py all --relay                               the harness itself: a relay differs nowhere

Not expectation against result, but the direct run's result against the proxied one's: what a
suite says of this machine (locale, versions) does not matter, only what the proxy changes. A
test whose own answer differs between two direct runs is named and left out.
Last line: N passed, N failed (a test passes when both runs agree).
"""

import argparse
import difflib
import json
import os
import re
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../lib"))
from lab import install, postgres, proc, report, weir  # noqa: E402
import protocol  # noqa: E402

RELAY = os.path.join(HERE, "../lib/lab/relay.py")
SUITE_CONF = {"max_prepared_transactions": "10", "max_connections": "100", "autovacuum": "off",
              "lc_messages": "'C'", "timezone": "'PST8PDT'"}


def proxied(a, server):
    """(port, stop) of the proxy under test in front of the server."""
    if a.relay:
        port = proc.free_port()
        child = proc.spawn([sys.executable, RELAY, str(port), str(server.port)])
        proc.wait_until(lambda: proc.accepts(port), "the relay listens")
        return port, lambda: proc.stop(child)
    w = weir.Weir(a.weir, server.port, target=weir.target_yaml(server.port, client_tls="Refuse")).start()
    return w.port, w.stop


def read_tree(root):
    """{relative path: text} of a results directory."""
    found = {}
    for directory, _, names in os.walk(root):
        for name in names:
            path = os.path.join(directory, name)
            with open(path, encoding="utf-8", errors="replace") as f:
                found[os.path.relpath(path, root)] = f.read()
    return found


# ------------------------------------------------------- PostgreSQL: regression and isolation

def pg_regress(a, tree, what, port, server, out):
    """One run of pg_regress over TCP; returns {test: output}."""
    suite = f"{tree}/src/test/{what}"
    runner = f"{suite}/pg_regress" if what == "regress" else f"{suite}/pg_isolation_regress"
    shutil.rmtree(out, ignore_errors=True)
    os.makedirs(out)
    for sub in ("results", "testtablespace"):
        os.makedirs(f"{out}/{sub}", exist_ok=True)
    # the server reads test data and loads regress.so itself: as its own user
    subprocess.run(["chown", "-R", f"{server.user.pw_uid}:{server.user.pw_gid}", out], check=True)
    argv = [runner, f"--inputdir={suite}", f"--outputdir={out}", "--host=127.0.0.1", f"--port={port}",
            "--user=postgres", f"--bindir={server.client_bin}", f"--dlpath={suite}",
            "--dbname=" + ("regression" if what == "regress" else "isolation_regression"),
            "--max-connections=20"]
    if what == "regress":
        argv += ["--max-concurrent-tests=20"]
    if a.tests:
        argv += a.tests.split(",")
    else:
        schedule = f"{suite}/parallel_schedule" if what == "regress" else f"{suite}/isolation_schedule"
        argv += [f"--schedule={schedule}"]
    if a.serial:
        argv[argv.index("--max-connections=20")] = "--max-connections=1"
    # Without TLS on either side: what a client says of a lost connection names its transport.
    env = postgres.clean_env(PGPASSWORD=server.password, PGSSLMODE="disable", LC_ALL="C.UTF-8")
    if what == "isolation":
        env["PATH"] = f"{suite}:{env['PATH']}"
    done = subprocess.run(argv, cwd=out, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          errors="replace", timeout=a.timeout)
    with open(f"{out}/runner.log", "w", encoding="utf-8") as f:
        f.write(done.stdout + done.stderr)
    print(f"  {what} on port {port}: {done.stdout.strip().splitlines()[-3:] if done.stdout.strip() else done.stderr[-500:]}", flush=True)
    return read_tree(f"{out}/results")


def normal_pg(text, port):
    """Ports and clocks are not the proxy's to keep."""
    text = re.sub(rf"\b{port}\b", "PORT", text)
    return re.sub(r"(Execution|Planning) Time: [\d.]+ ms", r"\1 Time", text)


def postgres_suite(a, what, results):
    """Runs a suite twice direct (to know what varies by itself) and once through."""
    tree = install.postgres_built(a.server, *PARTS)
    here = proc.workdir("weir-suite-")
    # the server's user must be able to read the suite: not from under /root
    shared = os.path.join(here, "tree")
    for part in ("src/test/regress", "src/test/isolation"):
        shutil.copytree(f"{tree}/{part}", f"{shared}/{part}", symlinks=True)
    os.chmod(here, 0o755)
    runs = {}
    for run in ("direct", "through", "again"):
        if run == "again" and all(runs["direct"].get(t) == runs["through"].get(t) for t in runs["direct"]):
            break
        server = postgres.Postgres(a.server, auth="trust", conf=SUITE_CONF).start()
        server.client_bin = install.postgres_bin(15)
        if a.server == 18:
            server.client_bin = os.path.dirname(install.psql(18)[0])
        port, stop = proxied(a, server) if run == "through" else (server.port, lambda: None)
        out = f"{here}/{what}"
        runs[run] = {t: normal_pg(text, port) for t, text in pg_regress(a, shared, what, port, server, out).items()}
        shutil.copytree(f"{out}/results", f"{a.keep}/{what}.{run}", dirs_exist_ok=True)
        shutil.copy(f"{out}/runner.log", f"{a.keep}/{what}.{run}.log")
        stop()
        server.stop()
    judge(what, runs, results)


PARTS = ("src/interfaces/libpq", "src/bin/psql", "src/test/regress", "src/test/isolation")


def judge(what, runs, results):
    """Compares the runs, test by test."""
    for test in sorted(set(runs["direct"]) | set(runs["through"])):
        direct, through = runs["direct"].get(test), runs["through"].get(test)
        again = runs.get("again", {}).get(test, direct)
        if direct == through or through == again:
            results.record(f"{what} {test}", True)
        elif direct is not None and again != direct and close(direct, again, through):
            results.record(f"{what} {test}", True, "(varies by itself between two direct runs, in the same lines)")
        else:
            diff = list(difflib.unified_diff((direct or "").splitlines(), (through or "").splitlines(),
                                             "direct", "through", lineterm="", n=1))
            results.record(f"{what} {test}", False, "\n".join(line[:200] for line in diff[:30]))


def close(direct, again, through):
    """Whether the proxied output differs only in lines that differ between direct runs too."""
    a, b, c = direct.splitlines(), again.splitlines(), through.splitlines()
    if not len(a) == len(b) == len(c):
        return False
    return all(x == z or x != y for x, y, z in zip(a, b, c))


# --------------------------------------------------------------------- PostgreSQL: pipelining

def pipeline_suite(a, results):
    """libpq's own pipeline tests against PostgreSQL 18, in each protocol version: what they print,
    and libpq's trace of every message."""
    parts = ("src/interfaces/libpq", "src/test/modules/libpq_pipeline")
    tree = install.postgres_built(18, *parts)
    env = postgres.clean_env(PGPASSWORD="real-secret", PGSSLMODE="disable", LC_ALL="C.UTF-8",
                             LD_LIBRARY_PATH=f"{tree}/src/interfaces/libpq")
    tool = f"{tree}/src/test/modules/libpq_pipeline/libpq_pipeline"
    tests = proc.run([tool, "tests"], env=env).stdout.split()

    def run(port):
        found = {}
        for version in ("3.0", "latest"):
            for test in tests:
                trace = f"{a.keep}/pipeline.trace"
                with open(trace, "w", encoding="ascii"):
                    pass
                done = proc.run([tool, "-r", "700", "-t", trace, test, f"host=127.0.0.1 port={port} user=postgres "
                                 f"dbname=postgres max_protocol_version={version}"], env=env, check=False)
                with open(trace, encoding="utf-8", errors="replace") as f:
                    said = f"exit {done.returncode}\n{done.stdout}{done.stderr}{f.read()}"
                if test == "uniqviol":  # sends until the buffers are full: how much is not the proxy's
                    said = said.split("\n", 1)[0]
                elif test == "pipelined_insert":  # how its two directions interleave is not either
                    said = "".join(sorted(said.splitlines(True), key=lambda line: line.startswith("B\t")))
                found[f"{test} {version}"] = re.sub(rf"\b{port}\b", "PORT", said)
        failed = sum(not said.startswith("exit 0") for said in found.values())
        print(f"  libpq_pipeline on port {port}: {len(found)} runs, {failed} failed", flush=True)
        return found

    runs = {}
    for what in ("direct", "through", "again"):
        server = postgres.Postgres(18).start()
        port, stop = proxied(a, server) if what == "through" else (server.port, lambda: None)
        runs[what] = run(port)
        stop()
        server.stop()
    judge("pipeline", runs, results)


# -------------------------------------------------------------------------- the wire protocol

def protocol_suite(a, results):
    """What no driver sends, byte for byte; where Weir answers otherwise on purpose, its answer."""
    server = postgres.Postgres(a.server, auth="trust", conf={"ssl": "off", "wal_level": "logical"}).start()
    port, stop = proxied(a, server)
    direct, through = protocol.run(server.port), protocol.run(port)
    stop()
    server.stop()
    for name in protocol.CASES:
        if name in protocol.REFUSED and not a.relay:
            results.check(f"protocol {name} (refused)", protocol.refused, through[name])
        else:
            results.check(f"protocol {name}", report.equal, through[name], direct[name])


# ------------------------------------------------------------------------------------ asyncpg

def asyncpg_source():
    """asyncpg's own tests, from its source package."""
    version = install.PIP_DRIVERS["asyncpg"]
    with install.cached(f"asyncpg-source-{version}") as (path, fresh):
        if fresh:
            install.say(f"pip download asyncpg=={version} (source, for its tests)")
            python = install.driver_python()
            install.sh([python, "-m", "pip", "download", "-q", "--no-binary", ":all:", "--no-deps",
                        "-d", fresh, f"asyncpg=={version}"])
            archive = next(f for f in os.listdir(fresh) if f.endswith(".tar.gz"))
            install.sh(["tar", "xzf", archive, "--strip-components=1"], cwd=fresh)
            os.unlink(f"{fresh}/{archive}")
    return path


def asyncpg_run(a, port, out, only=None):
    """{test id: outcome} of one run against the server on that port."""
    version = install.PIP_DRIVERS["asyncpg"]
    python = install.venv("asyncpg-tests", f"asyncpg=={version}", "pytest", "pytest-timeout", "distro")
    return pytest_run(a, python, f"{asyncpg_source()}/tests", out, port, [
        "--ignore=tests/test__sourcecode.py", "--ignore=tests/test__environment.py",
        "--deselect=tests/test_connect.py::TestConnectionGC"], only, {
            "PGHOST": "127.0.0.1", "PGPORT": str(port), "PGUSER": "postgres",
            "PGPASSWORD": "real-secret", "PGDATABASE": "postgres"})


def pytest_run(a, python, tests, out, port, more, only, environment=()):
    """Runs a copy of the tests (the package is the installed one, not the unbuilt source)."""
    shutil.rmtree(out, ignore_errors=True)
    os.makedirs(out)
    shutil.copytree(tests, f"{out}/tests")
    for name in ("pyproject.toml", "pytest.ini", "tools"):
        path = os.path.join(os.path.dirname(tests), name)
        if os.path.exists(path):
            (shutil.copytree if os.path.isdir(path) else shutil.copy)(path, f"{out}/{name}")
    env = postgres.clean_env(LC_ALL="C.UTF-8", PYTHONDONTWRITEBYTECODE="1", PYTHONPATH=HERE,
                             WEIR_OUTCOMES=f"{out}/outcomes.jsonl", **dict(environment))
    argv = [python, "-m", "pytest", "-q", "-p", "no:randomly", "-p", "outcomes", "--timeout=120",
            "-x" if a.fail_fast else "--continue-on-collection-errors", *more, *(only or ["tests"])]
    if a.tests:
        argv += ["-k", a.tests]
    done = subprocess.run(argv, cwd=out, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          errors="replace", timeout=a.timeout)
    with open(f"{out}/pytest.log", "w", encoding="utf-8") as f:
        f.write(done.stdout + done.stderr)
    print(f"  pytest on port {port}: {done.stdout.strip().splitlines()[-1:]}", flush=True)
    found = {}
    with open(f"{out}/outcomes.jsonl", encoding="utf-8") as f:
        for line in f:
            one = json.loads(line)
            test = one.pop("test")
            found[test] = varying(json.dumps(one), port)
    shutil.rmtree(f"{out}/tests")
    return found


def varying(text, port):
    """What a test says of its failure, without what differs from run to run: the port, addresses,
    process ids, clocks."""
    text = re.sub(rf"\b{port}\b", "PORT", text)
    text = re.sub(r"\b0x[0-9a-f]{6,}", "ADDRESS", text)
    text = re.sub(r"(?i)\b(pid|process|backend_pid)([ =:]+)\d+", r"\1\2PID", text)
    text = re.sub(r"\b(\d\d:\d\d:\d\d(\.\d+)?|\d{10}\.\d+)", "CLOCK", text)
    return re.sub(r"\b\d+\.\d+ ?(ms|s|seconds?)\b", "DURATION", text)


# ---------------------------------------------------------------------------------------- pgx

PGX_HBA = [f"host all pgx_{method} 127.0.0.1/32 {auth}"
           for method, auth in (("md5", "md5"), ("scram", "scram-sha-256"), ("pw", "password"))]
PGX_SETUP = """
CREATE EXTENSION hstore; CREATE EXTENSION ltree; CREATE DOMAIN uint64 AS numeric(20,0);
SET password_encryption = md5; CREATE USER pgx_md5 SUPERUSER PASSWORD 'secret';
SET password_encryption = 'scram-sha-256';
CREATE USER pgx_pw SUPERUSER PASSWORD 'secret'; CREATE USER pgx_scram SUPERUSER PASSWORD 'secret';
CREATE USER " tricky, ' } "" \\ test user " SUPERUSER PASSWORD 'secret';
"""


def pgx_run(a, port, out, only=None):
    """{package/test: outcome} of pgx's own tests; its source is in the module cache."""
    here = os.path.join(HERE, "../drivers/pgx")
    install.need("go", "golang-go")
    module = json.loads(install.sh(["go", "mod", "download", "-json", "github.com/jackc/pgx/v5"], cwd=here))["Dir"]
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(module, f"{out}/src")
    subprocess.run(["chmod", "-R", "u+w", f"{out}/src"], check=True)

    def url(user, password):
        return f"host=127.0.0.1 port={port} user={user} password={password} dbname=pgx_test sslmode=disable"
    env = postgres.clean_env(
        PGX_TEST_DATABASE=url("postgres", "real-secret"), PGX_TEST_TCP_CONN_STRING=url("postgres", "real-secret"),
        PGX_TEST_SCRAM_PASSWORD_CONN_STRING=url("pgx_scram", "secret"),
        PGX_TEST_MD5_PASSWORD_CONN_STRING=url("pgx_md5", "secret"),
        PGX_TEST_PLAIN_PASSWORD_CONN_STRING=url("pgx_pw", "secret"))
    argv = ["go", "test", "-json", "-count=1", "-p=1", "-timeout=15m"]
    if only:
        argv += ["-run", "^(" + "|".join(sorted({test.split(" ", 1)[1].split("/")[0] for test in only})) + ")$"]
    elif a.tests:
        argv += ["-run", a.tests]
    argv.append("./...")
    done = subprocess.run(argv, cwd=f"{out}/src", env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          errors="replace", timeout=a.timeout)
    with open(f"{out}/go.log", "w", encoding="utf-8") as f:
        f.write(done.stdout + done.stderr)
    outcomes, said = {}, {}
    for line in done.stdout.splitlines():
        event = json.loads(line) if line.startswith("{") else {}
        if "Test" not in event:
            continue
        test = re.sub(r"/tmp/Test\w+?\d+/", "/tmp/TEST/", event["Test"])
        test = f"{event['Package'].removeprefix('github.com/jackc/pgx/v5')} {test}"
        if event["Action"] == "output":
            said[test] = said.get(test, "") + event["Output"]
        elif event["Action"] in ("pass", "fail", "skip"):
            outcomes[test] = event["Action"]
            if event["Action"] == "fail":
                outcomes[test] += "\n" + varying(said.get(test, ""), port)
    shutil.rmtree(f"{out}/src")
    failed = sum(outcome.startswith("fail") for outcome in outcomes.values())
    print(f"  pgx on port {port}: {len(outcomes)} tests, {failed} failed", flush=True)
    return outcomes


# ------------------------------------------------------------------------------------ psycopg

def psycopg_run(a, port, out, only=None):
    """{test id: outcome} of psycopg's own tests. No registry has them: they come from a checkout
    of its repository, ``--checkout DIR``, near the driver's release."""
    if not a.checkout:
        raise SystemExit("psycopg: its tests are in no package; give --checkout DIR of its repository")
    python = install.venv("psycopg-tests", f"psycopg[binary]=={install.PIP_DRIVERS['psycopg']}", "psycopg-pool",
                          "pytest", "pytest-timeout", "anyio", "numpy", "pproxy", "dnspython", "mypy")
    # Left out: what measures this process (references, wake-ups), type checks, other networks.
    return pytest_run(a, python, f"{os.path.abspath(a.checkout)}/tests", out, port, [
        "--test-dsn", f"host=127.0.0.1 port={port} user=postgres password=real-secret dbname=postgres sslmode=disable",
        "-m", "not dns and not mypy and not refcount and not timing and not gevent",
        "--ignore=tests/test_typing.py", "--ignore=tests/crdb", "--ignore=tests/scripts", "--ignore=tests/pool"], only)


# ------------------------------------------------------------------------------------ pgbench

def pgbench_suite(a, results):
    """TPC-B with 16 clients in every query mode: no error, no failed transaction, and the books
    balance afterwards."""
    server = postgres.Postgres(a.server).start()
    port, stop = proxied(a, server)
    env = postgres.clean_env(PGPASSWORD=server.password)
    tool = os.path.join(install.postgres_bin(15), "pgbench")
    where = ["-h", "127.0.0.1", "-p", str(port), "-U", "postgres", "postgres"]

    def balanced():
        proc.run([tool, "-i", "-q", "-s", "5", *where], env=env)
        for mode in ("simple", "extended", "prepared"):
            def one(mode=mode):
                done = proc.run([tool, "-n", "-c", "16", "-j", "2", "-T", str(a.seconds), "-M", mode, *where], env=env)
                report.contains(done.stdout, "number of failed transactions: 0")
                report.equal(done.stderr.count("ERROR"), 0, "errors")
                report.equal(server.query("select sum(abalance) = (select sum(bbalance) from pgbench_branches) "
                                          "and sum(abalance) = (select sum(delta) from pgbench_history) "
                                          "from pgbench_accounts"), "t", "the books")
                print(f"        {re.search('tps = .*', done.stdout).group(0)}")
            results.check(f"pgbench -M {mode} for {a.seconds} s", one)
    results.check("pgbench -i", balanced)
    stop()
    server.stop()


def driver_suite(a, name, run_once, results):
    """Both runs must come to the same outcome, test by test. A test whose outcome differs is run
    again, direct only: one that has come to the proxied outcome there varies by itself."""
    def run(what, only=None):
        server = postgres.Postgres(a.server, hba=PGX_HBA, conf={"max_prepared_transactions": "10"}).start()
        server.psql("CREATE DATABASE pgx_test")
        server.psql(PGX_SETUP, "pgx_test")
        port, stop = proxied(a, server) if what == "through" else (server.port, lambda: None)
        outcomes = run_once(a, port, f"{a.keep}/{name}.{what}", only)
        stop()
        server.stop()
        return outcomes

    direct, through = run("direct"), run("through")
    seen = {test: {outcome} for test, outcome in direct.items()}
    for _ in range(REPEATS):
        differing = [t for t in through if t in direct and through[t] not in seen[t]]
        if not 0 < len(differing) <= MAX_REPEATED:
            break
        for test, outcome in run("again", differing).items():
            seen.setdefault(test, set()).add(outcome)
    for what, outcomes in (("direct", direct), ("through", through)):
        count = sum(outcome.startswith(("pass", '{"outcome": "passed"')) for outcome in outcomes.values())
        print(f"{name} {what}: {count} of {len(outcomes)} passed", flush=True)
    for test in sorted(set(direct) | set(through)):
        if direct.get(test) == through.get(test):
            results.record(f"{name} {test}", True)
        elif through.get(test) in seen.get(test, ()):
            results.record(f"{name} {test}", True, "(varies by itself between direct runs)")
        else:
            results.record(f"{name} {test}", False, f"direct:  {direct.get(test)}\nthrough: {through.get(test)}")


REPEATS = 10
MAX_REPEATED = 50  # more than that do not vary by themselves: the proxy is gone


def main():
    """The chosen suites."""
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("suite", choices=["regression", "isolation", "pipeline", "protocol", "asyncpg", "pgx", "psycopg",
                                      "pgbench", "all"])
    what = ap.add_mutually_exclusive_group(required=True)
    what.add_argument("--weir", metavar="PATH")
    what.add_argument("--relay", action="store_true")
    ap.add_argument("--server", type=int, default=15, choices=[15, 18])
    ap.add_argument("--tests", help="regression, isolation: tests by comma; asyncpg: a pytest -k expression")
    ap.add_argument("--checkout", metavar="DIR", help="psycopg: a checkout of its repository")
    ap.add_argument("--seconds", type=int, default=60, help="pgbench: for each mode")
    ap.add_argument("--serial", action="store_true", help="one connection at a time")
    ap.add_argument("--fail-fast", action="store_true")
    ap.add_argument("--timeout", type=int, default=1500)
    ap.add_argument("--keep", default=os.path.join(HERE, "../../target/e2e/suites"), help="where results stay")
    a = ap.parse_args()
    a.keep = os.path.abspath(a.keep)
    os.makedirs(a.keep, exist_ok=True)
    results = report.Report()
    if a.suite in ("regression", "all"):
        postgres_suite(a, "regress", results)
    if a.suite in ("isolation", "all"):
        postgres_suite(a, "isolation", results)
    if a.suite in ("pipeline", "all"):
        pipeline_suite(a, results)
    if a.suite in ("protocol", "all"):
        protocol_suite(a, results)
    if a.suite in ("asyncpg", "all"):
        driver_suite(a, "asyncpg", asyncpg_run, results)
    if a.suite in ("pgx", "all"):
        driver_suite(a, "pgx", pgx_run, results)
    if a.suite == "psycopg" or a.checkout:
        driver_suite(a, "psycopg", psycopg_run, results)
    if a.suite in ("pgbench", "all"):
        pgbench_suite(a, results)
    print(f"results in {a.keep}")
    results.finish()


if __name__ == "__main__":
    main()
