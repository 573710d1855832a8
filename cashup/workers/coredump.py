"""The memory of a process that holds secrets: in no file when it crashes, and for no other process to read."""

from __future__ import annotations

import ctypes
import resource
import sys

_PR_SET_DUMPABLE = 4


def forbid() -> None:
    """This process, and those that it starts, leave no core dump behind."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def conceal() -> None:
    """Let no other process of this user read this one's memory, environment and descriptors (on Linux, but for root).

    Those that it starts are as any other.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
