"""One HTTP request on its way through the venue: admitted, carried out, answered."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import orjson
from aiohttp import web

from cashup.simulator.gatekeeper import (
    ACCOUNT,
    BODY,
    Gatekeeper,
    Route,
    path_of,
    rate_headers,
    require,
    trace_id,
)
from cashup.simulator.refusals import Refusal
from cashup.types import Millis

PREFIX = "/api/v4"
WHAT = {
    ("POST", "/spot/orders"): "place",
    ("POST", "/spot/batch_orders"): "place",
    ("PATCH", "/spot/orders/{ident}"): "amend",
    ("POST", "/spot/amend_batch_orders"): "amend",
    ("DELETE", "/spot/orders/{ident}"): "cancel",
    ("DELETE", "/spot/orders"): "cancel",
    ("POST", "/spot/cancel_batch_orders"): "cancel",
    ("POST", "/spot/countdown_cancel_all"): "countdown",
}
"""What a request wants; everything else is `read` when it is signed, and `public` when it is not."""


class Call:
    """What the plain path does, in steps between which a fault may strike. `admit` and `effect` happen once."""

    def __init__(self, request: web.Request, route: Route, gatekeeper: Gatekeeper) -> None:
        self.request = request
        self.route = route
        self.gatekeeper = gatekeeper
        self.received: Millis = gatekeeper.clock.now()
        self.path = path_of(request).removeprefix(PREFIX)
        self.what = route.what or WHAT.get((request.method, self.path), "read" if route.private else "public")
        self.headers = {"X-Gate-Trace-Id": trace_id(), "X-In-Time": str(self.received * 1000)}
        self.refusal: Refusal | None = None
        self.content: Any = None
        self.made: list[Any] = []
        self.settled: Callable[[], None] = lambda: None
        self.done = self._admitted = self._settled = False

    async def admit(self) -> None:
        """Check time, signature, fence and limits; what is wrong becomes the answer."""
        if self._admitted:
            return
        self._admitted = True
        self.received = self.gatekeeper.clock.now()
        request = self.request
        if "X-Client-Request-Id" in request.headers:
            self.headers["X-Client-Request-Id"] = request.headers["X-Client-Request-Id"]
        try:
            account = await self.gatekeeper.private(request) if self.route.private else None
            if account is not None:
                request[ACCOUNT] = account
            if self.what != "connect":
                usage = await self.gatekeeper.count(request, account)
                self.headers |= rate_headers(usage)
                require(usage)
        except Refusal as refusal:
            self.refusal = refusal

    async def effect(self, *, times: int = 1) -> None:
        """Do what was asked for."""
        await self.admit()
        if self.done or self.refusal is not None:
            return
        self.done = True
        try:
            for _ in range(times):
                self.content = await self.route.handler(self.request)
                self.made.append(self.content)
        except Refusal as refusal:
            self.refusal = refusal
        self.settle()

    def settle(self) -> None:
        """The venue's part is over, whenever the answer comes: tell it once."""
        if not self._settled:
            self._settled = True
            self.settled()

    async def answer(self) -> web.StreamResponse:
        """The whole way, as far as it is not gone yet."""
        await self.effect()
        if isinstance(self.content, web.StreamResponse):
            return self.content
        if self.refusal is not None:
            return self.respond(self.refusal.status, self.refusal.body())
        return self.respond(self.route.status, self.content)

    def respond(self, status: int, content: Any) -> web.Response:
        """`content` as JSON, with Gate's headers."""
        return self.page(status, orjson.dumps(content), "application/json")

    def page(self, status: int, body: bytes, content_type: str) -> web.Response:
        """Any answer, with Gate's headers."""
        answer = web.Response(body=body, status=status, content_type=content_type)
        answer.headers.update(self.headers)
        answer.headers["X-Out-Time"] = str(self.gatekeeper.clock.now() * 1000)
        return answer

    async def facts(self) -> dict[str, str]:
        """What faults are matched with."""
        request = self.request
        body = request.get(BODY)
        if body is None and request.body_exists:
            try:
                body = request[BODY] = orjson.loads(await request.read())
            except orjson.JSONDecodeError:
                body = None
        asked: Mapping[str, Any] = body if isinstance(body, dict) else {}
        account = self.gatekeeper.accounts.owner(request.headers.get("KEY", ""))
        return {
            "what": self.what,
            "method": request.method,
            "path": request.path.removeprefix(PREFIX),
            "pair": str(asked.get("currency_pair") or request.query.get("currency_pair", "")),
            "account": "" if account is None else account.name,
            "text": str(asked.get("text", "")),
            "side": str(asked.get("side", "")),
            "page": request.query.get("page", ""),
        }
