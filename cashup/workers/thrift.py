"""Giving memory back that a process needed for a moment only."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterator
from pathlib import Path

_MADV_DONTNEED = 4
_MAPPING = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) (\S+) \S+ \S+ (\d+)")


def give_back() -> None:
    """Return freed memory to the system, and let go of the pages of libraries' files that were needed to load them.

    Those pages stay in the system's cache of files and come back when they are touched. A template does this, because
    its children would share what is freed, and because most of what is loaded is never called.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    for begin, end in _unwritten():
        libc.madvise(ctypes.c_void_p(begin), ctypes.c_size_t(end - begin), _MADV_DONTNEED)
    if hasattr(libc, "malloc_trim"):  # the C library may be another one
        libc.malloc_trim(0)


def _unwritten() -> Iterator[tuple[int, int]]:
    """The mappings of files that can only be read, and of which this process holds no page of its own."""
    place: tuple[int, int] | None = None
    with Path("/proc/self/smaps").open() as lines:
        for line in lines:
            if found := _MAPPING.match(line):
                of_a_file = found[4] != "0" and found[3] in ("r--p", "r-xp")
                place = (int(found[1], 16), int(found[2], 16)) if of_a_file else None
            elif place is not None and line.startswith("Anonymous:"):
                # Not what the loader has written before it was made read-only: that is in no file.
                if line.split()[1] == "0":
                    yield place
                place = None
