"""Faults that happen at once, by themselves: to connections, to the market, to the clock, to a customer.

Each is `(scene, fault)`; those with an `undo` last until they are cleared.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from decimal import Decimal, InvalidOperation
from typing import Any

from cashup.errors import UsageError
from cashup.simulator.accounts import Account
from cashup.simulator.entry import read_order
from cashup.simulator.faults.board import Fault, Kind, Layer, kind
from cashup.simulator.faults.scene import Scene
from cashup.simulator.refusals import Refusal
from cashup.simulator.venue import TRADABLE, UNTRADABLE
from cashup.types import Market

EVENT = Layer.EVENT


@kind(EVENT, seconds=1.0)
def upgrade(scene: Scene, fault: Fault) -> None:
    """Every WebSocket client is told of an upgrade, and its connection closes `seconds` later."""
    scene.streams.announce_upgrade()
    asyncio.get_running_loop().call_later(fault["seconds"], scene.streams.hang_up)


@kind(EVENT)
def disconnect(scene: Scene, fault: Fault) -> None:
    """Every WebSocket connection breaks off."""
    scene.streams.hang_up()


@kind(EVENT)
def silent_stream(scene: Scene, fault: Fault) -> None:
    """The WebSocket connections that stand bring nothing more but pongs, until they are made anew."""
    scene.streams.mute()


@kind(EVENT, milliseconds=61_000)
def clock_skew(scene: Scene, fault: Fault) -> None:
    """The venue's clock is off by `milliseconds` (below zero: behind)."""
    scene.venue.clock.skew = int(fault["milliseconds"])


def _right_clock(scene: Scene, fault: Fault) -> None:
    scene.venue.clock.skew = 0


@kind(EVENT, pair="")
def market_halt(scene: Scene, fault: Fault) -> None:
    """One market (`pair`) takes no orders; cancels work."""
    scene.venue.status[_market(scene, fault).symbol] = UNTRADABLE


def _reopen(scene: Scene, fault: Fault) -> None:
    scene.venue.status[_market(scene, fault).symbol] = TRADABLE


@kind(EVENT, pair="")
def delisting(scene: Scene, fault: Fault) -> None:
    """One market (`pair`) ends for good: what rests is cancelled, and it takes no more orders."""
    market = _market(scene, fault)
    scene.venue.status[market.symbol] = UNTRADABLE
    for account in scene.venue.accounts:
        scene.venue.end_all(account, str(fault["pair"]))


@kind(EVENT, pair="", tick=None, lot=None, min_quantity=None, min_cost=None)
def changed_rules(scene: Scene, fault: Fault) -> None:
    """One market (`pair`) gets another tick, lot, minimum quantity or minimum cost."""
    market = _market(scene, fault)
    fault.memory["market"] = market
    names = ("tick", "lot", "min_quantity", "min_cost")
    changes: dict[str, Any] = {name: _decimal(name, fault[name]) for name in names if fault[name] is not None}
    if "tick" in changes:
        changes["cost_step"] = changes["tick"]
    scene.venue.change_market(replace(market, **changes))


def _old_rules(scene: Scene, fault: Fault) -> None:
    scene.venue.change_market(fault.memory["market"])


@kind(EVENT, pair="", amount="")
def thin_market(scene: Scene, fault: Fault) -> None:
    """One market (`pair`) trades at most `amount` (base) at each price it moves to: orders fill in part."""
    scene.venue.set_depth(_market(scene, fault).symbol, _decimal("amount", fault["amount"]))


def _deep_market(scene: Scene, fault: Fault) -> None:
    scene.venue.set_depth(_market(scene, fault).symbol, None)


@kind(EVENT, pair="", price="", amount=None)
def market_move(scene: Scene, fault: Fault) -> None:
    """One market (`pair`) trades at another `price` until its next bar, with what rests at most `amount` (base)."""
    amount = None if fault["amount"] is None else _decimal("amount", fault["amount"])
    scene.venue.trade_at(_market(scene, fault).symbol, _decimal("price", fault["price"]), amount)


@kind(EVENT, account="", pair="", side="buy", amount="", price="", source="web")
def manual_order(scene: Scene, fault: Fault) -> None:
    """The customer places an order at the venue's web site: a market order when it has no `price`.

    `source` is its text (web, app, liquidation, ...).
    """
    body = {name: str(fault[name]) for name in ("side", "amount", "price") if fault[name] != ""}
    body |= {"type": "limit", "time_in_force": "gtc"} if "price" in body else {"type": "market", "time_in_force": "ioc"}
    market = _market(scene, fault)
    try:
        request, _ = read_order(body, market, scene.venue.price(market.symbol))
        scene.venue.place(_account(scene, fault), request, str(fault["source"]))
    except Refusal as refusal:
        raise UsageError(f"the venue refuses this order: {refusal}") from refusal


@kind(EVENT, account="", pair="", text="*", reason="cancelled")
def order_ended(scene: Scene, fault: Fault) -> None:
    """A resting order ends by itself or from the web site: expired, cancelled by the venue; `reason` is `finish_as`.

    Of several with the client id `text`, or of all, it is the newest one.
    """
    account = _account(scene, fault)
    for order in scene.venue.resting(account, fault["pair"] or None):
        if fault["text"] in {"*", order.text}:
            scene.venue.end(order, str(fault["reason"]))
            return
    raise UsageError(f"the account {account.name!r} has no such order that rests")


@kind(EVENT, account="", currency="", amount="")
def transfer(scene: Scene, fault: Fault) -> None:
    """The customer deposits `amount` of a currency, or withdraws it when it is below zero."""
    scene.venue.transfer(_account(scene, fault), str(fault["currency"]), _decimal("amount", fault["amount"]))


def _market(scene: Scene, fault: Fault) -> Market:
    market = scene.venue.by_pair.get(str(fault["pair"]))
    if market is None:
        raise UsageError(f"pair must name a market, one of {', '.join(scene.venue.by_pair)}")
    return market


def _account(scene: Scene, fault: Fault) -> Account:
    for account in scene.venue.accounts:
        if account.name == fault["account"]:
            return account
    raise UsageError("account must name one of the simulator's accounts")


def _decimal(name: str, value: object) -> Decimal:
    try:
        number = Decimal(str(value))
    except InvalidOperation as error:
        raise UsageError(f"{name} must be a number; write it as text") from error
    if not number.is_finite():
        raise UsageError(f"{name} must be a number; write it as text")
    return number


EVENTS: tuple[Kind, ...] = (
    upgrade,
    disconnect,
    silent_stream,
    replace(clock_skew, undo=_right_clock),
    replace(market_halt, undo=_reopen),
    delisting,
    replace(changed_rules, undo=_old_rules),
    replace(thin_market, undo=_deep_market),
    market_move,
    manual_order,
    order_ended,
    transfer,
)
