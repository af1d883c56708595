"""Claims about what is shipped as OTLP, with the receiver of OpenTelemetry's own Collector (``otelcol/``), over TLS."""

import json
import os
import signal
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../lib"))
from lab import install, pki, proc, wire  # noqa: E402
from lab.report import equal, lacks  # noqa: E402

LEFT_OUT = ("recording_chunk", "evidence_read", "heartbeat")


def build():
    """The receiver; a minute on two cores, the first time."""
    install.need("go", "golang-go")
    out = os.path.join(install.CACHE, "exports-otelcol")
    subprocess.run(["go", "build", "-trimpath", "-o", out, "."], cwd=os.path.join(HERE, "otelcol"), check=True,
                   env=dict(os.environ, GOFLAGS="-mod=readonly"))
    return out


class Receiver:
    """The receiver, and what it has taken, also before it was started again."""

    def __init__(self):
        self.program = build()
        self.dir = proc.workdir("weir-otelcol-")
        self.port = proc.free_port()
        self.log = os.path.join(self.dir, "taken.jsonl")
        pki.issue(self.dir, "otel", "DNS:localhost,IP:127.0.0.1")
        self.child = None

    def start(self):
        """Listens."""
        argv = [self.program, f"127.0.0.1:{self.port}", f"{self.dir}/otel.crt", f"{self.dir}/otel.key"]
        self.child = proc.spawn(argv, log=self.log, stdin=subprocess.PIPE, text=True)
        proc.wait_until(lambda: proc.accepts(self.port), "the OTLP receiver listens", child=self.child, log=self.log)
        return self

    def stop(self):
        """Is gone."""
        proc.stop(self.child, signal.SIGKILL)

    def says(self, mood):
        """Takes requests from now on, or does not."""
        self.child.stdin.write(mood + "\n")
        self.child.stdin.flush()

    def settings(self):
        """For ``collector`` of Weir's configuration."""
        headers = os.path.join(self.dir, "headers")
        with open(headers, "w", encoding="utf-8") as f:
            f.write("Authorization=Bearer%20s3cret\n")
        return (f', otlp: {{endpoint: "https://localhost:{self.port}", caFile: {self.dir}/otel-ca.crt, '
                f"headersFile: {headers}, metricsIntervalSeconds: 1}}")

    def text(self):
        """All that it took."""
        with open(self.log, encoding="utf-8") as f:
            return f.read()

    def taken(self, kind):
        """Requests of a kind."""
        lines = [line for line in self.text().splitlines() if line.startswith("{")]
        return [request for request in map(json.loads, lines) if kind in request]

    def ids(self):
        """The ids of the events, as often as they came."""
        records = [record for request in self.taken("resourceLogs") for resource in request["resourceLogs"]
                   for scope in resource["scopeLogs"] for record in scope["logRecords"]]
        return [json.loads(record["body"]["stringValue"])["id"] for record in records]

    def metrics(self):
        """The newest value of each metric's points, added up."""
        newest = self.taken("resourceMetrics")[-1]["resourceMetrics"][0]
        found = {}
        for metric in newest["scopeMetrics"][0]["metrics"]:
            data = metric.get("sum") or metric.get("gauge") or metric["histogram"]
            found[metric["name"]] = sum(int(point.get("asInt", point.get("count", 0))) for point in data["dataPoints"])
        return found


def kept(weir):
    """The ids of the events that must arrive: those that are no answer to this question."""
    return [event.raw["id"] for event in weir.events() if event.raw["kind"] not in LEFT_OUT]


def arrived(receiver, weir, what):
    """Waits until everything has arrived; how often each."""
    wanted = set(kept(weir))
    proc.wait_until(lambda: wanted <= set(receiver.ids()), what, 60, every=0.5, log=weir.log)
    ids = receiver.ids()
    return len(ids) - len(set(ids))


def everything_arrives_once(scene):
    """Logs and metrics, in the receiver's own words."""
    equal(arrived(scene.receiver, scene.weir, "all events are with the receiver"), 0, "events came twice")
    request = scene.receiver.taken("resourceLogs")[0]["resourceLogs"][0]
    names = {attribute["key"] for attribute in request["resource"]["attributes"]}
    equal(names, {"service.name", "service.version", "service.instance.id"})
    wanted = {"weir_evidence_denials_total": 10, "weir_evidence_holds_total": 1, "weir_evidence_sessions_total": 1}
    proc.wait_until(lambda: scene.receiver.taken("resourceMetrics"), "metrics are with the receiver", 20)

    def counted():
        found = scene.receiver.metrics()
        return all(found[name] == number for name, number in wanted.items()) and found["weir_findings_total"] > 1
    proc.wait_until(counted, f"metrics say {wanted}", 20)


def values_stay_shipped(scene):
    """No value of a result, no parameter and nothing of the login of the receiver is in what it got."""
    conn = wire.Conn(scene.weir.port)
    conn.query("SELECT 'kept-text'")
    conn.send(wire.extended("SELECT $1::text", [b"parameter-value"]) + wire.SYNC)
    conn.until_ready()
    conn.close()
    scene.weir.settle()
    arrived(scene.receiver, scene.weir, "the parameters' statement is with the receiver")
    text = scene.receiver.text()
    for value in ("plain-value", "honey-value", "parameter-value", "s3cret"):
        lacks(text, value, "otlp")
    assert "kept-text" in text and "SELECT $1::text" in text, "the statements' text is not there"


def an_outage_loses_nothing(scene):
    """A receiver that takes nothing, one that is away, and a collector that is killed meanwhile."""
    def work(n):
        conn = wire.Conn(scene.weir.port)
        for i in range(20):
            conn.query(f"SELECT 'outage {n} {i}'")
        conn.close()
        scene.weir.settle()
    scene.receiver.says("retry")
    work(1)
    proc.wait_until(lambda: scene.weir.metric("weir_otlp_failures_total") > 1, "requests fail", 20)
    proc.wait_until(lambda: scene.weir.metric("weir_otlp_lag_seconds") > 0, "the export is behind", 20)
    # What was on its way before may have been taken still.
    before = len(scene.receiver.ids())
    lacks(scene.receiver.text(), "outage 1 ")
    scene.receiver.stop()
    work(2)
    equal(len(scene.receiver.ids()), before, "what was not taken")
    scene.weir.kill()
    scene.weir.start()
    work(3)
    scene.receiver.start()
    arrived(scene.receiver, scene.weir, "all events are with the receiver after its outage")
    proc.wait_until(lambda: scene.weir.metric("weir_otlp_lag_seconds") == 0, "the export has caught up", 20)
    for n in (1, 2, 3):
        assert f"outage {n} 19" in scene.receiver.text(), n


def what_is_refused_is_counted(scene):
    """What the receiver will never take goes no second time, and what comes after it goes."""
    scene.receiver.says("drop")
    conn = wire.Conn(scene.weir.port)
    conn.query("SELECT 'never taken'")
    scene.weir.settle()
    rejected = 'weir_otlp_events_total{outcome="rejected"} '

    def count():
        lines = scene.weir.metrics().splitlines()
        return sum(int(line.removeprefix(rejected)) for line in lines if line.startswith(rejected))
    proc.wait_until(lambda: count() > 0, "rejected events are counted", 20)
    proc.wait_until(lambda: scene.weir.metric("weir_otlp_lag_seconds") == 0, "nothing waits", 20)
    scene.receiver.says("take")
    conn.query("SELECT 'taken again'")
    conn.close()
    scene.weir.settle()
    proc.wait_until(lambda: "taken again" in scene.receiver.text(), "what comes later is taken", 20)
    lacks(scene.receiver.text(), "never taken")


CLAIMS = (everything_arrives_once, values_stay_shipped, an_outage_loses_nothing, what_is_refused_is_counted)
