"""What a cluster is made of, built once into ``~/.cache/weir`` and keyed by version:
Kubernetes (one Go binary), CoreDNS and Helm from Go modules, images from Debian's
packages. No container engine and no image registry.
"""

import hashlib
import os
import shutil
import subprocess

from . import image, install

KUBERNETES = "1.35.4"
HELM = "4.3.1"
SOURCE = os.path.abspath(os.path.join(os.path.dirname(__file__), "../../cluster"))
COMPONENTS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy",
              "kubelet", "kubectl")
NODE_PACKAGES = ("containerd", "runc", "containernetworking-plugins", "nftables", "iproute2", "iptables",
                 "util-linux", "openssl", "procps", "mount")

PAUSE = "weir.test/pause:1"
BUSYBOX = "e2e.local/busybox:1"
CLIENT = "weir.test/client:1"
POSTGRES = "weir.test/postgres:15"
CLIENTS = "weir.test/clients:1"
SSH = "weir.test/ssh:1"
API = "weir.test/api:1"
CLIENTS_PACKAGES = ("nodejs", "node-pg", "openjdk-17-jre-headless", "libpostgresql-jdbc-java")
CLIENT_PACKAGES = ("postgresql-client", "mariadb-client", "openssh-client", "curl", "ca-certificates",
                   "python3-psycopg2", "iproute2", "nftables", "procps")
POSTGRES_PACKAGES = ("postgresql-15",)
API_PACKAGES = ("ca-certificates", "curl", "python3-kubernetes", "procps")
# what stock clients of the API are built from; this version's kubectl is the cluster's own
KUBECTLS = ("1.32", "1.33", "1.34")
API_CLIENTS = os.path.abspath(os.path.join(os.path.dirname(__file__), "../../k8s/clients"))
SSH_PACKAGES = ("openssh-server", "openssh-client", "openssh-sftp-server", "rsync", "git", "python3-paramiko", "procps",
                "iproute2")


def node_packages():
    """Debian's part: the container runtime and what the kubelet calls."""
    install.apt(*NODE_PACKAGES)


# ----------------------------------------------------------------------------- programs

def kubernetes():
    """The directory with kube-apiserver, kubelet, kubectl … (links to one binary)."""
    source = os.path.join(SOURCE, "kubernetes")
    key = _digest(*(os.path.join(source, f) for f in ("go.mod", "go.sum", "main.go")))
    with install.cached(f"kubernetes-{KUBERNETES}-{key}") as (path, fresh):
        if fresh:
            install.say(f"building Kubernetes {KUBERNETES} (six minutes on two cores)")
            major, minor, _ = KUBERNETES.split(".")
            versions = {"k8s.io/component-base/version.gitVersion": f"v{KUBERNETES}",
                        "k8s.io/component-base/version.gitMajor": major,
                        "k8s.io/component-base/version.gitMinor": minor,
                        "k8s.io/client-go/pkg/version.gitVersion": f"v{KUBERNETES}"}
            flags = " ".join(["-s", "-w", *(f"-X {k}={v}" for k, v in versions.items())])
            _go(["build", "-trimpath", "-buildvcs=false", "-mod=readonly", "-ldflags", flags,
                 "-o", f"{fresh}/kubernetes", "."], cwd=source)
            for component in COMPONENTS:
                os.symlink("kubernetes", os.path.join(fresh, component))
    return path


def helm():
    """The directory with helm."""
    return _go_install("helm", HELM, "helm.sh/helm/v4/cmd/helm")


def coredns():
    """The directory with coredns (a module of its own: its etcd API breaks etcd's server)."""
    source = os.path.join(SOURCE, "coredns")
    key = _digest(*(os.path.join(source, f) for f in ("go.mod", "go.sum", "main.go")))
    with install.cached(f"coredns-{key}") as (path, fresh):
        if fresh:
            install.say("building CoreDNS (a minute on two cores)")
            _go(["build", "-trimpath", "-buildvcs=false", "-mod=readonly", "-ldflags", "-s -w",
                 "-o", f"{fresh}/coredns", "."], cwd=source)
    return path


def _go_install(name, version, package):
    with install.cached(f"{name}-{version}") as (path, fresh):
        if fresh:
            install.say(f"building {name} {version} (two minutes on two cores)")
            _go(["install", "-trimpath", "-ldflags", "-s -w", f"{package}@v{version}"], GOBIN=fresh)
    return path


def _go(argv, cwd="/", **env):
    install.need("go", "golang")
    install.sh(["go", *argv], cwd=cwd, env=dict(os.environ, CGO_ENABLED="0", **env))


# ------------------------------------------------------------------------------- images

def pause_image():
    """The archive of the image that holds a pod's namespaces."""
    source = os.path.join(SOURCE, "pause.c")
    with install.cached(f"image-pause-{_digest(source)}") as (path, fresh):
        if fresh:
            install.need("gcc", "gcc")
            program = os.path.join(fresh, "pause")
            install.sh(["gcc", "-Os", "-static", "-s", "-o", program, source])
            layer = image.layer(f"{fresh}/layer", [("pause", 0o755, program)])
            image.docker_archive(f"{fresh}/image.tar", PAUSE, layer, {"Entrypoint": ["/pause"]})
            os.unlink(layer)
    return os.path.join(path, "image.tar")


def busybox_image():
    """The archive of an image with BusyBox alone, under the name that the corpus's fixture gives it."""
    with install.cached("image-busybox-1") as (path, fresh):
        if fresh:
            install.need("busybox", "busybox-static")
            names = subprocess.run(["/bin/busybox", "--list"], stdout=subprocess.PIPE, text=True, check=True).stdout.split()
            files = [("bin", 0o755, None), ("etc", 0o755, None), ("tmp", 0o1777, None),
                     ("bin/busybox", 0o755, "/bin/busybox")]
            files += [(f"bin/{name}", None, "/bin/busybox") for name in names if name != "busybox"]
            layer = image.layer(f"{fresh}/layer", files)
            image.docker_archive(f"{fresh}/image.tar", BUSYBOX, layer, {"Cmd": ["sh"], "Env": ["PATH=/bin"]})
            os.unlink(layer)
    return os.path.join(path, "image.tar")


def client_image():
    """The archive of an image with stock clients, as an application's would be."""
    return debian_image(CLIENT, CLIENT_PACKAGES, ["sleep", "infinity"])


def clients_image():
    """The archive of an image with Node, Java and their PostgreSQL drivers."""
    return debian_image(CLIENTS, CLIENTS_PACKAGES, ["sleep", "infinity"])


def ssh_image():
    """The archive of an image with OpenSSH's server and what speaks SSH to one."""
    return debian_image(SSH, SSH_PACKAGES, ["sleep", "infinity"])


def postgres_image():
    """The archive of an image with Debian's PostgreSQL 15."""
    return debian_image(POSTGRES, POSTGRES_PACKAGES, ["sleep", "infinity"])


def api_image():
    """The archive of an image with clients of the Kubernetes API: kubectl of several versions, Helm, a program
    of client-go, Python's library."""
    programs = {"kubectl": f"{kubernetes()}/kubectl", "helm": f"{helm()}/helm", "apis": f"{_go_program('apis')}/apis"}
    for version in KUBECTLS:
        programs[f"kubectl-{version}"] = f"{_go_program('kubectl', version)}/kubectl"
    return debian_image(API, API_PACKAGES, ["sleep", "infinity"], programs)


def _go_program(name, version=""):
    """The directory with a program whose source is beside the suites."""
    source = os.path.join(API_CLIENTS, name, version)
    key = _digest(*(os.path.join(source, f) for f in ("go.mod", "go.sum", "main.go")))
    with install.cached("-".join(part for part in (name, version, key) if part)) as (path, fresh):
        if fresh:
            install.say(f"building {name} {version}")
            _go(["build", "-trimpath", "-buildvcs=false", "-mod=readonly", "-ldflags", "-s -w", "-o",
                 f"{fresh}/{name}", "."], cwd=source)
    return path


def debian_image(reference, packages, command, programs=None):
    """The archive of an image with these Debian packages, made by mmdebstrap, and with programs by name."""
    programs = programs or {}
    wanted = " ".join([reference, *packages, *command, *(os.path.realpath(path) for path in programs.values())])
    key = hashlib.sha256(wanted.encode()).hexdigest()[:10]
    name = reference.split("/")[-1].replace(":", "-")
    with install.cached(f"image-{name}-{key}") as (path, fresh):
        if fresh:
            install.apt("mmdebstrap")
            install.say(f"image {reference}: {' '.join(packages)} (half a minute)")
            mirror, security = install.debian_mirrors()
            layer = os.path.join(fresh, "layer")
            added = []
            for program, path in programs.items():
                os.makedirs(f"{fresh}/bin", exist_ok=True)
                shutil.copy(os.path.realpath(path), f"{fresh}/bin/{program}")
                added = [f"--customize-hook=copy-in {fresh}/bin /usr/local"]
            install.sh(["mmdebstrap", "--quiet", "--mode=root", "--variant=apt", "--format=tar",
                        f"--include={','.join(packages)}", "--dpkgopt=path-exclude=/usr/share/doc/*",
                        "--dpkgopt=path-exclude=/usr/share/man/*",
                        # Java's packages register their manual pages, there or not.
                        "--essential-hook=mkdir -p \"$1/usr/share/man/man1\"", *added, "bookworm", layer,
                        f"deb {mirror} bookworm main", f"deb {mirror} bookworm-updates main",
                        f"deb {security} bookworm-security main"])
            path_variable = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
            image.docker_archive(f"{fresh}/image.tar", reference, layer,
                                 {"Cmd": command, "Env": [path_variable, "LC_ALL=C.UTF-8"]})
            os.unlink(layer)
            shutil.rmtree(f"{fresh}/bin", ignore_errors=True)
    return os.path.join(path, "image.tar")


def _digest(*paths):
    whole = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as f:
            whole.update(f.read())
    return whole.hexdigest()[:10]
