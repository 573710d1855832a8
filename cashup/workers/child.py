"""One worker process as its supervisor sees it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path

from cashup.settings import load_settings
from cashup.workers.assignment import Assignment, Outcome
from cashup.workers.environment import worker_environment
from cashup.workers.fork import Forked, fork
from cashup.workers.oom import OomKills
from cashup.workers.record import newest
from cashup.workers.sandbox import Plan

FORCE_PAUSE = 0.2


class Child:
    """A running `cashup worker`. It leads its own process group; its lifeline is the pipe held here."""

    def __init__(self, assignment: Assignment, log: Path) -> None:
        """Start it; the token goes through the pipe and is not kept here."""
        self.deployment = assignment.deployment
        self.attempt = assignment.attempt
        self.log = log
        self.stopping_since: float | None = None
        self.hung = ""
        self.behind = 0
        self._folder = Path(assignment.output)
        self._outcome: Outcome | None = None
        log.parent.mkdir(parents=True, exist_ok=True)
        settings = load_settings()
        warm = settings.home_path if settings.warm else None
        folder = settings.home_path / "work" / assignment.deployment
        walls = asdict(Plan.of(settings))
        assignment = replace(assignment, warm="" if warm is None else str(warm), folder=str(folder), walls=walls)
        task, lifeline = os.pipe()
        answer, answering = os.pipe()
        self._lifeline = os.fdopen(lifeline, "wb")
        self._answer = os.fdopen(answer, "rb")
        try:
            with log.open("ab") as stream:
                shown = [assignment.deployment, str(assignment.attempt)]
                self._process = _start(shown, {0: task, 1: answering, 2: stream.fileno()}, warm)
        finally:
            os.close(task)
            os.close(answering)
        self._oom = OomKills(self._process.pid)
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
        if exit_code is None or self._outcome is not None:
            return self._outcome
        with suppress(BrokenPipeError):  # its task was too long for the pipe, and it died before it had read it
            self._lifeline.close()
        with self._answer:
            self._outcome = Outcome.read(self._answer.read(), exit_code, oom=self._oom.happened())
        return self._outcome

    @property
    def output(self) -> str:
        """The newest file of its record, or the folder when there is none."""
        return str(newest(self._folder) or self._folder)

    def look(self) -> None:
        """Look at it now and then, so that its death can be understood."""
        self._oom.look()

    def stop(self, now: float) -> None:
        """Ask it to stop; asking again is more firm (see StopSignals)."""
        if self.stopping_since is None:
            self.stopping_since = now
        self._process.send_signal(signal.SIGTERM)

    def force(self, now: float) -> None:
        """Interrupt its cell at once, without asking it to stop first."""
        self.stop(now)
        time.sleep(FORCE_PAUSE)  # two equal signals that wait at once are one
        self.stop(now)

    def kill(self) -> None:
        """End it now; its kernel dies with it."""
        self._process.kill()


def _start(words: Sequence[str], streams: Mapping[int, int], warm: Path | None) -> subprocess.Popen[bytes] | Forked:
    """A worker process with these standard streams: forked from the warm process of `warm`, or an ordinary one.

    It is not bound to this process: when the supervisor dies, the lifeline tells it, and it stops in good order.
    """
    env = worker_environment(os.environ)
    if warm is not None:
        forked = fork("live", warm, "worker", words, env=env, cwd=Path.cwd(), descriptors=streams, bound=False)
        if forked is not None:
            return forked
    return subprocess.Popen(
        # -P: the working directory must not shadow the library.
        [sys.executable, "-P", "-m", "cashup.workers.process", *words],
        stdin=streams[0],
        stdout=streams[1],
        stderr=streams[2],
        env=env,
        start_new_session=True,
    )
