"""A bare Gate client for tests: one account, every header in its hands."""

from __future__ import annotations

import json
from typing import Any

import aiohttp

from cashup.clock import WallClock
from cashup.simulator.accounts import Account
from cashup.simulator.server import Simulator
from cashup.simulator.signing import rest_payload, sign

ORDER = {
    "text": "t-1",
    "currency_pair": "BTC_USDT",
    "type": "market",
    "side": "sell",
    "amount": "0.1",
    "time_in_force": "ioc",
}


def limit(side: str, amount: str, price: str, text: str = "t-1", tif: str = "gtc") -> dict[str, str]:
    """The body of a limit order."""
    return ORDER | {
        "type": "limit",
        "side": side,
        "amount": amount,
        "price": price,
        "text": text,
        "time_in_force": tif,
    }


class Client:
    """Signs what it is told to send, and gives back what it is answered."""

    def __init__(self, simulator: Simulator, session: aiohttp.ClientSession, account: Account) -> None:
        self.simulator, self.session, self.account = simulator, session, account

    def request(
        self, method: str, path: str, query: str = "", body: Any = None, **changes: str | None
    ) -> aiohttp.client._RequestContextManager:
        """A signed request; `changes` replace headers, None leaves one out."""
        data = b"" if body is None else json.dumps(body).encode()
        timestamp = changes.get("Timestamp") or str(WallClock().now() // 1000)
        payload = rest_payload(method, f"/api/v4{path}", query, data, timestamp)
        headers = {
            "KEY": self.account.key,
            "Timestamp": timestamp,
            "SIGN": sign(self.account.secret, payload),
        } | changes
        url = f"{self.simulator.url}/api/v4{path}" + (f"?{query}" if query else "")
        sent = {name: value for name, value in headers.items() if value is not None}
        return self.session.request(method, url, data=data or None, headers=sent)

    async def send(self, method: str, path: str, query: str = "", body: Any = None, **changes: str | None) -> Any:
        """(status, answer, headers) of a signed request."""
        async with self.request(method, path, query, body, **changes) as response:
            return response.status, await response.json(), response.headers

    async def refusal(self, *args: Any, **kwargs: Any) -> tuple[int, str]:
        """(status, label) of a request that is refused."""
        status, answer, _ = await self.send(*args, **kwargs)
        return status, answer["label"]

    async def place(self, body: dict[str, str]) -> dict[str, Any]:
        """The row of an order that is accepted."""
        status, answer, _ = await self.send("POST", "/spot/orders", body=body)
        assert status == 201, answer
        return dict(answer)
