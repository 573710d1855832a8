"""Gate API v4 under `/api/v4`: placing, amending, cancelling and listing orders, alone and in batches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from itertools import groupby
from typing import Any

from aiohttp import web

from cashup.simulator.accounts import Account
from cashup.simulator.entry import read_amendment, read_order
from cashup.simulator.gatekeeper import ACCOUNT, ENDS, RECEIVED, Gatekeeper, Route
from cashup.simulator.orders import SimOrder, order_row, pair_of
from cashup.simulator.query import page, span
from cashup.simulator.refusals import Refusal
from cashup.simulator.venue import Venue

BATCH_PAIRS, BATCH_ORDERS, BATCH_CANCELS, BATCH_AMENDMENTS = 4, 10, 20, 5
"""What one batch may hold: markets, orders of each, cancels, amendments."""
SHORTEST_COUNTDOWN = 5


class OrderApi:
    """Orders of the customer that signed. `trigger_text` writes a countdown's time as text, as Gate's example does."""

    def __init__(self, venue: Venue, gatekeeper: Gatekeeper, *, trigger_text: bool = False) -> None:
        self.venue = venue
        self.gatekeeper = gatekeeper
        self.trigger_text = trigger_text

    def routes(self) -> Mapping[tuple[str, str], Route]:
        """(method, path below `/api/v4`)."""
        return {
            ("POST", "/spot/orders"): Route(self.create, status=201),
            ("GET", "/spot/orders"): Route(self.orders),
            ("DELETE", "/spot/orders"): Route(self.cancel_all),
            ("GET", "/spot/orders/{ident}"): Route(self.get),
            ("PATCH", "/spot/orders/{ident}"): Route(self.amend),
            ("DELETE", "/spot/orders/{ident}"): Route(self.cancel),
            ("GET", "/spot/open_orders"): Route(self.open_orders),
            ("POST", "/spot/batch_orders"): Route(self.create_batch),
            ("POST", "/spot/amend_batch_orders"): Route(self.amend_batch),
            ("POST", "/spot/cancel_batch_orders"): Route(self.cancel_batch),
            ("POST", "/spot/countdown_cancel_all"): Route(self.countdown),
        }

    # -- one order ----------------------------------------------------------------------------------------------

    async def create(self, request: web.Request) -> dict[str, Any]:
        """Place an order; 201 with the order as it stands after matching."""
        return order_row(self._place(request, await self.gatekeeper.json(request)))

    async def get(self, request: web.Request) -> dict[str, Any]:
        """One order, by venue id or by the client id of a pending one."""
        pair = request.query.get("currency_pair", "")
        return order_row(self.venue.find(request[ACCOUNT], pair, request.match_info["ident"]))

    async def amend(self, request: web.Request) -> dict[str, Any]:
        """Another amount, price or both for an order that rests. Fields may stand in the query, the body or both."""
        body = {**request.query, **await self.gatekeeper.json(request)}
        return order_row(self._amend(request[ACCOUNT], request.match_info["ident"], body))

    async def cancel(self, request: web.Request) -> dict[str, Any]:
        """Cancel one order."""
        pair = request.query.get("currency_pair", "")
        return order_row(self._cancel(request[ACCOUNT], request.match_info["ident"], pair))

    # -- several orders -----------------------------------------------------------------------------------------

    async def create_batch(self, request: web.Request) -> list[dict[str, Any]]:
        """Place several orders; each succeeds or fails by itself."""
        items = await self.gatekeeper.items(request, BATCH_ORDERS * BATCH_PAIRS)
        pairs = Counter(str(item.get("currency_pair", "")) for item in items)
        if len(pairs) > BATCH_PAIRS or max(pairs.values()) > BATCH_ORDERS:
            limits = f"{BATCH_PAIRS} currency pairs with {BATCH_ORDERS} orders each"
            raise Refusal("INVALID_PARAM_VALUE", f"A batch has at most {limits}")
        if not all(item.get("text") for item in items):
            raise Refusal("INVALID_PARAM_VALUE", "Invalid argument: text is required in a batch")
        return [_item(item, lambda item: self._place(request, item)) for item in items]

    async def amend_batch(self, request: web.Request) -> list[dict[str, Any]]:
        """Amend several orders; each succeeds or fails by itself."""
        items = await self.gatekeeper.items(request, BATCH_AMENDMENTS)
        account = request[ACCOUNT]
        return [_item(item, lambda item: self._amend(account, str(item.get("order_id", "")), item)) for item in items]

    async def cancel_batch(self, request: web.Request) -> list[dict[str, Any]]:
        """Cancel several orders; each succeeds or fails by itself."""
        account = request[ACCOUNT]

        def cancel(item: Mapping[str, Any]) -> SimOrder:
            return self._cancel(account, str(item.get("id", "")), str(item.get("currency_pair", "")))

        return [_item(item, cancel) for item in await self.gatekeeper.items(request, BATCH_CANCELS)]

    async def cancel_all(self, request: web.Request) -> list[dict[str, Any]]:
        """Cancel everything that rests, in one market or on one side when these are given."""
        pair = request.query.get("currency_pair")
        if pair is not None:
            self.venue.market_of(pair)
        ended = self.venue.end_all(request[ACCOUNT], pair, request.query.get("side"))
        return [order_row(order) | {"succeeded": True} for order in ended]

    async def countdown(self, request: web.Request) -> dict[str, Any]:
        """Cancel what rests unless this is asked for again in time; 0 switches it off."""
        body = await self.gatekeeper.json(request)
        seconds, pair = body.get("timeout"), body.get("currency_pair") or None
        if not isinstance(seconds, int) or (seconds != 0 and seconds < SHORTEST_COUNTDOWN):
            raise Refusal("INVALID_PARAM_VALUE", f"timeout must be 0 or at least {SHORTEST_COUNTDOWN}")
        if pair is not None:
            self.venue.market_of(str(pair))
        trigger = self.venue.countdowns.arm(request[ACCOUNT].uid, pair, seconds)
        return {"triggerTime": str(trigger) if self.trigger_text else trigger}

    # -- lists --------------------------------------------------------------------------------------------------

    async def orders(self, request: web.Request) -> list[dict[str, Any]]:
        """Open or finished orders of one market, newest first; from and to select finished ones by their end."""
        account, pair = request[ACCOUNT], pair_of(self.venue.market_of(request.query.get("currency_pair", "")))
        status, side = request.query.get("status"), request.query.get("side")
        if status == "open":
            found = self.venue.resting(account, pair)
        elif status == "finished":
            begin, end = span(request)
            ended = self.venue.ended[account.uid]
            found = [order for order in ended if order.pair == pair and begin <= order.updated < end]
            found.sort(key=lambda order: (order.updated, order.match.id), reverse=True)
        else:
            raise Refusal("INVALID_PARAM_VALUE", "Invalid argument: status")
        chosen = [order for order in found if side in {None, str(order.match.side)}]
        return [order_row(order) for order in page(request, chosen, 100)]

    async def open_orders(self, request: web.Request) -> list[dict[str, Any]]:
        """Everything that rests, grouped by market; pages are those of each market."""
        found = sorted(self.venue.resting(request[ACCOUNT]), key=lambda order: order.pair)
        answer = []
        for pair, group in groupby(found, lambda order: order.pair):
            orders = list(group)
            if shown := page(request, orders, 100):
                rows = [order_row(order) for order in shown]
                answer.append({"currency_pair": pair, "total": len(orders), "orders": rows})
        return answer

    # -- inside -------------------------------------------------------------------------------------------------

    def _place(self, request: web.Request, body: Mapping[str, Any]) -> SimOrder:
        market = self.venue.market_of(str(body.get("currency_pair", "")))
        order, text = read_order(body, market, self.venue.price(market.symbol))
        ends = request.get(ENDS)
        return self.venue.place(request[ACCOUNT], order, text, received=request[RECEIVED], ends=ends)

    def _amend(self, account: Account, ident: str, body: Mapping[str, Any]) -> SimOrder:
        order = self._live(account, ident, str(body.get("currency_pair", "")))
        quantity, price, text = read_amendment(body, order, self.venue.markets[order.market.symbol])
        return self.venue.amend(account, order, quantity, price, text)

    def _cancel(self, account: Account, ident: str, pair: str) -> SimOrder:
        return self.venue.end(self._live(account, ident, pair))

    def _live(self, account: Account, ident: str, pair: str) -> SimOrder:
        """An order that rests; refused when it has ended, by how it ended."""
        order = self.venue.find(account, pair, ident)
        if order.match.done:
            label = "ORDER_CLOSED" if order.status == "closed" else "ORDER_CANCELLED"
            raise Refusal(label, f"Order {order.match.id} is {order.status}")
        return order


def _item(item: Mapping[str, Any], work: Callable[[Mapping[str, Any]], SimOrder]) -> dict[str, Any]:
    """What became of one item of a batch."""
    try:
        row = order_row(work(item))
    except Refusal as refusal:
        names = {"id", "order_id", "text", "amend_text", "currency_pair"}
        given = {name: value for name, value in item.items() if name in names}
        return given | {"succeeded": False, **refusal.body()}
    return row | {"order_id": row["id"], "succeeded": True, "label": "", "message": ""}
