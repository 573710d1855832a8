"""A deployment on the real gateway, worker and simulator, and what `cashup live report` makes of it."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from cashup.cli.stack import Market, Stack
from cashup.clock import VirtualClock, parse_time
from cashup.errors import UsageError
from cashup.markets.lake import Lake
from cashup.markets.synthetic import store_generated
from cashup.trading.replay import exact
from cashup.types import ZERO
from cashup.workers.nightly import AFTER, DAY, Nightly
from tests.e2e.conftest import run_cashup

from .conftest import HOUR, write_notebook

pytestmark = pytest.mark.slow

START = "2025-01-01"
FIRST = parse_time(START)
CAPITAL, FEE, SLIPPAGE = Decimal(1_000), Decimal("0.002"), Decimal("0.001")
BEFORE, AWAY, AFTERWARDS = 8, 3, 6
"""Bars that are traded, then missed because the deployment is stopped, then traded again."""

HOLD = [
    ("parameters", 'symbols = ["ETH/USDT"]\ntimeframe = "1h"'),
    (
        "",
        "import cashup as cu\n"
        "def target(bars):\n"
        "    return bars.close * 0 + 1\n"
        "strategy = cu.Strategy(target, symbols=symbols, timeframe=timeframe, warmup=3)",
    ),
    ("", "run = cu.run(strategy)"),
]


@dataclass(frozen=True)
class Traded:
    """A home with a gateway in which `demo` has bought once and held, with three bars missed on the way."""

    stack: Stack
    fills: list[dict[str, Any]]
    worth: list[dict[str, Any]]

    def report(self, *words: str, code: int = 0) -> Any:
        """What `cashup live report demo --json` says."""
        env = {"CASHUP_GATEWAY_URL": self.stack.url}
        done = run_cashup(self.stack.home, "live", "report", "demo", "--json", *words, env=env)
        assert done.returncode == code, done.stderr
        return json.loads(done.stdout)


@pytest.fixture(scope="module")
def traded() -> Iterator[Traded]:
    home = Path(tempfile.mkdtemp(prefix="cashup-report-"))
    store_generated(Lake(home / "lake"), "gate", "ETH/USDT", "1h", start=FIRST - 10 * HOUR, bars=60, seed=3)
    try:
        with Stack(home, Market(["ETH/USDT"], "1h", START)) as stack:
            terms = {"balances": {"USDT": "5000"}, "timeframe": "1h", "latency": 1, "jitter": 0, "liquidity": None}
            terms |= {"slippage": str(SLIPPAGE), "taker_fee": str(FEE)}
            account = {"name": "toy", "exchange": "gate", "mode": "paper", "base_url": stack.venue_url, "terms": terms}
            stack.client.add_account(account)
            stack.deploy("demo", write_notebook(home / "hold.ipynb", HOLD), account="toy", capital=str(CAPITAL))
            stack.drive(["demo"], until=FIRST + (BEFORE - 1) * HOUR)
            stack.client.stop("demo")
            stack.wait_until_ended("demo")
            step(stack, AWAY)
            stack.client.start("demo")
            stack.drive(["demo"], until=FIRST + (BEFORE + AWAY + AFTERWARDS - 1) * HOUR)
            yield Traded(stack, stack.client.fills("demo"), stack.client.equity("demo"))
    finally:
        shutil.rmtree(home, ignore_errors=True)


def step(stack: Stack, bars: int) -> None:
    """Let the market go on while nobody trades."""
    import asyncio

    async def go() -> None:
        async with stack.control() as control:
            for _ in range(bars):
                await control.request("step")

    asyncio.run(go())


def cut(amount: Decimal, step: str) -> Decimal:
    return amount - amount % Decimal(step)


def test_fee_slippage_and_rounding_are_what_they_were(traded: Traded) -> None:
    found = traded.report()
    (fill,) = traded.fills
    assert fill["side"] == "buy"
    opens = Lake(traded.stack.home / "lake").read("gate", "ETH/USDT", "1h")["open"].loc[START]
    mark = exact(float(opens.iloc[1]))
    price = Decimal(fill["price"])
    assert price == (mark * (1 + SLIPPAGE)).quantize(Decimal("0.01"))
    last = (Decimal(traded.worth[-1]["equity"]) - Decimal(traded.worth[-1]["cash"])) / bought(fill)

    # One purchase of everything, with the modelled fee of 0.1 % on top, is all that the re-run does.
    model = Decimal("0.001")
    cost = CAPITAL / (1 + model)
    ideal = cost / mark
    lots = cut(cut(cost, "0.01") / mark, "0.0001")
    dearer = cut(cut(cost, "0.01") / price, "0.0001")
    rerun = CAPITAL - ideal * mark * (1 + model) + ideal * last
    on_grid = CAPITAL - lots * mark * (1 + model) + lots * last
    at_price = CAPITAL - dearer * price * (1 + model) + dearer * last
    live = Decimal(traded.worth[-1]["equity"])

    parts = {name: Decimal(amount) for name, amount in found["parts"].items()}
    assert abs(Decimal(found["rerun_equity"]) - rerun) < Decimal("1e-9")
    assert abs(parts.pop("rounding") - (on_grid - rerun)) < Decimal("1e-9")
    assert abs(parts.pop("price") - (at_price - on_grid)) < Decimal("1e-9")
    assert abs(parts.pop("fee") - (live - at_price)) < Decimal("1e-9")
    assert not any(parts.values())
    assert Decimal(found["live_equity"]) == live
    assert sum(map(Decimal, found["parts"].values()), ZERO) == Decimal(found["total"])


def bought(fill: dict[str, Any]) -> Decimal:
    """What a purchase left in the position: the fee is taken in base currency."""
    assert fill["fee_currency"] == "ETH"
    assert Decimal(fill["fee"]) == Decimal(fill["quantity"]) * FEE
    return Decimal(fill["quantity"]) - Decimal(fill["fee"])


def test_every_decision_is_compared_and_missed_bars_are_named(traded: Traded) -> None:
    found = traded.report()
    missed = [one for one in found["decisions"] if one["cause"] == "missed_bar"]
    assert [one["bar"] for one in missed] == [f"{START}T{hour:02}:00:00Z" for hour in range(BEFORE, BEFORE + AWAY - 1)]
    assert found["targets"]["compared"] == BEFORE + AWAY + AFTERWARDS - 1
    assert found["targets"]["same"] == found["targets"]["compared"] - len(missed)
    assert found["made_of"]["bars"] == "the lake (gate)"
    assert (found["made_of"]["revised_bars"], found["made_of"]["unrecorded_bars"]) == (0, 0)
    assert found["notes"] == []


def test_a_page_and_a_sentence(traded: Traded, tmp_path: Path) -> None:
    env = {"CASHUP_GATEWAY_URL": traded.stack.url}
    place = tmp_path / "report.html"
    done = run_cashup(traded.stack.home, "live", "report", "demo", "--html", str(place), env=env)
    assert done.returncode == 0, done.stderr
    assert "behind its re-run" in done.stdout
    assert f"page: {place}" in done.stdout
    page = place.read_text()
    assert "plotly" in page
    assert "From the re-run to live" in page


def test_a_revised_bar_is_noticed_and_is_no_other_part(traded: Traded) -> None:
    """The venue says afterwards that the bar at whose open was bought opened ten per cent higher."""
    lake = Lake(traded.stack.home / "lake")
    bars = lake.read("gate", "ETH/USDT", "1h")
    before = traded.report()
    revised = bars.copy()
    place = revised.index.get_loc(revised.loc[START].index[1])
    for column in ("open", "high"):
        revised.iloc[place, revised.columns.get_loc(column)] *= 1.1
    revised.iloc[place, revised.columns.get_loc("high")] = revised.iloc[place][["open", "high", "close"]].max()
    lake.write("gate", "ETH/USDT", "1h", revised)
    try:
        found = traded.report(code=1)
    finally:
        lake.write("gate", "ETH/USDT", "1h", bars)
    assert found["made_of"]["revised_bars"] == 1
    assert Decimal(found["parts"]["data_revision"]) > 50
    assert not found["in_band"]
    same = {name: amount for name, amount in before["parts"].items() if name != "data_revision"}
    assert {name: amount for name, amount in found["parts"].items() if name != "data_revision"} == same
    assert found["live_equity"] == before["live_equity"]


def test_a_stored_report_outside_the_band_raises_one_alert(traded: Traded) -> None:
    client = traded.stack.client
    spec = client.deployment("demo")["spec"]
    client.put_deployment("demo", spec | {"report_band": 0.0001})
    try:
        for _ in range(2):
            assert not traded.report("--store", code=1)["in_band"]
        (alert,) = client.alerts("demo")
        assert (alert["code"], alert["times"]) == ("drift", 2)
        assert alert["message"].startswith("demo is ")
        assert "the band is 0.01%" in alert["message"]
        reports = client.reports("demo")
        assert [row["in_band"] for row in reports] == [False, False]
        assert Decimal(reports[0]["total"]) == Decimal(traded.report(code=1)["total"])
    finally:
        client.put_deployment("demo", spec)


def test_a_report_whose_parts_do_not_sum_to_its_total_is_refused(traded: Traded) -> None:
    report = {"first_bar": 0, "last_bar": 1, "total": "2", "parts": {"fee": "1"}, "document": {}}
    with pytest.raises(UsageError, match="sum to its total"):
        traded.stack.client.add_report("demo", report)


def test_the_frozen_notebook_is_run_and_without_it_the_working_copy_which_is_signal(traded: Traded) -> None:
    home = traded.stack.home
    notebook = home / "hold.ipynb"
    source = notebook.read_text()
    version = traded.stack.client.deployment("demo")["spec"]["version"]
    before = traded.report()
    assert (before["made_of"]["version"], before["notes"]) == (version, [])
    notebook.write_text(source.replace("* 0 + 1", "* 0 + 0.5"))
    try:
        assert traded.report()["parts"] == before["parts"]
        (home / "versions" / version).rename(home / "away")
        found = traded.report()
    finally:
        notebook.write_text(source)
        (home / "away").rename(home / "versions" / version)
    assert found["targets"]["signal"] == found["targets"]["compared"] - AWAY + 1
    assert abs(Decimal(found["parts"]["signal"])) > 1
    assert found["made_of"]["version"] is None
    assert [note for note in found["notes"] if "has changed since" in note]
    assert [note for note in found["notes"] if version in note]


def test_the_nightly_report_is_made_once_a_day_and_stored(traded: Traded) -> None:
    client, said = traded.stack.client, list[str]()
    traded.stack.drive(["demo"], until=int(traded.worth[-1]["bar"]) + HOUR)  # a bar that no report has seen
    made_at = client.deployment("demo")["created_at"]
    clock = VirtualClock(made_at)
    nightly = Nightly(client, traded.stack.home, said.append, clock)
    before = len(client.reports("demo"))
    nightly.turn()
    nightly.turn()
    assert nightly.idle, "its day is not over"
    clock.advance_to(made_at - made_at % DAY + DAY + AFTER)
    nightly.turn()
    nightly.turn()
    assert not nightly.idle
    nightly.wait(120)
    nightly.turn()
    assert said == []
    assert len(client.reports("demo")) == before + 1
    stored = client.reports("demo")[0]
    assert stored["in_band"]
    assert stored["document"]["parts"] == traded.report()["parts"]
    assert Decimal(stored["total"]) == Decimal(stored["document"]["total"])
    for _ in range(3):
        nightly.turn()
    assert nightly.idle
    assert len(client.reports("demo")) == before + 1
