"""Dealing: what a command does to a desk. An order is made as it was asked for or denied; it is never made smaller."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from cashup.errors import UsageError
from cashup.orders.ids import client_order_id
from cashup.orders.record import Record
from cashup.orders.state import AmendRequested, CancelRequested, Terms
from cashup.trading.commands import Command
from cashup.trading.desk import Desk
from cashup.trading.requests import Amend, Cancel, Place
from cashup.trading.risk import Action, Decision, Draft, Situation, check_order
from cashup.trading.turn import Turn
from cashup.types import ZERO, OrderState, Side


def place(desk: Desk, command: Command, request: Place, turn: Turn) -> None:
    """Make the order, or deny it. Raises UsageError, having changed nothing, for what the venue cannot express."""
    request.check(turn.markets[request.symbol])
    mark = turn.mark(request.symbol)
    if mark is None:
        reason = f"there is no price for {request.symbol} yet; nothing can be checked"
        command.finish(turn.now, Decision(request.symbol, Action.DENY, "price_missing", reason))
        return
    draft = Draft(
        request.symbol,
        request.side,
        mark,
        quantity=request.quantity,
        cost=request.cost,
        adds=request.side is Side.BUY and request.cost is None,
        price=request.price,
        time_in_force=request.time_in_force,
    )
    allowed, decisions = _checked(draft, desk, turn, desk.free_cash, desk.free_quantity(request.symbol))
    if allowed:
        command.order = desk.add(draft.request(client_order_id(turn.now)), turn, command).id
    command.finish(turn.now, *decisions)


def cancel(desk: Desk, command: Command, record: Record, turn: Turn) -> None:
    """Have the order end: at once when it was never sent, else as soon as the venue says so."""
    desk.commands[command.key] = command
    if not record.state.terminal:
        desk.learn(record, CancelRequested(), turn)
    _conclude(desk, command, record, turn)


def amend(desk: Desk, command: Command, request: Amend, record: Record, turn: Turn) -> None:
    """Give the order other terms, and hold the larger of old and new until the venue has answered, or deny it.

    Raises UsageError, having changed nothing, for terms that the order cannot have.
    """
    order = record.order
    if order.price is None or order.quantity is None:
        raise UsageError(
            f"order {record.id} is a {order.type} order; only the quantity and price of a limit order change"
        )
    request.check(turn.markets[order.symbol])
    terms = Terms(
        order.quantity if request.quantity is None else request.quantity,
        order.price if request.price is None else request.price,
    )
    denial = _cannot_amend(record, terms)
    if denial is not None:
        command.finish(turn.now, denial)
        return
    decisions = _check_amendment(desk, record, terms, turn)
    if any(decision.action is Action.DENY for decision in decisions):
        command.finish(turn.now, *decisions)
        return
    command.decisions.extend(decisions)
    desk.commands[command.key] = command
    desk.learn(record, AmendRequested(terms), turn)


def conclude(desk: Desk, turn: Turn) -> None:
    """End the commands whose order has come to where they wanted it, or cannot any more."""
    for command in list(desk.commands.values()):
        name = command.order or ""
        record = desk.records.get(name) or turn.changed_orders.get(name) or turn.new_orders.get(name)
        if record is not None:
            _conclude(desk, command, record, turn)


def _conclude(desk: Desk, command: Command, record: Record, turn: Turn) -> None:
    decision = _verdict(command, record)
    if decision is None:
        return
    desk.commands.pop(command.key, None)
    command.finish(turn.now, decision)
    turn.changed_intents[command.deployment, command.key] = command
    turn.finished.append(command)


def _verdict(command: Command, record: Record) -> Decision | None:
    """What became of a cancel or an amendment; None while it is open."""
    order, request = record.order, command.request
    symbol = order.symbol
    filled = f"{order.filled.normalize():f} {symbol.split('/')[0]} of it were filled"
    if isinstance(request, Cancel):
        if order.state is OrderState.CANCELLED:
            return Decision(symbol, Action.ALLOW, "cancelled", f"order {record.id} is cancelled; {filled}")
        if order.state.terminal:
            return Decision(symbol, Action.DENY, "too_late", f"order {record.id} is {order.state} already; {filled}")
        if not order.cancelling:
            return Decision(symbol, Action.DENY, "refused", f"the venue does not cancel {record.id}: {order.reason}")
        return None
    if order.amending is not None or not isinstance(request, Amend):
        return None
    if _has(order.quantity, request.quantity) and _has(order.price, request.price):
        return Decision(symbol, Action.ALLOW, "amended", f"order {record.id} is for {order.quantity} at {order.price}")
    if order.state.terminal:
        return Decision(symbol, Action.DENY, "too_late", f"order {record.id} is {order.state} already; {filled}")
    return Decision(symbol, Action.DENY, "refused", f"order {record.id} stays as it is: {order.reason}")


def _cannot_amend(record: Record, terms: Terms) -> Decision | None:
    """Why the order cannot get these terms now, whatever risk says."""
    order = record.order
    code, reason = "", ""
    if order.state.terminal:
        code, reason = "too_late", f"order {record.id} is {order.state} already"
    elif order.state is not OrderState.OPEN or order.amending is not None:
        code, reason = "not_open", f"order {record.id} is being sent, cancelled or amended; try again when it rests"
    elif terms.quantity <= order.filled:
        code, reason = "below_filled", f"{order.filled.normalize():f} of order {record.id} are filled already"
    elif terms == Terms(order.quantity or ZERO, order.price or ZERO):
        code, reason = "no_change", f"order {record.id} has these terms already"
    return Decision(order.symbol, Action.DENY, code, reason) if code else None


def _check_amendment(desk: Desk, record: Record, terms: Terms, turn: Turn) -> list[Decision]:
    """Risk's word on the order as it would be, in place of the order as it is."""
    order = record.order
    mark = turn.mark(order.symbol)
    if mark is None:
        return [Decision(order.symbol, Action.DENY, "price_missing", f"there is no price for {order.symbol} yet")]
    buy = order.side is Side.BUY
    draft = Draft(
        order.symbol,
        order.side,
        mark,
        quantity=terms.quantity - order.traded,  # what is filled and not booked is in no position yet
        adds=buy,
        price=terms.price,
        time_in_force=order.time_in_force,
    )
    del desk.records[record.id]  # risk looks at what surrounds the order, and that is not the order itself
    try:
        _, decisions = _checked(draft, desk, turn, desk.free_cash, desk.free_quantity(order.symbol))
    finally:
        desk.records[record.id] = record
    return decisions


def _checked(draft: Draft, desk: Desk, turn: Turn, cash: Decimal, held: Decimal) -> tuple[bool, list[Decision]]:
    """Whether the order may be sent exactly as it is, and every decision on the way."""
    market = turn.markets[draft.symbol]
    standing = turn.standing(desk.deployment, {draft.symbol: draft.mark})
    situation = Situation(market, cash, turn.frozen(), standing=standing, held=held)
    allowed, decisions = check_order(draft, situation)
    if allowed == draft:
        return True, decisions
    return False, [
        replace(decision, action=Action.DENY) for decision in decisions if decision.action is not Action.ALLOW
    ]


def _has(value: Decimal | None, wanted: Decimal | None) -> bool:
    return wanted is None or value == wanted
