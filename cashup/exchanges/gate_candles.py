"""Candles of one stream, each closed exactly once."""

from __future__ import annotations

from cashup.types import Candle, Millis, Symbol


class CandleFollower:
    """Turns raw candle frames into candles: in order of time, and `closed` once per bar.

    A bar closes at its last frame, or when the next one opens before that frame came.
    """

    def __init__(self) -> None:
        self._open: dict[Symbol, Candle] = {}
        self._closed: dict[Symbol, Millis] = {}

    def follow(self, candle: Candle) -> list[Candle]:
        """What to pass on for one frame: nothing for an old bar, the missing close first for a new one."""
        if candle.time <= self._closed.get(candle.symbol, -1):
            return []
        passed = []
        previous = self._open.get(candle.symbol)
        if previous is not None and candle.time < previous.time:
            return []
        if previous is not None and candle.time > previous.time:
            passed.append(self._close(previous))
        if candle.closed:
            return [*passed, self._close(candle)]
        self._open[candle.symbol] = candle
        return [*passed, candle]

    def interrupted(self) -> None:
        """Frames may be missing from here on: an open bar is not known well enough to be closed from memory."""
        self._open.clear()

    def _close(self, candle: Candle) -> Candle:
        self._open.pop(candle.symbol, None)
        self._closed[candle.symbol] = candle.time
        return Candle(
            candle.symbol,
            candle.timeframe,
            candle.time,
            candle.open,
            candle.high,
            candle.low,
            candle.close,
            candle.volume,
            closed=True,
        )
