"""Gate's signatures, checked the way Gate checks them."""

from __future__ import annotations

import hashlib
import hmac
from urllib.parse import unquote_plus

EMPTY_BODY = hashlib.sha512(b"").hexdigest()


def rest_payload(method: str, path: str, query: str, body: bytes, timestamp: str) -> str:
    """What a REST request signs. `query` is the raw query string; it is signed percent-decoded, in its own order."""
    digest = hashlib.sha512(body).hexdigest() if body else EMPTY_BODY
    return f"{method}\n{path}\n{unquote_plus(query)}\n{digest}\n{timestamp}"


def stream_payload(channel: str, event: str, time: int | str) -> str:
    """What the subscription to a private WebSocket channel signs."""
    return f"channel={channel}&event={event}&time={time}"


def sign(secret: str, payload: str) -> str:
    """The hex HMAC-SHA512 of `payload` under `secret`."""
    return hmac.new(secret.encode(), payload.encode(), hashlib.sha512).hexdigest()


def verify(secret: str, payload: str, signature: str) -> bool:
    """True when `signature` belongs to `payload`; takes the same time for every wrong one."""
    return hmac.compare_digest(sign(secret, payload), signature)
