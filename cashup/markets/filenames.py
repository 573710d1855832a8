"""What a file's name says about its content, in the habits of the publishers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from cashup.strategies.symbols import split_pair

EXCHANGES = frozenset(
    [
        "binance",
        "binanceus",
        "bitfinex",
        "bitget",
        "bitmex",
        "bitstamp",
        "bybit",
        "coinbase",
        "coinex",
        "cryptocom",
        "deribit",
        "gate",
        "gateio",
        "gemini",
        "htx",
        "huobi",
        "hyperliquid",
        "kraken",
        "krakenfutures",
        "kucoin",
        "mexc",
        "okx",
        "poloniex",
    ]
)
_SAME = {"gateio": "gate", "huobi": "htx"}
_TIMEFRAME = re.compile(r"\d+[smhdw]")
_WORDS = {"minute": "1m", "1min": "1m", "hour": "1h", "1hour": "1h", "hourly": "1h", "d": "1d", "daily": "1d"}
_KINDS = {
    "fundingrate": "funding",
    "funding_rate": "funding",
    "funding": "funding",
    "open_interest": "open_interest",
    "metrics": "open_interest",
    "trades": "trades",
    "aggtrades": "trades",
}


@dataclass(frozen=True, slots=True)
class Guess:
    """What the name says; None where it says nothing."""

    exchange: str | None = None
    symbol: str | None = None
    timeframe: str | None = None
    kind: str | None = None


def guess(path: Path) -> Guess:
    """Read `BTCUSDT-1m-2024-01.zip`, `BTC_USDT_USDT-8h-funding_rate.feather`, `Binance_BTCUSDT_1h.csv` and the like.

    The exchange may also be the name of the folder, as freqtrade has it.
    """
    name = path.name.split(".")[0]
    kind = next((kind for word, kind in _KINDS.items() if re.search(rf"[-_]{word}([-_]|$)", name.lower())), None)
    words = [word for word in re.split(r"[-_ ]+", name) if word]
    folders = [part.lower() for part in path.parts[-3:-1]]
    exchange = next((word for word in [words[0].lower() if words else "", *folders] if word in EXCHANGES), None)
    if words and words[0].lower() in EXCHANGES:
        words = words[1:]
    timeframe = next((word for word in words if _TIMEFRAME.fullmatch(word)), None)
    timeframe = timeframe or next((_WORDS[word.lower()] for word in words if word.lower() in _WORDS), None)
    symbol = _symbol(words)
    if symbol and ":" not in symbol and (kind in ("funding", "open_interest") or "futures" in (*words, *folders)):
        symbol = f"{symbol}:{symbol.split('/')[1]}"
    return Guess(_SAME.get(exchange or "", exchange), symbol, timeframe, kind)


def _symbol(words: list[str]) -> str | None:
    """The pair that the first words spell: `BTCUSDT`, `BTC USDT`, or `BTC USDT USDT` for a perpetual."""
    if len(words) >= 2 and (pair := split_pair(f"{words[0]}/{words[1]}")):
        quote = pair.split("/")[1]
        return f"{pair}:{quote}" if len(words) >= 3 and words[2].upper() == quote else pair
    return split_pair(words[0]) if words else None
