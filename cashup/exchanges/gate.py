"""Gate.io spot behind the port: ccxt signs and connects, our own facts decide what an answer means."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from cashup.clock import Clock, WallClock, timeframe_millis
from cashup.errors import ExchangeRefused, ExchangeTransient
from cashup.exchanges import gate_rows as rows
from cashup.exchanges.base import Connected, Disconnected
from cashup.exchanges.gate_candles import CandleFollower
from cashup.exchanges.gate_limits import PLACE, limit_of, place_key
from cashup.exchanges.gate_markets import GateMarkets
from cashup.exchanges.gate_outcome import ABSENT, OUTDATED, Reply, classify, classify_change, content_of, label_of
from cashup.exchanges.gate_stream import GateStream
from cashup.exchanges.limiter import Limiter, Ticket
from cashup.exchanges.venue_clock import VenueClock
from cashup.types import (
    Balance,
    Candle,
    Frame,
    Market,
    Millis,
    OrderReport,
    OrderRequest,
    ResultClass,
    SendResult,
    Symbol,
    Trade,
)

if TYPE_CHECKING:
    from cashup.exchanges.gate_client import GateClient

PAGE = 100
TRADES_PAGE = 1000
TRADES_RANGE: Millis = 30 * 86_400_000
CHANGE_WITHIN: Millis = 10_000
"""How long a cancel or an amendment may be under way when nobody says otherwise."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """The key of one account. Never printed."""

    key: str = field(repr=False)
    secret: str = field(repr=False)

    @property
    def fingerprint(self) -> str:
        """Tells keys apart without showing them: what Gate counts per account is counted per key here."""
        return hashlib.sha256(self.key.encode()).hexdigest()[:12]


class GateExchange:
    """One Gate.io spot account, or the public side without credentials.

    `base_url` (`http://host:port`) points every request at another server, such as the simulator; `sandbox` at Gate's
    testnet. `timeout` is in seconds, per request. Whoever opens several gives all of them one `limiter`.
    """

    def __init__(
        self,
        credentials: Credentials | None = None,
        *,
        base_url: str | None = None,
        sandbox: bool = False,
        timeout: float = 10.0,
        clock: Clock | None = None,
        limiter: Limiter | None = None,
    ) -> None:
        self.clock = clock or WallClock()
        self._limiter = limiter or Limiter(self.clock)
        self._account = "" if credentials is None else credentials.fingerprint
        self._venue = base_url or ("gate testnet" if sandbox else "gate")
        self._client = _connect(credentials, base_url, sandbox=sandbox, timeout=timeout)
        self._venue_clock = VenueClock(self.clock)
        self._private = credentials is not None
        self._markets = GateMarkets(self._client)

    # -- reads --------------------------------------------------------------------------------------------------

    async def markets(self) -> Mapping[Symbol, Market]:
        """The spot symbols that trade, with their steps, minimums and fees.

        Fetched once, and again when Gate refuses an order because its market's rules have changed.
        """
        return await self._markets.all()

    async def candles(self, symbol: Symbol, timeframe: str, since: Millis, limit: int = 1000) -> Sequence[Candle]:
        """Bars with open time >= `since`, oldest first, at most `limit` (and 1000); the last one may be open."""
        duration = timeframe_millis(timeframe)
        first = -(-since // duration) * duration
        last = first + (min(limit, 1000) - 1) * duration
        query = {"currency_pair": await self._markets.pair(symbol), "interval": timeframe}
        query |= {"from": str(first // 1000), "to": str(min(last, self.clock.now()) // 1000)}
        answer = await self._get("candlesticks", query, private=False)
        found = [rows.rest_candle(row, symbol, timeframe) for row in answer]
        return sorted((candle for candle in found if candle.time >= since), key=lambda candle: candle.time)

    async def balances(self) -> Mapping[str, Balance]:
        """Every asset with something on it."""
        answer = await self._get("accounts", {})
        held = {row["currency"]: Balance(rows.money(row, "available"), rows.money(row, "locked")) for row in answer}
        return {asset: balance for asset, balance in held.items() if balance.total}

    async def find_order(self, symbol: Symbol, client_order_id: str) -> OrderReport | None:
        """The lookup by client id, which Gate answers for pending orders only: None proves nothing."""
        return await self.fetch_order(symbol, client_order_id)

    async def fetch_order(self, symbol: Symbol, exchange_order_id: str) -> OrderReport | None:
        """The order with the venue's id, or None when the venue has no such order."""
        query = {"currency_pair": await self._markets.pair(symbol)}
        reply = await self._exchange("GET", f"orders/{exchange_order_id}", query)
        if label_of(reply)[0] in ABSENT:
            return None
        return self._report(content_of(reply))

    async def open_orders(self) -> Sequence[OrderReport]:
        """Everything that rests, all pages."""
        found: list[OrderReport] = []
        page = 1
        while True:
            groups = await self._get("open_orders", {"page": str(page), "limit": str(PAGE)})
            found += [self._report(row) for group in groups for row in group["orders"]]
            if all(len(group["orders"]) < PAGE for group in groups):
                return found
            page += 1

    async def finished_orders(self, symbol: Symbol, since: Millis, until: Millis) -> Sequence[OrderReport]:
        """Orders that ended in [since, until], oldest first; Gate counts in seconds, so some may lie just outside."""
        query = {"currency_pair": await self._markets.pair(symbol), "status": "finished"}
        query |= {"from": str(since // 1000), "to": str(-(-until // 1000))}
        found = await self._pages("orders", query, PAGE)
        return [self._report(row) for row in reversed(found)]

    async def trades(self, symbol: Symbol, since: Millis) -> Sequence[Trade]:
        """Our executions since `since`, oldest first, all pages and ranges."""
        pair, now = await self._markets.pair(symbol), self.clock.now()
        found: dict[str, Trade] = {}
        begin = since
        while begin <= now:
            # Gate counts whole seconds, both ends included: one second less at either end.
            end = min(begin + TRADES_RANGE - 2000, now + 60_000)
            query = {"currency_pair": pair, "from": str(begin // 1000), "to": str(-(-end // 1000))}
            for row in await self._pages("my_trades", query, TRADES_PAGE):
                trade = rows.trade(row, self._markets.symbol_of)
                if trade.time >= since:
                    found[trade.trade_id] = trade
            begin = end + 1
        return sorted(found.values(), key=lambda trade: (trade.time, int(trade.trade_id)))

    # -- orders -------------------------------------------------------------------------------------------------

    def admit(self, symbol: Symbol, order_id: str) -> float:
        """Keep one of the account's 10 placements or amendments a second in this market. See `limiter.py`.

        None is given while Gate's clock and ours are apart.
        """
        if wait := self.apart():
            return wait
        pair = self._markets.known_pair(symbol)
        return self._limiter.admit(place_key(self._account, pair), PLACE, order_id)

    def apart(self) -> float:
        """Seconds to wait while Gate's clock and ours are apart, 0.0 when they are not; Gate is asked for its time."""
        return self._venue_clock.wait(self._read_time)

    async def _read_time(self) -> None:
        await self._get("time", {}, private=False)

    async def place(self, request: OrderRequest) -> SendResult:
        """Write the order to Gate's socket exactly once and classify what comes back.

        An order that was admitted goes out at once; any other one waits for its turn, perhaps past its fence.
        """
        ticket = self._limiter.admitted(request.client_order_id)
        try:
            self._require_account()
            body = rows.order_body(request, await self._markets.pair(request.symbol))
        except (ExchangeTransient, ExchangeRefused) as error:
            return _not_sent(error, ticket)
        reply = await self._exchange("POST", "orders", body, ticket=ticket)
        result = classify(reply, self._report, request.client_order_id)
        if result.label in OUTDATED:
            with suppress(ExchangeTransient):  # the next order is refused as well then, and it is tried again
                await self._markets.read()
        return replace(result, wire=reply.wire)

    async def cancel(self, symbol: Symbol, order_id: str, *, expires_at: Millis | None = None) -> SendResult:
        """Ask for a cancel. When Gate says that the order is gone, nothing is inferred."""
        return await self._change("DELETE", symbol, order_id, {}, expires_at)

    async def amend(
        self,
        symbol: Symbol,
        order_id: str,
        *,
        quantity: Decimal | None = None,
        price: Decimal | None = None,
        expires_at: Millis | None = None,
    ) -> SendResult:
        """Change amount or price of a resting order; Gate keeps its place in the queue only when the amount falls.

        Like an order, it goes out at once when it was admitted, and else waits for its turn.
        """
        given = {"amount": quantity, "price": price}
        changes = {name: format(value, "f") for name, value in given.items() if value is not None}
        return await self._change("PATCH", symbol, order_id, changes, expires_at, self._limiter.admitted(order_id))

    async def _change(
        self,
        method: str,
        symbol: Symbol,
        order_id: str,
        changes: Mapping[str, str],
        expires_at: Millis | None,
        ticket: Ticket | None = None,
    ) -> SendResult:
        """One write about a resting order, classified."""
        fence = expires_at if expires_at is not None else self.clock.now() + CHANGE_WITHIN
        try:
            query = {
                "currency_pair": await self._markets.pair(symbol),
                "account": "spot",
                **changes,
                "x-gate-exptime": f"{fence}",
            }
            self._require_account()
        except (ExchangeTransient, ExchangeRefused) as error:
            return _not_sent(error, ticket)
        reply = await self._exchange(method, f"orders/{order_id}", query, ticket=ticket)
        return replace(classify_change(reply, self._report, order_id), wire=reply.wire)

    async def cancel_all(self, symbol: Symbol) -> Sequence[OrderReport]:
        """Cancel everything that rests in one market. Gate answers for each order; what it did not cancel rests on."""
        fence = str(self.clock.now() + CHANGE_WITHIN)
        query = {"currency_pair": await self._markets.pair(symbol), "x-gate-exptime": fence}
        answer = content_of(await self._exchange("DELETE", "orders", query))
        return [self._report(row) for row in answer if row.get("succeeded", True)]

    async def arm_countdown(self, seconds: int) -> Millis | None:
        """Arm Gate's countdown for all spot markets: 0 calls it off, otherwise at least 5. Each call starts it anew."""
        answer = content_of(await self._exchange("POST", "countdown_cancel_all", {"timeout": seconds}))
        return int(answer["triggerTime"]) if seconds else None

    # -- streams ------------------------------------------------------------------------------------------------

    async def watch_candles(
        self, symbols: Sequence[Symbol], timeframe: str
    ) -> AsyncIterator[Candle | Connected | Disconnected]:
        """Candles as they change, closed once each. Raises ExchangeRefused for a symbol Gate does not know."""
        pairs = [await self._markets.pair(symbol) for symbol in symbols]
        follower = CandleFollower()
        stream = GateStream(
            self._client,
            lambda: [self._client.subscription(rows.CANDLES, [timeframe, pair], private=False) for pair in pairs],
        )
        async for message in stream.messages():
            if isinstance(message, Connected):
                yield message
            elif isinstance(message, Disconnected):
                follower.interrupted()
                yield message
            elif message.get("channel") == rows.CANDLES and message.get("event") == "update":
                for candle in follower.follow(rows.stream_candle(message["result"], self._markets.symbol_of)):
                    yield candle

    async def watch_account(self) -> AsyncIterator[Frame | Connected | Disconnected]:
        """Every raw frame of the private channels, one per order, trade or set of balances, in order of receipt."""
        self._require_account()
        await self.markets()
        wanted = [(rows.ORDERS, ["!all"]), (rows.TRADES, ["!all"]), (rows.BALANCES, None)]
        stream = GateStream(
            self._client,
            lambda: [self._client.subscription(channel, payload, private=True) for channel, payload in wanted],
        )
        async for message in stream.messages():
            if isinstance(message, Connected | Disconnected):
                yield message
                continue
            for frame in rows.frames_of(message):
                yield frame

    def read_frame(self, frame: Frame) -> Sequence[OrderReport | Trade]:
        """What a stored frame says; raises IntegrityError for a value it cannot read."""
        return rows.read_frame(frame, self._markets.symbol_of)

    async def close(self) -> None:
        """Close every connection."""
        self._venue_clock.close()
        await self._client.close()

    # -- inside -------------------------------------------------------------------------------------------------

    def _report(self, row: Mapping[str, Any]) -> OrderReport:
        return rows.order_report(row, self._markets.symbol_of)

    async def _get(self, path: str, query: Mapping[str, str], *, private: bool = True) -> Any:
        return content_of(await self._exchange("GET", path, query, private=private))

    async def _exchange(
        self,
        method: str,
        path: str,
        params: Mapping[str, str | int],
        *,
        private: bool = True,
        ticket: Ticket | None = None,
    ) -> Reply:
        """One request, when Gate's rate limit has room for it. It waits here, unless it has its ticket already."""
        if private:
            self._require_account()
        if ticket is None:
            who = self._account if private else self._venue
            ticket = await self._limiter.wait(*limit_of(method, path, params, who, private=private))
        reply, loop = Reply(False), asyncio.get_running_loop()
        asked = loop.time()
        try:
            reply = await self._client.exchange(method, path, params, private=private)
        finally:
            ticket.answered(reply.usage, refused=reply.status == 429)
        self._venue_clock.note(reply.told_at, asked, loop.time())
        return reply

    def _require_account(self) -> None:
        if not self._private:
            raise ExchangeRefused(
                "this needs an account; the exchange was opened without credentials", code="missing_required_header"
            )

    async def _pages(self, path: str, query: Mapping[str, str], size: int) -> list[Any]:
        found: list[Any] = []
        page = 1
        while True:
            answer = await self._get(path, {**query, "limit": str(size), "page": str(page)})
            found += answer
            if len(answer) < size:
                return found
            page += 1


def _not_sent(error: ExchangeTransient | ExchangeRefused, ticket: Ticket | None) -> SendResult:
    """Nothing was written, so the leave to write is free again."""
    if ticket is not None:
        ticket.give_back()
    label = error.code.upper() if isinstance(error, ExchangeRefused) else ""
    return SendResult(ResultClass.NOT_SENT, label=label, message=str(error))


def _connect(credentials: Credentials | None, base_url: str | None, *, sandbox: bool, timeout: float) -> GateClient:
    # ccxt costs a second and 110 MB: only a process that talks to an exchange pays.
    from cashup.exchanges.gate_client import open_client

    key = None if credentials is None else (credentials.key, credentials.secret)
    return open_client(key, base_url, sandbox=sandbox, timeout=timeout)
