"""An order with what surrounds it: whose it is, what is reserved for it, and how it lies in the database."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from cashup.orders.state import Order, Terms
from cashup.types import (
    MONEY,
    ZERO,
    FeeIn,
    Market,
    Millis,
    OrderRequest,
    OrderState,
    OrderType,
    Side,
    Symbol,
    TimeInForce,
)


@dataclass(slots=True)
class Record:
    """One order of a deployment. `reserved` is what the order still holds of `reserved_asset`.

    It `reduces` when all that it can do is lead a position toward zero, and `flattens` when an operator had it made for
    that; no halt holds it back then.
    """

    order: Order
    account: str
    deployment: str
    intent: str
    bar: Millis | None
    reserved_asset: str
    reserved: Decimal
    limits: Mapping[str, Any]
    created_at: Millis
    updated_at: Millis
    reduces: bool = False
    flattens: bool = False
    claimed_at: Millis | None = None
    send_before: Millis | None = None
    amend_before: Millis | None = None
    evidence: Any = None

    @property
    def id(self) -> str:
        """The client order id."""
        return self.order.client_order_id

    @property
    def state(self) -> OrderState:
        """The order's state."""
        return self.order.state

    @property
    def name_at_venue(self) -> str:
        """What the venue is asked by: its own id, as soon as it is known, which it remembers longer than ours."""
        return self.order.exchange_order_id or self.id

    @property
    def explicit(self) -> bool:
        """True for an order that was asked for as such, not made to reach a target."""
        return self.bar is None

    @property
    def amendment_waits(self) -> bool:
        """True while the order shall be amended and the request is not claimed."""
        return self.order.amending is not None and self.amend_before is None

    def request(self, client_order_id: str | None = None, expires_at: Millis | None = None) -> OrderRequest:
        """The order as it goes to the venue, or the same again under another id."""
        order = self.order
        return OrderRequest(
            client_order_id=client_order_id or order.client_order_id,
            symbol=order.symbol,
            side=order.side,
            type=order.type,
            quantity=order.quantity,
            cost=order.cost,
            price=order.price,
            time_in_force=order.time_in_force,
            expires_at=expires_at,
        )

    def new_row(self) -> dict[str, Any]:
        """The row that `ADD_ORDERS` writes."""
        order = self.order
        return {
            **self.changed_row(),
            "account": self.account,
            "deployment": self.deployment,
            "intent": self.intent,
            "bar": self.bar,
            "origin": "cashup",
            "symbol": order.symbol,
            "side": order.side.value,
            "type": order.type.value,
            "cost": order.cost,
            "time_in_force": order.time_in_force.value,
            "reduces": self.reduces,
            "flattens": self.flattens,
            "reserved_asset": self.reserved_asset,
            "limits": self.limits,
            "created_at": self.created_at,
        }

    def changed_row(self) -> dict[str, Any]:
        """The row that `CHANGE_ORDERS` writes."""
        order = self.order
        return {
            "client_order_id": order.client_order_id,
            "quantity": order.quantity,
            "price": order.price,
            "cancelling": order.cancelling,
            "amending": None if order.amending is None else _terms_row(order.amending),
            "amend_before": self.amend_before,
            "terms_at": order.terms_at,
            "state": order.state.value,
            "exchange_order_id": order.exchange_order_id,
            "traded": order.traded,
            "spent": order.spent,
            "reported": order.reported,
            "fees": order.fees,
            "reason": order.reason,
            "reserved": self.reserved,
            "evidence": self.evidence,
            "updated_at": self.updated_at,
        }


def view(row: Mapping[str, Any]) -> dict[str, Any]:
    """An order's row as the API and events show it; money stays `Decimal` and leaves as text."""
    traded = row["traded"]
    return {
        "client_order_id": row["client_order_id"],
        "exchange_order_id": row["exchange_order_id"],
        "account": row["account"],
        "deployment": row["deployment"],
        "intent": row["intent"],
        "bar": row["bar"],
        "origin": row["origin"],
        "symbol": row["symbol"],
        "side": row["side"],
        "type": row["type"],
        "quantity": row["quantity"],
        "cost": row["cost"],
        "price": row["price"],
        "time_in_force": row["time_in_force"],
        "state": row["state"],
        "cancelling": row.get("cancelling", False),
        "amending": row.get("amending"),
        "filled": max(traded, row["reported"]),
        "average_price": MONEY.divide(row["spent"], traded) if traded else None,
        "spent": row["spent"],
        "fees": row["fees"],
        "reserved": row["reserved"],
        "reason": row["reason"],
        "created_at": row["created_at"],
        "updated_at": row["updated_at"],
    }


def reservation(market: Market, request: OrderRequest) -> tuple[str, Decimal]:
    """The asset and the amount that the order may take at most: base for a sell, quote (fee included) for a buy."""
    if request.side is Side.SELL:
        return market.base, request.quantity or ZERO
    if request.cost is not None:
        return market.quote, request.cost * (1 + _fee(market, request.type))
    return market.quote, buying(market, request.quantity or ZERO, request.price or ZERO)


def remaining(market: Market, order: Order) -> Decimal:
    """What an order in quantity may still take of the asset it pays with; with an amendment the larger of both."""
    terms = [Terms(order.quantity or ZERO, order.price or ZERO)]
    terms += [order.amending] if order.amending is not None else []
    left = [(max(t.quantity - order.traded, ZERO), t.price) for t in terms]
    if order.side is Side.SELL:
        return max(quantity for quantity, _ in left)
    return max(buying(market, quantity, price) for quantity, price in left)


def buying(market: Market, quantity: Decimal, price: Decimal) -> Decimal:
    """What a limit order to buy takes at most, fee included."""
    return quantity * price * (1 + _fee(market, OrderType.LIMIT))


def _fee(market: Market, kind: OrderType) -> Decimal:
    """The fee that a buy pays on top, as a ratio. A limit order may be made or taken."""
    if market.fee_in is not FeeIn.QUOTE:
        return ZERO
    return max(market.taker_fee, market.maker_fee) if kind is OrderType.LIMIT else market.taker_fee


def read_order(row: Mapping[str, Any], trade_ids: Iterable[str]) -> Order:
    """The order of a row of `orders`, with the ids of its fills."""
    return Order(
        client_order_id=row["client_order_id"],
        symbol=Symbol(row["symbol"]),
        side=Side(row["side"]),
        type=OrderType(row["type"]),
        quantity=row["quantity"],
        cost=row["cost"],
        price=row["price"],
        time_in_force=TimeInForce(row["time_in_force"]),
        state=OrderState(row["state"]),
        exchange_order_id=row["exchange_order_id"],
        traded=row["traded"],
        spent=row["spent"],
        reported=row["reported"],
        fees={currency: Decimal(fee) for currency, fee in row["fees"].items()},
        trade_ids=frozenset(trade_ids),
        reason=row["reason"],
        updated_at=row["updated_at"],
        cancelling=row["cancelling"],
        amending=None if row["amending"] is None else _read_terms(row["amending"]),
        terms_at=row["terms_at"],
    )


def read(row: Mapping[str, Any], trade_ids: Iterable[str]) -> Record:
    """The record of a row of `orders`, with the ids of its fills."""
    return Record(
        order=read_order(row, trade_ids),
        account=row["account"],
        deployment=row["deployment"],
        intent=row["intent"],
        bar=row["bar"],
        reserved_asset=row["reserved_asset"],
        reserved=row["reserved"],
        limits=row["limits"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        reduces=row["reduces"],
        flattens=row["flattens"],
        claimed_at=row["claimed_at"],
        send_before=row["send_before"],
        amend_before=row["amend_before"],
        evidence=row["evidence"],
    )


def _terms_row(terms: Terms) -> dict[str, str]:
    return {"quantity": f"{terms.quantity:f}", "price": f"{terms.price:f}"}


def _read_terms(row: Mapping[str, str]) -> Terms:
    return Terms(Decimal(row["quantity"]), Decimal(row["price"]))
