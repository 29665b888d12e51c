"""What programs were found to need, so that the next of their kind begins with it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "memory_sizes",
        sa.Column("tenant", sa.String(length=128), nullable=False),
        sa.Column("imports", sa.String(length=64), nullable=False),
        sa.Column("memory_bytes", sa.BigInteger(), nullable=False),
        sa.Column("found_at", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "imports", name=op.f("pk_memory_sizes")),
    )
    with op.batch_alter_table("memory_sizes", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_memory_sizes_found_at"), ["found_at"], unique=False)


def downgrade() -> None:
    op.drop_table("memory_sizes")
