"""What a worker's kernel knows from its first moment on: its task, its token, and whether it shall stop.

Outside a worker there is no task, and nothing here does anything.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from types import FrameType

ENV = "CASHUP_WORKER"


@dataclass(frozen=True, slots=True)
class Task:
    """What a kernel is told through its environment; nothing in it is secret."""

    gateway: str
    deployment: str
    attempt: int
    token_fd: int
    resources: Mapping[str, int] = field(default_factory=dict)

    def to_env(self) -> dict[str, str]:
        """The variables that carry it."""
        return {ENV: json.dumps(asdict(self), separators=(",", ":"))}


class StopFlag:
    """The wish to end, set by SIGTERM; whoever waits is woken through `on_stop`."""

    def __init__(self) -> None:
        self.requested = False
        self.on_stop: Callable[[], None] | None = None

    def set(self, number: int = 0, frame: FrameType | None = None) -> None:
        """Ask for the end; a signal handler, so it only flips a flag and wakes."""
        self.requested = True
        if self.on_stop is not None:
            self.on_stop()


stop = StopFlag()
_token: str | None = None


def current_task() -> Task | None:
    """The task of this kernel, or None outside a worker."""
    text = os.environ.get(ENV)
    return Task(**json.loads(text)) if text else None


def enter() -> None:
    """Read the token from the inherited descriptor, which is then closed, and listen for SIGTERM."""
    global _token
    task = current_task()
    if task is None:
        return
    with os.fdopen(task.token_fd, encoding="ascii") as pipe:
        _token = pipe.read().strip()
    signal.signal(signal.SIGTERM, stop.set)


def take_token() -> str | None:
    """The token, once; afterwards only the connection that took it knows it."""
    global _token
    token, _token = _token, None
    return token
