"""The backtest engines: vectorbt where it can carry out the execution rule, the kernel where it cannot."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cashup.research.kernel import NO_FUNDING, NO_LEVELS, REASONS, Funding, Levels, Terms, carry_out, prices_of
from cashup.research.rule import check_long_only, orders_from
from cashup.research.trades import ORDER_COLUMNS, empty_orders, equity_of, no_funding
from cashup.strategies.bars import Bars


@dataclass(frozen=True, slots=True)
class Scenario:
    """What is simulated: targets (time x symbol, one row for every bar of `bars`) on given terms."""

    bars: Bars
    targets: pd.DataFrame
    terms: Terms
    capital: float
    levels: Levels = NO_LEVELS
    funding: Funding = NO_FUNDING

    @property
    def vectorbt_can(self) -> bool:
        """Long only, on no credit, without stops, rebalancing and funding, and with a price at every bar."""
        return (
            self.terms._replace(fee=0.0, maker_fee=0.0, slippage=0.0) == Terms()
            and not any(len(grid) for grid in (*self.levels, *self.funding))
            and not bool((self.targets.to_numpy() < 0).any())
            and not bool(np.isnan(self.bars.values[:4]).any())
        )

    def at_twice_the_costs(self) -> Scenario:
        """The same with fees, slippage and funding doubled."""
        fee, maker_fee, slippage = (2 * cost for cost in self.terms[:3])
        terms = self.terms._replace(fee=fee, maker_fee=maker_fee, slippage=slippage)
        return replace(self, terms=terms, funding=Funding(2 * self.funding.at_open, 2 * self.funding.inside))

    def buying_and_holding(self) -> Scenario:
        """Every symbol for an equal share, bought at the first open (or when it is listed) and kept."""
        targets = pd.DataFrame(1 / len(self.bars.symbols), self.targets.index, self.targets.columns)
        terms = self.terms._replace(leverage=1.0, rebalance=float("inf"))
        return replace(self, targets=targets, terms=terms, levels=NO_LEVELS)


@dataclass(frozen=True, slots=True)
class Simulated:
    """What came of a scenario: `equity` at each close, `orders` and `funding` as in `Result`, and the engine's name."""

    equity: pd.Series[float]
    orders: pd.DataFrame
    funding: pd.DataFrame
    engine: str


def simulate(scenario: Scenario) -> Simulated:
    """Carry `scenario` out by the execution rule. Raises NotebookError for a target below zero of a spot symbol."""
    check_long_only(scenario.targets, scenario.bars)
    return by_vectorbt(scenario) if scenario.vectorbt_can else by_kernel(scenario)


def by_vectorbt(scenario: Scenario) -> Simulated:
    """The scenario in vectorbt, which must be able to."""
    bars, terms = scenario.bars, scenario.terms
    sizes = orders_from(scenario.targets)
    # Orders are sized at the opens they are executed at, so bars without one change nothing: vectorbt gets the others.
    acting = np.flatnonzero(~np.isnan(sizes).all(axis=1))
    if not len(acting):
        return Simulated(_flat(scenario), empty_orders(), no_funding(), "vectorbt")
    opens = bars.values[0, acting]
    portfolio = portfolio_of(opens, opens, sizes[acting], scenario.capital, fee=terms.fee, slippage=terms.slippage)
    records = portfolio.orders.values
    records = records[np.argsort(records["id"], kind="stable")]  # ids count in the order of execution
    orders = _orders(
        bars,
        rows=acting[records["idx"]],
        columns=records["col"],
        bought=records["side"] == 0,
        quantity=records["size"],
        price=records["price"],
        fee=records["fees"],
        reasons=np.zeros(len(records), dtype=np.int64),
    )
    return Simulated(equity_of(orders, bars.close, scenario.capital), orders, no_funding(), "vectorbt")


def by_kernel(scenario: Scenario) -> Simulated:
    """The scenario in the kernel, which can do everything."""
    bars = scenario.bars
    made = carry_out(
        prices_of(bars),
        scenario.targets.to_numpy(),
        scenario.terms,
        scenario.levels,
        scenario.funding,
        capital=scenario.capital,
    )
    orders = _orders(
        bars,
        rows=made.orders["bar"],
        columns=made.orders["symbol"],
        bought=made.orders["quantity"] > 0,
        quantity=np.abs(made.orders["quantity"]),
        price=made.orders["price"],
        fee=made.orders["fee"],
        reasons=made.orders["reason"],
    )
    equity = pd.Series(made.equity, index=bars.index, name="equity")
    return Simulated(equity, orders, _payments(bars, made.payments), "kernel")


def portfolio_of(
    closes: NDArray[np.float64],
    opens: NDArray[np.float64],
    sizes: NDArray[np.float64],
    capital: float,
    *,
    fee: float,
    slippage: float,
    **about: Any,
) -> Any:
    """vectorbt's Portfolio of `sizes` (fractions of equity, NaN = no order) executed at `opens`; all rows x symbols."""
    import vectorbt as vbt

    # The rows are numbered: of an index with a zone vectorbt makes an object per time, 1.6 s for a year of minutes.
    return vbt.Portfolio.from_orders(
        close=pd.DataFrame(closes),
        size=sizes,
        size_type="targetpercent",
        direction="longonly",
        price=opens,
        fees=fee,
        slippage=slippage,
        init_cash=capital,
        cash_sharing=True,
        group_by=True,
        call_seq="auto",
        engine="auto",
        **about,
    )


def _flat(scenario: Scenario) -> pd.Series[float]:
    """The equity of an account that never trades."""
    return pd.Series(scenario.capital, index=scenario.bars.index, name="equity")


def _orders(
    bars: Bars,
    *,
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    bought: NDArray[np.bool_],
    quantity: NDArray[np.float64],
    price: NDArray[np.float64],
    fee: NDArray[np.float64],
    reasons: NDArray[np.int64],
) -> pd.DataFrame:
    table = {
        "timestamp": bars.index[rows],
        "symbol": pd.Index(bars.symbols, dtype="str")[columns],
        "side": pd.Index(["sell", "buy"], dtype="str")[bought.astype(np.int64)],
        "quantity": quantity,
        "price": price,
        "fee": fee,
        "reason": pd.Index(REASONS, dtype="str")[reasons],
    }
    return pd.DataFrame(table)[list(ORDER_COLUMNS)]


def _payments(bars: Bars, payments: NDArray[np.float64]) -> pd.DataFrame:
    """One row per bar and symbol that paid or received."""
    rows, columns = np.nonzero(payments)
    if not len(rows):
        return no_funding()
    return pd.DataFrame(
        {
            "timestamp": bars.index[rows],
            "symbol": pd.Index(bars.symbols, dtype="str")[columns],
            "amount": payments[rows, columns],
        }
    )
