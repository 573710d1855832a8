"""The subject: the strategy under check, loaded anew whenever a check must not inherit what an earlier call left."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from cashup.research.checks.access import Access, recording
from cashup.research.checks.outputs import Outputs, outputs
from cashup.strategies.bars import Bars
from cashup.strategies.notebook import load_strategy
from cashup.strategies.strategy import Strategy


@dataclass
class Subject:
    """A strategy and the bars it is checked on. `notebook` is None for a strategy that exists in memory only."""

    strategy: Strategy
    bars: Bars
    notebook: Path | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    accesses: list[Access] = field(default_factory=list)

    def fresh(self, **changed: Any) -> Strategy:
        """The strategy as if nothing had run yet; `changed` replaces parameters of the notebook."""
        if self.notebook is None:
            return self.strategy
        return load_strategy(self.notebook, {**self.params, **changed})

    def call(self, strategy: Strategy, bars: Bars) -> Outputs:
        """The outputs on `bars`; files that the strategy reads meanwhile are remembered."""
        with recording() as seen:
            found = outputs(strategy, bars)
        self.accesses += [access for access in seen if access not in self.accesses]
        return found

    @cached_property
    def full(self) -> Outputs:
        """The outputs on the whole history, from a strategy that has seen nothing else."""
        return self.call(self.fresh(), clean(self.bars))

    @property
    def warmup(self) -> int:
        """The declared warm-up: rows before it are no decisions."""
        return self.strategy.warmup


Change = Callable[[Bars], Bars]


def clean(bars: Bars) -> Bars:
    """The same bars with an empty memo, so that nothing remembered is handed out."""
    return bars.rows(0, len(bars))
