"""Weir in a cluster: images, volumes, the charts, a database with TLS and the people.

    weir = Installed(cluster).prepare()
    weir.install()
    weir.database()

Everything is done as a user would: images through containerd, Weir through Helm with the charts'
default values, people through client certificates.
"""

import os
import sys

from . import build, pki, proc

ROOT = build.ROOT
sys.path.insert(0, os.path.join(ROOT, "e2e"))
import images  # noqa: E402

FIXTURES = os.path.join(ROOT, "e2e/k8s/fixtures")
SYSTEM = "weir-system"
# Volumes are directories of the node. They are the default class, as a cluster of a provider has one.
STORAGE = """\
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: local, annotations: {storageclass.kubernetes.io/is-default-class: "true"}}
provisioner: kubernetes.io/no-provisioner
---
apiVersion: v1
kind: PersistentVolume
metadata: {name: local-1}
spec:
  storageClassName: local
  capacity: {storage: 10Gi}
  accessModes: [ReadWriteOnce]
  persistentVolumeReclaimPolicy: Retain
  hostPath: {path: "@DIR@/volumes/1"}
"""
PEOPLE = {"alice": ("data-stewards",), "carol": ("data-stewards",), "bob": ("auditors",), "mallory": ("developers",)}


class Installed:
    """What the suites need of it."""

    def __init__(self, cluster):
        self.cluster = cluster
        self.work = f"{cluster.dir}/work"
        self.people = {name: f"{cluster.dir}/pki/{name}.conf" for name in PEOPLE}
        self.sizes = {}

    # ------------------------------------------------------------------------ preparation

    def prepare(self):
        """Images, command line, volumes, people: what is there before Weir."""
        cluster = self.cluster
        for folder in ("bin", "work", "volumes/1", "images"):
            os.makedirs(f"{cluster.dir}/{folder}", exist_ok=True)
        os.chmod(f"{cluster.dir}/volumes/1", 0o777)
        self.load_images()
        for name in ("charts", "manifests"):
            if not os.path.lexists(f"{self.work}/{name}"):
                os.symlink(os.path.join(ROOT, name), f"{self.work}/{name}")
        cluster.apply(STORAGE.replace("@DIR@", cluster.dir))
        for name, groups in PEOPLE.items():
            cluster.user(name, *groups)
        return self

    def load_images(self):
        """Builds Weir's images and puts them and the command line where the cluster has them."""
        cluster = self.cluster
        for name, size, archive in images.write(f"{cluster.dir}/images", packed=False):
            cluster.load(archive)
            self.sizes[name] = size
            os.unlink(archive)
        for name in ("weir", "kubectl-weir"):
            link = f"{cluster.dir}/bin/{name}"
            if os.path.lexists(link):
                os.unlink(link)
            os.symlink(os.path.join(build.release(), "weir"), link)

    def load_release(self, tag):
        """All images once more under another tag; the sidecar's is another image, too."""
        cluster = self.cluster
        for name in images.IMAGES:
            old = images.reference(name)
            new = f"{old.rsplit(':', 1)[0]}:{tag}"
            if name == "weir-sidecar":
                archive, = images.archives_of(name, os.path.join(build.release(), name), new, f"{cluster.dir}/images", packed=False)
                cluster.load(archive)
                os.unlink(archive)
            else:
                cluster.run("ctr", "-a", f"{cluster.dir}/containerd.sock", "-n", "k8s.io", "images", "tag", "--force", old, new)

    def reset(self):
        """Takes everything away again that `prepare` did not bring."""
        self.shell("helm uninstall weir -n weir-system --wait --timeout 60s; helm uninstall weir-crds; "
                   "kubectl delete --ignore-not-found -f manifests/crds; "
                   "kubectl delete --ignore-not-found namespace weir-system data shop work elsewhere free loose fort clients injected writers "
                   "hosts ops plain guarded fakes ns-governed ns-direct; kubectl delete --ignore-not-found persistentvolume local-1; "
                   f"rm -rf {self.cluster.dir}/volumes/1", check=False)

    def install(self, *options):
        """Both charts."""
        self.shell("kubectl create namespace weir-system --dry-run=client -o yaml | kubectl apply -f -")
        self.shell("kubectl label --overwrite namespace weir-system pod-security.kubernetes.io/enforce=restricted")
        self.shell("helm upgrade --install weir-crds charts/weir-crds")
        self.shell("helm upgrade --install weir charts/weir -n weir-system --wait --timeout 180s "
                   "-f manifests/quickstart/values.yaml " + " ".join(options))

    def database(self):
        """A PostgreSQL with TLS in `data`, and the application in `shop` that uses it."""
        self._certificates()
        for namespace in ("data", "shop"):
            self.shell(f"kubectl create namespace {namespace} --dry-run=client -o yaml | kubectl apply -f -")
        self.shell("kubectl -n data create secret tls db-tls --cert=db.crt --key=db.key --dry-run=client -o yaml"
                   " | kubectl apply -f -")
        self.shell("kubectl -n shop create configmap shop-ca --from-file=ca.crt --dry-run=client -o yaml"
                   " | kubectl apply -f -")
        for name in ("database.yaml", "reporter.yaml"):
            self.cluster.kubectl("apply", "-f", os.path.join(FIXTURES, name))
        self.cluster.wait_pod("db", namespace="data", timeout=120)
        self.shell("kubectl -n shop rollout status deployment/reporter --timeout=120s")

    def _certificates(self):
        if os.path.exists(f"{self.work}/db.crt"):
            return
        pki.issue(self.work, "db", "DNS:db.data.svc,DNS:db.data.svc.cluster.local", authority="ca")

    def govern(self):
        """The quick start's resources and label, for suites that run alone."""
        self.shell("kubectl -n weir-system create secret generic shop-login --from-literal=username=app "
                   "--from-literal=password=app-secret --dry-run=client -o yaml | kubectl apply -f -")
        self.shell("kubectl -n weir-system create secret generic shop-ca --from-file=ca.crt --dry-run=client -o yaml"
                   " | kubectl apply -f -")
        self.shell("kubectl label --overwrite namespace shop weir.dev/inject=enabled")
        self.policies()
        self.shell("kubectl -n shop rollout restart deployment/reporter && "
                   "kubectl -n shop rollout status deployment/reporter --timeout=120s")
        self.shell("kubectl label --overwrite namespace shop weir.dev/enforce=true")

    def policies(self):
        """The quick start's three files, as they are, whatever was patched in between."""
        for name in ("1-target", "2-label", "3-policy"):
            file = f"manifests/quickstart/{name}.yaml"
            self.shell(f"kubectl replace -f {file} || kubectl create -f {file}")

    # --------------------------------------------------------------------------- commands

    def shell(self, command, who=None, check=True, **kwargs):
        """A command line as a user types it, in a folder with the charts; what it prints."""
        prefix = ["env", f"KUBECONFIG={self.people[who]}"] if who else []
        return self.cluster.run(*prefix, "bash", "-c", f"cd {self.work} && {command}", check=check, **kwargs)

    def wait_admission(self):
        """Until the API server reaches the webhooks, which is a moment after they are ready."""
        def judged():
            return self.shell("kubectl apply --dry-run=server -f manifests/quickstart/3-policy.yaml", check=False).returncode == 0
        proc.wait_until(judged, "admission answers", 60, every=0.5)

    def spawn(self, command, log, who=None):
        """The same in the background."""
        prefix = ["env", f"KUBECONFIG={self.people[who]}"] if who else []
        return proc.spawn([*self.cluster.inside(), *prefix, "bash", "-c", f"cd {self.work} && {command}"], log=log)

    def psql(self, sql, pod="deploy/reporter", namespace="shop", check=False, options=()):
        """Both streams of an application's psql, joined."""
        done = self.cluster.exec(pod, "psql", "-XAt", *options, "-c", sql, namespace=namespace, container="app",
                                 check=check)
        return done.stdout + done.stderr

    def evidence(self, query, who="bob", check=True):
        """What `weir query` and its like print."""
        return self.shell(f"kubectl weir {query}", who=who, check=check).stdout

    def dump(self):
        """What a reader of a failed run needs beside pods, events and logs."""
        for title, command in (("weir resources", "kubectl get weir -A"),
                               ("audit", "kubectl weir query --since 1h --limit 40"), ("weir check", "kubectl weir check"),
                               ("weir status", "kubectl weir status")):
            done = self.shell(command, check=False)
            print(f"----- {title}\n{done.stdout[-6000:]}{done.stderr[-2000:]}", file=sys.stderr, flush=True)
