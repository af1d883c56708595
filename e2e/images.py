#!/usr/bin/env python3
"""``make images``: ``FROM scratch`` images as OCI and docker archives in
``target/images``, without a container engine.

IMAGE_REPO (default ``weir.dev``) and IMAGE_TAG (default: the workspace's version) name
them. The same sources give the same bytes: ``--check`` writes each archive twice and
compares.
"""

import hashlib
import os
import re
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "e2e/lib"))

from lab import build, image  # noqa: E402

# image name, which is the binary's: package
IMAGES = {"weir": "weir-cli", "weir-sidecar": "weir-sidecar", "weir-controller": "weir-controller",
          "weir-collector": "weir-collector"}
# The sidecar starts as root, programs the redirect and drops it for good; pods say so as well.
USERS = {"weir-sidecar": "0:0"}
USER = "65532:65532"
# Bytes of the stripped program; more fails.
LIMITS = {"weir-sidecar": 30e6}


def binaries():
    """Builds what the images hold, static as everything is here (.cargo/config.toml); returns the
    directory."""
    packages = [word for package in IMAGES.values() for word in ("-p", package)]
    subprocess.run(["cargo", "build", "--release", "--locked", "--quiet", *packages], check=True, cwd=ROOT)
    return build.release()


def archives_of(name, binary, reference, into, packed=True):
    """Writes the docker archive of one image, and the packed OCI archive; returns their paths."""
    with tempfile.TemporaryDirectory(dir=into) as scratch:
        layer = image.layer(f"{scratch}/layer", [
            (name, 0o755, binary),
            ("tmp", 0o1777, None),
        ])
        config = {"Entrypoint": [f"/{name}"], "User": USERS.get(name, USER), "WorkingDir": "/",
                  "Labels": {"org.opencontainers.image.title": name,
                             "org.opencontainers.image.version": reference.rsplit(":", 1)[1],
                             "org.opencontainers.image.licenses": "Apache-2.0"}}
        base = os.path.join(into, f"{name}-{reference.rsplit(':', 1)[1]}")
        plain = image.docker_archive(f"{base}.docker.tar", reference, layer, config)
        return (plain, image.oci_archive(f"{base}.oci.tar", reference, layer, config)) if packed else (plain,)


def is_static(binary):
    """Whether the program asks for no loader."""
    headers = subprocess.run(["readelf", "-lW", binary], capture_output=True, text=True, check=True).stdout
    return "INTERP" not in headers


def digest(path):
    """Of a file."""
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def version():
    """The workspace's."""
    with open(f"{ROOT}/Cargo.toml", encoding="utf-8") as f:
        return re.search(r'^version = "(.*)"', f.read(), re.M).group(1)


def reference(name):
    """What an image is called."""
    repo, tag = os.environ.get("IMAGE_REPO") or "weir.dev", os.environ.get("IMAGE_TAG") or version()
    return f"{repo}/{name}:{tag}"


def write(into, check=False, packed=True):
    """Builds and writes all archives; yields (name, bytes in the image, docker archive, OCI archive if packed)."""
    built = binaries()
    os.makedirs(into, exist_ok=True)
    for name in IMAGES:
        binary = os.path.join(built, name)
        if not is_static(binary):
            sys.exit(f"{binary} is not static")
        stripped = os.path.join(into, f".{name}")
        subprocess.run(["strip", "-o", stripped, binary], check=True)
        try:
            size = os.path.getsize(stripped)
            if size > LIMITS.get(name, size):
                sys.exit(f"{name} has {size / 1e6:.1f} MB; it may have {LIMITS[name] / 1e6:.0f} MB")
            written = archives_of(name, stripped, reference(name), into, packed)
            if check:
                with tempfile.TemporaryDirectory(dir=into) as again:
                    for first, second in zip(written, archives_of(name, stripped, reference(name), again)):
                        if digest(first) != digest(second):
                            sys.exit(f"{first}: a second build differs")
            yield name, size, *written
        finally:
            os.unlink(stripped)


def main():
    """Builds, writes, reports sizes."""
    check = "--check" in sys.argv[1:]
    for name, size, *written in write(f"{ROOT}/target/images", check):
        print(f"{reference(name)}: {size / 1e6:.1f} MB in the image")
        for archive in written:
            print(f"  {os.path.relpath(archive, ROOT)}  {os.path.getsize(archive) / 1e6:.1f} MB  "
                  f"sha256:{digest(archive)}")
        if check:
            print("  written twice: byte for byte the same")


if __name__ == "__main__":
    main()
