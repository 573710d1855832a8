"""The band around its re-run in which a deployment is as good as promised."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from cashup.trading.waterfall.split import largest, share_of
from cashup.types import ZERO

BAND = Decimal("0.01")
"""The band of a deployment that names none: a fraction of its capital."""


def within(total: Decimal, capital: Decimal, band: Decimal) -> bool:
    """True when the difference `total` (quote currency) is at most `band` x `capital`, on either side.

    Without capital nothing may differ.
    """
    return abs(total) <= band * max(capital, ZERO)


def drift(
    deployment: str, total: Decimal, capital: Decimal, band: Decimal, parts: Mapping[str, Decimal], quote: str
) -> str:
    """The alarm in one sentence: how far live is from its re-run, and what most of that is."""
    name = largest(parts)
    weighs = f"; most of it is {name.replace('_', ' ')} ({parts[name]:+,.2f})" if name else ""
    return (
        f"{deployment} is {abs(total):,.2f} {quote} {'behind' if total < 0 else 'ahead of'} its backtest "
        f"({share_of(total, capital):+.2%} of the capital, the band is {band:.2%}){weighs}; "
        f"see `cashup live report {deployment}`"
    )
