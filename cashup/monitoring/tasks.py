"""Tasks that run beside everything else: begun with a name, missed when they end by themselves, ended for certain."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import structlog

log = structlog.get_logger()

_AGAIN_SECONDS = 1.0


def begin(name: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """Run `work` as a task that should never end by itself; if it does, the log says so."""
    task = asyncio.create_task(work, name=name)
    task.add_done_callback(_complain)
    return task


async def end(*tasks: asyncio.Task[Any]) -> None:
    """Cancel `tasks` and wait until they have ended.

    A cancellation can be lost (in Python 3.11 `asyncio.wait_for` drops one that arrives together with its result), so
    it is repeated.
    """
    running = {task for task in tasks if not task.done()}
    while running:
        for task in running:
            task.cancel()
        _, running = await asyncio.wait(running, timeout=_AGAIN_SECONDS)


def _complain(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("a task ended", task=task.get_name(), exc_info=error)
