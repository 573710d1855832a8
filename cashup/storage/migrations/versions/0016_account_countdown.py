"""Each account has its own countdown at the venue."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0016"
down_revision: str | None = "0015"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Go to this version."""
    op.add_column("accounts", sa.Column("countdown", sa.Integer(), server_default=sa.text("30"), nullable=False))
    op.create_check_constraint("countdown", "accounts", "countdown = 0 OR countdown >= 10")


def downgrade() -> None:
    """Go back to the version before."""
    op.drop_column("accounts", "countdown")
