#!/usr/bin/env python3
"""The budgets, measured: direct, a bare relay, PgBouncer and Weir, everything on one CPU,
in interleaved rounds; medians and ratios; a table and ``target/bench/report.json``.

    run.py [--only B3,B4] [--rounds 5] [--quick]     WEIR=PATH of the binary
    FULL=1 run.py --only collector                   the store with ten million events, not one

Every process (servers, proxies, load) is pinned to one CPU, so that what a proxy costs is
taken from what the others can do. A ratio is computed within its round, then the median.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.abspath(os.path.join(HERE, "../.."))
sys.path.insert(0, os.path.join(HERE, "../lib"))
sys.path.insert(0, HERE)
import setup  # noqa: E402
from collector import GOAL_MS, measure as measure_store  # noqa: E402
from lab import proc  # noqa: E402

# goals of the design; the second is what the issue asks for at least, on ratios to the relay
GOALS = {
    "B1": (10.5, "us", "max"), "B2": (9.5, "us", "max"),
    "B3.simple": (0.93, "x direct", "min"), "B3.prepared": (0.92, "x direct", "min"), "B3.tpcb": (0.90, "x direct", "min"),
    "B4.counted": (0.88, "x direct", "min"), "B4.masked": (0.85, "x direct", "min"), "B4.scanned": (0.65, "x direct", "min"),
    "B5.latency": (17, "us", "max"), "B5.bulk": (0.75, "x direct", "min"),
    "B6.idle": (6, "MB", "max"), "B6.100": (8, "MB", "max"),
    "B7.cached": (0.15, "us", "max"), "B7.short": (3, "us", "max"), "B7.1k": (60, "us", "max"),
    "B8.cost": (0.5, "us", "max"), "B8.lost": (0, "events", "max"),
    "B9.rate": (150_000, "events/s", "min"), "B9.size": (60, "bytes", "max"), "B10": (1.0, "GB/s", "min"),
    "ssh.bulk": (0.95, "x relay", "min"), "ssh.direct": (0.6, "x direct", "min"), "ssh.exec": (1.3, "x direct", "max"),
    "ssh.new": (2.0, "x direct", "max"), "ssh.50": (40, "MB", "max"),
    # of 1.2 x direct and 60 us; above idle; in all
    "kube.get": (1.0, "x limit", "max"), "kube.list": (0.7, "x direct", "min"), "kube.memory": (16, "MB", "max"),
    "kube.watches": (40, "MB", "max"),
}
FLOORS = {
    "B1": ("<= 1.5 x relay", lambda v, r: v <= 1.5 * r), "B3.simple": (">= 0.97 x relay", lambda v, r: v >= 0.97 * r),
    "B3.prepared": (">= 0.97 x relay", lambda v, r: v >= 0.97 * r), "B4.counted": (">= 0.95 x relay", lambda v, r: v >= 0.95 * r),
    "B4.masked": (">= 0.85 x relay", lambda v, r: v >= 0.85 * r), "B6.100": ("<= 12 MB", lambda v, _: v <= 12),
    "B8.lost": ("0", lambda v, _: v == 0),
}
ONE_ROW = "select id, name, region from people where id = 4711"
BULK = "select id, name, ssn, card, email, note from big"


class Bench:
    """The rows of the report so far, and the means to make more."""

    def __init__(self, a):
        self.a, self.rows = a, {}
        self.rounds = a.rounds

    def add(self, ident, value, direct=None, relay=None, peers=None):
        """One row of the report."""
        goal, unit, sense = GOALS.get(ident) or (GOAL_MS, "ms", "max")
        met = value <= goal if sense == "max" else value >= goal
        self.rows[ident] = {"id": ident, "value": _round(value), "unit": unit, "direct": _round(direct), "relay": _round(relay),
                            "peers": {k: _round(v) for k, v in (peers or {}).items()}, "goal": goal, "met": met}
        print(f"  {ident}: {_round(value)} {unit} (relay {_round(relay)}, peers {peers or {}}, goal {goal})", flush=True)

    def ways(self, scene, *extra):
        """The ways to the server, rotated from round to round."""
        names = ["direct", "relay", "weir"] + (["pgbouncer"] if scene.pgbouncer else []) + list(extra)
        return names

    def interleaved(self, names, measure):
        """{way: [value per round]}; the order rotates so that drift hits all alike."""
        found = {name: [] for name in names}
        for n in range(self.rounds):
            for name in names[n % len(names):] + names[:n % len(names)]:
                found[name].append(measure(name))
        return found


def _round(value):
    return None if value is None else round(float(value), 3)


def median_of(values, versus, how):
    """The median of how(value, direct) over the rounds."""
    return statistics.median(how(v, d) for v, d in zip(values, versus))


def added(found, way):
    """Microseconds that a way adds to the direct median."""
    return median_of(found[way], found["direct"], lambda v, d: v - d)


def ratio(found, way):
    """What a way reaches of direct."""
    return median_of(found[way], found["direct"], lambda v, d: v / d)


# ---------------------------------------------------------------------------------- budgets

def b1_b2(bench, scene):
    """Added latency, and CPU, of one statement with one row."""
    count = 2000 if bench.a.quick else 8000
    cpu = {}

    def measure(way):
        pid = scene.pid(way)
        before = setup.cpu_seconds(pid) if pid else 0
        p50 = scene.bench("latency", way, "--sql", ONE_ROW, "--count", str(count), "--warmup", "300")["p50"]
        if pid:
            cpu.setdefault(way, []).append((setup.cpu_seconds(pid) - before) * 1e6 / (count + 300))
        return p50
    found = bench.interleaved(bench.ways(scene), measure)
    peers = {"pgbouncer": added(found, "pgbouncer")} if scene.pgbouncer else {}
    bench.add("B1", added(found, "weir"), statistics.median(found["direct"]), added(found, "relay"), peers)
    peers = {"pgbouncer": statistics.median(cpu["pgbouncer"])} if scene.pgbouncer else {}
    bench.add("B2", statistics.median(cpu["weir"]), None, statistics.median(cpu["relay"]), peers)


def b3(bench, scene):
    """Throughput of 16 clients."""
    seconds = 2 if bench.a.quick else 5
    for ident, argv in (("B3.simple", ["-S", "-M", "simple"]), ("B3.prepared", ["-S", "-M", "prepared"]),
                        ("B3.tpcb", ["-M", "simple"])):
        if not bench.a.wanted(ident):
            continue
        found = bench.interleaved(bench.ways(scene), lambda way, argv=argv: scene.pgbench(way, seconds, *argv))
        peers = {"pgbouncer": ratio(found, "pgbouncer")} if scene.pgbouncer else {}
        bench.add(ident, ratio(found, "weir"), statistics.median(found["direct"]), ratio(found, "relay"), peers)


def b4(bench, scene):
    """A million rows."""
    for ident, instance in (("B4.counted", "weir"), ("B4.masked", "masking"), ("B4.scanned", "scanning")):
        if not bench.a.wanted(ident):
            continue
        names = ["direct", "relay", instance] + (["pgbouncer"] if scene.pgbouncer else [])
        names += ["tokens"] if ident == "B4.masked" and not bench.a.without_weir else []

        def measure(way):
            got = scene.bench("bulk", way, "--sql", BULK)
            if got["rows"] != scene.big_rows:
                raise RuntimeError(f"{way}: {got}")
            return 1 / got["seconds"]
        found = bench.interleaved(names, measure)
        peers = {way: ratio(found, way) for way in names[3:]}
        bench.add(ident, ratio(found, instance), scene.big_rows * statistics.median(found["direct"]), ratio(found, "relay"), peers)


def b5(bench, scene):
    """TLS on both sides."""
    count = 2000 if bench.a.quick else 8000
    found = bench.interleaved(["direct", "tls"], lambda way: scene.bench(
        "latency", way, "--sql", ONE_ROW, "--count", str(count), "--warmup", "300", tls=True)["p50"])
    bench.add("B5.latency", added(found, "tls"), statistics.median(found["direct"]))
    found = bench.interleaved(["direct", "tls"], lambda way: 1 / scene.bench("bulk", way, "--sql", BULK, tls=True)["seconds"])
    bench.add("B5.bulk", ratio(found, "tls"), scene.big_rows * statistics.median(found["direct"]))


def b6(bench, scene):
    """Resident memory of fresh processes."""
    idle, busy = {}, {}
    for way in ("weir", "relay"):
        port, pid, stop = scene.fresh(way)
        time.sleep(1.0)
        idle[way] = proc.rss_kb(pid) / 1024
        child = subprocess.Popen([scene.tool, "hold", "--address", f"127.0.0.1:{port}", "--count", "100", "--sql", ONE_ROW],
                                 stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        child.stdout.readline()
        time.sleep(1.5)
        busy[way] = proc.rss_kb(pid) / 1024
        child.stdin.close()
        child.wait()
        stop()
    bench.add("B6.idle", idle["weir"], None, idle["relay"])
    bench.add("B6.100", busy["weir"], None, busy["relay"])


def b7(bench, scene):
    """Statement analysis."""
    found = json.loads(proc.run([scene.tool, "analyse"]).stdout)
    for key in ("cached", "short", "1k"):
        bench.add(f"B7.{key}", found[key])


def b8_b9(bench, _scene):
    """Evidence: cost in the data path, loss, the collector's rate and size."""
    text = setup.example("weir-collector", "ingest_bench")
    for ident, value in setup.figures(text).items():
        if ident in GOALS and bench.a.wanted(ident):
            bench.add(ident, value)


def b10(bench, _scene):
    """Value detection, the slowest of the texts without findings."""
    rates = setup.speeds(setup.example("weir-detect", "speed"))
    bench.add("B10", min(rates[name] for name in ("prose", "rows", "json")), None, None, rates)


def ssh(bench, scene):
    """SSH: a download, a command, many sessions."""
    from ssh import measure
    measure(bench, os.environ["WEIR"], scene.tool, median_of)


def kube(bench, _scene):
    """The Kubernetes API: one object, a long list, many watches."""
    from kube import measure
    measure(bench, os.environ["WEIR"], median_of)


def collector(bench, _scene):
    """The store at size: ingest, bytes at rest, searches (ids C.search.NAME)."""
    measure_store(bench)


STEPS = [(("B1", "B2"), b1_b2, True), (("B3.simple", "B3.prepared", "B3.tpcb"), b3, True),
         (("B4.counted", "B4.masked", "B4.scanned"), b4, True), (("B5.latency", "B5.bulk"), b5, True),
         (("B6.idle", "B6.100"), b6, True), (("B7.cached", "B7.short", "B7.1k"), b7, False),
         (("B8.cost", "B8.lost", "B9.rate", "B9.size"), b8_b9, False), (("B10",), b10, False),
         (("ssh.bulk", "ssh.direct", "ssh.exec", "ssh.new", "ssh.50"), ssh, False),
         (("C", "collector"), collector, False),
         (("kube.get", "kube.list", "kube.memory", "kube.watches"), kube, False)]


def table(rows):
    """The report for people."""
    head = f"{'id':12} {'Weir':>11} {'unit':9} {'direct':>11} {'relay':>9} {'PgBouncer':>10} {'goal':>9}  {'met':4} {'this issue at least'}"
    print("\n" + head + "\n" + "-" * len(head))

    def cell(value, width):
        return f"{'-' if value is None else f'{value:g}':>{width}}"
    for ident, row in rows.items():
        floor = ""
        if ident in FLOORS:
            text, holds = FLOORS[ident]
            relay = row["relay"] if row["relay"] is not None else 0
            floor = f"{text}: {'yes' if holds(row['value'], relay) else 'NO'}"
        print(f"{ident:12} {cell(row['value'], 11)} {row['unit']:9} {cell(row['direct'], 11)} {cell(row['relay'], 9)} "
              f"{cell(row['peers'].get('pgbouncer'), 10)} {cell(row['goal'], 9)}  {'yes' if row['met'] else 'NO':4} {floor}")


def main():
    """Measures what is wanted and writes the report."""
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--only", help="ids or their beginnings, by comma")
    ap.add_argument("--rounds", type=int, default=5)
    ap.add_argument("--quick", action="store_true")
    ap.add_argument("--delivery", default="Batch", choices=["Batch", "Blocking", "BlockingStrict"])
    ap.add_argument("--server", type=int, default=15, choices=[15, 18])
    ap.add_argument("--cpu", type=int, default=min(os.sched_getaffinity(0)))
    ap.add_argument("--without-weir", action="store_true", help="try the harness: the relay stands in for Weir")
    a = ap.parse_args()
    a.wanted = lambda ident: not a.only or any(ident == p or ident.startswith(p + ".") for p in a.only.split(","))
    os.sched_setaffinity(0, {a.cpu})
    bench = Bench(a)
    wanted = [s for s in STEPS if any(a.wanted(i) for i in s[0])]
    scene = setup.Scene(a) if any(s[2] for s in wanted) else setup.Tools()
    print(f"everything on CPU {a.cpu}, {a.rounds} rounds, delivery {a.delivery}, load average {os.getloadavg()[0]:.2f}", flush=True)
    for idents, step, _ in wanted:
        try:
            step(bench, scene)
        except Exception as error:  # the other budgets are still worth having
            print(f"  {', '.join(idents)}: failed: {error}", file=sys.stderr, flush=True)
            a.failed = True
    table(bench.rows)
    out = os.path.join(os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target")), "bench")
    os.makedirs(out, exist_ok=True)
    path = os.path.join(out, "report.json")
    with open(path, "w", encoding="utf-8") as f:
        json.dump(list(bench.rows.values()), f, indent=1)
        f.write("\n")
    print(f"\n{path}")
    sys.exit(1 if getattr(a, "failed", False) or not bench.rows else 0)


if __name__ == "__main__":
    if shutil.which("taskset") is None and not hasattr(os, "sched_setaffinity"):
        sys.exit("cannot pin to a CPU")
    main()
