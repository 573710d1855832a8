"""Where the lake's files lie: a folder of this machine, or an object store through fsspec."""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from cashup.errors import Unavailable, UsageError


class Store(Protocol):
    """Files by name (`gate/BTC_USDT/1h/manifest.json`). When a write returns it is durable and whole."""

    location: str

    def exists(self, name: str) -> bool:
        """True when there is such a file."""
        ...

    def names(self, pattern: str) -> list[str]:
        """The names that fit a glob pattern, sorted."""
        ...

    def read(self, name: str) -> bytes:
        """The content; raises FileNotFoundError."""
        ...

    def write(self, name: str, content: bytes) -> None:
        """Put `content` in the place of what was there: readers see the old or the new, never a part."""
        ...

    def append(self, name: str, content: bytes, size: int) -> None:
        """Add `content` after the first `size` bytes; what a torn append left behind them is cut off."""
        ...

    def delete(self, name: str) -> None:
        """Remove it; nothing happens when it is gone already."""
        ...

    def open(self, name: str) -> Any:
        """What pyarrow reads a Parquet file from; raises FileNotFoundError."""
        ...

    def address(self, name: str) -> str:
        """The path or the address by which others know the file."""
        ...

    @contextmanager
    def locked(self, folder: str) -> Iterator[None]:
        """Only one writer at a time is in here."""
        ...


class Folder:
    """A folder of this machine. Files are replaced atomically and synced; writers exclude each other by a lock."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.location = str(path)

    def exists(self, name: str) -> bool:
        """True when there is such a file."""
        return (self.path / name).is_file()

    def names(self, pattern: str) -> list[str]:
        """The names that fit a glob pattern, sorted."""
        return sorted(str(path.relative_to(self.path)) for path in self.path.glob(pattern) if path.is_file())

    def read(self, name: str) -> bytes:
        """The content; raises FileNotFoundError."""
        return (self.path / name).read_bytes()

    def write(self, name: str, content: bytes) -> None:
        """Put `content` in the place of what was there, atomically and durably."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
        try:
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
            _sync(path.parent)
        finally:
            temporary.unlink(missing_ok=True)

    def append(self, name: str, content: bytes, size: int) -> None:
        """Add `content` after the first `size` bytes, durably."""
        path = self.path / name
        handle = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
        try:
            if os.fstat(handle).st_size != size:
                os.ftruncate(handle, size)
            os.pwrite(handle, content, size)
            os.fdatasync(handle)
        finally:
            os.close(handle)
        if size == 0:
            _sync(path.parent)

    def delete(self, name: str) -> None:
        """Remove it; nothing happens when it is gone already."""
        (self.path / name).unlink(missing_ok=True)

    def open(self, name: str) -> Any:
        """The file mapped into memory: no copy of the compressed bytes, and it may be replaced meanwhile."""
        import pyarrow as pa

        return pa.memory_map(str(self.path / name))

    def address(self, name: str) -> str:
        """The path of the file."""
        return str(self.path / name)

    @contextmanager
    def locked(self, folder: str) -> Iterator[None]:
        """Wait until no other process or thread writes in `folder`."""
        path = self.path / folder
        path.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)


class Bucket:
    """An object store that fsspec knows (`s3://bucket/lake`, `memory://lake`). One object is put as a whole.

    Object stores have no locks: let one process write a series at a time.
    """

    def __init__(self, location: str) -> None:
        import fsspec

        self.location = location.rstrip("/")
        try:
            self.files, self.root = fsspec.url_to_fs(self.location)
        except (ImportError, ValueError) as error:
            raise UsageError(
                f"the lake {location!r} cannot be opened: {error}; s3:// needs `pip install 'cashup[s3]'`"
            ) from error
        self.root = self.root.rstrip("/")

    def exists(self, name: str) -> bool:
        """True when there is such an object."""
        with self._reaching():
            found: bool = self.files.isfile(self._path(name))
        return found

    def names(self, pattern: str) -> list[str]:
        """The names that fit a glob pattern, sorted."""
        with self._reaching():
            self.files.invalidate_cache()
            found = self.files.glob(self._path(pattern))
        # The memory store puts a slash before every path, the others do not.
        return sorted(path.lstrip("/").removeprefix(self.root.lstrip("/")).lstrip("/") for path in found)

    def read(self, name: str) -> bytes:
        """The content; raises FileNotFoundError."""
        with self._reaching():
            content: bytes = self.files.cat_file(self._path(name))
        return content

    def write(self, name: str, content: bytes) -> None:
        """Put the object in the place of what was there."""
        with self._reaching():
            self.files.pipe_file(self._path(name), content)

    def append(self, name: str, content: bytes, size: int) -> None:
        """Put the object again, longer: an object cannot grow. Tails are small, so this costs one small request."""
        before = self.read(name)[:size] if size else b""
        self.write(name, before + content)

    def delete(self, name: str) -> None:
        """Remove it; nothing happens when it is gone already."""
        with self._reaching():
            if self.files.isfile(self._path(name)):
                self.files.rm_file(self._path(name))
            self.files.invalidate_cache()

    def open(self, name: str) -> Any:
        """A file of byte ranges: pyarrow asks for the row groups it needs, and joins neighbours to one request."""
        with self._reaching():
            return self.files.open(self._path(name), "rb", cache_type="none")

    def address(self, name: str) -> str:
        """The address of the object."""
        return f"{self.location}/{name}"

    @contextmanager
    def locked(self, folder: str) -> Iterator[None]:
        """Nothing to hold on to."""
        yield

    def _path(self, name: str) -> str:
        return f"{self.root}/{name}"

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        """Turn what the network or the store says into one sentence; a missing object and a lacking right stay."""
        try:
            yield
        except (FileNotFoundError, PermissionError):
            raise
        except OSError as error:
            raise Unavailable(f"the lake {self.location} cannot be reached: {error}; check address and keys") from error


def open_store(location: str | Path) -> Store:
    """A folder for a path, an object store for an address with `://`."""
    if isinstance(location, str) and "://" in location:
        return Folder(Path(location.removeprefix("file://"))) if location.startswith("file://") else Bucket(location)
    return Folder(Path(location))


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
