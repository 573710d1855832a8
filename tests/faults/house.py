"""A gateway with people in it, over real sockets: two traders, a viewer, an admin, and what one trader has running."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx
import jwt
import orjson
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from cashup.bootstrap import Gateway
from cashup.notifications.alerts import Alert
from cashup.users.roles import Role
from cashup.users.tokens import Audience
from tests.integration.test_gateway import BTC, ETH

PASSWORD = "correct horse battery"
SPEC = {"notebook": "x.ipynb", "account": "main", "capital": "300", "symbols": [BTC, ETH], "timeframe": "1h"}


@dataclass
class House:
    """Ann owns the account `main` with the deployments `demo` and `other`, of which both run, and an order that rests.

    `tokens` are the credentials, by what is (wrong) with them; `order` is the resting order of `demo`.
    """

    gateway: Gateway
    url: str
    http: httpx.AsyncClient
    tokens: Mapping[str, str | None] = field(default_factory=dict)
    order: str = ""

    async def ask(self, method: str, path: str, token: str | None, body: Any = None, key: str = "") -> httpx.Response:
        """One request."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        if key:
            headers["Idempotency-Key"] = key
        return await self.http.request(method, path, json=body, headers=headers)

    async def done(self, method: str, path: str, body: Any = None, key: str = "") -> Any:
        """What Ann gets for a request that works."""
        answer = await self.ask(method, f"/api/v1{path}", self.tokens["owner"], body, key)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None


async def build(gateway: Gateway, url: str, http: httpx.AsyncClient, venue: str, keys: Mapping[str, str]) -> House:
    """People, an account, two deployments that run, an order, and every kind of credential."""
    house = House(gateway, url, http)
    roles = {"ann": Role.TRADER, "bob": Role.TRADER, "eve": Role.VIEWER, "ida": Role.TRADER}
    for name, role in roles.items():
        await gateway.people.create(name, PASSWORD, role, by="test")
    house.tokens = {"owner": await _login(gateway, "ann")}
    await house.done("POST", "/accounts", {"name": "main", "mode": "sandbox", "base_url": venue, **keys})
    attempts = {}
    for name in ("demo", "other"):
        await house.done("PUT", f"/deployments/{name}", SPEC)
        await house.done("POST", f"/deployments/{name}/start")
        attempts[name] = await house.done("POST", f"/deployments/{name}/attempts")
    await gateway.alerts.raise_(Alert("drift", "look at it", deployment="demo"))
    bid = {"symbol": BTC, "side": "buy", "quantity": "0.1", "price": "100"}
    house.order = (await house.done("POST", "/deployments/demo/orders", bid, key="first"))["orders"][0]
    house.tokens = await _credentials(gateway, house.tokens["owner"], attempts)
    return house


async def _login(gateway: Gateway, name: str) -> str:
    return gateway.login.issue(await gateway.people.get(name))


async def _credentials(gateway: Gateway, owner: str | None, attempts: Mapping[str, Any]) -> dict[str, str | None]:
    assert owner is not None
    ann, ida = await gateway.people.get("ann"), await _login(gateway, "ida")
    await gateway.people.set_password("ida", PASSWORD + "!", by="test")  # ends the session of the token
    key = load_pem_private_key((gateway.settings.home_path / "keys" / "jwt.pem").read_bytes(), None)
    claims = jwt.decode(owner, options={"verify_signature": False})
    header = jwt.get_unverified_header(owner)
    good = {"role": ann.role, "session": ann.session}
    return {
        "none": None,
        "expired": gateway.tokens.issue("ann", Audience.API, lifetime=-1_000, **good),
        "wrong audience": jwt.encode(claims | {"aud": "worker"}, key, "EdDSA", headers=header),  # type: ignore[arg-type]
        "wrong signature": _forged(owner),
        "revoked": ida,
        "other user": await _login(gateway, "bob"),
        "viewer": await _login(gateway, "eve"),
        "view token": gateway.tokens.issue("ann", Audience.VIEW, **good),
        "worker of another run": attempts["other"]["token"],
        "admin": await _login(gateway, "admin"),
        "owner": owner,
        "worker": attempts["demo"]["token"],
        "supervisor": gateway.tokens.issue("ann", Audience.SUPERVISOR, deployment="demo", **good),
        "supervisor of another run": gateway.tokens.issue("ann", Audience.SUPERVISOR, deployment="other", **good),
    }


def _forged(token: str) -> str:
    """The same token for an admin, under the old signature."""
    header, payload, signature = token.split(".")
    claims = orjson.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    forged = base64.urlsafe_b64encode(orjson.dumps(claims | {"sub": "admin", "role": "admin"})).rstrip(b"=").decode()
    return f"{header}.{forged}.{signature}"
