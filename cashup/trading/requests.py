"""Requests about single orders as they arrive: place one, cancel one, amend one. Each has a key and a body.

Amounts are texts of plain digits, so that nothing is rounded on the way: no floats, no exponents.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Any, ClassVar, TypeVar

from cashup.errors import UsageError
from cashup.storage.database import dump_json
from cashup.types import ZERO, Market, Millis, OrderType, Side, Symbol, TimeInForce

FLATTEN = "flatten:"
"""How the keys of intents begin that an operator's flatten made; nobody else may use it."""

AMEND_WITHIN: Millis = 10_000
"""How long after its arrival an amendment may still be sent."""

LONGEST_KEY = 64
_LONGEST_ID = 64
_MOST_DIGITS = 34
_PLAIN = re.compile(r"[0-9]+(\.[0-9]+)?")

W = TypeVar("W", bound=StrEnum)


class IntentKind(StrEnum):
    """What an intent asks for: exposures at a bar's close, or something about a single order."""

    TARGET = "target"
    ORDER = "order"
    CANCEL = "cancel"
    AMEND = "amend"


@dataclass(frozen=True, slots=True)
class Place:
    """An explicit order: a market buy in `cost` (quote currency), anything else in `quantity` (base currency)."""

    kind: ClassVar[IntentKind] = IntentKind.ORDER

    key: str
    symbol: Symbol
    side: Side
    type: OrderType
    time_in_force: TimeInForce
    quantity: Decimal | None = None
    cost: Decimal | None = None
    price: Decimal | None = None

    def body(self) -> dict[str, Any]:
        """The request as it is stored."""
        return {
            "symbol": self.symbol,
            "side": self.side.value,
            "type": self.type.value,
            "time_in_force": self.time_in_force.value,
            "quantity": _text(self.quantity),
            "cost": _text(self.cost),
            "price": _text(self.price),
        }

    def check(self, market: Market) -> None:
        """Raise UsageError for an amount that `market` cannot express."""
        if market.contract:
            raise UsageError(f"{self.symbol} is a contract, which is not traded live yet")
        _check_step(self.quantity, market.lot, f"the quantity of {self.symbol}")
        _check_step(self.price, market.tick, f"the price of {self.symbol}")
        _check_step(self.cost, market.cost_step, f"the cost of {self.symbol}")


@dataclass(frozen=True, slots=True)
class Cancel:
    """The end of one order, named by our id or the venue's."""

    kind: ClassVar[IntentKind] = IntentKind.CANCEL

    key: str
    order: str

    def body(self) -> dict[str, Any]:
        """The request as it is stored."""
        return {"order": self.order}


@dataclass(frozen=True, slots=True)
class Amend:
    """Other terms for an order that rests: the whole `quantity` (base currency, filled part included), the price."""

    kind: ClassVar[IntentKind] = IntentKind.AMEND

    key: str
    order: str
    quantity: Decimal | None = None
    price: Decimal | None = None

    def body(self) -> dict[str, Any]:
        """The request as it is stored."""
        return {"order": self.order, "quantity": _text(self.quantity), "price": _text(self.price)}

    def check(self, market: Market) -> None:
        """Raise UsageError for an amount that `market` cannot express."""
        _check_step(self.quantity, market.lot, f"the quantity of {market.symbol}")
        _check_step(self.price, market.tick, f"the price of {market.symbol}")


OrderIntent = Place | Cancel | Amend


def body_hash(request: OrderIntent) -> str:
    """Equal for requests that ask for the same; trailing zeros do not matter."""
    return hashlib.sha256(dump_json([request.kind.value, *sorted(request.body().items())]).encode()).hexdigest()


def parse_place(key: Any, body: Mapping[str, Any]) -> Place:
    """An order from JSON. Raises UsageError with what is wrong; nothing is stored then."""
    known = {"symbol", "side", "type", "time_in_force", "quantity", "cost", "price"}
    _check_names(body, known)
    symbol = body.get("symbol")
    if not isinstance(symbol, str) or not symbol:
        raise UsageError("an order names its symbol, such as BTC/USDT")
    side = _word(body, "side", Side)
    kind = _word(body, "type", OrderType, OrderType.LIMIT if body.get("price") is not None else OrderType.MARKET)
    usual = TimeInForce.GTC if kind is OrderType.LIMIT else TimeInForce.IOC
    order = Place(
        check_key(key),
        Symbol(symbol),
        side,
        kind,
        _word(body, "time_in_force", TimeInForce, usual),
        _amount(body, "quantity"),
        _amount(body, "cost"),
        _amount(body, "price"),
    )
    _check_shape(order)
    return order


def parse_cancel(key: Any, order: Any) -> Cancel:
    """A cancel from JSON. Raises UsageError."""
    return Cancel(check_key(key), check_order_id(order))


def parse_amend(key: Any, order: Any, body: Mapping[str, Any]) -> Amend:
    """An amendment from JSON. Raises UsageError."""
    _check_names(body, {"quantity", "price"})
    quantity, price = _amount(body, "quantity"), _amount(body, "price")
    if quantity is None and price is None:
        raise UsageError("an amendment names a quantity, a price, or both")
    return Amend(check_key(key), check_order_id(order), quantity, price)


def check_key(key: Any) -> str:
    """`key` when it is one; raises UsageError otherwise."""
    if not isinstance(key, str) or not 0 < len(key) <= LONGEST_KEY or not key.isprintable():
        raise UsageError(f"an intent's key is a text of 1 to {LONGEST_KEY} characters")
    if key.startswith(FLATTEN):
        raise UsageError(f"an intent's key may not begin with {FLATTEN}, which is an operator's")
    return key


def check_order_id(order: Any) -> str:
    """`order` when it can be an order's id; raises UsageError otherwise."""
    if not isinstance(order, str) or not 0 < len(order) <= _LONGEST_ID or not order.isprintable():
        raise UsageError("an order is named by its id, ours (t-...) or the venue's")
    return order


def _check_shape(order: Place) -> None:
    """Raise UsageError when the parts of an order do not belong together."""
    market = order.type is OrderType.MARKET
    if market != (order.price is None):
        raise UsageError("a limit order names its price, a market order has none")
    in_cost = market and order.side is Side.BUY
    if (order.cost is not None) != in_cost or (order.quantity is None) != in_cost:
        raise UsageError(
            "a market buy is given as cost, in quote currency"
            if in_cost
            else "this order is given as quantity, in base currency; only a market buy is given as cost"
        )
    if market and order.time_in_force not in (TimeInForce.IOC, TimeInForce.FOK):
        raise UsageError("a market order does not rest: its time_in_force is ioc or fok")


def _check_names(body: Mapping[str, Any], known: set[str]) -> None:
    unknown = sorted(set(body) - known)
    if unknown:
        raise UsageError(f"{', '.join(unknown)} is nothing this takes; it takes {', '.join(sorted(known))}")


def _word(body: Mapping[str, Any], name: str, words: type[W], usual: W | None = None) -> W:
    given = body.get(name)
    if given is None and usual is not None:
        return usual
    try:
        return words(str(given))
    except ValueError:
        raise UsageError(f"{name} is {given!r}; it is one of {', '.join(words)}") from None


def _amount(body: Mapping[str, Any], name: str) -> Decimal | None:
    """A positive amount, exactly as written; None when it is not named."""
    given = body.get(name)
    if given is None:
        return None
    if isinstance(given, bool) or not isinstance(given, str | int) or not _PLAIN.fullmatch(str(given)):
        raise UsageError(f'{name} is {given!r}; write a positive amount as text of plain digits, such as "0.25"')
    number = Decimal(given)
    if number == 0 or len(number.as_tuple().digits) > _MOST_DIGITS or number >= Decimal(10) ** 18:
        raise UsageError(f"{name} is {given!r}; give an amount above zero of at most {_MOST_DIGITS} digits")
    return number


def _check_step(value: Decimal | None, step: Decimal, what: str) -> None:
    if value is not None and step and value % step != ZERO:
        raise UsageError(f"{what} is {value:f}, which is not a multiple of the venue's step {step:f}")


def _text(value: Decimal | None) -> str | None:
    """`value` in plain digits without trailing zeros."""
    if value is None:
        return None
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
