"""Indexes for what was spared, and for open reviews in the order of their ids."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    spared = sa.text("type = 'Spared'")
    op.create_index("ix_events_spared", "events", ["at"], unique=False, sqlite_where=spared, postgresql_where=spared)
    op.create_index(op.f("ix_reviews_state_id"), "reviews", ["state", "id"], unique=False)


def downgrade() -> None:
    op.drop_index(op.f("ix_reviews_state_id"), table_name="reviews")
    op.drop_index("ix_events_spared", table_name="events")
