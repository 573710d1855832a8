"""What a strategy may see besides its own bars goes through the checks as well."""

from __future__ import annotations

import pytest

import cashup as cu
from cashup.clock import parse_time
from cashup.markets.lake import Lake
from cashup.markets.synthetic import store_funding, store_generated
from tests.checks.subjects import END, notebook

START, BARS = "2025-01-01", 2_000

LOAD = (
    "import cashup as cu\nimport numpy as np\nimport pandas as pd\nimport cashup.markets.lake\n"
    "from cashup.settings import load_settings\n"
    "lake = cashup.markets.lake.Lake(load_settings().lake_path)\n"
    "eth = lake.read('gate', 'ETH/USDT', '1h')['volume']\n"
    "published = eth.set_axis(eth.index + pd.Timedelta('1h'))\n"
)
MODEL = LOAD + "from sklearn.linear_model import LinearRegression\n"
PREDICT = (
    "model = cu.RollingModel(make=LinearRegression, features=features,\n"
    "    label=lambda bars: bars.close.pct_change().shift(-1), train='5d', every='1d', lookback=1)\n"
    "def target(bars, n):\n"
    "    return (model.predict(bars) > 0).astype(float)\n"
)
HOLD = "def target(bars, n):\n    return (bars.close > bars.close.rolling(n).mean()).astype(float) / 2\n"
RANKED = 'universe=cu.Universe(top=1, by=rank, over="2d", listed="2d", every="1d"), warmup=120'
FUNDING = LOAD + "rates = lake.funding('gate', 'BTC/USDT:USDT')\n"

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
    "model": (
        MODEL + "def features(bars):\n"
        "    return {'volume': bars.close * 0 + bars.known(published).to_numpy().reshape(-1, 1)}\n" + PREDICT,
        "warmup=180",
    ),
    "universe_by": (
        LOAD + "def rank(bars):\n"
        "    eth = bars.known(published, delay='1h').to_numpy()\n"
        "    return bars.close.diff() * np.sign(eth - 1.0).reshape(-1, 1)\n" + HOLD,
        RANKED,
    ),
    "level_of_a_universe": (
        "def level(bars):\n"
        "    return 0.02 + 0.01 * bars.universe.astype(float)\n"
        "def target(bars, n):\n"
        "    return (bars.close > bars.close.rolling(n).mean()).astype(float) / 2\n"
        "import cashup as cu\n",
        'stop_loss=level, universe=cu.Universe(top=1, over="2d", listed="2d", every="1d"), warmup=120',
    ),
    "lake_funding": (
        FUNDING + "def target(bars, n):\n"
        "    return bars.close * 0 + (bars.known(rates.rolling(3).mean()) > 0).to_numpy().reshape(-1, 1)\n",
        "",
    ),
}
DISHONEST = {
    "model": (
        MODEL + "later = eth.shift(-1) - eth\n"
        "def features(bars):\n"
        "    return {'later': bars.close * 0 + later.reindex(bars.index).to_numpy().reshape(-1, 1)}\n" + PREDICT,
        "warmup=180",
    ),
    "universe_by": (
        LOAD + "later = eth.shift(-30) - eth\n"
        "def rank(bars):\n"
        "    return bars.close.diff() * np.sign(later.reindex(bars.index).to_numpy()).reshape(-1, 1)\n" + HOLD,
        RANKED,
    ),
    "level_of_a_universe": (
        "def level(bars):\n"
        "    return 0.02 + 0.01 * bars.universe.shift(-5).fillna(False).astype(float)\n"
        "def target(bars, n):\n"
        "    return (bars.close > bars.close.rolling(n).mean()).astype(float) / 2\n"
        "import cashup as cu\n",
        'stop_loss=level, universe=cu.Universe(top=1, over="2d", listed="2d", every="1d"), warmup=120',
    ),
    "lake_funding": (
        FUNDING + "mean = float(rates.mean()) + float((rates.shift(-1) > rates).mean())\n"
        "steps = (rates * (1 + mean)).to_dict()\n"
        "def target(bars, n):\n"
        "    return bars.close * 0 + min(len(steps) / 1000, 1.0) * mean\n",
        "",
    ),
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
    if "universe" in name:
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
