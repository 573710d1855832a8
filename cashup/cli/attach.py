"""`cashup live attach`: a running deployment, line by line, as the gateway's events tell it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cashup.client import Client, Row


async def follow(client: Client, name: str, say: Callable[[str], None]) -> None:
    """Say how the deployment is, then each thing that happens to it, for ever; the connection renews itself.

    Raises NotFound when there is none of this name.
    """
    from cashup.client import watch_events

    row = client.deployment(name)
    say(_standing(row))
    streams = [f"deployment:{name}", f"account:{row['account']}"]
    async for event in watch_events(client.gateway, lambda: client.token, streams):
        if (line := told(event, name)) is not None:
            say(line)


async def until_asked(work: Coroutine[Any, Any, None]) -> None:
    """Do `work` until Ctrl-C or SIGTERM, also where whoever started this process has it ignore the former."""
    doing = asyncio.ensure_future(work)
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, doing.cancel)
    with suppress(asyncio.CancelledError):
        await doing


def told(event: Row, name: str) -> str | None:
    """An event in one line, with its time (UTC); None for one that concerns somebody else."""
    from cashup.clock import isoformat_millis

    data = event["data"]
    if data.get("deployment", name) != name:
        return None
    words = _WORDS.get(event["kind"])
    said = words(data) if words is not None else f"{event['kind'].replace('_', ' ')} {_rest(data)}"
    return f"{isoformat_millis(event['at'])}  {said}" if said else None


def _standing(row: Row) -> str:
    from cashup.clock import isoformat

    attempt, decided = row["attempt"], row["last_decided"]
    parts = [f"{row['name']} on {row['account']} shall be {row['desired']}"]
    parts.append(f"attempt {attempt['number']} is {row['state']}" if attempt else "it was never started")
    if row.get("version"):
        parts.append(f"version {row['version']}")
    if decided is not None:
        parts.append(f"last decided bar {isoformat(decided)}")
    return "; ".join(parts)


def _order(data: Mapping[str, Any]) -> str:
    amount = data["quantity"] if data["quantity"] is not None else f"for {data['cost']}"
    price = f" at {data['price']}" if data["price"] is not None else ""
    reason = f" ({data['reason']})" if data["reason"] and data["reason"] != data["state"] else ""
    filled = f", {data['filled']} filled" if float(data["filled"]) else ""
    return f"order    {data['side']} {amount} {data['symbol']}{price}: {data['state']}{filled}{reason}"


def _fill(data: Mapping[str, Any]) -> str:
    fee = f", fee {data['fee']} {data['fee_currency']}" if data.get("fee_currency") else ""
    return f"fill     {data['side']} {data['quantity']} {data['symbol']} at {data['price']}{fee}"


def _decided(data: Mapping[str, Any]) -> str:
    from cashup.clock import isoformat

    if data.get("bar") is None:
        return f"asked    {data['kind']} {data['key']}{_refusals(data)}"
    targets = ", ".join(f"{symbol} {target}" for symbol, target in data["targets"].items() if target is not None)
    return f"decided  bar {isoformat(data['bar'])}: {targets or 'everything stays'}{_refusals(data)}"


def _refusals(data: Mapping[str, Any]) -> str:
    held = [one for one in data.get("decisions", ()) if one.get("action") != "allow"]
    return "".join(f"; risk {one['action']}: {one['reason']}" for one in held)


def _processed(data: Mapping[str, Any]) -> str:
    from cashup.clock import isoformat

    return f"booked   bar {isoformat(data['bar'])}: equity {data['equity']}, cash {data['cash']}"


def _changed(data: Mapping[str, Any]) -> str:
    return f"wish     {data['desired']}, attempt {data['state'] or 'none'}"


def _started(data: Mapping[str, Any]) -> str:
    version = f", version {data['version']}" if data.get("version") else ""
    return f"attempt  {data['attempt']} started{version}"


def _ended(data: Mapping[str, Any]) -> str:
    why = f": {data['message']}" if data["message"] else ""
    return f"attempt  {data['attempt']} {data['state']}{why}"


def _halt(data: Mapping[str, Any]) -> str:
    return f"halt     {data['scope']} {data['name']} {data['code']}: {data['state']} ({data['reason']})"


def _account(data: Mapping[str, Any]) -> str:
    return f"account  {data['account']} {data['state']}{': ' + data['message'] if data.get('message') else ''}"


def _alert(data: Mapping[str, Any]) -> str:
    if data["acknowledged_at"] is not None:
        return f"alert    {data['id']} {data['code']}: somebody has looked at it"
    return f"alert    {data['id']} {data['code']}, {data['severity']}: {data['message']}"


def _rest(data: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in data.items() if key != "deployment" and value is not None)


_WORDS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "deployment_changed": _changed,
    "attempt_started": _started,
    "attempt_ready": lambda data: f"attempt  {data['attempt']} has its bars and waits for the next close",
    "attempt_finished": _ended,
    "intent_accepted": _decided,
    "order_changed": _order,
    "fill_booked": _fill,
    "bar_processed": _processed,
    "account_changed": _account,
    "halt_changed": _halt,
    "alert_changed": _alert,
}
"""How an event reads, by its kind; others are told by their data."""
