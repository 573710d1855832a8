"""The checks of an order against the limits of its deployment, its account and its user.

None of them holds up an order that only leads toward zero. Sizes are cut to what still fits.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from cashup.trading.risk.decision import Objection, plain
from cashup.trading.risk.draft import Draft
from cashup.trading.risk.situation import Situation
from cashup.trading.risk.standing import Allowance, Exposure


def max_orders_per_minute(draft: Draft, situation: Situation) -> Objection | None:
    """So many orders in any 60 seconds."""
    for allowance in () if draft.reduces else situation.standing.allowances:
        most = allowance.limits.max_orders_per_minute
        if most is not None and allowance.recent >= most:
            reason = f"{allowance.name} made {allowance.recent} orders within a minute and may make {most}"
            return Objection("max_orders_per_minute", reason)
    return None


def max_open_orders(draft: Draft, situation: Situation) -> Objection | None:
    """So many orders at the same time that have not ended."""
    for allowance in () if draft.reduces else situation.standing.allowances:
        most = allowance.limits.max_open_orders
        if most is not None and allowance.open >= most:
            return Objection(
                "max_open_orders", f"{allowance.name} has {allowance.open} orders open and may have {most}"
            )
    return None


def max_order_notional(draft: Draft, situation: Situation) -> Objection | None:
    """An order adds at most so much."""
    if draft.reduces:
        return None
    allowance, most = _tightest(situation, lambda one: one.limits.max_order_notional)
    if allowance is None or draft.value <= most:
        return None
    reason = (
        f"an order of {allowance.name} may add {plain(most)} {situation.market.quote}, {plain(draft.value)} is wanted"
    )
    return Objection("max_order_notional", reason, draft.worth(most))


def max_position_notional(draft: Draft, situation: Situation) -> Objection | None:
    """A symbol is worth at most so much, what is on its way included."""

    def room(allowance: Allowance, exposure: Exposure) -> Decimal | None:
        most = allowance.limits.max_position_notional
        return None if most is None else most - exposure.reach(draft.symbol, draft.side)

    return _fitting(draft, situation, "max_position_notional", f"a position in {draft.symbol}", room)


def max_gross_exposure(draft: Draft, situation: Situation) -> Objection | None:
    """Longs and shorts together come to at most so many times the equity."""

    def room(allowance: Allowance, exposure: Exposure) -> Decimal | None:
        most = allowance.limits.max_gross_exposure
        if most is None:
            return None
        others = exposure.gross(without=draft.symbol)
        return most * exposure.equity - others - exposure.reach(draft.symbol, draft.side)

    return _fitting(draft, situation, "max_gross_exposure", "gross exposure", room)


def max_net_exposure(draft: Draft, situation: Situation) -> Objection | None:
    """Longs less shorts, or shorts less longs, come to at most so many times the equity."""

    def room(allowance: Allowance, exposure: Exposure) -> Decimal | None:
        most = allowance.limits.max_net_exposure
        return None if most is None else most * exposure.equity - exposure.net(draft.side)

    return _fitting(draft, situation, "max_net_exposure", "net exposure", room)


def _fitting(
    draft: Draft, situation: Situation, code: str, what: str, room: Callable[[Allowance, Exposure], Decimal | None]
) -> Objection | None:
    """The order cut to the least room that any allowance has for it."""
    if draft.reduces:
        return None
    allowance, most = _tightest(situation, lambda one: None if one.exposure is None else room(one, one.exposure))
    if allowance is None or draft.value <= most:
        return None
    left = f"the limit on {what} of {allowance.name} leaves room for {plain(max(most, Decimal(0)))}"
    return Objection(code, f"{left} {situation.market.quote}, {plain(draft.value)} is wanted", draft.worth(most))


def _tightest(situation: Situation, of: Callable[[Allowance], Decimal | None]) -> tuple[Allowance | None, Decimal]:
    """The allowance of which `of` is least, and that; none when none has such a limit."""
    found: tuple[Allowance | None, Decimal] = (None, Decimal(0))
    for allowance in situation.standing.allowances:
        value = of(allowance)
        if value is not None and (found[0] is None or value < found[1]):
            found = (allowance, value)
    return found
