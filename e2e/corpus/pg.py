"""The PostgreSQL half of the evasion corpus: a real server with the corpus's fixtures, Weir
with ``pg/*.yaml`` in front of it, and the corpus's own harness.

The budgets of the one identity are reset between items by the operator's command, which is
itself evidence. The last line of the output is the harness's JSON.
"""

import glob
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../lib"))
from lab import install, postgres, proc, weir  # noqa: E402

CORPUS = os.path.abspath(os.environ["CORPUS"])
DENY_RE = r"(?i)denied by policy|awaiting approval|refused by weir"


def read(name):
    """A fixture of the corpus."""
    with open(os.path.join(CORPUS, "fixtures", name), encoding="utf-8") as f:
        return f.read()


def fixtures():
    """A server as the corpus's README wants it."""
    server = postgres.Postgres(
        int(os.environ.get("SERVER", "15")), password="corpus", auth="trust",
        conf={"shared_preload_libraries": "'pg_stat_statements'", "wal_level": "logical", "max_wal_senders": "10",
              "max_prepared_transactions": "10", "synchronous_commit": "on"}).start()
    server.psql(read("pg_cluster.sql"))
    server.psql("CREATE DATABASE shop_tpl OWNER app")
    server.psql(read("pg.sql"), "shop_tpl")
    return server


def policies(server):
    """The corpus's policy with the server's address filled in."""
    w = weir.Weir(os.environ["WEIR"], server.port, identity="corpus", target_name="shop")
    for name in ("target.yaml", "policy.yaml"):
        os.unlink(os.path.join(w.dir, "policies", name))
    for path in sorted(glob.glob(os.path.join(HERE, "pg/*.yaml")) + glob.glob(os.path.join(HERE, "pg/*.yaml.in"))):
        with open(path, encoding="utf-8") as f:
            w.write(os.path.basename(path).removesuffix(".in"), f.read().replace("${PG_PORT}", str(server.port)))
    return w


def main():
    """Direct, through a relay, or through Weir."""
    install.need("socat", "socat")
    install.psql(15)
    server = fixtures()
    srvtmp = proc.workdir("weir-srvtmp-")
    os.chmod(srvtmp, 0o777)
    argv = [sys.executable, os.path.join(CORPUS, "validate.py"), "pg", "--srvtmp", srvtmp]
    if os.environ.get("ONLY"):
        argv += ["--only", os.environ["ONLY"]]
    if os.environ.get("VERBOSE"):
        argv += ["--verbose"]
    env = postgres.clean_env(GATEWAY_DENY_RE=DENY_RE, LC_ALL="C.UTF-8")
    proxy = os.environ.get("PROXY", "weir")
    if proxy == "direct":
        argv += ["--port", str(server.port)]
    elif proxy == "relay":
        port = proc.free_port()
        proc.spawn([sys.executable, os.path.join(HERE, "../lib/lab/relay.py"), str(port), str(server.port)])
        proc.wait_until(lambda: proc.accepts(port), "the relay listens")
        argv += ["--mode", "gateway", "--port", str(port), "--admin-port", str(server.port)]
    else:
        w = policies(server).start()
        argv += ["--mode", "gateway", "--port", str(w.port), "--admin-port", str(server.port),
                 "--between", f"{w.binary} budgets reset --state-dir {w.state}"]
    status = subprocess.run(argv, env=env, cwd=srvtmp).returncode
    # 1 only says that some item failed: the line says which
    sys.exit(0 if status in (0, 1) else status)


if __name__ == "__main__":
    main()
