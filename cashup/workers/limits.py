"""What a worker's kernel may use at most: `[resources]` of its deployment, as limits of its process.

The system enforces them from before the first cell on. A kernel cannot lift them again (root's can), and what it starts
inherits them.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Mapping
from pathlib import Path

MIB = 1 << 20

_RESERVED = 128 * MIB
"""Memory that the stacks of a kernel's threads reserve and never use; the limit counts what is reserved."""

_FENCE = 4_096
"""The system counts processes per user, not per kernel: such a limit has to be far off. See `headcount`."""


def apply(resources: Mapping[str, int]) -> None:
    """Limit this process to `memory_mb`, `processes`, `open_files` and `disk_mb`; a limit that is not named stays.

    A write beyond `disk_mb` raises OSError (EFBIG), memory beyond `memory_mb` MemoryError.
    """
    if "memory_mb" in resources:
        _lower(resource.RLIMIT_DATA, resources["memory_mb"] * MIB + _held_in_name_only() + _RESERVED)
    if "open_files" in resources:
        _lower(resource.RLIMIT_NOFILE, resources["open_files"])
    if "disk_mb" in resources:
        _lower(resource.RLIMIT_FSIZE, resources["disk_mb"] * MIB)
    if "processes" in resources and os.geteuid() != 0:  # it does not hold for root
        _lower(resource.RLIMIT_NPROC, _tasks_of_this_user() + max(resources["processes"], _FENCE))


def _lower(kind: int, limit: int) -> None:
    """Set the limit for good; one that is lower already stays."""
    _, hard = resource.getrlimit(kind)
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    resource.setrlimit(kind, (limit, limit))


def _held_in_name_only() -> int:
    """Bytes that count as this process's data and are not in memory."""
    found = {name: int(value.split()[0]) * 1024 for name, value in _status(Path("/proc/self")).items() if "kB" in value}
    return max(found.get("VmData", 0) - found.get("RssAnon", 0), 0)


def _tasks_of_this_user() -> int:
    """Processes and threads that count against RLIMIT_NPROC now."""
    mine = _status(Path("/proc/self")).get("Uid", "")
    tasks = 0
    for folder in Path("/proc").glob("[0-9]*"):
        status = _status(folder)
        if status.get("Uid", "") == mine:
            tasks += int(status.get("Threads", 0))
    return tasks


def _status(folder: Path) -> dict[str, str]:
    """What the system tells of a process; nothing where it does not."""
    try:
        lines = (folder / "status").read_text().splitlines()
    except OSError:
        return {}
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
