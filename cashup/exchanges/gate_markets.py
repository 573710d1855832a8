"""Gate's markets: their rules, and their names in unified spelling."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from cashup.errors import ExchangeRefused
from cashup.exchanges.ccxt_adapter import to_market
from cashup.types import FeeIn, Market, Symbol

if TYPE_CHECKING:
    from cashup.exchanges.gate_client import GateClient


class GateMarkets:
    """Read when they are first asked for, and again when Gate says that an order does not keep to them.

    The mapping that was handed out changes then: a venue changes its steps without a word.
    """

    def __init__(self, client: GateClient) -> None:
        self._client = client
        self._markets: dict[Symbol, Market] = {}
        self._pairs: dict[Symbol, str] = {}
        self._symbols: dict[str, Symbol] = {}

    async def all(self) -> Mapping[Symbol, Market]:
        """Those that trade. Raises ExchangeTransient or ExchangeRefused."""
        if not self._markets:
            await self.read()
        return self._markets

    async def read(self) -> None:
        """Read them. Raises ExchangeTransient or ExchangeRefused."""
        listed = await self._client.spot_markets()
        self._pairs = {Symbol(market["symbol"]): market["id"] for market in listed}
        self._symbols = {pair: symbol for symbol, pair in self._pairs.items()}
        trading = [to_market(market, FeeIn.RECEIVED) for market in listed if market["active"]]
        self._markets.clear()
        self._markets.update((market.symbol, market) for market in trading)

    async def pair(self, symbol: Symbol) -> str:
        """Gate's id of a market, trading or not. Raises ExchangeRefused when it has none."""
        await self.all()
        if symbol not in self._pairs:
            raise ExchangeRefused(
                f"{symbol} does not trade on Gate; ask for its markets and choose one", code="invalid_currency_pair"
            )
        return self._pairs[symbol]

    def known_pair(self, symbol: Symbol) -> str:
        """Gate's id as far as it was read, else the symbol itself."""
        return self._pairs.get(symbol, symbol)

    def symbol_of(self, pair: str) -> Symbol:
        """Gate's id in unified spelling; ccxt renames a few currencies, which the markets know."""
        return self._symbols.get(pair) or Symbol(pair.replace("_", "/"))
