"""Landlock: what a Linux process may see of the file system, reach by TCP and signal, given up for good by itself.

It needs no rights and holds for root as well. What the running system does not know yet is left out; `restrict` says
what holds. See landlock(7).
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same numbers on every architecture
_VERSION = 1
_PATH_BENEATH, _NET_PORT = 1, 2
_PR_SET_NO_NEW_PRIVS = 38

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1, 1 << 1, 1 << 2, 1 << 3
TRUNCATE, IOCTL_DEV = 1 << 14, 1 << 15
_FS_BY_ABI = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
"""How many kinds of access to files each version knows; later ones know no more."""
_OF_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV
_READING = EXECUTE | READ_FILE | READ_DIR
_BIND_TCP, _CONNECT_TCP = 1, 2
_ABSTRACT_SOCKETS, _SIGNALS = 1, 2


@dataclass(frozen=True, slots=True)
class Held:
    """What this process has given up. `sockets` are abstract unix sockets, not those with a name in a folder."""

    abi: int
    files: bool = False
    tcp: bool = False
    signals: bool = False
    sockets: bool = False


def version() -> int:
    """The version of the running system's Landlock, 0 where there is none."""
    if not sys.platform.startswith("linux"):
        return 0
    return max(int(_libc().syscall(_CREATE_RULESET, None, 0, _VERSION)), 0)


def restrict(*, read: Iterable[Path], write: Iterable[Path], ports: Iterable[int]) -> Held:
    """Give up every file but those below `read` and `write`, every TCP port but `ports`, and signals to others.

    For this thread and all that it starts; call it before there are others. Raises OSError when the system refuses.
    """
    abi = version()
    if abi == 0:
        return Held(0)
    known = (1 << _FS_BY_ABI.get(abi, _FS_BY_ABI[5])) - 1
    tcp = _BIND_TCP | _CONNECT_TCP if abi >= 4 else 0
    scope = _ABSTRACT_SOCKETS | _SIGNALS if abi >= 6 else 0
    attributes = struct.pack("=QQQ", known, tcp, scope)[: 8 if abi < 4 else 16 if abi < 6 else 24]
    ruleset = _checked(_libc().syscall(_CREATE_RULESET, attributes, len(attributes), 0))
    try:
        for path in read:
            _allow(ruleset, path, _READING & known)
        for path in write:
            _allow(ruleset, path, known & ~IOCTL_DEV)
        for port in ports if tcp else ():
            _checked(_libc().syscall(_ADD_RULE, ruleset, _NET_PORT, struct.pack("=QQ", _CONNECT_TCP, port), 0))
        _checked(_libc().prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        _checked(_libc().syscall(_RESTRICT_SELF, ruleset, 0))
    finally:
        os.close(ruleset)
    return Held(abi, files=True, tcp=bool(tcp), signals=bool(scope), sockets=bool(scope))


def _allow(ruleset: int, path: Path, access: int) -> None:
    """What is not there, or may not be entered anyway, needs no rule."""
    with suppress(FileNotFoundError, PermissionError, NotADirectoryError):
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            allowed = access if path.is_dir() else access & _OF_FILES
            rule = struct.pack("=Qi", allowed, descriptor)
            _checked(_libc().syscall(_ADD_RULE, ruleset, _PATH_BENEATH, rule, 0))
        finally:
            os.close(descriptor)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _checked(answer: int) -> int:
    if answer < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"Landlock: {os.strerror(number)}")
    return answer
