"""NautilusTrader as a running paper strategy: a TradingNode with its sandbox venue and candles from a WebSocket.

It has no adapter for Gate, so the candles come through the smallest data client its base class allows. Argument: the
address of the frames. It prints `ready`, then `decided OPEN_TIME_MS MONOTONIC_NS` for each bar.
"""

from __future__ import annotations

import sys
import time
from decimal import Decimal

import msgspec
from nautilus_trader.adapters.sandbox.config import SandboxExecutionClientConfig
from nautilus_trader.adapters.sandbox.factory import SandboxLiveExecClientFactory
from nautilus_trader.common.providers import InstrumentProvider
from nautilus_trader.config import LiveDataClientConfig, LoggingConfig, StrategyConfig, TradingNodeConfig
from nautilus_trader.core.nautilus_pyo3 import WebSocketClient, WebSocketConfig
from nautilus_trader.indicators import SimpleMovingAverage
from nautilus_trader.live.data_client import LiveMarketDataClient
from nautilus_trader.live.factories import LiveDataClientFactory
from nautilus_trader.live.node import TradingNode
from nautilus_trader.model.currencies import BTC, USDT
from nautilus_trader.model.data import Bar, BarType
from nautilus_trader.model.enums import OrderSide
from nautilus_trader.model.identifiers import ClientId, InstrumentId, Symbol, Venue
from nautilus_trader.model.instruments import CurrencyPair
from nautilus_trader.model.objects import Price, Quantity
from nautilus_trader.trading.strategy import Strategy

FAST, SLOW = 100, 1_000
VENUE = Venue("SIM")
PAIR = CurrencyPair(
    instrument_id=InstrumentId(Symbol("BTCUSDT"), VENUE),
    raw_symbol=Symbol("BTCUSDT"),
    base_currency=BTC,
    quote_currency=USDT,
    price_precision=2,
    size_precision=6,
    price_increment=Price.from_str("0.01"),
    size_increment=Quantity.from_str("0.000001"),
    ts_event=0,
    ts_init=0,
    maker_fee=Decimal("0.001"),
    taker_fee=Decimal("0.001"),
)
BAR_TYPE = BarType.from_str("BTCUSDT.SIM-1-MINUTE-LAST-EXTERNAL")


class Cross(Strategy):
    """Long while the fast average is above the slow one, by the indicators of the library."""

    def __init__(self) -> None:
        super().__init__(StrategyConfig())
        self.fast, self.slow = SimpleMovingAverage(FAST), SimpleMovingAverage(SLOW)

    def on_start(self) -> None:
        """Warm up on made-up closes, and listen."""
        for number in range(SLOW):
            self.fast.update_raw(100.0 + number % 7)
            self.slow.update_raw(100.0 + number % 7)
        self.register_indicator_for_bars(BAR_TYPE, self.fast)
        self.register_indicator_for_bars(BAR_TYPE, self.slow)
        self.subscribe_bars(BAR_TYPE)
        print("ready", flush=True)

    def on_bar(self, bar: Bar) -> None:
        """Decide."""
        above, flat = self.fast.value > self.slow.value, self.portfolio.is_flat(PAIR.id)
        print(f"decided {bar.ts_event // 1_000_000} {time.perf_counter_ns()}", flush=True)
        if above and flat:
            self.submit_order(self.order_factory.market(PAIR.id, OrderSide.BUY, PAIR.make_qty(1)))
        elif not above and not flat:
            self.close_all_positions(PAIR.id)


class Candles(LiveMarketDataClient):
    """Candles from a WebSocket."""

    async def _connect(self) -> None:
        self._handle_data(PAIR)
        config = WebSocketConfig(url=sys.argv[1], handler=self._frame, headers=[])
        self._socket = await WebSocketClient.connect(config)

    async def _disconnect(self) -> None:
        await self._socket.disconnect()

    async def _subscribe_bars(self, command: object) -> None:
        """All frames are of the one bar type."""

    def _frame(self, raw: bytes) -> None:
        candle = msgspec.json.decode(raw)["result"]
        prices = [Price(float(candle[name]), 2) for name in "ohlc"]
        at = int(candle["t"]) * 1_000_000_000
        bar = Bar(BAR_TYPE, *prices, Quantity(float(candle["a"]), 6), at, self._clock.timestamp_ns())
        self._handle_data(bar)


class Factory(LiveDataClientFactory):
    """Makes the client."""

    @staticmethod
    def create(loop, name, config, msgbus, cache, clock):
        """As the node asks for it."""
        return Candles(loop, ClientId(name), VENUE, msgbus, cache, clock, InstrumentProvider())


def main() -> None:
    """Run until the process is ended."""
    sandbox = SandboxExecutionClientConfig(
        venue="SIM", starting_balances=["10000000 USDT", "0 BTC"], account_type="CASH"
    )
    node = TradingNode(
        TradingNodeConfig(
            trader_id="BENCH-001",
            logging=LoggingConfig(log_level="ERROR"),
            data_clients={"SIM": LiveDataClientConfig()},
            exec_clients={"SIM": sandbox},
            timeout_connection=10.0,
        )
    )
    node.trader.add_strategy(Cross())
    node.add_data_client_factory("SIM", Factory)
    node.add_exec_client_factory("SIM", SandboxLiveExecClientFactory)
    node.build()
    node.run()


main()
