"""improve on a real Label Studio: a language model that reads its examples and a small model teach each other."""

import json
import random
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.reading_model import DOCUMENT, EXAMPLE, ReadingModel, served
from edgewise.errors import Conflict
from edgewise.labels.spans import Document
from edgewise.services.jobs import Progress
from edgewise.services.mirror import mirror
from edgewise.services.store import Project
from edgewise.verbs import sync
from edgewise.verbs.improve import KIND, improve
from edgewise.verbs.placing import release_name
from edgewise.verbs.system import System
from examples import banking77
from tests.live.gold_model import GoldModel, serving_model
from tests.verbs.conftest import Killed, dies, do
from tests.verbs.language_model import LABELS, Begin, World, begin, gold, unlabelled
from tests.verbs.test_prelabel import MIXED

__all__ = ["begin"]

INTENTS = ("card_payment_fee_charged", "declined_cash_withdrawal", "pending_card_payment", "cash_withdrawal_charge")
CHOICES = "".join(f'<Choice value="{intent}"/>' for intent in INTENTS)
CONFIG = f"""<View><Text name="text" value="$text"/><Choices name="intent" toName="text">{CHOICES}</Choices></View>"""
ROWS = random.Random(3).sample([row for row in banking77.dozen("train") if row["label"] in INTENTS], 240)
GOLD = {row["text"]: row["label"] for row in ROWS}
LABELLED, FEW = 40, 120


@pytest.fixture(autouse=True)
def same_audit_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same texts are held out in every run, whatever id and birthday Label Studio gives the project: which they are
    decides how good each round is, and whether a question comes twice."""
    real = sync.is_audit

    def is_audit(project: Project, key: str, fraction: float) -> bool:
        return real(replace(project, address="", ls_id=1, created_at="0"), key, fraction)

    monkeypatch.setattr(sync, "is_audit", is_audit)


class Noting(ReadingModel):
    """Keeps what it was asked: questions without the marks around texts, the texts, and the texts of examples."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.questions: Counter[str] = Counter()
        self.documents: set[str] = set()
        self.examples: set[str] = set()

    def says(self, prompt: str) -> str:
        documents = [text for _, text in DOCUMENT.findall(prompt)]
        if documents:
            self.questions[re.sub(r"(example|document)-\w+", "", prompt)] += 1
            self.documents |= set(documents)
            self.examples |= {text for _, text, _ in EXAMPLE.findall(prompt)}
        return str(super().says(prompt))


@dataclass
class Course:
    """A project of texts, 40 of them labelled by people, and a language model that knows half of all."""

    world: World
    model: Noting

    def improve(self, **options: Any) -> Project:
        def verb(system: System, project: Project, progress: Progress) -> None:
            improve(system, project, options, progress)

        verb.__name__ = "improve"
        return do(self.world.system, self.world.key, verb)

    @property
    def rounds(self) -> list[dict[str, Any]]:
        (report, *_) = self.world.system.store.reports(self.world.key, 1, KIND)
        rounds: list[dict[str, Any]] = report.content["rounds"]
        return rounds

    def right(self, name: str) -> float:
        """The share of right labels among the predictions of this version in Label Studio that say something."""
        texts = {task.task_id: text for text, task in self.world.tasks().items()}
        shown = {task: one["result"] for task, one in self.world.predictions(name).items() if one["result"]}
        said = [result[0]["value"]["choices"] == [GOLD[texts[task]]] for task, result in shown.items()]
        return float(sum(said) / len(said))


@contextmanager
def course(begin: Begin, count: int = FEW, **settings: Any) -> Iterator[Course]:
    """Of so many texts; settings as keywords."""
    model = Noting(GOLD, knows=0.5)
    tasks: list[dict[str, Any]] = [{"data": {"text": row["text"]}} for row in ROWS[:count]]
    for task, row in zip(tasks[:LABELLED], ROWS, strict=False):
        task["annotations"] = [{"result": banking77.result(row)}]
    with served(model) as address:
        plain = {"audit_fraction": 0.4, "baseline_model_name": "packaged:minilm", "max_sequence_length": 64}
        yield Course(begin(tasks, SimpleNamespace(url=address), CONFIG, **(plain | settings)), model)


@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy")  # MLflow's own tables
def test_each_round_has_a_release_a_price_and_a_measured_quality_and_the_last_is_better_than_the_first(
    begin: Begin, tmp_path: Path
) -> None:
    with course(begin, len(ROWS)) as played:
        world = played.world
        store, key = world.system.store, world.key
        project = played.improve()
        rounds = played.rounds
        assert [one["round"] for one in rounds] == list(range(len(rounds)))
        assert len(rounds) > 2
        sources = {release.version.split("/")[0] for release in store.releases(key) if release.version}
        assert sources == {f"llm-{one['run']}" for one in rounds}, "a release for each round"
        heads = [one["heads"]["intent"] for one in rounds]
        audit = {text for text, task in world.tasks().items() if task.audit and task.digest}
        assert {head["quality"]["tasks"] for head in heads} == {len(audit)}
        assert heads[-1]["quality"]["score"] > heads[0]["quality"]["score"]
        assert heads[1]["changed"] > 0
        assert heads[1]["asked"] < len(ROWS) - LABELLED, "what is believed is not asked about again"
        paid = [run.spend["calls"] for run in store.llm_runs(key)][::-1]
        improvement = store.improvement(key)
        assert improvement is not None
        assert sum(paid) == improvement.spend["calls"]
        asked = len(ROWS) - LABELLED + len(audit) + sum(head["asked"] for head in heads[1:])
        assert asked == played.model.asked
        assert 0 <= sum(paid) - asked <= 2, "beside what an endpoint is tried with"
        assert project.active_release is not None
        assert played.right(release_name(project.active_release)) > 0.75

        gone = {text for text, task in world.tasks().items() if task.digest}
        assert len(gone) == LABELLED
        kept = world.kept()
        order = store.order(key, project.active_release)
        audits = {task.task_id for task in world.tasks().values() if task.audit}
        doubt = [kept[task].believed is False for task in order if task not in audits]
        assert 0 < sum(doubt) < len(doubt)
        assert doubt == sorted(doubt, reverse=True), "what nobody trusts comes first"
        hidden = {task.task_id for task in world.tasks().values() if task.audit and not task.digest}
        shown = world.predictions(release_name(project.active_release))
        assert hidden
        assert not any(shown[task]["result"] for task in hidden)
        uri = f"sqlite:///{tmp_path / 'mlruns.db'}"
        mirror(store, uri, tmp_path / "artifacts")
        shown_by_mlflow(uri, project, rounds)


def shown_by_mlflow(uri: str, project: Project, rounds: list[dict[str, Any]]) -> None:
    """A run for each round under one parent, with its figures and demonstrations."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    runs = client.search_runs([client.get_experiment_by_name(f"edgewise-{project.ls_id}").experiment_id])
    (parent,) = [run for run in runs if run.info.run_name == "improve"]
    children = {run.info.run_name: run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id}
    assert set(children) == {f"round {one['round']}" for one in rounds}
    assert {run.info.status for run in runs} == {"FINISHED"}
    last = children[f"round {rounds[-1]['round']}"]
    assert last.data.metrics["heads.intent.believed"] == rounds[-1]["heads"]["intent"]["believed"]
    assert last.data.metrics["spend.calls"] == rounds[-1]["spend"]["calls"]
    with TemporaryDirectory() as folder:
        kept = Path(client.download_artifacts(last.info.run_id, "round.json", folder))
        assert json.loads(kept.read_text())["demonstrations"] == rounds[-1]["demonstrations"]


def test_a_killed_round_is_played_again_and_nothing_is_paid_for_twice(
    begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    with course(begin) as played:
        store, key = played.world.system.store, played.world.key
        for name, after, done in (
            ("keep_llm_answer", 60, True),
            ("keep_round", 0, False),
            ("finish_report", 1, False),
        ):
            with pytest.MonkeyPatch.context() as patch:
                dies(patch, store, name, after=after, done=done)
                with pytest.raises(Killed):
                    played.improve(iterations=2)
        played.improve(iterations=2)
        assert [one["round"] for one in played.rounds] == [0, 1, 2], store.improvement(key)
        assert max(played.model.questions.values()) == 1, "no question is asked twice"
        assert [run.run for run in store.llm_runs(key)] == [3, 2, 1]


def test_a_budget_that_ends_in_a_round_ends_it_and_more_of_it_goes_on(begin: Begin) -> None:
    first = FEW - LABELLED + 6  # round 0, what an endpoint is tried with, and a few
    with course(begin, audit_fraction=1e-12, llm_budget_calls=first) as played:
        world = played.world
        played.improve()
        assert [one["round"] for one in played.rounds] == [0]
        told = [job.message for job in world.system.queue.jobs(20, project_key=world.key)]
        assert any("The budget ended in round 1" in message for message in told)
        assert played.model.asked <= first
        object.__setattr__(
            world.system, "settings", world.system.settings.model_copy(update={"llm_budget_calls": 1000})
        )
        played.improve()
        assert played.rounds[-1]["round"] >= 2
        assert max(played.model.questions.values()) == 1


def test_tasks_that_came_after_a_round_are_in_no_doubt_by_it(begin: Begin) -> None:
    with course(begin, audit_fraction=1e-12) as played:
        world = played.world
        played.improve(iterations=1)
        before = {task: one.believed for task, one in world.kept().items()}
        assert set(before.values()) == {True, False}
        later = [{"data": {"text": row["text"]}} for row in ROWS[FEW : FEW + 5]]
        new = set(world.studio.studio.import_tasks(world.studio.id, later))
        world.sync()
        world.prelabel()
        kept = {task: one.believed for task, one in world.kept().items()}
        assert {task: kept[task] for task in before} == before
        assert {kept[task] for task in new} == {None}
        assert world.run.calibration is None, "its confidences are the small model's"


def test_what_people_say_is_never_asked_about_and_is_shown(begin: Begin) -> None:
    with course(begin, audit_fraction=1e-12) as played:
        played.improve(iterations=1)
        labelled = {text for text, task in played.world.tasks().items() if task.digest}
        assert len(labelled) == LABELLED
        assert not labelled & set(played.model.documents)
        assert labelled <= played.model.examples
        assert played.rounds[-1]["heads"]["intent"]["quality"] is None, "nobody has labelled an audit task"


def test_too_few_tasks_are_refused(begin: Begin) -> None:
    model = Noting(GOLD, knows=0.5)
    with served(model) as address:
        world = begin([{"data": {"text": row["text"]}} for row in ROWS[:5]], SimpleNamespace(url=address), CONFIG)
        with pytest.raises(Conflict, match="too few to learn from"):
            Course(world, model).improve()


class AskedByHead(GoldModel):
    """Answers what the question's schema has, and nothing else."""

    def respond(self, asked: dict[str, Any]) -> dict[str, Any]:
        schema = asked.get("response_format", {}).get("json_schema", {}).get("schema", {})
        keys = schema.get("properties", {})
        gold = {text: {key: known[key] for key in keys if key in known} for text, known in self.gold.items()}
        return GoldModel(gold, wrong=self.wrong, labels=self.labels).respond(asked)


def test_the_heads_of_a_project_are_improved_side_by_side(begin: Begin, documents: list[Document]) -> None:
    some = documents[:60]
    both = {text: {"tone": tone(text), "entities": spans} for text, spans in gold(some).items()}
    with serving_model(AskedByHead(both, wrong=0.3, labels=LABELS)) as model:
        world = begin(unlabelled(some), model, MIXED, audit_fraction=1e-12)
        Course(world, Noting(GOLD, knows=0.5)).improve(iterations=1)
    (report,) = world.system.store.reports(world.key, 1, KIND)
    last = report.content["rounds"][-1]
    assert last["round"] == 1
    assert set(last["heads"]) == {"tone", "label"}
    assert all(0 < head["asked"] < len(some) for head in last["heads"].values())
    shown = world.predictions(f"llm-{last['run']}")
    assert {kind for one in shown.values() for kind in (r["type"] for r in one["result"])} == {"choices", "labels"}


def tone(text: str) -> str:
    return "glad" if len(text) % 2 else "sad"
