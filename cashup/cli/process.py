"""Child processes of the command line: started, waited for, told to stop, and never left behind."""

from __future__ import annotations

import ctypes
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from cashup.errors import WorkFailed

STOP_SECONDS = 60.0
START_SECONDS = 120.0
_PR_SET_PDEATHSIG = 1


class Process:
    """One `cashup` command as a child. Its standard error goes to a log file, its first line of output says `ready`.

    It leads its own session, so that Ctrl-C reaches the parent alone, which stops its children in order. When the
    parent is killed, the kernel tells the child to stop (on Linux).
    """

    def __init__(self, name: str, arguments: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None) -> None:
        self.name = name
        self.log = log
        self.arguments = [sys.executable, "-P", "-m", "cashup", *arguments]
        self.env = dict(os.environ | (env or {}))
        self._process: subprocess.Popen[bytes] | None = None
        self.ready: dict[str, Any] = {}

    def start(self, *, announces: bool = True) -> Self:
        """Start it, and wait for its line of JSON unless it does not announce itself.

        Raises WorkFailed with the last words of its log when it ends instead.
        """
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.arguments,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if announces else log,
                stderr=log,
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )
        if announces:
            self.ready = self._first_line()
        return self

    @property
    def pid(self) -> int:
        """Its process id; raises WorkFailed before it was started."""
        if self._process is None:
            raise WorkFailed(f"{self.name} was not started")
        return self._process.pid

    @property
    def started(self) -> bool:
        """True when it was started, even if it has ended since."""
        return self._process is not None

    @property
    def exit_code(self) -> int | None:
        """How it ended, or None while it runs."""
        return None if self._process is None else self._process.poll()

    def kill(self) -> None:
        """End it at once, as a crash would (kill -9)."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def stop(self, seconds: float = STOP_SECONDS) -> int | None:
        """Ask it to stop and wait; the exit code. One that does not stop within `seconds` is killed."""
        if self._process is None:
            return None
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
        if self._process.stdout is not None:
            self._process.stdout.close()
        return self._process.returncode

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def failure(self) -> WorkFailed:
        """The error that says how it ended and why, as far as its log knows."""
        lines = self.log.read_text(errors="replace").strip().splitlines() if self.log.exists() else []
        return WorkFailed(f"{self.name} ended with exit code {self.exit_code}: {lines[-1] if lines else 'no word'}")

    def _first_line(self) -> dict[str, Any]:
        assert self._process is not None  # noqa: S101
        stdout = self._process.stdout
        assert stdout is not None  # noqa: S101
        line = b""
        deadline = time.monotonic() + START_SECONDS
        with selectors.DefaultSelector() as selector:
            selector.register(stdout, selectors.EVENT_READ)
            while not line.endswith(b"\n"):
                if not selector.select(max(deadline - time.monotonic(), 0)):
                    self.kill()
                    raise WorkFailed(f"{self.name} did not say that it is ready within {START_SECONDS:.0f} s")
                more = os.read(stdout.fileno(), 65536)
                if not more:
                    self._process.wait()
                    raise self.failure()
                line += more
        try:
            return dict(json.loads(line.splitlines()[0]))
        except ValueError as error:
            raise WorkFailed(f"{self.name} did not announce itself as JSON but as {line[:200]!r}") from error


_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


def _die_with_parent() -> None:
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
