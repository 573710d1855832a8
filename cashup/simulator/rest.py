"""The HTTP side of the simulated venue: Gate API v4 spot, under `/api/v4`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from decimal import Decimal
from typing import Any

from aiohttp import web

from cashup.simulator.accounts import Account
from cashup.simulator.entry import read_order
from cashup.simulator.gatekeeper import ACCOUNT, Gatekeeper
from cashup.simulator.orders import SimOrder, order_row, pair_of, text_of, trade_row
from cashup.simulator.refusals import Refusal
from cashup.simulator.venue import Venue
from cashup.types import Candle, Market, Millis

Handler = Callable[[web.Request], Awaitable[Any]]
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
            "max_quote_amount": "50000000",
            "amount_precision": digits(market.lot),
            "precision": digits(market.tick),
            "trade_status": "tradable",
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


class PrivateApi:
    """What needs a signature."""

    def __init__(self, venue: Venue, gatekeeper: Gatekeeper) -> None:
        self.venue = venue
        self.gatekeeper = gatekeeper

    def routes(self) -> Mapping[tuple[str, str], Handler]:
        """(method, path below `/api/v4`)."""
        return {
            ("GET", "/account/detail"): self.detail,
            ("GET", "/wallet/fee"): self.fee,
            ("GET", "/spot/fee"): self.fee,
            ("GET", "/spot/accounts"): self.accounts,
            ("GET", "/spot/open_orders"): self.open_orders,
            ("GET", "/spot/my_trades"): self.my_trades,
            ("POST", "/spot/orders"): self.create,
            ("GET", "/spot/orders"): self.orders,
            ("DELETE", "/spot/orders"): self.cancel_all,
            ("GET", "/spot/orders/{ident}"): self.get,
            ("DELETE", "/spot/orders/{ident}"): self.cancel,
        }

    async def detail(self, request: web.Request) -> dict[str, Any]:
        """The account itself: classic mode."""
        return {"user_id": _account(request).uid, "ip_whitelist": [], "key": {"mode": 1}, "tier": 0}

    async def fee(self, request: web.Request) -> dict[str, Any]:
        """The fees of one market, or of the first."""
        pair = request.query.get("currency_pair")
        market = self.venue.market_of(pair) if pair else next(iter(self.venue.markets.values()))
        return {
            "user_id": _account(request).uid,
            "taker_fee": text_of(market.taker_fee),
            "maker_fee": text_of(market.maker_fee),
            "gt_discount": False,
            "gt_taker_fee": "0",
            "gt_maker_fee": "0",
            "loan_fee": "0",
            "point_type": "0",
            "currency_pair": pair_of(market),
        }

    async def accounts(self, request: web.Request) -> list[dict[str, Any]]:
        """What the account owns."""
        wanted = request.query.get("currency")
        return [
            {
                "currency": currency,
                "available": text_of(holding.available),
                "locked": text_of(holding.locked),
                "update_id": holding.updates,
            }
            for currency, holding in _account(request).holdings.items()
            if wanted in {None, currency}
        ]

    async def create(self, request: web.Request) -> dict[str, Any]:
        """Place an order; 201 with the order as it stands after matching."""
        body = await self.gatekeeper.json(request)
        market = self.venue.market_of(str(body.get("currency_pair", "")))
        order, text = read_order(body, market, self.venue.price(market.symbol))
        return order_row(self.venue.place(_account(request), order, text))

    async def get(self, request: web.Request) -> dict[str, Any]:
        """One order, by venue id or by the client id of a pending one."""
        return order_row(self._find(request))

    async def cancel(self, request: web.Request) -> dict[str, Any]:
        """Cancel one order."""
        order = self._find(request)
        if order.match.done:
            label = "ORDER_CLOSED" if order.status == "closed" else "ORDER_CANCELLED"
            raise Refusal(label, f"Order {order.match.id} is {order.status}")
        return order_row(self.venue.cancel(_account(request), order))

    async def cancel_all(self, request: web.Request) -> list[dict[str, Any]]:
        """Cancel everything that rests, in one market or on one side when these are given."""
        side = request.query.get("side")
        orders = self.venue.resting(_account(request), request.query.get("currency_pair"))
        chosen = [order for order in orders if side in {None, str(order.match.side)}]
        return [order_row(self.venue.cancel(_account(request), order)) | {"succeeded": True} for order in chosen]

    async def orders(self, request: web.Request) -> list[dict[str, Any]]:
        """Open or finished orders of one market, newest first; from and to select finished ones by their end."""
        pair = pair_of(self.venue.market_of(request.query.get("currency_pair", "")))
        status = request.query.get("status")
        if status == "open":
            return page(request, [order_row(order) for order in self.venue.resting(_account(request), pair)], 100)
        if status != "finished":
            raise Refusal("INVALID_PARAM_VALUE", "Invalid argument: status")
        begin, end = span(request)
        account = _account(request)
        rows = [
            order
            for order in self.venue.orders.values()
            if order.account is account and order.pair == pair and order.match.done and begin <= order.updated < end
        ]
        rows.sort(key=lambda order: (order.updated, order.match.id), reverse=True)
        return page(request, [order_row(order) for order in rows], 100)

    async def open_orders(self, request: web.Request) -> list[dict[str, Any]]:
        """Everything that rests, grouped by market."""
        groups: dict[str, list[dict[str, Any]]] = {}
        for order in self.venue.resting(_account(request)):
            groups.setdefault(order.pair, []).append(order_row(order))
        answer = []
        for pair, rows in groups.items():
            orders = page(request, rows, 100)
            if orders:
                answer.append({"currency_pair": pair, "total": len(rows), "orders": orders})
        return answer

    async def my_trades(self, request: web.Request) -> list[dict[str, Any]]:
        """Executions, newest first; without a range those of the last seven days."""
        pair, order_id = request.query.get("currency_pair"), request.query.get("order_id")
        begin, end = span(request)
        if end - begin > 30 * 86_400_000 and "from" in request.query and "to" in request.query:
            raise Refusal("INVALID_PARAM_VALUE", "A range spans at most 30 days")
        if "from" not in request.query:
            begin = max(begin, self.venue.clock.now() - 7 * 86_400_000)
        account = _account(request)
        rows = [
            trade_row(trade)
            for trade in reversed(self.venue.trades)
            if trade.order.account is account
            and pair in {None, trade.order.pair}
            and order_id in {None, trade.order.match.id}
            and begin <= trade.time < end
        ]
        return page(request, rows, 1000)

    def _find(self, request: web.Request) -> SimOrder:
        pair = request.query.get("currency_pair", "")
        return self.venue.find(_account(request), pair, request.match_info["ident"])


def _account(request: web.Request) -> Account:
    return request[ACCOUNT]


def digits(step: Decimal) -> int:
    """How many decimals a step has: 0.01 has two; no step at all counts as eighteen."""
    exponent = step.normalize().as_tuple().exponent
    return max(0, -int(exponent)) if step else 18


def whole(request: web.Request, name: str, default: int, most: int | None) -> int:
    """A whole number from the query; refused when it is none, or negative, or above `most`."""
    given = request.query.get(name)
    if given is None:
        return default
    if not given.isdecimal() or (most is not None and int(given) > most):
        raise Refusal("INVALID_PARAM_VALUE", f"Invalid argument: {name}")
    return int(given)


def span(request: web.Request) -> tuple[Millis, Millis]:
    """`from` and `to` (whole seconds, both included) as milliseconds [begin, end)."""
    begin = whole(request, "from", 0, None) * 1000
    return begin, (whole(request, "to", 2**40, None) + 1) * 1000


def page(request: web.Request, rows: list[dict[str, Any]], most: int) -> list[dict[str, Any]]:
    """One page of `rows`; pages count from 1."""
    limit = whole(request, "limit", 100, most)
    number = max(1, whole(request, "page", 1, None))
    return rows[(number - 1) * limit : number * limit]
