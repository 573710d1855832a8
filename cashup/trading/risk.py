"""Risk: ordered lists of small checks. Each one allows, shrinks or denies, with a machine code and a sentence.

Target checks see what a strategy asks for, order checks see one drafted order at a time, in the order in which they
will be sent. A check that has nothing against the order returns None.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import StrEnum

from cashup.exchanges.matching import DOWN, quantity_for
from cashup.strategies.symbols import is_contract
from cashup.types import (
    MONEY,
    FeeIn,
    Market,
    Millis,
    OrderRequest,
    OrderType,
    Side,
    Symbol,
    TimeInForce,
)


class Action(StrEnum):
    """What a check decides."""

    ALLOW = "allow"
    SHRINK = "shrink"
    DENY = "deny"


@dataclass(frozen=True, slots=True)
class Decision:
    """One risk decision on one symbol: `code` for machines, `reason` for people."""

    symbol: Symbol
    action: Action
    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Limits:
    """A deployment's limits. None means that there is none."""

    max_order_cost: Decimal | None = None
    """The most that one order may add to a position, in quote currency. Selling is never held up by it."""


NO_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Draft:
    """An order before it has an id: a market sell in base currency or a market buy in quote currency.

    `mark` is the price it was sized at, `target` the exposure it leads to, `desired` the change in value it was meant
    to make (quote currency, negative for a sell). `adds`: it adds to a position on margin, and is in base currency on
    both sides.
    """

    symbol: Symbol
    side: Side
    mark: Decimal
    target: Decimal
    desired: Decimal
    quantity: Decimal | None = None
    cost: Decimal | None = None
    adds: bool = False

    @property
    def value(self) -> Decimal:
        """What the order moves at its mark, in quote currency."""
        return self.cost if self.cost is not None else (self.quantity or Decimal(0)) * self.mark

    def request(self, client_order_id: str, expires_at: Millis | None = None) -> OrderRequest:
        """The order as it goes to a venue."""
        return OrderRequest(
            client_order_id=client_order_id,
            symbol=self.symbol,
            side=self.side,
            type=OrderType.MARKET,
            quantity=self.quantity,
            cost=self.cost,
            time_in_force=TimeInForce.IOC,
            expires_at=expires_at,
        )


@dataclass(frozen=True, slots=True)
class Margin:
    """An account that may hold `leverage` times its equity, longs and shorts together (`gross`, positive), at marks.

    `slippage` is what a market order is expected to pay on top, as a ratio.
    """

    equity: Decimal
    gross: Decimal
    leverage: Decimal
    slippage: Decimal = Decimal(0)

    def room(self, market: Market, side: Side) -> Decimal:
        """The largest value v, at the mark, that may be added: gross + v <= leverage x (equity - v x what it costs)."""
        left = self.leverage * self.equity - self.gross
        return MONEY.divide(max(left, Decimal(0)), 1 + self.leverage * self._cost(market, side))

    def after(self, market: Market, draft: Draft) -> Margin:
        """What is left when `draft` is filled."""
        if not draft.adds:
            return self
        paid = draft.value * self._cost(market, draft.side)
        return replace(self, equity=self.equity - paid, gross=self.gross + draft.value)

    def _cost(self, market: Market, side: Side) -> Decimal:
        worse = 1 + self.slippage if side is Side.BUY else 1 - self.slippage
        return self.slippage + worse * market.taker_fee


@dataclass(frozen=True, slots=True)
class Situation:
    """What the order checks may look at. `cash` is what is still free, `frozen` holds symbols with an UNKNOWN order.

    With a `margin` that limits what adds to a position, in place of the cash.
    """

    market: Market
    cash: Decimal
    limits: Limits = NO_LIMITS
    frozen: frozenset[Symbol] = frozenset()
    margin: Margin | None = None


@dataclass(frozen=True, slots=True)
class Objection:
    """What a check has against a draft: `draft` is the smaller order that it would allow, None when there is none."""

    code: str
    reason: str
    draft: Draft | None = None


OrderCheck = Callable[[Draft, Situation], Objection | None]


def unknown_order(draft: Draft, situation: Situation) -> Objection | None:
    """While the fate of an order is unknown, nothing is added in its symbol."""
    if (draft.side is Side.SELL and not draft.adds) or draft.symbol not in situation.frozen:
        return None
    return Objection("unknown_order", f"an order in {draft.symbol} is unresolved; nothing is added until it is")


def max_order_cost(draft: Draft, situation: Situation) -> Objection | None:
    """A buy costs at most the deployment's limit."""
    limit = situation.limits.max_order_cost
    if draft.cost is None or limit is None or draft.cost <= limit:
        return None
    reason = f"an order may cost {limit} {situation.market.quote} at most, {_text(draft.cost)} were asked for"
    return Objection("max_order_cost", reason, replace(draft, cost=limit))


def insufficient_cash(draft: Draft, situation: Situation) -> Objection | None:
    """A buy is limited by the cash that is there, less the fee where the venue takes it on top."""
    if draft.cost is None:
        return None
    affordable = spendable(situation.market, situation.cash)
    if draft.cost <= affordable:
        return None
    reason = f"{_text(draft.cost)} {situation.market.quote} are wanted, the cash pays for {_text(affordable)}"
    return Objection("insufficient_cash", reason, replace(draft, cost=affordable) if affordable > 0 else None)


def insufficient_margin(draft: Draft, situation: Situation) -> Objection | None:
    """What adds to a position on margin keeps the gross exposure within leverage x equity."""
    if not draft.adds or situation.margin is None:
        return None
    room = situation.margin.room(situation.market, draft.side)
    if draft.value <= room:
        return None
    reason = f"{_text(draft.value)} {situation.market.quote} are wanted, the margin allows {_text(room)}"
    fitting = replace(draft, quantity=+MONEY.divide(room, draft.mark)) if room > 0 else None
    return Objection("insufficient_margin", reason, fitting)


def below_minimum(draft: Draft, situation: Situation) -> Objection | None:
    """After cutting to the venue's steps the order must reach its minimums."""
    market = situation.market
    quantity = draft.quantity if draft.cost is None else quantity_for(market, draft.cost, draft.mark)
    if quantity and quantity >= market.min_quantity and draft.value >= market.min_cost:
        return None
    what = f"{_text(quantity or Decimal(0))} {market.base} for {_text(draft.value)} {market.quote}"
    least = f"{market.min_quantity} {market.base} and {market.min_cost} {market.quote}"
    return Objection("below_minimum", f"{what} is less than the venue takes ({least})")


ORDER_CHECKS: Sequence[OrderCheck] = (unknown_order, max_order_cost, insufficient_cash, insufficient_margin)
"""What makes an order smaller or stops it, in this order. Then it is cut to the venue's steps."""

FINAL_CHECKS: Sequence[OrderCheck] = (below_minimum,)
"""What the order must pass as it would be sent."""


def check_order(draft: Draft, situation: Situation) -> tuple[Draft | None, list[Decision]]:
    """The order that may be sent (cut to the venue's steps) or None, and every decision on the way."""
    decisions: list[Decision] = []
    allowed = _run(ORDER_CHECKS, draft, situation, decisions)
    if allowed is not None:
        allowed = _run(FINAL_CHECKS, _on_grid(allowed, situation.market), situation, decisions)
    if allowed is not None and not decisions:
        decisions.append(Decision(draft.symbol, Action.ALLOW, "allowed", _sentence(allowed, situation.market)))
    return allowed, decisions


def check_targets(
    targets: Mapping[Symbol, Decimal],
    wanted: Mapping[Symbol, Decimal],
    marks: Mapping[Symbol, Decimal],
    *,
    leverage: Decimal | None = None,
) -> tuple[dict[Symbol, Decimal], list[Decision]]:
    """Of the targets that changed (`wanted`), those that may be followed; `targets` is what all symbols would aim at.

    A spot account (`leverage` None) cannot be short, so a negative target is denied and the previous one stays; with a
    leverage that is so for spot symbols. Targets that sum to more than 1, or the leverage, are followed as far as the
    cash or the margin goes, smallest purchase first.
    """
    allowed: dict[Symbol, Decimal] = {}
    decisions: list[Decision] = []
    for symbol, target in wanted.items():
        if target < 0 and (leverage is None or not is_contract(symbol)):
            reason = f"a spot account cannot be short: the target {target} is not followed"
            decisions.append(Decision(symbol, Action.DENY, "negative_target", reason))
        elif not marks.get(symbol):
            reason = f"there is no price for {symbol}; nothing can be sized"
            decisions.append(Decision(symbol, Action.DENY, "price_missing", reason))
        else:
            allowed[symbol] = target
    total = sum((abs(target) for target in targets.values() if target > 0 or leverage is not None), Decimal(0))
    if leverage is not None and total > leverage:
        reason = f"the targets sum to {total} of {leverage}; they are followed as far as the margin goes"
        decisions.extend(Decision(s, Action.SHRINK, "targets_above_leverage", reason) for s, t in allowed.items() if t)
    elif leverage is None and total > 1:
        reason = f"the targets sum to {total}; without leverage they are followed as far as the cash goes"
        decisions.extend(Decision(s, Action.SHRINK, "targets_above_one", reason) for s, t in allowed.items() if t > 0)
    return allowed, decisions


def spendable(market: Market, cash: Decimal) -> Decimal:
    """The most that a market buy may cost so that cost and fee are covered by `cash`."""
    if cash <= 0:
        return Decimal(0)
    return DOWN.divide(cash, 1 + market.taker_fee) if market.fee_in is FeeIn.QUOTE else cash


def reserved(market: Market, draft: Draft) -> Decimal:
    """The cash that a buy may take at most, fee included; 0 for a sell."""
    if draft.cost is None:
        return Decimal(0)
    return draft.cost * (1 + market.taker_fee) if market.fee_in is FeeIn.QUOTE else draft.cost


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


def _on_grid(draft: Draft, market: Market) -> Draft:
    """`draft` cut to what the venue can express."""
    if draft.cost is not None:
        return replace(draft, cost=market.round_cost(draft.cost))
    return replace(draft, quantity=market.round_quantity(draft.quantity or Decimal(0)))


def _sentence(draft: Draft, market: Market) -> str:
    """What an allowed order does, for people."""
    if draft.cost is not None:
        return f"buys for {_text(draft.cost)} {market.quote} to reach target {draft.target}"
    return f"{draft.side}s {_text(draft.quantity or Decimal(0))} {market.base} to reach target {draft.target}"


def _text(amount: Decimal) -> str:
    """An amount for people: at most ten significant digits, never an exponent."""
    return f"{MONEY.create_decimal(f'{amount:.10g}'):f}"
