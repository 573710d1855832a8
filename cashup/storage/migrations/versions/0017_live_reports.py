"""The bars that live trading saw, and the reports of live against its re-run."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0017"
down_revision: str | None = "0016"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Go to this version."""
    op.create_table(
        "live_reports",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("deployment", sa.Text(), nullable=False),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in ("at", "first_bar", "last_bar")),
        sa.Column("quote", sa.Text(), nullable=False),
        *(sa.Column(name, sa.Numeric(), nullable=False) for name in ("capital", "total", "band")),
        sa.Column("in_band", sa.Boolean(), nullable=False),
        sa.Column("document", postgresql.JSONB(none_as_null=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["deployment"], ["deployments.name"], name=op.f("fk_live_reports_deployment_deployments")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_live_reports")),
    )
    op.create_index("ix_live_reports_deployment_id", "live_reports", ["deployment", "id"], unique=False)
    op.create_table(
        "seen_bars",
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("venue", "symbol", "timeframe")),
        sa.Column("time", sa.BigInteger(), nullable=False),
        *(sa.Column(name, sa.Double(), nullable=False) for name in ("open", "high", "low", "close", "volume")),
        sa.PrimaryKeyConstraint("venue", "symbol", "timeframe", "time", name=op.f("pk_seen_bars")),
    )


def downgrade() -> None:
    """Go back to the version before."""
    op.drop_table("seen_bars")
    op.drop_index("ix_live_reports_deployment_id", table_name="live_reports")
    op.drop_table("live_reports")
