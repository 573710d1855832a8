"""Was a process killed because memory ran out? The system counts such kills; it does not say whom it killed."""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")
_LOOKS = 4
"""A death is noticed up to two looks after it happened."""


class OomKills:
    """Kills for memory in the control group of a process, or on the machine where the group does not count them.

    `look` every second or so while the process lives: what was counted within the last seconds before its death is
    known was, almost certainly, its death. Another process of the same group may have been killed in that time.
    """

    def __init__(self, pid: int) -> None:
        self._file, self._field = _counter(pid)
        self._seen = deque([self._count()], maxlen=_LOOKS)

    def look(self) -> None:
        """Remember the count."""
        self._seen.append(self._count())

    def happened(self) -> bool:
        """True when there was such a kill since the looks that are remembered began."""
        return self._count() > self._seen[0]

    def _count(self) -> int:
        with suppress(OSError):
            return _read(self._file, self._field)
        return 0


def _counter(pid: int) -> tuple[Path, str]:
    """The file that counts for this process, and the name of the count in it."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
            _, kinds, path = line.split(":", 2)
            places = [(_CGROUPS / path.lstrip("/") / "memory.events", "oom_kill")] if not kinds else []
            if "memory" in kinds.split(","):
                places = [(_CGROUPS / "memory" / path.lstrip("/") / "memory.oom_control", "oom_kill")]
            for file, field in places:
                with suppress(OSError, LookupError):
                    _read(file, field)
                    return file, field
    return Path("/proc/vmstat"), "oom_kill"


def _read(file: Path, field: str) -> int:
    rows = dict(line.split(maxsplit=1) for line in file.read_text().splitlines())
    return int(rows[field])
