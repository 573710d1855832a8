"""The walls around the kernel of a worker: what a notebook may see of the machine that it trades on.

A kernel reads Python, the system's libraries, the folder of its notebook and the lake; it writes into a folder of its
own; it reaches the gateway's port. No key, no database, no other process. It holds for whatever the notebook starts.
Where the system lacks a part of this, `Walls` says so, and the worker's log with it.
"""

from __future__ import annotations

import ctypes
import ipaddress
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from cashup.errors import WorkFailed
from cashup.workers import landlock, seccomp

if TYPE_CHECKING:
    from cashup.settings import Settings

ENV = "CASHUP_SANDBOX_OF"

_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/opt", "/proc", "/sys")
_ETC = (
    *("alternatives", "ca-certificates", "crypto-policies", "fonts", "gai.conf", "group", "host.conf", "hosts"),
    *("ld.so.cache", "ld.so.conf", "ld.so.conf.d", "locale.alias", "localtime", "mime.types", "nsswitch.conf"),
    *("os-release", "passwd", "pki", "protocols", "resolv.conf", "services", "ssl", "timezone"),
)
_DEVICES = ("null", "zero", "full", "random", "urandom")
_PR_CAPBSET_DROP, _PR_CAP_AMBIENT, _CLEAR_ALL = 24, 47, 4
_CAPABILITY_VERSION = 0x20080522
_CAPABILITIES = 64
_WHOLE = 6
"""The version of Landlock that guards files, ports and signals."""


class Mode(StrEnum):
    """How much a worker insists on its walls."""

    AUTO = "auto"
    OFF = "off"
    REQUIRE = "require"


@dataclass(frozen=True, slots=True)
class Plan:
    """What the worker process tells its kernel: how strict, where no key may be read, and where the lake lies."""

    mode: Mode
    home: str
    lake: str | None

    def to_env(self) -> dict[str, str]:
        """The variable that carries it; nothing in it is secret."""
        return {ENV: json.dumps(asdict(self), separators=(",", ":"))}

    @classmethod
    def of(cls, settings: Settings) -> Plan:
        """The plan for the workers of this machine."""
        lake = settings.lake_path
        return cls(Mode(settings.sandbox), str(settings.home_path), str(lake) if isinstance(lake, Path) else None)

    def check(self) -> None:
        """Raise WorkFailed when walls are required that this machine does not have."""
        if self.mode is Mode.REQUIRE and not (landlock.version() >= _WHOLE and seccomp.available()):
            raise WorkFailed(
                "CASHUP_SANDBOX is `require`, and this machine cannot shut a notebook in: that takes Linux on x86-64 "
                f"with Landlock {_WHOLE}, and here it is {landlock.version()}",
                code="no_sandbox",
            )

    @classmethod
    def from_env(cls) -> Plan | None:
        """The plan of this kernel; None when it is not a worker's."""
        text = os.environ.get(ENV)
        if not text:
            return None
        return cls.read(json.loads(text))

    @classmethod
    def read(cls, given: Mapping[str, Any]) -> Plan:
        """The plan of which `asdict` made this."""
        return cls(Mode(given["mode"]), given["home"], given["lake"])


class Walls:
    """The walls of this process. `shut_in` comes first, `close_sockets` once the kernel has the sockets it needs."""

    def __init__(self, plan: Plan, gateway: str) -> None:
        self._plan = plan
        parts = urlsplit(gateway)
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._names = not _is_address(parts.hostname or "")
        self.missing: list[str] = []

    def __str__(self) -> str:
        """A line for the worker's log."""
        return f"the notebook is shut in{', but: ' if self.missing else ''}{'; '.join(self.missing)}"

    def shut_in(self) -> None:
        """Give up files, ports, signals and rights; before there is a second thread.

        Raises WorkFailed when the walls are required and cannot be had.
        """
        if self._plan.mode is Mode.OFF:
            self.missing.append("it is switched off")
            return
        own = _own_folder()
        home = Path(self._plan.home)
        read = [path for folder in _readable(self._plan) for path in around(folder, home)]
        try:
            held = landlock.restrict(read=read, write=[*_writable(own, home)], ports=[self._port])
        except OSError as error:
            self._lacks(str(error))
            held = landlock.Held(0)
        for is_held, what in ((held.files, "files"), (held.tcp, "TCP ports"), (held.signals, "signals")):
            if not is_held:
                self._lacks(f"Landlock {held.abi} does not guard {what}")
        _drop_capabilities()

    def close_sockets(self) -> None:
        """Give up new unix sockets and the system calls that no strategy needs, for every thread."""
        if self._plan.mode is Mode.OFF:
            return
        try:
            if not seccomp.restrict(datagrams=self._names):
                self._lacks("system calls are filtered on Linux on x86-64 only")
        except OSError as error:
            self._lacks(str(error))

    def _lacks(self, what: str) -> None:
        if self._plan.mode is Mode.REQUIRE:
            raise WorkFailed(f"the notebook cannot be shut in, and CASHUP_SANDBOX is `require`: {what}")
        self.missing.append(what)


def _own_folder() -> Path:
    """The private folder of this kernel, with a place for temporary files and a home in it."""
    own = Path(os.environ["IPYTHONDIR"]).parent
    for variable, name in (("TMPDIR", "tmp"), ("HOME", "home")):
        place = own / name
        place.mkdir(mode=0o700, exist_ok=True)
        os.environ[variable] = str(place)
    tempfile.tempdir = None
    return own


def _writable(own: Path, home: Path) -> Iterator[Path]:
    yield own
    yield from (Path("/dev", name) for name in _DEVICES)
    if home / "work" in (here := Path.cwd()).parents:
        yield here


def _readable(plan: Plan) -> Iterator[Path]:
    yield from map(Path, _SYSTEM)
    yield from (Path("/etc", name) for name in _ETC)
    yield from (Path("/dev", name) for name in _DEVICES)
    yield from (Path(place) for place in (sys.prefix, sys.base_prefix, *sys.path) if place)
    yield Path(__file__).parents[1]
    yield Path.cwd()
    # What the kernel finds in its folder lies beside the notebook; whoever replaces it there replaces it in its folder.
    yield from {entry.resolve().parent for entry in Path.cwd().iterdir() if entry.is_symlink()}
    for variable in ("SSL_CERT_FILE", "SSL_CERT_DIR", "NUMBA_CACHE_DIR"):
        if variable in os.environ:
            yield Path(os.environ[variable])
    if plan.lake is not None:
        yield Path(plan.lake)


def around(folder: Path, hidden: Path) -> Iterator[Path]:
    """`folder`, or when `hidden` lies in it, all in it but that: a rule for a folder is one for all below it.

    A folder inside of `hidden` that is named by itself (the lake, the version that runs) is not hidden.
    """
    folder = folder.resolve()
    if folder in hidden.parents:
        with suppress(OSError):
            for entry in map(Path.resolve, folder.iterdir()):
                if entry != hidden and hidden not in entry.parents:
                    yield from around(entry, hidden)
    elif folder != hidden:
        yield folder


def _is_address(host: str) -> bool:
    with suppress(ValueError):
        ipaddress.ip_address(host)
        return True
    return host == "localhost"


def _drop_capabilities() -> None:
    """What root may do beyond being the owner of its files."""
    libc = ctypes.CDLL(None, use_errno=True)
    for capability in range(_CAPABILITIES):
        libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)
    libc.prctl(_PR_CAP_AMBIENT, _CLEAR_ALL, 0, 0, 0)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
    libc.capset(header, (ctypes.c_uint32 * 6)())
