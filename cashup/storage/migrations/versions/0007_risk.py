"""Limits of accounts and users, what losses are measured against, and closed trades; a limit has another name."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0007"
down_revision: str | None = "0006"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_RENAME = """
    UPDATE deployments SET spec = jsonb_set(
        spec, '{{limits}}', (spec -> 'limits') - '{old}' || jsonb_build_object('{new}', spec -> 'limits' -> '{old}')
    ) WHERE spec -> 'limits' ? '{old}'
"""


def upgrade() -> None:
    """Go to this version."""
    op.create_table(
        "risk_limits",
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("limits", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("scope IN ('account', 'user')", name=op.f("ck_risk_limits_scope")),
        sa.PrimaryKeyConstraint("scope", "name", name=op.f("pk_risk_limits")),
    )
    op.create_table(
        "worths",
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("quote", sa.Text(), nullable=False),
        sa.Column("day", sa.BigInteger(), nullable=False),
        sa.Column("opened", sa.Numeric(), nullable=False),
        sa.Column("peak", sa.Numeric(), nullable=False),
        sa.Column("value", sa.Numeric(), nullable=False),
        sa.Column("capital", sa.Numeric(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("scope IN ('deployment', 'account', 'user')", name=op.f("ck_worths_scope")),
        sa.PrimaryKeyConstraint("scope", "name", "quote", name=op.f("pk_worths")),
    )
    op.create_table(
        "closed_trades",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("deployment", sa.Text(), nullable=False),
        sa.Column("symbol", sa.Text(), nullable=False),
        sa.Column("side", sa.Text(), nullable=False),
        sa.Column("opened_at", sa.BigInteger(), nullable=False),
        sa.Column("closed_at", sa.BigInteger(), nullable=False),
        sa.Column("entered", sa.Numeric(), nullable=False),
        sa.Column("profit", sa.Numeric(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["deployment"], ["deployments.name"], name=op.f("fk_closed_trades_deployment_deployments")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_closed_trades")),
    )
    op.create_index("ix_closed_trades_deployment_closed_at", "closed_trades", ["deployment", "closed_at"], unique=False)
    op.create_table(
        "open_trips",
        sa.Column("deployment", sa.Text(), nullable=False),
        sa.Column("symbol", sa.Text(), nullable=False),
        sa.Column("opened_at", sa.BigInteger(), nullable=False),
        sa.Column("quantity", sa.Numeric(), nullable=False),
        sa.Column("paid", sa.Numeric(), nullable=False),
        sa.Column("received", sa.Numeric(), nullable=False),
        sa.ForeignKeyConstraint(
            ["deployment"], ["deployments.name"], name=op.f("fk_open_trips_deployment_deployments")
        ),
        sa.PrimaryKeyConstraint("deployment", "symbol", name=op.f("pk_open_trips")),
    )
    op.execute(_RENAME.format(old="max_order_cost", new="max_order_notional"))


def downgrade() -> None:
    """Go back to the version before."""
    op.execute(_RENAME.format(old="max_order_notional", new="max_order_cost"))
    op.drop_table("open_trips")
    op.drop_index("ix_closed_trades_deployment_closed_at", table_name="closed_trades")
    op.drop_table("closed_trades")
    op.drop_table("worths")
    op.drop_table("risk_limits")
