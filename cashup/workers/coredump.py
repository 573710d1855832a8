"""Core dumps: the memory of a process that crashed, secrets included, in a file that anybody may find."""

from __future__ import annotations

import resource


def forbid() -> None:
    """This process, and those that it starts, leave none behind."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
