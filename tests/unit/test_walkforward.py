"""Walk-forward: the choice sees the train bars only, the account is one, and every seam is paid for."""

from __future__ import annotations

from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest

from cashup.cli.database import with_database
from cashup.clock import parse_time
from cashup.errors import DataError, NotebookError, UsageError, WorkFailed
from cashup.markets.lake import Lake
from cashup.markets.synthetic import generate
from cashup.research.backtest import backtest
from cashup.research.spec import RunSpec
from cashup.research.trades import equity_of
from cashup.research.validating.candidates import load_candidates, loader_of, sets_of
from cashup.research.validating.schedule import schedule
from cashup.research.validating.scoring import OBJECTIVES
from cashup.research.validating.segments import Tape
from cashup.research.validating.splits import Span
from cashup.research.validating.walk import daily_returns
from cashup.research.validating.walkforward import WalkForward, walk_forward, walkforward
from cashup.settings import load_settings
from cashup.strategies.bars import Bars
from cashup.strategies.registry import notebook_name, trials_of_notebook
from cashup.strategies.strategy import Strategy

START = parse_time("2024-01-01")
WARMUP = 20
COSTS = RunSpec(fee=0.001, slippage=0.0005)


def cross(bars: Bars, fast: int, slow: int) -> pd.DataFrame:
    return (bars.close.rolling(fast).mean() > bars.close.rolling(slow).mean()).astype(float)


def make(params) -> Strategy:
    return Strategy(cross, symbols=["BTC/USDT"], timeframe="1h", warmup=WARMUP, params=params)


GRID = {"fast": [3, 5, 8], "slow": [12, 20]}


@pytest.fixture(scope="module")
def bars() -> Bars:
    return Bars.join({"BTC/USDT": generate("BTC/USDT", "1h", START, 1_020, 3)}, "1h")


@pytest.fixture(scope="module")
def candidates():
    return load_candidates(make, sets_of(GRID))


@pytest.fixture(scope="module")
def walked(bars, candidates) -> WalkForward:
    return walk_forward(candidates, bars, COSTS, train=400, test=120)


def test_the_tests_are_one_account(walked: WalkForward) -> None:
    assert len(walked.folds) == 5
    assert walked.equity.index.equals(walked.walk.times[400:])
    rebuilt = equity_of(walked.orders, walked.close, walked.capital)
    assert walked.equity.to_numpy() == pytest.approx(rebuilt.to_numpy())
    grown = np.prod([np.prod(1 + fold.test_returns) for fold in walked.walk.folds])
    assert walked.equity.iloc[-1] == pytest.approx(walked.capital * grown)
    assert walked.stats()["End Value"] == pytest.approx(walked.equity.iloc[-1])
    assert walked.metrics()["trades"] == len(walked.trades) > 5


def test_every_test_begins_and_ends_flat_and_pays_for_both(walked: WalkForward, bars: Bars) -> None:
    signed = walked.orders["quantity"].where(walked.orders["side"] == "buy", -walked.orders["quantity"])
    for fold in walked.folds.itertuples():
        inside = walked.orders["timestamp"].between(fold.test_start, fold.test_end)
        assert signed[inside].sum() == pytest.approx(0, abs=1e-12)
    # A seam while long: the way out is the last close, worse by the slippage, with a fee.
    always = Tape(
        Strategy(lambda b: b.close * 0 + 1, symbols=["BTC/USDT"], timeframe="1h", warmup=0), bars, 0, COSTS, {}
    )
    part = always.trade(Span(10, 14))
    bought, sold = part.orders.itertuples()
    assert (bought.timestamp, sold.timestamp) == (bars.index[11], bars.index[13])
    price = bars.close["BTC/USDT"].iloc[13] * (1 - 0.0005)
    assert sold.price == pytest.approx(price)
    assert sold.fee == pytest.approx(sold.quantity * price * 0.001)
    spent = bars.open["BTC/USDT"].iloc[11] * 1.0005 * 1.001
    assert part.equity.iloc[-1] / part.capital == pytest.approx(price * 0.999 / spent)


def half(b: Bars) -> pd.DataFrame:
    return cross(b, 3, 12).where(cross(b, 3, 12) != cross(b, 5, 20)) / 2  # NaN keeps


def swing(b: Bars) -> pd.DataFrame:
    return cross(b, 3, 12) * 1.6 - 0.8


SPOT, PERPETUALS = ("BTC/USDT", "ETH/USDT"), ("BTC/USDT:USDT", "ETH/USDT:USDT")


@pytest.mark.parametrize(
    ("symbols", "target", "how"),
    [
        (SPOT, half, {}),
        (SPOT, half, {"rebalance": 0.05}),
        (PERPETUALS, swing, {"leverage": 2.0, "stop_loss": 0.01, "take_profit": 0.02}),
    ],
)
def test_the_quick_returns_are_those_of_the_orders(symbols, target, how) -> None:
    pair = Bars.join({name: generate(name, "1h", START, 400, 5) for name in symbols}, "1h")
    rates = {"ETH/USDT:USDT": pd.Series(0.001, pair.index[::8])} if symbols == PERPETUALS else {}
    tape = Tape(Strategy(target, symbols=symbols, timeframe="1h", warmup=WARMUP, **how), pair, WARMUP, COSTS, rates)
    for span in (Span(0, 380), Span(57, 130), Span(200, 201)):
        assert tape.returns(span) == pytest.approx(tape.trade(span).returns, abs=1e-12)
    whole = tape.trade(Span(0, 380))
    assert len(whole.orders) > 20
    assert (len(whole.funding) > 10) == bool(rates)


def test_the_choice_is_the_best_of_the_train_bars(walked: WalkForward, bars: Bars, candidates) -> None:
    for number, fold in enumerate(walked.walk.folds):
        span = fold.train[0]
        ratios = []
        for strategy in candidates.strategies:
            part = Tape(strategy, bars, WARMUP, COSTS, {}).trade(span)
            ratios.append(part.returns.mean() / part.returns.std(ddof=1) * np.sqrt(8760))
        assert candidates.sets[int(np.argmax(ratios))] == fold.params
        assert walked.folds["train_sharpe"].iloc[number] == pytest.approx(max(ratios))


def test_a_test_is_a_backtest_of_these_bars_alone(walked: WalkForward, bars: Bars) -> None:
    fold = walked.walk.folds[2]
    first = WARMUP + fold.test[0].start
    alone = backtest(make(fold.params), bars.rows(first - WARMUP, first + 120), COSTS)
    returns = alone.equity.pct_change().to_numpy()[1:-1]
    assert fold.test_returns[1:-1] == pytest.approx(returns)


def test_the_future_does_not_reach_the_choice(bars: Bars, candidates, walked: WalkForward) -> None:
    values = bars.values.copy()
    random = np.random.default_rng(9)
    values[:4, 700:] *= np.exp(random.normal(0, 0.05, 320)).cumprod()[None, :, None]
    other = Bars(bars.times, bars.symbols, "1h", values)
    changed = walk_forward(candidates, other, COSTS, train=400, test=120)
    seen = [fold.train[0].stop + WARMUP <= 700 for fold in walked.walk.folds]
    assert sum(seen) == 3
    for before, after, untouched in zip(walked.walk.folds, changed.walk.folds, seen, strict=True):
        if untouched:
            assert before.params == after.params
            assert before.train_figure == after.train_figure
    assert changed.equity.iloc[-1] != walked.equity.iloc[-1]


def test_no_set_that_looks_good_in_the_test_only_is_chosen(bars: Bars) -> None:
    """One set is long exactly in the tests, the other in the trains: the tests must go to the other one."""
    half = bars.index[WARMUP + 500]

    def oracle(b: Bars, when: str) -> pd.DataFrame:
        rises = (b.open.shift(-2) > b.open.shift(-1)).astype(float)
        early = pd.DataFrame(np.where(b.index < half, 1.0, 0.0)[:, None], b.index, b.close.columns)
        return rises * early if when == "train" else rises * (1 - early)

    load = loader_of(lambda p: Strategy(oracle, symbols=["BTC/USDT"], timeframe="1h", warmup=WARMUP, params=p))
    made = walk_forward(
        load_candidates(load, sets_of({"when": ["test", "train"]})), bars, RunSpec(), train=500, test=500
    )
    assert made.folds["when"].tolist() == ["train"]
    assert made.metrics()["trades"] == 0


def test_every_set_on_every_train_window_is_a_trial(walked: WalkForward) -> None:
    assert len(walked.trials) == 6 * 5
    assert walked.trials.groupby("fold")["chosen"].sum().tolist() == [1] * 5
    best = walked.trials.loc[walked.trials.groupby("fold")["sharpe"].idxmax(), ["fast", "slow"]]
    assert best.to_numpy().tolist() == walked.folds[["fast", "slow"]].to_numpy().tolist()
    assert walked.daily.shape[1] == 6
    assert walked.deflated is not None
    assert walked.deflated.trials == 6


def test_efficiency_and_stability(walked: WalkForward) -> None:
    rate = {
        side: sum(np.log1p(getattr(fold, side)).sum() for fold in walked.walk.folds)
        / sum(len(getattr(fold, side)) for fold in walked.walk.folds)
        for side in ("train_returns", "test_returns")
    }
    expected = rate["test_returns"] / rate["train_returns"] if rate["train_returns"] > 0 else float("nan")
    assert walked.efficiency == pytest.approx(expected, nan_ok=True)
    chosen = walked.folds["fast"]
    assert walked.stability.loc["fast", "share"] == (chosen == walked.stability.loc["fast", "commonest"]).mean()
    assert walked.stability.loc["fast", "mean"] == pytest.approx(chosen.mean())


@pytest.mark.parametrize(("scheme", "folds", "ways"), [("expanding", 6, 1), ("kfold", 5, 1), ("cpcv", 15, 5)])
def test_the_other_schemes(bars: Bars, candidates, scheme: str, folds: int, ways: int) -> None:
    made = walk_forward(candidates, bars, COSTS, scheme=scheme, purge=3, embargo=0.01)
    assert (len(made.folds), made.paths.shape[1]) == (folds, ways)
    assert made.paths.notna().to_numpy().all()
    assert made.equity.iloc[-1] in made.paths.iloc[-1].tolist()
    if scheme != "expanding":
        assert made.equity.index.equals(made.walk.times), "every bar is tested"
    middle = sorted(made.path_sharpes)[(ways - 1) // 2]
    own = made.equity.to_numpy() / np.append(made.capital, made.equity.to_numpy()[:-1]) - 1
    assert own.mean() / own.std(ddof=1) * np.sqrt(8760) == pytest.approx(middle)
    assert made.to_json()["embargo"] == 10


@pytest.mark.parametrize("name", sorted(OBJECTIVES))
def test_an_objective_is_the_figure_of_a_run(bars: Bars, candidates, name: str) -> None:
    made = backtest(candidates.strategies[0], bars, COSTS)
    returns = made.equity.to_numpy() / np.append(made.capital, made.equity.to_numpy()[:-1]) - 1
    assert OBJECTIVES[name][0](returns, 8760.0) == pytest.approx(made.metrics()[name], rel=1e-9)


def test_the_smallest_drawdown_wins_when_that_is_asked(bars: Bars, candidates) -> None:
    made = walk_forward(candidates, bars, COSTS, train=400, test=120, objective="max_drawdown")
    for _, tried in made.trials.groupby("fold"):
        assert tried.loc[tried["chosen"], "max_drawdown"].item() == tried["max_drawdown"].min()


def test_days_are_compounded() -> None:
    times = pd.date_range("2024-01-01 12:00", periods=36, freq="h", tz="UTC").as_unit("ms")
    daily = daily_returns(np.full(36, 0.01), times)
    assert daily.tolist() == pytest.approx([1.01**12 - 1, 1.01**24 - 1])


def test_it_is_a_dict_and_a_picture(walked: WalkForward) -> None:
    document = walked.to_json()
    assert document["trials"] == 30
    assert document["folds"][0]["test_start"] == walked.folds["test_start"].iloc[0].isoformat()
    assert document["metrics"]["total_return"] == pytest.approx(walked.equity.iloc[-1] / 10_000 - 1)
    assert 0 <= document["overfitting"]["probability"] <= 1
    names = [trace.name for trace in walked.plot().data]
    assert names == ["Equity", "train", "test"]


def test_lengths_are_bars_durations_or_fractions() -> None:
    plan = schedule("rolling", 1_000, "1h", train="20d", test="2d", embargo="90m", purge=1)
    assert (len(plan.splits[0].train[0]), len(plan.splits[0].test[0])) == (480, 48)
    assert (plan.purge, plan.embargo) == (1, 2)
    assert schedule("kfold", 1_000, "1h", folds=4, embargo="0.005").embargo == 5
    assert len(schedule("expanding", 1_000, "1h", train=100, folds=3).splits) == 3
    default = schedule("rolling", 1_000, "1h")
    assert len(default.splits) == 6
    assert len(default.splits[0].test[0]) == 111


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: schedule("loo", 100, "1h"), "there are rolling"),
        (lambda: schedule("kfold", 100, "1h", train="3d"), "name --folds"),
        (lambda: schedule("rolling", 100, "1h", test=3, folds=4), "not both"),
        (lambda: schedule("rolling", 100, "1h", train="long"), "duration such as 30d"),
        (lambda: schedule("rolling", 100, "1h", train="3,5"), "duration such as 30d"),
        (lambda: schedule("rolling", 100, "1h", train=2.5), "number of bars"),
        (lambda: sets_of({}), "at least one parameter"),
        (lambda: sets_of({"fast": []}), "range of fast is empty"),
    ],
)
def test_what_cannot_be_planned(call, message) -> None:
    with pytest.raises(UsageError, match=message):
        call()


def test_what_cannot_be_walked(bars: Bars, candidates) -> None:
    with pytest.raises(UsageError, match="no objective 'sharp'"):
        walk_forward(candidates, bars, COSTS, objective="sharp")
    with pytest.raises(DataError, match="too few"):
        walk_forward(candidates, bars.rows(0, WARMUP), COSTS)
    with pytest.raises(UsageError, match="one market at a time"):
        load_candidates(
            lambda p: Strategy(lambda b: b.close, symbols=[p["symbol"]], timeframe="1h", warmup=0),
            [{"symbol": "BTC/USDT"}, {"symbol": "ETH/USDT"}],
        )


NOTEBOOK = """
import cashup as cu
assert fast < slow
def target(bars, fast, slow):
    return (bars.close.rolling(fast).mean() > bars.close.rolling(slow).mean()).astype(float)
strategy = cu.Strategy(target, symbols=["BTC/USDT"], timeframe="1h", warmup=slow, params={"fast": fast, "slow": slow})
"""


@pytest.fixture
def notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, database_url: str, redis_url: str) -> Path:
    monkeypatch.setenv("CASHUP_DATABASE_URL", database_url)
    monkeypatch.setenv("CASHUP_REDIS_URL", redis_url)
    monkeypatch.setenv("CASHUP_HOME", str(tmp_path / "home"))
    Lake(load_settings().lake_path).write("gate", "BTC/USDT", "1h", generate("BTC/USDT", "1h", START, 1_020, 3))
    cells = ["fast = 5\nslow = 20", NOTEBOOK, "run = cu.run(strategy)"]
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    made.cells[0].metadata["tags"] = ["parameters"]
    path = tmp_path / "cross.ipynb"
    nbformat.write(made, path)
    return path


def test_a_notebook_is_walked_and_the_sets_that_it_refuses_are_named(notebook: Path, walked: WalkForward) -> None:
    made = walkforward(notebook, {"fast": [3, 5, 8, 30], "slow": [12, 20]}, train=400, test=120, slippage=0.0005)
    assert [dict(params) for params, _ in made.invalid] == [{"fast": 30, "slow": 12}, {"fast": 30, "slow": 20}]
    assert "AssertionError" in made.invalid[0][1]
    assert made.equity.to_numpy() == pytest.approx(walked.equity.to_numpy()), "as the same strategy by hand"
    counted = with_database(lambda database: trials_of_notebook(database, notebook_name(notebook)))
    assert len(counted) == 6, "every set of it, once"
    assert all(trial.metrics["fold"] == 5 for trial in counted)
    with pytest.raises(NotebookError, match="no parameter 'fats'"):
        walkforward(notebook, {"fats": [3]})
    with pytest.raises(WorkFailed, match="AssertionError"):
        walkforward(notebook, {"fast": [50]})
