"""The public side of an exchange, through ccxt: candles, funding rates and trades of the past."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import ccxt.async_support as ccxt
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_exponential_jitter

from cashup.errors import ExchangeRefused, ExchangeTransient, UsageError
from cashup.exchanges.ccxt_adapter import point_at
from cashup.strategies.symbols import did_you_mean
from cashup.types import Millis

PAGE = 500
"""Rows per request where ccxt does not know the venue's limit."""

_TRIES = 5
PATIENCE = 20.0
"""Seconds that are waited at most before a read is tried again."""

Row = Sequence[float]


class PublicClient:
    """Reads of one exchange without a key; ccxt keeps its rate limit. A read that fails in passing is tried again.

    Raises UsageError for what the exchange does not have, ExchangeRefused when it says no, and ExchangeTransient when
    it cannot be reached after several tries.
    """

    def __init__(self, client: Any, patience: float = PATIENCE) -> None:
        self._client = client
        self._patience = patience

    async def require(self, symbol: str, timeframe: str | None = None) -> None:
        """Raise UsageError unless the exchange lists `symbol` and serves `timeframe`."""
        await self._read(self._client.load_markets)
        if symbol not in self._client.markets:
            raise UsageError(
                f"{self._client.id} does not list {symbol}; {did_you_mean(symbol, list(self._client.markets))}"
            )
        served = self._client.timeframes or {}
        if timeframe is not None and served and timeframe not in served:
            raise UsageError(f"{self._client.id} has no {timeframe} candles; it has {', '.join(served)}")

    def page(self, symbol: str) -> int:
        """How many candles one request can give."""
        known: int | None = self._client.feature_value(symbol, "fetchOHLCV", "limit")
        return known or PAGE

    async def candles(self, symbol: str, timeframe: str, since: Millis, limit: int) -> list[Row]:
        """Rows `[open time in ms, open, high, low, close, volume]` from `since` on, at most `limit`."""
        rows: list[Row] = await self._read(self._client.fetch_ohlcv, symbol, timeframe, since, limit)
        return rows

    async def funding(self, symbol: str, since: Millis) -> list[Row]:
        """Rows `[funding time in ms, rate]` from `since` on, as many as one request gives."""
        rates = await self._read(self._client.fetch_funding_rate_history, symbol, since)
        return [[rate["timestamp"], rate["fundingRate"]] for rate in rates]

    async def trades(self, symbol: str, since: Millis) -> list[tuple[str, Row]]:
        """`(id, [time in ms, price, amount in base currency, side])` from `since` on; side is 1 when the taker bought.

        Some venues give their newest trades whatever is asked (Gate does for spot).
        """
        trades = await self._read(self._client.fetch_trades, symbol, since)
        size = self._client.market(symbol).get("contractSize") or 1.0
        return [
            (str(t["id"]), [t["timestamp"], t["price"], t["amount"] * size, 1.0 if t["side"] == "buy" else -1.0])
            for t in trades
        ]

    async def _read(self, call: Callable[..., Awaitable[Any]], *words: Any) -> Any:
        try:
            async for attempt in AsyncRetrying(
                retry=retry_if_exception_type(ccxt.NetworkError),
                stop=stop_after_attempt(_TRIES),
                wait=wait_exponential_jitter(multiplier=0.5, max=self._patience, jitter=self._patience / 40),
                reraise=True,
            ):
                with attempt:
                    return await call(*words)
        except ccxt.NetworkError as error:
            raise ExchangeTransient(f"{self._client.id} cannot be read now: {error}; run it again later") from error
        except ccxt.NotSupported as error:
            raise UsageError(f"{self._client.id} does not offer this through ccxt: {error}") from error
        except ccxt.BaseError as error:
            raise ExchangeRefused(f"{self._client.id} refused: {error}") from error
        raise AssertionError("an attempt ends by returning or raising")


@asynccontextmanager
async def open_client(
    exchange: str, base_url: str | None = None, *, patience: float = PATIENCE
) -> AsyncIterator[PublicClient]:
    """A client of `exchange` (ccxt's id), or of a server at `base_url` that speaks its protocol. Raises UsageError."""
    if exchange not in ccxt.exchanges:
        raise UsageError(f"ccxt knows no exchange {exchange!r}; {did_you_mean(exchange, ccxt.exchanges)}")
    client = getattr(ccxt, exchange)({"enableRateLimit": True})
    if base_url is not None:
        point_at(client, base_url)
    try:
        yield PublicClient(client, patience)
    finally:
        await client.close()
