"""A command that is done by a warm process: this one only passes on its words, its streams and its signals."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cashup.workers.fork import Forked

COMMANDS = {"backtest", "replay", "check", "walkforward"}
"""Commands that import research themselves or execute a notebook."""

_NEEDED = (
    "alembic.migration",
    "alembic.script",
    "sqlalchemy.dialects.postgresql.asyncpg",
    "cashup.cli.research",
    "cashup.cli.runs",
    "cashup.research.recording.execution",
    "cashup.research.recording.record",
    "cashup.storage.servers",
)

_PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


def hand_over(words: Sequence[str]) -> int | None:
    """Let a warm process do the command; its exit code, or None when this process has to do it itself.

    It is a fork of the template, with this process's streams, folder and environment. A template that does not run yet
    is started for the kernel that the command will want; the next command then finds it.
    """
    from cashup.settings import load_settings
    from cashup.workers.fork import fork, start

    if not words or words[0] not in COMMANDS or {"--help"} & set(words) or not all(map(_is_open, range(3))):
        return None
    settings = load_settings()
    if not settings.warm:
        return None
    streams = {number: number for number in range(3)}
    command = fork(
        "research",
        settings.home_path,
        "command",
        words,
        env=os.environ,
        cwd=Path.cwd(),
        descriptors=streams,
        starting=False,
    )
    if command is None:
        start("research", settings.home_path)
        return None
    with _signals_of(command):
        code = command.wait()
    return code if code >= 0 else 128 - code


def warm_up() -> None:
    """Import what such a command needs; the template calls this when nobody waits."""
    from importlib import import_module

    from cashup.storage import schema

    schema.load()
    for name in _NEEDED:
        import_module(name)


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


@contextmanager
def _signals_of(command: Forked) -> Iterator[None]:
    """Pass this process's signals on to `command`, which leads a session of its own and does not get Ctrl-C itself."""

    def pass_on(number: int, frame: Any) -> None:
        command.send_signal(number)

    before = {number: signal.signal(number, pass_on) for number in _PASSED_ON}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
