"""What a live cell shows while it runs: one display, updated in place, never a growing log."""

from __future__ import annotations

import time
from html import escape
from typing import Any

from cashup.clock import isoformat
from cashup.types import Millis

_EVERY = 1.0
"""Seconds between updates; each one is a message that papermill stores."""


class Status:
    """The state of a live run, shown in the notebook when there is one."""

    def __init__(self, deployment: str, attempt: int) -> None:
        self.title = f"{deployment}, attempt {attempt}"
        self.connection = "connecting"
        self.decided: Millis | None = None
        self.bars = 0
        self.missed = 0
        self.note = ""
        self._handle: Any = None
        self._due = 0.0

    def show(self, *, now: bool = False) -> None:
        """Update the display, at most once a second unless `now`."""
        moment = time.monotonic()
        if not now and moment < self._due:
            return
        self._due = moment + _EVERY
        text = self.text()
        bundle = {"text/plain": text, "text/html": f"<pre>{escape(text)}</pre>"}
        if self._handle is None:
            self._handle = _display(bundle)
        else:
            self._handle.update(bundle, raw=True)

    def text(self) -> str:
        """The state in a few lines."""
        decided = "nothing decided yet" if self.decided is None else f"last decided bar {isoformat(self.decided)}"
        counts = f"{self.bars} decided" + (f" and {self.missed} missed" if self.missed else "")
        lines = [self.title, self.connection, f"{decided}, {counts} in this attempt"]
        return "\n".join([*lines, self.note] if self.note else lines)


class _Silent:
    def update(self, bundle: object, *, raw: bool) -> None:
        """Outside a notebook there is no place to show anything."""


def _display(bundle: dict[str, str]) -> Any:
    import sys

    if "IPython" not in sys.modules or sys.modules["IPython"].get_ipython() is None:
        return _Silent()
    from IPython.display import display

    return display(bundle, raw=True, display_id=True)  # type: ignore[no-untyped-call]
