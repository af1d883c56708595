"""Container images without a container engine: OCI and docker archives, written with
the standard library alone.

The same input gives the same bytes: entries are sorted, times are zero, owners are
numbers. Refuses nothing about the content; a layer is what the caller gives.
"""

import gzip
import hashlib
import io
import json
import os
import shutil
import tarfile

_LAYER = "application/vnd.oci.image.layer.v1.tar"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_INDEX = "application/vnd.oci.image.index.v1+json"


def layer(path, files):
    """Writes a layer with ``files``: (name, mode, source path), None for a directory; a mode of None makes
    the name a symbolic link to the source."""
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, mode, source in sorted(files, key=lambda file: file[0]):
            entry = tarfile.TarInfo(name)
            entry.mode = 0o777 if mode is None else mode
            if mode is None:
                entry.type, entry.linkname = tarfile.SYMTYPE, source
                tar.addfile(entry)
            elif source is None:
                entry.type = tarfile.DIRTYPE
                tar.addfile(entry)
            else:
                entry.size = os.path.getsize(source)
                with open(source, "rb") as f:
                    tar.addfile(entry, f)
    return path


def oci_archive(path, reference, layer_path, config, compress=True):
    """An OCI image layout in a tar file, of one layer, named ``reference``."""
    blob, suffix = layer_path, ""
    if compress:
        blob, suffix = f"{path}.layer.gz", "+gzip"
        _gzip(layer_path, blob)
    try:
        config = _json(_config(config, layer_path))
        manifest = _json({"schemaVersion": 2, "mediaType": _MANIFEST,
                          "config": _described(_CONFIG, config),
                          "layers": [{"mediaType": _LAYER + suffix, "digest": "sha256:" + _sha256(blob),
                                      "size": os.path.getsize(blob)}]})
        index = _json({"schemaVersion": 2, "mediaType": _INDEX, "manifests": [
            {**_described(_MANIFEST, manifest), "annotations": {
                "io.containerd.image.name": reference,
                "org.opencontainers.image.ref.name": reference.rsplit(":", 1)[1]}}]})
        with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
            _add(tar, "oci-layout", _json({"imageLayoutVersion": "1.0.0"}))
            _add(tar, "index.json", index)
            for data in (config, manifest):
                _add(tar, "blobs/sha256/" + hashlib.sha256(data).hexdigest(), data)
            _add_file(tar, "blobs/sha256/" + _sha256(blob), blob)
    finally:
        if compress and os.path.exists(blob):
            os.unlink(blob)
    return path


def docker_archive(path, reference, layer_path, config):
    """What ``docker load`` reads, of one layer, named ``reference``."""
    config = _json(_config(config, layer_path))
    name, folder = hashlib.sha256(config).hexdigest() + ".json", _sha256(layer_path)
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        _add(tar, name, config)
        _add_file(tar, f"{folder}/layer.tar", layer_path)
        _add(tar, "manifest.json", _json([{"Config": name, "RepoTags": [reference],
                                           "Layers": [f"{folder}/layer.tar"]}]))
    return path


def _config(config, layer_path):
    return {"architecture": "amd64", "os": "linux", "created": "1970-01-01T00:00:00Z", "config": config,
            "rootfs": {"type": "layers", "diff_ids": ["sha256:" + _sha256(layer_path)]},
            "history": [{"created": "1970-01-01T00:00:00Z"}]}


def _json(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _described(kind, data):
    return {"mediaType": kind, "digest": "sha256:" + hashlib.sha256(data).hexdigest(), "size": len(data)}


def _sha256(path):
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def _gzip(source, target):
    with open(source, "rb") as plain, open(target, "wb") as raw, \
            gzip.GzipFile(filename="", fileobj=raw, mode="wb", compresslevel=9, mtime=0) as packed:
        shutil.copyfileobj(plain, packed, 1 << 20)


def _add(tar, name, data):
    entry = tarfile.TarInfo(name)
    entry.mode, entry.size = 0o644, len(data)
    tar.addfile(entry, io.BytesIO(data))


def _add_file(tar, name, source):
    entry = tarfile.TarInfo(name)
    entry.mode, entry.size = 0o644, os.path.getsize(source)
    with open(source, "rb") as f:
        tar.addfile(entry, f)
