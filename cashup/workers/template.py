"""The warm process: it has imported and tried out everything, and forks on demand.

`python -P -m cashup.workers.template FLAVOUR SOCKET`. It never reads a request: the child that was forked for it does.
So no environment, token or path of anybody ever enters the template, and it has nothing to leak to the next child. It
is single-threaded, opens nothing but its own socket, and ends when nobody has used it for a while, when its socket was
removed, or when what it has imported was changed.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import importlib
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from cashup.workers import coredump, newborn, passage, thrift
from cashup.workers.identity import identity

IDLE_SECONDS = 15 * 60.0
_LOOK_SECONDS = 2.0

_KERNEL = (
    "ipykernel.kernelapp",
    "ipykernel.zmqshell",
    "ipykernel.ipkernel",
    "ipykernel.subshell_manager",
    "IPython.core.magics",
    "IPython.core.completer",
    "IPython.core.completerlib",
    "IPython.core.debugger",
    "IPython.core.oinspect",
    "IPython.extensions.storemagic",
    "ipykernel.debugger",
    "tornado.platform.asyncio",
    "tornado.queues",
    "comm.base_comm",
    "cashup.workers.kernel",
    "cashup.strategies.bars",
    "cashup.strategies.strategy",
    "cashup.strategies.capture",
)


class Flavour(NamedTuple):
    """What a template holds: at first what a kernel needs, and `later`, when nobody waits, what commands need."""

    first: tuple[str, ...]
    later: tuple[str, ...] = ()


FLAVOURS = {
    "research": Flavour(
        (*_KERNEL, "matplotlib_inline.config", "cashup.research.warmth"),
        ("cashup.workers.execution", "cashup.cli.handover"),
    ),
    "live": Flavour(
        (*_KERNEL, "cashup.workers.session", "cashup.workers.sandbox", "cashup.client", "cashup.workers.warmth")
    ),
}
"""Modules by name: research and the command line stand beside and above this room, and are imported here alone."""


class Template:
    """One warm process and its children."""

    def __init__(self, flavour: str, path: Path) -> None:
        self.flavour = flavour
        self.path = path
        self._started_with = dict(os.environ)  # some libraries set variables while they are imported
        self._identity = identity(flavour, self._started_with)
        self._children: dict[int, socket.socket] = {}
        self._used = time.monotonic()
        self._later = list(FLAVOURS[flavour].later)

    def serve(self) -> socket.socket | None:
        """Fork for whoever connects. Returns in each child, with its connection; and None when the time is over."""
        listener = self._listen()
        load(FLAVOURS[self.flavour].first)
        woken, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        while True:
            asked: list[Any] = [listener] if listener.fileno() >= 0 else []
            ready, _, _ = select.select([*asked, woken], [], [], 0.05 if self._later else _LOOK_SECONDS)
            if woken in ready:
                os.read(woken, 4096)
                self._reap()
            if listener in ready:
                if (connection := self._fork(listener)) is not None:
                    return connection
            elif self._over(listener):
                break
            elif self._later and not ready:
                # What nobody waits for is imported piece by piece, whenever nobody asks for anything.
                load((self._later.pop(0),))
        return None

    def _listen(self) -> socket.socket:
        self.path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX)
        with passage.short_path(self.path) as address:
            listener.bind(address)
        self.path.chmod(0o600)
        listener.listen(64)
        self._inode = self.path.stat().st_ino
        return listener

    def _fork(self, listener: socket.socket) -> socket.socket | None:
        """Accept one connection and fork; the connection in the child, None in the template."""
        connection, _ = listener.accept()
        if not passage.same_user(connection):
            connection.close()
            return None
        self._used = time.monotonic()
        child = os.fork()
        if child == 0:
            for inherited in (listener, *self._children.values()):
                inherited.detach()  # the descriptors are closed with all others, by number
            return connection
        self._children[child] = connection
        return None

    def _reap(self) -> None:
        """Tell whoever asked for a child how it ended."""
        while self._children:
            child, status = os.waitpid(-1, os.WNOHANG)
            if child == 0:
                return
            with self._children.pop(child) as connection, contextlib.suppress(OSError):
                passage.send(connection, {"exit": os.waitstatus_to_exitcode(status)})
            self._used = time.monotonic()

    def _over(self, listener: socket.socket) -> bool:
        if listener.fileno() >= 0 and not self._wanted():
            listener.close()  # nobody finds it any more; the children that live still need somebody to report on them
        return listener.fileno() < 0 and not self._children

    def _wanted(self) -> bool:
        try:
            found = self.path.stat().st_ino == self._inode
        except FileNotFoundError:
            found = False
        if not found:
            return False
        idle = time.monotonic() - self._used
        if self._children or idle < _LOOK_SECONDS:
            return True
        if idle < IDLE_SECONDS and identity(self.flavour, self._started_with) == self._identity:
            return True
        self.path.unlink(missing_ok=True)
        return False


def load(modules: tuple[str, ...]) -> None:
    """Import `modules` and call their `warm_up`, where they have one; then take all that exists out of the collector.

    Frozen objects are not touched by later collections, so their pages stay shared with the children.
    """
    for name in modules:
        warm_up: Callable[[], None] | None = getattr(importlib.import_module(name), "warm_up", None)
        if warm_up is not None:
            warm_up()
    gc.collect()
    gc.freeze()
    thrift.give_back()


def main() -> int:
    """Be a template, unless there is one already; in each child, be what was asked for."""
    flavour, path = sys.argv[1], Path(sys.argv[2])
    lock = os.open(path.with_suffix(".lock"), os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return 0
    coredump.forbid()
    gc.disable()
    # Nobody debugs these kernels step by step; without the debugger they start sooner and smaller.
    sys.modules["debugpy"] = None  # type: ignore[assignment]
    connection = Template(flavour, path).serve()
    if connection is not None:
        newborn.become(connection)
    return 0


if __name__ == "__main__":
    sys.exit(main())
