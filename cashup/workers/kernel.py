"""The start of every kernel that CashUp runs: `python -m cashup.workers.kernel -f FILE`."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Be a kernel as a process of its own."""
    _die_with_parent()
    # Nobody debugs these kernels step by step; without the debugger they start sooner and smaller.
    sys.modules["debugpy"] = None  # type: ignore[assignment]
    run(sys.argv[1:])


def run(words: Sequence[str]) -> None:
    """Take what the worker handed over, then become an ordinary Jupyter kernel; forked kernels begin here."""
    from cashup.workers import context, coredump, limits

    coredump.forbid()
    if (task := context.current_task()) is not None:
        limits.apply(task.resources)
    context.enter()
    # What lies beside the notebook can be imported, and can shadow nothing: kernels start with `-P`, which keeps the
    # folder from the front of the path.
    sys.path.append(str(Path.cwd()))
    import zmq
    from ipykernel import iostream, ipkernel, kernelapp

    class PrivateOutput(iostream.IOPubThread):
        """No TCP port for the output of forked children; and a flood of output waits instead of losing messages."""

        def __init__(self, socket: zmq.Socket[bytes], pipe: bool = False, session: Any = False) -> None:
            # Over IPC the queue is short, and a lost "idle" message would leave papermill waiting.
            socket.setsockopt(zmq.XPUB_NODROP, 1)
            super().__init__(socket, pipe=False, session=session)  # type: ignore[no-untyped-call]

    setattr(kernelapp, "IOPubThread", PrivateOutput)  # noqa: B010  (a name that ipykernel does not export)
    # ipykernel makes a list of all modules for the debugger, which these kernels do not have. To look at each would
    # copy 3 MB of what a forked kernel shares with its template.
    setattr(ipkernel, "sys", _SysWithoutModules())  # noqa: B010
    kernelapp.launch_new_instance(list(words))


class _SysWithoutModules:
    """`sys` as ipykernel's main module sees it."""

    modules: Mapping[str, ModuleType] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(sys, name)


def _die_with_parent() -> None:
    """Let the system end this kernel the moment its worker is killed; ipykernel itself looks once a second.

    In that second a kernel without a worker could go on trading, unrecorded.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != int(os.environ.get("JPY_PARENT_PID", os.getppid())):
            os._exit(1)  # it was killed before we asked


if __name__ == "__main__":
    main()
