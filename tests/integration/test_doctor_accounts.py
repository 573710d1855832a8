"""The doctor says of every account whether its books agree with its venue."""

from __future__ import annotations

from decimal import Decimal

from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from cashup.cli.doctor import _accounts
from cashup.orders.tables import account_leases
from cashup.trading.differences import Difference
from cashup.trading.reconciliation import Comparison


async def test_a_blocked_account_is_named_with_cause_and_advice(database: AsyncEngine) -> None:
    found = Comparison(1_735_689_600_000, "start", 0, 0, [Difference("USDT", Decimal("12.5"), Decimal(10))])
    fine = Comparison(1_735_689_600_000, "running", 0, 0, [])
    rows = [
        {"account": "main", "state": "blocked", "message": str(found.problem), "comparison": found.to_json()},
        {"account": "other", "state": "ready", "message": "", "comparison": fine.to_json()},
        {"account": "strange", "state": "blocked", "message": "an order filled twice", "comparison": fine.to_json()},
    ]
    async with database.begin() as connection:
        await connection.execute(
            insert(account_leases), [row | {"holder": "h", "fence": 1, "expires": 0} for row in rows]
        )
        main, other, strange = await _accounts(connection)
    assert (main.check, main.ok, main.found) == ("account main", False, "blocked, compared 2025-01-01T00:00:00Z")
    assert "2.5 more" in main.advice
    assert "probably a deposit" in main.advice
    assert "cashup account accept" in main.advice
    assert (other.ok, other.advice) == (True, "")
    assert (strange.ok, strange.advice) == (False, "an order filled twice")
