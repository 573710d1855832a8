"""The record of an attempt: the executed notebook, in one file per UTC day, so that no file grows for months.

papermill writes to one address from the first cell to the last; here that address leads to the file of the day.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from cashup.clock import Clock, isoformat

ADDRESS = "cashup-record:today.ipynb"
"""What papermill takes for the path of its output."""

SCHEME = ADDRESS.partition(":")[0] + ":"


class Record:
    """The files `<folder>/<YYYY-MM-DD>.ipynb`; a handler for papermill's input and output.

    The day changes only with `turn`, so a day's file is complete before the next one begins.
    """

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._folder = folder
        self._clock = clock
        self._day = self._today()

    @property
    def path(self) -> Path:
        """The file that is written now."""
        return self._folder / f"{self._day}.ipynb"

    @property
    def due(self) -> bool:
        """True when the day of the file is over."""
        return self._today() > self._day

    def turn(self) -> None:
        """From now on the file of this day is written."""
        self._day = self._today()

    def register(self) -> None:
        """Let papermill find this record at `ADDRESS`; there is one in a process."""
        from papermill.iorw import papermill_io

        papermill_io.register(SCHEME, self)

    def write(self, text: str, path: str) -> None:
        """Replace the day's file as a whole."""
        replace_file(self.path, text)

    def pretty_path(self, path: str) -> str:
        """What papermill's own log shows."""
        return str(self.path)

    def listdir(self, path: str) -> list[str]:
        """The files there are."""
        return [str(file) for file in sorted(self._folder.glob("*.ipynb"))]

    def read(self, path: str) -> str:
        """The day's file as it was written last."""
        return self.path.read_text(encoding="utf-8")

    def _today(self) -> str:
        return isoformat(self._clock.now())[:10]


def newest(folder: Path) -> Path | None:
    """The last file of the record in `folder`, None when nothing was written."""
    return max(folder.glob("[0-9]*.ipynb"), default=None)


def replace_file(target: Path, text: str) -> None:
    """Write a file through a temporary one: after a crash there is the old text or the new one, and nothing else."""
    partial = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        with partial.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(target)
    finally:
        with suppress(FileNotFoundError):
            partial.unlink()


def write_atomically(handler: Any, text: str, path: str) -> None:
    """papermill's write to a local file, as `replace_file`."""
    replace_file(Path(handler._cwd or "", path), text)
