"""The checks of an order before it reaches the matcher: what Gate refuses because of its form, size or precision."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, TypeVar

from cashup.simulator.orders import SimOrder
from cashup.simulator.refusals import Refusal
from cashup.types import Market, OrderRequest, OrderType, Side, TimeInForce

W = TypeVar("W", Side, OrderType, TimeInForce)
MAX_COST = Decimal(50_000_000)
TEXT = re.compile(r"t-[0-9A-Za-z_.-]{1,28}")


def read_order(body: Mapping[str, Any], market: Market, price: Decimal) -> tuple[OrderRequest, str]:
    """The order that a create body asks for, and its client id; `price` is the market's, to value a sell.

    Raises Refusal with Gate's label for whatever is wrong with it.
    """
    side = _word(body, "side", Side)
    kind = _word(body, "type", OrderType, OrderType.LIMIT)
    tif = _word(body, "time_in_force", TimeInForce, TimeInForce.GTC)
    if kind is OrderType.MARKET and tif not in {TimeInForce.IOC, TimeInForce.FOK}:
        raise _invalid("time_in_force of a market order must be ioc or fok")
    if body.get("account", "spot") != "spot":
        raise _invalid("account: only spot accounts exist here")
    text = _text(body.get("text"))
    amount = _number(body, "amount")
    if kind is OrderType.MARKET and side is Side.BUY:
        _check_step(amount, market.cost_step, "amount")
        _check_size(market, cost=amount)
        return OrderRequest(text, market.symbol, side, kind, cost=amount, time_in_force=tif), text
    limit = None
    if kind is OrderType.LIMIT:
        limit = _number(body, "price")
        _check_step(limit, market.tick, "price")
    _check_step(amount, market.lot, "amount")
    _check_size(market, quantity=amount, cost=amount * (price if limit is None else limit))
    return OrderRequest(text, market.symbol, side, kind, quantity=amount, price=limit, time_in_force=tif), text


def read_amendment(body: Mapping[str, Any], order: SimOrder, market: Market) -> tuple[Decimal, Decimal, str | None]:
    """The amount and price that an amend body asks for, and its amend_text.

    Raises Refusal with Gate's label for whatever is wrong with it.
    """
    match = order.match
    if match.quantity is None or match.price is None:
        raise _invalid("only limit orders can be amended")
    quantity, price = match.quantity, match.price
    if "amount" not in body and "price" not in body:
        raise _invalid("amount or price must be given")
    if "amount" in body:
        quantity = _number(body, "amount")
        _check_step(quantity, market.lot, "amount")
    if "price" in body:
        price = _number(body, "price")
        _check_step(price, market.tick, "price")
    if (quantity, price) == (match.quantity, match.price):
        raise Refusal("NO_CHANGE", "No change is made")
    if quantity > match.filled:
        _check_size(market, quantity=quantity, cost=quantity * price)
    text = body.get("amend_text")
    return quantity, price, None if text is None else _text(text)


def _word(body: Mapping[str, Any], name: str, words: type[W], default: W | None = None) -> W:
    given = body.get(name, default)
    try:
        return words(given)
    except ValueError:
        raise _invalid(f"{name} {given!r}") from None


def _number(body: Mapping[str, Any], name: str) -> Decimal:
    try:
        value = Decimal(str(body[name]))
    except (KeyError, InvalidOperation):
        raise _invalid(name) from None
    if not value.is_finite() or value <= 0:
        raise _invalid(f"{name} must be a number above zero")
    return value


def _text(text: object) -> str:
    if text is None:
        return "apiv4"
    if not isinstance(text, str) or not TEXT.fullmatch(text):
        raise _invalid("text must begin with t-, with at most 28 of 0-9 A-Z a-z _ - . behind it")
    return text


def _check_step(value: Decimal, step: Decimal, name: str) -> None:
    if step and value % step != 0:
        raise Refusal("INVALID_PRECISION", f"Invalid precision of {name}: {value} is not a multiple of {step}")


def _check_size(market: Market, *, cost: Decimal, quantity: Decimal | None = None) -> None:
    if quantity is not None and quantity < market.min_quantity:
        raise Refusal("AMOUNT_TOO_LITTLE", f"The minimum is {market.min_quantity} {market.base}")
    if cost < market.min_cost:
        raise Refusal("AMOUNT_TOO_LITTLE", f"The minimum is {market.min_cost} {market.quote}")
    if cost > MAX_COST:
        raise Refusal("AMOUNT_TOO_MUCH", f"The maximum is {MAX_COST} {market.quote}")


def _invalid(what: str) -> Refusal:
    return Refusal("INVALID_PARAM_VALUE", f"Invalid argument: {what}")
