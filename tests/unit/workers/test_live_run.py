from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from cashup.strategies.bars import to_index
from cashup.workers.live_run import LiveRun, executed

HOUR = 3_600_000
START = 1_735_689_600_000


def order(number: int, bar: int) -> dict[str, object]:
    return {"client_order_id": f"t-{number}", "bar": START + bar * HOUR}


def fill(number: int, side: str, price: str, quantity: str, fee: str, currency: str) -> dict[str, object]:
    return {
        "client_order_id": f"t-{number}",
        "symbol": "ETH/USDT",
        "side": side,
        "price": price,
        "quantity": quantity,
        "fee": fee,
        "fee_currency": currency,
    }


def test_fills_become_one_row_per_order_at_the_bar_of_their_execution() -> None:
    orders = executed(
        [order(1, 0), order(2, 5)],
        [
            fill(1, "buy", "100", "1", "0.001", "ETH"),
            fill(1, "buy", "110", "1", "0.001", "ETH"),
            fill(2, "sell", "120", "1.998", "0.23976", "USDT"),
        ],
        HOUR,
    )
    assert orders["timestamp"].tolist() == to_index(np.array([START + HOUR, START + 6 * HOUR])).tolist()
    assert orders["side"].tolist() == ["buy", "sell"]
    assert orders["quantity"].tolist() == pytest.approx([1.998, 1.998])
    assert orders["fee"].tolist() == pytest.approx([0.21, 0.23976])
    # What the buy cost is what left the account: two coins at their prices, the fee in coins included.
    assert (orders["quantity"] * orders["price"] + orders["fee"]).iloc[0] == pytest.approx(210)


def test_no_fills_are_no_orders_with_the_same_columns() -> None:
    empty = executed([], [], HOUR)
    assert len(empty) == 0
    assert list(empty.columns) == ["timestamp", "symbol", "side", "quantity", "price", "fee", "reason"]


def test_a_live_run_has_the_figures_of_a_backtest() -> None:
    index = to_index(np.array([START + number * HOUR for number in range(8)]))
    close = pd.DataFrame({"ETH/USDT": [100.0, 100, 110, 115, 120, 120, 120, 120]}, index=index)
    orders = executed(
        [order(1, 0), order(2, 5)],
        [fill(1, "buy", "100", "2", "0", "ETH"), fill(2, "sell", "120", "2", "0", "USDT")],
        HOUR,
    )
    equity = pd.Series([1000.0, 1000, 1020, 1030, 1040, 1040, 1040, 1040], index=index)
    run = LiveRun(equity=equity, orders=orders, close=close, timeframe="1h", capital=1000.0)
    assert run.stats()["Total Return [%]"] == pytest.approx(4.0)
    assert run.trades["pnl"].tolist() == pytest.approx([40.0])
