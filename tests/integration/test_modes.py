"""Paper by default, and real money only when it was said three times: mode, version, and the switch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cashup.bootstrap import Gateway
from cashup.errors import Conflict
from cashup.simulator.server import Simulator
from cashup.strategies.registry import record_version, version_on_record
from cashup.strategies.versions import Version
from tests.integration.test_gateway import Api, api, gateway, keys, simulator, url

__all__ = ["api", "gateway", "keys", "simulator", "url"]

PLAIN = {"notebook": "x.ipynb", "capital": "100", "symbols": ["BTC/USDT"], "timeframe": "1h"}
VERSION, OTHER = "0123456789ab", "ba9876543210"
REAL = PLAIN | {"account": "real", "mode": "live", "version": VERSION}
PATH = "/deployments/demo"


def promoted(ident: str) -> Version:
    """A version as it is on record."""
    names = ("notebook", "notebook_hash", "data_version", "lock_hash", "content_hash")
    return Version(ident, Path(), dict.fromkeys(names, "x") | {"params": {}, "created_at": 1})


@pytest.fixture
async def real(api: Api, simulator: Simulator, keys: dict[str, str], gateway: Gateway) -> None:
    """An account that is called live; the venue behind it is the simulator."""
    await api.ok("POST", "/accounts", {"name": "real", "mode": "live", "base_url": simulator.url} | keys)
    for ident in (VERSION, OTHER):
        await record_version(gateway.database, promoted(ident))


async def refused(api: Api, method: str, path: str, body: Any = None) -> tuple[int, str]:
    answer = await api(method, path, body)
    assert answer.is_error, answer.text
    return answer.status_code, answer.json()["error"]["message"]


async def test_without_an_account_it_is_a_paper_account_of_its_own_with_the_capital(
    api: Api,
    gateway: Gateway,
) -> None:
    row = await api.ok("PUT", PATH, PLAIN)
    assert (row["account"], row["desired"]) == ("paper-demo", "stopped")
    account = await gateway.accounts.get("paper-demo")
    assert (account.mode, account.user) == ("paper", "admin")
    assert account.terms is not None
    assert account.terms.document()["balances"] == {"USDT": "100"}
    await api.ok("PUT", PATH, PLAIN | {"mode": "paper", "account": "paper-demo"})
    assert [one.name for one in await gateway.accounts.all()] == ["paper-demo"]


async def test_only_the_own_paper_account_is_made(api: Api, gateway: Gateway) -> None:
    assert (await refused(api, "PUT", PATH, PLAIN | {"account": "paper-other"}))[0] == 404
    assert (await refused(api, "PUT", PATH, PLAIN | {"account": "paper-demo", "mode": "sandbox"}))[0] == 404
    assert "name its account" in (await refused(api, "PUT", f"/deployments/{'x' * 60}", PLAIN))[1]
    assert not await gateway.accounts.all()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"mode": None}, 'needs mode = "live" and a version'),
        ({"version": None}, "has no version"),
        ({"version": "000000000000"}, "version 000000000000 was never promoted"),
        ({"mode": "paper"}, "has mode paper, and its account real is a live one"),
        ({"version": "latest"}, "version"),
        ({"hang_bars": "3"}, "hang_bars"),
        ({"colour": "red"}, "colour"),
    ],
)
@pytest.mark.usefixtures("real")
async def test_a_live_account_is_for_those_who_ask_for_it(
    api: Api,
    change: dict[str, Any],
    sentence: str,
) -> None:
    status, said = await refused(api, "PUT", PATH, REAL | change)
    assert status == 422
    assert sentence in said
    assert (await api("GET", PATH)).status_code == 404


@pytest.mark.usefixtures("real")
async def test_real_money_needs_the_switch_at_each_start_and_change(api: Api) -> None:
    await api.ok("PUT", PATH, REAL)
    for body in (None, {}, {"allow_live": False}):
        assert "--allow-live" in (await refused(api, "POST", f"{PATH}/start", body))[1]
    assert (await refused(api, "POST", f"{PATH}/start", {"allow_live": 1}))[0] == 422
    assert (await api.ok("GET", PATH))["desired"] == "stopped"
    row = await api.ok("POST", f"{PATH}/start", {"allow_live": True})
    assert (row["desired"], row["version"], row["mode"]) == ("running", VERSION, "live")
    other = REAL | {"version": OTHER}
    assert (await refused(api, "PUT", PATH, other))[0] == 403
    assert (await api.ok("PUT", PATH, other | {"allow_live": True}))["version"] == OTHER
    assert "allow_live" not in (await api.ok("GET", PATH))["spec"]


async def test_a_version_on_record_is_never_replaced(gateway: Gateway) -> None:
    await record_version(gateway.database, promoted(VERSION))
    await record_version(gateway.database, promoted(VERSION))
    other = Version(VERSION, Path(), {**promoted(VERSION).document, "content_hash": "y"})
    with pytest.raises(Conflict, match="on record with other findings"):
        await record_version(gateway.database, other)
    assert await version_on_record(gateway.database, VERSION) == "x"
