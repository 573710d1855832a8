"""What every adapter on ccxt needs: pointing a client at another server, and its markets in our words.

ccxt is imported by the adapters' own client modules, lazily: it costs a second and 110 MB.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any
from urllib.parse import urlsplit

from cashup.errors import IntegrityError, UsageError
from cashup.types import ZERO, FeeIn, Market, Symbol

_WEBSOCKET = {"http": "ws", "https": "wss"}


def point_at(exchange: Any, base_url: str) -> None:
    """Send everything that a ccxt client does to `base_url` (`http://host:port`), over HTTP and WebSocket.

    Paths stay as they are. Raises UsageError for a base that is no HTTP address, and IntegrityError when an address of
    the public exchange would remain.
    """
    base = urlsplit(base_url)
    if base.scheme not in _WEBSOCKET or not base.netloc:
        raise UsageError(f"{base_url!r} is not the address of a server; write it like http://127.0.0.1:8703")
    hosts = {urlsplit(url).netloc for url in addresses(exchange.urls["api"])}
    exchange.urls["api"] = _moved(exchange.urls["api"], base.scheme, base.netloc)
    exchange.urls.pop("test", None)
    exchange.urls.pop("apiBackup", None)
    remaining = [url for url in addresses(exchange.urls["api"]) if urlsplit(url).netloc != base.netloc]
    if remaining or not hosts:
        raise IntegrityError(f"{remaining or 'no address'} of {exchange.id} still points away from {base_url}")


def addresses(tree: object) -> Iterator[str]:
    """Every address in ccxt's nested `urls`."""
    if isinstance(tree, str):
        yield tree
    elif isinstance(tree, Mapping):
        for branch in tree.values():
            yield from addresses(branch)


def _moved(tree: Any, scheme: str, netloc: str) -> Any:
    if isinstance(tree, Mapping):
        return {key: _moved(branch, scheme, netloc) for key, branch in tree.items()}
    if not isinstance(tree, str):
        return tree
    parts = urlsplit(tree)
    ours = _WEBSOCKET[scheme] if parts.scheme in _WEBSOCKET.values() else scheme
    return parts._replace(scheme=ours, netloc=netloc).geturl()


def to_market(market: Mapping[str, Any], fee_in: FeeIn) -> Market:
    """A ccxt spot market (tick-size precision mode) in our words; market buys are cut to the price's tick."""
    precision, limits = market["precision"], market["limits"]
    tick = exact(precision["price"])
    return Market(
        symbol=Symbol(market["symbol"]),
        base=market["base"],
        quote=market["quote"],
        tick=tick,
        lot=exact(precision["amount"]),
        cost_step=tick,
        min_quantity=exact(limits["amount"]["min"]),
        min_cost=exact(limits["cost"]["min"]),
        taker_fee=exact(market["taker"]),
        maker_fee=exact(market["maker"]),
        fee_in=fee_in,
    )


def exact(value: object) -> Decimal:
    """A number as ccxt gives it (text, int, float or nothing) as Decimal, without float noise."""
    if value is None:
        return ZERO
    try:
        number = Decimal(value) if isinstance(value, str | int) else Decimal(repr(value))
    except InvalidOperation as error:
        raise IntegrityError(f"the exchange sent {value!r} where a number belongs") from error
    if not number.is_finite():
        raise IntegrityError(f"the exchange sent {value!r} where a number belongs")
    return number
