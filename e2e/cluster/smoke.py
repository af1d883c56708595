#!/usr/bin/env python3
"""Is the cluster a cluster? What every later suite takes for granted, checked once."""

import base64
import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))

from lab.cluster import Cluster  # noqa: E402
from lab.report import Report, contains, equal  # noqa: E402

CLIENT = """\
apiVersion: v1
kind: Pod
metadata: {name: client}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: app
    image: weir.test/client:1
    volumeMounts: [{name: token, mountPath: /token}]
  volumes:
  - name: token
    projected: {sources: [{serviceAccountToken: {path: token, audience: weir, expirationSeconds: 600}}]}
"""
SERVER = """\
apiVersion: v1
kind: Pod
metadata: {name: server, labels: {app: server}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: app
    image: weir.test/client:1
    command: [python3, -m, http.server, "8080", --directory, /etc]
    readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: server}
spec: {selector: {app: server}, ports: [{port: 80, targetPort: 8080}]}
"""
JOB = """\
apiVersion: batch/v1
kind: Job
metadata: {name: once}
spec:
  backoffLimit: 0
  template:
    spec:
      restartPolicy: Never
      terminationGracePeriodSeconds: 1
      initContainers:
      - name: sidecar
        image: weir.test/client:1
        restartPolicy: Always
        command: [sh, -c, "trap 'exit 0' TERM; touch /tmp/up; while sleep 0.2; do :; done"]
        startupProbe: {exec: {command: [test, -e, /tmp/up]}, periodSeconds: 1}
      containers:
      - {name: app, image: weir.test/client:1, command: [echo, done]}
"""


def node_ready(cluster):
    node, = cluster.get("nodes")["items"]
    equal(node["status"]["nodeInfo"]["kubeletVersion"], "v1.35.4")
    equal([c["status"] for c in node["status"]["conditions"] if c["type"] == "Ready"], ["True"])


def job_with_native_sidecar(cluster):
    cluster.apply(JOB)
    cluster.wait_job("once")
    contains(cluster.kubectl("logs", "job/once", "-c", "app"), "done")
    pod, = cluster.get("pods", "-l", "job-name=once")["items"]
    equal(pod["status"]["initContainerStatuses"][0]["started"], False, "the sidecar ended after the app")


def dns(cluster):
    address = cluster.get("service", "server")["spec"]["clusterIP"]
    contains(cluster.exec("client", "getent", "hosts", "server").stdout, address)
    contains(cluster.exec("client", "getent", "hosts", "kubernetes.default.svc.cluster.local").stdout,
             "10.96.0.1")


def service(cluster):
    contains(cluster.exec("client", "curl", "-sS", "http://server/hostname").stdout, "server")


def execution(cluster):
    equal(cluster.exec("client", "cat", input="through standard input").stdout, "through standard input")
    equal(cluster.exec("client", "sh", "-c", "exit 7", check=False).returncode, 7)


def projected_token(cluster):
    token = cluster.exec("client", "cat", "/token/token").stdout
    claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    equal((claims["aud"], claims["kubernetes.io"]["pod"]["name"]), (["weir"], "client"))


def api_from_a_pod(cluster):
    secrets = "/var/run/secrets/kubernetes.io/serviceaccount"
    answer = cluster.exec("client", "sh", "-c", f"curl -sS --cacert {secrets}/ca.crt -H \"Authorization: "
                          f"Bearer $(cat {secrets}/token)\" https://kubernetes.default/api/v1/pods").stdout
    contains(answer, "system:serviceaccount:default:default")


def helm(cluster):
    contains(cluster.helm("version"), "v4.")
    equal(cluster.helm("list", "-A", "-q").strip(), "")


def main():
    """Starts a cluster, runs the claims, leaves nothing."""
    report = Report(sys.argv[2] if sys.argv[1:2] == ["--only"] else None)
    cluster = Cluster().start()
    try:
        print(f"ready after {cluster.took:.1f} s")
        cluster.apply(CLIENT + "---\n" + SERVER)
        cluster.wait_pod("client")
        cluster.wait_pod("server")
        for claim in (node_ready, job_with_native_sidecar, dns, service, execution, projected_token,
                      api_from_a_pod, helm):
            report.check(claim.__name__, claim, cluster)
        if report.failed:
            cluster.dump()
    finally:
        cluster.stop()
    report.finish()


if __name__ == "__main__":
    main()
