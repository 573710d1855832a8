"""The log of a deployment: every line with its time and where it came from, without secrets, in files of bounded size.

Several processes may append to it at once. Who finds it too long renames it (`demo.log` becomes `demo.log.1`, and so
on) and opens a new one; who still has the old one open writes there until the next line, so nothing is lost.
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cashup.clock import Clock, WallClock, isoformat_millis
from cashup.redaction import redact_text

LOG_BYTES = 10 * 1024 * 1024
"""A file of a log is replaced when it would grow beyond this."""

LOG_FILES = 5
"""So many older files are kept beside the newest one."""

_LONGEST_LINE = 16 * 1024


class Log:
    """One process's end of a deployment's log. What cannot be written is dropped: a full disk must not stop trading."""

    def __init__(
        self, path: Path, clock: Clock | None = None, *, limit: int = LOG_BYTES, takes: int | None = None
    ) -> None:
        """`takes` is a descriptor (standard error) that shall lead into the newest file as well."""
        self._path = path
        self._clock = clock or WallClock()
        self._limit = limit
        self._takes = takes
        self._partial: dict[str, str] = {}
        self._lock = threading.Lock()
        path.parent.mkdir(parents=True, exist_ok=True)
        self._descriptor = self._open()

    def write(self, text: str, source: str) -> None:
        """Append the whole lines of `text`; a line that has not ended waits for its end, or for `close`."""
        with self._lock:
            *lines, rest = (self._partial.get(source, "") + text).split("\n")
            if len(rest) > _LONGEST_LINE:
                lines, rest = [*lines, rest], ""
            self._partial[source] = rest
            self._append(lines, source)

    def close(self) -> None:
        """Write what has not ended, and close the file."""
        with self._lock:
            for source, rest in self._partial.items():
                self._append([rest] if rest else [], source)
            self._partial.clear()
            os.close(self._descriptor)

    @contextmanager
    def pump(self, source: str) -> Iterator[int]:
        """A descriptor for processes to write to; what comes out of it is appended until all of them have ended."""
        reading, writing = os.pipe()
        thread = threading.Thread(target=self._drain, args=(reading, source), name=f"log {source}", daemon=True)
        thread.start()
        try:
            yield writing
        finally:
            os.close(writing)
            thread.join(timeout=1.0)  # a process that outlives its kernel may hold the other end for ever

    def _drain(self, reading: int, source: str) -> None:
        with os.fdopen(reading, "rb", buffering=0) as pipe:
            while data := pipe.read(65536):
                self.write(data.decode(errors="replace"), source)

    def _append(self, lines: list[str], source: str) -> None:
        if not lines:
            return
        at = isoformat_millis(self._clock.now())
        text = "".join(f"{at} {source:<6} {line.rstrip()}\n" for line in redact_text("\n".join(lines)).split("\n"))
        data = text.encode(errors="replace")
        with suppress(OSError):
            self._make_room(len(data))
            os.write(self._descriptor, data)

    def _make_room(self, size: int) -> None:
        """Take up the newest file, and begin another one when this one is full."""
        if _is_file(self._path, self._descriptor) and os.fstat(self._descriptor).st_size + size <= self._limit:
            return
        with _locked(self._path) as mine:
            if not mine:
                return  # somebody does this very thing; this line may go into the older file
            if _is_file(self._path, self._descriptor):
                for number in range(LOG_FILES - 1, 0, -1):
                    with suppress(FileNotFoundError):
                        _older(self._path, number).rename(_older(self._path, number + 1))
                self._path.rename(_older(self._path, 1))
            os.close(self._descriptor)
            self._descriptor = self._open()

    def _open(self) -> int:
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        if self._takes is not None:
            os.dup2(descriptor, self._takes)
        return descriptor


def tail(path: Path, lines: int) -> list[str]:
    """The last `lines` lines of the log at `path`, from its older files too when the newest is too short."""
    found: list[str] = []
    for file in (path, *(_older(path, number) for number in range(1, LOG_FILES + 1))):
        if len(found) >= lines or not file.is_file():
            break
        found = [*file.read_text(errors="replace").splitlines(keepends=True)[-(lines - len(found)) :], *found]
    return found[-lines:] if lines else []


class Follower:
    """Reads what is appended to a log from now on, over the change from one file to the next."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("rb")
        self._file.seek(0, os.SEEK_END)

    def read(self) -> str:
        """What has come since the last call."""
        data = self._file.read()
        if not _is_file(self._path, self._file.fileno()):
            with _locked(self._path) as mine:  # no file gets another name meanwhile
                for file in self._newer() if mine else ():
                    data += self._file.read()
                    self._file.close()
                    self._file = file.open("rb")
                data += self._file.read()
        return data.decode(errors="replace")

    def _newer(self) -> list[Path]:
        """The files that were begun after the one that is read, the oldest first."""
        newer = [self._path]
        for number in range(1, LOG_FILES + 1):
            if _is_file(_older(self._path, number), self._file.fileno()):
                break
            newer.insert(0, _older(self._path, number))
        return [file for file in newer if file.exists()]


def _older(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}")


def _is_file(path: Path, descriptor: int) -> bool:
    """True when the file at `path` is the one that is open there."""
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    here = os.fstat(descriptor)
    return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)


@contextmanager
def _locked(path: Path) -> Iterator[bool]:
    """True when nobody else renames the files of the log at `path` meanwhile. Never waits: a holder may be stopped."""
    with path.with_name(f".{path.name}.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
