"""The tables of deployments, their attempts, intents, books and the ledger."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Identity,
    Index,
    Integer,
    Table,
    Text,
    false,
    text,
)

from cashup.storage.database import Money, json_column, metadata, moment

deployments = Table(
    "deployments",
    metadata,
    Column("name", Text, primary_key=True),
    Column("account", Text, nullable=False, index=True),
    Column("owner", Text, nullable=False),
    json_column("spec"),
    Column("capital", Money, nullable=False),
    Column("quote", Text, nullable=False),
    Column("desired", Text, nullable=False, server_default="stopped"),
    Column("fence", BigInteger, nullable=False, server_default="0"),
    Column("renew", BigInteger, nullable=False, server_default="0"),
    moment("created_at"),
    moment("updated_at"),
    moment("started_at", nullable=True),
    CheckConstraint("desired IN ('running', 'paused', 'stopped')", name="desired"),
    CheckConstraint("capital > 0", name="capital"),
)
"""What shall run. `fence` is the number of the newest attempt: only its intents are taken. Attempts up to `renew` shall
end and be followed by another. A `paused` one follows its bars and decides nothing. Deaths before
`started_at`, when it was last wished to run, are forgiven."""

attempts = Table(
    "attempts",
    metadata,
    Column("deployment", ForeignKey("deployments.name"), primary_key=True),
    Column("number", BigInteger, primary_key=True),
    Column("state", Text, nullable=False),
    Column("bar", BigInteger),
    Column("exit_code", Integer),
    Column("message", Text, nullable=False, server_default=""),
    Column("output", Text),
    Column("version", Text),
    Column("notebook_hash", Text),
    moment("started_at"),
    moment("heartbeat_at"),
    moment("finished_at", nullable=True),
    Column("reason", Text),
    Column("host", Text),
    Column("boot", Text),
    Column("behind", Integer, nullable=False, server_default="0"),
    moment("behind_since", nullable=True),
    moment("away_since", nullable=True),
    Index("ix_attempts_deployment_finished_at", "deployment", "finished_at"),
    CheckConstraint("state IN ('starting', 'ready', 'finished', 'failed', 'lost')", name="state"),
)
"""Each run of a deployment's notebook; `number` is also its fence. `bar` is the newest closed bar at readiness.
`version` is the frozen notebook that it executes, `notebook_hash` that of its sources.
`reason` says why it ended (`strategies.endings.Reason`), `host` and `boot` where it runs: a boot's id is new with each
start of a machine. `behind` bars were sent to it that it has not answered, the oldest one at `behind_since`; its
connection was lost at `away_since`."""

supervisor_leases = Table(
    "supervisor_leases",
    metadata,
    Column("name", Text, primary_key=True),
    Column("holder", Text, nullable=False),
    moment("expires"),
)
"""Who starts workers: `supervisor` is a whole machine, `deployment/NAME` one deployment."""

intents = Table(
    "intents",
    metadata,
    Column("deployment", ForeignKey("deployments.name"), primary_key=True),
    Column("key", Text, primary_key=True),
    Column("number", BigInteger, Identity(), nullable=False),
    Column("kind", Text, nullable=False, server_default="target"),
    Column("bar", BigInteger),
    json_column("body"),
    Column("body_hash", Text, nullable=False),
    Column("fence", BigInteger, nullable=False),
    Column("state", Text, nullable=False),
    json_column("decisions"),
    json_column("plan", nullable=True),
    moment("created_at"),
    moment("expires_at"),
    moment("finished_at", nullable=True),
    CheckConstraint("kind IN ('target', 'order', 'cancel', 'amend')", name="kind"),
    CheckConstraint("(kind = 'target') = (bar IS NOT NULL)", name="targets_have_a_bar"),
    CheckConstraint("state IN ('planned', 'selling', 'buying', 'working', 'done', 'expired')", name="state"),
    Index("ix_intents_unfinished", "deployment", "number", postgresql_where=text("finished_at IS NULL")),
)
"""What strategies and people asked for, once per (deployment, key). `body` is the request; `plan` what the second step
of targets needs to know of the first; `fence` the attempt that asked, 0 for a person."""

books = Table(
    "books",
    metadata,
    Column("deployment", ForeignKey("deployments.name"), primary_key=True),
    Column("account", Text, nullable=False, index=True),
    Column("quote", Text, nullable=False),
    Column("capital", Money, nullable=False),
    Column("cash", Money, nullable=False),
    Column("reserved", Money, nullable=False),
    json_column("targets"),
    Column("decided", BigInteger),
    moment("updated_at"),
    CheckConstraint("cash >= 0 AND reserved >= 0", name="not_negative"),
)
"""A deployment's money: `cash` is available, `reserved` is held by buys. `targets` are the last ones decided upon."""

strategy_states = Table(
    "strategy_states",
    metadata,
    Column("deployment", ForeignKey("deployments.name"), primary_key=True),
    Column("bar", BigInteger, nullable=False),
    Column("state", Text, nullable=False),
    moment("updated_at"),
)
"""What a strategy kept when it decided `bar`, as JSON; written with the intent of that bar, and never without it."""

positions = Table(
    "positions",
    metadata,
    Column("deployment", ForeignKey("deployments.name"), primary_key=True),
    Column("symbol", Text, primary_key=True),
    Column("asset", Text, nullable=False),
    Column("quantity", Money, nullable=False),
    Column("reserved", Money, nullable=False),
    Column("cost", Money, nullable=False),
    Column("realised", Money, nullable=False),
    moment("updated_at"),
    CheckConstraint("quantity >= 0 AND reserved >= 0", name="not_negative"),
)
"""What a deployment holds: `quantity` is available, `reserved` is held by sells, `cost` what both together cost."""

ledger_entries = Table(
    "ledger_entries",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("transaction", Text, nullable=False, index=True),
    Column("account", Text, nullable=False),
    Column("deployment", Text),
    Column("kind", Text, nullable=False),
    Column("asset", Text, nullable=False),
    Column("amount", Money, nullable=False),
    Column("cause", Text, nullable=False),
    moment("at"),
    Index("ix_ledger_entries_account_asset", "account", "asset", "deployment", "kind"),
    Index("ix_ledger_entries_cause", "cause"),
)
"""Double entry: the amounts of one transaction sum to zero per asset. Never updated, never deleted."""

sweeps = Table(
    "sweeps",
    metadata,
    Column("scope", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("account", Text, primary_key=True),
    Column("flatten", Boolean, nullable=False),
    Column("external", Boolean, nullable=False),
    Column("on_exit", Boolean, nullable=False, server_default=false()),
    Column("state", Text, nullable=False),
    Column("message", Text, nullable=False, server_default=""),
    json_column("markets"),
    moment("started_at"),
    moment("updated_at"),
    CheckConstraint("state IN ('cancelling', 'waiting', 'flattening', 'done')", name="state"),
    Index("ix_sweeps_undone", "account", postgresql_where=text("state <> 'done'")),
)
"""What a kill has to do on each account, from the commit that latched it until it is lifted; and what the exit of a
deployment has to do (`on_exit`), from the commit that stopped it until it is started again."""

equity = Table(
    "equity",
    metadata,
    Column("deployment", ForeignKey("deployments.name"), primary_key=True),
    Column("bar", BigInteger, primary_key=True),
    Column("equity", Money, nullable=False),
    Column("cash", Money, nullable=False),
    moment("at"),
)
"""The worth of a book right after the close of each decided bar, before that bar's orders."""

risk_limits = Table(
    "risk_limits",
    metadata,
    Column("scope", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    json_column("limits"),
    Column("by", Text, nullable=False),
    moment("updated_at"),
    CheckConstraint("scope IN ('account', 'user')", name="scope"),
)
"""The limits of accounts and users, as an operator set them. A deployment's are in its spec."""

worths = Table(
    "worths",
    metadata,
    Column("scope", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("quote", Text, primary_key=True),
    moment("day"),
    Column("opened", Money, nullable=False),
    Column("peak", Money, nullable=False),
    Column("value", Money, nullable=False),
    Column("capital", Money, nullable=False),
    moment("at"),
    CheckConstraint("scope IN ('deployment', 'account', 'user')", name="scope"),
)
"""What limits on losses are measured against, so that a restart does not forget it: `opened` is the worth at the
beginning of the UTC `day`, `peak` the highest, `value` the last one that was written."""

closed_trades = Table(
    "closed_trades",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("deployment", ForeignKey("deployments.name"), nullable=False),
    Column("symbol", Text, nullable=False),
    Column("side", Text, nullable=False),
    moment("opened_at"),
    moment("closed_at"),
    Column("entered", Money, nullable=False),
    Column("profit", Money, nullable=False),
    Column("reason", Text, nullable=False),
    Index("ix_closed_trades_deployment_closed_at", "deployment", "closed_at"),
)
"""Positions that are flat again: what they were entered for and what came of it, in quote currency after fees."""

open_trips = Table(
    "open_trips",
    metadata,
    Column("deployment", ForeignKey("deployments.name"), primary_key=True),
    Column("symbol", Text, primary_key=True),
    moment("opened_at"),
    Column("quantity", Money, nullable=False),
    Column("paid", Money, nullable=False),
    Column("received", Money, nullable=False),
)
"""Positions on their way to becoming closed trades. A quantity of 0 means that there is none."""
