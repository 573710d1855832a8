"""The port: all that CashUp asks of a venue, in the words of `types.py`.

`paper.py` is the implementation that ships for replay, paper trading and tests; `gate.py` talks to Gate.io through
ccxt. An adapter classifies (`SendResult`) and translates; it never retries a placement and never decides what an
order's state is.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

from cashup.types import Balance, Candle, Frame, Market, Millis, OrderReport, OrderRequest, SendResult, Symbol, Trade


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The stream broke; what happened until the next `Connected` must be fetched."""

    message: str


@dataclass(frozen=True, slots=True)
class Connected:
    """The stream is subscribed (again); from here on nothing is missed."""


class Exchange(Protocol):
    """One account on one venue, or a venue's public side when it was opened without credentials.

    Reads raise ExchangeTransient or ExchangeRefused. `place`, `cancel` and `amend` raise nothing for what a venue or
    network does.
    """

    async def markets(self) -> Mapping[Symbol, Market]:
        """The symbols that trade, with their steps, minimums and fees. Cached; cheap to call."""
        ...

    async def candles(self, symbol: Symbol, timeframe: str, since: Millis, limit: int = 1000) -> Sequence[Candle]:
        """Bars with open time >= `since`, oldest first, at most `limit`; the last one may be open (`closed` False)."""
        ...

    async def balances(self) -> Mapping[str, Balance]:
        """Every asset with something on it."""
        ...

    def admit(self, symbol: Symbol, order_id: str) -> float:
        """Keep the venue's leave to place or amend this order next: 0.0, or the seconds after which to ask again.

        `order_id` is the one that `place` or `amend` will be given. Ask before the request is claimed: its fence runs
        from the claim. Repeating it for the same order does nothing.
        """
        ...

    def apart(self) -> float:
        """0.0 while the venue's clock and ours agree, for all we know; else the seconds after which to ask again.

        While they are apart `admit` gives no leave, and no fence is known to have passed.
        """
        ...

    async def place(self, request: OrderRequest) -> SendResult:
        """Write the order to the venue's socket exactly once and classify what comes back."""
        ...

    async def cancel(self, symbol: Symbol, order_id: str, *, expires_at: Millis | None = None) -> SendResult:
        """Ask for the end of a resting order, by the venue's id or ours; asking twice does no harm.

        ACCEPTED carries the order as it then stands. UNKNOWN (also for every label that says the order is gone, or
        was never there) proves nothing: ask for the order. Raises nothing for what a venue or network does.
        """
        ...

    async def amend(
        self,
        symbol: Symbol,
        order_id: str,
        *,
        quantity: Decimal | None = None,
        price: Decimal | None = None,
        expires_at: Millis | None = None,
    ) -> SendResult:
        """Give a resting order another quantity (the whole of it, base currency) or limit price, or both.

        The classes are those of `cancel`. A venue that receives it after `expires_at` refuses it.
        """
        ...

    async def cancel_all(self, symbol: Symbol) -> Sequence[OrderReport]:
        """Cancel everything that rests in one market, whoever placed it; the orders that it ended, as they then stand.

        Raises ExchangeTransient or ExchangeRefused; what was cancelled is then unknown, and asking again does no harm.
        """
        ...

    async def arm_countdown(self, seconds: int) -> Millis | None:
        """Have the venue cancel everything that rests in so many seconds unless it is asked again; 0 calls it off.

        When it would happen, in the venue's time; None when it was called off, or when the venue has no such thing.
        Raises ExchangeTransient or ExchangeRefused.
        """
        ...

    async def find_order(self, symbol: Symbol, client_order_id: str) -> OrderReport | None:
        """The venue's lookup by client id. None proves nothing: venues forget finished orders."""
        ...

    async def fetch_order(self, symbol: Symbol, exchange_order_id: str) -> OrderReport | None:
        """The order with the venue's id, or None when the venue has no such order."""
        ...

    async def open_orders(self) -> Sequence[OrderReport]:
        """Everything that rests, complete (all pages) or an error."""
        ...

    async def finished_orders(self, symbol: Symbol, since: Millis, until: Millis) -> Sequence[OrderReport]:
        """Orders that ended in [since, until], complete or an error."""
        ...

    async def trades(self, symbol: Symbol, since: Millis) -> Sequence[Trade]:
        """Our executions since `since`, oldest first, complete or an error."""
        ...

    def watch_candles(
        self, symbols: Sequence[Symbol], timeframe: str
    ) -> AsyncIterator[Candle | Connected | Disconnected]:
        """Candles as they change, `closed` at a bar's last frame or when the next one opens. Reconnects by itself."""
        ...

    def watch_account(self) -> AsyncIterator[Frame | Connected | Disconnected]:
        """Raw frames of the private channels (orders, trades, balances), every one, in order of receipt."""
        ...

    def read_frame(self, frame: Frame) -> Sequence[OrderReport | Trade]:
        """What a stored frame says. Pure; raises IntegrityError for a value it cannot read."""
        ...

    async def close(self) -> None:
        """Close every connection."""
        ...
