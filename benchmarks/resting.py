"""A stack with a lot of resting orders of one account, placed through the product, at the venue's rate limits."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from benchmarks.measure import ROOT, cashup, home, run
from cashup.cli.stack import Market, Stack
from cashup.exchanges.rules import gate_market

START = "2025-01-01"
SYMBOLS = ("BTC/USDT", "ETH/USDT")
NAME = "bench"
PER_SECOND = 9.5
"""A little less than the ten orders a second that Gate takes of an account."""

WORTH = Decimal(20)
NOTEBOOK = ROOT / "notebooks" / "sma_cross.ipynb"


@dataclass
class Resting:
    """The stack, the venue's prices when it was opened, and the customer's keys."""

    stack: Stack
    prices: Mapping[str, Decimal]
    secrets: tuple[str, str]
    asked: int = 0

    def ask(self, kind: str, **fields: Any) -> dict[str, Any]:
        """A request to the simulator's control channel."""

        async def request() -> dict[str, Any]:
            async with self.stack.control() as control:
                return await control.request(kind, **fields)

        return asyncio.run(request())

    def place(self, count: int, below: str) -> None:
        """Place `count` buys that rest, at this fraction below the price, in turn over the symbols."""
        due = time.monotonic()
        for number in range(count):
            symbol = SYMBOLS[number % len(SYMBOLS)]
            self.buy(symbol, self.prices[symbol] * (1 - Decimal(below)))
            due += 1 / PER_SECOND
            time.sleep(max(0.0, due - time.monotonic()))

    def buy(self, symbol: str, price: Decimal) -> dict[str, Any]:
        """One limit order; the answer."""
        self.asked += 1
        market = gate_market(symbol)
        quantity = market.round_quantity(WORTH / price)
        order = {
            "symbol": symbol,
            "side": "buy",
            "quantity": f"{quantity:f}",
            "price": f"{market.round_price(price):f}",
        }
        return self.stack.client.place_order(NAME, order, key=str(self.asked))

    def open_orders(self) -> int:
        """How many rest at the venue."""
        orders = self.ask("book", account=NAME)["accounts"][NAME]["orders"]
        return sum(order["status"] == "open" for order in orders)

    def until_open(self, count: int, seconds: float = 120.0) -> None:
        """Wait until so many rest."""
        deadline = time.monotonic() + seconds
        while (found := self.open_orders()) != count:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{found} orders rest, not {count}")
            time.sleep(0.5)


@contextmanager
def resting() -> Iterator[Resting]:
    """A stack on a market that stands still, with one account and one deployment that is ready."""
    with home() as folder:
        words = ["--timeframe", "1h", "--start", "2024-12-25", "--bars", "400"]
        for symbol in SYMBOLS:
            run(cashup("data", "generate", "--symbol", symbol, *words), folder)
        with Stack(folder, Market(SYMBOLS, "1h", START, rate_limit=True)) as stack:
            customer = stack.add_account(NAME, {"USDT": "1000000"})
            spec = {"notebook": str(NOTEBOOK), "account": NAME, "capital": "1000000", "symbols": list(SYMBOLS)}
            stack.client.put_deployment(NAME, spec | {"timeframe": "1h"})
            stack.client.start(NAME)
            made = Resting(stack, {}, (customer["key"], customer["secret"]))
            made.prices = {symbol: Decimal(price) for symbol, price in made.ask("step")["prices"].items()}
            yield made
