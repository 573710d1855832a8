"""An exchange in front of another one that loses answers, frames or whole orders when it is told to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from cashup.errors import ExchangeTransient
from cashup.exchanges.base import Connected, Disconnected, Exchange
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


@dataclass
class FaultyExchange:
    """`lose_orders` and `lose_answers` count how many placements suffer; `drop` and `repeat` name channels,
    `slow_reads` is how long a list of orders takes (s), `full` how long no order has room in the rate limit (s)."""

    inner: Exchange
    lose_orders: int = 0
    lose_answers: int = 0
    refuse_connections: int = 0
    break_reads: int = 0
    break_trades: bool = False
    lose_changes: int = 0
    lose_change_answers: int = 0
    break_cancels: int = 0
    break_countdowns: int = 0
    slow_reads: float = 0.0
    full: float = 0.0
    clocks_apart: bool = False
    drop_frames: bool = False
    repeat_frames: int = 1
    placed: list[OrderRequest] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    amended: list[str] = field(default_factory=list)
    breaks: asyncio.Event = field(default_factory=asyncio.Event)

    def admit(self, symbol: Symbol, order_id: str) -> float:
        return self.full or self.inner.admit(symbol, order_id)

    def apart(self) -> float:
        return 0.01 if self.clocks_apart else self.inner.apart()

    async def place(self, request: OrderRequest) -> SendResult:
        if self.refuse_connections:
            self.refuse_connections -= 1
            return SendResult(ResultClass.NOT_SENT, message="connection refused")
        self.placed.append(request)
        if self.lose_orders:
            self.lose_orders -= 1
            return SendResult(ResultClass.UNKNOWN, message="timeout")
        result = await self.inner.place(request)
        if self.lose_answers:
            self.lose_answers -= 1
            return SendResult(ResultClass.UNKNOWN, message="connection reset")
        return result

    async def watch_account(self) -> AsyncIterator[Frame | Connected | Disconnected]:
        async for item in self.inner.watch_account():
            if not isinstance(item, Frame):
                yield item
            elif not self.drop_frames:
                for _ in range(self.repeat_frames):
                    yield item
            if self.breaks.is_set():
                self.breaks.clear()
                yield Disconnected("cut")
                yield Connected()

    async def finished_orders(self, symbol: Symbol, since: Millis, until: Millis) -> Sequence[OrderReport]:
        if self.break_reads:
            self.break_reads -= 1
            raise ExchangeTransient("502")
        return await self.inner.finished_orders(symbol, since, until)

    async def markets(self) -> Mapping[Symbol, Market]:
        return await self.inner.markets()

    async def candles(self, symbol: Symbol, timeframe: str, since: Millis, limit: int = 1000) -> Sequence[Candle]:
        return await self.inner.candles(symbol, timeframe, since, limit)

    async def balances(self) -> Mapping[str, Balance]:
        return await self.inner.balances()

    async def cancel(self, symbol: Symbol, order_id: str, *, expires_at: Millis | None = None) -> SendResult:
        self.cancelled.append(order_id)
        return await self._changed(self.inner.cancel(symbol, order_id, expires_at=expires_at))

    async def amend(
        self,
        symbol: Symbol,
        order_id: str,
        *,
        quantity: Decimal | None = None,
        price: Decimal | None = None,
        expires_at: Millis | None = None,
    ) -> SendResult:
        self.amended.append(order_id)
        inner = self.inner.amend(symbol, order_id, quantity=quantity, price=price, expires_at=expires_at)
        return await self._changed(inner)

    async def _changed(self, inner: Coroutine[Any, Any, SendResult]) -> SendResult:
        """A cancel or an amendment: perhaps lost on its way there, perhaps on its way back."""
        if self.lose_changes:
            self.lose_changes -= 1
            inner.close()
            return SendResult(ResultClass.UNKNOWN, message="timeout")
        result = await inner
        if self.lose_change_answers:
            self.lose_change_answers -= 1
            return SendResult(ResultClass.UNKNOWN, message="connection reset")
        return result

    async def cancel_all(self, symbol: Symbol) -> Sequence[OrderReport]:
        if self.break_cancels:
            self.break_cancels -= 1
            raise ExchangeTransient("502")
        return await self.inner.cancel_all(symbol)

    async def arm_countdown(self, seconds: int) -> Millis | None:
        if self.break_countdowns:
            self.break_countdowns -= 1
            raise ExchangeTransient("502")
        return await self.inner.arm_countdown(seconds)

    async def find_order(self, symbol: Symbol, client_order_id: str) -> OrderReport | None:
        return None  # as Gate answers for an order that has ended

    async def fetch_order(self, symbol: Symbol, exchange_order_id: str) -> OrderReport | None:
        return await self.inner.fetch_order(symbol, exchange_order_id)

    async def open_orders(self) -> Sequence[OrderReport]:
        await asyncio.sleep(self.slow_reads)
        return await self.inner.open_orders()

    async def trades(self, symbol: Symbol, since: Millis) -> Sequence[Trade]:
        if self.break_trades:
            raise ExchangeTransient("502")
        return await self.inner.trades(symbol, since)

    def watch_candles(
        self, symbols: Sequence[Symbol], timeframe: str
    ) -> AsyncIterator[Candle | Connected | Disconnected]:
        return self.inner.watch_candles(symbols, timeframe)

    def read_frame(self, frame: Frame) -> Sequence[OrderReport | Trade]:
        return self.inner.read_frame(frame)

    async def close(self) -> None:
        await self.inner.close()
