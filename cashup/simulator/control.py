"""The simulator's own WebSocket, `/control`: what Gate has not, and a test or a driver needs.

Text frames of JSON. The first is `{"type": "auth", "token": ...}`; it is answered by `{"type": "welcome", ...state}`.
A request may carry an `id`, which its answer repeats. Requests:

- `state` -> where the market stands: `open` and `closed` (open times in ms, or null), `steps`, `ended`, `symbols`, ...
- `step` with `close` (the open time of the bar to close; default the open one) -> `stepped` with the state. A bar that
  is closed already is not closed again, so a repeated step does nothing.
- `account.create` with `name` and `balances` (currency -> text) -> `account` with `uid`, `key` and `secret`.
- `book`, for one `account` (its name) or for all -> what the venue holds: balances and how they changed, orders (with
  `received_at`, when the request that made it arrived) and trades per account, the market's pool, fees and deposits.
- `requests`, of one `account` or of all -> the `writes` and `reads` that the venue has seen (the newest ones: see the
  server's `keep`), refused ones too, and the `violations` of rate limits: when, in which scope, over how many.
- `fault.set` with `name` (of the kind), and as it likes: facts to match (`what method path pair account text side
  channel event page`; * and ? stand for anything), the kind's options, `nth`, `count` (null: until cleared),
  `probability` and `lasts` (seconds) -> `fault` as it is switched on.
- `fault.clear` with `fault` (its number) or without (all) -> like `fault.list`.
- `fault.list` -> the faults that are on (`active`), the newest `struck` with what they met, and all `kinds`.

An error is answered by `{"type": "error", "code", "message"}`.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from decimal import Decimal, InvalidOperation
from typing import Any

import orjson
from aiohttp import WSMsgType, web

from cashup.errors import CashUpError, UsageError
from cashup.simulator.faults.board import Faults
from cashup.simulator.limits import RateLimits
from cashup.simulator.orders import order_row, text_of, trade_row
from cashup.simulator.register import Register, Seen
from cashup.simulator.streams import Streams
from cashup.simulator.venue import Venue
from cashup.types import Millis


class Control:
    """Serves `/control` to whoever knows the token."""

    def __init__(self, venue: Venue, streams: Streams, limits: RateLimits, faults: Faults, register: Register) -> None:
        self.venue = venue
        self.streams = streams
        self.limits = limits
        self.faults = faults
        self.register = register
        self.token = secrets.token_urlsafe(32)
        self._requests: Mapping[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
            "state": lambda request: self.state(),
            "step": self.step,
            "account.create": self.create_account,
            "book": self.book,
            "requests": self.requests,
            "fault.set": self.set_fault,
            "fault.clear": self.clear_faults,
            "fault.list": lambda request: self.list_faults(),
        }

    async def handle(self, request: web.Request) -> web.WebSocketResponse:
        """Serve one client until it leaves; a wrong token closes with 4401."""
        socket = web.WebSocketResponse(compress=False)
        await socket.prepare(request)
        welcome = False
        async for message in socket:
            if message.type is not WSMsgType.TEXT:
                continue
            if not welcome:
                welcome = self._admits(message.data)
                if not welcome:
                    await socket.close(code=4401, message=b"unauthenticated")
                    break
                answer = {**self.state(), "type": "welcome"}
            else:
                answer = self._answer(message.data)
            await socket.send_frame(orjson.dumps(answer), WSMsgType.TEXT)
        return socket

    def _admits(self, text: str) -> bool:
        try:
            frame = _object(text)
        except UsageError:
            return False
        token = str(frame.get("token", ""))
        return frame.get("type") == "auth" and hmac.compare_digest(token.encode(), self.token.encode())

    def _answer(self, text: str) -> dict[str, Any]:
        ident = None
        try:
            frame = _object(text)
            ident = frame.get("id")
            work = self._requests.get(str(frame.get("type")))
            if work is None:
                raise UsageError(f"{frame.get('type')!r} is not a request; use {', '.join(self._requests)}")
            answer = work(frame)
        except CashUpError as error:
            answer = {"type": "error", "code": error.code, "message": str(error)}
        return answer if ident is None else answer | {"id": ident}

    def state(self) -> dict[str, Any]:
        """Where the market stands."""
        venue = self.venue
        return {
            "type": "state",
            "open": venue.open_time,
            "closed": venue.closed_time,
            "steps": venue.position - venue.first + (1 if venue.halted else 0),
            "ended": venue.halted,
            "last": venue.tape.times[-1],
            "timeframe": venue.tape.timeframe,
            "symbols": list(venue.markets),
            "prices": {symbol: text_of(venue.price(symbol)) for symbol in venue.markets},
            "rate_limit_violations": self.limits.violations,
        }

    def step(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Close the open bar when it is the one that `close` names; naming a later one is an error."""
        open_time = self.venue.open_time
        wanted: Millis | None = request.get("close", open_time)
        if open_time is not None and wanted == open_time:
            self.streams.stepped(self.venue.step())
        elif open_time is not None and (not isinstance(wanted, int) or wanted > open_time):
            raise UsageError(f"the open bar is {open_time}, not {wanted}; ask for the state first")
        return self.state() | {"type": "stepped"}

    def create_account(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """A new customer with a deposit."""
        balances = request.get("balances", {})
        if not isinstance(balances, Mapping):
            raise UsageError('balances must be an object such as {"USDT": "10000"}')
        try:
            deposit = {str(currency): Decimal(str(amount)) for currency, amount in balances.items()}
        except InvalidOperation as error:
            raise UsageError('a balance is not a number; write it as text, such as "10000"') from error
        name = str(request.get("name") or f"account-{secrets.token_hex(4)}")
        account = self.venue.accounts.create(name, deposit)
        return {
            "type": "account",
            "name": account.name,
            "uid": account.uid,
            "key": account.key,
            "secret": account.secret,
        }

    def book(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Everything the venue holds, without keys."""
        venue, wanted = self.venue, request.get("account")
        accounts = {
            account.name: {
                "uid": account.uid,
                "balances": {
                    currency: {"available": text_of(balance.available), "locked": text_of(balance.reserved)}
                    for currency, balance in account.balances().items()
                },
                "changes": [change.row() for change in venue.changes[account.uid]],
                "orders": [
                    order_row(order) | {"received_at": order.received}
                    for order in venue.orders.values()
                    if order.account is account
                ],
                "trades": [trade_row(trade) for trade in venue.traded[account.uid]],
            }
            for account in venue.accounts
            if wanted in {None, account.name}
        }
        sums = {"pool": venue.pool, "fees": venue.fees, "deposits": venue.accounts.deposits}
        return {
            "type": "book",
            "accounts": accounts,
            **{name: {currency: text_of(value) for currency, value in sum_.items()} for name, sum_ in sums.items()},
        }

    def requests(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """What customers asked for."""
        wanted = request.get("account")

        def rows(seen: Iterable[Seen]) -> list[dict[str, Any]]:
            return [one.row() for one in seen if wanted in {None, one.account}]

        violations = [asdict(violation) for violation in self.limits.offences]
        writes, reads = rows(self.register.writes), rows(self.register.reads)
        return {"type": "requests", "writes": writes, "reads": reads, "violations": violations}

    def set_fault(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Switch a fault on."""
        settings = {str(name): value for name, value in request.items() if name not in {"type", "id", "name"}}
        return self.faults.set(str(request.get("name")), **settings).row() | {"type": "fault"}

    def clear_faults(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Switch one fault off, or all."""
        self.faults.clear(request.get("fault"))
        return self.list_faults()

    def list_faults(self) -> dict[str, Any]:
        """What is on, what has struck, and what there is."""
        return {
            "type": "faults",
            "active": [fault.row() for fault in self.faults.active],
            "struck": list(self.faults.struck),
            "kinds": [kind.row() for kind in self.faults.kinds.values()],
        }


def _object(text: str) -> dict[str, Any]:
    try:
        frame = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise UsageError("a control frame must be JSON") from error
    if not isinstance(frame, dict):
        raise UsageError("a control frame must be a JSON object")
    return frame
