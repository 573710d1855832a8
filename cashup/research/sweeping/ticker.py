"""The progress of a sweep, for a person: a bar with the best so far, on a terminal or in a notebook."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from cashup.research.sweeping.judge import Trial


@dataclass(frozen=True)
class Progress:
    """Where a sweep is: how many trials of how many, and the best so far."""

    done: int
    total: int
    best: Trial | None


@contextmanager
def watched() -> Iterator[Callable[[Progress], None]]:
    """A function to tell the progress to. Where nobody watches (a pipe, a file) nothing is shown."""
    from tqdm import tqdm

    in_notebook = "ipykernel" in sys.modules
    bar: Any = tqdm(total=0, unit=" sets", disable=False if in_notebook else None, leave=False, mininterval=0.2)

    def tell(progress: Progress) -> None:
        bar.total = progress.total
        if progress.best is not None:
            bar.set_postfix_str(_words(progress), refresh=False)
        bar.update(progress.done - bar.n)

    try:
        yield tell
    finally:
        bar.close()


def _words(progress: Progress) -> str:
    assert progress.best is not None  # noqa: S101
    ratio = progress.best.metrics.get("sharpe")
    params = " ".join(f"{name}={value}" for name, value in progress.best.params.items())
    return f"best: {params}" + (f", Sharpe {ratio:.2f}" if ratio is not None else "")
