"""A paper account in memory: opened at a page of its book, traded, and turned to the next page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cashup.clock import Clock
from cashup.exchanges.matching import MatchOrder
from cashup.exchanges.paper_frames import ORDERS
from cashup.exchanges.paper_terms import PaperTerms
from cashup.exchanges.paper_venue import PaperVenue
from cashup.exchanges.rules import currencies
from cashup.paper.book import Line, Page
from cashup.paper.market import PaperMarket
from cashup.types import Frame, Market, OrderRequest, Symbol, Trade


@dataclass(frozen=True, slots=True)
class Change:
    """What happened since the page before: to be committed, and only then to be told."""

    page: Page
    orders: list[Line]
    trades: list[Trade]
    frames: list[Frame]


class Session:
    """The account of `page` on a venue of its own. `rules` are the markets that trade."""

    def __init__(self, page: Page, rules: Mapping[Symbol, Market], terms: PaperTerms, clock: Clock) -> None:
        self.venue = PaperVenue([], clock, slippage=terms.slippage, serial=page.serial)
        self.account = self.venue.open_account({})
        self.account.balances = dict(page.balances)
        self.account.cancel_at = page.cancel_at
        self.markets: dict[Symbol, PaperMarket] = {}
        self._rules = rules
        self._share = terms.liquidity
        self._page = page
        self._frames, _ = self.account.listen()
        for line in page.resting:
            self.market(line.symbol)
            self.account.restore(_request(line), _match(line), line.reserved, line.updated_at)

    @property
    def resting(self) -> list[Symbol]:
        """The symbols in which an order rests and that still trade."""
        return [symbol for symbol, market in self.markets.items() if market.rests and symbol in self._rules]

    def market(self, symbol: Symbol) -> PaperMarket:
        """The market of `symbol`, where it was left. One that trades no more stands still; its orders can be ended."""
        if symbol not in self.markets:
            self.venue.add(self._rules.get(symbol) or Market(symbol, *currencies(symbol)))
            self.markets[symbol] = PaperMarket(self.venue, symbol, self._share)
            if symbol in self._page.markets:
                self.markets[symbol].resume(dict(self._page.markets[symbol]))
        return self.markets[symbol]

    def turn(self) -> Change | None:
        """What happened since the last turn, None when nothing did. Ended orders are forgotten: the book has them."""
        frames = [self._frames.get_nowait() for _ in range(self._frames.qsize())]
        if not frames and self.account.cancel_at == self._page.cancel_at:
            return None
        touched = dict.fromkeys(frame.body["id"] for frame in frames if frame.channel == ORDERS)
        orders = [self._line(ident) for ident in touched]
        trades, self.account.trades = self.account.trades, []
        for line in orders:
            if line.done:
                self.account.forget(str(line.id))
        followed: dict[str, Any] = {
            symbol: market.document() for symbol, market in self.markets.items() if market.seen is not None
        }
        self._page = Page(
            version=self._page.version + 1,
            serial=self.venue.serial,
            balances=dict(self.account.balances),
            markets=dict(self._page.markets) | followed,
            cancel_at=self.account.cancel_at,
        )
        return Change(self._page, orders, trades, frames)

    def _line(self, ident: str) -> Line:
        placed = self.account.placed[ident]
        match, request = placed.match, placed.request
        return Line(
            id=int(ident),
            client_order_id=request.client_order_id,
            symbol=request.symbol,
            side=match.side,
            type=match.type,
            time_in_force=match.time_in_force,
            quantity=match.quantity,
            cost=match.cost,
            price=match.price,
            filled=match.filled,
            spent=match.spent,
            reserved=placed.reserved,
            done=match.done,
            reason=match.reason,
            updated_at=placed.updated_at,
        )


def _request(line: Line) -> OrderRequest:
    return OrderRequest(
        client_order_id=line.client_order_id,
        symbol=line.symbol,
        side=line.side,
        type=line.type,
        quantity=line.quantity,
        cost=line.cost,
        price=line.price,
        time_in_force=line.time_in_force,
    )


def _match(line: Line) -> MatchOrder:
    order = MatchOrder.of(str(line.id), _request(line))
    order.filled, order.spent = line.filled, line.spent
    return order
