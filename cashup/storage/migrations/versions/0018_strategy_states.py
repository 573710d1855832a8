"""What a strategy keeps from bar to bar is stored with the bar's intent."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0018"
down_revision: str | None = "0017"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Go to this version."""
    op.create_table(
        "strategy_states",
        sa.Column("deployment", sa.Text(), nullable=False),
        sa.Column("bar", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["deployment"], ["deployments.name"], name=op.f("fk_strategy_states_deployment_deployments")
        ),
        sa.PrimaryKeyConstraint("deployment", name=op.f("pk_strategy_states")),
    )


def downgrade() -> None:
    """Go back to the version before."""
    op.drop_table("strategy_states")
