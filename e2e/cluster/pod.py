#!/usr/bin/env python3
"""Weir's image in real pods: as a stand-in with an explicit listener, and as a native
sidecar that programs the pod's network namespace. The application container is stock
and unchanged; what answers is a real PostgreSQL.

    pod.py [--only CLAIM]       (after ``make images``)
"""

import glob
import os
import sys
import textwrap

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))

from lab import kube  # noqa: E402
from lab.cluster import Cluster  # noqa: E402
from lab.report import Report, contains, equal, lacks  # noqa: E402

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "../.."))
SERVER = "db.default.svc.cluster.local"

DATABASE = """\
apiVersion: v1
kind: ConfigMap
metadata: {name: db}
data:
  start.sh: |
    set -eu
    bin=/usr/lib/postgresql/15/bin data=/var/lib/postgresql/db
    printf real-secret >/tmp/pw
    $bin/initdb -D $data -U postgres --pwfile=/tmp/pw -A scram-sha-256 -E UTF8 --locale=C.UTF-8 --no-sync
    echo "host all all 0.0.0.0/0 scram-sha-256" >>$data/pg_hba.conf
    $bin/pg_ctl -D $data -w -o "-c listen_addresses=127.0.0.1 -k /tmp" start
    PGPASSWORD=real-secret psql -h /tmp -U postgres -v ON_ERROR_STOP=1 -f /config/shop.sql
    $bin/pg_ctl -D $data -w stop
    exec $bin/postgres -D $data -c "listen_addresses=*" -k /tmp -c fsync=off -c jit=off
  shop.sql: |
    create database shop;
    create role app login password 'app-secret';
    \\c shop
    create table customers (id int primary key, name text, ssn text);
    insert into customers values (1, 'Ada', '078-05-1120'), (2, 'Bob', '219-09-9999');
    grant select, update, delete on customers to app;
---
apiVersion: v1
kind: Pod
metadata: {name: db, labels: {app: db}}
spec:
  terminationGracePeriodSeconds: 0
  securityContext: {runAsUser: 100, runAsGroup: 102, fsGroup: 102}
  containers:
  - name: postgres
    image: weir.test/postgres:15
    command: [bash, /config/start.sh]
    readinessProbe:
      exec: {command: [pg_isready, -h, 127.0.0.1]}
      periodSeconds: 1
    volumeMounts: [{name: config, mountPath: /config}, {name: data, mountPath: /var/lib/postgresql}]
  volumes: [{name: config, configMap: {name: db}}, {name: data, emptyDir: {}}]
---
apiVersion: v1
kind: Service
metadata: {name: db}
spec: {selector: {app: db}, ports: [{port: 5432}]}
"""

POLICY = f"""\
apiVersion: weir.dev/v1alpha1
kind: Target
metadata: {{name: shop}}
spec:
  protocol: PostgreSQL
  addresses: [{{host: {SERVER}, port: 5432}}]
  upstreamTLS: {{mode: Disable}}
  credentials: {{mode: PassThrough}}
---
apiVersion: weir.dev/v1alpha1
kind: DataLabel
metadata: {{name: pii.ssn}}
spec:
  columns: [{{target: shop, table: public.customers, columns: [ssn]}}]
  mask: {{partial: {{keepLast: 4}}}}
---
apiVersion: weir.dev/v1alpha1
kind: ClusterGuardPolicy
metadata: {{name: shop}}
spec:
  mode: Enforce
  subjects: [{{names: [reporter]}}]
  targets: [shop]
  audit: {{record: Full, delivery: Blocking}}
  rules:
  - {{name: no-blind-writes, match: {{sql: {{effects: [Update, Delete], where: Missing}}}}, action: Deny}}
  - {{name: hide-pii, match: {{labels: ["pii.*"]}}, action: Mask}}
"""

EXPLICIT = """\
identity: {name: reporter}
resources: [policy.yaml]
stateDir: /var/lib/weir/state
listeners: [{address: "0.0.0.0:6432", target: shop}]
admin: {address: "0.0.0.0:9902"}
"""

REDIRECT = """\
identity: {name: reporter}
resources: [policy.yaml]
stateDir: /var/lib/weir/state
redirect: {}
admin: {address: "0.0.0.0:9902"}
"""

STAND_IN = """\
apiVersion: v1
kind: Pod
metadata: {name: weir, labels: {app: weir}}
spec:
  terminationGracePeriodSeconds: 1
  securityContext: {fsGroup: 65534, runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}
  containers:
  - name: weir
    image: @WEIR@
    args: [--log=info, standalone, --config, /etc/weir/weir.yaml]
    securityContext:
      {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
    readinessProbe: {httpGet: {path: /readyz, port: 9902}, periodSeconds: 1}
    volumeMounts: [{name: config, mountPath: /etc/weir}, {name: state, mountPath: /var/lib/weir}]
  volumes:
  - {name: config, configMap: {name: weir-explicit}}
  - {name: state, emptyDir: {medium: Memory}}
---
apiVersion: v1
kind: Service
metadata: {name: weir}
spec: {selector: {app: weir}, ports: [{port: 5432, targetPort: 6432}]}
---
apiVersion: v1
kind: Pod
metadata: {name: plain}
spec:
  terminationGracePeriodSeconds: 0
  containers: [{name: app, image: weir.test/client:1}]
"""

SIDECAR = """\
apiVersion: v1
kind: Pod
metadata: {name: governed}
spec:
  terminationGracePeriodSeconds: 2
  initContainers:
  - name: weir
    image: @WEIR@
    restartPolicy: Always
    args: [--log=info, standalone, --config, /etc/weir/weir.yaml]
    securityContext:
      runAsUser: 0
      runAsGroup: 0
      allowPrivilegeEscalation: false
      readOnlyRootFilesystem: true
      capabilities: {drop: [ALL], add: [@CAPABILITIES@]}
      seccompProfile: {type: RuntimeDefault}
    startupProbe: {httpGet: {path: /readyz, port: 9902}, periodSeconds: 1, failureThreshold: 30}
    volumeMounts: [{name: config, mountPath: /etc/weir}, {name: state, mountPath: /var/lib/weir}]
  - name: weir-probe
    image: @WEIR@
    args: [probe]
    securityContext:
      {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
  containers:
  - {name: app, image: weir.test/client:1}
  volumes:
  - {name: config, configMap: {name: weir-redirect}}
  - {name: state, emptyDir: {medium: Memory}}
"""


def config_map(name, weir):
    """The configuration as a manifest."""
    text = f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata:\n"
    for key, value in (("weir.yaml", weir), ("policy.yaml", POLICY)):
        text += f"  {key}: |\n{textwrap.indent(value, '    ')}"
    return text


def psql(cluster, pod, host, sql, check=True, user="0"):
    """What an application's psql prints (both streams)."""
    done = cluster.exec(pod, "setpriv", f"--reuid={user}", "--clear-groups", "env", "PGPASSWORD=app-secret", "PGCONNECT_TIMEOUT=10", "psql", "-XAt", "-h",
                        host, "-U", "app", "-d", "shop", "-c", sql, container="app", check=False)
    if check and done.returncode != 0:
        raise AssertionError(f"psql: {done.stderr}")
    return done.stdout + done.stderr


ROWS = "select id, name, ssn from customers order by id"
CLEAR = "1|Ada|078-05-1120\n2|Bob|219-09-9999\n"


def masked(text):
    """The rows arrived, and the numbers did not."""
    contains(text, "Ada")
    contains(text, "1120")
    lacks(text, "078-05")
    lacks(text, "219-09")


def _sidecar(pod):
    """Its status."""
    return next(s for s in pod["status"]["initContainerStatuses"] if s["name"] == "weir")


class Pods:
    """The claims."""

    def __init__(self, cluster, weir):
        self.cluster, self.weir = cluster, weir

    def image_runs(self):
        for option, expected in (("--version", "weir "), ("--help", "standalone")):
            name = "once" + option[1:]
            self.cluster.kubectl("run", name, f"--image={self.weir}", "--restart=Never", "--", option)
            self.cluster.wait_status(name, "has ended", lambda pod: pod["status"]["phase"] == "Succeeded")
            contains(self.cluster.logs(name, name), expected)

    def without_weir_all_is_clear(self):
        equal(psql(self.cluster, "plain", "db", ROWS), CLEAR, "control")

    def explicit_listener_masks(self):
        masked(psql(self.cluster, "plain", "weir", ROWS))
        contains(psql(self.cluster, "plain", "weir", "delete from customers", check=False), "no-blind-writes")

    def no_shell_in_the_image(self):
        done = self.cluster.exec("weir", "/bin/sh", "-c", "true", check=False)
        contains(done.stderr, "no such file")

    def sidecar_is_in_force(self):
        log = self.cluster.logs("governed", "weir")
        contains(log, "redirect in force")
        equal(self.cluster.logs("governed", "weir-probe"), "captured\n")
        print("      " + next(line for line in log.splitlines() if "redirect in force" in line))

    def the_probe_fails_without_a_sidecar(self):
        self.cluster.kubectl("run", "lonely", f"--image={self.weir}", "--restart=Never", "--", "probe",
                             "--timeout", "1")
        self.cluster.wait_status("lonely", "has ended", lambda pod: pod["status"]["phase"] == "Failed")
        contains(self.cluster.logs("lonely", "lonely"), "not captured")

    def application_is_governed(self):
        for name in ("db", SERVER):
            for user in ("0", "1000", "65534"):
                masked(psql(self.cluster, "governed", name, ROWS, user=user))
        contains(psql(self.cluster, "governed", "db", "delete from customers", check=False),
                 "no-blind-writes")

    def pod_address_is_governed(self):
        address = self.cluster.get("pod", "db")["status"]["podIP"]
        text = psql(self.cluster, "governed", address, ROWS, check=False)
        lacks(text, "078-05")

    def restart_keeps_the_rules(self):
        self.cluster.kill("governed", "weir")
        refused = psql(self.cluster, "governed", "db", ROWS, check=False)
        lacks(refused, "078-05")
        contains(refused, "refused")
        self.cluster.wait_status("governed", "has a new sidecar",
                                 lambda pod: _sidecar(pod)["restartCount"] == 1 and _sidecar(pod)["started"])
        masked(psql(self.cluster, "governed", "db", ROWS))

    def needs_net_admin(self):
        self.cluster.apply(SIDECAR.replace("@WEIR@", self.weir).replace("@CAPABILITIES@", "NET_RAW")
                           .replace("name: governed", "name: powerless"))
        self.cluster.wait_status("powerless", "has tried", lambda pod: _sidecar(pod)["state"].get(
            "waiting", {}).get("reason") == "CrashLoopBackOff")
        contains(self.cluster.logs("powerless", "weir"), "NET_ADMIN is missing")
        self.cluster.kubectl("delete", "pod", "powerless", "--now")


def main():
    """Loads the images, runs the claims, leaves nothing."""
    report = Report(sys.argv[2] if sys.argv[1:2] == ["--only"] else None)
    archive, = glob.glob(f"{ROOT}/target/images/weir-*.oci.tar")
    weir = os.environ.get("IMAGE_REPO", "weir.dev") + "/weir:" + archive.split("weir-")[-1][:-len(".oci.tar")]
    cluster = Cluster(images=[kube.client_image(), kube.postgres_image()]).start()
    try:
        cluster.load(archive)
        cluster.apply("---\n".join([config_map("weir-explicit", EXPLICIT),
                                    config_map("weir-redirect", REDIRECT), DATABASE]))
        cluster.wait_pod("db", timeout=120)
        cluster.apply("---\n".join([STAND_IN, SIDECAR]).replace("@WEIR@", weir)
                      .replace("@CAPABILITIES@", "NET_ADMIN"))
        for pod in ("plain", "weir", "governed"):
            cluster.wait_pod(pod, timeout=120)
        pods = Pods(cluster, weir)
        for claim in (pods.image_runs, pods.no_shell_in_the_image, pods.without_weir_all_is_clear,
                      pods.explicit_listener_masks, pods.sidecar_is_in_force,
                      pods.the_probe_fails_without_a_sidecar, pods.application_is_governed,
                      pods.pod_address_is_governed, pods.restart_keeps_the_rules, pods.needs_net_admin):
            report.check(claim.__name__, claim)
        if report.failed:
            cluster.dump()
    except BaseException:
        cluster.dump()
        raise
    finally:
        cluster.stop()
    report.finish()


if __name__ == "__main__":
    main()
