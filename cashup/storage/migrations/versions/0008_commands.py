"""Intents about single orders, and what an order must remember of a cancel or an amendment."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0008"
down_revision: str | None = "0007"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_STATES = "state IN ('planned', 'selling', 'buying', {}'done', 'expired')"


def upgrade() -> None:
    """Go to this version. Every intent that is there already is one of targets."""
    op.add_column("intents", sa.Column("kind", sa.Text(), server_default="target", nullable=False))
    op.alter_column("intents", "targets", new_column_name="body")
    op.alter_column("intents", "bar", nullable=True)
    op.drop_constraint(op.f("ck_intents_state"), "intents", type_="check")
    op.create_check_constraint(op.f("ck_intents_state"), "intents", _STATES.format("'working', "))
    op.create_check_constraint(op.f("ck_intents_kind"), "intents", "kind IN ('target', 'order', 'cancel', 'amend')")
    op.create_check_constraint(
        op.f("ck_intents_targets_have_a_bar"), "intents", "(kind = 'target') = (bar IS NOT NULL)"
    )
    terms = postgresql.JSONB(none_as_null=True, astext_type=sa.Text())
    op.add_column("orders", sa.Column("cancelling", sa.Boolean(), server_default=sa.text("false"), nullable=False))
    op.add_column("orders", sa.Column("amending", terms, nullable=True))
    op.add_column("orders", sa.Column("amend_before", sa.BigInteger(), nullable=True))
    op.add_column("orders", sa.Column("terms_at", sa.BigInteger(), server_default=sa.text("0"), nullable=False))


def downgrade() -> None:
    """Go back to the version before. Intents about single orders have no place there."""
    for name in ("terms_at", "amend_before", "amending", "cancelling"):
        op.drop_column("orders", name)
    op.execute("DELETE FROM intents WHERE kind <> 'target'")
    for name in ("targets_have_a_bar", "kind", "state"):
        op.drop_constraint(op.f(f"ck_intents_{name}"), "intents", type_="check")
    op.create_check_constraint(op.f("ck_intents_state"), "intents", _STATES.format(""))
    op.alter_column("intents", "bar", nullable=False)
    op.alter_column("intents", "body", new_column_name="targets")
    op.drop_column("intents", "kind")
