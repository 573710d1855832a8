"""The tables of orders, their fills, raw frames, and who may send for an account."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Identity,
    Index,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from cashup.storage.database import Money, json_column, metadata, moment

account_leases = Table(
    "account_leases",
    metadata,
    Column("account", Text, primary_key=True),
    Column("holder", Text, nullable=False),
    Column("fence", BigInteger, nullable=False),
    moment("expires"),
    Column("state", Text, nullable=False, server_default="reconciling"),
    Column("message", Text, nullable=False, server_default=""),
    Column("halts", BigInteger, nullable=False, server_default=text("0")),
    moment("opened_at", nullable=True),
    moment("surveyed_at", nullable=True),
    json_column("comparison", nullable=True),
    CheckConstraint("state IN ('reconciling', 'ready', 'blocked')", name="state"),
)
"""One row per account that was ever traded: the holder's fence is checked in every write. `opened_at` is the time at
which the balances that were there before us were booked; everything that happened on the venue before `surveyed_at` is
booked, and `comparison` is what the last comparison with it found. `halts` grows with every halt that concerns the
account: a claim that began before the halt sees that it did, and claims nothing."""

halts = Table(
    "halts",
    metadata,
    Column("scope", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("code", Text, primary_key=True),
    Column("state", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("by", Text, nullable=False),
    moment("at"),
    CheckConstraint("scope IN ('all', 'user', 'account', 'deployment')", name="scope"),
    CheckConstraint("(scope = 'all') = (name = '')", name="all_has_no_name"),
    CheckConstraint("state IN ('reducing', 'halted')", name="state"),
)
"""Why orders are held back: a row is there for as long as the halt is latched. The send claim reads it."""

countdowns = Table("countdowns", metadata, Column("account", Text, primary_key=True), moment("due"))
"""When the venue's dead man's switch of an account goes off, in the venue's time; 0 when it was called off."""

orders = Table(
    "orders",
    metadata,
    Column("client_order_id", Text, primary_key=True),
    Column("account", Text, nullable=False),
    Column("deployment", Text),
    Column("intent", Text),
    moment("bar", nullable=True),
    Column("origin", Text, nullable=False, server_default="cashup"),
    Column("symbol", Text, nullable=False),
    Column("side", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("quantity", Money),
    Column("cost", Money),
    Column("price", Money),
    Column("time_in_force", Text, nullable=False),
    Column("reduces", Boolean, nullable=False, server_default=text("false")),
    Column("flattens", Boolean, nullable=False, server_default=text("false")),
    Column("state", Text, nullable=False),
    Column("exchange_order_id", Text),
    Column("traded", Money, nullable=False, server_default="0"),
    Column("spent", Money, nullable=False, server_default="0"),
    Column("reported", Money, nullable=False, server_default="0"),
    json_column("fees"),
    Column("reason", Text, nullable=False, server_default=""),
    Column("reserved_asset", Text),
    Column("reserved", Money, nullable=False, server_default="0"),
    json_column("limits"),
    json_column("evidence", nullable=True),
    Column("cancelling", Boolean, nullable=False, server_default=text("false")),
    json_column("amending", nullable=True),
    moment("amend_before", nullable=True),
    Column("terms_at", BigInteger, nullable=False, server_default=text("0")),
    Column("fence", BigInteger),
    moment("send_before", nullable=True),
    moment("created_at"),
    moment("claimed_at", nullable=True),
    moment("updated_at"),
    CheckConstraint("traded >= 0 AND reported >= 0 AND reserved >= 0", name="not_negative"),
    CheckConstraint("origin IN ('cashup', 'external')", name="origin"),
    CheckConstraint("(origin = 'external') = (deployment IS NULL)", name="external_has_no_deployment"),
    Index("ix_orders_deployment_created_at", "deployment", "created_at"),
    Index("ix_orders_account_exchange_order_id", "account", "exchange_order_id"),
    Index(
        "ix_orders_unsettled",
        "account",
        postgresql_where=text("reserved > 0 OR state IN ('pending_send','sending','unknown','open','pending_cancel')"),
    ),
)
"""`send_before` is the fence that the venue checks; `fence` the lease under which the claim was made. An order is
`cancelling` while somebody wants its end; `amending` are the terms it shall get, `amend_before` the fence of that
request once it is claimed; `terms_at` is the venue's time of the word that quantity and price follow. An order
that `reduces` only leads a position toward zero; one that `flattens` does so because an operator said so. An order's
reservation lies here as well as in the ledger, and is gone once it has ended and all its trades are booked."""

order_events = Table(
    "order_events",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("client_order_id", Text, nullable=False),
    Column("account", Text, nullable=False),
    moment("at"),
    Column("event", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("from_state", Text),
    Column("to_state", Text, nullable=False),
    Column("cause", Text, nullable=False, server_default=""),
    json_column("detail"),
    Index("ix_order_events_client_order_id_id", "client_order_id", "id"),
)
"""What happened to an order, one row per thing learnt, in the commit that changed the order's row. Never updated, never
deleted. `from_state` is null where the order began; `actor` is who did it, `cause` how it became known."""

fills = Table(
    "fills",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("account", Text, nullable=False),
    Column("symbol", Text, nullable=False),
    Column("trade_id", Text, nullable=False),
    Column("deployment", Text),
    Column("client_order_id", Text),
    Column("exchange_order_id", Text, nullable=False),
    Column("side", Text, nullable=False),
    Column("price", Money, nullable=False),
    Column("quantity", Money, nullable=False),
    Column("fee", Money, nullable=False),
    Column("fee_currency", Text, nullable=False),
    moment("time"),
    moment("booked_at"),
    UniqueConstraint("account", "symbol", "trade_id"),
    Index("ix_fills_deployment_id", "deployment", "id"),
    Index("ix_fills_client_order_id", "client_order_id"),
)

inbox = Table(
    "inbox",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("account", Text, nullable=False),
    Column("channel", Text, nullable=False),
    Column("dedupe_key", Text, nullable=False),
    json_column("body"),
    moment("received_at"),
    Column("applied", Boolean, nullable=False, server_default=text("false")),
    UniqueConstraint("account", "channel", "dedupe_key"),
    Index("ix_inbox_unapplied", "account", "id", postgresql_where=text("NOT applied")),
)
"""Every frame of a private stream as it was received, stored before anything acts on it."""
