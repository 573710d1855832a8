"""Key files under the home: made once, readable by their owner alone, the same for every process."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path

from cashup.errors import StorageError


def key_folder(home: Path) -> Path:
    """`keys/` of the home, mode 0700; raises StorageError when others may look into it."""
    folder = home / "keys"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.stat().st_mode & 0o077:
        raise StorageError(f"{folder} can be read by others; make it yours alone with: chmod 700 {folder}")
    return folder


def load_or_create(path: Path, create: Callable[[], bytes]) -> bytes:
    """The content of the key file at `path`; when there is none, what `create` gives becomes it.

    Two processes that come at once end up with the same key. Raises StorageError when others may read the file.
    """
    if not path.exists():
        fresh = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(create())
            file.flush()
            os.fsync(file.fileno())
        try:
            path.hardlink_to(fresh)
        except FileExistsError:
            pass
        finally:
            fresh.unlink()
    if path.stat().st_mode & 0o077:
        raise StorageError(f"{path} can be read by others; make it yours alone with: chmod 600 {path}")
    return path.read_bytes()
