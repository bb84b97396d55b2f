#!/usr/bin/env python3
"""Writes a container image as an OCI layout, without an engine: one layer, the same bytes each time.

    packaging/image.py --binary FILE --version 0.1.0 --revision COMMIT --epoch SECONDS \
        --architecture amd64 --licences FILE --out DIR
"""

import argparse
import gzip
import hashlib
import io
import json
import os
import tarfile
import time

USER = 65532  # what "nonroot" is in distroless images, and what security policies expect
STATE = "/var/lib/nexudus-proxy"
SOCKETS = "/run/nexudus-proxy"
REPOSITORY = "https://github.com/nexudus-proxy/nexudus-proxy"


def main():
    options = arguments()
    layer = layer_of(options)
    layout = Layout(options.out)
    created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(options.epoch))
    packed = gzip.compress(layer, compresslevel=9, mtime=0)
    config = {
        "architecture": options.architecture,
        "os": "linux",
        "created": created,
        "config": {
            "User": f"{USER}:{USER}",
            "Entrypoint": ["/nexudus-proxy"],
            "Cmd": ["serve"],
            "Env": [
                "PATH=/",
                f"STATE_DIRECTORY={STATE}",
                f"RUNTIME_DIRECTORY={SOCKETS}",
                "CONFIGURATION_DIRECTORY=/etc/nexudus-proxy",
            ],
            "Volumes": {STATE: {}, SOCKETS: {}},
            "WorkingDir": "/",
            "StopSignal": "SIGTERM",
            "Labels": labels(options, created),
            # Docker's own field; a kubelet ignores it, and probes by itself.
            "Healthcheck": {
                "Test": ["CMD", "/nexudus-proxy", "wait", "--once"],
                "Interval": 30_000_000_000,
                "Timeout": 5_000_000_000,
                "StartPeriod": 30_000_000_000,
                "Retries": 3,
            },
        },
        "rootfs": {"type": "layers", "diff_ids": [digest(layer)]},
        "history": [{"created": created, "created_by": "packaging/image.py"}],
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": layout.blob("application/vnd.oci.image.config.v1+json", encode(config)),
        "layers": [layout.blob("application/vnd.oci.image.layer.v1.tar+gzip", packed)],
        "annotations": labels(options, created),
    }
    described = layout.blob("application/vnd.oci.image.manifest.v1+json", encode(manifest))
    described["platform"] = {"architecture": options.architecture, "os": "linux"}
    described["annotations"] = {"org.opencontainers.image.ref.name": options.version}
    index = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [described],
    }
    layout.write("index.json", encode(index))
    layout.write("oci-layout", encode({"imageLayoutVersion": "1.0.0"}))
    print(f"{described['digest']} {len(packed)} bytes")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ["binary", "version", "revision", "architecture", "licences", "out"]:
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--epoch", type=int, required=True, help="time of every file, in seconds")
    return parser.parse_args()


def labels(options, created):
    return {
        "org.opencontainers.image.title": "nexudus-proxy",
        "org.opencontainers.image.description": "Local authenticating reverse proxy for Nexudus",
        "org.opencontainers.image.source": REPOSITORY,
        "org.opencontainers.image.documentation": f"{REPOSITORY}/blob/main/docs/containers.md",
        "org.opencontainers.image.licenses": "Apache-2.0 OR MIT",
        "org.opencontainers.image.version": options.version,
        "org.opencontainers.image.revision": options.revision,
        "org.opencontainers.image.created": created,
    }


def layer_of(options):
    """Returns the files of the image as an uncompressed archive."""
    buffer = io.BytesIO()
    # Without PAX headers, whose order and times differ between versions of Python.
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for path, mode, owner in [
            ("etc", 0o755, 0),
            ("etc/nexudus-proxy", 0o755, 0),
            ("run", 0o755, 0),
            # Owned, so that a new volume over them takes the owner; the daemon itself opens the
            # directory of the sockets to a group that the configuration names.
            (SOCKETS[1:], 0o700, USER),
            ("tmp", 0o1777, 0),
            ("usr", 0o755, 0),
            ("usr/share", 0o755, 0),
            ("usr/share/licenses", 0o755, 0),
            ("var", 0o755, 0),
            ("var/lib", 0o755, 0),
            (STATE[1:], 0o700, USER),
        ]:
            entry = tarfile.TarInfo(path)
            entry.type = tarfile.DIRTYPE
            entry.mode, entry.uid, entry.gid, entry.mtime = mode, owner, owner, options.epoch
            archive.addfile(entry)
        accounts = f"root:x:0:0:root:/:/none\nnexudus-proxy:x:{USER}:{USER}::{STATE}:/none\n"
        groups = f"root:x:0:\nnexudus-proxy:x:{USER}:\n"
        for path, mode, content in [
            ("etc/passwd", 0o644, accounts.encode()),
            ("etc/group", 0o644, groups.encode()),
            ("usr/share/licenses/nexudus-proxy.html", 0o644, read(options.licences)),
            ("nexudus-proxy", 0o755, read(options.binary)),
        ]:
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode, entry.mtime = len(content), mode, options.epoch
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


class Layout:
    """An OCI layout: blobs by their digest."""

    def __init__(self, directory):
        self.directory = directory
        os.makedirs(os.path.join(directory, "blobs", "sha256"), exist_ok=True)

    def blob(self, media_type, content):
        name = digest(content)
        self.write(os.path.join("blobs", *name.split(":")), content)
        return {"mediaType": media_type, "digest": name, "size": len(content)}

    def write(self, path, content):
        with open(os.path.join(self.directory, path), "wb") as file:
            file.write(content)


def digest(content):
    return "sha256:" + hashlib.sha256(content).hexdigest()


def encode(value):
    return json.dumps(value, indent=1, sort_keys=True).encode()


def read(path):
    with open(path, "rb") as file:
        return file.read()


if __name__ == "__main__":
    main()
