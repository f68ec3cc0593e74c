"""Chunks of a ranking, which any worker may take."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """One table more."""
    op.create_table(
        "rank_chunks",
        sa.Column("project_key", sa.Integer, sa.ForeignKey("projects.key"), primary_key=True),
        sa.Column("release", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("first", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("last", sa.BigInteger, nullable=False),
        sa.Column("holder", sa.Text),
        sa.Column("attempt", sa.Integer),
    )
