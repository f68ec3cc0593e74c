"""Chunks of a ranking that name their tasks, and what was said of these."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Two columns more; chunks that are there have neither."""
    op.add_column("rank_chunks", sa.Column("tasks", sa.Text))
    op.add_column("rank_chunks", sa.Column("said", sa.LargeBinary))
