"""A project of the real Label Studio that a simulated language model of known quality is asked about."""

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from edgewise.labels.spans import Document
from edgewise.services.store import LlmRun, Prelabelled, Project, Task
from edgewise.services.studio import Studio
from edgewise.verbs.prelabel import prelabel
from edgewise.verbs.sync import sync
from edgewise.verbs.system import System
from examples.label_studio import RunningStudio
from tests.live.gold_model import GoldModel, serving_model
from tests.studio_fixture import StudioProject
from tests.verbs.conftest import CONFIG, Make, do, new_studio_project, result_of, synced

LABELS = ("PER", "LOC")


@dataclass
class World:
    """A project of Label Studio, our memory of it, and the language model that is asked."""

    studio: StudioProject
    system: System
    key: int
    model: GoldModel

    @property
    def project(self) -> Project:
        return self.system.by_key(self.key)

    @property
    def run(self) -> LlmRun:
        run = self.system.store.last_llm_run(self.key)
        assert run is not None
        return run

    def prelabel(self) -> Project:
        return do(self.system, self.key, prelabel)

    def sync(self) -> Project:
        return do(self.system, self.key, sync)

    def tasks(self) -> dict[str, Task]:
        """By text."""
        ids = self.system.store.task_ids(self.key)
        return {task.data["text"]: task for task in self.system.store.tasks(self.key, ids).values()}

    def kept(self) -> dict[int, Prelabelled]:
        """All pre-labels."""
        return self.system.store.latest_prelabels(self.key, self.system.store.task_ids(self.key))

    def predictions(self, name: str) -> dict[int, dict[str, Any]]:
        """Task -> prediction of this version in Label Studio, of which there is at most one."""
        listed = self.studio.call("GET", f"api/predictions/?project={self.studio.id}")
        found = [one for one in listed if one["model_version"] == name]
        assert all(count == 1 for count in Counter(one["task"] for one in found).values())
        return {one["task"]: one for one in found}

    def label(self, documents: Sequence[Document]) -> list[int]:
        """People label these texts with gold; the tasks."""
        known = self.tasks()
        for document in documents:
            self.studio.annotate(known[document.text].task_id, result_of(document))
        self.sync()
        return [known[document.text].task_id for document in documents]

    def kept_answers(self) -> int:
        """How many paid answers we have."""
        with sqlite3.connect(self.system.settings.data_dir / "edgewise.db") as connection:
            return int(connection.execute("SELECT count(*) FROM llm_answers").fetchone()[0])


Begin = Callable[..., World]


@pytest.fixture
def begin(
    label_studio: RunningStudio, studio: Studio, make_system: Make, tiny_base: Path
) -> Iterator[Callable[..., Any]]:
    """Makes worlds: tasks and a model in, settings as keywords."""
    opened: list[StudioProject] = []

    def make(tasks: Sequence[dict[str, Any]], model: GoldModel, config: str = CONFIG, **settings: Any) -> World:
        opened.append(new_studio_project(label_studio, studio, tasks, config))
        plain = {"baseline_model_name": str(tiny_base), **asking(model)}
        system = make_system(**(plain | settings))
        return World(opened[-1], system, synced(system, opened[-1]).key, model)

    yield make
    for project in opened:
        project.http.close()


def asking(model: GoldModel) -> dict[str, Any]:
    """Settings that name this model, which costs."""
    return {
        "llm_provider": "openai",
        "llm_model": "gold",
        "llm_base_url": model.url,
        "llm_api_key": "none",
        "private": True,
        "llm_price_input_usd": Decimal(1),
        "llm_price_output_usd": Decimal(2),
    }


def gold(documents: Sequence[Document]) -> dict[str, list[dict[str, Any]]]:
    """Documents as the simulated model knows them."""
    return {
        document.text: [{"start": s.start, "end": s.end, "label": s.label} for s in document.spans]
        for document in documents
    }


def unlabelled(documents: Sequence[Document]) -> list[dict[str, Any]]:
    return [{"data": {"text": document.text}} for document in documents]


@contextmanager
def knowing(documents: Sequence[Document], **quality: Any) -> Iterator[GoldModel]:
    with serving_model(GoldModel(gold(documents), labels=LABELS, **quality)) as model:
        yield model
