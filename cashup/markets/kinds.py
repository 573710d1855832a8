"""What the lake keeps: bars of a timeframe, and what lies beside them."""

from __future__ import annotations

from dataclasses import dataclass

from cashup.clock import timeframe_millis
from cashup.errors import DataError, UsageError
from cashup.strategies.bars import FIELDS
from cashup.types import Millis

_HOUR: Millis = 3_600_000


@dataclass(frozen=True, slots=True)
class Kind:
    """The columns of a series (float64, beside the time) and the step (ms) by which its files are cut.

    `unique`: at most one row has a given time.
    """

    name: str
    columns: tuple[str, ...]
    step: Millis
    unique: bool = True


BESIDE = {
    "funding": Kind("funding", ("rate",), _HOUR),
    "open_interest": Kind("open_interest", ("open_interest",), 300_000),
    "trades": Kind("trades", ("price", "amount", "side"), 1_000, unique=False),
}
"""The series beside bars. `rate`: a ratio of the position's value, longs pay when it is above 0. `open_interest`: in
base currency. `side`: 1 when the taker bought, -1 when it sold; `amount` in base currency."""


@dataclass(frozen=True, slots=True)
class Use:
    """A series of BESIDE that a run uses.

    The rows of its bars' time; when the strategy sees it (`seen`), also the newest before them and one at the last
    close: they are known at a bar's close.
    """

    kind: str
    symbol: str
    seen: bool = False


def kind_of(name: str) -> Kind:
    """The kind that is stored under `name`: a timeframe, or one of BESIDE. Raises UsageError."""
    return BESIDE.get(name) or Kind(name, FIELDS, timeframe_millis(name))


def beside(name: str) -> Kind:
    """A kind of BESIDE; raises DataError for another word."""
    if name not in BESIDE:
        raise DataError(f"{name!r} is no kind of series; there are {', '.join(BESIDE)} (bars have a timeframe)")
    return BESIDE[name]


def exchange_name(name: str) -> str:
    """`name`, when it can be an exchange's; raises UsageError."""
    if not name.replace("_", "").replace("-", "").isalnum():
        raise UsageError(f"{name!r} is not the name of an exchange; use ccxt's, such as gate")
    return name
