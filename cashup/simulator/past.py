"""The venue as it was: what reads show whose answers come from a replica that lags."""

from __future__ import annotations

import copy
from collections import defaultdict
from dataclasses import replace
from typing import Any

from cashup.simulator.accounts import Account, Holding
from cashup.simulator.gatekeeper import Route
from cashup.simulator.orders import SimOrder
from cashup.simulator.venue import Venue
from cashup.types import ZERO, Millis

Holdings = dict[str, Holding]


class Past:
    """Keeps every version of orders and holdings from the moment somebody wants to look back."""

    def __init__(self, venue: Venue) -> None:
        self.venue = venue
        self.since: Millis = 0
        self.orders: dict[str, list[tuple[Millis, SimOrder]]] = {}
        self.held: dict[int, list[tuple[Millis, Holdings]]] = {}
        self._readers = 0

    def begin(self) -> None:
        """Start to record, if nobody has yet."""
        self._readers += 1
        if self._readers > 1:
            return
        self.since = -1
        self.orders, self.held = {}, {}
        self.venue.remember = self.note
        for account in self.venue.accounts:
            self._note_holdings(account)
            for order in self.venue.resting(account):
                self.note(order)
        self.since = self.venue.clock.now()

    def end(self) -> None:
        """Stop to record when nobody looks back any more."""
        self._readers -= 1
        if self._readers == 0:
            self.venue.remember = None

    def note(self, order: SimOrder) -> None:
        """Keep the order, and what its owner has, as they are now."""
        version = replace(order, match=replace(order.match))
        self.orders.setdefault(order.match.id, []).append((self._now(), version))
        self._note_holdings(order.account)

    def _note_holdings(self, account: Account) -> None:
        holdings = {currency: replace(holding) for currency, holding in account.holdings.items()}
        self.held.setdefault(account.uid, []).append((self._now(), holdings))

    def _now(self) -> Millis:
        """What changes is later than the record's beginning, also within its millisecond."""
        return max(self.venue.clock.now(), self.since + 1)

    def at(self, moment: Millis) -> PastVenue:
        """The venue at `moment`, or at the beginning of the record."""
        return PastVenue(self, max(moment, self.since))


class PastVenue(Venue):
    """A venue to read from, as it was at one moment; its market is that of now."""

    def __init__(self, past: Past, moment: Millis) -> None:
        venue = past.venue
        self.__dict__.update(venue.__dict__)
        self.orders = {}
        for ident, order in venue.orders.items():
            # What has no version ended before the record began.
            version = _latest(past.orders[ident], moment) if ident in past.orders else order
            if version is not None:
                self.orders[ident] = version
        self._resting = {ident: order for ident, order in self.orders.items() if not order.match.done}
        self.ended = defaultdict(list)
        for uid, orders in venue.ended.items():
            now = (self.orders.get(order.match.id) for order in orders)
            self.ended[uid] = [order for order in now if order is not None and order.match.done]
        self.traded = defaultdict(list)
        unseen = {ident: order.match.filled for ident, order in self.orders.items()}
        for uid, trades in venue.traded.items():
            for trade in trades:
                ident = trade.order.match.id
                if unseen.get(ident, ZERO) >= trade.fill.quantity:
                    unseen[ident] -= trade.fill.quantity
                    self.traded[uid].append(trade)
        self._held = {uid: _latest(versions, moment) or {} for uid, versions in past.held.items()}

    def holdings(self, account: Account) -> Holdings:
        """What the account owned."""
        return self._held.get(account.uid, account.holdings)


def _latest(versions: list[tuple[Millis, Any]], moment: Millis) -> Any:
    """The newest version that is not younger than `moment`, or None."""
    return next((version for time, version in reversed(versions) if time <= moment), None)


def with_venue(route: Route, venue: Venue) -> Route:
    """The route with its reads done on another venue."""
    handler: Any = route.handler
    api = copy.copy(handler.__self__)
    api.venue = venue
    return replace(route, handler=getattr(api, handler.__name__))
