"""One market of a paper account: the venue's candles, message by message, become prices and liquidity of a matcher."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from cashup.exchanges.matching import Matcher, waypoints
from cashup.exchanges.paper_venue import PaperVenue
from cashup.types import ZERO, Candle, Symbol


class PaperMarket:
    """Leads `symbol` of `venue` along its candles. `share` of a bar's volume can be traded; None: any quantity.

    `seen` is the newest candle that was shown, and all that the next one is compared with.
    """

    def __init__(self, venue: PaperVenue, symbol: Symbol, share: Decimal | None) -> None:
        self.symbol = symbol
        self.seen: Candle | None = None
        self._venue = venue
        self._share = share
        self._before = ZERO
        self._offered = ZERO

    @property
    def limited(self) -> bool:
        """True when a bar offers no more than a share of its volume."""
        return self._share is not None

    @property
    def rests(self) -> bool:
        """True when an order rests here."""
        return bool(self._matcher.resting)

    def show(self, candle: Candle) -> None:
        """The venue's next message of a candle, open or closed; the fills of resting orders are booked at once.

        A message that says nothing new, or is older than what was seen, changes nothing.
        """
        seen = self.seen
        if seen is not None and (candle.time < seen.time or candle == seen):
            return
        same = seen is not None and seen.time == candle.time
        if seen is not None and not same:
            self._before = seen.volume
        liquidity = self._liquidity(candle, same=same)
        self.seen = candle
        for price in waypoints(candle, seen if same else None):
            self._venue.move(self.symbol, price, liquidity)
            liquidity = self._matcher.liquidity

    def document(self) -> dict[str, Any]:
        """How far the market was followed, as JSON."""
        taken = None if self._matcher.liquidity is None else str(self._offered - self._matcher.liquidity)
        return {"seen": _written(self.seen), "before": str(self._before), "taken": taken}

    def resume(self, document: dict[str, Any]) -> None:
        """Go on where `document` was written."""
        candle = _read(self.symbol, document["seen"])
        self._before = Decimal(document["before"])
        liquidity = self._liquidity(candle, same=False)
        if liquidity is not None:
            liquidity = max(liquidity - Decimal(document["taken"] or 0), ZERO)
        self.seen = candle
        self._matcher.price, self._matcher.liquidity = candle.close, liquidity

    def _liquidity(self, candle: Candle, *, same: bool) -> Decimal | None:
        """What can be traded now: the share of the bar, less what this account has traded in the bar already."""
        if self._share is None:
            return None
        taken = self._offered - (self._matcher.liquidity or ZERO) if same else ZERO
        self._offered = self._matcher.market.round_quantity(self._share * max(candle.volume, self._before))
        return max(self._offered - taken, ZERO)

    @property
    def _matcher(self) -> Matcher:
        return self._venue.matchers[self.symbol]


def _written(candle: Candle | None) -> dict[str, Any] | None:
    if candle is None:
        return None
    money = {name: str(getattr(candle, name)) for name in ("open", "high", "low", "close", "volume")}
    return {"timeframe": candle.timeframe, "time": candle.time, "closed": candle.closed} | money


def _read(symbol: Symbol, row: dict[str, Any]) -> Candle:
    money = {name: Decimal(row[name]) for name in ("open", "high", "low", "close", "volume")}
    return Candle(symbol, row["timeframe"], row["time"], **money, closed=row["closed"])
