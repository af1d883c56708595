"""Where cargo puts what it builds: below the name of the target that `.cargo/config.toml` sets."""

import os
import re

from . import install

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "../../.."))


def host():
    """The target triple of this machine, which is what everything is built for."""
    return re.search(r"^host: (.*)$", install.sh(["rustc", "-vV"]), re.M).group(1)


def release():
    """The directory with the binaries of the release profile."""
    return os.path.join(os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target")), host(), "release")
