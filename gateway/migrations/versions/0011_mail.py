"""Letters by mail: an address is longer than a webhook's name."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("letters", schema=None) as batch_op:
        batch_op.alter_column("webhook", existing_type=sa.String(length=64), type_=sa.String(length=320))


def downgrade() -> None:
    with op.batch_alter_table("letters", schema=None) as batch_op:
        batch_op.alter_column("webhook", existing_type=sa.String(length=320), type_=sa.String(length=64))
