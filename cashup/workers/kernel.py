"""The start of every kernel that CashUp runs: `python -m cashup.workers.kernel -f FILE`."""

from __future__ import annotations

import ctypes
import os
import re
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cashup.workers.sandbox import Walls

_PR_SET_PDEATHSIG = 1
_OPTION = re.compile(r"--(\w+)\.(\w+)=(.*)")


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
    walls = _walls()
    # What lies beside the notebook can be imported, and can shadow nothing: kernels start with `-P`, which keeps the
    # folder from the front of the path.
    sys.path.append(str(Path.cwd()))
    import zmq
    from ipykernel import iostream, ipkernel, kernelapp
    from traitlets.config import Config

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

    class App(kernelapp.IPKernelApp):
        """Takes `-f FILE` and `--Class.trait=value` without the parser of all options, which costs 4 MB and 20 ms."""

        def parse_command_line(self, argv: list[str] | None = None) -> None:
            found = plain_options(argv or [])
            if found is None:
                super().parse_command_line(argv)
            else:
                self.cli_config = Config(found)
                self.update_config(self.cli_config)

        def start(self) -> None:
            if walls is not None:
                walls.close_sockets()
                os.write(2, f"{walls}\n".encode())  # to the log: by now `sys.stderr` is the notebook's
            super().start()  # type: ignore[no-untyped-call]

    App.launch_instance(list(words))


def plain_options(words: Sequence[str]) -> dict[str, dict[str, Any]] | None:
    """Options by class and trait, as traitlets takes them; None when any of `words` is of another kind."""
    from traitlets.config.loader import DeferredConfigString

    found: dict[str, dict[str, Any]] = {}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word == "-f" and rest:
            word = f"--IPKernelApp.connection_file={rest.pop(0)}"
        if (option := _OPTION.fullmatch(word)) is None:
            return None
        found.setdefault(option[1], {})[option[2]] = DeferredConfigString(option[3])
    return found


def _walls() -> Walls | None:
    """The walls of a worker's kernel, which stand before anything of the notebook is read; others have none."""
    from cashup.workers import context, sandbox

    task, plan = context.current_task(), sandbox.Plan.from_env()
    if task is None or plan is None:
        return None
    walls = sandbox.Walls(plan, task.gateway)
    walls.shut_in()
    return walls


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
