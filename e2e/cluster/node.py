#!/usr/bin/env python3
"""The node: process 1 of network, mount and process namespaces of its own, in which a
single-node Kubernetes runs. ``lab.cluster`` starts it; when it ends, for whatever reason,
the kernel ends everything else in the namespaces with it.

Says on standard output what it does; the line ``ready`` is the last one. Refuses to go on
without one of its components: when one ends, the node ends and says which.

    node.py RUN KUBERNETES COREDNS CGROUP IMAGE…
"""

import ipaddress
import json
import os
import ssl
import subprocess
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor

NODE = "192.168.77.1"
PODS, SERVICES = "10.244.0.0/24", "10.96.0.0/16"
API = f"https://{NODE}:6443"
DEADLINE = 180


class Node:
    """Paths, and the components that run."""

    def __init__(self, run, kubernetes, coredns, cgroup):
        self.run, self.cgroup = run, cgroup
        self.bin = {"coredns": f"{coredns}/coredns"}
        self.kubernetes = kubernetes
        self.pki = f"{run}/pki"
        self.socket = f"{run}/containerd.sock"
        self.children = {}
        self.started = time.monotonic()

    def say(self, text):
        """Progress, with the seconds since the start."""
        print(f"{time.monotonic() - self.started:5.1f} s  {text}", flush=True)

    def component(self, name, *argv):
        """Starts one; its output goes to its log."""
        program = self.bin.get(name, os.path.join(self.kubernetes, name))
        with open(f"{self.run}/log/{name}.log", "ab") as log:
            self.children[name] = subprocess.Popen([program if "/" in program else name, *argv], stdout=log,
                                                   stderr=log, stdin=subprocess.DEVNULL, cwd=self.pki)

    def wait(self, what, claim):
        """Polls until the claim holds; a component that ended ends the wait."""
        while True:
            self.check()
            if time.monotonic() - self.started > DEADLINE:
                raise SystemExit(f"{what}: not after {DEADLINE} s")
            try:
                if claim():
                    return
            except (OSError, ValueError, KeyError):
                pass
            time.sleep(0.1)

    def check(self):
        """Ends the node when a component has ended."""
        for name, child in self.children.items():
            if child.poll() is not None:
                with open(f"{self.run}/log/{name}.log", encoding="utf-8", errors="replace") as log:
                    last = "".join(log.readlines()[-15:])
                raise SystemExit(f"{name} ended with {child.returncode}\n{last}")


def sh(*argv, **kwargs):
    """A command that must succeed; its output."""
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, **kwargs)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(argv)}: {done.stdout}{done.stderr}")
    return done.stdout


def write(path, content):
    """A file; anything but text is written as JSON, which every reader of YAML takes."""
    with open(path, "w", encoding="utf-8") as f:
        f.write(content if isinstance(content, str) else json.dumps(content))


def own_directories():
    """What containerd, runc, the kubelet and the network plugins write outside of RUN goes
    with the mount namespace."""
    for path in ("/run/netns", "/run/containerd", "/var/log/pods", "/var/log/containers", "/var/lib/cni"):
        os.makedirs(path, exist_ok=True)
        sh("mount", "-t", "tmpfs", "tmpfs", path)


# ------------------------------------------------------------------------------ network

def network():
    """The node's address sits on a bridge, since not every kernel has dummy devices. The
    default route leads to it as well: nothing leaves the namespace."""
    sh("ip", "link", "set", "lo", "up")
    sh("ip", "link", "add", "node0", "type", "bridge")
    sh("ip", "address", "add", f"{NODE}/24", "dev", "node0")
    sh("ip", "link", "set", "node0", "up")
    sh("ip", "route", "add", "default", "via", NODE, "dev", "node0")
    write("/proc/sys/net/ipv4/ip_forward", "1")


# ------------------------------------------------------------------------- certificates

def certificates(node):
    """A certificate authority and the three certificates that it signs, unless this node was started
    before."""
    if os.path.exists(f"{node.pki}/kubelet.conf"):
        return
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    sh("openssl", "req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.crt", "-days", "30",
       "-subj", "/CN=weir-e2e-ca", cwd=node.pki)
    sh("openssl", "genrsa", "-out", "sa.key", "2048", cwd=node.pki)
    kubernetes = "kubernetes.default.svc.cluster.local".split(".")
    names = ["localhost", *(".".join(kubernetes[:n]) for n in (1, 2, 3, 5))]
    first = ipaddress.ip_network(SERVICES)[1]
    alternatives = ",".join([f"IP:127.0.0.1,IP:{NODE},IP:{first}", *(f"DNS:{n}" for n in names)])
    for name, subject, extension in (
            ("apiserver", "/CN=kube-apiserver", f"subjectAltName={alternatives}"),
            ("admin", "/O=system:masters/CN=admin", "extendedKeyUsage=clientAuth"),
            ("kubelet", "/O=system:nodes/CN=system:node:node1",
             f"extendedKeyUsage=clientAuth,serverAuth\nsubjectAltName=IP:{NODE},DNS:node1")):
        write(f"{node.pki}/{name}.ext", extension + "\n")
        sh("openssl", "req", *key, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", subject,
           cwd=node.pki)
        sh("openssl", "x509", "-req", "-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey", "ca.key",
           "-CAcreateserial", "-days", "30", "-out", f"{name}.crt", "-extfile", f"{name}.ext", cwd=node.pki)
    for user in ("admin", "kubelet"):
        write(f"{node.pki}/{user}.conf", {
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": {
                "server": API, "certificate-authority": f"{node.pki}/ca.crt"}}],
            "users": [{"name": user, "user": {"client-certificate": f"{node.pki}/{user}.crt",
                                              "client-key": f"{node.pki}/{user}.key"}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": user}}]})


def api(node, path):
    """A GET as administrator."""
    context = ssl.create_default_context(cafile=f"{node.pki}/ca.crt")
    context.load_cert_chain(f"{node.pki}/admin.crt", f"{node.pki}/admin.key")
    with urllib.request.urlopen(API + path, context=context, timeout=5) as answer:
        return answer.read().decode()


# --------------------------------------------------------------------------- components

def control_plane(node):
    """etcd and the API server."""
    node.component("etcd", "--data-dir", f"{node.run}/etcd", "--unsafe-no-fsync",
                   "--listen-client-urls", "http://127.0.0.1:2379",
                   "--advertise-client-urls", "http://127.0.0.1:2379",
                   "--listen-peer-urls", "http://127.0.0.1:2380")
    node.component("kube-apiserver", "--etcd-servers=http://127.0.0.1:2379", f"--advertise-address={NODE}",
                   "--secure-port=6443", "--allow-privileged", f"--service-cluster-ip-range={SERVICES}",
                   "--authorization-mode=Node,RBAC", "--client-ca-file=ca.crt",
                   "--tls-cert-file=apiserver.crt", "--tls-private-key-file=apiserver.key",
                   "--service-account-key-file=sa.key", "--service-account-signing-key-file=sa.key",
                   "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
                   "--kubelet-client-certificate=admin.crt", "--kubelet-client-key=admin.key",
                   "--kubelet-certificate-authority=ca.crt",
                   "--kubelet-preferred-address-types=InternalIP")


def controllers(node):
    """What works through the API server."""
    node.component("kube-controller-manager", "--kubeconfig=admin.conf", "--root-ca-file=ca.crt",
                   "--service-account-private-key-file=sa.key", "--use-service-account-credentials",
                   "--cluster-signing-cert-file=ca.crt", "--cluster-signing-key-file=ca.key",
                   "--leader-elect=false", "--bind-address=127.0.0.1")
    node.component("kube-scheduler", "--kubeconfig=admin.conf", "--leader-elect=false",
                   "--bind-address=127.0.0.1")
    proxy = {"apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration",
             "mode": "nftables", "clientConnection": {"kubeconfig": f"{node.pki}/admin.conf"},
             "hostnameOverride": "node1", "clusterCIDR": PODS,
             # limits of conntrack belong to the whole machine: not touched
             "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s",
                           "tcpCloseWaitTimeout": "0s"}}
    write(f"{node.run}/proxy.yaml", proxy)
    node.component("kube-proxy", f"--config={node.run}/proxy.yaml")
    write(f"{node.run}/Corefile", f"""\
.:53 {{
  bind {NODE}
  errors
  cache 5
  kubernetes cluster.local in-addr.arpa ip6.arpa {{
    kubeconfig {node.pki}/admin.conf
  }}
}}
""")
    node.component("coredns", "-conf", f"{node.run}/Corefile")


def runtime(node):
    """containerd, with networking by the bridge plugin."""
    write(f"{node.run}/containerd.toml", f"""\
version = 2
root = "{node.run}/containerd/root"
state = "{node.run}/containerd/state"
[grpc]
  address = "{node.socket}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "weir.test/pause:1"
  # without CAP_SYS_RESOURCE a score below the daemon's own cannot be set
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{node.run}/cni"
""")
    bridge = {"type": "bridge", "bridge": "cni0", "isGateway": True, "hairpinMode": True,
              "ipam": {"type": "host-local", "ranges": [[{"subnet": PODS}]],
                       "dataDir": f"{node.run}/cni/leases", "routes": [{"dst": "0.0.0.0/0"}]}}
    write(f"{node.run}/cni/10-pods.conflist",
          {"cniVersion": "0.4.0", "name": "pods",
           "plugins": [bridge, {"type": "portmap", "capabilities": {"portMappings": True}}]})
    node.bin["containerd"] = "containerd"
    node.component("containerd", "-c", f"{node.run}/containerd.toml")


def kubelet(node):
    """The kubelet, below a cgroup of this cluster's own."""
    write(f"{node.run}/kubelet.yaml", {
        "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
        "failCgroupV1": False, "failSwapOn": False, "cgroupDriver": "cgroupfs",
        "cgroupRoot": node.cgroup, "containerRuntimeEndpoint": f"unix://{node.socket}",
        "authentication": {"x509": {"clientCAFile": f"{node.pki}/ca.crt"},
                           "webhook": {"enabled": False}, "anonymous": {"enabled": False}},
        "authorization": {"mode": "AlwaysAllow"},
        "tlsCertFile": f"{node.pki}/kubelet.crt", "tlsPrivateKeyFile": f"{node.pki}/kubelet.key",
        "clusterDNS": [NODE], "clusterDomain": "cluster.local",
        # A full disk must not cost the images that were loaded: nothing could pull them again. And a
        # builder's disk or memory that is short for a moment must not taint the only node for five minutes.
        "imageGCHighThresholdPercent": 100,
        "evictionHard": {signal: "0%" for signal in (
            "memory.available", "nodefs.available", "nodefs.inodesFree", "imagefs.available",
            "imagefs.inodesFree")}})
    node.component("kubelet", f"--config={node.run}/kubelet.yaml", "--kubeconfig=kubelet.conf",
                   f"--root-dir={node.run}/kubelet", f"--cert-dir={node.pki}",
                   "--hostname-override=node1", f"--node-ip={NODE}")


def import_images(node, archives):
    """Puts archives into containerd; the first is the sandbox's image."""
    for archive in archives:
        sh("ctr", "-a", node.socket, "-n", "k8s.io", "images", "import", archive)


def node_is_ready(node):
    """Whether the node says so, and pods may be made in the default namespace."""
    status = json.loads(api(node, "/api/v1/nodes/node1"))["status"]
    ready = any(c["type"] == "Ready" and c["status"] == "True" for c in status["conditions"])
    return ready and api(node, "/api/v1/namespaces/default/serviceaccounts/default")


def main():
    """Starts everything and stays."""
    run, kubernetes, coredns, cgroup, *archives = sys.argv[1:]
    for folder in ("pki", "etcd", "log", "kubelet", "containerd", "cni"):
        os.makedirs(f"{run}/{folder}", exist_ok=True)
    node = Node(run, kubernetes, coredns, cgroup)
    own_directories()
    network()
    runtime(node)
    certificates(node)
    control_plane(node)
    node.wait("containerd", lambda: os.path.exists(node.socket)
              and not subprocess.run(["ctr", "-a", node.socket, "version"], capture_output=True).returncode)
    import_images(node, archives[:1])
    rest = ThreadPoolExecutor(1).submit(import_images, node, archives[1:])
    node.wait("the API server", lambda: api(node, "/readyz"))
    node.say("API server")
    controllers(node)
    kubelet(node)
    node.wait("the node", lambda: node_is_ready(node))
    node.say("node Ready")
    rest.result()
    node.say("ready")
    while True:
        time.sleep(1)
        node.check()
        reap(node)


def reap(node):
    """Orphans (containerd's shims) are process 1's to reap; components are Popen's."""
    ours = {child.pid for child in node.children.values()}
    while True:
        try:
            found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if found is None or found.si_pid in ours:
            return
        os.waitpid(found.si_pid, 0)


if __name__ == "__main__":
    main()
