"""In which arithmetic each head of a version is computed, on which machine, and why."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """One table more."""
    op.create_table(
        "arithmetics",
        sa.Column("project_key", sa.Integer, sa.ForeignKey("projects.key"), primary_key=True),
        sa.Column("version", sa.Text, primary_key=True),
        sa.Column("head", sa.Text, primary_key=True),
        sa.Column("machine", sa.Text, primary_key=True),
        sa.Column("architecture", sa.Text, nullable=False),
        sa.Column("choice", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("figures", sa.Text, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("arithmetics_standing", "arithmetics", ["architecture", "machine"])
