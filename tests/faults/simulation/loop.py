"""An event loop on virtual time, in which a seed decides what runs next and lives can be ended at any step.

Nothing ever waits: when nothing is ready the time jumps to the next timer. Of all that is ready the seed picks one, so
that every order of events that asyncio allows comes up sooner or later. There are no sockets but those of the database
(`wire.py`), on which time stands still.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Coroutine
from contextlib import suppress
from contextvars import Context, ContextVar, copy_context
from dataclasses import dataclass, field
from random import Random
from typing import Any

LIFE: ContextVar[Life | None] = ContextVar("life", default=None)
"""To which life the running code belongs; None for the world around, which does not die."""


_ROUNDS = 5


class Stuck(AssertionError):
    """Nothing is ready and no timer is set: the program under test would wait for ever."""


@dataclass(eq=False)
class Life:
    """One process of the simulated machine. Once it is `dead` nothing of it runs again, as after `kill -9`; while it
    is `paused` what it would do waits, as after `kill -STOP`."""

    name: str
    dead: bool = False
    paused: bool = False
    held: list[asyncio.Handle] = field(default_factory=list)
    wires: list[Any] = field(default_factory=list)
    steps: int = 0

    def context(self) -> Context:
        """A context in which everything belongs to this life."""
        context = copy_context()
        context.run(LIFE.set, self)
        return context


class SimulatedTask(asyncio.Task[Any]):
    """A task whose hash is its number, so that sets of tasks are walked through in the same order in every run."""

    def __init__(self, coro: Coroutine[Any, Any, Any], *, number: int, **options: Any) -> None:
        self._number = number
        super().__init__(coro, **options)

    def __hash__(self) -> int:
        return self._number

    def __eq__(self, other: object) -> bool:
        return self is other


class SimulatedLoop(asyncio.BaseEventLoop):
    """The loop. `note` is called with a line for every step; `connect` opens the database's wires."""

    def __init__(self, random: Random, note: Callable[[str], None]) -> None:
        super().__init__()
        self._random = random
        self._note = note
        self._now = 0.0
        self._tasks = 0
        self._unhandled: list[dict[str, Any]] = []
        self._ready: list[asyncio.Handle] = []
        self.connect: Callable[[Any], tuple[Any, Any]] | None = None
        self.before_step: Callable[[Life], None] | None = None
        self.set_task_factory(_task)
        self.set_exception_handler(lambda _, context: self._unhandled.append(context))

    @property
    def unhandled(self) -> list[str]:
        """What tasks raised and nobody took."""
        return [f"{found.get('message')}: {found.get('exception')!r}" for found in self._unhandled]

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._now

    def number(self) -> int:
        """The next task's number."""
        self._tasks += 1
        return self._tasks

    def resume(self, life: Life) -> None:
        """Let a life go on with everything that waited (a dead one only to be taken apart when all is over)."""
        life.paused = life.dead = False
        self._ready.extend(life.held)
        life.held.clear()

    def end(self) -> None:
        """Cancel every task, let them end, and close."""
        self.before_step = None
        for _ in range(_ROUNDS):
            tasks = asyncio.all_tasks(self)
            if not tasks:
                break
            for task in tasks:
                task.cancel()
            with suppress(Stuck):
                self.run_until_complete(asyncio.wait(tasks, timeout=60))
        self.close()

    def _run_once(self) -> None:
        self._wake_timers()
        if not self._ready:
            self._jump()
        position = int(self._random.random() * len(self._ready)) if len(self._ready) > 1 else 0
        self._ready[position], self._ready[-1] = self._ready[-1], self._ready[position]
        handle = self._ready.pop()
        if handle._cancelled:
            return
        life = handle._context.get(LIFE) if handle._context is not None else None
        if life is not None and not self._may_run(life, handle):
            return
        self._note(f"{self._now:.6f} {_name(handle)}")
        handle._run()

    def _may_run(self, life: Life, handle: asyncio.Handle) -> bool:
        if not life.dead and not life.paused and self.before_step is not None:
            life.steps += 1
            self.before_step(life)
        if life.dead or life.paused:
            life.held.append(handle)
        return not (life.dead or life.paused)

    def _wake_timers(self) -> None:
        while self._scheduled and (self._scheduled[0]._cancelled or self._scheduled[0]._when <= self._now):
            timer = heapq.heappop(self._scheduled)
            timer._scheduled = False
            if not timer._cancelled:
                self._ready.append(timer)

    def _jump(self) -> None:
        if not self._scheduled:
            raise Stuck("nothing is ready and no timer is set")
        self._now = self._scheduled[0]._when
        self._wake_timers()

    async def create_unix_connection(self, protocol_factory: Any, path: Any = None, **_: Any) -> tuple[Any, Any]:
        """The only connections that there are: to the database."""
        assert self.connect is not None
        return self.connect(protocol_factory)

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> Any:
        """No threads: done at once."""
        future = self.create_future()
        future.set_result(func(*args))
        return future

    def _process_events(self, event_list: Any) -> None:
        """There are none."""

    def _write_to_self(self) -> None:
        """Nobody sleeps."""

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Cancelled timers are dropped when their time comes."""


def _task(loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> SimulatedTask:
    assert isinstance(loop, SimulatedLoop)
    return SimulatedTask(coro, number=loop.number(), loop=loop, **options)


def _name(handle: asyncio.Handle) -> str:
    """What a step does, in words that are the same in every run."""
    callback = handle._callback
    owner = getattr(callback, "__self__", None)
    if isinstance(owner, SimulatedTask):
        return f"task {owner._number} {owner.get_coro().__qualname__}"
    return str(getattr(callback, "__qualname__", type(callback).__name__))
