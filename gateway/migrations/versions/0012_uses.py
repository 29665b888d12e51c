"""What each key used of its share of the day."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "uses",
        sa.Column("tenant", sa.String(length=128), nullable=False),
        sa.Column("caller", sa.String(length=128), nullable=False),
        sa.Column("day", sa.String(length=10), nullable=False),
        sa.Column("executions", sa.Integer(), nullable=False),
        sa.Column("cpu_milliseconds", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "caller", "day", name=op.f("pk_uses")),
    )
    with op.batch_alter_table("uses", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_uses_day"), ["day"], unique=False)


def downgrade() -> None:
    op.drop_table("uses")
