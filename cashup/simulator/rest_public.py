"""Gate API v4 spot under `/api/v4`: what everybody may read."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from aiohttp import web

from cashup.simulator.entry import MAX_COST
from cashup.simulator.gatekeeper import Handler
from cashup.simulator.orders import pair_of, text_of
from cashup.simulator.query import digits, whole
from cashup.simulator.refusals import Refusal
from cashup.simulator.venue import Venue
from cashup.types import Candle, Market, Millis

HUNDRED = Decimal(100)


def candle_row(candle: Candle) -> list[str]:
    """Gate's REST row: time, quote volume, close, high, low, open, base volume, closed."""
    prices = [text_of(value) for value in (candle.close, candle.high, candle.low, candle.open)]
    volume = text_of(candle.volume * candle.close)
    return [str(candle.time // 1000), volume, *prices, text_of(candle.volume), "true" if candle.closed else "false"]


def ticker_row(venue: Venue, market: Market) -> dict[str, str]:
    """The newest price of one market, with the figures of its newest closed bar."""
    price = venue.price(market.symbol)
    closed = venue.position - (0 if venue.halted else 1)
    candle = venue.tape.candle(market.symbol, max(closed, 0))
    return {
        "currency_pair": pair_of(market),
        "last": text_of(price),
        "lowest_ask": text_of(price + market.tick),
        "highest_bid": text_of(price - market.tick),
        "change_percentage": text_of(((price / candle.open - 1) * HUNDRED).quantize(Decimal("0.01"))),
        "base_volume": text_of(candle.volume),
        "quote_volume": text_of(candle.volume * candle.close),
        "high_24h": text_of(candle.high),
        "low_24h": text_of(candle.low),
    }


class PublicApi:
    """What everybody may read."""

    def __init__(self, venue: Venue) -> None:
        self.venue = venue

    def routes(self) -> Mapping[str, Handler]:
        """GET paths below `/api/v4`."""
        return {
            "/spot/time": self.time,
            "/spot/currencies": self.currencies,
            "/spot/currency_pairs": self.pairs,
            "/spot/currency_pairs/{pair}": self.pair,
            "/spot/tickers": self.tickers,
            "/spot/order_book": self.order_book,
            "/spot/trades": self.trades,
            "/spot/candlesticks": self.candles,
            # The other products of the venue exist, and list nothing: a stock client asks for all of them.
            "/margin/currency_pairs": self.nothing,
            "/futures/{settle}/contracts": self.nothing,
            "/delivery/{settle}/contracts": self.nothing,
            "/options/underlyings": self.nothing,
            "/options/contracts": self.nothing,
        }

    async def nothing(self, request: web.Request) -> list[Any]:
        """A product that is not simulated."""
        return []

    async def time(self, request: web.Request) -> dict[str, Millis]:
        """The venue's wall clock: signatures and fences are judged by it."""
        return {"server_time": self.venue.clock.now()}

    async def currencies(self, request: web.Request) -> list[dict[str, Any]]:
        """Every currency of every market."""
        names = sorted({c for market in self.venue.markets.values() for c in (market.base, market.quote)})
        return [
            {"currency": name, "name": name, "delisted": False, "trade_disabled": False, "chain": name, "chains": []}
            for name in names
        ]

    async def pairs(self, request: web.Request) -> list[dict[str, Any]]:
        """The trading rules of all markets."""
        return [self._pair(market) for market in self.venue.markets.values()]

    async def pair(self, request: web.Request) -> dict[str, Any]:
        """The trading rules of one market."""
        return self._pair(self.venue.market_of(request.match_info["pair"]))

    def _pair(self, market: Market) -> dict[str, Any]:
        return {
            "id": pair_of(market),
            "base": market.base,
            "base_name": market.base,
            "quote": market.quote,
            "quote_name": market.quote,
            "fee": text_of(market.taker_fee * HUNDRED),
            "maker_fee_rate": text_of(market.maker_fee * HUNDRED),
            "min_base_amount": text_of(market.min_quantity),
            "min_quote_amount": text_of(market.min_cost),
            "max_quote_amount": text_of(MAX_COST),
            "amount_precision": digits(market.lot),
            "precision": digits(market.tick),
            "trade_status": self.venue.status[market.symbol],
            "sell_start": 0,
            "buy_start": 0,
            "type": "normal",
        }

    async def tickers(self, request: web.Request) -> list[dict[str, str]]:
        """The newest prices of one market or all."""
        pair = request.query.get("currency_pair")
        markets = [self.venue.market_of(pair)] if pair else list(self.venue.markets.values())
        return [ticker_row(self.venue, market) for market in markets]

    async def order_book(self, request: web.Request) -> dict[str, Any]:
        """What rests, and the synthetic market one tick around its price."""
        market = self.venue.market_of(request.query.get("currency_pair", ""))
        price = self.venue.price(market.symbol)
        sides: dict[str, list[tuple[Decimal, Decimal]]] = {
            "buy": [(price - market.tick, Decimal(1_000_000))],
            "sell": [(price + market.tick, Decimal(1_000_000))],
        }
        for order in self.venue.book(market.symbol):
            if order.price is not None:
                sides[str(order.side)].append((order.price, order.left))
        now = self.venue.clock.now()
        limit = whole(request, "limit", 10, 1000)
        bids, asks = sorted(sides["buy"], reverse=True)[:limit], sorted(sides["sell"])[:limit]
        return {
            "id": now,
            "current": now,
            "update": now,
            "bids": [[text_of(price), text_of(amount)] for price, amount in bids],
            "asks": [[text_of(price), text_of(amount)] for price, amount in asks],
        }

    async def trades(self, request: web.Request) -> list[dict[str, Any]]:
        """The newest executions of a market, newest first."""
        market = self.venue.market_of(request.query.get("currency_pair", ""))
        rows = list(self.venue.public[market.symbol])[::-1][: whole(request, "limit", 100, 1000)]
        return [
            {
                "id": str(trade.id),
                "create_time": str(trade.time // 1000),
                "create_time_ms": f"{trade.time}.000000",
                "currency_pair": pair_of(market),
                "side": str(trade.side),
                "amount": text_of(trade.quantity),
                "price": text_of(trade.price),
                "sequence_id": str(trade.id),
            }
            for trade in rows
        ]

    async def candles(self, request: web.Request) -> list[list[str]]:
        """Bars, oldest first, the open one last; at most 1000."""
        market = self.venue.market_of(request.query.get("currency_pair", ""))
        tape = self.venue.tape
        if request.query.get("interval", "30m") != tape.timeframe:
            raise Refusal("INVALID_PARAM_VALUE", f"Invalid interval: this market is replayed in {tape.timeframe}")
        ranged = "from" in request.query or "to" in request.query
        if ranged and "limit" in request.query:
            raise Refusal("INVALID_PARAM_VALUE", "limit conflicts with from and to")
        last = self.venue.position
        begin = max(0, last + 1 - whole(request, "limit", 100, 1000))
        if ranged:
            until = whole(request, "to", tape.times[last] // 1000, None) * 1000
            end = min(last + 1, tape.position(until + 1))
            start = whole(request, "from", max(0, until // 1000 - 99 * tape.duration // 1000), None) * 1000
            begin = tape.position(start)
            if end - begin > 1000:
                raise Refusal("INVALID_PARAM_VALUE", "Too many points: a request gives at most 1000")
        else:
            end = last + 1
        closed = [tape.candle(market.symbol, index) for index in range(begin, min(end, last))]
        newest = [self.venue.candle(market.symbol)] if begin <= last < end else []
        return [candle_row(candle) for candle in (*closed, *newest)]
