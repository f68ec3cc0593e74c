"""Whether a round of `improve` believes a pre-label."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """One column more."""
    op.add_column("prelabels", sa.Column("believed", sa.Boolean))
