"""The history of orders."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0004"
down_revision: str | None = "0003"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Go to this version. Orders that are there already begin their history with the state they are in."""
    op.create_table(
        "order_events",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("client_order_id", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("from_state", sa.Text(), nullable=True),
        sa.Column("to_state", sa.Text(), nullable=False),
        sa.Column("cause", sa.Text(), server_default="", nullable=False),
        sa.Column("detail", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_order_events")),
    )
    op.create_index("ix_order_events_client_order_id_id", "order_events", ["client_order_id", "id"], unique=False)
    op.execute(
        """
        INSERT INTO order_events (client_order_id, account, at, event, actor, to_state, cause, detail)
        SELECT client_order_id, account, created_at, 'created', 'migration', state, 'made before there was a history',
            '{}'::jsonb
        FROM orders ORDER BY created_at
        """
    )


def downgrade() -> None:
    """Go back to the version before."""
    op.drop_index("ix_order_events_client_order_id_id", table_name="order_events")
    op.drop_table("order_events")
