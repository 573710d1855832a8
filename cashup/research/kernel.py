"""The execution rule on float64 arrays: one compiled pass over the bars, for the sweep and for what vectorbt cannot do.

    prices = prices_of(bars)  # or prices(opens, highs, lows, closes); made once, shared by all threads
    outcome = carry_out(prices, targets, Terms(fee=0.001), capital=10_000.0)  # equity, orders and figures
    figures = carry_out(prices, targets, Terms(fee=0.001), capital=10_000.0, keep=False).figures  # for a sweep

Every array is time x symbol, float64, C-contiguous; row t is bar t, and the target of bar t is executed at the open of
t + 1 (docs/notebook-contract.md holds the numbered rule). The pass holds no GIL and writes into nothing that it is
given, so threads may share everything. With `keep=False` it writes neither equity nor orders, and allocates nothing
but its few sums.

A symbol whose open is NaN cannot be traded: it counts at its last price (at nothing before the first one), and an
order for it waits until there is an open. While the equity is not above zero nothing is ordered.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar, cast

import numba
import numpy as np
from numpy.typing import NDArray

from cashup.strategies.bars import Bars

Grid = NDArray[np.float64]
F = TypeVar("F", bound=Callable[..., Any])

REASONS = ("target", "rebalance", "stop_loss", "take_profit", "trailing_stop")
"""Why an order was made; an order's `reason` is a position in here."""
TARGET, REBALANCE, STOP_LOSS, TAKE_PROFIT, TRAILING_STOP = range(5)

ORDER = np.dtype(
    [("bar", "i8"), ("symbol", "i8"), ("reason", "i8"), ("quantity", "f8"), ("price", "f8"), ("fee", "f8")], align=True
)
"""One execution: the bar and the column, the signed quantity (negative: sold), its price and the fee in quote."""

DUST_VALUE, DUST_QUANTITY = 1e-9, 1e-12
"""Where float64 stops telling an amount from nothing: smaller orders are not made (as in `rules.ideal_market`)."""


class Prices(NamedTuple):
    """The four prices of every bar, time x symbol."""

    open: Grid
    high: Grid
    low: Grid
    close: Grid


class Terms(NamedTuple):
    """What trading costs (ratios), how much may be held (in equities), and the drift that is traded back (inf: none).

    `maker_fee` is paid by what rested: take-profit fills.
    """

    fee: float = 0.0
    maker_fee: float = 0.0
    slippage: float = 0.0
    leverage: float = 1.0
    rebalance: float = math.inf


class Levels(NamedTuple):
    """Distances of stops, as fractions: one row (it holds always), one row per bar, or none; NaN: no stop."""

    stop_loss: Grid
    take_profit: Grid
    trailing_stop: Grid


class Funding(NamedTuple):
    """Rates of perpetuals per bar, time x symbol or no rows at all: paid at the bar's open, and later inside it."""

    at_open: Grid
    inside: Grid


class Figures(NamedTuple):
    """What a sweep ranks by. Returns are bar by bar, the first one from the capital; money is in quote currency.

    `trades` counts exits (each reduction is one) and what is open at the end, `wins` the exits with a profit after
    fees, `exposed` the bars at whose close something was held, `turnover` the value of all executions; `max_drawdown`
    is a positive ratio, `lowest` the lowest equity. Sharpe per bar = mean / std of returns, from the two sums.
    """

    final_equity: float
    total_return: float
    max_drawdown: float
    sum_returns: float
    sum_squares: float
    trades: float
    wins: float
    orders: float
    fees: float
    funding: float
    turnover: float
    exposed: float
    lowest: float


class Outcome(NamedTuple):
    """`equity` per bar and `orders` (dtype ORDER, in the order of execution), both empty without `keep`; `figures`.

    `payments`: funding per bar and symbol in quote currency, negative when paid; empty without funding or `keep`.
    """

    equity: Grid
    orders: NDArray[np.void]
    payments: Grid
    figures: Figures


PLACE = np.dtype(
    [(name, "f8") for name in ("held", "wanted", "goal", "mark", "entry", "best", "paid", "cut", "add", "stopped")]
)
"""One symbol: the quantity, the newest target and the one last acted on, the newest price, the average entry, the best
price since, the fees of the entry, what this bar's orders take out and put in (values), and whether a stop ended it."""

ACCOUNT = np.dtype(
    [(name, "f8") for name in ("cash", "trades", "wins", "made", "fees", "funding", "turnover")] + [("written", "i8")]
)
"""The cash and the sums of the account, and how many orders stand in the array of orders."""

CURVE = np.dtype([(name, "f8") for name in ("before", "peak", "lowest", "floor", "total", "squares", "exposed")])
"""What the equity has been so far: the last, highest and lowest one, the lowest as a ratio of the highest before it,
the sums of returns and of their squares, and the bars at whose close something was held."""

NOTHING: Grid = np.empty((0, 0))
NO_LEVELS = Levels(NOTHING, NOTHING, NOTHING)
NO_FUNDING = Funding(NOTHING, NOTHING)


def compiled(function: F) -> F:
    """`function` as machine code, kept beside this file for the next process; runs without the GIL."""
    made: Any = numba.njit(cache=True, nogil=True, error_model="numpy")(function)
    return cast(F, made)


def prices(opens: Grid, highs: Grid, lows: Grid, closes: Grid) -> Prices:
    """Arrays time x symbol (or one symbol's, flat) as the kernel reads them; no copy where none is needed."""
    return Prices(frozen(opens), frozen(highs), frozen(lows), frozen(closes))


def prices_of(bars: Bars) -> Prices:
    """The prices of `bars`, on the same memory."""
    return prices(*bars.values[:4])


def carry_out(
    prices: Prices,
    targets: Grid,
    terms: Terms,
    levels: Levels = NO_LEVELS,
    funding: Funding = NO_FUNDING,
    *,
    capital: float,
    keep: bool = True,
) -> Outcome:
    """Carry `targets` (time x symbol, or flat for one; NaN keeps) out over `prices`, of the same shape.

    Whether a symbol may be short is the caller's to check. Raises ValueError for shapes that do not fit.
    """
    wanted = frozen(targets)
    bars, symbols = wanted.shape
    tables = [(grid, (0, 1, bars)) for grid in levels] + [(grid, (0, bars)) for grid in funding]
    fits = all(grid.shape[0] in rows and (not len(grid) or grid.shape[1] == symbols) for grid, rows in tables)
    if prices.open.shape != wanted.shape or len(funding.at_open) != len(funding.inside) or not fits:
        raise ValueError(f"targets {wanted.shape}, levels or funding do not fit prices {prices.open.shape}")
    equity, orders, payments, figures = _pass(
        prices,
        wanted,
        Terms(*map(float, terms)),
        Levels(*map(frozen, levels)),
        Funding(*map(frozen, funding)),
        float(capital),
        keep,
    )
    return Outcome(equity, orders, payments, Figures(*figures))


def frozen(grid: Grid) -> Grid:
    """`grid` as a read-only C-contiguous float64 array of two dimensions: one type, so one compilation."""
    plain = np.ascontiguousarray(grid, dtype=np.float64)
    view = plain.reshape(-1, 1) if plain.ndim == 1 else plain.view()
    view.flags.writeable = False
    return view


@compiled
def _pass(
    prices: Prices, targets: Grid, terms: Terms, levels: Levels, funding: Funding, capital: float, keep: bool
) -> Any:
    bars, symbols = targets.shape
    book, account = np.zeros(symbols, PLACE), np.zeros(1, ACCOUNT)
    account[0].cash = capital
    orders = np.empty(3 * symbols, ORDER)
    equity = np.empty(bars if keep else 0)
    payments = np.zeros((funding.inside.shape[0] if keep else 0, symbols))
    curve = np.zeros(1, CURVE)
    curve[0].before = curve[0].peak = curve[0].lowest = capital
    curve[0].floor = 1.0
    stretches = symbols == 1 and not _every_bar(terms, levels, funding)
    bar = 0
    while bar < bars:
        if bar and (_changed(book, targets, bar - 1) or not stretches):
            orders = _room(orders, account[0], symbols, keep)
            if stretches:
                _trade_alone(book[0], account[0], orders, prices.open[bar, 0], terms, bar)
            else:
                _one_bar(book, account[0], orders, payments, prices, terms, levels, funding, bar)
        if stretches:
            bar = _hold(book[0], account[0].cash, curve[0], prices.close, targets, equity, bar)
        else:
            _close(book, account[0].cash, curve[0], prices.close, equity, bar)
            bar += 1
    kept = account[0].written if keep else 0
    return equity, orders[:kept], payments, _figures(account, curve, _open_positions(book), capital)


@compiled
def _figures(accounts: NDArray[np.void], curves: NDArray[np.void], still_open: int, capital: float) -> Any:
    """The values of `Figures`, in its order. It takes arrays: a record alone would not keep its array's memory."""
    account, curve = accounts[0], curves[0]
    returns = (curve.before, curve.before / capital - 1.0, 1.0 - curve.floor, curve.total, curve.squares)
    trades = (account.trades + still_open, account.wins, account.made)
    return returns + trades + (account.fees, account.funding, account.turnover, curve.exposed, curve.lowest)


@compiled
def _every_bar(terms: Terms, levels: Levels, funding: Funding) -> bool:
    """Can anything happen on a bar whose target has not changed?"""
    stops = levels.stop_loss.shape[0] + levels.take_profit.shape[0] + levels.trailing_stop.shape[0]
    return stops + funding.inside.shape[0] > 0 or terms.rebalance < math.inf


@compiled
def _changed(book: NDArray[np.void], targets: Grid, row: int) -> bool:
    """Take the targets of a bar; is there one that was not acted on?"""
    changed = False
    for symbol in range(targets.shape[1]):
        target = targets[row, symbol]
        if target == target:  # not NaN
            book[symbol].wanted = target
        changed |= book[symbol].wanted != book[symbol].goal
    return changed


@compiled
def _close(book: NDArray[np.void], cash: float, curve: Any, close: Grid, equity: Grid, bar: int) -> None:
    """The equity at a bar's close."""
    holds = False
    for symbol in range(close.shape[1]):
        price = close[bar, symbol]
        if price == price:
            book[symbol].mark = price
        cash += book[symbol].held * book[symbol].mark
        holds |= book[symbol].held != 0.0
    change = cash / curve.before - 1.0
    curve.before = cash
    curve.total += change
    curve.squares += change * change
    curve.peak, curve.lowest = max(curve.peak, cash), min(curve.lowest, cash)
    curve.floor = min(curve.floor, cash / curve.peak)
    curve.exposed += 1.0 if holds else 0.0
    if len(equity):
        equity[bar] = cash


@compiled
def _hold(place: Any, cash: float, curve: Any, close: Grid, targets: Grid, equity: Grid, bar: int) -> int:
    """`_close` for one symbol from `bar` on until a target has changed, in registers; the first bar after that."""
    held, mark, goal, keep = place.held, place.mark, place.goal, len(equity) > 0
    before, peak, lowest, floor = curve.before, curve.peak, curve.lowest, curve.floor
    total = squares = 0.0
    start, bars = bar, len(close)
    waiting = place.wanted != goal
    while bar < bars:
        price = close[bar, 0]
        if price == price:
            mark = price
        worth = cash + held * mark
        change = worth / before - 1.0
        before = worth
        total += change
        squares += change * change
        if worth > peak:
            peak = worth
        elif worth < floor * peak:
            floor = worth / peak
        if worth < lowest:
            lowest = worth
        if keep:
            equity[bar] = worth
        bar += 1
        target = targets[bar - 1, 0]
        if waiting or (target == target and target != goal):
            break
    place.mark = mark
    curve.before, curve.peak, curve.lowest, curve.floor = before, peak, lowest, floor
    curve.total += total
    curve.squares += squares
    curve.exposed += bar - start if held != 0.0 else 0
    return bar


@compiled
def _open_positions(book: NDArray[np.void]) -> int:
    count = 0
    for place in book:
        count += place.held != 0.0
    return count


@compiled
def _room(orders: NDArray[np.void], account: Any, symbols: int, keep: bool) -> NDArray[np.void]:
    """Space for the most that one bar can order: a flip and a stop per symbol. Without `keep` it is used again."""
    if not keep:
        account.written = 0
    elif account.written + 3 * symbols > len(orders):
        longer = np.empty(2 * len(orders) + 3 * symbols, ORDER)
        longer[: len(orders)] = orders
        return longer
    return orders


@compiled
def _one_bar(
    book: NDArray[np.void],
    account: Any,
    orders: NDArray[np.void],
    payments: Grid,
    prices: Prices,
    terms: Terms,
    levels: Levels,
    funding: Funding,
    bar: int,
) -> None:
    """Everything that can happen between a bar's open and its close, in its order."""
    symbols = len(book)
    if funding.inside.shape[0]:
        _mark(book, prices.open, bar)
        _pay(book, account, payments, funding.at_open, bar)
    _trade(book, account, orders, prices.open, terms, bar)
    if funding.inside.shape[0]:
        _pay(book, account, payments, funding.inside, bar)
    if levels.stop_loss.shape[0] + levels.take_profit.shape[0] + levels.trailing_stop.shape[0]:
        for symbol in range(symbols):
            if book[symbol].held != 0.0 and prices.open[bar, symbol] == prices.open[bar, symbol]:
                order = orders[account.written]
                order.bar, order.symbol = bar, symbol
                _stop(book[symbol], account, order, prices, terms, levels, bar, symbol)


@compiled
def _pay(book: NDArray[np.void], account: Any, payments: Grid, rates: Grid, bar: int) -> None:
    """Longs pay a positive rate on the value at the bar's open, shorts receive it."""
    for symbol in range(len(book)):
        place, rate = book[symbol], rates[bar, symbol]
        if place.held != 0.0 and rate == rate:
            amount = -place.held * place.mark * rate
            account.cash += amount
            account.funding += amount
            if payments.shape[0]:
                payments[bar, symbol] += amount


@compiled
def _trade(book: NDArray[np.void], account: Any, orders: NDArray[np.void], opens: Grid, terms: Terms, bar: int) -> None:
    """The orders of a bar's open: reductions, the largest first; then increases, the smallest first."""
    symbols = len(book)
    _mark(book, opens, bar)
    equity = _equity(book, account.cash)
    if not equity > 0.0:
        return
    for symbol in range(symbols):
        book[symbol].cut = book[symbol].add = 0.0
        if opens[bar, symbol] == opens[bar, symbol]:
            _size(book[symbol], equity, terms.rebalance)
    for _ in range(symbols):
        symbol = _largest_cut(book)
        if symbol < 0:
            break
        order = orders[account.written]
        order.bar, order.symbol = bar, symbol
        _reduce(book[symbol], account, order, terms)
    for _ in range(symbols):
        symbol = _smallest_add(book)
        if symbol < 0:
            break
        order = orders[account.written]
        order.bar, order.symbol = bar, symbol
        _increase(book[symbol], account, order, terms, _equity(book, account.cash), _shorts(book))
    for symbol in range(symbols):
        if opens[bar, symbol] == opens[bar, symbol]:
            book[symbol].goal = book[symbol].wanted


@compiled
def _trade_alone(place: Any, account: Any, orders: NDArray[np.void], price: float, terms: Terms, bar: int) -> None:
    """`_trade` for a single symbol, without the queues."""
    if price != price:
        return
    place.mark = price
    equity = account.cash + place.held * price
    if not equity > 0.0:
        return
    place.cut = place.add = 0.0
    _size(place, equity, terms.rebalance)
    if place.cut > 0.0:
        order = orders[account.written]
        order.bar, order.symbol = bar, 0
        _reduce(place, account, order, terms)
    if place.add != 0.0:
        order = orders[account.written]
        order.bar, order.symbol = bar, 0
        value = place.held * price
        _increase(place, account, order, terms, account.cash + value, -min(value, 0.0))
    place.goal = place.wanted


@compiled
def _mark(book: NDArray[np.void], opens: Grid, bar: int) -> None:
    for symbol in range(len(book)):
        if opens[bar, symbol] == opens[bar, symbol]:
            book[symbol].mark = opens[bar, symbol]


@compiled
def _equity(book: NDArray[np.void], cash: float) -> float:
    for place in book:
        cash += place.held * place.mark
    return cash


@compiled
def _shorts(book: NDArray[np.void]) -> float:
    """The value of all short positions, positive."""
    value = 0.0
    for place in book:
        value -= min(place.held * place.mark, 0.0)
    return value


@compiled
def _largest_cut(book: NDArray[np.void]) -> int:
    """The symbol that loses the most, the first of equals; -1 when none does."""
    found, most = -1, 0.0
    for symbol in range(len(book)):
        if book[symbol].cut > most:
            found, most = symbol, book[symbol].cut
    return found


@compiled
def _smallest_add(book: NDArray[np.void]) -> int:
    """The symbol that gains the least, the first of equals; -1 when none does."""
    found, least = -1, math.inf
    for symbol in range(len(book)):
        if 0.0 < abs(book[symbol].add) < least:
            found, least = symbol, abs(book[symbol].add)
    return found


@compiled
def _size(place: Any, equity: float, rebalance: float) -> None:
    """What one symbol shall lose (`cut`, a value) and gain (`add`, a signed value) to stand at its target."""
    changed = place.wanted != place.goal
    if changed:
        place.stopped = 0.0
    target = 0.0 if place.stopped else place.wanted
    now = place.held * place.mark
    if not changed and not abs(now / equity - target) > rebalance:
        return
    aim = target * equity
    if now * aim < 0.0 or (target == 0.0 and now != 0.0):  # to nothing, and for a flip on to the other side
        place.cut, place.add = abs(now), aim
    elif abs(aim) < abs(now):
        place.cut = abs(now) - abs(aim)
    else:
        place.add = aim - now


@compiled
def _reduce(place: Any, account: Any, order: Any, terms: Terms) -> None:
    whole = abs(place.held)
    quantity = whole if place.cut == whole * place.mark else min(place.cut / place.mark, whole)
    place.cut = 0.0
    if quantity < DUST_QUANTITY or quantity * place.mark < DUST_VALUE:
        return
    side = -1.0 if place.held > 0.0 else 1.0
    order.reason = TARGET if place.wanted != place.goal else REBALANCE
    _leave(place, account, order, quantity, place.mark * (1.0 + side * terms.slippage), terms.fee)


@compiled
def _increase(place: Any, account: Any, order: Any, terms: Terms, equity: float, short: float) -> None:
    """Add to a position, as far as it can be paid: then gross exposure, at the opens, is leverage x equity at most.

    With exposure G and equity E a value v fits while G + v <= leverage x (E - v x cost). What is left of E is written
    as cash and shorts, without the difference of two large sums.
    """
    side = 1.0 if place.add > 0.0 else -1.0
    worse = 1.0 + side * terms.slippage
    cost = terms.slippage + worse * terms.fee
    most = ((terms.leverage - 1.0) * equity + account.cash - 2.0 * short) / (1.0 + terms.leverage * cost)
    quantity = min(abs(place.add), most) / place.mark
    place.add = 0.0
    if quantity < DUST_QUANTITY or quantity * place.mark < DUST_VALUE:
        return
    price = place.mark * worse
    fee = quantity * price * terms.fee
    before = abs(place.held)
    if before == 0.0:
        place.entry, place.best, place.paid = price, price, fee
    else:
        place.entry = (place.entry * before + price * quantity) / (before + quantity)
        place.paid += fee
    order.reason = TARGET if place.wanted != place.goal else REBALANCE
    _execute(place, account, order, side * quantity, price, fee)


@compiled
def _leave(place: Any, account: Any, order: Any, quantity: float, price: float, rate: float) -> None:
    """Take `quantity` out of a position, and count the trade that this ends."""
    side = 1.0 if place.held > 0.0 else -1.0
    share = quantity / abs(place.held)
    fee = quantity * price * rate
    profit = side * quantity * (price - place.entry) - place.paid * share - fee
    place.paid *= 1.0 - share
    account.trades += 1.0
    account.wins += 1.0 if profit > 0.0 else 0.0
    _execute(place, account, order, -side * quantity, price, fee)
    if share == 1.0:
        place.held = 0.0


@compiled
def _execute(place: Any, account: Any, order: Any, quantity: float, price: float, fee: float) -> None:
    order.quantity, order.price, order.fee = quantity, price, fee
    place.held += quantity
    account.cash -= quantity * price + fee
    account.made += 1.0
    account.written += 1
    account.fees += fee
    account.turnover += abs(quantity) * price


@compiled
def _level(grid: Grid, bar: int, symbol: int) -> float:
    """The level that held when the bar before `bar` had closed; NaN when there is none."""
    if grid.shape[0] == 0:
        return math.nan
    level: float = grid[0 if grid.shape[0] == 1 else bar - 1, symbol]
    return level


@compiled
def _stop(
    place: Any, account: Any, order: Any, prices: Prices, terms: Terms, levels: Levels, bar: int, symbol: int
) -> None:
    """Leave a position at its stop or its profit inside a bar. A short is a long in mirrored (negative) prices."""
    side = 1.0 if place.held > 0.0 else -1.0
    opened = side * prices.open[bar, symbol]
    low = side * (prices.low if side > 0.0 else prices.high)[bar, symbol]
    high = side * (prices.high if side > 0.0 else prices.low)[bar, symbol]
    entry, best = side * place.entry, max(side * place.best, opened)
    place.best = side * max(best, high)
    fixed = entry - place.entry * _level(levels.stop_loss, bar, symbol)
    trailing = best - abs(best) * _level(levels.trailing_stop, bar, symbol)
    profit = entry + place.entry * _level(levels.take_profit, bar, symbol)
    follows = trailing > fixed or fixed != fixed
    stop = trailing if follows else fixed
    whole = abs(place.held)
    if low <= stop:
        order.reason = TRAILING_STOP if follows else STOP_LOSS
        price = side * min(opened, stop) * (1.0 - side * terms.slippage)
        _leave(place, account, order, whole, price, terms.fee)
        place.stopped = 1.0
    elif high >= profit:
        order.reason = TAKE_PROFIT
        _leave(place, account, order, whole, side * max(opened, profit), terms.maker_fee)
        place.stopped = 1.0
