"""Retention: what is still kept of an execution, and when the rest was deleted."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("executions", schema=None) as batch_op:
        batch_op.add_column(sa.Column("kept", sa.Integer(), server_default="0", nullable=False))
        batch_op.add_column(sa.Column("code_deleted_at", sa.String(length=32), nullable=True))
        batch_op.add_column(sa.Column("output_deleted_at", sa.String(length=32), nullable=True))
        batch_op.add_column(sa.Column("files_deleted_at", sa.String(length=32), nullable=True))
        batch_op.create_index(
            batch_op.f("ix_executions_kept"),
            ["profile", "answered_at", "kept"],
            unique=False,
            sqlite_where=sa.text("kept > 0"),
            postgresql_where=sa.text("kept > 0"),
        )
    # Code 1, output 2, files 4, key 8, of what has its answer. An answer names its files, also where they are another's.
    op.execute(
        "UPDATE executions SET kept = 3"
        """ + CASE WHEN answer LIKE '%"files":[%' THEN 4 ELSE 0 END"""
        " + CASE WHEN idempotency_key IS NULL THEN 0 ELSE 8 END"
        " WHERE answered_at IS NOT NULL"
    )


def downgrade() -> None:
    with op.batch_alter_table("executions", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_executions_kept"))
        batch_op.drop_column("files_deleted_at")
        batch_op.drop_column("output_deleted_at")
        batch_op.drop_column("code_deleted_at")
        batch_op.drop_column("kept")
