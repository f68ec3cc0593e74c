"""What one process says of tasks, read by another; with a tiny real model."""

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from edgewise.labels.spans import Document
from edgewise.services.store import Task
from edgewise.verbs.parcels import packed, unpacked
from edgewise.verbs.scoring import Scored
from tests.verbs.conftest import Make
from tests.verbs.test_scoring import ODD, TWO_HEADS, recorded, scored

Said = tuple[list[Task], Scored]


@pytest.fixture(params=["taught", "cold"])
def said(
    request: pytest.FixtureRequest, offline: Make, tiny_base: Path, tiny_tagger: Path, documents: list[Document]
) -> Said:
    """Ordinary and odd texts through two heads, or before the first training."""
    texts = [document.text for document in documents[:9]] + list(ODD)
    model = {"taught": tiny_tagger, "cold": tiny_base}[request.param]
    system = offline(baseline_model_name=str(model))
    found = scored(system, recorded(system, TWO_HEADS), texts)
    assert (found.uncertainty is None) == (request.param == "cold")
    return [Task(number, {"text": text}, str(number)) for number, text in enumerate(texts, 1)], found


def test_what_is_unpacked_is_what_was_packed(said: Said) -> None:
    tasks, scored = said
    ids, found = unpacked(packed(tasks, scored))
    assert ids == [task.task_id for task in tasks]
    np.testing.assert_equal(asdict(found), asdict(scored))
    assert found.embeddings.dtype == scored.embeddings.dtype
    assert [span.score for spans in found.spans.values() for one in spans for span in one] == [
        span.score for spans in scored.spans.values() for one in spans for span in one
    ], "which Span does not compare"


@pytest.mark.parametrize("trained", [True, False])
def test_of_no_tasks_there_is_nothing(offline: Make, tiny_base: Path, tiny_tagger: Path, trained: bool) -> None:
    system = offline(baseline_model_name=str(tiny_tagger if trained else tiny_base))
    none = scored(system, recorded(system, TWO_HEADS), [])
    ids, found = unpacked(packed([], none))
    assert ids == []
    np.testing.assert_equal(asdict(found), asdict(none))


def test_nothing_in_it_is_executed(said: Said) -> None:
    tasks, scored = said
    hostile = replace(scored, embeddings=np.array([print], dtype=object))
    with pytest.raises(ValueError, match="allow_pickle"):
        unpacked(packed(tasks, hostile))
