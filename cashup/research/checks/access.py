"""Reading files inside a target: data that nobody can cut off at a bar."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

DATA = {".csv", ".parquet", ".feather", ".arrow", ".npy", ".npz", ".h5", ".hdf5", ".xlsx", ".db", ".duckdb", ".sqlite"}
"""Files that hold series. Others may be a model or settings."""

CODE = {".py", ".pyc", ".so", ".pyi", ".nbi", ".nbc", ".ipynb"}


@dataclass(frozen=True, slots=True)
class Access:
    """Something that was read: a file, or a host on the network."""

    what: str
    data: bool


_seen: ContextVar[list[Access] | None] = ContextVar("cashup_file_accesses", default=None)


@contextmanager
def recording() -> Iterator[list[Access]]:
    """What is read within this block."""
    _install()
    seen: list[Access] = []
    token = _seen.set(seen)
    try:
        yield seen
    finally:
        _seen.reset(token)


@cache
def _install() -> None:
    sys.addaudithook(_hook)  # for good: Python cannot take one away, and it does nothing outside of the block


def _hook(event: str, args: tuple[Any, ...]) -> None:
    if event not in ("open", "socket.connect") or (seen := _seen.get()) is None:
        return
    found = _file(args) if event == "open" else _host(args)
    if found is not None and found not in seen:
        seen.append(found)


def _file(args: tuple[Any, ...]) -> Access | None:
    path, mode = args[0], args[1]
    if not isinstance(path, str | bytes | os.PathLike) or (isinstance(mode, str) and "r" not in mode):
        return None
    name = os.fsdecode(path)
    suffix = Path(name).suffix.lower()
    if suffix in CODE or name.startswith(("/dev", "/proc", "/sys", sys.prefix, sys.base_prefix)) or "zoneinfo" in name:
        return None
    return Access(name, suffix in DATA or "lake" in Path(name).parts)


def _host(args: tuple[Any, ...]) -> Access | None:
    address = args[1]
    return Access(str(address[0]), data=True) if isinstance(address, tuple) else None
