"""Downloads with the real ccxt client over a real socket: from the simulator, and from a server with quirks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from aiohttp import web

from cashup.clock import VirtualClock, WallClock
from cashup.errors import ExchangeTransient, UsageError
from cashup.exchanges.rules import gate_market
from cashup.markets.download import Download, download_funding, download_trades, fetch_missing, together
from cashup.markets.lake import Lake
from cashup.markets.public import PublicClient, open_client
from cashup.markets.synthetic import generate, generate_funding, store_generated
from cashup.simulator.server import Simulator
from cashup.simulator.tape import Tape
from cashup.simulator.venue import Venue
from cashup.strategies.bars import Bars, to_index
from cashup.types import Symbol

HOUR = 3_600_000
COUNT = 2_500


@pytest.fixture(scope="module")
def frames() -> dict[str, pd.DataFrame]:
    """Bars up to the present hour, which is open."""
    first = WallClock().now() // HOUR * HOUR - (COUNT - 1) * HOUR
    return {symbol: generate(symbol, "1h", first, COUNT + 5, 1) for symbol in ("BTC/USDT", "ETH/USDT")}


@pytest.fixture
async def simulator(frames: dict[str, pd.DataFrame]) -> AsyncIterator[Simulator]:
    markets = {Symbol(s): gate_market(s, frame["close"].tolist(), fee=Decimal(0)) for s, frame in frames.items()}
    start = int(frames["BTC/USDT"].index.asi8[COUNT - 1])
    venue = Venue(Tape(Bars.join(frames, "1h")), markets, start=start)
    async with Simulator(venue) as running:
        yield running


@pytest.fixture
async def client(simulator: Simulator) -> AsyncIterator[PublicClient]:
    async with open_client("gate", simulator.url) as made:
        yield made


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lake")


def closed(frame: pd.DataFrame) -> pd.DataFrame:
    """What is closed now. An hour may have ended since the bars were made; the simulator shows no later ones."""
    return frame.iloc[: COUNT - 1]


def same(lake: Lake, symbol: str, expected: pd.DataFrame) -> None:
    found = lake.read("gate", symbol, "1h").loc[: expected.index[-1]]
    pd.testing.assert_frame_equal(found, expected, check_freq=False, rtol=1e-9)


async def test_symbols_come_side_by_side_over_several_pages_without_the_open_bar(frames, client, lake):
    seen: list[tuple[str, int, int]] = []
    start = int(frames["BTC/USDT"].index.asi8[0])
    download = Download(lake, client, "gate", "1h", start, told=lambda *words: seen.append(words))
    done = await together(download, list(frames), jobs=2)
    assert all(COUNT - 1 <= entry.bars <= COUNT for entry in done)
    for symbol, frame in frames.items():
        same(lake, symbol, closed(frame))
    assert len([words for words in seen if words[0] == "BTC/USDT"]) >= 3
    assert all(done <= total for _, done, total in seen)
    assert lake.describe("gate", "BTC/USDT", "1h").source == "gate candles"


async def test_a_download_goes_on_where_it_was_interrupted_and_comes_before_the_first(frames, client, lake):
    frame = frames["BTC/USDT"]
    times = frame.index.asi8
    middle, later = int(times[500]), int(times[700])
    assert (await Download(lake, client, "gate", "1h", middle, later).symbol("BTC/USDT")).bars == 200
    whole = Download(lake, client, "gate", "1h", int(times[0]))
    assert COUNT - 201 <= (await whole.symbol("BTC/USDT")).bars <= COUNT - 199
    same(lake, "BTC/USDT", closed(frame))
    assert (await whole.symbol("BTC/USDT")).bars == 0


async def test_ctrl_c_keeps_the_pages_that_came(frames, client, lake):
    arrived = asyncio.Event()
    start = int(frames["BTC/USDT"].index.asi8[0])
    download = Download(lake, client, "gate", "1h", start, told=lambda *words: arrived.set())
    task = asyncio.create_task(download.symbol("BTC/USDT"))
    await arrived.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(lake.read("gate", "BTC/USDT", "1h")) == 1_000
    await download.symbol("BTC/USDT")
    same(lake, "BTC/USDT", closed(frames["BTC/USDT"]))


async def test_holes_are_closed_on_request_and_large_ones_always(frames, client, lake):
    frame = closed(frames["BTC/USDT"])
    lake.write("gate", "BTC/USDT", "1h", frame.drop(frame.index[np.r_[10:12, 900:2_000]]))
    first = int(frame.index.asi8[0])
    plain = await Download(lake, client, "gate", "1h", first).symbol("BTC/USDT")
    assert 1_100 <= plain.bars <= 1_101
    same(lake, "BTC/USDT", frame.drop(frame.index[10:12]))
    found = await fetch_missing(lake, client, "gate", "BTC/USDT", "1h")
    assert found.index.tolist() == frame.index[10:12].tolist()
    await Download(lake, client, "gate", "1h", first, fill_gaps=True).symbol("BTC/USDT")
    same(lake, "BTC/USDT", frame)


async def test_the_listing_is_found_without_asking_page_by_page(frames, simulator, client, lake):
    long_before = int(frames["BTC/USDT"].index.asi8[0]) - 60_000 * HOUR
    pages: list[int] = []
    download = Download(lake, client, "gate", "1h", long_before, told=lambda *words: pages.append(words[1]))
    await download.symbol("BTC/USDT")
    same(lake, "BTC/USDT", closed(frames["BTC/USDT"]))
    assert len(pages) <= 5


async def test_made_up_bars_give_way_to_real_ones(frames, client, lake):
    first = int(frames["BTC/USDT"].index.asi8[0])
    store_generated(lake, "gate", "BTC/USDT", "1h", first - 50 * HOUR, 200, seed=9)
    await Download(lake, client, "gate", "1h", first).symbol("BTC/USDT")
    same(lake, "BTC/USDT", closed(frames["BTC/USDT"]))


async def test_what_the_exchange_does_not_have_is_said(client, lake, simulator):
    start = WallClock().now() - 10 * HOUR
    with pytest.raises(UsageError, match=r"gate does not list BTC/USDD; did you mean 'BTC/USDT'\?"):
        await Download(lake, client, "gate", "1h", start).symbol("BTC/USDD")
    with pytest.raises(UsageError, match="gate has no 7m candles"):
        await Download(lake, client, "gate", "7m", start).symbol("BTC/USDT")
    with pytest.raises(UsageError, match="no 1h bar is closed between"):
        Download(lake, client, "gate", "1h", WallClock().now())
    with pytest.raises(UsageError, match=r"ccxt knows no exchange 'gat'; did you mean"):
        async with open_client("gat"):
            pass


# -- a server with a venue's quirks -------------------------------------------------------------------------------

FIRST = 1_735_689_600_000
PERPETUAL = {
    "name": "BTC_USDT",
    "type": "direct",
    "quanto_multiplier": "0.0001",
    "order_price_round": "0.1",
    "mark_price_round": "0.1",
    "order_size_min": 1,
    "order_size_max": 1000000,
    "leverage_min": "1",
    "leverage_max": "100",
    "maintenance_rate": "0.005",
    "maker_fee_rate": "0",
    "taker_fee_rate": "0.0005",
    "in_delisting": False,
    "create_time": 1500000000,
    "config_change_time": 1500000000,
    "order_price_deviate": "0.5",
    "ref_discount_rate": "0",
    "ref_rebate_rate": "0.2",
    "enable_bonus": True,
}
PAIR = {
    "id": "BTC_USDT",
    "base": "BTC",
    "quote": "USDT",
    "fee": "0.2",
    "min_quote_amount": "3",
    "amount_precision": 5,
    "precision": 1,
    "trade_status": "tradable",
    "sell_start": 0,
    "buy_start": 0,
}


class Quirks:
    """Gate's paths for one perpetual and one pair; fails as it is told, and counts what it is asked."""

    def __init__(self) -> None:
        self.failures = 0
        self.asked: list[str] = []
        self.rates = generate_funding("BTC/USDT:USDT", FIRST, FIRST + 1_000 * HOUR, 1)
        # Twelve trades, three of them within one millisecond at the border of a page of five.
        self.trades = [FIRST + second * 1_000 for second in (0, 1, 2, 3, 4, 4, 4, 5, 6, 7, 8, 9)]

    async def answer(self, request: web.Request) -> web.Response:
        path = request.path.removeprefix("/api/v4")
        self.asked.append(path)
        if self.failures and "markets" not in path and path.endswith(("funding_rate", "trades", "candlesticks")):
            self.failures -= 1
            return web.Response(status=503, text="busy")
        return web.json_response(self._rows(path, request))

    def _rows(self, path: str, request: web.Request) -> Any:
        begin = int(request.query.get("from", "0"))
        if path == "/futures/usdt/funding_rate":
            found = [(t // 1000, r) for t, r in zip(self.rates.index.asi8.tolist(), self.rates["rate"], strict=True)]
            return [{"t": t, "r": str(r)} for t, r in found if t >= begin][:50]
        if path == "/futures/usdt/trades":
            return [self._trade(number) for number, time in enumerate(self.trades) if time // 1000 >= begin][:5]
        return {"/futures/usdt/contracts": [PERPETUAL], "/spot/currency_pairs": [PAIR]}.get(path, [])

    def _trade(self, number: int) -> dict[str, str]:
        time = self.trades[number]
        return {
            "id": str(number),
            "create_time": str(time // 1000),
            "create_time_ms": str(time / 1000),
            "contract": "BTC_USDT",
            "size": str(5_000 if number % 2 else -5_000),
            "price": str(100 + number),
        }


@pytest.fixture
async def quirks() -> AsyncIterator[tuple[Quirks, PublicClient]]:
    venue = Quirks()
    application = web.Application()
    application.router.add_get("/{path:.*}", venue.answer)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    address = runner.addresses[0]
    async with open_client("gate", f"http://127.0.0.1:{address[1]}", patience=0.1) as made:
        yield venue, made
    await runner.cleanup()


async def test_funding_rates_come_page_by_page_and_go_on(quirks, lake):
    venue, client = quirks
    came = await download_funding(lake, client, "gate", "BTC/USDT:USDT", FIRST)
    assert came == len(venue.rates) == 125
    assert lake.funding("gate", "BTC/USDT:USDT").tolist() == venue.rates["rate"].tolist()
    assert await download_funding(lake, client, "gate", "BTC/USDT:USDT", FIRST) == 0


async def test_trades_of_one_millisecond_are_not_cut_by_a_page(quirks, lake):
    venue, client = quirks
    came = await download_trades(lake, client, "gate", "BTC/USDT:USDT", FIRST, FIRST + 100_000)
    # Those of the newest millisecond wait, because more of them may come.
    assert came == 11
    found = lake.read_series("trades", "gate", "BTC/USDT:USDT")
    assert found.index.asi8.tolist() == venue.trades[:11]
    assert found["side"].tolist() == [-1.0, 1.0] * 5 + [-1.0]
    assert found["amount"].unique().tolist() == [0.5]  # contracts of 0.0001 BTC
    venue.trades.append(FIRST + 10_000)
    assert await download_trades(lake, client, "gate", "BTC/USDT:USDT", FIRST, FIRST + 100_000) == 1


async def test_a_read_that_fails_in_passing_is_tried_again(quirks, lake):
    venue, client = quirks
    venue.failures = 2
    assert await download_funding(lake, client, "gate", "BTC/USDT:USDT", FIRST) == 125
    venue.failures = 1_000
    with pytest.raises(ExchangeTransient, match="gate cannot be read now"):
        await download_trades(lake, client, "gate", "BTC/USDT:USDT", FIRST, FIRST + 100_000)


class Venue5:
    """A venue whose pages begin before what was asked, end behind it, with the open bar too, and repeat a bar."""

    def __init__(self, times: list[int]) -> None:
        self.times = times

    async def require(self, symbol: str, timeframe: str | None = None) -> None: ...

    def page(self, symbol: str) -> int:
        return 5

    async def candles(self, symbol: str, timeframe: str, since: int, limit: int) -> list[list[float]]:
        at = int(np.searchsorted(self.times, since))
        chosen = self.times[max(at - 1, 0) : at + limit + 1]
        return [[time, 1.0, 2.0, 0.5, 1.5, 1.0] for time in [*chosen, *chosen[-1:]]]


@pytest.mark.parametrize("missing", [[], [7], list(range(5, 12)), list(range(3, 20))])
async def test_pages_that_overlap_and_holes_wider_than_a_page(lake, missing):
    times = [FIRST + n * HOUR for n in range(24) if n not in missing]
    clock = VirtualClock(FIRST + 23 * HOUR + 1)
    download = Download(lake, Venue5(times), "gate", "1h", FIRST, clock=clock)  # type: ignore[arg-type]
    done = await download.symbol("BTC/USDT")
    assert lake.read("gate", "BTC/USDT", "1h").index.tolist() == to_index(np.array(times[:-1])).tolist()
    assert done.bars == len(times) - 1
