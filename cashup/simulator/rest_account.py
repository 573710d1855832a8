"""Gate API v4 under `/api/v4`: a customer's account, its fees, balances and executions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiohttp import web

from cashup.simulator.gatekeeper import ACCOUNT, Route
from cashup.simulator.orders import pair_of, text_of, trade_row
from cashup.simulator.query import DAY, page, span
from cashup.simulator.refusals import Refusal
from cashup.simulator.venue import Venue
from cashup.types import Market


class AccountApi:
    """Reads that need a signature."""

    def __init__(self, venue: Venue) -> None:
        self.venue = venue

    def routes(self) -> Mapping[tuple[str, str], Route]:
        """(method, path below `/api/v4`)."""
        return {
            ("GET", "/account/detail"): Route(self.detail),
            ("GET", "/account/rate_limit"): Route(self.rate_limit),
            ("GET", "/wallet/fee"): Route(self.fee),
            ("GET", "/spot/fee"): Route(self.fee),
            ("GET", "/spot/batch_fee"): Route(self.fees),
            ("GET", "/spot/accounts"): Route(self.accounts),
            ("GET", "/spot/account_book"): Route(self.account_book),
            ("GET", "/spot/my_trades"): Route(self.my_trades),
        }

    async def detail(self, request: web.Request) -> dict[str, Any]:
        """The account itself: classic mode."""
        return {
            "user_id": request[ACCOUNT].uid,
            "ip_whitelist": [],
            "currency_pairs": [],
            "tier": 0,
            "key": {"mode": 1},
            "copy_trading_role": 0,
        }

    async def rate_limit(self, request: web.Request) -> list[dict[str, str]]:
        """The tier that decides on the account's limits."""
        now = str(self.venue.clock.now() // 1000)
        return [{"type": "spot", "tier": "0", "ratio": "0", "main_ratio": "0", "updated_at": now}]

    async def fee(self, request: web.Request) -> dict[str, Any]:
        """The fees of one market, or of the first."""
        pair = request.query.get("currency_pair")
        market = self.venue.market_of(pair) if pair else next(iter(self.venue.markets.values()))
        return {"user_id": request[ACCOUNT].uid, **fee_row(market)}

    async def fees(self, request: web.Request) -> dict[str, Any]:
        """The fees of several markets, by their ids."""
        pairs = request.query.get("currency_pairs", "").split(",")
        return {pair: fee_row(self.venue.market_of(pair)) for pair in pairs}

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
            for currency, holding in self.venue.holdings(request[ACCOUNT]).items()
            if wanted in {None, currency}
        ]

    async def account_book(self, request: web.Request) -> list[dict[str, Any]]:
        """What changed the balances, newest first; without a range that of the last seven days."""
        begin, end = span(request, self.venue.clock.now() - 7 * DAY)
        currency, kind = request.query.get("currency"), request.query.get("type")
        rows = [
            {
                "id": str(change.id),
                "time": change.time,
                "currency": change.currency,
                "change": text_of(change.change),
                "balance": text_of(change.available + change.locked),
                "type": change.kind,
                "code": "",
                "text": "",
            }
            for change in reversed(self.venue.changes[request[ACCOUNT].uid])
            if change.change and begin <= change.time < end and currency in {None, change.currency}
        ]
        return page(request, [row for row in rows if kind in {None, row["type"]}], 1000)

    async def my_trades(self, request: web.Request) -> list[dict[str, Any]]:
        """Executions, newest first; without a range those of the last seven days."""
        pair, order_id = request.query.get("currency_pair"), request.query.get("order_id")
        begin, end = span(request, self.venue.clock.now() - 7 * DAY)
        if end - begin > 30 * DAY + 1000 and "from" in request.query and "to" in request.query:
            raise Refusal("INVALID_PARAM_VALUE", "A range spans at most 30 days")
        if order_id is not None and pair is None:
            raise Refusal("INVALID_PARAM_VALUE", "Invalid argument: order_id needs currency_pair")
        found = [
            trade
            for trade in reversed(self.venue.traded[request[ACCOUNT].uid])
            if pair in {None, trade.order.pair}
            and order_id in {None, trade.order.match.id}
            and begin <= trade.time < end
        ]
        return [trade_row(trade) for trade in page(request, found, 1000)]


def fee_row(market: Market) -> dict[str, Any]:
    """The fees of one market as Gate writes them."""
    return {
        "taker_fee": text_of(market.taker_fee),
        "maker_fee": text_of(market.maker_fee),
        "gt_discount": False,
        "gt_taker_fee": "0",
        "gt_maker_fee": "0",
        "loan_fee": "0",
        "point_type": "0",
        "currency_pair": pair_of(market),
        "debit_fee": 3,
    }
