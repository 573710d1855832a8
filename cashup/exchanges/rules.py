"""Market rules: the steps, minimums and fees that replay, paper accounts and the simulator share.

`ideal_market` is the venue of research: no steps, the fee on top in quote currency. `gate_market` is Gate's spot
venue as the simulator plays it: fees in the currency received, market buys in quote on the price's tick (that is how
ccxt cuts them). Known pairs have fixed steps; for any other pair they follow from the decimals of its prices, which
must then be the whole series that the lake holds, so that everyone derives the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from cashup.errors import UsageError
from cashup.types import FeeIn, Market, Symbol

GATE_FEE = Decimal("0.001")
GATE_MIN_COST = Decimal(3)
_GATE_STEPS = {
    "BTC/USDT": (Decimal("0.1"), Decimal("0.00001")),
    "ETH/USDT": (Decimal("0.01"), Decimal("0.0001")),
    "XRP/USDT": (Decimal("0.0001"), Decimal("0.01")),
}
"""tick and lot of the pairs that are known."""

_IDEAL_COST_STEP = Decimal("1e-12")
_IDEAL_MIN_QUANTITY = Decimal("1e-12")
_IDEAL_MIN_COST = Decimal("1e-9")
"""Where float64 stops telling an amount from nothing: the vectorbt backtest drops the same dust."""


def currencies(symbol: str) -> tuple[str, str]:
    """(base, quote) of a ccxt unified symbol; raises UsageError for anything else."""
    base, slash, rest = symbol.partition("/")
    quote = rest.partition(":")[0]
    if not base or not slash or not quote:
        raise UsageError(f"{symbol!r} is not a symbol; write it like BTC/USDT")
    return base, quote


def ideal_market(symbol: str, fee: Decimal, *, maker_fee: Decimal | None = None) -> Market:
    """A venue without steps that takes `fee` (a fraction) in quote currency, on top of the cost.

    `maker_fee` is that of orders which rested (default: the same).
    """
    base, quote = currencies(symbol)
    return Market(
        symbol=Symbol(symbol),
        base=base,
        quote=quote,
        cost_step=_IDEAL_COST_STEP,
        min_quantity=_IDEAL_MIN_QUANTITY,
        min_cost=_IDEAL_MIN_COST,
        taker_fee=fee,
        maker_fee=fee if maker_fee is None else maker_fee,
        fee_in=FeeIn.QUOTE,
    )


def gate_market(
    symbol: str, prices: Iterable[float] = (), *, fee: Decimal = GATE_FEE, maker_fee: Decimal | None = None
) -> Market:
    """Gate's spot rules for `symbol`; `prices` (all closes in the lake) only matter for pairs that are not known.

    A perpetual has the steps of its spot pair, and its fee is taken in quote currency.
    """
    base, quote = currencies(symbol)
    tick, lot = _GATE_STEPS.get(symbol.partition(":")[0]) or _derived_steps(symbol, prices)
    return Market(
        symbol=Symbol(symbol),
        base=base,
        quote=quote,
        tick=tick,
        lot=lot,
        cost_step=tick,
        min_quantity=lot,
        min_cost=GATE_MIN_COST,
        taker_fee=fee,
        maker_fee=fee if maker_fee is None else maker_fee,
        fee_in=FeeIn.QUOTE if ":" in symbol else FeeIn.RECEIVED,
    )


def _derived_steps(symbol: str, prices: Iterable[float]) -> tuple[Decimal, Decimal]:
    """A tick on which every price lies, and a lot that is worth about one quote unit or less at the highest price."""
    exact = [Decimal(repr(float(price))).normalize() for price in prices]
    if not exact:
        raise UsageError(f"the venue's steps for {symbol} are not known; give its prices to derive them from")
    exponents = [price.as_tuple().exponent for price in exact]
    finest = min(0, *(exponent for exponent in exponents if isinstance(exponent, int)))
    lot_exponent = min(0, -max(exact).adjusted())
    return Decimal(1).scaleb(finest), Decimal(1).scaleb(lot_exponent)
