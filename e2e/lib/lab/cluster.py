"""A real single-node Kubernetes in network, mount and process namespaces of its own:
the machine's own network is untouched and nothing in the cluster can leave it.

    with Cluster() as cluster:
        cluster.apply(yaml)
        cluster.wait_pod("client")
        print(cluster.exec("client", "psql", "-c", "select 1").stdout)

``stop`` leaves no process, no mount and no cgroup behind; leaving the ``with`` by an
exception first shows pods, events and logs. Needs root.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time

from . import install, kube, proc

NODE = os.path.join(kube.SOURCE, "node.py")
START = 240
_SYSTEM = ("kube-system", "kube-public", "kube-node-lease")


class Cluster:
    """One cluster. ``images`` are archives that containerd has before it is ready;
    a ``detached`` one outlives this process and is found again with ``attach``."""

    def __init__(self, where=None, images=None, detached=False):
        self.dir = where or proc.workdir("weir-k8s-")
        self.detached = detached
        self.images = images
        self.log = os.path.join(self.dir, "node.log")
        self.took = None
        self._outer = self._init = None

    # ------------------------------------------------------------------------- its life

    def start(self):
        """Builds what is missing and waits until the node is Ready."""
        if os.geteuid() != 0:
            raise PermissionError("a cluster needs root")
        kube.node_packages()
        self._kubernetes, self._helm, coredns = kube.kubernetes(), kube.helm(), kube.coredns()
        images = [kube.pause_image()]
        images += [kube.client_image()] if self.images is None else self.images
        os.makedirs(self.dir, exist_ok=True)
        began = time.monotonic()
        cgroup = self._make_cgroups()
        argv = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc",
                "--propagation", "slave", sys.executable, NODE, self.dir, self._kubernetes, coredns,
                cgroup, *images]
        if self.detached:
            with open(self.log, "ab") as log:
                self._outer = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                               start_new_session=True)
        else:
            self._outer = proc.spawn(argv, log=self.log)
        try:
            self._wait_ready()
        except BaseException:
            self.stop()
            raise
        self.took = time.monotonic() - began
        self._write_state()
        return self

    def _wait_ready(self):
        shown = 0

        def ready():
            nonlocal shown
            with open(self.log, encoding="utf-8", errors="replace") as f:
                lines = f.read().splitlines()
            for line in lines[shown:]:
                print(f"[cluster] {line}", file=sys.stderr, flush=True)
            shown = len(lines)
            return any(line.endswith("  ready") for line in lines)
        proc.wait_until(ready, "the cluster is ready", START, every=0.1, child=self._outer, log=self.log)
        self._init = int(proc.run(["pgrep", "-P", str(self._outer.pid)]).stdout.split()[0])

    def _write_state(self):
        with open(os.path.join(self.dir, "state.json"), "w", encoding="ascii") as f:
            json.dump({"outer": self._outer.pid, "init": self._init, "born": _born(self._init),
                       "kubernetes": self._kubernetes, "helm": self._helm}, f)
        script = os.path.join(self.dir, "in")
        with open(script, "w", encoding="ascii") as f:
            f.write("#!/bin/sh\nexec " + " ".join(self.inside()) + ' "$@"\n')
        os.chmod(script, 0o755)

    @classmethod
    def attach(cls, where):
        """The cluster that runs from that directory, or None."""
        try:
            with open(os.path.join(where, "state.json"), encoding="ascii") as f:
                state = json.load(f)
        except FileNotFoundError:
            return None
        if _born(state["init"]) != state["born"]:
            return None
        cluster = cls(where, detached=True)
        cluster._init, cluster._outer_pid = state["init"], state["outer"]
        cluster._kubernetes, cluster._helm = state["kubernetes"], state["helm"]
        return cluster

    def stop(self):
        """Ends every process in the namespaces; their mounts go with them, and so does the directory."""
        self._halt()
        shutil.rmtree(self.dir, ignore_errors=True)

    def restart(self):
        """As when the machine loses its power: all processes end at once, and the node starts from
        what is on its disk."""
        self._halt()
        for volatile in ("containerd/state", "cni", "node.log", "containerd.sock"):
            path = os.path.join(self.dir, volatile)
            if os.path.isdir(path):
                shutil.rmtree(path)
            elif os.path.exists(path):
                os.unlink(path)
        self.images = []
        return self.start()

    def _halt(self):
        if self._outer is not None:
            # unshare takes its child along, and the kernel the rest of the namespace
            proc.stop(self._outer, signal.SIGKILL)
        elif self._init is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._init, signal.SIGKILL)
        if self._init is not None:
            proc.wait_until(lambda: _born(self._init) is None, "the cluster's processes end")
        self._outer = self._init = None
        self._remove_cgroups()

    def __enter__(self):
        return self.start()

    def __exit__(self, kind, error, _trace):
        if kind is not None and self._init is not None:
            self.dump()
        self.stop()

    @property
    def _cgroup(self):
        return "/" + os.path.basename(os.path.normpath(self.dir)).replace(".", "-")

    def _make_cgroups(self):
        for mount in _cgroup_mounts():
            os.makedirs(mount + self._cgroup, exist_ok=True)
            parent, own = f"{mount}/cpuset.cpus", f"{mount}{self._cgroup}/cpuset.cpus"
            if os.path.exists(parent) and os.path.exists(own):
                for kind in ("cpus", "mems"):  # version 1 starts with an empty set
                    with open(f"{mount}/cpuset.{kind}", encoding="ascii") as f:
                        value = f.read().strip()
                    with open(f"{mount}{self._cgroup}/cpuset.{kind}", "w", encoding="ascii") as f:
                        f.write(value)
        return self._cgroup

    def _remove_cgroups(self):
        for mount in _cgroup_mounts():
            for path, _, _ in os.walk(mount + self._cgroup, topdown=False):
                def removed(path=path):
                    with contextlib.suppress(OSError):
                        os.rmdir(path)
                    return not os.path.exists(path)
                proc.wait_until(removed, f"cgroup {path} is empty", timeout=10)

    # ------------------------------------------------------------------------- commands

    def inside(self):
        """What a command line on the node begins with."""
        path = f"{self.dir}/bin:{self._kubernetes}:{self._helm}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        return ["nsenter", "-n", "-m", "-p", "-t", str(self._init), "env", f"PATH={path}",
                f"KUBECONFIG={self.dir}/pki/admin.conf", f"HELM_CACHE_HOME={self.dir}/helm"]

    def run(self, *argv, **kwargs):
        """A command on the node, with kubectl, helm and ctr on its PATH."""
        return proc.run([*self.inside(), *argv], **kwargs)

    def kubectl(self, *argv, namespace=None, **kwargs):
        """What kubectl prints."""
        scope = ["-n", namespace] if namespace else []
        return self.run("kubectl", *scope, *argv, **kwargs).stdout

    def get(self, *argv, namespace=None):
        """``kubectl get … -o json``, parsed."""
        return json.loads(self.kubectl("get", *argv, "-o", "json", namespace=namespace))

    def apply(self, yaml, namespace=None):
        """Applies manifests and returns what kubectl says."""
        return self.kubectl("apply", "-f", "-", namespace=namespace, input=yaml)

    def helm(self, *argv, **kwargs):
        """What helm prints."""
        return self.run("helm", *argv, **kwargs).stdout

    def user(self, name, *groups):
        """A kubeconfig for somebody with a client certificate of the cluster; its path."""
        path = f"{self.dir}/pki/{name}.conf"
        subject = "".join(f"/O={group}" for group in groups) + f"/CN={name}"
        pki = f"{self.dir}/pki"
        proc.run(["openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                  "-keyout", f"{pki}/{name}.key", "-out", f"{pki}/{name}.csr", "-subj", subject])
        with open(f"{pki}/{name}.ext", "w", encoding="ascii") as f:
            f.write("extendedKeyUsage=clientAuth\n")
        proc.run(["openssl", "x509", "-req", "-in", f"{pki}/{name}.csr", "-CA", f"{pki}/ca.crt", "-CAkey",
                  f"{pki}/ca.key", "-CAcreateserial", "-days", "30", "-out", f"{pki}/{name}.crt",
                  "-extfile", f"{pki}/{name}.ext"])
        with open(f"{pki}/admin.conf", encoding="ascii") as f:
            config = json.load(f)
        config["users"] = [{"name": name, "user": {"client-certificate": f"{pki}/{name}.crt",
                                                   "client-key": f"{pki}/{name}.key"}}]
        config["contexts"] = [{"name": "c", "context": {"cluster": "c", "user": name}}]
        with open(path, "w", encoding="ascii") as f:
            json.dump(config, f)
        return path

    def pid(self, pod, container, namespace=None):
        """The first process of a container, as the node sees it."""
        status = self.get("pod", pod, namespace=namespace)["status"]
        wanted, = [s["containerID"].split("//")[1]
                   for s in (*status.get("initContainerStatuses", ()), *status["containerStatuses"])
                   if s["name"] == container]
        tasks = self.run("ctr", "-a", f"{self.dir}/containerd.sock", "-n", "k8s.io", "tasks", "ls").stdout
        pid, = [line.split()[1] for line in tasks.splitlines() if line.startswith(wanted)]
        return pid

    def load(self, archive):
        """Puts an image archive (OCI or docker) into containerd."""
        self.run("ctr", "-a", f"{self.dir}/containerd.sock", "-n", "k8s.io", "images", "import",
                 os.path.abspath(archive))

    def exec(self, pod, *argv, container=None, namespace=None, check=True, **kwargs):
        """Runs a command in a pod; returns the finished process."""
        scope = [*(["-n", namespace] if namespace else []), *(["-c", container] if container else [])]
        stdin = ["-i"] if "input" in kwargs else []
        return self.run("kubectl", "exec", *stdin, pod, *scope, "--", *argv, check=check, **kwargs)

    def logs(self, pod, container=None, namespace=None, previous=False):
        """A container's log, or those of all containers."""
        which = ["-c", container] if container else ["--all-containers", "--prefix"]
        return self.kubectl("logs", pod, *which, *(["--previous"] if previous else []),
                            namespace=namespace, check=False)

    def kill(self, pod, container, namespace=None):
        """kill -9 of a container's first process, from outside."""
        self.run("kill", "-9", self.pid(pod, container, namespace))

    # -------------------------------------------------------------------------- waiting

    def wait_pod(self, pod, condition="Ready", namespace=None, timeout=60):
        """Waits for a pod's condition; a pod that cannot get there fails at once."""
        def reached():
            found = self.get("pod", pod, namespace=namespace)
            why = _hopeless(found, condition)
            if why:
                raise RuntimeError(f"pod {pod}: {why}\n{self.describe(pod, namespace)}")
            return any(c["type"] == condition and c["status"] == "True"
                       for c in found["status"].get("conditions", ())) and found
        return self._wait(reached, f"pod {pod} is {condition}", pod, namespace, timeout)

    def wait_status(self, pod, what, claim, namespace=None, timeout=60):
        """Waits until a claim about a pod's JSON holds."""
        def holds():
            found = self.get("pod", pod, namespace=namespace)
            return "status" in found and claim(found) and found
        return self._wait(holds, f"pod {pod} {what}", pod, namespace, timeout)

    def wait_job(self, job, namespace=None, timeout=120):
        """Waits until a Job is complete; one that failed is an error."""
        def complete():
            found = self.get("job", job, namespace=namespace)
            kinds = {c["type"] for c in found["status"].get("conditions", ()) if c["status"] == "True"}
            if "Failed" in kinds:
                raise RuntimeError(f"job {job} failed\n{self.describe('', namespace)}")
            return "Complete" in kinds and found
        return self._wait(complete, f"job {job} is complete", "", namespace, timeout)

    def _wait(self, claim, what, pod, namespace, timeout):
        try:
            return proc.wait_until(claim, what, timeout, every=0.2)
        except TimeoutError as error:
            raise TimeoutError(f"{error}{self.describe(pod, namespace)}") from None

    def describe(self, pod, namespace=None):
        """A pod (or all of a namespace's) as kubectl describes it, with its logs."""
        text = self.kubectl("describe", "pods", *([pod] if pod else []), namespace=namespace, check=False)
        return f"{text[-4000:]}\n{self.logs(pod, namespace=namespace) if pod else ''}"

    def dump(self):
        """Shows what a reader of a failed run needs: pods, events, logs, the node's last words."""
        def show(title, text):
            print(f"----- {title}\n{text}", file=sys.stderr, flush=True)
        show("node", self.kubectl("describe", "node", check=False)[-8000:])
        show("disk and memory", "".join(
            proc.run(argv, check=False).stdout for argv in (["df", "-h", self.dir], ["free", "-m"])))
        show("pods", self.kubectl("get", "pods", "-A", "-o", "wide", check=False))
        show("events", self.kubectl("get", "events", "-A", "--sort-by=.lastTimestamp", check=False)[-8000:])
        for pod in json.loads(self.kubectl("get", "pods", "-A", "-o", "json", check=False) or "{}").get(
                "items", ()):
            name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
            if namespace not in _SYSTEM:
                show(f"logs of {namespace}/{name}", self.logs(name, namespace=namespace)[-4000:])
        show("kubelet", proc.tail(f"{self.dir}/log/kubelet.log", 10))


def documents(text):
    """The objects in what kubectl prints as JSON, one after the other or in a List."""
    found, decoder, rest = [], json.JSONDecoder(), text.lstrip()
    while rest:
        one, end = decoder.raw_decode(rest)
        found += one["items"] if one.get("kind", "").endswith("List") and "items" in one else [one]
        rest = rest[end:].lstrip()
    return found


def _hopeless(pod, condition):
    status = pod["status"]
    if status.get("phase") == "Failed" or (status.get("phase") == "Succeeded" and condition == "Ready"):
        return status["phase"]
    for container in (*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())):
        reason = container["state"].get("waiting", {}).get("reason", "")
        if reason in ("ErrImageNeverPull", "InvalidImageName", "CreateContainerConfigError"):
            return f"{container['name']}: {reason}"
    return None


def _born(pid):
    """When a process started, in clock ticks; None when it is gone."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as f:
            return f.read().rsplit(") ", 1)[1].split()[19]
    except FileNotFoundError:
        return None


def _cgroup_mounts():
    """Where cgroup hierarchies are mounted, version 1, 2 or both."""
    with open("/proc/self/mounts", encoding="utf-8") as f:
        fields = [line.split() for line in f]
    return [mount for _, mount, kind, *_ in fields if kind in ("cgroup", "cgroup2")]
