"""The tables of paper accounts. They are the venue's own: nothing of the order path is in them or read for them."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, CheckConstraint, Column, Index, Table, Text, text

from cashup.storage.database import Money, json_column, metadata, moment

paper_accounts = Table(
    "paper_accounts",
    metadata,
    Column("account", Text, primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("serial", BigInteger, nullable=False),
    json_column("balances"),
    json_column("markets"),
    moment("cancel_at", nullable=True),
    moment("updated_at"),
)
"""`version` counts the commits: who writes names the one it has read. `serial` is the last id given to an order or a
trade. `balances` holds available and reserved per asset, `markets` how far each market was followed, `cancel_at` when
the countdown runs out."""

paper_orders = Table(
    "paper_orders",
    metadata,
    Column("account", Text, primary_key=True),
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("client_order_id", Text, nullable=False),
    Column("symbol", Text, nullable=False),
    Column("side", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("time_in_force", Text, nullable=False),
    Column("quantity", Money),
    Column("cost", Money),
    Column("price", Money),
    Column("filled", Money, nullable=False),
    Column("spent", Money, nullable=False),
    Column("reserved", Money, nullable=False),
    Column("done", Boolean, nullable=False),
    Column("reason", Text, nullable=False),
    moment("updated_at"),
    CheckConstraint("filled >= 0 AND reserved >= 0", name="not_negative"),
    Index("ix_paper_orders_client_order_id", "account", "client_order_id"),
    Index("ix_paper_orders_updated_at", "account", "symbol", "updated_at"),
    Index("ix_paper_orders_resting", "account", "id", postgresql_where=text("NOT done")),
)

paper_trades = Table(
    "paper_trades",
    metadata,
    Column("account", Text, primary_key=True),
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("order_id", BigInteger, nullable=False),
    Column("client_order_id", Text, nullable=False),
    Column("symbol", Text, nullable=False),
    Column("side", Text, nullable=False),
    Column("price", Money, nullable=False),
    Column("quantity", Money, nullable=False),
    Column("fee", Money, nullable=False),
    Column("fee_currency", Text, nullable=False),
    moment("time"),
    Index("ix_paper_trades_time", "account", "symbol", "time"),
)
