"""The bars that a simulated market replays, bar by bar."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from cashup.clock import timeframe_millis
from cashup.errors import DataError
from cashup.types import ZERO, Candle, Millis, Symbol

if TYPE_CHECKING:
    from cashup.strategies.bars import Bars


@dataclass(frozen=True, slots=True)
class Step:
    """What one step changed: the candles that closed and those that opened (none after the last bar)."""

    closed: list[Candle]
    opened: list[Candle]


class Tape:
    """`times[i]` is the open time of bar `i` (ms); every symbol has a bar there. Prices become exact decimals here."""

    def __init__(self, bars: Bars) -> None:
        if len(bars) == 0:
            raise DataError(f"{', '.join(bars.symbols)} share no bar to replay; look at `cashup data list`")
        self.timeframe = bars.timeframe
        self.duration: Millis = timeframe_millis(bars.timeframe)
        self.times: list[Millis] = bars.times.tolist()
        self.symbols = tuple(Symbol(symbol) for symbol in bars.symbols)
        self._column = {symbol: column for column, symbol in enumerate(self.symbols)}
        self._values = bars.values

    def __len__(self) -> int:
        return len(self.times)

    def position(self, moment: Millis) -> int:
        """The position of the first bar that opens at or after `moment`; `len(self)` when there is none."""
        return bisect_left(self.times, moment)

    def candle(self, symbol: Symbol, position: int) -> Candle:
        """The whole bar, closed."""
        row = self._values[:, position, self._column[symbol]].tolist()
        first, high, low, close, volume = map(_exact, row)
        return Candle(symbol, self.timeframe, self.times[position], first, high, low, close, volume, closed=True)

    def opening(self, symbol: Symbol, position: int) -> Candle:
        """The bar as it is in its first moment: nothing known but its open, no volume, not closed."""
        price = _exact(float(self._values[0, position, self._column[symbol]]))
        return Candle(symbol, self.timeframe, self.times[position], price, price, price, price, ZERO, closed=False)


def _exact(value: float) -> Decimal:
    return Decimal(repr(value))
