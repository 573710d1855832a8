"""What the entries of one cause are is found without reading the ledger."""

from collections.abc import Sequence

from alembic import op

revision: str = "0011"
down_revision: str | None = "0010"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Go to this version."""
    op.create_index("ix_ledger_entries_cause", "ledger_entries", ["cause"], unique=False)


def downgrade() -> None:
    """Go back to the version before."""
    op.drop_index("ix_ledger_entries_cause", table_name="ledger_entries")
