"""The paper exchange: the port on an account in memory, for paper trading and as a venue in tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from decimal import Decimal

from cashup.errors import ExchangeRefused
from cashup.exchanges.base import Connected, Disconnected
from cashup.exchanges.paper_frames import read_frame
from cashup.exchanges.paper_venue import PaperAccount, PaperVenue
from cashup.types import (
    Balance,
    Candle,
    Frame,
    Market,
    Millis,
    OrderReport,
    OrderRequest,
    SendResult,
    Symbol,
    Trade,
)


class PaperExchange:
    """One paper account behind the port, or the venue's public side when there is no account."""

    def __init__(self, venue: PaperVenue, account: PaperAccount | None = None) -> None:
        self.venue = venue
        self._account = account

    @property
    def account(self) -> PaperAccount:
        """The account; raises ExchangeRefused on a public exchange."""
        if self._account is None:
            raise ExchangeRefused("this is the venue's public side; open an account to trade on it")
        return self._account

    async def markets(self) -> Mapping[Symbol, Market]:
        """The symbols that trade, with their rules."""
        return {symbol: matcher.market for symbol, matcher in self.venue.matchers.items()}

    async def candles(self, symbol: Symbol, timeframe: str, since: Millis, limit: int = 1000) -> Sequence[Candle]:
        """What was published of this symbol; raises ExchangeRefused when it does not trade here."""
        if symbol not in self.venue.matchers:
            raise ExchangeRefused(f"{symbol} does not trade here")
        bars = self.venue.history.get((symbol, timeframe), [])
        return [candle for candle in bars if candle.time >= since][:limit]

    async def balances(self) -> Mapping[str, Balance]:
        """Every asset with something on it."""
        return {asset: balance for asset, balance in self.account.balances.items() if balance.total}

    def admit(self, symbol: Symbol, order_id: str) -> float:
        """Paper has no rate limits."""
        return 0.0

    def apart(self) -> float:
        """Paper has our clock."""
        return 0.0

    async def place(self, request: OrderRequest) -> SendResult:
        """Match the order; the answer is never UNKNOWN."""
        return self.account.place(request)

    async def cancel(self, symbol: Symbol, order_id: str, *, expires_at: Millis | None = None) -> SendResult:
        """Cancel; an order that has ended, or never was, is answered as UNKNOWN: ask for it."""
        return self.account.cancel(symbol, order_id, expires_at=expires_at)

    async def amend(
        self,
        symbol: Symbol,
        order_id: str,
        *,
        quantity: Decimal | None = None,
        price: Decimal | None = None,
        expires_at: Millis | None = None,
    ) -> SendResult:
        """Change a resting order, with the classes of `cancel`."""
        return self.account.amend(symbol, order_id, quantity=quantity, price=price, expires_at=expires_at)

    async def cancel_all(self, symbol: Symbol) -> Sequence[OrderReport]:
        """Cancel everything that rests in one market."""
        return self.account.cancel_all(symbol)

    async def arm_countdown(self, seconds: int) -> Millis | None:
        """Arm the countdown of the account, or call it off with 0; it falls due by the venue's clock."""
        return self.account.arm_countdown(seconds)

    async def find_order(self, symbol: Symbol, client_order_id: str) -> OrderReport | None:
        """The newest order with this client id, finished or not."""
        found = [report for report in self.account.reports(symbol) if report.client_order_id == client_order_id]
        return found[-1] if found else None

    async def fetch_order(self, symbol: Symbol, exchange_order_id: str) -> OrderReport | None:
        """The order with the venue's id."""
        found = [report for report in self.account.reports(symbol) if report.exchange_order_id == exchange_order_id]
        return found[0] if found else None

    async def open_orders(self) -> Sequence[OrderReport]:
        """Everything that rests, oldest first."""
        return [report for report in self.account.reports() if not report.done]

    async def finished_orders(self, symbol: Symbol, since: Millis, until: Millis) -> Sequence[OrderReport]:
        """Orders that ended in [since, until]."""
        return [r for r in self.account.reports(symbol) if r.done and since <= r.updated_at <= until]

    async def trades(self, symbol: Symbol, since: Millis) -> Sequence[Trade]:
        """The account's executions since `since`, oldest first."""
        return [trade for trade in self.account.trades if trade.symbol == symbol and trade.time >= since]

    async def watch_candles(
        self, symbols: Sequence[Symbol], timeframe: str
    ) -> AsyncIterator[Candle | Connected | Disconnected]:
        """Every candle that is published from the moment of `Connected`."""
        queue, stop = self.venue.watch(symbols, timeframe)
        try:
            yield Connected()
            while True:
                yield await queue.get()
        finally:
            stop()

    async def watch_account(self) -> AsyncIterator[Frame | Connected | Disconnected]:
        """Every private frame from the moment of `Connected`: trades first, then the order they belong to."""
        queue, stop = self.account.listen()
        try:
            yield Connected()
            while True:
                yield await queue.get()
        finally:
            stop()

    def read_frame(self, frame: Frame) -> Sequence[OrderReport | Trade]:
        """What a frame says; raises IntegrityError for what it cannot read."""
        return read_frame(frame)

    async def close(self) -> None:
        """Nothing is open."""
