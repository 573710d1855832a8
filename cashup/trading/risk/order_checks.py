"""The checks of one order before it is sent: what makes it smaller, and what stops it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal

from cashup.exchanges.matching import quantity_for
from cashup.trading.risk.decision import Action, Decision, Objection, percent, plain
from cashup.trading.risk.draft import Draft
from cashup.trading.risk.limit_checks import (
    max_gross_exposure,
    max_net_exposure,
    max_open_orders,
    max_order_notional,
    max_orders_per_minute,
    max_position_notional,
)
from cashup.trading.risk.situation import Situation, spendable
from cashup.trading.risk.standing import Resting, TradingState
from cashup.types import MONEY, ZERO, Market, Side

REACH = Decimal("0.01")
"""How far beyond the mark a market order is taken to eat into the book, as a ratio of it."""

OrderCheck = Callable[[Draft, Situation], Objection | None]


def trading_state(draft: Draft, situation: Situation) -> Objection | None:
    """While a halt is latched nothing is sent, or only what leads toward zero."""
    standing = situation.standing
    if standing.state is TradingState.HALTED:
        return Objection("halted", f"trading is halted: {standing.why}")
    if standing.state is TradingState.REDUCING and not draft.reduces:
        return Objection("reducing", f"only positions may be reduced: {standing.why}")
    return None


def unknown_order(draft: Draft, situation: Situation) -> Objection | None:
    """While the fate of an order is unknown, nothing is added in its symbol."""
    if draft.reduces or draft.symbol not in situation.frozen:
        return None
    return Objection("unknown_order", f"an order in {draft.symbol} is unresolved; nothing is added until it is")


def protection(draft: Draft, situation: Situation) -> Objection | None:
    """While a protection pauses the symbol, or all of them, nothing is added."""
    if draft.reduces:
        return None
    locks = (lock for lock in situation.standing.locks if lock.symbol in (None, draft.symbol))
    last = max(locks, key=lambda lock: lock.until, default=None)
    return None if last is None else Objection(last.code, last.reason)


def stale_data(draft: Draft, situation: Situation) -> Objection | None:
    """Nothing is added on a price that is too old."""
    quoted = situation.standing.quoted.get(draft.symbol)
    if draft.reduces or quoted is None or quoted.age is None:
        return None
    for allowance in situation.standing.allowances:
        if allowance.stale_after is not None and quoted.age > allowance.stale_after:
            reason = (
                f"the price of {draft.symbol} is {quoted.age / 1000:.1f} s old, "
                f"{allowance.name} trades on {allowance.stale_after / 1000:.0f} s at most"
            )
            return Objection("stale_data", reason)
    return None


def price_collar(draft: Draft, situation: Situation) -> Objection | None:
    """A limit price is not worse than the mark by more than the collar; nothing is added on a mark that jumped."""
    quoted = situation.standing.quoted.get(draft.symbol)
    for allowance in situation.standing.allowances:
        most = allowance.limits.price_collar
        if most is None:
            continue
        if draft.price is not None and (far := _worse(draft.side, draft.price, draft.mark)) > most:
            what = f"the price {plain(draft.price)} is {percent(far)} worse than the market's {plain(draft.mark)}"
            return Objection("price_collar", f"{what}, {allowance.name} allows {percent(most)}")
        if draft.reduces or quoted is None or not quoted.close:
            continue
        jump = abs(MONEY.divide(draft.mark, quoted.close) - 1)
        if jump > most:
            what = f"the price of {draft.symbol} went from {plain(quoted.close)} to {plain(draft.mark)}"
            return Objection("price_collar", f"{what}, {allowance.name} trusts a step of {percent(most)}")
    return None


def self_trade(draft: Draft, situation: Situation) -> Objection | None:
    """An order does not match one of the same account that rests on the other side."""
    for other in situation.standing.resting.get(draft.symbol, ()):
        if other.side is not draft.side and _meets(draft, other):
            at = "at the market" if other.price is None else f"at {plain(other.price)}"
            reason = f"it would match a {other.side} of the same account that rests {at}; cancel that first"
            return Objection("self_trade", reason)
    return None


def insufficient_cash(draft: Draft, situation: Situation) -> Objection | None:
    """A buy is limited by the cash that is there, less the fee where the venue takes it on top."""
    if draft.reduces or draft.side is Side.SELL or situation.margin is not None:
        return None
    affordable = spendable(situation.market, situation.cash)
    if draft.value <= affordable:
        return None
    reason = f"{plain(draft.value)} {situation.market.quote} are wanted, the cash pays for {plain(affordable)}"
    return Objection("insufficient_cash", reason, draft.worth(affordable))


def insufficient_margin(draft: Draft, situation: Situation) -> Objection | None:
    """What adds to a position on margin keeps the gross exposure within leverage x equity."""
    if not draft.adds or situation.margin is None:
        return None
    room = situation.margin.room(situation.market, draft.side)
    if draft.value <= room:
        return None
    reason = f"{plain(draft.value)} {situation.market.quote} are wanted, the margin allows {plain(room)}"
    fitting = replace(draft, quantity=+MONEY.divide(room, draft.mark)) if room > 0 else None
    return Objection("insufficient_margin", reason, fitting)


def insufficient_position(draft: Draft, situation: Situation) -> Objection | None:
    """A sell on a spot account is limited by what is held and free."""
    wanted, held = draft.quantity or ZERO, situation.held
    if draft.side is Side.BUY or situation.margin is not None or held is None or wanted <= held:
        return None
    reason = f"{plain(wanted)} {situation.market.base} are to be sold, {plain(held)} are held and free"
    return Objection("insufficient_position", reason, replace(draft, quantity=held) if held > 0 else None)


def below_minimum(draft: Draft, situation: Situation) -> Objection | None:
    """After cutting to the venue's steps the order must reach its minimums."""
    market = situation.market
    quantity = draft.quantity if draft.cost is None else quantity_for(market, draft.cost, draft.mark)
    if quantity and quantity >= market.min_quantity and draft.value >= market.min_cost:
        return None
    what = f"{plain(quantity or ZERO)} {market.base} for {plain(draft.value)} {market.quote}"
    least = f"{market.min_quantity} {market.base} and {market.min_cost} {market.quote}"
    return Objection("below_minimum", f"{what} is less than the venue takes ({least})")


ORDER_CHECKS: Sequence[OrderCheck] = (
    trading_state,
    unknown_order,
    protection,
    stale_data,
    price_collar,
    self_trade,
    max_orders_per_minute,
    max_open_orders,
    max_order_notional,
    max_position_notional,
    max_gross_exposure,
    max_net_exposure,
    insufficient_cash,
    insufficient_margin,
    insufficient_position,
)
"""What makes an order smaller or stops it, in this order. Then it is cut to the venue's steps."""

PASSING = frozenset(
    {
        *("halted", "reducing", "unknown_order", "stale_data", "price_collar", "self_trade"),
        *("max_orders_per_minute", "max_open_orders"),
        *("cooldown_period", "stoploss_guard", "max_drawdown_guard", "low_profit_pairs"),
    }
)
"""The codes of causes that pass by themselves: what they denied is wanted again at the next bar."""

FINAL_CHECKS: Sequence[OrderCheck] = (below_minimum,)
"""What the order must pass as it would be sent."""


def check_order(draft: Draft, situation: Situation) -> tuple[Draft | None, list[Decision]]:
    """The order that may be sent (cut to the venue's steps) or None, and every decision on the way."""
    decisions: list[Decision] = []
    allowed = _run(ORDER_CHECKS, draft, situation, decisions)
    if allowed is not None:
        allowed = _run(FINAL_CHECKS, allowed.on_grid(situation.market), situation, decisions)
    if allowed is not None and not decisions:
        decisions.append(Decision(draft.symbol, Action.ALLOW, "allowed", _sentence(allowed, situation.market)))
    return allowed, decisions


def _run(checks: Sequence[OrderCheck], draft: Draft, situation: Situation, decisions: list[Decision]) -> Draft | None:
    """`draft` as the checks leave it; what they object is appended to `decisions`."""
    for check in checks:
        objection = check(draft, situation)
        if objection is None:
            continue
        action = Action.DENY if objection.draft is None else Action.SHRINK
        decisions.append(Decision(draft.symbol, action, objection.code, objection.reason))
        if objection.draft is None:
            return None
        draft = objection.draft
    return draft


def _worse(side: Side, price: Decimal, mark: Decimal) -> Decimal:
    """By what ratio a limit price gives away more than the mark; below zero when it asks for a better one."""
    ratio = MONEY.divide(price, mark) - 1
    return ratio if side is Side.BUY else -ratio


def _meets(draft: Draft, other: Resting) -> bool:
    """True when `draft` would take from `other`. A market order is taken to reach a little beyond the mark."""
    if other.price is None:
        return True
    if draft.side is Side.BUY:
        return (draft.price if draft.price is not None else draft.mark * (1 + REACH)) >= other.price
    return (draft.price if draft.price is not None else draft.mark * (1 - REACH)) <= other.price


def _sentence(draft: Draft, market: Market) -> str:
    """What an allowed order does, for people."""
    aim = f"to reach target {draft.target}" if draft.price is None else f"at {plain(draft.price)}"
    if draft.cost is not None:
        return f"buys for {plain(draft.cost)} {market.quote} {aim}"
    return f"{draft.side}s {plain(draft.quantity or ZERO)} {market.base} {aim}"
