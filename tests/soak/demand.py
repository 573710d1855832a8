"""What the workers ask for: targets, orders of every kind, amendments and cancels, drawn by a seed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from random import Random
from typing import Any

from cashup.types import Market, Symbol
from tests.soak.worker import Frame, Worker

WEIGHTS = {"target": 25, "gtc": 25, "poc": 8, "ioc": 8, "fok": 5, "market": 5, "cancel": 14, "amend": 10}
"""How often which is asked for."""

MOST_OPEN = 15
"""Orders of a worker that may rest; above that it cancels."""


class Demand:
    """Draws what a worker asks for next. `price` gives a symbol's price now."""

    def __init__(self, random: Random, markets: Mapping[Symbol, Market], price: Callable[[Symbol], Decimal]) -> None:
        self._random = random
        self._markets = markets
        self._price = price

    def draw(self, worker: Worker) -> Frame:
        """A frame with a new key."""
        number = len(worker.asked) + 1
        key = f"{worker.name}-{number}"
        resting = [order for order in worker.open.values() if order["state"] == "open" and order["price"] is not None]
        (kind,) = self._random.choices(list(WEIGHTS), list(WEIGHTS.values()))
        if len(resting) > MOST_OPEN:
            kind = "cancel"
        if kind in ("cancel", "amend") and not resting:
            kind = "gtc"
        if kind == "cancel":
            return {"type": "order.cancel", "key": key, "order": resting[0]["client_order_id"]}
        if kind == "amend":
            return self._amend(key, self._random.choice(resting))
        symbol = self._random.choice(list(self._markets))
        if kind == "target":
            targets = {symbol: self._random.choice((0.08, 0.1, 0.12))}
            return {"type": "intent", "key": key, "bar": number, "targets": targets}
        return {"type": "order.place", "key": key, "order": self._order(kind, symbol)}

    def _order(self, kind: str, symbol: Symbol) -> dict[str, Any]:
        side = self._random.choice(("buy", "sell"))
        worth = Decimal(self._random.randint(20, 2_000))
        order = {"symbol": symbol, "side": side}
        if kind == "market" and side == "buy":
            return order | {"cost": str(worth)}
        quantity = str(self._quantity(symbol, worth))
        if kind == "market":
            return order | {"quantity": quantity}
        # Some rest far away, some near, some take at once; those that may not rest mostly take.
        away = self._random.uniform(-0.01, 0.004) if kind in ("ioc", "fok") else self._random.uniform(-0.001, 0.015)
        return order | {"quantity": quantity, "price": self._limit(symbol, side, away), "time_in_force": kind}

    def _amend(self, key: str, order: Mapping[str, Any]) -> Frame:
        symbol, terms = Symbol(order["symbol"]), {}
        if self._random.random() < 0.7:
            terms["price"] = self._limit(symbol, order["side"], self._random.uniform(-0.001, 0.015))
        if not terms or self._random.random() < 0.4:
            worth = Decimal(self._random.randint(20, 2_000))
            terms["quantity"] = str(self._quantity(symbol, worth) + Decimal(order["filled"]))
        return {"type": "order.amend", "key": key, "order": order["client_order_id"], "terms": terms}

    def _limit(self, symbol: Symbol, side: str, away: float) -> str:
        sign = -1 if side == "buy" else 1
        return f"{self._markets[symbol].round_price(self._price(symbol) * (1 + sign * Decimal(repr(away)))):f}"

    def _quantity(self, symbol: Symbol, worth: Decimal) -> Decimal:
        lot = self._markets[symbol].lot
        return worth / self._price(symbol) // lot * lot + lot
