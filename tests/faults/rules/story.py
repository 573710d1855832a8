"""The story of an account's orders, told over again from their history: what was held and on its way at each moment."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from tests.faults.rules.look import ENDED, Look

ZERO = Decimal(0)
Terms = tuple[Decimal, Decimal]
"""The whole quantity in base currency, and the limit price."""


@dataclass(slots=True, eq=False)
class Made:
    """An order as it stood at a moment.

    `cost` is that of a market buy, `terms` of any other all that it ever had or was asked to have, the newest last.
    `limits` are those that held for it, by scope; `marks` the prices it was sized at.
    """

    name: str
    deployment: str
    step: tuple[Any, ...]
    symbol: str
    side: str
    at: int
    cost: Decimal | None
    terms: list[Terms]
    limits: Mapping[str, Mapping[str, Any]]
    marks: Mapping[str, Decimal]
    state: str = "pending_send"
    traded: Decimal = ZERO
    spent: Decimal = ZERO

    @property
    def value(self) -> Decimal:
        """What it may still move by its newest terms, in quote currency."""
        if self.cost is not None:
            return self.cost - self.spent
        quantity, price = self.terms[-1]
        return (quantity - self.traded) * price

    @property
    def left(self) -> Decimal:
        """What it may still buy for at least. One whose fate is unknown is fully open, and so is what is said to have
        been filled and is not booked."""
        if self.side != "buy" or (self.state in ENDED and (self.state != "filled" or self.cost is not None)):
            return ZERO
        if self.cost is not None:
            return max(self.cost - self.spent, ZERO)
        return max(min((quantity - self.traded) * price for quantity, price in self.terms), ZERO)


@dataclass(slots=True)
class Story:
    """What there is at one moment: the orders that were made, what deployments hold of each symbol, and their money."""

    made: list[Made] = field(default_factory=list)
    held: dict[tuple[str, str], Decimal] = field(default_factory=dict)
    cash: dict[str, Decimal] = field(default_factory=dict)

    def among(self, scope: str, order: Made) -> list[Made]:
        """The other orders that a limit of this scope counts with the order: `deployment` or `account`."""
        return [one for one in self.made if one is not order and _counts(scope, one.deployment, order)]

    def buys(self, scope: str, order: Made) -> dict[str, Decimal]:
        """What those others may still buy for, by symbol."""
        found: dict[str, Decimal] = {}
        for one in self.among(scope, order):
            found[one.symbol] = found.get(one.symbol, ZERO) + one.left
        return found

    def holdings(self, scope: str, order: Made) -> dict[str, Decimal]:
        """What is held in base currency by those that the limit counts together, by symbol."""
        found: dict[str, Decimal] = {}
        for (name, symbol), quantity in self.held.items():
            if _counts(scope, name, order):
                found[symbol] = found.get(symbol, ZERO) + quantity
        return found

    def money(self, scope: str, order: Made) -> Decimal:
        """The quote currency that they have, free or not."""
        return sum((cash for name, cash in self.cash.items() if _counts(scope, name, order)), ZERO)

    def trade(self, order: Made, detail: Mapping[str, Any]) -> None:
        """A trade of the order is booked."""
        sign = 1 if order.side == "buy" else -1
        quantity, fee = Decimal(detail["quantity"]), Decimal(detail["fee"])
        value = quantity * Decimal(detail["price"])
        base, _, quote = order.symbol.partition("/")
        order.traded, order.spent = order.traded + quantity, order.spent + value
        name = (order.deployment, order.symbol)
        in_base, in_quote = (fee if detail["fee_currency"] == asset else ZERO for asset in (base, quote))
        self.held[name] = self.held.get(name, ZERO) + sign * quantity - in_base
        self.cash[order.deployment] = self.cash.get(order.deployment, ZERO) - sign * value - in_quote


def _counts(scope: str, deployment: str, order: Made) -> bool:
    return scope == "account" or deployment == order.deployment


Check = Callable[[Story, Made], Iterator[str]]
"""What there is to say of an order at the moment at which risk has let it pass, if anything."""


async def told(look: Look, check: Check) -> list[str]:
    """What `check` says of every buy at the moment at which it is made, or asked to be amended.

    A buy in place of one of which it is proven that it was never placed is left out: risk has let that one pass.
    """
    orders = {order.name: order for order in await _orders(look)}
    if not any(order.limits for order in orders.values()):
        return []
    story = Story(cash=dict(tuple(row) for row in await look.rows(_CAPITAL)))
    said: list[str] = []
    for name, event, state, detail in await look.rows(_HISTORY):
        order = orders.get(name)
        if order is None:
            continue  # a test has written it down by itself
        order.state = state
        if event == "created":
            again = any(one.step == order.step and one.state in _UNPLACED for one in story.made)
            said += check(story, order) if order.side == "buy" and not again else []
            story.made.append(order)
        elif event == "amend_requested":
            order.terms.append((Decimal(detail["terms"]["quantity"]), Decimal(detail["terms"]["price"])))
            said += check(story, order) if order.side == "buy" else []
        elif event == "traded":
            story.trade(order, detail)
    return said[:5]


_UNPLACED = ("not_placed", "rejected_local")
_CAPITAL = "SELECT deployment, capital FROM books WHERE account = :account"
_HISTORY = """
    SELECT e.client_order_id, e.event, e.to_state, e.detail FROM order_events e JOIN orders o USING (client_order_id)
    WHERE e.account = :account AND o.origin = 'cashup' ORDER BY e.id
    """
_ORDERS = """
    SELECT o.client_order_id, o.deployment, o.intent, o.symbol, o.side, o.created_at, o.cost,
        coalesce((first.data ->> 'quantity')::numeric, 0), coalesce((first.data ->> 'price')::numeric, 0),
        o.limits, a.limits, u.limits, i.plan -> 'marks'
    FROM orders o JOIN deployments d ON d.name = o.deployment
    JOIN intents i ON i.deployment = o.deployment AND i.key = o.intent
    JOIN (SELECT DISTINCT ON (data ->> 'client_order_id') data FROM outbox WHERE kind = 'order_changed'
          ORDER BY data ->> 'client_order_id', seq) first ON first.data ->> 'client_order_id' = o.client_order_id
    LEFT JOIN risk_limits a ON a.scope = 'account' AND a.name = o.account AND a.updated_at + :refreshed < o.created_at
    LEFT JOIN risk_limits u ON u.scope = 'user' AND u.name = d.owner AND u.updated_at + :refreshed < o.created_at
    WHERE o.account = :account AND o.origin = 'cashup'
    """
REFRESHED = 5_000
"""How long after a limit was set, or a loss was written down, everybody knows of it (ms)."""


async def _orders(look: Look) -> list[Made]:
    found = []
    for row in await look.rows(_ORDERS, refreshed=REFRESHED):
        name, deployment, intent, symbol, side, at, cost, quantity, price, *limits, marks = row
        scopes = {scope: row for scope, row in zip(("deployment", "account", "user"), limits, strict=True) if row}
        known = {symbol: Decimal(mark) for symbol, mark in (marks or {}).items()}
        step = (deployment, intent, symbol, side)
        found.append(Made(name, deployment, step, symbol, side, at, cost, [(quantity, price)], scopes, known))
    return found
