"""What random order would have needed, asked of a project in a real store: who learnt, and who is examined."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from edgewise.errors import Conflict, InputError
from edgewise.labels.regions import regions
from edgewise.labels.spans import Document
from edgewise.services.store import Version
from edgewise.verbs.numbers.saving import KIND, open_texts, saving
from model import MEASURING
from tests.verbs.conftest import Make, started
from tests.verbs.measured import HEAD, SCHEMA, Bench, bench

HELD_OUT, TAUGHT, SINCE = 50, 24, 4
QUICK: dict[str, Any] = {"learning_rate": 5e-3, "num_train_epochs": 10}


@pytest.fixture
def project(offline: Make, tiny_base: Path, documents: list[Document]) -> Bench:
    """50 held-out tasks and 28 others, all labelled, 22 open ones; a version that learnt from 24 and has 2/3 right."""
    spread = [documents[(i * 7) % len(documents)] for i in range(len(documents))]
    made = bench(offline(baseline_model_name=str(tiny_base), **QUICK), list(map(row_of, spread)), audit=HELD_OUT)
    texts = list(made.gold)
    people_label(made, texts[: HELD_OUT + TAUGHT + SINCE])
    ids = [made.ids[text] for text in texts]
    store, key = made.system.store, made.key
    store.add_snapshot(key, "snapshot", [(task, "", (task,)) for task in ids[HELD_OUT : HELD_OUT + TAUGHT]])
    said = {made.ids[text]: {"label": [[s.start, s.end, s.label, 0.9] for s in made.gold[text][:1]]} for text in texts}
    store.save_version_predictions(key, "first", "held_out", {task: said[task] for task in ids[:HELD_OUT]})
    store.add_version(Version("first", key, SCHEMA.digest, "snapshot", settings={"heads": {"label": HEAD.digest}}))
    store.update_project(key, serving="first")
    return made


def row_of(document: Document) -> dict[str, Any]:
    """A document as a row of a file."""
    spans = [{"start": span.start, "end": span.end, "label": span.label} for span in document.spans]
    return {"text": document.text, "spans": spans}


def people_label(made: Bench, texts: Sequence[str]) -> None:
    """Gold for these texts, the first of which are held out."""
    moment = "2026-01-01T00:00:00+00:00"
    raw = {
        made.ids[text]: {
            "id": made.ids[text],
            "updated_at": moment,
            "completed_by": 1,
            "result": regions(made.gold[text], HEAD, text),
        }
        for text in texts
    }
    made.keep(texts, raw, audit=texts[:HELD_OUT])


def measure(made: Bench, **options: Any) -> dict[str, Any]:
    """Run the verb; what is shown of it."""
    with started(made.system, made.key, KIND) as progress:
        saving(made.system, made.system.by_key(made.key), options, progress)
    return made.system.store.reports(made.key, 1, KIND)[0].content


def test_saving_is_measured_of_what_the_serving_version_learnt(project: Bench) -> None:
    found = measure(project, subsets=1)
    head = found["heads"]["label"]
    assert found["version"] == "first"
    assert found["sentence"] == head["sentence"]
    assert (head["labels"], head["held_out"]) == (TAUGHT, HELD_OUT)
    assert head["score"] == pytest.approx(2 / 3)
    assert sum(stratum["labels"] for stratum in head["strata"]) == TAUGHT
    assert [point["labels"] for point in head["points"]] == sorted(point["labels"] for point in head["points"])


def test_the_pool_is_all_that_the_queue_chose_from(project: Bench) -> None:
    texts, how_many = open_texts(project.system, project.project, HEAD)
    assert how_many == len(texts) == 100 - HELD_OUT - TAUGHT - SINCE
    assert set(texts) == set(list(project.gold)[HELD_OUT + TAUGHT + SINCE :])


def test_fewer_than_fifty_held_out_tasks_are_said_so_and_nothing_is_trained(project: Bench) -> None:
    first = next(iter(project.gold))
    skip = {"id": 1, "updated_at": "2026-01-02T00:00:00+00:00", "was_cancelled": True, "result": []}
    project.keep([first], {project.ids[first]: skip}, audit=[first])
    found = measure(project)
    assert "49 held-out tasks" in found["sentence"]
    assert "points" not in found["heads"]["label"]


def test_without_a_version_that_serves_there_is_nothing_to_compare(project: Bench) -> None:
    with pytest.raises(InputError, match="subsets"):
        measure(project, subsets=99)
    project.system.store.update_project(project.key, serving=None)
    with pytest.raises(Conflict, match="No version of ours serves"):
        measure(project)


def test_saving_is_a_verb_like_the_others() -> None:
    assert KIND in MEASURING
