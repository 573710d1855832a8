"""The checks of an order before it reaches the matcher: what Gate refuses because of its form, size or precision."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, TypeVar

from cashup.simulator.refusals import Refusal
from cashup.types import ZERO, Market, OrderRequest, OrderType, Side, TimeInForce

W = TypeVar("W", Side, OrderType, TimeInForce)
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
    if cost <= ZERO:
        raise _invalid("amount")


def _invalid(what: str) -> Refusal:
    return Refusal("INVALID_PARAM_VALUE", f"Invalid argument: {what}")
