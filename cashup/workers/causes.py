"""From what was seen of an end to its reason and exit code, and back to a sentence."""

from __future__ import annotations

import errno
import signal

from cashup.strategies.endings import Reason

EXIT_CODES = {
    Reason.STOPPED: 0,
    Reason.NOTEBOOK_ENDED: 0,
    Reason.STRATEGY_ERROR: 1,
    Reason.FAILED: 70,
    Reason.DISK_FULL: 74,
    Reason.GATEWAY_LOST: 75,
    Reason.GATEWAY_UPGRADED: 75,
    Reason.OUT_OF_MEMORY: 137,
    Reason.KERNEL_DIED: 138,
    Reason.FORCED: 143,
}
"""What a worker process ends with (those of `sysexits.h` where there is one). The others are seen from outside only."""

_GATEWAY = {
    "Unavailable": Reason.GATEWAY_LOST,
    "Unauthenticated": Reason.GATEWAY_LOST,
    "Outdated": Reason.GATEWAY_UPGRADED,
}
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def of_error(name: str, text: str) -> Reason:
    """Why a notebook ended in which an exception of this name, with this text, was raised."""
    if name.endswith("MemoryError"):  # numpy and Arrow have their own
        return Reason.OUT_OF_MEMORY
    if any(text.startswith(f"[Errno {number}]") for number in _FULL):
        return Reason.DISK_FULL
    return _GATEWAY.get(name, Reason.STRATEGY_ERROR)


def of_system_error(error: OSError) -> Reason:
    """Why a worker ended that could not read or write."""
    return Reason.DISK_FULL if error.errno in _FULL else Reason.FAILED


def of_kernel(code: int | None, *, oom: bool) -> tuple[Reason, str]:
    """Why a kernel, or a worker, ended that `subprocess` shows with this exit code, and a sentence that says so."""
    how = how_it_ended(code)
    if code == -signal.SIGKILL and oom:
        return Reason.OUT_OF_MEMORY, f"{how}, while the system killed for memory"
    return Reason.KERNEL_DIED, how


def how_it_ended(code: int | None) -> str:
    """An exit code in words."""
    if code is None:
        return "ended, nobody knows how"
    if code < 0:
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        return f"was killed by {name}"
    return f"ended with exit code {code}"
