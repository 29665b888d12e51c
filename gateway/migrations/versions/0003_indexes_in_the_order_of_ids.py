"""Indexes in the order of ids, which is the order in which everything is listed; of executions without an answer only those."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("executions", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_executions_task_submitted_at"))
        batch_op.drop_index(batch_op.f("ix_executions_answered_at"))
        batch_op.create_index(batch_op.f("ix_executions_task_id"), ["task", "id"], unique=False)
        waits = sa.text("answered_at IS NULL")
        batch_op.create_index(
            batch_op.f("ix_executions_unanswered"), ["id"], unique=False, sqlite_where=waits, postgresql_where=waits
        )
    with op.batch_alter_table("reviews", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_reviews_tenant_id"), ["tenant", "id"], unique=False)


def downgrade() -> None:
    with op.batch_alter_table("reviews", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_reviews_tenant_id"))
    with op.batch_alter_table("executions", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_executions_unanswered"))
        batch_op.drop_index(batch_op.f("ix_executions_task_id"))
        batch_op.create_index(batch_op.f("ix_executions_answered_at"), ["answered_at"], unique=False)
        batch_op.create_index(batch_op.f("ix_executions_task_submitted_at"), ["task", "submitted_at"], unique=False)
