"""Sweeps: what a kill has to do on each account; and which orders an operator had made to flatten."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0005"
down_revision: str | None = "0004"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Go to this version."""
    op.create_table(
        "sweeps",
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("flatten", sa.Boolean(), nullable=False),
        sa.Column("external", sa.Boolean(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), server_default="", nullable=False),
        sa.Column("markets", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("state IN ('cancelling', 'waiting', 'flattening', 'done')", name=op.f("ck_sweeps_state")),
        sa.PrimaryKeyConstraint("scope", "name", "account", name=op.f("pk_sweeps")),
    )
    op.create_index(
        "ix_sweeps_undone", "sweeps", ["account"], unique=False, postgresql_where=sa.text("state <> 'done'")
    )
    op.add_column("orders", sa.Column("flattens", sa.Boolean(), server_default=sa.text("false"), nullable=False))


def downgrade() -> None:
    """Go back to the version before."""
    op.drop_column("orders", "flattens")
    op.drop_index("ix_sweeps_undone", table_name="sweeps", postgresql_where=sa.text("state <> 'done'"))
    op.drop_table("sweeps")
