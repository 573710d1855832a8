"""The run spec: what a run was told from outside the notebook, as a JSON file that `CASHUP_RUN` names."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from cashup.clock import parse_time
from cashup.errors import UsageError
from cashup.types import Millis, Mode

ENV = "CASHUP_RUN"


@dataclass(frozen=True, slots=True)
class RunSpec:
    """Where a backtest takes its bars from and what trading costs in it.

    `start` and `end` are ISO times (UTC when they name no zone), half-open, for the decisions; None = all there is.
    `capital` is in quote currency, `fee` (of orders that take), `maker_fee` (of orders that rested; None: as `fee`) and
    `slippage` are ratios. `funding`: perpetuals pay the lake's funding rates. `venue_limits`: sizes are cut to the
    venue's lots and minimums. `data_version` names a snapshot of the lake to run on again; None = the newest bars.
    `result_path`: where the figures go, as JSON.
    """

    mode: str = Mode.BACKTEST
    exchange: str = "gate"
    start: str | None = None
    end: str | None = None
    capital: float = 10_000.0
    fee: float = 0.001
    slippage: float = 0.0
    maker_fee: float | None = None
    funding: bool = True
    venue_limits: bool = False
    data_version: str | None = None
    result_path: str | None = None
    run_id: str | None = None

    def __post_init__(self) -> None:
        """Refuse what no market has: UsageError says which figure is wrong."""
        if not self.capital > 0:
            raise UsageError(f"the capital must be above 0; it is {self.capital:g}")
        for name in ("fee", "maker_fee", "slippage"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < 1:
                raise UsageError(f"the {name.replace('_', ' ')} is a ratio such as 0.001 for 0.1 %; it is {value:g}")
        if self.first is not None and self.last is not None and self.first >= self.last:
            raise UsageError(f"the start {self.start} lies not before the end {self.end}")

    @property
    def first(self) -> Millis | None:
        """`start` in ms."""
        return parse_time(self.start) if self.start else None

    @property
    def last(self) -> Millis | None:
        """`end` in ms."""
        return parse_time(self.end) if self.end else None

    def write(self, path: Path) -> None:
        """Store it where `CASHUP_RUN` will point."""
        path.write_text(json.dumps(asdict(self), indent=1))


def run_spec(**arguments: Any) -> RunSpec:
    """The run spec of this process: the file that `CASHUP_RUN` names, or the notebook's `arguments` over the defaults.

    The file wins as a whole, because a recorded run must be what its record says.
    """
    path = os.environ.get(ENV)
    if path:
        told = json.loads(Path(path).read_text())
        return RunSpec(**{field.name: told[field.name] for field in fields(RunSpec) if field.name in told})
    given = {name: _text(value) for name, value in arguments.items() if value is not None}
    return replace(RunSpec(), **given)


def _text(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value
