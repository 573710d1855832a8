"""One worker process as its supervisor sees it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import IO, cast

from cashup.workers.assignment import Assignment, Outcome
from cashup.workers.environment import scrubbed

_LOG_LIMIT = 10 * 1024 * 1024


class Child:
    """A running `cashup worker`. It leads its own process group; its lifeline is the pipe held here."""

    def __init__(self, assignment: Assignment, log: Path) -> None:
        """Start it; the token goes through the pipe and is not kept here."""
        self.deployment = assignment.deployment
        self.attempt = assignment.attempt
        self.output = assignment.output
        self.stopping_since: float | None = None
        log.parent.mkdir(parents=True, exist_ok=True)
        _rotate(log)
        with log.open("ab") as stream:
            self._process = subprocess.Popen(
                # -P: the working directory must not shadow the library.
                [sys.executable, "-P", "-m", "cashup.workers.process"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stream,
                env=scrubbed(os.environ),
                start_new_session=True,
            )
        self._lifeline = cast(IO[bytes], self._process.stdin)
        with suppress(BrokenPipeError):  # it died at once; `outcome` says how
            self._lifeline.write(assignment.to_line())
            self._lifeline.flush()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def outcome(self) -> Outcome | None:
        """How it ended, or None while it runs."""
        exit_code = self._process.poll()
        if exit_code is None:
            return None
        with self._lifeline, cast(IO[bytes], self._process.stdout) as stdout:
            return Outcome.read(stdout.read(), exit_code)

    def stop(self, now: float) -> None:
        """Ask it to stop; asking again is more firm (see StopSignals)."""
        if self.stopping_since is None:
            self.stopping_since = now
        self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it now; its kernel notices within a second."""
        self._process.kill()


def _rotate(log: Path) -> None:
    if log.exists() and log.stat().st_size > _LOG_LIMIT:
        log.replace(log.with_suffix(".log.1"))
