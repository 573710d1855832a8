"""The nightly report: once a UTC day `cashup live report` for every deployment that decided something since the last.

Each is a process of its own with the lowest priority, one at a time: a report reads whole histories and re-runs a
notebook, and the workers come first. What it found is stored through the gateway.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from cashup.client import Client, Row
from cashup.clock import Clock, WallClock
from cashup.errors import CashUpError
from cashup.types import Millis

DAY: Millis = 86_400_000
AFTER: Millis = 600_000
"""Ten minutes after midnight: at midnight itself every timeframe closes a bar, and everybody decides."""
LOOK_EVERY: Millis = 300_000
LONGEST: Millis = 2 * 3_600_000
"""A report that takes longer is ended."""


class Nightly:
    """Call `turn` again and again; it never waits. `said` gets one line for a report that could not be made."""

    def __init__(self, client: Client, home: Path, said: Callable[[str], None], clock: Clock | None = None) -> None:
        self._client = client
        self._said_by_it = home / "logs" / "reports.log"
        self._made = home / "logs" / "reports.json"
        self._said = said
        self._clock = clock or WallClock()
        self._looked: Millis = 0
        self._waiting: list[str] = []
        self._running: tuple[str, subprocess.Popen[bytes], Millis] | None = None
        self._tried: dict[str, Millis] = {}

    def turn(self) -> None:
        """See to the report that runs, else begin the next one. Raises nothing: the workers come first."""
        try:
            self._turn(self._clock.now())
        except OSError as error:
            self._said(f"the nightly reports wait: {error}")
            self._waiting.clear()

    def _turn(self, now: Millis) -> None:
        if self._running is not None:
            self._look_at(*self._running, now)
        elif self._waiting:
            self._begin(self._waiting.pop(0), now)
        elif now % DAY >= AFTER and now - self._looked >= LOOK_EVERY:
            self._looked = now
            self._waiting = self._due(now)

    @property
    def idle(self) -> bool:
        """True while no report is made."""
        return self._running is None and not self._waiting

    def wait(self, seconds: float) -> None:
        """Wait for the report that is made, at most so long; raises TimeoutExpired."""
        if self._running is not None:
            self._running[1].wait(seconds)

    def stop(self) -> None:
        """End the report that runs; it is made at the next chance."""
        if self._running is not None:
            _kill(self._running[1])
            self._running[1].wait()
            self._running = None

    def _due(self, now: Millis) -> list[str]:
        """The deployments whose day is over and that have no report of today."""
        today = now - now % DAY
        try:
            decided = [row for row in self._client.deployments() if row["last_decided"] is not None]
            rows = [row for row in decided if row["created_at"] < today and self._tried.get(row["name"], 0) < today]
            return [row["name"] for row in rows if self._new(row, today)]
        except CashUpError:
            return []  # the gateway is away or restarts: the next look asks again

    def _new(self, row: Row, today: Millis) -> bool:
        """True when it has decided a bar that no report has seen, and today nobody has looked."""
        newest = self._client.reports(row["name"], limit=1)
        return not newest or (newest[0]["at"] < today and newest[0]["last_bar"] < row["last_decided"])

    def _begin(self, name: str, now: Millis) -> None:
        self._tried[name] = now
        self._made.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-P", "-m", "cashup", "live", "report", name, "--store", "--json"]
        env = os.environ | {"CASHUP_TOKEN": self._client.token, "CASHUP_GATEWAY_URL": self._client.gateway}
        with self._made.open("wb") as made, self._said_by_it.open("wb") as said:
            process = subprocess.Popen(
                command, env=env, stdin=subprocess.DEVNULL, stdout=made, stderr=said, start_new_session=True
            )
        os.setpriority(os.PRIO_PROCESS, process.pid, 19)
        self._running = (name, process, now)

    def _look_at(self, name: str, process: subprocess.Popen[bytes], began: Millis, now: Millis) -> None:
        if process.poll() is None:
            if now - began > LONGEST:
                _kill(process)
            return
        self._running = None
        if not self._made.stat().st_size:  # outside the band it ends with 1 like one that failed, but has its document
            words = self._said_by_it.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            self._said(f"{name}: the nightly report was not made: {words[-1] if words else process.returncode}")


def _kill(process: subprocess.Popen[bytes]) -> None:
    """The report and the process in which it runs the notebook: both are in a group of their own."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
