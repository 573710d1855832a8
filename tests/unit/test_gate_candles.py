"""A bar is passed on closed exactly once, in order of time."""

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from cashup.exchanges.gate_candles import CandleFollower
from cashup.types import Candle, Symbol


def candle(time: int, close: str = "1", *, closed: bool = False, symbol: str = "BTC/USDT") -> Candle:
    price = Decimal(close)
    return Candle(Symbol(symbol), "1h", time, price, price, price, price, Decimal(1), closed)


def test_the_last_frame_closes_a_bar() -> None:
    follower = CandleFollower()
    assert follower.follow(candle(1)) == [candle(1)]
    assert follower.follow(candle(1, closed=True)) == [candle(1, closed=True)]
    assert follower.follow(candle(1, closed=True)) == []
    assert follower.follow(candle(2)) == [candle(2)]


def test_the_next_bar_closes_the_one_whose_last_frame_never_came() -> None:
    follower = CandleFollower()
    follower.follow(candle(1, "5"))
    assert follower.follow(candle(2)) == [candle(1, "5", closed=True), candle(2)]
    assert follower.follow(candle(1, "6", closed=True)) == []


def test_a_bar_is_not_closed_from_memory_after_an_interruption() -> None:
    follower = CandleFollower()
    follower.follow(candle(1))
    follower.interrupted()
    assert follower.follow(candle(2)) == [candle(2)]


def test_symbols_do_not_close_each_other() -> None:
    follower = CandleFollower()
    follower.follow(candle(1))
    assert follower.follow(candle(2, symbol="ETH/USDT")) == [candle(2, symbol="ETH/USDT")]


@given(st.lists(st.tuples(st.integers(1, 6), st.booleans()), max_size=30))
def test_closed_once_and_never_backwards(frames: list[tuple[int, bool]]) -> None:
    follower = CandleFollower()
    passed = [out for time, closed in frames for out in follower.follow(candle(time, closed=closed))]
    times = [out.time for out in passed]
    assert times == sorted(times)
    closed = [out.time for out in passed if out.closed]
    assert len(closed) == len(set(closed))
    assert not any(out.time in closed[: closed.index(out.time)] for out in passed if out.closed)
