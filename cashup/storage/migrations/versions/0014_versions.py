"""Promoted versions, and the version that each attempt executes."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0014"
down_revision: str | None = "0013"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Go to this version."""
    op.create_table(
        "versions",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("notebook", sa.Text(), nullable=False),
        sa.Column("notebook_hash", sa.Text(), nullable=False),
        sa.Column("params", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=False),
        sa.Column("data_version", sa.Text(), nullable=False),
        sa.Column("lock_hash", sa.Text(), nullable=False),
        sa.Column("content_hash", sa.Text(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_versions")),
    )
    op.add_column("attempts", sa.Column("version", sa.Text(), nullable=True))
    op.add_column("attempts", sa.Column("notebook_hash", sa.Text(), nullable=True))


def downgrade() -> None:
    """Go back to the version before."""
    op.drop_column("attempts", "notebook_hash")
    op.drop_column("attempts", "version")
    op.drop_table("versions")
