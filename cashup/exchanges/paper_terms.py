"""The terms of a paper account: what it begins with, and what it assumes about the market and the way to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from decimal import Decimal, InvalidOperation
from typing import Any

from cashup.clock import timeframe_millis
from cashup.errors import UsageError
from cashup.types import ZERO, Millis

LONGEST: Millis = 60_000
"""No order travels longer."""


@dataclass(frozen=True, slots=True)
class PaperTerms:
    """`balances` is what the account begins with (asset -> amount). `timeframe` is that of the candles it follows.

    `latency` and `jitter` are milliseconds; `seed` is that of the jitter. `liquidity` is the fraction of a bar's volume
    that the account takes at most (None: without end). `slippage` and the fees are fractions; a fee of None is the
    venue's. Raises UsageError for what cannot be.
    """

    balances: Mapping[str, Decimal] = field(default_factory=dict)
    timeframe: str = "1m"
    latency: Millis = 50
    jitter: Millis = 50
    seed: int = 0
    liquidity: Decimal | None = Decimal("0.1")
    slippage: Decimal = ZERO
    taker_fee: Decimal | None = None
    maker_fee: Decimal | None = None

    def __post_init__(self) -> None:
        """Refuse nonsense, one sentence each."""
        timeframe_millis(self.timeframe)
        if not any(self.balances.values()):
            raise UsageError("a paper account begins with some money; give it a balance such as USDT=10000")
        for asset, amount in self.balances.items():
            if not asset or not amount.is_finite() or amount < 0:
                raise UsageError(f"a balance of {amount} {asset} is not possible; give zero or more, like USDT=10000")
        for name in ("latency", "jitter"):
            if not 0 <= getattr(self, name) <= LONGEST:
                raise UsageError(f"a paper account's {name} is between 0 and {LONGEST} milliseconds")
        for name, most in (("liquidity", 1), ("slippage", Decimal("0.1")), ("taker_fee", 1), ("maker_fee", 1)):
            value = getattr(self, name)
            if value is not None and not (value.is_finite() and 0 <= value <= most):
                raise UsageError(f"a paper account's {name} is a fraction between 0 and {most}, not {value}")
        if self.liquidity == 0:
            raise UsageError("without liquidity nothing is ever filled; give a fraction above 0, or none at all")

    @classmethod
    def parse(cls, document: Mapping[str, Any]) -> PaperTerms:
        """Terms as JSON or a form gives them: money as text or numbers. Raises UsageError."""
        known = {one.name for one in fields(cls)}
        if strange := sorted(set(document) - known):
            raise UsageError(f"a paper account has no {strange[0]}; it has {', '.join(sorted(known))}")
        given = dict(document)
        balances = given.get("balances") or {}
        if not isinstance(balances, Mapping) or not isinstance(given.get("timeframe", ""), str):
            raise UsageError('balances are an object such as {"USDT": "10000"}, and a timeframe is a word such as 1m')
        given["balances"] = {str(asset): _number(asset, amount) for asset, amount in balances.items()}
        for name in ("latency", "jitter", "seed"):
            if name in given and (isinstance(given[name], bool) or not isinstance(given[name], int)):
                raise UsageError(f"a paper account's {name} is a whole number, not {given[name]!r}")
        for name in ("liquidity", "slippage", "taker_fee", "maker_fee"):
            if given.get(name) is not None:
                given[name] = _number(name, given[name])
        return cls(**given)

    def document(self) -> dict[str, Any]:
        """The terms as JSON, money as text; `parse` reads it back."""
        return {one.name: _plain(getattr(self, one.name)) for one in fields(self)}

    def assumptions(self) -> list[str]:
        """Every assumption that these terms make, in words; their order is their number."""
        return [
            f"Prices are the venue's public candles of {self.timeframe}: a candle's close is the last trade. Between "
            "two messages of it only the newest price, a new high and a new low of the bar are known.",
            self._way(),
            f"What takes trades at the last price when it arrives, {self._spread()}.",
            "What rests is filled at its own price when the market trades at it or through it; nobody is before it.",
            self._depth(),
            "Between two messages the price goes first away from where it ends: when it ends higher, to its low first.",
            self._fees(),
            "Steps, minimums and balances are checked as on the venue; a market buy is given in quote currency. "
            "IOC, FOK and post-only orders end as on the venue.",
            "The account's orders do not move the market. Among themselves they trade as on the venue.",
            "What the market did while no gateway was running is made up for at the next start, bar by bar; a "
            "countdown that ran out meanwhile comes first.",
            "Rate limits, maintenance and lost answers do not happen; the simulator is there for those.",
        ]

    def _way(self) -> str:
        random = f", plus up to {self.jitter} ms at random (seed {self.seed})" if self.jitter else ""
        return f"Whatever is sent arrives {self.latency} ms later{random}; the answer comes at once."

    def _spread(self) -> str:
        return f"moved against it by {_percent(self.slippage)}" if self.slippage else "without a spread"

    def _depth(self) -> str:
        if self.liquidity is None:
            return "The market takes and gives any quantity."
        return (
            f"In one bar the account trades at most {_percent(self.liquidity)} of the bar's volume so far, or of the "
            "bar before when that was more. What is left of an order that may rest waits; of any other it ends."
        )

    def _fees(self) -> str:
        own = [
            f"{name} {_percent(fee)}"
            for name, fee in (("taker", self.taker_fee), ("maker", self.maker_fee))
            if fee is not None
        ]
        rates = "the venue's public rates" + (f", except {' and '.join(own)}" if own else ", without discounts")
        return f"Fees are {rates}; they are taken from what is received and never rounded."


def _number(name: object, value: object) -> Decimal:
    try:
        return Decimal(str(value))
    except InvalidOperation:
        raise UsageError(f"{name} is {value!r}, which is no number; write it like 10000 or 0.001") from None


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    return f"{value:f}" if isinstance(value, Decimal) else value


def _percent(fraction: Decimal) -> str:
    return f"{(fraction * 100).normalize():f} %"
