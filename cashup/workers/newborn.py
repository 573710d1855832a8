"""The first moments of a forked process: it becomes what was asked for, and keeps nothing of the template's."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import fcntl
import gc
import importlib
import os
import random
import select
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn

from cashup.workers import passage

WORK = {
    "kernel": ("cashup.workers.kernel", "run"),
    "worker": ("cashup.workers.process", "run"),
    "command": ("cashup.cli", "main"),
}
"""What can be asked for, and the function that does it; by name, because the command line stands above this room."""

_ABOVE = 64
"""Descriptors that arrive are first lifted above this number, so that none lies where another one shall go."""

_IGNORED = {signal.SIGPIPE, signal.SIGXFSZ}
"""Every Python ignores these: a connection that broke, or a file that grew too long, is an OSError and no death."""

_F_SETSIG = 10  # <linux/fcntl.h>; Python's module leaves it out


@dataclass(frozen=True, slots=True)
class Request:
    """What a forked process shall be: `work` of WORK with these `words`, in this folder and environment.

    `places` are the numbers that the descriptors sent along shall have: 0, 1 and 2 are the standard streams. A `bound`
    process is killed when whoever asked for it is gone.
    """

    work: str
    words: Sequence[str]
    cwd: str
    umask: int
    env: dict[str, str]
    places: Sequence[int]
    bound: bool = True

    def to_json(self) -> dict[str, Any]:
        """As it travels."""
        return asdict(self)


def become(connection: socket.socket) -> None:
    """Read what to be from `connection`, be it, and end when it is done; raises what the work raises."""
    document, descriptors = passage.receive(connection)
    request = Request(**document)
    lifeline, connection_number = _take_descriptors(request.places, descriptors, connection)
    _forget_the_template()
    os.umask(request.umask)
    os.environ.clear()
    os.environ.update(request.env)
    with socket.socket(fileno=connection_number) as answer:
        try:
            os.chdir(request.cwd)
        except OSError as error:
            passage.send(answer, {"error": str(error)})
            return
        os.setsid()
        if request.bound:
            _live_as_long_as(lifeline)
        else:
            os.close(lifeline)
        mine = os.pidfd_open(os.getpid())
        passage.send(answer, {"pid": os.getpid()}, [mine])
        os.close(mine)
    module, function = WORK[request.work]
    _be_called([sys.executable, "-m", module, *request.words])
    sys.argv = [request.work, *request.words]
    try:
        getattr(importlib.import_module(module), function)(list(request.words))
    except SystemExit as end:
        if not isinstance(end.code, int | None):
            raise  # Python prints it
        _end(end.code or 0)
    _end(0)


def _end(code: int) -> NoReturn:
    """End as Python does, but without taking everything apart: that would copy all memory shared with the template."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def _take_descriptors(places: Sequence[int], descriptors: Sequence[int], connection: socket.socket) -> tuple[int, int]:
    """Put every descriptor in its place and close all others; the numbers of the lifeline and the connection.

    The lifeline is the one sent last.
    """
    lifted = [fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, _ABOVE) for number in descriptors]
    answer = fcntl.fcntl(connection.detach(), fcntl.F_DUPFD_CLOEXEC, _ABOVE)
    _close_all_but({*lifted, answer})
    for number, place in zip(lifted, places, strict=False):
        os.dup2(number, place)
        os.close(number)
    _open_streams()
    return lifted[-1], answer


def _open_streams() -> None:
    """The template's stream objects lie on the same numbers, but know other things of them: a terminal or not."""
    line = 1
    sys.stdin = os.fdopen(0, closefd=False)
    sys.stdout = os.fdopen(1, "w", buffering=line if os.isatty(1) else -1, closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=line, closefd=False, errors="backslashreplace")
    for name in ("stdin", "stdout", "stderr"):
        setattr(sys, f"__{name}__", getattr(sys, name))


def _close_all_but(kept: set[int]) -> None:
    for number in [int(entry.name) for entry in Path("/proc/self/fd").iterdir()]:
        if number not in kept:
            with contextlib.suppress(OSError):
                os.close(number)


def _forget_the_template() -> None:
    """Undo what the template did for itself, and draw new seeds: two siblings must not draw the same numbers."""
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals():
        if number not in _IGNORED and signal.getsignal(number) not in (signal.SIG_DFL, None):
            with contextlib.suppress(OSError, ValueError):
                signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    tempfile.tempdir = None
    random.seed()
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()
    gc.enable()


def _be_called(words: Sequence[str]) -> None:
    """Show `words` as this process's command line: for `ps` it would otherwise be another template."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    start, end = int(fields[45]), int(fields[46])  # arg_start and arg_end, counted from the state
    text = "\0".join(words).encode()[: end - start - 1]
    ctypes.memmove(start, text.ljust(end - start, b"\0"), end - start)


def _live_as_long_as(lifeline: int) -> None:
    """Let the system kill this process the moment whoever asked for it is gone, however that ended.

    Nothing is ever written into the lifeline: the only thing that can happen to it is that its other end is closed.
    """
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(lifeline, _F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(lifeline, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)
    if select.select([lifeline], [], [], 0)[0]:
        os._exit(1)  # it was gone before we asked
