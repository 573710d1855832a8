"""What is written down: I20 and I22."""

from __future__ import annotations

from tests.faults.rules.look import Look


async def i20_no_secret_is_written_down(look: Look) -> list[str]:
    columns = await look.rows(
        """
        SELECT table_name, column_name FROM information_schema.columns
        WHERE table_schema = 'public' AND data_type IN ('text', 'jsonb') ORDER BY 1, 2
        """
    )
    said = []
    for secret in look.secrets:
        for table, column in columns:
            query = f'SELECT 1 FROM "{table}" WHERE position(:secret in "{column}"::text) > 0 LIMIT 1'  # noqa: S608
            if await look.rows(query, secret=secret):
                said.append(f"I20: a secret stands in {table}.{column}")
    return said


async def i22_money_is_never_a_float(look: Look) -> list[str]:
    said = await look.say(
        "I22: a column holds floating point numbers",
        """
        SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public'
        AND data_type IN ('real', 'double precision') AND table_name = ANY(:tables) ORDER BY 1, 2
        """,
        tables=[table for table, _, _ in MONEY_DOCUMENTS] + ["books", "positions", "ledger_entries", "equity"],
    )
    for table, column, where in MONEY_DOCUMENTS:
        query = f"""
            SELECT {column} FROM {table} t WHERE {where}
            AND jsonb_path_exists({column}, '$.** ? (@.type() == "number" && @ != @.floor())') LIMIT 1
            """  # noqa: S608
        said += await look.say(f"I22: {table}.{column} holds a number with a fraction, not a text", query)
    return said


MONEY_DOCUMENTS = (
    ("orders", "fees", "account = :account"),
    ("orders", "limits", "account = :account"),
    ("order_events", "detail", "account = :account"),
    ("intents", "body", "deployment IN (SELECT name FROM deployments WHERE account = :account)"),
    ("intents", "plan", "deployment IN (SELECT name FROM deployments WHERE account = :account)"),
    ("outbox", "data", "kind IN ('order_changed', 'fill_booked', 'bar_processed', 'intent_accepted')"),
)
"""Documents with money in them, by table, column and the rows that concern an account."""
