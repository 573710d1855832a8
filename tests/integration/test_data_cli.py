"""`cashup data` as a person calls it."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from decimal import Decimal

import pandas as pd
import pytest

from cashup.clock import WallClock, isoformat
from cashup.exchanges.rules import gate_market
from cashup.markets.lake import Lake
from cashup.markets.synthetic import generate
from cashup.simulator.server import Simulator
from cashup.simulator.tape import Tape
from cashup.simulator.venue import Venue
from cashup.strategies.bars import Bars
from cashup.types import Symbol
from tests.integration.commands import sentence

HOUR = 3_600_000
START = 1_735_689_600_000
WALK = generate("BTC/USDT", "1h", START, 200, 3)


def csv(path, frame=WALK):
    pd.DataFrame({"timestamp": frame.index.asi8} | {name: frame[name].to_numpy() for name in frame}).to_csv(
        path, index=False
    )
    return path


@pytest.fixture
def lake(home) -> Lake:
    return Lake(home / "lake")


def test_several_files_come_in_and_what_was_guessed_is_told(cashup, tmp_path):
    files = [csv(tmp_path / "BTCUSDT_1h.csv"), csv(tmp_path / "Binance_ETHUSDT_1h.csv")]
    done = cashup("data", "import", *files)
    assert done.code == 0
    assert "BTC/USDT 1h on gate: 200 bars, 200 new, 0 changed; data version" in done.out
    assert "Binance_ETHUSDT_1h.csv seems to be of exchange binance, symbol ETH/USDT, timeframe 1h" in done.err
    again = cashup("data", "import", *files, "--json").json["files"]
    assert [(entry["symbol"], entry["added"], entry["changed"]) for entry in again] == [
        ("BTC/USDT", 0, 0),
        ("ETH/USDT", 0, 0),
    ]
    one = cashup("data", "import", files[0], "--symbol", "XRP/USDT", "--exchange", "okx", "--timeframe", "1h", "--json")
    assert (one.json["symbol"], one.json["exchange"], one.json["guessed"]) == ("XRP/USDT", "okx", [])


def test_a_file_without_a_telling_name_needs_a_symbol(cashup, tmp_path):
    done = cashup("data", "import", csv(tmp_path / "bars.csv"))
    assert done.code == 2
    assert "add --symbol" in sentence(done)


def test_versions_are_listed_and_pruned(cashup, tmp_path, lake):
    cashup("data", "import", csv(tmp_path / "BTCUSDT_1h.csv"))
    corrected = WALK.copy()
    corrected.iloc[5, 4] += 1
    cashup("data", "import", csv(tmp_path / "BTCUSDT_1h_new.csv", corrected))
    series = cashup("data", "list", "--versions", "--json").json["series"][0]
    assert [version["bars"] for version in series["versions"]] == [200, 200]
    assert series["versions"][-1]["version"] == series["version"]
    assert series["versions"][0]["version"][:12] in cashup("data", "list", "--versions").out
    had = lake.bars("gate", ["BTC/USDT"], "1h").version
    assert cashup("data", "prune", "--json").json == {"versions": 1, "files": 1}
    assert lake.bars("gate", ["BTC/USDT"], "1h", version=had).version == had


def test_check_remarks_what_is_odd_and_stays_content(cashup, tmp_path):
    odd = WALK.copy()
    odd.iloc[100, 1] *= 2
    cashup("data", "import", csv(tmp_path / "BTCUSDT_1h.csv", odd.drop(odd.index[7])))
    done = cashup("data", "check", "--json")
    assert done.code == 0
    report = done.json["series"][0]
    assert [remark["code"] for remark in report["remarks"]] == ["wick"]
    assert [gap["missing"] for gap in report["gaps"]] == [1]
    text = cashup("data", "check").out
    assert "remark, wick: 1 of 199 bars" in text


def test_a_repair_says_what_it_would_do_and_does_it_with_yes(cashup, tmp_path, lake):
    cashup("data", "import", csv(tmp_path / "BTCUSDT_1h.csv", WALK.drop(WALK.index[[7, 8]])))
    before = lake.bars("gate", ["BTC/USDT"], "1h").version
    dry = cashup("data", "repair", "--fill-gaps", "flat")
    assert "would make up flat bars without volume: 2" in dry.out
    assert "add --yes" in dry.out
    assert len(lake.read("gate", "BTC/USDT", "1h")) == 198
    done = cashup("data", "repair", "--fill-gaps", "flat", "--yes", "--json").json["series"][0]
    assert [(step["code"], step["count"]) for step in done["steps"]] == [("fill_flat", 2)]
    listed = cashup("data", "list", "--json").json["series"][0]
    assert (listed["bars"], listed["filled"]) == (200, 2)
    assert "2 of them made up to close gaps" in cashup("data", "check").out
    assert len(lake.bars("gate", ["BTC/USDT"], "1h", version=before)) == 198
    assert "nothing to do" in cashup("data", "repair", "--fill-gaps", "flat").out
    # A file with the real bars takes their place.
    cashup("data", "import", csv(tmp_path / "BTCUSDT_1h.csv"))
    assert cashup("data", "list", "--json").json["series"][0]["filled"] == 0
    refused = cashup("data", "repair", "--fill-gaps", "guess")
    assert (refused.code, "none or flat" in sentence(refused)) == (2, True)


def test_longer_bars_are_made_and_never_over_others(cashup, tmp_path, lake):
    cashup("data", "import", csv(tmp_path / "BTCUSDT_1h.csv"))
    made = cashup("data", "resample", "--symbol", "BTC/USDT", "--timeframe", "1h", "--to", "1d", "--json").json
    assert (made["bars"], made["source"]) == (8, "resampled from 1h")
    assert lake.read("gate", "BTC/USDT", "1d")["high"].iloc[0] == WALK["high"].iloc[:24].max()
    cashup("data", "import", csv(tmp_path / "BTCUSDT_4h.csv", generate("BTC/USDT", "4h", START, 20, 1)))
    refused = cashup("data", "resample", "--symbol", "BTC/USDT", "--timeframe", "1h", "--to", "4h")
    assert refused.code == 1
    assert "--replace" in sentence(refused)


def test_funding_is_made_up_for_perpetuals(cashup, lake):
    made = cashup("data", "generate", "--symbol", "BTC/USDT:USDT", "--bars", 100, "--funding", "--json").json["series"]
    assert [series["kind"] for series in made] == ["bars", "funding", "open_interest"]
    assert len(lake.funding("gate", "BTC/USDT:USDT")) == 13
    refused = cashup("data", "generate", "--symbol", "BTC/USDT", "--funding")
    assert (refused.code, "add one" in sentence(refused)) == (2, True)
    listed = cashup("data", "list").out
    assert "funding" in listed


def test_sql_answers_in_a_table_and_in_json(cashup, tmp_path):
    cashup("data", "import", csv(tmp_path / "BTCUSDT_1h.csv"))
    query = "select symbol, count(*) as n, min(timestamp) as first from bars group by all"
    assert cashup("data", "sql", query, "--json").json == [
        {"symbol": "BTC/USDT", "n": 200, "first": "2025-01-01T00:00:00.000Z"}
    ]
    assert "BTC/USDT" in cashup("data", "sql", query).out
    wrong = cashup("data", "sql", "select * from nothing")
    assert wrong.code == 2
    assert "the tables are bars, funding, open_interest, trades" in wrong.err


class Running(threading.Thread):
    """A simulator whose open bar is the present hour, in a thread of its own: the command line has its own loop."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        first = WallClock().now() // HOUR * HOUR - 299 * HOUR
        self.frame = generate("BTC/USDT", "1h", first, 305, 1)
        self.ready = threading.Event()
        self.url = ""

    def run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        markets = {Symbol("BTC/USDT"): gate_market("BTC/USDT", self.frame["close"].tolist(), fee=Decimal(0))}
        venue = Venue(Tape(Bars.join({"BTC/USDT": self.frame}, "1h")), markets, start=int(self.frame.index.asi8[299]))
        self.loop, self.end = asyncio.get_running_loop(), asyncio.Event()
        async with Simulator(venue) as running:
            self.url = running.url
            self.ready.set()
            await self.end.wait()

    def stop(self) -> None:
        self.loop.call_soon_threadsafe(self.end.set)
        self.join()


@pytest.fixture
def exchange() -> Iterator[Running]:
    running = Running()
    running.start()
    running.ready.wait()
    yield running
    running.stop()


def test_candles_are_downloaded_resumed_and_holes_repaired_from_the_exchange(cashup, exchange, lake):
    start = isoformat(int(exchange.frame.index.asi8[0]))
    words = ("--symbol", "BTC/USDT", "--timeframe", "1h", "--start", start, "--base-url", exchange.url)
    done = cashup("data", "download", *words, "--json")
    assert done.code == 0, done.err
    assert done.json["symbols"]["BTC/USDT"]["bars"] in (299, 300)
    assert "0 new bars" in cashup("data", "download", *words).out
    frame = lake.read("gate", "BTC/USDT", "1h")
    pd.testing.assert_frame_equal(frame.iloc[:299], exchange.frame.iloc[:299], check_freq=False, rtol=1e-9)
    lake.write("gate", "BTC/USDT", "1h", frame.drop(frame.index[[50, 51]]))
    mended = cashup("data", "repair", "--from-exchange", "--yes", "--base-url", exchange.url, "--json").json["series"][
        0
    ]
    assert [(step["code"], step["count"]) for step in mended["steps"]] == [("from_exchange", 2)]
    assert json.dumps(cashup("data", "check", "--json").json["series"][0]["gaps"]) == "[]"
    unknown = cashup("data", "download", *words, "--symbol", "BTC/USDD")
    assert unknown.code == 2
    assert "gate does not list BTC/USDD" in sentence(unknown)
