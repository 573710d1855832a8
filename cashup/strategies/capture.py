"""Taking the strategy out of a notebook: `cu.run` stops here instead of running."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cashup.strategies.strategy import Strategy

_capturing: ContextVar[bool] = ContextVar("cashup_capturing", default=False)


class RunReached(BaseException):
    """`cu.run` was reached. No `Exception`, so that a notebook's own `except` does not catch it."""

    def __init__(self, strategy: Strategy) -> None:
        super().__init__(strategy)
        self.strategy = strategy


@contextmanager
def capturing() -> Iterator[None]:
    """Within this block `cu.run` raises RunReached with the strategy that it was given."""
    token = _capturing.set(True)
    try:
        yield
    finally:
        _capturing.reset(token)


def reached(strategy: Strategy) -> None:
    """Called by `cu.run` first of all."""
    if _capturing.get():
        raise RunReached(strategy)
