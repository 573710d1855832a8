"""Halts: why nothing, or nothing that adds to a position, is sent; and which orders only lead toward zero."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0003"
down_revision: str | None = "0002"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Go to this version. A kill flag on an account was always one that a contradiction had set."""
    op.create_table(
        "halts",
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("scope IN ('all', 'user', 'account', 'deployment')", name=op.f("ck_halts_scope")),
        sa.CheckConstraint("(scope = 'all') = (name = '')", name=op.f("ck_halts_all_has_no_name")),
        sa.CheckConstraint("state IN ('reducing', 'halted')", name=op.f("ck_halts_state")),
        sa.PrimaryKeyConstraint("scope", "name", "code", name=op.f("pk_halts")),
    )
    op.execute(
        """
        INSERT INTO halts (scope, name, code, state, reason, "by", at)
        SELECT 'account', account, 'contradiction', 'halted',
               coalesce(nullif(message, ''), 'the kill flag is set'), 'system',
               (extract(epoch FROM now()) * 1000)::bigint
        FROM account_leases WHERE killed
        """
    )
    op.drop_column("account_leases", "killed")
    op.add_column("account_leases", sa.Column("halts", sa.BigInteger(), server_default=sa.text("0"), nullable=False))
    op.add_column("orders", sa.Column("reduces", sa.Boolean(), server_default=sa.text("false"), nullable=False))


def downgrade() -> None:
    """Go back to the version before. Halts other than an account's are forgotten: there is no place for them."""
    op.drop_column("orders", "reduces")
    op.drop_column("account_leases", "halts")
    op.add_column("account_leases", sa.Column("killed", sa.Boolean(), server_default=sa.text("false"), nullable=False))
    op.execute(
        """
        UPDATE account_leases SET killed = true WHERE account IN (SELECT name FROM halts WHERE scope = 'account')
        """
    )
    op.drop_table("halts")
