"""A task factory that counts how often the tasks of a process are suspended, and ends the process at the k-th time."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Coroutine, Generator
from typing import Any


class Suspensions:
    """Counts from when it is armed. At the `last`-th suspension the process is killed, before the loop goes on."""

    def __init__(self, last: int | None) -> None:
        self.last = last
        self.count = 0
        self.armed = False

    def factory(self, loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> asyncio.Task[Any]:
        """For `loop.set_task_factory`."""
        return asyncio.Task(_Counted(coro, self), loop=loop, **options)

    def suspended(self) -> None:
        """A task waits for something."""
        if self.armed:
            self.count += 1
            if self.count == self.last:
                os.kill(os.getpid(), signal.SIGKILL)


class _Counted(Coroutine[Any, Any, Any]):
    """A coroutine that tells of each of its suspensions."""

    def __init__(self, inner: Coroutine[Any, Any, Any], suspensions: Suspensions) -> None:
        self._inner = inner
        self._suspensions = suspensions
        self.__qualname__ = getattr(inner, "__qualname__", type(inner).__name__)

    def send(self, value: Any) -> Any:
        yielded = self._inner.send(value)
        self._suspensions.suspended()
        return yielded

    def throw(self, *error: Any) -> Any:
        yielded = self._inner.throw(*error)
        self._suspensions.suspended()
        return yielded

    def close(self) -> None:
        self._inner.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        return self  # type: ignore[return-value]
