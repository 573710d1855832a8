"""The tables of people, their exchange accounts, and what was done by whom."""

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
    LargeBinary,
    Table,
    Text,
    text,
)

from cashup.storage.database import json_column, metadata, moment

users = Table(
    "users",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("password", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("session_version", Integer, nullable=False, server_default=text("1")),
    Column("disabled", Boolean, nullable=False, server_default=text("false")),
    moment("created_at"),
    CheckConstraint("role IN ('viewer', 'trader', 'admin')", name="role"),
)
"""`password` is an argon2id hash. Raising `session_version` ends every session of the user at once."""

accounts = Table(
    "accounts",
    metadata,
    Column("id", Text, primary_key=True),
    Column("user_id", Text, ForeignKey("users.id"), nullable=False),
    Column("name", Text, nullable=False, unique=True),
    Column("exchange", Text, nullable=False),
    Column("mode", Text, nullable=False),
    Column("base_url", Text),
    Column("fingerprint", Text, nullable=False),
    Column("version", Integer),
    Column("kek", Text),
    Column("wrapped_key", LargeBinary),
    Column("sealed", LargeBinary),
    json_column("terms", nullable=True),
    Column("countdown", Integer, nullable=False, server_default=text("30")),
    moment("created_at"),
    CheckConstraint("mode IN ('paper', 'sandbox', 'live')", name="mode"),
    CheckConstraint("countdown = 0 OR countdown >= 10", name="countdown"),
    CheckConstraint("(mode = 'paper') = (terms IS NOT NULL)", name="paper_has_terms"),
    CheckConstraint("(mode = 'paper') = (sealed IS NULL)", name="paper_has_no_keys"),
)
"""`sealed` holds exchange key and secret under a data key of their own; `wrapped_key` is that data key under `kek`.
A paper account has no keys, but `terms`: what it begins with and what it assumes. `countdown` is after how many seconds
of silence the venue shall cancel what rests, 0 for never."""

audit = Table(
    "audit",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    moment("at"),
    Column("subject", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("object", Text, nullable=False),
    json_column("detail"),
    Index("ix_audit_object_id", "object", "id"),
)
"""What was done by whom, written in the transaction that did it. Never a secret in it."""
