"""The float64 kernel: the execution rule by hand, and vectorbt's own numbers inside vectorbt's scope."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from cashup.markets.synthetic import generate
from cashup.research.kernel import NOTHING, REASONS, Funding, Levels, Outcome, Terms, carry_out, prices, prices_of
from cashup.research.rule import orders_from
from cashup.research.simulation import portfolio_of
from cashup.strategies.bars import Bars

NAN = float("nan")
SYMBOLS = ["BTC/USDT", "ETH/USDT", "XRP/USDT"]
START = 1_735_689_600_000


def flat(*opened: float):
    """Bars that do not move after their open."""
    return prices(*[np.array(opened)] * 4)


def shaped(*bars: tuple[float, float, float, float]):
    return prices(*np.array(bars).T.copy())


def rows(made: Outcome) -> list[tuple]:
    return [
        (int(order["bar"]), REASONS[order["reason"]], round(float(order["quantity"]), 9), float(order["price"]))
        for order in made.orders
    ]


def orders_with_rebalance(targets: pd.DataFrame, opens: np.ndarray, *, rebalance: float, fee: float, slippage: float):
    """What vectorbt must be told to order so that drifted exposures come back, found bar by bar."""
    goals = targets.ffill().fillna(0.0).to_numpy()
    wanted = np.full(goals.shape, np.nan)
    held, cash, before = np.zeros(goals.shape[1]), 10_000.0, np.zeros(goals.shape[1])
    for bar, goal in enumerate(goals[:-1]):
        price = opens[bar + 1]
        equity = cash + float(held @ price)
        act = (goal != before) | (np.abs(held * price / equity - goal) > rebalance)
        before = goal
        wanted[bar + 1, act] = goal[act]
        desired = np.where(act, goal * equity - held * price, 0.0)
        for symbol in np.argsort(desired, kind="stable"):
            quantity = max(desired[symbol] / price[symbol], -held[symbol])
            rate = (1 + slippage) * (1 + fee) if quantity > 0 else (1 - slippage) * (1 - fee)
            quantity = min(quantity, max(cash, 0.0) / (price[symbol] * rate)) if quantity > 0 else quantity
            cash -= quantity * price[symbol] * rate
            held[symbol] += quantity
    return wanted


@pytest.fixture(scope="module")
def market() -> Bars:
    return Bars.join({symbol: generate(symbol, "1h", START, 600, 11) for symbol in SYMBOLS}, "1h")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("symbols", [1, 3])
@pytest.mark.parametrize("rebalance", [None, 0.02])
@pytest.mark.parametrize("slippage", [0.0, 0.0007])
def test_long_only_is_vectorbts(market, symbols, rebalance, slippage):
    values = market.values[:, :, :symbols].copy()
    bars = Bars(market.times, SYMBOLS[:symbols], "1h", values)
    chance = np.random.default_rng(5)
    targets = chance.choice([0, 0.3, 0.5, 1.0, 1.3, NAN], size=bars.close.shape)
    targets[chance.random(targets.shape) < 0.7] = NAN
    frame = pd.DataFrame(targets, index=bars.index, columns=bars.close.columns)
    if rebalance is None:
        sizes = orders_from(frame)
    else:
        sizes = orders_with_rebalance(frame, values[0], rebalance=rebalance, fee=0.001, slippage=slippage)
    closes, opens = values[3].copy(), values[0].copy()
    theirs = portfolio_of(closes, opens, sizes, 10_000.0, fee=0.001, slippage=slippage, freq="1h")
    terms = Terms(fee=0.001, slippage=slippage, rebalance=rebalance or math.inf)
    ours = carry_out(prices_of(bars), targets, terms, capital=10_000.0)

    records = np.sort(theirs.orders.values, order="id")
    assert len(records) > 30
    np.testing.assert_array_equal(ours.orders["bar"], records["idx"])
    np.testing.assert_array_equal(ours.orders["symbol"], records["col"])
    np.testing.assert_allclose(np.abs(ours.orders["quantity"]), records["size"], rtol=1e-9)
    np.testing.assert_allclose(ours.equity, theirs.value(), rtol=1e-9)
    returns = theirs.returns().to_numpy()
    figures = ours.figures
    assert figures.final_equity == pytest.approx(theirs.value().iloc[-1], rel=1e-9)
    assert figures.max_drawdown == pytest.approx(-theirs.max_drawdown(), rel=1e-9)
    assert figures.sum_returns == pytest.approx(returns.sum(), rel=1e-9)
    assert figures.sum_squares == pytest.approx((returns**2).sum(), rel=1e-9)
    assert figures.trades == theirs.exit_trades.count()
    assert figures.wins == theirs.exit_trades.closed.winning.count()
    assert figures.fees == pytest.approx(records["fees"].sum())
    assert carry_out(prices_of(bars), targets, terms, capital=10_000.0, keep=False).figures == figures


def test_a_flip_is_a_reduction_and_an_increase():
    made = carry_out(flat(100, 100, 50, 50), np.array([1, -1, -1, 0.0]), Terms(), capital=1000)
    assert rows(made) == [(1, "target", 10, 100), (2, "target", -10, 50), (2, "target", -10, 50)]
    assert made.equity.tolist() == [1000, 1000, 500, 500]


def test_leverage_is_the_limit_after_the_fee():
    made = carry_out(flat(100, 100, 110), np.array([3.0, 3.0, 3.0]), Terms(fee=0.01, leverage=2), capital=1000)
    (order,) = made.orders
    equity = 1000 - order["fee"]
    assert order["quantity"] * 100 == pytest.approx(2 * equity)
    short = carry_out(
        flat(100, 100, 110), np.array([-3.0, -3.0, -3.0]), Terms(fee=0.01, slippage=0.1, leverage=2), capital=1000
    )
    (order,) = short.orders
    equity = 1000 - order["fee"] + order["quantity"] * 100 * 0.1
    assert order["price"] == 90
    assert -order["quantity"] * 100 == pytest.approx(2 * equity)


def test_a_stop_fills_at_its_price_or_at_a_worse_open_and_waits_for_another_target():
    bars = shaped((100, 100, 100, 100), (100, 101, 94, 96), (96, 96, 96, 96), (96, 97, 96, 96), (96, 96, 96, 96))
    levels = Levels(np.array([[0.05]]), NOTHING, NOTHING)
    made = carry_out(bars, np.array([1, 1, 0.5, 0.5, 0.5]), Terms(rebalance=0.1), levels, capital=1000)
    assert rows(made) == [(1, "target", 10, 100), (1, "stop_loss", -10, 95), (3, "target", 4.947916667, 96)]
    gap = shaped((100, 100, 100, 100), (100, 101, 99, 100), (90, 99, 89, 95), (95, 95, 95, 95))
    assert rows(carry_out(gap, np.ones(4), Terms(), levels, capital=1000)) == [
        (1, "target", 10, 100),
        (2, "stop_loss", -10, 90),
    ]


def test_a_trailing_stop_follows_the_highs_of_earlier_bars():
    bars = shaped((100, 100, 100, 100), (100, 120, 100, 110), (112, 113, 100, 101), (101, 101, 101, 101))
    made = carry_out(bars, np.ones(4), Terms(), Levels(NOTHING, NOTHING, np.array([[0.1]])), capital=1000)
    assert rows(made) == [(1, "target", 10, 100), (2, "trailing_stop", -10, 108)]


def test_a_profit_rests_so_it_pays_the_makers_fee_and_no_slippage_and_the_stop_wins():
    bars = shaped((100, 100, 100, 100), (100, 100, 100, 100), (100, 112, 99, 101), (101, 101, 101, 101))
    profit = Levels(NOTHING, np.array([[0.1]]), NOTHING)
    terms = Terms(fee=0.01, maker_fee=0.002, slippage=0.01)
    made = carry_out(bars, np.array([-0.5, 0.5, 0.5, 0.5]), terms, profit, capital=1000)
    bought = made.orders[2]
    assert (bought["quantity"] > 0, made.orders[3]["reason"]) == (True, REASONS.index("take_profit"))
    assert made.orders[3]["price"] == pytest.approx(101 * 1.1)
    assert made.orders[3]["fee"] == pytest.approx(0.002 * 111.1 * bought["quantity"])
    both = Levels(np.array([[0.0001]]), np.array([[0.1]]), NOTHING)
    assert carry_out(bars, np.ones(4), Terms(), both, capital=1000).orders[-1]["reason"] == REASONS.index("stop_loss")


def test_shorts_have_mirrored_stops():
    bars = shaped((100, 100, 100, 100), (100, 103, 90, 95), (94, 99.5, 94, 99), (99, 99, 99, 99))
    stop = Levels(np.array([[0.05]]), NOTHING, np.array([[0.1]]))
    made = carry_out(bars, -np.ones(4), Terms(), stop, capital=1000)
    assert rows(made) == [(1, "target", -10, 100), (2, "trailing_stop", 10, 99)]


def test_funding_is_paid_by_who_held_before_the_open_and_by_who_holds_after_it():
    rates = np.array([[0.0], [0.01], [0.01], [0.0]])
    made = carry_out(
        flat(100, 100, 100, 100), np.array([1, 0.0, 0.0, 0.0]), Terms(), funding=Funding(rates, rates), capital=1000
    )
    assert made.payments.ravel().tolist() == [0, -10, -10, 0]
    assert made.figures.funding == -20
    assert made.equity.tolist() == [1000, 990, 980, 980]
    short = carry_out(
        flat(100, 100), np.array([-1.0, 0.0]), Terms(), funding=Funding(rates[:2], rates[:2]), capital=1000
    )
    assert short.payments.ravel().tolist() == [0, 10]


def test_an_order_for_a_symbol_that_is_not_listed_yet_waits():
    opened = np.array([[NAN, 10], [NAN, 10], [50, 10], [50, 20]])
    made = carry_out(prices(*[opened] * 4), np.full((4, 2), 0.5), Terms(), capital=1000)
    assert [(int(o["bar"]), int(o["symbol"]), float(o["quantity"])) for o in made.orders] == [(1, 1, 50), (2, 0, 10)]
    assert made.equity.tolist() == [1000, 1000, 1000, 1500]


def test_nothing_is_ordered_while_there_is_no_equity():
    made = carry_out(flat(100, 100, 300, 300), np.array([-1.0, 0, 0, 0]), Terms(), capital=1000)
    assert len(made.orders) == 1
    assert made.figures.lowest == -1000


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="do not fit"):
        carry_out(flat(1, 2, 3), np.ones(2), Terms(), capital=1)
    with pytest.raises(ValueError, match="do not fit"):
        carry_out(flat(1, 2, 3), np.ones(3), Terms(), Levels(np.ones((2, 1)), NOTHING, NOTHING), capital=1)
