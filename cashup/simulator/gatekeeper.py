"""What every request passes first: its time, its signature, its fence and the rate limits."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from aiohttp import web

from cashup.clock import Clock
from cashup.simulator.accounts import Account, Accounts
from cashup.simulator.limits import CANCEL, PLACE, PRIVATE, PUBLIC, RateLimits, Usage
from cashup.simulator.refusals import Refusal
from cashup.simulator.signing import rest_payload, stream_payload, verify
from cashup.types import Millis

WINDOW: Millis = 60_000
"""How far a request's own time may be from the venue's."""

Handler = Callable[[web.Request], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Route:
    """What serves one path, and the status of its success. `private` wants a signature; `what` names what it does."""

    handler: Handler
    status: int = 200
    private: bool = True
    what: str = ""


PLACING = frozenset(
    {
        ("POST", "/api/v4/spot/orders"),
        ("PATCH", "/api/v4/spot/orders/{ident}"),
        ("POST", "/api/v4/spot/batch_orders"),
        ("POST", "/api/v4/spot/amend_batch_orders"),
    }
)
"""What shares the limit on placing and amending."""

ACCOUNT = web.RequestKey("account", Account)
ENDS = web.RequestKey("ends", str)
"""Why an order that this request places ends as soon as it is taken; not set when it does not."""
RECEIVED = web.RequestKey("received", int)
BODY: web.RequestKey[Any] = web.RequestKey("body", object)


class Gatekeeper:
    """Checks requests against the clock, the keys and the limits; raises Refusal."""

    def __init__(self, accounts: Accounts, clock: Clock, limits: RateLimits) -> None:
        self.accounts = accounts
        self.clock = clock
        self.limits = limits

    async def private(self, request: web.Request) -> Account:
        """The account that signed this request. Gate looks at the time before it looks at the key."""
        received = request[RECEIVED] = self.clock.now()
        headers = request.headers
        missing = [name for name in ("KEY", "Timestamp", "SIGN") if not headers.get(name)]
        if missing:
            raise Refusal("MISSING_REQUIRED_HEADER", f"Missing required header: {missing[0]}", status=401)
        timestamp = headers["Timestamp"]
        if not timestamp.isdecimal() or abs(int(timestamp) * 1000 - received) > WINDOW:
            raise Refusal("REQUEST_EXPIRED", "gap between request Timestamp and server time exceeds 60", status=401)
        account = self.accounts.with_key(headers["KEY"])
        body = await request.read() if request.body_exists else b""
        payload = rest_payload(request.method, request.path, request.rel_url.raw_query_string, body, timestamp)
        if not verify(account.secret, payload, headers["SIGN"]):
            raise Refusal("INVALID_SIGNATURE", "Signature mismatch", status=401)
        self._check_fence(headers.get("x-gate-exptime"), received)
        return account

    def stream(self, frame: Mapping[str, Any]) -> Account:
        """The account that signed a subscription to a private channel."""
        auth = frame.get("auth")
        if not isinstance(auth, Mapping):
            raise Refusal("INVALID_KEY", "Authentication is required")
        account = self.accounts.with_key(str(auth.get("KEY", "")))
        payload = stream_payload(str(frame.get("channel")), str(frame.get("event")), frame.get("time", 0))
        if auth.get("method") != "api_key" or not verify(account.secret, payload, str(auth.get("SIGN", ""))):
            raise Refusal("INVALID_SIGNATURE", "Signature mismatch")
        return account

    def _check_fence(self, fence: str | None, received: Millis) -> None:
        """A request that arrives after the time it names is refused unread."""
        if fence is None:
            return
        if not fence.isdecimal():
            raise Refusal("INVALID_PARAM_VALUE", "Invalid argument: x-gate-exptime")
        if received > int(fence):
            raise Refusal("REQUEST_EXPIRED", f"Request expired: received at {received}, good until {fence}")

    async def json(self, request: web.Request) -> dict[str, Any]:
        """The JSON object in the body."""
        body = await self._body(request)
        if not isinstance(body, dict):
            raise Refusal("INVALID_REQUEST_BODY", "The body is not a JSON object")
        return body

    async def items(self, request: web.Request, most: int) -> list[dict[str, Any]]:
        """The JSON objects in the body of a batch, at most `most`."""
        body = await self._body(request)
        if not isinstance(body, list) or not body or not all(isinstance(item, dict) for item in body):
            raise Refusal("INVALID_REQUEST_BODY", "The body is not a list of JSON objects")
        if len(body) > most:
            raise Refusal("INVALID_PARAM_VALUE", f"A batch has at most {most} items")
        return body

    async def _body(self, request: web.Request) -> Any:
        if BODY not in request:
            try:
                request[BODY] = orjson.loads(await request.read())
            except orjson.JSONDecodeError:
                raise Refusal("INVALID_REQUEST_BODY", "The body is not JSON") from None
        return request[BODY]

    async def count(self, request: web.Request, account: Account | None) -> Usage:
        """Count the request against Gate's published limits: a batch once in each of its markets."""
        path = path_of(request)
        if account is None:
            return self.limits.count((request.remote or "", path), PUBLIC)
        uid = str(account.uid)
        if (request.method, path) in PLACING:
            pairs = await self._pairs(request)
            return min(
                (self.limits.count((uid, "place", pair), PLACE) for pair in pairs), key=lambda usage: usage.remain
            )
        if request.method == "DELETE" or path.endswith("/cancel_batch_orders"):
            return self.limits.count((uid, "cancel"), CANCEL)
        return self.limits.count((uid, request.method, path), PRIVATE)

    async def _pairs(self, request: web.Request) -> set[str]:
        """The markets that a request to place or amend touches."""
        body = await self._body(request)
        items = body if isinstance(body, list) else [body]
        given = request.query.get("currency_pair", "")
        return {str(item.get("currency_pair", given)) for item in items if isinstance(item, dict)} or {given}


def path_of(request: web.Request) -> str:
    """The path as it is routed, such as `/api/v4/spot/orders/{ident}`."""
    resource = request.match_info.route.resource
    return resource.canonical if resource else request.path


def require(usage: Usage) -> None:
    """Refuse a request over its limit."""
    if not usage.allowed:
        raise Refusal("TOO_MANY_REQUESTS", "Request Rate limit Exceeded", status=429)


def rate_headers(usage: Usage) -> dict[str, str]:
    """How Gate reports the state of a limit."""
    return {
        "X-Gate-RateLimit-Requests-Remain": str(usage.remain),
        "X-Gate-RateLimit-Limit": str(usage.limit),
        "X-Gate-RateLimit-Reset-Timestamp": str(usage.reset // 1000),
    }


def trace_id() -> str:
    """An id for one request."""
    return secrets.token_hex(16)
