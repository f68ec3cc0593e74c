"""What we remember: projects, tasks, snapshots, versions, releases, ranks and jobs, in SQLite or PostgreSQL.

`Store(url)` is all of it; what comes out are frozen values. Knows nothing of Label Studio's API, models or files.
Each module has the queries of one theme and builds on the one before; `Store` is the last.
"""

from edgewise.services.store.arithmetics import Arithmetics
from edgewise.services.store.records import (
    Arithmetic,
    Chunk,
    Improvement,
    Instructions,
    Job,
    LlmRun,
    Outgoing,
    Prelabelled,
    Project,
    Rank,
    Release,
    Report,
    Shot,
    Snapshot,
    SnapshotRow,
    Suggestion,
    Task,
    Version,
)


class Store(Arithmetics):
    """The database: every query of ours is a method. Share one between threads; each process makes its own."""


__all__ = [
    "Arithmetic",
    "Chunk",
    "Improvement",
    "Instructions",
    "Job",
    "LlmRun",
    "Outgoing",
    "Prelabelled",
    "Project",
    "Rank",
    "Release",
    "Report",
    "Shot",
    "Snapshot",
    "SnapshotRow",
    "Store",
    "Suggestion",
    "Task",
    "Version",
]
