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

from lab import image  # noqa: E402

TARGET = "x86_64-unknown-linux-gnu"
# image name: (package, binary)
IMAGES = {"weir": ("weir-cli", "weir")}
USER = "65534:65534"


def static_binaries():
    """Builds what the images hold; returns the directory. With ``--target``, the flags do
    not reach procedural macros, which cannot be static."""
    target = os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target"))
    packages = [word for package, _ in IMAGES.values() for word in ("-p", package)]
    env = dict(os.environ, RUSTFLAGS="-C target-feature=+crt-static", CARGO_TARGET_DIR=target)
    subprocess.run(["cargo", "build", "--release", "--locked", "--target", TARGET, *packages],
                   check=True, cwd=ROOT, env=env)
    return os.path.join(target, TARGET, "release")


def build(name, binary, reference, into):
    """Writes both archives of one image; returns their paths."""
    with tempfile.TemporaryDirectory(dir=into) as scratch:
        layer = image.layer(f"{scratch}/layer", [
            (name, 0o755, binary),
            ("tmp", 0o1777, None),
        ])
        config = {"Entrypoint": [f"/{name}"], "User": USER, "WorkingDir": "/",
                  "Labels": {"org.opencontainers.image.title": name,
                             "org.opencontainers.image.version": reference.rsplit(":", 1)[1],
                             "org.opencontainers.image.licenses": "Apache-2.0"}}
        base = os.path.join(into, f"{name}-{reference.rsplit(':', 1)[1]}")
        return (image.oci_archive(f"{base}.oci.tar", reference, layer, config),
                image.docker_archive(f"{base}.docker.tar", reference, layer, config))


def is_static(binary):
    """Whether the program asks for no loader."""
    headers = subprocess.run(["readelf", "-lW", binary], capture_output=True, text=True, check=True).stdout
    return "INTERP" not in headers


def digest(path):
    """Of a file."""
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def main():
    """Builds, writes, reports sizes."""
    with open(f"{ROOT}/Cargo.toml", encoding="utf-8") as f:
        version = re.search(r'^version = "(.*)"', f.read(), re.M).group(1)
    repo, tag = os.environ.get("IMAGE_REPO") or "weir.dev", os.environ.get("IMAGE_TAG") or version
    binaries = static_binaries()
    out = f"{ROOT}/target/images"
    os.makedirs(out, exist_ok=True)
    for name, (_, program) in IMAGES.items():
        binary = os.path.join(binaries, program)
        if not is_static(binary):
            sys.exit(f"{binary} is not static")
        stripped = os.path.join(out, f".{name}")
        subprocess.run(["strip", "-o", stripped, binary], check=True)
        try:
            reference = f"{repo}/{name}:{tag}"
            archives = build(name, stripped, reference, out)
            size = os.path.getsize(stripped)
            print(f"{reference}: {size / 1e6:.1f} MB in the image")
            for archive in archives:
                print(f"  {os.path.relpath(archive, ROOT)}  {os.path.getsize(archive) / 1e6:.1f} MB  "
                      f"sha256:{digest(archive)}")
            if "--check" in sys.argv[1:]:
                with tempfile.TemporaryDirectory(dir=out) as again:
                    for first, second in zip(archives, build(name, stripped, reference, again)):
                        if digest(first) != digest(second):
                            sys.exit(f"{first}: a second build differs")
                print("  written twice: byte for byte the same")
        finally:
            os.unlink(stripped)


if __name__ == "__main__":
    main()
