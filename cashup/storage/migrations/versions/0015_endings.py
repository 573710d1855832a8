"""Why attempts ended, where they ran, how far they are behind; what the exit of a deployment has to do."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0015"
down_revision: str | None = "0014"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Go to this version."""
    op.add_column("attempts", sa.Column("reason", sa.Text(), nullable=True))
    op.add_column("attempts", sa.Column("host", sa.Text(), nullable=True))
    op.add_column("attempts", sa.Column("boot", sa.Text(), nullable=True))
    op.add_column("attempts", sa.Column("behind", sa.Integer(), server_default="0", nullable=False))
    op.add_column("attempts", sa.Column("behind_since", sa.BigInteger(), nullable=True))
    op.add_column("attempts", sa.Column("away_since", sa.BigInteger(), nullable=True))
    op.create_index("ix_attempts_deployment_finished_at", "attempts", ["deployment", "finished_at"], unique=False)
    op.add_column("deployments", sa.Column("started_at", sa.BigInteger(), nullable=True))
    op.add_column("sweeps", sa.Column("on_exit", sa.Boolean(), server_default=sa.false(), nullable=False))


def downgrade() -> None:
    """Go back to the version before."""
    op.drop_column("sweeps", "on_exit")
    op.drop_column("deployments", "started_at")
    op.drop_index("ix_attempts_deployment_finished_at", table_name="attempts")
    for name in ("away_since", "behind_since", "behind", "boot", "host", "reason"):
        op.drop_column("attempts", name)
