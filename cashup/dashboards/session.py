"""A viewer's session: who it is and the read-only token that the gateway gave, kept in a signed cookie."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict, dataclass
from typing import Any, cast

from tornado.web import RequestHandler

from cashup.client import Client, Row
from cashup.clock import WallClock
from cashup.types import Millis

COOKIE = "cashup_view"


@dataclass(frozen=True, slots=True)
class ViewSession:
    """One signed-in viewer. `token` is good for reading only, until `until` (milliseconds, UTC)."""

    name: str
    token: str
    until: Millis

    def to_cookie(self, handler: RequestHandler) -> None:
        """Give the browser this session; scripts on the page cannot read it and other sites cannot send it."""
        seconds = max((self.until - WallClock().now()) // 1000, 0)
        handler.set_signed_cookie(
            COOKIE,
            json.dumps(asdict(self)),
            expires_days=None,
            max_age=seconds,
            path="/",
            httponly=True,
            samesite="Lax",
            secure=handler.request.protocol == "https",
        )

    @classmethod
    def from_cookie(cls, handler: RequestHandler) -> ViewSession | None:
        """The session that the browser sent; None when there is none, it was tampered with, or it has ended."""
        raw = handler.get_signed_cookie(COOKIE, max_age_days=1)
        if raw is None:
            return None
        session = cls(**cast(dict[str, Any], json.loads(raw)))
        return session if session.until > WallClock().now() else None


async def sign_in(gateway: str, name: str, password: str) -> ViewSession:
    """Check a password at the gateway and exchange the login for a token that can only read.

    Raises Unauthenticated when the password is wrong and Unavailable when the gateway is not there.
    """

    def ask() -> Row:
        with Client(gateway) as client:
            client.login(name, password)
            return client.view_token()

    answer = await asyncio.to_thread(ask)
    return ViewSession(name, answer["access_token"], WallClock().now() + int(answer["expires_in"]) * 1000)
