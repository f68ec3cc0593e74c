"""What the models say of some tasks, as bytes: another process reads the same again.

Numbers keep every bit. Nothing in it is ever executed.
"""

import json
from collections.abc import Sequence
from io import BytesIO

import numpy as np

from edgewise.labels.spans import Span
from edgewise.services.store import Task
from edgewise.verbs.scoring import Scored


def packed(tasks: Sequence[Task], scored: Scored) -> bytes:
    """These tasks and what is said of them; `priority` and `urgent`, which come later, are left out."""
    words = {
        "tasks": [task.task_id for task in tasks],
        "unsure": None if scored.uncertainty is None else scored.uncertainty.tolist(),
        "by_head": {head: unsure.tolist() for head, unsure in scored.by_head.items()},
        "results": scored.results,
        "reasons": scored.reasons,
        "spans": {
            head: [[(s.start, s.end, s.label, s.score) for s in spans] for spans in found]
            for head, found in scored.spans.items()
        },
    }
    said = BytesIO()
    np.savez(said, embeddings=scored.embeddings, words=np.frombuffer(json.dumps(words).encode(), np.uint8))
    return said.getvalue()


def unpacked(said: bytes) -> tuple[list[int], Scored]:
    """The tasks' ids, and what was said of them."""
    with np.load(BytesIO(said), allow_pickle=False) as arrays:
        words, embeddings = json.loads(arrays["words"].tobytes()), arrays["embeddings"]
    return words["tasks"], Scored(
        uncertainty=None if words["unsure"] is None else np.array(words["unsure"], np.float64),
        embeddings=embeddings,
        results=words["results"],
        reasons=words["reasons"],
        spans={head: [tuple(Span(*s) for s in spans) for spans in found] for head, found in words["spans"].items()},
        by_head={head: np.array(unsure, np.float64) for head, unsure in words["by_head"].items()},
    )
