"""How many processes and threads a kernel has started: more than its deployment allows end it.

The system's own limit counts all processes of a user together, so a worker counts those of its kernel itself.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import subprocess

    from cashup.workers.fork import Forked

EVERY = 5.0
"""Seconds between two counts. Each reads a file per thread of the kernel."""


def keep(kernel: subprocess.Popen[bytes] | Forked, most: int) -> None:
    """Kill the kernel, and what it has started, when they are more than `most` processes and threads; on a thread."""
    threading.Thread(target=_watch, args=(kernel, most, EVERY), daemon=True, name="headcount").start()


def _watch(kernel: subprocess.Popen[bytes] | Forked, most: int, every: float) -> None:
    ended = threading.Event()
    while not ended.wait(every):
        if not Path(f"/proc/{kernel.pid}").exists():
            return
        found, processes = count(kernel.pid)
        if found > most:
            sys.stderr.write(
                f"the kernel was killed: it had {found} processes and threads, and its deployment's [resources] allow "
                f"{most}\n"
            )
            for pid in reversed(processes):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            return


def count(pid: int) -> tuple[int, list[int]]:
    """Processes and threads of `pid` and what descends from it, and the process ids; none when it has ended."""
    threads, found, waiting = 0, [], [pid]
    while waiting:
        each = waiting.pop()
        with suppress(OSError, ProcessLookupError):
            for task in Path(f"/proc/{each}/task").iterdir():
                threads += 1
                waiting += [int(child) for child in (task / "children").read_text().split()]
            found.append(each)
    return threads, found
