"""What a strategy may see besides its own bars goes through the checks as well."""

from __future__ import annotations

import pytest

import cashup as cu
from cashup.clock import parse_time
from cashup.markets.lake import Lake
from cashup.markets.synthetic import store_funding, store_generated
from tests.checks.subjects import END, notebook

START, BARS = "2025-01-01", 2_000

HONEST = {
    "watch": (
        "def target(bars, n):\n"
        "    mean = bars.watch.close.rolling(n).mean()\n"
        "    return bars.close * 0 + (bars.watch.close > mean).astype(float).to_numpy()\n",
        'watch=["ETH/USDT"]',
    ),
    "higher_timeframe": (
        "def target(bars, n):\n"
        "    day = bars.at('1d')\n"
        "    return (day.align(day.close.rolling(3).mean()) < bars.close).astype(float)\n",
        "warmup=120",
    ),
    "known": (
        "import cashup.markets.lake\nimport pandas as pd\n"
        "from cashup.settings import load_settings\n"
        "eth = cashup.markets.lake.Lake(load_settings().lake_path).read('gate', 'ETH/USDT', '1h')['volume']\n"
        "published = eth.set_axis(eth.index + pd.Timedelta('1h'))\n"
        "def target(bars, n):\n"
        "    return bars.close * 0 + (bars.known(published) > 1.0).astype(float).to_numpy().reshape(-1, 1)\n",
        "",
    ),
    "funding": (
        "def target(bars, n):\n    return (bars.funding < 0.0001).astype(float)\n",
        'sees=["funding"]',
    ),
    "universe": (
        "import cashup as cu\n"
        "def target(bars, n):\n"
        "    return (bars.close > bars.close.rolling(n).mean()).astype(float) / 2\n",
        'universe=cu.Universe(top=1, by="volume", over="2d", listed="2d", every="1d"), warmup=120',
    ),
}
DISHONEST = {
    "watch": (
        "def target(bars, n):\n"
        "    later = bars.watch.close.shift(-1) > bars.watch.close\n"
        "    return bars.close * 0 + later.astype(float).to_numpy()\n",
        'watch=["ETH/USDT"]',
    ),
    "higher_timeframe": (
        "def target(bars, n):\n"
        "    day = bars.at('1d').close.shift(-1)\n"
        "    return (day.reindex(bars.index, method='ffill') > bars.close).astype(float)\n",
        "warmup=120",
    ),
    "lake_inside": (
        "import cashup.markets.lake\n"
        "from cashup.settings import load_settings\n"
        "path = load_settings().lake_path\n"
        "def target(bars, n):\n"
        "    eth = cashup.markets.lake.Lake(path).read('gate', 'ETH/USDT', '1h')['close']\n"
        "    later = (eth.shift(-1) > eth).astype(float).reindex(bars.index)\n"
        "    return bars.close * 0 + later.to_numpy().reshape(-1, 1)\n",
        "",
    ),
    "known_before": (
        "import cashup.markets.lake\n"
        "from cashup.settings import load_settings\n"
        "eth = cashup.markets.lake.Lake(load_settings().lake_path).read('gate', 'ETH/USDT', '1h')['close']\n"
        "rising = (eth.shift(-1) > eth).astype(float)\n"
        "def target(bars, n):\n"
        "    return bars.close * 0 + bars.known(rising).to_numpy().reshape(-1, 1)\n",
        "",
    ),
    "funding": (
        "def target(bars, n):\n    return (bars.funding.shift(-8) < bars.funding).astype(float)\n",
        'sees=["funding"]',
    ),
}


@pytest.fixture(autouse=True)
def lake(tmp_path, monkeypatch):
    monkeypatch.setenv("CASHUP_HOME", str(tmp_path / "home"))
    lake = Lake(tmp_path / "home" / "lake")
    start = parse_time(START)
    for symbol in ("BTC/USDT", "ETH/USDT", "BTC/USDT:USDT"):
        store_generated(lake, "gate", symbol, "1h", start, BARS, seed=3)
    store_funding(lake, "gate", "BTC/USDT:USDT", start, start + BARS * 3_600_000, seed=3)


def check(tmp_path, source, words, name):
    parameters = 'symbols = ["BTC/USDT"]\ntimeframe = "1h"\nn = 12\nwarmup = 40\n'
    if name == "funding":
        parameters = parameters.replace("BTC/USDT", "BTC/USDT:USDT")
    if name == "universe":
        parameters = parameters.replace('"BTC/USDT"', '"BTC/USDT", "ETH/USDT"')
    end = END.replace("warmup=warmup", words if "warmup" in words else f"warmup=warmup, {words}".rstrip(", "))
    return cu.check(notebook(tmp_path, source, parameters=parameters, end=end), only=["lookahead", "warmup"])


@pytest.mark.parametrize("name", HONEST)
def test_what_was_known_then_passes(tmp_path, name):
    report = check(tmp_path, *HONEST[name], name)
    assert report.passed, report


@pytest.mark.parametrize("name", DISHONEST)
def test_what_was_not_known_then_is_found(tmp_path, name):
    report = check(tmp_path, *DISHONEST[name], name)
    assert report["lookahead"].verdict == "failed", report
