"""What was compared with the venue, and when."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0009"
down_revision: str | None = "0008"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Go to this version."""
    op.add_column("account_leases", sa.Column("surveyed_at", sa.BigInteger(), nullable=True))
    document = postgresql.JSONB(none_as_null=True, astext_type=sa.Text())
    op.add_column("account_leases", sa.Column("comparison", document, nullable=True))


def downgrade() -> None:
    """Go back to the version before."""
    op.drop_column("account_leases", "comparison")
    op.drop_column("account_leases", "surveyed_at")
