"""Reviews: their level, what some have approved of them, who saw them, and what people said yes to."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "approvals",
        sa.Column("question", sa.String(length=64), nullable=False),
        sa.Column("review", sa.String(length=64), nullable=False),
        sa.Column("decided_by", sa.String(length=128), nullable=False),
        sa.Column("decided_at", sa.String(length=32), nullable=False),
        sa.Column("limits", sa.Text(), nullable=False),
        sa.Column("until", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("question", name=op.f("pk_approvals")),
    )
    with op.batch_alter_table("approvals", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_approvals_until"), ["until"], unique=False)
    op.create_table(
        "sightings",
        sa.Column("review", sa.String(length=64), nullable=False),
        sa.Column("seen_by", sa.String(length=128), nullable=False),
        sa.Column("token", sa.String(length=64), nullable=False),
        sa.Column("seen_at", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("review", "seen_by", "token", name=op.f("pk_sightings")),
    )
    with op.batch_alter_table("reviews", schema=None) as batch_op:
        batch_op.add_column(sa.Column("level", sa.Integer(), server_default="0", nullable=False))
        batch_op.add_column(sa.Column("due_at", sa.String(length=32), nullable=True))
        batch_op.add_column(sa.Column("proposal", sa.Text(), nullable=True))
        batch_op.create_index(batch_op.f("ix_reviews_state_due_at"), ["state", "due_at"], unique=False)
    op.execute("UPDATE reviews SET reason = 'above_default' WHERE reason = 'above_default_limits'")


def downgrade() -> None:
    op.execute("UPDATE reviews SET reason = 'above_default_limits' WHERE reason = 'above_default'")
    with op.batch_alter_table("reviews", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_reviews_state_due_at"))
        batch_op.drop_column("proposal")
        batch_op.drop_column("due_at")
        batch_op.drop_column("level")
    op.drop_table("sightings")
    op.drop_table("approvals")
