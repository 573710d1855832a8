"""What lies behind a strategy's models and its universe is cut off as well, and whole again afterwards."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

import cashup as cu
from cashup.research.checks.reach import cut_off
from tests.checks.subjects import hours

BARS = hours(400)
LATER = BARS.close["BTC/USDT"].rename("later")


def reading(bars: cu.Bars) -> pd.DataFrame:
    return bars.close * 0 + LATER.reindex(bars.index).to_numpy().reshape(-1, 1)


def plain(bars: cu.Bars) -> pd.DataFrame:
    return bars.close


def model(**functions: Any) -> cu.RollingModel:
    told = {"features": lambda bars: {"close": bars.close}, "label": plain, "make": dict} | functions
    return cu.RollingModel(**told, train="5d", every="1d")


BY = cu.Universe(top=1, by=reading, over="1d", listed="1d", every="1d")
MODELS = {
    "features": model(features=lambda bars: {"x": reading(bars)}),
    "label": model(label=reading),
    "make": model(make=lambda: LATER),
}


@pytest.mark.parametrize("name", [*MODELS, "universe"])
def test_a_frame_of_the_notebook_ends_with_the_history(name: str) -> None:
    learnt = MODELS.get(name)
    target = plain if learnt is None else lambda bars: learnt.predict(bars)
    universe = BY if learnt is None else None
    strategy = cu.Strategy(target, symbols=["BTC/USDT"], timeframe="1h", warmup=150, universe=universe)
    with cut_off(strategy, BARS, 200) as names:
        assert names == ["LATER"]
        assert len(LATER) == 200
    assert len(LATER) == 400


def test_a_model_of_its_own_bars_has_nothing_to_cut() -> None:
    learnt = model()
    strategy = cu.Strategy(lambda bars: learnt.predict(bars), symbols=["BTC/USDT"], timeframe="1h", warmup=150)
    with cut_off(strategy, BARS, 200) as names:
        assert names == []
