"""The spelling of symbols, and what somebody probably meant."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches

from cashup.errors import UsageError
from cashup.types import Symbol

_UNIFIED = re.compile(r"[A-Z0-9]+/[A-Z0-9]+(:[A-Z0-9]+(-\d{6})?)?")
_QUOTES = ("USDT", "USDC", "FDUSD", "TUSD", "BUSD", "DAI", "USD", "EUR", "GBP", "TRY", "BTC", "ETH", "BNB")


def check_symbol(text: object) -> Symbol:
    """`text` as a symbol; raises UsageError with a suggestion when it is not in ccxt's unified spelling."""
    if isinstance(text, str) and _UNIFIED.fullmatch(text):
        return Symbol(text)
    suggestion = _suggest(text) if isinstance(text, str) else None
    hint = f"did you mean {suggestion}?" if suggestion else "write it like BTC/USDT"
    raise UsageError(f"{text!r} is not a symbol in ccxt's spelling; {hint}", code="symbol")


def is_contract(symbol: str) -> bool:
    """True for a perpetual or a future (`BTC/USDT:USDT`), which may be short and held on credit; False for spot."""
    return ":" in symbol


def split_pair(text: str) -> Symbol | None:
    """`BTCUSDT` or `btc/usdt` as a symbol, when its end is a currency that others are priced in; None otherwise."""
    found = _suggest(text)
    return Symbol(found) if found and found.split("/")[1] in _QUOTES else None


def did_you_mean(word: str, words: Iterable[str]) -> str:
    """The closest of `words` as a question, or a list of all of them; for the end of an error message."""
    known = sorted(words)
    close = get_close_matches(word, known, n=1)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"there is {', '.join(known)}" if known else "there is none"


def _suggest(text: str) -> str | None:
    plain = text.strip().upper()
    parts = [part for part in re.split(r"[^A-Z0-9]+", plain) if part]
    if len(parts) == 2:
        return "/".join(parts)
    for quote in _QUOTES:
        if plain.isalnum() and plain.endswith(quote) and len(plain) > len(quote):
            return f"{plain.removesuffix(quote)}/{quote}"
    return None
