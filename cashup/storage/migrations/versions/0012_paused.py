"""A deployment may be paused, and its attempts may be asked to make room for another one."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0012"
down_revision: str | None = "0011"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Go to this version."""
    op.add_column("deployments", sa.Column("renew", sa.BigInteger(), server_default="0", nullable=False))
    op.drop_constraint(op.f("ck_deployments_desired"), "deployments")
    op.create_check_constraint(
        op.f("ck_deployments_desired"), "deployments", "desired IN ('running', 'paused', 'stopped')"
    )


def downgrade() -> None:
    """Go back to the version before."""
    op.execute("UPDATE deployments SET desired = 'stopped' WHERE desired = 'paused'")
    op.drop_constraint(op.f("ck_deployments_desired"), "deployments")
    op.create_check_constraint(op.f("ck_deployments_desired"), "deployments", "desired IN ('running', 'stopped')")
    op.drop_column("deployments", "renew")
