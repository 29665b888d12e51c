"""The executions whose results answer others of their kind."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "results",
        sa.Column("key", sa.String(64), nullable=False),
        sa.Column("execution", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_results"),
    )


def downgrade() -> None:
    op.drop_table("results")
