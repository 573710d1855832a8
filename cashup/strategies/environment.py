"""The environment that a result came from."""

from __future__ import annotations

import site
import sys
from hashlib import sha256
from pathlib import Path


def environment_hash() -> str:
    """A hash of the name and version of every installed package: the environment that this result came from."""
    folders = {Path(folder) for folder in [*sys.path, *site.getsitepackages()] if folder}
    names = {found.name for folder in folders if folder.is_dir() for found in folder.glob("*.dist-info")}
    python = ".".join(map(str, sys.version_info[:3]))
    return sha256("\n".join([python, *sorted(names)]).encode()).hexdigest()
