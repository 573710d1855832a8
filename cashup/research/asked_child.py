"""The process that runs a deployment's notebook again: `python -m cashup.research.asked_child`.

A notebook is somebody's code, and whoever makes a report holds a login. So it runs in a process of its own that has
none: the parent gives it a notebook and bars on standard input, and gets targets on standard output, as JSON lines.
"""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cashup.errors import CashUpError, NotebookError
from cashup.strategies.bars import Bars
from cashup.strategies.notebook import load_strategy
from cashup.strategies.strategy import Strategy


def main() -> int:
    """Answer until standard input ends."""
    given, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a notebook prints is no answer
    try:
        asked = json.loads(given.readline())
        strategy = load_strategy(Path(asked["notebook"]), asked["params"])
        _answer(answers, about(strategy))
        while line := given.readline():
            span = json.loads(line)
            bars = read_bars(given.read(span.pop("bytes")), strategy)
            _answer(answers, {"targets": targets(strategy, bars, **span)})
    except CashUpError as error:
        _answer(answers, {"error": str(error), "code": error.code})
        return 1
    return 0


def about(strategy: Strategy) -> dict[str, Any]:
    """What the parent must know of the strategy to find its bars."""
    return {
        "symbols": list(strategy.symbols),
        "watch": list(strategy.watch),
        "timeframe": strategy.timeframe,
        "warmup": strategy.warmup,
        "rebalance": strategy.rebalance,
        "outer": strategy.universe is not None,
        "stateful": bool(getattr(strategy, "stateful", False)),
    }


def targets(strategy: Strategy, bars: Bars, first: int, last: int) -> dict[int, list[float | None]]:
    """The targets of every bar in [first, last), asked one by one with the window that live has; None keeps.

    A strategy with a state begins with the one it declares. Raises NotebookError when the strategy raises.
    """
    begin = getattr(strategy, "begin", None)
    if begin is not None:
        begin()
    seen = bars.split(strategy.symbols)
    times = bars.times.tolist()
    rows = [row for row, time in enumerate(times) if first <= time < last and row >= strategy.warmup]
    return {times[row]: _decide(strategy, seen.rows(row - strategy.warmup, row + 1)) for row in rows}


def read_bars(written: bytes, strategy: Strategy) -> Bars:
    """Times and values as the parent wrote them, of what the strategy trades and then of what it watches."""
    stream = io.BytesIO(written)
    times, values = np.load(stream, allow_pickle=False), np.load(stream, allow_pickle=False)
    return Bars(times, (*strategy.symbols, *strategy.watch), strategy.timeframe, values)


def _decide(strategy: Strategy, window: Bars) -> list[float | None]:
    try:
        said = strategy.decide(window).values()
    except NotebookError:
        raise
    except Exception as error:  # the author's code: anything can come
        raise NotebookError(
            f"{strategy.name}() raised {type(error).__name__} when it was run again: {error}", code="notebook_raised"
        ) from error
    return [target if target == target else None for target in said]


def _answer(answers: Any, document: Mapping[str, Any]) -> None:
    answers.write(json.dumps(document) + "\n")
    answers.flush()


if __name__ == "__main__":
    sys.exit(main())
