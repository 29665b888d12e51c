"""Where executions belong in traces."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "traces",
        sa.Column("execution", sa.String(length=64), nullable=False),
        sa.Column("parent", sa.String(length=55), nullable=False),
        sa.Column("state", sa.String(length=512), nullable=False),
        sa.PrimaryKeyConstraint("execution", name=op.f("pk_traces")),
    )


def downgrade() -> None:
    op.drop_table("traces")
