"""How many tasks each release has to choose from."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """One table more; what it says is counted when it is first asked for."""
    op.create_table(
        "pools",
        sa.Column("project_key", sa.Integer, sa.ForeignKey("projects.key"), primary_key=True),
        sa.Column("release", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("size", sa.BigInteger, nullable=False),
    )
