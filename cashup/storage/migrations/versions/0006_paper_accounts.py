"""Paper accounts trade on live prices and a book of their own; who trades with keys is on the sandbox or live."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0006"
down_revision: str | None = "0005"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_SECRET = ("version", "kek", "wrapped_key", "sealed")


def upgrade() -> None:
    """Go to this version."""
    op.execute("UPDATE accounts SET mode = 'sandbox' WHERE mode = 'paper'")
    for name in _SECRET:
        op.alter_column("accounts", name, nullable=True)
    op.add_column("accounts", sa.Column("terms", postgresql.JSONB(none_as_null=True, astext_type=sa.Text())))
    op.create_check_constraint("paper_has_terms", "accounts", "(mode = 'paper') = (terms IS NOT NULL)")
    op.create_check_constraint("paper_has_no_keys", "accounts", "(mode = 'paper') = (sealed IS NULL)")
    _create_accounts()
    _create_orders()
    _create_trades()


def _create_accounts() -> None:
    op.create_table(
        "paper_accounts",
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("serial", sa.BigInteger(), nullable=False),
        sa.Column("balances", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=False),
        sa.Column("markets", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=False),
        sa.Column("cancel_at", sa.BigInteger(), nullable=True),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("account", name=op.f("pk_paper_accounts")),
    )


def _create_orders() -> None:
    op.create_table(
        "paper_orders",
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("client_order_id", sa.Text(), nullable=False),
        sa.Column("symbol", sa.Text(), nullable=False),
        sa.Column("side", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("time_in_force", sa.Text(), nullable=False),
        sa.Column("quantity", sa.Numeric(), nullable=True),
        sa.Column("cost", sa.Numeric(), nullable=True),
        sa.Column("price", sa.Numeric(), nullable=True),
        sa.Column("filled", sa.Numeric(), nullable=False),
        sa.Column("spent", sa.Numeric(), nullable=False),
        sa.Column("reserved", sa.Numeric(), nullable=False),
        sa.Column("done", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("filled >= 0 AND reserved >= 0", name=op.f("ck_paper_orders_not_negative")),
        sa.PrimaryKeyConstraint("account", "id", name=op.f("pk_paper_orders")),
    )
    op.create_index("ix_paper_orders_client_order_id", "paper_orders", ["account", "client_order_id"])
    op.create_index("ix_paper_orders_updated_at", "paper_orders", ["account", "symbol", "updated_at"])
    op.create_index("ix_paper_orders_resting", "paper_orders", ["account", "id"], postgresql_where=sa.text("NOT done"))


def _create_trades() -> None:
    op.create_table(
        "paper_trades",
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("order_id", sa.BigInteger(), nullable=False),
        sa.Column("client_order_id", sa.Text(), nullable=False),
        sa.Column("symbol", sa.Text(), nullable=False),
        sa.Column("side", sa.Text(), nullable=False),
        sa.Column("price", sa.Numeric(), nullable=False),
        sa.Column("quantity", sa.Numeric(), nullable=False),
        sa.Column("fee", sa.Numeric(), nullable=False),
        sa.Column("fee_currency", sa.Text(), nullable=False),
        sa.Column("time", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("account", "id", name=op.f("pk_paper_trades")),
    )
    op.create_index("ix_paper_trades_time", "paper_trades", ["account", "symbol", "time"])


def downgrade() -> None:
    """Go back to the version before; paper accounts are gone then, for it had none."""
    for name in ("paper_trades", "paper_orders", "paper_accounts"):
        op.drop_table(name)
    op.execute("DELETE FROM accounts WHERE mode = 'paper'")
    op.drop_constraint("paper_has_no_keys", "accounts", type_="check")
    op.drop_constraint("paper_has_terms", "accounts", type_="check")
    op.drop_column("accounts", "terms")
    for name in _SECRET:
        op.alter_column("accounts", name, nullable=False)
