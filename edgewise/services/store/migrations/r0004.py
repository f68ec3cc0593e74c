"""Where a task's text was fetched from."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """One column more."""
    op.add_column("tasks", sa.Column("addresses", sa.Text))
