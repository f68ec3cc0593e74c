"""Improvements, a course of rounds for each project; and indexes by which tasks and jobs are counted."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """One table more, two indexes more."""
    op.create_table(
        "improvements",
        sa.Column("project_key", sa.Integer, sa.ForeignKey("projects.key"), primary_key=True),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("spend", sa.Text, nullable=False),
        sa.Column("rounds", sa.Text, nullable=False),
        sa.Column("ended", sa.Text),
    )
    taught = sa.text("digest IS NOT NULL")
    op.create_index("tasks_taught", "tasks", ["project_key", "audit"], sqlite_where=taught, postgresql_where=taught)
    op.create_index("jobs_by_state", "jobs", ["state", "kind"])
