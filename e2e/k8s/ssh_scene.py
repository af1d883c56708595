"""Two hosts with OpenSSH, pods that use them through Weir, and one that reaches them without."""

import os

from lab import install, kube, proc
from lab.installed import FIXTURES

NAMESPACE, HOSTS = "ops", "hosts"
HOST, OTHER, LATE = "build.hosts", "other.hosts.svc.cluster.local", "late.hosts"
POD = "build.pods.hosts.svc.cluster.local"
USER = "deploy"
SSHD = """\
Port 22
Port 2200
Port 2202
Port 2222
HostKey /keys/hostkey
AuthorizedKeysFile /config/authorized_keys
TrustedUserCAKeys /config/users.pub
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
LogLevel VERBOSE
Subsystem sftp internal-sftp
"""
# By Service and pod, by name and by network; with a key, and with a certificate that Weir signs.
TARGETS = """\
apiVersion: weir.dev/v1alpha1
kind: Target
metadata: {name: build}
spec:
  protocol: SSH
  addresses: [{service: {namespace: hosts, name: build, port: 22}}, {host: build.pods.hosts.svc.cluster.local, port: 22}]
  credentials: {mode: Brokered, secretRef: {name: build-login}}
  ssh: {hostKeys: ["@KEY@"]}
---
apiVersion: weir.dev/v1alpha1
kind: Target
metadata: {name: other}
spec:
  protocol: SSH
  addresses: [{host: other.hosts.svc.cluster.local, port: 22}]
  credentials: {mode: Brokered, secretRef: {name: other-login}}
  ssh: {knownHostsRef: {name: other-hosts}, user: deploy}
---
apiVersion: weir.dev/v1alpha1
kind: Target
metadata: {name: by-network}
spec:
  protocol: SSH
  addresses: [{cidr: "@NETWORK@", port: 2222}]
  credentials: {mode: Brokered, secretRef: {name: build-login}}
  ssh: {hostKeys: ["@KEY@"]}
---
apiVersion: weir.dev/v1alpha1
kind: Target
metadata: {name: not-theirs}
spec:
  protocol: SSH
  addresses: [{host: 192.0.2.7, port: 22}]
  credentials: {mode: Brokered, secretRef: {name: build-login}}
  ssh: {hostKeys: ["@KEY@"]}
"""
LATER = """\
apiVersion: weir.dev/v1alpha1
kind: Target
metadata: {name: late}
spec:
  protocol: SSH
  addresses: [{service: {namespace: hosts, name: late, port: 22}}]
  credentials: {mode: Brokered, secretRef: {name: build-login}}
  ssh: {hostKeys: ["@KEY@"]}
"""
POLICY = """\
apiVersion: weir.dev/v1alpha1
kind: ClusterGuardPolicy
metadata: {name: ops}
spec:
  mode: Enforce
  subjects: [{namespaces: [ops]}]
  targets: [build, other, by-network, late]
  audit: {record: Full, delivery: Blocking}
  rules:
  - {name: no-archives, match: {ssh: {commands: [tar]}}, action: Deny}
  - name: releases
    match: {ssh: {commands: ["touch *"]}}
    action: RequireApproval
    approval: {groups: [data-stewards], count: 1, deadline: 5m}
"""
FORWARD = f'  - {{name: beyond, match: {{ssh: {{destinations: ["127.0.0.1:7000", "{OTHER}:22"]}}}}, action: Allow}}\n'
STRICTER = '  - {name: no-id, match: {ssh: {commands: [id]}}, action: Deny}\n'
WINDOW = """\
apiVersion: weir.dev/v1alpha1
kind: ClusterGuardPolicy
metadata: {name: ops-window}
spec:
  subjects: [{namespaces: [ops]}]
  targets: [other]
  rules:
  - {name: hourly, limits: {window: {bytes: 1Mi, per: 1h}, onExceed: Deny}}
"""


class Scene:
    """The hosts, the pods and what a user types in them."""

    def __init__(self, weir):
        self.weir, self.cluster = weir, weir.cluster
        self.folder = f"{weir.work}/ssh"
        self.agents, self.address = [], ""

    # ------------------------------------------------------------------------ preparation

    def prepare(self):
        """Keys, hosts, Targets, the policy and the pods, in this order."""
        install.need("ssh-keygen", "openssh-client")
        self.cluster.load(kube.ssh_image())
        os.makedirs(self.folder, exist_ok=True)
        for name in ("hostkey", "login", "users"):
            if not os.path.exists(f"{self.folder}/{name}"):
                proc.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", f"{self.folder}/{name}"])
        self.write("sshd_config", SSHD)
        self.write("authorized_keys", self.read("login.pub"))
        self.write("known_hosts", f"{HOST},{OTHER} {self.host_key()}\n")
        shell = self.weir.shell
        for namespace in (HOSTS, NAMESPACE):
            shell(f"kubectl create namespace {namespace} && "
                  f"kubectl -n {namespace} wait --for=create serviceaccount/default --timeout=60s")
        shell(f"kubectl label namespace {NAMESPACE} weir.dev/enforce=true")
        shell(f"cd ssh && kubectl -n {HOSTS} create configmap sshd --from-file=sshd_config --from-file=authorized_keys "
              "--from-file=users.pub --from-file=known_hosts")
        shell(f"cd ssh && kubectl -n {HOSTS} create secret generic sshd --from-file=hostkey")
        shell("cd ssh && kubectl -n weir-system create secret generic build-login --from-file=ssh-privatekey=login "
              f"--from-literal=username={USER}")
        shell("cd ssh && kubectl -n weir-system create secret generic other-login --from-file=ssh-ca-key=users")
        shell("cd ssh && kubectl -n weir-system create configmap other-hosts --from-file=known_hosts")
        for namespace in (HOSTS, NAMESPACE):
            shell(f"cd ssh && kubectl -n {namespace} create secret generic login --from-file=login")
        self.cluster.kubectl("apply", "-f", f"{FIXTURES}/hosts.yaml")
        with open(f"{FIXTURES}/host.yaml", encoding="utf-8") as f:
            host = f.read()
        for name in ("build", "other"):
            self.cluster.apply(host.replace("@NAME@", name))
        for name in ("build", "other", "outside"):
            self.cluster.wait_pod(name, namespace=HOSTS, timeout=90)
        self.address = self.cluster.get("pod", "build", namespace=HOSTS)["status"]["podIP"]
        self.cluster.apply(self.filled(TARGETS))
        self.policy()
        self.cluster.kubectl("apply", "-f", f"{FIXTURES}/agents.yaml")
        shell(f"kubectl -n {NAMESPACE} rollout status deployment/agent --timeout=120s")
        self.cluster.wait_pod("own", namespace=NAMESPACE)
        pods = self.cluster.get("pods", "-l", "app=agent", namespace=NAMESPACE)["items"]
        self.agents = [pod["metadata"]["name"] for pod in pods]

    def clean(self):
        """Nothing of it stays."""
        self.weir.shell(f"kubectl delete --ignore-not-found namespace {HOSTS} {NAMESPACE} --wait=false; "
                        "kubectl delete --ignore-not-found clusterguardpolicy ops ops-window; "
                        "kubectl delete --ignore-not-found target build other by-network not-theirs late; "
                        "kubectl -n weir-system delete --ignore-not-found secret/build-login secret/other-login "
                        "configmap/other-hosts", check=False)

    def policy(self, *rules):
        """The policy, with more rules."""
        self.cluster.apply(POLICY + "".join(rules))

    def filled(self, manifest):
        """Targets with the key and the network of this run."""
        network = self.address.rsplit(".", 1)[0] + ".0/24"
        return manifest.replace("@KEY@", self.host_key()).replace("@NETWORK@", network)

    def write(self, name, text):
        """A file beside the keys."""
        with open(f"{self.folder}/{name}", "w", encoding="utf-8") as f:
            f.write(text)

    def read(self, name):
        """The text of one."""
        with open(f"{self.folder}/{name}", encoding="utf-8") as f:
            return f.read()

    def host_key(self):
        """``ALGORITHM BASE64`` of the hosts' key."""
        return " ".join(self.read("hostkey.pub").split()[:2])

    # --------------------------------------------------------------------------- commands

    def run(self, *argv, pod=None, **kwargs):
        """A command in a pod that is governed."""
        kwargs.setdefault("check", False)
        return self.cluster.exec(pod or self.agents[0], *argv, namespace=NAMESPACE, container="app", **kwargs)

    def ssh(self, *argv, host=HOST, **kwargs):
        """What a user types, with nothing that is for Weir."""
        return self.run("ssh", f"{USER}@{host}", *argv, **kwargs)

    def outside(self, *argv, **kwargs):
        """A command where Weir is not."""
        kwargs.setdefault("check", False)
        return self.cluster.exec("outside", *argv, namespace=HOSTS, container="app", **kwargs)

    def direct(self, *argv, host=HOST, **kwargs):
        """The same with the hosts' real key."""
        return self.outside("ssh", "-i", "/keys/login", f"{USER}@{host}", *argv, **kwargs)

    def on_host(self, *argv, host="build", **kwargs):
        """A command on a host itself."""
        return self.cluster.exec(host, *argv, namespace=HOSTS, container="sshd", **kwargs).stdout
